//! What becomes of a requested transfer, in a fixed order of precedence.
//!
//! If several reasons apply, the one that stands first in [`Reason`] is given. The order follows TigerBeetle's
//! `create_transfers` reference; the differences are named in `docs/ledger-outcomes.md`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    limit::{Direction, Window},
    transfer::Posted,
};

/// The answer to one requested transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, durably.
    Posted(Arc<Posted>),
    /// Done before under this id with the same content; nothing happened now.
    Replayed(Arc<Posted>),
    /// Not done, and nothing of it is left behind but the record of the refusal.
    Rejected(Rejection),
}

impl Outcome {
    /// The row, whether it was posted now or before.
    pub fn posted(&self) -> Option<&Arc<Posted>> {
        match self {
            Outcome::Posted(row) | Outcome::Replayed(row) => Some(row),
            Outcome::Rejected(_) => None,
        }
    }
}

/// A refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// What the caller needs to know to mend it.
    pub detail: Detail,
    /// Whether this id was refused before, and this is that answer again.
    pub replayed: bool,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Rejection { reason, detail: Detail::None, replayed: false }
    }
}

/// Figures that belong to a refusal; minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Nothing to add.
    None,
    /// Insufficient funds: what was available.
    Available(i64),
    /// Capture beyond the hold: what is held.
    Held(i64),
    /// Limit exceeded: which, and how much of it was left.
    Limit {
        /// Money going out of or coming into the limited account.
        direction: Direction,
        /// Over which time.
        window: Window,
        /// The limit.
        maximum: i64,
        /// What was left of it.
        remaining: i64,
    },
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal $stored:literal;)*) => {
        /// Why a transfer is refused, in order of precedence.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[$doc])* $name = $code,)* }

        impl Reason {
            /// Every reason, in order of precedence.
            pub const ALL: &[Reason] = &[$(Reason::$name),*];

            /// The stable code on the wire.
            pub fn code(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// Whether the refusal depends on what stood in the books at that moment. Such a refusal is kept under the
            /// id, so that the same id never gets another answer; the others follow from the request alone.
            pub fn is_kept(self) -> bool {
                match self { $(Reason::$name => $stored,)* }
            }
        }
    };
}

reasons! {
    /// Another transfer of its chain was refused.
    LinkedTransferFailed = 1 "linked_transfer_failed" false;
    /// The last transfer of the call says that the chain goes on.
    ChainOpen = 2 "chain_open" false;
    /// The id was used before with other content.
    IdReused = 3 "id_reused" false;
    /// Zero or less.
    AmountNotPositive = 4 "amount_not_positive" false;
    /// More than 2^53 − 1.
    AmountTooLarge = 5 "amount_too_large" false;
    /// Debit and credit account are the same.
    AccountsIdentical = 6 "accounts_identical" false;
    /// A hold that would be over before it begins.
    ExpiryNotInFuture = 7 "expiry_not_in_future" true;
    /// An imported transfer that has not happened yet.
    EffectiveInFuture = 8 "effective_in_future" true;
    /// No hold has this id.
    HoldNotFound = 9 "hold_not_found" true;
    /// The hold has been captured.
    HoldAlreadyCaptured = 10 "hold_already_captured" true;
    /// The hold has been voided.
    HoldAlreadyVoided = 11 "hold_already_voided" true;
    /// The hold's time is over.
    HoldExpired = 12 "hold_expired" true;
    /// Expiry of a hold whose time is not over.
    HoldNotExpired = 13 "hold_not_expired" false;
    /// The hold is an authority's block, which no capture or void ends.
    HoldIsBlock = 14 "hold_is_block" true;
    /// More than is held.
    CaptureExceedsHold = 15 "capture_exceeds_hold" true;
    /// No posted transfer has this id.
    OriginalNotFound = 16 "original_not_found" true;
    /// Holds, voids, expiries and reversals cannot be reversed.
    NotReversible = 17 "not_reversible" true;
    /// The original has been reversed.
    AlreadyReversed = 18 "already_reversed" true;
    /// No account of this environment has this id.
    DebitAccountNotFound = 19 "debit_account_not_found" true;
    /// No account of this environment has this id.
    CreditAccountNotFound = 20 "credit_account_not_found" true;
    /// The accounts and the amount are not of one currency.
    CurrencyMismatch = 21 "currency_mismatch" true;
    /// This kind of movement does not lead between accounts of these classes.
    AccountClassMismatch = 22 "account_class_mismatch" true;
    /// Balancing names the side on which its account grows: nothing is paid there.
    BalancingSideMismatch = 23 "balancing_side_mismatch" true;
    /// An imported transfer older than the newest one of its accounts.
    EffectiveOutOfOrder = 24 "effective_out_of_order" true;
    /// It is closed for good.
    DebitAccountClosed = 25 "debit_account_closed" true;
    /// It is closed for good.
    CreditAccountClosed = 26 "credit_account_closed" true;
    /// It takes no debits.
    DebitAccountFrozen = 27 "debit_account_frozen" true;
    /// It takes no credits.
    CreditAccountFrozen = 28 "credit_account_frozen" true;
    /// A total would not fit: a balance beyond 2^53 − 1 or a running total beyond 2^63 − 1.
    BalanceOverflow = 29 "balance_overflow" true;
    /// The account that pays has less available.
    InsufficientFunds = 30 "insufficient_funds" true;
    /// A limit of one of the accounts would be passed.
    LimitExceeded = 31 "limit_exceeded" true;
}

impl Reason {
    pub(crate) fn from_number(number: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| *reason as i16 == number)
    }
}
