//! Business days: the days that the banks of a jurisdiction are open.
//!
//! A calendar knows the years its profile lists and no others: for a date outside them it says so instead of guessing
//! that there are no holidays.

use chrono::{Datelike, Days, NaiveDate, Weekday};
use std::collections::BTreeSet;

/// A question about a year that the calendar has no holidays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the calendar does not know the year {0}")]
pub struct UnknownYear(pub i32);

/// Weekend and holidays of one jurisdiction, for the years that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    weekend: Vec<Weekday>,
    years: BTreeSet<i32>,
    holidays: BTreeSet<NaiveDate>,
}

impl Calendar {
    /// A calendar of `years`; holidays outside them are ignored.
    pub fn new(
        weekend: impl IntoIterator<Item = Weekday>,
        years: impl IntoIterator<Item = i32>,
        holidays: impl IntoIterator<Item = NaiveDate>,
    ) -> Self {
        let years: BTreeSet<i32> = years.into_iter().collect();
        let holidays = holidays.into_iter().filter(|day| years.contains(&day.year())).collect();
        Self { weekend: weekend.into_iter().collect(), years, holidays }
    }

    /// The years that this calendar can answer for.
    pub fn years(&self) -> impl Iterator<Item = i32> {
        self.years.iter().copied()
    }

    /// The holidays, in order, those on a weekend too.
    pub fn holidays(&self) -> impl Iterator<Item = NaiveDate> {
        self.holidays.iter().copied()
    }

    /// Whether the banks are open on `day`.
    ///
    /// # Errors
    /// [`UnknownYear`].
    pub fn is_business_day(&self, day: NaiveDate) -> Result<bool, UnknownYear> {
        if !self.years.contains(&day.year()) {
            return Err(UnknownYear(day.year()));
        }
        Ok(!self.weekend.contains(&day.weekday()) && !self.holidays.contains(&day))
    }

    /// `day` itself if it is a business day, else the first one after it.
    ///
    /// # Errors
    /// [`UnknownYear`] where the answer would need a year that is not known.
    pub fn on_or_after(&self, day: NaiveDate) -> Result<NaiveDate, UnknownYear> {
        self.walk(day, NaiveDate::checked_add_days)
    }

    /// `day` itself if it is a business day, else the last one before it.
    ///
    /// # Errors
    /// [`UnknownYear`] where the answer would need a year that is not known.
    pub fn on_or_before(&self, day: NaiveDate) -> Result<NaiveDate, UnknownYear> {
        self.walk(day, NaiveDate::checked_sub_days)
    }

    /// The `count`-th business day after `day`; with 0, [`Calendar::on_or_after`].
    ///
    /// # Errors
    /// [`UnknownYear`] where the answer would need a year that is not known.
    pub fn add_business_days(&self, day: NaiveDate, count: u32) -> Result<NaiveDate, UnknownYear> {
        let mut day = if count == 0 { self.on_or_after(day)? } else { day };
        for _ in 0..count {
            day = self.on_or_after(next(day, NaiveDate::checked_add_days)?)?;
        }
        Ok(day)
    }

    /// How many business days there are from `from` (counted) up to `until` (not counted); 0 where `until` is not later.
    ///
    /// # Errors
    /// [`UnknownYear`] where a year between them is not known.
    pub fn business_days(&self, from: NaiveDate, until: NaiveDate) -> Result<u32, UnknownYear> {
        let (mut day, mut count) = (from, 0_u32);
        while day < until {
            count = count.saturating_add(u32::from(self.is_business_day(day)?));
            day = next(day, NaiveDate::checked_add_days)?;
        }
        Ok(count)
    }

    fn walk(&self, mut day: NaiveDate, step: Step) -> Result<NaiveDate, UnknownYear> {
        while !self.is_business_day(day)? {
            day = next(day, step)?;
        }
        Ok(day)
    }
}

type Step = fn(NaiveDate, Days) -> Option<NaiveDate>;

fn next(day: NaiveDate, step: Step) -> Result<NaiveDate, UnknownYear> {
    step(day, Days::new(1)).ok_or(UnknownYear(day.year()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    /// 2026 with a holiday on Thursday 2 and Friday 3 April and one on Sunday 15 November.
    fn calendar() -> Calendar {
        Calendar::new(
            [Weekday::Sat, Weekday::Sun],
            [2026],
            [day("2026-04-02"), day("2026-04-03"), day("2026-11-15"), day("2027-01-01")],
        )
    }

    #[test]
    fn weekends_and_holidays_are_closed() {
        for (date, open) in [
            ("2026-04-01", true),
            ("2026-04-02", false),
            ("2026-04-04", false),
            ("2026-04-06", true),
            ("2026-11-15", false),
            ("2026-11-16", true),
        ] {
            assert_eq!(calendar().is_business_day(day(date)), Ok(open), "{date}");
        }
    }

    #[test]
    fn rolling_and_counting() {
        let calendar = calendar();
        assert_eq!(calendar.on_or_after(day("2026-04-02")), Ok(day("2026-04-06")));
        assert_eq!(calendar.on_or_after(day("2026-04-01")), Ok(day("2026-04-01")));
        assert_eq!(calendar.on_or_before(day("2026-04-05")), Ok(day("2026-04-01")));
        assert_eq!(calendar.add_business_days(day("2026-04-01"), 1), Ok(day("2026-04-06")));
        assert_eq!(calendar.add_business_days(day("2026-04-04"), 0), Ok(day("2026-04-06")));
        assert_eq!(calendar.add_business_days(day("2026-04-04"), 2), Ok(day("2026-04-07")));
        assert_eq!(calendar.business_days(day("2026-04-01"), day("2026-04-08")), Ok(3));
        assert_eq!(calendar.business_days(day("2026-04-08"), day("2026-04-01")), Ok(0));
    }

    #[test]
    fn an_unknown_year_is_named_not_guessed() {
        let calendar = calendar();
        assert_eq!(calendar.is_business_day(day("2027-01-04")), Err(UnknownYear(2027)));
        assert_eq!(calendar.add_business_days(day("2026-12-31"), 1), Err(UnknownYear(2027)));
        assert_eq!(calendar.on_or_before(day("2025-12-31")), Err(UnknownYear(2025)));
        assert_eq!(calendar.business_days(day("2025-12-31"), day("2026-01-05")), Err(UnknownYear(2025)));
        assert_eq!(calendar.on_or_after(NaiveDate::MAX), Err(UnknownYear(NaiveDate::MAX.year())));
    }
}
