//! The OpenAPI document: whole, committed, and true about who is let in.

use std::{fs, path::Path};

use control_plane::router::link_document;
use platform::openapi;

use crate::plane::Plane;

#[tokio::test]
async fn the_document_is_whole_and_the_committed_one() {
    let plane = Plane::sqlite().await;
    assert_eq!(openapi::faults(&plane.document), Vec::<String>::new());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/control-plane.json");
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let built = plane.document.to_pretty_json().unwrap() + "\n";
    assert!(
        committed == built,
        "run `cargo run -- openapi` and look at what changed in openapi/control-plane.json"
    );
}

#[test]
fn the_document_of_the_links_is_whole_and_the_committed_one() {
    let document = link_document().unwrap();
    assert_eq!(openapi::faults(&document), Vec::<String>::new());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/link.json");
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let built = document.to_pretty_json().unwrap() + "\n";
    assert!(committed == built, "run `cargo run -- openapi` and look at what changed in openapi/link.json");
}

#[tokio::test]
async fn strangers_and_tokens_without_scopes_are_refused_everywhere() {
    let plane = Plane::sqlite().await;
    let guarded = plane.refuses_strangers(&plane.weak_token().await).await;
    assert_eq!(guarded, plane.operations().iter().filter(|operation| !operation.is_public()).count());
}

#[tokio::test]
async fn it_starts_on_both_databases() {
    for plane in Plane::both().await {
        assert_eq!(plane.get("/openapi.json").send().await.status, 200);
    }
}
