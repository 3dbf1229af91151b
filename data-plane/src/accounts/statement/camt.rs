//! A statement as ISO 20022 camt.053.001.11, "Bank to Customer Statement".
//!
//! Amounts are unsigned decimals in major units; the indicator says on which side of the institution's books they stand,
//! so that a customer's credit balance is `CRDT`. The account is named by Tambo's own id (`Othr`), the kind of movement by
//! a proprietary code. The message is written element by element, so that its length is not bounded by memory; the tests
//! read it back with `mx20022-model`.

use std::io::{self, Write};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use ledger::transfer::{Kind, Side};
use quick_xml::{
    Writer,
    events::{BytesText, Event},
};
use tenants::{id::AccountId, money::Money};

use super::{Entry, Statement, kind};

/// The namespace of the message.
pub const NAMESPACE: &str = "urn:iso:std:iso:20022:tech:xsd:camt.053.001.11";

type Xml = Writer<Vec<u8>>;

/// What XML 1.0 cannot hold at all is replaced.
fn legal(text: &str) -> String {
    let legal = |c: char| !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'));
    text.chars().map(|c| if legal(c) { c } else { '\u{fffd}' }).collect()
}

fn leaf(xml: &mut Xml, name: &str, text: &str) -> io::Result<()> {
    xml.create_element(name).write_text_content(BytesText::new(&legal(text))).map(drop)
}

fn node(xml: &mut Xml, name: &str, inner: impl FnOnce(&mut Xml) -> io::Result<()>) -> io::Result<()> {
    xml.create_element(name).write_inner_content(inner).map(drop)
}

fn path(xml: &mut Xml, names: &[&str], text: &str) -> io::Result<()> {
    match names {
        [] => Ok(()),
        [last] => leaf(xml, last, text),
        [first, rest @ ..] => node(xml, first, |xml| path(xml, rest, text)),
    }
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn amount(xml: &mut Xml, money: Money) -> io::Result<()> {
    let decimal = money.decimal();
    xml.create_element("Amt")
        .with_attribute(("Ccy", money.currency.code()))
        .write_text_content(BytesText::new(decimal.trim_start_matches('-')))
        .map(drop)
}

/// On which side a signed amount stands.
fn indicator(statement: &Statement, amount: i64) -> &'static str {
    match (statement.normal_side, amount >= 0) {
        (Side::Credit, true) | (Side::Debit, false) => "CRDT",
        (Side::Credit, false) | (Side::Debit, true) => "DBIT",
    }
}

fn account(xml: &mut Xml, id: AccountId) -> io::Result<()> {
    path(xml, &["Id", "Othr", "Id"], &id.to_string())
}

fn balance(
    xml: &mut Xml,
    statement: &Statement,
    code: &str,
    on: chrono::NaiveDate,
    value: i64,
) -> io::Result<()> {
    node(xml, "Bal", |xml| {
        path(xml, &["Tp", "CdOrPrtry", "Cd"], code)?;
        amount(xml, statement.money(value))?;
        leaf(xml, "CdtDbtInd", indicator(statement, value))?;
        path(xml, &["Dt", "Dt"], &on.to_string())
    })
}

/// At most 35 characters: the days, and the random part of the account's id.
fn name(statement: &Statement) -> String {
    let id = statement.account.to_string();
    let tail = id.get(id.len().saturating_sub(20)..).unwrap_or_default();
    let period = &statement.period;
    format!("{}-{}-{tail}", period.from_on.format("%y%m%d"), period.to_on.format("%y%m%d"))
}

fn written(write: impl FnOnce(&mut Xml) -> io::Result<()>) -> Vec<u8> {
    let mut xml = Writer::new(Vec::new());
    // Writing to memory does not fail.
    let _ = write(&mut xml);
    xml.into_inner()
}

pub fn head(statement: &Statement) -> Vec<u8> {
    let name = name(statement);
    let made = instant(statement.made_at);
    written(|xml| {
        xml.get_mut().write_all(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
        xml.get_mut().write_all(format!("<Document xmlns=\"{NAMESPACE}\"><BkToCstmrStmt>").as_bytes())?;
        node(xml, "GrpHdr", |xml| {
            leaf(xml, "MsgId", &name)?;
            leaf(xml, "CreDtTm", &made)
        })?;
        xml.get_mut().write_all(b"<Stmt>")?;
        leaf(xml, "Id", &name)?;
        leaf(xml, "CreDtTm", &made)?;
        let period = &statement.period;
        node(xml, "FrToDt", |xml| {
            leaf(xml, "FrDtTm", &instant(period.from))?;
            leaf(xml, "ToDtTm", &instant(period.until - TimeDelta::microseconds(1)))
        })?;
        node(xml, "Acct", |xml| {
            account(xml, statement.account)?;
            leaf(xml, "Ccy", statement.currency.code())
        })?;
        balance(xml, statement, "OPBD", period.from_on, statement.opening)?;
        let closing = if period.interim { "ITBD" } else { "CLBD" };
        balance(xml, statement, closing, period.to_on, statement.closing)
    })
}

pub fn entries(statement: &Statement, entries: &[Entry]) -> Vec<u8> {
    written(|xml| entries.iter().try_for_each(|one| entry(xml, statement, one)))
}

fn entry(xml: &mut Xml, statement: &Statement, entry: &Entry) -> io::Result<()> {
    let transfer = &entry.transfer;
    let id = transfer.id.to_string();
    xml.write_event(Event::Text(BytesText::from_escaped("\n")))?;
    node(xml, "Ntry", |xml| {
        leaf(xml, "NtryRef", &id)?;
        amount(xml, statement.money(entry.amount))?;
        leaf(xml, "CdtDbtInd", indicator(statement, entry.amount))?;
        if transfer.kind == Kind::Reversal {
            leaf(xml, "RvslInd", "true")?;
        }
        path(xml, &["Sts", "Cd"], "BOOK")?;
        path(xml, &["BookgDt", "DtTm"], &instant(transfer.booked_at))?;
        path(xml, &["ValDt", "Dt"], &entry.on.to_string())?;
        leaf(xml, "AcctSvcrRef", &id)?;
        path(xml, &["BkTxCd", "Prtry", "Cd"], &kind(entry))?;
        node(xml, "NtryDtls", |xml| {
            node(xml, "TxDtls", |xml| {
                path(xml, &["Refs", "AcctSvcrRef"], &id)?;
                let other = if entry.side == Side::Credit { "DbtrAcct" } else { "CdtrAcct" };
                node(xml, "RltdPties", |xml| node(xml, other, |xml| account(xml, entry.counterparty())))?;
                match transfer.reference.as_deref() {
                    Some(text) if !text.is_empty() => path(xml, &["RmtInf", "Ustrd"], text),
                    _ => Ok(()),
                }
            })
        })
    })
}

pub fn tail() -> Vec<u8> {
    b"</Stmt></BkToCstmrStmt></Document>".to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_stripped_of_what_xml_cannot_hold() {
        let written = written(|xml| leaf(xml, "Ustrd", "<a> & \u{1} ñ"));
        assert_eq!(String::from_utf8(written).unwrap(), "<Ustrd>&lt;a&gt; &amp; \u{fffd} ñ</Ustrd>");
    }
}
