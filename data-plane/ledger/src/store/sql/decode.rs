//! Rows of the database as the ledger's types.

use chrono::{DateTime, Utc};
use sea_orm::{DbErr, QueryResult};
use tenants::{
    id::{AccountId, ClientId, TransferId},
    money::Currency,
};
use uuid::Uuid;

use crate::{
    account::{Account, Class, State},
    hold::{Hold, HoldState},
    limit::{Direction, Limit, NewLimit, Window},
    outcome::{Reason, Rejection},
    rules::{Known, TransferKey},
    store::Head,
    transfer::{Kind, Posted},
};

/// The columns that [`posted`] reads, in order.
pub(crate) const TRANSFER: &str = "t.environment_id, t.id, t.seq, t.kind, t.debit_account, t.credit_account, t.amount, \
     t.currency, t.hold_id, t.reverses, t.chain_id, t.imported, t.debit_balance, t.credit_balance, t.effective_at, \
     t.booked_at, t.content, t.actor, t.client_id, t.request_id, t.idempotency_key, t.reference";

/// The columns that [`account`] reads, in order.
pub(crate) const ACCOUNT: &str = "t.environment_id, t.id, t.class, t.currency, t.state, t.may_overdraw, t.limits_revision, \
     t.debits_posted, t.credits_posted, t.debits_held, t.credits_held, t.last_effective_at";

/// The columns that [`hold`] reads, in order.
pub(crate) const HOLD: &str = "t.environment_id, t.id, t.debit_account, t.credit_account, t.amount, t.currency, \
     t.state, t.captured, t.expires_at, t.placed_at, t.resolved_by";

/// The columns that [`limit`] reads.
pub(crate) const LIMIT: &str =
    "l.account_id, l.direction, l.time_window, l.maximum, l.time_zone, l.used, l.started_at";

/// A value that no version of this program writes.
fn unknown(what: &str) -> DbErr {
    DbErr::Type(format!("the ledger does not know this {what}"))
}

/// The currency in this column.
pub(crate) fn currency(row: &QueryResult, index: usize) -> Result<Currency, DbErr> {
    Currency::parse(&row.try_get_by_index::<String>(index)?).ok_or_else(|| unknown("currency"))
}

pub(super) fn head(row: &QueryResult) -> Result<Head, DbErr> {
    Ok(Head {
        batch: row.try_get_by_index(0)?,
        seq: row.try_get_by_index(1)?,
        hash: row.try_get_by_index::<Vec<u8>>(2)?.try_into().map_err(|_| unknown("hash"))?,
        booked_at: row.try_get_by_index(3)?,
    })
}

/// A transfer.
pub(crate) fn posted(row: &QueryResult) -> Result<Posted, DbErr> {
    let transfer = |index| -> Result<Option<TransferId>, DbErr> {
        Ok(row.try_get_by_index::<Option<Uuid>>(index)?.map(TransferId::from_uuid))
    };
    let text = |index| -> Result<Option<Box<str>>, DbErr> {
        Ok(row.try_get_by_index::<Option<String>>(index)?.map(String::into_boxed_str))
    };
    Ok(Posted {
        environment: row.try_get_by_index(0)?,
        id: TransferId::from_uuid(row.try_get_by_index(1)?),
        seq: row.try_get_by_index(2)?,
        kind: Kind::from_code(row.try_get_by_index(3)?).ok_or_else(|| unknown("kind"))?,
        debit: AccountId::from_uuid(row.try_get_by_index(4)?),
        credit: AccountId::from_uuid(row.try_get_by_index(5)?),
        amount: row.try_get_by_index(6)?,
        currency: currency(row, 7)?,
        hold: transfer(8)?,
        reverses: transfer(9)?,
        chain: transfer(10)?,
        imported: row.try_get_by_index::<i16>(11)? != 0,
        debit_balance: row.try_get_by_index(12)?,
        credit_balance: row.try_get_by_index(13)?,
        effective_at: row.try_get_by_index(14)?,
        booked_at: row.try_get_by_index(15)?,
        content: row.try_get_by_index::<Vec<u8>>(16)?.try_into().map_err(|_| unknown("content hash"))?,
        actor: row.try_get_by_index::<String>(17)?.into(),
        client: row.try_get_by_index::<Option<Uuid>>(18)?.map(ClientId::from_uuid),
        request_id: row.try_get_by_index::<String>(19)?.into(),
        key: text(20)?,
        reference: text(21)?,
    })
}

pub(super) fn rejected(row: &QueryResult) -> Result<(TransferKey, Known), DbErr> {
    let key = (row.try_get_by_index(0)?, TransferId::from_uuid(row.try_get_by_index(1)?));
    let content = row.try_get_by_index::<Vec<u8>>(2)?.try_into().map_err(|_| unknown("content hash"))?;
    let number = i16::try_from(row.try_get_by_index::<i32>(3)?).map_err(|_| unknown("reason"))?;
    let reason = Reason::from_number(number).ok_or_else(|| unknown("reason"))?;
    let detail = row.try_get_by_index::<String>(4)?;
    let detail = serde_json::from_str(&detail).map_err(|_| unknown("detail"))?;
    Ok((key, Known::Rejected { content, rejection: Rejection { reason, detail, replayed: true } }))
}

/// An account with its environment.
pub(crate) fn account(row: &QueryResult) -> Result<(Uuid, Account), DbErr> {
    let account = Account {
        id: AccountId::from_uuid(row.try_get_by_index(1)?),
        class: Class::from_code(row.try_get_by_index(2)?).ok_or_else(|| unknown("class"))?,
        currency: currency(row, 3)?,
        state: State::from_code(row.try_get_by_index(4)?).ok_or_else(|| unknown("state"))?,
        may_overdraw: row.try_get_by_index(5)?,
        limits_revision: row.try_get_by_index(6)?,
        debits_posted: row.try_get_by_index(7)?,
        credits_posted: row.try_get_by_index(8)?,
        debits_held: row.try_get_by_index(9)?,
        credits_held: row.try_get_by_index(10)?,
        last_effective_at: row.try_get_by_index(11)?,
    };
    Ok((row.try_get_by_index(0)?, account))
}

/// A hold.
pub(crate) fn hold(row: &QueryResult) -> Result<Hold, DbErr> {
    Ok(Hold {
        environment: row.try_get_by_index(0)?,
        id: TransferId::from_uuid(row.try_get_by_index(1)?),
        debit: AccountId::from_uuid(row.try_get_by_index(2)?),
        credit: AccountId::from_uuid(row.try_get_by_index(3)?),
        amount: row.try_get_by_index(4)?,
        currency: currency(row, 5)?,
        state: HoldState::from_code(row.try_get_by_index(6)?).ok_or_else(|| unknown("state"))?,
        captured: row.try_get_by_index(7)?,
        expires_at: row.try_get_by_index::<Option<DateTime<Utc>>>(8)?,
        placed_at: row.try_get_by_index(9)?,
        resolved_by: row.try_get_by_index::<Option<Uuid>>(10)?.map(TransferId::from_uuid),
    })
}

/// A limit.
pub(crate) fn limit(row: &QueryResult) -> Result<Limit, DbErr> {
    let rule = NewLimit {
        direction: Direction::from_code(row.try_get_by("direction")?).ok_or_else(|| unknown("direction"))?,
        window: Window::from_code(row.try_get_by("time_window")?).ok_or_else(|| unknown("window"))?,
        maximum: row.try_get_by("maximum")?,
        time_zone: row.try_get_by::<String, _>("time_zone")?.parse().map_err(|_| unknown("time zone"))?,
    };
    Ok(Limit {
        account: AccountId::from_uuid(row.try_get_by("account_id")?),
        rule,
        used: row.try_get_by("used")?,
        started_at: row.try_get_by("started_at")?,
    })
}

/// An account, and a limit of it if there is one.
pub(super) fn limited(row: &QueryResult) -> Result<((Uuid, Account), Option<Limit>), DbErr> {
    let limited = row.try_get_by::<Option<Uuid>, _>("account_id")?.is_some();
    Ok((account(row)?, if limited { Some(limit(row)?) } else { None }))
}
