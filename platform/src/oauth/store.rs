//! Statements on the tables of an issuer, inside a transaction of `system.rs`.
//!
//! What makes a revocation final: it holds the issuer's row exclusively, and every write that a revocation may forbid
//! holds it shared, from before it looks at the barriers until its commit.

use std::time::SystemTime;

use oauth_as::authorization::{AuthorizationCodeRecord, AuthorizationCodeState};
use oauth_as::client::{Client, ClientId};
use oauth_as::device::{DeviceGrant, DeviceGrantState, normalize_user_code};
use oauth_as::store::{RevocationWindow, WriteOutcome};
use oauth_as::token::{IssuedToken, RefreshTokenRecord};
use sea_orm::entity::prelude::*;
use sea_orm::sea_query::OnConflict;
use sea_orm::{QueryOrder, QuerySelect};
use sea_orm::{Set, TryInsertResult};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::directory::Registration;
use super::rows::{HOME, barrier, client, issuer, record, replay};
use crate::db::Tx;
use crate::hash::sha256;
use crate::keys::{DataKey, KeyError};
use crate::sealed::Sealed;

/// Client ids longer than this are nobody's.
const LONGEST_ID: usize = 256;

/// Why a statement did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// A row cannot be sealed or opened.
    #[error("a row of the issuer cannot be read: {0}")]
    Key(#[from] KeyError),
    /// A signing key cannot be made or read.
    #[error(transparent)]
    SigningKey(#[from] super::keys::BadKey),
    /// A revocation has to say of whom.
    #[error("a revocation needs a name")]
    Nameless,
    /// The code that a person types belongs to another device.
    #[error("the user code is another device's")]
    UserCodeTaken,
}

type Result<T, E = StoreError> = std::result::Result<T, E>;

pub(super) fn ns(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// What a stored thing is to the tables.
pub trait Stored: Serialize + DeserializeOwned {
    /// Its kind.
    const KIND: &'static str;
    /// The credential it is found by.
    fn credential(&self) -> &str;
    /// Whose it is.
    fn client(&self) -> &ClientId;
    /// The chain of tokens it is of.
    fn family(&self) -> Option<&str> {
        None
    }
    /// What a person's code for it is found by.
    fn user_code(&self) -> Option<String> {
        None
    }
    /// When it is dead.
    fn expires(&self) -> Option<SystemTime>;
}

impl Stored for DeviceGrant {
    const KIND: &'static str = "device";
    fn credential(&self) -> &str {
        &self.device_code
    }
    fn client(&self) -> &ClientId {
        &self.client_id
    }
    fn user_code(&self) -> Option<String> {
        Some(user_code(&normalize_user_code(&self.user_code)))
    }
    fn expires(&self) -> Option<SystemTime> {
        Some(self.expires_at)
    }
}

impl Stored for AuthorizationCodeRecord {
    const KIND: &'static str = "code";
    fn credential(&self) -> &str {
        &self.code
    }
    fn client(&self) -> &ClientId {
        &self.client_id
    }
    fn expires(&self) -> Option<SystemTime> {
        Some(self.expires_at)
    }
}

impl Stored for IssuedToken {
    const KIND: &'static str = "token";
    fn credential(&self) -> &str {
        &self.access_token
    }
    fn client(&self) -> &ClientId {
        &self.client_id
    }
    fn family(&self) -> Option<&str> {
        self.family_id.as_deref()
    }
    fn expires(&self) -> Option<SystemTime> {
        Some(self.expires_at)
    }
}

impl Stored for RefreshTokenRecord {
    const KIND: &'static str = "refresh";
    fn credential(&self) -> &str {
        &self.refresh_token
    }
    fn client(&self) -> &ClientId {
        &self.client_id
    }
    fn family(&self) -> Option<&str> {
        Some(&self.family_id)
    }
    fn expires(&self) -> Option<SystemTime> {
        self.expires_at
    }
}

/// What a user code is found by.
pub fn user_code(normalized: &str) -> String {
    sha256(normalized)
}

/// The name of a sealed column: it is bound to its row.
fn field(table: &str, kind: &str, key: &str) -> String {
    format!("{table}.{kind}.{key}")
}

pub(super) fn seal<T: Serialize>(keys: &DataKey, field: &str, value: &T) -> Result<Vec<u8>> {
    Ok(keys.seal(field, value)?.bytes().to_vec())
}

pub(super) fn open<T: DeserializeOwned>(keys: &DataKey, field: &str, bytes: Vec<u8>) -> Result<T> {
    Ok(keys.open(field, &Sealed::from_bytes(bytes))?)
}

/// Makes the issuer's row if it is not there.
pub async fn found(tx: &Tx) -> Result<(), DbErr> {
    let row = issuer::ActiveModel { shard_id: Set(HOME.shard), version: Set(0) };
    let there = OnConflict::column(issuer::Column::ShardId).do_nothing().to_owned();
    issuer::Entity::insert(row).on_conflict(there).try_insert().exec_without_returning(&**tx).await?;
    Ok(())
}

fn the_issuer() -> Select<issuer::Entity> {
    issuer::Entity::find().filter(issuer::Column::ShardId.eq(HOME.shard))
}

/// Lets nobody revoke until the end of this transaction.
async fn share(tx: &Tx) -> Result<(), DbErr> {
    the_issuer().lock_shared().one(&**tx).await.map(drop)
}

/// Lets nobody issue, revoke or change anything until the end of this transaction; the number of the newest change.
pub async fn alone(tx: &Tx) -> Result<i64, DbErr> {
    Ok(the_issuer().lock_exclusive().one(&**tx).await?.map_or(0, |row| row.version))
}

/// [`alone`], and a change; its number.
pub async fn change(tx: &Tx) -> Result<i64, DbErr> {
    let version = alone(tx).await? + 1;
    issuer::Entity::update_many()
        .col_expr(issuer::Column::Version, Expr::val(version))
        .filter(issuer::Column::ShardId.eq(HOME.shard))
        .exec(&**tx)
        .await?;
    Ok(version)
}

pub(super) fn of_client(id: &str) -> Select<client::Entity> {
    client::Entity::find()
        .filter(client::Column::ShardId.eq(HOME.shard))
        .filter(client::Column::ClientId.eq(id))
}

/// Strangers choose what they ask for; what cannot be a name is nobody's.
fn impossible(id: &str) -> bool {
    id.len() > LONGEST_ID || id.contains('\0')
}

/// A registration.
pub async fn get_client(tx: &Tx, keys: &DataKey, id: &ClientId) -> Result<Option<Client>> {
    if impossible(id.as_str()) {
        return Ok(None);
    }
    let body = of_client(id.as_str()).one(&**tx).await?.and_then(|row| row.body);
    body.map(|body| open(keys, &field("oauth_client", "", id.as_str()), body)).transpose()
}

/// What is known of a client besides its registration.
pub async fn get_entry(tx: &Tx, id: &str) -> Result<Option<String>, DbErr> {
    Ok(of_client(id).one(&**tx).await?.and_then(|row| row.entry))
}

/// Writes a registration, and its entry if there is one, as the change `version`.
pub async fn put_client(
    tx: &Tx,
    keys: &DataKey,
    client: &Client,
    entry: Option<String>,
    version: i64,
) -> Result<()> {
    let id = client.client_id.as_str();
    let row = client::ActiveModel {
        shard_id: Set(HOME.shard),
        client_id: Set(id.to_owned()),
        scope_id: Set(entry.as_deref().and_then(Registration::read).map(|known| known.scope.id)),
        body: Set(Some(seal(keys, &field("oauth_client", "", id), client)?)),
        entry: Set(entry),
        version: Set(version),
        removed_ns: Set(None),
    };
    use client::Column as C;
    let again = OnConflict::columns([C::ShardId, C::ClientId])
        .update_columns([C::ScopeId, C::Body, C::Entry, C::Version, C::RemovedNs])
        .to_owned();
    client::Entity::insert(row).on_conflict(again).exec_without_returning(&**tx).await?;
    Ok(())
}

/// The clients of a scope that were not removed.
pub async fn clients_of(tx: &Tx, scope: Uuid) -> Result<Vec<client::Model>, DbErr> {
    client::Entity::find()
        .filter(client::Column::ShardId.eq(HOME.shard))
        .filter(client::Column::ScopeId.eq(scope))
        .filter(client::Column::Body.is_not_null())
        .order_by_asc(client::Column::ClientId)
        .all(&**tx)
        .await
}

/// Replaces a registration that is still what the caller thinks.
pub async fn swap_client(tx: &Tx, keys: &DataKey, expected: &Client, updated: &Client) -> Result<bool> {
    let version = change(tx).await?;
    if get_client(tx, keys, &updated.client_id).await?.as_ref() != Some(expected) {
        return Ok(false);
    }
    let entry = get_entry(tx, updated.client_id.as_str()).await?;
    put_client(tx, keys, updated, entry, version).await?;
    Ok(true)
}

/// Removes a registration and all that it was given, and remembers that.
pub async fn delete_client(tx: &Tx, id: &ClientId, window: RevocationWindow) -> Result<bool> {
    if id.as_str().is_empty() {
        return Err(StoreError::Nameless);
    }
    let version = change(tx).await?;
    end_grants(tx, id, window).await?;
    use client::Column as C;
    let removed = client::Entity::update_many()
        .col_expr(C::Body, Expr::val(None::<Vec<u8>>))
        .col_expr(C::Entry, Expr::val(None::<String>))
        .col_expr(C::Version, Expr::val(version))
        .col_expr(C::RemovedNs, Expr::val(ns(window.recorded_at)))
        .filter(C::ShardId.eq(HOME.shard))
        .filter(C::ClientId.eq(id.as_str()))
        .filter(C::Body.is_not_null())
        .exec(&**tx)
        .await?;
    Ok(removed.rows_affected > 0)
}

/// Removes all that a client was given, and remembers that. The issuer's row is held exclusively.
pub async fn end_grants(tx: &Tx, id: &ClientId, window: RevocationWindow) -> Result<()> {
    raise(tx, CLIENT, id.as_str(), window).await?;
    record::Entity::delete_many()
        .filter(record::Column::ShardId.eq(HOME.shard))
        .filter(record::Column::ClientId.eq(id.as_str()))
        .exec(&**tx)
        .await?;
    Ok(())
}

const CLIENT: &str = "client";
const FAMILY: &str = "family";

fn barrier_of(kind: &str, name: &str) -> Select<barrier::Entity> {
    barrier::Entity::find()
        .filter(barrier::Column::ShardId.eq(HOME.shard))
        .filter(barrier::Column::Kind.eq(kind))
        .filter(barrier::Column::Name.eq(name))
}

/// Remembers a revocation; one that is remembered already is never shortened. The issuer's row is held exclusively.
async fn raise(tx: &Tx, kind: &str, name: &str, window: RevocationWindow) -> Result<(), DbErr> {
    use barrier::Column as C;
    let (mut recorded_ns, mut until_ns) = (ns(window.recorded_at), ns(window.until));
    if let Some(earlier) = barrier_of(kind, name).one(&**tx).await? {
        recorded_ns = std::cmp::max(recorded_ns, earlier.recorded_ns);
        until_ns = std::cmp::max(until_ns, earlier.until_ns);
    }
    let row = barrier::ActiveModel {
        shard_id: Set(HOME.shard),
        kind: Set(kind.to_owned()),
        name: Set(name.to_owned()),
        recorded_ns: Set(recorded_ns),
        until_ns: Set(until_ns),
    };
    let again = OnConflict::columns([C::ShardId, C::Kind, C::Name])
        .update_columns([C::RecordedNs, C::UntilNs])
        .to_owned();
    barrier::Entity::insert(row).on_conflict(again).exec_without_returning(&**tx).await?;
    Ok(())
}

/// Whether what `client` and `family` were given at `established` has been revoked. The issuer's row is held.
async fn revoked(
    tx: &Tx,
    client: &ClientId,
    family: Option<&str>,
    established: SystemTime,
) -> Result<bool, DbErr> {
    if let Some(barrier) = barrier_of(CLIENT, client.as_str()).one(&**tx).await? {
        // A client that was removed and not registered again has nothing, whenever it was given.
        let there = of_client(client.as_str()).filter(client::Column::Body.is_not_null());
        if ns(established) <= barrier.recorded_ns || there.one(&**tx).await?.is_none() {
            return Ok(true);
        }
    }
    match family {
        Some(family) => Ok(barrier_of(FAMILY, family).one(&**tx).await?.is_some()),
        None => Ok(false),
    }
}

fn record_of<T: Stored>(credential: &str) -> Select<record::Entity> {
    record::Entity::find()
        .filter(record::Column::ShardId.eq(HOME.shard))
        .filter(record::Column::Kind.eq(T::KIND))
        .filter(record::Column::Key.eq(sha256(credential)))
}

fn read<T: Stored>(keys: &DataKey, row: record::Model) -> Result<T> {
    open(keys, &field("oauth_record", &row.kind, &row.key), row.body)
}

/// The record of this credential.
pub async fn get<T: Stored>(tx: &Tx, keys: &DataKey, credential: &str) -> Result<Option<T>> {
    record_of::<T>(credential).one(&**tx).await?.map(|row| read(keys, row)).transpose()
}

/// The record of this credential, which nobody else changes until the end of the transaction.
async fn hold<T: Stored>(tx: &Tx, keys: &DataKey, credential: &str) -> Result<Option<T>> {
    record_of::<T>(credential).lock_exclusive().one(&**tx).await?.map(|row| read(keys, row)).transpose()
}

/// Writes a record.
pub async fn put<T: Stored>(tx: &Tx, keys: &DataKey, value: &T) -> Result<()> {
    use record::Column as C;
    let key = sha256(value.credential());
    let body = seal(keys, &field("oauth_record", T::KIND, &key), value)?;
    let row = record::ActiveModel {
        shard_id: Set(HOME.shard),
        kind: Set(T::KIND.to_owned()),
        key: Set(key),
        client_id: Set(value.client().as_str().to_owned()),
        family: Set(value.family().map(str::to_owned)),
        user_code: Set(value.user_code()),
        body: Set(body),
        expires_ns: Set(value.expires().map(ns)),
    };
    let again = OnConflict::columns([C::ShardId, C::Kind, C::Key])
        .update_columns([C::ClientId, C::Family, C::UserCode, C::Body, C::ExpiresNs])
        .to_owned();
    let written = record::Entity::insert(row).on_conflict(again).exec_without_returning(&**tx).await;
    match written {
        Err(error) if crate::db::is_unique_violation(&error) => Err(StoreError::UserCodeTaken),
        written => Ok(written.map(drop)?),
    }
}

/// Removes the record of this credential and returns it; exactly one caller gets it.
pub async fn take<T: Stored>(tx: &Tx, keys: &DataKey, credential: &str) -> Result<Option<T>> {
    let Some(found) = hold(tx, keys, credential).await? else { return Ok(None) };
    delete::<T>(tx, credential).await?;
    Ok(Some(found))
}

/// Removes the record of this credential, if there is one.
pub async fn delete<T: Stored>(tx: &Tx, credential: &str) -> Result<(), DbErr> {
    record::Entity::delete_many()
        .filter(record::Column::ShardId.eq(HOME.shard))
        .filter(record::Column::Kind.eq(T::KIND))
        .filter(record::Column::Key.eq(sha256(credential)))
        .exec(&**tx)
        .await
        .map(drop)
}

/// The grant of the device that shows this code.
pub async fn device_by_user_code(tx: &Tx, keys: &DataKey, normalized: &str) -> Result<Option<DeviceGrant>> {
    let row = record::Entity::find()
        .filter(record::Column::ShardId.eq(HOME.shard))
        .filter(record::Column::UserCode.eq(user_code(normalized)))
        .one(&**tx)
        .await?;
    row.map(|row| read(keys, row)).transpose()
}

/// Replaces a device's grant that is still in this state.
pub async fn swap_device(
    tx: &Tx,
    keys: &DataKey,
    expected: &DeviceGrantState,
    updated: &DeviceGrant,
) -> Result<bool> {
    let found: Option<DeviceGrant> = hold(tx, keys, &updated.device_code).await?;
    if found.is_none_or(|grant| grant.state != *expected) {
        return Ok(false);
    }
    put(tx, keys, updated).await?;
    Ok(true)
}

/// Replaces a code's record that is still in this state.
pub async fn swap_code(
    tx: &Tx,
    keys: &DataKey,
    expected: &AuthorizationCodeState,
    updated: &AuthorizationCodeRecord,
) -> Result<bool> {
    let found: Option<AuthorizationCodeRecord> = hold(tx, keys, &updated.code).await?;
    if found.is_none_or(|record| record.state != *expected) {
        return Ok(false);
    }
    put(tx, keys, updated).await?;
    Ok(true)
}

/// Writes a token or refresh record, unless it was revoked before it came to be.
pub async fn put_unless_revoked<T: Stored>(
    tx: &Tx,
    keys: &DataKey,
    value: &T,
    established: SystemTime,
) -> Result<WriteOutcome> {
    share(tx).await?;
    if revoked(tx, value.client(), value.family(), established).await? {
        return Ok(WriteOutcome::RefusedRevoked);
    }
    put(tx, keys, value).await?;
    Ok(WriteOutcome::Applied)
}

/// Replaces a refresh record that is still what the caller thinks by its spent self, and writes what it was spent for.
pub async fn rotate(
    tx: &Tx,
    keys: &DataKey,
    expected: &RefreshTokenRecord,
    spent: &RefreshTokenRecord,
    access: &IssuedToken,
    next: Option<&RefreshTokenRecord>,
) -> Result<bool> {
    share(tx).await?;
    let found: Option<RefreshTokenRecord> = hold(tx, keys, &expected.refresh_token).await?;
    let (family, established) = (Some(&*expected.family_id), expected.grant_established_at);
    if found.as_ref() != Some(expected) || revoked(tx, &expected.client_id, family, established).await? {
        return Ok(false);
    }
    put(tx, keys, spent).await?;
    put(tx, keys, access).await?;
    if let Some(next) = next {
        put(tx, keys, next).await?;
    }
    Ok(true)
}

/// Removes every token of a family, and remembers that; how many there were.
pub async fn revoke_family(tx: &Tx, family: &str, window: RevocationWindow) -> Result<u64> {
    if family.is_empty() {
        return Err(StoreError::Nameless);
    }
    the_issuer().lock_exclusive().one(&**tx).await?;
    raise(tx, FAMILY, family, window).await?;
    let removed = record::Entity::delete_many()
        .filter(record::Column::ShardId.eq(HOME.shard))
        .filter(record::Column::Family.eq(family))
        .exec(&**tx)
        .await?;
    Ok(removed.rows_affected)
}

/// Takes an identifier for the first and only time. `false`: it was used.
pub async fn claim(tx: &Tx, id: &str, expires_at: SystemTime) -> Result<bool, DbErr> {
    let row = replay::ActiveModel {
        shard_id: Set(HOME.shard),
        key: Set(sha256(id)),
        expires_ns: Set(ns(expires_at)),
    };
    let used = OnConflict::columns([replay::Column::ShardId, replay::Column::Key]).do_nothing().to_owned();
    let inserted = replay::Entity::insert(row).on_conflict(used).try_insert();
    let inserted = inserted.exec_without_returning(&**tx).await?;
    Ok(matches!(inserted, TryInsertResult::Inserted(rows) if rows > 0))
}

/// Removes what has ended at `now`; how many rows.
pub async fn sweep(tx: &Tx, now: i64) -> Result<u64, DbErr> {
    let records = record::Entity::delete_many()
        .filter(record::Column::ShardId.eq(HOME.shard))
        .filter(record::Column::ExpiresNs.lte(now))
        .exec(&**tx)
        .await?;
    let used = replay::Entity::delete_many()
        .filter(replay::Column::ShardId.eq(HOME.shard))
        .filter(replay::Column::ExpiresNs.lte(now))
        .exec(&**tx)
        .await?;
    let barriers = barrier::Entity::delete_many()
        .filter(barrier::Column::ShardId.eq(HOME.shard))
        .filter(barrier::Column::UntilNs.lte(now))
        .exec(&**tx)
        .await?;
    Ok(records.rows_affected + used.rows_affected + barriers.rows_affected)
}

/// Removes the rows of clients that were removed before `before`: every replica knows by then.
pub async fn sweep_clients(tx: &Tx, before: i64) -> Result<(), DbErr> {
    client::Entity::delete_many()
        .filter(client::Column::ShardId.eq(HOME.shard))
        .filter(client::Column::RemovedNs.lte(before))
        .exec(&**tx)
        .await
        .map(drop)
}
