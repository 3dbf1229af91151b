//! A statement as comma-separated values (RFC 4180, UTF-8): a header, the opening balance, the entries, the closing
//! balance. Amounts are decimals in major units.
//!
//! A reference that a spreadsheet would take for a formula gets an apostrophe in front, as spreadsheets themselves write
//! such a text.

use chrono::SecondsFormat;

use super::{Entry, Statement, kind};

/// The columns.
pub const COLUMNS: [&str; 11] = [
    "record",
    "on",
    "effective_at",
    "booked_at",
    "transfer_id",
    "type",
    "counterparty_account_id",
    "reference",
    "amount",
    "balance",
    "currency",
];

fn lines(records: impl IntoIterator<Item = [String; COLUMNS.len()]>) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for record in records {
        // Records of one length, written to memory.
        let _ = writer.write_record(&record);
    }
    writer.into_inner().unwrap_or_default()
}

fn balance(statement: &Statement, record: &str, on: chrono::NaiveDate, balance: i64) -> [String; 11] {
    let mut line: [String; 11] = Default::default();
    line[0] = record.to_owned();
    line[1] = on.to_string();
    line[9] = statement.money(balance).decimal();
    line[10] = statement.currency.code().to_owned();
    line
}

fn harmless(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

pub fn head(statement: &Statement) -> Vec<u8> {
    let opening = balance(statement, "opening", statement.period.from_on, statement.opening);
    lines([COLUMNS.map(str::to_owned), opening])
}

pub fn entries(statement: &Statement, entries: &[Entry]) -> Vec<u8> {
    lines(entries.iter().map(|entry| {
        let transfer = &entry.transfer;
        let at = |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        [
            "entry".to_owned(),
            entry.on.to_string(),
            at(transfer.effective_at),
            at(transfer.booked_at),
            transfer.id.to_string(),
            kind(entry),
            entry.counterparty().to_string(),
            harmless(transfer.reference.as_deref().unwrap_or_default()),
            statement.money(entry.amount).decimal(),
            statement.money(entry.balance).decimal(),
            statement.currency.code().to_owned(),
        ]
    }))
}

pub fn tail(statement: &Statement) -> Vec<u8> {
    lines([balance(statement, "closing", statement.period.to_on, statement.closing)])
}

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn formulas_are_disarmed() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)"] {
            assert_eq!(harmless(text), format!("'{text}"));
        }
        assert_eq!(harmless("rent = 1"), "rent = 1");
    }
}
