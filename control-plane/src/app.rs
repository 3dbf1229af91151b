//! What the handlers of the control plane share.

use std::sync::Arc;

use axum::extract::FromRef;
use platform::{
    ctx::Clock,
    db::{Db, StartError},
    drain::Drain,
    keys::Keys,
    oauth::{ClientSection, Issuer, IssuerError, IssuerOptions, keys::Rotation},
    pki::Ca,
    problem::Catalogue,
    random,
    token::Access,
    work::{Options, Runner, SeaOrm},
};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    ControlPlaneError, PLATFORM,
    cells::http::JoinSite,
    clients::{self, http::Registrar},
    config::ControlPlaneConfig,
    documents::Stores,
    links::{self, Waiters},
    migrations::migrations,
    operations::http::Streams,
    provisioning, router,
};

/// The state of the router; slices take the parts they need.
#[derive(Clone, FromRef)]
pub struct App {
    /// The database.
    pub db: Db,
    /// The check of callers.
    pub access: Access,
    /// What issues their tokens.
    pub issuer: Issuer,
    /// What the plane's own secrets are sealed with.
    pub keys: Arc<Keys>,
    /// What join tokens say.
    pub join: JoinSite,
    /// What the routes of links share.
    pub links: links::http::Site,
    /// The texts of problems, for answers that report problems of parts.
    pub catalogue: Arc<Catalogue>,
    /// The wall clock; the control plane has no other.
    pub clock: Clock,
    /// What carries out the work that requests have left behind; somebody has to run it.
    pub work: Arc<Runner<SeaOrm>>,
    /// Wakes it after a commit that enqueued.
    pub waker: Arc<Notify>,
    /// The streams of events that are open.
    pub streams: Streams,
    /// Who lets issuers hear of clients.
    pub registrar: Registrar,
    /// Where documents are.
    pub documents: Stores,
}

impl App {
    /// Connects and migrates. The drain ends what waits for news.
    ///
    /// # Errors
    /// The database is not there or does not fit, or a key file is no key, or the authority's files are none.
    pub async fn start(
        config: &ControlPlaneConfig,
        clock: Clock,
        drain: &Drain,
    ) -> Result<Self, ControlPlaneError> {
        let mode = config.control_plane.mode;
        let db = Db::connect(&config.database).await.map_err(StartError::from)?;
        db.check_mode(mode).await?;
        db.migrate(migrations).await?;
        db.check_schema(migrations).await?;
        let keys = Arc::new(Keys::start(db.clone(), PLATFORM.shard + 1, &config.keys, clock.now()).await?);
        let issuer = issuer(config, &db, &keys, &clock).await?;
        operators(&issuer, &config.operators).await?;
        let access = Access::new(issuer.clone(), clock.clone());
        let pki = &config.pki;
        let ca = Ca::open(&pki.root_certificate_file, &pki.issuing_certificate_file, &pki.issuing_key_file)?;
        let ca = Arc::new(ca);
        let join =
            JoinSite { url: config.control_plane.link_url.trim_end_matches('/').into(), ca: Arc::clone(&ca) };
        let lineage = links::lineage(&db, clock.now()).await.map_err(StartError::from)?;
        let catalogue = router::catalogue(config.http.language)?;
        let options = Options::new(vec![PLATFORM.shard]);
        let mut work = Runner::new(SeaOrm::new(db.clone()), options, Uuid::from_u128(random::bits()));
        let waiters = Waiters::default();
        provisioning::work::register(&mut work, &db, &waiters, &clock);
        clients::work::handle(&mut work, &db, &issuer);
        let (waker, work) = (work.waker(), Arc::new(work));
        let (drain, worker) = (drain.clone(), Arc::clone(&waker));
        let links = links::http::Site { ca, lineage, waiters, drain, worker };
        let streams = Streams::default();
        let registrar = Registrar { issuer: issuer.clone(), waker: Arc::clone(&waker) };
        let documents = Stores::start(&config.documents, &clock).await?;
        Ok(Self {
            db,
            access,
            issuer,
            keys,
            join,
            links,
            catalogue,
            clock,
            work,
            waker,
            streams,
            registrar,
            documents,
        })
    }
}

/// What issues tokens to operators and organizations.
pub(crate) async fn issuer(
    config: &ControlPlaneConfig,
    db: &Db,
    keys: &Keys,
    clock: &Clock,
) -> Result<Issuer, IssuerError> {
    let (url, mode) = (config.control_plane.public_url.clone(), config.control_plane.mode);
    let options = IssuerOptions { url, mode, secrets: false, rotation: Rotation::USUAL };
    Issuer::start(db.clone(), keys.home(), clock.clone(), options).await
}

/// Registers the operators of the configuration, and no others.
async fn operators(issuer: &Issuer, sections: &[ClientSection]) -> Result<(), ControlPlaneError> {
    let scopes = router::scopes();
    let wanted: Vec<_> = sections.iter().map(|section| section.intent(&scopes)).collect();
    Ok(issuer.ensure_clients(PLATFORM, issuer.mode(), &wanted).await?)
}
