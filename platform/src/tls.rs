//! A TLS listener that tells handlers who the other side proved to be.
//!
//! TLS 1.3 only, HTTP/2 or HTTP/1.1. A connection without a client certificate is let through and marked as one: some
//! routes exist for strangers, and the guard of the others refuses it. A certificate has to lead to the one root; one
//! that has ended is let through within a grace, since a cell that was offline for days must still be able to ask for
//! the next. So whoever guards a route looks at the end of the peer's certificate ([`crate::pki::peer`]) on each request.
//! Sessions are not resumed: each connection proves itself anew.
//!
//! That is the listener of the cell link ([`TlsServer::new`]). The listener of callers ([`TlsServer::of_callers`]) takes
//! any certificate whose key the other side proves to have: what it is worth, the registered thumbprint decides.

mod callers;
mod seats;

pub use callers::TlsFiles;

use crate::ctx::Clock;
use crate::drain::{self, Drain, DrainConfig, HEAD_LIMIT};
use crate::pki::{self, Identity};
use axum::{Extension, Router};
use chrono::TimeDelta;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tenants::id::CellId;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use callers::AnyCertificate;
use seats::{Busy, Seats};

/// How long a handshake may take.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// How long an HTTP/2 connection may be silent before it is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How many connections a cell has to the link at most: one of its life before, while it renews a certificate or comes
/// back after a cut, and some to spare.
const MOST_OF_A_CELL: usize = 8;
/// How many connections those have to the link at most who are no cell yet.
const MOST_OF_STRANGERS: usize = 64;
/// How long an idle connection may take to end after it was told to.
const FAREWELL: Duration = Duration::from_secs(5);
/// How long a connection of the link may take to end that lost its seat: longer than a poll waits, and of a stranger, who
/// may be nobody, much less.
const LEAVES_WITHIN: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(10));

/// Why a listener cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The identity holds no key or no certificate.
    #[error("the identity has no usable {0}")]
    Identity(&'static str),
    /// The library refuses what it was given.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// No verifier can be made of the root.
    #[error(transparent)]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// A file cannot be read.
    #[error("{}: {error}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

/// The certificate that the other side of a connection proved to hold, in the extensions of each of its requests; none
/// of a stranger. On the cell link it leads to the root, and ended no longer ago than the grace; from callers it is any.
#[derive(Debug, Clone)]
pub struct Peer(pub Option<CertificateDer<'static>>);

/// What a listener is, and whom it lets in. Clones are the same one.
#[derive(Debug, Clone)]
pub struct TlsServer {
    config: Arc<ServerConfig>,
    current: Arc<Current>,
    /// How long an HTTP/2 connection may be without a request.
    idle: Duration,
    /// Of the cell link; callers have as many connections as they like.
    seats: Option<Seats<Option<CellId>>>,
}

impl TlsServer {
    /// As `identity`, for strangers and for who holds a certificate below `root` that ended no longer ago than `grace`.
    ///
    /// # Errors
    /// The identity or the root cannot be used.
    pub fn new(
        identity: &Identity,
        root: &CertificateDer<'static>,
        grace: TimeDelta,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()?;
        let server = Self::with(identity, Arc::new(Graceful { inner, grace }), provider, clock)?;
        Ok(Self { seats: Some(Seats::default()), ..server })
    }

    /// As `identity`, for strangers and for who holds any certificate.
    ///
    /// # Errors
    /// The identity cannot be used.
    pub fn of_callers(identity: &Identity, clock: Clock) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let algorithms = provider.signature_verification_algorithms;
        Self::with(identity, Arc::new(AnyCertificate(algorithms)), provider, clock)
    }

    fn with(
        identity: &Identity,
        verifier: Arc<dyn ClientCertVerifier>,
        provider: Arc<CryptoProvider>,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let current = Arc::new(Current(RwLock::new(certified(identity, &provider)?)));
        let time = Arc::new(Wall(clock));
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![H2.to_vec(), b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), current, idle: HEAD_LIMIT, seats: None })
    }

    /// With another limit than 75 seconds to how long an HTTP/2 connection may be without a request.
    #[must_use]
    pub fn idle_for(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// Shows this identity to new connections; those that stand keep the one before.
    ///
    /// # Errors
    /// It cannot be used; the one before stays.
    pub fn replace(&self, identity: &Identity) -> Result<(), TlsError> {
        let next = certified(identity, &default_provider())?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }
}

/// Serves until the drain has begun and what was in flight is done, as [`drain::serve`] does for plain connections.
///
/// # Errors
/// `TimedOut` when requests were still in flight at the limit; they were cut off.
pub async fn serve(
    listener: TcpListener,
    server: TlsServer,
    router: Router,
    drain: &Drain,
    config: &DrainConfig,
) -> io::Result<()> {
    drain::connections(listener, drain, config, |stream, stop| {
        connection(server.clone(), stream, router.clone(), stop)
    })
    .await
}

/// Serves callers: over TLS as `server`, or in plain text where something in front ends TLS.
///
/// # Errors
/// As [`serve`].
pub async fn serve_callers(
    listener: TcpListener,
    server: Option<TlsServer>,
    router: Router,
    drain: &Drain,
    config: &DrainConfig,
) -> io::Result<()> {
    match server {
        Some(server) => serve(listener, server, router, drain, config).await,
        None => drain::serve(listener, router, drain, config).await,
    }
}

/// What HTTP/2 is called in the handshake.
const H2: &[u8] = b"h2";

async fn connection(server: TlsServer, stream: TcpStream, router: Router, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(server.config);
    let stream = match tokio::time::timeout(HANDSHAKE_LIMIT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            // Its affair; a cell that is refused says so in its own log.
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let (_, tls) = stream.get_ref();
    let peer = Peer(tls.peer_certificates().and_then(|chain| chain.first()).cloned());
    let is_h2 = tls.alpn_protocol() == Some(H2);
    let stop = stop.child_token();
    let seat = server.seats.map(|seats| {
        let cell = peer.0.as_ref().and_then(|der| pki::peer(der).ok()).map(|peer| peer.cell);
        let (most, leaves) = match cell {
            Some(_) => (MOST_OF_A_CELL, LEAVES_WITHIN.0),
            None => (MOST_OF_STRANGERS, LEAVES_WITHIN.1),
        };
        (seats.take(cell, most, stop.clone()), leaves)
    });
    // Who is told to come to his end and does not is cut off.
    let overdue = async {
        match &seat {
            Some((_, leaves)) => {
                stop.cancelled().await;
                tokio::time::sleep(*leaves).await;
            }
            None => std::future::pending().await,
        }
    };
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let stream = TokioIo::new(stream);
    if is_h2 {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new()).keep_alive_interval(KEEP_ALIVE);
        let busy = Busy::new();
        let served = http.serve_connection(stream, busy.counting(service));
        let served = drain::connected(served, stop.clone(), http2::Connection::graceful_shutdown);
        tokio::pin!(served);
        // Pings alone keep nothing open. HTTP/1.1 has the limit of a request's head.
        tokio::select! {
            () = &mut served => {}
            () = busy.idle(server.idle) => {
                stop.cancel();
                // Who sends nothing more and does not say good-bye is left.
                tokio::select! {
                    () = &mut served => {}
                    () = busy.idle(FAREWELL) => {}
                }
            }
            () = overdue => {}
        }
    } else {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
        let served = http.serve_connection(stream, service);
        tokio::select! {
            () = drain::connected(served, stop.clone(), http1::Connection::graceful_shutdown) => {}
            () = overdue => {}
        }
    }
}

/// The key and the certificates of an identity, as rustls takes them.
fn certified(identity: &Identity, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, TlsError> {
    let key =
        PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(|_| TlsError::Identity("key"))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(identity.certificate_pem.as_bytes())
        .chain(CertificateDer::pem_slice_iter(identity.chain_pem.as_bytes()))
        .collect();
    let chain = chain.map_err(|_| TlsError::Identity("certificate"))?;
    Ok(Arc::new(CertifiedKey::from_der(chain, key, provider)?))
}

/// The server's own certificate, replaced while it serves.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The injected clock, for rustls.
#[derive(Debug)]
struct Wall(Clock);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Lets certificates pass that ended within the grace, as they were at their end; everything else is `inner`'s.
#[derive(Debug)]
struct Graceful {
    inner: Arc<dyn ClientCertVerifier>,
    grace: TimeDelta,
}

impl ClientCertVerifier for Graceful {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let refused = match self.inner.verify_client_cert(end_entity, intermediates, now) {
            Err(
                refused @ rustls::Error::InvalidCertificate(
                    CertificateError::Expired | CertificateError::ExpiredContext { .. },
                ),
            ) => refused,
            other => return other,
        };
        let Ok((_, parsed)) = x509_parser::parse_x509_certificate(end_entity) else { return Err(refused) };
        let ended = u64::try_from(pki::not_after(&parsed).timestamp()).unwrap_or(0);
        let grace = u64::try_from(self.grace.num_seconds()).unwrap_or(0);
        if now.as_secs().saturating_sub(ended) > grace {
            return Err(refused);
        }
        let then = UnixTime::since_unix_epoch(Duration::from_secs(ended));
        self.inner.verify_client_cert(end_entity, intermediates, then)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
