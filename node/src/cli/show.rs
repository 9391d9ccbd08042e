//! How commands show what a node answers: labelled rows for people, JSON as it came.

use crate::client::{Answer, printable};
use std::fmt::Display;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

/// Prints an answer as the node gave it.
pub fn json(answer: &Answer) -> io::Result<()> {
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

/// Prints rows under a header to standard output, in columns as wide as they need. Values may come
/// from anywhere, as in `Rows`.
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    io::stdout().lock().write_all(table_text(header, rows).as_bytes())
}

fn table_text<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(ToOwned::to_owned);
    let lines = [&header].into_iter().chain(rows);
    let lines: Vec<[String; N]> =
        lines.map(|line| line.each_ref().map(|cell| printable(cell))).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..N).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
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
    fn a_table_has_a_line_for_each_row_whatever_is_in_it() {
        let rows = [["node-1", "a\n\u{1b}[2J"], ["x", ""]].map(|row| row.map(str::to_owned));
        let text = table_text(["node", "tip"], &rows);
        assert_eq!(text, "node    tip\nnode-1  a\\n\\u{1b}[2J\nx\n");
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
