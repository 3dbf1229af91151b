//! Parties: made, found, changed, imported, and sealed.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
};

use platform::testing::http::Answer;
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use serde_json::{Value, json};

use crate::cell::Cell;

fn ana() -> Value {
    json!({
        "type": "natural", "external_id": "c-1", "given_names": "Ana Lucía", "family_names": "García López",
        "born_on": "1990-01-31", "identifiers": [{"type": "CURP", "value": "gogl900131mdfrrn09"}],
        "email": "Ana@example.mx", "phone": "+525512345678",
        "address": {"lines": ["Calle Escondida 5"], "city": "Puebla", "country": "MX"},
    })
}

async fn create(cell: &Cell, key: &str, body: &Value) -> Answer {
    cell.post("/v1/parties", body).token(&cell.token).key(key).send().await
}

async fn get(cell: &Cell, path: &str) -> Value {
    cell.get(path).token(&cell.token).send().await.ok(200)
}

async fn import(cell: &Cell, file: impl Into<axum::body::Body>) -> Answer {
    let call = cell.request(axum::http::Method::POST, "/v1/party-imports").token(&cell.token);
    call.header("content-type", "text/csv; charset=utf-8")
        .header("accept-language", "es")
        .body(file)
        .send()
        .await
}

/// Pointer and code of each fault.
fn faults(problem: &Value) -> Vec<(&str, &str)> {
    problem["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|fault| (fault["pointer"].as_str().unwrap(), fault["code"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_party_is_made_once_per_key_and_read_again() {
    for cell in Cell::both().await {
        let made = create(&cell, "k1", &ana()).await;
        let party = made.ok(201);
        assert_eq!(made.header("etag"), Some("\"1\""));
        assert_eq!(party["display_name"], "Ana Lucía García López");
        assert_eq!(party["identifiers"][0]["value"], "GOGL900131MDFRRN09");
        assert_eq!(party["address"]["city"], "Puebla");
        let id = party["id"].as_str().unwrap();
        assert!(id.starts_with("pty_"));
        assert_eq!(get(&cell, &format!("/v1/parties/{id}")).await, party);

        let again = create(&cell, "k1", &ana()).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(201), party);
        let mut other = ana();
        other["given_names"] = json!("Luz");
        create(&cell, "k1", &other).await.is_problem("idempotency_mismatch", "another body");
        let taken = create(&cell, "k2", &other).await;
        taken.is_problem("party_external_id_taken", "the same external_id");
        other["external_id"] = json!("c-2");
        create(&cell, "k2", &other).await.ok(201);

        let legal = json!({
            "type": "legal", "legal_name": "Tienda SA de CV", "trade_name": "La Tienda",
            "identifiers": [{"type": "RFC", "value": "TIE900131AB1"}],
        });
        let party = create(&cell, "k3", &legal).await.ok(201);
        assert_eq!((&party["external_id"], &party["version"]), (&Value::Null, &json!(1)));
        create(&cell, "k4", &legal).await.ok(201);
    }
}

#[tokio::test]
async fn every_bad_field_is_named_and_nothing_is_made() {
    let cell = Cell::sqlite().await;
    let bad = json!({
        "type": "natural", "external_id": "", "given_names": "Ana", "legal_name": "Ana SA", "born_on": "2999-01-01",
        "identifiers": [{"type": "CPF", "value": "1"}, {"type": "CURP", "value": "secret"}], "email": "ana",
        "phone": "5512345678", "address": {"lines": [], "city": "Puebla", "country": "MX"},
    });
    let problem = create(&cell, "k", &bad).await.is_problem("invalid_field", "many faults");
    assert_eq!(
        faults(&problem),
        [
            ("/external_id", "invalid_value"),
            ("/legal_name", "other_person"),
            ("/family_names", "missing"),
            ("/born_on", "birth_date"),
            ("/identifiers/0/type", "unknown_identifier"),
            ("/identifiers/1/value", "identifier_form"),
            ("/email", "email_form"),
            ("/phone", "phone_form"),
            ("/address/lines", "missing"),
        ]
    );
    assert!(!problem.to_string().contains("secret"), "values are not repeated");
    for (body, fault) in [
        (json!({"type": "natural", "nickname": "x"}), ("/nickname", "unknown")),
        (json!({"given_names": "x"}), ("/type", "missing")),
        (json!({"type": "divine"}), ("/type", "invalid_value")),
    ] {
        let problem = create(&cell, "k", &body).await.is_problem("invalid_field", "the shape");
        assert_eq!(faults(&problem), [fault]);
    }
    cell.post("/v1/parties", &ana())
        .token(&cell.token)
        .send()
        .await
        .is_problem("idempotency_key_missing", "no key");
    assert_eq!(get(&cell, "/v1/parties").await["data"], json!([]));
    create(&cell, "k", &ana()).await.ok(201);
}

#[tokio::test]
async fn of_two_at_once_one_is_made() {
    for cell in Cell::both().await {
        let same = futures::future::join_all((0..6).map(|_| {
            let cell = &cell;
            async move { create(cell, "k", &ana()).await.ok(201) }
        }))
        .await;
        assert!(same.iter().all(|party| *party == same[0]), "one key, one party");
        let (mut one, mut two) = (ana(), ana());
        (one["external_id"], two["external_id"]) = (json!("c-9"), json!("c-9"));
        let (one, two) = tokio::join!(create(&cell, "k1", &one), create(&cell, "k2", &two));
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "one external_id, one party");
        assert_eq!(get(&cell, "/v1/parties").await["data"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn another_environment_knows_nothing_of_it() {
    for cell in Cell::both().await {
        let id = create(&cell, "k", &ana()).await.ok(201)["id"].as_str().unwrap().to_owned();
        let (path, stranger) = (format!("/v1/parties/{id}"), cell.token_of(2).await);
        cell.get(&path).token(&stranger).send().await.is_problem("not_found", "reading");
        let patch = cell.request(axum::http::Method::PATCH, &path).token(&stranger).key("k");
        let patch = patch.header("if-match", "*").json(&json!({"email": null}));
        patch.send().await.is_problem("not_found", "changing");
        for query in ["", "?external_id=c-1", "?identifier=CURP:GOGL900131MDFRRN09", "?email=ana@example.mx"]
        {
            let list = cell.get(&format!("/v1/parties{query}")).token(&stranger).send().await.ok(200);
            assert_eq!(list["data"], json!([]), "{query}");
        }
        // The same key, external_id and person are free there.
        cell.post("/v1/parties", &ana()).token(&stranger).key("k").send().await.ok(201);
        cell.get("/v1/parties/pty_x")
            .token(&cell.token)
            .send()
            .await
            .is_problem("invalid_parameter", "no id");
        cell.get("/v1/parties/acct_01jd4q8e7xf2r9k3m5n7p0s4t6")
            .token(&cell.token)
            .send()
            .await
            .is_problem("invalid_parameter", "an account's id");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    for cell in Cell::both().await {
        let mut ids = Vec::new();
        for number in 0..5 {
            let mut body = ana();
            body["external_id"] = json!(format!("c-{number}"));
            if number % 2 == 1 {
                body["identifiers"][0]["value"] = json!("XEXX010101HNEXXXA4");
                body["email"] = json!("other@example.mx");
            }
            let made = create(&cell, &number.to_string(), &body).await.ok(201);
            ids.push(made["id"].as_str().unwrap().to_owned());
        }
        let mut sorted = ids.clone();
        sorted.sort();
        let found = async |query: &str| {
            let list = get(&cell, &format!("/v1/parties?{query}")).await;
            let data = list["data"].as_array().unwrap().clone();
            data.iter().map(|party| party["external_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        let count = async |query: &str| found(query).await.len();
        assert_eq!(count("").await, 5);
        assert_eq!(found("external_id=c-3").await, ["c-3"]);
        assert_eq!(count("identifier=CURP:XEXX-010101-HNEXXX-A4").await, 2);
        assert_eq!(count("identifier=RFC:GOGL900131AB1").await, 0);
        assert_eq!(count("email=ANA@EXAMPLE.MX").await, 3);
        assert_eq!(count("phone=%2B525512345678").await, 5);
        assert_eq!(count("email=other@example.mx&external_id=c-0").await, 0);
        let made_at = get(&cell, &format!("/v1/parties/{}", ids[0])).await["created_at"].clone();
        let made_at = made_at.as_str().unwrap();
        assert_eq!(count(&format!("created_until_at={made_at}")).await, 0);
        assert_eq!(count(&format!("created_from_at={made_at}")).await, 5);

        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let page = get(&cell, &format!("/v1/parties?limit=2{cursor}")).await;
            let data = page["data"].as_array().unwrap();
            seen.extend(data.iter().map(|party| party["id"].as_str().unwrap().to_owned()));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen, sorted);
        for (query, code) in [
            ("limit=201", "invalid_parameter"),
            ("identifier=CPF:12345678909", "invalid_parameter"),
            ("identifier=x", "invalid_parameter"),
            ("name=Ana", "invalid_parameter"),
            ("cursor=x", "invalid_cursor"),
        ] {
            let answer = cell.get(&format!("/v1/parties?{query}")).token(&cell.token).send().await;
            answer.is_problem(code, query);
        }
    }
}

#[tokio::test]
async fn contacts_change_for_who_has_seen_the_newest_version() {
    for cell in Cell::both().await {
        let path =
            format!("/v1/parties/{}", create(&cell, "k", &ana()).await.ok(201)["id"].as_str().unwrap());
        let patch = async |key: &str, tag: Option<&str>, body: Value| {
            let call = cell.request(axum::http::Method::PATCH, &path).token(&cell.token).key(key).json(&body);
            match tag {
                Some(tag) => call.header("if-match", tag),
                None => call,
            }
            .send()
            .await
        };
        patch("a", None, json!({})).await.is_problem("if_match_missing", "no If-Match");
        patch("a", Some("\"2\""), json!({"email": null}))
            .await
            .is_problem("party_changed", "a version to come");
        patch("a", Some("W/\"1\""), json!({"email": null})).await.is_problem("party_changed", "a weak tag");
        let bad =
            patch("a", Some("\"1\""), json!({"phone": "1"})).await.is_problem("invalid_field", "a bad phone");
        assert_eq!(faults(&bad), [("/phone", "phone_form")]);
        let name = patch("a", Some("\"1\""), json!({"given_names": "Luz"})).await;
        assert_eq!(faults(&name.is_problem("invalid_field", "a name")), [("/given_names", "unknown")]);

        let change = json!({"email": "new@example.mx", "address": null});
        let changed = patch("a", Some("\"1\""), change.clone()).await;
        assert_eq!(changed.header("etag"), Some("\"2\""));
        let party = changed.ok(200);
        assert_eq!((&party["email"], &party["address"]), (&json!("new@example.mx"), &Value::Null));
        assert_eq!(party["phone"], "+525512345678", "what is absent stays");
        assert_eq!(get(&cell, "/v1/parties?email=new@example.mx").await["data"][0], party);
        assert_eq!(get(&cell, "/v1/parties?email=ana@example.mx").await["data"], json!([]));

        let again = patch("a", Some("\"1\""), change.clone()).await;
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.ok(200), party);
        patch("b", Some("\"1\""), change.clone()).await.is_problem("party_changed", "an old version");
        assert_eq!(patch("b", Some("*"), change).await.ok(200)["version"], 2, "nothing to change");

        let at_once = futures::future::join_all((0..4).map(|number| {
            patch_of(
                &cell,
                &path,
                format!("at-once-{number}"),
                json!({"phone": format!("+5255000000{number}")}),
            )
        }))
        .await;
        let changed = at_once.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(changed, 1, "one of four");
        assert_eq!(get(&cell, &path).await["version"], 3);
    }
}

#[tokio::test]
async fn a_key_that_nobody_could_see_is_none() {
    let cell = Cell::sqlite().await;
    for key in ["a b", "", &"x".repeat(256)] {
        create(&cell, key, &ana()).await.is_problem("idempotency_key_invalid", key);
    }
    create(&cell, &"x".repeat(255), &ana()).await.ok(201);
}

#[tokio::test]
async fn a_field_beyond_its_length_is_named_with_its_bound() {
    let cell = Cell::sqlite().await;
    let mut long = ana();
    long["family_names"] = json!("á".repeat(141));
    let problem = create(&cell, "k", &long).await.is_problem("invalid_field", "a long name");
    assert_eq!(faults(&problem), [("/family_names", "too_long")]);
    let detail = problem["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("140") && !detail.contains('á'), "{detail}");
    long["family_names"] = json!("á".repeat(140));
    create(&cell, "k", &long).await.ok(201);
}

async fn patch_of(cell: &Cell, path: &str, key: String, body: Value) -> Answer {
    let call = cell.request(axum::http::Method::PATCH, path).token(&cell.token).key(&key);
    call.header("if-match", "\"2\"").json(&body).send().await
}

/// What says who the parties of these tests are.
const PERSONAL: [&str; 13] = [
    "Ana",
    "Lucía",
    "García",
    "1990-01-31",
    "GOGL900131MDFRRN09",
    "example.mx",
    "525512345678",
    "Escondida",
    "Puebla",
    "Zacar",
    "Ibarguengoitia",
    "XEXX010101HNEXXXA4",
    "525599999999",
];

const ZACARIAS: &str = "external_id,type,given_names,family_names,identifiers,email,phone\n\
    c-2,natural,Zacarías,Ibarguengoitia,CURP:XEXX010101HNEXXXA4,zaca@example.mx,+525599999999\n";

#[tokio::test]
async fn a_name_moved_to_another_row_does_not_open() {
    for cell in Cell::both().await {
        let one = create(&cell, "k1", &ana()).await.ok(201);
        let other = json!({"type": "legal", "legal_name": "Panadería Lupita"});
        create(&cell, "k2", &other).await.ok(201);
        let swap = "UPDATE party SET name = (SELECT name FROM party WHERE person = 'legal') WHERE person = 'natural'";
        cell.root().await.execute_unprepared(swap).await.unwrap();
        let path = format!("/v1/parties/{}", one["id"].as_str().unwrap());
        let problem = cell.get(&path).token(&cell.token).send().await.is_problem("internal", "a moved name");
        assert!(!problem.to_string().contains("Lupita"), "{problem}");
    }
}

/// Every column of every row of every table: text as it is, bytes as hexadecimal digits.
async fn all_rows(root: &DatabaseConnection) -> String {
    let backend = root.get_database_backend();
    let strings = async |sql: String| -> Vec<String> {
        let rows = root.query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
        rows.iter().map(|row| row.try_get_by_index(0).unwrap()).collect()
    };
    let tables = match backend {
        DbBackend::Postgres => "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'",
        _ => "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    };
    let mut seen = String::new();
    for table in strings(tables.to_owned()).await {
        let rows = match backend {
            DbBackend::Postgres => format!("SELECT row_to_json(t)::text FROM \"{table}\" AS t"),
            _ => {
                let columns =
                    strings(format!("SELECT 'quote(' || name || ')' FROM pragma_table_info('{table}')"))
                        .await;
                format!("SELECT {} FROM \"{table}\"", columns.join(" || ' ' || "))
            }
        };
        let rows = strings(rows).await;
        let there = ["party", "party_identifier", "idempotency", "account", "oauth_client"];
        assert!(!rows.is_empty() || !there.contains(&table.as_str()), "{table} is empty");
        seen.extend(rows);
    }
    seen
}

/// The fields of a party and its identifiers, in whatever table they might have come to lie.
#[tokio::test]
async fn the_database_holds_no_field_of_a_party_in_plain_text() {
    for cell in Cell::both().await {
        let party = create(&cell, "k", &ana()).await.ok(201);
        assert_eq!(import(&cell, ZACARIAS).await.ok(200)["imported"], 1);
        let token = &cell.token;
        let path = format!("/v1/parties/{}", party["id"].as_str().unwrap());
        patch_of(&cell, &path, "p".to_owned(), json!({"phone": "+525599999999"})).await;
        let account = json!({"party_id": party["id"]});
        cell.post("/v1/accounts", &account).token(token).key("a").send().await.ok(201);
        let seen = all_rows(&cell.root().await).await;
        let seen = seen.to_lowercase();
        for personal in PERSONAL {
            let hex: String = personal.bytes().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            });
            assert!(!seen.contains(&personal.to_lowercase()), "{personal} in plain text");
            assert!(!seen.contains(&hex), "{personal} in bytes");
        }
        assert!(seen.contains("c-2"), "the look itself works");
    }
}

/// What was logged, by all threads.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Logs everything, of every crate, while parties are made, refused, found, changed and imported, and while the database
/// fails.
#[tokio::test]
async fn logs_hold_no_personal_data() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _quiet = tracing::subscriber::set_default(subscriber);
    for cell in Cell::both().await {
        let party = create(&cell, "k", &ana()).await.ok(201);
        create(&cell, "other", &ana()).await.is_problem("party_external_id_taken", "once more");
        let mut bad = ana();
        bad["family_names"] = Value::Null;
        bad["email"] = json!("ana.example.mx");
        create(&cell, "bad", &bad).await.is_problem("invalid_field", "a bad field");
        let found = "identifier=CURP:GOGL900131MDFRRN09&email=ana@example.mx&phone=%2B525512345678";
        assert_eq!(get(&cell, &format!("/v1/parties?{found}")).await["data"], json!([party]));
        let path = format!("/v1/parties/{}", party["id"].as_str().unwrap());
        patch_of(&cell, &path, "p".to_owned(), json!({"phone": "+525599999999"})).await;
        assert_eq!(import(&cell, ZACARIAS).await.ok(200)["imported"], 1);
        import(&cell, ZACARIAS.replace(",natural,", ",García,")).await.ok(200);
        import(&cell, ZACARIAS.replace("phone", "Puebla")).await.is_problem("import_columns", "a column");
        cell.root().await.execute_unprepared("ALTER TABLE party_identifier RENAME TO away").await.unwrap();
        let mut eva = ana();
        eva["external_id"] = json!("c-3");
        create(&cell, "eva", &eva).await.is_problem("internal", "the database fails");
        import(&cell, ZACARIAS.replace("c-2", "c-4")).await.is_problem("internal", "the database fails");
    }
    let log = String::from_utf8_lossy(&log.0.lock().unwrap()).to_lowercase();
    for said in ["/v1/parties", "party_identifier", "sqlx"] {
        assert!(log.contains(said), "the log itself works: {said}");
    }
    for personal in PERSONAL {
        let line = log.lines().find(|line| line.contains(&personal.to_lowercase()));
        assert_eq!(line, None, "{personal} in a log");
    }
}

fn file(lines: usize) -> String {
    let mut file = "external_id,type,given_names,family_names,identifiers,email,phone\n".to_owned();
    for number in 0..lines {
        let _ = writeln!(
            file,
            "c-{number},natural,Ana {number},García,CURP:GOGL900131MDFRRN{:02},ana{number}@example.mx,+5255{number:08}",
            number % 100
        );
    }
    file
}

#[tokio::test]
async fn a_file_is_imported_once_and_again_unchanged() {
    for cell in Cell::both().await {
        let file = file(1_203);
        let first = import(&cell, file.clone()).await.ok(200);
        let expected = json!({"imported": 1_203, "unchanged": 0, "rejected": 0, "faults": [], "faults_truncated": false});
        assert_eq!(first, expected);
        let second = import(&cell, file.clone()).await.ok(200);
        assert_eq!((&second["imported"], &second["unchanged"]), (&json!(0), &json!(1_203)));
        let found = get(&cell, "/v1/parties?external_id=c-1202").await;
        assert_eq!(found["data"][0]["display_name"], "Ana 1202 García");
        let found = get(&cell, "/v1/parties?identifier=CURP:GOGL900131MDFRRN07&limit=200").await;
        assert_eq!(found["data"].as_array().unwrap().len(), 12);
        let other = import(&cell, file.replace("Ana 7,", "Luz 7,")).await.ok(200);
        assert_eq!((&other["unchanged"], &other["rejected"]), (&json!(1_202), &json!(1)));
        let fault = &other["faults"][0];
        assert_eq!(
            (&fault["line"], &fault["field"], &fault["code"]),
            (&json!(9), &json!("external_id"), &json!("party_differs"))
        );
    }
}

#[tokio::test]
async fn two_imports_of_one_file_at_once_make_each_party_once() {
    for cell in Cell::both().await {
        let (one, two) = (file(600), file(600));
        let (one, two) = tokio::join!(import(&cell, one), import(&cell, two));
        let (one, two) = (one.ok(200), two.ok(200));
        let sum = |key: &str| one[key].as_u64().unwrap() + two[key].as_u64().unwrap();
        assert_eq!((sum("imported"), sum("unchanged"), sum("rejected")), (600, 600, 0));
    }
}

#[tokio::test]
async fn bad_lines_are_reported_and_stop_no_other() {
    for cell in Cell::both().await {
        let mut file = Vec::new();
        file.extend_from_slice(b"\xef\xbb\xbf");
        file.extend_from_slice(
            "type,external_id,given_names,family_names,legal_name,born_on,identifiers,email\r\n".as_bytes(),
        );
        let lines: [&[u8]; 13] = [
            "natural,a,Ana,\"García, \"\"la Güera\"\"\",,1990-01-31,CURP:GOGL900131MDFRRN09; RFC:GOGL900131AB1,".as_bytes(),
            b"natural,b,Ana,,,,,",
            b"natural,c,Ana,\"Garcia,,,,",
            b"natural,d,Ana",
            b"",
            b"natural,e,Ana,Garc\xeda,,,,",
            b"divine,f,Ana,Garcia,,,,",
            b"natural,,Ana,Garcia,,31/01/1990,CPF:1,ana",
            b"legal,g,,,Tienda SA,,RFC:TIE900131AB1,",
            b"natural,a,Ana,Garcia,,,,",
            b"legal,g,,,Tienda SA,,RFC:TIE-900131-AB1,",
            b"natural,h,An\"a,Garcia,,,,",
            b"natural,i,Eva,Garcia,,,,",
        ];
        for line in lines {
            file.extend_from_slice(line);
            file.extend_from_slice(b"\r\n");
        }
        file.truncate(file.len() - 2);
        let report = import(&cell, file).await.ok(200);
        let counts = ["imported", "unchanged", "rejected"].map(|key| report[key].as_u64().unwrap());
        assert_eq!(counts, [3, 1, 8]);
        let found: Vec<(u64, Option<&str>, &str)> = report["faults"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["line"].as_u64().unwrap(), one["field"].as_str(), one["code"].as_str().unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                (3, Some("family_names"), "missing"),
                (4, None, "line_quotes"),
                (5, None, "line_fields"),
                (7, None, "line_encoding"),
                (8, Some("type"), "invalid_value"),
                (9, Some("external_id"), "missing"),
                (9, Some("born_on"), "invalid_value"),
                (9, Some("identifiers"), "unknown_identifier"),
                (9, Some("email"), "email_form"),
                (11, Some("external_id"), "party_differs"),
                (13, None, "line_quotes"),
            ]
        );
        let detail = report["faults"][2]["detail"].as_str().unwrap();
        assert_eq!(detail, "La línea tiene 3 campos y el encabezado 8.");
        let name = &get(&cell, "/v1/parties?external_id=a").await["data"][0]["family_names"];
        assert_eq!(name, "García, \"la Güera\"");
    }
}

#[tokio::test]
async fn whole_files_are_refused_with_a_reason() {
    let cell = Cell::sqlite().await;
    for (file, code, columns) in [
        ("", "import_empty", vec![]),
        ("\n\r\n\n", "import_empty", vec![]),
        ("external_id,type\n", "import_empty", vec![]),
        ("external_id\nx\n", "import_columns", vec![("type", "missing")]),
        ("external_id,type,colour\nx,y,z\n", "import_columns", vec![("colour", "unknown")]),
        ("external_id,type,type\nx,y,z\n", "import_columns", vec![("type", "duplicate")]),
        (
            "external_id;type\nx;y\n",
            "import_columns",
            vec![("…", "unknown"), ("external_id", "missing"), ("type", "missing")],
        ),
    ] {
        let problem = import(&cell, file).await.is_problem(code, file);
        assert_eq!(faults(&problem), columns, "{file}");
    }
    let problem = import(&cell, file(10_001)).await.is_problem("import_too_long", "a line too many");
    assert!(problem["detail"].as_str().unwrap().contains("000"), "names the bound: {problem}");
    import(&cell, "x".repeat(4 * 1024 * 1024 + 1)).await.is_problem("body_too_large", "a byte too many");
    let json = cell.post("/v1/party-imports", &json!({})).token(&cell.token).send().await;
    json.is_problem("unsupported_media_type", "JSON");
    assert_eq!(get(&cell, "/v1/parties").await["data"], json!([]));
}
