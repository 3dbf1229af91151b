//! The books of a cell as its API gives them: checked, and written as files.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use client::{
    Client,
    cell::{self, Account, Transfer, TrialBalance},
};
use tenants::id::{AccountId, TransferId};

use super::{
    DemoError,
    bank::{Bank, write},
    report,
};
use crate::transport::Http;

/// How many movements of a statement are shown.
const SHOWN: u16 = 8;

/// All accounts and transfers of an environment.
pub struct Books {
    accounts: Vec<Account>,
    /// Those that change balances.
    transfers: Vec<Transfer>,
    trial: TrialBalance,
}

impl Books {
    /// Reads them page by page.
    pub async fn read(client: &Client<Http>) -> Result<Self, DemoError> {
        let mut transfers: Vec<Transfer> = client.list(cell::transfer_list()).await?;
        transfers.retain(|transfer| transfer.r#type.posts());
        Ok(Self {
            accounts: client.list(cell::account_list()).await?,
            transfers,
            trial: client.read(cell::trial_balance_get()).await?,
        })
    }

    /// Debits less credits, which must be nothing. Faults: books that do not balance, a balance that is not the sum of
    /// its transfers, a transfer that was answered and is not there, or there twice.
    pub fn check(&self, answered: &HashSet<TransferId>, faults: &mut Vec<String>) -> i128 {
        let mut difference = 0;
        for line in &self.trial.data {
            match (line.debits.parse::<i128>(), line.credits.parse::<i128>()) {
                (Ok(debits), Ok(credits)) => difference += debits - credits,
                _ => faults.push(format!("the trial balance in {} is not in numbers", line.currency)),
            }
        }
        if difference != 0 {
            faults.push(format!("debits and credits differ by {difference}"));
        }
        let accounts: usize = self.trial.data.iter().map(|line| line.accounts).sum();
        if accounts != self.accounts.len() {
            faults.push(format!("{} accounts are listed, {accounts} are in the books", self.accounts.len()));
        }
        let found = self.transfers.iter().filter(|transfer| answered.contains(&transfer.id)).count();
        if found != answered.len() {
            faults.push(format!("{} transfers were answered, {found} are in the books", answered.len()));
        }
        let sums = self.sums();
        let wrong = self.accounts.iter().filter(|account| {
            sums.get(&account.id).copied().unwrap_or_default() != i128::from(account.balance.posted.amount)
        });
        let wrong = wrong.count();
        if wrong > 0 {
            faults.push(format!("{wrong} balances are not the sum of their transfers"));
        }
        difference
    }

    /// Every balance anew, from the transfers alone.
    fn sums(&self) -> HashMap<AccountId, i128> {
        let by_debits: HashMap<AccountId, bool> =
            self.accounts.iter().map(|account| (account.id, account.class.grows_by_debits())).collect();
        let mut sums: HashMap<AccountId, i128> = HashMap::new();
        for transfer in &self.transfers {
            for (account, debit) in [(transfer.debit_account_id, true), (transfer.credit_account_id, false)] {
                let amount = i128::from(transfer.amount.amount);
                let change = if by_debits.get(&account) == Some(&debit) { amount } else { -amount };
                *sums.entry(account).or_default() += change;
            }
        }
        sums
    }

    /// Writes `accounts.csv`, `balances.csv` and `transfers.csv`; amounts in minor units.
    pub fn export(&self, folder: &Path) -> Result<(), DemoError> {
        let accounts = self.accounts.iter().map(|account| {
            let party = account.party_id.map(|id| id.to_string()).unwrap_or_default();
            let external = account.external_id.clone().unwrap_or_default();
            let class = account.class.to_string();
            vec![account.id.to_string(), external, party, class, account.currency.code().to_owned()]
        });
        table(folder, "accounts.csv", &["id", "external_id", "party_id", "class", "currency"], accounts)?;
        let balances = self.accounts.iter().map(|account| {
            let posted = account.balance.posted;
            vec![account.id.to_string(), posted.amount.to_string(), posted.currency.code().to_owned()]
        });
        table(folder, "balances.csv", &["account_id", "balance", "currency"], balances)?;
        let transfers = self.transfers.iter().map(|transfer| {
            vec![
                transfer.id.to_string(),
                transfer.r#type.to_string(),
                transfer.debit_account_id.to_string(),
                transfer.credit_account_id.to_string(),
                transfer.amount.amount.to_string(),
                transfer.amount.currency.code().to_owned(),
                transfer.effective_at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
                transfer.reference.clone().unwrap_or_default(),
            ]
        });
        let columns = [
            "id",
            "type",
            "debit_account_id",
            "credit_account_id",
            "amount",
            "currency",
            "effective_at",
            "reference",
        ];
        table(folder, "transfers.csv", &columns, transfers)
    }
}

impl Bank<'_> {
    /// The first movements of an account, as its bank explains the balance.
    pub async fn statement(&self, account: AccountId) -> Result<String, DemoError> {
        let explained = self.client.read(cell::balance_explain(account, SHOWN)).await?;
        let zone = self.site.jurisdiction().time_zone;
        let rows: Vec<[String; 4]> = explained
            .data
            .iter()
            .map(|step| {
                let money = |money: tenants::money::Money| report::money(money.amount, money.currency);
                [
                    step.transfer.effective_at.with_timezone(&zone).format("%Y-%m-%d %H:%M").to_string(),
                    step.transfer.reference.clone().unwrap_or_default(),
                    money(step.change),
                    money(step.balance),
                ]
            })
            .collect();
        let agrees = if explained.agrees { "" } else { ", which does not agree with its balance" };
        let whose = match self.client.read(cell::account_get(account)).await?.party_id {
            Some(party) => self.client.read(cell::party_get(party)).await?.display_name,
            None => account.to_string(),
        };
        let title = format!("{}: {whose}, {account}{agrees}", self.site.name());
        Ok(report::statement(&title, &rows))
    }
}

fn table(
    folder: &Path,
    file: &str,
    columns: &[&str],
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<(), DemoError> {
    let path = folder.join(file);
    let failed = |error: csv::Error| DemoError::File { path: path.clone(), error: error.into() };
    let mut text = csv::Writer::from_writer(Vec::new());
    text.write_record(columns).map_err(failed)?;
    for row in rows {
        text.write_record(&row).map_err(failed)?;
    }
    let text = text.into_inner().map_err(|error| failed(error.into_error().into()))?;
    write(&path, &String::from_utf8_lossy(&text))
}
