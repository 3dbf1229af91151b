//! A cell of the version of the contract before, under today's control plane.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tenants::contract::SPOKEN;

use super::{WHOLE, Walk, site::Who};
use crate::planes::until;

/// Where this build's repository is.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn git(arguments: &[&str]) -> String {
    // The checkout may belong to somebody else, as it does in many containers.
    let mut git = Command::new("git");
    let output = git.args(["-C", ROOT, "-c", "safe.directory=*"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The last commit that did not have today's version of the contract.
fn last_commit_before() -> String {
    let folder = format!("tenants/contract/v{}", SPOKEN.highest());
    let added = git(&["log", "--diff-filter=A", "--format=%H", "--", &folder]);
    match added.lines().last() {
        Some(commit) => git(&["rev-parse", &format!("{commit}^")]),
        None => git(&["rev-parse", "HEAD"]),
    }
}

/// Builds the program of a commit, if it is not built.
fn built(commit: &str) -> PathBuf {
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("before");
    let (source, target) = (all.join(commit), all.join("target"));
    if !source.exists() {
        let fresh = all.join("fresh");
        let _left_over = fs::remove_dir_all(&fresh);
        fs::create_dir_all(&fresh).unwrap();
        let archive = all.join("source.tar");
        git(&["archive", "--output", archive.to_str().unwrap(), commit]);
        let unpacked = Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&fresh).status().unwrap();
        assert!(unpacked.success());
        fs::rename(&fresh, &source).unwrap();
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--package", "tambo", "--target-dir"]).arg(&target);
    // Nobody debugs it.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_INCREMENTAL", "0");
    let built = cargo.current_dir(&source).stdin(Stdio::null()).status().unwrap();
    assert!(built.success(), "{commit} cannot be built");
    target.join("debug").join("tambo")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long tier: ./test --full"]
async fn full_a_cell_of_the_version_before_converges() {
    let commit = last_commit_before();
    eprintln!("the cell is that of {commit}");
    let program = built(&commit);
    let mut walk = Walk::start().await;
    let today = walk.site.caller.get("/v1/cells?name=mx-1").await["data"][0]["id"].clone();
    let drain = format!("/v1/cells/{}/drains", today.as_str().unwrap());
    walk.site.caller.post(&drain, serde_json::json!({})).await;
    walk.site.another_cell("mx-before").await;
    walk.site.cell_program = Some(program);
    walk.site.start(Who::Cell, None);

    let mut shown = serde_json::Value::Null;
    for act in WHOLE {
        walk.prepare(*act).await;
        walk.environments = walk.acting(*act).await;
        walk.compare(*act).await;
        until("the cell is heard of", async || {
            let cells = walk.site.caller.get("/v1/cells?name=mx-before").await;
            cells["data"][0]["stale"] == false
        })
        .await;
        shown = walk.site.caller.get("/v1/cells?name=mx-before").await["data"][0].clone();
    }
    let before = SPOKEN.highest() - 1;
    assert_eq!(shown["contract"].to_string(), format!("[1,{before}]"), "{shown}");
}
