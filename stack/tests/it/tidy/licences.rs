//! The licences, bans and sources of `deny.toml`, for machines without cargo-deny.

use std::path::Path;
use std::process::Command;
use toml::Value;

/// Whether an SPDX expression is met by the allowed licences. `/` is the old spelling of `OR`.
fn allowed(expression: &str, allow: &[&str]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = any(&tokens, &mut at, allow);
    met && at == tokens.len()
}

fn any(tokens: &[&str], at: &mut usize, allow: &[&str]) -> bool {
    let mut met = all(tokens, at, allow);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all(tokens, at, allow);
    }
    met
}

fn all(tokens: &[&str], at: &mut usize, allow: &[&str]) -> bool {
    let mut met = one(tokens, at, allow);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(tokens, at, allow);
    }
    met
}

fn one(tokens: &[&str], at: &mut usize, allow: &[&str]) -> bool {
    let Some(token) = tokens.get(*at) else { return false };
    *at += 1;
    if *token == "(" {
        let met = any(tokens, at, allow);
        *at += 1;
        return met;
    }
    let mut licence = (*token).to_owned();
    if let (Some(&"WITH"), Some(exception)) = (tokens.get(*at), tokens.get(*at + 1)) {
        licence = format!("{licence} WITH {exception}");
        *at += 2;
    }
    allow.contains(&licence.as_str())
}

/// Whether a package is one of the bans: a name, or `name@<version`.
fn banned(ban: &str, name: &str, version: &str) -> bool {
    let numbers = |text: &str| text.split('.').map_while(|part| part.parse::<u64>().ok()).collect::<Vec<_>>();
    match ban.split_once("@<") {
        Some((banned, before)) => banned == name && numbers(version) < numbers(before),
        None => ban == name,
    }
}

/// The faults of the packages in `metadata` against `deny`.
fn faults(metadata: &serde_json::Value, deny: &toml::Table) -> Vec<String> {
    let texts = |value: &Value| {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let allow = texts(&deny["licenses"]["allow"]);
    let allow: Vec<&str> = allow.iter().map(String::as_str).collect();
    let bans: Vec<&str> = deny["bans"]["deny"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|ban| ban.get("crate")?.as_str())
        .collect();
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let text = |key: &str| package[key].as_str().unwrap_or_default();
        let (name, version) = (text("name"), text("version"));
        if let Some(ban) = bans.iter().find(|ban| banned(ban, name, version)) {
            faults.push(format!("{name} {version} is banned as {ban}"));
        }
        let source = text("source");
        if source.is_empty() {
            continue;
        }
        if !source.starts_with("registry+https://github.com/rust-lang/") {
            faults.push(format!("{name} {version} comes from {source}"));
        }
        if !allowed(text("license"), &allow) {
            faults.push(format!("{name} {version} has the licence {:?}", text("license")));
        }
    }
    faults
}

/// Asks cargo for the packages that this machine builds and holds them to `deny.toml`.
pub fn check(root: &Path) {
    let cargo = env!("CARGO");
    let version = Command::new(cargo).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its host");
    let arguments = ["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host];
    let output = Command::new(cargo).args(arguments).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).unwrap();
    let deny = std::fs::read_to_string(root.join("deny.toml")).unwrap().parse().unwrap();
    let faults = faults(&metadata, &deny);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn expressions_are_read() {
    let allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"];
    for met in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/GPL-3.0",
        "(MIT OR GPL-3.0) AND Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "MIT AND Apache-2.0 OR GPL-3.0",
    ] {
        assert!(allowed(met, &allow), "{met}");
    }
    for unmet in
        ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "MIT WITH GCC-exception", "MIT MIT"]
    {
        assert!(!allowed(unmet, &allow), "{unmet}");
    }
}

#[test]
fn planted_packages_are_found() {
    let deny = "[licenses]\nallow = ['MIT']\n[bans]\ndeny = [{ crate = 'rsa' }, { crate = 'sqlx@<0.9' }]"
        .parse()
        .unwrap();
    let source = "registry+https://github.com/rust-lang/index";
    let faults = |name: &str, version: &str, licence: &str, source: &str| {
        let package =
            serde_json::json!({"name": name, "version": version, "license": licence, "source": source});
        faults(&serde_json::json!({ "packages": [package] }), &deny).len()
    };
    assert_eq!(faults("serde", "1.0.0", "MIT OR Apache-2.0", source), 0);
    assert_eq!(faults("sqlx", "0.9.1", "MIT", source), 0);
    assert_eq!(faults("sqlx", "0.8.6", "MIT", source), 1);
    assert_eq!(faults("rsa", "0.9.6", "MIT", source), 1);
    assert_eq!(faults("copyleft", "1.0.0", "AGPL-3.0-only", source), 1);
    assert_eq!(faults("elsewhere", "1.0.0", "MIT", "git+https://example.org/x"), 1);
}
