//! The rules, pure: what a batch of calls does to the rows it touches.
//!
//! [`Book`] holds the rows of one batch, locked by the writer. [`Book::post`] decides transfer by transfer in the order
//! given; a refused transfer or chain leaves the book as it was before it. What changed is then written in one go.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use tenants::{
    id::{AccountId, TransferId},
    money::MAX_AMOUNT,
};
use uuid::Uuid;

use crate::{
    account::{Account, State},
    hold::{Hold, HoldState},
    limit::{self, Direction, Limit, Window},
    movements,
    outcome::{Detail, Outcome, Reason, Rejection},
    transfer::{Kind, Posted, Provenance, Side, Subject, Transfer},
};

/// One caller's transfers, in order.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose books.
    pub environment: Uuid,
    /// Who asks.
    pub provenance: Provenance,
    /// What for; chains are runs of transfers of which all but the last are `linked`.
    pub transfers: Vec<Transfer>,
}

/// What an id was used for before.
#[derive(Debug, Clone)]
pub enum Known {
    /// Posted, as this row.
    Posted(Arc<Posted>),
    /// Refused, for ever.
    Rejected {
        /// Hash of the request that was refused.
        content: [u8; 16],
        /// The answer it got.
        rejection: Rejection,
    },
}

/// A refusal to be kept under its id.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The environment it belongs to.
    pub environment: Uuid,
    /// The id that was refused.
    pub id: TransferId,
    /// Hash of the request.
    pub content: [u8; 16],
    /// The answer.
    pub rejection: Rejection,
}

struct Slot<T> {
    row: T,
    changed: bool,
    /// Made in this batch.
    new: bool,
}

/// An account of an environment.
pub type AccountKey = (Uuid, AccountId);
/// A transfer or hold of an environment.
pub type TransferKey = (Uuid, TransferId);

/// The rows that one batch touches.
#[derive(Default)]
pub struct Book {
    first_seq: i64,
    accounts: HashMap<AccountKey, Slot<Account>>,
    limits: HashMap<AccountKey, Vec<Slot<Limit>>>,
    holds: HashMap<TransferKey, Slot<Hold>>,
    known: HashMap<TransferKey, Known>,
    reversed: HashMap<TransferKey, TransferId>,
    posted: Vec<Arc<Posted>>,
    kept: Vec<Kept>,
    undo: Vec<Undo>,
}

/// How to take back one step, newest first.
enum Undo {
    Account(AccountKey, Account),
    Limits(AccountKey, Vec<Limit>),
    Hold(TransferKey, Option<Hold>),
    Known(TransferKey),
    Reversed(TransferKey),
}

/// A transfer that has passed every rule, with the rows as they will be.
struct Decision {
    debit: Account,
    credit: Account,
    amount: i64,
    effective_at: DateTime<Utc>,
    hold: Option<TransferId>,
    original: Option<TransferId>,
}

impl Book {
    /// A book whose next row gets the position after `last_seq`.
    pub fn new(last_seq: i64) -> Self {
        Book { first_seq: last_seq, ..Book::default() }
    }

    /// Puts a locked account in.
    pub fn add_account(&mut self, environment: Uuid, row: Account) {
        self.accounts.insert((environment, row.id), Slot { row, changed: false, new: false });
    }

    /// Puts a locked limit in.
    pub fn add_limit(&mut self, environment: Uuid, row: Limit) {
        self.limits.entry((environment, row.account)).or_default().push(Slot {
            row,
            changed: false,
            new: false,
        });
    }

    /// Puts a locked hold in.
    pub fn add_hold(&mut self, row: Hold) {
        self.holds.insert((row.environment, row.id), Slot { row, changed: false, new: false });
    }

    /// Puts in what an id was used for before.
    pub fn add_known(&mut self, key: TransferKey, known: Known) {
        self.known.insert(key, known);
    }

    /// Says that `original` was reversed before.
    pub fn add_reversed(&mut self, original: TransferKey, by: TransferId) {
        self.reversed.insert(original, by);
    }

    /// What an id was used for, before or in this batch.
    pub fn known(&self, key: TransferKey) -> Option<&Known> {
        self.known.get(&key)
    }

    /// The rows to insert, in order.
    pub fn posted(&self) -> &[Arc<Posted>] {
        &self.posted
    }

    /// The refusals to keep.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// The accounts to update.
    pub fn changed_accounts(&self) -> impl Iterator<Item = (Uuid, &Account)> {
        self.accounts.iter().filter(|(_, slot)| slot.changed).map(|(key, slot)| (key.0, &slot.row))
    }

    /// The limits to update.
    pub fn changed_limits(&self) -> impl Iterator<Item = (Uuid, &Limit)> {
        self.limits
            .iter()
            .flat_map(|(key, slots)| slots.iter().filter(|slot| slot.changed).map(|slot| (key.0, &slot.row)))
    }

    /// The holds to insert.
    pub fn new_holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values().filter(|slot| slot.new).map(|slot| &slot.row)
    }

    /// The holds to update.
    pub fn changed_holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.values().filter(|slot| slot.changed && !slot.new).map(|slot| &slot.row)
    }

    /// Decides one call; `wall` is the writer's clock. One outcome per transfer, in order.
    pub fn post(&mut self, call: &Call, wall: DateTime<Utc>) -> Vec<Outcome> {
        let now =
            wall.checked_add_signed(TimeDelta::milliseconds(call.provenance.clock_offset_ms)).unwrap_or(wall);
        let mut outcomes = Vec::with_capacity(call.transfers.len());
        let mut rest = call.transfers.as_slice();
        while !rest.is_empty() {
            let closed = rest.iter().position(|transfer| !transfer.linked);
            let (chain, after) = rest.split_at(closed.map_or(rest.len(), |last| last.saturating_add(1)));
            self.post_chain(call, chain, closed.is_none(), now, &mut outcomes);
            rest = after;
        }
        outcomes
    }

    fn post_chain(
        &mut self,
        call: &Call,
        chain: &[Transfer],
        open: bool,
        now: DateTime<Utc>,
        outcomes: &mut Vec<Outcome>,
    ) {
        let head = (chain.len() > 1).then(|| chain[0].id);
        let first = outcomes.len();
        let posted = self.posted.len();
        self.undo.clear();
        let mut refused = None;
        for (index, transfer) in chain.iter().enumerate() {
            if open && index.saturating_add(1) == chain.len() {
                refused = Some((index, Rejection::from(Reason::ChainOpen)));
                break;
            }
            match self.post_one(call, transfer, head, now) {
                Ok(outcome) => outcomes.push(outcome),
                Err(rejection) => {
                    refused = Some((index, rejection));
                    break;
                }
            }
        }
        let Some((culprit, rejection)) = refused else { return };
        self.take_back(posted);
        outcomes.truncate(first);
        let linked = Outcome::Rejected(Reason::LinkedTransferFailed.into());
        outcomes.resize(first.saturating_add(chain.len()), linked);
        if open && let Some(last) = outcomes.last_mut() {
            *last = Outcome::Rejected(Reason::ChainOpen.into());
        }
        outcomes[first.saturating_add(culprit)] = Outcome::Rejected(rejection);
        if rejection.reason.is_kept() && !rejection.replayed {
            let transfer = &chain[culprit];
            let (key, content) = ((call.environment, transfer.id), transfer.content());
            let again = Rejection { replayed: true, ..rejection };
            self.known.insert(key, Known::Rejected { content, rejection: again });
            self.kept.push(Kept { environment: key.0, id: key.1, content, rejection });
        }
    }

    /// Back to where the chain began.
    fn take_back(&mut self, posted: usize) {
        self.posted.truncate(posted);
        for step in self.undo.drain(..).rev() {
            match step {
                Undo::Account(key, row) => {
                    if let Some(slot) = self.accounts.get_mut(&key) {
                        slot.row = row;
                    }
                }
                Undo::Limits(key, rows) => {
                    for (slot, row) in self.limits.entry(key).or_default().iter_mut().zip(rows) {
                        slot.row = row;
                    }
                }
                Undo::Hold(key, None) => {
                    self.holds.remove(&key);
                }
                Undo::Hold(key, Some(row)) => {
                    if let Some(slot) = self.holds.get_mut(&key) {
                        slot.row = row;
                    }
                }
                Undo::Known(key) => {
                    self.known.remove(&key);
                }
                Undo::Reversed(key) => {
                    self.reversed.remove(&key);
                }
            }
        }
    }

    fn post_one(
        &mut self,
        call: &Call,
        transfer: &Transfer,
        chain: Option<TransferId>,
        now: DateTime<Utc>,
    ) -> Result<Outcome, Rejection> {
        let key = (call.environment, transfer.id);
        let content = transfer.content();
        match self.known.get(&key) {
            Some(Known::Posted(row)) if row.content == content => return Ok(Outcome::Replayed(row.clone())),
            Some(Known::Rejected { content: refused, rejection }) if *refused == content => {
                return Err(*rejection);
            }
            Some(_) => return Err(Reason::IdReused.into()),
            None => {}
        }
        let decision = self.decide(call.environment, transfer, now)?;
        Ok(Outcome::Posted(self.write(call, transfer, content, chain, now, decision)))
    }

    /// The rules in order of precedence, see [`Reason`].
    fn decide(
        &self,
        environment: Uuid,
        transfer: &Transfer,
        now: DateTime<Utc>,
    ) -> Result<Decision, Rejection> {
        check_request(transfer, now)?;
        let (debit, credit, bound) = self.resolve(environment, transfer, now)?;
        let find = |id, reason: Reason| match self.accounts.get(&(environment, id)) {
            Some(slot) => Ok(slot.row.clone()),
            None => Err(Rejection::from(reason)),
        };
        let mut debit = find(debit, Reason::DebitAccountNotFound)?;
        let mut credit = find(credit, Reason::CreditAccountNotFound)?;
        if debit.currency != credit.currency
            || transfer.currency.is_some_and(|currency| currency != debit.currency)
        {
            return Err(Reason::CurrencyMismatch.into());
        }
        if !movements::leads(transfer.kind, debit.class, credit.class) {
            return Err(Reason::AccountClassMismatch.into());
        }
        let newest = debit.last_effective_at.max(credit.last_effective_at);
        let effective_at = match transfer.effective_at {
            Some(at) if at < newest => return Err(Reason::EffectiveOutOfOrder.into()),
            Some(at) => at,
            None => now.max(newest),
        };
        check_states(transfer.kind, &debit, &credit)?;

        let mut amount = transfer.amount.or(bound).unwrap_or_default();
        if let Some(side) = transfer.balancing {
            let account = if side == Side::Debit { &debit } else { &credit };
            let available = account.available().unwrap_or_default();
            amount = amount.min(available);
            if amount <= 0 {
                let detail = Detail::Available(available);
                return Err(Rejection { detail, ..Reason::InsufficientFunds.into() });
            }
        }
        let held = match transfer.subject {
            Subject::Hold(_) => bound.unwrap_or_default(),
            _ => 0,
        };
        let before = (debit.available(), credit.available());
        move_totals(transfer.kind, &mut debit, &mut credit, amount, held)
            .ok_or_else(|| Rejection::from(Reason::BalanceOverflow))?;
        if matches!(transfer.kind, Kind::Void | Kind::Expiry) {
            amount = held;
        } else {
            check_funds(transfer.kind, &debit, &credit, before)?;
            self.check_limits(environment, transfer, &debit, &credit, amount, effective_at)?;
        }
        debit.last_effective_at = effective_at;
        credit.last_effective_at = effective_at;
        let (hold, original) = match transfer.subject {
            Subject::Hold(id) => (Some(id), None),
            Subject::Original(id) => (None, Some(id)),
            Subject::Accounts { .. } => (None, None),
        };
        Ok(Decision { debit, credit, amount, effective_at, hold, original })
    }

    /// Both accounts, and the amount that the hold or the original gives.
    fn resolve(
        &self,
        environment: Uuid,
        transfer: &Transfer,
        now: DateTime<Utc>,
    ) -> Result<(AccountId, AccountId, Option<i64>), Rejection> {
        match transfer.subject {
            Subject::Accounts { debit, credit } => Ok((debit, credit, None)),
            Subject::Hold(id) => {
                let slot = self.holds.get(&(environment, id)).ok_or(Rejection::from(Reason::HoldNotFound))?;
                let hold = &slot.row;
                let over = hold.expires_at.is_some_and(|at| at <= now);
                match hold.state {
                    HoldState::Captured => return Err(Reason::HoldAlreadyCaptured.into()),
                    HoldState::Voided => return Err(Reason::HoldAlreadyVoided.into()),
                    HoldState::Expired => return Err(Reason::HoldExpired.into()),
                    HoldState::Held if transfer.kind == Kind::Expiry && !over => {
                        return Err(Reason::HoldNotExpired.into());
                    }
                    HoldState::Held if transfer.kind != Kind::Expiry && over => {
                        return Err(Reason::HoldExpired.into());
                    }
                    HoldState::Held => {}
                }
                if transfer.amount.is_some_and(|amount| amount > hold.amount) {
                    let detail = Detail::Held(hold.amount);
                    return Err(Rejection { detail, ..Reason::CaptureExceedsHold.into() });
                }
                Ok((hold.debit, hold.credit, Some(hold.amount)))
            }
            Subject::Original(id) => {
                let original = match self.known.get(&(environment, id)) {
                    Some(Known::Posted(row)) => row,
                    _ => return Err(Reason::OriginalNotFound.into()),
                };
                if !original.kind.posts() || original.kind == Kind::Reversal {
                    return Err(Reason::NotReversible.into());
                }
                if self.reversed.contains_key(&(environment, id)) {
                    return Err(Reason::AlreadyReversed.into());
                }
                Ok((original.credit, original.debit, Some(original.amount)))
            }
        }
    }

    fn check_limits(
        &self,
        environment: Uuid,
        transfer: &Transfer,
        debit: &Account,
        credit: &Account,
        amount: i64,
        at: DateTime<Utc>,
    ) -> Result<(), Rejection> {
        if !limit::counts(transfer.kind, transfer.effective_at.is_some()) {
            return Ok(());
        }
        for (account, direction) in sides(debit, credit) {
            let Some(slots) = self.limits.get(&(environment, account.id)) else { continue };
            for limit in slots.iter().map(|slot| &slot.row).filter(|limit| limit.rule.direction == direction)
            {
                let maximum = limit.rule.maximum;
                let remaining = match limit.rule.window {
                    // The account stands as it would be afterwards.
                    Window::Balance => account
                        .balance()
                        .and_then(|balance| balance.checked_add(account.incoming()))
                        .and_then(|after| maximum.checked_sub(after.checked_sub(amount)?))
                        .unwrap_or_default(),
                    _ => limit.remaining(at),
                };
                if amount > remaining {
                    let window = limit.rule.window;
                    let detail = Detail::Limit { direction, window, maximum, remaining: remaining.max(0) };
                    return Err(Rejection { detail, ..Reason::LimitExceeded.into() });
                }
            }
        }
        Ok(())
    }

    /// Puts a decision into the book and remembers how to take it back.
    fn write(
        &mut self,
        call: &Call,
        transfer: &Transfer,
        content: [u8; 16],
        chain: Option<TransferId>,
        now: DateTime<Utc>,
        decision: Decision,
    ) -> Arc<Posted> {
        let environment = call.environment;
        let key = (environment, transfer.id);
        let Decision { debit, credit, amount, effective_at, hold, original } = decision;
        self.count_limits(environment, transfer, &debit, &credit, amount, effective_at);
        let imported = transfer.effective_at.is_some();
        let row = Arc::new(Posted {
            environment,
            id: transfer.id,
            seq: self
                .first_seq
                .saturating_add(i64::try_from(self.posted.len()).unwrap_or(i64::MAX))
                .saturating_add(1),
            kind: transfer.kind,
            debit: debit.id,
            credit: credit.id,
            amount,
            currency: debit.currency,
            hold,
            reverses: original,
            chain,
            imported,
            debit_balance: debit.balance().unwrap_or_default(),
            credit_balance: credit.balance().unwrap_or_default(),
            effective_at,
            booked_at: if imported { now } else { effective_at },
            content,
            actor: call.provenance.actor.clone(),
            client: call.provenance.client,
            request_id: call.provenance.request_id.clone(),
            key: transfer.key.clone(),
            reference: transfer.reference.clone(),
        });
        if transfer.kind == Kind::Hold {
            let placed = Hold {
                environment,
                id: transfer.id,
                debit: debit.id,
                credit: credit.id,
                amount,
                currency: debit.currency,
                state: HoldState::Held,
                captured: None,
                expires_at: transfer.expires_at,
                placed_at: effective_at,
                resolved_by: None,
            };
            self.holds.insert(key, Slot { row: placed, changed: true, new: true });
            self.undo.push(Undo::Hold(key, None));
        }
        if let Some(id) = hold
            && let Some(slot) = self.holds.get_mut(&(environment, id))
        {
            self.undo.push(Undo::Hold((environment, id), Some(slot.row.clone())));
            slot.row.state = match transfer.kind {
                Kind::Capture => HoldState::Captured,
                Kind::Expiry => HoldState::Expired,
                _ => HoldState::Voided,
            };
            slot.row.captured = (transfer.kind == Kind::Capture).then_some(amount);
            slot.row.resolved_by = Some(transfer.id);
            slot.changed = true;
        }
        if let Some(id) = original {
            self.reversed.insert((environment, id), transfer.id);
            self.undo.push(Undo::Reversed((environment, id)));
        }
        for account in [debit, credit] {
            let account_key = (environment, account.id);
            if let Some(slot) = self.accounts.get_mut(&account_key) {
                self.undo.push(Undo::Account(account_key, std::mem::replace(&mut slot.row, account)));
                slot.changed = true;
            }
        }
        self.known.insert(key, Known::Posted(row.clone()));
        self.undo.push(Undo::Known(key));
        self.posted.push(row.clone());
        row
    }

    fn count_limits(
        &mut self,
        environment: Uuid,
        transfer: &Transfer,
        debit: &Account,
        credit: &Account,
        amount: i64,
        at: DateTime<Utc>,
    ) {
        if self.limits.is_empty() {
            return;
        }
        // What a hold counted when it was placed and does not post now.
        let released = match transfer.subject {
            Subject::Hold(id) => self.holds.get(&(environment, id)).map(|slot| {
                let posted = if transfer.kind == Kind::Capture { amount } else { 0 };
                (slot.row.amount.saturating_sub(posted), slot.row.placed_at)
            }),
            _ => None,
        };
        let counted = limit::counts(transfer.kind, transfer.effective_at.is_some());
        for (account, direction) in sides(debit, credit) {
            let key = (environment, account.id);
            let Some(slots) = self.limits.get_mut(&key) else { continue };
            self.undo.push(Undo::Limits(key, slots.iter().map(|slot| slot.row).collect()));
            for slot in slots.iter_mut().filter(|slot| slot.row.rule.direction == direction) {
                let before = slot.row;
                if counted {
                    slot.row.count(amount, at);
                }
                if let Some((amount, placed_at)) = released {
                    slot.row.give_back(amount, placed_at);
                }
                slot.changed |= slot.row != before;
            }
        }
    }
}

/// What the request alone decides, and the clock.
fn check_request(transfer: &Transfer, now: DateTime<Utc>) -> Result<(), Rejection> {
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

/// Closed accounts take part in nothing; from a frozen one nothing goes out.
fn check_states(kind: Kind, debit: &Account, credit: &Account) -> Result<(), Rejection> {
    if debit.state == State::Closed {
        return Err(Reason::DebitAccountClosed.into());
    }
    if credit.state == State::Closed {
        return Err(Reason::CreditAccountClosed.into());
    }
    if matches!(kind, Kind::Void | Kind::Expiry) {
        return Ok(());
    }
    if debit.state == State::Frozen && debit.class.normal_side() == Side::Credit {
        return Err(Reason::DebitAccountFrozen.into());
    }
    if credit.state == State::Frozen && credit.class.normal_side() == Side::Debit {
        return Err(Reason::CreditAccountFrozen.into());
    }
    Ok(())
}

/// Moves the running totals; `None` if one would not fit.
fn move_totals(kind: Kind, debit: &mut Account, credit: &mut Account, amount: i64, held: i64) -> Option<()> {
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
fn check_funds(
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
fn sides<'a>(debit: &'a Account, credit: &'a Account) -> [(&'a Account, Direction); 2] {
    let way = |account: &Account, side| {
        if account.class.normal_side() == side { Direction::In } else { Direction::Out }
    };
    [(debit, way(debit, Side::Debit)), (credit, way(credit, Side::Credit))]
}
