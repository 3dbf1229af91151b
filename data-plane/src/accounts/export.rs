//! Accounts as lines of an export.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use ledger::{account::Class, books};
use platform::{ctx::Scope, db::Db};
use sea_orm::DbErr;
use serde::Serialize;
use tenants::{
    id::{AccountId, PartyId, TransferId},
    money::Currency,
};
use utoipa::ToSchema;

use super::{
    model::{Kind, Metadata, Owner, Reason, state_name},
    store::{Accounts, Filter},
};

/// An account with its totals, every move of its state and every authority's order. Amounts are minor units.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedAccount)]
pub struct AccountLine {
    /// Its id.
    pub id: AccountId,
    /// A customer's, or the institution's own.
    pub kind: Kind,
    /// A customer's account: whose it is.
    pub party_id: Option<PartyId>,
    /// An internal account: what people call it.
    pub name: Option<String>,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// The element of the accounting equation; assets and expenses grow by debits, the others by credits.
    pub class: Class,
    /// Of all amounts here.
    pub currency: Currency,
    /// Whether its balance may fall below zero.
    pub may_overdraw: bool,
    /// What it takes part in.
    pub state: &'static str,
    /// Sum of posted debits.
    pub debits_posted: i64,
    /// Sum of posted credits.
    pub credits_posted: i64,
    /// Sum of open holds on the debit side.
    pub debits_held: i64,
    /// Sum of open holds on the credit side.
    pub credits_held: i64,
    /// The caller's own pairs.
    pub metadata: Metadata,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// Every move of its state, in order.
    pub moves: Vec<MoveLine>,
    /// Every authority's order, in order.
    pub blocks: Vec<BlockLine>,
}

/// A move of an account's state.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedMove)]
pub struct MoveLine {
    /// Counts from 1.
    pub number: i64,
    /// Where to.
    pub to: String,
    /// Why.
    pub reason: Reason,
    /// Who asked.
    pub actor: String,
    /// The request that asked.
    pub request_id: String,
    /// When.
    pub moved_at: DateTime<Utc>,
}

/// An authority's order to block an amount.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedBlock)]
pub struct BlockLine {
    /// The hold that sets the amount aside.
    pub hold_id: TransferId,
    /// Who ordered it.
    pub authority: String,
    /// Its own reference.
    pub reference: String,
    /// How much at most.
    pub amount: i64,
    /// Where the money goes if the order is executed.
    pub beneficiary_id: AccountId,
    /// Who wrote it down.
    pub actor: String,
    /// When.
    pub ordered_at: DateTime<Utc>,
    /// Why its release was asked for, if it was.
    pub release_reason: Option<Reason>,
}

/// At most `limit` accounts of an environment after an id, in the order of ids.
///
/// # Errors
/// The database's.
pub async fn lines(
    db: &Db,
    scope: Scope,
    after: Option<AccountId>,
    limit: u64,
) -> Result<Vec<AccountLine>, DbErr> {
    let tx = db.begin_read(scope).await?;
    let accounts = Accounts::new(&tx, scope);
    let records = accounts.list(&Filter { after, ..Filter::default() }, limit).await?;
    let ids: Vec<AccountId> = records.iter().map(|record| record.id).collect();
    let books = books::accounts(&tx, scope, &ids).await?;
    let mut books: HashMap<AccountId, _> = books.into_iter().map(|row| (row.id, row)).collect();
    let mut moves = HashMap::<AccountId, Vec<MoveLine>>::new();
    for (id, line) in accounts.moves_of(&ids).await? {
        moves.entry(id).or_default().push(line);
    }
    let mut blocks = HashMap::<AccountId, Vec<BlockLine>>::new();
    for (id, line) in accounts.blocks_of(&ids).await? {
        blocks.entry(id).or_default().push(line);
    }
    tx.commit().await?;
    let line = |record: super::model::Record| {
        let missing = || DbErr::RecordNotFound(format!("the ledger lacks account {}", record.id));
        let books = books.remove(&record.id).ok_or_else(missing)?;
        let (kind, party_id, name) = match record.owner {
            Owner::Customer(party) => (Kind::Customer, Some(party), None),
            Owner::Internal(name) => (Kind::Internal, None, Some(name)),
        };
        Ok(AccountLine {
            id: record.id,
            kind,
            party_id,
            name,
            external_id: record.external_id,
            class: books.class,
            currency: books.currency,
            may_overdraw: books.may_overdraw,
            state: state_name(books.state),
            debits_posted: books.debits_posted,
            credits_posted: books.credits_posted,
            debits_held: books.debits_held,
            credits_held: books.credits_held,
            metadata: record.metadata,
            opened_at: record.opened_at,
            moves: moves.remove(&record.id).unwrap_or_default(),
            blocks: blocks.remove(&record.id).unwrap_or_default(),
        })
    };
    records.into_iter().map(line).collect()
}
