//! The network that a testnet gets if nobody names one: real proof of work, blocks every few
//! seconds from the first one on, and a genesis of its own, so no two testnets mix.

use crate::mining::available_threads;
use anyhow::Result;
use chain::{Bits, Params, Target};
use miner::{Kernel, Work};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds between blocks unless told otherwise.
pub const SPACING: u32 = 2;
/// The easiest target: 65,536 hashes, some milliseconds of work.
const LIMIT: Bits = Bits::new(0x1f00_ffff);
/// Hashes that the easiest target takes.
const LIMIT_HASHES: f64 = 65_536.0;
/// Keeps the target above zero, whatever is measured: 2^136 hashes.
const MAX_HALVINGS: usize = 120;
/// How long the machine's hash rate is measured.
const MEASURING: Duration = Duration::from_millis(100);
/// Nonces that are tried between two looks at the clock.
const BATCH: u32 = 1 << 13;

/// The text of a network file whose first target suits so many miners on this machine.
pub fn for_this_machine(spacing_seconds: u32, miners: usize) -> Result<String> {
    // More miners than processors find no more blocks.
    let miners = miners.clamp(1, available_threads().get());
    let hashes = hashes_per_second() * miners as f64 * f64::from(spacing_seconds);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let genesis_time = u32::try_from(now).unwrap_or(u32::MAX);
    let mut salt = [0; 8];
    getrandom::fill(&mut salt)?;
    Ok(file(spacing_seconds, first_target(hashes), genesis_time, u64::from_le_bytes(salt)))
}

fn file(spacing_seconds: u32, genesis_bits: Bits, genesis_time: u32, salt: u64) -> String {
    let half_life_seconds = spacing_seconds.saturating_mul(20);
    format!(
        "# Made by `chain testnet up` for this testnet alone. A change here makes another network.\n\
         name = \"local\"\n\
         hrp = \"lch\"\n\
         spacing_seconds = {spacing_seconds}\n\
         half_life_seconds = {half_life_seconds}\n\
         limit_bits = \"{LIMIT}\"\n\
         genesis_bits = \"{genesis_bits}\" # about a block every {spacing_seconds} s on this machine\n\
         genesis_time = {genesis_time}\n\
         initial_subsidy = 5_000_000_000\n\
         halving_interval = 210_000\n\
         maturity = 5\n\
         max_future_seconds = 60\n\
         max_block_bytes = 2_000_000\n\
         message = \"chain local {salt:016x}\"\n"
    )
}

/// The target that takes about so many hashes, to the next power of two below.
fn first_target(hashes: f64) -> Bits {
    let limit = LIMIT.target().expect("the bits above are a target");
    let (mut halvings, mut expected) = (0_usize, LIMIT_HASHES);
    while expected * 2.0 <= hashes && halvings < MAX_HALVINGS {
        expected *= 2.0;
        halvings += 1;
    }
    Target::new(limit.value() >> halvings).map_or(LIMIT, Target::bits)
}

/// What one thread does.
fn hashes_per_second() -> f64 {
    let params = Params::main();
    let prepared = Work::new(0, params.genesis().header, params.limit()).prepare(0);
    let (kernel, begun) = (Kernel::fastest(), Instant::now());
    let mut hashes = 0_u32;
    while begun.elapsed() < MEASURING && hashes < u32::MAX - BATCH {
        kernel.scan(&prepared, hashes..=hashes + BATCH - 1, &mut Vec::new());
        hashes += BATCH;
    }
    f64::from(hashes) / begun.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::network;
    use crate::difficulty;

    #[test]
    fn the_network_is_one_that_nodes_take() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network.toml");
        for spacing in [1, 2, 3_600] {
            std::fs::write(&path, for_this_machine(spacing, 2).unwrap()).unwrap();
            let params = network::load(path.to_str().unwrap()).unwrap();
            assert_eq!((params.name(), params.spec().spacing_seconds), ("local", spacing));
            assert!(!params.spec().fixed_difficulty);
            assert!(!Params::built_in().iter().any(|other| other.hrp() == params.hrp()));
        }
    }

    #[test]
    fn the_first_block_takes_about_the_hashes_asked_for() {
        for hashes in [0.0, 65_536.0, 1e6, 1e9, 1e300] {
            let target = first_target(hashes).target().unwrap();
            let expected = difficulty::of(target) * 2_f64.powi(32);
            let asked = hashes.clamp(65_536.0, 1e60);
            assert!(hashes > 1e60 || (0.49..1.01).contains(&(expected / asked)), "{hashes}");
        }
    }

    #[test]
    fn two_testnets_are_two_networks() {
        assert_ne!(for_this_machine(2, 1).unwrap(), for_this_machine(2, 1).unwrap());
    }
}
