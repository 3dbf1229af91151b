//! The end of an environment: it is closed, drained, kept for as long as the law says, and taken away.
//!
//! Nobody waits for the end of a hold: it is looked at with every sweep. What says until when is a row that no role may
//! change, so that no operator ends a hold early.

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use ledger::SweepError;
use platform::{
    clock::offset_in_tx,
    ctx::{EnvironmentClock, Scope},
    work,
};
use tenants::environment::{Condition, Status};

use super::{
    model::{Access, CLOSED, DRAINED, HELD, Record, Step},
    system,
    work::{CONVERGE, Converger, Error, Look},
};

/// How long a hold that is over is shown before anything is taken away. A clock that has jumped ahead can be put right in
/// that time, and the hold stands again.
const NOTICE: TimeDelta = TimeDelta::hours(24);
/// How many rows are taken away in one transaction.
const ROWS: u64 = 1_000;

impl Converger {
    /// Refuses its tokens as those of none.
    pub(super) fn close(&self, record: &Record) -> Look {
        if record.access == Access::Closed && (record.applied_generation == 0 || closed(record).is_some()) {
            return Look::There;
        }
        let seen = self.seen(CLOSED, Status::True, "Removed", None);
        Look::Made(Record { access: Access::Closed, ..record.after(Step::Close, [seen]) })
    }

    /// Waits for what was let in before it was closed, and for payments that are under way, and releases what is held.
    pub(super) async fn drain(&self, record: &Record) -> Result<Look, Error> {
        // Nobody was ever let in.
        let Some(since) = closed(record) else { return Ok(Look::There) };
        let now = self.clock.now();
        if now < since {
            // The clock was put back: what was let in has to end from now on.
            let mut after = record.clone();
            after.conditions.retain(|one| one.r#type != CLOSED);
            let seen = self.seen(CLOSED, Status::True, "Removed", None);
            return Ok(Look::Made(after.after(Step::Drain, [seen])));
        }
        let wait = |reason: &str, detail: Option<String>| {
            Ok(Look::Wait(record.after(Step::Drain, [self.seen(DRAINED, Status::False, reason, detail)])))
        };
        if now.signed_duration_since(since) < self.settle {
            return wait("RequestsMayRun", None);
        }
        let scope = Scope::new(record.shard, record.id.uuid());
        // What fails for good is not waited for.
        if let Some(kind) = work::open_kinds(&self.db, scope, CONVERGE).await?.first() {
            return wait("WorkIsOpen", Some(kind.clone()));
        }
        for remains in self.remains {
            if let Some(is_open) = remains.is_open
                && is_open(self.db.clone(), scope).await?
            {
                return wait("WorkIsOpen", Some(remains.name.to_owned()));
            }
        }
        let tx = self.db.begin_read(scope).await?;
        let offset = offset_in_tx(&*tx, scope).await?;
        tx.commit().await?;
        let clock = EnvironmentClock::new(self.clock.clone(), offset);
        match self.ledger.release_holds(&self.db, scope, clock).await {
            Ok(0) => {}
            Ok(_) => return wait("HoldsAreOpen", None),
            Err(SweepError::Database(error)) => return Err(error.into()),
            Err(SweepError::Ledger(error)) => return wait("LedgerAway", Some(error.to_string())),
        }
        let seen = self.seen(DRAINED, Status::True, "Drained", None);
        let after = record.after(Step::Drain, [seen]);
        Ok(if after.conditions == record.conditions { Look::There } else { Look::Made(after) })
    }

    /// Keeps what there is until the law, or the control plane, lets it go.
    pub(super) async fn hold(&self, record: &Record) -> Result<Look, Error> {
        // Whole microseconds, as they are stored.
        let Some(closed) = closed(record).map(|closed| closed.trunc_subsecs(6)) else {
            return Ok(Look::There);
        };
        let scope = Scope::new(record.shard, record.id.uuid());
        let written = system::hold_written(&self.db, record).await?;
        let ended = match written {
            Some(written) if written.ended >= closed => written.ended,
            // A clock that was behind makes no hold shorter: what was booked was booked before. Asked once, since others
            // go on booking.
            _ => {
                let booked = ledger::system::booked_until(&self.db, record.shard).await?;
                closed.max(record.made_at).max(booked).trunc_subsecs(6)
            }
        };
        let mut kept = false;
        for remains in self.remains {
            if let Some(is_kept) = remains.is_kept {
                kept = kept || is_kept(self.db.clone(), scope).await?;
            }
        }
        let wanted = record.intent.as_ref().and_then(|intent| intent.hold_until);
        let law = record.law_holds_until(ended, self.environments.home().profile);
        // An environment without books and parties has nothing that anybody could ask for.
        let wanted = wanted.into_iter().chain(law.filter(|_| kept)).max().map(|until| until.trunc_subsecs(6));
        let until = match wanted {
            Some(until) => match system::begin_hold(&self.db, record, ended, until).await? {
                Some(stored) => Some(stored),
                None => return Ok(Look::Past),
            },
            // What was begun goes on, whatever is wanted or found now.
            None => written.map(|written| written.until),
        };
        let Some(until) = until else { return Ok(Look::There) };
        Ok(self.held(record, until))
    }

    fn held(&self, record: &Record, until: DateTime<Utc>) -> Look {
        let (now, detail) = (self.clock.now(), Some(until.to_rfc3339()));
        let standing = self.seen(HELD, Status::True, "Retention", detail.clone());
        if now < until {
            return Look::Stuck(record.after(Step::Hold, [standing]));
        }
        let over = self.seen(HELD, Status::False, "Over", detail);
        let since = condition(record, HELD).filter(|one| one.status == Status::False).map(|one| one.since_at);
        if since.is_none() {
            tracing::warn!(environment = %record.id, %until, "a hold is over; a day from now everything goes");
        }
        match since {
            Some(since) if now.signed_duration_since(since) >= NOTICE => Look::There,
            _ => Look::Stuck(record.after(Step::Hold, [over])),
        }
    }

    /// Takes the rows away, some at a time.
    pub(super) async fn clear(&self, record: &Record) -> Result<Look, Error> {
        Ok(match system::forget(&self.db, self.remains, record, ROWS).await? {
            None => Look::Past,
            Some(0) => Look::There,
            Some(_) => Look::Made(record.after(Step::Clear, [])),
        })
    }
}

fn condition<'a>(record: &'a Record, name: &str) -> Option<&'a Condition> {
    record.conditions.iter().find(|one| one.r#type == name)
}

/// Since when it answers nobody, if it ever answered anybody.
fn closed(record: &Record) -> Option<DateTime<Utc>> {
    condition(record, CLOSED).filter(|one| one.status == Status::True).map(|one| one.since_at)
}
