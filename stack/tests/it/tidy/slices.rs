//! Slices of the planes: who may call whom, and what each kind of file may import.

use super::source::{code, paths};

/// Slices, low to high; a slice calls only slices of lower rows. Upward news travels as events.
type Order = &'static [&'static [&'static str]];

/// Those of a cell.
const DATA_PLANE: Order = &[
    &["environments", "vault", "events"],
    &["parties"],
    &["accounts", "products"],
    &["fraud", "rails", "clearing"],
    &["payments", "lending", "cards", "remittances"],
    &["reconciliation", "reporting", "consents", "legacy", "link"],
];

/// Those of the control plane.
const CONTROL_PLANE: Order = &[
    &["organizations", "regions"],
    &["cells"],
    &["tenants"],
    &["documents", "operations"],
    &["environments"],
    &["clients"],
    &["links"],
    &["provisioning"],
];

/// Modules at the root of the crate that put the slices together; no slice knows them.
const COMPOSITION: [&str; 6] = ["app", "background", "exports", "migrations", "router", "main"];

/// The names of the files of a slice. What others may use is in its `mod.rs`.
const PARTS: [&str; 8] = ["model", "store", "http", "work", "rules", "schedule", "system", "wire"];

/// Where statements are written as text; everything else builds them with sea-orm.
const RAW_HOMES: [&str; 10] = [
    "platform/src/db/",
    "platform/src/idempotency/",
    "platform/src/work/system.rs",
    "platform/src/testing/",
    "data-plane/ledger/src/store/",
    "data-plane/ledger/src/writer.rs",
    "data-plane/ledger/src/books.rs",
    "data-plane/ledger/src/export.rs",
    "data-plane/ledger/src/system.rs",
    "stack/src/bench/bare.rs",
];

/// Where a transaction of all environments may begin, besides files named `system.rs`: where it is defined, and the
/// ledger's writer, which may only append to and update the ledger's tables.
const CROSSING_HOMES: [&str; 2] = ["platform/src/db/", "data-plane/ledger/src/store/"];

/// Files and folders that decide, or are what is decided about: as pure as every `model.rs` and `rules.rs`.
const PURE: [&str; 9] = [
    "data-plane/ledger/src/account.rs",
    "data-plane/ledger/src/chain.rs",
    "data-plane/ledger/src/hold.rs",
    "data-plane/ledger/src/limit.rs",
    "data-plane/ledger/src/memory.rs",
    "data-plane/ledger/src/movements/",
    "data-plane/ledger/src/outcome.rs",
    "data-plane/ledger/src/rules/",
    "data-plane/ledger/src/transfer.rs",
];

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.contains("/benches/")
}

/// The slice that a file belongs to, if it is in a slice's folder, and the order it has its place in.
fn slice_of(path: &str) -> Option<(Order, &str)> {
    [("data-plane/src/", DATA_PLANE), ("control-plane/src/", CONTROL_PLANE)].into_iter().find_map(
        |(home, order)| {
            let (slice, _) = path.strip_prefix(home)?.split_once('/')?;
            Some((order, slice))
        },
    )
}

/// Calls upwards, sideways, past a slice's `mod.rs`, or to the composition root.
pub fn graph(path: &str, text: &str) -> Vec<String> {
    let Some((order, own)) = slice_of(path) else { return Vec::new() };
    let rank = |slice: &str| order.iter().position(|row| row.contains(&slice));
    let Some(own_rank) = rank(own) else {
        return vec![format!(
            "{path}: slice {own} has no place in the order yet (stack/tests/it/tidy/slices.rs)"
        )];
    };
    let code = code(text);
    let absolute = paths(&code, "crate");
    let climbing = paths(&code, "super").into_iter().filter_map(|(line, path)| {
        let rest: Vec<String> = path.into_iter().skip_while(|part| part == "super").collect();
        rest.first().is_some_and(|first| first != own && rank(first).is_some()).then_some((line, rest))
    });
    let mut faults = Vec::new();
    for (line, used) in absolute.into_iter().chain(climbing) {
        let Some(first) = used.first().map(String::as_str) else { continue };
        let Some(used_rank) = rank(first) else {
            if COMPOSITION.contains(&first) {
                faults.push(format!(
                    "{path}:{line}: a slice does not know `{first}`, which puts the slices together"
                ));
            }
            continue;
        };
        if first == own {
            continue;
        }
        if used_rank >= own_rank {
            faults.push(format!("{path}:{line}: {own} may not call {first}: it is not lower"));
        }
        if used.get(1).is_some_and(|part| PARTS.contains(&part.as_str())) {
            faults
                .push(format!("{path}:{line}: {first} is used through its mod.rs, not {}", used.join("::")));
        }
    }
    faults
}

/// Crates that a file of this name, or of this place, must not know.
fn forbidden(path: &str) -> &'static [&'static str] {
    let file = path.rsplit('/').next().unwrap_or_default();
    match file {
        _ if is_test(path) => &[],
        _ if path.starts_with("tenants/src/") => &["axum", "sea_orm", "tokio", "reqwest"],
        "model.rs" | "rules.rs" => &["axum", "sea_orm", "tokio"],
        _ if PURE.iter().any(|place| path.starts_with(place)) => &["axum", "sea_orm", "tokio"],
        "http.rs" if !path.starts_with("platform/") => &["sea_orm"],
        "store.rs" => &["axum", "utoipa", "utoipa_axum"],
        _ => &[],
    }
}

/// Imports that break the purity of a file's role.
pub fn imports(path: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut faults = Vec::new();
    for name in forbidden(path) {
        let mut lines: Vec<usize> = paths(&code, name).into_iter().map(|(line, _)| line).collect();
        lines.dedup();
        for line in lines {
            faults.push(format!("{path}:{line}: this file must not know {name}"));
        }
        if code.contains(&format!("use {name};")) {
            faults.push(format!("{path}: this file must not know {name}"));
        }
    }
    if path.starts_with("tenants/src/") {
        for (line, used) in paths(&code, "std") {
            if matches!(used.first().map(String::as_str), Some("fs" | "net" | "env" | "process" | "thread")) {
                faults.push(format!("{path}:{line}: tenants does no IO"));
            }
        }
    }
    faults
}

/// The lines of `code` that contain one of `words`.
fn calls(path: &str, code: &str, words: &[&str], why: &str) -> Vec<String> {
    let hits = code.lines().enumerate().filter_map(|(at, line)| {
        let word = words.iter().find(|word| line.contains(**word))?;
        Some(format!("{path}:{}: `{word}` {why}", at + 1))
    });
    hits.collect()
}

/// Statements as text outside their homes.
pub fn raw_statements(path: &str, text: &str) -> Vec<String> {
    let words = [
        "Statement::from_",
        "execute_unprepared(",
        "execute_raw(",
        "query_one_raw(",
        "query_all_raw(",
        "from_raw_sql(",
    ];
    if is_test(path) || RAW_HOMES.iter().any(|home| path.starts_with(home)) {
        return Vec::new();
    }
    calls(
        path,
        &code(text),
        &words,
        "is a raw statement: build it with sea-orm, or move it to one of its homes",
    )
}

/// Transactions of all environments outside `system.rs`.
pub fn cross_environment(path: &str, text: &str) -> Vec<String> {
    let home = CROSSING_HOMES.iter().any(|home| path.starts_with(home));
    if is_test(path) || home || path.ends_with("/system.rs") {
        return Vec::new();
    }
    let words = ["begin_system(", "begin_ledger(", "db.worker(", "db.ledger("];
    calls(path, &code(text), &words, "crosses environments: only files named system.rs may")
}

#[test]
fn planted_calls_are_found() {
    let faults = |slice: &str, text: &str| graph(&format!("data-plane/src/{slice}/store.rs"), text).len();
    assert_eq!(
        faults("payments", "use crate::accounts::Account; use super::model::X; use crate::payments::y;"),
        0
    );
    assert_eq!(faults("accounts", "use crate::payments::Payment;"), 1, "upwards");
    assert_eq!(faults("lending", "fn f() { crate::payments::pay() }"), 1, "sideways");
    assert_eq!(faults("parties", "use super::super::accounts::Account;"), 1, "by climbing");
    assert_eq!(
        faults("payments", "use crate::{config, accounts::{Account, store::find}};"),
        1,
        "past the front door"
    );
    assert_eq!(faults("parties", "use crate::{\n    accounts::store::find,\n};"), 2, "both");
    assert_eq!(faults("parties", "use crate::router::Router;"), 1, "the composition root");
    assert_eq!(faults("novelty", ""), 1, "an unknown slice");
    let faults = |slice: &str, text: &str| graph(&format!("control-plane/src/{slice}/store.rs"), text).len();
    assert_eq!(faults("links", "use crate::cells::Cell;"), 0);
    assert_eq!(faults("cells", "use crate::links::Document;"), 1, "upwards");
    assert_eq!(faults("payments", ""), 1, "a slice of the other plane");
    let faults = |slice: &str, text: &str| graph(&format!("data-plane/src/{slice}/store.rs"), text).len();
    assert_eq!(
        faults("parties", "// crate::payments::x\nconst X: &str = \"crate::payments::x\";"),
        0,
        "no code"
    );
}

#[test]
fn planted_imports_are_found() {
    let faults = |path: &str, text: &str| imports(path, text).len();
    assert_eq!(faults("data-plane/src/parties/model.rs", "use serde::Serialize;"), 0);
    for text in [
        "use axum::Json;",
        "use sea_orm::{self, entity::*};",
        "fn f(x: tokio::time::Instant) {}",
        "use tokio;",
    ] {
        assert_eq!(faults("data-plane/src/parties/model.rs", text), 1, "{text}");
    }
    assert_eq!(faults("data-plane/src/parties/http.rs", "use sea_orm::DbErr;"), 1);
    assert_eq!(faults("data-plane/src/parties/store.rs", "use axum::Json;"), 1);
    assert_eq!(faults("tenants/src/money.rs", "fn f() { std::fs::read(\"x\"); }"), 1);
    for pure in ["rules.rs", "rules/write.rs", "movements/fee.rs", "limit.rs"] {
        assert_eq!(faults(&format!("data-plane/ledger/src/{pure}"), "use tokio::sync::Mutex;"), 1, "{pure}");
    }
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for place in PURE {
        assert!(root.join(place).exists(), "{place} has moved");
    }
}

#[test]
fn planted_statements_and_crossings_are_found() {
    let raw = |path: &str| raw_statements(path, "fn f() { tx.execute_unprepared(sql) }").len();
    assert_eq!(raw("data-plane/src/parties/store.rs"), 1);
    assert_eq!(raw("data-plane/ledger/src/store/sql/mod.rs"), 0);
    let crossing = |path: &str| cross_environment(path, "fn f() {\n    db.begin_system()\n}").len();
    assert_eq!(crossing("data-plane/src/parties/store.rs"), 1);
    assert_eq!(crossing("data-plane/src/parties/system.rs"), 0);
    assert_eq!(crossing("platform/src/work/runner.rs"), 1);
}
