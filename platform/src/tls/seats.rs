//! How many connections a peer has, and whether one is of use.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::service::Service;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The connections of each peer: when one too many comes, the oldest is told to come to its end. Whoever lost his
/// connections without our noticing gets in by that, and nobody holds more.
#[derive(Debug)]
pub(super) struct Seats<K>(Arc<Mutex<Taken<K>>>);

#[derive(Debug)]
struct Taken<K> {
    next: u64,
    of: HashMap<K, VecDeque<(u64, CancellationToken)>>,
}

impl<K> Clone for Seats<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> Default for Seats<K> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Taken { next: 0, of: HashMap::new() })))
    }
}

/// A place of one connection, free again when this goes.
#[derive(Debug)]
pub(super) struct Seat<K: Eq + Hash> {
    seats: Seats<K>,
    peer: K,
    number: u64,
}

impl<K: Eq + Hash + Clone> Seats<K> {
    /// Takes a place for a connection that `stop` ends, of at most `most` for this peer.
    pub(super) fn take(&self, peer: K, most: usize, stop: CancellationToken) -> Seat<K> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = taken.next;
        taken.next = number.wrapping_add(1);
        let own = taken.of.entry(peer.clone()).or_default();
        own.push_back((number, stop));
        if own.len() > most
            && let Some((_, oldest)) = own.pop_front()
        {
            oldest.cancel();
        }
        Seat { seats: self.clone(), peer, number }
    }
}

impl<K: Eq + Hash> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.of.get_mut(&self.peer) {
            own.retain(|(number, _)| *number != self.number);
            if own.is_empty() {
                taken.of.remove(&self.peer);
            }
        }
    }
}

/// Counts the requests of one connection that are not answered to their end.
#[derive(Debug, Clone)]
pub(super) struct Busy(watch::Sender<usize>);

/// One of them.
#[derive(Debug)]
struct Request(watch::Sender<usize>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

impl Busy {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Waits until there was no request for so long.
    pub(super) async fn idle(&self, limit: Duration) {
        let mut open = self.0.subscribe();
        loop {
            // The sender is ours: it does not go away.
            let _none = open.wait_for(|open| *open == 0).await.is_ok();
            if tokio::time::timeout(limit, open.wait_for(|open| *open > 0)).await.is_err() {
                return;
            }
        }
    }

    /// The service, whose requests are counted from their heads to the ends of their answers.
    pub(super) fn counting<S>(&self, inner: S) -> Counting<S> {
        Counting { busy: self.clone(), inner }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Counting<S> {
    busy: Busy,
    inner: S,
}

impl<S, R> Service<R> for Counting<S>
where
    S: Service<R, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Counted>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn call(&self, request: R) -> Self::Future {
        self.busy.0.send_modify(|open| *open = open.saturating_add(1));
        let (open, answer) = (Request(self.busy.0.clone()), self.inner.call(request));
        Box::pin(async move { Ok(answer.await?.map(|body| Counted { body, _open: open })) })
    }
}

/// The body of an answer, whose request is open until it has ended or nobody wants it any more.
#[derive(Debug)]
pub(super) struct Counted {
    body: Body,
    _open: Request,
}

impl HttpBody for Counted {
    type Data = <Body as HttpBody>::Data;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        HttpBody::poll_frame(Pin::new(&mut self.body), context)
    }

    fn is_end_stream(&self) -> bool {
        HttpBody::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_ends_the_oldest_of_the_same_peer() {
        let seats = Seats::default();
        let take = |peer: u8| {
            let stop = CancellationToken::new();
            (seats.take(peer, 2, stop.clone()), stop)
        };
        let (first, other) = (take(1), take(2));
        let (second, third) = (take(1), take(1));
        let ended = |taken: &(Seat<u8>, CancellationToken)| taken.1.is_cancelled();
        assert!(ended(&first) && !ended(&second) && !ended(&third) && !ended(&other));
        drop(first);
        drop(second);
        let fourth = take(1);
        assert!(!ended(&third) && !ended(&fourth), "a place that was left is free");
        drop((third, fourth, other));
        assert!(seats.0.lock().unwrap().of.is_empty(), "nothing is left");
    }

    #[tokio::test]
    async fn a_connection_is_not_idle_while_there_is_a_request() {
        let busy = Busy::new();
        let open = |number: usize| {
            busy.0.send_modify(|open| *open += number);
            Request(busy.0.clone())
        };
        let (first, second) = (open(1), open(1));
        let idle = busy.idle(Duration::ZERO);
        tokio::pin!(idle);
        drop(first);
        tokio::select! {
            biased;
            () = &mut idle => panic!("an answer is on its way"),
            () = tokio::task::yield_now() => {}
        }
        drop(second);
        idle.await;
    }
}
