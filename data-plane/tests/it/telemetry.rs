//! What a cell says of itself, as a process: logs, and traces to who gathers them.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, http::Uri};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::kills::site::Site;

/// Who the seeded party is, and what else is nobody's business.
const PERSONAL: [&str; 5] = ["Lucía", "García", "example.mx", "GOGL900131MDFRRN09", "525512345678"];

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_json_and_request_spans_reach_their_receiver_without_secrets_or_persons() {
    let received: Arc<Mutex<Vec<(String, Bytes)>>> = Arc::default();
    let kept = Arc::clone(&received);
    let receiver = Router::new().fallback(async move |uri: Uri, body: Bytes| {
        kept.lock().unwrap().push((uri.path().to_owned(), body));
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let host = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, receiver).await });

    let more = format!(
        "[drain]\nnotice_ms = 0\n[egress]\nallow = [\"{host}\"]\n[telemetry]\nformat = \"json\"\n\
         otlp_endpoint = \"http://{host}/v1/traces\"\n"
    );
    let mut site = Site::with(&more, "info,platform=debug,data_plane=debug,ledger=debug,sqlx=debug").await;
    let ana = json!({
        "type": "natural", "given_names": "Ana Lucía", "family_names": "García López",
        "identifiers": [{"type": "CURP", "value": "gogl900131mdfrrn09"}],
        "email": "ana@example.mx", "phone": "+525512345678",
    });
    assert_eq!(site.ask("/v1/parties", Some(&ana)).await.status().as_u16(), 201);
    let found = site.get("/v1/parties?email=ana@example.mx&identifier=CURP:GOGL900131MDFRRN09").await;
    assert_eq!(found["data"].as_array().unwrap().len(), 1);
    // What was sent in a wrong place is repeated nowhere.
    assert_eq!(site.ask("/v1/parties/GOGL900131MDFRRN09", None).await.status().as_u16(), 400);
    assert_eq!(site.ask("/v1/parties?limit=GOGL900131MDFRRN09", None).await.status().as_u16(), 400);
    let misplaced = json!({"type": "GOGL900131MDFRRN09"});
    assert_eq!(site.ask("/v1/parties", Some(&misplaced)).await.status().as_u16(), 422);
    site.stop_cell();

    let said = site.said();
    let lines: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()), "{said}");
    let serving = lines.iter().find(|line| line["message"] == "the cell serves").unwrap();
    assert_eq!(serving["cell"], "mx-1");

    let received = received.lock().unwrap();
    assert!(!received.is_empty(), "no trace was received");
    assert!(received.iter().all(|(path, _)| path == "/v1/traces"));
    let spans: Vec<u8> = received.iter().flat_map(|(_, body)| body.to_vec()).collect();
    // Names and attributes stand in the message as they are: the service, a span, its method and route.
    for named in ["service.name", "cell", "request", "method", "POST", "/v1/parties", "request_id"] {
        assert!(holds(&spans, named), "no span says {named}");
    }
    // The last is what a library would say of requests to the object store.
    for secret in PERSONAL.into_iter().chain([site.token.as_str(), "AWS4-HMAC-SHA256"]) {
        let line = said.lines().find(|line| holds(line.as_bytes(), secret));
        assert_eq!(line, None, "the log says {secret}");
        assert!(!holds(&spans, secret), "a span says {secret}");
    }
}
