//! What leaves an environment whole: its transfers with what the hash chain says of them, its holds and its limits, as
//! lines of a file that somebody else can check.
//!
//! The chain is its shard's, and other environments' transfers are in it, which are nobody else's to see. So of each batch
//! that has transfers of the environment its hashes are told, and whether it has others as well: a batch that is all the
//! environment's own can be hashed again by anybody ([`crate::chain`] says how), the others' hashes can only be kept and
//! compared.

use chrono::{DateTime, Utc};
use platform::{
    ctx::Scope,
    db::{Backend, Db},
};
use sea_orm::{ConnectionTrait, DbErr, Statement, Value};
use serde::Serialize;
use tenants::{
    id::{AccountId, ClientId, TransferId},
    money::Currency,
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    hold::{Hold, HoldState},
    limit::{Direction, Limit, Window},
    store::sql::{self, HOLD, LIMIT, TRANSFER, dialect, posted},
    transfer::{Kind, Posted},
};

/// A transfer, with everything that its batch's hash is made of. Amounts and balances are minor units.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedTransfer)]
pub struct TransferLine {
    /// Its id.
    pub id: TransferId,
    /// Its place in the order of its shard, in which other environments have theirs.
    pub position: i64,
    /// What it is.
    pub r#type: Kind,
    /// The number of its type in the hash.
    pub type_code: i16,
    /// The account that was debited.
    pub debit_account_id: AccountId,
    /// The account that was credited.
    pub credit_account_id: AccountId,
    /// What moved, or was held or released.
    pub amount: i64,
    /// Of all amounts here.
    pub currency: Currency,
    /// The debit account's posted balance afterwards, on its normal side.
    pub debit_balance: i64,
    /// The credit account's posted balance afterwards, on its normal side.
    pub credit_balance: i64,
    /// Of a capture, void or expiry: the hold.
    pub hold_id: Option<TransferId>,
    /// Of a reversal: the transfer that it undoes.
    pub reverses_id: Option<TransferId>,
    /// Of a linked transfer: the first one of its chain.
    pub chain_id: Option<TransferId>,
    /// Whether it came with its own date from another system.
    pub imported: bool,
    /// When it counts.
    pub effective_at: DateTime<Utc>,
    /// When it was written.
    pub booked_at: DateTime<Utc>,
    /// The hash of what was asked for, hexadecimal.
    pub content: String,
    /// Who asked.
    pub actor: String,
    /// The OAuth client, where there was one.
    pub client_id: Option<ClientId>,
    /// The request that carried it.
    pub request_id: String,
    /// The `Idempotency-Key` that it came under.
    pub idempotency_key: Option<String>,
    /// The caller's own text.
    pub reference: Option<String>,
}

impl From<Posted> for TransferLine {
    fn from(row: Posted) -> Self {
        Self {
            id: row.id,
            position: row.seq,
            r#type: row.kind,
            type_code: row.kind.code(),
            debit_account_id: row.debit,
            credit_account_id: row.credit,
            amount: row.amount,
            currency: row.currency,
            debit_balance: row.debit_balance,
            credit_balance: row.credit_balance,
            hold_id: row.hold,
            reverses_id: row.reverses,
            chain_id: row.chain,
            imported: row.imported,
            effective_at: row.effective_at,
            booked_at: row.booked_at,
            content: hex::encode(row.content),
            actor: row.actor.to_string(),
            client_id: row.client,
            request_id: row.request_id.to_string(),
            idempotency_key: row.key.map(Into::into),
            reference: row.reference.map(Into::into),
        }
    }
}

/// A batch of the hash chain that has transfers of the environment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedBatch)]
pub struct BatchLine {
    /// Its number in its shard.
    pub batch: i64,
    /// The shard, as the hash has it.
    pub shard: i32,
    /// The position of its first transfer.
    pub first_position: i64,
    /// The position of its last transfer.
    pub last_position: i64,
    /// How many of its transfers are the environment's own.
    pub own: i64,
    /// The hash of the batch before, hexadecimal.
    pub previous_hash: String,
    /// Its hash, hexadecimal.
    pub hash: String,
}

/// A hold, as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedHold)]
pub struct HoldLine {
    /// The id of the transfer that placed it.
    pub id: TransferId,
    /// Where it stands.
    pub status: HoldState,
    /// The account on whose debit side the amount is held.
    pub debit_account_id: AccountId,
    /// The account on whose credit side the amount is held.
    pub credit_account_id: AccountId,
    /// Minor units.
    pub amount: i64,
    /// Of all amounts here.
    pub currency: Currency,
    /// What was captured of it.
    pub captured: Option<i64>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// When it ends by itself; never, if there is none.
    pub expires_at: Option<DateTime<Utc>>,
    /// The transfer that ended it.
    pub resolved_by_id: Option<TransferId>,
}

impl From<Hold> for HoldLine {
    fn from(row: Hold) -> Self {
        Self {
            id: row.id,
            status: row.state,
            debit_account_id: row.debit,
            credit_account_id: row.credit,
            amount: row.amount,
            currency: row.currency,
            captured: row.captured,
            placed_at: row.placed_at,
            expires_at: row.expires_at,
            resolved_by_id: row.resolved_by,
        }
    }
}

/// A limit beside an account, and what is used of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExportedLimit)]
pub struct LimitLine {
    /// The limited account.
    pub account_id: AccountId,
    /// Which way.
    pub direction: Direction,
    /// Over which time.
    pub window: Window,
    /// At most this much, minor units of the account's currency.
    pub maximum: i64,
    /// Where days and months begin.
    pub time_zone: String,
    /// Used within the window that began at `started_at`.
    pub used: i64,
    /// When the window that `used` counts in began.
    pub started_at: DateTime<Utc>,
}

/// At most `limit` transfers of an environment after a position, in their order.
///
/// # Errors
/// The database's.
pub async fn transfers(db: &Db, scope: Scope, after: i64, limit: i64) -> Result<Vec<TransferLine>, DbErr> {
    let sql = format!(
        "SELECT {TRANSFER} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 AND t.seq > $3 \
         ORDER BY t.seq LIMIT $4"
    );
    let tx = db.begin_read(scope).await?;
    let rows = tx.query_all_raw(statement(tx.backend(), &sql, scope, [after.into(), limit.into()])).await?;
    let lines = rows.iter().map(|row| posted(row).map(TransferLine::from)).collect();
    tx.commit().await?;
    lines
}

/// At most `limit` holds of an environment after an id, in the order of ids.
///
/// # Errors
/// The database's.
pub async fn holds(db: &Db, scope: Scope, after: Uuid, limit: i64) -> Result<Vec<HoldLine>, DbErr> {
    let sql = format!(
        "SELECT {HOLD} FROM ledger_hold AS t WHERE t.shard_id = $1 AND t.environment_id = $2 AND t.id > $3 \
         ORDER BY t.id LIMIT $4"
    );
    let tx = db.begin_read(scope).await?;
    let rows = tx.query_all_raw(statement(tx.backend(), &sql, scope, [after.into(), limit.into()])).await?;
    let lines = rows.iter().map(|row| sql::hold(row).map(HoldLine::from)).collect();
    tx.commit().await?;
    lines
}

/// The limits beside at most `limit` accounts of an environment after an account's id, in the order of accounts.
///
/// # Errors
/// The database's.
pub async fn limits(db: &Db, scope: Scope, after: Uuid, limit: i64) -> Result<Vec<LimitLine>, DbErr> {
    let sql = format!(
        "SELECT {LIMIT} FROM ledger_limit AS l WHERE l.shard_id = $1 AND l.environment_id = $2 AND l.account_id IN \
         (SELECT DISTINCT m.account_id FROM ledger_limit AS m WHERE m.shard_id = $1 AND m.environment_id = $2 \
         AND m.account_id > $3 ORDER BY m.account_id LIMIT $4) ORDER BY l.account_id, l.direction, l.time_window"
    );
    let tx = db.begin_read(scope).await?;
    let rows = tx.query_all_raw(statement(tx.backend(), &sql, scope, [after.into(), limit.into()])).await?;
    let lines = rows.iter().map(|row| sql::limit(row).map(LimitLine::from)).collect();
    tx.commit().await?;
    lines
}

fn statement(backend: Backend, sql: &str, scope: Scope, page: [Value; 2]) -> Statement {
    let [after, limit] = page;
    let values = [scope.shard.into(), scope.id.into(), after, limit];
    Statement::from_sql_and_values(dialect(backend), sql, values)
}

impl From<Limit> for LimitLine {
    fn from(row: Limit) -> Self {
        Self {
            account_id: row.account,
            direction: row.rule.direction,
            window: row.rule.window,
            maximum: row.rule.maximum,
            time_zone: row.rule.time_zone.name().to_owned(),
            used: row.used,
            started_at: row.started_at,
        }
    }
}
