//! `chain testnet run`: a scenario, which is a testnet of its own with steps and assertions, from a file.

mod expect;
mod file;
mod mine;
mod report;
mod runner;
mod step;
mod transfers;
mod world;
#[cfg(test)]
mod tests;

use crate::seed::Seed;
use anyhow::{Context, Result, bail, ensure};
use file::Scenario;
use report::Report;
use runner::Runner;
use std::fs;
use std::path::PathBuf;

/// Run a scenario: a testnet of its own, faults, load and assertions
///
/// Exits with 0 if all steps succeed, and with 1 otherwise. Writes report.json, report.xml (JUnit) and the
/// log of each node to a directory.
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Scenario file; `--list` prints those that this program contains
    #[arg(value_name = "FILE|NAME", required_unless_present = "list")]
    scenario: Option<String>,
    /// Derive keys, blocks, the clock and what links lose from a number
    ///
    /// Two runs have the same blocks if no node mines with threads: on `dev` without miners. Default: links
    /// have the number 1, and all else is random.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Leave the testnet running
    #[arg(long)]
    keep: bool,
    /// Directory of the report [default: scenario-NAME]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Print the scenarios that this program contains
    #[arg(long)]
    list: bool,
}

impl Run {
    pub fn run(&self, json: bool) -> Result<()> {
        if self.list {
            return file::print_built_in();
        }
        let named = self.scenario.as_deref().context("name a scenario")?;
        let (name, text) = file::read(named)?;
        let mut scenario = Scenario::parse(&text).with_context(|| format!("scenario {named}"))?;
        scenario.options.seed = self.seed.map(Seed::new);
        let default = PathBuf::from(format!("scenario-{name}"));
        let directory = std::path::absolute(self.report.clone().unwrap_or(default))?;
        prepare(&directory)?;
        let report =
            Runner::run(&scenario, &name, &directory, (self.seed.unwrap_or(1), self.keep), json)?;
        report.write(&directory)?;
        if json {
            report.print()?;
        }
        conclude(&report, &directory)
    }
}

/// Creates the directory of a report, which must be new, empty or that of an earlier report.
fn prepare(directory: &std::path::Path) -> Result<()> {
    let context = || format!("cannot use {}", directory.display());
    if directory.exists() {
        let mut entries = fs::read_dir(directory).with_context(context)?;
        let is_report = directory.join(report::JSON).exists() || directory.join("testnet").exists();
        ensure!(
            is_report || entries.next().is_none(),
            "{} contains other files: choose another directory with --report",
            directory.display()
        );
        ensure!(
            !directory.join("testnet").exists(),
            "{0} contains the testnet of an earlier run: remove it with `chain testnet --dir {0} down \
             --delete`",
            directory.join("testnet").display()
        );
    }
    fs::create_dir_all(directory).with_context(context)
}

fn conclude(report: &Report, directory: &std::path::Path) -> Result<()> {
    match report.failure() {
        None => Ok(()),
        Some(failure) => bail!("{failure}; report and logs are in {}", directory.display()),
    }
}
