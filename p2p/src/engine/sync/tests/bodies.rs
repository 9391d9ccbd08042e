//! Block download: window, partial responses, failing peers, back-pressure.

use super::world::{Answer, World, chain_of, millis, peer, seconds, serve};
use crate::engine::sync::Limits;
use crate::engine::{Failure, Misbehavior};
use crate::engine::{Input, RequestId};
use crate::message::{MAX_BLOCKS, Request, Response, ResponseError};
use crate::testing::mock_chain::{MockChain, transfer};
use crate::view::ChainView;
use chain::block::{Block, Timestamp};

#[test]
fn syncs_from_two_peers_at_once() {
    let chain = chain_of(3_000, 1);
    let mut world = World::new();
    world.join(peer(1), &chain);
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(20));
    assert_eq!(world.blamed(), []);
    for id in [peer(1), peer(2)] {
        let asked = world.remote(id).blocks_asked;
        assert!(asked > 500, "{asked} of 3000 blocks");
    }
    let asked: usize = world.remotes.values().map(|remote| remote.blocks_asked).sum();
    assert!(asked < 3_200, "few blocks are requested twice: {asked}");
    let delivered =
        world.reports.iter().filter(|(_, misbehavior)| *misbehavior == Misbehavior::Delivered);
    let bytes: usize = world.asked.iter().flat_map(|(_, _, hashes)| hashes).count() * 200;
    assert!(delivered.count() <= bytes >> 20, "only whole MiB count");
}

#[test]
fn continues_after_partial_response() {
    let chain = chain_of(300, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |request, chain| match serve(request, chain) {
        Response::Blocks(mut blocks) => {
            blocks.truncate(3);
            Answer::This(Ok(Response::Blocks(blocks)))
        }
        headers => Answer::This(Ok(headers)),
    });
    world.reach(&chain, seconds(30));
    assert_eq!(world.blamed(), []);
}

// N16
#[test]
fn overtakes_peer_that_withholds_blocks() {
    let chain = chain_of(1_000, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(12));
    assert_eq!(world.blamed(), []);
    world.pass(seconds(40));
    assert!(world.blamed().iter().all(|blame| *blame == (peer(1), Misbehavior::Timeout)));
    assert!(!world.blamed().is_empty());
}

#[test]
fn asks_at_most_three_peers_for_late_block() {
    let chain = chain_of(5, 1);
    let mut world = World::new();
    for number in 1..=6 {
        world.join_in_manner(peer(number), &chain, |request, _| match request {
            Request::Blocks { .. } => Answer::Never,
            _ => Answer::Honest,
        });
    }
    world.pass(seconds(28));
    assert_eq!(world.asked.len(), 3, "{:?}", world.asked);
    let times: Vec<_> = world.asked.iter().map(|(at, ..)| *at).collect();
    assert!(times[1] - times[0] >= seconds(2));
    assert!(times[2] - times[1] >= seconds(4), "the wait doubles");
}

// N17, N18
#[test]
fn reports_only_sender_of_bodies_of_another_branch() {
    let chain = chain_of(400, 1);
    let other = chain_of(400, 2);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, move |request, chain| match request {
        Request::Blocks { hashes } => {
            let heights = hashes.iter().map(|hash| chain.find(hash).unwrap().tip.height);
            let blocks = heights.map(|height| other.block(&other.at(height).unwrap()));
            Answer::This(Ok(Response::Blocks(blocks.collect())))
        }
        _ => Answer::Honest,
    });
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(20));
    let blamed = world.blamed();
    assert!(!blamed.is_empty());
    assert!(blamed.iter().all(|blame| *blame == (peer(1), Misbehavior::WrongBody)), "{blamed:?}");
}

#[test]
fn malformed_body_is_a_wrong_body() {
    let chain = chain_of(20, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |request, _| match request {
        Request::Blocks { .. } => Answer::This(Ok(Response::Blocks(vec![Some([0; 90].into())]))),
        _ => Answer::Honest,
    });
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(20));
    assert_eq!(world.blamed(), [(peer(1), Misbehavior::WrongBody)]);
}

// C02, N18
#[test]
fn refetches_mutated_body_within_a_second() {
    let mut chain = MockChain::dev();
    let clock = Timestamp::new(1_790_000_000);
    let block = chain.mine(&[transfer(1), transfer(2)], clock, 1);
    chain.insert(&block, clock);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |request, chain| match serve(request, chain) {
        Response::Blocks(blocks) => {
            let mut block = Block::decode(blocks[0].as_ref().unwrap()).unwrap();
            block.transactions.pop();
            Answer::This(Ok(Response::Blocks(vec![Some(block.encode().into())])))
        }
        headers => Answer::This(Ok(headers)),
    });
    let wrong = |world: &World| !world.blamed().is_empty();
    assert!(world.until(seconds(5), wrong));
    assert_eq!(world.blamed(), [(peer(1), Misbehavior::WrongBody)]);
    let before = world.now;
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(1));
    assert!(world.now - before < seconds(1));
    assert_eq!(world.blamed().len(), 1, "a valid header is not marked invalid");
}

#[test]
fn requests_blocks_of_disconnected_peer_from_others_at_once() {
    let chain = chain_of(2_000, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    world.join(peer(2), &chain).latency = millis(5);
    let has_asked = |world: &World| world.remotes[&peer(1)].blocks_asked > 0;
    assert!(world.until(seconds(5), has_asked));
    world.leave(peer(1));
    let before = world.now;
    world.reach(&chain, seconds(1));
    assert!(world.now - before < seconds(1), "there is no wait for a timeout");
    assert_eq!(world.blamed(), []);
}

#[test]
fn waits_for_a_new_peer_when_all_are_gone() {
    let chain = chain_of(2_000, 1);
    let mut world = World::new();
    world.join(peer(1), &chain);
    assert!(world.until(seconds(5), |world| world.chain.tip().height.get() > 500));
    world.leave(peer(1));
    world.pass(seconds(60));
    let got = world.chain.tip().height.get();
    assert!(got < 2_000);
    let asked = world.asked.len();
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(10));
    assert!(world.asked.len() > asked);
    assert_eq!(world.blamed(), []);
}

#[test]
fn restarted_node_continues() {
    let chain = chain_of(2_000, 1);
    let mut world = World::new();
    world.join(peer(1), &chain);
    assert!(world.until(seconds(5), |world| world.chain.tip().height.get() > 700));
    let mut again = World::with(world.chain.clone(), Limits::default());
    let missing = 2_000 - again.chain.tip().height.get();
    again.join(peer(2), &chain);
    again.reach(&chain, seconds(10));
    let asked = again.remote(peer(2)).blocks_asked;
    assert_eq!(asked, missing as usize, "only missing blocks are fetched");
}

// N18
#[test]
fn pauses_busy_peer_and_peer_without_block_without_report() {
    let chain = chain_of(200, 1);
    for error in [
        ResponseError::Busy { retry_after: 20 },
        ResponseError::NotFound,
        ResponseError::RateLimited,
    ] {
        let mut world = World::new();
        world.join_in_manner(peer(1), &chain, move |request, _| match request {
            Request::Blocks { .. } => Answer::This(Ok(Response::Error(error))),
            _ => Answer::Honest,
        });
        world.pass(seconds(10));
        let asked = world.remote(peer(1)).headers_asked + world.asked.len();
        assert!(asked < 40, "{asked} requests in ten seconds: {error:?}");
        world.join(peer(2), &chain);
        world.reach(&chain, seconds(10));
        assert_eq!(world.blamed(), [], "{error:?}");
        assert_eq!(world.disconnected, []);
    }
}

#[test]
fn reports_responses_that_do_not_fit_their_request() {
    let chain = chain_of(30, 1);
    let long = vec![None; 200];
    for response in
        [Response::Blocks(Vec::new()), Response::Blocks(long), Response::Headers(Vec::new())]
    {
        let mut world = World::new();
        world.join_in_manner(peer(1), &chain, move |request, _| match request {
            Request::Blocks { .. } => Answer::This(Ok(response.clone())),
            _ => Answer::Honest,
        });
        world.join(peer(2), &chain);
        world.reach(&chain, seconds(15));
        assert!(world.blamed().iter().all(|blame| *blame == (peer(1), Misbehavior::WrongResponse)));
    }
}

#[test]
fn limits_blocks_at_writer() {
    let chain = chain_of(1_500, 1);
    let mut world = World::new();
    world.import_time = millis(5);
    world.join(peer(1), &chain);
    world.join(peer(2), &chain);
    let is_bounded = |world: &World| {
        let (asked, height) = (
            world.asked.iter().map(|(_, _, hashes)| hashes.len()).sum::<usize>(),
            world.chain.tip().height,
        );
        assert!(asked <= height.get() as usize + 2_048 + 64, "{asked} asked at {height}");
        height.get() == 1_500
    };
    assert!(world.until(seconds(20), is_bounded));
    assert_eq!(world.most_importing, 1_024);
    for id in [peer(1), peer(2)] {
        let most = world.remote(id).in_flight.1;
        assert!((2..=8).contains(&most), "{most} requests at a time");
    }
    assert!(world.asked.iter().all(|(_, _, hashes)| hashes.len() <= MAX_BLOCKS));
}

#[test]
fn limits_bytes_of_waiting_bodies() {
    let mut chain = MockChain::dev();
    let clock = Timestamp::new(1_790_000_000);
    for number in 0..300 {
        let transfers: Vec<_> = (0..60).map(|at| transfer(number * 100 + at)).collect();
        let block = chain.mine(&transfers, clock, number);
        chain.insert(&block, clock);
    }
    let limits = Limits { window_bytes: 200_000, ..Limits::default() };
    let mut world = World::with(MockChain::dev(), limits);
    // The first block comes last, so all others would accumulate.
    let first = chain.headers(chain::Height::new(1), 1)[0].hash();
    world.join_in_manner(peer(1), &chain, move |request, _| match request {
        Request::Blocks { hashes } if hashes.contains(&first) => Answer::Never,
        _ => Answer::Honest,
    });
    let is_bounded = |world: &World| {
        let held = world.sync.bodies.window.bytes();
        assert!(held <= 200_000 + 16 * 10_000, "{held} bytes");
        false
    };
    assert!(!world.until(seconds(20), is_bounded));
    world.join(peer(2), &chain);
    assert!(
        world.until(seconds(120), |world| is_bounded(world)
            || world.chain.tip().height.get() == 300)
    );
}

// N28
#[test]
fn ignores_unrequested_responses() {
    let chain = chain_of(50, 1);
    let mut world = World::new();
    let ids = |request| [RequestId::Headers(request), RequestId::Blocks(request)];
    for id in [0, 1, u64::MAX].into_iter().flat_map(ids) {
        let blocks = vec![chain.block(&chain.tip().hash)];
        world.handle(Input::Response { id, result: Ok(Response::Blocks(blocks)) });
        world.handle(Input::Response { id, result: Err(Failure::Timeout) });
    }
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(5));
    world.pass(seconds(1));
    let before = world.trace.len();
    for id in (0..20).flat_map(ids) {
        world.handle(Input::Response { id, result: Ok(Response::Headers(Vec::new())) });
    }
    assert_eq!(world.trace.len(), before);
    assert_eq!(world.blamed(), []);
}

#[test]
fn same_seed_and_events_yield_same_requests() {
    let run = || {
        let chain = chain_of(800, 1);
        let mut world = World::new();
        for number in 1..=5 {
            world.join(peer(number), &chain).latency = millis(u64::from(number) * 7);
        }
        world.reach(&chain, seconds(20));
        world.trace
    };
    assert_eq!(run(), run());
}

// C39
#[test]
fn sync_time_grows_linearly() {
    let spent = |blocks| {
        let chain = chain_of(blocks, 1);
        let mut world = World::new();
        for number in 1..=4 {
            world.join(peer(number), &chain);
        }
        world.reach(&chain, seconds(60));
        world.spent
    };
    // Other processes may disturb one measurement. Quadratic growth would be a factor of 16.
    let is_linear = |_| spent(12_000) < spent(3_000) * 10;
    assert!((0..3).any(is_linear));
}
