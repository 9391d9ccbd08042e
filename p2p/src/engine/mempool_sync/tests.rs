use super::*;
use crate::engine::context::Peers;
use crate::engine::transfers::LEAST_SHARE;
use crate::engine::{AnnouncementId, Now, Output};
use crate::message::ResponseError;
use crate::serve;
use crate::testing::mock_chain::{MockChain, transfer, transfer_of};
use chain::block::{Height, Timestamp};
use libp2p::multihash::Multihash;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

fn peer(number: u8) -> PeerId {
    PeerId::from_multihash(Multihash::wrap(0, &[number]).unwrap()).unwrap()
}

/// A mempool so large, of transfers that only differ in their number.
fn pool_of(transfers: std::ops::Range<u64>) -> MockChain {
    let mut chain = MockChain::dev();
    transfers.for_each(|number| chain.pool.insert(&transfer(number)));
    chain
}

/// A node that exchanges its mempool with others.
struct Bench {
    exchange: MempoolSync,
    transfers: InFlightTransfers,
    chain: MockChain,
    peers: Peers,
    is_synced: bool,
    rng: Xoshiro256PlusPlus,
    elapsed: Duration,
    reports: Vec<(PeerId, Misbehavior)>,
}

impl Bench {
    fn with_peers(peers: u8) -> Bench {
        let mut exchange = MempoolSync::new();
        (0..peers).for_each(|number| exchange.peer_connected(peer(number)));
        Bench {
            exchange,
            transfers: InFlightTransfers::new(),
            chain: MockChain::dev(),
            peers: (0..peers).map(|number| (peer(number), Height::GENESIS)).collect(),
            is_synced: true,
            rng: Xoshiro256PlusPlus::seed_from_u64(1),
            elapsed: Duration::ZERO,
            reports: Vec::new(),
        }
    }

    fn step(
        &mut self,
        act: impl FnOnce(&mut MempoolSync, &mut Context<MockChain>, &mut InFlightTransfers),
    ) -> Vec<Output> {
        let now = Now { elapsed: self.elapsed, clock: Timestamp::new(1_800_000_000) };
        let mut cx = Context::new(now, &self.chain, &self.peers, self.is_synced, &mut self.rng);
        act(&mut self.exchange, &mut cx, &mut self.transfers);
        cx.out
    }

    fn pass(&mut self, seconds: u64) -> Vec<Output> {
        self.elapsed += Duration::from_secs(seconds);
        self.step(MempoolSync::tick)
    }

    fn reply(&mut self, request: u64, result: Result<Response, Failure>) -> Vec<Output> {
        self.step(|exchange, cx, transfers| exchange.replied(cx, request, result, transfers))
    }

    /// The mempool takes a transfer or refuses it.
    fn take(&mut self, transfer: &Arc<Transfer>) -> Vec<Output> {
        let validation = self.chain.pool.take(transfer);
        self.judge(&transfer.id(), validation)
    }

    /// A peer announces a transfer. What the mempool is given.
    fn announce(&mut self, from: u8, transfer: &Arc<Transfer>) -> Vec<Output> {
        self.step(|_, cx, transfers| {
            transfers.announced(cx, peer(from), AnnouncementId(0), (0, transfer));
        })
    }

    /// Lets so many seconds pass in which an honest peer answers whatever is asked; the requests.
    fn exchange(&mut self, seconds: u64, other: &MockChain) -> Vec<Request> {
        let outputs = self.pass(seconds);
        self.run(outputs, other).into_iter().map(|(_, request)| request).collect()
    }

    /// Does all there is to do, with an honest peer that has another mempool; the requests.
    fn run(&mut self, mut outputs: Vec<Output>, other: &MockChain) -> Vec<(PeerId, Request)> {
        let mut requests = Vec::new();
        while !outputs.is_empty() {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Request { id: RequestId::Mempool(request), peer, request: what } => {
                        let reply = serve::answer(other, &what);
                        requests.push((peer, what));
                        outputs.extend(self.reply(request, Ok(reply)));
                    }
                    Output::ImportTransfer(transfer) => outputs.extend(self.take(&transfer)),
                    Output::ReportPeer { peer, misbehavior } => {
                        self.reports.push((peer, misbehavior))
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        requests
    }

    fn judge(&mut self, id: &Id, validation: TransferValidation) -> Vec<Output> {
        self.step(|exchange, cx, transfers| {
            let came = transfers.validated(cx, id, validation).unwrap();
            exchange.transfer_validated(cx, &came, validation, transfers);
        })
    }
}

/// The one request among these.
fn asked(outputs: &[Output]) -> (u64, PeerId, Request) {
    let mut asked = outputs.iter().filter_map(|output| match output {
        Output::Request { id: RequestId::Mempool(request), peer, request: what } => {
            Some((*request, *peer, what.clone()))
        }
        _ => None,
    });
    let first = asked.next().unwrap();
    assert!(asked.next().is_none());
    first
}

/// Where the pages begin that are asked for.
fn pages(requests: &[Request]) -> Vec<u64> {
    let from = |request: &Request| match request {
        Request::PoolIds { from } => Some(*from),
        _ => None,
    };
    requests.iter().filter_map(from).collect()
}

/// What is fetched.
fn fetched(requests: &[Request]) -> Vec<Id> {
    let mut fetched = Vec::new();
    for request in requests {
        if let Request::PoolTransfers { ids } = request {
            assert!(ids.len() <= BATCH);
            fetched.extend(ids);
        }
    }
    fetched
}

#[test]
fn a_node_takes_what_it_lacks_from_a_new_peer() {
    let mut bench = Bench::with_peers(1);
    bench.chain = pool_of(0..3_000);
    let requests = bench.exchange(1, &pool_of(2_000..9_000));
    assert_eq!(bench.chain.pool.len(), 9_000);
    assert_eq!(pages(&requests), [0, 4_000]);
    let mut ids = fetched(&requests);
    assert_eq!(ids.len(), 6_000);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6_000, "nothing is fetched twice");
    assert_eq!(bench.reports, []);
}

#[test]
fn a_peer_is_asked_again_only_for_what_came_to_it_since() {
    let mut bench = Bench::with_peers(1);
    let mut other = pool_of(0..5_000);
    assert_eq!(pages(&bench.exchange(1, &other)), [0, 4_000]);
    assert_eq!(pages(&bench.exchange(5, &other)), [5_000]);
    other.pool.insert(&transfer(7_000));
    assert!(bench.pass(4).is_empty(), "not so soon");
    let requests = bench.exchange(1, &other);
    assert_eq!(pages(&requests), [5_000]);
    assert_eq!(fetched(&requests), [transfer(7_000).id()]);
    assert_eq!(pages(&bench.exchange(5, &other)), [5_001]);
    assert_eq!(pages(&bench.exchange(5, &other)), [0, 4_000], "all of it now and then");
}

#[test]
fn all_peers_have_their_turns_one_after_the_other() {
    let mut bench = Bench::with_peers(3);
    let other = pool_of(0..10);
    let mut asked = Vec::new();
    let mut for_all = Vec::new();
    for _ in 0..60 {
        let outputs = bench.pass(5);
        let requests = bench.run(outputs, &other);
        let (peer, first) = requests[0].clone();
        asked.push(peer);
        if first == (Request::PoolIds { from: 0 }) {
            for_all.push(peer);
        }
    }
    let all = BTreeSet::from([0, 1, 2].map(peer));
    let has_all = |turns: &[PeerId]| turns.iter().copied().collect::<BTreeSet<_>>() == all;
    assert!(asked.windows(6).all(has_all), "{asked:?}");
    assert!(for_all.windows(3).skip(5).all(has_all), "{for_all:?}");
    assert!((28..=32).contains(&for_all.len()), "one every ten seconds: {}", for_all.len());
}

#[test]
fn nobody_is_asked_before_the_node_is_synced() {
    let mut bench = Bench::with_peers(1);
    bench.is_synced = false;
    assert!(bench.pass(100).is_empty());
    bench.is_synced = true;
    assert_eq!(asked(&bench.pass(1)).1, peer(0));
}

#[test]
fn an_exchange_stays_below_what_a_peer_may_ask_and_the_next_goes_on_after_it() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..90_000);
    let limits = Protocol::Pool.limits();
    assert_eq!(bench.exchange(1, &other).len(), limits.requests as usize);
    assert_eq!(bench.chain.pool.len(), 80_000);
    assert!(bench.pass(2).is_empty(), "no room for a page and its transfers");
    assert_eq!(pages(&bench.exchange(1, &other)), [80_000]);
    assert_eq!(bench.chain.pool.len(), 84_000);
    bench.exchange(3, &other);
    assert_eq!(pages(&bench.exchange(3, &other)), [88_000]);
    assert_eq!(bench.chain.pool.len(), 90_000);
}

// N13: fetched transfers wait for room on the way like announced ones.
#[test]
fn fetched_transfers_wait_for_their_turn() {
    let mut bench = Bench::with_peers(10);
    let other = pool_of(0..1_000);
    let (ids, _, what) = asked(&bench.pass(1));
    let outputs = bench.reply(ids, Ok(serve::answer(&other, &what)));
    let (transfers, _, what) = asked(&outputs);
    let outputs = bench.reply(transfers, Ok(serve::answer(&other, &what)));
    assert_eq!(outputs.len(), LEAST_SHARE);
    let Output::ImportTransfer(first) = &outputs[0] else { panic!("{outputs:?}") };
    let next = bench.judge(&first.id(), TransferValidation::Added);
    assert!(matches!(next.as_slice(), [Output::ImportTransfer(_)]), "{next:?}");
}

/// So many senders with so many transfers each, in the order in which a class submits them.
fn submitted(senders: u64, each: u64) -> Vec<Arc<Transfer>> {
    let round = |nonce| (0..senders).map(move |sender| transfer_of(sender, nonce));
    (0..each).flat_map(round).collect()
}

// All that follow a lost announcement by more than 64 nonces are refused when they are announced.
#[test]
fn a_lost_announcement_among_thousands_is_made_good_within_two_exchanges() {
    let all = submitted(14, 985);
    let mut other = MockChain::dev();
    other.pool = all.iter().collect();
    for lost in [0, 14 * 100 + 5, 14 * 984] {
        let mut bench = Bench::with_peers(1);
        bench.exchange(1, &MockChain::dev());
        bench.elapsed += Duration::from_secs(30);
        for (number, transfer) in all.iter().enumerate() {
            if number != lost {
                assert_eq!(bench.announce(0, transfer).len(), 1);
                bench.take(transfer);
            }
        }
        assert!(bench.chain.pool.len() < all.len(), "{}", bench.chain.pool.len());
        let requests = [bench.exchange(0, &other), bench.exchange(1, &other)].concat();
        assert_eq!(bench.chain.pool.len(), all.len());
        let fetched = fetched(&requests).len();
        assert!(fetched < 1_000, "only of that sender: {fetched}");
        assert_eq!(bench.reports, []);
    }
}

// The writer pauses for a block while everybody announces.
#[test]
fn what_six_peers_announce_while_the_mempool_takes_nothing_is_not_lost() {
    let mut bench = Bench::with_peers(6);
    let all: Vec<_> =
        (0..12).map(|sender| (0..900).map(move |at| transfer_of(sender, at))).collect();
    let mut other = MockChain::dev();
    other.pool = all.iter().cloned().flatten().collect::<Vec<_>>().iter().collect();
    for _ in 0..6 {
        bench.exchange(5, &MockChain::dev());
    }
    let mut in_flight = Vec::new();
    for (number, sender) in all.into_iter().enumerate() {
        for transfer in sender {
            in_flight.extend(bench.announce(u8::try_from(number / 2).unwrap(), &transfer));
        }
    }
    assert!(in_flight.len() < 5_000, "some find no room: {}", in_flight.len());
    for _ in 0..12 {
        // Whoever is asked meanwhile has to wait too.
        let outputs = bench.pass(1);
        bench.elapsed += Duration::from_secs(4);
        in_flight.extend(outputs);
    }
    let mut requests = bench.run(in_flight, &other);
    for _ in 0..4 {
        let outputs = bench.pass(60);
        requests.extend(bench.run(outputs, &other));
    }
    assert_eq!(bench.chain.pool.len(), 12 * 900);
    assert_eq!(bench.reports, []);
}

// A replaced transfer comes after those that follow it.
#[test]
fn a_transfer_that_was_replaced_late_does_not_keep_those_behind_it_away() {
    let mut bench = Bench::with_peers(1);
    let mut other = MockChain::dev();
    let (before, after) = (0..5, 6..900);
    before.chain(after).for_each(|nonce| other.pool.insert(&transfer_of(1, nonce)));
    other.pool.insert(&transfer_of(1, 5));
    let requests = bench.exchange(1, &other);
    assert_eq!(bench.chain.pool.len(), 900);
    assert_eq!(fetched(&requests).len(), 900, "once each");
}

// A gap that is never closed must not be asked about for ever.
#[test]
fn what_is_too_far_ahead_for_good_is_fetched_now_and_then_only() {
    let mut bench = Bench::with_peers(1);
    let mut other = MockChain::dev();
    (1..200).for_each(|nonce| other.pool.insert(&transfer_of(1, nonce)));
    for transfer in other.pool.clone().transfers() {
        bench.announce(0, transfer);
        bench.take(transfer);
    }
    let mut times = 0;
    for _ in 0..60 {
        times += fetched(&bench.exchange(3, &other)).len();
    }
    assert_eq!(bench.chain.pool.len(), 64);
    let once = 199 - 64;
    assert!((once..=180 / 10 * once).contains(&times), "{times}");
}

#[test]
fn a_peer_that_announced_more_than_fits_is_asked_before_its_turn() {
    let mut bench = Bench::with_peers(9);
    let empty = MockChain::dev();
    for _ in 0..30 {
        bench.exchange(5, &empty);
    }
    assert_eq!(bench.announce(7, &transfer_of(1, 65)).len(), 1);
    bench.take(&transfer_of(1, 65));
    assert_eq!(asked(&bench.pass(1)).1, peer(7));
}

#[test]
fn a_peer_that_always_has_more_does_not_keep_others_from_their_turn() {
    let mut bench = Bench::with_peers(4);
    let other = MockChain::dev();
    let mut asked = BTreeSet::new();
    for nonce in 100..140 {
        bench.announce(0, &transfer_of(1, nonce));
        bench.take(&transfer_of(1, nonce));
        let outputs = bench.pass(1);
        asked.extend(bench.run(outputs, &other).into_iter().map(|(peer, _)| peer));
    }
    assert_eq!(asked.len(), 4);
}

#[test]
fn what_was_refused_is_asked_for_again_later() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..1);
    let one = transfer(0);
    bench.announce(0, &one);
    bench.judge(&one.id(), TransferValidation::Refused);
    let mut requests = Vec::new();
    while bench.elapsed < Duration::from_secs(15) {
        requests.extend(bench.exchange(5, &other));
    }
    assert_eq!(fetched(&requests), []);
    while bench.elapsed < Duration::from_secs(35) {
        requests.extend(bench.exchange(5, &other));
    }
    assert_eq!(fetched(&requests), [one.id()]);
    assert_eq!(bench.chain.pool.len(), 1);
}

// The mempool has not refused it yet when the peer's page names it.
#[test]
fn what_is_announced_too_early_while_it_is_exchanged_is_not_forgotten() {
    let mut bench = Bench::with_peers(1);
    let mut other = MockChain::dev();
    (0..200).for_each(|nonce| other.pool.insert(&transfer_of(1, nonce)));
    let outputs = bench.pass(1);
    for nonce in [90, 100] {
        bench.announce(0, &transfer_of(1, nonce));
    }
    let (request, _, what) = asked(&outputs);
    let outputs = bench.reply(request, Ok(serve::answer(&other, &what)));
    bench.announce(0, &transfer_of(1, 80));
    for nonce in [80, 90, 100] {
        assert!(bench.take(&transfer_of(1, nonce)).is_empty(), "nonce {nonce} is refused");
    }
    let requests = bench.run(outputs, &other);
    assert_eq!(bench.chain.pool.len(), 200, "{requests:?}");
    assert_eq!(requests.len(), 1);
}

// N28
#[test]
fn a_reply_that_does_not_fit_ends_the_exchange() {
    let ids: Vec<Id> = (0..3).map(|number| transfer(number).id()).collect();
    let too_many = Response::PoolIds { ids: vec![Id::ZERO; MAX_POOL + 1], next: 1 };
    let not_asked_for = Response::PoolTransfers(vec![Transfer::clone(&transfer(1))]);
    for wrong in [too_many, not_asked_for, Response::Headers(Vec::new())] {
        let mut bench = Bench::with_peers(1);
        let (request, ..) = asked(&bench.pass(1));
        let outputs = bench.reply(request, Ok(wrong));
        assert_eq!(outputs.len(), 1);
        assert!(matches!(
            outputs[0],
            Output::ReportPeer { misbehavior: Misbehavior::WrongReply, .. }
        ));
        assert!(bench.pass(1).is_empty());
    }
    let mut bench = Bench::with_peers(1);
    let (request, ..) = asked(&bench.pass(1));
    let twice = [ids.clone(), ids].concat();
    let outputs = bench.reply(request, Ok(Response::PoolIds { ids: twice, next: 6 }));
    let (request, _, what) = asked(&outputs);
    let Request::PoolTransfers { ids } = what else { panic!("{what:?}") };
    assert_eq!(ids.len(), 3, "each once");
    let twice = vec![Transfer::clone(&transfer(1)); 2];
    let outputs = bench.reply(request, Ok(Response::PoolTransfers(twice)));
    assert!(matches!(outputs[0], Output::ReportPeer { misbehavior: Misbehavior::WrongReply, .. }));
}

#[test]
fn a_refusal_or_a_lost_peer_ends_the_exchange_without_blame() {
    for result in [Ok(Response::Error(ResponseError::RateLimited)), Err(Failure::Disconnected)] {
        let mut bench = Bench::with_peers(1);
        let (request, ..) = asked(&bench.pass(1));
        assert!(bench.reply(request, result).is_empty());
        assert!(bench.pass(9).is_empty());
        assert_eq!(asked(&bench.pass(1)).2, Request::PoolIds { from: 0 });
    }
}

#[test]
fn a_page_whose_transfers_did_not_come_is_asked_for_again() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..10);
    let (request, _, what) = asked(&bench.pass(1));
    let (request, ..) = asked(&bench.reply(request, Ok(serve::answer(&other, &what))));
    let outputs = bench.reply(request, Err(Failure::Timeout));
    assert!(matches!(outputs[0], Output::ReportPeer { misbehavior: Misbehavior::Timeout, .. }));
    bench.exchange(10, &other);
    assert_eq!(bench.chain.pool.len(), 10);
}

#[test]
fn a_peer_with_an_invalid_transfer_is_left() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..5_000);
    let (ids, _, what) = asked(&bench.pass(1));
    let outputs = bench.reply(ids, Ok(serve::answer(&other, &what)));
    let (transfers, _, what) = asked(&outputs);
    let outputs = bench.reply(transfers, Ok(serve::answer(&other, &what)));
    let Output::ImportTransfer(first) = &outputs[0] else { panic!("{outputs:?}") };
    let outputs = bench.judge(&first.id(), TransferValidation::Invalid);
    assert_eq!(outputs.len(), 1);
    assert!(matches!(
        outputs[0],
        Output::ReportPeer { misbehavior: Misbehavior::BadAnnouncement, .. }
    ));
}
