//! The command line: one subcommand a file. A command reads its arguments, does one thing and
//! prints it; `main` turns its error into the one line on stderr.

mod completions;
mod mine;
mod node;
mod password;
mod util;
mod verify;
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
    Wallet(wallet::Args),
    /// Decode and check raw bytes
    #[command(subcommand)]
    Util(util::Util),
    Verify(verify::Args),
    Completions(completions::Args),
}

impl Cli {
    /// Does what was asked for.
    pub fn run(self) -> Result<ExitCode> {
        let done = match self.command {
            Command::Node(args) => node::run(args),
            Command::Mine(args) => mine::run(args),
            Command::Verify(args) => verify::run(args, self.json),
            Command::Wallet(args) => wallet::run(args, self.json),
            Command::Util(util) => {
                let valid = util::run(util, &mut io::stdout().lock(), io::stdin().lock())?;
                // What is not valid has been said already, on stdout.
                return Ok(if valid { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
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
