//! What stands on the wire, and how it is read.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};
use utoipa::ToSchema;

use crate::{
    MAX_REFERENCE,
    hold::{Hold, HoldState},
    movements::{Deposit, Fee, PlainTransfer, Withdrawal},
    transfer::{Kind, Posted, Side, Transfer},
};

/// What kind of movement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = MovementType)]
pub(super) enum Type {
    /// Between any two accounts of one currency.
    Transfer,
    /// From an asset account to a liability account: money arrives.
    Deposit,
    /// From a liability account to an asset account: money leaves.
    Withdrawal,
    /// From a liability account to an income account.
    Fee,
}

/// A transfer to be posted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewTransfer, example = json!({
    "type": "transfer", "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6",
    "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7", "amount": {"amount": 12500, "currency": "MXN"},
    "reference": "Invoice 4711"
}))]
pub(super) struct NewTransfer {
    /// Chosen by the caller, fresh for every transfer; else the `Idempotency-Key` stands for one.
    #[serde(default, deserialize_with = "chosen")]
    pub id: Option<TransferId>,
    pub r#type: Type,
    pub debit_account_id: AccountId,
    pub credit_account_id: AccountId,
    pub amount: Money,
    /// Move at most `amount`: what the account on this side has available, if that is less. Only the side of an account
    /// whose balance falls by the transfer, as that of an asset falls on the credit side.
    #[serde(default)]
    pub balancing: Option<Side>,
    /// Of a transfer that is imported from another system: when it took effect there, not before the newest transfer of
    /// either account. Needs the scope `transfers:import`.
    #[serde(default, deserialize_with = "instant")]
    pub effective_at: Option<DateTime<Utc>>,
    /// The caller's own text.
    #[serde(default, deserialize_with = "reference")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 140)]
    pub reference: Option<Box<str>>,
    /// In a batch: the next transfer belongs to the same chain; all of a chain are posted, or none.
    #[serde(default)]
    pub linked: bool,
}

impl NewTransfer {
    pub fn into_transfer(self, id: TransferId, key: Option<Box<str>>) -> Transfer {
        let (debit, credit, money) = (self.debit_account_id, self.credit_account_id, self.amount);
        let movement: Transfer = match self.r#type {
            Type::Transfer => PlainTransfer { id, debit, credit, money }.into(),
            Type::Deposit => Deposit { id, debit, credit, money }.into(),
            Type::Withdrawal => Withdrawal { id, debit, credit, money }.into(),
            Type::Fee => Fee { id, debit, credit, money }.into(),
        };
        Transfer {
            balancing: self.balancing,
            effective_at: self.effective_at,
            linked: self.linked,
            reference: self.reference,
            key,
            ..movement
        }
    }
}

/// A posted transfer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Transfer, example = json!({
    "id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "type": "transfer", "position": 4711,
    "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7",
    "amount": {"amount": 12500, "currency": "MXN"}, "debit_balance": 87500, "credit_balance": 12500,
    "effective_at": "2026-03-01T12:00:00Z", "booked_at": "2026-03-01T12:00:00Z", "reference": "Invoice 4711"
}))]
pub(super) struct Shown<'a> {
    id: TransferId,
    r#type: Kind,
    /// Its place in the order of all transfers of its shard.
    position: i64,
    debit_account_id: AccountId,
    credit_account_id: AccountId,
    /// What moved, or was held or released.
    amount: Money,
    /// The debit account's posted balance afterwards, in minor units.
    debit_balance: i64,
    /// The credit account's posted balance afterwards, in minor units.
    credit_balance: i64,
    /// When it counts.
    effective_at: DateTime<Utc>,
    /// When it was written.
    booked_at: DateTime<Utc>,
    /// Of a capture, void or expiry: the hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_id: Option<TransferId>,
    /// Of a reversal: the transfer that it undoes.
    #[serde(skip_serializing_if = "Option::is_none")]
    reverses_id: Option<TransferId>,
    /// Of a linked transfer: the first one of its chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain_id: Option<TransferId>,
    /// It came with its own date from another system.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    imported: bool,
    /// The caller's own text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reference: Option<&'a str>,
}

impl<'a> From<&'a Posted> for Shown<'a> {
    fn from(row: &'a Posted) -> Self {
        Self {
            id: row.id,
            r#type: row.kind,
            position: row.seq,
            debit_account_id: row.debit,
            credit_account_id: row.credit,
            amount: Money::new(row.amount, row.currency),
            debit_balance: row.debit_balance,
            credit_balance: row.credit_balance,
            effective_at: row.effective_at,
            booked_at: row.booked_at,
            hold_id: row.hold,
            reverses_id: row.reverses,
            chain_id: row.chain,
            imported: row.imported,
            reference: row.reference.as_deref(),
        }
    }
}

/// A hold to be placed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewHold, example = json!({
    "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7",
    "amount": {"amount": 12500, "currency": "MXN"}, "expires_at": "2026-03-08T12:00:00Z"
}))]
pub(super) struct NewHold {
    /// Chosen by the caller, fresh for every hold; else the `Idempotency-Key` stands for one.
    #[serde(default, deserialize_with = "chosen")]
    pub id: Option<TransferId>,
    pub debit_account_id: AccountId,
    pub credit_account_id: AccountId,
    pub amount: Money,
    /// When it ends by itself; never, if it is left out.
    #[serde(default, deserialize_with = "instant")]
    pub expires_at: Option<DateTime<Utc>>,
    /// The caller's own text.
    #[serde(default, deserialize_with = "reference")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 140)]
    pub reference: Option<Box<str>>,
}

/// A hold.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hold, example = json!({
    "id": "trf_01jd4q8e7xf2r9k3m5n7p0s4t6", "status": "held",
    "debit_account_id": "acct_01jd4q8e7xf2r9k3m5n7p0s4t6", "credit_account_id": "acct_01jd4q8e7yg3s0m4n6p8q1t5v7",
    "amount": {"amount": 12500, "currency": "MXN"}, "placed_at": "2026-03-01T12:00:00Z",
    "expires_at": "2026-03-08T12:00:00Z"
}))]
pub(super) struct ShownHold {
    id: TransferId,
    status: HoldState,
    debit_account_id: AccountId,
    credit_account_id: AccountId,
    amount: Money,
    /// What was captured of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    captured: Option<Money>,
    placed_at: DateTime<Utc>,
    /// When it ends by itself; never, if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<DateTime<Utc>>,
    /// The transfer that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    resolved_by_id: Option<TransferId>,
}

impl ShownHold {
    /// As it was placed by this transfer.
    pub fn placed(row: &Posted, expires_at: Option<DateTime<Utc>>) -> Self {
        Self {
            id: row.id,
            status: HoldState::Held,
            debit_account_id: row.debit,
            credit_account_id: row.credit,
            amount: Money::new(row.amount, row.currency),
            captured: None,
            placed_at: row.effective_at,
            expires_at,
            resolved_by_id: None,
        }
    }
}

impl From<Hold> for ShownHold {
    fn from(row: Hold) -> Self {
        Self {
            id: row.id,
            status: row.state,
            debit_account_id: row.debit,
            credit_account_id: row.credit,
            amount: Money::new(row.amount, row.currency),
            captured: row.captured.map(|captured| Money::new(captured, row.currency)),
            placed_at: row.placed_at,
            expires_at: row.expires_at,
            resolved_by_id: row.resolved_by,
        }
    }
}

/// How much of a hold to post.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCapture, example = json!({"amount": {"amount": 9900, "currency": "MXN"}}))]
pub(super) struct NewCapture {
    /// Chosen by the caller; else the `Idempotency-Key` stands for one.
    #[serde(default, deserialize_with = "chosen")]
    pub id: Option<TransferId>,
    /// At most what is held, the rest is released; all of it, if it is left out.
    #[serde(default)]
    pub amount: Option<Money>,
    /// The caller's own text.
    #[serde(default, deserialize_with = "reference")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 140)]
    pub reference: Option<Box<str>>,
}

/// A movement that follows wholly from the object it is about.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewMovement, example = json!({"reference": "Charged twice"}))]
pub(super) struct NewMovement {
    /// Chosen by the caller; else the `Idempotency-Key` stands for one.
    #[serde(default, deserialize_with = "chosen")]
    pub id: Option<TransferId>,
    /// The caller's own text.
    #[serde(default, deserialize_with = "reference")]
    #[schema(value_type = Option<String>, min_length = 1, max_length = 140)]
    pub reference: Option<Box<str>>,
}

/// An instant that every database can keep: to the microsecond, in a year of four digits.
pub(super) fn instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    let Some(at) = Option::<DateTime<Utc>>::deserialize(deserializer)? else { return Ok(None) };
    // By way of the number, which also gives a leap second its one place.
    let kept = DateTime::from_timestamp_micros(at.timestamp_micros());
    match kept {
        Some(kept) if (1..=9999).contains(&kept.year()) => Ok(Some(kept)),
        _ => Err(D::Error::custom("the year has four digits")),
    }
}

/// An id that a caller may choose. The ledger's flows and keys stand for ids of UUID version 8, which anybody could
/// compute and use up before them; the nil id stands for none.
fn chosen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TransferId>, D::Error> {
    let id = Option::<TransferId>::deserialize(deserializer)?;
    let reserved = |id: TransferId| id.uuid().is_nil() || id.uuid().get_version_num() == 8;
    if id.is_some_and(reserved) { Err(D::Error::custom("this id is reserved")) } else { Ok(id) }
}

/// A text that every database can keep and a statement can print: one line, bounded.
fn reference<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<str>>, D::Error> {
    let Some(text) = Option::<Box<str>>::deserialize(deserializer)? else { return Ok(None) };
    let fits = (1..=MAX_REFERENCE).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits {
        Ok(Some(text))
    } else {
        Err(D::Error::custom("1 to 140 characters, none of them control characters"))
    }
}
