//! The synced node: how it follows the network, and which peers it disconnects.

use super::world::{
    Answer, World, chain_of, fork_of, limits, millis, much_work, peer, seconds, status,
};
use crate::engine::Input;
use crate::engine::SyncState;
use crate::engine::sync::Limits;
use crate::message::{Request, Status};
use crate::testing::mock_chain::{MockChain, public_params};
use crate::view::ChainView;
use chain::Timestamp;
use chain::block::Height;

/// The chain of a network with boot nodes.
fn public() -> MockChain {
    MockChain::new(public_params())
}

#[test]
fn lone_node_on_private_network_is_synced() {
    let mut world = World::new();
    assert!(!world.sync.is_synced());
    world.handle(Input::Tick);
    assert!(world.sync.is_synced());
    assert_eq!(world.progress[0].1.state, SyncState::Synced);
}

#[test]
fn lone_node_on_public_network_is_not_synced() {
    let mut world = World::with(public(), limits());
    world.pass(seconds(3_600));
    assert!(!world.sync.is_synced());
    assert_eq!(world.sync.progress(&world.chain).state, SyncState::Headers);
}

#[test]
fn waits_for_three_outbound_peers_or_ten_seconds_on_a_public_network() {
    let mut chain = public();
    chain.grow(20, 1);
    let mut world = World::with(public(), limits());
    world.join(peer(1), &chain);
    world.join(peer(2), &chain);
    world.pass(seconds(9));
    assert!(world.trace.iter().all(|line| !line.contains("request")));
    assert!(!world.sync.is_synced());
    world.reach(&chain, seconds(3));
    assert!(world.until(seconds(3), |world| world.sync.is_synced()));

    let mut world = World::with(public(), limits());
    for number in 1..=3 {
        world.join(peer(number), &chain);
    }
    world.reach(&chain, seconds(2));
}

#[test]
fn requests_from_outbound_peer_that_claims_most_work() {
    let mut chain = public();
    let mut world = World::with(public(), limits());
    let mut chains = Vec::new();
    for _ in 0..4 {
        chain.grow(10, 1);
        chains.push(chain.clone());
    }
    world.join(peer(1), &chains[0]);
    world.join(peer(2), &chains[2]);
    world.at(
        millis(0),
        Input::PeerConnected { peer: peer(4), outbound: false, status: status(&chains[3]) },
    );
    world.join(peer(3), &chains[1]);
    assert!(
        world.until(seconds(1), |world| world.trace.iter().any(|line| line.contains("request")))
    );
    assert_eq!(world.remote(peer(2)).headers_asked, 1);
}

// genesis ─ … ─ 20 ─ 21 ─ … ─ 30 ─ 31 ─ … ─ 35
//                    invalidated    missing here
//
// After a restart of a node, peers connect before anything else happens.
#[test]
fn node_that_invalidated_its_peers_chain_is_synced() {
    let mut chain = chain_of(30, 1);
    let theirs = fork_of(&chain, 30, 5, 1);
    chain.invalidate(Height::new(21));
    let mut world = World::with(chain.clone(), limits());
    let claims = status(&theirs);
    world.join_claiming(peer(1), &theirs, claims, |_, _| Answer::Never);
    world.pass(seconds(1));
    assert!(!world.sync.is_synced(), "they have blocks that are missing here");

    let mut world = World::with(chain, limits());
    world.join(peer(1), &theirs);
    assert!(world.until(seconds(10), |world| world.sync.is_synced()));
    assert_eq!(world.sync.progress(&world.chain).state, SyncState::Synced);
    assert_eq!(world.chain.tip().height, Height::new(20));
    assert!(world.chain.find(&theirs.tip().hash).is_some());
    world.pass(seconds(60));
    assert!(world.disconnected.is_empty(), "{:?}", world.disconnected);
}

#[test]
fn synced_state_never_reverts() {
    let chain = chain_of(30, 1);
    let mut world = World::with(chain.clone(), limits());
    world.join(peer(3), &chain);
    assert!(world.until(seconds(1), |world| world.sync.is_synced()));
    let longer = fork_of(&chain, 5, 60, 2);
    world.join(peer(1), &longer);
    let status = Status { chain_work: much_work(), ..status(&longer) };
    world.join_claiming(peer(2), &longer, status, |_, _| Answer::Never);
    let always = |world: &World| !world.sync.is_synced();
    assert!(!world.until(seconds(60), always));
    assert_eq!(world.chain.tip(), longer.tip());
}

#[test]
fn reports_progress_four_times_a_second() {
    let chain = chain_of(3_000, 1);
    let mut world = World::new();
    world.import_time = millis(2);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(20));
    world.pass(seconds(2));
    let reports = &world.progress;
    assert!(reports.len() > 10, "{}", reports.len());
    let states: Vec<_> = reports.iter().map(|(_, progress)| progress.state).collect();
    assert_eq!(states.first(), Some(&SyncState::Headers));
    assert_eq!(states.last(), Some(&SyncState::Synced));
    assert!(states.contains(&SyncState::Blocks));
    for pair in reports.windows(2) {
        let ((before, earlier), (after, later)) = (pair[0], pair[1]);
        assert!(earlier.height <= later.height && later.height <= later.best_header);
        assert!(after - before >= millis(250) || earlier.state != later.state);
    }
    let (_, last) = reports[reports.len() - 1];
    assert_eq!((last.height, last.best_header), (Height::new(3_000), Height::new(3_000)));
}

#[test]
fn fetches_announced_block_from_announcer_at_once() {
    let chain = chain_of(30, 1);
    let mut world = World::with(chain.clone(), limits());
    for number in 1..=6 {
        world.join(peer(number), &chain);
    }
    world.pass(seconds(10));
    let mut longer = chain.clone();
    let block = longer.grow(1, 2).remove(0);
    for number in 1..=6 {
        world.update(peer(number), &longer);
    }
    world.announce(peer(4), block.header);
    world.reach(&longer, millis(100));
    assert_eq!(world.asked.len(), 1);
    assert_eq!(world.asked[0].1, peer(4));
}

// N33
#[test]
fn traces_announced_header_of_deep_fork_by_locator() {
    let ours = chain_of(400, 1);
    let theirs = fork_of(&ours, 100, 301, 2);
    let mut world = World::with(ours.clone(), limits());
    world.join_claiming(peer(1), &theirs, status(&ours), |_, _| Answer::Honest);
    world.pass(seconds(5));
    assert_eq!(world.asked, []);
    world.announce(peer(1), theirs.headers(theirs.tip().height, 1)[0]);
    world.reach(&theirs, seconds(5));
    assert_eq!(world.blamed(), []);
}

#[test]
fn leaves_single_new_block_to_relay_for_two_seconds() {
    let chain = chain_of(30, 1);
    let mut world = World::with(chain.clone(), limits());
    world.join(peer(1), &chain);
    world.pass(seconds(10));
    let before = world.now;
    let mut longer = chain.clone();
    longer.grow(1, 2);
    world.update(peer(1), &longer);
    world.reach(&longer, seconds(4));
    assert!(world.now - before >= seconds(2));
    let before = world.now;
    longer.grow(12, 3);
    world.update(peer(1), &longer);
    world.reach(&longer, seconds(4));
    assert!(world.now - before < seconds(1), "relay does not catch up");
}

#[test]
fn stale_tip_asks_all_outbound_peers() {
    let chain = chain_of(30, 1);
    let mut world = World::with(chain.clone(), limits());
    for number in 1..=5 {
        world.join(peer(number), &chain);
    }
    world.pass(seconds(29));
    // They have a block that they have not announced.
    let mut longer = chain.clone();
    longer.grow(1, 2);
    for remote in world.remotes.values_mut() {
        remote.chain = longer.clone();
        remote.headers_asked = 0;
    }
    world.reach(&longer, seconds(5));
    world.pass(seconds(2));
    assert!(world.remotes.values().all(|remote| remote.headers_asked == 1));
}

#[test]
fn challenges_and_disconnects_lagging_outbound_peers() {
    let chain = chain_of(30, 1);
    let mut world = World::with(chain.clone(), limits());
    world.join(peer(1), &chain_of(10, 1));
    world.join(peer(2), &chain);
    let clock = Timestamp::new(1_790_000_000);
    for number in 0..21 {
        world.pass(seconds(60));
        let block = world.chain.mine(&[], clock, number);
        world.chain.insert(&block, clock);
        world.handle(Input::TipChanged);
        let ours = world.chain.clone();
        world.update(peer(2), &ours);
    }
    assert_eq!(world.disconnected, []);
    world.pass(seconds(180));
    assert_eq!(world.disconnected, [(peer(1), "chain is far behind")]);
    assert_eq!(world.blamed(), []);
}

#[test]
fn protects_four_peers_with_good_chain_from_lag_disconnect() {
    let chain = chain_of(30, 1);
    let mut world = World::with(chain_of(20, 1), Limits::default());
    let mut grown = chain.clone();
    for number in 1..=6 {
        grown.grow(1, number.into());
        world.join(peer(number), &grown);
        world.reach(&grown, seconds(5));
    }
    for _ in 0..3 {
        let block = world.chain.mine(&[], Timestamp::new(1_790_000_000), 99);
        world.chain.insert(&block, Timestamp::new(1_790_000_000));
    }
    world.handle(Input::TipChanged);
    world.pass(seconds(1_400));
    assert_eq!(world.disconnected.len(), 2, "{:?}", world.disconnected);
}

#[test]
fn requests_no_headers_from_peer_without_new_ones() {
    let chain = chain_of(30, 1);
    let mut world = World::with(chain.clone(), limits());
    world.join_in_manner(peer(1), &chain, |request, _| match request {
        Request::Headers { .. } => panic!("there is nothing to request"),
        _ => Answer::Honest,
    });
    world.pass(seconds(20));
    assert!(world.sync.is_synced());
}
