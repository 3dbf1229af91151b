//! Holds: amounts set aside, and what became of them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, TransferId},
    money::Currency,
};
use uuid::Uuid;

/// Where a hold stands. `Held` and `Blocked` are the only states that are left, and they are left once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HoldStatus)]
pub enum HoldState {
    /// The amount is set aside.
    Held,
    /// Posted, in part or whole; the rest was released.
    Captured,
    /// Released by request.
    Voided,
    /// Released because its time was over.
    Expired,
    /// The amount is set aside by order of an authority: neither captured nor voided as a hold is.
    Blocked,
}

impl HoldState {
    /// The code in the database.
    pub(crate) fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        use HoldState::{Blocked, Captured, Expired, Held, Voided};
        [Held, Captured, Voided, Expired, Blocked].get(usize::try_from(code).ok()?).copied()
    }
}

/// A hold's row, beside the immutable transfer that placed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// The environment it belongs to.
    pub environment: Uuid,
    /// The id of the transfer that placed it.
    pub id: TransferId,
    /// The account on whose debit side the amount is held.
    pub debit: AccountId,
    /// The account on whose credit side the amount is held.
    pub credit: AccountId,
    /// Minor units.
    pub amount: i64,
    /// Of the amount.
    pub currency: Currency,
    /// Where it stands.
    pub state: HoldState,
    /// What was captured, once it was.
    pub captured: Option<i64>,
    /// When it ends by itself. `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was placed.
    pub placed_at: DateTime<Utc>,
    /// The transfer that ended it.
    pub resolved_by: Option<TransferId>,
}
