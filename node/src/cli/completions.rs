//! `chain completions SHELL`: the script that completes commands and flags in a shell.

use anyhow::Result;
use clap_complete::Shell;
use std::io::{self, Write};

/// Print the script that completes commands and flags in a shell
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell; for bash: source <(chain completions bash)
    shell: Shell,
}

/// Prints the script.
pub fn run(args: &Args, command: &mut clap::Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "chain", &mut script);
    io::stdout().write_all(&script)?;
    Ok(())
}
