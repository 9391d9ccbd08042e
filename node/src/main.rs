//! The binary `chain`: parse, run, exit code.
//! Exit codes: 0 done · 1 failed, one line on stderr that says what and what to do · 2 wrong usage.

// A binary exports nothing: `pub` tells what a module offers to its neighbours.
#![allow(unreachable_pub)]

mod api;
mod cli;
mod client;
mod config;
mod daemon;
mod difficulty;
mod events;
mod explorer;
mod faucet;
mod jobs;
mod logging;
mod metrics;
mod mining;
mod peers;
#[cfg(unix)]
mod testnet;
mod wallet;
mod writer;

use clap::Parser;
use std::io;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::thread;

/// Threads whose panics are caught and answered by whoever started them, so nobody needs to read
/// about them: an index that cannot be opened is rebuilt.
const QUIET_THREADS: [&str; 1] = ["index-open"];

fn main() -> ExitCode {
    panic::set_hook(Box::new(report_panic));
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version are "errors" too: they go to stdout with code 0.
            let _ = usage.print();
            return u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match panic::catch_unwind(|| cli.run()) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) if is_closed_output(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            logging::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
        Err(_already_reported) => ExitCode::FAILURE,
    }
}

/// Whoever reads our output has seen enough, as in `chain mempool | head -1`.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn report_panic(info: &PanicHookInfo<'_>) {
    let current = thread::current();
    let name = current.name().unwrap_or("unnamed");
    if QUIET_THREADS.contains(&name) {
        return;
    }
    let what = info.payload_as_str().unwrap_or("no message");
    let at = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let bug = "(a bug: please report this line)";
    logging::complain(&format!("thread `{name}` panicked at {at}: {what} {bug}"));
}
