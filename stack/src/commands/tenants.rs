//! `tambo tenants …`.

use std::{fs, path::PathBuf};

use chrono::NaiveDate;
use client::control::{
    self, ResidencyCondition, ResidencyRecordNew, TenantChange, TenantNew, TenantState, TenantStep,
    TenantsWhich,
};
use platform::hash;
use tenants::{
    environment::Mode,
    id::{OrganizationId, ResidencyId, TenantId},
    jurisdiction::JurisdictionId,
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
        /// Those of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
        /// Those with this id of yours
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
        /// Those in this state
        #[arg(long)]
        state: Option<TenantState>,
    },
    /// Reads one
    Get {
        /// Which
        id: TenantId,
    },
    /// Makes one, as a draft
    Create {
        /// As its customers know it
        #[arg(long)]
        name: String,
        /// Under whose law it works, such as mx-cnbv; never changes
        #[arg(long)]
        jurisdiction: JurisdictionId,
        /// A licence of that jurisdiction, such as IFPE
        #[arg(long)]
        licence: String,
        /// Whose it is; an operator has to say
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
        /// Your own id, used once
        #[arg(long, value_name = "ID")]
        external_id: Option<String>,
        /// Checks everything, and shows what would be made
        #[arg(long)]
        dry_run: bool,
    },
    /// Changes one
    Update {
        /// Which
        id: TenantId,
        /// As its customers know it
        #[arg(long)]
        name: Option<String>,
        /// A licence of the jurisdiction
        #[arg(long)]
        licence: Option<String>,
        /// Only if this is still its version; else whatever version it has now
        #[arg(long, value_name = "VERSION")]
        if_version: Option<i64>,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Has a draft looked at
    Verify(Move),
    /// Approves one: it may have environments; for operators
    Approve(Move),
    /// Turns one down, for ever; for operators
    Reject(Move),
    /// Restricts one: what it has goes on, but it gets no new environments and clients; for operators
    Restrict(Move),
    /// Suspends one: its environments answer nobody; for operators
    Suspend(Move),
    /// Ends a suspension or a restriction; for operators
    Resume(Move),
    /// Ends one: its environments are exported, removed, and kept as the law says; there is no way back
    Offboard(Move),
    /// Lists the moves of its state
    Moves {
        /// Of which
        id: TenantId,
    },
    /// Where its data may be, and why
    #[command(subcommand)]
    Residency(Residency),
}

/// A move of a tenant's state.
#[derive(clap::Args)]
pub struct Move {
    /// Which
    id: TenantId,
    /// Why, in a word such as licence_confirmed; recorded for ever
    #[arg(long, value_name = "CODE")]
    reason: String,
    /// Why, in a sentence
    #[arg(long)]
    detail: Option<String>,
    /// Checks everything, and shows what would change
    #[arg(long)]
    dry_run: bool,
}

/// What to do about residency.
#[derive(clap::Subcommand)]
pub enum Residency {
    /// Asks whether its data may be in a region, and what is missing
    Check {
        /// Whose
        id: TenantId,
        /// Where
        #[arg(long)]
        region: RegionCode,
        /// sandbox or live
        #[arg(long)]
        mode: Mode,
    },
    /// Puts on record that a condition is met
    Record {
        /// Whose
        id: TenantId,
        /// notice, certificate, regulator_access or local_only_contract
        #[arg(long)]
        condition: ResidencyCondition,
        /// Where
        #[arg(long)]
        region: RegionCode,
        /// The date of the document, such as 2026-01-31
        #[arg(long, value_name = "DATE")]
        dated_on: NaiveDate,
        /// The document; it stays here, its name and its SHA-256 are recorded
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
        /// Checks everything, and shows what would be recorded
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists what is on record
    List {
        /// Whose
        id: TenantId,
    },
    /// Takes a record back
    Withdraw {
        /// Whose
        id: TenantId,
        /// Which record
        record: ResidencyId,
        /// Checks everything, and shows what would change
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does it.
pub async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { organization, external_id, state } => {
            let list =
                control::tenant_list(&TenantsWhich { organization_id: organization, external_id, state });
            session
                .list(list, &["id", "external_id", "name", "jurisdiction", "licence", "state", "version"])
                .await
        }
        Command::Get { id } => session.read(control::tenant_get(id)).await,
        Command::Create { name, jurisdiction, licence, organization, external_id, dry_run } => {
            let organization_id = organization;
            let new = TenantNew { organization_id, external_id, name, jurisdiction, licence };
            session.planned(control::tenant_create(&new), dry_run).await
        }
        Command::Update { id, name, licence, if_version, dry_run } => {
            let version = match if_version {
                Some(version) => version,
                None => session.client.read(control::tenant_get(id)).await?.version,
            };
            session
                .planned(control::tenant_update(id, version, &TenantChange { name, licence }), dry_run)
                .await
        }
        Command::Verify(step) => {
            session.planned(control::tenant_verify(step.id, &step.why()), step.dry_run).await
        }
        Command::Approve(step) => {
            session.planned(control::tenant_approve(step.id, &step.why()), step.dry_run).await
        }
        Command::Reject(step) => {
            session.planned(control::tenant_reject(step.id, &step.why()), step.dry_run).await
        }
        Command::Restrict(step) => {
            session.planned(control::tenant_restrict(step.id, &step.why()), step.dry_run).await
        }
        Command::Suspend(step) => {
            session.planned(control::tenant_suspend(step.id, &step.why()), step.dry_run).await
        }
        Command::Resume(step) => {
            session.planned(control::tenant_resume(step.id, &step.why()), step.dry_run).await
        }
        Command::Offboard(step) => {
            session.planned(control::tenant_offboard(step.id, &step.why()), step.dry_run).await
        }
        Command::Moves { id } => {
            session.list(control::tenant_move_list(id), &["at", "from", "to", "actor", "reason"]).await
        }
        Command::Residency(command) => residency(session, command).await,
    }
}

impl Move {
    fn why(&self) -> TenantStep {
        TenantStep::new(&self.reason, self.detail.as_deref())
    }
}

async fn residency(session: &Session, command: Residency) -> Result<(), Failure> {
    match command {
        Residency::Check { id, region, mode } => {
            session.read(control::residency_check(id, &region, mode)).await
        }
        Residency::Record { id, condition, region, dated_on, document, dry_run } => {
            let (document_name, document_sha256) = named(&document)?;
            let record = ResidencyRecordNew { condition, region, dated_on, document_name, document_sha256 };
            session.planned(control::residency_record_create(id, &record), dry_run).await
        }
        Residency::List { id } => {
            let columns = ["id", "condition", "region", "dated_on", "document_name", "withdrawn_at"];
            session.list(control::residency_record_list(id), &columns).await
        }
        Residency::Withdraw { id, record, dry_run } => {
            session.planned(control::residency_record_withdraw(id, record), dry_run).await
        }
    }
}

/// The name of a document, and its SHA-256.
pub fn named(document: &PathBuf) -> Result<(String, String), Failure> {
    let bytes = fs::read(document)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", document.display())))?;
    let name = document.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, hash::sha256(bytes)))
}
