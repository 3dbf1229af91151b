//! Operations, followed over streams that break.

use client::{Error, Event, Lost, control::OperationState};
use futures::StreamExt;
use http::Response;
use serde_json::json;

use crate::script::{Script, Scripted, answer, problem};

const ID: &str = "op_01jd4q8e7xf2r9k3m5n7p0s4t6";

fn step(seq: i64) -> String {
    let data = json!({
        "seq": seq, "name": "place", "state": "done", "detail": null, "progress": {"done": 2, "of": 11},
        "at": "2026-01-01T00:00:00Z",
    });
    format!(": alive\n\nevent: step\nid: {seq}\ndata: {data}\n\n")
}

fn end() -> String {
    let data = json!({
        "id": ID, "organization_id": "org_01jd4q8e7xf2r9k3m5n7p0s4t6", "kind": "environment_provision",
        "subject_id": "env_01jd4q8e7xf2r9k3m5n7p0s4t6", "state": "succeeded", "reason": null, "actor": "cli",
        "generation": 1, "progress": {"done": 11, "of": 11}, "cancellable": false, "cancel_asked_at": null, "created_at": "2026-01-01T00:00:00Z",
        "ended_at": "2026-01-01T00:00:01Z",
    });
    format!("event: state\ndata: {data}\n\n")
}

fn stream(parts: impl IntoIterator<Item = Result<String, Lost>>) -> Scripted {
    Ok((Response::new(()), parts.into_iter().collect()))
}

async fn follow(script: &Script, after: Option<i64>) -> Vec<Result<String, Error>> {
    let client = script.client();
    let events = client.follow(ID.parse().unwrap(), after).map(|event| {
        event.map(|event| match event {
            Event::Step(step) => step.seq.to_string(),
            Event::Ended(operation) => operation.state.to_string(),
        })
    });
    events.collect().await
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_where_it_was() {
    let (first, second) = (step(1), step(2));
    let (half, rest) = second.split_at(second.len() / 2);
    let script = Script::of([
        // In the middle of an event, which then comes whole.
        stream([Ok(first), Ok(half.to_owned()), Err(Lost::again("cut off"))]),
        Err(Lost::again("connection refused")),
        answer(503, &[], problem(503, "overloaded", true)),
        stream([Ok(second.clone())]),
        stream([Ok("event: of_a_newer_server\ndata: x\n\n".to_owned()), Ok(step(3) + &end() + &step(4))]),
    ]);
    let told: Vec<String> = follow(&script, None).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(told, ["1", "2", "3", "succeeded"], "{rest}");
    let seen = script.header("last-event-id");
    let one = || Some("1".to_owned());
    assert_eq!(seen, [None, one(), one(), one(), Some("2".to_owned())]);
    assert!(script.header("accept").iter().all(|accept| accept.as_deref() == Some("text/event-stream")));
}

#[tokio::test]
async fn who_comes_back_says_what_they_saw() {
    let script = Script::of([stream([Ok(step(8)), Ok(end())])]);
    let told: Vec<String> = follow(&script, Some(7)).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        (told, script.header("last-event-id")),
        (vec!["8".to_owned(), "succeeded".to_owned()], vec![Some("7".to_owned())])
    );
}

#[tokio::test]
async fn streams_that_tell_nothing_are_given_up() {
    let script = Script::of((0..6).map(|_| stream([Ok(": alive\n\n".to_owned())])));
    let told = follow(&script, None).await;
    let [Err(Error::Lost { lost, .. })] = &told[..] else { panic!("{told:?}") };
    assert!(lost.reason.contains("ends before the operation"), "{lost}");
    let script = Script::of([answer(404, &[], problem(404, "operation_not_found", false))]);
    let told = follow(&script, None).await;
    assert_eq!(told[0].as_ref().unwrap_err().code(), Some("operation_not_found"));
    assert_eq!((told.len(), OperationState::Cancelled.as_str()), (1, "cancelled"));
}
