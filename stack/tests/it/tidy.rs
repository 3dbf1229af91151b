//! House rules as programs: what a reviewer would otherwise have to remember.
//!
//! Every rule is a function from a file's path and text to its faults, is run here over the whole tree, and is shown to
//! find a planted fault beside its definition. `cargo tidy` runs them alone.

mod codes;
mod crates;
mod licences;
mod slices;
mod source;
mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the tree: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text files that are in the repository or would be after `git add`.
fn tree() -> Vec<File> {
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root());
    let listed = git.output().expect("git lists the tree");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let paths = String::from_utf8(listed.stdout).unwrap();
    let mut files: Vec<File> = paths
        .split_terminator('\0')
        .filter_map(|path| {
            let text = std::fs::read_to_string(root().join(path)).ok()?;
            Some(File { path: path.to_owned(), text })
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    assert!(files.iter().any(|file| file.path == "Cargo.toml"), "the tree was not read");
    files
}

/// Runs a rule over the files whose path ends in `suffix` and reports all faults at once.
fn hold(suffix: &str, rule: impl Fn(&str, &str) -> Vec<String>) {
    let files = tree();
    let matching = files.iter().filter(|file| file.path.ends_with(suffix));
    let faults: Vec<String> = matching.flat_map(|file| rule(&file.path, &file.text)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn crates_depend_downwards() {
    hold("Cargo.toml", crates::graph);
}

#[test]
fn versions_stand_in_the_workspace_manifest() {
    hold("Cargo.toml", crates::versions);
}

#[test]
fn one_integration_test_binary_per_crate() {
    hold(".rs", text::test_binary);
}

#[test]
fn slices_call_downwards_through_the_front_door() {
    hold(".rs", slices::graph);
}

#[test]
fn slice_files_import_what_they_may() {
    hold(".rs", slices::imports);
}

#[test]
fn raw_statements_stay_at_home() {
    hold(".rs", slices::raw_statements);
}

#[test]
fn environments_are_crossed_in_system_files_only() {
    hold(".rs", slices::cross_environment);
    println!("cross-environment code:");
    for file in tree().iter().filter(|file| file.path.ends_with("/system.rs")) {
        println!("  {} ({} lines)", file.path, file.text.lines().count());
    }
}

#[test]
fn files_stay_small() {
    hold(".rs", text::size);
}

#[test]
fn links_lead_somewhere() {
    let files = tree();
    let headings =
        |path: &str| files.iter().find(|file| file.path == path).map(|file| text::anchors(&file.text));
    hold(".md", |path, text| text::links(path, text, &|to| root().join(to).exists(), &headings));
}

#[test]
fn no_local_paths_and_no_registries() {
    hold("", text::local_paths);
    hold("", text::registries);
    hold("Cargo.lock", text::lock_sources);
}

#[test]
fn every_problem_is_met_in_a_test() {
    let faults = codes::unmet(tree().iter().map(|file| (file.path.as_str(), file.text.as_str())));
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn countries_are_data() {
    hold(".rs", text::countries);
}

#[test]
fn what_is_switched_off_says_why() {
    hold(".rs", text::ignored_tests);
    hold(".rs", text::hidden_database_errors);
    hold(".rs", text::allowed_lints);
}

#[test]
fn licences_and_bans() {
    licences::check(&root());
}
