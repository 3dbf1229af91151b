//! What the ledger is held against: handlers that do the bare minimum behind the same HTTP stack, in a process of their
//! own, and a loop that sends the writer's own statements.

use std::{
    env,
    error::Error,
    fs::File,
    io::{self, Write},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use data_plane::config::CellConfig;
use platform::{
    db::Db,
    drain::{self, Drain},
    http::Json,
    layers,
    problem::{Catalogue, Problem},
    telemetry,
};
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use serde::Serialize;
use tenants::id::AccountId;
use tokio::{net::TcpListener, sync::oneshot};

use super::world::SCOPE;

/// Where the server's configuration is.
#[derive(clap::Args)]
pub struct Args {
    config: PathBuf,
}

#[derive(Clone)]
struct Bare {
    db: Db,
    /// To the thread that appends.
    file: mpsc::Sender<(Bytes, oneshot::Sender<io::Result<()>>)>,
}

/// Serves the bare handlers until the launcher goes away.
pub fn serve(args: &Args) -> Result<(), Box<dyn Error>> {
    let config: CellConfig = platform::config::load(Some(&args.config), [])?;
    let drain = Drain::new();
    let launcher_gone = drain.clone();
    thread::spawn(move || {
        let _ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
        launcher_gone.begin();
    });
    let file = File::create(env::current_dir()?.join("appended"))?;
    data_plane::runtime()?.block_on(async {
        // As in a cell, each request is counted.
        let _metrics = telemetry::metrics()?;
        let db = Db::connect(&config.database).await?;
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || append(file, &receiver));
        let catalogue = Arc::new(Catalogue::new(config.http.language, &[])?);
        let router = layers::apply(router(Bare { db, file: sender }), &config.http, catalogue);
        let listener = TcpListener::bind(config.cell.listen).await?;
        drain::serve(listener, router, &drain, &config.drain).await?;
        Ok(())
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "no part of a product: handlers to measure others by, in no document"
)]
fn router(state: Bare) -> Router {
    Router::new()
        .route("/ready", get(async || StatusCode::OK))
        .route("/append", post(appended))
        .route("/accounts/{id}", get(selected))
        .with_state(state)
}

/// The body is on the disk when the answer leaves. All bodies that wait share one `fdatasync`, as a log would.
async fn appended(State(bare): State<Bare>, body: Bytes) -> Result<StatusCode, Problem> {
    let (done, answer) = oneshot::channel();
    bare.file.send((body, done)).map_err(Problem::internal)?;
    answer.await.map_err(Problem::internal)?.map_err(Problem::internal)?;
    Ok(StatusCode::CREATED)
}

fn append(mut file: File, bodies: &mpsc::Receiver<(Bytes, oneshot::Sender<io::Result<()>>)>) {
    let mut bytes = Vec::new();
    while let Ok((first, done)) = bodies.recv() {
        bytes.clear();
        bytes.extend_from_slice(&first);
        let mut waiting = vec![done];
        while let Ok((body, done)) = bodies.try_recv() {
            bytes.extend_from_slice(&body);
            waiting.push(done);
        }
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        for done in waiting {
            let result = written.as_ref().copied().map_err(|error| io::Error::from(error.kind()));
            // Who has gone away needs no answer.
            let _gone = done.send(result);
        }
    }
}

/// The columns that a balance follows from.
#[derive(Serialize)]
struct Totals {
    debits_posted: i64,
    credits_posted: i64,
    debits_held: i64,
    credits_held: i64,
}

/// One SELECT in the unit of work that every read of a cell has: BEGIN, SET LOCAL, SELECT, COMMIT.
async fn selected(State(bare): State<Bare>, Path(id): Path<AccountId>) -> Result<Json<Totals>, Problem> {
    let tx = bare.db.begin_read(SCOPE).await?;
    let sql = "SELECT debits_posted, credits_posted, debits_held, credits_held FROM ledger_account \
               WHERE shard_id = $1 AND environment_id = $2 AND id = $3";
    let values = [SCOPE.shard.into(), SCOPE.id.into(), id.uuid().into()];
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let row = tx.query_one_raw(statement).await?.ok_or_else(|| Problem::internal("no such account"))?;
    tx.commit().await?;
    let column = |index| row.try_get_by_index::<i64>(index);
    Ok(Json(Totals {
        debits_posted: column(0)?,
        credits_posted: column(1)?,
        debits_held: column(2)?,
        credits_held: column(3)?,
    }))
}
