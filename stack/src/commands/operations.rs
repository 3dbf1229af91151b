//! `tambo operations …`.

use std::time::Duration;

use client::{
    Event,
    control::{self, OperationProgress, OperationState, OperationStep, OperationsWhich},
};
use futures::TryStreamExt;
use indicatif::ProgressBar;
use tenants::id::{OperationId, OrganizationId};

use super::session::{Connection, Failure, Session};
use crate::console::say;

/// How often the picture moves that says that something goes on.
const TICK: Duration = Duration::from_millis(100);

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
        /// Those about this, such as an environment
        #[arg(long, value_name = "ID")]
        subject: Option<String>,
        /// Those in this state
        #[arg(long)]
        state: Option<OperationState>,
    },
    /// Reads one and its steps
    Get {
        /// Which
        id: OperationId,
    },
    /// Follows one to its end, step by step; exit code 0 only if it succeeds
    Follow {
        /// Which
        id: OperationId,
        /// Leaves out the steps up to this one
        #[arg(long, value_name = "STEP")]
        after: Option<i64>,
    },
    /// Asks to cancel one
    Cancel {
        /// Which
        id: OperationId,
    },
}

/// Does it.
pub async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { organization, subject, state } => {
            let which = OperationsWhich { organization_id: organization, subject_id: subject, state };
            session
                .list(
                    control::operation_list(&which),
                    &["id", "kind", "subject_id", "state", "created_at", "ended_at"],
                )
                .await
        }
        Command::Get { id } => session.read(control::operation_get(id)).await,
        Command::Follow { id, after } => follow(session, id, after).await,
        Command::Cancel { id } => session.effect(control::operation_cancel(id)).await,
    }
}

/// Follows an operation, and shows it when it has ended.
pub async fn follow(session: &Session, id: OperationId, after: Option<i64>) -> Result<(), Failure> {
    let bar = ProgressBar::new_spinner();
    bar.set_message(format!("{id}"));
    bar.enable_steady_tick(TICK);
    let events = session.client.follow(id, after);
    futures::pin_mut!(events);
    let mut state = OperationState::Unknown;
    while let Some(event) = events.try_next().await? {
        match event {
            Event::Step(step) => {
                bar.set_message(format!("{id} {}", far(step.progress)));
                bar.suspend(|| say(line(&step)));
            }
            Event::Ended(operation) => state = operation.state,
        }
    }
    bar.finish_and_clear();
    session.read(control::operation_get(id)).await?;
    if state == OperationState::Succeeded { Ok(()) } else { Err(Failure::Ended) }
}

fn line(step: &OperationStep) -> String {
    let detail = step.detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default();
    let (seq, far, state) = (step.seq, far(step.progress), step.state.as_str());
    format!("{seq:>3} {far:>5}  {state:<8}{}{detail}", step.name)
}

/// How far an operation is, such as `3/11`.
fn far(progress: OperationProgress) -> String {
    format!("{}/{}", progress.done, progress.of)
}
