//! The client crate against the real control plane, in process.

use std::sync::atomic::Ordering;

use client::{
    Client, Event,
    control::{
        self, EnvironmentNew, EnvironmentsWhich, OperationState, OperationsWhich, ResidencyCondition,
        ResidencyRecordNew, TenantChange, TenantState, TenantsWhich,
    },
};
use control_plane::operations::State;
use futures::{StreamExt, TryStreamExt};
use tenants::environment::Mode;

use super::plane::{Plane, approved, draft, organization};

#[tokio::test]
async fn a_tenant_is_led_to_an_environment_past_a_condition_that_was_missing() {
    let plane = Plane::new().await;
    let client = plane.client();
    let organization = organization(&client).await;
    let plan =
        client.read(control::tenant_create(&draft(organization, "tianguis-mx")).dry_run()).await.unwrap();
    assert!(
        plan.changes.iter().any(|change| change.pointer == "/licence" && change.after == "IFPE"),
        "{plan:?}"
    );
    let tenant = approved(&client, organization).await;
    let read = client.send(control::tenant_get(tenant)).await.unwrap();
    assert_eq!((read.body.state, read.version), (TenantState::Approved, Some(read.body.version)));
    let moves = client.list(control::tenant_move_list(tenant)).await.unwrap();
    assert_eq!(moves.iter().map(|one| one.to.as_str()).collect::<Vec<_>>(), ["verifying", "approved"]);

    let own = Client::new(plane.way(), 2)
        .token(&plane.token_of(organization).await)
        .unwrap()
        .language("es-MX")
        .unwrap();
    let abroad = EnvironmentNew {
        mode: Mode::Sandbox,
        region: "us-1".parse().unwrap(),
        profile_version: None,
        clock_offset_ms: None,
    };
    let declare = || control::environment_create(tenant, &abroad);
    for refused in [
        own.read(declare().dry_run()).await.map(|_| ()).unwrap_err(),
        own.read(declare()).await.map(|_| ()).unwrap_err(),
    ] {
        let problem = refused.problem().unwrap();
        assert_eq!(
            (problem.code.as_str(), problem.status),
            ("residency_condition_missing", 422),
            "{refused}"
        );
        assert!(problem.detail.contains("pueden estar en us-1"), "{refused}");
        assert!(!problem.remedy.is_empty() && problem.errors.len() == 3, "{problem:?}");
    }
    let check = own.read(control::residency_check(tenant, &abroad.region, Mode::Sandbox)).await.unwrap();
    assert!(!check.allowed && !check.forbidden, "{check:?}");
    for missing in &check.missing {
        let record = ResidencyRecordNew {
            condition: missing.condition,
            region: abroad.region.clone(),
            dated_on: "2026-01-01".parse().unwrap(),
            document_name: "Aviso".to_owned(),
            document_sha256: "0f".repeat(32),
        };
        own.read(control::residency_record_create(tenant, &record)).await.unwrap();
    }
    let records = own.list(control::residency_record_list(tenant)).await.unwrap();
    assert_eq!(records[0].condition, ResidencyCondition::Notice);
    let plan = own.read(declare().dry_run()).await.unwrap();
    assert!(plan.changes.iter().any(|change| change.pointer == "/region"), "{plan:?}");
    let of_tenant = EnvironmentsWhich { tenant_id: Some(tenant), ..EnvironmentsWhich::default() };
    assert!(
        own.list(control::environment_list(&of_tenant)).await.unwrap().is_empty(),
        "a dry run declares nothing"
    );
    let operation = own.read(declare()).await.unwrap();
    let environment = own.list(control::environment_list(&of_tenant)).await.unwrap().remove(0);
    assert_eq!((operation.subject_id, operation.state), (environment.id.to_string(), OperationState::Queued));
}

#[tokio::test]
async fn an_answer_that_was_lost_leaves_one_effect() {
    let plane = Plane::new().await;
    let organization = organization(&plane.client()).await;
    let way = plane.way();
    let client = Client::new(way.clone(), 3).token(&plane.operator).unwrap();
    way.answers_to_lose.store(2, Ordering::SeqCst);
    let made = client.send(control::tenant_create(&draft(organization, "once"))).await.unwrap();
    assert!(made.replayed, "the effect was there");
    assert_eq!(way.sent.load(Ordering::SeqCst), 3);
    let all = client.list(control::tenant_list(&TenantsWhich::default())).await.unwrap();
    assert_eq!(all.iter().map(|one| one.id).collect::<Vec<_>>(), [made.body.id]);
    way.answers_to_lose.store(1, Ordering::SeqCst);
    let change = TenantChange { name: Some("Tianguis Digital".to_owned()), licence: None };
    let changed = client.send(control::tenant_update(made.body.id, 1, &change)).await.unwrap();
    assert_eq!(
        (changed.replayed, changed.version, changed.body.name.as_str()),
        (true, Some(2), "Tianguis Digital")
    );
    let stale = client.send(control::tenant_update(made.body.id, 1, &change)).await.unwrap_err();
    assert_eq!((stale.code(), stale.problem().unwrap().status), (Some("version_mismatch"), 412));
}

#[tokio::test]
async fn many_tenants_are_walked_page_by_page() {
    let plane = Plane::new().await;
    let client = plane.client();
    let organization = organization(&client).await;
    for number in 0..120 {
        client.read(control::tenant_create(&draft(organization, &format!("t-{number:03}")))).await.unwrap();
    }
    let mut names = Vec::new();
    let mut cursor: Option<String> = None;
    let mut pages = 0;
    loop {
        let call = control::tenant_list(&TenantsWhich::default()).limit(50);
        let call = match &cursor {
            Some(cursor) => call.cursor(cursor),
            None => call,
        };
        let page = client.read(call).await.unwrap();
        names.extend(page.data.into_iter().map(|one| one.external_id.unwrap()));
        pages += 1;
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    let expected: Vec<String> = (0..120).map(|number| format!("t-{number:03}")).collect();
    assert_eq!((names, pages), (expected.clone(), 3));
    let walked = client.list(control::tenant_list(&TenantsWhich::default())).await.unwrap();
    let walked: Vec<String> = walked.into_iter().map(|one| one.external_id.unwrap()).collect();
    assert_eq!(walked, expected);
    let some = control::tenant_list(&TenantsWhich {
        external_id: Some("t-007".to_owned()),
        ..TenantsWhich::default()
    });
    assert_eq!(client.list(some).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_operation_is_followed_over_a_stream_that_breaks() {
    let plane = Plane::new().await;
    let setup = plane.client();
    let organization = organization(&setup).await;
    let tenant = approved(&setup, organization).await;
    let new = EnvironmentNew {
        mode: Mode::Sandbox,
        region: "mx-1".parse().unwrap(),
        profile_version: None,
        clock_offset_ms: None,
    };
    let operation = setup.read(control::environment_create(tenant, &new)).await.unwrap().id;
    plane.step(organization, operation, "place").await;
    plane.step(organization, operation, "publish").await;
    let way = plane.way();
    way.bodies_to_cut.store(1, Ordering::SeqCst);
    let client = Client::new(way.clone(), 4).token(&plane.operator).unwrap();
    let mut told = Vec::new();
    let events = client.follow(operation, None);
    futures::pin_mut!(events);
    while let Some(event) = events.try_next().await.unwrap() {
        match event {
            Event::Step(step) => {
                told.push(step.name.clone());
                // Only now does the rest happen.
                if step.name == "publish" {
                    plane.step(organization, operation, "verify").await;
                    plane.end(organization, operation, State::Succeeded).await;
                }
            }
            Event::Ended(operation) => told.push(operation.state.to_string()),
        }
    }
    assert_eq!(told, ["place", "publish", "verify", "succeeded"]);
    assert_eq!(*way.last_event_ids.lock().unwrap(), [None, Some("1".to_owned())], "taken up where it was");
    let later: Vec<_> = client.follow(operation, Some(3)).collect().await;
    assert!(matches!(later[..], [Ok(Event::Ended(_))]), "{later:?}");
    let read = client.read(control::operation_get(operation)).await.unwrap();
    assert_eq!((read.operation.state, read.steps.len()), (OperationState::Succeeded, 3));
    let which = OperationsWhich { state: Some(OperationState::Succeeded), ..OperationsWhich::default() };
    assert_eq!(client.list(control::operation_list(&which)).await.unwrap().len(), 1);
}
