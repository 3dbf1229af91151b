//! Statements: what an account held when a period began, what came and went, and what it held at the end.
//!
//! **Promise.** Opening balance and entries add up to the closing balance, entry by entry, in every form; a statement that
//! does not add up is not answered (`internal`), and a stream of one breaks off. A period is whole business days of the
//! jurisdiction; an entry belongs to the day on which it took effect. The pages of a statement, and the chunks of a
//! stream, are of one moment: the newest transfer is fixed when the statement begins.
//!
//! **Cost.** Four index reads to begin, two per page. Streams hold one page in memory and no transaction between pages.

mod camt;
mod csv;
pub mod http;

use chrono::{DateTime, NaiveDate, Utc};
use ledger::{
    books::{self, Span},
    transfer::{Posted, Side},
};
use platform::{
    ctx::Scope,
    db::{Db, Tx},
};
use tenants::{
    id::AccountId,
    jurisdiction::Jurisdiction,
    money::{Currency, Money},
};

use super::Error;

/// The most days of a statement: a leap year.
pub const MAX_DAYS: i64 = 366;

/// Why there is no statement of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// It ends before it begins.
    #[error("the period ends before it begins")]
    Reversed,
    /// It has more than [`MAX_DAYS`] days.
    #[error("the period has more than {MAX_DAYS} days")]
    TooLong,
    /// It ends after today, which is this day.
    #[error("the period ends after {0}")]
    InFuture(NaiveDate),
}

/// Whole business days of a jurisdiction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    pub from_on: NaiveDate,
    /// The last day.
    pub to_on: NaiveDate,
    /// The first instant of the first day.
    pub from: DateTime<Utc>,
    /// The first instant after the last day.
    pub until: DateTime<Utc>,
    /// Whether the last day is not over yet.
    pub interim: bool,
}

impl Period {
    /// The days from `from_on` to `to_on`, both counted.
    ///
    /// # Errors
    /// As [`PeriodError`] says, in its order.
    pub fn of(
        jurisdiction: &Jurisdiction,
        from_on: NaiveDate,
        to_on: NaiveDate,
        now: DateTime<Utc>,
    ) -> Result<Self, PeriodError> {
        let today = jurisdiction.date_at(now);
        if from_on > to_on {
            return Err(PeriodError::Reversed);
        }
        if to_on.signed_duration_since(from_on).num_days() >= MAX_DAYS {
            return Err(PeriodError::TooLong);
        }
        if to_on > today {
            return Err(PeriodError::InFuture(today));
        }
        // Nothing took effect before 1970, and databases have an earliest instant.
        let epoch = DateTime::UNIX_EPOCH;
        let start = |day: Option<NaiveDate>| {
            day.and_then(|day| jurisdiction.start_of(day)).map_or(epoch, |at| at.max(epoch))
        };
        let (from, until) = (start(Some(from_on)), start(to_on.succ_opt()));
        Ok(Self { from_on, to_on, from, until, interim: to_on == today })
    }
}

/// A statement that has begun: everything but its entries. Amounts are minor units on the account's normal side.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Of this account.
    pub account: AccountId,
    /// Of its books.
    pub currency: Currency,
    /// The side on which the account grows.
    pub normal_side: Side,
    /// Over these days.
    pub period: Period,
    /// What it held when they began.
    pub opening: i64,
    /// What it held when they ended, or holds now.
    pub closing: i64,
    /// When it was asked for.
    pub made_at: DateTime<Utc>,
    /// The newest transfer that it may contain.
    through: i64,
}

/// One entry of a statement.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The business date.
    pub on: NaiveDate,
    /// The side that is the account's.
    pub side: Side,
    /// What it changes the balance by.
    pub amount: i64,
    /// The balance after it.
    pub balance: i64,
    /// The transfer.
    pub transfer: Posted,
}

impl Entry {
    /// The account on the other side.
    pub fn counterparty(&self) -> AccountId {
        match self.side {
            Side::Debit => self.transfer.credit,
            Side::Credit => self.transfer.debit,
        }
    }
}

/// How far a statement was read.
#[derive(Debug, Clone, Copy)]
struct Place {
    seq: i64,
    at: DateTime<Utc>,
    balance: i64,
}

/// Some entries of a statement.
#[derive(Debug)]
struct Chunk {
    entries: Vec<Entry>,
    /// Where the next ones begin; `None` after the last.
    next: Option<Place>,
}

impl Statement {
    /// Fixes what a statement is of. `through`: the newest transfer, where an earlier page has fixed it.
    ///
    /// # Errors
    /// [`Error::NotFound`], and the database's.
    async fn begin_in_tx(
        tx: &Tx,
        scope: Scope,
        account: AccountId,
        period: Period,
        through: Option<i64>,
        made_at: DateTime<Utc>,
    ) -> Result<Self, Error> {
        let books = books::account(tx, scope, account).await?.ok_or(Error::NotFound)?;
        let last = books::standing(tx, scope, account, period.until, through.unwrap_or(i64::MAX)).await?;
        let through = last.map_or(0, |last| last.seq);
        let first = books::standing(tx, scope, account, period.from, through).await?;
        Ok(Self {
            account,
            currency: books.currency,
            normal_side: books.class.normal_side(),
            period,
            opening: first.map_or(0, |first| first.balance),
            closing: last.map_or(0, |last| last.balance),
            made_at,
            through,
        })
    }

    /// An amount of it.
    pub fn money(&self, amount: i64) -> Money {
        Money::new(amount, self.currency)
    }

    /// Where its entries begin.
    fn start(&self) -> Place {
        Place { seq: 0, at: self.period.from, balance: self.opening }
    }

    /// Where the entries after position `seq` begin.
    async fn place_in_tx(&self, tx: &Tx, scope: Scope, seq: i64) -> Result<Place, Error> {
        let through = seq.min(self.through);
        let found = books::standing(tx, scope, self.account, self.period.until, through).await?;
        let found = found.filter(|found| found.effective_at >= self.period.from);
        Ok(found.map_or(self.start(), |found| Place {
            seq: found.seq,
            at: found.effective_at,
            balance: found.balance,
        }))
    }

    /// At most `limit` entries after `place`.
    ///
    /// # Errors
    /// [`Error::Unbalanced`], and the database's.
    async fn chunk_in_tx(
        &self,
        tx: &Tx,
        scope: Scope,
        jurisdiction: &Jurisdiction,
        place: Place,
        limit: usize,
    ) -> Result<Chunk, Error> {
        let span = Span { from: place.at, until: self.period.until, after: place.seq, through: self.through };
        let rows = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let mut rows = books::postings(tx, scope, self.account, &span, rows).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let entries = self.link(rows, place.balance, jurisdiction).ok_or(Error::Unbalanced(self.account))?;
        let last = entries.last().map_or(place, |last| Place {
            seq: last.transfer.seq,
            at: last.transfer.effective_at,
            balance: last.balance,
        });
        if !more && last.balance != self.closing {
            return Err(Error::Unbalanced(self.account));
        }
        Ok(Chunk { entries, next: more.then_some(last) })
    }

    /// The entries, if each one leads from the balance before to the balance that the ledger wrote after it.
    fn link(
        &self,
        rows: Vec<(Side, Posted)>,
        mut balance: i64,
        jurisdiction: &Jurisdiction,
    ) -> Option<Vec<Entry>> {
        let entries = rows.into_iter().map(|(side, transfer)| {
            let grows = side == self.normal_side;
            let amount = if grows { transfer.amount } else { transfer.amount.checked_neg()? };
            balance = balance.checked_add(amount)?;
            let written = match side {
                Side::Debit => transfer.debit_balance,
                Side::Credit => transfer.credit_balance,
            };
            let on = jurisdiction.date_at(transfer.effective_at);
            (written == balance).then_some(Entry { on, side, amount, balance, transfer })
        });
        entries.collect()
    }
}

/// A statement in a form that is a stream of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Comma-separated values.
    Csv,
    /// ISO 20022 camt.053.
    Camt,
}

impl Form {
    fn head(self, statement: &Statement) -> Vec<u8> {
        match self {
            Self::Csv => csv::head(statement),
            Self::Camt => camt::head(statement),
        }
    }

    fn entries(self, statement: &Statement, entries: &[Entry]) -> Vec<u8> {
        match self {
            Self::Csv => csv::entries(statement, entries),
            Self::Camt => camt::entries(statement, entries),
        }
    }

    fn tail(self, statement: &Statement) -> Vec<u8> {
        match self {
            Self::Csv => csv::tail(statement),
            Self::Camt => camt::tail(),
        }
    }
}

/// How many entries a stream reads at a time.
const CHUNK: usize = 1_000;

/// A statement as bytes, chunk by chunk.
struct Writing {
    db: Db,
    scope: Scope,
    jurisdiction: &'static Jurisdiction,
    statement: Statement,
    form: Form,
    /// Where the next chunk begins; `None` when all is written.
    next: Option<Place>,
}

impl Writing {
    /// The next bytes; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let Some(place) = self.next else { return Ok(None) };
        let tx = self.db.begin_read(self.scope).await?;
        let chunk = self.statement.chunk_in_tx(&tx, self.scope, self.jurisdiction, place, CHUNK).await?;
        tx.commit().await?;
        let mut bytes = if place.seq == 0 { self.form.head(&self.statement) } else { Vec::new() };
        bytes.extend(self.form.entries(&self.statement, &chunk.entries));
        if chunk.next.is_none() {
            bytes.extend(self.form.tail(&self.statement));
        }
        self.next = chunk.next;
        Ok(Some(bytes))
    }
}

/// The name of a kind of movement on the wire.
fn kind(entry: &Entry) -> String {
    let name = serde_json::to_value(entry.transfer.kind).ok();
    name.as_ref().and_then(|name| name.as_str()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(from: &str, to: &str) -> Result<Period, PeriodError> {
        let profile = tenants::profile::profile(&"mx-cnbv".parse().unwrap()).unwrap();
        let now = "2026-03-01T05:59:59Z".parse().unwrap();
        Period::of(&profile.jurisdiction, from.parse().unwrap(), to.parse().unwrap(), now)
    }

    #[test]
    fn a_period_is_whole_days_where_the_bank_is() {
        let february = period("2026-02-01", "2026-02-28").unwrap();
        assert_eq!(february.from, "2026-02-01T06:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(february.until, "2026-03-01T06:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert!(february.interim, "it is still February in Mexico");
        assert!(!period("2026-02-01", "2026-02-27").unwrap().interim);
    }

    #[test]
    fn periods_are_bounded() {
        assert_eq!(period("2026-02-02", "2026-02-01"), Err(PeriodError::Reversed));
        assert!(period("2025-02-28", "2026-02-28").is_ok(), "366 days");
        assert_eq!(period("2025-02-27", "2026-02-28"), Err(PeriodError::TooLong));
        let today = "2026-02-28".parse().unwrap();
        assert_eq!(period("2026-02-28", "2026-03-01"), Err(PeriodError::InFuture(today)));
        let antiquity = period("-0044-03-15", "-0044-03-15").unwrap();
        assert_eq!(antiquity.from, antiquity.until);
    }
}
