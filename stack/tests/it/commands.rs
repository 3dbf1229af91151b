//! `tambo tenants|environments|cells|operations …` against a served control plane.

use std::{
    fs,
    net::SocketAddr,
    process::{Command, Output},
};

use client::control::{self, EnvironmentNew};
use control_plane::operations::State;
use serde_json::Value;
use tenants::environment::Mode;

use super::{
    cells::tambo,
    plane::{Plane, approved, organization},
};

/// What a command said, and how it ended.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    /// It failed with this code, and said so on standard error alone.
    fn failed(&self, code: i32) -> &str {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        &self.err
    }
}

/// A served control plane, and the operator's token in a file.
struct Desk {
    plane: Plane,
    address: SocketAddr,
}

impl Desk {
    async fn new() -> Self {
        let plane = Plane::new().await;
        fs::write(plane.folder.path().join("token"), format!("{}\n", plane.operator)).unwrap();
        let address = plane.serve().await;
        Self { plane, address }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = tambo();
        command
            .args(line.split_whitespace())
            .env_clear()
            .env("TAMBO_URL", format!("http://{}", self.address))
            .env("TAMBO_TOKEN_FILE", self.plane.folder.path().join("token"));
        command
    }

    async fn run(&self, line: &str) -> Said {
        run(self.command(line)).await
    }
}

async fn run(mut command: Command) -> Said {
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let [out, err] = [stdout, stderr].map(|text| String::from_utf8(text).unwrap());
    Said { code: status.code(), out, err }
}

fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_from_its_draft_to_its_environment() {
    let desk = Desk::new().await;
    for region in ["mx-1 --country MX --name Querétaro", "us-1 --country US --name Ohio"] {
        desk.run(&format!("regions put {region} --json")).await.json();
    }
    let made =
        desk.run("organizations create --json --name Tianguis --country MX --external-id tianguis").await;
    let organization = made.json();
    let create = format!(
        "tenants create --json --organization {} --name Tianguis --jurisdiction mx-cnbv --licence IFPE --key once",
        id(&organization)
    );
    let plan = desk.run(&format!("{create} --dry-run")).await.json();
    assert_eq!(plan["changes"][0]["before"], Value::Null);
    let tenant = desk.run(&create).await.json();
    let again = desk.run(&create).await;
    assert_eq!(again.json(), tenant);
    assert!(again.err.contains("done before"), "{}", again.err);
    let tenant = id(&tenant);
    for (verb, state) in [("verify", "verifying"), ("approve", "approved")] {
        let plan = desk.run(&format!("tenants {verb} {tenant} --reason papers_seen --dry-run --json")).await;
        assert!(plan.json()["changes"].to_string().contains(state), "{}", plan.out);
        let moved = desk.run(&format!("tenants {verb} {tenant} --reason papers_seen --json")).await;
        assert_eq!(moved.json()["state"], state);
    }
    let declare = format!("environments create --tenant {tenant} --mode sandbox --json --region");
    let mut abroad = desk.command(&format!("{declare} us-1"));
    abroad.env("LANG", "pt_BR.UTF-8");
    let refused = run(abroad).await;
    let text = refused.failed(1);
    for part in ["residency_condition_missing", "podem ficar em us-1", "residency_notice_missing", "→ "] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let document = desk.plane.folder.path().join("aviso.pdf");
    fs::write(&document, "").unwrap();
    for condition in ["notice", "regulator_access", "local_only_contract"] {
        let record = desk
            .run(&format!(
                "tenants residency record {tenant} --condition {condition} --region us-1 --dated-on 2026-01-01 --json \
                 --document {}",
                document.display()
            ))
            .await
            .json();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            (&record["document_name"], &record["document_sha256"]),
            (&"aviso.pdf".into(), &empty.into())
        );
    }
    let operation = desk.run(&format!("{declare} us-1")).await.json();
    assert_eq!(operation["kind"], "environment_provision");
    let listed = desk.run(&format!("environments list --tenant {tenant} --json")).await.json();
    assert_eq!(id(&listed[0]), operation["subject_id"]);
    let plan = desk.run(&format!("environments remove {} --dry-run", id(&listed[0]))).await;
    assert!(plan.out.contains("/desired"), "{} {}", plan.out, plan.err);
    let cancelled = desk.run(&format!("operations cancel {} --json", id(&operation))).await.json();
    assert!(cancelled["cancel_asked_at"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_tables_for_people() {
    let desk = Desk::new().await;
    let empty = desk.run("tenants list").await;
    assert_eq!((empty.code, empty.out.as_str(), empty.err.as_str()), (Some(0), "", "None.\n"));
    for region in ["mx-1 --country MX --name Querétaro", "us-east-1 --country US --name Ohio"] {
        let put = desk.run(&format!("regions put {region} --json")).await;
        assert_eq!(put.json()["version"], 1);
    }
    let listed = desk.run("regions list").await;
    let expected = [
        " code        country   name".to_owned(),
        "─".repeat(33),
        " mx-1        MX        Querétaro".to_owned(),
        " us-east-1   US        Ohio".to_owned(),
    ];
    assert_eq!(listed.out.lines().collect::<Vec<_>>(), expected, "{}", listed.out);
    let plan = desk.run("regions put us-east-1 --country US --name Virginia --dry-run").await;
    let expected =
        [" pointer   before   after".to_owned(), "─".repeat(29), " /name     Ohio     Virginia".to_owned()];
    assert_eq!(plan.out.lines().collect::<Vec<_>>(), expected, "{}", plan.out);
    let same = desk.run("regions put us-east-1 --country US --name Ohio --dry-run").await;
    assert_eq!(same.out, "Nothing would change.\n");
    let made = desk.run("organizations create --name Tianguis --country MX").await;
    let lines: Vec<_> =
        made.out.lines().filter(|line| !line.contains("_at ") && !line.starts_with("id")).collect();
    assert_eq!(
        lines,
        ["country      MX", "external_id  -", "name         Tianguis", "version      1"],
        "{}",
        made.out
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_are_declared_let_in_and_drained() {
    let desk = Desk::new().await;
    desk.run("regions put mx-1 --country MX --name Querétaro").await;
    let create =
        "cells create --name mx-1 --jurisdiction mx-cnbv --region mx-1 --mode sandbox --capacity 10 --json";
    let cell = desk.run(create).await.json();
    let token = desk.run(&format!("cells join-token {} --expires-in 600 --json", id(&cell))).await.json();
    assert!(token["token"].as_str().unwrap().starts_with("tambo-join."));
    let stale = desk.run(&format!("cells update {} --capacity 20 --if-version 9", id(&cell))).await;
    let text = stale.failed(1);
    assert!(text.contains("version_mismatch") && text.contains("→ "), "{text}");
    let plan = desk.run(&format!("cells update {} --capacity 20 --dry-run --json", id(&cell))).await.json();
    assert_eq!(plan["changes"][0]["after"], 20);
    let changed = desk.run(&format!("cells update {} --capacity 20 --json", id(&cell))).await.json();
    assert_eq!((&changed["capacity"], &changed["version"]), (&20.into(), &2.into()));
    let paper = desk.plane.folder.path().join("iso.pdf");
    fs::write(&paper, "").unwrap();
    let validity = "--valid-from 2026-01-01T00:00:00Z --valid-until 2029-01-01T00:00:00Z";
    let attest = format!("cells attest {} iso27001 {validity} --document {}", id(&cell), paper.display());
    desk.run(&format!("{attest} --json")).await.json();
    let listed = desk.run(&format!("cells attestations {} --json", id(&cell))).await.json();
    assert_eq!((&listed[0]["kind"], &listed[0]["document_name"]), (&"iso27001".into(), &"iso.pdf".into()));
    let drained = desk.run(&format!("cells drain {}", id(&cell))).await;
    assert!(drained.failed(1).contains("cell_state"), "nobody has enrolled: {}", drained.err);
    assert_eq!(desk.run(&format!("cells retire {} --json", id(&cell))).await.json()["state"], "retired");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_followed_to_its_end() {
    let desk = Desk::new().await;
    let client = desk.plane.client();
    let organization = organization(&client).await;
    let tenant = approved(&client, organization).await;
    let new = EnvironmentNew {
        mode: Mode::Sandbox,
        region: "mx-1".parse().unwrap(),
        profile_version: None,
        clock_offset_ms: None,
    };
    let operation = client.read(control::environment_create(tenant, &new)).await.unwrap().id;
    desk.plane.step(organization, operation, "place").await;
    let mut command = desk.command(&format!("operations follow {operation} --json"));
    let following = tokio::task::spawn_blocking(move || command.output().unwrap());
    desk.plane.step(organization, operation, "publish").await;
    desk.plane.end(organization, operation, State::Succeeded).await;
    let Output { status, stdout, stderr } = following.await.unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(said, "  1  2/11  done    place\n  2  3/11  done    publish\n");
    let shown: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((&shown["state"], shown["steps"].as_array().unwrap().len()), (&"succeeded".into(), 2));

    let second =
        client.read(control::environment_remove(shown["subject_id"].as_str().unwrap().parse().unwrap()));
    let second = second.await.unwrap().id;
    desk.plane.end(organization, second, State::Failed).await;
    let failed = desk.run(&format!("operations follow {second}")).await;
    assert_eq!(failed.code, Some(1), "{}", failed.err);
    assert!(
        failed.out.contains("state") && failed.err.contains("not succeeded"),
        "{} {}",
        failed.out,
        failed.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_said_with_its_remedy() {
    let desk = Desk::new().await;
    let mut wrong = desk.command("tenants list --json");
    wrong.env_remove("TAMBO_TOKEN_FILE").env("TAMBO_TOKEN", "nonsense");
    let text = run(wrong).await;
    assert!(text.failed(1).contains("unauthenticated") && text.err.contains("→ "), "{}", text.err);
    let unknown = desk.run("tenants get tnt_01jd4q8e7xf2r9k3m5n7p0s4t6").await;
    assert!(unknown.failed(1).contains("tenant_not_found"));
    let mut spanish = desk.command("tenants get tnt_01jd4q8e7xf2r9k3m5n7p0s4t6");
    spanish.env("LC_ALL", "es_CO.UTF-8");
    let spanish = run(spanish).await;
    assert!(spanish.failed(1).contains("tenant_not_found") && spanish.err != unknown.err, "{}", spanish.err);
    let no_id = desk.run("tenants get 4711").await;
    assert!(no_id.failed(2).contains("tnt_"), "{}", no_id.err);
    let mut none = desk.command("tenants list");
    none.env_remove("TAMBO_TOKEN_FILE");
    assert!(run(none).await.failed(2).contains("--client-file"));
    let clear = desk.run("tenants list --url http://control.example").await;
    assert!(clear.failed(2).contains("https"), "{}", clear.err);
    let nowhere = desk.run("tenants list --url http://127.0.0.1:1").await;
    assert!(nowhere.failed(1).contains("cannot connect"), "{}", nowhere.err);
}
