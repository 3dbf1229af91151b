//! What an account is to a tenant, and what a caller may ask of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use ledger::account::{Class, State};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, PartyId},
    money::{Currency, MAX_AMOUNT},
};
use utoipa::ToSchema;

/// The longest `external_id` and the longest name, in characters.
pub const MAX_TEXT: usize = 120;
/// The most pairs of metadata.
pub const MAX_METADATA: usize = 50;
/// The longest key of metadata, in characters.
pub const MAX_METADATA_KEY: usize = 60;
/// The longest value of metadata, in characters.
pub const MAX_METADATA_VALUE: usize = 500;
/// The longest explanation of a change of state, in characters.
pub const MAX_DETAIL: usize = 500;
/// The longest name of an authority, and the longest reference of its order, in characters; both fit into a transfer's
/// reference with a space between.
pub const MAX_ORDER: usize = 69;

/// The caller's own pairs of text; never searched.
pub type Metadata = BTreeMap<String, String>;

/// Whose account it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A customer's: what the institution owes a party. Never overdrawn.
    Customer(PartyId),
    /// The institution's own, with its name: settlement, fees, capital.
    Internal(String),
}

/// Which sort of account it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A customer's.
    Customer,
    /// The institution's own.
    Internal,
}

/// Whether an account takes part in transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = AccountState)]
pub enum Standing {
    /// Money comes in and goes out.
    Open,
    /// It takes no debits, no credits or neither, as `frozen` says; holds may be voided and expire.
    Frozen,
    /// Nothing moves, ever again.
    Closed,
}

impl Standing {
    /// What the ledger's state is on the wire.
    pub fn of(state: State) -> Self {
        match state {
            State::Open => Self::Open,
            State::DebitsFrozen | State::CreditsFrozen | State::Frozen => Self::Frozen,
            State::Closed => Self::Closed,
        }
    }

    /// The ledger's states that are this on the wire.
    pub fn states(self) -> Vec<State> {
        State::ALL.into_iter().filter(|state| Self::of(*state) == self).collect()
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Frozen => "frozen",
            Self::Closed => "closed",
        }
    }
}

/// Which postings a freeze keeps off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FreezeDirection)]
pub enum Direction {
    /// Debits: from a customer's account nothing goes out.
    Debit,
    /// Credits: into a customer's account nothing comes.
    Credit,
    /// Both.
    All,
}

impl Direction {
    /// The ledger's state under this freeze.
    pub fn state(self) -> State {
        match self {
            Self::Debit => State::DebitsFrozen,
            Self::Credit => State::CreditsFrozen,
            Self::All => State::Frozen,
        }
    }

    /// The freeze that the ledger's state is.
    pub fn of(state: State) -> Option<Self> {
        [Self::Debit, Self::Credit, Self::All].into_iter().find(|direction| direction.state() == state)
    }
}

/// Which way an account's state is to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// Some postings are kept off, beside those that are already.
    Freeze(Direction),
    /// A freeze is lifted.
    Unfreeze,
    /// Nothing moves any more.
    Close,
}

impl Move {
    /// Where the move leads from a state; `None` where it does not start from.
    pub fn to(self, from: State) -> Option<State> {
        match (self, Standing::of(from)) {
            (Self::Freeze(direction), Standing::Open | Standing::Frozen) => {
                // A freeze only widens; what is frozen is released by nothing but an unfreeze.
                let asked = direction.state();
                let to = if from == State::Open || from == asked { asked } else { State::Frozen };
                Some(to).filter(|to| *to != from)
            }
            (Self::Unfreeze, Standing::Frozen) => Some(State::Open),
            (Self::Close, Standing::Open) => Some(State::Closed),
            _ => None,
        }
    }
}

/// The name of a state in the record of moves.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Open => "open",
        State::DebitsFrozen => "debits_frozen",
        State::CreditsFrozen => "credits_frozen",
        State::Frozen => "frozen",
        State::Closed => "closed",
    }
}

/// What the slice knows of an account; state, class, currency and balance are the ledger's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The ledger's id too.
    pub id: AccountId,
    /// Whose it is.
    pub owner: Owner,
    /// The caller's own id, unique in the environment.
    pub external_id: Option<String>,
    /// The caller's own pairs.
    pub metadata: Metadata,
    /// How often its state has moved.
    pub moves: i64,
    /// When it was opened, environment time.
    pub opened_at: DateTime<Utc>,
}

/// What an account is to be opened with.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Whose it is.
    pub owner: Owner,
    /// The element of the accounting equation.
    pub class: Class,
    /// Whether its balance may fall below zero.
    pub may_overdraw: bool,
    /// The environment's, if the caller names none.
    pub currency: Option<Currency>,
    /// The caller's own id.
    pub external_id: Option<String>,
    /// The caller's own pairs.
    pub metadata: Metadata,
}

/// Why an account's state was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The customer asked for it.
    CustomerRequest,
    /// A court, a tax office or another authority ordered it.
    AuthorityOrder,
    /// Fraud is suspected.
    SuspectedFraud,
    /// The institution's own rules ask for it: a review, a missing document.
    Compliance,
    /// The customer has died.
    Deceased,
    /// Nothing has moved for too long.
    Inactivity,
    /// The reason before was a mistake, or is over.
    Resolved,
}

impl ReasonCode {
    /// Every code.
    pub const ALL: [Self; 7] = [
        Self::CustomerRequest,
        Self::AuthorityOrder,
        Self::SuspectedFraud,
        Self::Compliance,
        Self::Deceased,
        Self::Inactivity,
        Self::Resolved,
    ];

    /// The name on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::CustomerRequest => "customer_request",
            Self::AuthorityOrder => "authority_order",
            Self::SuspectedFraud => "suspected_fraud",
            Self::Compliance => "compliance",
            Self::Deceased => "deceased",
            Self::Inactivity => "inactivity",
            Self::Resolved => "resolved",
        }
    }

    /// The code of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.name() == name)
    }
}

/// Why an account's state was moved, in a code to branch on and in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AccountReason)]
pub struct Reason {
    /// To branch on.
    pub code: ReasonCode,
    /// For people; nothing personal.
    #[schema(max_length = 500, example = "Order 4711/2026 of the fifth civil court")]
    pub detail: Option<String>,
}

/// An authority's order to block an amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Who orders it.
    pub authority: String,
    /// Its own reference.
    pub reference: String,
    /// How much at most, minor units.
    pub amount: i64,
    /// Where the money goes if the order is executed.
    pub beneficiary: AccountId,
}

/// A field that is not acceptable, by its JSON pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw(pub String);

/// Whether a text has 1 to `longest` characters, none of which is a control character.
fn fits(text: &str, longest: usize) -> bool {
    !text.trim().is_empty() && text.chars().count() <= longest && !text.chars().any(char::is_control)
}

fn text(flaws: &mut Vec<Flaw>, pointer: &str, text: Option<&str>, longest: usize) {
    if text.is_some_and(|text| !fits(text, longest)) {
        flaws.push(Flaw(pointer.to_owned()));
    }
}

fn none(flaws: Vec<Flaw>) -> Result<(), Vec<Flaw>> {
    if flaws.is_empty() { Ok(()) } else { Err(flaws) }
}

impl Draft {
    /// Looks at the texts.
    ///
    /// # Errors
    /// Every field that is not acceptable.
    pub fn check(&self) -> Result<(), Vec<Flaw>> {
        let mut flaws = Vec::new();
        if let Owner::Internal(name) = &self.owner {
            text(&mut flaws, "/name", Some(name), MAX_TEXT);
        }
        text(&mut flaws, "/external_id", self.external_id.as_deref(), MAX_TEXT);
        if self.metadata.len() > MAX_METADATA {
            flaws.push(Flaw("/metadata".to_owned()));
        }
        for (key, value) in self.metadata.iter().take(MAX_METADATA) {
            let bad = value.chars().count() > MAX_METADATA_VALUE || value.chars().any(char::is_control);
            if bad || !fits(key, MAX_METADATA_KEY) {
                flaws.push(Flaw(format!("/metadata/{}", key.replace('~', "~0").replace('/', "~1"))));
            }
        }
        none(flaws)
    }
}

impl Reason {
    /// Looks at the words.
    ///
    /// # Errors
    /// The field that is not acceptable.
    pub fn check(&self) -> Result<(), Vec<Flaw>> {
        let mut flaws = Vec::new();
        text(&mut flaws, "/reason/detail", self.detail.as_deref(), MAX_DETAIL);
        none(flaws)
    }
}

impl Order {
    /// Looks at the texts and the amount.
    ///
    /// # Errors
    /// Every field that is not acceptable.
    pub fn check(&self) -> Result<(), Vec<Flaw>> {
        let mut flaws = Vec::new();
        if !(1..=MAX_AMOUNT).contains(&self.amount) {
            flaws.push(Flaw("/amount/amount".to_owned()));
        }
        text(&mut flaws, "/authority", Some(&self.authority), MAX_ORDER);
        text(&mut flaws, "/reference", Some(&self.reference), MAX_ORDER);
        none(flaws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn draft() -> Draft {
        Draft {
            owner: Owner::Customer(PartyId::from_uuid(Uuid::from_u128(1))),
            class: Class::Liability,
            may_overdraw: false,
            currency: None,
            external_id: None,
            metadata: Metadata::new(),
        }
    }

    fn flaws(draft: &Draft) -> Vec<String> {
        draft.check().err().unwrap_or_default().into_iter().map(|flaw| flaw.0).collect()
    }

    #[test]
    fn texts_are_bounded() {
        assert_eq!(flaws(&draft()), Vec::<String>::new());
        let long = "é".repeat(MAX_TEXT);
        assert_eq!(flaws(&Draft { external_id: Some(long.clone()), ..draft() }), Vec::<String>::new());
        for bad in [format!("{long}é"), String::new(), " ".to_owned(), "a\nb".to_owned()] {
            assert_eq!(flaws(&Draft { external_id: Some(bad.clone()), ..draft() }), ["/external_id"]);
            assert_eq!(flaws(&Draft { owner: Owner::Internal(bad), ..draft() }), ["/name"]);
        }
    }

    #[test]
    fn metadata_is_bounded() {
        let pairs = |count: usize| (0..count).map(|n| (format!("k{n}"), String::new())).collect();
        assert_eq!(flaws(&Draft { metadata: pairs(MAX_METADATA), ..draft() }), Vec::<String>::new());
        assert_eq!(flaws(&Draft { metadata: pairs(MAX_METADATA + 1), ..draft() }), ["/metadata"]);
        let one = |key: &str, length: usize| {
            let metadata = Metadata::from([(key.to_owned(), "x".repeat(length))]);
            flaws(&Draft { metadata, ..draft() })
        };
        assert_eq!(one("a/b", MAX_METADATA_VALUE), Vec::<String>::new());
        assert_eq!(one("a/b", MAX_METADATA_VALUE + 1), ["/metadata/a~1b"]);
        assert_eq!(one("", 1), ["/metadata/"]);
        for bad in ["a\0b", "a\u{1b}b", "a\nb"] {
            let metadata = Metadata::from([("k".to_owned(), bad.to_owned())]);
            assert_eq!(flaws(&Draft { metadata, ..draft() }), ["/metadata/k"], "{bad:?}");
        }
    }

    #[test]
    fn an_order_fits_into_a_transfers_reference() {
        const { assert!(MAX_ORDER * 2 < ledger::MAX_REFERENCE) }
    }

    #[test]
    fn moves_lead_from_some_states_to_one() {
        use State::{Closed, CreditsFrozen, DebitsFrozen, Frozen, Open};
        let leads = |way: Move| State::ALL.map(|from| way.to(from));
        let freeze = |direction| leads(Move::Freeze(direction));
        let to = Some;
        // From open, debits frozen, credits frozen, frozen, closed.
        assert_eq!(freeze(Direction::Debit), [to(DebitsFrozen), None, to(Frozen), None, None]);
        assert_eq!(freeze(Direction::Credit), [to(CreditsFrozen), to(Frozen), None, None, None]);
        assert_eq!(freeze(Direction::All), [to(Frozen), to(Frozen), to(Frozen), None, None]);
        assert_eq!(leads(Move::Unfreeze), [None, to(Open), to(Open), to(Open), None]);
        assert_eq!(leads(Move::Close), [to(Closed), None, None, None, None]);
    }

    #[test]
    fn every_state_has_its_names() {
        for state in State::ALL {
            let standing = Standing::of(state);
            assert!(standing.states().contains(&state));
            assert_eq!(serde_json::to_value(standing).unwrap(), standing.name());
            assert_eq!(Direction::of(state).is_some(), standing == Standing::Frozen, "{state:?}");
        }
    }

    #[test]
    fn reasons_are_found_by_the_name_on_the_wire() {
        for code in ReasonCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.name());
            assert_eq!(ReasonCode::of(code.name()), Some(code));
        }
    }
}
