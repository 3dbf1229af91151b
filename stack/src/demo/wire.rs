//! What the demo reads of the API's answers; the rest it ignores, as customers should.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tenants::{
    id::{AccountId, PartyId, TransferId},
    money::{Currency, Money},
};

/// What became of an import.
#[derive(Deserialize)]
pub struct Imported {
    pub imported: usize,
    pub unchanged: usize,
    pub rejected: usize,
    pub faults: Vec<ImportFault>,
}

/// What is wrong with a line.
#[derive(Deserialize)]
pub struct ImportFault {
    pub line: usize,
    pub field: Option<String>,
    pub detail: String,
}

/// A customer.
#[derive(Deserialize)]
pub struct Party {
    pub id: PartyId,
    pub external_id: Option<String>,
    pub display_name: String,
}

/// An account.
#[derive(Deserialize)]
pub struct Account {
    pub id: AccountId,
    pub external_id: Option<String>,
    pub party_id: Option<PartyId>,
    pub class: ledger::account::Class,
    pub currency: Currency,
    pub balance: Balance,
}

/// What stands in an account.
#[derive(Deserialize)]
pub struct Balance {
    pub posted: Money,
}

/// A transfer.
#[derive(Deserialize)]
pub struct Transfer {
    pub id: TransferId,
    pub r#type: ledger::transfer::Kind,
    pub debit_account_id: AccountId,
    pub credit_account_id: AccountId,
    pub amount: Money,
    pub effective_at: DateTime<Utc>,
    pub reference: Option<String>,
}

/// The sums of the books.
#[derive(Deserialize)]
pub struct TrialBalance {
    pub data: Vec<TrialBalanceLine>,
}

/// The sums of one currency.
#[derive(Deserialize)]
pub struct TrialBalanceLine {
    pub currency: Currency,
    pub debits: String,
    pub credits: String,
    pub accounts: usize,
}

/// A balance as the transfers that make it.
#[derive(Deserialize)]
pub struct Explanation {
    pub agrees: bool,
    pub data: Vec<Step>,
}

/// One transfer of an explanation.
#[derive(Deserialize)]
pub struct Step {
    pub change: Money,
    pub balance: Money,
    pub transfer: Transfer,
}
