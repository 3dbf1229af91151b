//! What a payment is, what it asks of the ledger next, and what follows from the answer; pure.

use chrono::{DateTime, TimeDelta, Utc};
use ledger::{
    account::{Account, State},
    movements,
    outcome::{Detail, Outcome, Reason, Rejection},
    transfer::{Side, Transfer, derived_id},
};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, ClientId, PaymentId, PreviewId, TransferId},
    money::{MAX_AMOUNT, Money},
};

/// How long a preview may be committed.
pub const PREVIEW_LASTS: TimeDelta = TimeDelta::minutes(5);
/// How long a payment may take from its commit to its settlement.
pub const PAYMENT_LASTS: TimeDelta = TimeDelta::minutes(15);

/// What a caller wants to pay, or is about to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The account that pays.
    pub debit: AccountId,
    /// The account that is paid.
    pub credit: AccountId,
    /// How much.
    pub money: Money,
    /// The caller's own text for both statements.
    pub reference: Option<String>,
}

/// A payment that was shown and may be committed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Its id.
    pub id: PreviewId,
    /// What would be paid.
    pub order: Order,
    /// What the paying account had available then, in minor units.
    pub available: i64,
    /// Who asked; nobody else may commit it.
    pub actor: String,
    /// Environment time.
    pub created_at: DateTime<Utc>,
    /// From then on it cannot be committed; environment time.
    pub expires_at: DateTime<Utc>,
    /// The payment that it became.
    pub payment: Option<PaymentId>,
}

/// Where a payment stands. The last three are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentStatus)]
pub enum Status {
    /// The intent is written down.
    Created,
    /// The amount is set aside on the paying account.
    Authorised,
    /// The money has moved.
    Settled,
    /// It will not move; nothing is set aside.
    Rejected,
    /// Its time was over before it could be settled; nothing is set aside.
    Expired,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] =
        [Self::Created, Self::Authorised, Self::Settled, Self::Rejected, Self::Expired];

    /// The name on the wire and in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Authorised => "authorised",
            Self::Settled => "settled",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
        }
    }

    /// The status of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// Why a payment ended without a settlement: the ledger's reason and its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// In minor units of the payment's currency.
    pub detail: Detail,
}

/// What moved in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// The transfer that moved it.
    pub transfer: TransferId,
    /// Minor units; less than was ordered only if somebody else captured the hold in part.
    pub amount: i64,
}

/// A payment: the intent to move money, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Its id; the ids of its transfers follow from it.
    pub id: PaymentId,
    /// The preview it was.
    pub preview: PreviewId,
    /// The caller's own id, unique in the environment.
    pub external_id: Option<String>,
    /// What is paid.
    pub order: Order,
    /// Where it stands.
    pub status: Status,
    /// Why it was rejected or has expired.
    pub refusal: Option<Refusal>,
    /// What moved, once it has.
    pub settlement: Option<Settlement>,
    /// The client that committed it; none if Tambo itself did.
    pub client: Option<ClientId>,
    /// The request that committed it.
    pub request_id: String,
    /// The `Idempotency-Key` of that request.
    pub key: String,
    /// Environment time.
    pub created_at: DateTime<Utc>,
    /// When it ends if it is not settled by then; environment time.
    pub expires_at: DateTime<Utc>,
    /// When its amount was set aside; environment time.
    pub authorised_at: Option<DateTime<Utc>>,
    /// When it reached its final status; environment time.
    pub ended_at: Option<DateTime<Utc>>,
}

/// One step of a payment from one status to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// Where to.
    pub to: Status,
    /// When, environment time.
    pub at: DateTime<Utc>,
    /// Why, if it is to be rejected or has expired.
    pub refusal: Option<Refusal>,
    /// What moved, if it is settled.
    pub settlement: Option<Settlement>,
}

/// What follows from the ledger's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The status moves.
    Move(Move),
    /// What is set aside has to be released first, then the status moves.
    Release(Move),
    /// Somebody else captured the hold: what moved stands in the hold's row.
    LookAtHold,
}

impl Payment {
    /// The id of the transfer that sets the amount aside.
    pub fn hold_id(&self) -> TransferId {
        derived_id(self.id.uuid(), "authorise")
    }

    /// What the ledger is to be asked next; `None`: nothing, the status is final.
    ///
    /// The ledger alone decides whether time is over: the hold ends when the payment does.
    pub fn next(&self) -> Option<Transfer> {
        let transfer: Transfer = match self.status {
            Status::Created => movements::Hold {
                id: self.hold_id(),
                debit: self.order.debit,
                credit: self.order.credit,
                money: self.order.money,
                expires_at: Some(self.expires_at),
            }
            .into(),
            Status::Authorised => {
                let id = derived_id(self.id.uuid(), "settle");
                movements::Capture { id, hold: self.hold_id(), amount: None }.into()
            }
            Status::Settled | Status::Rejected | Status::Expired => return None,
        };
        Some(self.signed(transfer))
    }

    /// What releases the amount that is set aside.
    pub fn release(&self) -> Transfer {
        let id = derived_id(self.id.uuid(), "release");
        self.signed(movements::Void { id, hold: self.hold_id() }.into())
    }

    fn signed(&self, transfer: Transfer) -> Transfer {
        Transfer {
            reference: self.order.reference.as_deref().map(Into::into),
            key: Some(self.key.as_str().into()),
            ..transfer
        }
    }

    /// What follows from the ledger's answer to [`Payment::next`], at `now`.
    pub fn verdict(&self, outcome: &Outcome, now: DateTime<Utc>) -> Verdict {
        let rejection = match outcome {
            Outcome::Posted(row) | Outcome::Replayed(row) => {
                let at = row.effective_at;
                return Verdict::Move(match self.status {
                    Status::Authorised => {
                        let settlement = Some(Settlement { transfer: row.id, amount: row.amount });
                        Move { to: Status::Settled, at, refusal: None, settlement }
                    }
                    _ => Move { to: Status::Authorised, at, refusal: None, settlement: None },
                });
            }
            Outcome::Rejected(rejection) => rejection,
        };
        let refusal = Some(Refusal { reason: rejection.reason, detail: rejection.detail });
        let ended = |to| Move { to, at: now, refusal, settlement: None };
        match rejection.reason {
            Reason::HoldAlreadyCaptured => Verdict::LookAtHold,
            Reason::ExpiryNotInFuture | Reason::HoldExpired => Verdict::Move(ended(Status::Expired)),
            Reason::HoldAlreadyVoided | Reason::HoldNotFound => Verdict::Move(ended(Status::Rejected)),
            _ if self.status == Status::Authorised => Verdict::Release(ended(Status::Rejected)),
            _ => Verdict::Move(ended(Status::Rejected)),
        }
    }
}

/// What the paying account has available before, if the ledger would take this order now; the first of the ledger's own
/// reasons, in its order, if it would not. Limits are left to the ledger.
///
/// # Errors
/// The refusal.
pub fn foresee(order: &Order, debit: Option<&Account>, credit: Option<&Account>) -> Result<i64, Rejection> {
    let amount = order.money.amount;
    if amount <= 0 {
        return Err(Reason::AmountNotPositive.into());
    }
    if amount > MAX_AMOUNT {
        return Err(Reason::AmountTooLarge.into());
    }
    if order.debit == order.credit {
        return Err(Reason::AccountsIdentical.into());
    }
    let debit = debit.ok_or(Reason::DebitAccountNotFound)?;
    let credit = credit.ok_or(Reason::CreditAccountNotFound)?;
    if debit.currency != order.money.currency || credit.currency != order.money.currency {
        return Err(Reason::CurrencyMismatch.into());
    }
    if debit.state == State::Closed {
        return Err(Reason::DebitAccountClosed.into());
    }
    if credit.state == State::Closed {
        return Err(Reason::CreditAccountClosed.into());
    }
    if debit.state.freezes(Side::Debit) {
        return Err(Reason::DebitAccountFrozen.into());
    }
    if credit.state.freezes(Side::Credit) {
        return Err(Reason::CreditAccountFrozen.into());
    }
    let available = debit.available().ok_or(Reason::BalanceOverflow)?;
    if available < amount && !debit.may_overdraw {
        let detail = Detail::Available(available);
        return Err(Rejection { detail, ..Reason::InsufficientFunds.into() });
    }
    Ok(available)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ledger::{
        account::Class,
        transfer::{Kind, Posted},
    };
    use uuid::Uuid;

    use super::*;

    fn account(number: u128) -> AccountId {
        AccountId::from_uuid(Uuid::from_u128(number))
    }

    fn pesos(amount: i64) -> Money {
        Money::new(amount, "MXN".parse().unwrap())
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn order(amount: i64) -> Order {
        Order { debit: account(1), credit: account(2), money: pesos(amount), reference: Some("rent".into()) }
    }

    fn payment(status: Status) -> Payment {
        Payment {
            id: PaymentId::from_uuid(Uuid::from_u128(7 << 80)),
            preview: PreviewId::from_uuid(Uuid::from_u128(8)),
            external_id: None,
            order: order(100),
            status,
            refusal: None,
            settlement: None,
            client: None,
            request_id: "r".into(),
            key: "k".into(),
            created_at: at(0),
            expires_at: at(900),
            authorised_at: None,
            ended_at: None,
        }
    }

    fn posted(id: TransferId, amount: i64) -> Arc<Posted> {
        Arc::new(Posted {
            environment: Uuid::nil(),
            id,
            seq: 1,
            kind: Kind::Hold,
            debit: account(1),
            credit: account(2),
            amount,
            currency: pesos(0).currency,
            hold: None,
            reverses: None,
            chain: None,
            imported: false,
            debit_balance: 0,
            credit_balance: 0,
            effective_at: at(5),
            booked_at: at(5),
            content: [0; 16],
            actor: "a".into(),
            client: None,
            request_id: "r".into(),
            key: None,
            reference: None,
        })
    }

    #[test]
    fn every_step_has_an_id_of_its_own_that_never_changes() {
        let (created, authorised) = (payment(Status::Created), payment(Status::Authorised));
        let ids = [created.next().unwrap().id, authorised.next().unwrap().id, created.release().id];
        assert_eq!(ids[0], created.hold_id());
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_eq!(created.next(), payment(Status::Created).next(), "the same request every time");
        assert_eq!(created.next().unwrap().expires_at, Some(created.expires_at));
        for status in [Status::Settled, Status::Rejected, Status::Expired] {
            assert_eq!(payment(status).next(), None);
        }
    }

    /// Where each answer leads from each status: `=` moves, `-` releases first, `?` looks at the hold.
    #[test]
    fn answers_lead_on() {
        let lead = |status: Status, outcome: &Outcome| match payment(status).verdict(outcome, at(9)) {
            Verdict::Move(to) => format!("= {}", to.to.name()),
            Verdict::Release(to) => format!("- {}", to.to.name()),
            Verdict::LookAtHold => "?".to_owned(),
        };
        let row = posted(payment(Status::Created).hold_id(), 100);
        for outcome in [Outcome::Posted(row.clone()), Outcome::Replayed(row)] {
            assert_eq!(lead(Status::Created, &outcome), "= authorised");
            assert_eq!(lead(Status::Authorised, &outcome), "= settled");
        }
        for (reason, created, authorised) in [
            (Reason::InsufficientFunds, "= rejected", "- rejected"),
            (Reason::DebitAccountFrozen, "= rejected", "- rejected"),
            (Reason::CreditAccountClosed, "= rejected", "- rejected"),
            (Reason::LimitExceeded, "= rejected", "- rejected"),
            (Reason::IdReused, "= rejected", "- rejected"),
            (Reason::ExpiryNotInFuture, "= expired", "= expired"),
            (Reason::HoldExpired, "= expired", "= expired"),
            (Reason::HoldAlreadyVoided, "= rejected", "= rejected"),
            (Reason::HoldAlreadyCaptured, "?", "?"),
        ] {
            let outcome = Outcome::Rejected(reason.into());
            assert_eq!(lead(Status::Created, &outcome), created, "{reason:?}");
            assert_eq!(lead(Status::Authorised, &outcome), authorised, "{reason:?}");
        }
        let settled = payment(Status::Authorised)
            .verdict(&Outcome::Posted(posted(TransferId::from_uuid(Uuid::from_u128(3)), 60)), at(9));
        let Verdict::Move(settled) = settled else { panic!("{settled:?}") };
        assert_eq!(settled.at, at(5), "the ledger's time, not that of a later run");
        assert_eq!(settled.settlement.map(|done| done.amount), Some(60));
    }

    #[test]
    fn what_the_ledger_would_refuse_is_foreseen_in_its_order() {
        let open = |number: u128, credits: i64| Account {
            id: account(number),
            class: Class::Liability,
            currency: pesos(0).currency,
            state: State::Open,
            may_overdraw: false,
            limits_revision: 0,
            debits_posted: 0,
            credits_posted: credits,
            debits_held: 0,
            credits_held: 0,
            last_effective_at: at(0),
        };
        let with = |state, account| Account { state, ..account };
        let (debit, credit) = (open(1, 100), open(2, 0));
        let refused = |amount: i64, debit: Option<&Account>, credit: Option<&Account>| {
            foresee(&order(amount), debit, credit).map_err(|rejection| rejection.reason)
        };
        assert_eq!(refused(100, Some(&debit), Some(&credit)), Ok(100));
        assert_eq!(refused(101, Some(&debit), Some(&credit)), Err(Reason::InsufficientFunds));
        assert_eq!(refused(0, None, None), Err(Reason::AmountNotPositive));
        assert_eq!(refused(MAX_AMOUNT + 1, None, None), Err(Reason::AmountTooLarge));
        assert_eq!(refused(1, None, None), Err(Reason::DebitAccountNotFound));
        assert_eq!(refused(1, Some(&debit), None), Err(Reason::CreditAccountNotFound));
        let same = Order { credit: account(1), ..order(1) };
        let same = foresee(&same, None, None).map_err(|rejection| rejection.reason);
        assert_eq!(same, Err(Reason::AccountsIdentical));
        let frozen = with(State::DebitsFrozen, debit.clone());
        assert_eq!(refused(1, Some(&frozen), Some(&credit)), Err(Reason::DebitAccountFrozen));
        let frozen = with(State::DebitsFrozen, credit.clone());
        assert_eq!(refused(1, Some(&debit), Some(&frozen)), Ok(100), "money may come in");
        let frozen = with(State::CreditsFrozen, credit.clone());
        assert_eq!(refused(1, Some(&debit), Some(&frozen)), Err(Reason::CreditAccountFrozen));
        let closed = with(State::Closed, credit.clone());
        assert_eq!(refused(101, Some(&debit), Some(&closed)), Err(Reason::CreditAccountClosed));
        let other = Account { currency: "USD".parse().unwrap(), ..credit };
        assert_eq!(refused(1, Some(&debit), Some(&other)), Err(Reason::CurrencyMismatch));
    }
}
