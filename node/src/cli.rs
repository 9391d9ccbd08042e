//! The command line, one file per subcommand. A command prints its result to stdout; `main` prints its
//! error as one line to stderr.

mod account;
mod bench;
mod block;
mod completions;
mod events;
mod jobs;
mod mempool;
mod mine;
mod network;
mod node;
mod output;
mod password;
mod peers;
mod progress;
mod secrets;
mod status;
mod sync_progress;
#[cfg(unix)]
mod testnet;
mod tx;
mod util;
mod verify;
mod verify_proof;
mod wait;
mod wallet;

use crate::logging;
use anyhow::{Context, Result};
use clap::builder::{self, Resettable};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use std::ffi::OsStr;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;
use std::thread;
use std::{env, io};

/// Threads whose panics are caught and handled, and not reported: an index that cannot be opened is
/// rebuilt.
const QUIET_THREADS: [&str; 1] = ["index-open"];

/// Parses the command line, runs the command and returns the exit code: 0 for success, 1 for a failure
/// with one line on stderr, 2 for wrong usage.
pub fn main() -> ExitCode {
    panic::set_hook(Box::new(report_panic));
    let parsed = without_empty_variables(Cli::command())
        .try_get_matches()
        .and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(usage) => {
            // Help and version are "errors" too: they go to stdout with code 0.
            let _ = usage.print();
            return u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    match panic::catch_unwind(AssertUnwindSafe(|| cli.run(&matches))) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) if is_closed_output(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            logging::report_fatal(&format!("{error:#}"));
            ExitCode::FAILURE
        }
        Err(_already_reported) => ExitCode::FAILURE,
    }
}

/// The command, for which variables of the environment that are set but empty count as not set: files
/// of containers and services often name variables without a value.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let is_empty = |name: &OsStr| env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| match arg.get_env() {
            Some(name) if is_empty(name) => arg.env(Resettable::<builder::OsStr>::Reset),
            _ => arg,
        })
        .mut_subcommands(without_empty_variables)
}

/// Whether the reader of stdout has closed it, as in `chain mempool | head -1`.
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
    let message = info.payload_as_str().unwrap_or("no message");
    let location =
        info.location().map_or_else(|| "an unknown location".to_owned(), ToString::to_string);
    let bug = "(a bug: please report this line)";
    logging::report_fatal(&format!("thread `{name}` panicked at {location}: {message} {bug}"));
}

/// A proof-of-work blockchain node, miner and wallet
#[derive(Debug, Parser)]
#[command(name = "chain", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Node(Box<node::Args>),
    Mine(mine::Args),
    Jobs(jobs::Args),
    Status(status::Args),
    Block(block::Args),
    Tx(tx::Args),
    Wait(wait::Args),
    Account(account::Args),
    Mempool(mempool::Args),
    Peers(peers::Args),
    Events(events::Args),
    Wallet(wallet::Args),
    Network(network::Args),
    #[cfg(unix)]
    Testnet(testnet::Args),
    /// Decode and validate raw bytes
    #[command(subcommand)]
    Util(util::Util),
    Verify(verify::Args),
    VerifyProof(verify_proof::Args),
    /// Measure the performance of this machine
    #[command(subcommand)]
    Bench(bench::Bench),
    Completions(completions::Args),
}

impl Cli {
    fn run(self, matches: &ArgMatches) -> Result<ExitCode> {
        secrets::hide_password()?;
        if !matches!(self.command, Command::Wallet(_) | Command::Mine(_)) {
            secrets::forget_password();
        }
        let done = match self.command {
            Command::Node(args) => {
                let flags = matches.subcommand_matches("node");
                node::run(*args, flags.context("the flags of `node` are parsed")?)
            }
            Command::Mine(args) => mine::run(&args),
            Command::Jobs(args) => jobs::run(args, self.json),
            Command::Status(args) => status::run(&args, self.json),
            Command::Block(args) => block::run(&args, self.json),
            Command::Tx(args) => tx::run(args, self.json),
            Command::Wait(args) => wait::run(&args, self.json),
            Command::Account(args) => account::run(&args, self.json),
            Command::Mempool(args) => mempool::run(&args, self.json),
            Command::Peers(args) => peers::run(args, self.json),
            Command::Events(args) => events::run(&args, self.json),
            Command::Verify(args) => verify::run(args, self.json),
            Command::VerifyProof(args) => verify_proof::run(&args, self.json),
            Command::Wallet(args) => wallet::run(args, self.json),
            Command::Network(args) => network::run(args, self.json),
            #[cfg(unix)]
            Command::Testnet(args) => testnet::run(args, self.json),
            Command::Util(util) => {
                let valid = util::run(util, &mut io::stdout().lock(), io::stdin().lock())?;
                // The reason is on stdout.
                return Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Command::Bench(bench) => bench::run(&bench, self.json),
            Command::Completions(args) => completions::run(&args, &mut Cli::command()),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_tree_is_valid() {
        Cli::command().debug_assert();
    }
}
