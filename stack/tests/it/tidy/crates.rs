//! Which crate may use which, read from the manifests.

use toml::{Table, Value};

/// Crate, and the crates of this workspace that it may use. The control plane never uses the data plane or the ledger.
const MAY_USE: [(&str, &[&str]); 8] = [
    ("tenants", &[]),
    ("platform", &["tenants"]),
    ("ledger", &["tenants", "platform"]),
    ("data-plane", &["tenants", "platform", "ledger"]),
    ("control-plane", &["tenants", "platform"]),
    ("client", &["tenants"]),
    ("terraform-provider-tambo", &["tenants", "client"]),
    ("tambo", &["tenants", "platform", "ledger", "data-plane", "control-plane", "client"]),
];

/// A manifest's dependencies of all kinds: where, name, value.
fn dependencies(manifest: &Table) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    let mut kinds = |place: &str, table: &Table| {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in table.get(kind).and_then(Value::as_table).into_iter().flatten() {
                let real = value.get("package").and_then(Value::as_str).unwrap_or(name);
                found.push((format!("{place}{kind}"), real.to_owned(), value.clone()));
            }
        }
    };
    kinds("", manifest);
    for (target, table) in manifest.get("target").and_then(Value::as_table).into_iter().flatten() {
        kinds(&format!("target.{target}."), table.as_table().unwrap());
    }
    found
}

/// Dependencies that point upwards or sideways.
pub fn graph(path: &str, text: &str) -> Vec<String> {
    let manifest: Table = text.parse().unwrap();
    let Some(name) = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str)
    else {
        return Vec::new();
    };
    let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
        return vec![format!(
            "{path}: {name} has no place in the graph of crates yet (stack/tests/it/tidy/crates.rs)"
        )];
    };
    let ours = |used: &str| MAY_USE.iter().any(|(known, _)| *known == used);
    dependencies(&manifest)
        .into_iter()
        .filter(|(_, used, _)| ours(used) && used != name && !allowed.contains(&used.as_str()))
        .map(|(kind, used, _)| format!("{path}: {name} may not use {used} ({kind})"))
        .collect()
}

/// Dependencies that state a version of their own instead of `workspace = true`. A crate may be its own
/// dev-dependency, to test with its features on.
pub fn versions(path: &str, text: &str) -> Vec<String> {
    let manifest: Table = text.parse().unwrap();
    dependencies(&manifest)
        .into_iter()
        .filter(|(_, _, value)| value.get("workspace").and_then(Value::as_bool) != Some(true))
        .filter(|(_, _, value)| value.get("path").and_then(Value::as_str) != Some("."))
        .map(|(kind, used, _)| {
            format!("{path}: {used} in {kind} states its own version; use `workspace = true`")
        })
        .collect()
}

#[test]
fn planted_edges_are_found() {
    let manifest = |name: &str, rest: &str| format!("[package]\nname = \"{name}\"\n{rest}");
    let faults = |name: &str, rest: &str| graph("x/Cargo.toml", &manifest(name, rest)).len();
    assert_eq!(faults("data-plane", "[dependencies]\nledger = { workspace = true }"), 0);
    assert_eq!(faults("platform", "[dev-dependencies]\nplatform = { workspace = true }"), 0);
    assert_eq!(faults("control-plane", "[dependencies]\nledger = { workspace = true }"), 1);
    assert_eq!(faults("platform", "[dev-dependencies]\ndata-plane = { workspace = true }"), 1);
    assert_eq!(faults("tenants", "[target.'cfg(unix)'.dependencies]\nplatform = { workspace = true }"), 1);
    assert_eq!(faults("platform", "[dependencies]\nbooks = { package = \"ledger\", workspace = true }"), 1);
    assert_eq!(faults("newcomer", ""), 1);
    assert_eq!(
        versions("x/Cargo.toml", "[dependencies]\nserde = \"1\"\ntoml = { workspace = true }").len(),
        1
    );
}
