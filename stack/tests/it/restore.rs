//! What becomes of environments when a control plane, or a cell, has lost what it knew.

use std::{fs, path::PathBuf};

use chrono::TimeDelta;
use platform::oauth::Credential;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use tenants::id::ClientId;
use uuid::Uuid;

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
    let client = make(&plane, &environment, &key()).await;
    plane.environment_comes_to(&environment, "ready").await;
    cell.app.db.worker().execute_unprepared("DELETE FROM environment").await.unwrap();
    let path = format!("/v1/environments/{environment}");
    until("it is called missing", async || condition(&plane.look(&path).await, "Reported") == "false").await;
    // What is told of it is settled: the same is not told for ever.
    until("everything was told", async || !cell.stored().await.resync).await;
    let told = cell.stored().await.seq;
    until("there are heartbeats", async || cell.stored().await.seq > told + 3).await;
    assert!(!cell.stored().await.resync);
    // Whatever is wanted of it from then on.
    let jwk = key().public();
    let keys = json!([{"kty": "EC", "crv": "P-256", "x": jwk.x, "y": jwk.y}]);
    plane.post_seen(&format!("/v1/clients/{client}/rotations"), json!({"keys": keys}), 1).await;
    make(&plane, &environment, &key()).await;
    let asked = plane.post_ok(&format!("{path}/suspensions"), json!({}), 202).await;
    let asked = format!("/v1/operations/{}", id(&asked));
    until("the suspension has ended", async || !plane.look(&asked).await["ended_at"].is_null()).await;
    let ended = plane.read(&asked).await;
    assert_eq!(
        (&ended["state"], &ended["reason"]["code"]),
        (&json!("failed"), &json!("environment_missing")),
        "{ended}"
    );
    let told = cell.stored().await.seq;
    until("there are more heartbeats", async || cell.stored().await.seq > told + 3).await;
    assert_eq!(numbers(&cell.app.db, "SELECT count(*) FROM environment").await, [0]);
    assert_eq!(numbers(&plane.app.db, "SELECT count(*) FROM link_observed").await, [0]);
    assert_eq!(condition(&plane.read(&path).await, "Reported"), "false");
}

#[tokio::test]
async fn a_cell_that_was_restored_tells_what_it_has_before_it_asks() {
    let home = Home::sqlite(now()).await;
    let (plane, cell_home, cell, cell_id) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let kept = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&kept, "ready").await;
    cell.stop().await;
    let (file, backup) = (cell_home.folder().join("cell.db"), cell_home.folder().join("backup.db"));
    fs::copy(&file, &backup).unwrap();

    let cell = cell_home.start(&home.clock).await;
    let (tenant, own) = plane.tenant("mercado").await;
    let lost = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&lost, "ready").await;
    cell.stop().await;
    fs::copy(&backup, &file).unwrap();

    // It finds what is wanted of the one it has lost, and does not ask for it.
    let there = "SELECT count(*) FROM environment";
    let cell = cell_home.start(&home.clock).await;
    cell.is_refused("cell_forked").await;
    assert_eq!(numbers(&cell.app.db, there).await, [1]);
    cell_home.put_token(&plane.join_token(cell_id, json!({"replace_instance": true})).await);
    cell.is_up().await;
    let path = format!("/v1/environments/{lost}");
    until("it is called missing", async || condition(&plane.look(&path).await, "Reported") == "false").await;
    plane.ask(&kept, "suspensions").await;
    plane.environment_comes_to(&kept, "suspended").await;
    assert_eq!(numbers(&cell.app.db, there).await, [1], "it was not made anew");
    // What is left of it in the control plane may go.
    plane.ask(&lost, "removals").await;
    plane.environment_comes_to(&lost, "removed").await;
    assert_eq!(plane.read(&format!("/v1/cells/{cell_id}")).await["placed"], 1);
}

/// A client of an environment with this key.
async fn make(plane: &Plane, environment: &str, key: &Credential) -> String {
    let public = key.public();
    let keys = json!([{"kty": "EC", "crv": "P-256", "x": public.x, "y": public.y}]);
    let body =
        json!({"name": "core", "method": "private_key_jwt", "scopes": ["accounts:read"], "keys": keys});
    id(&plane.post_ok(&format!("/v1/environments/{environment}/clients"), body, 201).await)
}

fn key() -> Credential {
    Credential::make(ClientId::from_uuid(Uuid::from_u128(1))).unwrap()
}

#[tokio::test]
async fn a_control_plane_that_was_restored_brings_no_revoked_client_or_credential_back() {
    restored_and_changed(0).await;
}

#[tokio::test]
async fn nor_one_that_was_changed_before_it_has_heard_of_its_cells() {
    for changes in [1, 3] {
        restored_and_changed(changes).await;
    }
}

/// Restores a control plane, and lets so many other clients be made before it hears of the cell.
async fn restored_and_changed(changes: usize) {
    let home = Home::sqlite(now()).await;
    let (plane, kept_home, cell, _) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let environment = plane.declare_environment(&tenant, &own).await;
    let (old, new) = (key(), key());
    let revoked = make(&plane, &environment, &key()).await;
    let rotated = make(&plane, &environment, &old).await;
    let kept = make(&plane, &environment, &key()).await;
    plane.environment_comes_to(&environment, "ready").await;
    let issuer = cell.app.issuer.clone();
    let known = async |id: &str| {
        let id: ClientId = id.parse().unwrap();
        issuer.store().registration(id).await.unwrap().unwrap().client
    };
    until("the cell knows all", async || {
        let id: ClientId = kept.parse().unwrap();
        cell.app.issuer.store().registration(id).await.unwrap().is_some()
    })
    .await;
    plane.stop().await;
    let backup = back_up(&home);

    let plane = home.start().await;
    let jwk = new.public();
    let keys = json!([{"kty": "EC", "crv": "P-256", "kid": jwk.kid, "x": jwk.x, "y": jwk.y}]);
    let rotation = json!({"keys": keys, "revoke_tokens": true});
    plane.post_ok(&format!("/v1/clients/{revoked}/revocations"), json!({}), 200).await;
    let path = format!("/v1/clients/{rotated}/rotations");
    plane.post_seen(&path, rotation, 1).await;
    until("the cell knows of both", async || {
        known(&revoked).await.revoked && known(&rotated).await.keys == [new.public()]
    })
    .await;
    let epoch = known(&rotated).await.epoch;
    plane.environment_comes_to(&environment, "ready").await;
    plane.stop().await;

    let running = if changes == 0 {
        Some(cell)
    } else {
        cell.stop().await;
        None
    };
    let plane = restore(&home, &backup).await;
    for _ in 0..changes {
        make(&plane, &environment, &key()).await;
    }
    let cell = match running {
        Some(cell) => cell,
        None => kept_home.start(&home.clock).await,
    };
    let issuer = cell.app.issuer.clone();
    let known = async |id: &str| {
        let id: ClientId = id.parse().unwrap();
        issuer.store().registration(id).await.unwrap().unwrap().client
    };
    until("the control plane has heard of it", async || {
        plane.look(&format!("/v1/clients/{revoked}")).await["revoked"] == true
    })
    .await;
    plane.environment_comes_to(&environment, "ready").await;
    let shown = plane.read(&format!("/v1/clients/{rotated}")).await;
    assert_eq!(shown["keys"], keys, "{shown}");
    assert!(shown["epoch"].as_i64().unwrap() > 0, "{shown}");
    // Whatever is wanted from now on, it is not them again.
    let last = make(&plane, &environment, &key()).await;
    until("the cell knows the last", async || {
        let id: ClientId = last.parse().unwrap();
        cell.app.issuer.store().registration(id).await.unwrap().is_some()
    })
    .await;
    assert!(known(&revoked).await.revoked);
    let now = known(&rotated).await;
    assert_eq!(now.keys, [new.public()]);
    assert!(now.epoch >= epoch, "{} {epoch}", now.epoch);
    assert!(!known(&kept).await.revoked, "it was never cut off");
    cell.is_up().await;
}
