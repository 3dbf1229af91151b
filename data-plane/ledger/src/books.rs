//! Accounts and what stands in them, for one environment.
//!
//! Functions whose names end in `_in_tx` join the caller's transaction; state moves by compare-and-set in it.

use chrono::{DateTime, Utc};
use platform::{
    ctx::Scope,
    db::{Backend, Tx},
};
use sea_orm::{
    ConnectionTrait, DbErr, Statement, Value,
    sea_query::{Alias, Expr, Query, SelectStatement},
};
use serde::Serialize;
use tenants::{
    id::{AccountId, TransferId},
    money::Currency,
};
use uuid::Uuid;

use crate::{
    account::{Account, NewAccount, State},
    hold::{Hold, HoldState},
    limit::{Limit, NewLimit},
    store::sql::{self, ACCOUNT, HOLD, LIMIT, TRANSFER, dialect},
    transfer::{Kind, Posted, Side},
};

fn statement(tx: &Tx, sql: &str, values: impl IntoIterator<Item = Value>) -> Statement {
    Statement::from_sql_and_values(dialect(tx.backend()), sql, values)
}

fn key(scope: Scope, id: AccountId) -> [Value; 3] {
    [scope.shard.into(), scope.id.into(), id.uuid().into()]
}

/// Opens an account with nothing in it.
///
/// # Errors
/// A unique violation if the id is taken.
pub async fn open_in_tx(tx: &Tx, scope: Scope, new: &NewAccount) -> Result<(), DbErr> {
    let sql = "INSERT INTO ledger_account (shard_id, environment_id, id, class, currency, state, may_overdraw, \
               limits_revision, debits_posted, credits_posted, debits_held, credits_held, last_effective_at, opened_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, 0, $9, $10)";
    let values = key(scope, new.id).into_iter().chain([
        new.class.code().into(),
        new.currency.code().into(),
        State::Open.code().into(),
        new.may_overdraw.into(),
        0_i64.into(),
        DateTime::<Utc>::UNIX_EPOCH.into(),
        new.opened_at.into(),
    ]);
    tx.execute_raw(statement(tx, sql, values)).await.map(drop)
}

/// Moves an account's state from `from` to `to`; `false` if it was not `from`, or is to be closed and holds money. The
/// row stays locked until the transaction ends, so that no batch comes between.
///
/// # Errors
/// As the database says.
pub async fn move_state_in_tx(
    tx: &Tx,
    scope: Scope,
    id: AccountId,
    from: State,
    to: State,
) -> Result<bool, DbErr> {
    let empty = "AND debits_posted = credits_posted AND debits_held = 0 AND credits_held = 0";
    let sql = format!(
        "UPDATE ledger_account SET state = $4 WHERE shard_id = $1 AND environment_id = $2 AND id = $3 \
         AND state = $5 {}",
        if to == State::Closed { empty } else { "" }
    );
    let values = key(scope, id).into_iter().chain([to.code().into(), from.code().into()]);
    Ok(tx.execute_raw(statement(tx, &sql, values)).await?.rows_affected() == 1)
}

/// Sets an account's limits to exactly these. What is used of a limit stays used when its maximum changes.
///
/// # Errors
/// As the database says.
pub async fn set_limits_in_tx(
    tx: &Tx,
    scope: Scope,
    id: AccountId,
    limits: &[NewLimit],
) -> Result<(), DbErr> {
    let sql = "UPDATE ledger_account SET limits_revision = limits_revision + 1 \
               WHERE shard_id = $1 AND environment_id = $2 AND id = $3";
    tx.execute_raw(statement(tx, sql, key(scope, id))).await?;
    for before in limits_of(tx, scope, id).await? {
        let rule = before.rule;
        if !limits.iter().any(|new| (new.direction, new.window) == (rule.direction, rule.window)) {
            let sql = "DELETE FROM ledger_limit WHERE shard_id = $1 AND environment_id = $2 AND account_id = $3 \
                       AND direction = $4 AND time_window = $5";
            let values =
                key(scope, id).into_iter().chain([rule.direction.code().into(), rule.window.code().into()]);
            tx.execute_raw(statement(tx, sql, values)).await?;
        }
    }
    for new in limits {
        let sql = "INSERT INTO ledger_limit (shard_id, environment_id, account_id, direction, time_window, maximum, \
                   time_zone, used, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8) \
                   ON CONFLICT (shard_id, environment_id, account_id, direction, time_window) \
                   DO UPDATE SET maximum = excluded.maximum, time_zone = excluded.time_zone";
        let values = key(scope, id).into_iter().chain([
            new.direction.code().into(),
            new.window.code().into(),
            new.maximum.into(),
            new.time_zone.name().into(),
            DateTime::<Utc>::UNIX_EPOCH.into(),
        ]);
        tx.execute_raw(statement(tx, sql, values)).await?;
    }
    Ok(())
}

/// The limits beside an account, with what is used of them.
///
/// # Errors
/// As the database says.
pub async fn limits_of(tx: &Tx, scope: Scope, id: AccountId) -> Result<Vec<Limit>, DbErr> {
    let sql = format!(
        "SELECT {LIMIT} FROM ledger_limit AS l WHERE l.shard_id = $1 AND l.environment_id = $2 \
         AND l.account_id = $3 ORDER BY l.direction, l.time_window"
    );
    let rows = tx.query_all_raw(statement(tx, &sql, key(scope, id))).await?;
    rows.iter().map(sql::limit).collect()
}

/// An account as it stands.
///
/// # Errors
/// As the database says.
pub async fn account(tx: &Tx, scope: Scope, id: AccountId) -> Result<Option<Account>, DbErr> {
    let sql = format!(
        "SELECT {ACCOUNT} FROM ledger_account AS t WHERE t.shard_id = $1 AND t.environment_id = $2 AND t.id = $3"
    );
    let row = tx.query_one_raw(statement(tx, &sql, key(scope, id))).await?;
    row.as_ref().map(|row| sql::account(row).map(|found| found.1)).transpose()
}

/// Those of these accounts that there are, as they stand, in no order.
///
/// # Errors
/// As the database says.
pub async fn accounts(tx: &Tx, scope: Scope, ids: &[AccountId]) -> Result<Vec<Account>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let places = (3..).take(ids.len()).map(|place: usize| format!("${place}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {ACCOUNT} FROM ledger_account AS t WHERE t.shard_id = $1 AND t.environment_id = $2 \
         AND t.id IN ({places})"
    );
    let values: [Value; 2] = [scope.shard.into(), scope.id.into()];
    let values = values.into_iter().chain(ids.iter().map(|id| id.uuid().into()));
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    rows.iter().map(|row| sql::account(row).map(|found| found.1)).collect()
}

/// A query of the ids of the accounts in one of these states, to narrow a slice's own query by.
pub fn ids_in_states(scope: Scope, states: &[State]) -> SelectStatement {
    use sea_orm::sea_query::ExprTrait;
    let column = |name: &'static str| Expr::col(Alias::new(name));
    Query::select()
        .column(Alias::new("id"))
        .from(Alias::new("ledger_account"))
        .and_where(column("shard_id").eq(scope.shard))
        .and_where(column("environment_id").eq(scope.id))
        .and_where(column("state").is_in(states.iter().map(|state| state.code())))
        .take()
}

/// A transfer.
///
/// # Errors
/// As the database says.
pub async fn transfer(tx: &Tx, scope: Scope, id: TransferId) -> Result<Option<Posted>, DbErr> {
    let sql = format!(
        "SELECT {TRANSFER} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 AND t.id = $3"
    );
    let values: [Value; 3] = [scope.shard.into(), scope.id.into(), id.uuid().into()];
    let row = tx.query_one_raw(statement(tx, &sql, values)).await?;
    row.as_ref().map(sql::posted).transpose()
}

/// A hold.
///
/// # Errors
/// As the database says.
pub async fn hold(tx: &Tx, scope: Scope, id: TransferId) -> Result<Option<Hold>, DbErr> {
    let sql = format!(
        "SELECT {HOLD} FROM ledger_hold AS t WHERE t.shard_id = $1 AND t.environment_id = $2 AND t.id = $3"
    );
    let values: [Value; 3] = [scope.shard.into(), scope.id.into(), id.uuid().into()];
    let row = tx.query_one_raw(statement(tx, &sql, values)).await?;
    row.as_ref().map(sql::hold).transpose()
}

/// The holds of an environment in the order of their ids, after the one of id `after`, at most `limit`; only those on the
/// debit side of `account`, and those in `state`, if there is one.
///
/// # Errors
/// As the database says.
pub async fn list_holds(
    tx: &Tx,
    scope: Scope,
    account: Option<AccountId>,
    state: Option<HoldState>,
    after: Option<TransferId>,
    limit: u64,
) -> Result<Vec<Hold>, DbErr> {
    let after = after.map_or(Uuid::nil(), TransferId::uuid);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut values: Vec<Value> = vec![scope.shard.into(), scope.id.into(), after.into(), limit.into()];
    let mut sql = format!(
        "SELECT {HOLD} FROM ledger_hold AS t WHERE t.shard_id = $1 AND t.environment_id = $2 AND t.id > $3"
    );
    let account = account.map(|account| ("debit_account", account.uuid().into()));
    let state = state.map(|state| ("state", state.code().into()));
    for (column, value) in account.into_iter().chain(state) {
        values.push(value);
        sql.push_str(&format!(" AND t.{column} = ${}", values.len()));
    }
    sql.push_str(" ORDER BY t.id LIMIT $4");
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    rows.iter().map(sql::hold).collect()
}

/// Those of these holds that were placed, in no order, each with when it ended if it has.
///
/// # Errors
/// As the database says.
pub async fn holds(
    tx: &Tx,
    scope: Scope,
    ids: &[TransferId],
) -> Result<Vec<(Hold, Option<DateTime<Utc>>)>, DbErr> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let places = (3..).take(ids.len()).map(|place: usize| format!("${place}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT {HOLD}, e.effective_at FROM ledger_hold AS t LEFT JOIN ledger_transfer AS e ON e.shard_id = t.shard_id \
         AND e.environment_id = t.environment_id AND e.id = t.resolved_by \
         WHERE t.shard_id = $1 AND t.environment_id = $2 AND t.id IN ({places})"
    );
    let values: [Value; 2] = [scope.shard.into(), scope.id.into()];
    let values = values.into_iter().chain(ids.iter().map(|id| id.uuid().into()));
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    rows.iter().map(|row| Ok((sql::hold(row)?, row.try_get_by_index(11)?))).collect()
}

/// The transfers of an account in their order, after position `after` (0, or one of its own transfers'), at most `limit`;
/// with the side that is the account's. Summed from the first, they explain its balance.
///
/// # Errors
/// As the database says.
pub async fn entries(
    tx: &Tx,
    scope: Scope,
    id: AccountId,
    after: i64,
    limit: u64,
) -> Result<Vec<(Side, Posted)>, DbErr> {
    // An account's effective times follow its positions, so that the index over both gives the page without a sort.
    let side = |column: &str| {
        format!(
            "SELECT {TRANSFER} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 \
             AND t.{column} = $3 AND t.seq > $4 AND t.effective_at >= coalesce((SELECT p.effective_at \
             FROM ledger_transfer AS p WHERE p.shard_id = $1 AND p.environment_id = $2 AND p.seq = $4), $6) \
             ORDER BY t.effective_at, t.seq LIMIT $5"
        )
    };
    let mut found = Vec::new();
    for (side_of, column) in [(Side::Debit, "debit_account"), (Side::Credit, "credit_account")] {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = key(scope, id).into_iter().chain([
            after.into(),
            limit.into(),
            DateTime::<Utc>::UNIX_EPOCH.into(),
        ]);
        for row in tx.query_all_raw(statement(tx, &side(column), values)).await? {
            found.push((side_of, sql::posted(&row)?));
        }
    }
    found.sort_unstable_by_key(|(_, row)| row.seq);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}

/// An account and its [`entries`], both as of one moment. Call it first in a transaction.
///
/// # Errors
/// As the database says.
pub async fn explanation(
    tx: &Tx,
    scope: Scope,
    id: AccountId,
    after: i64,
    limit: u64,
) -> Result<Option<(Account, Vec<(Side, Posted)>)>, DbErr> {
    if tx.backend() == Backend::Postgres {
        tx.execute_unprepared("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").await?;
    }
    let Some(account) = account(tx, scope, id).await? else { return Ok(None) };
    Ok(Some((account, entries(tx, scope, id, after, limit).await?)))
}

/// The transfers of an environment in their order, after position `after`, at most `limit`.
///
/// # Errors
/// As the database says.
pub async fn transfers(tx: &Tx, scope: Scope, after: i64, limit: u64) -> Result<Vec<Posted>, DbErr> {
    let sql = format!(
        "SELECT {TRANSFER} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 \
         AND t.seq > $3 ORDER BY t.seq LIMIT $4"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values: [Value; 4] = [scope.shard.into(), scope.id.into(), after.into(), limit.into()];
    let rows = tx.query_all_raw(statement(tx, &sql, values)).await?;
    rows.iter().map(sql::posted).collect()
}

/// The posted balance of an account at an instant (effective time), on its normal side; `None` before its first
/// transfer. Holds are not part of it.
///
/// # Errors
/// As the database says.
pub async fn balance_at(
    tx: &Tx,
    scope: Scope,
    id: AccountId,
    at: DateTime<Utc>,
) -> Result<Option<i64>, DbErr> {
    let mut newest: Option<(i64, i64)> = None;
    for (column, balance) in [("debit_account", "debit_balance"), ("credit_account", "credit_balance")] {
        let sql = format!(
            "SELECT t.seq, t.{balance} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 \
             AND t.{column} = $3 AND t.effective_at <= $4 ORDER BY t.effective_at DESC, t.seq DESC LIMIT 1"
        );
        let values = key(scope, id).into_iter().chain([at.into()]);
        if let Some(row) = tx.query_one_raw(statement(tx, &sql, values)).await? {
            newest = newest.max(Some((row.try_get_by_index(0)?, row.try_get_by_index(1)?)));
        }
    }
    Ok(newest.map(|(_, balance)| balance))
}

/// Where an account stood: after which transfer, and with which posted balance on its normal side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// Position of its newest transfer.
    pub seq: i64,
    /// Posted balance, minor units.
    pub balance: i64,
    /// When that transfer took effect.
    pub effective_at: DateTime<Utc>,
}

/// Where an account stood before the instant `before` (effective time), by transfers up to position `through` only;
/// `None` before its first one. With the same `through` the answer stays the same, whatever is imported later.
///
/// # Errors
/// As the database says.
pub async fn standing(
    tx: &Tx,
    scope: Scope,
    id: AccountId,
    before: DateTime<Utc>,
    through: i64,
) -> Result<Option<Standing>, DbErr> {
    let mut newest = None;
    for (column, balance) in [("debit_account", "debit_balance"), ("credit_account", "credit_balance")] {
        let sql = format!(
            "SELECT t.seq, t.{balance}, t.effective_at FROM ledger_transfer AS t \
             WHERE t.shard_id = $1 AND t.environment_id = $2 \
             AND t.{column} = $3 AND t.effective_at < $4 AND t.seq <= $5 \
             ORDER BY t.effective_at DESC, t.seq DESC LIMIT 1"
        );
        let values = key(scope, id).into_iter().chain([before.into(), through.into()]);
        if let Some(row) = tx.query_one_raw(statement(tx, &sql, values)).await? {
            let (seq, balance) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            let found = Standing { seq, balance, effective_at: row.try_get_by_index(2)? };
            newest = newest.max(Some(found));
        }
    }
    Ok(newest)
}

/// A part of an account's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Effective at this instant or later.
    pub from: DateTime<Utc>,
    /// Effective before this instant.
    pub until: DateTime<Utc>,
    /// After this position.
    pub after: i64,
    /// Up to this position.
    pub through: i64,
}

/// The transfers within `span` that changed an account's posted balance, in order, at most `limit`; with the side that
/// is the account's. Holds, their release and their expiry are not among them.
///
/// # Errors
/// As the database says.
pub async fn postings(
    tx: &Tx,
    scope: Scope,
    id: AccountId,
    span: &Span,
    limit: u64,
) -> Result<Vec<(Side, Posted)>, DbErr> {
    let silent = Kind::ALL.into_iter().filter(|kind| !kind.posts());
    let silent = silent.map(|kind| kind.code().to_string()).collect::<Vec<_>>().join(", ");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut found = Vec::new();
    for (side_of, column) in [(Side::Debit, "debit_account"), (Side::Credit, "credit_account")] {
        let sql = format!(
            "SELECT {TRANSFER} FROM ledger_transfer AS t WHERE t.shard_id = $1 AND t.environment_id = $2 \
             AND t.{column} = $3 AND t.effective_at >= $4 AND t.effective_at < $5 AND t.seq > $6 AND t.seq <= $7 \
             AND t.kind NOT IN ({silent}) ORDER BY t.effective_at, t.seq LIMIT $8"
        );
        let values = key(scope, id).into_iter().chain([
            span.from.into(),
            span.until.into(),
            span.after.into(),
            span.through.into(),
            limit.into(),
        ]);
        for row in tx.query_all_raw(statement(tx, &sql, values)).await? {
            found.push((side_of, sql::posted(&row)?));
        }
    }
    found.sort_unstable_by_key(|(_, row)| row.seq);
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(found)
}

/// One line of a trial balance; minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrialBalanceLine {
    /// The line's currency.
    pub currency: Currency,
    /// Sum of posted debits of every account.
    pub debits: i128,
    /// Sum of posted credits; equal to `debits`, or the books are wrong.
    pub credits: i128,
    /// Number of accounts.
    pub accounts: u64,
}

/// Sums per currency, made by the database from every account of the environment.
///
/// # Errors
/// As the database says.
pub async fn trial_balance(tx: &Tx, scope: Scope) -> Result<Vec<TrialBalanceLine>, DbErr> {
    // SQLite's sums have 64 bits, so the high and the low 32 bits are summed apart.
    let halves = |column: &str| {
        format!("CAST(sum(t.{column} / 4294967296) AS bigint), CAST(sum(t.{column} % 4294967296) AS bigint)")
    };
    let sql = format!(
        "SELECT t.currency, count(*), {}, {} FROM ledger_account AS t \
         WHERE t.shard_id = $1 AND t.environment_id = $2 GROUP BY t.currency",
        halves("debits_posted"),
        halves("credits_posted")
    );
    let values: [Value; 2] = [scope.shard.into(), scope.id.into()];
    let mut lines = Vec::new();
    for row in tx.query_all_raw(statement(tx, &sql, values)).await? {
        let number = |index: usize| row.try_get_by_index::<i64>(index);
        let whole =
            |high: i64, low: i64| i128::from(high).saturating_mul(1 << 32).saturating_add(i128::from(low));
        lines.push(TrialBalanceLine {
            currency: sql::currency(&row, 0)?,
            debits: whole(number(2)?, number(3)?),
            credits: whole(number(4)?, number(5)?),
            accounts: u64::try_from(number(1)?).unwrap_or_default(),
        });
    }
    lines.sort_unstable_by_key(|line| line.currency);
    Ok(lines)
}
