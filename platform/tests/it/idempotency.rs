//! A repeated request has its effect once, on both databases.

use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use platform::clock::{Offsets, advance_in_tx};
use platform::ctx::{Actor, Clock, Ctx, EnvironmentClock, Scope};
use platform::db::{Backend, Db};
use platform::http::Json;
use platform::idempotency::{self, Key, Keyed, Outcome, Replayed, begin_in_tx};
use platform::layers::{self, HttpConfig};
use platform::migrations::migrations;
use platform::operation;
use platform::problem::{Catalogue, Language, Problem, codes};
use platform::testing::TestDb;
use platform::testing::oauth::{issuer, token};
use platform::token::{Access, Authorized, Place, Places};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};
use std::sync::Arc;
use tenants::environment::Mode;
use tenants::id::{ClientId, EnvironmentId, PartyId};
use tower::ServiceExt;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

fn ctx(environment: u128, client: u128) -> Ctx {
    Ctx {
        scope: Scope::new(3, Uuid::from_u128(environment)),
        mode: Mode::Sandbox,
        actor: Actor::Client(ClientId::from_uuid(Uuid::from_u128(client))),
        request_id: "r".into(),
        clock: EnvironmentClock::new(Clock::system(), chrono::TimeDelta::zero()),
    }
}

async fn key(target: &str, text: &str) -> Key {
    let request = Request::post(target).header("idempotency-key", text).body(()).unwrap();
    Key::from_request_parts(&mut request.into_parts().0, &()).await.unwrap()
}

/// Takes the key and commits.
async fn take(db: &Db, ctx: &Ctx, key: &Key, resource: u128) -> Result<Outcome, Problem> {
    let tx = db.begin(ctx.scope).await?;
    let outcome = begin_in_tx(&tx, ctx, key, Uuid::from_u128(resource)).await?;
    tx.commit().await?;
    Ok(outcome)
}

#[tokio::test]
async fn a_key_is_taken_once_per_environment_client_and_route() {
    for db in TestDb::both(migrations).await {
        let (here, first) = (ctx(1, 1), key("/v1/things?a", "k").await);
        assert_eq!(take(&db, &here, &first, 10).await.unwrap(), Outcome::New);
        assert_eq!(take(&db, &here, &first, 11).await.unwrap(), Outcome::Replay(Uuid::from_u128(10)));
        let mismatch = take(&db, &here, &key("/v1/things?b", "k").await, 12).await.unwrap_err();
        assert_eq!(mismatch.code(), &codes::IDEMPOTENCY_MISMATCH);
        for (ctx, key) in [
            (ctx(2, 1), first.clone()),
            (ctx(1, 2), first.clone()),
            (here.clone(), key("/v1/others", "k").await),
            (here.clone(), key("/v1/things?a", "K").await),
        ] {
            assert_eq!(take(&db, &ctx, &key, 13).await.unwrap(), Outcome::New);
        }
    }
}

#[tokio::test]
async fn an_effect_that_failed_leaves_the_key_free() {
    for db in TestDb::both(migrations).await {
        let (ctx, key) = (ctx(1, 1), key("/v1/things", "k").await);
        let tx = db.begin(ctx.scope).await.unwrap();
        assert_eq!(begin_in_tx(&tx, &ctx, &key, Uuid::from_u128(10)).await.unwrap(), Outcome::New);
        tx.rollback().await.unwrap();
        assert_eq!(take(&db, &ctx, &key, 11).await.unwrap(), Outcome::New);
    }
}

#[tokio::test]
async fn of_two_at_once_one_acts_and_the_other_replays_it() {
    for db in TestDb::both(migrations).await {
        let (ctx, key) = (ctx(1, 1), key("/v1/things", "k").await);
        let tx = db.begin(ctx.scope).await.unwrap();
        assert_eq!(begin_in_tx(&tx, &ctx, &key, Uuid::from_u128(10)).await.unwrap(), Outcome::New);
        let second = tokio::spawn({
            let (db, ctx, key) = (db.db().clone(), ctx.clone(), key.clone());
            async move { take(&db, &ctx, &key, 11).await }
        });
        if db.backend() == Backend::Postgres {
            wait_until_somebody_waits(&db).await;
        }
        tx.commit().await.unwrap();
        assert_eq!(second.await.unwrap().unwrap(), Outcome::Replay(Uuid::from_u128(10)));
    }
}

#[tokio::test]
async fn who_waits_too_long_is_told_that_the_first_is_still_running() {
    let db = TestDb::postgres(migrations).await;
    let (ctx, key) = (ctx(1, 1), key("/v1/things", "k").await);
    let tx = db.begin(ctx.scope).await.unwrap();
    assert_eq!(begin_in_tx(&tx, &ctx, &key, Uuid::from_u128(10)).await.unwrap(), Outcome::New);
    let problem = take(&db, &ctx, &key, 11).await.unwrap_err();
    assert_eq!(problem.code(), &codes::IDEMPOTENCY_IN_PROGRESS);
    assert_eq!(problem.into_response().headers()[header::RETRY_AFTER], "1");
    tx.commit().await.unwrap();
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a real token expires by the wall clock")]
async fn keys_are_forgotten_after_their_time() {
    for db in TestDb::both(migrations).await {
        let (ctx, key) = (ctx(1, 1), key("/v1/things", "k").await);
        assert_eq!(take(&db, &ctx, &key, 10).await.unwrap(), Outcome::New);
        let days = |days| chrono::Utc::now() + chrono::TimeDelta::days(days);
        for (shard, now, expected) in [
            (3, days(idempotency::KEPT_DAYS - 1), 0),
            (4, days(idempotency::KEPT_DAYS + 1), 0),
            (3, days(idempotency::KEPT_DAYS + 1), 1),
        ] {
            assert_eq!(idempotency::system::forget_old(&db, shard, now).await.unwrap(), expected);
        }
        assert_eq!(take(&db, &ctx, &key, 11).await.unwrap(), Outcome::New);
    }
}

/// Until a session of this database waits for a lock.
async fn wait_until_somebody_waits(db: &TestDb) {
    let root = db.root().await;
    let waiting =
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = Statement::from_string(root.get_database_backend(), waiting);
    while root.query_one_raw(waiting.clone()).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
}

platform::scopes! {
    /// Change things.
    ThingsWrite = "things:write";
}

#[derive(Clone)]
struct App {
    access: Access,
    db: Db,
}

impl FromRef<App> for Access {
    fn from_ref(app: &App) -> Self {
        app.access.clone()
    }
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewThing {
    name: String,
}

/// Make a thing.
#[utoipa::path(post, path = "/v1/things", operation_id = "thing_create", request_body = NewThing,
    responses((status = 201, body = Value)))]
async fn thing_create(
    caller: Authorized<ThingsWrite>,
    State(app): State<App>,
    Keyed { key, body }: Keyed<NewThing>,
) -> Result<Response, Problem> {
    let id: PartyId = caller.new_id();
    let tx = app.db.begin(caller.scope).await?;
    let outcome = begin_in_tx(&tx, &caller, &key, id.uuid()).await?;
    tx.commit().await?;
    let answer =
        |id: PartyId| (StatusCode::CREATED, Json(json!({"id": id, "name": body.name, "at": caller.now()})));
    Ok(match outcome {
        Outcome::New => answer(id).into_response(),
        Outcome::Replay(id) => Replayed(answer(PartyId::from_uuid(id))).into_response(),
    })
}

#[tokio::test]
async fn a_repeated_post_gets_the_first_answer_and_says_so_in_the_environments_time() {
    let db = TestDb::sqlite(migrations).await;
    let start = chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    let clock = Clock::manual(start);
    let offsets = Offsets::new(db.db().clone(), clock.clone());
    let moved = start + chrono::TimeDelta::days(3);
    let scope = Scope::new(0, Uuid::from_u128(2));
    let tx = db.begin(scope).await.unwrap();
    advance_in_tx(&tx, scope, Mode::Sandbox, start, moved).await.unwrap();
    tx.commit().await.unwrap();
    let issuer = issuer(db.db(), clock.clone()).await;
    let token = token(&issuer, &clock, scope, Mode::Sandbox, &["things:write"]).await;
    let places = Places::default();
    let place = Place { shard: 0, mode: Mode::Sandbox, suspended: false };
    places.put(EnvironmentId::from_uuid(scope.id), Some(place));
    let app = App { access: Access::of_cell(issuer, clock, offsets, places), db: db.db().clone() };
    let router: axum::Router =
        OpenApiRouter::new().routes(operation!(thing_create)).with_state(app).split_for_parts().0;
    let catalogue = Arc::new(Catalogue::new(Language::En, &[]).unwrap());
    let router = layers::apply(router, &HttpConfig::default(), catalogue);
    let post = async |key: Option<&str>, body: &'static str| {
        let mut request = Request::post("/v1/things")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
        let replayed = response.headers().get("idempotency-replayed").is_some_and(|value| value == "true");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, replayed, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, replayed, first) = post(Some("k"), r#"{"name":"a"}"#).await;
    assert_eq!((status, replayed), (201, false));
    assert_eq!(first["at"], json!(moved));
    assert_eq!(post(Some("k"), r#"{"name":"a"}"#).await, (201, true, first.clone()));
    let (status, _, problem) = post(Some("k"), r#"{"name":"b"}"#).await;
    assert_eq!((status, &problem["code"]), (422, &json!("idempotency_mismatch")));
    let (status, replayed, other) = post(Some("l"), r#"{"name":"a"}"#).await;
    assert_eq!((status, replayed), (201, false));
    assert_ne!(other["id"], first["id"]);
    let (status, _, problem) = post(None, r#"{"name":"a"}"#).await;
    assert_eq!((status, &problem["code"]), (400, &json!("idempotency_key_missing")));
    assert_eq!(
        problem["errors"][0],
        json!({
            "pointer": "idempotency-key", "in": "header", "code": "missing", "detail": "This field is required."
        })
    );
}
