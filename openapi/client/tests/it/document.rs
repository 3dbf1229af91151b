//! The lists of calls against the documents: a call per operation, and each built as its operation wants it.

use std::collections::BTreeMap;

use client::{Declared, cell, control};
use serde_json::Value;

const CONTROL_PLANE: &str = include_str!("../../../control-plane.json");
const DATA_PLANE: &str = include_str!("../../../data-plane.json");

/// What a document and a list can both say of an operation.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    method: String,
    path: String,
    body: bool,
    /// Whether it cannot go without.
    if_match: bool,
    dry_run: bool,
    /// Parameters of the query besides those of pages and dry runs.
    query: bool,
}

fn documented(text: &str) -> BTreeMap<String, Shape> {
    let document: Value = serde_json::from_str(text).unwrap();
    let mut shapes = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(id) = operation["operationId"].as_str() else { continue };
            // They speak OAuth, not our own way: whoever brings the transport brings a credential.
            if operation["tags"][0] == "tokens" {
                continue;
            }
            let empty = Vec::new();
            let parameters = operation["parameters"].as_array().unwrap_or(&empty);
            let has = |name: &str| parameters.iter().any(|one| one["name"] == name);
            let paging = ["limit", "cursor", "dry_run"];
            let own = |one: &Value| one["in"] == "query" && !paging.iter().any(|name| one["name"] == *name);
            let shape = Shape {
                method: method.to_uppercase(),
                path: path.clone(),
                body: operation.get("requestBody").is_some(),
                if_match: parameters.iter().any(|one| one["name"] == "If-Match" && one["required"] == true),
                dry_run: has("dry_run"),
                query: parameters.iter().any(own),
            };
            shapes.insert(id.to_owned(), shape);
        }
    }
    shapes
}

fn declared(calls: &[Declared]) -> BTreeMap<String, Shape> {
    let shapes = calls.iter().map(|call| {
        let has = |step: &str| call.steps.contains(&step);
        let shape = Shape {
            method: call.method.to_owned(),
            path: call.path.to_owned(),
            body: has("json") || has("csv"),
            if_match: has("if_match"),
            dry_run: call.how == "Planned",
            query: has("query") || has("and"),
        };
        (call.id.to_owned(), shape)
    });
    shapes.collect()
}

#[test]
fn every_operation_of_the_control_plane_has_its_call() {
    let (documented, declared) = (documented(CONTROL_PLANE), declared(control::OPERATIONS));
    assert!(documented.len() > 40, "{}", documented.len());
    assert_eq!(declared, documented);
}

#[test]
fn the_calls_of_a_cell_are_in_its_document() {
    let documented = documented(DATA_PLANE);
    for (id, Shape { method, path, body, .. }) in declared(cell::OPERATIONS) {
        let known = &documented[&id];
        assert_eq!((&method, &path, body), (&known.method, &known.path, known.body), "{id}");
    }
}
