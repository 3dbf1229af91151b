//! A server that answers what it is told, and keeps what it was asked.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use client::{Body, Client, Lost, Transport};
use futures::{StreamExt, stream};
use http::{Request, Response};
use serde_json::{Value, json};

/// One answer: its head, and its body in the parts in which it comes.
pub type Scripted = Result<(Response<()>, Vec<Result<String, Lost>>), Lost>;

/// What is left to answer, and what was asked.
#[derive(Debug, Default)]
pub struct Script {
    answers: Mutex<VecDeque<Scripted>>,
    pub asked: Mutex<Vec<Request<Vec<u8>>>>,
    pub pauses: Mutex<Vec<Duration>>,
}

impl Script {
    pub fn of(answers: impl IntoIterator<Item = Scripted>) -> Self {
        Self { answers: Mutex::new(answers.into_iter().collect()), ..Self::default() }
    }

    pub fn client(&self) -> Client<&Self> {
        Client::new(self, 7).token("secret").unwrap().language("es-MX, es;q=0.8").unwrap()
    }

    /// A header of each request.
    pub fn header(&self, name: &str) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|request| Some(request.headers().get(name)?.to_str().unwrap().to_owned())).collect()
    }

    pub fn targets(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .map(|request| format!("{} {}", request.method(), request.uri()))
            .collect()
    }
}

impl Transport for &Script {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, Lost> {
        self.asked.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        let (head, parts) = answer.expect("the script has an answer left")?;
        let body = stream::iter(parts).map(|part| part.map(Into::into));
        Ok(head.map(|()| Box::pin(body) as Body))
    }

    async fn pause(&self, pause: Duration) {
        self.pauses.lock().unwrap().push(pause);
    }
}

pub fn answer(status: u16, headers: &[(&str, &str)], body: impl ToString) -> Scripted {
    let mut head = Response::builder().status(status);
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    Ok((head.body(()).unwrap(), vec![Ok(body.to_string())]))
}

pub fn problem(status: u16, code: &str, retryable: bool) -> Value {
    json!({
        "type": format!("/problems/{code}"), "title": "Título", "status": status, "code": code,
        "detail": "Qué pasó", "remedy": "Qué hacer", "request_id": "r1", "retryable": retryable,
        "errors": [{"in": "body", "pointer": "/name", "code": "text_unusable", "detail": "Está vacío"}],
        "of_a_newer_server": 1,
    })
}

pub fn organization(name: &str) -> Value {
    json!({
        "id": "org_01jd4q8e7xf2r9k3m5n7p0s4t6", "external_id": null, "name": name, "country": "MX", "version": 3,
        "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "of_a_newer_server": 1,
    })
}
