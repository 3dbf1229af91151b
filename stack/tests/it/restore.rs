//! What becomes of environments when a control plane, or a cell, has lost what it knew.

use std::{fs, path::PathBuf};

use chrono::TimeDelta;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};

use crate::{
    link::numbers,
    planes::{Home, Plane, id, now, settled, until},
    steps::client,
};

/// Copies the rows of a control plane that is stopped.
fn back_up(home: &Home) -> PathBuf {
    let backup = home.database().with_extension("backup");
    fs::copy(home.database(), &backup).unwrap();
    home.clock.advance(TimeDelta::minutes(1));
    backup
}

/// Puts the copy in the place of the rows of a control plane that is stopped, and starts it.
async fn restore(home: &Home, backup: &PathBuf) -> Plane {
    fs::copy(backup, home.database()).unwrap();
    for left in ["db-wal", "db-shm"] {
        let _absent = fs::remove_file(home.database().with_extension(left));
    }
    home.clock.advance(TimeDelta::minutes(1));
    home.start().await
}

/// The one environment that the control plane knows, when it is ready.
async fn the_one_that_is_ready(plane: &Plane) -> Value {
    until("there is an environment that is ready", async || {
        let shown = plane.look("/v1/environments").await["data"][0].clone();
        shown["state"] == "ready" && shown["generation"] == shown["observed_generation"]
    })
    .await;
    let all = plane.read("/v1/environments").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 1, "{all}");
    all["data"][0].clone()
}

fn condition<'a>(environment: &'a Value, name: &str) -> &'a Value {
    let all = environment["conditions"].as_array().unwrap();
    all.iter().find(|one| one["type"] == name).map_or(&Value::Null, |one| &one["status"])
}

#[tokio::test]
async fn what_an_older_backup_has_lost_is_taken_up_from_the_cell_with_its_clients() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, cell_id) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    plane.stop().await;
    let backup = back_up(&home);

    let plane = home.start().await;
    let environment = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&environment, "ready").await;
    let made = plane.post_ok(&format!("/v1/environments/{environment}/clients"), client(), 201).await;
    plane.environment_comes_to(&environment, "ready").await;
    plane.stop().await;

    let plane = restore(&home, &backup).await;
    let shown = the_one_that_is_ready(&plane).await;
    assert_eq!(id(&shown), environment);
    assert_eq!(condition(&shown, "Recovered"), "true", "{shown}");
    assert!(cell.serves(&environment));
    let clients = plane.read(&format!("/v1/clients?environment_id={environment}")).await;
    assert_eq!(clients["data"][0]["id"], made["id"], "{clients}");
    let known = "SELECT count(*) FROM oauth_client WHERE removed_ns IS NULL AND scope_id IS NOT NULL";
    assert_eq!(numbers(&cell.app.db, known).await, [1], "it was never cut off");
    assert_eq!(plane.read(&format!("/v1/cells/{cell_id}")).await["placed"], 1);
    // It is the control plane's again, to the end.
    plane.ask(&environment, "removals").await;
    plane.environment_comes_to(&environment, "removed").await;
    assert_eq!(plane.read(&format!("/v1/cells/{cell_id}")).await["placed"], 0);
    cell.is_up().await;
}

#[tokio::test]
async fn an_environment_is_placed_where_it_is_already() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, cell_id) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    plane.post_ok(&format!("/v1/cells/{cell_id}/drains"), json!({}), 200).await;
    let environment = plane.declare_environment(&tenant, &own).await;
    until("it waits for a place", async || {
        plane.look(&format!("/v1/environments/{environment}")).await["state"] == "provisioning"
    })
    .await;
    plane.stop().await;
    let backup = back_up(&home);

    let plane = home.start().await;
    plane.post_ok(&format!("/v1/cells/{cell_id}/resumptions"), json!({}), 200).await;
    home.clock.advance(TimeDelta::minutes(1));
    plane.environment_comes_to(&environment, "ready").await;
    plane.stop().await;

    // Here the cell takes nothing new.
    let plane = restore(&home, &backup).await;
    let shown = the_one_that_is_ready(&plane).await;
    assert_eq!(shown["cell_id"], json!(cell_id), "{shown}");
    let there = plane.read(&format!("/v1/cells/{cell_id}")).await;
    assert_eq!((&there["placed"], &there["state"]), (&json!(1), &json!("draining")), "{there}");
    cell.is_up().await;
}

#[tokio::test]
async fn an_environment_that_its_cell_has_lost_is_called_missing_and_is_not_made_anew() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, _) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let environment = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&environment, "ready").await;
    cell.app.db.worker().execute_unprepared("DELETE FROM environment").await.unwrap();
    let path = format!("/v1/environments/{environment}");
    until("it is called missing", async || condition(&plane.look(&path).await, "Reported") == "false").await;
    // What is told of it is settled: the same is not told for ever.
    until("everything was told", async || !cell.stored().await.resync).await;
    let told = cell.stored().await.seq;
    until("there are heartbeats", async || cell.stored().await.seq > told + 3).await;
    assert!(!cell.stored().await.resync);
    assert_eq!(numbers(&cell.app.db, "SELECT count(*) FROM environment").await, [0]);
    assert_eq!(numbers(&plane.app.db, "SELECT count(*) FROM link_observed").await, [0]);
}
