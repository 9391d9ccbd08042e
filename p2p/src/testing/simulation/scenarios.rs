//! Simulations of single scenarios.

use super::link::Faults;
use super::node::Character;
use super::world::World;
use crate::testing::mock_chain::transfer;
use crate::view::ChainView;
use chain::Params;
use chain::block::Height;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// A number of nodes of `dev`, linked in some way and level with each other.
fn network(seed: u64, nodes: usize, link: impl FnOnce(&mut World)) -> World {
    let mut world = World::new(seed, nodes, &Params::dev());
    link(&mut world);
    world.mine(0);
    world.run_for(15 * SECOND);
    assert!(world.agrees(), "{}", world.summary());
    world
}

//  0─1─2─3 ┆ 4─5─6─7
//  200     ┆ 201
// N33
#[test]
fn two_halves_of_200_and_201_blocks_heal_within_ten_seconds_and_lose_no_transfer() {
    let mut world = network(33, 8, World::link_at_random);
    for (one, other) in [(0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7), (3, 4)] {
        world.link(one, other);
    }
    world.run_for(2 * SECOND);
    world.divide_at(4);
    for block in 0..201 {
        let (low, high) = (world.pick(4), 4 + world.pick(4));
        world.pay(low, 1);
        world.pay(high, 1);
        if block < 200 {
            world.mine(low);
        }
        world.mine(high);
        world.run_for(SECOND);
    }
    world.run_for(10 * SECOND);
    let tips: Vec<_> = world.nodes.iter().map(|node| node.chain.tip()).collect();
    assert!(tips[..4].iter().all(|tip| tip.height == Height::new(201)), "{}", world.summary());
    assert!(tips[4..].iter().all(|tip| *tip == tips[4]), "{}", world.summary());

    world.end_faults();
    world.run_for(10 * SECOND);
    assert!(world.agrees(), "{}", world.summary());
    assert_eq!(world.nodes[0].chain.tip(), tips[4], "the chain with more work");
    assert_eq!(world.lost(), 0, "{}", world.summary());
    world.run_for(60 * SECOND);
    world.mine(5);
    world.run_for(10 * SECOND);
    assert!(world.all_mined(), "what one half had mined is mined again: {}", world.summary());
    world.assert_no_reports();
}

// N34
#[test]
fn converges_with_two_seconds_latency_and_thirty_percent_loss() {
    let mut world = network(34, 6, World::link_at_random);
    world.faults = Faults { latency: 1_900..=2_100, loss: 30, repeats: 5, ..Faults::NONE };
    for _ in 0..20 {
        let node = world.pick(6);
        world.pay(node, 3);
        world.mine(node);
        world.run_for(20 * SECOND);
    }
    let end = world.now + 600 * SECOND;
    while !world.agrees() {
        assert!(world.now < end, "{}", world.summary());
        world.mine(0);
        world.run_for(60 * SECOND);
    }
    assert!(world.nodes[0].chain.tip().height >= Height::new(15), "{}", world.summary());
    assert_eq!(world.lost(), 0);
    world.assert_no_reports();
}

// N16, N18
#[test]
fn withholding_node_with_false_claim_delays_others_only_a_little() {
    let mut world = network(16, 6, World::link_all);
    world.nodes[5].character = Character::Withholding;
    world.run_for(SECOND);
    for _ in 0..20 {
        world.pay(5, 45);
        world.mine(5);
    }
    for node in 0..5 {
        world.run_for(30 * SECOND);
        world.pay(node, 45);
        let mined = world.mine(node);
        world.run_for(2 * SECOND);
        assert!(world.agrees(), "{}", world.summary());
        assert_eq!(world.nodes[0].chain.tip().hash, mined);
    }
    world.assert_no_reports();
}

// N16
#[test]
fn new_node_syncs_despite_false_claim() {
    let mut world = network(17, 3, World::link_in_a_line);
    for _ in 0..300 {
        world.mine(0);
    }
    world.run_for(30 * SECOND);
    assert!(world.agrees(), "{}", world.summary());
    world.nodes[1].character = Character::Withholding;
    world.restart(2, SECOND);
    world.nodes[2].chain = crate::testing::mock_chain::MockChain::dev();
    world.link(2, 0);
    world.run_for(60 * SECOND);
    assert_eq!(world.nodes[2].chain.tip(), world.nodes[0].chain.tip(), "{}", world.summary());
    world.assert_no_reports();
}

// Relay delivers only the last block of a burst, and a status is due only five seconds after the last.
#[test]
fn burst_of_blocks_passes_line_of_five_in_half_a_second() {
    for seed in 50..60 {
        let mut world = network(seed, 5, World::link_in_a_line);
        world.faults = Faults { latency: 1..=5, ..Faults::NONE };
        world.import_time = 0..1;
        world.mine(0);
        world.run_for(SECOND);
        world.mine_burst(0, 50);
        world.run_for(SECOND / 2);
        assert!(world.agrees(), "{}", world.summary());
        world.assert_no_reports();
    }
}

/// Mines a full block at the end of a line of eight. Returns the bytes and seconds it cost.
fn full_block_along_a_line(is_warm: bool) -> (usize, u64) {
    let mut world = network(10, 8, World::link_in_a_line);
    world.run_for(60 * SECOND);
    let transfers: Vec<_> = (0..13_790).map(transfer).collect();
    let warm = if is_warm { 8 } else { 1 };
    for node in &mut world.nodes[..warm] {
        node.chain.pool = transfers.iter().collect();
    }
    let before = world.block_bytes;
    world.mine_up_to(0, usize::MAX);
    let mut seconds = 0;
    while !world.agrees() {
        assert!(seconds < 20, "{}", world.summary());
        world.run_for(SECOND);
        seconds += 1;
    }
    world.assert_no_reports();
    (world.block_bytes - before, seconds)
}

// N10
#[test]
fn full_block_costs_a_twentieth_of_its_bytes_with_warm_mempools() {
    let (bytes, seconds) = full_block_along_a_line(true);
    assert!(bytes / 7 < 2_000_000 / 20, "{bytes}");
    assert!(seconds <= 1, "{seconds}");
}

// N10
#[test]
fn full_block_passes_line_of_empty_mempools() {
    let (bytes, seconds) = full_block_along_a_line(false);
    assert!(bytes / 7 < 2_200_000, "no body is sent twice: {bytes}");
    assert!(seconds <= 10, "{seconds}");
}

// N18
#[test]
fn does_not_report_forwarders_of_invalid_block() {
    let mut world = network(18, 4, World::link_in_a_line);
    let hash = world.mine_invalid(0);
    world.run_for(10 * SECOND);
    assert!(world.nodes[1..].iter().all(|node| node.chain.is_known_invalid(&hash)));
    let blamed = world.reports.iter().find(|(_, of, _)| *of != 0);
    assert_eq!(blamed, None);
    for node in 1..4 {
        world.mine(node);
        world.run_for(5 * SECOND);
    }
    let tip = world.nodes[1].chain.tip();
    assert!(world.nodes[2..].iter().all(|node| node.chain.tip() == tip), "{}", world.summary());
}

// 14 senders at full speed, through nodes that lose one announcement in twenty.
#[test]
fn bursts_of_consecutive_transfers_reach_all_nodes_despite_loss() {
    let mut world = network(44, 4, World::link_in_a_line);
    world.faults = Faults { gossip_loss: 5, ..Faults::NONE };
    for sender in 0..14 {
        world.pay_in_a_row(sender % 4, 985);
    }
    let mut seconds = 0;
    while !world.all_spread() {
        assert!(seconds < 60, "{}", world.summary());
        world.run_for(SECOND);
        seconds += 1;
    }
    world.assert_no_reports();
}
