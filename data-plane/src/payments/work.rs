//! Carries payments on: asks the ledger, moves the status, until it is final.
//!
//! Every run begins with the row as it stands and asks the ledger under ids that follow from the payment's. So a run may
//! break off anywhere and be done again, also by two at once: the ledger gives the same answers, and a status moves by
//! compare-and-set.

use chrono::{DateTime, Utc};
use ledger::{Ledger, books, writer::Unavailable};
use platform::{
    ctx::{Actor, Clock, Ctx, EnvironmentClock},
    db::{self, Db},
    work::{Done, Retry, Runner, Store, WorkItem},
};
use sea_orm::DbErr;
use tenants::{environment::Mode, id::PaymentId};

use super::{
    model::{Move, Payment, Settlement, Status, Verdict},
    store::Payments,
};

/// The kind of work; its key is the payment's id.
pub const KIND: &str = "payment.advance";
/// Gives the work of payments to `runner`.
pub fn register<S: Store>(runner: &mut Runner<S>, db: Db, ledger: Ledger, clock: Clock) {
    runner.handle(KIND, move |item| {
        let (db, ledger, clock) = (db.clone(), ledger.clone(), clock.clone());
        async move { run(&db, &ledger, &clock, &item).await }
    });
}

async fn run(db: &Db, ledger: &Ledger, clock: &Clock, item: &WorkItem) -> Result<Done, Retry> {
    let id: PaymentId = item.key.parse().map_err(|_| Retry::never("the key is no payment's id"))?;
    let clock = EnvironmentClock::new(clock.clone(), item.offset);
    advance(db, ledger, &clock, item, id).await?;
    Ok(Done::Finished)
}

/// Step by step, until the status is final.
async fn advance(
    db: &Db,
    ledger: &Ledger,
    clock: &EnvironmentClock,
    item: &WorkItem,
    id: PaymentId,
) -> Result<(), Retry> {
    loop {
        let tx = db.begin_read(item.scope()).await?;
        let payment = Payments::new(&tx, item.scope()).get(id).await?;
        tx.commit().await?;
        let payment = payment.ok_or_else(|| Retry::never("there is no such payment"))?;
        let Some(transfer) = payment.next() else { return Ok(()) };
        let ctx = ctx(&payment, clock, item);
        let outcome = ledger.post_one(&ctx, transfer).await.map_err(away)?;
        let to = match payment.verdict(&outcome, ctx.now()) {
            Verdict::Move(to) => to,
            Verdict::Release(to) => {
                // Whatever the answer: a hold that cannot be voided is over already, or ends with the payment's time.
                ledger.post_one(&ctx, payment.release()).await.map_err(away)?;
                to
            }
            Verdict::LookAtHold => captured(db, &ctx, &payment, ctx.now()).await?,
        };
        // If it does not move, somebody else has moved it: the next round reads where to.
        db::retry(|| async {
            let tx = db.begin(item.scope()).await?;
            Payments::new(&tx, item.scope()).advance(id, payment.status, &to).await?;
            tx.commit().await
        })
        .await?;
    }
}

/// A ledger that cannot answer is no fault of the payment.
fn away(error: Unavailable) -> Retry {
    Retry::outage(error.to_string())
}

/// On behalf of whoever committed the payment.
fn ctx(payment: &Payment, clock: &EnvironmentClock, item: &WorkItem) -> Ctx {
    Ctx {
        scope: item.scope(),
        // The ledger does the same in both.
        mode: Mode::Live,
        actor: payment.client.map_or(Actor::System("payments"), Actor::Client),
        request_id: payment.request_id.as_str().into(),
        clock: clock.clone(),
    }
}

/// The hold was captured through the ledger's own interface: that is what the payment has come to.
async fn captured(db: &Db, ctx: &Ctx, payment: &Payment, now: DateTime<Utc>) -> Result<Move, DbErr> {
    let tx = db.begin_read(ctx.scope).await?;
    let hold = books::hold(&tx, ctx.scope, payment.hold_id()).await?;
    tx.commit().await?;
    let settlement =
        hold.and_then(|hold| Some(Settlement { transfer: hold.resolved_by?, amount: hold.captured? }));
    let missing = || DbErr::RecordNotFound("a hold that was captured says by what".to_owned());
    let settlement = Some(settlement.ok_or_else(missing)?);
    Ok(Move { to: Status::Settled, at: now, refusal: None, settlement })
}
