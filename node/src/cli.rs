//! The command line: one subcommand a file. A command reads its arguments, does one thing and
//! prints it; `main` turns its error into the one line on stderr.

mod account;
mod bench;
mod block;
mod catching_up;
mod completions;
mod events;
mod jobs;
mod line;
mod mempool;
mod mine;
mod node;
mod password;
mod peers;
mod show;
mod status;
#[cfg(unix)]
mod testnet;
mod tx;
mod util;
mod verify;
mod verify_proof;
mod wallet;

use anyhow::Result;
use std::io;
use std::process::ExitCode;

/// A proof-of-work blockchain: node, miner, wallet and tools in one program
#[derive(Debug, clap::Parser)]
#[command(name = "chain", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// Print data as JSON instead of text for people
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Node(node::Args),
    Mine(mine::Args),
    Jobs(jobs::Args),
    Status(status::Args),
    Block(block::Args),
    Tx(tx::Args),
    Account(account::Args),
    Mempool(mempool::Args),
    Peers(peers::Args),
    Events(events::Args),
    Wallet(wallet::Args),
    #[cfg(unix)]
    Testnet(testnet::Args),
    /// Decode and check raw bytes
    #[command(subcommand)]
    Util(util::Util),
    Verify(verify::Args),
    VerifyProof(verify_proof::Args),
    /// Measure what this machine can do
    #[command(subcommand)]
    Bench(bench::Bench),
    Completions(completions::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Result<ExitCode> {
        let done = match self.command {
            Command::Node(args) => node::run(args),
            Command::Mine(args) => mine::run(&args),
            Command::Jobs(args) => jobs::run(args, self.json),
            Command::Status(args) => status::run(&args, self.json),
            Command::Block(args) => block::run(&args, self.json),
            Command::Tx(args) => tx::run(args, self.json),
            Command::Account(args) => account::run(&args, self.json),
            Command::Mempool(args) => mempool::run(&args, self.json),
            Command::Peers(args) => peers::run(args, self.json),
            Command::Events(args) => events::run(&args, self.json),
            Command::Verify(args) => verify::run(args, self.json),
            Command::VerifyProof(args) => verify_proof::run(&args, self.json),
            Command::Wallet(args) => wallet::run(args, self.json),
            #[cfg(unix)]
            Command::Testnet(args) => testnet::run(args, self.json),
            Command::Util(util) => {
                let valid = util::run(util, &mut io::stdout().lock(), io::stdin().lock())?;
                // What is not valid has been said already, on stdout.
                return Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Command::Bench(bench) => bench::run(&bench, self.json),
            Command::Completions(args) => completions::run(&args),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_tree_of_commands_is_sound() {
        Cli::command().debug_assert();
    }
}
