//! Checks that need no more than a request or two accounts.

use super::*;

/// What the request alone decides, and the clock.
pub(super) fn check_request(transfer: &Transfer, now: DateTime<Utc>) -> Result<(), Rejection> {
    if let Some(amount) = transfer.amount {
        if amount <= 0 {
            return Err(Reason::AmountNotPositive.into());
        }
        if amount > MAX_AMOUNT {
            return Err(Reason::AmountTooLarge.into());
        }
    } else if matches!(transfer.subject, Subject::Accounts { .. }) {
        return Err(Reason::AmountNotPositive.into());
    }
    if let Subject::Accounts { debit, credit } = transfer.subject
        && debit == credit
    {
        return Err(Reason::AccountsIdentical.into());
    }
    if transfer.expires_at.is_some_and(|at| at <= now) {
        return Err(Reason::ExpiryNotInFuture.into());
    }
    if transfer.effective_at.is_some_and(|at| at > now) {
        return Err(Reason::EffectiveInFuture.into());
    }
    Ok(())
}

/// Closed accounts take part in nothing, frozen ones not on the sides that are frozen.
pub(super) fn check_states(kind: Kind, debit: &Account, credit: &Account) -> Result<(), Rejection> {
    if debit.state == State::Closed {
        return Err(Reason::DebitAccountClosed.into());
    }
    if credit.state == State::Closed {
        return Err(Reason::CreditAccountClosed.into());
    }
    if matches!(kind, Kind::Void | Kind::Expiry) {
        return Ok(());
    }
    if debit.state.freezes(Side::Debit) {
        return Err(Reason::DebitAccountFrozen.into());
    }
    if credit.state.freezes(Side::Credit) {
        return Err(Reason::CreditAccountFrozen.into());
    }
    Ok(())
}

/// Moves the running totals; `None` if one would not fit.
pub(super) fn move_totals(
    kind: Kind,
    debit: &mut Account,
    credit: &mut Account,
    amount: i64,
    held: i64,
) -> Option<()> {
    if kind == Kind::Hold {
        debit.debits_held = debit.debits_held.checked_add(amount)?;
        credit.credits_held = credit.credits_held.checked_add(amount)?;
    }
    debit.debits_held = debit.debits_held.checked_sub(held)?;
    credit.credits_held = credit.credits_held.checked_sub(held)?;
    if kind.posts() {
        debit.debits_posted = debit.debits_posted.checked_add(amount)?;
        credit.credits_posted = credit.credits_posted.checked_add(amount)?;
    }
    for account in [debit, credit] {
        // On the wire a balance, what is available and what is held are JSON numbers: at most 2^53 − 1.
        let fits = |value: i64| (-MAX_AMOUNT..=MAX_AMOUNT).contains(&value);
        let (balance, available) = (account.balance()?, account.available()?);
        let grown = balance.checked_add(account.incoming())?;
        if ![balance, available, grown, account.held(), account.incoming()].into_iter().all(fits) {
            return None;
        }
    }
    Some(())
}

/// The account that pays must have what it pays. A capture posts what was reserved when the hold was placed.
pub(super) fn check_funds(
    kind: Kind,
    debit: &Account,
    credit: &Account,
    before: (Option<i64>, Option<i64>),
) -> Result<(), Rejection> {
    if kind == Kind::Capture {
        return Ok(());
    }
    for ((account, direction), before) in sides(debit, credit).into_iter().zip([before.0, before.1]) {
        let short = account.available().is_none_or(|available| available < 0);
        if direction == Direction::Out && !account.may_overdraw && short {
            let detail = Detail::Available(before.unwrap_or_default());
            return Err(Rejection { detail, ..Reason::InsufficientFunds.into() });
        }
    }
    Ok(())
}

/// Each account with the way its balance goes when it is debited or credited.
pub(super) fn sides<'a>(debit: &'a Account, credit: &'a Account) -> [(&'a Account, Direction); 2] {
    let way = |account: &Account, side| {
        if account.class.normal_side() == side { Direction::In } else { Direction::Out }
    };
    [(debit, way(debit, Side::Debit)), (credit, way(credit, Side::Credit))]
}
