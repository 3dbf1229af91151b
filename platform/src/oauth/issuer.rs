//! The issuer itself: what it remembers in memory, and how a client gets a token.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::client_assertion::unverified_subject;
use oauth_as::error::ErrorCode;
use oauth_as::jwt::{AccessTokenFormat, AlgAllowList, JwsAlg, JwtConfig};
use oauth_as::mtls::ClientCertificate;
use oauth_as::scope::ScopeSet;
use oauth_as::server::{
    AssertionAudience, AuthorizationServer, ClientCredential, ServerConfig, TokenRequest, TokenRequestContext,
};
use oauth_as::token::TokenType;
use sea_orm::DbErr;
use tenants::contract::{Binding, ClientIntent};
use tenants::environment::Mode;
use tenants::id::ClientId;
use tokio::time::Instant;

use super::TTL_S;
use super::certificate::held;
use super::directory::{Directory, Registration, RegistrationError, is_known, name};
use super::dpop::Proofs;
use super::keys::{Es256, Kept, KeySet, PublicKey, Rotation, SigningKey, Stage, plan};
use super::store::StoreError;
use super::system::Store;
use super::token::Cached;
use crate::ctx::{Clock, Scope};
use crate::db::Db;
use crate::keys::DataKey;

/// The longest that a request waits for the second in which its client may have tokens again.
const LONGEST_WAIT: TimeDelta = TimeDelta::seconds(2);
/// No more often than this the tables are read because a token is of nobody we know.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How an issuer is.
#[derive(Debug, Clone)]
pub struct IssuerOptions {
    /// Its name, and the one audience of its tokens: `https://host`, without a path.
    pub url: String,
    /// What it is for: in live mode tokens of its own plane's clients are bound, and no secret is taken.
    pub mode: Mode,
    /// Whether clients of sandboxes may have secrets.
    pub secrets: bool,
    /// When its keys change.
    pub rotation: Rotation,
}

/// Why an issuer does not work.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The tables could not be read or written.
    #[error("the tables of the issuer failed")]
    Store(#[from] StoreError),
    /// The name is not `https://host` or `http://host`, or has more to it.
    #[error("an issuer is called by a URL without a path: {0}")]
    Url(String),
}

impl From<DbErr> for IssuerError {
    fn from(error: DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// An issuer of tokens, and who verifies them. Clones are the same one.
#[derive(Clone)]
pub struct Issuer(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) store: Store,
    pub(super) url: Box<str>,
    pub(super) clock: Clock,
    pub(super) proofs: Proofs,
    pub(super) verified: Cached,
    mode: Mode,
    secrets: bool,
    rotation: Rotation,
    state: RwLock<Arc<State>>,
    looked: tokio::sync::Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issuer({})", self.0.url)
    }
}

/// What an issuer knows, as of one change.
#[derive(Default)]
pub(super) struct State {
    version: i64,
    pub(super) clients: Directory,
    pub(super) keys: Vec<Kept>,
    engine: Option<Arc<Engine>>,
    /// Signs documents too.
    pub(super) signing: Option<Arc<SigningKey>>,
}

type Engine = AuthorizationServer<Store, Wall>;

/// Our clock for the engine.
struct Wall(Clock);

impl oauth_as::server::Clock for Wall {
    fn now(&self) -> SystemTime {
        self.0.now().into()
    }
}

/// How a client proves who it is.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// An assertion that it signed (RFC 7523), of the type that it says it is.
    Assertion {
        /// The JWT.
        jwt: &'a str,
        /// `client_assertion_type`.
        kind: Option<&'a str>,
    },
    /// A secret.
    Secret(&'a str),
    /// The certificate of its connection (RFC 8705), and nothing else.
    Certificate,
}

/// A client asks for a token.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who it says it is; an assertion says it too.
    pub client_id: Option<&'a str>,
    /// How it proves that.
    pub proof: Proof<'a>,
    /// What it wants to do, separated by spaces; everything that it may, if nothing.
    pub scope: Option<&'a str>,
    /// The proof of the key that the token is to be bound to (RFC 9449).
    pub dpop: Option<&'a str>,
    /// The certificate of its connection, DER.
    pub certificate: Option<&'a [u8]>,
}

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The JWT.
    pub token: String,
    /// Whether it is bound to a key, and presented as `DPoP`.
    pub dpop: bool,
    /// How long it lives, in seconds.
    pub expires_in: u64,
    /// What it is good for, separated by spaces.
    pub scope: String,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Grant({})", self.scope)
    }
}

/// Why a client gets no token (RFC 6749 §5.2).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}: {description}")]
pub struct Refused {
    /// The HTTP status.
    pub status: u16,
    /// The code.
    pub error: &'static str,
    /// What is wrong, in English; may be empty.
    pub description: String,
}

impl Refused {
    pub(super) fn new(code: ErrorCode, description: impl Into<String>) -> Self {
        Self { status: code.http_status(), error: code.as_str(), description: description.into() }
    }
}

/// Whether an issuer can be called so: `https://host` or `http://host`, perhaps with a port, and nothing after it.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = url::Url::parse(text).is_ok_and(|url| {
        url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty()
    });
    plain && !text.ends_with('/') && (text.starts_with("https://") || text.starts_with("http://"))
}

impl Issuer {
    /// Starts the issuer of this database: the first one makes a key.
    ///
    /// # Errors
    /// The tables failed, or the URL is none.
    pub async fn start(
        db: Db,
        keys: Arc<DataKey>,
        clock: Clock,
        options: IssuerOptions,
    ) -> Result<Self, IssuerError> {
        let IssuerOptions { url, mode, secrets, rotation } = options;
        if !is_name(&url) {
            return Err(IssuerError::Url(url));
        }
        let issuer = Self(Arc::new(Inner {
            store: Store::open(db, keys).await?,
            url: url.into(),
            clock,
            proofs: Proofs::default(),
            verified: Cached::default(),
            mode,
            secrets: secrets && mode == Mode::Sandbox,
            rotation,
            state: RwLock::default(),
            looked: tokio::sync::Mutex::new(None),
        }));
        issuer.rotate_if_due().await?;
        issuer.refresh().await?;
        Ok(issuer)
    }

    /// Its name, and the audience of its tokens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// The time by its clock.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        self.0.clock.now()
    }

    /// Its store, to register clients in a transaction.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// What it is for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.0.mode
    }

    /// Whether clients may have secrets here.
    #[must_use]
    pub fn takes_secrets(&self) -> bool {
        self.0.secrets
    }

    /// The keys to verify its tokens with.
    #[must_use]
    pub fn key_set(&self) -> KeySet {
        self.state().keys.iter().map(|key| key.public.clone()).collect()
    }

    /// The name of the key that signs now.
    #[must_use]
    pub fn active_key(&self) -> Option<String> {
        let state = self.state();
        state.keys.iter().find(|key| key.stage == Stage::Active).map(|key| key.public.kid.clone())
    }

    pub(super) fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Registers a client, at once for this process. What does the same inside a transaction of more is
    /// [`Store::ensure_client_in_tx`].
    ///
    /// # Errors
    /// It cannot be registered so.
    pub async fn register(&self, registration: &Registration) -> Result<(), RegistrationError> {
        self.0.store.ensure_client(registration, self.0.clock.now()).await?;
        Ok(self.refresh().await?)
    }

    /// Makes these clients, and no others, those of a scope, at once for this process.
    ///
    /// # Errors
    /// One of them cannot be registered so; then none is.
    pub async fn ensure_clients(
        &self,
        scope: Scope,
        mode: Mode,
        wanted: &[ClientIntent],
    ) -> Result<(), RegistrationError> {
        if !wanted.iter().all(is_known) {
            return Err(RegistrationError::Unknown);
        }
        self.0.store.ensure_clients((scope, mode), wanted, self.0.clock.now()).await?;
        Ok(self.refresh().await?)
    }

    /// Removes a client and ends every token that it was given, at once for this process.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn remove(&self, id: ClientId) -> Result<(), StoreError> {
        self.0.store.remove_client(id, self.0.clock.now()).await?;
        self.refresh().await
    }

    /// Takes up what another replica changed, and rotates keys that are due; call it every second.
    pub async fn keep_up(&self) {
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "the issuer of tokens could not look what changed");
        }
        let due = !plan(&self.state().keys, &self.0.rotation, self.0.clock.now(), None).is_empty();
        if due && let Err(error) = self.rotate_if_due().await {
            tracing::warn!(%error, "the keys that tokens are signed with could not be rotated");
        }
    }

    /// Takes up what changed in the tables since the last time.
    ///
    /// # Errors
    /// The tables failed; what was known stays.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let known = self.state();
        let version = self.0.store.version().await.map_err(StoreError::from)?;
        if known.version == version && known.engine.is_some() {
            return Ok(());
        }
        let (changed, keys) = self.0.store.changes(known.version).await?;
        let mut clients = known.clients.clone();
        clients.take_up(changed);
        let mut kept = Vec::with_capacity(keys.len());
        let mut active = None;
        for (key, signing) in keys {
            if key.stage == Stage::Active {
                active = signing;
            }
            kept.push(key);
        }
        let signing = active.map(Arc::new);
        let engine = signing.clone().map(|key| Arc::new(self.engine(key)));
        let forgotten = known.keys.iter().any(|old| !kept.iter().any(|key| key.public == old.public));
        let next = Arc::new(State { version, clients, keys: kept, engine, signing });
        {
            let mut state = self.0.state.write().unwrap_or_else(PoisonError::into_inner);
            // Of two refreshes at once the later change stays.
            if state.version <= version {
                *state = next;
            }
        }
        if forgotten {
            // A key that is not ours any more must not live on in what it verified.
            self.0.verified.clear();
        }
        Ok(())
    }

    /// Takes up changes because a token or its request is of a client or a key that is not known here: perhaps another
    /// replica made it a moment ago. A stranger can make us look ten times a second.
    pub(super) async fn look_again(&self) {
        let mut looked = self.0.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        if let Err(error) = self.refresh().await {
            tracing::warn!(%error, "the issuer of tokens could not look what changed");
        }
        *looked = Some(Instant::now());
    }

    /// Does what is due with the keys, and takes it up.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn rotate_if_due(&self) -> Result<(), IssuerError> {
        self.0.store.rotate(&self.0.rotation, self.0.clock.now(), None).await?;
        Ok(self.refresh().await?)
    }

    /// Makes a new key because somebody wants one: it is published for as long as a planned one before it signs. With
    /// `retire_old` it [takes the place](Issuer::replace_keys) of all others at once.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn rotate_keys(&self, retire_old: bool) -> Result<(), IssuerError> {
        if retire_old { self.replace_keys().await } else { self.rotate_now(self.0.rotation.announced).await }
    }

    /// Makes a new key because somebody wants one: it is published for `announced` before it signs. With zero it signs
    /// at once, and who keeps our key set for longer than a moment refuses its first tokens.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn rotate_now(&self, announced: TimeDelta) -> Result<(), IssuerError> {
        self.0.store.rotate(&self.0.rotation, self.0.clock.now(), Some(announced)).await?;
        self.rotate_if_due().await
    }

    /// Removes every key, also one that is announced, and makes another that signs at once: because one of them leaked.
    /// Nothing that was signed before is good any more, for other replicas once they [keep up](Issuer::keep_up); and who
    /// keeps our key set for longer than a moment refuses the first tokens.
    ///
    /// # Errors
    /// The tables failed.
    pub async fn replace_keys(&self) -> Result<(), IssuerError> {
        self.0.store.replace_keys(self.0.clock.now()).await?;
        Ok(self.refresh().await?)
    }

    fn engine(&self, key: Arc<SigningKey>) -> Engine {
        let Inner { url, clock, store, .. } = &*self.0;
        // Of the two, the second is the page where people type the code of a device: there is none.
        let mut config = ServerConfig::new(&**url, format!("{url}/"));
        config.token_endpoint = Some(format!("{url}{}", super::http::TOKEN_PATH));
        config.issue_refresh_tokens = false;
        config.access_token_ttl = Duration::from_secs(u64::from(TTL_S));
        config.jws_alg_allow_list = AlgAllowList::only(&[JwsAlg::Es256]);
        // Else a client would choose its token's audience.
        config.allowed_resources = Some(vec![url.clone()].into());
        config.access_token_format = AccessTokenFormat::Jwt(Box::new(JwtConfig::new(key, &**url)));
        config.assertion_audience = AssertionAudience::IssuerOnly;
        AuthorizationServer::with_clock(config, store.clone(), Wall(clock.clone()))
            .with_jws_verifier(Arc::new(Es256))
    }

    /// A token for who proves to be a client.
    ///
    /// # Errors
    /// Why not, in the words of RFC 6749.
    pub async fn token(&self, request: Request<'_>) -> Result<Grant, Refused> {
        let Request { client_id, proof, scope, dpop, certificate } = request;
        let stranger = || Refused::new(ErrorCode::InvalidClient, "");
        if matches!(proof, Proof::Secret(_)) && !self.0.secrets {
            return Err(Refused::new(
                ErrorCode::InvalidClient,
                "no secret is taken here: use a key or a certificate",
            ));
        }
        let subject = match proof {
            Proof::Assertion { jwt, .. } => unverified_subject(jwt),
            _ => None,
        };
        let id = client_id.map(str::to_owned).or(subject).ok_or_else(stranger)?;
        let id: ClientId = id.parse().map_err(|_| stranger())?;
        // Strangers ask as often as they like: what they say is not looked up in the tables each time.
        if self.state().clients.get(id).is_none() {
            self.look_again().await;
            self.state().clients.get(id).ok_or_else(stranger)?;
        }
        self.admitted(id, proof, dpop, certificate).await?;
        let engine = self.state().engine.clone();
        let engine = engine.ok_or_else(|| {
            Refused::new(ErrorCode::TemporarilyUnavailable, "there is no key to sign with yet")
        })?;
        let scope = scope.map(ScopeSet::parse).transpose();
        let scope = scope.map_err(|_| Refused::new(ErrorCode::InvalidScope, "a scope is malformed"))?;
        let certificate = certificate.map(ClientCertificate::from_der);
        let mut credential = match proof {
            Proof::Assertion { jwt, kind } => ClientCredential::assertion(kind, jwt),
            Proof::Secret(secret) => ClientCredential::secret(Some(secret)),
            Proof::Certificate => ClientCredential::secret(None),
        };
        credential.certificate = certificate.as_ref();
        let mut context = TokenRequestContext::new(credential);
        if let Some(proof) = dpop {
            context = context.with_dpop_proof(proof);
        }
        let request = TokenRequest::ClientCredentials { client_id: name(id), client_secret: None, scope };
        let answer = engine.token_with_context(request, context).await.map_err(|error| {
            let description = error.error_description.clone().unwrap_or_default();
            Refused::new(error.error, description)
        })?;
        Ok(Grant {
            dpop: answer.token_type == TokenType::Dpop,
            token: answer.access_token,
            expires_in: answer.expires_in,
            scope: answer.scope.unwrap_or_default(),
        })
    }

    /// Refuses whom the engine does not know to refuse, by what the tables say now.
    async fn admitted(
        &self,
        id: ClientId,
        proof: Proof<'_>,
        dpop: Option<&str>,
        certificate: Option<&[u8]>,
    ) -> Result<(), Refused> {
        let refused = |code, text: &str| Err(Refused::new(code, text));
        let found = self.0.store.registration(id).await.map_err(|error| {
            tracing::error!(%error, "the clients of the issuer could not be read");
            Refused::new(ErrorCode::ServerError, "")
        })?;
        let Some(Registration { mode, client, .. }) = found else {
            return refused(ErrorCode::InvalidClient, "");
        };
        if client.revoked || (matches!(proof, Proof::Secret(_)) && mode == Mode::Live) {
            return refused(ErrorCode::InvalidClient, "");
        }
        if self.0.mode == Mode::Live && client.binding == Binding::None {
            // It was registered while this plane was a sandbox.
            return refused(
                ErrorCode::InvalidClient,
                "in live mode tokens are bound, and this client's are not",
            );
        }
        let held = certificate.and_then(|der| held(der, self.0.clock.now()));
        if matches!(proof, Proof::Certificate) && certificate.is_some() && held.is_none() {
            return refused(ErrorCode::InvalidClient, "the certificate has ended, or is not valid yet");
        }
        match client.binding {
            Binding::None => {}
            Binding::Dpop if dpop.is_some() => {}
            Binding::Dpop => {
                return refused(
                    ErrorCode::InvalidDpopProof,
                    "the client's tokens are bound to a key: prove it",
                );
            }
            Binding::Certificate => {
                if !held.is_some_and(|held| client.thumbprints.contains(&held)) {
                    return refused(
                        ErrorCode::InvalidClient,
                        "the client's tokens are bound to a certificate: connect with it while it is valid",
                    );
                }
            }
            Binding::Unknown => return refused(ErrorCode::InvalidClient, ""),
        }
        // Tokens say their second only. Those of the second of a revocation are not accepted, so none is issued in it.
        let opens = DateTime::<Utc>::from_timestamp(client.epoch, 0).unwrap_or_default();
        let wait = opens.signed_duration_since(self.0.clock.now());
        if wait > TimeDelta::zero() && wait <= LONGEST_WAIT {
            tokio::time::sleep(wait.to_std().unwrap_or_default()).await;
        }
        if self.0.clock.now() < opens {
            return refused(ErrorCode::TemporarilyUnavailable, "tokens of this client were just revoked");
        }
        Ok(())
    }
}

impl State {
    /// A public key by its name.
    pub(super) fn key(&self, kid: &str) -> Option<&PublicKey> {
        self.keys.iter().map(|key| &key.public).find(|key| key.kid == kid)
    }
}
