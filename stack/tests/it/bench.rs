//! `tambo bench` runs, checks its books and says what a program asks for. No figure is judged here: machines differ.

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
fn what_a_tenant_costs_is_measured_at_each_size() {
    let output = Command::new(env!("CARGO_BIN_EXE_tambo"))
        .args(["bench", "planes", "--json", "--sizes", "1,3", "--idle", "1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();

    let names = ["time_per_tenant", "memory_per_tenant", "link_bytes_per_tenant"];
    let goals = report["goals"].as_array().unwrap();
    assert!(goals.iter().map(|goal| &goal["name"]).eq(names), "{report}");
    assert!(goals.iter().all(|goal| goal["target"] == 1.2 && goal["met"].is_boolean()), "{report}");
    let sizes = report["sizes"].as_array().unwrap();
    assert!(sizes.iter().map(|size| &size["tenants"]).eq([1, 3]), "{report}");
    for size in sizes {
        let figure = |pointer: &str| {
            size.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer}: {size}"))
        };
        assert!(figure("/tenants_per_s") > 0.0, "{size}");
        assert!(figure("/p50_ms") > 0.0 && figure("/p99_ms") >= figure("/p50_ms"), "{size}");
        // Three cells have more than one control plane, and each at least a megabyte.
        assert!(figure("/control_plane_bytes") > 1e6, "{size}");
        assert!(figure("/cells_bytes") > figure("/control_plane_bytes"), "{size}");
        assert!(figure("/per_tenant/time") > 0.0 && figure("/per_tenant/link_bytes") > 0.0, "{size}");
        assert!(size["per_tenant"]["memory"].is_number(), "{size}");
        for plane in ["control_plane", "cells"] {
            assert!(figure(&format!("/idle_cpu_ms_per_s/{plane}")) >= 0.0, "{size}");
        }
        assert!(figure("/idle_link_bytes_per_environment_hour") >= 0.0, "{size}");
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
