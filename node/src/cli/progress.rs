//! One line on stderr that is rewritten on a terminal; elsewhere a new line now and then.

use crate::logging;
use indicatif::{ProgressBar, ProgressStyle};
use std::cell::Cell;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};

/// Refresh period of a progress line.
const REFRESH_EVERY: Duration = Duration::from_millis(500);
/// How often a line is printed where it cannot be rewritten.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// The line.
pub struct ProgressLine {
    bar: ProgressBar,
    terminal: bool,
    last: Cell<Option<Instant>>,
}

impl ProgressLine {
    /// Nothing is shown yet. From now on events of the log appear above the line.
    pub fn new() -> ProgressLine {
        let style = ProgressStyle::with_template("{spinner} {msg}").expect("well-formed");
        let bar = ProgressBar::new_spinner().with_style(style);
        // Otherwise an empty line would be drawn below each event.
        bar.finish_and_clear();
        logging::keep_above(bar.clone());
        ProgressLine { bar, terminal: io::stderr().is_terminal(), last: Cell::new(None) }
    }

    /// Whether it can be rewritten.
    pub fn is_on_terminal(&self) -> bool {
        self.terminal
    }

    /// Prints something that stays.
    pub fn say(&self, text: &str) {
        self.bar.suspend(|| drop(writeln!(io::stderr(), "{text}")));
    }

    /// Replaces what the line shows.
    pub fn show(&self, status: &impl Display) {
        if self.terminal {
            if self.bar.is_finished() {
                self.bar.reset();
            }
            self.bar.set_message(status.to_string());
            self.bar.tick();
        } else if self.is_due() {
            self.say(&status.to_string());
        }
    }

    /// Whether it is time for another line where lines stay.
    pub fn is_due(&self) -> bool {
        let is_due = self.last.get().is_none_or(|last| last.elapsed() >= PLAIN_EVERY);
        if is_due {
            self.last.set(Some(Instant::now()));
        }
        is_due
    }

    /// Takes the line away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Leaves this as the last line.
    pub fn show_last(&self, status: &impl Display) {
        self.clear();
        self.say(&status.to_string());
    }
}

/// Ticks when a progress line is due for a refresh.
pub fn refresh_interval() -> Interval {
    let mut interval = tokio::time::interval(REFRESH_EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
