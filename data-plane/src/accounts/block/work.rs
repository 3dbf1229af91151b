//! Asks the ledger once more for what an order or a release has recorded: a request that died in between, or found the
//! ledger away, leaves nothing undone.

use chrono::TimeDelta;
use ledger::Ledger;
use platform::{
    ctx::{Actor, Clock, Ctx, EnvironmentClock},
    db::{Db, Tx},
    work::{Done, New, Retry, Runner, Store, WorkItem, enqueue_in_tx},
};
use sea_orm::DbErr;
use tenants::{environment::Mode, id::TransferId};

use super::{hold_of, release_of};
use crate::accounts::{get_in_tx, store::Accounts};

/// The kind of work that follows an order; its key is the hold's id.
pub const BLOCK: &str = "account.block";
/// The kind of work that follows a release; its key is the hold's id.
pub const RELEASE: &str = "account.block_release";
/// How long the request itself has before it is looked after.
const GRACE: TimeDelta = TimeDelta::seconds(10);

/// Gives the work to `runner`.
pub fn register<S: Store>(runner: &mut Runner<S>, db: &Db, ledger: &Ledger, clock: &Clock) {
    for kind in [BLOCK, RELEASE] {
        let (db, ledger, clock) = (db.clone(), ledger.clone(), clock.clone());
        runner.handle(kind, move |item| {
            let (db, ledger, clock) = (db.clone(), ledger.clone(), clock.clone());
            async move { run(&db, &ledger, clock, &item).await }
        });
    }
}

/// Has `hold` looked after when the request has had its time.
pub(super) async fn follow_up_in_tx(
    tx: &Tx,
    ctx: &Ctx,
    kind: &'static str,
    hold: TransferId,
) -> Result<(), DbErr> {
    let now = ctx.now();
    let item = New {
        scope: ctx.scope,
        kind,
        key: &hold.to_string(),
        payload: serde_json::Value::Null,
        run_at: now.checked_add_signed(GRACE).unwrap_or(now),
        wall: ctx.wall(),
    };
    enqueue_in_tx(tx, item).await
}

/// Whatever the ledger answers, it is on record there under the id of the hold or of its release.
async fn run(db: &Db, ledger: &Ledger, clock: Clock, item: &WorkItem) -> Result<Done, Retry> {
    let hold: TransferId = item.key.parse().map_err(|_| Retry::never("the key is no hold's id"))?;
    let tx = db.begin_read(item.scope()).await?;
    let ordered = Accounts::new(&tx, item.scope()).order(hold).await?;
    let (id, order) = ordered.ok_or_else(|| Retry::never("there is no such order"))?;
    let account = get_in_tx(&tx, item.scope(), id).await?;
    tx.commit().await?;
    let account = account.ok_or_else(|| Retry::never("the order's account is gone"))?;
    let ctx = Ctx {
        scope: item.scope(),
        // The ledger does the same in both.
        mode: Mode::Live,
        actor: Actor::System("accounts"),
        request_id: item.lease.id.to_string().into(),
        clock: EnvironmentClock::new(clock, item.offset),
    };
    let mut asked = vec![hold_of(hold, id, account.books.currency, &order)];
    if item.kind == RELEASE {
        asked.push(release_of(hold));
    }
    for transfer in asked {
        ledger.post_one(&ctx, transfer).await.map_err(|away| Retry::outage(away.to_string()))?;
    }
    Ok(Done::Finished)
}
