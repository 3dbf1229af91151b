//! Places where a test stops a process, to kill it there.
//!
//! **Promise.** Everything that is persisted in a database is persisted by [`Tx::commit`](crate::db::Tx::commit), and
//! every commit of a transaction that has written is a place: stopped *before* it nothing of the step is durable, stopped
//! *after* it all of it is and nobody was told. So no step can be without its places, and nobody lists them: a place is
//! called by the file and line of the commit, and a process that is told [`LIST`] says which ones it comes by.
//!
//! A process that reaches the place it was told writes a line to standard output, [`MARK`] and the place, and the task
//! stops there for ever. What follows is a real `kill -9` at a known line.
//!
//! The variable [`VARIABLE`] says the place. Only a build for tests (feature `testing`) reads it; every other one refuses
//! it as a key that nobody reads. **Cost.** One atomic load per transaction, when no place is set.

use std::{
    collections::HashMap,
    fmt,
    io::{self, Write},
    panic::Location,
    str::FromStr,
    sync::{Mutex, OnceLock, PoisonError},
};

/// The variable that says where to stop: a [`Place`], or [`LIST`].
pub const VARIABLE: &str = "TAMBO_FAILPOINT__AT";
/// Instead of a place: stop nowhere, and say of each step that was persisted which one it was.
pub const LIST: &str = "list";
/// What a line of standard output begins with that names a step.
pub const MARK: &str = "failpoint ";

/// On which side of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Nothing is durable yet.
    Before,
    /// All is durable, and nothing has followed from it.
    After,
}

/// Where to stop: `control-plane/src/provisioning/mod.rs:310 2 before`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// File and line of the commit.
    pub step: String,
    /// The how manieth time that it is come to, from 1.
    pub time: u64,
    /// Before or after it.
    pub side: Side,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.side == Side::Before { "before" } else { "after" };
        write!(f, "{} {} {side}", self.step, self.time)
    }
}

impl FromStr for Place {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(' ');
        let step = parts.next().ok_or(())?.to_owned();
        let time = parts.next().and_then(|time| time.parse().ok()).ok_or(())?;
        let side = match (parts.next(), parts.next()) {
            (Some("before"), None) => Side::Before,
            (Some("after"), None) => Side::After,
            _ => return Err(()),
        };
        Ok(Self { step, time, side })
    }
}

/// What this process was told.
#[derive(Debug)]
struct Armed {
    /// Where to stop; nowhere for [`LIST`].
    at: Option<Place>,
    /// How often each commit was come to.
    times: Mutex<HashMap<&'static Location<'static>, u64>>,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Takes [`VARIABLE`] out of the variables of a process and does what it says, once in its life. The rest is for the
/// configuration.
#[cfg(feature = "testing")]
pub fn take(variables: impl Iterator<Item = (String, String)>) -> impl Iterator<Item = (String, String)> {
    variables.filter(|(name, value)| {
        let at = value.parse().ok();
        // What is neither is left for the configuration to refuse.
        if name != VARIABLE || at.is_none() && value != LIST {
            return true;
        }
        ARMED.set(Armed { at, times: Mutex::default() }).is_err()
    })
}

/// Nothing: a build that is not for tests cannot be stopped. The variable is refused with all keys that nobody reads.
#[cfg(not(feature = "testing"))]
pub fn take(variables: impl Iterator<Item = (String, String)>) -> impl Iterator<Item = (String, String)> {
    variables
}

/// Whether anything was told.
pub(crate) fn is_armed() -> bool {
    ARMED.get().is_some()
}

/// A commit that is come to.
#[derive(Debug)]
pub(crate) struct Step {
    at: &'static Location<'static>,
    time: u64,
}

impl Step {
    /// A commit that writes something is about to be made at this line; `None` if nobody wants to know.
    pub(crate) fn begin(at: &'static Location<'static>) -> Option<Self> {
        let mut times = ARMED.get()?.times.lock().unwrap_or_else(PoisonError::into_inner);
        let time = times.entry(at).or_default();
        *time = time.saturating_add(1);
        Some(Self { at, time: *time })
    }

    /// Stops here, if this is the place.
    pub(crate) async fn reached(&self, side: Side) {
        let Some(armed) = ARMED.get() else { return };
        let here = Place { step: format!("{}:{}", self.at.file(), self.at.line()), time: self.time, side };
        if armed.at.as_ref().unwrap_or(&here) != &here {
            return;
        }
        // Whoever listens may be gone.
        let _told = writeln!(io::stdout(), "{MARK}{here}");
        if armed.at.is_some() {
            std::future::pending().await
        }
    }
}

#[test]
fn a_place_is_read_as_it_is_written() {
    let place = Place { step: "a/b.rs:7".to_owned(), time: 3, side: Side::After };
    assert_eq!(place.to_string(), "a/b.rs:7 3 after");
    assert_eq!(place.to_string().parse(), Ok(place));
    for wrong in
        ["", "a/b.rs:7", "a/b.rs:7 x before", "a/b.rs:7 3", "a/b.rs:7 3 within", "a/b.rs:7 3 after all"]
    {
        assert_eq!(wrong.parse::<Place>(), Err(()), "{wrong}");
    }
}
