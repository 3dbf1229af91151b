//! Objects on the embedded store and on one that stands for others.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use chrono::TimeDelta;
use futures::future::join_all;
use platform::{
    config::Faults,
    ctx::Clock,
    egress::{Egress, EgressConfig},
    objects::{Folder, Link, LinkError, Objects, ObjectsConfig, ObjectsError, Put, StartError, Upload},
    testing::objects::{TestStore, Trouble},
};
use reqwest::{Method, StatusCode};
use tempfile::TempDir;

/// A store, and what keeps it.
struct Opened {
    objects: Objects,
    _kept: (Option<TestStore>, Option<TempDir>),
}

async fn open(config: &ObjectsConfig, egress: &Egress) -> Result<Objects, StartError> {
    Objects::start(config, egress, &Clock::system()).await
}

fn nobody() -> Egress {
    Egress::new(&EgressConfig::default()).unwrap()
}

async fn both() -> [Opened; 2] {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(&ObjectsConfig::folder(folder.path()), &nobody()).await.unwrap();
    let store = TestStore::start().await;
    let other = open(&store.config(), &store.egress()).await.unwrap();
    [
        Opened { objects: embedded, _kept: (None, Some(folder)) },
        Opened { objects: other, _kept: (Some(store), None) },
    ]
}

async fn put(folder: &Folder, key: &str, text: &str) -> Put {
    folder.put_new(key, "text/plain", text.as_bytes().to_vec()).await.unwrap()
}

async fn text(folder: &Folder, key: &str) -> Option<String> {
    folder.get(key, 1_000).await.unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

/// The files below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_was_put_stays_as_it_is_until_its_folder_is_removed() {
    for Opened { objects, _kept } in both().await {
        let (one, two) = (objects.folder(&"env_1").unwrap(), objects.folder(&"env_10").unwrap());
        assert_eq!(put(&one, "export/a", "first").await, Put::Made);
        assert_eq!(put(&one, "export/a", "second").await, Put::There);
        assert_eq!(text(&one, "export/a").await.as_deref(), Some("first"));
        assert_eq!(text(&two, "export/a").await, None);
        assert!(matches!(one.get("export/a", 4).await, Err(ObjectsError::Refused(_))));
        put(&two, ".tambo", "x").await;
        put(&one, ".tambo", "x").await;
        assert_eq!(objects.folders(None).await.unwrap(), ["env_1", "env_10"]);
        assert_eq!(objects.folders(Some("env_1")).await.unwrap(), ["env_10"]);
        let keys: Vec<String> = one.list(None).await.unwrap().into_iter().map(|one| one.key).collect();
        assert_eq!(keys, [".tambo", "export/a"]);
        assert_eq!(one.list(Some(".tambo")).await.unwrap()[0].bytes, 5);
        assert!(one.remove_some().await.unwrap());
        assert!(!one.remove_some().await.unwrap());
        assert_eq!(objects.folders(None).await.unwrap(), ["env_10"], "a name that begins alike stays");
        assert_eq!(put(&one, "export/a", "third").await, Put::Made);
    }
}

#[tokio::test]
async fn more_than_a_page_is_removed_in_pages() {
    for Opened { objects, _kept } in both().await {
        let folder = objects.folder(&"env_1").unwrap();
        let puts = (0..platform::objects::PAGE + 1).map(async |number| {
            put(&folder, &format!("export/{number:04}"), "x").await;
        });
        join_all(puts).await;
        assert!(folder.remove_some().await.unwrap());
        assert_eq!(folder.list(None).await.unwrap().len(), 1);
        assert!(folder.remove_some().await.unwrap());
        assert!(!folder.remove_some().await.unwrap());
    }
}

#[tokio::test]
async fn of_many_at_once_one_puts() {
    for Opened { objects, _kept } in both().await {
        let folder = objects.folder(&"env_1").unwrap();
        let puts = join_all((0..16).map(|number| {
            let folder = folder.clone();
            async move { (number, put(&folder, "k", &number.to_string()).await) }
        }));
        let made: Vec<i32> =
            puts.await.into_iter().filter(|(_, put)| *put == Put::Made).map(|(number, _)| number).collect();
        assert_eq!(made.len(), 1);
        assert_eq!(text(&folder, "k").await, Some(made[0].to_string()));
    }
}

#[tokio::test]
async fn the_embedded_store_is_its_folder_and_one_process_has_it() {
    let home = tempfile::tempdir().unwrap();
    let config = ObjectsConfig::folder(home.path().join("objects"));
    let first = open(&config, &nobody()).await.unwrap();
    put(&first.folder(&"env_1").unwrap(), "k", "kept").await;
    let refused = open(&config, &nobody()).await.unwrap_err();
    assert!(matches!(refused, StartError::InUse(_)), "{refused}");
    drop(first);
    // As who dies between the last object and its folder leaves it.
    let bucket = home.path().join("objects").join("store").join("objects");
    fs::create_dir_all(bucket.join("env_2").join("export")).unwrap();
    let second = open(&config, &nobody()).await.unwrap();
    assert_eq!(second.folders(None).await.unwrap(), ["env_1"]);
    assert!(!bucket.join("env_2").exists());
    let folder = second.folder(&"env_1").unwrap();
    assert_eq!(text(&folder, "k").await.as_deref(), Some("kept"));
    let secret = home.path().join("objects").join("secret.key");
    assert_eq!(fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o600);
    folder.remove_some().await.unwrap();
    let left = files(home.path());
    let expected = ["access.key", "lock", "objects", "objects", "secret.key", "store"];
    assert_eq!(left, expected, "nothing is left of an object that was removed");
}

#[tokio::test]
async fn who_cannot_be_asked_says_why_and_no_secret() {
    let store = TestStore::start().await;
    let objects = open(&store.config(), &store.egress()).await.unwrap();
    let folder = objects.folder(&"env_1").unwrap();
    let fails = async |folder: &Folder| {
        let put = folder.put_new("k", "text/plain", vec![1]).await.unwrap_err();
        let get = folder.get("k", 10).await.unwrap_err();
        let list = folder.list(None).await.unwrap_err();
        assert_eq!((put.reason(), list.reason()), (get.reason(), get.reason()), "{put} {get} {list}");
        for error in [put, get, list] {
            assert!(!format!("{error} {error:?}").contains("test-secret"));
        }
        folder.list(None).await.unwrap_err().reason()
    };
    for (trouble, reason) in
        [(Trouble::Busy, "Unreachable"), (Trouble::Denied, "Denied"), (Trouble::NoBucket, "BucketMissing")]
    {
        store.trouble(trouble);
        assert_eq!(fails(&folder).await, reason);
    }
    store.trouble(Trouble::None);

    // Keys are read anew: who gets wrong ones is refused, and who gets right ones again is not.
    let (id, secret) = (store.config().access_key_file.unwrap(), store.config().secret_key_file.unwrap());
    for (file, wrong) in [(&secret, "another"), (&id, "nobody")] {
        let right = fs::read_to_string(file).unwrap();
        fs::write(file, wrong).unwrap();
        assert_eq!(fails(&folder).await, "Denied", "{wrong}");
        fs::write(file, "").unwrap();
        assert_eq!(fails(&folder).await, "Misconfigured");
        fs::remove_file(file).unwrap();
        assert_eq!(fails(&folder).await, "Misconfigured");
        fs::write(file, right).unwrap();
    }
    put(&folder, "k", "x").await;

    let stranger = open(&store.config(), &nobody()).await.unwrap();
    assert_eq!(fails(&stranger.folder(&"env_1").unwrap()).await, "Misconfigured", "its host is not allowed");
    let (mut config, egress, kept) = (store.config(), store.egress(), tempfile::tempdir().unwrap());
    for file in [&mut config.access_key_file, &mut config.secret_key_file].into_iter().flatten() {
        let copy = kept.path().join(file.file_name().unwrap());
        fs::copy(&*file, &copy).unwrap();
        *file = copy;
    }
    drop(store);
    let gone = open(&config, &egress).await.unwrap();
    assert_eq!(fails(&gone.folder(&"env_1").unwrap()).await, "Unreachable");
}

#[tokio::test]
async fn who_hears_no_answer_finds_what_was_put() {
    let store = TestStore::start().await;
    let folder = open(&store.config(), &store.egress()).await.unwrap().folder(&"env_1").unwrap();
    store.trouble(Trouble::Mute);
    let unheard = folder.put_new("k", "text/plain", b"x".to_vec()).await.unwrap_err();
    assert_eq!(unheard.reason(), "Unreachable");
    store.trouble(Trouble::None);
    assert_eq!(put(&folder, "k", "x").await, Put::There);
}

async fn follow(link: &Link, body: &str) -> StatusCode {
    let mut headers = link.headers.clone();
    // The client says it itself.
    headers.retain(|(name, _)| name != "content-length");
    send(&link.method, &link.url, &headers, body).await.0
}

async fn send(method: &str, url: &str, headers: &[(String, String)], body: &str) -> (StatusCode, String) {
    let allow = vec!["127.0.0.1:*".to_owned()];
    let egress = Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap();
    let mut request = egress.request(method.parse::<Method>().unwrap(), url).unwrap();
    for (name, value) in headers {
        request = request.header(name, value);
    }
    if !body.is_empty() {
        request = request.body(body.to_owned());
    }
    let answer = Egress::send(request).await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

fn sha256(text: &str) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, text.as_bytes()).as_ref().try_into().unwrap()
}

#[tokio::test]
async fn an_upload_link_is_for_one_object_of_this_size_type_and_content() {
    let kept = tempfile::tempdir().unwrap();
    let objects = open(&ObjectsConfig::folder(kept.path()), &nobody()).await.unwrap();
    let (folder, clock) = (objects.folder(&"org_1").unwrap(), Clock::system());
    let upload =
        Upload { key: "acta.pdf", content_type: "application/pdf", bytes: 5, sha256: sha256("hello") };
    let life = TimeDelta::minutes(15);
    let link = folder.upload_link(&upload, &clock, life).await.unwrap();
    assert_eq!(link.method, "PUT");
    let bound: Vec<&str> = link.headers.iter().map(|(name, _)| name.as_str()).collect();
    for header in ["content-type", "content-length", "if-none-match", "x-amz-checksum-sha256"] {
        assert!(bound.contains(&header), "{bound:?}");
        assert!(link.url.contains(header), "{header} is not signed: {}", link.url);
    }
    assert!(!format!("{link:?}").contains("Signature"), "a link is a secret");

    let changed = |name: &str, value: &str| {
        let mut link = link.clone();
        let header = link.headers.iter_mut().find(|(one, _)| one == name).unwrap();
        value.clone_into(&mut header.1);
        link
    };
    assert!(follow(&link, "hello, world").await.is_client_error(), "another size");
    assert!(follow(&link, "hallo").await.is_client_error(), "another content");
    assert!(follow(&changed("content-type", "text/html"), "hello").await.is_client_error());
    assert!(follow(&changed("if-none-match", ""), "hello").await.is_client_error());
    let elsewhere = Link { url: link.url.replace("acta", "otra"), ..link.clone() };
    assert!(follow(&elsewhere, "hello").await.is_client_error());
    let reading = Link { method: "GET".into(), headers: Vec::new(), ..link.clone() };
    assert!(follow(&reading, "").await.is_client_error());
    let old = Clock::manual(clock.now() - TimeDelta::minutes(16));
    let expired = folder.upload_link(&upload, &old, life).await.unwrap();
    assert!(follow(&expired, "hello").await.is_client_error());
    assert!(folder.list(None).await.unwrap().is_empty(), "nothing of all that was put");

    assert!(follow(&link, "hello").await.is_success());
    assert_eq!(text(&folder, "acta.pdf").await.as_deref(), Some("hello"));
    assert_eq!(follow(&link, "hello").await, StatusCode::PRECONDITION_FAILED, "once");

    for (bytes, life, life_is_wrong) in [
        (0, life, false),
        (u64::MAX, life, false),
        (5, TimeDelta::zero(), true),
        (5, TimeDelta::seconds(-1), true),
        (5, TimeDelta::hours(2), true),
    ] {
        let upload = Upload { bytes, ..upload };
        let error = folder.upload_link(&upload, &clock, life).await.unwrap_err();
        assert_eq!(matches!(error, LinkError::Life), life_is_wrong, "{error}");
    }
}

#[tokio::test]
async fn a_download_link_is_for_one_object() {
    let kept = tempfile::tempdir().unwrap();
    let objects = open(&ObjectsConfig::folder(kept.path()), &nobody()).await.unwrap();
    let (folder, clock) = (objects.folder(&"env_1").unwrap(), Clock::system());
    put(&folder, "export/a", "hello").await;
    put(&folder, "export/b", "other").await;
    let link = folder.download_link("export/a", "a.jsonl", &clock, TimeDelta::minutes(1)).await.unwrap();
    assert_eq!(send("GET", &link.url, &link.headers, "").await, (StatusCode::OK, "hello".to_owned()));
    let other = link.url.replace("export/a", "export/b");
    assert!(send("GET", &other, &link.headers, "").await.0.is_client_error());
    assert!(send("DELETE", &link.url, &link.headers, "").await.0.is_client_error());
    let old = Clock::manual(clock.now() - TimeDelta::minutes(2));
    let expired = folder.download_link("export/a", "a", &old, TimeDelta::minutes(1)).await.unwrap();
    assert!(send("GET", &expired.url, &expired.headers, "").await.0.is_client_error());
    assert!(folder.download_link("export/a", "\"a\r\n", &clock, TimeDelta::minutes(1)).await.is_err());
}

#[tokio::test]
async fn a_promised_lock_is_tried() {
    let store = TestStore::start().await;
    let promised = |store: &TestStore| ObjectsConfig { lock: true, ..store.config() };
    open(&promised(&store), &store.egress()).await.unwrap();
    store.forget_locks();
    let refused = open(&promised(&store), &store.egress()).await.unwrap_err();
    assert!(matches!(refused, StartError::NoLock { .. }), "{refused}");
    for trouble in [Trouble::Busy, Trouble::Denied, Trouble::NoBucket] {
        store.trouble(trouble);
        let unproven = open(&promised(&store), &store.egress()).await.unwrap_err();
        assert!(matches!(unproven, StartError::Unproven { .. }), "{unproven}");
    }

    // One that takes the words of a lock and keeps nothing.
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cell-test")).unwrap();
    let careless = TestStore::of(s3s_fs::FileSystem::new(folder.path()).unwrap()).await;
    open(&careless.config(), &careless.egress()).await.unwrap();
    let refused = open(&promised(&careless), &careless.egress()).await.unwrap_err().to_string();
    assert!(refused.contains("objects.lock") && refused.contains("does not lock"), "{refused}");
}

#[test]
fn a_configuration_is_one_or_the_other() {
    let bucket = "endpoint = 'https://s3.example'\nregion = 'r'\nbucket = 'b'\naccess_key_file = 'a'\nsecret_key_file = 's'";
    for (text, faults) in [
        ("folder = 'objects'".to_owned(), 0),
        (bucket.to_owned(), 0),
        (format!("{bucket}\nlock = true"), 0),
        (String::new(), 1),
        (format!("folder = 'objects'\n{bucket}"), 1),
        ("folder = 'objects'\nlock = true".to_owned(), 1),
        ("folder = 'objects'\nbucket = 'b'".to_owned(), 1),
        ("endpoint = 'https://s3.example'".to_owned(), 4),
        (bucket.replace("https://s3.example", "s3.example"), 1),
        (bucket.replace("s3.example", "s3.example/path"), 1),
    ] {
        let config: ObjectsConfig = toml::from_str(&text).unwrap();
        let mut found = Faults::default();
        config.check("objects", &mut found);
        assert_eq!(format!("{found:?}").matches("(\"objects").count(), faults, "{text}: {found:?}");
    }
}
