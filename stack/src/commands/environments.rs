//! `tambo environments …`.

use client::{
    Call, Planned,
    control::{self, EnvironmentChange, EnvironmentNew, EnvironmentsWhich, Operation},
};
use tenants::{
    environment::{EnvironmentState, Mode},
    id::{EnvironmentId, OrganizationId, TenantId},
    region::RegionCode,
};

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
        /// Those of this tenant
        #[arg(long, value_name = "ID")]
        tenant: Option<TenantId>,
        /// Those of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
        /// Those in this state
        #[arg(long)]
        state: Option<EnvironmentState>,
    },
    /// Reads one
    Get {
        /// Which
        id: EnvironmentId,
    },
    /// Declares one; an operation makes it
    Create {
        /// Whose
        #[arg(long, value_name = "ID")]
        tenant: TenantId,
        /// sandbox or live; never changes
        #[arg(long)]
        mode: Mode,
        /// Where; never changes, and there is no default
        #[arg(long)]
        region: RegionCode,
        /// A version of the jurisdiction's profile; else the newest one
        #[arg(long, value_name = "VERSION")]
        profile_version: Option<String>,
        /// How far a sandbox's clock is to be ahead at least, in milliseconds
        #[arg(long, value_name = "MS")]
        clock_offset_ms: Option<i64>,
        /// Checks everything, and shows what would be made
        #[arg(long, conflicts_with = "follow")]
        dry_run: bool,
        /// Follows the operation to its end
        #[arg(long)]
        follow: bool,
    },
    /// Gives one another version of its profile, or moves a sandbox's clock forward
    Update {
        /// Which
        id: EnvironmentId,
        /// A version of the jurisdiction's profile
        #[arg(long, value_name = "VERSION", required_unless_present = "clock_offset_ms")]
        profile_version: Option<String>,
        /// How far a sandbox's clock is to be ahead at least, in milliseconds
        #[arg(long, value_name = "MS")]
        clock_offset_ms: Option<i64>,
        /// Only if this is still its version; else whatever version it has now
        #[arg(long, value_name = "VERSION")]
        if_version: Option<i64>,
        /// Checks everything, and shows what would change
        #[arg(long, conflicts_with = "follow")]
        dry_run: bool,
        /// Follows the operation to its end
        #[arg(long)]
        follow: bool,
    },
    /// Lets one answer nobody
    Suspend(Which),
    /// Lets a suspended one answer again
    Resume(Which),
    /// Removes one from its cell
    Remove(Which),
}

/// An environment, and how long to stay with it.
#[derive(clap::Args)]
pub struct Which {
    /// Which
    id: EnvironmentId,
    /// Checks everything, and shows what would change
    #[arg(long, conflicts_with = "follow")]
    dry_run: bool,
    /// Follows the operation to its end
    #[arg(long)]
    follow: bool,
}

/// Does it.
pub async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { tenant, organization, state } => {
            let which = EnvironmentsWhich { organization_id: organization, tenant_id: tenant, state };
            let columns = [
                "id",
                "tenant_id",
                "mode",
                "region",
                "cell_id",
                "cell_url",
                "state",
                "desired",
                "profile_version",
                "stale",
            ];
            session.list(control::environment_list(&which), &columns).await
        }
        Command::Get { id } => session.read(control::environment_get(id)).await,
        Command::Create { tenant, mode, region, profile_version, clock_offset_ms, dry_run, follow } => {
            let new = EnvironmentNew { mode, region, profile_version, clock_offset_ms };
            let call = control::environment_create(tenant, &new);
            asked(session, call, dry_run, follow).await
        }
        Command::Update { id, profile_version, clock_offset_ms, if_version, dry_run, follow } => {
            let version = match if_version {
                Some(version) => version,
                None => session.client.read(control::environment_get(id)).await?.version,
            };
            let change = EnvironmentChange { profile_version, clock_offset_ms };
            asked(session, control::environment_update(id, version, &change), dry_run, follow).await
        }
        Command::Suspend(Which { id, dry_run, follow }) => {
            asked(session, control::environment_suspend(id), dry_run, follow).await
        }
        Command::Resume(Which { id, dry_run, follow }) => {
            asked(session, control::environment_resume(id), dry_run, follow).await
        }
        Command::Remove(Which { id, dry_run, follow }) => {
            asked(session, control::environment_remove(id), dry_run, follow).await
        }
    }
}

/// Begins an operation, or shows what it would do.
async fn asked(
    session: &Session,
    call: Call<Operation, Planned>,
    dry_run: bool,
    follow: bool,
) -> Result<(), Failure> {
    if dry_run { session.planned(call, true).await } else { session.operation(call, follow).await }
}
