//! The messages of today against the samples in `contract/vN`, and against readers built of the types of each version.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tenants::{
    contract::{
        Binding, Body, CellIntent, ClientIntent, ClientSeen, Desired, Document, Enrol, Enrolled,
        EnvironmentIntent, EnvironmentObserved, ExportSeen, Heartbeat, Issued, Method, Observed, Poll,
        PublicKey, Refusal, Refused, Renewal, SPOKEN, Taken,
    },
    environment::{Condition, Desired as Wanted, Mode, Phase, Status},
    id::Id,
};
use uuid::Uuid;

use crate::{contract_v1 as v1, contract_v2 as v2};

fn id<I: Id>(number: u128) -> I {
    I::from_uuid(Uuid::from_u128(0x0193_4f2e_1c3b_7abc_8def_0123_4567_8900 + number))
}

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x0193_4f2e_1c3b_7abc_8def_0123_4567_8900 + number)
}

fn at(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000 + 60 * minute, 123_456_000).unwrap()
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn key(kid: &str) -> PublicKey {
    PublicKey {
        kid: text(kid),
        x: text("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        y: text("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    }
}

fn intent(phase: Wanted, clients: Vec<ClientIntent>) -> EnvironmentIntent {
    let whole = phase == Wanted::Removed;
    EnvironmentIntent {
        id: id(1),
        organization: id(2),
        tenant: id(3),
        tenant_name: text("Tianguis"),
        mode: Mode::Sandbox,
        jurisdiction: "mx-cnbv".parse().unwrap(),
        profile_version: text("2026.11"),
        phase,
        hold_until: whole.then(|| at(90)),
        clock_offset_ms: 86_400_000,
        clients,
        operation: whole.then(|| id(4)),
    }
}

fn clients() -> Vec<ClientIntent> {
    [
        (Method::PrivateKeyJwt, Binding::Dpop),
        (Method::Tls, Binding::Certificate),
        (Method::Secret, Binding::None),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, (method, binding))| ClientIntent {
        id: id(10 + number as u128),
        name: text("payroll"),
        method,
        keys: if method == Method::PrivateKeyJwt { vec![key("1")] } else { vec![] },
        thumbprints: if method == Method::Tls {
            vec![text("A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0")]
        } else {
            vec![]
        },
        secret_sha256: (method == Method::Secret)
            .then(|| text("n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg")),
        scopes: vec![text("accounts:read"), text("payments:write")],
        binding,
        epoch: 1_795_000_000,
        revoked: method == Method::Tls,
        changed_at: (method == Method::Tls).then(|| at(30)),
    })
    .collect()
}

fn document(generation: u64, body: Body) -> Document {
    let subject = match &body {
        Body::Environment(intent) => intent.id.to_string(),
        Body::Cell(_) | Body::Unknown => id::<tenants::id::CellId>(5).to_string(),
    };
    Document { subject, generation, revision: generation + 100, body }
}

fn documents() -> Vec<Document> {
    let environment = |phase, clients| Body::Environment(Box::new(intent(phase, clients)));
    let cell = CellIntent { capacity: 500, draining: false, control_plane_keys: vec![key("cp-1")] };
    vec![
        document(1, environment(Wanted::Present, clients())),
        document(2, environment(Wanted::Suspended, vec![])),
        document(3, environment(Wanted::Removed, vec![])),
        document(4, Body::Cell(cell)),
    ]
}

fn desired(documents: Vec<Document>) -> Desired {
    let empty = documents.is_empty();
    Desired { lineage: uuid(6), revision: 104, complete: true, documents, now_at: at(2), resync: empty }
}

fn condition(status: Status, detail: Option<&str>) -> Condition {
    Condition {
        r#type: text("SchemaCurrent"),
        status,
        reason: text("Looked"),
        detail: detail.map(text),
        since_at: at(1),
    }
}

fn seen(number: u128, phase: Phase, full: bool) -> EnvironmentObserved {
    EnvironmentObserved {
        id: id(number),
        organization: id(2),
        tenant: id(3),
        generation: 7,
        phase,
        step: (phase == Phase::Converging).then(|| text("clients")),
        conditions: vec![
            condition(Status::True, None),
            condition(Status::False, Some("the newest migration is missing")),
            condition(Status::Unknown, None),
        ],
        profile_version: text("2026.11"),
        clients: vec![ClientSeen { id: id(10), epoch: 1_795_000_000 }],
        schema: text("m0022_payments"),
        exports: vec![ExportSeen {
            id: id(8),
            sha256: text("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            bytes: 1_048_577,
            signed_by: text("key-1"),
        }],
        hold_until: (phase == Phase::Removing).then(|| at(4)),
        intent: full.then(|| Box::new(intent(Wanted::Present, vec![]))),
    }
}

fn observed(version: u16, environments: Vec<EnvironmentObserved>, full: bool) -> Observed {
    Observed {
        seq: 12,
        instance: uuid(9),
        lineage: uuid(6),
        cursor: 104,
        sent_at: at(3),
        heartbeat: Heartbeat {
            software: text("tambo 0.1.0"),
            contract: version,
            environments: 7,
            ready: 5,
            capacity: 500,
            backlog: 3,
            dead: 1,
            skew_ms: -42,
            certificate_not_after: at(1440),
            digest: text("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        },
        environments,
        full,
        after: None,
    }
}

/// What reads a message and writes it again.
type Again = fn(&Value) -> Result<Value, serde_json::Error>;

fn again<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(T::deserialize(value)?)
}

struct Sample {
    /// The file in `contract/vN`.
    name: &'static str,
    /// As it was published.
    published: Value,
    /// What today's types write.
    written: Value,
    today: Again,
    /// The types of the version.
    then: Again,
}

/// The versions that were published.
const PUBLISHED: [u16; 2] = [1, 2];

/// Every message, and every variant of every enum in it, from a plane that speaks up to a version.
fn samples(version: u16) -> Vec<Sample> {
    macro_rules! sample {
        ($name:literal, $type:ident, $value:expr) => {
            Sample {
                name: $name,
                published: published(version, $name),
                written: serde_json::to_value::<$type>($value).unwrap(),
                today: again::<$type>,
                then: if version == 1 { again::<v1::$type> } else { again::<v2::$type> },
            }
        };
    }
    let issued =
        (text("-----BEGIN CERTIFICATE-----\nleaf\n"), text("-----BEGIN CERTIFICATE-----\nissuing\n"));
    let phases = Phase::ALL.into_iter().zip(20..).map(|(phase, number)| seen(number, phase, false));
    vec![
        sample!(
            "Enrol",
            Enrol,
            Enrol {
                token: text("tambo-join.v1.e30"),
                csr_pem: text("-----BEGIN CERTIFICATE REQUEST-----\nrequest\n"),
                jurisdiction: "mx-cnbv".parse().unwrap(),
                region: "mx-central-1".parse().unwrap(),
                mode: Mode::Live,
                shards: 4,
                instance: uuid(9),
                software: text("tambo 0.1.0"),
                contract: [1, version],
                sent_at: at(0),
                url: text("https://mx-1.example:8443"),
            }
        ),
        sample!(
            "Enrolled",
            Enrolled,
            Enrolled {
                cell: id(5),
                contract: version,
                certificate_pem: issued.0.clone(),
                chain_pem: issued.1.clone(),
                root_pem: text("-----BEGIN CERTIFICATE-----\nroot\n"),
                not_after: at(1440),
                renew_at: at(960),
                lineage: uuid(6),
                now_at: at(0),
            }
        ),
        sample!(
            "Renewal",
            Renewal,
            Renewal {
                csr_pem: text("-----BEGIN CERTIFICATE REQUEST-----\nrequest\n"),
                instance: uuid(9),
                sent_at: at(960),
            }
        ),
        sample!(
            "Issued",
            Issued,
            Issued {
                certificate_pem: issued.0,
                chain_pem: issued.1,
                not_after: at(2400),
                renew_at: at(1920),
                now_at: at(960),
            }
        ),
        sample!("Poll", Poll, Poll { after: 100, lineage: uuid(6), wait_ms: 50_000 }),
        sample!("Desired", Desired, desired(documents())),
        sample!("Desired.resync", Desired, desired(vec![])),
        sample!("Observed", Observed, observed(version, phases.collect(), false)),
        sample!("Observed.full", Observed, observed(version, vec![seen(1, Phase::Ready, true)], true)),
        sample!(
            "Taken",
            Taken,
            Taken {
                seq: 12,
                acknowledged: 6,
                lineage: uuid(6),
                resync: false,
                refused: vec![Refused { id: id(1), code: text("generation_unknown") }],
            }
        ),
        sample!(
            "Refusal",
            Refusal,
            Refusal {
                code: text("join_token_expired"),
                detail: text("The join token has expired."),
                retryable: false,
                supported: None,
            }
        ),
        sample!(
            "Refusal.contract",
            Refusal,
            Refusal {
                code: text("contract_unsupported"),
                detail: text("No common version."),
                retryable: true,
                supported: Some([1, version]),
            }
        ),
    ]
}

fn folder(version: u16) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("contract/v{version}"))
}

fn published(version: u16, name: &str) -> Value {
    let file = folder(version).join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(&file).unwrap_or_default()).unwrap_or_default()
}

#[test]
fn every_version_that_is_spoken_is_published_and_frozen() {
    assert_eq!((SPOKEN.lowest()..=SPOKEN.highest()).collect::<Vec<_>>(), PUBLISHED);
    for version in PUBLISHED {
        let files: BTreeSet<String> = fs::read_dir(folder(version))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = samples(version).iter().map(|sample| format!("{}.json", sample.name)).collect();
        assert_eq!(files, expected, "a sample without a message, or a message without a sample");
    }
}

#[test]
fn every_message_is_written_as_it_was_published() {
    for Sample { name, written, published, .. } in samples(SPOKEN.highest()) {
        assert!(
            published == written,
            "contract/v{}/{name}.json is not what is written today:\n{}",
            SPOKEN.highest(),
            serde_json::to_string_pretty(&written).unwrap()
        );
    }
}

#[test]
fn today_reads_what_was_published() {
    for version in PUBLISHED {
        for Sample { name, today, published, .. } in samples(version) {
            assert_eq!(today(&published).unwrap(), published, "{version} {name}");
        }
    }
}

#[test]
fn a_reader_of_each_version_reads_what_today_writes() {
    for version in PUBLISHED {
        for Sample { name, written, then, published, .. } in samples(version) {
            assert_eq!(then(&written).unwrap(), published, "{version} {name}");
        }
    }
}

/// Every object of a value, by JSON pointer, with the names of its members.
fn members(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                found.push((at.to_owned(), name.clone()));
                members(inner, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                members(inner, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn renaming_a_field_is_noticed() {
    let mut renamed = 0;
    for Sample { name, today, published: sample, .. } in PUBLISHED.into_iter().flat_map(samples) {
        let mut all = Vec::new();
        members(&sample, "", &mut all);
        for (object, field) in all {
            let mut other = sample.clone();
            let fields = other.pointer_mut(&object).unwrap().as_object_mut().unwrap();
            let value = fields.remove(&field).unwrap();
            fields.insert(format!("{field}_x"), value);
            let read = today(&other);
            assert!(read.map_or(true, |read| read != other), "{name}: {object}/{field} is not looked at");
            renamed += 1;
        }
    }
    assert!(renamed > 400, "{renamed}");
}

#[test]
fn what_a_newer_build_adds_is_skipped_or_unknown() {
    // A field more, everywhere.
    for Sample { name, today, then, published: sample, .. } in PUBLISHED.into_iter().flat_map(samples) {
        let mut all = Vec::new();
        members(&sample, "", &mut all);
        let objects: BTreeSet<String> = all.into_iter().map(|(object, _)| object).collect();
        let mut more = sample.clone();
        for object in objects {
            let fields = more.pointer_mut(&object).unwrap().as_object_mut().unwrap();
            fields.insert(text("added_later"), json!([1]));
        }
        for reader in [today, then] {
            assert_eq!(reader(&more).unwrap(), sample, "{name}");
        }
    }
    // A value more of each enum.
    let mut newer = serde_json::to_value(desired(documents())).unwrap();
    newer["documents"][0]["body"]["phase"] = json!("hibernating");
    newer["documents"][0]["body"]["clients"][0]["method"] = json!("magic");
    newer["documents"][0]["body"]["clients"][0]["binding"] = json!("magic");
    newer["documents"][3]["kind"] = json!("planet");
    newer["documents"][3]["body"] = json!({"radius": {"km": 6371}});
    let read: Desired = serde_json::from_value(newer).unwrap();
    let Body::Environment(intent) = &read.documents[0].body else { panic!("{:?}", read.documents[0]) };
    assert_eq!(intent.phase, Wanted::Unknown);
    assert_eq!((intent.clients[0].method, intent.clients[0].binding), (Method::Unknown, Binding::Unknown));
    assert_eq!(read.documents[3].body, Body::Unknown);
    assert_eq!(read.documents[3].generation, 4, "the rest of it is read");
}

#[test]
fn the_canonical_text_of_a_document_leaves_out_the_revision() {
    let document = documents().remove(0);
    let later = Document { revision: 900, ..document.clone() };
    let next = Document { generation: 2, ..document.clone() };
    assert_eq!(document.canonical(), later.canonical());
    assert_ne!(document.canonical(), next.canonical());
}

#[test]
fn a_join_token_is_in_no_debug_text() {
    let Sample { written, .. } = samples(2).remove(0);
    let enrol: Enrol = serde_json::from_value(written).unwrap();
    assert!(!format!("{enrol:?}").contains("tambo-join"));
}
