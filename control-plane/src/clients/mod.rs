//! Clients: who may ask for tokens, of which issuer, and what for.
//!
//! **Promise.** A client of an environment is known to that environment's cell and nowhere else, and asks for its tokens
//! there, whether the control plane is up or not; a client of the organization itself asks for them here. What a client
//! keeps, a private key or a secret, is nowhere in this database; a secret is shown once. A revocation is final, and ends
//! the tokens that there are.
//!
//! What changes of an environment's clients raises the environment's generation: its cell is told like of anything else
//! that is wanted. The organization's own are registered with the issuer of this plane by the work [`REGISTER`], and by
//! whoever changes them, so that they are known when the answer comes.

pub mod http;
mod model;
mod store;
mod system;
pub mod work;

use platform::{
    ctx::{Ctx, Scope},
    db::{self, Db, Tx},
    hash::sha256_base64url,
    idempotency::{Done, Key, Outcome, begin_in_tx},
    oauth::{Issuer, Registration, RegistrationError},
    problem::Problem,
    random,
    token::Scopes,
    work as queue,
};
use sea_orm::DbErr;
use tenants::{
    contract::{ClientIntent, Method},
    environment::{Desired, Mode},
    id::{ClientId, EnvironmentId, OrganizationId},
    tenant::State,
};

pub use self::{
    model::{Client, Credentials, Fault, IssuerKind, New, Proof, Told, named, told},
    store::{Filter, MIGRATION},
};
use crate::{
    caller,
    environments::{self, Environment},
    names, organizations, tenants as slice,
};
use model::{CLIENTS, CLIENTS_EVER, TOMBSTONES};
use store::Clients;

/// The work that registers an organization's own clients; its key is the organization.
pub const REGISTER: &str = "clients.register";

/// Why a use case ended without its effect.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client that this caller may know of has this id.
    #[error("there is no such client")]
    NotFound,
    /// Something is wrong with what was said of it.
    #[error("the client is not acceptable: {0:?}")]
    Fault(Fault),
    /// A name that is empty, too long, or has control characters.
    #[error("the name is not acceptable")]
    Name,
    /// It has, or would have, a scope that who makes or rotates it does not have.
    #[error("a client of the control plane has no scope that its maker does not have")]
    Wider,
    /// There are as many as there may be.
    #[error("there are as many clients as there may be")]
    Full,
    /// It is revoked, for ever.
    #[error("the client is revoked")]
    Revoked,
    /// The client has another version than the caller has seen.
    #[error("the client was changed meanwhile")]
    Changed,
    /// What would change, of a dry run: nothing was changed.
    #[error("a dry run")]
    Planned(Box<(Option<Client>, Client)>),
    /// The environment's.
    #[error(transparent)]
    Environment(#[from] environments::Error),
    /// The organization's.
    #[error(transparent)]
    Organization(#[from] organizations::Error),
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] DbErr),
    /// The idempotency key's.
    #[error(transparent)]
    Problem(#[from] Problem),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// A client, and its secret where one was made just now.
pub type Made = (Client, Option<String>);

/// The caller's context where this client is: an organization's client stays in its own, an operator goes where the client
/// is.
///
/// # Errors
/// [`Error::NotFound`] for an operator, if it is nowhere; the database's.
pub async fn acting(db: &Db, ctx: &Ctx, id: ClientId) -> Result<Ctx, Error> {
    organizations::acting(ctx, system::organization_of(db, id)).await?.ok_or(Error::NotFound)
}

/// Those that are not among the others.
fn without(scopes: &[String], others: &[String]) -> Vec<String> {
    scopes.iter().filter(|scope| !others.contains(scope)).cloned().collect()
}

fn is_within(scopes: &[String], held: &Scopes) -> bool {
    scopes.iter().all(|scope| held.contains(scope))
}

/// 256 bits for a client that cannot sign, as text, and their hash.
fn secret_of(method: Method) -> Option<(String, String)> {
    (method == Method::Secret).then(|| {
        let text = format!("{:032x}{:032x}", random::bits(), random::bits());
        let hash = sha256_base64url(&text);
        (text, hash)
    })
}

/// Makes a client of an environment, or of the organization itself, once per key; `held` are the maker's own scopes, and
/// `home` is the mode of this plane.
///
/// # Errors
/// [`Error::Fault`], [`Error::Name`], [`Error::Wider`], [`Error::Full`]; the environment's; [`Error::Planned`] for a dry
/// run; the key's and the database's.
pub async fn create(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    (of, home): (Option<EnvironmentId>, Mode),
    new: &New,
    held: &Scopes,
    dry_run: bool,
) -> Result<Done<Made>, Error> {
    if !names::is_name(&new.name) {
        return Err(Error::Name);
    }
    if of.is_none() && !is_within(&new.scopes, held) {
        return Err(Error::Wider);
    }
    let (secret, hash) = secret_of(new.method).unzip();
    let now = ctx.now();
    let client = Client {
        id: ctx.new_id(),
        organization: OrganizationId::from_uuid(ctx.scope.id),
        environment: of,
        name: new.name.clone(),
        proof: Proof {
            method: new.method,
            keys: new.credentials.keys.clone(),
            thumbprints: new.credentials.thumbprints.clone(),
            secret_sha256: hash,
        },
        scopes: new.scopes.clone(),
        binding: new.binding,
        epoch: 0,
        revoked: false,
        version: 1,
        created_at: now,
        updated_at: now,
        granted_at: now,
    };
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        if let Outcome::Replay(id) = begin_in_tx(&tx, ctx, key, client.id.uuid()).await? {
            let first = Clients::new(&tx, ctx.scope).get(ClientId::from_uuid(id)).await?;
            return Ok(Done { what: (first.ok_or(Error::NotFound)?, None), replayed: true });
        }
        let environment = environment_in_tx(&tx, ctx, of).await?;
        let issuer = IssuerKind::of(environment.as_ref(), home);
        new.check(issuer)?;
        let clients = Clients::new(&tx, ctx.scope);
        if clients.living(of).await?.len() >= CLIENTS || clients.count(of).await? >= CLIENTS_EVER {
            return Err(Error::Full);
        }
        usable(&client, issuer)?;
        if dry_run {
            return Err(Error::Planned(Box::new((None, client.clone()))));
        }
        clients.insert(&client).await?;
        tell_in_tx(&tx, ctx, environment.as_ref()).await?;
        tx.commit().await?;
        Ok(Done { what: (client.clone(), secret.clone()), replayed: false })
    })
    .await
}

/// Whether an issuer would take it: keys that are points of the curve, thumbprints that are hashes.
fn usable(client: &Client, issuer: IssuerKind) -> Result<(), Error> {
    let scope = organizations::scope(client.organization);
    let registration = Registration { scope, mode: issuer.mode(), client: client.intent() };
    registration.check().map_err(|_| Error::Fault(Fault::Credentials))
}

impl IssuerKind {
    fn of(environment: Option<&Environment>, home: Mode) -> Self {
        environment.map_or(Self::Plane(home), |one| Self::Cell(one.mode))
    }
}

/// The environment of a new client, which has to be there and to stay, of a tenant that may have more than it has.
async fn environment_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    of: Option<EnvironmentId>,
) -> Result<Option<Environment>, Error> {
    let Some(id) = of else { return Ok(None) };
    let environment = environments::get_in_tx(tx, ctx, id).await?.ok_or(environments::Error::NotFound)?;
    if environment.desired == Desired::Removed {
        return Err(environments::Error::State(environment.state).into());
    }
    let tenant = slice::get_in_tx(tx, ctx, environment.tenant).await?;
    if tenant.is_some_and(|tenant| tenant.state == State::Restricted) {
        return Err(environments::Error::TenantRestricted.into());
    }
    Ok(Some(environment))
}

/// Lets who issues tokens to a client hear of a change, after the commit.
async fn tell_in_tx(tx: &Tx, ctx: &Ctx, environment: Option<&Environment>) -> Result<(), DbErr> {
    if let Some(environment) = environment {
        return environments::raise_in_tx(tx, ctx, environment.id).await;
    }
    let (key, wall) = (OrganizationId::from_uuid(ctx.scope.id).to_string(), ctx.wall());
    let (scope, payload) = (ctx.scope, ().into());
    let item = queue::New { scope, kind: REGISTER, key: &key, payload, run_at: wall, wall };
    queue::enqueue_in_tx(tx, item).await
}

/// What is to happen to a client.
#[derive(Debug, Clone)]
pub enum Change {
    /// It proves who it is by other credentials of the same kind from now on; a client with a secret gets a new one.
    Rotate {
        /// The new ones.
        credentials: Credentials,
        /// Whether the tokens that it has end.
        revoke_tokens: bool,
        /// The scopes of who asks for it: who has the new credentials of an organization's client has its scopes.
        held: Scopes,
        /// The mode of this plane.
        home: Mode,
    },
    /// It is called otherwise, or may do something else. Where it loses a scope, the tokens that it has end.
    Describe {
        /// For people; as it is, if nothing.
        name: Option<String>,
        /// What it may do at most; as it is, if nothing.
        scopes: Option<Vec<String>>,
        /// The scopes of who asks for it: nobody gives an organization's client what he does not have.
        held: Scopes,
        /// The mode of this plane.
        home: Mode,
    },
    /// It gets no more tokens, for ever, and those that it has end.
    Revoke,
}

/// Changes a client, once per key.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Changed`], [`Error::Revoked`], [`Error::Fault`], [`Error::Wider`]; [`Error::Planned`] for
/// a dry run; the key's and the database's.
pub async fn change(
    db: &Db,
    ctx: &Ctx,
    key: &Key,
    id: ClientId,
    seen: impl Fn(i64) -> bool,
    change: &Change,
    dry_run: bool,
) -> Result<Done<Made>, Error> {
    db::retry(|| async {
        let tx = db.begin(ctx.scope).await?;
        let clients = Clients::new(&tx, ctx.scope);
        let outcome = begin_in_tx(&tx, ctx, key, id.uuid()).await?;
        // Read after it: it may have waited for the one with the same key.
        let before = clients.get(id).await?.ok_or(Error::NotFound)?;
        if let Outcome::Replay(_) = outcome {
            return Ok(Done { what: (before, None), replayed: true });
        }
        if !seen(before.version) {
            return Err(Error::Changed);
        }
        if before.revoked {
            return Err(Error::Revoked);
        }
        let environment = match before.environment {
            Some(of) => environments::get_in_tx(&tx, ctx, of).await?,
            None => None,
        };
        let (after, secret) = after(&before, change, environment.as_ref(), ctx)?;
        if dry_run {
            return Err(Error::Planned(Box::new((Some(before), after))));
        }
        clients.update(&before, &after).await?;
        // Of one that is being removed nothing is left to tell.
        if before.environment.is_none()
            || environment.as_ref().is_some_and(|one| one.desired != Desired::Removed)
        {
            tell_in_tx(&tx, ctx, environment.as_ref()).await?;
        }
        tx.commit().await?;
        Ok(Done { what: (after, secret), replayed: false })
    })
    .await
}

fn after(before: &Client, change: &Change, of: Option<&Environment>, ctx: &Ctx) -> Result<Made, Error> {
    let (mut after, now) = (before.clone().changed(ctx.now()), ctx.wall());
    match change {
        Change::Revoke => {
            after.revoked = true;
            Ok((after.without_tokens(now), None))
        }
        Change::Describe { name, scopes, held, home } => {
            let name = name.clone().unwrap_or_else(|| before.name.clone());
            let scopes = scopes.clone().unwrap_or_else(|| before.scopes.clone());
            let (given, taken): (Vec<_>, Vec<_>) =
                (without(&scopes, &before.scopes), without(&before.scopes, &scopes));
            if !names::is_name(&name) {
                return Err(Error::Name);
            }
            if before.environment.is_none() && !is_within(&given, held) {
                return Err(Error::Wider);
            }
            let Proof { method, keys, thumbprints, .. } = before.proof.clone();
            let credentials = Credentials { keys, thumbprints };
            let whole = New { name, method, credentials, scopes, binding: before.binding };
            whole.check(IssuerKind::of(of, *home))?;
            (after.name, after.scopes) = (whole.name, whole.scopes);
            if !given.is_empty() || !taken.is_empty() {
                after = after.granted(ctx.now());
            }
            Ok((if taken.is_empty() { after } else { after.without_tokens(now) }, None))
        }
        Change::Rotate { credentials, revoke_tokens, held, home } => {
            if before.environment.is_none() && !is_within(&before.scopes, held) {
                return Err(Error::Wider);
            }
            let issuer = IssuerKind::of(of, *home);
            let whole = New {
                name: before.name.clone(),
                method: before.proof.method,
                credentials: credentials.clone(),
                scopes: before.scopes.clone(),
                binding: before.binding,
            };
            whole.check(issuer)?;
            let (secret, hash) = secret_of(before.proof.method).unzip();
            let Credentials { keys, thumbprints } = credentials.clone();
            after.proof = Proof { method: before.proof.method, keys, thumbprints, secret_sha256: hash };
            usable(&after, issuer)?;
            let after = after.granted(ctx.now());
            Ok((if *revoke_tokens { after.without_tokens(now) } else { after }, secret))
        }
    }
}

/// Registers the clients of the organization itself with the issuer of this plane, and removes those that are revoked.
///
/// # Errors
/// The tables of the issuer, or the database, failed.
pub async fn register(db: &Db, issuer: &Issuer, scope: Scope) -> Result<(), RegistrationError> {
    system::register(db, issuer, scope).await?;
    Ok(issuer.refresh().await?)
}

/// Puts the clients of an environment that its cell knows and this database has lost back into it, and lets the others be
/// what is known of them later, in the caller's transaction.
///
/// # Errors
/// The database's.
pub async fn recover_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    environment: EnvironmentId,
    known: &[ClientIntent],
) -> Result<(), DbErr> {
    let clients = Clients::new(tx, ctx.scope);
    for intent in known {
        let Some(ours) = clients.get(intent.id).await? else {
            let organization = OrganizationId::from_uuid(ctx.scope.id);
            clients.insert(&Client::recovered(intent, organization, environment, ctx.now())).await?;
            continue;
        };
        if ours.environment != Some(environment) {
            tracing::error!(client = %intent.id, %environment, "a cell was told of a client that is none of this environment");
            continue;
        }
        let after = ours.clone().reconciled(intent, ctx.now());
        if after != ours {
            clients.update(&ours, &after).await?;
        }
    }
    Ok(())
}

/// The clients of an environment as its cell is told, in the order of their ids; the last of those that were revoked are
/// among them.
///
/// # Errors
/// The database's.
pub async fn intents(db: &Db, ctx: &Ctx, of: EnvironmentId) -> Result<Vec<ClientIntent>, DbErr> {
    let tx = db.begin_read(ctx.scope).await?;
    let clients = intents_in_tx(&tx, ctx, of).await?;
    tx.commit().await?;
    Ok(clients)
}

/// [`intents`], in the caller's transaction.
///
/// # Errors
/// The database's.
pub async fn intents_in_tx(tx: &Tx, ctx: &Ctx, of: EnvironmentId) -> Result<Vec<ClientIntent>, DbErr> {
    let clients = Clients::new(tx, ctx.scope).told(of, TOMBSTONES).await?;
    Ok(clients.iter().map(Client::intent).collect())
}

/// The client of this id in the organization that `ctx` is in.
///
/// # Errors
/// [`Error::NotFound`], and the database's.
pub async fn get(db: &Db, ctx: &Ctx, id: ClientId) -> Result<Client, Error> {
    let tx = db.begin_read(ctx.scope).await?;
    let client = Clients::new(&tx, ctx.scope).get(id).await?;
    tx.commit().await?;
    client.ok_or(Error::NotFound)
}

/// At most `limit` clients that satisfy `filter`, in the order of their ids: those of the organization `of`, or for an
/// operator who names none, all.
///
/// # Errors
/// The organization's, and the database's.
pub async fn list(
    db: &Db,
    ctx: &Ctx,
    of: Option<OrganizationId>,
    filter: &Filter,
    limit: u64,
) -> Result<Vec<Client>, Error> {
    if caller::is_operator(ctx) && of.is_none() {
        return Ok(system::list(db, filter, limit).await?);
    }
    let ctx = organizations::resolve(db, ctx, of).await?;
    let tx = db.begin_read(ctx.scope).await?;
    let clients = Clients::new(&tx, ctx.scope).list(filter, limit).await?;
    tx.commit().await?;
    Ok(clients)
}
