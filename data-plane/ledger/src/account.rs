//! An account of the ledger: what it may do, and what it holds.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{id::AccountId, money::Currency};

use crate::transfer::Side;

/// The element of the accounting equation an account belongs to; it fixes the side on which the account grows.
///
/// Source: IFRS Conceptual Framework for Financial Reporting (2018), chapter 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AccountClass)]
pub enum Class {
    /// What the institution owns or is owed: cash, settlement accounts at the central bank, loans. Grows by debits.
    Asset,
    /// What the institution owes: customers' deposits. Grows by credits.
    Liability,
    /// What belongs to the institution's owners. Grows by credits.
    Equity,
    /// What the institution has earned: fees, interest. Grows by credits.
    Income,
    /// What the institution has spent. Grows by debits.
    Expense,
}

impl Class {
    /// Every class, in the order of the database's codes.
    pub const ALL: [Class; 5] =
        [Class::Asset, Class::Liability, Class::Equity, Class::Income, Class::Expense];

    /// The side that makes an account of this class grow.
    pub fn normal_side(self) -> Side {
        match self {
            Class::Asset | Class::Expense => Side::Debit,
            Class::Liability | Class::Equity | Class::Income => Side::Credit,
        }
    }

    /// The code in the database.
    pub(crate) fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// Whether an account takes part in transfers, and on which side. Holds may be voided and expire in every state but
/// [`State::Closed`], which has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// On both sides.
    Open,
    /// It takes credits, and no debits: from a customer nothing goes out.
    DebitsFrozen,
    /// It takes debits, and no credits: to a customer nothing comes in.
    CreditsFrozen,
    /// It takes neither.
    Frozen,
    /// Nothing moves, ever again. Reached only with no balance and no hold.
    Closed,
}

impl State {
    /// Every state, in the order of the database's codes.
    pub const ALL: [State; 5] =
        [State::Open, State::DebitsFrozen, State::CreditsFrozen, State::Frozen, State::Closed];

    /// Whether a freeze keeps postings and holds off this side.
    pub fn freezes(self, side: Side) -> bool {
        match self {
            State::Open | State::Closed => false,
            State::DebitsFrozen => side == Side::Debit,
            State::CreditsFrozen => side == Side::Credit,
            State::Frozen => true,
        }
    }

    /// The code in the database.
    pub(crate) fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        Self::ALL.get(usize::try_from(code).ok()?).copied()
    }
}

/// What an account is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    /// Chosen by the caller; the account's id in every slice.
    pub id: AccountId,
    /// Fixes the normal side.
    pub class: Class,
    /// Every transfer of this account is in this currency.
    pub currency: Currency,
    /// Whether the balance may fall below zero on the normal side: true for settlement and nostro accounts, false for
    /// customers.
    pub may_overdraw: bool,
    /// Environment time.
    pub opened_at: DateTime<Utc>,
}

/// An account's row: four running totals in minor units, from which every balance follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Fixes the normal side.
    pub class: Class,
    /// Of every amount below.
    pub currency: Currency,
    /// Whether it takes part in transfers.
    pub state: State,
    /// Whether the balance may fall below zero.
    pub may_overdraw: bool,
    /// How often its limits were set; 0: never, so that there are none. Whoever decided by limits as they were finds it
    /// changed.
    pub limits_revision: i64,
    /// Sum of posted debits.
    pub debits_posted: i64,
    /// Sum of posted credits.
    pub credits_posted: i64,
    /// Sum of open holds on the debit side.
    pub debits_held: i64,
    /// Sum of open holds on the credit side.
    pub credits_held: i64,
    /// Effective time of its newest transfer; no later transfer has an earlier one.
    pub last_effective_at: DateTime<Utc>,
}

impl Account {
    /// The posted balance on the normal side; negative when overdrawn. `None` on overflow, which the rules exclude.
    pub fn balance(&self) -> Option<i64> {
        match self.class.normal_side() {
            Side::Credit => self.credits_posted.checked_sub(self.debits_posted),
            Side::Debit => self.debits_posted.checked_sub(self.credits_posted),
        }
    }

    /// What holds have set aside: on their way out.
    pub fn held(&self) -> i64 {
        match self.class.normal_side() {
            Side::Credit => self.debits_held,
            Side::Debit => self.credits_held,
        }
    }

    /// What holds will bring in if captured; not available yet.
    pub fn incoming(&self) -> i64 {
        match self.class.normal_side() {
            Side::Credit => self.credits_held,
            Side::Debit => self.debits_held,
        }
    }

    /// Balance less holds: what may still go out.
    pub fn available(&self) -> Option<i64> {
        self.balance()?.checked_sub(self.held())
    }
}
