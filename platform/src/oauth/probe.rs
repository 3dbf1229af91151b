//! Whether a client would get a token here, and be let in with it: found out by trying.

use oauth_as::client_assertion::CLIENT_ASSERTION_TYPE;
use tenants::contract::{Binding, ClientIntent, Method};
use tenants::environment::Mode;
use tenants::id::{ClientId, Id};

use super::Credential;
use super::directory::{Registration, RegistrationError};
use super::http::TOKEN_PATH;
use super::issuer::{Issuer, Proof, Refused, Request};
use super::keys::BadKey;
use super::store::StoreError;
use super::token::Presented;
use crate::ctx::Scope;
use crate::random;
use crate::token::TokenError;

/// Why a client would not be let in.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The tables failed.
    #[error("the tables of the issuer failed")]
    Store(#[from] StoreError),
    /// A client cannot be registered.
    #[error("a client cannot be registered: {0}")]
    Registration(RegistrationError),
    /// It has no key.
    #[error(transparent)]
    Key(#[from] BadKey),
    /// It gets no token.
    #[error("it gets no token: {0}")]
    Refused(#[from] Refused),
    /// Its token is not accepted, or is another's.
    #[error("its token is not accepted: {0}")]
    Token(#[from] TokenError),
}

impl From<RegistrationError> for ProbeError {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Store(error) => Self::Store(error),
            error => Self::Registration(error),
        }
    }
}

impl Issuer {
    /// Whether a client of this scope would be let in: one that may do nothing is registered, gets a token, presents it
    /// and is removed.
    ///
    /// # Errors
    /// Why not.
    pub async fn round_trip(&self, scope: Scope, mode: Mode) -> Result<(), ProbeError> {
        let id = ClientId::from_parts(self.0.clock.now(), random::bits());
        let credential = Credential::make(id)?;
        let binding = if mode == Mode::Live { Binding::Dpop } else { Binding::None };
        let client = ClientIntent {
            id,
            name: "probe".to_owned(),
            method: Method::PrivateKeyJwt,
            keys: vec![credential.public()],
            thumbprints: Vec::new(),
            secret_sha256: None,
            scopes: Vec::new(),
            binding,
            epoch: 0,
            revoked: false,
        };
        self.register(&Registration { scope, mode, client }).await?;
        let tried = self.comes_in(&credential, scope, binding == Binding::Dpop).await;
        self.remove(id).await?;
        tried
    }

    async fn comes_in(&self, credential: &Credential, scope: Scope, bound: bool) -> Result<(), ProbeError> {
        let now = self.0.clock.now();
        let prove = |method: &str, path: &str, token: Option<&str>| {
            let url = format!("{}{path}", self.url());
            bound.then(|| credential.proof(method, &url, token, now)).transpose()
        };
        let jwt = credential.assertion(self.url(), now)?;
        let proof = prove("POST", TOKEN_PATH, None)?;
        let request = Request {
            client_id: None,
            proof: Proof::Assertion { jwt: &jwt, kind: Some(CLIENT_ASSERTION_TYPE) },
            scope: None,
            dpop: proof.as_deref(),
            certificate: None,
        };
        let token = self.token(request).await?.token;
        let proof = prove("GET", "/", Some(&token))?;
        let bare = Presented::bearer(&token);
        let claims = self.caller(&Presented { dpop: bound, proof: Ok(proof.as_deref()), ..bare }).await?;
        if claims.sub == credential.id() && claims.env.uuid() == scope.id {
            return Ok(());
        }
        Err(TokenError::Elsewhere.into())
    }
}
