//! The problem codes of the ledger: one per [`Reason`], with its name, and those of the way to it.

use std::borrow::Cow;

use platform::problem::{Arg, Code, In, Problem, codes};
use tenants::money::{Currency, Money};

use crate::{
    limit::{Direction, Window},
    outcome::{Detail, Reason, Rejection},
    writer::Unavailable,
};

macro_rules! codes {
    ($($reason:ident: $(#[$doc:meta])+ $name:ident = $status:literal $text:literal;)+) => {
        platform::problem_codes! {
            $($(#[$doc])+ $name = $status $text;)+
            /// The batch has more transfers than one call may have.
            BATCH_TOO_LARGE = 422 "batch_too_large";
            /// The ledger cannot post now; nothing was posted.
            LEDGER_UNAVAILABLE = 503 "ledger_unavailable", retryable;
            /// The ledger lost its database in the middle of a commit.
            OUTCOME_UNKNOWN = 503 "outcome_unknown", retryable;
            /// More is waiting for the ledger than it may queue; nothing was posted.
            LEDGER_OVERLOADED = 503 "ledger_overloaded", retryable;
        }

        /// The problem of a refusal; its name is the reason's.
        pub fn code(reason: Reason) -> &'static Code {
            match reason { $(Reason::$reason => &$name,)+ }
        }
    };
}

codes! {
    LinkedTransferFailed: /// Another transfer of the chain was refused.
        LINKED_TRANSFER_FAILED = 422 "linked_transfer_failed";
    ChainOpen: /// The last transfer of the call says that the chain goes on.
        CHAIN_OPEN = 422 "chain_open";
    IdReused: /// The id was used before with other content.
        ID_REUSED = 409 "id_reused";
    AmountNotPositive: /// Zero or less.
        AMOUNT_NOT_POSITIVE = 422 "amount_not_positive";
    AmountTooLarge: /// More than 2^53 − 1.
        AMOUNT_TOO_LARGE = 422 "amount_too_large";
    AccountsIdentical: /// Debit and credit account are the same.
        ACCOUNTS_IDENTICAL = 422 "accounts_identical";
    ExpiryNotInFuture: /// The hold would be over before it begins.
        EXPIRY_NOT_IN_FUTURE = 422 "expiry_not_in_future";
    EffectiveInFuture: /// An imported transfer that has not happened yet.
        EFFECTIVE_IN_FUTURE = 422 "effective_in_future";
    HoldNotFound: /// No hold has this id.
        HOLD_NOT_FOUND = 404 "hold_not_found";
    HoldAlreadyCaptured: /// The hold has been captured.
        HOLD_ALREADY_CAPTURED = 409 "hold_already_captured";
    HoldAlreadyVoided: /// The hold has been voided.
        HOLD_ALREADY_VOIDED = 409 "hold_already_voided";
    HoldExpired: /// The hold's time is over.
        HOLD_EXPIRED = 409 "hold_expired";
    HoldNotExpired: /// The hold's time is not over.
        HOLD_NOT_EXPIRED = 409 "hold_not_expired";
    HoldIsBlock: /// The hold is an authority's block.
        HOLD_IS_BLOCK = 409 "hold_is_block";
    CaptureExceedsHold: /// More than is held.
        CAPTURE_EXCEEDS_HOLD = 422 "capture_exceeds_hold";
    OriginalNotFound: /// No posted transfer has this id.
        ORIGINAL_NOT_FOUND = 404 "original_not_found";
    NotReversible: /// Holds, voids, expiries and reversals cannot be reversed.
        NOT_REVERSIBLE = 422 "not_reversible";
    AlreadyReversed: /// The original has been reversed.
        ALREADY_REVERSED = 409 "already_reversed";
    DebitAccountNotFound: /// No account of this environment has this id.
        DEBIT_ACCOUNT_NOT_FOUND = 422 "debit_account_not_found";
    CreditAccountNotFound: /// No account of this environment has this id.
        CREDIT_ACCOUNT_NOT_FOUND = 422 "credit_account_not_found";
    CurrencyMismatch: /// The accounts and the amount are not of one currency.
        CURRENCY_MISMATCH = 422 "currency_mismatch";
    AccountClassMismatch: /// The movement does not lead between accounts of these classes.
        ACCOUNT_CLASS_MISMATCH = 422 "account_class_mismatch";
    BalancingSideMismatch: /// Balancing names the side that grows.
        BALANCING_SIDE_MISMATCH = 422 "balancing_side_mismatch";
    EffectiveOutOfOrder: /// An imported transfer older than the newest one of its accounts.
        EFFECTIVE_OUT_OF_ORDER = 422 "effective_out_of_order";
    DebitAccountClosed: /// It is closed for good.
        DEBIT_ACCOUNT_CLOSED = 409 "debit_account_closed";
    CreditAccountClosed: /// It is closed for good.
        CREDIT_ACCOUNT_CLOSED = 409 "credit_account_closed";
    DebitAccountFrozen: /// It takes no debits.
        DEBIT_ACCOUNT_FROZEN = 409 "debit_account_frozen";
    CreditAccountFrozen: /// It takes no credits.
        CREDIT_ACCOUNT_FROZEN = 409 "credit_account_frozen";
    BalanceOverflow: /// A total would not fit.
        BALANCE_OVERFLOW = 422 "balance_overflow";
    InsufficientFunds: /// The account that pays has less available.
        INSUFFICIENT_FUNDS = 422 "insufficient_funds";
    LimitExceeded: /// A limit of one of the accounts would be passed.
        LIMIT_EXCEEDED = 422 "limit_exceeded";
}

/// What the body of a request names, so that a refusal can point at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Names {
    /// Both accounts and an amount.
    Accounts,
    /// An amount; the accounts are those of the object in the path.
    Amount,
    /// Nothing: all follows from the object in the path.
    Nothing,
}

/// The field that a refusal is about, if the request has it.
pub(super) fn field(reason: Reason, names: Names) -> Option<&'static str> {
    let (field, needs) = match reason {
        Reason::LinkedTransferFailed | Reason::ChainOpen => ("/linked", Names::Accounts),
        Reason::IdReused => ("/id", Names::Nothing),
        Reason::AmountNotPositive
        | Reason::AmountTooLarge
        | Reason::CaptureExceedsHold
        | Reason::BalanceOverflow
        | Reason::InsufficientFunds
        | Reason::LimitExceeded => ("/amount/amount", Names::Amount),
        Reason::CurrencyMismatch => ("/amount/currency", Names::Amount),
        Reason::AccountClassMismatch => ("/type", Names::Accounts),
        Reason::BalancingSideMismatch => ("/balancing", Names::Accounts),
        Reason::ExpiryNotInFuture => ("/expires_at", Names::Accounts),
        Reason::EffectiveInFuture | Reason::EffectiveOutOfOrder => ("/effective_at", Names::Accounts),
        Reason::DebitAccountNotFound | Reason::DebitAccountClosed | Reason::DebitAccountFrozen => {
            ("/debit_account_id", Names::Accounts)
        }
        Reason::AccountsIdentical
        | Reason::CreditAccountNotFound
        | Reason::CreditAccountClosed
        | Reason::CreditAccountFrozen => ("/credit_account_id", Names::Accounts),
        Reason::HoldNotFound
        | Reason::HoldAlreadyCaptured
        | Reason::HoldAlreadyVoided
        | Reason::HoldExpired
        | Reason::HoldNotExpired
        | Reason::HoldIsBlock
        | Reason::OriginalNotFound
        | Reason::NotReversible
        | Reason::AlreadyReversed => return None,
    };
    let named = match needs {
        Names::Accounts => names == Names::Accounts,
        Names::Amount => names != Names::Nothing,
        Names::Nothing => true,
    };
    named.then_some(field)
}

/// The problem of a refusal. `keyed`: the id was made of the request's key.
pub(super) fn refused(
    rejection: &Rejection,
    keyed: bool,
    names: Names,
    currency: Option<Currency>,
) -> Problem {
    if keyed && rejection.reason == Reason::IdReused {
        let mismatch = &codes::IDEMPOTENCY_MISMATCH;
        return Problem::new(mismatch).parameter(In::Header, "idempotency-key", mismatch);
    }
    let problem = arguments(rejection.detail, currency)
        .into_iter()
        .fold(Problem::new(code(rejection.reason)), |problem, (name, value)| problem.arg(name, value));
    match field(rejection.reason, names) {
        Some(field) => problem.on(Cow::Borrowed(field)),
        None => problem,
    }
}

/// The problem of a refusal of a movement whose request names both accounts and the amount as a transfer's does; for
/// flows that foresee what the ledger would say.
pub fn refusal(rejection: &Rejection, currency: Currency) -> Problem {
    refused(rejection, false, Names::Accounts, Some(currency))
}

/// What the texts of a refusal's code mention.
pub fn arguments(detail: Detail, currency: Option<Currency>) -> Vec<(&'static str, Arg)> {
    let money = |amount: i64| match currency {
        Some(currency) => Money::new(amount, currency).to_string(),
        None => amount.to_string(),
    };
    match detail {
        Detail::None => vec![],
        Detail::Available(available) => vec![("available", money(available).into())],
        Detail::Held(held) => vec![("held", money(held).into())],
        Detail::Limit { direction, window, maximum, remaining } => vec![
            ("direction", name_of(direction).into()),
            ("window", name_of_window(window).into()),
            ("maximum", money(maximum).into()),
            ("remaining", money(remaining).into()),
        ],
    }
}

fn name_of(direction: Direction) -> &'static str {
    match direction {
        Direction::Out => "out",
        Direction::In => "in",
    }
}

fn name_of_window(window: Window) -> &'static str {
    match window {
        Window::Transfer => "transfer",
        Window::Day => "day",
        Window::Month => "month",
        Window::Balance => "balance",
    }
}

/// The ledger cannot answer: whether something was posted is said, and the same request tells later.
pub fn unavailable(error: Unavailable) -> Problem {
    let code = match error {
        Unavailable::Full => return Problem::new(&codes::STORAGE_FULL).retry_after(60).cause(error),
        Unavailable::NotPosted => &LEDGER_UNAVAILABLE,
        Unavailable::Unknown => &OUTCOME_UNKNOWN,
        Unavailable::Overloaded => &LEDGER_OVERLOADED,
    };
    Problem::new(code).retry_after(1).cause(error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use platform::problem::{Catalogue, Language};

    use super::*;
    use crate::http::DOMAIN;

    #[test]
    fn every_reason_is_a_code_of_its_own_name() {
        let names: BTreeMap<&str, Reason> =
            Reason::ALL.iter().map(|reason| (code(*reason).name, *reason)).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for (name, reason) in names {
            assert_eq!(name, reason.code());
        }
    }

    #[test]
    fn every_code_has_its_texts_in_every_language() {
        let faults = Catalogue::new(Language::En, &[&DOMAIN]).map_err(|error| error.to_string());
        assert_eq!(faults.err(), None);
    }
}
