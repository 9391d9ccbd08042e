//! The binary `chain`: parse, run, exit code.

#![allow(unreachable_pub)]

mod cli {
    pub mod util;
}

use clap::Parser;
use std::process::ExitCode;

#[derive(clap::Parser)]
#[command(name = "chain", version)]
enum Cli {
    /// Decode and check raw bytes
    #[command(subcommand)]
    Util(cli::util::Util),
}

fn main() -> ExitCode {
    let Cli::Util(util) = Cli::parse();
    match cli::util::run(util, &mut std::io::stdout(), std::io::stdin().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chain: {error:#}");
            ExitCode::FAILURE
        }
    }
}
