//! What a cell knows of its link, and when it asks again; pure.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tenants::{
    contract::CellIntent,
    environment::{Condition, Status as Truth},
    id::{CellId, JoinTokenId},
};
use uuid::Uuid;

/// Clocks that are further apart than this are worth an operator's look.
pub const MOST_SKEW: TimeDelta = TimeDelta::seconds(30);
/// How long after its end a certificate is still good for renewal.
pub const GRACE: TimeDelta = TimeDelta::days(30);

/// What is stored of the link besides the identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Which cell this is, once it has enrolled.
    pub cell: Option<CellId>,
    /// Made once with the database: two with one identity are told apart by it.
    pub instance: Uuid,
    /// The join token that it enrolled with.
    pub join: Option<JoinTokenId>,
    /// Where the control plane takes links.
    pub url: Option<String>,
    /// Names the control plane's database.
    pub lineage: Uuid,
    /// The revision up to which documents are stored.
    pub cursor: u64,
    /// The number of the last report that was sent, or was about to be.
    pub seq: u64,
    /// Whether everything is to be reported, with the stored intents.
    pub resync: bool,
    /// The build that the cursor belongs to: another one may understand documents that this one skipped.
    pub software: String,
    /// How far the cell's clock was ahead of the control plane's, in milliseconds.
    pub skew_ms: i64,
    /// When the control plane last answered.
    pub contact_at: Option<DateTime<Utc>>,
    /// What is wanted of the cell itself, and in which generation.
    pub intent: Option<(u64, CellIntent)>,
}

impl State {
    /// Before anything was said.
    pub fn new(instance: Uuid, software: String) -> Self {
        Self {
            cell: None,
            instance,
            join: None,
            url: None,
            lineage: Uuid::nil(),
            cursor: 0,
            seq: 0,
            resync: false,
            software,
            skew_ms: 0,
            contact_at: None,
            intent: None,
        }
    }

    /// The control plane has answered, by its clock at `now_at` and by ours at `now`.
    pub fn answered(&mut self, now_at: DateTime<Utc>, now: DateTime<Utc>) {
        self.skew_ms = now.signed_duration_since(now_at).num_milliseconds();
        self.contact_at = Some(now);
    }

    /// The control plane has another history than the cursor is of: everything is asked for and told anew.
    pub fn begin_anew(&mut self, lineage: Uuid) {
        self.lineage = lineage;
        self.cursor = 0;
        self.resync = true;
    }

    /// Takes what is wanted of the cell itself, unless something later is known.
    pub fn want(&mut self, generation: u64, intent: &CellIntent) {
        if self.intent.as_ref().is_none_or(|(known, _)| *known <= generation) {
            self.intent = Some((generation, intent.clone()));
        }
    }
}

/// When to ask for the next certificate: when the control plane says, and at random up to a quarter of what is left
/// later, so that cells that enrolled together do not all come at once.
pub fn renew_at(told: DateTime<Utc>, not_after: DateTime<Utc>, fraction: f64) -> DateTime<Utc> {
    let left = not_after.signed_duration_since(told).num_milliseconds().max(0);
    let later = (left as f64 / 4.0 * fraction) as i64;
    told.checked_add_signed(TimeDelta::milliseconds(later)).unwrap_or(told)
}

/// How often things are done; the defaults are those of a cell, tests are in a hurry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// How long a poll waits for news.
    pub wait: Duration,
    /// How often the cell reports that nothing has changed.
    pub heartbeat: Duration,
    /// How long a report waits for more to say.
    pub debounce: Duration,
    /// How long the cell waits after it was refused.
    pub refused: Duration,
    /// The pause after the first failure; each further one doubles it.
    pub first: Duration,
    /// The longest pause after failures.
    pub longest: Duration,
    /// How long another replica waits until it takes the link of one that died.
    pub lease: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(50),
            heartbeat: Duration::from_secs(30),
            debounce: Duration::from_millis(200),
            refused: Duration::from_secs(60),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(60),
            lease: Duration::from_secs(15),
        }
    }
}

impl Pace {
    /// The pause after so many failures in a row: half of an exponential bound, and at random up to all of it.
    pub fn back_off(&self, failures: u32, fraction: f64) -> Duration {
        let bound = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(self.longest);
        bound.mul_f64(0.5 + fraction / 2.0)
    }
}

/// What a cell asks the control plane for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// To be let in.
    Enrol,
    /// For its next certificate.
    Renew,
    /// What is wanted.
    Poll,
    /// To take a report.
    Report,
}

impl Call {
    /// As a label of metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Renew => "renew",
            Self::Poll => "poll",
            Self::Report => "report",
        }
    }
}

/// How the link is, for operators.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Which calls the control plane refuses, and why: its own words.
    pub refused: BTreeMap<Call, String>,
    /// Which calls do not get an answer, since how many tries.
    pub lost: BTreeMap<Call, u32>,
    /// When the control plane last answered.
    pub contact_at: Option<DateTime<Utc>>,
    /// How far the cell's clock is ahead of the control plane's, in milliseconds.
    pub skew_ms: i64,
}

impl Status {
    /// Whether the clocks are too far apart.
    pub fn is_skewed(&self) -> bool {
        self.skew_ms.unsigned_abs() > MOST_SKEW.num_milliseconds().unsigned_abs()
    }

    /// As conditions: whether the link is up, and whether the clocks are apart.
    pub fn conditions(&self, now: DateTime<Utc>) -> Vec<Condition> {
        let condition = |name: &str, holds: bool, reason: &str, detail: Option<String>| Condition {
            r#type: name.to_owned(),
            status: if holds { Truth::True } else { Truth::False },
            reason: reason.to_owned(),
            detail,
            since_at: self.contact_at.unwrap_or(now),
        };
        let up = match self.refused.iter().next() {
            Some((call, code)) => {
                condition("LinkUp", false, "Refused", Some(format!("{}: {code}", call.as_str())))
            }
            None if !self.lost.is_empty() => condition("LinkUp", false, "NoAnswer", None),
            None if self.contact_at.is_none() => condition("LinkUp", false, "NeverUp", None),
            None => condition("LinkUp", true, "Answered", None),
        };
        let detail = Some(format!("{} ms", self.skew_ms));
        let skew = match self.is_skewed() {
            true => condition("ClockSkew", true, "TooFarApart", detail),
            false => condition("ClockSkew", false, "InStep", detail),
        };
        vec![up, skew]
    }
}

/// As many of them, and one at least, as are no more than `most` bytes of JSON together; whether that is all.
pub fn fitting<T: Serialize>(mut seen: Vec<(i64, T)>, most: usize) -> (Vec<(i64, T)>, bool) {
    let mut bytes = 0_usize;
    let fits = |(_, one): &&(i64, T)| {
        bytes = bytes.saturating_add(serde_json::to_string(one).map_or(0, |text| text.len()));
        bytes <= most
    };
    let fit = seen.iter().take_while(fits).count().max(1);
    let whole = fit >= seen.len();
    seen.truncate(fit);
    (seen, whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn pauses_grow_to_a_minute_with_jitter() {
        let pace = Pace::default();
        assert_eq!(pace.back_off(1, 1.0), Duration::from_secs(1));
        assert_eq!(pace.back_off(1, 0.0), Duration::from_millis(500));
        assert_eq!(pace.back_off(4, 1.0), Duration::from_secs(8));
        assert_eq!(pace.back_off(7, 1.0), Duration::from_secs(60));
        assert_eq!(pace.back_off(u32::MAX, 0.0), Duration::from_secs(30));
    }

    #[test]
    fn a_certificate_is_renewed_between_two_thirds_and_three_quarters_of_its_life() {
        let (told, end) = (at(16 * 3600), at(24 * 3600));
        assert_eq!(renew_at(told, end, 0.0), told);
        assert_eq!(renew_at(told, end, 1.0), at(18 * 3600));
        assert_eq!(renew_at(end, told, 1.0), end, "an end before its time");
    }

    #[test]
    fn a_report_is_cut_by_its_bytes_and_says_something() {
        let seen = |lengths: &[usize]| -> Vec<(i64, String)> {
            lengths.iter().zip(1..).map(|(length, number)| (number, "x".repeat(*length))).collect()
        };
        // Two quotes each.
        for (lengths, most, expected) in [
            (&[8, 8, 8][..], 30, (3, true)),
            (&[8, 8, 8], 29, (2, false)),
            (&[8, 8], 5, (1, false)),
            (&[8], 5, (1, true)),
            (&[], 5, (0, true)),
        ] {
            let (fit, whole) = fitting(seen(lengths), most);
            assert_eq!((fit.len(), whole), expected, "{lengths:?} {most}");
            assert_eq!(fit, seen(&lengths[..fit.len()]), "the first ones, in order");
        }
    }

    #[test]
    fn a_later_intent_of_the_cell_stays() {
        let intent = |capacity| CellIntent { capacity, draining: false, control_plane_keys: Vec::new() };
        let mut state = State::new(Uuid::nil(), String::new());
        for (generation, capacity, kept) in [(2, 5, 5), (1, 9, 5), (2, 6, 6), (3, 7, 7)] {
            state.want(generation, &intent(capacity));
            assert_eq!(state.intent.as_ref().unwrap().1.capacity, kept, "{generation}");
        }
    }

    #[test]
    fn conditions_say_what_an_operator_needs() {
        let mut status = Status::default();
        let shown = |status: &Status| -> Vec<(Truth, String)> {
            status.conditions(at(9)).into_iter().map(|one| (one.status, one.reason)).collect()
        };
        let pair = |up, reason: &str, skewed, why: &str| vec![(up, reason.into()), (skewed, why.into())];
        assert_eq!(shown(&status), pair(Truth::False, "NeverUp", Truth::False, "InStep"));
        status.contact_at = Some(at(5));
        status.skew_ms = -30_001;
        assert_eq!(shown(&status), pair(Truth::True, "Answered", Truth::True, "TooFarApart"));
        status.skew_ms = 30_000;
        status.lost.insert(Call::Poll, 3);
        assert_eq!(shown(&status), pair(Truth::False, "NoAnswer", Truth::False, "InStep"));
        status.refused.insert(Call::Report, "cell_forked".into());
        assert_eq!(shown(&status), pair(Truth::False, "Refused", Truth::False, "InStep"));
        assert_eq!(status.conditions(at(9))[0].detail.as_deref(), Some("report: cell_forked"));
    }
}
