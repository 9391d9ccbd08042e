//! How commands show what a node answers: labelled rows for people, JSON as it came.

use crate::client::{Response, printable};
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints an answer as the node gave it.
pub fn json(answer: &Response) -> io::Result<()> {
    writeln!(io::stdout(), "{}", answer.text.trim_end())
}

/// Labels and what stands beside them.
#[derive(Debug, Default)]
pub struct Rows(Vec<(&'static str, String)>);

impl Rows {
    /// None yet.
    pub fn new() -> Rows {
        Rows::default()
    }

    /// One more. Values may come from anywhere: what would drive a terminal is escaped.
    #[must_use]
    pub fn row(mut self, label: &'static str, value: impl Display) -> Rows {
        self.0.push((label, printable(&value.to_string())));
        self
    }

    /// One more, if there is anything to show.
    #[must_use]
    pub fn row_if(self, label: &'static str, value: Option<impl Display>) -> Rows {
        match value {
            Some(value) => self.row(label, value),
            None => self,
        }
    }

    /// Prints them to standard output, the values in one column.
    pub fn print(&self) -> io::Result<()> {
        io::stdout().lock().write_all(self.text().as_bytes())
    }

    fn text(&self) -> String {
        let width = self.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        self.0.iter().map(|(label, value)| format!("{label:width$}  {value}\n")).collect()
    }
}

/// Rows with several values each, under headings.
#[derive(Debug)]
pub struct Table<const COLUMNS: usize> {
    headings: [&'static str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    /// None yet.
    pub fn new(headings: [&'static str; COLUMNS]) -> Table<COLUMNS> {
        Table { headings, rows: Vec::new() }
    }

    /// One more. Values may come from anywhere: what would drive a terminal is escaped.
    #[must_use]
    pub fn row(mut self, values: [String; COLUMNS]) -> Table<COLUMNS> {
        self.rows.push(values.map(|value| printable(&value)));
        self
    }

    /// Prints it to standard output, or what is said when there are no rows.
    pub fn print(&self, nothing: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(io::stdout(), "{nothing}");
        }
        io::stdout().lock().write_all(self.text().as_bytes())
    }

    fn text(&self) -> String {
        let headings = self.headings.map(str::to_owned);
        let all = || std::iter::once(&headings).chain(&self.rows);
        let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
        let line = |row: &[String; COLUMNS]| {
            let cells = row.iter().zip(&widths).map(|(value, width)| format!("{value:width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        all().map(line).collect()
    }
}

/// Prints one value per line to standard output.
pub fn print_lines(values: &[impl Display]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    values.iter().try_for_each(|value| writeln!(out, "{value}"))
}

/// Bytes in the unit that keeps the number short.
pub fn bytes(count: u64) -> String {
    let scaled = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match scaled.into_iter().find(|(unit, _)| count as f64 >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / unit),
        None => format!("{count} B"),
    }
}

/// Hashes a second with the prefix that keeps the number short.
pub fn human_rate(rate: f64) -> String {
    let scaled = [(1e12, "TH/s"), (1e9, "GH/s"), (1e6, "MH/s"), (1e3, "kH/s")];
    match scaled.into_iter().find(|(unit, _)| rate >= *unit) {
        Some((unit, name)) => format!("{:.2} {name}", rate / unit),
        None => format!("{rate:.0} H/s"),
    }
}

/// Base units as coins.
pub fn coins(units: u64) -> String {
    match chain::Amount::new(units) {
        Some(amount) => format!("{amount} coins"),
        None => format!("{units} base units"),
    }
}

/// How long ago a time was, in seconds since the epoch.
pub fn ago(time: u32) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    match now.checked_sub(time.into()) {
        Some(seconds) => format!("{} ago", duration(seconds)),
        None => "ahead of this machine's clock".to_owned(),
    }
}

/// Seconds in the largest unit that leaves a number worth reading.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // R22
    #[test]
    fn values_stand_in_one_column_and_stay_on_their_line() {
        let rows = Rows::new()
            .row("id", 7)
            .row("memo", "a\nid  8\u{1b}[1A")
            .row_if("block", None::<u32>)
            .row_if("fee", Some(2));
        assert_eq!(rows.text(), "id    7\nmemo  a\\nid  8\\u{1b}[1A\nfee   2\n");
    }

    // R22
    #[test]
    fn tables_stay_in_columns_whatever_peers_call_themselves() {
        let row = |agent: &str| ["7".to_owned(), agent.to_owned(), "x".to_owned()];
        let table = Table::new(["id", "agent", "score"]).row(row("a\n\u{1b}[2J")).row(row("ü"));
        let expected = "id  agent         score\n7   a\\n\\u{1b}[2J  x\n7   ü             x\n";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn sizes_are_short() {
        for (count, text) in [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (2_560_000, "2.6 MB")]
        {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn durations_are_short() {
        for (seconds, text) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 days")]
        {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(ago(u32::MAX), "ahead of this machine's clock");
    }
}
