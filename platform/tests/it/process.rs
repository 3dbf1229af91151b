//! Starting, probing and stopping a process that serves.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use platform::drain::{self, Drain, DrainConfig};
use platform::egress::{Egress, EgressConfig, EgressError};
use platform::telemetry::{Readiness, metrics, probes};
use serde_json::Value;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tower::ServiceExt;

async fn get(router: &Router, path: &str) -> (StatusCode, String) {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn readiness_follows_its_checks_and_the_drain_and_liveness_does_not() {
    let drain = Drain::new();
    let well = Arc::new(AtomicBool::new(false));
    let looked = Arc::clone(&well);
    let readiness = Readiness::new(drain.clone()).check("database", move || {
        let well = looked.load(Ordering::Relaxed);
        async move { if well { Ok(()) } else { Err("secret address") } }
    });
    let (router, _) = probes::<()>(readiness, metrics().unwrap()).split_for_parts();
    let ready = async || {
        let (status, body) = get(&router, "/readyz").await;
        let body: Value = serde_json::from_str(&body).unwrap();
        (
            status.as_u16(),
            body["ready"].as_bool().unwrap(),
            body["checks"][0]["ok"].as_bool().unwrap(),
            body.to_string(),
        )
    };
    let (status, is_ready, ok, body) = ready().await;
    assert_eq!((status, is_ready, ok), (503, false, false));
    assert!(!body.contains("secret"), "{body}");
    well.store(true, Ordering::Relaxed);
    let (status, is_ready, ok, _) = ready().await;
    assert_eq!((status, is_ready, ok), (200, true, true));
    drain.begin();
    let (status, is_ready, ok, _) = ready().await;
    assert_eq!((status, is_ready, ok), (503, false, true));
    assert_eq!(get(&router, "/livez").await, (StatusCode::OK, "ok".to_owned()));
}

#[tokio::test]
async fn metrics_are_told_in_text() {
    let (router, _) = probes::<()>(Readiness::new(Drain::new()), metrics().unwrap()).split_for_parts();
    metrics::counter!("test_metrics_are_told").increment(3);
    let (status, text) = get(&router, "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("test_metrics_are_told 3"), "{text}");
}

/// A server whose only answer waits for a word from the test.
struct Served {
    url: String,
    begun: Arc<Notify>,
    answer: Arc<Notify>,
    drain: Drain,
    done: tokio::task::JoinHandle<io::Result<()>>,
}

async fn served(limit_ms: u64) -> Served {
    let (begun, answer, drain) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Drain::new());
    let (inner_begun, inner_answer) = (Arc::clone(&begun), Arc::clone(&answer));
    let router = Router::new().fallback(async move || {
        inner_begun.notify_one();
        inner_answer.notified().await;
        "answered"
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let stopping = drain.clone();
    let done = tokio::spawn(async move {
        drain::serve(listener, router, &stopping, &DrainConfig { notice_ms: 0, limit_ms }).await
    });
    Served { url, begun, answer, drain, done }
}

fn egress() -> Egress {
    Egress::new(&EgressConfig { allow: vec!["127.0.0.1:*".to_owned()], ..EgressConfig::default() }).unwrap()
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "looks from outside whether the port is open")]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let served = served(60_000).await;
    let request = egress().get(&served.url).unwrap();
    let in_flight = tokio::spawn(Egress::send(request));
    served.begun.notified().await;
    served.drain.begin();
    // The listener is closed once connecting fails; until then the drain has not got that far yet.
    while tokio::net::TcpStream::connect(served.url[7..].trim_end_matches('/')).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!served.done.is_finished());
    served.answer.notify_one();
    let answer = in_flight.await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "answered");
    served.done.await.unwrap().unwrap();
    let refused = Egress::send(egress().get(&served.url).unwrap()).await;
    assert!(matches!(refused, Err(EgressError::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_drain_cuts_off_what_does_not_finish() {
    let served = served(1).await;
    let in_flight = tokio::spawn(Egress::send(egress().get(&served.url).unwrap()));
    served.begun.notified().await;
    served.drain.begin();
    assert_eq!(served.done.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    in_flight.abort();
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_told_apart() {
    let served = served(1).await;
    let config =
        EgressConfig { allow: vec!["127.0.0.1:*".to_owned()], timeout_ms: 20, ..EgressConfig::default() };
    let error = Egress::send(Egress::new(&config).unwrap().get(&served.url).unwrap()).await;
    assert!(matches!(error, Err(EgressError::Timeout(_))), "{error:?}");
    served.done.abort();
}
