//! `tambo regions …`.

use client::control::{self, RegionPut};
use tenants::{jurisdiction::Country, region::RegionCode};

use super::session::{Connection, Failure, Session};

/// What to do, and where.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub connection: Connection,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Lists them
    List,
    /// Declares one, or changes its name; for operators
    Put {
        /// Such as mx-central-1
        code: RegionCode,
        /// Under whose law it lies, such as MX; never changes
        #[arg(long)]
        country: Country,
        /// For people
        #[arg(long)]
        name: String,
        /// Only if it is there and this is still its version
        #[arg(long, value_name = "VERSION")]
        if_version: Option<i64>,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does it.
pub async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => session.list(control::region_list(), &["code", "country", "name"]).await,
        Command::Put { code, country, name, if_version, dry_run } => {
            let put = RegionPut { country, name };
            session.planned(control::region_put(&code, if_version, &put), dry_run).await
        }
    }
}
