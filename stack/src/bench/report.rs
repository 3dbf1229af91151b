//! The figures: gathered per round, reported as medians with their spread.

use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use serde_json::{Value, json};

/// Which way a goal points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
}

/// One goal and what the rounds gave.
#[derive(Debug, Clone)]
pub struct Goal {
    pub name: &'static str,
    /// What the two figures are, with their unit.
    pub ours: &'static str,
    pub theirs: &'static str,
    pub target: Target,
    /// Ours and the baseline's, a pair per round.
    pub pairs: Vec<(f64, f64)>,
}

/// Median, least and most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let half = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) };
        Some(Self { median, least, most })
    }

    fn json(self) -> Value {
        json!({ "median": round(self.median), "least": round(self.least), "most": round(self.most) })
    }

    fn text(self) -> String {
        format!("{} [{}–{}]", short(self.median), short(self.least), short(self.most))
    }
}

impl Goal {
    /// The ratio, pair by pair: a machine that slows down slows both.
    pub fn ratio(&self) -> Option<Spread> {
        Spread::of(self.pairs.iter().map(|(ours, theirs)| ours / theirs))
    }

    /// The ratio against its target, drawn: the mark is the target, and full cells up to it or past it are good where
    /// more is better, up to it only where less is.
    fn bar(&self) -> String {
        const TARGET_AT: usize = 10;
        const CELLS: usize = 20;
        let (Target::AtLeast(target) | Target::AtMost(target)) = self.target;
        let reached = self.ratio().map_or(0.0, |ratio| ratio.median / target * TARGET_AT as f64).round();
        let reached = (reached as usize).min(CELLS);
        let cell = |at: usize| if at < reached { '█' } else { '░' };
        let before: String = (0..TARGET_AT).map(cell).collect();
        let after: String = (TARGET_AT..CELLS).map(cell).collect();
        format!("{before}│{after}")
    }

    /// Whether the median ratio is where it should be.
    pub fn met(&self) -> bool {
        self.ratio().is_some_and(|ratio| match self.target {
            Target::AtLeast(least) => ratio.median >= least,
            Target::AtMost(most) => ratio.median <= most,
        })
    }
}

/// CPU time of one kind of run, microseconds per transfer (or request).
#[derive(Debug, Clone)]
pub struct Cost {
    pub what: &'static str,
    pub server: Vec<f64>,
    pub database: Vec<f64>,
    pub driver: Vec<f64>,
}

/// Everything that is reported.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub rounds: u32,
    pub seconds: f64,
    pub goals: Vec<Goal>,
    pub costs: Vec<Cost>,
    /// Load averages over a minute, at the beginning of each round.
    pub load: Vec<f64>,
    /// The number of clients that was best for pgbench, per round.
    pub best_clients: Vec<u32>,
    pub notes: Vec<String>,
}

fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

impl Report {
    /// One object; its `goals` hold `name`, `ratio`, `target`, `met` and the figures behind them.
    pub fn json(&self) -> Value {
        let goals: Vec<Value> = self.goals.iter().map(|goal| {
            let (direction, target) = match goal.target {
                Target::AtLeast(least) => ("at_least", least),
                Target::AtMost(most) => ("at_most", most),
            };
            let ratio = goal.ratio();
            json!({
                "name": goal.name,
                "ratio": ratio.map(|ratio| round(ratio.median)),
                "target": target,
                "met": goal.met(),
                "direction": direction,
                "spread": ratio.map(Spread::json),
                "ours": { "what": goal.ours, "rounds": goal.pairs.iter().map(|pair| round(pair.0)).collect::<Vec<_>>() },
                "baseline": { "what": goal.theirs, "rounds": goal.pairs.iter().map(|pair| round(pair.1)).collect::<Vec<_>>() },
            })
        }).collect();
        let costs: Vec<Value> = self
            .costs
            .iter()
            .map(|cost| {
                let of = |values: &[f64]| Spread::of(values.iter().copied()).map(Spread::json);
                json!({ "run": cost.what, "server": of(&cost.server), "database": of(&cost.database), "driver": of(&cost.driver) })
            })
            .collect();
        json!({
            "goals": goals,
            "cpu_us_per_unit": costs,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "load_average": self.load,
            "pgbench_best_clients": self.best_clients,
            "books": "checked after every round",
            "notes": self.notes,
        })
    }

    /// For a person.
    pub fn tables(&self) -> String {
        let mut goals = Table::new();
        goals.load_style(UTF8_FULL_CONDENSED);
        goals.set_header(["goal", "ours", "baseline", "ratio", "target", "│ = target", "met"]);
        for goal in &self.goals {
            let text = |spread: Option<Spread>| spread.map_or_else(String::new, Spread::text);
            goals.add_row([
                goal.name.to_owned(),
                format!("{} {}", text(Spread::of(goal.pairs.iter().map(|pair| pair.0))), goal.ours),
                format!("{} {}", text(Spread::of(goal.pairs.iter().map(|pair| pair.1))), goal.theirs),
                text(goal.ratio()),
                match goal.target {
                    Target::AtLeast(least) => format!("≥ {least}"),
                    Target::AtMost(most) => format!("≤ {most}"),
                },
                goal.bar(),
                if goal.met() { "yes" } else { "NO" }.to_owned(),
            ]);
        }
        let mut costs = Table::new();
        costs.load_style(UTF8_FULL_CONDENSED);
        costs.set_header(["CPU µs per unit", "server", "database", "driver"]);
        for cost in &self.costs {
            let text =
                |values: &[f64]| Spread::of(values.iter().copied()).map_or_else(String::new, Spread::text);
            costs.add_row([
                cost.what.to_owned(),
                text(&cost.server),
                text(&cost.database),
                text(&cost.driver),
            ]);
        }
        let load: Vec<String> = self.load.iter().map(|load| format!("{load:.1}")).collect();
        format!(
            "{goals}\n{costs}\nmedians [least–most] of {} rounds; load average per round: {}; books checked after every round\n{}",
            self.rounds,
            load.join(", "),
            self.notes.join("\n"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(target: Target, pairs: &[(f64, f64)]) -> Goal {
        Goal { name: "g", ours: "a", theirs: "b", target, pairs: pairs.to_vec() }
    }

    #[test]
    fn a_goal_is_met_by_the_median_of_the_ratios_of_pairs() {
        // Medians of the sides would say 30/10; pair by pair it is 2.
        let pairs = [(10.0, 10.0), (30.0, 15.0), (90.0, 10.0)];
        let goal_at = |target| goal(target, &pairs).met();
        assert_eq!(goal(Target::AtLeast(2.0), &pairs).ratio().unwrap().median, 2.0);
        assert!(goal_at(Target::AtLeast(2.0)) && !goal_at(Target::AtLeast(2.1)));
        assert!(goal_at(Target::AtMost(2.0)) && !goal_at(Target::AtMost(1.9)));
        assert!(!goal(Target::AtMost(2.0), &[]).met());
    }

    #[test]
    fn the_json_has_what_a_program_asks_for() {
        let report = Report { goals: vec![goal(Target::AtLeast(3.0), &[(4.0, 1.0)])], ..Report::default() };
        let json = report.json();
        assert_eq!(json["goals"][0]["name"], "g");
        assert_eq!(json["goals"][0]["ratio"], 4.0);
        assert_eq!(json["goals"][0]["target"], 3.0);
        assert_eq!(json["goals"][0]["met"], true);
    }

    #[test]
    fn a_bar_reaches_the_mark_exactly_at_the_target() {
        let full = |target, ratio: f64| goal(target, &[(ratio, 1.0)]).bar();
        assert_eq!(full(Target::AtLeast(3.0), 3.0), "██████████│░░░░░░░░░░");
        assert_eq!(full(Target::AtMost(2.0), 1.0), "█████░░░░░│░░░░░░░░░░");
        assert_eq!(full(Target::AtLeast(1.0), 9.0), "██████████│██████████");
    }

    #[test]
    fn an_even_number_of_rounds_has_a_median_too() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }
}
