//! The calls of a cell that our own tools make; more come with the tools that need them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tenants::{
    id::{AccountId, PartyId, TransferId},
    money::{Currency, Money},
};

use crate::{
    call::{Page, operations},
    words::words,
};

operations! {
    /// Imports parties from CSV. A line that was imported before changes nothing.
    party_import(file: &str) -> Imported, Plain = POST "/v1/party-imports" .csv(file) .repeatable();
    /// Lists parties.
    party_list() -> Page<Party>, Plain = GET "/v1/parties";
    /// Reads a party.
    party_get(id: PartyId) -> Party, Plain = GET "/v1/parties/{id}";
    /// Opens a customer's account.
    account_create(new: &AccountNew) -> Account, Plain = POST "/v1/accounts" .json(new);
    /// Opens an account of the institution's own.
    internal_account_create(new: &InternalAccountNew) -> Account, Plain = POST "/v1/internal-accounts" .json(new);
    /// Lists accounts.
    account_list() -> Page<Account>, Plain = GET "/v1/accounts";
    /// Reads an account.
    account_get(id: AccountId) -> Account, Plain = GET "/v1/accounts/{id}";
    /// A balance as the first transfers that make it.
    balance_explain(id: AccountId, limit: u16) -> Explanation, Plain
        = GET "/v1/accounts/{id}/balance/explanation" .and("limit", limit);
    /// Posts a transfer. Its id is its record: the same one again is the same transfer.
    transfer_create(new: &TransferNew) -> Transfer, Plain = POST "/v1/transfers" .json(new) .repeatable();
    /// Lists transfers.
    transfer_list() -> Page<Transfer>, Plain = GET "/v1/transfers";
    /// The sums of the books.
    trial_balance_get() -> TrialBalance, Plain = GET "/v1/trial-balance";
}

words! {
    /// What kind of account it is for the books.
    AccountClass {
        /// What the institution owns or is owed. Grows by debits.
        Asset = "asset",
        /// What it owes. Grows by credits.
        Liability = "liability",
        /// What belongs to its owners. Grows by credits.
        Equity = "equity",
        /// What it has earned. Grows by credits.
        Income = "income",
        /// What it has spent. Grows by debits.
        Expense = "expense",
    }
    /// What a transfer does.
    TransferType {
        /// Between any two accounts of one currency.
        Transfer = "transfer",
        /// Money arrives.
        Deposit = "deposit",
        /// Money leaves.
        Withdrawal = "withdrawal",
        /// A customer pays the institution.
        Fee = "fee",
        /// Sets an amount aside; nothing is posted.
        Hold = "hold",
        /// Posts a hold and ends it.
        Capture = "capture",
        /// Ends a hold without posting.
        Void = "void",
        /// Ends a hold whose time is over.
        Expiry = "expiry",
        /// Undoes a posted transfer.
        Reversal = "reversal",
    }
}

impl AccountClass {
    /// Whether debits make its balance greater.
    #[must_use]
    pub const fn grows_by_debits(self) -> bool {
        matches!(self, Self::Asset | Self::Expense)
    }
}

impl TransferType {
    /// Whether it changes posted balances.
    #[must_use]
    pub const fn posts(self) -> bool {
        !matches!(self, Self::Hold | Self::Void | Self::Expiry)
    }
}

/// What became of an import.
#[derive(Debug, Clone, Deserialize)]
pub struct Imported {
    /// How many parties are new.
    pub imported: usize,
    /// How many were there.
    pub unchanged: usize,
    /// How many lines were not taken.
    pub rejected: usize,
    /// What is wrong with them.
    pub faults: Vec<ImportFault>,
}

/// What is wrong with a line.
#[derive(Debug, Clone, Deserialize)]
pub struct ImportFault {
    /// Counted from 1, the head included.
    pub line: usize,
    /// Which field, if it is one.
    pub field: Option<String>,
    /// For people.
    pub detail: String,
}

/// A customer.
#[derive(Debug, Clone, Deserialize)]
pub struct Party {
    /// Its id.
    pub id: PartyId,
    /// The bank's own id.
    pub external_id: Option<String>,
    /// For people.
    pub display_name: String,
}

/// A customer's account to be opened.
#[derive(Debug, Clone, Serialize)]
pub struct AccountNew {
    /// Whose it is.
    pub party_id: PartyId,
    /// The bank's own id.
    pub external_id: String,
}

/// An account of the institution's own to be opened.
#[derive(Debug, Clone, Serialize)]
pub struct InternalAccountNew {
    /// For people.
    pub name: String,
    /// For the books.
    pub class: AccountClass,
    /// The bank's own id.
    pub external_id: String,
}

/// An account.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// The bank's own id.
    pub external_id: Option<String>,
    /// Whose it is; none if the institution's own.
    pub party_id: Option<PartyId>,
    /// For the books.
    pub class: AccountClass,
    /// In what money.
    pub currency: Currency,
    /// What stands in it.
    pub balance: Balance,
}

/// What stands in an account.
#[derive(Debug, Clone, Deserialize)]
pub struct Balance {
    /// What was posted.
    pub posted: Money,
}

/// A transfer to be posted.
#[derive(Debug, Clone, Serialize)]
pub struct TransferNew<'a> {
    /// Of the caller's making.
    pub id: TransferId,
    /// What it does.
    pub r#type: TransferType,
    /// From where.
    pub debit_account_id: AccountId,
    /// Where to.
    pub credit_account_id: AccountId,
    /// How much.
    pub amount: Money,
    /// For people.
    pub reference: &'a str,
}

/// A transfer.
#[derive(Debug, Clone, Deserialize)]
pub struct Transfer {
    /// Its id.
    pub id: TransferId,
    /// What it does.
    pub r#type: TransferType,
    /// From where.
    pub debit_account_id: AccountId,
    /// Where to.
    pub credit_account_id: AccountId,
    /// How much.
    pub amount: Money,
    /// Since when it counts.
    pub effective_at: DateTime<Utc>,
    /// For people.
    pub reference: Option<String>,
}

/// The sums of the books.
#[derive(Debug, Clone, Deserialize)]
pub struct TrialBalance {
    /// Per currency.
    pub data: Vec<TrialBalanceLine>,
}

/// The sums of one currency.
#[derive(Debug, Clone, Deserialize)]
pub struct TrialBalanceLine {
    /// Which.
    pub currency: Currency,
    /// An integer of minor units, longer than JSON's numbers are exact.
    pub debits: String,
    /// Likewise.
    pub credits: String,
    /// How many accounts there are.
    pub accounts: usize,
}

/// A balance as the transfers that make it.
#[derive(Debug, Clone, Deserialize)]
pub struct Explanation {
    /// Whether they come to it.
    pub agrees: bool,
    /// The oldest first.
    pub data: Vec<ExplanationStep>,
}

/// One transfer of an explanation.
#[derive(Debug, Clone, Deserialize)]
pub struct ExplanationStep {
    /// What it changed.
    pub change: Money,
    /// What stood there afterwards.
    pub balance: Money,
    /// The transfer.
    pub transfer: Transfer,
}
