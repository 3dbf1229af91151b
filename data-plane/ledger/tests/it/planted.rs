//! The simulation finds what it is there to find: each patch in `tests/planted/` plants one fault in the engine, or in the
//! store beneath it, and with it the two hundred seeds must fail.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Fewer would not show much.
const FEWEST: usize = 10;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn patches() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planted");
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(found.len() >= FEWEST);
    found
}

fn git(folder: &Path, arguments: &[&str]) -> Output {
    // The checkout may belong to another user.
    Command::new("git").args(["-c", "safe.directory=*"]).args(arguments).current_dir(folder).output().unwrap()
}

/// `reverse` takes a fault out again.
fn apply(folder: &Path, patch: &Path, options: &[&str]) {
    let patch_path = patch.display().to_string();
    let done = git(folder, &[&["apply"], options, &[patch_path.as_str()]].concat());
    assert!(done.status.success(), "{patch_path}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_fault_can_be_planted() {
    for patch in patches() {
        apply(&root(), &patch, &["--check"]);
    }
}

/// A copy of the tree, so that nobody compiles a planted fault by accident.
fn copy(to: &Path) {
    let listed = git(&root(), &["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    for path in listed.split('\0').filter(|path| !path.is_empty() && root().join(path).is_file()) {
        fs::create_dir_all(to.join(path).parent().unwrap()).unwrap();
        fs::copy(root().join(path), to.join(path)).unwrap();
    }
}

#[test]
#[ignore = "long tier: ./test --full"]
fn full_every_planted_fault_is_found() {
    let folder = tempfile::tempdir().unwrap();
    copy(folder.path());
    let seeds = |what: &str| {
        // Not the workspace's target folder: the copy's crates have the same names there, and the next build of the
        // workspace would take a faulty one for its own.
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--package", "ledger", "--test", "it", "--locked", "--offline", "--"]);
        cargo.arg("sim::two_hundred_seeds_of_faults_leave_the_books_right").current_dir(folder.path());
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("planted");
        cargo.env("CARGO_TARGET_DIR", target).env("RUST_BACKTRACE", "0");
        let done = cargo.output().unwrap();
        let said =
            [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(said.contains("running 1 test"), "{what} does not compile:\n{said}");
        (done.status.success(), said)
    };
    assert!(seeds("the engine without a fault").0, "the seeds pass without a fault");
    for patch in patches() {
        let name = patch.file_stem().unwrap().display().to_string();
        apply(folder.path(), &patch, &[]);
        let (passed, said) = seeds(&name);
        assert!(!passed, "{name} is not found");
        let seed = said.split("TEST_SEED=").nth(1).and_then(|rest| rest.split_whitespace().next());
        eprintln!("{name}: found by seed {}", seed.unwrap());
        apply(folder.path(), &patch, &["--reverse"]);
    }
}
