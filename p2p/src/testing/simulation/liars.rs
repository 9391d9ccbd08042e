//! Runs of many seeds in which a new node, and a network that mines, have more liars than honest peers.

use super::link::Faults;
use super::node::Character;
use super::world::World;
use crate::engine::SyncState;
use crate::testing::mock_chain::{MockChain, params, public_params};
use crate::view::ChainView;
use std::panic::catch_unwind;
use std::time::Duration;

/// Seeds of a run with few.
const FEW: u64 = 40;
/// Seeds of a run with all.
const ALL: u64 = 500;
/// The honest nodes, of which the last one is new.
const HONEST: usize = 5;
/// The time in which the new node has to reach the tip, including the ten seconds for which a node of a
/// public network may wait for peers.
const SYNC: Duration = Duration::from_secs(40);
/// The time in which it has to count as synced.
const LEVEL: Duration = Duration::from_secs(60);

/// Runs a seed: liars are connected with everyone, most of them dialed by the new node.
fn run(seed: u64) {
    let params = match seed % 3 {
        0 => public_params(),
        parity => params(parity == 1),
    };
    let liars = 4 + usize::try_from(seed % 5).unwrap();
    let mut world = World::new(seed, HONEST + liars, &params);
    let mut chain = MockChain::new(params);
    chain.grow(300 + world.pick(200), seed);
    for node in 0..HONEST - 1 {
        world.nodes[node].chain = chain.clone();
        world.link(node, (node + 1) % (HONEST - 1));
    }
    for liar in HONEST..HONEST + liars {
        let characters = [Character::Evasive, Character::Bodiless, Character::Withholding];
        world.nodes[liar].character = characters[world.pick(characters.len())];
        world.nodes[liar].chain = chain.clone();
        for node in 0..HONEST {
            let (one, other) = if world.pick(4) == 0 { (liar, node) } else { (node, liar) };
            world.link(one, other);
        }
    }
    let new = HONEST - 1;
    let (first, second) = (world.pick(new), world.pick(new));
    world.link(new, first);
    world.link(new, second);
    world.faults = Faults { latency: 5..=[60, 200, 500][world.pick(3)], ..Faults::NONE };
    let start = world.now;
    while !world.agrees() {
        assert!(world.now - start < SYNC, "{}", world.summary());
        world.run_for(Duration::from_millis(500));
    }
    let is_synced = |world: &World| {
        let node = &world.nodes[new];
        node.engine.progress(&node.chain).state == SyncState::Synced
    };
    while !is_synced(&world) {
        assert!(world.now - start < LEVEL, "{}", world.summary());
        world.run_for(Duration::from_millis(500));
    }
    // Liars delay the blocks of a synced network by no more than a status does.
    for _ in 0..4 {
        let miner = world.pick(HONEST);
        world.mine(miner);
        world.run_for(Duration::from_secs(8));
        assert!(world.agrees(), "{}", world.summary());
    }
    assert!(world.nodes[new].chain.tip().height > chain.tip().height);
    world.assert_no_reports();
}

fn assert_all_pass(seeds: u64) {
    let failed = (0..seeds).find(|seed| catch_unwind(|| run(*seed)).is_err());
    assert_eq!(failed, None, "this seed fails");
}

// N16
#[test]
fn new_node_syncs_among_liars() {
    assert_all_pass(FEW);
}

// N16
#[test]
#[ignore = "takes minutes"]
fn new_node_syncs_among_liars_with_every_seed() {
    assert_all_pass(ALL);
}
