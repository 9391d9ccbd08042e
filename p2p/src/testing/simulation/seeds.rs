//! Runs of many seeds with random faults: once these end, all nodes agree and no transfer is lost.

use super::world::World;
use crate::testing::mock_chain::params;
use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::thread;
use std::time::Duration;

/// Number of seeds of one test run, unless `CHAIN_SIMULATION_SEEDS` sets another.
const SEEDS: u64 = 500;
/// The environment variable with a single seed to run instead, to reproduce a failure.
const VARIABLE: &str = "CHAIN_SIMULATION_SEED";
/// The duration of faults.
const TROUBLE: Duration = Duration::from_secs(60);
/// The time to agree afterwards, with a block every ten seconds.
const CALM: Duration = Duration::from_secs(120);
/// The time until every node has all transfers after that: each node exchanges mempools with a
/// peer every five seconds, and a whole mempool every ten.
const SPREAD: Duration = Duration::from_secs(180);

/// Runs a seed and asserts that all nodes agree.
fn run(seed: u64) -> World {
    let nodes = 5 + usize::try_from(seed % 8).unwrap();
    let mut world = World::new(seed, nodes, &params(seed.is_multiple_of(2)));
    world.link_at_random();
    while world.now < TROUBLE {
        world.disturb();
        let pause = u64::try_from(world.pick(1_500)).unwrap();
        world.run_for(Duration::from_millis(pause));
    }
    world.end_faults();
    world.run_until_agreed(CALM);
    let end = world.now + SPREAD;
    while !world.all_spread() {
        assert!(world.now < end, "transfers do not spread: {}", world.summary());
        world.run_for(Duration::from_secs(10));
    }
    world.assert_no_reports();
    world
}

/// Runs a seed and reports its number if it fails.
fn check(seed: u64) -> Result<(), u64> {
    catch_unwind(|| run(seed)).map(drop).map_err(|_| seed)
}

// N18, N33, N34
#[test]
fn nodes_agree_and_lose_no_transfer_despite_faults() {
    if let Ok(seed) = std::env::var(VARIABLE) {
        println!("trace {:016x}", run(seed.parse().unwrap()).trace());
        return;
    }
    let seeds =
        std::env::var("CHAIN_SIMULATION_SEEDS").map_or(SEEDS, |number| number.parse().unwrap());
    let threads = thread::available_parallelism().map_or(2, |threads| threads.get().min(4) as u64);
    let failures: Vec<u64> = thread::scope(|scope| {
        let share = |first| (first..seeds).step_by(usize::try_from(threads).unwrap());
        let run = |first| scope.spawn(move || share(first).find_map(|seed| check(seed).err()));
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "seeds {failures:?} fail; {VARIABLE}=N repeats one");
}

#[test]
fn same_seed_yields_same_run() {
    let traces = || (1_000..1_004).map(|seed| run(seed).trace());
    let first: Vec<u64> = traces().collect();
    assert!(traces().eq(first.iter().copied()));
    assert!(first.is_sorted_by(|one, other| one != other), "other seeds, other runs");
}

#[test]
fn runs_cover_all_kinds_of_messages() {
    let mut met = BTreeSet::new();
    for seed in 0..8 {
        met.extend(run(seed).kinds);
    }
    let asked = ["headers/1", "blocks/1", "blocktxn/1", "mempool/1"];
    assert!(asked.iter().chain(&["compact block"]).all(|kind| met.contains(kind)), "{met:?}");
}
