//! Headers, compact bits and difficulties.

use super::input::{lines, unhex};
use super::report::{InputError, Report, ReportResult};
use crate::difficulty;
use anyhow::{Context, Result, bail};
use chain::difficulty::asert;
use chain::rules::RuleError;
use chain::{Bits, Header, Target, Work};
use serde::Serialize;
use std::collections::HashSet;
use std::io::{BufRead, Write};

/// The fields of a header and derived values.
#[derive(Debug, Serialize)]
pub(super) struct HeaderInfo {
    hash: String,
    version: i32,
    previous: String,
    merkle_root: String,
    time: u32,
    bits: String,
    nonce: u32,
    /// `None` if the bits are invalid.
    target: Option<String>,
    difficulty: Option<f64>,
    proof_of_work: bool,
}

impl HeaderInfo {
    pub(super) fn of(header: &Header) -> HeaderInfo {
        let target = header.bits.target().ok();
        HeaderInfo {
            hash: header.hash().to_string(),
            version: header.version,
            previous: header.previous.to_string(),
            merkle_root: header.merkle_root.to_string(),
            time: header.time.get(),
            bits: header.bits.to_string(),
            nonce: header.nonce,
            target: target.map(|target| target.to_string()),
            difficulty: target.map(difficulty::of),
            proof_of_work: proof_of_work(header).is_ok(),
        }
    }
}

/// The target of a header with valid proof of work. Checks neither limit nor version, which depend on
/// the network.
fn proof_of_work(header: &Header) -> Result<Target, RuleError> {
    let (bits, hash) = (header.bits, header.hash());
    let target = bits.target().map_err(|reason| RuleError::BadBits { bits, reason })?;
    if target.is_met_by(hash.as_bytes()) {
        Ok(target)
    } else {
        Err(RuleError::HighHash { hash, target })
    }
}

fn decode(hex: &str) -> Result<Header, InputError> {
    Ok(Header::decode(&unhex(hex)?)?)
}

pub(super) fn header(hex: &str) -> ReportResult<HeaderInfo> {
    let header = decode(hex)?;
    Ok(Report::checked(HeaderInfo::of(&header), proof_of_work(&header).map(|_| ())))
}

#[derive(Debug, Serialize)]
pub(super) struct BitsInfo {
    bits: String,
    target: String,
    difficulty: f64,
    work: String,
}

pub(super) fn bits(hex: &str) -> ReportResult<BitsInfo> {
    let bits: Bits = hex.parse().map_err(|error| InputError::encoding(format!("{error}")))?;
    let target = bits.target().map_err(|error| InputError::new("bad-bits", error.to_string()))?;
    Ok(Report::valid(BitsInfo {
        bits: bits.to_string(),
        target: target.to_string(),
        difficulty: difficulty::of(target),
        work: target.work().to_string(),
    }))
}

/// A chain of headers; forks are only counted.
#[derive(Debug, Serialize)]
pub(super) struct ChainInfo {
    count: usize,
    forks: usize,
    first: String,
    tip: String,
    total_work: String,
}

/// Marks a header that does not extend the one above it.
const FORK: &str = "fork:";

pub(super) fn verify(input: impl BufRead) -> ReportResult<ChainInfo> {
    let (mut chain, mut forks) = (Vec::new(), Vec::new());
    for line in lines(input) {
        let (number, text) = line?;
        let (kind, hex) = match text.strip_prefix(FORK) {
            Some(hex) => (&mut forks, hex.trim_start()),
            None => (&mut chain, text.as_str()),
        };
        let header = decode(hex).map_err(|error| error.at(number))?;
        kind.push((number, header));
    }
    Ok(Report::valid(link(&chain, &forks)?))
}

/// Verifies the chain, then the forks, which may extend any block of it or its first parent.
fn link(chain: &[(usize, Header)], forks: &[(usize, Header)]) -> Result<ChainInfo, InputError> {
    let Some((_, first)) = chain.first() else {
        return Err(InputError::encoding("there are no headers"));
    };
    let mut known = HashSet::from([first.previous]);
    let (mut tip, mut work) = (first.previous, Work::ZERO);
    for (line, header) in chain {
        let target = check(header, header.previous == tip).map_err(|error| error.at(*line))?;
        work = work.saturating_add(target.work());
        tip = header.hash();
        known.insert(tip);
    }
    for (line, header) in forks {
        let follows = known.contains(&header.previous);
        check(header, follows).map_err(|error| error.at(*line))?;
        known.insert(header.hash());
    }
    Ok(ChainInfo {
        count: chain.len(),
        forks: forks.len(),
        first: first.hash().to_string(),
        tip: tip.to_string(),
        total_work: work.to_string(),
    })
}

fn check(header: &Header, follows: bool) -> Result<Target, InputError> {
    if !follows {
        let parent = header.previous;
        let error = format!("the header does not link: its parent is {parent}");
        return Err(InputError::new("unknown-parent", error));
    }
    Ok(proof_of_work(header)?)
}

/// Largest distance of heights and times from the anchor at which `asert` is exact.
const FARTHEST: u128 = 1 << 64;

/// The flags of `chain util asert`. Heights and times may be any integers.
#[derive(Debug, clap::Args)]
pub struct Asert {
    /// Height of the anchor block
    #[arg(long, value_name = "H", allow_negative_numbers = true)]
    anchor_height: i128,
    /// Time of the anchor's parent in seconds
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    anchor_parent_time: i128,
    /// Compact bits of the anchor
    #[arg(long, value_name = "B", value_parser = target)]
    anchor_bits: Target,
    /// Seconds between blocks
    #[arg(long, value_name = "S")]
    spacing: u32,
    /// Seconds of delay that double the target
    #[arg(long, value_name = "L", value_parser = clap::value_parser!(u32).range(1..))]
    half_life: u32,
    /// Compact bits of the easiest target
    #[arg(long, value_name = "B", value_parser = target)]
    limit_bits: Target,
}

fn target(text: &str) -> Result<Target, String> {
    let bits: Bits = text.parse().map_err(|error| format!("{error}"))?;
    bits.target().map_err(|error| format!("not a target: {error}"))
}

impl Asert {
    /// Prints the bits for each line of the input.
    pub(super) fn run(&self, out: &mut impl Write, input: impl BufRead) -> Result<()> {
        for (number, line) in (1..).zip(input.lines()) {
            let text = line.with_context(|| format!("line {number}"))?;
            if !text.trim().is_empty() {
                let next = self.next(&text).with_context(|| format!("line {number}"))?;
                writeln!(out, "{next}")?;
            }
        }
        Ok(())
    }

    /// The bits of the block after one at a height and time.
    fn next(&self, line: &str) -> Result<Bits> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [height, time] = words[..] else { bail!("a line is `height time`") };
        let delta = |text: &str, what, from: i128| {
            let number: i128 =
                text.parse().with_context(|| format!("the {what} is not an integer"))?;
            let delta = number.checked_sub(from).filter(|delta| delta.unsigned_abs() <= FARTHEST);
            delta.with_context(|| format!("the {what} is more than 2^64 away from the anchor's"))
        };
        let time_delta = delta(time, "time", self.anchor_parent_time)?;
        let height_delta = delta(height, "height", self.anchor_height)?;
        let (spacing, half_life) = (self.spacing, self.half_life);
        let next =
            asert(self.anchor_bits, time_delta, height_delta, spacing, half_life, self.limit_bits);
        Ok(next.bits())
    }
}
