//! Whether a client would get a token here, and be let in with it: found out by trying.

use tenants::contract::{Binding, ClientIntent, Method};
use tenants::environment::Mode;
use tenants::id::{ClientId, Id};

use super::Credential;
use super::directory::{Registration, RegistrationError};
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
    /// and is removed. It comes by a certificate, since of an assertion and a proof the tables would have to remember that
    /// they were used.
    ///
    /// # Errors
    /// Why not.
    pub async fn round_trip(&self, scope: Scope, mode: Mode) -> Result<(), ProbeError> {
        let now = self.0.clock.now();
        let id = ClientId::from_parts(now, random::bits());
        let credential = Credential::make(id)?.with_certificate(now)?;
        let certificate = credential.certificate().ok_or(BadKey)?;
        let client = ClientIntent {
            id,
            name: "probe".to_owned(),
            method: Method::Tls,
            keys: Vec::new(),
            thumbprints: credential.thumbprint().into_iter().collect(),
            secret_sha256: None,
            scopes: Vec::new(),
            binding: Binding::Certificate,
            epoch: 0,
            revoked: false,
            changed_at: None,
        };
        self.register(&Registration { scope, mode, client }).await?;
        let tried = self.comes_in(id, &certificate, scope).await;
        // Who has not heard of it yet within a second does: the key is gone with this call.
        self.0.store.remove_client(id, self.0.clock.now()).await?;
        tried
    }

    async fn comes_in(&self, id: ClientId, certificate: &[u8], scope: Scope) -> Result<(), ProbeError> {
        let (name, certificate) = (id.to_string(), Some(certificate));
        let request = Request {
            client_id: Some(&name),
            proof: Proof::Certificate,
            scope: None,
            dpop: None,
            certificate,
        };
        let token = self.token(request).await?.token;
        let bare = Presented::bearer(&token);
        // Without what it is bound to it must not be good.
        if self.caller(&bare).await.is_ok() {
            return Err(TokenError::Unbound.into());
        }
        let claims = self.caller(&Presented { certificate, ..bare }).await?;
        if claims.sub == id && claims.env.uuid() == scope.id {
            return Ok(());
        }
        Err(TokenError::Elsewhere.into())
    }
}
