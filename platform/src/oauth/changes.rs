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

use super::directory::{Registration, RegistrationError, is_known, name};
use super::keys::{Kept, PublicKey, Rotation, SigningKey, Stage, Step, plan};
use super::rows::{HOME, client, issuer, key};
use super::store::{self, StoreError, change, of_client};
use crate::ctx::Scope;
use crate::db::Tx;
use crate::keys::DataKey;

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
/// back, and that of a client which was removed and comes again is past its removal. An epoch that was not asked for before
/// ends every token of before `now`, whatever the clock of who asks says: old credentials were good here until now.
pub async fn ensure_client(
    tx: &Tx,
    keys: &DataKey,
    wanted: &Registration,
    now: DateTime<Utc>,
) -> Result<bool, RegistrationError> {
    // Most of the time nothing is to be done, and then nobody has to wait.
    if merged(tx, wanted, now).await?.is_none() {
        return Ok(false);
    }
    let version = change(tx).await?;
    let Some((merged, asked)) = merged(tx, wanted, now).await? else { return Ok(false) };
    store::put_client(tx, keys, &merged.engines()?, Some(merged.written(asked)), version).await?;
    Ok(true)
}

/// What is to be written so that the client is as wanted, and the epoch that was asked for last; `None`: it is.
async fn merged(
    tx: &Tx,
    wanted: &Registration,
    now: DateTime<Utc>,
) -> Result<Option<(Registration, i64)>, RegistrationError> {
    wanted.engines()?;
    let (mut merged, asked) = (wanted.clone(), wanted.client.epoch);
    let Some(row) = of_client(name(wanted.client.id).as_str()).one(&**tx).await? else {
        return Ok(Some((merged, asked)));
    };
    let epoch = &mut merged.client.epoch;
    if let Some(removed) = row.removed_ns {
        *epoch = std::cmp::max(*epoch, removed / 1_000_000_000 + 1);
    }
    let Some((known, before)) = row.entry.as_deref().and_then(Registration::read_asked) else {
        return Ok(Some((merged, asked)));
    };
    if known.scope != wanted.scope || known.mode != wanted.mode {
        return Err(RegistrationError::Elsewhere);
    }
    if asked > before {
        *epoch = std::cmp::max(*epoch, now.timestamp() + 1);
    }
    *epoch = std::cmp::max(*epoch, known.client.epoch);
    let asked = std::cmp::max(asked, before);
    Ok((known != merged || asked != before).then_some((merged, asked)))
}

/// Removes the clients of a scope that are not among these; whether there was one.
pub async fn remove_others(
    tx: &Tx,
    scope: Scope,
    wanted: &[ClientIntent],
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let mut changed = false;
    for known in store::names_of(tx, scope.id).await? {
        // What is no id of ours was not registered by us.
        let Ok(id) = known.parse::<ClientId>() else { continue };
        if wanted.iter().all(|client| client.id != id) {
            changed |= remove_client(tx, id, now).await?;
        }
    }
    Ok(changed)
}

/// Makes these clients, and no others, those of a scope; whether there was anything to do. One whose method or binding
/// this build does not know stays as it is, and is in nobody's way.
pub async fn ensure_clients(
    tx: &Tx,
    keys: &DataKey,
    (scope, mode): (Scope, Mode),
    wanted: &[ClientIntent],
    now: DateTime<Utc>,
) -> Result<bool, RegistrationError> {
    let mut changed = remove_others(tx, scope, wanted, now).await?;
    for client in wanted {
        if !is_known(client) {
            tracing::warn!(client = %client.id, "the client's method or binding is unknown to this build");
            continue;
        }
        let registration = Registration { scope, mode, client: client.clone() };
        changed |= ensure_client(tx, keys, &registration, now).await?;
    }
    Ok(changed)
}

/// Ends every token that a client was given until `now`; whether there is such a client.
pub async fn revoke_tokens(
    tx: &Tx,
    keys: &DataKey,
    id: ClientId,
    now: DateTime<Utc>,
) -> Result<bool, RegistrationError> {
    let version = change(tx).await?;
    let entry = store::get_entry(tx, name(id).as_str()).await?;
    let Some((mut known, asked)) = entry.as_deref().and_then(Registration::read_asked) else {
        return Ok(false);
    };
    known.client.epoch = std::cmp::max(known.client.epoch, now.timestamp() + 1);
    store::put_client(tx, keys, &known.engines()?, Some(known.written(asked)), version).await?;
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
pub async fn signing_keys(tx: &Tx, keys: &DataKey) -> Result<Vec<(Kept, Option<SigningKey>)>, StoreError> {
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
    keys: &DataKey,
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

async fn make(tx: &Tx, keys: &DataKey, stage: Stage, active_at: DateTime<Utc>) -> Result<(), StoreError> {
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
