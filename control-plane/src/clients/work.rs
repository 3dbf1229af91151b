//! Registers an organization's own clients with the control plane's issuer, whatever became of who changed them.

use platform::{
    db::Db,
    oauth::Issuer,
    work::{Done, Retry, Runner, Store},
};

use super::{REGISTER, register};

/// Registers the handler.
pub fn handle<S: Store + 'static>(runner: &mut Runner<S>, db: &Db, issuer: &Issuer) {
    let (of, by) = (db.clone(), issuer.clone());
    runner.handle(REGISTER, move |item| {
        let (db, issuer) = (of.clone(), by.clone());
        async move {
            register(&db, &issuer, item.scope()).await?;
            Ok::<_, Retry>(Done::Finished)
        }
    });
}
