//! What came of it: a table for people, an object for programs.

use std::time::Duration;

use client::control::TenantState;
use comfy_table::{Cell, CellAlignment, LineStyle, Table, TableStyle};
use hdrhistogram::Histogram;
use serde::Serialize;
use tenants::{jurisdiction::Jurisdiction, money::Currency};

/// Lines above and below the rows; words need no more.
const LINES: TableStyle = TableStyle::new()
    .top_border(LineStyle::none().fill('─').junction('─'))
    .header_separator(LineStyle::none().fill('─').junction('─'))
    .bottom_border(LineStyle::none().fill('─').junction('─'));

/// Times of requests.
pub struct Times(Histogram<u64>);

/// Three digits of each are kept.
const DIGITS: u8 = 3;

impl Times {
    /// None yet.
    pub fn new() -> Self {
        Self(Histogram::new(DIGITS).expect("three digits are allowed"))
    }

    /// One more.
    pub fn add(&mut self, took: Duration) {
        self.0
            .record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
            .expect("it grows to hold any number");
    }

    /// The time that this part of the requests stayed below, in milliseconds.
    fn ms(&self, quantile: f64) -> f64 {
        // Counts of microseconds far below 2^53.
        (self.0.value_at_quantile(quantile) as f64 / 10.0).round() / 100.0
    }
}

/// What came of one cell.
pub struct CellReport {
    /// Whose law it is under.
    pub jurisdiction: &'static Jurisdiction,
    /// Where the control plane says that its tenant is.
    pub state: TenantState,
    /// Its name.
    pub cell: String,
    /// Customers there are, of the file.
    pub customers: usize,
    /// Lines of the file that were refused.
    pub rejected: usize,
    /// Accounts there are, of the demo.
    pub accounts: usize,
    /// Transfers of the payday that are posted, by this run or an earlier one.
    pub transfers: usize,
    /// Those of them that an earlier run had posted.
    pub replayed: usize,
    /// How long each of their requests took.
    pub times: Times,
    /// How long the payday took.
    pub payday: Duration,
    /// Posted debits less posted credits of all accounts, minor units.
    pub trial_balance: i128,
    /// Movements of one customer, for people.
    pub statement: String,
    /// What does not hold, if anything.
    pub faults: Vec<String>,
}

#[derive(Serialize)]
struct Object<'a> {
    tenants: Vec<TenantObject<'a>>,
    cells: Vec<CellObject<'a>>,
}

#[derive(Serialize)]
struct TenantObject<'a> {
    country: &'a str,
    status: &'a str,
}

#[derive(Serialize)]
struct CellObject<'a> {
    cell: &'a str,
    transfers: usize,
    p50_ms: f64,
    p99_ms: f64,
    trial_balance: i128,
}

/// One line of JSON. The status of a tenant is the control plane's.
pub fn json(reports: &[CellReport]) -> serde_json::Result<String> {
    let tenants = reports.iter();
    let tenants = tenants
        .map(|one| TenantObject { country: one.jurisdiction.country.code(), status: one.state.as_str() });
    let cells = reports.iter().map(|one| CellObject {
        cell: &one.cell,
        transfers: one.transfers,
        p50_ms: one.times.ms(0.5),
        p99_ms: one.times.ms(0.99),
        trial_balance: one.trial_balance,
    });
    serde_json::to_string(&Object { tenants: tenants.collect(), cells: cells.collect() })
}

/// The closing table, at most 80 characters wide.
pub fn table(reports: &[CellReport]) -> String {
    let mut table = Table::new();
    table.load_style(LINES).set_header([
        "",
        "Cell",
        "Customers",
        "Rejected",
        "Accounts",
        "Transfers",
        "p50\nms",
        "p99\nms",
        "Trial\nbalance",
        "Status",
    ]);
    for one in reports {
        table.add_row([
            one.jurisdiction.country.code().to_owned(),
            one.cell.clone(),
            one.customers.to_string(),
            one.rejected.to_string(),
            one.accounts.to_string(),
            one.transfers.to_string(),
            digits(one.times.ms(0.5)),
            digits(one.times.ms(0.99)),
            one.trial_balance.to_string(),
            one.state.to_string(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, u16::from(column.index < 9)));
        if (2..=8).contains(&column.index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// As many as matter.
fn digits(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

/// What the table does not say.
pub fn summary(reports: &[CellReport]) -> String {
    let lines = reports.iter().map(|one| {
        let new = one.transfers - one.replayed;
        let seconds = one.payday.as_secs_f64();
        let rate = if seconds > 0.0 { one.transfers as f64 / seconds } else { 0.0 };
        let there = if one.replayed > 0 {
            format!("{new} transfers posted, {} were there before", one.replayed)
        } else {
            format!("{new} transfers posted")
        };
        format!("{}: {there}; {seconds:.1} s, {rate:.0} a second", one.cell)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An amount in major units, its thousands apart: `12 345.60 MXN`.
pub fn money(amount: i64, currency: Currency) -> String {
    let exponent = usize::from(currency.exponent());
    let digits = format!("{:0width$}", amount.unsigned_abs(), width = exponent + 1);
    let (whole, part) = digits.split_at(digits.len() - exponent);
    let grouped: Vec<&str> = whole
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    let sign = if amount < 0 { "-" } else { "" };
    let point = if part.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{part} {}", grouped.join(" "), currency.code())
}

/// A table of an account's movements.
pub fn statement(title: &str, rows: &[[String; 4]]) -> String {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(at, text)| {
            let cell = Cell::new(text);
            if at < 2 { cell } else { cell.set_alignment(CellAlignment::Right) }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    format!("{title}\n{table}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_a_narrow_terminal() {
        let reports = tenants::profile::all().iter().map(|profile| CellReport {
            jurisdiction: &profile.jurisdiction,
            state: TenantState::Active,
            cell: "mx-1".to_owned(),
            customers: 10_000,
            rejected: 100,
            accounts: 10_001,
            transfers: 1_000_000,
            replayed: 0,
            times: Times::new(),
            payday: Duration::ZERO,
            trial_balance: 0,
            statement: String::new(),
            faults: Vec::new(),
        });
        let text = table(&reports.collect::<Vec<_>>());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains("active")).count(), 3, "{text}");
    }

    #[test]
    fn amounts_are_read_in_major_units() {
        let pesos = Currency::parse("MXN").unwrap();
        for (amount, text) in
            [(0, "0.00 MXN"), (5, "0.05 MXN"), (-123_456, "-1 234.56 MXN"), (100_000_000, "1 000 000.00 MXN")]
        {
            assert_eq!(money(amount, pesos), text);
        }
        assert_eq!(money(1_234, Currency::parse("CLP").unwrap()), "1 234 CLP");
    }

    #[test]
    fn quantiles_are_milliseconds() {
        let mut times = Times::new();
        for ms in 1..=100 {
            times.add(Duration::from_millis(ms));
        }
        assert!((49.0..=51.0).contains(&times.ms(0.5)), "{}", times.ms(0.5));
        assert!((98.0..=101.0).contains(&times.ms(0.99)), "{}", times.ms(0.99));
    }
}
