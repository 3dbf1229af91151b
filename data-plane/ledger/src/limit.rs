//! Limits: rows beside an account that the writer enforces, whoever asks. Which movements they are about: [`applies`].
//!
//! The ledger does not know where a limit comes from. Whoever sets it says direction, window and maximum; the usage
//! within the running window stands in the same row and survives a change of the maximum.

use chrono::{DateTime, Datelike, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use tenants::id::AccountId;

use crate::{
    account::Account,
    transfer::{Kind, Transfer},
};

/// Which way the limited money goes, seen from the account.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = LimitDirection)]
pub enum Direction {
    /// The balance falls.
    Out,
    /// The balance grows.
    In,
}

/// Over which time a limit counts.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = LimitWindow)]
pub enum Window {
    /// One transfer.
    Transfer,
    /// A calendar day in the limit's time zone.
    Day,
    /// A calendar month in the limit's time zone.
    Month,
    /// The balance at any instant, with what holds will bring in; direction `in` only.
    Balance,
}

impl Window {
    /// The instant at which the window that contains `at` began. `None` for windows without a beginning.
    pub fn start(self, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let local = at.with_timezone(&zone).date_naive();
        let first = match self {
            Window::Transfer | Window::Balance => return None,
            Window::Day => local,
            Window::Month => local.with_day(1)?,
        };
        // A day that begins in a gap of the clock change begins at the first instant after the gap.
        let midnight = first.and_time(NaiveTime::MIN);
        (0..=3)
            .find_map(|hour| {
                let local = midnight.checked_add_signed(chrono::TimeDelta::hours(hour))?;
                zone.from_local_datetime(&local).earliest()
            })
            .map(|start| start.with_timezone(&Utc))
    }
}

/// What a caller sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewLimit {
    /// Which way.
    pub direction: Direction,
    /// Over which time.
    pub window: Window,
    /// At most this much, minor units of the account's currency.
    pub maximum: i64,
    /// Where days and months begin.
    pub time_zone: Tz,
}

/// A limit's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The limited account.
    pub account: AccountId,
    /// What was set.
    pub rule: NewLimit,
    /// Used within the window that began at `started_at`.
    pub used: i64,
    /// Beginning of the window that `used` counts in.
    pub started_at: DateTime<Utc>,
}

/// Whether a limit over `window` is about this movement. Not about a fee, which the institution takes; not about a
/// reversal, which must stay possible; not about an authority's block. What is imported has happened already and is no
/// movement of this day, but a balance that is too large is so whenever the money came. What a hold reserves is counted when
/// it is placed and given back by what is not captured.
pub fn applies(window: Window, transfer: &Transfer) -> bool {
    let imported = transfer.effective_at.is_some();
    let kind = matches!(transfer.kind, Kind::Transfer | Kind::Deposit | Kind::Withdrawal | Kind::Hold);
    kind && !transfer.block && (!imported || window == Window::Balance)
}

impl Limit {
    /// What is left for a movement at `at`.
    pub fn remaining(&self, at: DateTime<Utc>) -> i64 {
        self.rule.maximum.saturating_sub(self.used_at(at))
    }

    /// What is left for a movement of `account` at `at`; for a balance limit, what may still come in. May be negative
    /// where the limit was lowered.
    pub fn left(&self, account: &Account, at: DateTime<Utc>) -> i64 {
        match self.rule.window {
            Window::Balance => {
                let grown = account.balance().and_then(|balance| balance.checked_add(account.incoming()));
                grown.and_then(|grown| self.rule.maximum.checked_sub(grown)).unwrap_or_default()
            }
            _ => self.remaining(at),
        }
    }

    /// Used in the window that contains `at`.
    fn used_at(&self, at: DateTime<Utc>) -> i64 {
        match self.rule.window.start(at, self.rule.time_zone) {
            Some(start) if start == self.started_at => self.used,
            _ => 0,
        }
    }

    /// Counts `amount` at `at`; the caller has asked [`Limit::remaining`] first.
    pub(crate) fn count(&mut self, amount: i64, at: DateTime<Utc>) {
        if let Some(start) = self.rule.window.start(at, self.rule.time_zone) {
            self.used = self.used_at(at).saturating_add(amount);
            self.started_at = start;
        }
    }

    /// Gives back `amount` that was counted at `at`, if that window is still the running one.
    pub(crate) fn give_back(&mut self, amount: i64, at: DateTime<Utc>) {
        if self.rule.window.start(at, self.rule.time_zone) == Some(self.started_at) {
            self.used = self.used.saturating_sub(amount).max(0);
        }
    }
}

impl Direction {
    pub(crate) fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        [Direction::Out, Direction::In].get(usize::try_from(code).ok()?).copied()
    }
}

impl Window {
    pub(crate) fn code(self) -> i16 {
        self as i16
    }

    pub(crate) fn from_code(code: i16) -> Option<Self> {
        [Window::Transfer, Window::Day, Window::Month, Window::Balance]
            .get(usize::try_from(code).ok()?)
            .copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn windows_begin_at_local_midnight() {
        let zone: Tz = "America/Mexico_City".parse().unwrap();
        let at = utc("2026-03-01T05:59:59Z");
        assert_eq!(Window::Day.start(at, zone), Some(utc("2026-02-28T06:00:00Z")));
        assert_eq!(Window::Month.start(at, zone), Some(utc("2026-02-01T06:00:00Z")));
        assert_eq!(Window::Day.start(utc("2026-03-01T06:00:00Z"), zone), Some(utc("2026-03-01T06:00:00Z")));
        assert_eq!(Window::Transfer.start(at, zone), None);
    }

    #[test]
    fn a_day_that_begins_in_a_gap_begins_after_it() {
        // Brazil's last summer time began on 4 November 2018 at midnight: the first instant of that day was 01:00.
        let zone: Tz = "America/Sao_Paulo".parse().unwrap();
        assert_eq!(Window::Day.start(utc("2018-11-04T12:00:00Z"), zone), Some(utc("2018-11-04T03:00:00Z")));
    }
}
