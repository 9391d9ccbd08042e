//! The conditions of one direction of a link, and the texts that stand for them, such as `300ms`,
//! `5%` and `1mbit`.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longest latency and jitter.
const MAX_DELAY: Duration = Duration::from_secs(3_600);

/// The conditions of one direction of a link. The default is a perfect link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// Time that data is on its way in this direction, in milliseconds.
    pub latency_ms: u64,
    /// Largest random deviation from the latency, either way, in milliseconds. The order of data does
    /// not change.
    pub jitter_ms: u64,
    /// Probability that a segment of 1,460 bytes is lost: 0 to 1.
    pub loss: f64,
    /// Bits per second; `None` for no limit.
    pub bandwidth: Option<u64>,
    /// Whether nothing arrives. Data waits and arrives once the cut ends, unless the connection has
    /// been closed by then.
    pub is_cut: bool,
}

impl Conditions {
    /// The latency.
    pub fn latency(&self) -> Duration {
        Duration::from_millis(self.latency_ms)
    }

    /// Whether data passes immediately and completely.
    pub fn is_perfect(&self) -> bool {
        *self == Conditions::default()
    }
}

/// Such as `300ms ± 50ms, 5% loss, 1mbit`.
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.is_cut {
            parts.push("cut".to_owned());
        }
        match (self.latency_ms, self.jitter_ms) {
            (0, 0) => {}
            (latency, 0) => parts.push(format!("{latency}ms")),
            (latency, jitter) => parts.push(format!("{latency}ms ± {jitter}ms")),
        }
        if self.loss > 0.0 {
            parts.push(format!("{}% loss", (self.loss * 1e6).round() / 1e4));
        }
        parts.extend(self.bandwidth.map(format_bandwidth));
        f.write_str(if parts.is_empty() { "perfect" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

fn format_bandwidth(bits: u64) -> String {
    let units = [(1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")];
    match units.into_iter().find(|(unit, _)| bits.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bits / unit),
        None => format!("{bits}bit"),
    }
}

/// Parses a duration such as `300ms`, `1.5s` or `2m`.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)];
    let context = || format!("`{text}` is not a duration, such as 300ms, 1.5s or 2m");
    let seconds = with_unit(text, &units).with_context(context)?;
    Duration::try_from_secs_f64(seconds).with_context(context)
}

/// Parses a latency or jitter: a duration of at most an hour.
pub fn parse_delay(text: &str) -> Result<Duration> {
    let delay = parse_duration(text)?;
    ensure!(delay <= MAX_DELAY, "`{text}` is longer than {} s", MAX_DELAY.as_secs());
    Ok(delay)
}

/// Parses a probability such as `5%`, from 0% to 100%.
pub fn parse_loss(text: &str) -> Result<f64> {
    let context = || format!("`{text}` is not a share of lost segments, such as 5%");
    let percent = with_unit(text, &[("%", 1.0)]).with_context(context)?;
    ensure!(percent <= 100.0, "{}: it is over 100%", context());
    Ok(percent / 100.0)
}

/// Parses a number of bits per second such as `500kbit`, `1mbit` or `1gbit`; at least 1 kbit.
pub fn parse_bandwidth(text: &str) -> Result<u64> {
    let units = [("kbit", 1e3), ("mbit", 1e6), ("gbit", 1e9)];
    let context = || format!("`{text}` is not a bandwidth, such as 500kbit, 1mbit or 1gbit");
    let bits = with_unit(text, &units).with_context(context)?;
    ensure!((1e3..=1e12).contains(&bits), "{}: 1kbit to 1000gbit", context());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // in the range above
    Ok(bits as u64)
}

/// The number before one of these units, multiplied by the unit's value; `None` unless it is finite
/// and not negative.
fn with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
    let (_, value) = units.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
    let is_decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let number: f64 = digits.parse().ok().filter(|_| is_decimal)?;
    Some(number * value).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_numbers_with_units() {
        for (text, milliseconds) in
            [("300ms", 300), ("1.5s", 1_500), ("2m", 120_000), ("0s", 0), ("1h", 3_600_000)]
        {
            assert_eq!(parse_delay(text).unwrap(), Duration::from_millis(milliseconds), "{text}");
        }
        assert!((parse_loss("5%").unwrap() - 0.05).abs() < 1e-12);
        assert!((parse_loss("100%").unwrap() - 1.0).abs() < 1e-12);
        for (text, bits) in [("1mbit", 1_000_000), ("1.5kbit", 1_500), ("2gbit", 2_000_000_000)] {
            assert_eq!(parse_bandwidth(text).unwrap(), bits, "{text}");
        }
    }

    #[test]
    fn rejects_other_texts_with_an_example() {
        for text in
            ["", "300", "ms", "-1ms", "1e3ms", "NaNms", "infs", "1 ms", "1min", "9.9.9s", "µs"]
        {
            let message = format!("{:#}", parse_duration(text).unwrap_err());
            assert!(message.contains("such as 300ms"), "{message}");
        }
        assert!(parse_delay("2h").is_err());
        for text in ["5", "101%", "-1%", "%"] {
            assert!(format!("{:#}", parse_loss(text).unwrap_err()).contains("such as 5%"));
        }
        for text in ["1", "0mbit", "1bit", "1Mbit", "9999gbit"] {
            assert!(
                format!("{:#}", parse_bandwidth(text).unwrap_err()).contains("such as 500kbit")
            );
        }
    }

    #[test]
    fn formats_what_differs_from_a_perfect_link() {
        let perfect = Conditions::default();
        assert_eq!(perfect.to_string(), "perfect");
        let bad = Conditions {
            latency_ms: 300,
            jitter_ms: 50,
            loss: 0.05,
            bandwidth: Some(1_000_000),
            is_cut: false,
        };
        assert_eq!(bad.to_string(), "300ms ± 50ms, 5% loss, 1mbit");
        let cut = Conditions { is_cut: true, bandwidth: Some(1_500), ..perfect };
        assert_eq!(cut.to_string(), "cut, 1500bit");
    }
}
