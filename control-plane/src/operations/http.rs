//! Routes of operations.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{FromRef, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use chrono::{DateTime, Utc};
use futures::{Stream, stream};
use platform::{
    ctx::Ctx,
    db::Db,
    http::{Json, Path, Query},
    idempotency::{Done, Key, Replayed},
    openapi::utoipa_axum::router::OpenApiRouter,
    operation,
    page::{Cursor, Limit, Page},
    problem::{In, Problem, codes},
    token::{Access, Authorized},
};
use serde::{Deserialize, Serialize};
use tenants::id::{OperationId, OrganizationId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::{IntoParams, ToSchema};

use super::{Error, Filter, Kind, Operation, Progress, Reason, State as Life, Step, StepState, acting};
use crate::organizations::ORGANIZATION_NOT_FOUND;

platform::scopes! {
    /// Read operations and watch them.
    OperationsRead = "operations:read";
    /// Cancel operations.
    OperationsWrite = "operations:write";
}

platform::problem_codes! {
    /// There is no such operation that this caller may know of.
    OPERATION_NOT_FOUND = 404 "operation_not_found";
    /// Another operation about the same thing is running.
    OPERATION_RUNNING = 409 "operation_running", retryable;
    /// The operation has ended, or is past the point to which it can be undone.
    OPERATION_NOT_CANCELLABLE = 409 "operation_not_cancellable";
}

/// How many streams of events are open at once; a stream holds no place among the requests in flight.
const MOST_STREAMS: usize = 100;
/// How often a stream looks for more.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a stream that has nothing to say says so, for the proxies on the way.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// The streams of events that are open. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_STREAMS)))
    }
}

/// The routes.
pub fn router<S>() -> OpenApiRouter<S>
where
    S: Clone + Send + Sync + 'static,
    Db: FromRef<S>,
    Access: FromRef<S>,
    Streams: FromRef<S>,
{
    OpenApiRouter::new()
        .routes(operation!(operation_list, &ORGANIZATION_NOT_FOUND, &codes::INVALID_CURSOR))
        .routes(operation!(operation_get, &OPERATION_NOT_FOUND))
        .routes(operation!(
            operation_cancel,
            &OPERATION_NOT_FOUND,
            &OPERATION_NOT_CANCELLABLE,
            &codes::STORAGE_FULL
        ))
        .routes(operation!(operation_events, &OPERATION_NOT_FOUND, &codes::INVALID_PARAMETER))
}

/// Something that takes a while.
#[derive(Serialize, ToSchema)]
#[schema(as = Operation)]
pub struct Wire {
    #[schema(example = "op_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    id: OperationId,
    organization_id: OrganizationId,
    kind: Kind,
    /// The id of what it is about.
    #[schema(example = "env_01jd4q8e7xf2r9k3m5n7p0s4t6")]
    subject_id: String,
    state: Life,
    /// Why it ended so; null while it has not, or where there is nothing to say.
    reason: Option<Reason>,
    /// Who asked for it.
    actor: String,
    /// The generation of its subject that it brings about.
    generation: i64,
    progress: Progress,
    /// Whether it may still be cancelled.
    cancellable: bool,
    cancel_asked_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    ended_at: Option<DateTime<Utc>>,
}

impl From<Operation> for Wire {
    fn from(operation: Operation) -> Self {
        Self {
            id: operation.id,
            organization_id: operation.organization,
            kind: operation.kind,
            subject_id: operation.subject,
            state: operation.state,
            reason: operation.reason,
            actor: operation.actor,
            generation: operation.generation,
            progress: operation.progress,
            cancellable: operation.cancellable,
            cancel_asked_at: operation.cancel_asked_at,
            created_at: operation.created_at,
            ended_at: operation.ended_at,
        }
    }
}

/// A step of an operation.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationStep)]
struct WireStep {
    /// Counts the operation's steps, from 1.
    seq: i64,
    #[schema(example = "place")]
    name: String,
    state: StepState,
    /// For people.
    detail: Option<String>,
    /// How far the operation was then.
    progress: Progress,
    at: DateTime<Utc>,
}

impl WireStep {
    /// A step of an operation.
    fn of(operation: &Operation, step: Step) -> Self {
        let Step { seq, name, state, detail, done, at } = step;
        Self { seq, name, state, detail, progress: Progress { done, ..operation.progress }, at }
    }
}

/// An operation with its steps.
#[derive(Serialize, ToSchema)]
#[schema(as = OperationWithSteps)]
struct WireWithSteps {
    #[serde(flatten)]
    operation: Wire,
    /// The oldest first.
    steps: Vec<WireStep>,
}

const LIST: &str = "operations";

/// Which operations to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// How many items at most: 1 to 200.
    #[serde(default)]
    #[param(required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    cursor: Option<Cursor>,
    /// Those of this organization; an operator who names none sees all.
    #[param(value_type = Option<String>)]
    organization_id: Option<OrganizationId>,
    /// Those about this.
    subject_id: Option<String>,
    /// Those in this state.
    #[param(inline)]
    state: Option<Life>,
}

/// Lists operations, the oldest first.
#[utoipa::path(get, path = "/v1/operations", operation_id = "operation_list", tag = "operations", params(Which),
    responses((status = 200, description = "A page of operations", body = Page<Wire>)))]
async fn operation_list(
    ctx: Authorized<OperationsRead>,
    State(db): State<Db>,
    Query(which): Query<Which>,
) -> Result<Json<Page<Wire>>, Problem> {
    let Which { limit, cursor, organization_id, subject_id, state } = which;
    let after = cursor.map(|cursor| cursor.key(LIST)).transpose()?;
    let filter = Filter { after, subject: subject_id, state };
    let operations = super::list(&db, &ctx, organization_id, &filter, limit.rows()).await?;
    Ok(Json(Page::of(LIST, operations, limit, |operation| operation.id).map(Wire::from)))
}

/// Reads an operation and its steps.
#[utoipa::path(get, path = "/v1/operations/{id}", operation_id = "operation_get", tag = "operations",
    params(("id" = OperationId, Path, description = "The operation")),
    responses((status = 200, description = "The operation", body = WireWithSteps)))]
async fn operation_get(
    ctx: Authorized<OperationsRead>,
    State(db): State<Db>,
    Path(id): Path<OperationId>,
) -> Result<Json<WireWithSteps>, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let (operation, steps) = super::get(&db, &ctx, id, 0).await?;
    let steps = steps.into_iter().map(|step| WireStep::of(&operation, step)).collect();
    Ok(Json(WireWithSteps { operation: operation.into(), steps }))
}

/// Asks to cancel an operation: it ends as `cancelled` when what it had begun is undone.
#[utoipa::path(post, path = "/v1/operations/{id}/cancellations", operation_id = "operation_cancel",
    tag = "operations", params(("id" = OperationId, Path, description = "The operation")),
    responses((status = 202, description = "The operation", body = Wire)))]
async fn operation_cancel(
    ctx: Authorized<OperationsWrite>,
    State(db): State<Db>,
    Path(id): Path<OperationId>,
    key: Key,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let Done { what, replayed } = super::cancel(&db, &ctx, &key, id).await?;
    Ok(Replayed::when(replayed, (StatusCode::ACCEPTED, Json(Wire::from(what)))))
}

/// Watches an operation: an event `step` per step, with its number as `id`, and at its end an event `state`.
///
/// Server-sent events (WHATWG HTML §9.2). Whoever comes back with `Last-Event-ID` misses nothing. The stream ends after
/// the event `state`.
#[utoipa::path(get, path = "/v1/operations/{id}/events", operation_id = "operation_events", tag = "operations",
    params(("id" = OperationId, Path, description = "The operation"),
        ("Last-Event-ID" = Option<i64>, Header, description = "The last event that you have seen")),
    responses((status = 200, description = "The events", body = String, content_type = "text/event-stream")))]
async fn operation_events(
    ctx: Authorized<OperationsRead>,
    State(db): State<Db>,
    State(streams): State<Streams>,
    headers: HeaderMap,
    Path(id): Path<OperationId>,
) -> Result<Response, Problem> {
    let ctx = acting(&db, &ctx, id).await?;
    let after = match headers.get("last-event-id") {
        None => 0,
        Some(seen) => seen
            .to_str()
            .ok()
            .and_then(|seen| seen.parse::<i64>().ok())
            .filter(|seen| *seen >= 0)
            .ok_or_else(|| {
                let problem = Problem::new(&codes::INVALID_PARAMETER);
                problem.parameter(In::Header, "last-event-id", &codes::INVALID_VALUE)
            })?,
    };
    // Whether it is there is answered before the stream begins.
    super::get(&db, &ctx, id, i64::MAX).await?;
    let permit = Arc::clone(&streams.0).try_acquire_owned();
    let permit = permit.map_err(|_| Problem::new(&codes::OVERLOADED).retry_after(5))?;
    let events = events(Watch {
        db,
        ctx,
        id,
        after,
        told: VecDeque::new(),
        ended: false,
        first: true,
        _permit: permit,
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response())
}

/// Somebody who watches an operation.
struct Watch {
    db: Db,
    ctx: Ctx,
    id: OperationId,
    after: i64,
    told: VecDeque<Event>,
    ended: bool,
    first: bool,
    _permit: OwnedSemaphorePermit,
}

fn events(watch: Watch) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(watch, |mut watch| async move {
        loop {
            if let Some(event) = watch.told.pop_front() {
                return Some((Ok(event), watch));
            }
            if watch.ended {
                return None;
            }
            if !std::mem::take(&mut watch.first) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            match super::get(&watch.db, &watch.ctx, watch.id, watch.after).await {
                Ok((operation, steps)) => watch.tell(operation, steps),
                // The reader comes back with the last event it has seen.
                Err(error) => {
                    tracing::warn!(%error, "a stream of events ends early");
                    return None;
                }
            }
        }
    })
}

impl Watch {
    fn tell(&mut self, operation: Operation, steps: Vec<Step>) {
        for step in steps {
            self.after = step.seq;
            let event = Event::default().event("step").id(step.seq.to_string());
            self.told.push_back(event.data(text(&WireStep::of(&operation, step))));
        }
        if operation.state.is_final() {
            self.ended = true;
            self.told.push_back(Event::default().event("state").data(text(&Wire::from(operation))));
        }
    }
}

/// One line of JSON, which a wire type has.
fn text(shown: &impl Serialize) -> String {
    serde_json::to_string(shown).unwrap_or_default()
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::NotFound => Problem::new(&OPERATION_NOT_FOUND),
            Error::Running(id) => {
                Problem::new(&OPERATION_RUNNING).arg("operation", id.to_string()).retry_after(5)
            }
            Error::NotCancellable => Problem::new(&OPERATION_NOT_CANCELLABLE),
            Error::Organization(error) => error.into(),
            Error::Database(error) => error.into(),
            Error::Problem(problem) => problem,
        }
    }
}
