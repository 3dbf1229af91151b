//! The link between the planes, over TLS: what is declared in one comes to be in the other, whatever breaks on the way.

use std::{fs, future::poll_fn, pin::pin, task::Poll};

use chrono::TimeDelta;
use control_plane::{PLATFORM, links};
use data_plane::{config::CellConfig, link::Error};
use platform::{config, ctx::Clock, db::Db};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::json;
use tenants::{
    contract::{Body, Document, EnvironmentIntent},
    environment::{Desired, Mode, Status},
    id::{CellId, EnvironmentId, OrganizationId, TenantId},
};
use uuid::Uuid;

use crate::planes::{CellHome, Home, Plane, Way, database_at, now, settled, until};

/// Longer than a lease.
const A_WHILE: TimeDelta = TimeDelta::seconds(1);

pub async fn numbers(db: &Db, sql: &str) -> Vec<i64> {
    let connection = db.worker();
    let rows = connection.query_all_raw(Statement::from_string(connection.get_database_backend(), sql));
    rows.await.unwrap().iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
}

async fn tenant_is(plane: &Plane, tenant: &str, state: &str) {
    until(&format!("the tenant is {state}"), || async {
        plane.look(&format!("/v1/tenants/{tenant}")).await["state"] == state
    })
    .await;
}

#[tokio::test]
async fn a_declared_environment_comes_to_be_in_its_cell_and_its_tenant_becomes_active() {
    for home in Home::both(now()).await {
        let (plane, _kept, cell, id) = settled(&home).await;
        let (tenant, own) = plane.tenant("tianguis").await;
        let environment = plane.declare_environment(&tenant, &own).await;
        plane.environment_comes_to(&environment, "ready").await;
        tenant_is(&plane, &tenant, "active").await;
        assert!(cell.serves(&environment));
        for (what, state) in [("suspensions", "suspended"), ("resumptions", "ready"), ("removals", "removed")]
        {
            plane.ask(&environment, what).await;
            plane.environment_comes_to(&environment, state).await;
        }
        until("the cell has nothing of it", async || !cell.serves(&environment)).await;
        let shown = plane.read(&format!("/v1/cells/{id}")).await;
        assert_eq!((&shown["placed"], &shown["stale"]), (&json!(0), &json!(false)), "{shown}");
        let stored = cell.stored().await;
        assert_eq!((stored.cell, stored.intent.unwrap().1.capacity), (Some(id), 9));
        cell.stop().await;
        plane.stop().await;
    }
}

#[tokio::test]
async fn a_join_token_is_good_for_one_cell_and_used_once() {
    let home = Home::sqlite(now()).await;
    let (plane, cell_home, cell, id) = settled(&home).await;
    let token = fs::read_to_string(cell_home.folder().join("join.token")).unwrap();
    let end = cell.link.not_after().await.unwrap();
    cell.stop().await;
    // The token still lies there: it is not used again.
    home.clock.advance(TimeDelta::minutes(10));
    let cell = cell_home.start(&home.clock).await;
    cell.is_up().await;
    assert_eq!(cell.link.not_after().await.unwrap(), end);
    let thief_home = CellHome::sqlite(&token).await;
    let thief = thief_home.start(&home.clock).await;
    thief.is_refused("join_token_used").await;
    assert_eq!(thief.stored().await.cell, None);
    thief.stop().await;
    // A token for another cell is of no use to this one, which goes on.
    let other = plane.declare_cell("mx-2").await;
    cell_home.put_token(&plane.join_token(other, json!({})).await);
    let beside = cell_home.open(&home.clock).await;
    assert!(matches!(beside.link.enrol().await, Err(Error::NotHeld)), "the cell's own process has the link");
    cell.stop().await;
    let cell = cell_home.start(&home.clock).await;
    cell.is_up().await;
    assert_eq!(cell.stored().await.cell, Some(id));
    let empty = CellHome::sqlite("no token").await;
    let stranger = empty.open(&home.clock).await;
    assert!(matches!(stranger.link.enrol().await, Err(Error::NotToken { .. })));
    fs::remove_file(empty.folder().join("join.token")).unwrap();
    assert!(matches!(stranger.link.enrol().await, Err(Error::NoToken { .. })));
}

/// Polls a future so many times at most, and drops it then.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| match left {
        0 => Poll::Ready(None),
        _ => {
            left -= 1;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

#[tokio::test]
async fn who_dies_anywhere_in_an_enrolment_gets_the_same_certificate() {
    let home = Home::sqlite(now()).await;
    let plane = home.start().await;
    let (mut times, mut broken) = (0, 0_i64);
    loop {
        let id = plane.declare_cell(&format!("mx-{times}")).await;
        let cell_home = CellHome::sqlite(&plane.join_token(id, json!({})).await).await;
        let cell = cell_home.open(&home.clock).await;
        let done = polled(times, cell.link.enrol()).await;
        let instance = cell.link.stored().await.unwrap().map(|state| state.instance);
        cell.kill().await;
        home.clock.advance(A_WHILE);
        let cell = cell_home.open(&home.clock).await;
        assert_eq!(cell.link.enrol().await.unwrap(), id, "after {times} polls");
        let after = cell.stored().await;
        assert!(instance.is_none_or(|before| before == after.instance));
        assert_eq!(after.cell, Some(id));
        let issued = "SELECT count(*) FROM link_certificate";
        assert_eq!(
            numbers(&plane.app.db, issued).await,
            [broken + 1],
            "one certificate each, after {times} polls"
        );
        cell.kill().await;
        if let Some(done) = done {
            assert_eq!(done.unwrap(), id);
            break;
        }
        broken += 1;
        times += 2;
    }
    assert!(broken > 5, "an enrolment has more steps than {broken}");
}

fn intent(number: u128, name: &str) -> EnvironmentIntent {
    EnvironmentIntent {
        id: EnvironmentId::from_uuid(Uuid::from_u128(number)),
        organization: OrganizationId::from_uuid(Uuid::from_u128(900)),
        tenant: TenantId::from_uuid(Uuid::from_u128(901)),
        tenant_name: name.to_owned(),
        mode: Mode::Sandbox,
        jurisdiction: "mx-cnbv".parse().unwrap(),
        profile_version: "2026.11".to_owned(),
        phase: Desired::Present,
        hold_until: None,
        clock_offset_ms: 0,
        clients: Vec::new(),
        operation: None,
    }
}

/// Publishes the next generation of four documents at once.
async fn publish(plane: &Plane, cell: CellId, generation: u64) {
    let tx = plane.app.db.begin(PLATFORM).await.unwrap();
    for number in 1..=4 {
        let intent = intent(number, &"x".repeat(400));
        let (organization, subject) = (intent.organization, intent.id.to_string());
        let document =
            Document { subject, generation, revision: 0, body: Body::Environment(Box::new(intent)) };
        links::publish_in_tx(&tx, cell, organization, &document, plane.app.clock.now()).await.unwrap();
    }
    tx.commit().await.unwrap();
    plane.app.links.waiters.wake(cell);
}

#[tokio::test]
async fn a_link_that_is_cut_in_the_middle_of_documents_stores_all_of_them_or_none() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, id) = settled(&home).await;
    let mut generation = 0;
    let known = "SELECT DISTINCT generation FROM environment";
    for bytes in (0..4_500).step_by(173) {
        let cuts = home.line.cuts();
        generation += 1;
        home.line.cut_after(Way::Down, bytes);
        publish(&plane, id, u64::try_from(generation).unwrap()).await;
        until("the line was cut", async || home.line.cuts() > cuts).await;
        let seen = numbers(&cell.app.db, known).await;
        let whole = seen.is_empty() && generation == 1 || seen == [generation - 1] || seen == [generation];
        assert!(whole, "cut after {bytes} bytes: {seen:?} of {generation}");
        until("all documents are there", async || numbers(&cell.app.db, known).await == [generation]).await;
    }
    cell.is_up().await;
}

/// Wherever a request is torn, the cell asks again with the same key, and has one certificate.
#[tokio::test]
async fn an_enrolment_that_is_cut_on_its_way_up_ends_with_one_certificate() {
    let home = Home::sqlite(now()).await;
    let plane = home.start().await;
    let mut torn = 0;
    for (number, bytes) in (0..).step_by(311).enumerate() {
        let id = plane.declare_cell(&format!("mx-{number}")).await;
        let cell_home = CellHome::sqlite(&plane.join_token(id, json!({})).await).await;
        let cell = cell_home.open(&home.clock).await;
        let cuts = home.line.cuts();
        home.line.cut_after(Way::Up, bytes);
        let first = cell.link.enrol().await;
        let was_cut = home.line.cuts() > cuts;
        let enrolled = match first {
            Ok(enrolled) => enrolled,
            Err(error) => {
                assert!(was_cut, "after {bytes} bytes: {error}");
                cell.link.enrol().await.unwrap()
            }
        };
        assert_eq!(enrolled, id, "after {bytes} bytes");
        let issued = "SELECT count(*) FROM link_certificate GROUP BY cell_id";
        assert_eq!(numbers(&plane.app.db, issued).await, vec![1; number + 1], "after {bytes} bytes");
        assert_eq!(cell.stored().await.cell, Some(id));
        cell.kill().await;
        if !was_cut {
            break;
        }
        torn += 1;
    }
    assert!(torn > 3, "an enrolment says more than that: it was torn {torn} times");
}

/// A report that arrives in part says nothing; told again, it says all.
#[tokio::test]
async fn a_report_that_is_cut_on_its_way_up_is_told_again() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, _) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let environment = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&environment, "ready").await;
    let steps = [("suspensions", "suspended"), ("resumptions", "ready")];
    for ((what, state), bytes) in steps.into_iter().cycle().zip((0..4_000).step_by(307)) {
        let cuts = home.line.cuts();
        plane.ask(&environment, what).await;
        home.line.cut_after(Way::Up, bytes);
        plane.environment_comes_to(&environment, state).await;
        until("the line was cut", async || home.line.cuts() > cuts).await;
        cell.is_up().await;
        let shown = plane.read(&format!("/v1/environments/{environment}")).await;
        assert_eq!(shown["observed_generation"], shown["generation"], "cut after {bytes} bytes: {shown}");
        assert_eq!(cell.link.status().refused.len(), 0, "cut after {bytes} bytes");
    }
    let stored = "SELECT DISTINCT generation FROM environment";
    assert_eq!(numbers(&cell.app.db, stored).await.len(), 1);
    cell.stop().await;
    plane.stop().await;
}

#[tokio::test]
async fn a_control_plane_of_an_older_backup_takes_up_what_its_cells_know() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, _) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let environment = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&environment, "ready").await;
    plane.stop().await;
    let backup = home.database().with_extension("backup");
    fs::copy(home.database(), &backup).unwrap();

    home.clock.advance(TimeDelta::minutes(1));
    let plane = home.start().await;
    plane.ask(&environment, "suspensions").await;
    plane.environment_comes_to(&environment, "suspended").await;
    plane.stop().await;
    let rows = "SELECT generation FROM environment";
    assert_eq!(numbers(&cell.app.db, rows).await, [2]);

    fs::copy(&backup, home.database()).unwrap();
    for left in ["db-wal", "db-shm"] {
        let _absent = fs::remove_file(home.database().with_extension(left));
    }
    home.clock.advance(TimeDelta::minutes(1));
    let plane = home.start().await;
    let path = format!("/v1/environments/{environment}");
    until("the control plane has taken up the generation", || async {
        let shown = plane.look(&path).await;
        shown["generation"] == 3 && shown["observed_generation"] == 3 && shown["state"] == "ready"
    })
    .await;
    let shown = plane.read(&path).await;
    let adopted =
        shown["conditions"].as_array().unwrap().iter().find(|one| one["type"] == "Adopted").cloned();
    assert_eq!(adopted.unwrap()["status"], "true", "{shown}");
    assert_eq!(numbers(&cell.app.db, rows).await, [3], "it never went back");
    cell.is_up().await;
}

#[tokio::test]
async fn a_cell_whose_certificate_ended_while_it_was_off_renews_it() {
    for home in Home::both(now()).await {
        let (plane, cell_home, cell, _) = settled(&home).await;
        let (tenant, own) = plane.tenant("tianguis").await;
        // While it works, at two thirds of the certificate's life.
        let first = cell.link.not_after().await.unwrap();
        home.clock.advance(TimeDelta::hours(19));
        until("the certificate is renewed", async || cell.link.not_after().await.unwrap() > first).await;
        cell.is_up().await;
        cell.stop().await;
        home.clock.advance(TimeDelta::days(5));
        let environment = plane.declare_environment(&tenant, &own).await;
        let cell = cell_home.start(&home.clock).await;
        plane.environment_comes_to(&environment, "ready").await;
        assert!(cell.link.not_after().await.unwrap().unwrap() > home.clock.now());
        cell.stop().await;
        plane.stop().await;
    }
}

#[tokio::test]
async fn a_second_cell_of_the_same_identity_is_refused_and_the_first_goes_on() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, id) = settled(&home).await;
    let second_home = CellHome::sqlite(&plane.join_token(id, json!({})).await).await;
    let second = second_home.start(&home.clock).await;
    second.is_refused("cell_identity_taken").await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let environment = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&environment, "ready").await;
    assert!(cell.serves(&environment) && !second.serves(&environment));
    cell.is_up().await;
}

#[tokio::test]
async fn of_two_copies_of_a_cell_an_operator_chooses_one() {
    let home = Home::sqlite(now()).await;
    let (plane, cell_home, cell, id) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let environment = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&environment, "ready").await;
    cell.stop().await;
    let file = cell_home.folder().join("copy.db");
    fs::copy(cell_home.folder().join("cell.db"), &file).unwrap();
    let mut copy_home =
        CellHome::sqlite(&fs::read_to_string(cell_home.folder().join("join.token")).unwrap()).await;
    copy_home.config.database = database_at(&file);
    copy_home.config.keys = cell_home.config.keys.clone();

    let cell = cell_home.start(&home.clock).await;
    let seq = cell.stored().await.seq;
    until("the cell has gone on", async || cell.stored().await.seq > seq + 2).await;
    let copy = copy_home.start(&home.clock).await;
    cell.is_refused("cell_forked").await;
    copy.is_refused("cell_forked").await;
    assert!(cell.serves(&environment), "it serves all the same");
    cell_home.put_token(&plane.join_token(id, json!({"replace_instance": true})).await);
    cell.is_up().await;
    copy.is_refused("certificate_revoked").await;
    plane.ask(&environment, "suspensions").await;
    plane.environment_comes_to(&environment, "suspended").await;
}

#[tokio::test]
async fn a_cell_without_a_common_contract_serves_on_and_comes_back_by_itself() {
    let home = Home::sqlite(now()).await;
    let (plane, _kept, cell, _) = settled(&home).await;
    let (tenant, own) = plane.tenant("tianguis").await;
    let environment = plane.declare_environment(&tenant, &own).await;
    plane.environment_comes_to(&environment, "ready").await;
    plane.speak_something_else(true);
    cell.is_refused("contract_unsupported").await;
    assert!(cell.serves(&environment));
    let up = &cell.link.status().conditions(home.clock.now())[0];
    assert_eq!((up.r#type.as_str(), up.status, up.reason.as_str()), ("LinkUp", Status::False, "Refused"));
    plane.speak_something_else(false);
    cell.is_up().await;
    plane.ask(&environment, "suspensions").await;
    plane.environment_comes_to(&environment, "suspended").await;
}

#[tokio::test]
async fn a_cell_serves_while_the_control_plane_is_stopped_and_catches_up() {
    for home in Home::both(now()).await {
        let (plane, _kept, cell, _) = settled(&home).await;
        let (tenant, own) = plane.tenant("tianguis").await;
        let environment = plane.declare_environment(&tenant, &own).await;
        plane.environment_comes_to(&environment, "ready").await;
        plane.stop().await;
        until("the cell has noticed", async || cell.link.status().lost.len() == 2).await;
        assert!(cell.serves(&environment));
        let plane = home.start().await;
        plane.ask(&environment, "suspensions").await;
        plane.environment_comes_to(&environment, "suspended").await;
        cell.is_up().await;
        cell.stop().await;
        plane.stop().await;
    }
}

#[tokio::test]
async fn clocks_that_are_apart_are_shown_on_both_sides_and_refused_at_the_door() {
    let home = Home::sqlite(now()).await;
    let plane = home.start().await;
    let id = plane.declare_cell("mx-1").await;
    let cell_home = CellHome::sqlite(&plane.join_token(id, json!({})).await).await;
    let clock = Clock::manual(home.clock.now() + TimeDelta::minutes(6));
    let cell = cell_home.start(&clock).await;
    cell.is_refused("clock_skew").await;
    clock.set(home.clock.now() + TimeDelta::minutes(2));
    cell.is_up().await;
    let skewed = |holds: Status| {
        let (cell, clock) = (&cell, &clock);
        async move { cell.link.status().conditions(clock.now())[1].status == holds }
    };
    until("the cell shows it", || skewed(Status::True)).await;
    let shown = async |by: i64| plane.read(&format!("/v1/cells/{id}")).await["skew_ms"] == json!(by);
    until("the control plane shows it", async || shown(120_000).await).await;
    clock.set(home.clock.now());
    until("the cell shows it no more", || skewed(Status::False)).await;
    until("the control plane shows it no more", async || shown(0).await).await;
}

#[tokio::test]
async fn one_replica_of_a_cell_has_the_link_and_another_takes_over() {
    for home in Home::both(now()).await {
        let (plane, cell_home, first, _) = settled(&home).await;
        let second = cell_home.open(&home.clock).await;
        assert!(matches!(second.link.enrol().await, Err(Error::NotHeld)));
        let seq = first.stored().await.seq;
        first.kill().await;
        let mut second = second;
        second.run();
        home.clock.advance(A_WHILE);
        second.is_up().await;
        let (tenant, own) = plane.tenant("tianguis").await;
        let environment = plane.declare_environment(&tenant, &own).await;
        plane.environment_comes_to(&environment, "ready").await;
        assert!(second.stored().await.seq > seq, "numbers go on");
        second.stop().await;
        plane.stop().await;
    }
}

#[tokio::test]
async fn with_a_link_the_configuration_names_no_environments() {
    let home = CellHome::sqlite("").await;
    let file = home.folder().join("cell.toml");
    let named = "[[environments]]\nid = \"env_01jd4q8e7xf2r9k3m5n7p0s4t6\"\nshard = 0\n";
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{named}{text}")).unwrap();
    let error = config::load::<CellConfig>(Some(&file), []).unwrap_err().to_string();
    assert!(error.contains("`environments`") && error.contains("[link]"), "{error}");
}
