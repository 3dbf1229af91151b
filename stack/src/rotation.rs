//! `tambo control-plane|cell rotate-keys`: another key to sign tokens with, whether the plane serves or not.

use std::path::PathBuf;

use crate::console::say;

/// Of which plane, and how soon.
#[derive(clap::Args)]
pub struct Rotation {
    /// The configuration; variables `TAMBO_…` override it
    pub config: Option<PathBuf>,
    /// The old keys go at once, with every token that they have signed: for a key that leaked
    #[arg(long)]
    pub retire_old: bool,
}

impl Rotation {
    /// Says what was done.
    pub fn tell(&self) {
        say(if self.retire_old {
            "A new key signs, and the old ones are gone; tokens of before are refused within a second."
        } else {
            "A new key is published, and signs in an hour; tokens of before stay good to their end."
        });
    }
}
