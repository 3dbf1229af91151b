//! What people see while it runs, on standard error: a bar per cell at a terminal, else a line per step.

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// All bars.
pub struct Progress(MultiProgress);

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
        let style = "{prefix:6} {msg:11} {wide_bar:.cyan/dim} {pos:>6}/{len:<6} {per_sec:>9} {elapsed:>4}";
        let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(0).with_style(style).with_prefix(cell.to_owned());
        Bar { all: self.0.clone(), bar: self.0.add(bar) }
    }

    /// Takes the bars away.
    pub fn end(&self) {
        // Nothing depends on the picture.
        let _cleared = self.0.clear();
    }
}

impl Bar {
    /// The cell goes on to something that has so many parts.
    pub fn begin(&self, what: &'static str, parts: usize) {
        self.bar.reset();
        self.bar.set_message(what);
        self.bar.set_length(u64::try_from(parts).unwrap_or(u64::MAX));
        if self.bar.is_hidden() {
            eprintln!("{} {what}: {parts}", self.bar.prefix());
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
        self.bar.finish_with_message("done");
    }

    /// Lines above the bars.
    pub fn say(&self, text: &str) {
        say(&self.all, text);
    }
}

fn say(all: &MultiProgress, text: &str) {
    if all.is_hidden() {
        eprintln!("{text}");
    } else {
        // Nothing depends on the picture.
        let _printed = all.println(text);
    }
}
