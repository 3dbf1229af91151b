//! `tambo organizations …`.

use client::control::{self, OrganizationNew, OrganizationsWhich};
use tenants::{id::OrganizationId, jurisdiction::Country};

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
    /// Lists them, the oldest first
    List {
        /// The one with this id of yours
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
    },
    /// Reads one
    Get {
        /// Which
        id: OrganizationId,
    },
    /// Declares one
    Create {
        /// Its name
        #[arg(long)]
        name: String,
        /// Where it is registered, such as MX
        #[arg(long)]
        country: Country,
        /// Your own id, used once
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
        /// Checks everything, and shows what would be made
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does it.
pub async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { external_id } => {
            let list = control::organization_list(&OrganizationsWhich { external_id });
            session.list(list, &["id", "external_id", "name", "country", "created_at"]).await
        }
        Command::Get { id } => session.read(control::organization_get(id)).await,
        Command::Create { name, country, external_id, dry_run } => {
            let new = OrganizationNew { external_id, name, country };
            session.planned(control::organization_create(&new), dry_run).await
        }
    }
}
