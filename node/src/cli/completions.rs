//! `chain completions SHELL`: shell completions.

use anyhow::Result;
use clap_complete::Shell;
use std::io::{self, Write};

/// Generate shell completions
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shell to generate them for; for bash: source <(chain completions bash)
    shell: Shell,
}

pub fn run(args: &Args, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "chain", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
