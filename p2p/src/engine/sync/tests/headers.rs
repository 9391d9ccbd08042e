//! Header sync: requests, storage and reports.

use super::world::{
    Answer, World, chain_of, fork_of, limits, much_work, peer, seconds, serve, status,
};
use crate::engine::Input;
use crate::engine::Misbehavior;
use crate::engine::sync::Limits;
use crate::engine::sync::header_tree::{HeaderTree, ValidHeader};
use crate::engine::sync::headers::locator;
use crate::engine::sync::window::Window;
use crate::message::{MAX_HEADERS, MAX_LOCATOR, Request, Response, Status};
use crate::testing::mock_chain::{MockChain, header_chain, params};
use crate::view::ChainView;
use chain::block::{self, Header, Height};
use chain::testing::{solve_header, unsolve_header};
use std::collections::BTreeMap;

/// The status of a peer that claims a tip it does not have.
fn false_claim(chain: &MockChain) -> Status {
    let tip = block::Hash::from_bytes([9; 32]);
    Status { tip, height: Height::new(1_000_000), chain_work: much_work(), ..status(chain) }
}

/// Serves headers from a list that begins after genesis, and nothing else.
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
fn locator_is_dense_at_tip_and_ends_with_genesis() {
    let chain = chain_of(1_000, 1);
    let locator = locator(None, &HeaderTree::default(), &Window::default(), &chain);
    let heights: Vec<_> =
        locator.iter().map(|hash| chain.find(hash).unwrap().tip.height.get()).collect();
    assert_eq!(heights[..11], [1000, 999, 998, 997, 996, 995, 994, 993, 992, 991, 989]);
    assert_eq!(heights[11..], [985, 977, 961, 929, 865, 737, 481, 0]);
    assert!(locator.len() <= MAX_LOCATOR);
}

#[test]
fn locator_of_a_branch_is_the_same_with_and_without_a_part_of_it_in_the_window() {
    let (ours, theirs) = (MockChain::dev(), chain_of(1_000, 1));
    let header = |height| {
        let hash = theirs.at(Height::new(height)).unwrap();
        let known = theirs.find(&hash).unwrap();
        ValidHeader { tip: known.tip, as_parent: known.as_parent }
    };
    let mut tree = HeaderTree::default();
    (1..=1_000).for_each(|height| tree.insert(header(height - 1).tip.hash, header(height)));
    let expected = locator(None, &HeaderTree::default(), &Window::default(), &theirs);
    for in_window in [0, 1, 600, 999, 1_000] {
        let mut window = Window::default();
        if in_window > 0 {
            let path = (1..=in_window).map(|height| header(height).tip.hash);
            window.switch_to(None, path, (Height::new(1), header(in_window)));
        }
        let end = Some(header(1_000).tip.hash);
        assert_eq!(locator(end, &tree, &window, &ours), expected, "{in_window}");
    }
}

// N11
#[test]
fn does_not_store_flood_of_low_work_headers() {
    let ours = chain_of(4_000, 1);
    let (genesis, parent) = MockChain::dev().end();
    let flood: Vec<_> = header_chain(ours.params(), (genesis, parent), 1, 2).take(3_500).collect();
    let mut world = World::with(ours.clone(), limits());
    for number in 1..=3 {
        let mut answer = headers_of(flood.clone());
        world.join_claiming(peer(number), &ours, false_claim(&ours), move |request, chain| {
            answer(request, chain)
        });
    }
    let is_small = |world: &World| {
        assert_eq!(world.sync.headers.tree.len(), 0);
        false
    };
    assert!(!world.until(seconds(60), is_small));
    assert_eq!(world.disconnected.len(), 3, "{:?}", world.disconnected);
    assert!(world.asked.is_empty());
}

// N11
#[test]
fn header_requests_stay_below_rate_limit() {
    let (genesis, parent) = MockChain::dev().end();
    let params = chain::Params::dev();
    // Every response has the next 2,000 headers of a chain without end.
    let mut flood = header_chain(&params, (genesis, parent), 1, 2);
    let mut world = World::with(MockChain::dev(), Limits { branch_headers: 10_000, ..limits() });
    let dev = MockChain::dev();
    let endless: Vec<_> = flood.by_ref().take(20_000).collect();
    world.join_claiming(peer(1), &dev, false_claim(&dev), headers_of(endless));
    world.pass(seconds(30));
    let asked = world.remotes.get(&peer(1)).map_or(0, |remote| remote.headers_asked);
    assert!(asked <= 20 + 60, "{asked} requests in 30 s");
    assert!(world.sync.headers.tree.len() <= 10_000);
}

// N11
#[test]
fn rejects_response_with_too_many_headers() {
    let (genesis, parent) = MockChain::dev().end();
    let params = chain::Params::dev();
    let many: Vec<_> = header_chain(&params, (genesis, parent), 1, 2).take(2_001).collect();
    let mut world = World::new();
    let dev = MockChain::dev();
    world.join_claiming(peer(1), &dev, false_claim(&dev), move |_, _| {
        Answer::This(Ok(Response::Headers(many.clone())))
    });
    world.pass(seconds(2));
    assert_eq!(world.blamed(), [(peer(1), Misbehavior::WrongResponse)]);
    assert_eq!(world.sync.headers.tree.len(), 0);
}

// C19: a long chain of easy headers from as many peers as there may be sessions.
#[test]
fn presync_never_stores_chains_with_little_work() {
    let ours = chain_of(9_000, 1);
    let (genesis, parent) = MockChain::dev().end();
    let spam: Vec<_> = header_chain(ours.params(), (genesis, parent), 1, 2).take(8_500).collect();
    let mut world = World::with(ours.clone(), limits());
    for number in 1..=4 {
        let mut answer = headers_of(spam.clone());
        world.join_claiming(peer(number), &ours, false_claim(&ours), move |request, chain| {
            answer(request, chain)
        });
    }
    let stays_empty = |world: &World| {
        assert_eq!(world.sync.headers.tree.len(), 0);
        world.disconnected.len() == 4
    };
    assert!(world.until(seconds(60), stays_empty), "{:?}", world.disconnected);
    assert!(world.asked.is_empty());
    assert_eq!(world.chain.tip(), ours.tip());
}

#[test]
fn presyncs_long_fork_and_then_follows_it() {
    let ours = chain_of(6_000, 1);
    let theirs = chain_of(6_001, 2);
    let mut world = World::with(ours, limits());
    world.join(peer(1), &theirs);
    world.reach(&theirs, seconds(60));
    assert_eq!(world.blamed(), []);
    let asked = world.remote(peer(1)).headers_asked;
    assert!(
        (7..=9).contains(&asked),
        "three responses of presync, then four of redownload: {asked}"
    );
}

// C19: redownload has to yield the headers of presync.
#[test]
fn redownload_rejects_other_headers() {
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
        assert_eq!(world.sync.headers.tree.len(), 0);
        false
    };
    assert!(!world.until(seconds(8), stays_empty));
    let asked = world.trace.iter().filter(|line| line.contains("for headers")).count();
    assert!(asked >= 4, "{asked}");
    assert!(world.asked.is_empty());
}

// C20
#[test]
fn never_downloads_long_fork_of_easy_blocks() {
    let params = params(false);
    let mut ours = MockChain::new(params.clone());
    let (genesis, parent) = ours.end();
    // Fast blocks raise the difficulty, blocks on time leave it unchanged.
    for number in 0..40 {
        let clock = ours.end().1.time.saturating_add(1);
        let block = ours.mine(&[], clock, number);
        ours.insert(&block, clock);
    }
    ours.grow(500, 1);
    let easy = |count| header_chain(&params, (genesis, parent), 10, 2).take(count);
    let tip = ours.tip().chain_work.value();
    let count =
        usize::try_from(tip / chain::Work::from_le_bytes(minimal_work()).value()).unwrap() - 10;
    assert!(count > 4 * ours.tip().height.get() as usize, "{count} easy blocks");
    for count in [count / 3, count] {
        let mut world = World::with(ours.clone(), limits());
        world.join_claiming(peer(1), &ours, false_claim(&ours), headers_of(easy(count).collect()));
        world.pass(seconds(30));
        assert!(world.remotes.get(&peer(1)).is_none_or(|remote| remote.headers_asked > 1));
        assert_eq!(world.asked, []);
        assert_eq!(world.chain.tip(), ours.tip());
    }
}

/// The work of the easiest block.
fn minimal_work() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    bytes
}

// C21
#[test]
fn rejects_headers_that_do_not_connect() {
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
        assert_eq!(world.blamed()[0], (peer(1), Misbehavior::WrongResponse));
        assert_eq!(world.sync.headers.tree.len(), 0);
    }
}

// C21
#[test]
fn stops_asking_peer_that_repeats_headers() {
    let (genesis, parent) = MockChain::dev().end();
    let params = chain::Params::dev();
    let same: Vec<_> = header_chain(&params, (genesis, parent), 1, 2).take(2_000).collect();
    let dev = MockChain::dev();
    let mut world = World::new();
    world.join_claiming(peer(1), &dev, false_claim(&dev), move |request, _| match request {
        Request::Headers { .. } => Answer::This(Ok(Response::Headers(same.clone()))),
        _ => Answer::Never,
    });
    world.pass(seconds(30));
    let asked = world.remotes.get(&peer(1)).map_or(0, |remote| remote.headers_asked);
    assert!(asked <= 12, "{asked} requests");
    assert!(world.sync.headers.tree.len() <= 2_000);
}

#[test]
fn reports_sender_of_invalid_header() {
    let chain = chain_of(100, 1);
    let params = chain::Params::dev();
    let spoil = |change: fn(&mut Header)| {
        let mut headers = chain.headers(Height::new(1), 100);
        change(&mut headers[99]);
        headers
    };
    let unmet = unsolve_header;
    let early = |header: &mut Header| {
        header.time = chain::Timestamp::new(1);
        solve_header(header);
    };
    let version = |header: &mut Header| {
        header.version = 1;
        solve_header(header);
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
fn follows_header_from_future_when_its_time_has_come() {
    let mut chain = chain_of(5, 1);
    let mut world = World::new();
    let future = world.clock().saturating_add(7_200 + 20);
    let block = chain.mine(&[], future, 2);
    chain.insert(&block, future);
    world.join(peer(1), &chain);
    world.pass(seconds(15));
    assert_eq!(world.chain.tip().height, Height::new(5), "the headers before it are followed");
    assert_eq!(world.blamed(), []);
    assert_eq!(world.disconnected, []);
    world.reach(&chain, seconds(30));
    assert!(world.now >= seconds(20));
}

// C17
#[test]
fn does_not_report_announcer_of_header_from_future() {
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
fn headers_stay_within_branch_limit() {
    let chain = chain_of(10_000, 1);
    let limits = Limits { branch_headers: 3_000, all_headers: 7_000, ..limits() };
    let mut world = World::with(MockChain::dev(), limits);
    world.join(peer(1), &chain);
    world.join(peer(2), &chain);
    let goal = chain.tip().hash;
    let is_bounded = |world: &World| {
        assert!(world.sync.headers.tree.len() <= 3_000, "{}", world.sync.headers.tree.len());
        world.chain.tip().hash == goal
    };
    assert!(world.until(seconds(60), is_bounded), "at {}", world.chain.tip().height);
    assert_eq!(world.blamed(), []);
    assert_eq!(world.disconnected, []);
}

#[test]
fn branches_stay_within_total_limit() {
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
        assert!(world.sync.headers.tree.len() <= 1_000, "{}", world.sync.headers.tree.len());
        false
    };
    assert!(!world.until(seconds(60), is_bounded));
    assert!(world.sync.headers.tree.len() > 200);
}

// N16
#[test]
fn false_work_claim_delays_no_sync() {
    let chain = chain_of(300, 1);
    let mut world = World::new();
    world.join_claiming(peer(1), &chain_of(10, 1), false_claim(&chain), |_, _| Answer::Honest);
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(10));
    assert!(world.until(seconds(10), |world| world.sync.is_synced()));
    assert!(world.blamed().is_empty());
}

// N16: the headers are valid, their blocks are withheld, and there is another chain.
#[test]
fn abandons_withheld_branch_for_delivered_one() {
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

// N16, N19: the peer with the honest chain comes last, and claims less work than is known.
#[test]
fn searches_other_chains_while_best_one_is_withheld() {
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
fn evicts_branch_far_below_tip() {
    let ours = chain_of(100, 1);
    let side = fork_of(&ours, 95, 6, 2);
    let mut world = World::with(ours.clone(), limits());
    world.join_in_manner(peer(1), &side, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    world.pass(seconds(1));
    assert_eq!(world.sync.headers.tree.len(), 6);
    world.chain.grow(100, 3);
    world.handle(Input::TipChanged);
    world.pass(seconds(1));
    assert_eq!(world.sync.headers.tree.len(), 6, "it may still become the best");
    world.chain.grow(50, 4);
    world.handle(Input::TipChanged);
    world.pass(seconds(1));
    assert_eq!(world.sync.headers.tree.len(), 0);
}

#[test]
fn asks_next_peer_after_timeout() {
    let chain = chain_of(50, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |_, _| Answer::Never);
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(20));
    assert!(world.blamed().iter().all(|blame| *blame == (peer(1), Misbehavior::Timeout)));
}

#[test]
fn confirms_headers_with_two_more_outbound_peers() {
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
fn status_during_request_does_not_disprove_claim() {
    let chain = chain_of(50, 1);
    let mut longer = chain.clone();
    longer.grow(10, 2);
    let mut world = World::new();
    world.join(peer(1), &chain).latency = seconds(1);
    assert!(world.until(seconds(1), |world| world.remotes[&peer(1)].headers_asked == 1));
    world.update(peer(1), &longer);
    world.reach(&longer, seconds(5));
    assert_eq!(world.sync.peers[&peer(1)].disproved_claims, 0);
}
