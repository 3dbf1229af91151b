//! What the replicas of an issuer share: its clients and its keys, by the number of the change.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use oauth_as::client::ClientId as Name;
use oauth_as::store::RevocationWindow;
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
/// back, one that is revoked stays so, and the epoch of one which was removed and comes again is past its removal. An epoch
/// that was not asked for before ends every token of before `now`, whatever the clock of who asks says: old credentials
/// were good here until now.
pub async fn ensure_client(
    tx: &Tx,
    keys: &DataKey,
    wanted: &Registration,
    now: DateTime<Utc>,
) -> Result<bool, RegistrationError> {
    let row = async || of_client(name(wanted.client.id).as_str()).one(&**tx).await;
    // Most of the time nothing is to be done, and then nobody has to wait.
    if merged(row().await?.as_ref(), wanted, now)?.is_none() {
        return Ok(false);
    }
    let version = change(tx).await?;
    let Some(merged) = merged(row().await?.as_ref(), wanted, now)? else { return Ok(false) };
    put(tx, keys, &merged, version, now).await?;
    Ok(true)
}

/// Writes a registration, and the epoch that was asked for last; who is revoked in it loses all that it was given.
async fn put(
    tx: &Tx,
    keys: &DataKey,
    (registration, asked): &(Registration, i64),
    version: i64,
    now: DateTime<Utc>,
) -> Result<(), RegistrationError> {
    let client = registration.engines()?;
    store::put_client(tx, keys, &client, Some(registration.written(*asked)), version).await?;
    if registration.client.revoked {
        store::end_grants(tx, &client.client_id, window(now)).await?;
    }
    Ok(())
}

/// What a revocation at `now` covers.
fn window(now: DateTime<Utc>) -> RevocationWindow {
    let until = now + TimeDelta::seconds(i64::from(super::TTL_S));
    RevocationWindow { recorded_at: now.into(), until: until.into() }
}

/// What is to be written so that the client of this row is as wanted, and the epoch that was asked for last; `None`: it
/// is.
fn merged(
    row: Option<&client::Model>,
    wanted: &Registration,
    now: DateTime<Utc>,
) -> Result<Option<(Registration, i64)>, RegistrationError> {
    wanted.engines()?;
    let (mut merged, asked) = (wanted.clone(), wanted.client.epoch);
    let Some(row) = row else { return Ok(Some((merged, asked))) };
    let epoch = &mut merged.client.epoch;
    if let Some(removed) = row.removed_ns {
        *epoch = std::cmp::max(*epoch, removed / 1_000_000_000 + 1);
    }
    let Some((known, before)) = row.entry.as_deref().and_then(Registration::read_asked) else {
        return Ok(Some((merged, asked)));
    };
    if known.scope != wanted.scope || (known.mode == Mode::Live && wanted.mode != Mode::Live) {
        return Err(RegistrationError::Elsewhere);
    }
    if asked > before {
        *epoch = std::cmp::max(*epoch, now.timestamp() + 1);
    }
    *epoch = std::cmp::max(*epoch, known.client.epoch);
    // Whoever wants it back was restored from an older backup, or is mistaken: a revocation is final.
    merged.client.revoked |= known.client.revoked;
    let asked = std::cmp::max(asked, before);
    Ok((known != merged || asked != before).then_some((merged, asked)))
}

/// The clients of a scope by their ids, without those that were removed.
async fn known(tx: &Tx, scope: Scope) -> Result<HashMap<ClientId, client::Model>, DbErr> {
    let rows = store::clients_of(tx, scope.id).await?;
    // What is no id of ours was not registered by us.
    let named = rows.into_iter().filter_map(|row| Some((row.client_id.parse::<ClientId>().ok()?, row)));
    Ok(named.collect())
}

/// Removes the clients of a scope that are not among these, and makes those of these that are known there as they are
/// wanted, so that no credential or token which is wanted no more waits for anything; whether there was one. Nobody new
/// is let in.
pub async fn withdraw(
    tx: &Tx,
    keys: &DataKey,
    (scope, mode): (Scope, Mode),
    wanted: &[ClientIntent],
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let known = known(tx, scope).await?;
    let mut changed = remove_others(tx, &known, wanted, now).await?;
    for client in wanted {
        let Some(row) = known.get(&client.id) else { continue };
        let registration = Registration { scope, mode, client: client.clone() };
        if matches!(merged(Some(row), &registration, now), Ok(None)) {
            continue;
        }
        changed |= match ensure_client(tx, keys, &registration, now).await {
            Ok(done) => done,
            Err(RegistrationError::Store(error)) => return Err(error),
            Err(_) => tighten(tx, keys, &registration, now).await?,
        };
    }
    Ok(changed)
}

/// Of a client that cannot be registered as it is wanted, such as by a method of a newer build: lets it keep nothing that
/// it must not have. Whether there was anything to do.
async fn tighten(
    tx: &Tx,
    keys: &DataKey,
    wanted: &Registration,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let look = async || -> Result<Option<(Registration, i64)>, DbErr> {
        let entry = store::get_entry(tx, name(wanted.client.id).as_str()).await?;
        let Some((known, before)) = entry.as_deref().and_then(Registration::read_asked) else {
            return Ok(None);
        };
        let (mut after, asked) = (known.clone(), std::cmp::max(before, wanted.client.epoch));
        if asked > before {
            after.client.epoch = std::cmp::max(after.client.epoch, now.timestamp() + 1);
        }
        after.client.revoked |= wanted.client.revoked;
        let differs = known.scope == wanted.scope && (after != known || asked != before);
        Ok(differs.then_some((after, asked)))
    };
    if look().await?.is_none() {
        return Ok(false);
    }
    let version = change(tx).await?;
    let Some(after) = look().await? else { return Ok(false) };
    match put(tx, keys, &after, version, now).await {
        Ok(()) => Ok(true),
        Err(RegistrationError::Store(error)) => Err(error),
        // It was registered so before.
        Err(error) => {
            tracing::error!(client = %wanted.client.id, %error, "a client could not be held to what is wanted");
            Ok(false)
        }
    }
}

async fn remove_others(
    tx: &Tx,
    known: &HashMap<ClientId, client::Model>,
    wanted: &[ClientIntent],
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let wanted: HashSet<ClientId> = wanted.iter().map(|client| client.id).collect();
    // Who was revoked stays known as that, as long as the scope has clients at all: nobody may bring it back.
    let stays = |row: &client::Model| {
        let known = row.entry.as_deref().and_then(Registration::read);
        !wanted.is_empty() && known.is_some_and(|known| known.client.revoked)
    };
    let others = known.iter().filter(|(id, row)| !wanted.contains(id) && !stays(row));
    let mut others: Vec<ClientId> = others.map(|(id, _)| *id).collect();
    // In one order, so that two who remove at once do not wait for each other.
    others.sort_unstable();
    let mut changed = false;
    for id in others {
        changed |= remove_client(tx, id, now).await?;
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
    let known = known(tx, scope).await?;
    let mut changed = remove_others(tx, &known, wanted, now).await?;
    for client in wanted {
        if !is_known(client) {
            tracing::warn!(client = %client.id, "the client's method or binding is unknown to this build");
            continue;
        }
        let registration = Registration { scope, mode, client: client.clone() };
        if known.get(&client.id).is_some_and(|row| matches!(merged(Some(row), &registration, now), Ok(None)))
        {
            continue;
        }
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
    store::delete_client(tx, &name, window(now)).await
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

/// Removes every key, and makes one that signs at once.
pub async fn replace_keys(tx: &Tx, keys: &DataKey, now: DateTime<Utc>) -> Result<(), StoreError> {
    change(tx).await?;
    key::Entity::delete_many().filter(key::Column::ShardId.eq(HOME.shard)).exec(&**tx).await?;
    make(tx, keys, Stage::Active, now).await?;
    tracing::warn!("the keys that tokens are signed with were replaced");
    Ok(())
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
