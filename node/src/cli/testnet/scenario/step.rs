//! The steps of a scenario. A step is a line such as `link 1 2 --latency 300ms`, parsed as a command
//! line: with the same words as the commands of `chain testnet`, and the same messages for wrong ones.

use super::expect::Assertion;
use crate::cli::testnet::links::{Link, Partition, Skew};
use crate::cli::testnet::load::LoadArgs;
use crate::relay::conditions::parse_duration;
use crate::snapshot::Name;
use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use std::path::PathBuf;
use std::time::Duration;

/// A line of a scenario.
#[derive(Debug, Parser)]
#[command(name = "step", no_binary_name = true, disable_help_flag = true)]
#[command(disable_help_subcommand = true)]
pub struct Line {
    #[command(subcommand)]
    step: Step,
}

/// A step, and when it starts.
#[derive(Debug)]
pub struct Timed {
    /// The line of the file.
    pub line: usize,
    /// The text of the step.
    pub text: String,
    /// The time since the start of the first step before which it does not start.
    pub at: Duration,
    /// The step.
    pub step: Step,
}

/// A step of a scenario.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Step {
    /// Set the conditions of links
    Link(Link),
    /// Disconnect nodes from others
    Partition(Partition),
    /// End the partition and all cuts
    Heal,
    /// Stop the execution of nodes
    Pause(Nodes),
    /// Continue paused nodes
    Resume(Nodes),
    /// Set the clock of a node
    Skew(Skew),
    /// Stop nodes
    Stop(Nodes),
    /// Start nodes
    Start(Nodes),
    /// Kill nodes, as a crash would
    Kill(Nodes),
    /// Stop nodes, and start them with another program
    Upgrade(Upgrade),
    /// Take a snapshot of the testnet
    Snapshot(Snapshot),
    /// Return the testnet to a snapshot
    Revert(Snapshot),
    /// Mine a number of blocks on a node, and wait for them
    Mine(Mine),
    /// Switch the mining of a node on or off
    Power(Power),
    /// Mine selfishly on a node: withhold blocks, and publish them when others would catch up
    Selfish(Selfish),
    /// Invalidate a block on a node, which then follows another branch
    Invalidate(Invalidate),
    /// Submit a transfer
    Pay(Pay),
    /// Submit transfers at a rate
    Load(ScenarioLoad),
    /// Fill the disk of a node that has one of its own, or make room on it
    Disk(Disk),
    /// Do nothing for some time
    Wait(Wait),
    /// Run another program, which must exit with 0
    Exec(Exec),
    /// Require that an assertion holds
    Expect(Expect),
}

/// Nodes, such as `1`, `1 2` or `all`.
#[derive(Clone, Debug, clap::Args)]
pub struct Nodes {
    #[arg(required = true)]
    pub nodes: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Upgrade {
    #[arg(required = true)]
    pub nodes: Vec<String>,
    /// The other program, this one by default.
    #[arg(long)]
    pub binary: Option<PathBuf>,
}

/// The name of a snapshot.
#[derive(Clone, Debug, clap::Args)]
pub struct Snapshot {
    pub name: Name,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Mine {
    pub node: String,
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub blocks: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Power {
    pub node: String,
    pub power: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Selfish {
    pub node: String,
    #[arg(long = "for", value_parser = parse_duration)]
    pub duration: Duration,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Invalidate {
    pub node: String,
    pub height: u32,
}

/// A transfer between two of the ten accounts that own coins from the genesis block on: 0 to 9.
#[derive(Clone, Debug, clap::Args)]
pub struct Pay {
    /// The name by which assertions refer to the transfer.
    pub name: String,
    /// The amount in coins.
    pub coins: u64,
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=9))]
    pub from: u32,
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=9))]
    pub to: u32,
    /// The node to which it is submitted.
    #[arg(long, default_value = "1")]
    pub node: String,
    /// The name of a transfer with the same nonce, which it double-spends.
    #[arg(long)]
    pub conflicts: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ScenarioLoad {
    #[command(flatten)]
    pub load: LoadArgs,
    /// Continue with the next step at once; `expect no_transfer_lost` waits for the load.
    #[arg(long)]
    pub background: bool,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Disk {
    pub node: String,
    pub action: DiskAction,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DiskAction {
    Fill,
    Free,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Wait {
    #[arg(value_parser = parse_duration)]
    pub duration: Duration,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Exec {
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Expect {
    #[command(subcommand)]
    pub assertion: Assertion,
    /// Time within which the assertion must hold; it must hold now without one.
    #[arg(skip)]
    pub within: Duration,
}

impl Line {
    /// Parses a line.
    pub fn parse(text: &str, line: usize) -> Result<Timed> {
        let mut words = split(text)?;
        let mut at = Duration::ZERO;
        if words.first().is_some_and(|word| word == "at") {
            let time = words.get(1).context("`at` needs a time, such as `at 20s kill 3`")?;
            at = parse_duration(time)?;
            words.drain(..2);
        }
        let mut within = Duration::ZERO;
        let is_expect = words.first().is_some_and(|word| word == "expect");
        if let Some([word, time]) = words.last_chunk::<2>()
            && is_expect
            && word == "within"
        {
            within = parse_duration(time)?;
            words.truncate(words.len() - 2);
        }
        let parsed =
            Line::try_parse_from(&words).map_err(|error| anyhow!("{}", message(&error)))?;
        let mut step = parsed.step;
        if let Step::Expect(expect) = &mut step {
            expect.within = within;
        }
        Ok(Timed { line, text: text.to_owned(), at, step })
    }
}

/// The message and the tip of an error, on one line, without the usage of a program.
fn message(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with("Usage:")).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

/// Splits a line into words; double quotes enclose words with spaces.
fn split(text: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut is_word, mut is_quoted) = (String::new(), false, false);
    for character in text.chars() {
        match character {
            '"' => (is_word, is_quoted) = (true, !is_quoted),
            _ if character.is_whitespace() && !is_quoted => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                word.push(character);
                is_word = true;
            }
        }
    }
    if is_quoted {
        bail!("a quote is not closed");
    }
    if is_word {
        words.push(word);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        format!("{:#}", Line::parse(text, 1).unwrap_err())
    }

    #[test]
    fn steps_have_the_words_of_the_commands() {
        for text in [
            "link 1,2 3 --latency 300ms --jitter 50ms --loss 5% --bandwidth 1mbit --one-way",
            "partition 1,2 3,4",
            "heal",
            "skew 2 -30",
            "pay invoice 5 --from 1 --to 2 --node 3",
            "load --rate 20/s --accounts 5 --for 3s --background",
            "expect one_tip within 10s",
            "expect height 1 >= 100",
            "expect confirmed invoice depth 3 within 1m",
            "expect confirmed invoice depth 3 on 1,2",
            "expect one_tip on 1,2",
            "expect reorg depth <= 2",
            "exec sh -c \"exit 0\"",
        ] {
            Line::parse(text, 1).unwrap_or_else(|error| panic!("{text}: {error:#}"));
        }
        let timed = Line::parse("at 20s kill 3", 7).unwrap();
        assert_eq!((timed.at, timed.line), (Duration::from_secs(20), 7));
        let Step::Expect(expect) = Line::parse("expect one_tip within 10s", 1).unwrap().step else {
            panic!("not an assertion");
        };
        assert_eq!(expect.within, Duration::from_secs(10));
    }

    #[test]
    fn wrong_words_are_reported_with_the_nearest_known_one() {
        assert!(error("partitoin 1,2").contains("'partition'"), "{}", error("partitoin 1,2"));
        assert!(error("link 1 2 --latancy 3ms").contains("'--latency'"));
        assert!(error("expect one_tpi").contains("'one_tip'"));
        assert!(error("link 1 2 --latency 300").contains("such as 300ms"));
        assert!(error("at soon kill 3").contains("`soon` is not a duration"));
        assert!(error("exec \"sh").contains("quote"));
        assert!(!error("").is_empty() && !error("link 1").contains("Usage"));
    }

    #[test]
    fn quotes_enclose_words() {
        let words = split(r#"exec sh -c "echo  a" "" b"#).unwrap();
        assert_eq!(words, ["exec", "sh", "-c", "echo  a", "", "b"]);
    }
}
