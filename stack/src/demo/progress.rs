//! What people see while it runs, on standard error: a bar per tenant and per cell at a terminal, else lines.

use std::fmt;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::console;

/// All bars.
pub struct Progress(MultiProgress);

/// One operation's line.
pub struct Steps {
    all: MultiProgress,
    bar: ProgressBar,
}

/// One cell's bar.
#[derive(Clone)]
pub struct Bar {
    all: MultiProgress,
    bar: ProgressBar,
}

impl Progress {
    /// Nothing shown yet; bars only at a terminal.
    pub fn new() -> Self {
        Self(MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)))
    }

    /// A bar for a cell.
    pub fn bar(&self, cell: &str) -> Bar {
        let line = "{prefix:6} {msg:11} {wide_bar:.cyan/dim} {pos:>6}/{len:<6} {rate:>7} {elapsed:>4}";
        let rate = |state: &ProgressState, text: &mut dyn fmt::Write| {
            // A text takes all that is written.
            let _written = write!(text, "{:.0}/s", state.per_sec());
        };
        let style = style(line).with_key("rate", rate);
        let bar = ProgressBar::new(0).with_style(style).with_prefix(cell.to_owned());
        Bar { all: self.0.clone(), bar: self.0.add(bar) }
    }

    /// The steps of one operation for `whom`.
    pub fn steps(&self, whom: &str) -> Steps {
        let bar = ProgressBar::no_length().with_style(style("{prefix:12} {msg:14} {elapsed:>4}"));
        let bar = bar.with_prefix(whom.to_owned()).with_message("declaring");
        Steps { all: self.0.clone(), bar: self.0.add(bar) }
    }

    /// Takes the bars away.
    pub fn end(&self) {
        // Nothing depends on the picture.
        let _cleared = self.0.clear();
    }
}

impl Steps {
    /// It has come to this.
    pub fn at(&self, step: &str) {
        self.bar.set_message(step.to_owned());
        self.bar.tick();
    }

    /// It has ended like this.
    pub fn done(&self, end: &str) {
        let text = format!("{}: {end} after {:.1} s", self.bar.prefix(), self.bar.elapsed().as_secs_f64());
        self.bar.finish_and_clear();
        say(&self.all, &text);
    }
}

impl Bar {
    /// The cell goes on to something that has so many parts.
    pub fn begin(&self, what: &'static str, parts: usize) {
        self.bar.reset();
        self.bar.set_message(what);
        self.bar.set_length(u64::try_from(parts).unwrap_or(u64::MAX));
        if self.bar.is_hidden() {
            console::say(format_args!("{} {what}: {parts}", self.bar.prefix()));
        } else {
            self.bar.tick();
        }
    }

    /// So many more are done.
    pub fn done(&self, parts: usize) {
        self.bar.inc(u64::try_from(parts).unwrap_or(u64::MAX));
    }

    /// Nothing more to come.
    pub fn finish(&self) {
        self.bar.set_style(style("{prefix:6} {msg}"));
        self.bar.finish_with_message("done");
    }

    /// Lines above the bars.
    pub fn say(&self, text: &str) {
        say(&self.all, text);
    }
}

fn style(line: &str) -> ProgressStyle {
    ProgressStyle::with_template(line).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn say(all: &MultiProgress, text: &str) {
    if all.is_hidden() {
        console::say(text);
    } else {
        // Nothing depends on the picture.
        let _printed = all.println(text);
    }
}
