//! The ledger over HTTP, in a cell: what the books are opened with, and one way to ask.

mod balances;
mod full;
mod holds;
mod lost;
mod refusals;
mod transfers;

use std::ops::Deref;

use chrono::DateTime;
use ledger::{
    account::{Class, NewAccount, State},
    books,
};
use platform::testing::http::Answer;
use serde_json::{Value, json};
use tenants::{
    id::{AccountId, TransferId},
    money::Currency,
};
use uuid::Uuid;

use crate::cell::{Cell, scope};

/// A cell whose first environment has accounts: [`CASH`] may be overdrawn, [`ANA`] and [`BETO`] are customers with
/// nothing, [`FEES`] is income, [`DOLLARS`] a customer's in another currency.
pub struct Bank {
    cell: Cell,
}

pub const CASH: u128 = 1;
pub const ANA: u128 = 2;
pub const BETO: u128 = 3;
pub const FEES: u128 = 4;
pub const DOLLARS: u128 = 5;
/// No account has this number.
pub const NOBODY: u128 = 99;

impl Deref for Bank {
    type Target = Cell;
    fn deref(&self) -> &Cell {
        &self.cell
    }
}

pub fn account(number: u128) -> AccountId {
    AccountId::from_uuid(Uuid::from_u128(number))
}

pub fn transfer_id(number: u128) -> TransferId {
    TransferId::from_uuid(Uuid::from_u128(number))
}

pub fn pesos(amount: i64) -> Value {
    json!({"amount": amount, "currency": "MXN"})
}

/// A plain transfer of pesos.
pub fn transfer(debit: u128, credit: u128, amount: i64) -> Value {
    json!({
        "type": "transfer", "debit_account_id": account(debit), "credit_account_id": account(credit),
        "amount": pesos(amount)
    })
}

/// An object with further fields, or with other values for the ones it has.
pub fn with(mut object: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    object.as_object_mut().unwrap().extend(fields);
    object
}

impl Bank {
    pub async fn both() -> [Self; 2] {
        let [sqlite, postgres] = Cell::both().await;
        [Self::of(sqlite).await, Self::of(postgres).await]
    }

    pub async fn sqlite() -> Self {
        Self::of(Cell::sqlite().await).await
    }

    async fn of(cell: Cell) -> Self {
        let bank = Self { cell };
        bank.open(CASH, Class::Asset, "MXN", true).await;
        bank.open(ANA, Class::Liability, "MXN", false).await;
        bank.open(BETO, Class::Liability, "MXN", false).await;
        bank.open(FEES, Class::Income, "MXN", false).await;
        bank.open(DOLLARS, Class::Liability, "USD", false).await;
        bank
    }

    pub async fn open(&self, number: u128, class: Class, currency: &str, may_overdraw: bool) {
        let tx = self.app.db.begin(scope(1)).await.unwrap();
        let new = NewAccount {
            id: account(number),
            class,
            currency: Currency::parse(currency).unwrap(),
            may_overdraw,
            opened_at: DateTime::UNIX_EPOCH,
        };
        books::open_in_tx(&tx, scope(1), &new).await.unwrap();
        tx.commit().await.unwrap();
    }

    pub async fn move_state(&self, number: u128, from: State, to: State) {
        let tx = self.app.db.begin(scope(1)).await.unwrap();
        assert!(books::move_state_in_tx(&tx, scope(1), account(number), from, to).await.unwrap());
        tx.commit().await.unwrap();
    }

    /// Posts to this path under this key.
    pub async fn send(&self, path: &str, key: &str, body: &Value) -> Answer {
        self.post(path, body).token(&self.token).key(key).send().await
    }

    /// Reads this path.
    pub async fn read(&self, path: &str) -> Value {
        self.get(path).token(&self.token).send().await.ok(200)
    }

    /// Gives a customer pesos.
    pub async fn fund(&self, number: u128, amount: i64) {
        let deposit = with(transfer(CASH, number, amount), json!({"type": "deposit"}));
        self.send("/v1/transfers", &format!("fund {number} {amount}").replace(' ', "-"), &deposit)
            .await
            .ok(201);
    }

    /// Posted, held and available pesos of an account.
    pub async fn balance(&self, number: u128) -> [i64; 3] {
        let shown = self.read(&format!("/v1/accounts/{}/balance", account(number))).await;
        ["posted", "held", "available"].map(|name| shown[name]["amount"].as_i64().unwrap())
    }

    /// How many transfers there are, and that the books are in balance.
    pub async fn transfers(&self) -> usize {
        let trial = self.read("/v1/trial-balance").await;
        assert_eq!(trial["balanced"], true, "{trial}");
        self.read("/v1/transfers?limit=200").await["data"].as_array().unwrap().len()
    }
}
