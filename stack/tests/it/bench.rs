//! `tambo bench ledger` runs, checks its books and says what a program asks for. No figure is judged here: machines differ.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use serde_json::Value;

#[test]
fn every_goal_is_measured_against_its_baseline_and_the_books_are_right() {
    let output = Command::new(env!("CARGO_BIN_EXE_tambo"))
        .args(["bench", "ledger", "--json", "--rounds", "1", "--seconds", "0.2"])
        .args(["--accounts", "50", "--connections", "8"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // The books are checked after each round; what does not fit ends the run with an error.
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();

    let goals = report["goals"].as_array().unwrap();
    let targets: BTreeMap<&str, f64> =
        goals.iter().map(|goal| (goal["name"].as_str().unwrap(), goal["target"].as_f64().unwrap())).collect();
    let expected = [
        ("post_transfers", 3.0),
        ("bulk", 0.9),
        ("hot_account", 0.8),
        ("balance", 0.8),
        ("durable_p99", 2.0),
    ];
    assert_eq!(targets, BTreeMap::from(expected));
    for goal in goals {
        assert!(goal["ratio"].as_f64().unwrap() > 0.0, "{goal}");
        assert!(goal["met"].is_boolean(), "{goal}");
        assert_eq!(goal["baseline"]["rounds"].as_array().unwrap().len(), 1, "{goal}");
    }

    let costs = report["cpu_us_per_unit"].as_array().unwrap();
    let posting = costs.iter().find(|cost| cost["run"] == "POST /v1/transfers").unwrap();
    for part in ["server", "database", "driver"] {
        assert!(posting[part]["median"].is_number(), "{posting}");
    }
}

#[test]
fn a_goal_that_does_not_exist_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_tambo"))
        .args(["bench", "ledger", "--only", "bulk,speed"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("there is no goal speed") && said.contains("hot_account"), "{said}");
}
