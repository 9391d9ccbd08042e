//! Headers: where they are asked from, what is stored of them, and what is held against whom.

use super::world::{
    Answer, World, chain_of, fork_of, limits, much_work, peer, seconds, serve, status,
};
use crate::engine::Input;
use crate::engine::Misbehavior;
use crate::engine::sync::Limits;
use crate::message::{MAX_HEADERS, MAX_LOCATOR, Request, Response, Status};
use crate::testing::mock_chain::{MockChain, header_chain, params, seal};
use crate::view::ChainView;
use chain::block::{self, Header, Height};
use std::collections::BTreeMap;

/// What a peer claims that has nothing and says otherwise.
fn boast(chain: &MockChain) -> Status {
    let tip = block::Hash::from_bytes([9; 32]);
    Status { tip, height: Height::new(1_000_000), chain_work: much_work(), ..status(chain) }
}

/// Answers requests for headers from a list that goes on after genesis, and no others.
fn headers_of(headers: Vec<Header>) -> impl FnMut(&Request, &MockChain) -> Answer {
    let places: BTreeMap<_, _> = headers.iter().map(Header::hash).zip(1..).collect();
    move |request, _| match request {
        Request::Headers { locator, .. } => {
            let from = locator.iter().find_map(|hash| places.get(hash)).copied().unwrap_or(0);
            let end = headers.len().min(from + MAX_HEADERS);
            Answer::This(Ok(Response::Headers(headers[from..end].to_vec())))
        }
        _ => Answer::Never,
    }
}

#[test]
fn a_locator_is_dense_at_first_and_ends_with_genesis() {
    let chain = chain_of(1_000, 1);
    let world = World::with(chain.clone(), limits());
    let locator = world.sync.locator(None, &chain);
    let heights: Vec<_> =
        locator.iter().map(|hash| chain.find(hash).unwrap().tip.height.get()).collect();
    assert_eq!(heights[..11], [1000, 999, 998, 997, 996, 995, 994, 993, 992, 991, 989]);
    assert_eq!(heights[11..], [985, 977, 961, 929, 865, 737, 481, 0]);
    assert!(locator.len() <= MAX_LOCATOR);
}

// N11
#[test]
fn a_flood_of_headers_is_asked_for_slowly_and_not_kept() {
    let ours = chain_of(4_000, 1);
    let (genesis, parent) = MockChain::dev().end();
    let flood: Vec<_> = header_chain(ours.params(), (genesis, parent), 1, 2).take(3_500).collect();
    let mut world = World::with(ours.clone(), limits());
    for number in 1..=3 {
        let mut answer = headers_of(flood.clone());
        world.join_claiming(peer(number), &ours, boast(&ours), move |request, chain| {
            answer(request, chain)
        });
    }
    let is_small = |world: &World| {
        assert_eq!(world.sync.tree.len(), 0);
        false
    };
    assert!(!world.until(seconds(60), is_small));
    assert_eq!(world.disconnected.len(), 3, "{:?}", world.disconnected);
    assert!(world.asked.is_empty());
}

// N11
#[test]
fn requests_for_headers_stay_under_the_limit_however_long_the_chain() {
    let (genesis, parent) = MockChain::dev().end();
    let params = chain::Params::dev();
    // Every reply is the next 2,000 headers of a chain without end.
    let mut flood = header_chain(&params, (genesis, parent), 1, 2);
    let mut world = World::with(MockChain::dev(), Limits { branch_headers: 10_000, ..limits() });
    let dev = MockChain::dev();
    let endless: Vec<_> = flood.by_ref().take(20_000).collect();
    world.join_claiming(peer(1), &dev, boast(&dev), headers_of(endless));
    world.pass(seconds(30));
    let asked = world.remotes.get(&peer(1)).map_or(0, |remote| remote.headers_asked);
    assert!(asked <= 20 + 60, "{asked} requests in 30 s");
    assert!(world.sync.tree.len() <= 10_000);
}

// N11
#[test]
fn more_headers_than_a_reply_may_have_are_refused() {
    let (genesis, parent) = MockChain::dev().end();
    let params = chain::Params::dev();
    let many: Vec<_> = header_chain(&params, (genesis, parent), 1, 2).take(2_001).collect();
    let mut world = World::new();
    let dev = MockChain::dev();
    world.join_claiming(peer(1), &dev, boast(&dev), move |_, _| {
        Answer::This(Ok(Response::Headers(many.clone())))
    });
    world.pass(seconds(2));
    assert_eq!(world.blamed(), [(peer(1), Misbehavior::WrongReply)]);
    assert_eq!(world.sync.tree.len(), 0);
}

// C19: an endless chain of easy headers from genesis, as many peers as there may be sessions.
#[test]
fn chains_with_little_work_are_counted_and_never_stored() {
    let ours = chain_of(9_000, 1);
    let (genesis, parent) = MockChain::dev().end();
    let spam: Vec<_> = header_chain(ours.params(), (genesis, parent), 1, 2).take(8_500).collect();
    let mut world = World::with(ours.clone(), limits());
    for number in 1..=4 {
        let mut answer = headers_of(spam.clone());
        world.join_claiming(peer(number), &ours, boast(&ours), move |request, chain| {
            answer(request, chain)
        });
    }
    let stays_empty = |world: &World| {
        assert_eq!(world.sync.tree.len(), 0);
        world.disconnected.len() == 4
    };
    assert!(world.until(seconds(60), stays_empty), "{:?}", world.disconnected);
    assert!(world.asked.is_empty());
    assert_eq!(world.chain.tip(), ours.tip());
}

#[test]
fn a_long_fork_with_more_work_is_counted_first_and_then_followed() {
    let ours = chain_of(6_000, 1);
    let theirs = chain_of(6_001, 2);
    let mut world = World::with(ours, limits());
    world.join(peer(1), &theirs);
    world.reach(&theirs, seconds(60));
    assert_eq!(world.blamed(), []);
    let asked = world.remote(peer(1)).headers_asked;
    assert!((7..=9).contains(&asked), "three replies counted, then all four: {asked}");
}

// C19: the second pass has to show what the first one counted.
#[test]
fn other_headers_in_the_second_pass_are_not_stored() {
    let ours = chain_of(6_000, 1);
    let good = chain_of(6_100, 2);
    let spam = chain_of(5_000, 3);
    let mut world = World::with(ours, limits());
    let mut requests = 0;
    world.join_claiming(peer(1), &good, status(&good), move |request, good| {
        requests += 1;
        let chain = if requests <= 3 { good } else { &spam };
        Answer::This(Ok(serve(request, chain)))
    });
    let stays_empty = |world: &World| {
        assert_eq!(world.sync.tree.len(), 0);
        false
    };
    assert!(!world.until(seconds(8), stays_empty));
    let asked = world.trace.iter().filter(|line| line.contains("for headers")).count();
    assert!(asked >= 4, "{asked}");
    assert!(world.asked.is_empty());
}

// C20
#[test]
fn a_long_fork_of_easy_blocks_is_never_downloaded() {
    let params = params(false);
    let mut ours = MockChain::new(params.clone());
    let (genesis, parent) = ours.end();
    // Fast blocks make the difficulty rise, blocks on time keep it.
    for number in 0..40 {
        let clock = ours.end().1.time.saturating_add(1);
        let block = ours.mine(&[], clock, number);
        ours.insert(&block, clock);
    }
    ours.grow(500, 1);
    let easy = |count| header_chain(&params, (genesis, parent), 10, 2).take(count);
    let tip = ours.tip().chain_work.value();
    let count = usize::try_from(tip / chain::Work::from_le_bytes(two()).value()).unwrap() - 10;
    assert!(count > 4 * ours.tip().height.get() as usize, "{count} easy blocks");
    for count in [count / 3, count] {
        let mut world = World::with(ours.clone(), limits());
        world.join_claiming(peer(1), &ours, boast(&ours), headers_of(easy(count).collect()));
        world.pass(seconds(30));
        assert!(world.remotes.get(&peer(1)).is_none_or(|remote| remote.headers_asked > 1));
        assert_eq!(world.asked, []);
        assert_eq!(world.chain.tip(), ours.tip());
    }
}

/// The work of the easiest block.
fn two() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    bytes
}

// C21
#[test]
fn headers_that_do_not_follow_are_refused() {
    let chain = chain_of(100, 1);
    let headers = chain.headers(Height::new(1), 100);
    let mut gap = headers.clone();
    gap.remove(50);
    let mut twice = headers.clone();
    twice.insert(50, headers[49]);
    let mut backwards = headers.clone();
    backwards.reverse();
    let elsewhere = headers[10..].to_vec();
    for bad in [gap, twice, backwards, elsewhere] {
        let mut world = World::new();
        world.join_in_manner(peer(1), &chain, move |request, _| match request {
            Request::Headers { .. } => Answer::This(Ok(Response::Headers(bad.clone()))),
            _ => Answer::Never,
        });
        world.pass(seconds(3));
        assert_eq!(world.blamed()[0], (peer(1), Misbehavior::WrongReply));
        assert_eq!(world.sync.tree.len(), 0);
    }
}

// C21
#[test]
fn a_peer_that_repeats_the_same_headers_is_not_asked_for_ever() {
    let (genesis, parent) = MockChain::dev().end();
    let params = chain::Params::dev();
    let same: Vec<_> = header_chain(&params, (genesis, parent), 1, 2).take(2_000).collect();
    let dev = MockChain::dev();
    let mut world = World::new();
    world.join_claiming(peer(1), &dev, boast(&dev), move |request, _| match request {
        Request::Headers { .. } => Answer::This(Ok(Response::Headers(same.clone()))),
        _ => Answer::Never,
    });
    world.pass(seconds(30));
    let asked = world.remotes.get(&peer(1)).map_or(0, |remote| remote.headers_asked);
    assert!(asked <= 12, "{asked} requests");
    assert!(world.sync.tree.len() <= 2_000);
}

#[test]
fn a_header_that_breaks_a_rule_for_ever_is_held_against_its_sender() {
    let chain = chain_of(100, 1);
    let params = chain::Params::dev();
    let spoil = |change: fn(&mut Header)| {
        let mut headers = chain.headers(Height::new(1), 100);
        change(&mut headers[99]);
        headers
    };
    let unmet = |header: &mut Header| {
        let target = header.bits.target().unwrap();
        while target.is_met_by(header.hash().as_bytes()) {
            header.nonce += 1;
        }
    };
    let early = |header: &mut Header| {
        header.time = chain::Timestamp::new(1);
        seal(header);
    };
    let version = |header: &mut Header| {
        header.version = 1;
        seal(header);
    };
    assert!(params.spec().fixed_difficulty);
    for bad in [spoil(unmet), spoil(early), spoil(version)] {
        let mut world = World::new();
        world.join_in_manner(peer(1), &chain, headers_of(bad));
        world.join(peer(2), &chain_of(60, 1));
        world.reach(&chain_of(60, 1), seconds(10));
        assert_eq!(world.blamed(), [(peer(1), Misbehavior::BadHeader)]);
    }
}

// C17
#[test]
fn a_header_from_the_future_is_followed_when_its_time_has_come() {
    let mut chain = chain_of(5, 1);
    let mut world = World::new();
    let future = world.clock().saturating_add(7_200 + 20);
    let block = chain.mine(&[], future, 2);
    chain.insert(&block, future);
    world.join(peer(1), &chain);
    world.pass(seconds(15));
    assert_eq!(world.chain.tip().height, Height::new(5), "what is before it is followed");
    assert_eq!(world.blamed(), []);
    assert_eq!(world.disconnected, []);
    world.reach(&chain, seconds(30));
    assert!(world.now >= seconds(20));
}

// C17
#[test]
fn an_announced_header_from_the_future_is_no_offence() {
    let mut chain = chain_of(5, 1);
    let mut world = World::with(chain.clone(), limits());
    world.join(peer(1), &chain);
    world.pass(seconds(1));
    let future = world.clock().saturating_add(7_200 + 10);
    let block = chain.mine(&[], future, 2);
    chain.insert(&block, future);
    world.remote(peer(1)).chain = chain.clone();
    world.announce(peer(1), block.header);
    world.reach(&chain, seconds(30));
    assert_eq!(world.blamed(), []);
}

#[test]
fn headers_run_no_further_ahead_than_they_may() {
    let chain = chain_of(10_000, 1);
    let limits = Limits { branch_headers: 3_000, all_headers: 7_000, ..limits() };
    let mut world = World::with(MockChain::dev(), limits);
    world.join(peer(1), &chain);
    world.join(peer(2), &chain);
    let goal = chain.tip().hash;
    let is_bounded = |world: &World| {
        assert!(world.sync.tree.len() <= 3_000, "{}", world.sync.tree.len());
        world.chain.tip().hash == goal
    };
    assert!(world.until(seconds(60), is_bounded), "at {}", world.chain.tip().height);
    assert_eq!(world.blamed(), []);
    assert_eq!(world.disconnected, []);
}

#[test]
fn many_branches_take_no_more_memory_than_they_may() {
    let ours = chain_of(50, 1);
    let limits = Limits { branch_headers: 300, all_headers: 1_000, ..limits() };
    let mut world = World::with(ours.clone(), limits);
    for number in 1..=20 {
        let theirs = fork_of(&ours, 40, 5 + usize::from(number) * 10, number.into());
        world.join_in_manner(peer(number), &theirs, |request, _| match request {
            Request::Blocks { .. } => Answer::Never,
            _ => Answer::Honest,
        });
        world.announce(peer(number), theirs.headers(theirs.tip().height, 1)[0]);
    }
    let is_bounded = |world: &World| {
        assert!(world.sync.tree.len() <= 1_000, "{}", world.sync.tree.len());
        false
    };
    assert!(!world.until(seconds(60), is_bounded));
    assert!(world.sync.tree.len() > 200);
}

// N16
#[test]
fn a_liar_about_its_work_is_found_out_and_delays_nobody() {
    let chain = chain_of(300, 1);
    let mut world = World::new();
    world.join_claiming(peer(1), &chain_of(10, 1), boast(&chain), |_, _| Answer::Honest);
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(10));
    assert!(world.until(seconds(10), |world| world.sync.is_synced()));
    assert!(world.blamed().is_empty());
}

// N16: the headers are real, their blocks never come, and there is another chain.
#[test]
fn a_heavier_branch_that_nobody_delivers_is_left_for_one_that_is_delivered() {
    let common = chain_of(100, 1);
    let withheld = fork_of(&common, 100, 80, 2);
    let honest = fork_of(&common, 100, 50, 3);
    let mut world = World::with(common, limits());
    world.join_in_manner(peer(1), &withheld, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    world.join(peer(2), &honest);
    world.join(peer(3), &honest);
    world.reach(&honest, seconds(40));
    world.pass(seconds(180));
    assert_eq!(world.disconnected.len(), 1, "{:?}", world.disconnected);
    assert_eq!(world.disconnected[0].0, peer(1));
    assert!(world.blamed().iter().all(|(id, _)| *id == peer(1)));
}

// N16, N19: whoever has the honest chain comes last, and claims less than is known to exist.
#[test]
fn other_chains_are_looked_for_while_nobody_delivers_the_best_one() {
    let common = chain_of(100, 1);
    let withheld = fork_of(&common, 100, 80, 2);
    let honest = fork_of(&common, 100, 50, 3);
    let mut world = World::with(common.clone(), limits());
    world.join_in_manner(peer(1), &withheld, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    world.join(peer(2), &common);
    world.join(peer(3), &common);
    world.pass(seconds(3));
    world.join(peer(4), &honest);
    world.reach(&honest, seconds(30));
}

#[test]
fn a_branch_that_the_tip_has_left_far_behind_is_forgotten() {
    let ours = chain_of(100, 1);
    let side = fork_of(&ours, 95, 6, 2);
    let mut world = World::with(ours.clone(), limits());
    world.join_in_manner(peer(1), &side, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    world.pass(seconds(1));
    assert_eq!(world.sync.tree.len(), 6);
    world.chain.grow(100, 3);
    world.handle(Input::TipChanged);
    world.pass(seconds(1));
    assert_eq!(world.sync.tree.len(), 6, "it may still become the best");
    world.chain.grow(50, 4);
    world.handle(Input::TipChanged);
    world.pass(seconds(1));
    assert_eq!(world.sync.tree.len(), 0);
}

#[test]
fn a_peer_that_does_not_answer_is_followed_by_the_next() {
    let chain = chain_of(50, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |_, _| Answer::Never);
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(20));
    assert!(world.blamed().iter().all(|blame| *blame == (peer(1), Misbehavior::Timeout)));
}

#[test]
fn the_same_headers_are_asked_of_two_more_outbound_peers() {
    let chain = chain_of(50, 1);
    let mut world = World::new();
    for number in 1..=5 {
        world.join(peer(number), &chain);
    }
    world.reach(&chain, seconds(10));
    world.pass(seconds(5));
    let asked = world.remotes.values().filter(|remote| remote.headers_asked > 0).count();
    assert_eq!(asked, 3);
}

#[test]
fn a_status_that_overtakes_an_older_reply_is_no_lie() {
    let chain = chain_of(50, 1);
    let mut longer = chain.clone();
    longer.grow(10, 2);
    let mut world = World::new();
    world.join(peer(1), &chain).latency = seconds(1);
    assert!(world.until(seconds(1), |world| world.remotes[&peer(1)].headers_asked == 1));
    world.update(peer(1), &longer);
    world.reach(&longer, seconds(5));
    assert_eq!(world.sync.peers[&peer(1)].refutals, 0);
}
