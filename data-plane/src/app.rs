//! What the handlers of a cell share.

use std::sync::Arc;

use axum::extract::FromRef;
use chrono::TimeDelta;
use ledger::{Ledger, system::has_books};
use platform::{
    clock::Offsets,
    ctx::Clock,
    db::{Db, StartError},
    egress::Egress,
    keys::Keys,
    oauth::{Issuer, IssuerError, IssuerOptions, keys::Rotation},
    objects::Objects,
    problem::Catalogue,
    random,
    token::Access,
    work::{Options, Runner, SeaOrm},
};
use tenants::environment::Mode;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    CellError, accounts,
    config::CellConfig,
    environments::{Converger, Environments, Remains},
    exports,
    link::{Link, Pace},
    migrations::migrations,
    parties, payments, router,
};

/// What slices keep of an environment, those that point at others first. Whatever else there is of one has to do with an
/// account or a party.
const REMAINS: &[Remains] = &[
    Remains {
        name: "Payments",
        is_kept: None,
        is_open: Some(|db, scope| Box::pin(async move { payments::any_open(&db, scope).await })),
        forget: |tx, scope, limit| Box::pin(payments::system::forget_in_tx(tx, scope, limit)),
    },
    Remains {
        name: "Accounts",
        is_kept: None,
        is_open: None,
        forget: |tx, scope, limit| Box::pin(accounts::system::forget_in_tx(tx, scope, limit)),
    },
    Remains {
        name: "Parties",
        is_kept: Some(|db, scope| Box::pin(async move { parties::any(&db, scope).await })),
        is_open: None,
        forget: |tx, scope, limit| Box::pin(parties::system::forget_in_tx(tx, scope, limit)),
    },
    Remains {
        name: "Ledger",
        is_kept: Some(|db, scope| Box::pin(async move { has_books(&db, scope).await })),
        is_open: None,
        forget: |tx, scope, limit| Box::pin(ledger::system::forget_in_tx(tx, scope, limit)),
    },
];

/// The state of the router; slices take the parts they need.
#[derive(Clone, FromRef)]
pub struct App {
    /// The database.
    pub db: Db,
    /// The way in for money.
    pub ledger: Ledger,
    /// The check of callers.
    pub access: Access,
    /// What issues their tokens.
    pub issuer: Issuer,
    /// What seals personal data.
    pub keys: Arc<Keys>,
    /// The environments' clocks.
    pub offsets: Offsets,
    /// The environments.
    pub environments: Environments,
    /// What makes them what is wanted of them.
    pub converger: Converger,
    /// The texts of problems, for answers that report problems of parts.
    pub catalogue: Arc<Catalogue>,
    /// The wall clock.
    pub clock: Clock,
    /// What carries out the work that requests have left behind; somebody has to run it.
    pub work: Arc<Runner<SeaOrm>>,
    /// Wakes it after a commit that enqueued.
    pub waker: Arc<Notify>,
}

impl App {
    /// Connects, migrates and starts the ledger's writers on the current runtime.
    ///
    /// # Errors
    /// The database is not there or does not fit, or a key file is no key.
    pub async fn start(config: &CellConfig, clock: Clock) -> Result<Self, CellError> {
        let db = Db::connect(&config.database).await.map_err(StartError::from)?;
        db.check_mode(config.cell.mode).await?;
        db.migrate(migrations).await?;
        db.check_schema(migrations).await?;
        let ledger = Ledger::start(&db, config.cell.shards, &clock).await.map_err(StartError::from)?;
        let keys = Keys::start(db.clone(), config.cell.shards, &config.keys, clock.now()).await?;
        let keys = Arc::new(keys);
        let issuer = issuer(config, &db, &keys, &clock).await?;
        let offsets = Offsets::new(db.clone(), clock.clone());
        let objects = Objects::start(&config.objects, &Egress::new(&config.egress)?, &clock).await?;
        let environments = Environments::of(config)?;
        let converger = Converger {
            db: db.clone(),
            environments: environments.clone(),
            migrations,
            remains: REMAINS,
            ledger: ledger.clone(),
            settle: settle(config),
            issuer: issuer.clone(),
            objects,
            keys: Arc::clone(&keys),
            sources: exports::SOURCES,
            clock: clock.clone(),
        };
        converger.seed(&config.environments, &router::scopes()).await?;
        let access = Access::of_cell(issuer.clone(), clock.clone(), offsets.clone(), environments.places());
        let catalogue = router::catalogue(config.http.language)?;
        let options = Options::new((0..config.cell.shards).collect());
        let mut work = Runner::new(SeaOrm::new(db.clone()), options, Uuid::from_u128(random::bits()));
        accounts::block::work::register(&mut work, &db, &ledger, &clock);
        payments::work::register(&mut work, db.clone(), ledger.clone(), clock.clone());
        converger.clone().register(&mut work);
        let (waker, work) = (work.waker(), Arc::new(work));
        Ok(Self {
            db,
            ledger,
            access,
            issuer,
            keys,
            offsets,
            environments,
            converger,
            catalogue,
            clock,
            work,
            waker,
        })
    }
}

/// What issues tokens to clients of environments.
pub(crate) async fn issuer(
    config: &CellConfig,
    db: &Db,
    keys: &Keys,
    clock: &Clock,
) -> Result<Issuer, IssuerError> {
    let options = IssuerOptions {
        url: config.cell.public_url.clone(),
        mode: config.cell.mode,
        secrets: config.cell.mode == Mode::Sandbox,
        rotation: Rotation::USUAL,
    };
    Issuer::start(db.clone(), keys.home(), clock.clone(), options).await
}

/// How long a request that was let in may go on after its environment was closed: its time, and that of other replicas to
/// hear of it.
fn settle(config: &CellConfig) -> TimeDelta {
    let requests = TimeDelta::milliseconds(i64::try_from(config.http.timeout_ms).unwrap_or(i64::MAX / 2));
    requests + TimeDelta::seconds(2)
}

impl App {
    /// The link to the control plane, if the cell is configured to have one; somebody has to run it.
    #[must_use]
    pub fn link(&self, config: &CellConfig, pace: Pace) -> Option<Link> {
        let rows = (self.db.clone(), self.keys.home());
        Link::of(config, rows, self.environments.clone(), (self.clock.clone(), Arc::clone(&self.waker)), pace)
    }
}
