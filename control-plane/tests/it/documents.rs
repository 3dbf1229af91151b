//! Documents: what is recorded, who may have a link, and what the links let through.

use std::fs;

use axum::http::{Method, StatusCode};
use control_plane::{
    config::ControlPlaneConfig,
    documents::{LARGEST, StoreSection},
};
use platform::{
    config,
    egress::{Egress, EgressConfig},
    hash::sha256,
    objects::ObjectsConfig,
    testing::{http::Answer, objects::TestStore},
};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::{Value, json};

use crate::{
    plane::{Plane, id},
    tenants::{organization, tenant},
};

const BYTES: &str = "%PDF-1.7 acta";

fn acta() -> Value {
    json!({
        "name": "Acta constitutiva", "kind": "incorporation", "content_type": "application/pdf",
        "bytes": BYTES.len(), "sha256": sha256(BYTES),
    })
}

fn section(objects: ObjectsConfig) -> StoreSection {
    let (jurisdiction, region) = ("mx-cnbv".parse().unwrap(), "mx-central-1".parse().unwrap());
    StoreSection { jurisdiction, region, objects }
}

/// Control planes whose Mexican documents are there.
async fn planes(objects: &ObjectsConfig) -> [Plane; 2] {
    let planes = Plane::both_with(|config| config.documents = vec![section(objects.clone())]).await;
    for plane in &planes {
        region(plane, "mx-central-1", "MX").await;
    }
    planes
}

async fn region(plane: &Plane, code: &str, country: &str) {
    let call = plane.request(Method::PUT, &format!("/v1/regions/{code}")).token(&plane.token);
    call.json(&json!({"country": country, "name": code})).send().await.ok(200);
}

/// A tenant, and a token of its organization.
async fn owner(plane: &Plane) -> (String, String) {
    let (_, own) = organization(plane, "tianguis").await;
    (tenant(plane, &own, "tianguis-mx").await, own)
}

async fn create(plane: &Plane, of: &str, token: &str, key: &str, body: &Value) -> Answer {
    plane.post(&format!("/v1/tenants/{of}/documents"), body).token(token).key(key).send().await
}

async fn link(plane: &Plane, document: &str, token: &str, key: &str) -> Answer {
    let call = plane.request(Method::POST, &format!("/v1/documents/{document}/links"));
    call.token(token).key(key).send().await
}

/// Does what a link says, with these bytes.
async fn follow(link: &Value, body: &str) -> (StatusCode, String) {
    let allow = vec!["127.0.0.1:*".to_owned()];
    let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
    let method: Method = link["method"].as_str().unwrap().parse().unwrap();
    let mut request = egress.request(method, link["url"].as_str().unwrap()).unwrap();
    // The length is said by who sends.
    for (name, value) in
        link["headers"].as_object().unwrap().iter().filter(|(name, _)| *name != "content-length")
    {
        request = request.header(name, value.as_str().unwrap());
    }
    if !body.is_empty() {
        request = request.body(body.to_owned());
    }
    let answer = Egress::send(request).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

/// Who was given links, as the rows say it: for what, and to whom.
async fn given(plane: &Plane) -> Vec<(String, String)> {
    let root = plane.root().await;
    let text = "SELECT used_for, given_to FROM document_link ORDER BY given_at";
    let rows = root.query_all_raw(Statement::from_string(root.get_database_backend(), text)).await.unwrap();
    rows.iter().map(|row| (row.try_get_by(0).unwrap(), row.try_get_by(1).unwrap())).collect()
}

async fn exchange(plane: &Plane) -> String {
    let (tenant, own) = owner(plane).await;
    let made = create(plane, &tenant, &own, "acta", &acta()).await.ok(201);
    let upload = &made["upload"];
    assert_eq!((&upload["method"], &made["region"]), (&json!("PUT"), &json!("mx-central-1")));
    assert!(follow(upload, "%PDF-1.7 Acta").await.0.is_client_error(), "other bytes");
    assert!(follow(upload, "%PDF-1.7 acta, y más").await.0.is_client_error(), "another size");
    let mut other = upload.clone();
    other["headers"]["content-type"] = json!("text/html");
    assert!(follow(&other, BYTES).await.0.is_client_error(), "another type");
    let id = id(&made);
    let early = link(plane, &id, &own, "early").await.ok(201);
    assert_eq!(follow(&early, "").await.0, StatusCode::NOT_FOUND, "nothing of all that was put");

    assert!(follow(upload, BYTES).await.0.is_success());
    assert_eq!(follow(upload, BYTES).await.0, StatusCode::PRECONDITION_FAILED, "once");
    let download = link(plane, &id, &plane.token, "look").await.ok(201);
    assert_eq!(follow(&download, "").await, (StatusCode::OK, BYTES.to_owned()));
    let path = |id: &str| format!("/v1/documents/{id}");
    let read = plane.get(&path(&id)).token(&own).send().await.ok(200);
    assert_eq!((read.get("upload"), &read["sha256"]), (None, &json!(sha256(BYTES))), "{read}");
    let given = given(plane).await;
    let uses: Vec<&str> = given.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(uses, ["upload", "download", "download"]);
    assert!(given[0].1 == given[1].1 && given[1].1 != given[2].1, "who: {given:?}");
    format!("{tenant}/{id}")
}

#[tokio::test]
async fn a_document_is_put_once_as_it_was_announced_and_got_by_link() {
    let store = TestStore::start().await;
    for plane in planes(&store.config()).await {
        let key = exchange(&plane).await;
        assert_eq!(store.bytes(&key).as_deref(), Some(BYTES.as_bytes()));
    }
    assert_eq!(store.keys().len(), 2);
    let folder = tempfile::tempdir().unwrap();
    let embedded = ObjectsConfig::folder(folder.path());
    let plane = Plane::sqlite_with(|config| config.documents = vec![section(embedded.clone())]).await;
    region(&plane, "mx-central-1", "MX").await;
    let key = exchange(&plane).await;
    assert_eq!(fs::read_to_string(folder.path().join("store/objects").join(key)).unwrap(), BYTES);
}

#[tokio::test]
async fn a_repetition_gives_the_same_document_and_a_fresh_link() {
    let store = TestStore::start().await;
    for plane in planes(&store.config()).await {
        let (tenant, own) = owner(&plane).await;
        let body = acta();
        let post = || create(&plane, &tenant, &own, "acta", &body);
        let both = tokio::join!(post(), post());
        let again = post().await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let again = again.ok(201);
        for first in [both.0.ok(201), both.1.ok(201)] {
            assert_eq!(id(&first), id(&again));
        }
        assert!(follow(&again["upload"], BYTES).await.0.is_success());
        let other = json!({"name": "Poder", "kind": "power_of_attorney", "content_type": "image/png",
            "bytes": 1, "sha256": sha256("x")});
        let mismatch = create(&plane, &tenant, &own, "acta", &other).await;
        mismatch.is_problem("idempotency_mismatch", "another body");
        let second = id(&create(&plane, &tenant, &own, "poder", &other).await.ok(201));
        let path = format!("/v1/tenants/{tenant}/documents?limit=1");
        let page = plane.get(&path).token(&own).send().await.ok(200);
        assert_eq!((id(&page["data"][0]), &page["has_more"]), (id(&again), &json!(true)));
        let path = format!("{path}&cursor={}", page["next_cursor"].as_str().unwrap());
        let page = plane.get(&path).token(&plane.token).send().await.ok(200);
        assert_eq!((id(&page["data"][0]), &page["has_more"]), (second, &json!(false)));
        assert_eq!(page["data"][0]["kind"], "power_of_attorney");
        let link_again = async || link(&plane, &id(&again), &own, "look").await;
        assert_eq!(link_again().await.header("idempotency-replayed"), None);
        let replayed = link_again().await;
        assert_eq!(replayed.header("idempotency-replayed"), Some("true"));
        assert_eq!(follow(&replayed.ok(201), "").await.1, BYTES);
        let given = given(&plane).await;
        let downloads = given.iter().filter(|(what, _)| what == "download").count();
        assert_eq!((given.len(), downloads), (6, 2), "every link leaves a row: {given:?}");
    }
}

#[tokio::test]
async fn nobody_else_knows_of_a_document() {
    let store = TestStore::start().await;
    for plane in planes(&store.config()).await {
        let (tenant, own) = owner(&plane).await;
        let document = id(&create(&plane, &tenant, &own, "acta", &acta()).await.ok(201));
        let (_, other) = organization(&plane, "cafetero").await;
        create(&plane, &tenant, &other, "acta", &acta()).await.is_problem("tenant_not_found", "created");
        let get = async |path: &str| plane.get(path).token(&other).send().await;
        get(&format!("/v1/tenants/{tenant}/documents")).await.is_problem("tenant_not_found", "listed");
        get(&format!("/v1/documents/{document}")).await.is_problem("document_not_found", "read");
        link(&plane, &document, &other, "look").await.is_problem("document_not_found", "linked");
        let none = document.replace("doc_0", "doc_1");
        link(&plane, &none, &plane.token, "look").await.is_problem("document_not_found", "nobody's");
        assert_eq!(given(&plane).await.len(), 1, "who is refused leaves no row");
    }
}

#[tokio::test]
async fn what_is_said_of_a_document_has_bounds() {
    let store = TestStore::start().await;
    for plane in planes(&store.config()).await {
        let (tenant, own) = owner(&plane).await;
        for (field, value, code) in [
            ("name", json!(" "), "text_unusable"),
            ("name", json!("x".repeat(141)), "text_unusable"),
            ("bytes", json!(0), "out_of_bounds"),
            ("bytes", json!(LARGEST + 1), "out_of_bounds"),
            ("bytes", json!(-1), "invalid_value"),
            ("sha256", json!("0f"), "text_unusable"),
            ("sha256", json!("0F".repeat(32)), "text_unusable"),
            ("sha256", json!("0g".repeat(32)), "text_unusable"),
            ("kind", json!("passport"), "invalid_value"),
            ("content_type", json!("text/html"), "invalid_value"),
            ("content_type", json!("application/PDF"), "invalid_value"),
            ("url", json!("x"), "unknown"),
        ] {
            let mut body = acta();
            body[field] = value.clone();
            let refused = create(&plane, &tenant, &own, "bad", &body).await;
            let whole = if matches!(code, "invalid_value" | "unknown") { "invalid_field" } else { code };
            let problem = refused.is_problem(whole, field);
            let fault = (&problem["errors"][0]["pointer"], &problem["errors"][0]["code"]);
            assert_eq!(fault, (&json!(format!("/{field}")), &json!(code)), "{value}: {problem}");
        }
        let mut largest = acta();
        largest["bytes"] = json!(LARGEST);
        create(&plane, &tenant, &own, "largest", &largest).await.ok(201);
    }
}

#[tokio::test]
async fn a_jurisdiction_without_a_store_in_its_country_is_told_so() {
    let store = TestStore::start().await;
    for plane in Plane::both_with(|config| config.documents = vec![section(store.config())]).await {
        let (mexican, own) = owner(&plane).await;
        let refused = async |of: &str, why: &str| {
            let problem = create(&plane, of, &own, "acta", &acta()).await;
            let problem = problem.is_problem("document_store_missing", why);
            assert!(problem["remedy"].as_str().unwrap().contains("[[documents]]"), "{problem}");
        };
        refused(&mexican, "its region is not declared").await;
        let brazilian = json!({"name": "Feira", "jurisdiction": "br-bcb", "licence": "SCD"});
        let brazilian = plane.post("/v1/tenants", &brazilian).token(&own).key("br").send().await.ok(201);
        refused(&id(&brazilian), "there is none").await;
        region(&plane, "mx-central-1", "US").await;
        refused(&mexican, "it lies in another country").await;
        assert!(given(&plane).await.is_empty());
    }
}

#[tokio::test]
async fn a_document_is_not_looked_for_where_it_was_not_put() {
    let store = TestStore::start().await;
    for plane in planes(&store.config()).await {
        let (tenant, own) = owner(&plane).await;
        let document = id(&create(&plane, &tenant, &own, "acta", &acta()).await.ok(201));
        // Its store was configured elsewhere since.
        let moved = "UPDATE document SET region = 'mx-north-1'";
        plane.root().await.execute_unprepared(moved).await.unwrap();
        for answer in [
            link(&plane, &document, &own, "look").await,
            create(&plane, &tenant, &own, "acta", &acta()).await,
        ] {
            let problem = answer.is_problem("document_elsewhere", "another region");
            assert!(problem["detail"].as_str().unwrap().contains("mx-north-1"), "{problem}");
        }
        assert_eq!(given(&plane).await.len(), 1, "no other link was given");
    }
}

#[tokio::test]
async fn the_store_is_not_asked() {
    let store = TestStore::start().await;
    let (mut config, kept) = (store.config(), tempfile::tempdir().unwrap());
    for file in [&mut config.access_key_file, &mut config.secret_key_file].into_iter().flatten() {
        let copy = kept.path().join(file.file_name().unwrap());
        fs::copy(&*file, &copy).unwrap();
        *file = copy;
    }
    let secret = config.secret_key_file.clone().unwrap();
    let planes = planes(&config).await;
    drop(store);
    for plane in planes {
        let (tenant, own) = owner(&plane).await;
        let document = id(&create(&plane, &tenant, &own, "acta", &acta()).await.ok(201));
        link(&plane, &document, &own, "look").await.ok(201);
        // Without a key nothing can be signed, and the same request goes on once there is one.
        let text = fs::read(&secret).unwrap();
        fs::remove_file(&secret).unwrap();
        let late = create(&plane, &tenant, &own, "late", &acta()).await;
        let problem = late.is_problem("document_store_unusable", "without a key");
        assert!(problem["retryable"] == true && !late.text().contains("secret"), "{problem}");
        fs::write(&secret, text).unwrap();
        let late = create(&plane, &tenant, &own, "late", &acta()).await;
        assert_eq!((late.status.as_u16(), late.header("idempotency-replayed")), (201, Some("true")));
    }
}

#[test]
fn stores_are_one_per_jurisdiction_without_locks_and_live_ones_are_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("control-plane.toml");
    let one = |jurisdiction: &str, objects: &str| {
        format!(
            "[[documents]]\njurisdiction = '{jurisdiction}'\nregion = 'mx-central-1'\n[documents.objects]\n{objects}\n"
        )
    };
    let here = "folder = 'documents'";
    let there = "endpoint = 'https://s3.example'\nregion = 'r'\nbucket = 'b'\naccess_key_file = 'a'\nsecret_key_file = 's'";
    for (mode, sections, expected) in [
        ("sandbox", one("mx-cnbv", here) + &one("br-bcb", there), &[][..]),
        ("sandbox", one("ar-bcra", here), &["documents.0.jurisdiction"]),
        ("sandbox", one("mx-cnbv", here) + &one("mx-cnbv", there), &["documents.1.jurisdiction"]),
        ("sandbox", one("mx-cnbv", &format!("{there}\nlock = true")), &["documents.0.objects.lock"]),
        ("sandbox", one("mx-cnbv", ""), &["documents.0.objects"]),
        ("live", one("mx-cnbv", here) + &one("br-bcb", there), &["documents.0.objects.folder"]),
    ] {
        let text = format!(
            "[control_plane]\nmode = '{mode}'\n[database]\nurl = 'sqlite://x'\n[keys]\nroot_file = 'k'\n[pki]\n\
             root_certificate_file = 'r'\nissuing_certificate_file = 'i'\nissuing_key_file = 'k'\n{sections}"
        );
        fs::write(&file, text).unwrap();
        let said = config::load::<ControlPlaneConfig>(Some(&file), []).err().map(|error| error.to_string());
        let said = said.unwrap_or_default();
        let found: Vec<&str> = said.split('`').filter(|part| part.starts_with("documents.")).collect();
        assert_eq!(found, expected, "{said}");
    }
}
