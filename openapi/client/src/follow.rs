//! Operations, followed to their end.

use std::collections::VecDeque;

use futures::{Stream, StreamExt, stream};
use http::{HeaderName, HeaderValue, header};
use rand::{SeedableRng, rngs::SmallRng};
use serde::de::DeserializeOwned;
use tenants::id::OperationId;

use crate::{
    client::{ATTEMPTS, Client, pause},
    control::{self, Operation, OperationStep},
    error::Error,
    sse::{Message, Reader},
    transport::{Body, Lost, Transport},
};

/// What happens to an operation.
#[derive(Debug, Clone)]
pub enum Event {
    /// A step of it.
    Step(OperationStep),
    /// It has ended, and so it is for ever.
    Ended(Operation),
}

/// Somebody who watches.
struct Watch<'a, T> {
    client: &'a Client<T>,
    id: OperationId,
    /// The last event that was seen.
    seen: Option<String>,
    open: Option<(Body, Reader)>,
    told: VecDeque<Event>,
    /// How many streams in a row told nothing.
    fruitless: u32,
    ended: bool,
    chance: SmallRng,
}

impl<T: Transport> Client<T> {
    /// The steps of an operation after the one with this number, as they happen, and at last its end. A stream that
    /// breaks off is taken up where it was; the events come once each.
    pub fn follow(&self, id: OperationId, after: Option<i64>) -> impl Stream<Item = Result<Event, Error>> {
        let watch = Watch {
            client: self,
            id,
            seen: after.map(|after| after.to_string()),
            open: None,
            told: VecDeque::new(),
            fruitless: 0,
            ended: false,
            chance: SmallRng::seed_from_u64(self.next().1),
        };
        stream::unfold(watch, |mut watch| async move {
            let event = watch.next().await.transpose()?;
            // After an error nothing follows.
            watch.ended |= event.is_err();
            Some((event, watch))
        })
    }
}

impl<T: Transport> Watch<'_, T> {
    async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.told.pop_front() {
                self.ended |= matches!(event, Event::Ended(_));
                return Ok(Some(event));
            }
            if self.ended {
                return Ok(None);
            }
            let (mut body, mut reader) = match self.open.take() {
                Some(open) => open,
                None => (self.come_back().await?, Reader::default()),
            };
            let part = match body.next().await {
                Some(Ok(part)) => part,
                Some(Err(lost)) => {
                    self.broken(lost).await?;
                    continue;
                }
                None => {
                    self.broken(Lost::again("the stream of events ends before the operation")).await?;
                    continue;
                }
            };
            let messages = reader.push(&part).map_err(|_| self.shape("an event without an end"))?;
            for message in messages {
                self.take(message)?;
            }
            self.open = Some((body, reader));
        }
    }

    async fn come_back(&mut self) -> Result<Body, Error> {
        let mut call = control::operation_events(self.id);
        call.headers.push((header::ACCEPT, HeaderValue::from_static("text/event-stream")));
        if let Some(seen) = self.seen.as_ref().and_then(|seen| HeaderValue::try_from(seen).ok()) {
            call.headers.push((HeaderName::from_static("last-event-id"), seen));
        }
        self.client.open(&call).await
    }

    async fn broken(&mut self, lost: Lost) -> Result<(), Error> {
        self.fruitless += 1;
        if self.fruitless >= ATTEMPTS || !lost.again {
            return Err(Error::Lost { request: control::operation_events(self.id).what(), lost });
        }
        let pause = pause(self.fruitless, None, &mut self.chance);
        self.client.transport().pause(pause).await;
        Ok(())
    }

    fn take(&mut self, message: Message) -> Result<(), Error> {
        if matches!(self.told.back(), Some(Event::Ended(_))) {
            return Ok(());
        }
        let Message { event, data, id } = message;
        self.fruitless = 0;
        if !id.is_empty() {
            self.seen = Some(id);
        }
        match event.as_str() {
            "step" => self.told.push_back(Event::Step(self.read(&data)?)),
            "state" => self.told.push_back(Event::Ended(self.read(&data)?)),
            // Of a newer server.
            _ => {}
        }
        Ok(())
    }

    fn read<R: DeserializeOwned>(&self, data: &str) -> Result<R, Error> {
        serde_json::from_str(data).map_err(|error| self.shape(error))
    }

    fn shape(&self, reason: impl ToString) -> Error {
        Error::Shape { request: control::operation_events(self.id).what(), reason: reason.to_string() }
    }
}
