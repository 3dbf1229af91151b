//! What the handlers of the control plane share.

use std::{io, path::Path, sync::Arc};

use axum::extract::FromRef;
use platform::{
    ctx::Clock,
    db::{Db, StartError},
    drain::Drain,
    pki::Ca,
    problem::Catalogue,
    random,
    token::{Access, Tokens},
    work::{Options, Runner, SeaOrm},
};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    ControlPlaneError, PLATFORM,
    cells::http::JoinSite,
    config::ControlPlaneConfig,
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
        let db = Db::connect(&config.database).await.map_err(StartError::from)?;
        db.migrate(migrations).await?;
        db.check_schema(migrations).await?;
        let access = Access::new(tokens(&config.keys.token_file)?, clock.clone());
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
        let (waker, work) = (work.waker(), Arc::new(work));
        let (drain, worker) = (drain.clone(), Arc::clone(&waker));
        let links = links::http::Site { ca, lineage, waiters, drain, worker };
        let streams = Streams::default();
        Ok(Self { db, access, join, links, catalogue, clock, work, waker, streams })
    }
}

/// Tokens under the development key in this file; made if it is not there. Their `env` holds the 128 bits of the
/// organization they are for, until the control plane issues tokens of its own form.
///
/// # Errors
/// The file cannot be read, made, or does not hold a key.
pub fn tokens(file: &Path) -> io::Result<Tokens> {
    let key = platform::keys::development_bytes(file)?;
    Ok(Tokens::new(&key))
}
