//! Payday: the transfers of one cell, posted one by one by many at once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use client::cell::{self, TransferNew, TransferType};
use futures::{StreamExt, TryStreamExt, stream};
use tenants::{
    id::{AccountId, TransferId},
    money::Money,
};

use super::{
    DemoError,
    bank::{AT_ONCE, Bank, Holder},
    payday::{self, Payment, Who},
    report::Times,
};

/// What was posted on payday.
pub struct Posted {
    /// By this run or an earlier one.
    pub ids: HashSet<TransferId>,
    /// How many of them by an earlier one.
    pub replayed: usize,
    /// How long each request took.
    pub times: Times,
    /// How long all of them took.
    pub took: Duration,
}

impl Bank<'_> {
    /// Funds the companies, then posts the payments round by round.
    pub async fn payday(
        &self,
        settlement: AccountId,
        holders: &[Holder],
        count: usize,
    ) -> Result<Posted, DemoError> {
        let accounts = |company: bool| -> Vec<AccountId> {
            holders.iter().filter(|one| one.company == company).map(|one| one.account).collect()
        };
        let (persons, companies) = (accounts(false), accounts(true));
        let rounds = payday::payments(&self.people, persons.len(), companies.len(), count);
        // Paydays of other sizes have other transfers, and so other ids.
        let named = |what: &str, number: usize| {
            let step = format!("payday of {count} by {}: {what} {number}", holders.len());
            let derived = ledger::transfer::derived_id(self.environment.uuid(), &step);
            // Of another version: those of derived ids are not for callers to choose.
            TransferId::from_uuid(uuid::Builder::from_random_bytes(derived.uuid().into_bytes()).into_uuid())
        };
        self.bar.begin("funding", companies.len());
        let funding = payday::funding(&rounds, companies.len()).into_iter().zip(&companies).enumerate();
        let fund = async |(number, (amount, company)): (usize, (i64, &AccountId))| {
            let words = self.people.language();
            let id = named("deposit", number);
            let posted =
                self.post(TransferType::Deposit, id, settlement, *company, amount, &words.deposit).await;
            self.bar.done(1);
            posted
        };
        stream::iter(funding.filter(|(_, (amount, _))| *amount > 0))
            .map(fund)
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        self.bar.begin("payday", count);
        let account = |who: Who| match who {
            Who::Person(at) => persons[at],
            Who::Company(at) => companies[at],
        };
        let pay = async |payment: &Payment| {
            let id = named("payment", payment.number);
            let (from, to) = (account(payment.from), account(payment.to));
            let begun = Instant::now();
            let posted =
                self.post(TransferType::Transfer, id, from, to, payment.amount, payment.reference).await?;
            self.bar.done(1);
            Ok::<_, DemoError>((id, begun.elapsed(), posted))
        };
        let mut all = Posted { ids: HashSet::new(), replayed: 0, times: Times::new(), took: Duration::ZERO };
        let begun = Instant::now();
        for round in &rounds {
            let mut answers = stream::iter(round).map(&pay).buffer_unordered(AT_ONCE);
            while let Some((id, took, before)) = answers.try_next().await? {
                all.ids.insert(id);
                all.times.add(took);
                all.replayed += usize::from(before);
            }
        }
        all.took = begun.elapsed();
        Ok(all)
    }

    /// Posts one transfer; whether it was posted before.
    async fn post(
        &self,
        kind: TransferType,
        id: TransferId,
        debit: AccountId,
        credit: AccountId,
        amount: i64,
        reference: &str,
    ) -> Result<bool, DemoError> {
        let new = TransferNew {
            id,
            r#type: kind,
            debit_account_id: debit,
            credit_account_id: credit,
            amount: Money::new(amount, self.site.jurisdiction().currency),
            reference,
        };
        let answer = self.client.send(cell::transfer_create(&new).key(id.to_string())).await?;
        if answer.body.id != id {
            return Err(DemoError::OtherTransfer { asked: id, answered: answer.body.id });
        }
        Ok(answer.replayed)
    }
}
