//! The files of an export, in the order in which they are written: what moves first comes first, so that what moves while
//! the rest is read is noticed.

use sea_orm::DbErr;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};
use uuid::Uuid;

use crate::{
    accounts,
    environments::{Described, Page, ReadError, Reader, Source},
    parties, payments,
};

/// All of them.
pub const SOURCES: &[Source] = &[
    Source {
        name: "transfers",
        about: "Everything that moved, was held or was released, in order.",
        schema: schema::<ledger::export::TransferLine>,
        read: |Reader { db, scope, .. }, after, rows| {
            Box::pin(async move {
                let lines = ledger::export::transfers(&db, scope, number(after)?, rows.into()).await?;
                Page::of(&lines, rows, |line| line.position.to_string())
            })
        },
    },
    Source {
        name: "batches",
        about: "The batches of the hash chain that have transfers of the environment.",
        schema: schema::<ledger::export::BatchLine>,
        read: |Reader { db, scope, .. }, after, _| {
            Box::pin(async move {
                let (lines, last) = ledger::system::batches(&db, scope, number(after)?, FEW.into()).await?;
                let page = Page::of(&lines, FEW, |line| line.batch.to_string())?;
                Ok(Page { last: last.map(|last| last.to_string()), more: last.is_some(), ..page })
            })
        },
    },
    Source {
        name: "accounts",
        about: "Accounts with their totals, the moves of their states and the orders of authorities.",
        schema: schema::<accounts::export::AccountLine>,
        read: |Reader { db, scope, .. }, after, _| {
            Box::pin(async move {
                let after = after.map(|id| id.parse()).transpose().map_err(|_| wrong())?;
                let lines = accounts::export::lines(&db, scope, after, FEW.into()).await?;
                Page::of(&lines, FEW, |line| line.id.to_string())
            })
        },
    },
    Source {
        name: "holds",
        about: "Holds, as they stand.",
        schema: schema::<ledger::export::HoldLine>,
        read: |Reader { db, scope, .. }, after, rows| {
            Box::pin(async move {
                let lines = ledger::export::holds(&db, scope, uuid(after)?, rows.into()).await?;
                Page::of(&lines, rows, |line| line.id.uuid().to_string())
            })
        },
    },
    Source {
        name: "limits",
        about: "Limits beside accounts, and what is used of them.",
        schema: schema::<ledger::export::LimitLine>,
        read: |Reader { db, scope, .. }, after, rows| {
            Box::pin(async move {
                let lines = ledger::export::limits(&db, scope, uuid(after)?, rows.into()).await?;
                // Some lines for each of at most so many accounts.
                let page = Page::of(&lines, rows, |line| line.account_id.uuid().to_string())?;
                Ok(Page { more: !lines.is_empty(), ..page })
            })
        },
    },
    Source {
        name: "parties",
        about: "Natural and legal persons, with everything that is known of them, opened.",
        schema: schema::<parties::export::PartyLine>,
        read: |Reader { db, keys, scope }, after, _| {
            Box::pin(async move {
                let after = after.map(|id| id.parse()).transpose().map_err(|_| wrong())?;
                let lines =
                    parties::export::lines(&db, &keys, scope, after, FEW.into()).await.map_err(unsealed)?;
                Page::of(&lines, FEW, parties::export::at)
            })
        },
    },
    Source {
        name: "payments",
        about: "Payments, and what became of them.",
        schema: schema::<payments::export::PaymentLine>,
        read: |Reader { db, scope, .. }, after, rows| {
            Box::pin(async move {
                let after = after.map(|id| id.parse()).transpose().map_err(|_| wrong())?;
                let filter = payments::Filter { after, ..payments::Filter::default() };
                let found = payments::list(&db, scope, &filter, rows.into()).await.map_err(unpaid)?;
                let lines: Vec<payments::export::PaymentLine> = found.into_iter().map(Into::into).collect();
                Page::of(&lines, rows, |line| line.id.to_string())
            })
        },
    },
];

/// Rows of a page each of which has others to be looked up.
const FEW: u32 = 500;

fn schema<T: ToSchema + PartialSchema>() -> Described {
    let json = |schema: &RefOr<Schema>| serde_json::to_value(schema).unwrap_or_default();
    let mut named = Vec::new();
    T::schemas(&mut named);
    let named = named.into_iter().map(|(name, schema)| (name, json(&schema)));
    (json(&T::schema()), named.collect())
}

/// Reading parties fails in no other way.
fn unsealed(error: parties::Error) -> ReadError {
    match error {
        parties::Error::Keys(error) => error.into(),
        parties::Error::Database(error) => error.into(),
        error => DbErr::Custom(error.to_string()).into(),
    }
}

/// Reading payments fails in no other way.
fn unpaid(error: payments::Error) -> ReadError {
    match error {
        payments::Error::Database(error) => error.into(),
        error => DbErr::Custom(error.to_string()).into(),
    }
}

/// A row of ours that this build did not write.
fn wrong() -> DbErr {
    DbErr::Type("an export goes on after a row that is none".to_owned())
}

fn number(after: Option<String>) -> Result<i64, DbErr> {
    after.map_or(Ok(0), |text| text.parse().map_err(|_| wrong()))
}

fn uuid(after: Option<String>) -> Result<Uuid, DbErr> {
    after.map_or(Ok(Uuid::nil()), |text| text.parse().map_err(|_| wrong()))
}
