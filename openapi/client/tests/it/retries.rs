//! What is sent again, when, and with what.

use std::{collections::HashSet, time::Duration};

use client::{
    Error, Lost, Page, Plain,
    control::{self, OrganizationNew, OrganizationsWhich},
};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use crate::script::{Script, answer, organization, problem};

fn new() -> OrganizationNew {
    OrganizationNew { external_id: None, name: "Tianguis".to_owned(), country: "MX".parse().unwrap() }
}

#[tokio::test]
async fn a_lost_request_is_sent_again_under_its_key() {
    let script = Script::of([
        Err(Lost::again("connection reset")),
        // The head came, the body did not.
        answer(201, &[], "").map(|(head, _)| (head, vec![Err(Lost::again("cut off"))])),
        answer(201, &[("idempotency-replayed", "true"), ("etag", "\"3\"")], organization("Tianguis")),
        answer(201, &[], organization("Tianguis")),
    ]);
    let client = script.client();
    let made = client.send(control::organization_create(&new())).await.unwrap();
    assert_eq!((made.body.name.as_str(), made.replayed, made.version), ("Tianguis", true, Some(3)));
    let other = client.send(control::organization_create(&new())).await.unwrap();
    assert_eq!((other.replayed, other.version), (false, None));
    let keys: Vec<String> = script.header("idempotency-key").into_iter().map(Option::unwrap).collect();
    assert_eq!(keys[..2], [keys[0].clone(), keys[0].clone()]);
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), 2, "another call, another key: {keys:?}");
    let asked = script.asked.lock().unwrap();
    assert!(asked.iter().all(|request| request.body() == asked[0].body()));
    assert_eq!(asked[0].headers()["authorization"], "Bearer secret");
    assert!(asked[0].headers()["authorization"].is_sensitive());
    assert_eq!(asked[0].headers()["accept-language"], "es-MX, es;q=0.8");
    assert_eq!(asked[0].headers()["content-type"], "application/json");
    assert_eq!(script.pauses.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_sent_is_not_sent_again() {
    let script = Script::of([Err(Lost::for_good("not allowed"))]);
    let error = script.client().read(control::region_list()).await.unwrap_err();
    assert_eq!(error.to_string(), "GET /v1/regions: not allowed");
    let error = script.client().token("two\nlines").unwrap_err();
    assert!(matches!(error, Error::Unusable(_)), "{error}");
    let key = control::organization_create(&new()).key("two\nlines");
    assert!(matches!(script.client().send(key).await, Err(Error::Unusable(_))));
    assert_eq!(script.targets().len(), 1);
}

#[tokio::test]
async fn a_problem_that_passes_is_waited_for() {
    let later = |after: &str| answer(503, &[("retry-after", after)], problem(503, "overloaded", true));
    let script = Script::of([
        later("3"),
        answer(502, &[], "<html>a proxy</html>"),
        answer(200, &[], organization("Tianguis")),
    ]);
    let id = "org_01jd4q8e7xf2r9k3m5n7p0s4t6".parse().unwrap();
    let read = script.client().read(control::organization_get(id)).await.unwrap();
    assert_eq!(read.name, "Tianguis");
    assert_eq!(script.header("idempotency-key"), [None, None, None]);
    let pauses = script.pauses.lock().unwrap().clone();
    let second = Duration::from_secs(1);
    assert!(pauses[0] >= 3 * second && pauses[0] < 4 * second, "not earlier than told: {pauses:?}");
    assert!(pauses[1] < second, "{pauses:?}");
}

#[tokio::test]
async fn patience_ends() {
    let busy = || answer(503, &[], problem(503, "overloaded", true));
    let script = Script::of((0..6).map(|_| busy()));
    let error = script.client().read(control::region_list()).await.unwrap_err();
    assert_eq!(error.code(), Some("overloaded"));
    let pauses = script.pauses.lock().unwrap().clone();
    assert_eq!(pauses.len(), 5);
    assert!(pauses.windows(2).all(|two| two[0] < two[1]), "{pauses:?}");
    let script =
        Script::of([answer(409, &[("retry-after", "3600")], problem(409, "operation_running", true))]);
    let error = script.client().read(control::region_list()).await.unwrap_err();
    assert_eq!((error.code(), script.pauses.lock().unwrap().len()), (Some("operation_running"), 0));
}

#[tokio::test]
async fn a_problem_says_everything() {
    let script = Script::of([answer(422, &[], problem(422, "invalid_field", false))]);
    let error = script.client().send(control::organization_create(&new())).await.unwrap_err();
    assert_eq!(error.to_string(), "POST /v1/organizations: 422 invalid_field: Qué pasó (request r1)");
    let problem = error.problem().unwrap();
    assert_eq!((problem.title.as_str(), problem.remedy.as_str()), ("Título", "Qué hacer"));
    assert_eq!((problem.errors[0].pointer.as_str(), problem.errors[0].r#in.as_str()), ("/name", "body"));
    assert_eq!(script.pauses.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn an_answer_of_another_shape_is_said() {
    let script = Script::of([answer(200, &[], json!({"id": 1})), answer(404, &[], "gone")]);
    let client = script.client();
    let id = "org_01jd4q8e7xf2r9k3m5n7p0s4t6".parse().unwrap();
    let error = client.read(control::organization_get(id)).await.unwrap_err();
    assert!(error.to_string().contains("the answer is not as documented"), "{error}");
    let error = client.read(control::organization_get(id)).await.unwrap_err();
    assert!(error.to_string().contains("404 Not Found without a problem"), "{error}");
}

#[tokio::test]
async fn pages_are_asked_for_as_they_are_wanted() {
    let page = |names: &[&str], next: Option<&str>| {
        let data: Vec<_> = names.iter().map(|name| organization(name)).collect();
        answer(200, &[], json!({"data": data, "next_cursor": next, "has_more": next.is_some()}))
    };
    let script = Script::of([
        page(&["a", "b"], Some("c/1=")),
        page(&["c"], Some("c2")),
        page(&[], None),
        page(&["a"], Some("x")),
    ]);
    let client = script.client();
    let which = OrganizationsWhich { external_id: Some("ñ&b".to_owned()) };
    let all = client.list(control::organization_list(&which)).await.unwrap();
    assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    let first = "GET /v1/organizations?external_id=%C3%B1%26b&limit=200";
    assert_eq!(
        script.targets(),
        [first.to_owned(), format!("{first}&cursor=c%2F1%3D"), format!("{first}&cursor=c2")]
    );
    let one: Vec<_> = client.items(control::region_list().raw_items()).take(1).try_collect().await.unwrap();
    assert_eq!((one.len(), script.targets().len()), (1, 4), "nobody wanted the second page");
}

#[tokio::test]
async fn a_dry_run_and_a_version_are_asked_for() {
    let script = Script::of([answer(
        200,
        &[],
        json!({"changes": [{"pointer": "/name", "before": "a", "after": "b"}]}),
    )]);
    let id = "tnt_01jd4q8e7xf2r9k3m5n7p0s4t6".parse().unwrap();
    let change = control::TenantChange { name: Some("b".to_owned()), licence: None };
    let plan = script.client().read(control::tenant_update(id, 4, &change).dry_run()).await.unwrap();
    assert_eq!(plan.changes[0].pointer, "/name");
    assert_eq!(script.targets(), ["PATCH /v1/tenants/tnt_01jd4q8e7xf2r9k3m5n7p0s4t6?dry_run=true"]);
    assert_eq!(script.header("if-match"), [Some("\"4\"".to_owned())]);
    assert_eq!(script.asked.lock().unwrap()[0].body(), br#"{"name":"b"}"#);
}

#[test]
fn a_segment_stays_one() {
    let call: client::Call<String, Plain> = control::problem_read("a/b c?d".into());
    assert!(format!("{call:?}").contains("/problems/a%2Fb%20c%3Fd"), "{call:?}");
    let _: fn(client::Call<Page<u8>>) -> client::Call<Page<u8>> = |call| call.limit(1);
}
