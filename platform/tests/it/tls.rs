//! The listener of the link: whom it lets in, what its handlers learn, how it stops.

use axum::http::Version;
use axum::{Extension, Router};
use chrono::TimeDelta;
use platform::ctx::Clock;
use platform::drain::{Drain, DrainConfig};
use platform::egress::{Egress, EgressConfig, EgressError, Mutual};
use platform::hash::sha256_base64url;
use platform::pki::{self, Ca, Identity, Issued, KeyAndRequest};
use platform::tls::{self, Peer, TlsFiles, TlsServer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use std::io;
use std::sync::Arc;
use tempfile::TempDir;
use tenants::id::CellId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use uuid::Uuid;

const HOUR: TimeDelta = TimeDelta::hours(1);
const GRACE: TimeDelta = TimeDelta::days(30);

fn cell() -> CellId {
    CellId::from_uuid(Uuid::from_u128(7))
}

struct Authority {
    ca: Ca,
    _folder: TempDir,
}

fn authority() -> Authority {
    let folder = tempfile::tempdir().unwrap();
    pki::init(folder.path(), Clock::system().now()).unwrap();
    let at = |name: &str| folder.path().join(name);
    let ca = Ca::open(&at("root/root.pem"), &at("issuing/issuing.pem"), &at("issuing/issuing.key")).unwrap();
    Authority { ca, _folder: folder }
}

impl Authority {
    fn server(&self) -> Identity {
        self.ca.server(&["localhost".to_owned(), "127.0.0.1".to_owned()], Clock::system().now()).unwrap()
    }

    /// A cell's identity, good for an hour from now.
    fn cell(&self) -> (Identity, Issued) {
        let KeyAndRequest { key_pem, csr_pem } = KeyAndRequest::make(cell()).unwrap();
        let issued = self.ca.sign_cell(&csr_pem, cell(), Clock::system().now(), HOUR).unwrap();
        let certificate_pem = issued.certificate_pem.clone();
        (Identity { key_pem, certificate_pem, chain_pem: self.ca.chain_pem() }, issued)
    }

    /// A client that trusts this authority alone.
    fn client(&self, identity: Option<&Identity>) -> Egress {
        let config = EgressConfig {
            allow: vec!["127.0.0.1:*".to_owned(), "localhost:*".to_owned()],
            ..EgressConfig::default()
        };
        let pem = identity.map(Identity::pem);
        let mutual = Mutual { root_der: self.ca.root_der(), identity_pem: pem.as_deref() };
        Egress::mutual(&config, &mutual).unwrap()
    }
}

/// A listener whose answers say who asked.
struct Served {
    port: u16,
    server: TlsServer,
    clock: Clock,
    drain: Drain,
    done: tokio::task::JoinHandle<io::Result<()>>,
}

impl Served {
    async fn of(authority: &Authority, router: Router, limit_ms: u64) -> Self {
        let clock = Clock::manual(Clock::system().now());
        let server =
            TlsServer::new(&authority.server(), authority.ca.root_der(), GRACE, clock.clone()).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let drain = Drain::new();
        let (serving, stopping) = (server.clone(), drain.clone());
        let done = tokio::spawn(async move {
            let config = DrainConfig { notice_ms: 0, limit_ms };
            tls::serve(listener, serving, router, &stopping, &config).await
        });
        Self { port, server, clock, drain, done }
    }

    async fn new(authority: &Authority) -> Self {
        let router = Router::new().fallback(async |Extension(Peer(peer)): Extension<Peer>| match peer {
            Some(der) => {
                let peer = pki::peer(&der).unwrap();
                format!("{} {} {}", peer.cell, peer.serial, peer.not_after)
            }
            None => "stranger".to_owned(),
        });
        Self::of(authority, router, 60_000).await
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/", self.port)
    }

    async fn ask(&self, client: &Egress) -> Result<(Version, String), EgressError> {
        let answer = Egress::send(client.get(&self.url())?).await?;
        Ok((answer.version(), answer.text().await?))
    }
}

#[tokio::test]
async fn a_handler_learns_who_the_peer_proved_to_be() {
    let authority = authority();
    let served = Served::new(&authority).await;
    let (identity, issued) = authority.cell();
    let (version, text) = served.ask(&authority.client(Some(&identity))).await.unwrap();
    assert_eq!(text, format!("{} {} {}", cell(), issued.serial, issued.not_after));
    assert_eq!(version, Version::HTTP_2);
    let (_, text) = served.ask(&authority.client(None)).await.unwrap();
    assert_eq!(text, "stranger");
    let by_name = authority.client(None).get(&format!("https://localhost:{}/", served.port)).unwrap();
    assert!(Egress::send(by_name).await.is_ok());
}

/// A listener of callers that says which certificate it saw.
async fn of_callers(
    authority: &Authority,
    clock: Clock,
) -> (String, Drain, tokio::task::JoinHandle<io::Result<()>>) {
    let router = Router::new().fallback(async |Extension(Peer(peer)): Extension<Peer>| match peer {
        Some(der) => sha256_base64url(&der),
        None => "stranger".to_owned(),
    });
    let server = TlsServer::of_callers(&authority.server(), clock).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let (drain, config) = (Drain::new(), DrainConfig::default());
    let stopping = drain.clone();
    let done =
        tokio::spawn(
            async move { tls::serve_callers(listener, Some(server), router, &stopping, &config).await },
        );
    (url, drain, done)
}

#[tokio::test]
async fn callers_may_show_any_certificate_whose_key_they_have() {
    let (ours, theirs) = (authority(), authority());
    // Far from now: the dates of a certificate are looked at where it is used.
    let (url, drain, done) = of_callers(&ours, Clock::manual(chrono::DateTime::UNIX_EPOCH)).await;
    let ask = async |client: Egress| {
        Egress::send(client.get(&url).unwrap()).await?.text().await.map_err(EgressError::from)
    };
    assert_eq!(ask(ours.client(None)).await.unwrap(), "stranger");
    let (foreign, _) = theirs.cell();
    let thumbprint = sha256_base64url(pki::der(&foreign.certificate_pem).unwrap());
    assert_eq!(ask(ours.client(Some(&foreign))).await.unwrap(), thumbprint);
    // A certificate that everybody can read, with another key. The client of our own refuses it already.
    let (own, _) = ours.cell();
    let stolen = Identity { key_pem: own.key_pem, ..foreign };
    assert!(handshake(&url, &stolen, &ours).await.is_err());
    drain.begin();
    done.await.unwrap().unwrap();
}

/// Speaks TLS as a client that sends whatever certificate it has, and reads an answer.
#[expect(clippy::disallowed_methods, reason = "speaks to the listener byte by byte")]
async fn handshake(url: &str, shown: &Identity, trusts: &Authority) -> io::Result<Vec<u8>> {
    #[derive(Debug)]
    struct Shown(Arc<rustls::sign::CertifiedKey>);
    impl rustls::client::ResolvesClientCert for Shown {
        fn resolve(
            &self,
            _: &[&[u8]],
            _: &[rustls::SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
        fn has_certs(&self) -> bool {
            true
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let key = PrivateKeyDer::from_pem_slice(shown.key_pem.as_bytes()).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let certified = rustls::sign::CertifiedKey::new(vec![pki::der(&shown.certificate_pem).unwrap()], key);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusts.ca.root_der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Shown(certified.into())));
    let port = url.trim_end_matches('/').rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn the_certificate_of_a_listener_is_read_anew_from_its_files() {
    let (first, second) = (authority(), authority());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let put = |identity: &Identity| {
        std::fs::write(at("certificate.pem"), format!("{}{}", identity.certificate_pem, identity.chain_pem))
            .unwrap();
        std::fs::write(at("key.pem"), &identity.key_pem).unwrap();
    };
    let files = TlsFiles { certificate_file: at("certificate.pem"), key_file: at("key.pem") };
    let absent = files.server(Clock::system()).unwrap_err();
    assert!(absent.to_string().contains("certificate.pem"), "{absent}");
    put(&first.server());
    let server = files.server(Clock::system()).unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
    let (drain, shown) = (Drain::new(), server.clone());
    let stopping = drain.clone();
    let done = tokio::spawn(async move {
        let router = Router::new().fallback(async || "served");
        tls::serve_callers(listener, Some(shown), router, &stopping, &DrainConfig::default()).await
    });
    let is_trusted =
        async |authority: &Authority| Egress::send(authority.client(None).get(&url).unwrap()).await.is_ok();
    assert!(is_trusted(&first).await && !is_trusted(&second).await);
    // One of two files is written: the one before stays.
    std::fs::write(at("key.pem"), second.server().key_pem).unwrap();
    files.show(&server);
    assert!(is_trusted(&first).await);
    put(&second.server());
    files.show(&server);
    assert!(is_trusted(&second).await && !is_trusted(&first).await);
    drain.begin();
    done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_cell_has_so_many_connections_and_the_oldest_makes_room() {
    let authority = authority();
    let served = Served::new(&authority).await;
    let (identity, _) = authority.cell();
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(connected(&served, &authority, &identity).await);
    }
    // A stranger takes no place of a cell.
    assert_eq!(served.ask(&authority.client(None)).await.unwrap().1, "stranger");
    let ninth = connected(&served, &authority, &identity).await;
    let mut first = open.remove(0);
    let mut rest = Vec::new();
    // It is told to come to its end; it has nothing in flight.
    let _ = first.read_to_end(&mut rest).await;
    for mut other in open.into_iter().chain([ninth]) {
        other.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        other.read_to_end(&mut answer).await.unwrap();
        // What was left of the first answer, and the second.
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "speaks to the listener byte by byte")]
async fn a_connection_that_only_answers_pings_is_ended() {
    let authority = authority();
    let server =
        TlsServer::new(&authority.server(), authority.ca.root_der(), GRACE, Clock::system()).unwrap();
    let server = server.idle_for(std::time::Duration::from_millis(1));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let drain = Drain::new();
    tokio::spawn(async move {
        tls::serve(listener, server, Router::new(), &drain, &DrainConfig::default()).await
    });
    platform::egress::install_crypto();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.ca.root_der().clone()).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let (mut pings, mut farewell) = (0, false);
    let mut head = [0; 9];
    // Frames (RFC 9113 §4.1) until the end; each ping is answered.
    while stream.read_exact(&mut head).await.is_ok() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await.unwrap();
        match (head[3], head[4]) {
            (6, 0) => {
                head[4] = 1;
                let answered = [&head[..], &rest].concat();
                pings += 1;
                if stream.write_all(&answered).await.is_err() {
                    break;
                }
            }
            (7, _) => farewell = true,
            _ => {}
        }
    }
    assert!(farewell, "it said good-bye, after {pings} pings");
}

/// A connection of a cell that has had one answer.
#[expect(clippy::disallowed_methods, reason = "holds a connection")]
async fn connected(
    served: &Served,
    authority: &Authority,
    identity: &Identity,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    platform::egress::install_crypto();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.ca.root_der().clone()).unwrap();
    let chain = [&identity.certificate_pem, &identity.chain_pem].map(|pem| pki::der(pem).unwrap()).to_vec();
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots);
    let config = config.with_client_auth_cert(chain, key).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    stream
}

#[tokio::test]
async fn nobody_of_another_root_is_let_in_or_trusted() {
    let (ours, theirs) = (authority(), authority());
    let served = Served::new(&ours).await;
    let (foreign, _) = theirs.cell();
    assert!(served.ask(&ours.client(Some(&foreign))).await.is_err());
    assert!(matches!(served.ask(&theirs.client(None)).await, Err(EgressError::Unreachable(_))));
    // A certificate of ours with the key of another.
    let (own, _) = ours.cell();
    let stolen = Identity { key_pem: foreign.key_pem, ..own };
    let config = EgressConfig { allow: vec!["127.0.0.1:*".to_owned()], ..EgressConfig::default() };
    let pem = stolen.pem();
    let mutual = Mutual { root_der: ours.ca.root_der(), identity_pem: Some(&pem) };
    match Egress::mutual(&config, &mutual) {
        Err(_) => {}
        Ok(client) => assert!(served.ask(&client).await.is_err()),
    }
}

#[tokio::test]
async fn an_ended_certificate_passes_within_the_grace_and_says_so() {
    let authority = authority();
    let served = Served::new(&authority).await;
    let (identity, issued) = authority.cell();
    served.clock.set(issued.not_after + GRACE);
    let (_, text) = served.ask(&authority.client(Some(&identity))).await.unwrap();
    assert_eq!(text, format!("{} {} {}", cell(), issued.serial, issued.not_after));
    served.clock.advance(TimeDelta::seconds(1));
    // A connection of its own: that one stands.
    assert!(served.ask(&authority.client(Some(&identity))).await.is_err());
    // Nothing else is forgiven.
    served.clock.set(issued.not_after - TimeDelta::days(2));
    assert!(served.ask(&authority.client(Some(&identity))).await.is_err());
}

#[tokio::test]
async fn a_server_shows_its_next_certificate_without_stopping() {
    let (ours, theirs) = (authority(), authority());
    let served = Served::new(&ours).await;
    let standing = ours.client(None);
    assert!(served.ask(&standing).await.is_ok());
    assert!(served.ask(&theirs.client(None)).await.is_err());
    served.server.replace(&theirs.server()).unwrap();
    assert!(served.ask(&theirs.client(None)).await.is_ok());
    assert!(served.ask(&ours.client(None)).await.is_err());
    // A connection that stands goes on.
    assert!(served.ask(&standing).await.is_ok());
    let broken = Identity { key_pem: String::new(), ..ours.server() };
    assert!(served.server.replace(&broken).is_err());
    assert!(served.ask(&theirs.client(None)).await.is_ok());
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "speaks to the listener byte by byte")]
async fn simple_clients_and_garbage_are_borne() {
    let authority = authority();
    let served = Served::new(&authority).await;
    let mut garbage = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert or nothing, and the end; never an answer in plain text.
    let _ = garbage.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));

    platform::egress::install_crypto();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.ca.root_der().clone()).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", served.port)).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("stranger"), "{answer}");
}

/// A router whose only answer waits for a word from the test.
fn waiting() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (begun, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inner_begun, inner_answer) = (Arc::clone(&begun), Arc::clone(&answer));
    let router = Router::new().fallback(async move || {
        inner_begun.notify_one();
        inner_answer.notified().await;
        "answered"
    });
    (router, begun, answer)
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "looks from outside whether the port is open")]
async fn a_drain_lets_an_open_poll_end() {
    let authority = authority();
    let (router, begun, answer) = waiting();
    let served = Served::of(&authority, router, 60_000).await;
    let client = authority.client(None);
    let in_flight = tokio::spawn(Egress::send(client.get(&served.url()).unwrap()));
    begun.notified().await;
    served.drain.begin();
    // The listener is closed once connecting fails; until then the drain has not got that far yet.
    while TcpStream::connect(("127.0.0.1", served.port)).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!served.done.is_finished());
    answer.notify_one();
    assert_eq!(in_flight.await.unwrap().unwrap().text().await.unwrap(), "answered");
    served.done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_cuts_off_a_poll_that_does_not_end() {
    let authority = authority();
    let (router, begun, _answer) = waiting();
    let served = Served::of(&authority, router, 1).await;
    let in_flight = tokio::spawn(Egress::send(authority.client(None).get(&served.url()).unwrap()));
    begun.notified().await;
    served.drain.begin();
    assert_eq!(served.done.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert!(in_flight.await.unwrap().is_err());
}

#[tokio::test]
async fn the_list_of_hosts_holds_for_connections_of_our_own_too() {
    let authority = authority();
    let mutual = Mutual { root_der: authority.ca.root_der(), identity_pem: None };
    let none = Egress::mutual(&EgressConfig::default(), &mutual).unwrap();
    assert!(matches!(none.get("https://127.0.0.1:1/"), Err(EgressError::Denied { .. })));
    let plain = Egress::send(authority.client(None).get("http://127.0.0.1:1/").unwrap()).await;
    assert!(matches!(plain, Err(EgressError::Failed(_) | EgressError::Unreachable(_))), "{plain:?}");
    let broken = Mutual { identity_pem: Some("no PEM"), ..mutual };
    assert!(Egress::mutual(&EgressConfig::default(), &broken).is_err());
}
