//! Scenario files: TOML whose steps are lines of text, each a command.

use super::step::{Line, Timed};
use crate::config::toml_file;
use crate::relay::conditions::parse_duration;
use crate::testnet::Options;
use crate::testnet::manifest::MAX_NODES;
use crate::testnet::topology::Topology;
use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::Spanned;

macro_rules! built_in {
    ($($name:literal,)*) => {
        /// The scenarios that this program contains: name and text.
        pub const BUILT_IN: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../../scenarios/", $name, ".toml")))),*];
    };
}

built_in! {
    "payment",
    "invoice-reorg",
    "double-spend",
    "slow-links",
    "eclipse",
    "selfish-mining",
    "hash-power-loss",
    "crash-storm",
    "disk-full",
    "clock-skew",
    "rolling-upgrade",
    "load",
}

/// A scenario.
#[derive(Debug)]
pub struct Scenario {
    /// What it shows, in a sentence.
    pub title: String,
    /// Time limit of the whole run.
    pub limit: Duration,
    /// The testnet.
    pub options: Options,
    /// The programs of nodes that do not run this one, by number.
    pub binaries: BTreeMap<usize, PathBuf>,
    /// The size in MiB of the disks of nodes that have one of their own, by number.
    pub disks: BTreeMap<usize, u32>,
    /// The steps in order.
    pub steps: Vec<Timed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    title: String,
    limit: Spanned<String>,
    #[serde(default)]
    testnet: TestnetTable,
    steps: Vec<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TestnetTable {
    nodes: Option<usize>,
    miners: Option<usize>,
    topology: Option<Topology>,
    network: Option<String>,
    spacing: Option<u32>,
    binaries: BTreeMap<String, PathBuf>,
    disks: BTreeMap<String, u32>,
}

/// The name and text of a scenario: a file, or one of those that this program contains.
pub fn read(named: &str) -> Result<(String, String)> {
    if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == named) {
        return Ok(((*name).to_owned(), (*text).to_owned()));
    }
    let path = Path::new(named);
    let text = fs::read_to_string(path)
        .with_context(|| format!("scenario {named} (`--list` prints those that need no file)"))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, text))
}

/// Prints the scenarios that this program contains.
pub fn print_built_in() -> Result<()> {
    for (name, text) in BUILT_IN {
        writeln!(io::stdout(), "{name:<18}{}", Scenario::parse(text)?.title)?;
    }
    Ok(())
}

impl Scenario {
    /// Parses a scenario; an error names the line.
    pub fn parse(text: &str) -> Result<Scenario> {
        let file: File = toml_file::parse(text)?;
        let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        let limit = parse_duration(file.limit.get_ref())
            .with_context(|| format!("line {}: limit", line(file.limit.span().start)))?;
        let steps = file.steps.iter().map(|step| {
            let number = line(step.span().start);
            Line::parse(step.get_ref(), number).map_err(|error| anyhow!("line {number}: {error:#}"))
        });
        let steps: Vec<Timed> = steps.collect::<Result<_>>()?;
        ensure!(!steps.is_empty(), "it has no steps");
        let table = file.testnet;
        let nodes = table.nodes.unwrap_or(3);
        ensure!((1..=MAX_NODES).contains(&nodes), "nodes: {nodes} is not 1 to {MAX_NODES}");
        Ok(Scenario {
            title: file.title,
            limit,
            options: Options {
                nodes: Some(nodes),
                topology: table.topology,
                miners: table.miners,
                network: table.network,
                spacing: table.spacing,
                generation: None,
                seed: None,
            },
            binaries: by_node("binaries", table.binaries, nodes)?,
            disks: by_node("disks", table.disks, nodes)?,
            steps,
        })
    }
}

/// Keys of TOML are texts.
fn by_node<T>(key: &str, table: BTreeMap<String, T>, nodes: usize) -> Result<BTreeMap<usize, T>> {
    let number = |(name, value): (String, T)| {
        let number: Option<usize> = name.parse().ok();
        let number = number.filter(|number| (1..=nodes).contains(number));
        let number = number.with_context(|| format!("{key}: no node `{name}`: it has {nodes}"))?;
        Ok((number, value))
    };
    table.into_iter().map(number).collect()
}
