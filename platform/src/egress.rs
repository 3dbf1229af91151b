//! Outbound requests. The only module that makes a client, so that one list says whom this process may talk to.
//!
//! Nothing is allowed by default, this machine's own addresses included. Redirects are not followed: the place they lead
//! to was not asked for. Plain HTTP is for this machine only.

use crate::config::Faults;
use reqwest::{
    Certificate, Client, ClientBuilder, Identity, Method, RequestBuilder, Response, Url, redirect,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use url::Host;

/// Whom this process may talk to, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    /// `host` (its HTTPS port), `host:port`, or `host:*`. Exact names, no patterns.
    pub allow: Vec<String>,
    /// How long connecting may take, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long a whole request may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self { allow: Vec::new(), connect_timeout_ms: 5_000, timeout_ms: 30_000 }
    }
}

impl EgressConfig {
    /// Adds what is wrong, as keys of the table `at`.
    pub fn check(&self, at: &str, faults: &mut Faults) {
        for entry in self.allow.iter().filter(|entry| Allowed::parse(entry).is_none()) {
            faults.add(format!("{at}.allow"), format!("hold `host`, `host:port` or `host:*`, not `{entry}`"));
        }
        faults.unless(self.connect_timeout_ms > 0, &format!("{at}.connect_timeout_ms"), "be at least 1");
        faults.unless(self.timeout_ms > 0, &format!("{at}.timeout_ms"), "be at least 1");
    }
}

/// Why an outbound request did not give an answer.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// An entry of the list cannot be read.
    #[error("`{0}` in the list of allowed hosts is not `host`, `host:port` or `host:*`")]
    Entry(String),
    /// Not an `http` or `https` URL.
    #[error("`{0}` is not an http or https URL")]
    Url(String),
    /// The host is not on the list.
    #[error("requests to {host}:{port} are not allowed; add it to egress.allow if they should be")]
    Denied {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Plain HTTP to another machine.
    #[error("{0} must be reached by https; plain http is for this machine only")]
    Plain(String),
    /// No connection. Nothing was sent.
    #[error("cannot connect: {0}")]
    Unreachable(#[source] reqwest::Error),
    /// No answer in time. Whether the request had an effect is not known.
    #[error("no answer in time: {0}")]
    Timeout(#[source] reqwest::Error),
    /// Anything else, such as a connection that broke off. Whether the request had an effect is not known.
    #[error("the request failed: {0}")]
    Failed(#[source] reqwest::Error),
}

impl From<reqwest::Error> for EgressError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_connect() {
            Self::Unreachable(error)
        } else if error.is_timeout() {
            Self::Timeout(error)
        } else {
            Self::Failed(error)
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Allowed {
    host: String,
    /// Any, if none.
    port: Option<u16>,
}

impl Allowed {
    fn parse(entry: &str) -> Option<Self> {
        let (host, port) = match entry.rsplit_once(':') {
            // The colons inside of an IPv6 address, which stands in brackets.
            Some((_, rest)) if rest.ends_with(']') => (entry, Some(443)),
            Some((host, "*")) => (host, None),
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, Some(443)),
        };
        Some(Self { host: Host::parse(host).ok()?.to_string(), port })
    }
}

/// How long a kept HTTP/2 connection may be silent before it is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Who we are, and whom alone we trust, on connections of their own.
#[derive(Clone, Copy)]
pub struct Mutual<'a> {
    /// The root that the other side's certificate has to lead to.
    pub root_der: &'a [u8],
    /// Our key, our certificate and what leads from it to the root, PEM; none of a stranger.
    pub identity_pem: Option<&'a str>,
}

/// Whom we trust besides the system's roots, and who we are to whom asks.
#[derive(Clone, Copy, Default)]
pub struct Trust<'a> {
    /// Certificates that the other side's may lead to, PEM.
    pub roots_pem: Option<&'a str>,
    /// Our key and our certificate, PEM.
    pub identity_pem: Option<&'a str>,
}

/// The client. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Egress {
    client: Client,
    allowed: Arc<[Allowed]>,
}

impl Egress {
    /// A client for these hosts.
    ///
    /// # Errors
    /// When an entry cannot be read, or the system's certificates cannot be loaded.
    pub fn new(config: &EgressConfig) -> Result<Self, EgressError> {
        Self::with(config, Ok)
    }

    /// A client for those of these hosts that show a certificate below one root, over TLS only; connections are kept.
    /// A new identity needs a new client.
    ///
    /// # Errors
    /// As [`Egress::new`], or the root or the identity is none.
    pub fn mutual(config: &EgressConfig, mutual: &Mutual) -> Result<Self, EgressError> {
        Self::with(config, |client| {
            let client = client
                .tls_certs_only([Certificate::from_der(mutual.root_der)?])
                .https_only(true)
                .http2_keep_alive_interval(KEEP_ALIVE)
                .http2_keep_alive_while_idle(true);
            match mutual.identity_pem {
                Some(pem) => Ok(client.identity(Identity::from_pem(pem.as_bytes())?)),
                None => Ok(client),
            }
        })
    }

    /// A client for these hosts that trusts more roots, or shows a certificate.
    ///
    /// # Errors
    /// As [`Egress::new`], or a root or the identity is none.
    pub fn trusting(config: &EgressConfig, trust: &Trust) -> Result<Self, EgressError> {
        Self::with(config, |mut client| {
            if let Some(pem) = trust.roots_pem {
                client = client.tls_certs_merge(Certificate::from_pem_bundle(pem.as_bytes())?);
            }
            match trust.identity_pem {
                Some(pem) => Ok(client.identity(Identity::from_pem(pem.as_bytes())?)),
                None => Ok(client),
            }
        })
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that makes outbound clients")]
    fn with(
        config: &EgressConfig,
        also: impl FnOnce(ClientBuilder) -> Result<ClientBuilder, reqwest::Error>,
    ) -> Result<Self, EgressError> {
        install_crypto();
        let allowed = config
            .allow
            .iter()
            .map(|entry| Allowed::parse(entry).ok_or_else(|| EgressError::Entry(entry.clone())));
        let client = Client::builder()
            .connect_timeout(Duration::from_millis(config.connect_timeout_ms))
            .timeout(Duration::from_millis(config.timeout_ms))
            .redirect(redirect::Policy::none())
            // A proxy from the environment would be a host that is not on the list.
            .no_proxy()
            .tcp_nodelay(true);
        Ok(Self { client: also(client)?.build()?, allowed: allowed.collect::<Result<_, _>>()? })
    }

    /// A request to an allowed host; nothing is sent yet.
    ///
    /// # Errors
    /// When the URL is none, or its host is not allowed.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, EgressError> {
        Ok(self.client.request(method, self.allowed(url)?))
    }

    /// `GET`.
    ///
    /// # Errors
    /// As [`Egress::request`].
    pub fn get(&self, url: &str) -> Result<RequestBuilder, EgressError> {
        self.request(Method::GET, url)
    }

    /// `POST`.
    ///
    /// # Errors
    /// As [`Egress::request`].
    pub fn post(&self, url: &str) -> Result<RequestBuilder, EgressError> {
        self.request(Method::POST, url)
    }

    /// Sends a request and tells failures apart: did it reach the other side or not.
    ///
    /// # Errors
    /// When there is no answer. An answer of any status is an answer.
    pub async fn send(request: RequestBuilder) -> Result<Response, EgressError> {
        Ok(request.send().await?)
    }

    /// Sends a request that another library has put together, if its host is allowed.
    ///
    /// # Errors
    /// As [`Egress::request`] and [`Egress::send`].
    pub async fn execute(&self, request: reqwest::Request) -> Result<Response, EgressError> {
        self.allowed(request.url().as_str())?;
        Ok(self.client.execute(request).await?)
    }

    fn allowed(&self, url: &str) -> Result<Url, EgressError> {
        let not_a_url = || EgressError::Url(url.to_owned());
        let parsed = Url::parse(url).map_err(|_| not_a_url())?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(not_a_url());
        }
        let (Some(host), Some(port)) = (parsed.host(), parsed.port_or_known_default()) else {
            return Err(not_a_url());
        };
        let name = host.to_string();
        if !self
            .allowed
            .iter()
            .any(|entry| entry.host == name && entry.port.is_none_or(|allowed| allowed == port))
        {
            return Err(EgressError::Denied { host: name, port });
        }
        let loopback = match host {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(address) => IpAddr::from(address).is_loopback(),
            Host::Ipv6(address) => IpAddr::from(address).is_loopback(),
        };
        if parsed.scheme() == "http" && !loopback {
            return Err(EgressError::Plain(name));
        }
        Ok(parsed)
    }
}

/// Reads a URL that is an origin and nothing more: `https://host` or `https://host:port`.
#[must_use]
pub fn https_origin(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let nobody = url.username().is_empty() && url.password().is_none();
    (url.scheme() == "https" && url.has_host() && bare && nobody).then_some(url)
}

/// Makes ring the process's one TLS provider. `main` calls it first thing; more calls change nothing.
pub fn install_crypto() {
    // An error means that a provider is installed already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(allow: &[&str]) -> Egress {
        let allow = allow.iter().map(|entry| (*entry).to_owned()).collect();
        Egress::new(&EgressConfig { allow, ..EgressConfig::default() }).unwrap()
    }

    #[test]
    fn only_what_is_listed_is_allowed() {
        let egress = egress(&["api.example.com", "127.0.0.1:*", "[::1]:8080", "other.example:8443"]);
        for (url, allowed) in [
            ("https://api.example.com/x", true),
            ("https://API.example.com/x", true),
            ("https://api.example.com:8443/", false),
            ("https://example.com/", false),
            ("https://x.api.example.com/", false),
            ("https://api.example.com.evil.test/", false),
            ("https://user@api.example.com/", true),
            ("https://api.example.com@evil.test/", false),
            ("http://api.example.com:443/", false),
            ("https://other.example:8443/", true),
            ("https://other.example/", false),
            ("http://127.0.0.1:9000/", true),
            ("http://127.0.0.2:9000/", false),
            ("http://localhost:9000/", false),
            ("http://[::1]:8080/", true),
            ("http://0x7f.1:80/", true),
            ("file:///etc/passwd", false),
            ("nonsense", false),
        ] {
            assert_eq!(egress.get(url).is_ok(), allowed, "{url}: {:?}", egress.get(url).err());
        }
    }

    #[test]
    fn nothing_is_allowed_by_default_and_the_refusal_names_the_host() {
        let error = egress(&[]).get("http://127.0.0.1:1/").unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:1") && error.contains("egress.allow"), "{error}");
    }

    #[test]
    fn an_origin_has_no_path_and_no_user() {
        for text in ["https://127.0.0.1:8071", "https://links.example.com", "https://[::1]:8071/"] {
            assert!(https_origin(text).is_some(), "{text}");
        }
        for text in
            ["http://a.example", "https://a.example/x", "https://a@b.example", "a.example", "https://a/?b"]
        {
            assert!(https_origin(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_bad_entry_is_named() {
        for entry in ["", "host:x", "a b"] {
            let config = EgressConfig { allow: vec![entry.to_owned()], ..EgressConfig::default() };
            assert!(
                matches!(Egress::new(&config), Err(EgressError::Entry(named)) if named == entry),
                "{entry}"
            );
        }
    }
}
