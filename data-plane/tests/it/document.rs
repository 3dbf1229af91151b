//! The OpenAPI document: whole, committed, and true about who is let in.

use std::{fs, path::Path};

use platform::openapi;

use crate::cell::Cell;

#[tokio::test]
async fn the_document_is_whole_and_the_committed_one() {
    let cell = Cell::sqlite().await;
    assert_eq!(openapi::faults(&cell.document), Vec::<String>::new());
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi/data-plane.json");
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let built = cell.document.to_pretty_json().unwrap() + "\n";
    assert!(
        committed == built,
        "run `cargo run -- openapi` and look at what changed in openapi/data-plane.json"
    );
}

#[tokio::test]
async fn strangers_and_tokens_without_scopes_are_refused_everywhere() {
    let cell = Cell::sqlite().await;
    let guarded = cell.refuses_strangers(&cell.weak_token().await).await;
    assert_eq!(guarded, cell.operations().iter().filter(|operation| !operation.is_public()).count());
    assert!(guarded > 0);
}

#[tokio::test]
async fn a_token_of_another_cells_environment_is_refused() {
    let cell = Cell::sqlite().await;
    let answer = cell.get("/v1/environment").token(&cell.misplaced_token().await).send().await;
    answer.is_problem("unauthenticated", "an environment that is not here");
}
