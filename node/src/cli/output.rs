//! Output of commands: labelled rows and tables for people, the JSON of a node on one line.

use crate::client::Response;
use crate::escape::{printable, printable_json};
use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints a response: its JSON, or parsed as `text` formats it.
pub fn print<T: DeserializeOwned>(
    response: &Response,
    json: bool,
    text: impl FnOnce(T) -> io::Result<()>,
) -> Result<()> {
    match json {
        true => {
            let line = printable_json(&response.text).context("the node sent no JSON")?;
            writeln!(io::stdout(), "{line}")?;
        }
        false => text(response.json()?)?,
    }
    Ok(())
}

/// Prints a line; what a terminal does not show is escaped.
pub fn print_line(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{}", printable(text))
}

/// Prints values to standard output, one per line; what a terminal does not show is escaped.
pub fn print_lines(values: &[impl Display]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    values.iter().try_for_each(|value| writeln!(out, "{}", printable(&value.to_string())))
}

/// Labelled values, one per row.
#[derive(Debug, Default)]
pub struct Rows(Vec<(&'static str, String)>);

impl Rows {
    pub fn new() -> Rows {
        Rows::default()
    }

    /// Adds a row. Control characters of the value are escaped: a node may have supplied it.
    #[must_use]
    pub fn row(mut self, label: &'static str, value: impl Display) -> Rows {
        self.0.push((label, printable(&value.to_string())));
        self
    }

    /// Adds a row unless the value is `None`.
    #[must_use]
    pub fn row_if(self, label: &'static str, value: Option<impl Display>) -> Rows {
        match value {
            Some(value) => self.row(label, value),
            None => self,
        }
    }

    /// Prints the rows with their values aligned.
    pub fn print(&self) -> io::Result<()> {
        io::stdout().lock().write_all(self.text().as_bytes())
    }

    /// Prints the rows to standard error, which scripts do not read as the result.
    pub fn print_to_stderr(&self) -> io::Result<()> {
        io::stderr().lock().write_all(self.text().as_bytes())
    }

    fn text(&self) -> String {
        let width = self.0.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        self.0.iter().map(|(label, value)| format!("{label:width$}  {value}\n")).collect()
    }
}

/// A table with a heading for each column.
#[derive(Debug)]
pub struct Table<const COLUMNS: usize> {
    headings: [&'static str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub fn new(headings: [&'static str; COLUMNS]) -> Table<COLUMNS> {
        Table { headings, rows: Vec::new() }
    }

    /// Adds a row. Control characters of the values are escaped: a node may have supplied them.
    #[must_use]
    pub fn row(mut self, values: [String; COLUMNS]) -> Table<COLUMNS> {
        self.rows.push(values.map(|value| printable(&value)));
        self
    }

    /// Prints the table, or `empty` if it has no rows.
    pub fn print(&self, empty: &str) -> io::Result<()> {
        if self.rows.is_empty() {
            return writeln!(io::stdout(), "{empty}");
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

/// The name of an enum's variant in the API.
pub fn label(variant: &impl Serialize) -> String {
    let value = serde_json::to_value(variant).unwrap_or_default();
    value.as_str().unwrap_or("unknown").to_owned()
}

/// The end of a hash, since it starts with zeros.
pub fn short(hash: &str) -> String {
    hash.get(hash.len().saturating_sub(12)..).unwrap_or(hash).to_owned()
}

/// Bytes in the largest unit that is not above them.
pub fn bytes(count: u64) -> String {
    let scaled = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match scaled.into_iter().find(|(unit, _)| count as f64 >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", count as f64 / unit),
        None => format!("{count} B"),
    }
}

/// Hashes per second in the largest unit that is not above them.
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

/// The time since a past Unix time.
pub fn ago(time: u64) -> String {
    match unix_time().checked_sub(time) {
        Some(seconds) => format!("{} ago", duration(seconds)),
        None => "ahead of this machine's clock".to_owned(),
    }
}

/// The time from now to a Unix time, or since then.
pub fn from_now(time: u64) -> String {
    match time.checked_sub(unix_time()) {
        Some(seconds) => format!("in {}", duration(seconds)),
        None => ago(time),
    }
}

/// The seconds left until a Unix time.
pub fn seconds_until(time: u64) -> u64 {
    time.saturating_sub(unix_time())
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Seconds in a unit of which there are at least two.
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
    fn rows_are_aligned_and_escape_control_characters() {
        let rows = Rows::new()
            .row("id", 7)
            .row("memo", "a\nid  8\u{1b}[1A")
            .row_if("block", None::<u32>)
            .row_if("fee", Some(2));
        assert_eq!(rows.text(), "id    7\nmemo  a\\nid  8\\u{1b}[1A\nfee   2\n");
    }

    // R22
    #[test]
    fn tables_are_aligned_and_escape_control_characters() {
        let row = |agent: &str| ["7".to_owned(), agent.to_owned(), "x".to_owned()];
        let table = Table::new(["id", "agent", "score"]).row(row("a\n\u{1b}[2J")).row(row("ü"));
        let expected = "id  agent         score\n7   a\\n\\u{1b}[2J  x\n7   ü             x\n";
        assert_eq!(table.text(), expected);
    }

    #[test]
    fn formats_sizes() {
        for (count, text) in [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (2_560_000, "2.6 MB")]
        {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn formats_durations() {
        for (seconds, text) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (200_000, "2 days")]
        {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(ago(u32::MAX.into()), "ahead of this machine's clock");
    }
}
