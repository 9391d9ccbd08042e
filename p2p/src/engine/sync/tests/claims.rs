//! Peers that claim more than they show, withhold what they have shown, and reconnect under other ids.

use super::world::{
    Answer, World, chain_of, fork_of, limits, millis, much_work, peer, seconds, status,
};
use crate::engine::{Input, SyncState};
use crate::message::{Request, Response, Status};
use crate::testing::mock_chain::{MockChain, public_params};
use crate::view::ChainView;
use chain::block::{self, Height};
use std::time::Duration;

/// A status with an invented tip.
fn invented(chain: &MockChain, number: u8) -> Status {
    let tip = block::Hash::from_bytes([number; 32]);
    Status { tip, height: Height::new(5_000_000), chain_work: much_work(), ..status(chain) }
}

/// Serves headers but no bodies.
fn without_bodies(request: &Request, _: &MockChain) -> Answer {
    match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    }
}

/// A chain of a public network with a number of blocks.
fn public_chain(blocks: usize) -> MockChain {
    let mut chain = MockChain::new(public_params());
    chain.grow(blocks, 1);
    chain
}

/// Advances time until a condition holds, while a peer claims another tip four times a second.
fn until_despite_new_claims(
    world: &mut World,
    liar: u8,
    within: Duration,
    done: impl Fn(&World) -> bool,
) {
    let end = world.now + within;
    for number in 0.. {
        if done(world) {
            return;
        }
        assert!(world.now < end, "at {}", world.chain.tip().height);
        if let Some(remote) = world.remotes.get(&peer(liar)) {
            let status = invented(&remote.chain, number);
            world.at(Duration::ZERO, Input::PeerStatus { peer: peer(liar), status });
        }
        world.pass(millis(250));
    }
}

// N16
#[test]
fn peer_that_changes_its_claim_during_requests_delays_no_sync() {
    let chain = public_chain(300);
    let mut world = World::with(public_chain(0), limits());
    world
        .join_claiming(peer(1), &chain, invented(&chain, 0xff), |request, _| match request {
            Request::Headers { .. } => Answer::This(Ok(Response::Headers(Vec::new()))),
            _ => Answer::Never,
        })
        .latency = millis(2_500);
    world.join(peer(2), &chain);
    world.join(peer(3), &chain);
    let has_all = |world: &World| world.chain.tip() == chain.tip();
    until_despite_new_claims(&mut world, 1, seconds(5), has_all);
    until_despite_new_claims(&mut world, 1, seconds(12), |world| world.sync.is_synced());
    until_despite_new_claims(&mut world, 1, seconds(30), |world| !world.disconnected.is_empty());
    assert_eq!(world.disconnected, [(peer(1), "headers do not lead to the claimed tip")]);
}

// N16
#[test]
fn silent_peers_with_great_claims_do_not_occupy_the_header_sessions() {
    let chain = public_chain(300);
    let mut world = World::with(public_chain(0), limits());
    for number in 1..=16 {
        let claim = invented(&chain, number);
        world.join_claiming(peer(number), &chain, claim, |_, _| Answer::Never);
    }
    world.join(peer(20), &chain);
    world.reach(&chain, seconds(8));
}

// N16
#[test]
fn requests_no_bodies_from_peers_with_unshown_claims() {
    let chain = chain_of(2_000, 1);
    let mut world = World::new();
    for number in 1..=4 {
        let claim = invented(&chain, number);
        world.join_claiming(peer(number), &chain, claim, |request, _| match request {
            Request::Headers { .. } => Answer::This(Ok(Response::Headers(Vec::new()))),
            _ => panic!("it has shown no headers"),
        });
    }
    world.join(peer(9), &chain);
    world.reach(&chain, seconds(20));
}

// N16
#[test]
fn peers_that_withhold_bodies_delay_sync_only_a_little() {
    let chain = chain_of(4_000, 1);
    let time = |liars: u8| {
        let mut world = World::new();
        for number in 0..liars {
            world.join_in_manner(peer(100 + number), &chain, without_bodies);
        }
        for number in 0..4 {
            world.join(peer(number), &chain);
        }
        world.reach(&chain, seconds(60));
        world.now
    };
    let (undisturbed, disturbed) = (time(0), time(16));
    assert!(disturbed < undisturbed + seconds(3), "{disturbed:?} instead of {undisturbed:?}");
}

#[test]
fn unshown_claim_counts_for_ten_seconds() {
    let chain = chain_of(30, 1);
    let mut world = World::new();
    world.join_claiming(peer(1), &chain, invented(&chain, 1), |_, _| Answer::Never);
    world.pass(seconds(9));
    assert_eq!(world.progress.last().unwrap().1.state, SyncState::Headers);
    assert!(world.until(seconds(2), |world| world.sync.is_synced()));
}

#[test]
fn unshown_claims_of_reconnecting_peers_count_for_thirty_seconds_in_all() {
    let chain = chain_of(30, 1);
    for outbound in [true, false] {
        let mut world = World::new();
        for number in 0..6 {
            let claim = invented(&chain, number);
            let input = Input::PeerConnected { peer: peer(number), outbound, status: claim };
            world.at(Duration::ZERO, input);
            world.pass(seconds(7));
            world.at(Duration::ZERO, Input::PeerDisconnected { peer: peer(number) });
            let number = number + 100;
            let claim = invented(&chain, number);
            let input = Input::PeerConnected { peer: peer(number), outbound, status: claim };
            world.at(Duration::ZERO, input);
            assert!(world.sync.is_synced() == (world.now > seconds(30)), "{:?}", world.now);
        }
    }
}

#[test]
fn node_at_genesis_is_not_synced_while_a_peer_shows_more() {
    let chain = chain_of(342, 1);
    let mut world = World::new();
    world.handle(Input::Tick);
    assert!(world.sync.is_synced(), "it is alone");
    world.join(peer(1), &chain);
    let is_synced = |world: &World| world.progress.last().unwrap().1.state == SyncState::Synced;
    assert!(world.until(millis(1), |world| !is_synced(world)));
    let is_too_early = |world: &World| is_synced(world) && world.chain.tip() != chain.tip();
    assert!(!world.until(seconds(10), is_too_early));
    assert!(is_synced(&world));
}

// N16
#[test]
fn withheld_branch_stops_a_synced_node_for_three_spacings_and_only_once() {
    let chain = chain_of(30, 1);
    let withheld = fork_of(&chain, 30, 400, 2);
    let mut world = World::with(chain.clone(), limits());
    world.join(peer(1), &chain);
    assert!(world.until(seconds(1), |world| world.sync.is_synced()));
    world.join_in_manner(peer(2), &withheld, without_bodies);
    world.pass(millis(2_500));
    let state = |world: &World| world.sync.progress(&world.chain).state;
    assert_eq!(state(&world), SyncState::Blocks, "the headers are valid");
    world.pass(seconds(1));
    assert_eq!(state(&world), SyncState::Synced);
    world.leave(peer(2));
    for number in 3..10 {
        let mut longer = withheld.clone();
        longer.grow(usize::from(number), number.into());
        world.join_in_manner(peer(number), &longer, without_bodies);
        let is_stopped = |world: &World| state(world) != SyncState::Synced;
        assert!(!world.until(seconds(20), is_stopped), "{:?}", world.now);
        if world.remotes.contains_key(&peer(number)) {
            world.leave(peer(number));
        }
    }
}

// N16: a new id with the same headers does not begin the delay again.
#[test]
fn abandoned_branch_is_not_followed_again_under_another_id() {
    let common = chain_of(100, 1);
    let withheld = fork_of(&common, 100, 80, 2);
    let honest = fork_of(&common, 100, 50, 3);
    let mut world = World::with(common, limits());
    world.join_in_manner(peer(1), &withheld, without_bodies);
    world.join(peer(2), &honest);
    world.reach(&honest, seconds(40));
    let mut longer = honest.clone();
    for number in 3..8 {
        world.join_in_manner(peer(number), &withheld, without_bodies);
        longer.grow(12, number.into());
        world.update(peer(2), &longer);
        world.reach(&longer, seconds(2));
    }
}
