//! `chain testnet load`: transfers at a rate.

use crate::cli::node::{block_on, stop_signal};
use crate::cli::output::Rows;
use crate::relay::conditions::parse_duration;
use crate::testnet::load::{self, Load, Percentiles, Report, Targets};
use crate::testnet::{Directory, Testnet};
use anyhow::{Context, Result, bail, ensure};
use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, Write};
use std::time::Duration;

/// Time limit of the confirmation of accepted transfers.
const DRAIN: Duration = Duration::from_secs(60);
/// Largest rate in transfers per second.
const MAX_RATE: f64 = 100_000.0;

/// Submit transfers to all running nodes at a rate, and follow them into blocks
///
/// Exits with 1 if accepted transfers are lost.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadArgs {
    /// Transfers per second, such as 500/s
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate: f64,
    /// Number of accounts that send them
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub accounts: usize,
    /// Time for which transfers are submitted
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub duration: Duration,
}

fn parse_rate(text: &str) -> Result<f64> {
    let context = || format!("`{text}` is not a rate, such as 500/s");
    let number = text.strip_suffix("/s").with_context(context)?;
    let rate: f64 = number.parse().with_context(context)?;
    ensure!((0.1..=MAX_RATE).contains(&rate), "{}: 0.1/s to {MAX_RATE}/s", context());
    Ok(rate)
}

impl LoadArgs {
    /// The load of these arguments.
    pub fn load(&self) -> Load {
        let LoadArgs { rate, accounts, duration } = *self;
        Load { rate, accounts, duration, drain: DRAIN }
    }

    pub fn run(&self, directory: &Directory, json: bool) -> Result<()> {
        // Without the lock: faults can be caused meanwhile.
        let targets = Targets::of(&Testnet::read(directory)?)?;
        let style = ProgressStyle::with_template("{spinner} {elapsed} {msg}");
        let bar = ProgressBar::new_spinner();
        bar.set_style(style.expect("the template is well-formed"));
        bar.enable_steady_tick(Duration::from_millis(200));
        bar.set_message("funding the accounts");
        let report = block_on(async {
            let progress = |so_far: load::Progress| {
                let load::Progress { submitted, accepted, mined } = so_far;
                bar.set_message(format!(
                    "{submitted} submitted, {accepted} accepted, {mined} mined"
                ));
            };
            tokio::select! {
                report = load::run(&targets, self.load(), progress) => report,
                () = stop_signal()? => bail!("interrupted"),
            }
        });
        bar.finish_and_clear();
        let report = report?;
        if json {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
        } else {
            print(&report)?;
        }
        ensure!(report.lost == 0, "{} accepted transfers are lost", report.lost);
        ensure!(
            report.unknown == 0,
            "{} accepted transfers may be lost: not all nodes respond",
            report.unknown
        );
        Ok(())
    }
}

fn print(report: &Report) -> Result<()> {
    let percentiles = |it: Percentiles| {
        format!("median {} ms, 90 % {} ms, 99 % {} ms, max {} ms", it.p50, it.p90, it.p99, it.max)
    };
    let rows = Rows::new()
        .row("submitted", report.submitted)
        .row("accepted", format!("{} ({:.0}/s)", report.accepted, report.accepted_per_second))
        .row("failed", report.failed)
        .row_if("first failure", report.first_error.as_ref())
        .row("mined", report.mined)
        .row("pending", report.pending)
        .row("lost", report.lost)
        .row("unknown", report.unknown)
        .row("until accepted", percentiles(report.accept_ms))
        .row("until mined", percentiles(report.mine_ms));
    rows.print()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_a_unit_and_a_range() {
        assert!((parse_rate("500/s").unwrap() - 500.0).abs() < f64::EPSILON);
        for text in ["500", "0/s", "-1/s", "1e9/s", "NaN/s", "x/s"] {
            assert!(format!("{:#}", parse_rate(text).unwrap_err()).contains("such as 500/s"));
        }
    }
}
