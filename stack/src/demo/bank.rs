//! One cell's part of the demo, step by step, over its API.

use std::{collections::HashMap, fs, path::Path};

use client::{
    Client,
    cell::{self, Account, AccountClass, AccountNew, Imported, InternalAccountNew, Party},
    control::{self, TenantState},
};
use futures::{StreamExt, TryStreamExt, stream};
use tenants::id::{AccountId, EnvironmentId, TenantId};

use super::{
    Args, DemoError,
    books::Books,
    declare::Declared,
    people::{Line, People},
    progress::Bar,
    report::CellReport,
};
use crate::{launch::Site, transport::Http};

/// Requests of one cell in flight at once.
pub const AT_ONCE: usize = 16;
/// The caller's own id of the account that money from outside is booked against.
const SETTLEMENT: &str = "settlement";
/// How many refused lines are shown.
const SHOWN: usize = 10;

/// One cell and what is done there.
pub struct Bank<'a> {
    pub site: &'a Site,
    pub tenant: TenantId,
    pub environment: EnvironmentId,
    pub operator: &'a Client<Http>,
    pub client: Client<Http>,
    pub people: People,
    pub bar: Bar,
}

/// A customer with an account.
#[derive(Clone, Copy)]
pub struct Holder {
    pub account: AccountId,
    pub company: bool,
}

impl<'a> Bank<'a> {
    /// Of this tenant, in this cell.
    pub async fn new(
        operator: &'a Client<Http>,
        declared: &Declared,
        site: &'a Site,
        bar: Bar,
    ) -> Result<Self, DemoError> {
        let people = People::of(site.jurisdiction())
            .ok_or_else(|| DemoError::NoPeople(site.jurisdiction().id.to_string()))?;
        let Declared { tenant, environment, .. } = *declared;
        let client = site.client(operator, environment).await?;
        Ok(Self { site, tenant, environment, operator, client, people, bar })
    }

    /// Everything, and what came of it.
    pub async fn run(&self, args: &Args, folder: &Path) -> Result<CellReport, DemoError> {
        let mut faults = Vec::new();
        let (lines, imported) = self.import(folder, args.customers as usize, &mut faults).await?;
        let (settlement, holders) = self.open(&lines).await?;
        let posted = self.payday(settlement, &holders, args.transfers as usize).await?;
        self.bar.begin("books", 1);
        let books = Books::read(&self.client).await?;
        let trial_balance = books.check(&posted.ids, &mut faults);
        let state = self.operator.read(control::tenant_get(self.tenant)).await?.state;
        if state != TenantState::Active {
            faults.push(format!("the tenant is {state}"));
        }
        if let Some(folder) = &args.export {
            books.export(&folder.join(self.site.name()))?;
        }
        let statement = match holders.iter().find(|one| !one.company) {
            Some(holder) => self.statement(holder.account).await?,
            None => String::new(),
        };
        self.bar.finish();
        Ok(CellReport {
            jurisdiction: self.site.jurisdiction(),
            state,
            cell: self.site.name().to_owned(),
            customers: imported.imported + imported.unchanged,
            rejected: imported.rejected,
            accounts: holders.len() + 1,
            transfers: posted.ids.len(),
            replayed: posted.replayed,
            times: posted.times,
            payday: posted.took,
            trial_balance,
            statement,
            faults,
        })
    }

    /// Writes the file where people can open it, and imports it.
    async fn import(
        &self,
        folder: &Path,
        customers: usize,
        faults: &mut Vec<String>,
    ) -> Result<(Vec<Line>, Imported), DemoError> {
        self.bar.begin("customers", customers);
        let (text, lines) = self.people.file(customers);
        let file = folder.join("imports").join(format!("{}.csv", self.site.name()));
        write(&file, &text)?;
        let imported: Imported = self.client.read(cell::party_import(&text)).await?;
        self.bar.done(customers);
        let shown = imported.faults.iter().take(SHOWN).map(|fault| {
            let field = fault.field.as_deref().unwrap_or("-");
            format!("  line {:>4}  {field:<12}  {}", fault.line, fault.detail)
        });
        let head = format!(
            "{}: {} of {customers} customers imported, {} there before, {} lines rejected of {}",
            self.site.name(),
            imported.imported,
            imported.unchanged,
            imported.rejected,
            file.display(),
        );
        self.bar.say(&std::iter::once(head).chain(shown).collect::<Vec<_>>().join("\n"));
        let bad = lines.iter().filter(|line| !line.good).count();
        if (imported.rejected, imported.imported + imported.unchanged) != (bad, customers - bad) {
            faults.push(format!("{bad} of {customers} lines are bad, {} were rejected", imported.rejected));
        }
        Ok((lines, imported))
    }

    /// Opens what is missing of the settlement account and an account per good line.
    async fn open(&self, lines: &[Line]) -> Result<(AccountId, Vec<Holder>), DemoError> {
        let good: Vec<&Line> = lines.iter().filter(|line| line.good).collect();
        self.bar.begin("accounts", good.len() + 1);
        let parties: Vec<Party> = self.client.list(cell::party_list()).await?;
        let parties: HashMap<&str, &Party> =
            parties.iter().filter_map(|party| Some((party.external_id.as_deref()?, party))).collect();
        let there: Vec<Account> = self.client.list(cell::account_list()).await?;
        let there: HashMap<&str, AccountId> =
            there.iter().filter_map(|account| Some((account.external_id.as_deref()?, account.id))).collect();
        let settlement = match there.get(SETTLEMENT) {
            Some(id) => *id,
            None => {
                let (name, external_id) = ("Settlement".to_owned(), SETTLEMENT.to_owned());
                let new = InternalAccountNew { name, class: AccountClass::Asset, external_id };
                self.client.read(cell::internal_account_create(&new).key(SETTLEMENT)).await?.id
            }
        };
        self.bar.done(1);
        let open = async |line: &Line| -> Result<Holder, DemoError> {
            let name = line.external_id.as_str();
            let account = match there.get(name) {
                Some(id) => *id,
                None => {
                    let party = parties.get(name).ok_or_else(|| DemoError::NoParty(name.to_owned()))?;
                    let new = AccountNew { party_id: party.id, external_id: name.to_owned() };
                    self.client.read(cell::account_create(&new).key(name)).await?.id
                }
            };
            self.bar.done(1);
            Ok(Holder { account, company: line.company })
        };
        let holders = stream::iter(good).map(open).buffered(AT_ONCE).try_collect().await?;
        Ok((settlement, holders))
    }
}

/// Writes a file, and its folder if that is not there.
pub fn write(file: &Path, text: &str) -> Result<(), DemoError> {
    let written = |error| DemoError::File { path: file.to_owned(), error };
    file.parent().map_or(Ok(()), fs::create_dir_all).map_err(written)?;
    fs::write(file, text).map_err(written)
}
