//! Stopping without dropping requests: `/readyz` turns 503, new connections are refused, those in flight finish.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a process stops.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DrainConfig {
    /// How long it still accepts after `/readyz` turned 503, so that load balancers notice, in milliseconds.
    pub notice_ms: u64,
    /// How long requests in flight may take after that, in milliseconds.
    pub limit_ms: u64,
}

impl Default for DrainConfig {
    fn default() -> Self {
        Self { notice_ms: 0, limit_ms: 25_000 }
    }
}

/// Whether this process is stopping. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Drain(CancellationToken);

impl Drain {
    /// Not stopping yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins to stop on SIGTERM or SIGINT.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let drain = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            drain.begin();
        });
        Ok(())
    }

    /// Begins to stop; a second time changes nothing.
    pub fn begin(&self) {
        self.0.cancel();
    }

    /// Whether it is stopping.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until it is stopping.
    pub async fn begun(&self) {
        self.0.cancelled().await;
    }
}

/// How long a connection may be without a whole head of a request, idle time between two requests included (hyper has
/// no limit of its own). Longer than the 60 seconds after which load balancers let go, so that they let go first.
pub(crate) const HEAD_LIMIT: Duration = Duration::from_secs(75);

/// Serves until the drain has begun and what was in flight is done. HTTP/1.1; the load balancer in front has the rest.
///
/// # Errors
/// `TimedOut` when requests were still in flight at the limit; they were cut off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    drain: &Drain,
    config: &DrainConfig,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    connections(listener, drain, config, |stream, stop| {
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        connected(connection, stop, http1::Connection::graceful_shutdown)
    })
    .await
}

/// Accepts until the drain has begun, gives each connection to `serve_one` with what tells it to come to its end, and
/// waits until all have.
///
/// # Errors
/// `TimedOut` when one had not at the limit; it was cut off.
pub(crate) async fn connections<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    drain: &Drain,
    config: &DrainConfig,
    serve_one: impl Fn(TcpStream, CancellationToken) -> F,
) -> io::Result<()> {
    let stop = CancellationToken::new();
    let mut connections = JoinSet::new();
    let notice = async {
        drain.begun().await;
        tokio::time::sleep(Duration::from_millis(config.notice_ms)).await;
    };
    tokio::pin!(notice);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut notice => break,
            // Forgets those that ended.
            Some(_) = connections.join_next() => continue,
        };
        connections.spawn(serve_one(stream, stop.clone()));
    }
    drop(listener);
    stop.cancel();
    let all = async { while connections.join_next().await.is_some() {} };
    let limit = Duration::from_millis(config.limit_ms);
    let in_time = tokio::time::timeout(limit, all).await;
    in_time.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, "requests in flight were cut off at the drain's limit")
    })
}

/// One connection until its end, or until the answers in flight once `stop` is called; `finish` is hyper's
/// `graceful_shutdown` of its kind.
pub(crate) async fn connected<C: Future<Output = Result<(), E>>, E: std::fmt::Display>(
    connection: C,
    stop: CancellationToken,
    finish: fn(Pin<&mut C>),
) {
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            finish(connection.as_mut());
            connection.await
        }
    };
    if let Err(error) = ended {
        // The caller went away, or sent no HTTP: its affair.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The next connection. Running out of file descriptors is no reason to end: the next one is tried a moment later.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are small and whole: waiting for more to send (Nagle) would only delay them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY was refused");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
