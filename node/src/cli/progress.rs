//! A progress line on stderr: rewritten on a terminal, printed again every few seconds elsewhere.

use crate::escape::printable;
use crate::logging;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};

/// Refresh period of a progress line.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// Period at which the line is printed where it cannot be rewritten.
const PRINT_EVERY: Duration = Duration::from_secs(10);

pub struct ProgressLine {
    bar: ProgressBar,
    terminal: bool,
    last: Cell<Option<Instant>>,
}

impl ProgressLine {
    /// An empty line, above which log events are printed from now on.
    pub fn new() -> ProgressLine {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("well-formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        // Otherwise an empty line would be drawn below each log event.
        bar.finish_and_clear();
        logging::set_progress_bar(bar.clone());
        ProgressLine { bar, terminal: io::stderr().is_terminal(), last: Cell::new(None) }
    }

    pub fn is_on_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints a permanent line; what a terminal does not show is escaped, because a node may have
    /// supplied a part of it.
    pub fn println(&self, text: &str) {
        let text = printable(text);
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{text}")));
    }

    /// Replaces the text of the progress line.
    pub fn update(&self, status: &impl Display) {
        if self.terminal {
            if self.bar.is_finished() {
                self.bar.reset();
            }
            self.bar.set_message(printable(&status.to_string()));
            self.bar.tick();
        } else if self.is_due() {
            self.println(&status.to_string());
        }
    }

    /// Whether the line is due to be printed again where it cannot be rewritten.
    pub fn is_due(&self) -> bool {
        let is_due = self.last.get().is_none_or(|last| last.elapsed() >= PRINT_EVERY);
        if is_due {
            self.last.set(Some(Instant::now()));
        }
        is_due
    }

    /// Removes the progress line.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Replaces the progress line by a permanent one.
    pub fn finish(&self, status: &impl Display) {
        self.clear();
        self.println(&status.to_string());
    }
}

/// Ticks when a progress line is due for a refresh.
pub fn refresh_interval() -> Interval {
    let mut interval = tokio::time::interval(REFRESH_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
