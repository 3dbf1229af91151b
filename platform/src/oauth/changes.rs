//! What the replicas of an issuer share: its clients and its keys, by the number of the change.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::client::ClientId as Name;
use sea_orm::entity::prelude::*;
use sea_orm::{QueryOrder, Set};
use tenants::contract::ClientIntent;
use tenants::environment::Mode;
use tenants::id::ClientId;

use super::directory::{Registration, RegistrationError, name};
use super::keys::{Kept, PublicKey, Rotation, SigningKey, Stage, Step, plan};
use super::rows::{HOME, client, issuer, key};
use super::store::{self, StoreError, change, of_client};
use crate::ctx::Scope;
use crate::db::Tx;
use crate::keys::Keys;

/// The number of the newest change to clients and keys.
pub async fn version(tx: &Tx) -> Result<i64, DbErr> {
    let row = issuer::Entity::find().filter(issuer::Column::ShardId.eq(HOME.shard)).one(&**tx).await?;
    Ok(row.map_or(0, |row| row.version))
}

/// The clients that changed after the change `after`, in the order of their changes.
pub async fn clients_after(tx: &Tx, after: i64) -> Result<Vec<client::Model>, DbErr> {
    client::Entity::find()
        .filter(client::Column::ShardId.eq(HOME.shard))
        .filter(client::Column::Version.gt(after))
        .order_by_asc(client::Column::Version)
        .all(&**tx)
        .await
}

/// A client as it was registered.
pub async fn registration(tx: &Tx, id: ClientId) -> Result<Option<Registration>, DbErr> {
    let row = of_client(name(id).as_str()).one(&**tx).await?;
    Ok(row.and_then(|row| Registration::read(&row.entry?)))
}

/// Registers a client, or changes its registration to this one; whether there was anything to do. Its epoch never goes
/// back, and that of a client which was removed and comes again is past its removal.
pub async fn ensure_client(tx: &Tx, keys: &Keys, wanted: &Registration) -> Result<bool, RegistrationError> {
    // Most of the time nothing is to be done, and then nobody has to wait.
    if merged(tx, wanted).await?.is_none() {
        return Ok(false);
    }
    let version = change(tx).await?;
    let Some(merged) = merged(tx, wanted).await? else { return Ok(false) };
    let written = merged.written();
    store::put_client(tx, keys, &merged.engines()?, Some(written), version).await?;
    Ok(true)
}

/// What is to be written so that the client is as wanted; `None`: it is.
async fn merged(tx: &Tx, wanted: &Registration) -> Result<Option<Registration>, RegistrationError> {
    wanted.engines()?;
    let mut merged = wanted.clone();
    let Some(row) = of_client(name(wanted.client.id).as_str()).one(&**tx).await? else {
        return Ok(Some(merged));
    };
    let epoch = &mut merged.client.epoch;
    if let Some(removed) = row.removed_ns {
        *epoch = std::cmp::max(*epoch, removed / 1_000_000_000 + 1);
    }
    let Some(known) = row.entry.as_deref().and_then(Registration::read) else { return Ok(Some(merged)) };
    if known.scope != wanted.scope || known.mode != wanted.mode {
        return Err(RegistrationError::Elsewhere);
    }
    *epoch = std::cmp::max(*epoch, known.client.epoch);
    Ok((known != merged).then_some(merged))
}

/// Makes these clients, and no others, those of a scope; whether there was anything to do.
pub async fn ensure_clients(
    tx: &Tx,
    keys: &Keys,
    (scope, mode): (Scope, Mode),
    wanted: &[ClientIntent],
    now: DateTime<Utc>,
) -> Result<bool, RegistrationError> {
    let mut changed = false;
    for client in wanted {
        let registration = Registration { scope, mode, client: client.clone() };
        changed |= ensure_client(tx, keys, &registration).await?;
    }
    for known in store::names_of(tx, scope.id).await? {
        // What is no id of ours was not registered by us.
        let Ok(id) = known.parse::<ClientId>() else { continue };
        if wanted.iter().all(|client| client.id != id) {
            changed |= remove_client(tx, id, now).await?;
        }
    }
    Ok(changed)
}

/// Ends every token that a client was given until `now`; whether there is such a client.
pub async fn revoke_tokens(
    tx: &Tx,
    keys: &Keys,
    id: ClientId,
    now: DateTime<Utc>,
) -> Result<bool, RegistrationError> {
    let Some(mut known) = registration(tx, id).await? else { return Ok(false) };
    known.client.epoch = now.timestamp() + 1;
    ensure_client(tx, keys, &known).await?;
    Ok(true)
}

/// Removes a client and ends every token that it was given; whether there was one.
pub async fn remove_client(tx: &Tx, id: ClientId, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let name: Name = name(id);
    if registration(tx, id).await?.is_none() {
        return Ok(false);
    }
    let until = now + TimeDelta::seconds(i64::from(super::TTL_S));
    let window = oauth_as::store::RevocationWindow { recorded_at: now.into(), until: until.into() };
    store::delete_client(tx, &name, window).await
}

/// The name of a key's sealed column.
fn field(kid: &str) -> String {
    format!("oauth_key.body.{kid}")
}

fn us(at: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at).unwrap_or_default()
}

async fn key_rows(tx: &Tx) -> Result<Vec<key::Model>, DbErr> {
    key::Entity::find()
        .filter(key::Column::ShardId.eq(HOME.shard))
        .order_by_asc(key::Column::ActiveUs)
        .order_by_asc(key::Column::Kid)
        .all(&**tx)
        .await
}

fn kept(row: &key::Model) -> Result<Kept, StoreError> {
    let stage = Stage::named(&row.state).ok_or(StoreError::SigningKey(super::keys::BadKey))?;
    Ok(Kept {
        public: PublicKey { kid: row.kid.clone(), x: row.x.clone(), y: row.y.clone() },
        stage,
        active_at: us(row.active_us),
        retired_at: row.retired_us.map(us),
    })
}

/// The keys, and the private part of the one that signs.
pub async fn signing_keys(tx: &Tx, keys: &Keys) -> Result<Vec<(Kept, Option<SigningKey>)>, StoreError> {
    let mut read = Vec::new();
    for row in key_rows(tx).await? {
        let known = kept(&row)?;
        let mut signing = None;
        if known.stage == Stage::Active {
            let text: String = store::open(keys, &field(&row.kid), row.body)?;
            let der = STANDARD.decode(text).map_err(|_| super::keys::BadKey)?;
            signing = Some(SigningKey::read(&der)?);
        }
        read.push((known, signing));
    }
    Ok(read)
}

/// Does what is due with the keys at `now`; see [`plan`]. Whether anything was.
pub async fn rotate(
    tx: &Tx,
    keys: &Keys,
    rotation: &Rotation,
    now: DateTime<Utc>,
    at_once: Option<TimeDelta>,
) -> Result<bool, StoreError> {
    if due(tx, rotation, now, at_once).await?.is_empty() {
        return Ok(false);
    }
    // Whoever was here first has done it meanwhile.
    change(tx).await?;
    let steps = due(tx, rotation, now, at_once).await?;
    for step in &steps {
        match step {
            Step::First => make(tx, keys, Stage::Active, now).await?,
            Step::Announce(at) => make(tx, keys, Stage::Next, *at).await?,
            Step::Retire(kid) => set(tx, kid, Stage::Retired, key::Column::RetiredUs, now).await?,
            Step::Activate(kid) => set(tx, kid, Stage::Active, key::Column::ActiveUs, now).await?,
            Step::Forget(kid) => {
                key::Entity::delete_many()
                    .filter(key::Column::ShardId.eq(HOME.shard))
                    .filter(key::Column::Kid.eq(kid.as_str()))
                    .exec(&**tx)
                    .await?;
            }
        }
        tracing::info!(?step, "the keys that tokens are signed with changed");
    }
    Ok(!steps.is_empty())
}

async fn due(
    tx: &Tx,
    rotation: &Rotation,
    now: DateTime<Utc>,
    at_once: Option<TimeDelta>,
) -> Result<Vec<Step>, StoreError> {
    let known: Result<Vec<Kept>, StoreError> = key_rows(tx).await?.iter().map(kept).collect();
    Ok(plan(&known?, rotation, now, at_once))
}

async fn make(tx: &Tx, keys: &Keys, stage: Stage, active_at: DateTime<Utc>) -> Result<(), StoreError> {
    let (made, der) = SigningKey::make()?;
    let PublicKey { kid, x, y } = made.public();
    let row = key::ActiveModel {
        shard_id: Set(HOME.shard),
        body: Set(store::seal(keys, &field(&kid), &STANDARD.encode(der))?),
        kid: Set(kid),
        state: Set(stage.name().to_owned()),
        x: Set(x),
        y: Set(y),
        active_us: Set(active_at.timestamp_micros()),
        retired_us: Set(None),
    };
    key::Entity::insert(row).exec_without_returning(&**tx).await?;
    Ok(())
}

async fn set(
    tx: &Tx,
    kid: &str,
    stage: Stage,
    column: key::Column,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    key::Entity::update_many()
        .col_expr(key::Column::State, Expr::val(stage.name()))
        .col_expr(column, Expr::val(now.timestamp_micros()))
        .filter(key::Column::ShardId.eq(HOME.shard))
        .filter(key::Column::Kid.eq(kid))
        .exec(&**tx)
        .await?;
    Ok(())
}
