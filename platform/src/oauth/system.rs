//! The store that the protocol engine is given. Credentials belong to no scope until they are read, so its transactions
//! are the worker's; nothing here hands one environment's rows to another: every answer is about the credential or the
//! client that was asked for.

use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::authorization::{AuthorizationCodeRecord, AuthorizationCodeState};
use oauth_as::client::{Client, ClientId as Name};
use oauth_as::device::{DeviceGrant, DeviceGrantState};
use oauth_as::store::{RevocationWindow, Storage, StorageError, WriteOutcome};
use oauth_as::token::{IssuedToken, RefreshTokenRecord};
use sea_orm::DbErr;

use tenants::contract::ClientIntent;
use tenants::environment::Mode;
use tenants::id::ClientId;

use super::changes;
use super::directory::{Registration, RegistrationError};
use super::keys::{Kept, Rotation, SigningKey};
use super::rows::{HOME, client};
use super::store::{self, StoreError};
use crate::ctx::Scope;
use crate::db::{Db, Tx, retry};
use crate::keys::DataKey;

/// How long the row of a removed client stays: longer than any token that it was given, so that none is good again where
/// the client comes back. A replica that was cut off for longer remembers it, and issues it nothing.
const REMOVED_STAYS: TimeDelta = TimeDelta::hours(1);

/// An issuer's tables on either database. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    db: Db,
    keys: Arc<DataKey>,
}

impl Store {
    /// The store of the issuer in this database; rows are sealed with `keys`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn open(db: Db, keys: Arc<DataKey>) -> Result<Self, DbErr> {
        retry(|| async {
            let tx = db.begin_system().await?;
            store::found(&tx).await?;
            tx.commit().await
        })
        .await?;
        Ok(Self { db, keys })
    }
}

/// The engine keeps a text only; the log gets the causes.
fn lost(error: StoreError) -> StorageError {
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    StorageError::new(format!("{error}: {cause}"))
}

/// Runs `body` in a transaction of its own, again if others were in its way.
macro_rules! unit {
    ($db:expr, |$tx:ident| $body:expr) => {
        retry(|| async {
            let $tx = $db.begin_system().await?;
            let done = $body.await?;
            $tx.commit().await?;
            Ok::<_, StoreError>(done)
        })
        .await
    };
}

/// Clients and keys.
impl Store {
    /// Registers a client in the caller's transaction (of the worker), or changes it to be so; whether there was
    /// anything to do. After the commit let the issuer [refresh](super::Issuer::refresh), or it knows within a second.
    ///
    /// # Errors
    /// It cannot be registered so, or the database failed.
    pub async fn ensure_client_in_tx(
        &self,
        tx: &Tx,
        registration: &Registration,
        now: DateTime<Utc>,
    ) -> Result<bool, RegistrationError> {
        changes::ensure_client(tx, &self.keys, registration, now).await
    }

    /// [`Store::ensure_client_in_tx`] in a transaction of its own.
    ///
    /// # Errors
    /// As that.
    pub async fn ensure_client(
        &self,
        registration: &Registration,
        now: DateTime<Utc>,
    ) -> Result<bool, RegistrationError> {
        retry(|| async {
            let tx = self.db.begin_system().await?;
            let changed = self.ensure_client_in_tx(&tx, registration, now).await?;
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    /// Lets nobody else change clients until the end of the caller's transaction (of the worker): what is read from now
    /// on of who is wanted is the newest, and the last one who reads is the last one who writes.
    ///
    /// # Errors
    /// The database failed.
    pub async fn hold_in_tx(&self, tx: &Tx) -> Result<(), DbErr> {
        store::alone(tx).await.map(drop)
    }

    /// Removes the clients of a scope that are not among these, in the caller's transaction (of the worker), with every
    /// token that they were given, and makes those of these that are known there as they are wanted: revoked, with a later
    /// epoch, with other credentials. Nobody new is let in. Whether there was anything to do. After the commit as with
    /// [`Store::ensure_client_in_tx`].
    ///
    /// # Errors
    /// The database failed.
    pub async fn withdraw_in_tx(
        &self,
        tx: &Tx,
        whose: (Scope, Mode),
        wanted: &[ClientIntent],
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        changes::withdraw(tx, &self.keys, whose, wanted, now).await
    }

    /// Makes these clients, and no others, those of a scope, in the caller's transaction (of the worker); whether there
    /// was anything to do. One that [is not known](super::is_known) stays as it is. After the commit as with
    /// [`Store::ensure_client_in_tx`].
    ///
    /// # Errors
    /// One of them cannot be registered so, or the database failed.
    pub async fn ensure_clients_in_tx(
        &self,
        tx: &Tx,
        whose: (Scope, Mode),
        wanted: &[ClientIntent],
        now: DateTime<Utc>,
    ) -> Result<bool, RegistrationError> {
        changes::ensure_clients(tx, &self.keys, whose, wanted, now).await
    }

    /// [`Store::ensure_clients_in_tx`] in a transaction of its own.
    pub(super) async fn ensure_clients(
        &self,
        whose: (Scope, Mode),
        wanted: &[ClientIntent],
        now: DateTime<Utc>,
    ) -> Result<bool, RegistrationError> {
        retry(|| async {
            let tx = self.db.begin_system().await?;
            let changed = self.ensure_clients_in_tx(&tx, whose, wanted, now).await?;
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }

    /// [`Store::remove_client_in_tx`] in a transaction of its own.
    pub(super) async fn remove_client(&self, id: ClientId, now: DateTime<Utc>) -> Result<bool, StoreError> {
        unit!(self.db, |tx| changes::remove_client(&tx, id, now))
    }

    /// Ends, in the caller's transaction (of the worker), every token that a client was given until `now`; whether
    /// there is such a client. It can ask for new ones a second later.
    ///
    /// # Errors
    /// The database failed.
    pub async fn revoke_tokens_in_tx(
        &self,
        tx: &Tx,
        id: ClientId,
        now: DateTime<Utc>,
    ) -> Result<bool, RegistrationError> {
        changes::revoke_tokens(tx, &self.keys, id, now).await
    }

    /// Removes a client in the caller's transaction (of the worker), with every token that it was given; whether there
    /// was one.
    ///
    /// # Errors
    /// The database failed.
    pub async fn remove_client_in_tx(
        &self,
        tx: &Tx,
        id: ClientId,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        changes::remove_client(tx, id, now).await
    }

    /// A client as it is registered.
    ///
    /// # Errors
    /// The database failed.
    pub async fn registration(&self, id: ClientId) -> Result<Option<Registration>, StoreError> {
        unit!(self.db, |tx| async { Ok::<_, StoreError>(changes::registration(&tx, id).await?) })
    }

    /// The number of the newest change.
    pub(super) async fn version(&self) -> Result<i64, DbErr> {
        let tx = self.db.begin_read(HOME).await?;
        let version = changes::version(&tx).await?;
        tx.commit().await?;
        Ok(version)
    }

    /// The clients that changed after `after`, and all keys.
    pub(super) async fn changes(
        &self,
        after: i64,
    ) -> Result<(Vec<client::Model>, Vec<(Kept, Option<SigningKey>)>), StoreError> {
        unit!(self.db, |tx| async {
            let clients = changes::clients_after(&tx, after).await?;
            Ok::<_, StoreError>((clients, changes::signing_keys(&tx, &self.keys).await?))
        })
    }

    /// Does what is due with the keys.
    pub(super) async fn rotate(
        &self,
        rotation: &Rotation,
        now: DateTime<Utc>,
        at_once: Option<TimeDelta>,
    ) -> Result<bool, StoreError> {
        unit!(self.db, |tx| changes::rotate(&tx, &self.keys, rotation, now, at_once))
    }

    /// Makes a key in the place of all that are there.
    pub(super) async fn replace_keys(&self, now: DateTime<Utc>) -> Result<(), StoreError> {
        unit!(self.db, |tx| changes::replace_keys(&tx, &self.keys, now))
    }
}

impl Storage for Store {
    async fn get_client(&self, client_id: &Name) -> Result<Option<Arc<Client>>, StorageError> {
        let found = unit!(self.db, |tx| store::get_client(&tx, &self.keys, client_id)).map_err(lost)?;
        Ok(found.map(Arc::new))
    }

    async fn put_client(&self, client: Client) -> Result<(), StorageError> {
        unit!(self.db, |tx| async {
            let version = store::change(&tx).await?;
            store::put_client(&tx, &self.keys, &client, None, version).await
        })
        .map_err(lost)
    }

    async fn compare_and_swap_client(
        &self,
        expected: &Client,
        updated: Client,
    ) -> Result<bool, StorageError> {
        unit!(self.db, |tx| store::swap_client(&tx, &self.keys, expected, &updated)).map_err(lost)
    }

    async fn delete_client(&self, client_id: &Name, window: RevocationWindow) -> Result<bool, StorageError> {
        unit!(self.db, |tx| store::delete_client(&tx, client_id, window)).map_err(lost)
    }

    async fn put_device_grant(&self, grant: DeviceGrant) -> Result<(), StorageError> {
        unit!(self.db, |tx| store::put(&tx, &self.keys, &grant)).map_err(lost)
    }

    async fn get_device_grant(&self, device_code: &str) -> Result<Option<DeviceGrant>, StorageError> {
        unit!(self.db, |tx| store::get(&tx, &self.keys, device_code)).map_err(lost)
    }

    async fn find_device_grant_by_user_code(
        &self,
        normalized_user_code: &str,
    ) -> Result<Option<DeviceGrant>, StorageError> {
        unit!(self.db, |tx| store::device_by_user_code(&tx, &self.keys, normalized_user_code)).map_err(lost)
    }

    async fn take_device_grant(&self, device_code: &str) -> Result<Option<DeviceGrant>, StorageError> {
        unit!(self.db, |tx| store::take(&tx, &self.keys, device_code)).map_err(lost)
    }

    async fn compare_and_swap_device_grant(
        &self,
        expected: &DeviceGrantState,
        updated: DeviceGrant,
    ) -> Result<bool, StorageError> {
        unit!(self.db, |tx| store::swap_device(&tx, &self.keys, expected, &updated)).map_err(lost)
    }

    async fn put_authorization_code(&self, record: AuthorizationCodeRecord) -> Result<(), StorageError> {
        unit!(self.db, |tx| store::put(&tx, &self.keys, &record)).map_err(lost)
    }

    async fn compare_and_swap_authorization_code(
        &self,
        expected: &AuthorizationCodeState,
        updated: AuthorizationCodeRecord,
    ) -> Result<bool, StorageError> {
        unit!(self.db, |tx| store::swap_code(&tx, &self.keys, expected, &updated)).map_err(lost)
    }

    async fn take_authorization_code(
        &self,
        code: &str,
    ) -> Result<Option<AuthorizationCodeRecord>, StorageError> {
        unit!(self.db, |tx| store::take(&tx, &self.keys, code)).map_err(lost)
    }

    async fn put_token(&self, token: IssuedToken) -> Result<WriteOutcome, StorageError> {
        let established = token.grant_established_at;
        unit!(self.db, |tx| store::put_unless_revoked(&tx, &self.keys, &token, established)).map_err(lost)
    }

    async fn get_token(&self, access_token: &str) -> Result<Option<Arc<IssuedToken>>, StorageError> {
        let found = unit!(self.db, |tx| store::get(&tx, &self.keys, access_token)).map_err(lost)?;
        Ok(found.map(Arc::new))
    }

    async fn delete_token(&self, access_token: &str) -> Result<(), StorageError> {
        unit!(self.db, |tx| store::delete::<IssuedToken>(&tx, access_token)).map_err(lost)
    }

    async fn put_refresh_token(&self, record: RefreshTokenRecord) -> Result<WriteOutcome, StorageError> {
        let established = record.grant_established_at;
        unit!(self.db, |tx| store::put_unless_revoked(&tx, &self.keys, &record, established)).map_err(lost)
    }

    async fn get_refresh_token(
        &self,
        refresh_token: &str,
    ) -> Result<Option<Arc<RefreshTokenRecord>>, StorageError> {
        let found = unit!(self.db, |tx| store::get(&tx, &self.keys, refresh_token)).map_err(lost)?;
        Ok(found.map(Arc::new))
    }

    async fn rotate_refresh_token(
        &self,
        expected: &RefreshTokenRecord,
        spent: &RefreshTokenRecord,
        access: &IssuedToken,
        next: Option<&RefreshTokenRecord>,
    ) -> Result<bool, StorageError> {
        unit!(self.db, |tx| store::rotate(&tx, &self.keys, expected, spent, access, next)).map_err(lost)
    }

    async fn take_refresh_token(
        &self,
        refresh_token: &str,
    ) -> Result<Option<RefreshTokenRecord>, StorageError> {
        unit!(self.db, |tx| store::take(&tx, &self.keys, refresh_token)).map_err(lost)
    }

    async fn revoke_token_family(
        &self,
        family_id: &str,
        window: RevocationWindow,
    ) -> Result<u64, StorageError> {
        unit!(self.db, |tx| store::revoke_family(&tx, family_id, window)).map_err(lost)
    }

    async fn claim_replay_id(&self, id: &str, expires_at: SystemTime) -> Result<bool, StorageError> {
        unit!(self.db, |tx| store::claim(&tx, id, expires_at)).map_err(lost)
    }

    async fn sweep_expired(&self, now: SystemTime) -> Result<u64, StorageError> {
        unit!(self.db, |tx| store::sweep(&tx, store::ns(now))).map_err(lost)
    }
}

/// Forgets tokens, codes, used identifiers and revocations that have ended at `now`, and clients that were removed an
/// hour before; how many rows but for those of clients.
///
/// # Errors
/// The database failed.
pub async fn forget_ended(db: &Db, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let before = now.checked_sub_signed(REMOVED_STAYS).unwrap_or(now);
    retry(|| async {
        let tx = db.begin_system().await?;
        let ended = store::sweep(&tx, store::ns(now.into())).await?;
        store::sweep_clients(&tx, store::ns(before.into())).await?;
        tx.commit().await?;
        Ok(ended)
    })
    .await
}
