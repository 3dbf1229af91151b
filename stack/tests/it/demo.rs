//! The demo, small.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use super::cells::{
    Running, addresses, home, is_free, plane_home, query, refused, rows, tambo, tambo_with_files_up_to,
};

const CELLS: [&str; 3] = ["mx-1", "co-1", "br-1"];

fn small(command: Command, folder: &Path) -> Command {
    of(100, 300, command, folder)
}

fn of(customers: u32, transfers: u32, mut command: Command, folder: &Path) -> Command {
    command.args(["demo", "--json", "--customers", &customers.to_string()]);
    command.args(["--transfers", &transfers.to_string(), "--data"]);
    command.arg(folder);
    command
}

/// Runs it to its good end; the one object that it prints.
fn run(command: &mut Command) -> Value {
    run_of(300, command)
}

fn run_of(transfers: u32, command: &mut Command) -> Value {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    let object: Value = serde_json::from_slice(&stdout).unwrap();
    let countries: Vec<_> = object["tenants"].as_array().unwrap().iter().map(|one| &one["country"]).collect();
    assert_eq!(countries, ["MX", "CO", "BR"]);
    assert!(object["tenants"].as_array().unwrap().iter().all(|one| one["status"] == "active"), "{object}");
    for (cell, name) in object["cells"].as_array().unwrap().iter().zip(CELLS) {
        assert_eq!((&cell["cell"], &cell["transfers"]), (&name.into(), &transfers.into()));
        assert_eq!(cell["trial_balance"], 0);
        assert!(cell["p50_ms"].as_f64().unwrap() > 0.0);
        assert!(cell["p99_ms"].as_f64() >= cell["p50_ms"].as_f64(), "{cell}");
    }
    object
}

/// The program beside this file: every balance anew from the transfers.
fn recompute(folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/recompute.py");
    let Output { status, stdout, .. } = Command::new("python3").arg(script).arg(folder).output().unwrap();
    let said = String::from_utf8(stdout).unwrap();
    assert!(status.success(), "{said}");
    for cell in CELLS {
        assert!(said.contains(&format!("{cell}: 100 balances recomputed, 0 differ")), "{said}");
    }
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let (folder, export) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    run(small(tambo(), folder.path()).arg("--export").arg(export.path()));
    recompute(export.path());
    let plane = plane_home(folder.path()).join("control-plane.db");
    let databases = CELLS.map(|cell| home(folder.path(), cell).join("cell.db"));
    let mut before = Vec::new();
    let mut there = Vec::new();
    for database in &databases {
        before.push(rows(database).await);
        there.extend(query(database, "SELECT hex(id), phase FROM environment", 2).await);
    }
    // 99 of 100 lines are good, 4 of them companies; the settlement account; 4 deposits.
    assert!(before.iter().all(|rows| rows["party"] == "99" && rows["account"] == "100"), "{before:?}");
    assert!(before.iter().all(|rows| rows["ledger_transfer"] == "304"), "{before:?}");
    // What the control plane says of environments is what the cells say.
    let mut declared =
        query(&plane, "SELECT hex(id), state FROM environment WHERE cell_id IS NOT NULL", 2).await;
    declared.sort();
    there.sort();
    assert_eq!((&declared, declared.len()), (&there, 3));
    let states = query(&plane, "SELECT state FROM tenant", 1).await.concat();
    assert_eq!(states, ["active", "active", "active"]);
    let planned = rows(&plane).await;

    run(&mut small(tambo(), folder.path()));
    for (database, before) in databases.iter().zip(before) {
        assert_eq!(rows(database).await, before, "{}", database.display());
    }
    assert_eq!(rows(&plane).await, planned);
}

#[test]
fn bad_lines_are_reported_one_by_one() {
    let folder = TempDir::new().unwrap();
    let Output { status, stderr, .. } = small(tambo(), folder.path()).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{said}");
    for cell in CELLS {
        assert!(said.contains(&format!("{cell}: 99 of 100 customers imported")), "{said}");
    }
    assert_eq!(said.lines().filter(|line| line.trim().starts_with("line ")).count(), 3, "{said}");
}

#[test]
fn it_stays_up_until_it_is_stopped() {
    let folder = TempDir::new().unwrap();
    let mut command = small(tambo(), folder.path());
    let running = Running::start(command.arg("--keep").stdout(std::process::Stdio::null()));
    let addresses = addresses(folder.path());
    assert!(addresses.iter().all(|address| !is_free(address)));
    running.ask_to_stop("INT");
    assert_eq!(running.end(), 0);
    assert!(addresses.iter().all(is_free), "a cell was left behind");
}

/// Whether accounts are opened or money moves then, a full disk is named as such. What was acknowledged before is there,
/// and nothing is there by half: the next run finds it, adds the rest, and every figure holds.
#[test]
fn it_goes_on_after_a_full_disk() {
    let folder = TempDir::new().unwrap();
    // So that the control plane has next to nothing to write afterwards: its database would be full before a cell's.
    run_of(1, &mut of(50, 1, tambo(), folder.path()));
    let said = refused(&mut small(tambo_with_files_up_to(2_000), folder.path()));
    assert!(said.contains("POST /v1/accounts: 507 storage_full"), "{said}");
    run(&mut small(tambo(), folder.path()));
    let said = refused(&mut of(100, 3_000, tambo_with_files_up_to(2_000), folder.path()));
    assert!(said.contains("POST /v1/transfers: 507 storage_full"), "{said}");
    run_of(3_000, &mut of(100, 3_000, tambo(), folder.path()));
}
