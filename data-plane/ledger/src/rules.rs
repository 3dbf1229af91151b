//! The rules, pure: what a batch of calls does to the rows it touches.
//!
//! [`Book`] holds the rows of one batch, read under the guard. [`Book::post`] decides transfer by transfer in the order
//! given; a refused transfer or chain leaves the book as it was before it. What changed is then written in one go.

mod checks;
mod write;

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use tenants::{
    id::{AccountId, TransferId},
    money::MAX_AMOUNT,
};
use uuid::Uuid;

use self::checks::{check_funds, check_request, check_states, move_totals, sides};
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

    /// Puts an account in.
    pub fn add_account(&mut self, environment: Uuid, row: Account) {
        self.accounts.insert((environment, row.id), Slot { row, changed: false, new: false });
    }

    /// Puts a limit in.
    pub fn add_limit(&mut self, environment: Uuid, row: Limit) {
        self.limits.entry((environment, row.account)).or_default().push(Slot {
            row,
            changed: false,
            new: false,
        });
    }

    /// Puts a hold in.
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

    /// What has reversed `original`, before or in this batch.
    pub fn reversal(&self, original: TransferKey) -> Option<TransferId> {
        self.reversed.get(&original).copied()
    }

    /// A hold that this batch has placed or changed.
    pub fn changed_hold(&self, key: TransferKey) -> Option<&Hold> {
        self.holds.get(&key).filter(|slot| slot.changed || slot.new).map(|slot| &slot.row)
    }

    /// An account that this batch has changed.
    pub fn changed_account(&self, key: AccountKey) -> Option<&Account> {
        self.accounts.get(&key).filter(|slot| slot.changed).map(|slot| &slot.row)
    }

    /// The same limit, if this batch has changed it.
    pub fn changed_limit(&self, environment: Uuid, limit: &Limit) -> Option<&Limit> {
        let same = |slot: &&Slot<Limit>| {
            let rule = slot.row.rule;
            slot.changed && rule.direction == limit.rule.direction && rule.window == limit.rule.window
        };
        self.limits.get(&(environment, limit.account))?.iter().find(same).map(|slot| &slot.row)
    }

    /// The rows to insert, in order.
    pub fn posted(&self) -> &[Arc<Posted>] {
        &self.posted
    }

    /// The refusals to keep.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// All accounts, with their limits, as this batch leaves them.
    pub fn accounts(&self) -> impl Iterator<Item = (AccountKey, &Account, Vec<Limit>)> {
        self.accounts.iter().map(|(key, slot)| {
            let limits = self.limits.get(key).map(|slots| slots.iter().map(|slot| slot.row).collect());
            (*key, &slot.row, limits.unwrap_or_default())
        })
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
        let other = self.key_stands_for_another(call);
        let now =
            wall.checked_add_signed(TimeDelta::milliseconds(call.provenance.clock_offset_ms)).unwrap_or(wall);
        let mut outcomes = Vec::with_capacity(call.transfers.len());
        let mut rest = call.transfers.as_slice();
        while !rest.is_empty() {
            let closed = rest.iter().position(|transfer| !transfer.linked);
            let (chain, after) = rest.split_at(closed.map_or(rest.len(), |last| last.saturating_add(1)));
            let refused = match closed {
                None => Some((chain.len().saturating_sub(1), Reason::ChainOpen.into())),
                Some(_) if other && let Some(first) = chain.iter().position(|one| one.shape.is_some()) => {
                    Some((first, Reason::IdReused.into()))
                }
                Some(_) => self.refused_before(call, chain),
            };
            self.post_chain(call, chain, refused, now, &mut outcomes);
            rest = after;
        }
        outcomes
    }

    /// Whether the key that this call's ids were made of was used for another batch: one of those ids has other content.
    /// A key stands for the whole batch, so that the others' fate is the same; else the items by which a repetition is
    /// longer would be posted.
    fn key_stands_for_another(&self, call: &Call) -> bool {
        call.transfers.iter().filter(|transfer| transfer.shape.is_some()).any(|transfer| {
            match self.known.get(&(call.environment, transfer.id)) {
                None => false,
                Some(Known::Posted(row)) => row.content != transfer.content(),
                Some(Known::Rejected { content, .. }) => *content != transfer.content(),
            }
        })
    }

    fn post_chain(
        &mut self,
        call: &Call,
        chain: &[Transfer],
        mut refused: Option<(usize, Rejection)>,
        now: DateTime<Utc>,
        outcomes: &mut Vec<Outcome>,
    ) {
        let head = (chain.len() > 1).then(|| chain[0].id);
        let first = outcomes.len();
        let posted = self.posted.len();
        self.undo.clear();
        if refused.is_none() {
            for (index, transfer) in chain.iter().enumerate() {
                match self.post_one(call, transfer, head, now) {
                    Ok(outcome) => outcomes.push(outcome),
                    Err(rejection) => {
                        refused = Some((index, rejection));
                        break;
                    }
                }
            }
        }
        let Some((culprit, rejection)) = refused else { return };
        self.take_back(posted);
        outcomes.truncate(first);
        let linked = Outcome::Rejected(Reason::LinkedTransferFailed.into());
        outcomes.resize(first.saturating_add(chain.len()), linked);
        outcomes[first.saturating_add(culprit)] = Outcome::Rejected(rejection);
        // What a transfer alone is always refused for need not be kept; in a chain others are asked before it.
        let never = matches!(rejection.reason, Reason::IdReused | Reason::ChainOpen);
        let kept = rejection.reason.is_kept() || (head.is_some() && !never);
        if kept && !rejection.replayed {
            let transfer = &chain[culprit];
            let (key, content) = ((call.environment, transfer.id), transfer.content());
            let again = Rejection { replayed: true, ..rejection };
            self.known.insert(key, Known::Rejected { content, rejection: again });
            self.kept.push(Kept { environment: key.0, id: key.1, content, rejection });
        }
    }

    /// The transfer for which this chain must be refused because of what is known of its ids: the one it was refused for
    /// when it was asked the first time, or one whose id was used otherwise. Without it a repeated chain could be refused
    /// for another transfer, whose time has come since.
    fn refused_before(&self, call: &Call, chain: &[Transfer]) -> Option<(usize, Rejection)> {
        if chain.len() < 2 {
            return None;
        }
        let mut reused = None;
        for (index, transfer) in chain.iter().enumerate() {
            match self.known.get(&(call.environment, transfer.id)) {
                None => {}
                Some(Known::Rejected { content, rejection }) if *content == transfer.content() => {
                    return Some((index, *rejection));
                }
                Some(Known::Posted(row)) if row.content == transfer.content() => {}
                Some(_) => {
                    reused.get_or_insert((index, Reason::IdReused.into()));
                }
            }
        }
        reused
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
        let balanced =
            transfer.balancing.map(|side| (if side == Side::Debit { &debit } else { &credit }, side));
        if balanced.is_some_and(|(account, side)| account.class.normal_side() == side) {
            return Err(Reason::BalancingSideMismatch.into());
        }
        let newest = debit.last_effective_at.max(credit.last_effective_at);
        let effective_at = match transfer.effective_at {
            Some(at) if at < newest => return Err(Reason::EffectiveOutOfOrder.into()),
            Some(at) => at,
            None => now.max(newest),
        };
        check_states(transfer.kind, &debit, &credit)?;

        let mut amount = transfer.amount.or(bound).unwrap_or_default();
        if let Some((account, _)) = balanced {
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
                    // It is there, but no block is.
                    HoldState::Held if transfer.block => return Err(Reason::HoldNotFound.into()),
                    HoldState::Held | HoldState::Blocked if transfer.kind == Kind::Expiry && !over => {
                        return Err(Reason::HoldNotExpired.into());
                    }
                    HoldState::Held if transfer.kind != Kind::Expiry && over => {
                        return Err(Reason::HoldExpired.into());
                    }
                    HoldState::Blocked if !transfer.block => return Err(Reason::HoldIsBlock.into()),
                    HoldState::Held | HoldState::Blocked => {}
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
        for (account, direction) in sides(debit, credit) {
            let Some(slots) = self.limits.get(&(environment, account.id)) else { continue };
            let about = |limit: &&Limit| {
                limit.rule.direction == direction && limit::applies(limit.rule.window, transfer)
            };
            for limit in slots.iter().map(|slot| &slot.row).filter(about) {
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
}
