//! `tambo cells …`.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use client::control::{self, CellAttestationPut, CellChange, CellNew, CellsWhich, JoinTokenNew};
use tenants::{
    environment::Mode,
    id::{CellId, TenantId},
    jurisdiction::JurisdictionId,
    region::RegionCode,
};

use super::{
    session::{Connection, Failure, Session},
    tenants::named,
};

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
        /// The one of this name
        #[arg(long)]
        name: Option<String>,
    },
    /// Reads one
    Get {
        /// Which
        id: CellId,
    },
    /// Declares one; a join token lets it in
    Create {
        /// Used once, such as mx-1
        #[arg(long)]
        name: String,
        /// Under whose law it is, such as mx-cnbv; never changes
        #[arg(long)]
        jurisdiction: JurisdictionId,
        /// Where it stands; never changes
        #[arg(long)]
        region: RegionCode,
        /// sandbox or live; never changes
        #[arg(long)]
        mode: Mode,
        /// How many environments it may have
        #[arg(long)]
        capacity: i32,
        /// The tenant that has it for itself
        #[arg(long, value_name = "TENANT")]
        dedicated_to: Option<TenantId>,
        /// Checks everything, and shows what would be made
        #[arg(long)]
        dry_run: bool,
    },
    /// Changes one
    Update {
        /// Which
        id: CellId,
        /// How many environments it may have
        #[arg(long)]
        capacity: Option<i32>,
        /// The tenant that has it for itself
        #[arg(long, value_name = "TENANT")]
        dedicated_to: Option<TenantId>,
        /// No tenant has it for itself
        #[arg(long, conflicts_with = "dedicated_to")]
        shared: bool,
        /// Only if this is still its version; else whatever version it has now
        #[arg(long, value_name = "VERSION")]
        if_version: Option<i64>,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Makes a join token and prints it, once; treat it as a password
    JoinToken {
        /// For which
        id: CellId,
        /// How long it is good, in seconds; an hour by default
        #[arg(long, value_name = "SECONDS")]
        expires_in: Option<u32>,
        /// Who enrols with it takes the place of who has enrolled
        #[arg(long)]
        replace_instance: bool,
    },
    /// Puts on record that one was certified
    Attest {
        /// Which
        id: CellId,
        /// As profiles name it, such as iso27001
        kind: String,
        /// From when, such as 2026-01-01T00:00:00Z
        #[arg(long, value_name = "TIME")]
        valid_from: DateTime<Utc>,
        /// Until when
        #[arg(long, value_name = "TIME")]
        valid_until: DateTime<Utc>,
        /// The document; it stays here, its name and its SHA-256 are recorded
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists what one was certified for, also what has ended
    Attestations {
        /// Which
        id: CellId,
    },
    /// Places nothing more in one
    Drain {
        /// Which
        id: CellId,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Ends a drain
    Resume {
        /// Which
        id: CellId,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Retires an empty one, for ever
    Retire {
        /// Which
        id: CellId,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does it.
pub async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { name } => {
            let columns = [
                "id",
                "name",
                "jurisdiction",
                "region",
                "mode",
                "state",
                "placed",
                "capacity",
                "backlog",
                "dead",
                "certificate_not_after",
                "seen_at",
                "stale",
                "url",
            ];
            session.list(control::cell_list(&CellsWhich { name }), &columns).await
        }
        Command::Get { id } => session.read(control::cell_get(id)).await,
        Command::Create { name, jurisdiction, region, mode, capacity, dedicated_to, dry_run } => {
            let dedicated_tenant_id = dedicated_to;
            let new = CellNew { name, jurisdiction, region, mode, capacity, dedicated_tenant_id };
            session.planned(control::cell_create(&new), dry_run).await
        }
        Command::Update { id, capacity, dedicated_to, shared, if_version, dry_run } => {
            let version = match if_version {
                Some(version) => version,
                None => session.client.read(control::cell_get(id)).await?.version,
            };
            let dedicated_tenant_id = if shared { Some(None) } else { dedicated_to.map(Some) };
            let change = CellChange { capacity, dedicated_tenant_id };
            session.planned(control::cell_update(id, version, &change), dry_run).await
        }
        Command::JoinToken { id, expires_in, replace_instance } => {
            let new = JoinTokenNew { expires_in_s: expires_in, replace_instance };
            session.effect(control::cell_join_token_create(id, &new)).await
        }
        Command::Attest { id, kind, valid_from, valid_until, document, dry_run } => {
            let (document_name, document_sha256) = named(&document)?;
            let put = CellAttestationPut { valid_from, valid_until, document_name, document_sha256 };
            session.planned(control::cell_attestation_put(id, kind.as_str().into(), &put), dry_run).await
        }
        Command::Attestations { id } => {
            let columns = ["kind", "valid_from", "valid_until", "document_name"];
            session.list(control::cell_attestation_list(id), &columns).await
        }
        Command::Drain { id, dry_run } => session.planned(control::cell_drain(id), dry_run).await,
        Command::Resume { id, dry_run } => session.planned(control::cell_resume(id), dry_run).await,
        Command::Retire { id, dry_run } => session.planned(control::cell_retire(id), dry_run).await,
    }
}
