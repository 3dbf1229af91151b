//! Stopping without dropping requests: `/readyz` turns 503, new connections are refused, those in flight finish.

use axum::Router;
use axum::serve::ListenerExt;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
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

/// Serves until the drain has begun and what was in flight is done.
///
/// # Errors
/// `TimedOut` when requests were still in flight at the limit; they were cut off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    drain: &Drain,
    config: &DrainConfig,
) -> io::Result<()> {
    // Answers are small and whole: waiting for more to send (Nagle) would only delay them.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY was refused");
        }
    });
    let stop = CancellationToken::new();
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let limit = async {
        drain.begun().await;
        tokio::time::sleep(Duration::from_millis(config.notice_ms)).await;
        stop.cancel();
        tokio::time::sleep(Duration::from_millis(config.limit_ms)).await;
    };
    tokio::select! {
        served = server => served,
        () = limit => Err(io::Error::new(io::ErrorKind::TimedOut, "requests in flight were cut off at the drain's limit")),
    }
}
