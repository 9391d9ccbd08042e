use super::*;
use crate::engine::context::Peers;
use crate::engine::transfers::MIN_SHARE;
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

/// A mempool with a number of transfers.
fn pool_of(transfers: std::ops::Range<u64>) -> MockChain {
    let mut chain = MockChain::dev();
    transfers.for_each(|number| chain.pool.insert(&transfer(number)));
    chain
}

/// A node that exchanges mempools with peers.
struct Bench {
    mempool_sync: MempoolSync,
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
        let mut mempool_sync = MempoolSync::new();
        (0..peers).for_each(|number| mempool_sync.peer_connected(peer(number)));
        Bench {
            mempool_sync,
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
        act: impl FnOnce(&mut MempoolSync, &mut Context, &mut InFlightTransfers),
    ) -> Vec<Output> {
        let now = Now { elapsed: self.elapsed, clock: Timestamp::new(1_800_000_000) };
        let shared = (&self.peers, &BTreeSet::new());
        let mut cx = Context::new(now, &self.chain, shared, self.is_synced, &mut self.rng);
        act(&mut self.mempool_sync, &mut cx, &mut self.transfers);
        cx.out
    }

    fn pass(&mut self, seconds: u64) -> Vec<Output> {
        self.elapsed += Duration::from_secs(seconds);
        self.step(MempoolSync::tick)
    }

    fn response(&mut self, request: u64, result: Result<Response, Failure>) -> Vec<Output> {
        self.step(|exchange, cx, transfers| {
            exchange.handle_response(cx, request, result, transfers);
        })
    }

    /// Validates a transfer.
    fn take(&mut self, transfer: &Arc<Transfer>) -> Vec<Output> {
        let validation = self.chain.pool.submit(transfer);
        self.validate(&transfer.id(), validation)
    }

    /// Processes an announcement and returns the transfers submitted to the mempool.
    fn announce(&mut self, from: u8, transfer: &Arc<Transfer>) -> Vec<Output> {
        self.step(|_, cx, transfers| {
            transfers.announced(cx, peer(from), AnnouncementId(0), (0, transfer));
        })
    }

    /// Simulates a number of seconds with an honest peer and returns the requests.
    fn exchange(&mut self, seconds: u64, other: &MockChain) -> Vec<Request> {
        let outputs = self.pass(seconds);
        self.run(outputs, other).into_iter().map(|(_, request)| request).collect()
    }

    /// Processes all outputs with an honest peer that has another mempool and returns the requests.
    fn run(&mut self, mut outputs: Vec<Output>, other: &MockChain) -> Vec<(PeerId, Request)> {
        let mut requests = Vec::new();
        while !outputs.is_empty() {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Request { id: RequestId::Mempool(request), peer, request: what } => {
                        let response = serve::answer(other, &what);
                        requests.push((peer, what));
                        outputs.extend(self.response(request, Ok(response)));
                    }
                    Output::ImportTransfer(transfer) => outputs.extend(self.take(&transfer)),
                    Output::ReportPeer { peer, misbehavior } => {
                        self.reports.push((peer, misbehavior));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        requests
    }

    fn validate(&mut self, id: &Id, validation: TransferValidation) -> Vec<Output> {
        self.step(|exchange, cx, transfers| {
            let in_flight = transfers.validated(cx, id, validation).unwrap();
            exchange.transfer_validated(cx, &in_flight, validation, transfers);
        })
    }
}

/// The only request of these outputs.
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

/// The positions of the requested pages.
fn pages(requests: &[Request]) -> Vec<u64> {
    let from = |request: &Request| match request {
        Request::MempoolIds { from } => Some(*from),
        _ => None,
    };
    requests.iter().filter_map(from).collect()
}

/// The ids of the requested transfers.
fn fetched(requests: &[Request]) -> Vec<Id> {
    let mut fetched = Vec::new();
    for request in requests {
        if let Request::MempoolTransfers { ids } = request {
            assert!(ids.len() <= MAX_BATCH);
            fetched.extend(ids);
        }
    }
    fetched
}

#[test]
fn fetches_missing_transfers_from_new_peer() {
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
fn requests_only_ids_since_last_exchange() {
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
fn exchanges_with_all_peers_in_turn() {
    let mut bench = Bench::with_peers(3);
    let other = pool_of(0..10);
    let mut asked = Vec::new();
    let mut for_all = Vec::new();
    for _ in 0..60 {
        let outputs = bench.pass(5);
        let requests = bench.run(outputs, &other);
        let (peer, first) = requests[0].clone();
        asked.push(peer);
        if first == (Request::MempoolIds { from: 0 }) {
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
fn sends_no_request_before_node_is_synced() {
    let mut bench = Bench::with_peers(1);
    bench.is_synced = false;
    assert!(bench.pass(100).is_empty());
    bench.is_synced = true;
    assert_eq!(asked(&bench.pass(1)).1, peer(0));
}

#[test]
fn exchange_stays_below_request_limit_and_next_one_continues() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..90_000);
    let limits = Protocol::Mempool.limits();
    assert_eq!(bench.exchange(1, &other).len(), limits.requests as usize);
    assert_eq!(bench.chain.pool.len(), 80_000);
    assert!(bench.pass(2).is_empty(), "no room for a page and its transfers");
    assert_eq!(pages(&bench.exchange(1, &other)), [80_000]);
    assert_eq!(bench.chain.pool.len(), 84_000);
    bench.exchange(3, &other);
    assert_eq!(pages(&bench.exchange(3, &other)), [88_000]);
    assert_eq!(bench.chain.pool.len(), 90_000);
}

// N13: fetched transfers wait for a share of those in flight like announced ones.
#[test]
fn fetched_transfers_wait_for_their_share() {
    let mut bench = Bench::with_peers(10);
    let other = pool_of(0..1_000);
    let (ids, _, what) = asked(&bench.pass(1));
    let outputs = bench.response(ids, Ok(serve::answer(&other, &what)));
    let (transfers, _, what) = asked(&outputs);
    let outputs = bench.response(transfers, Ok(serve::answer(&other, &what)));
    assert_eq!(outputs.len(), MIN_SHARE);
    let Output::ImportTransfer(first) = &outputs[0] else { panic!("{outputs:?}") };
    let next = bench.validate(&first.id(), TransferValidation::Added);
    assert!(matches!(next.as_slice(), [Output::ImportTransfer(_)]), "{next:?}");
}

/// A number of senders with a number of transfers each, submitted in turn.
fn submitted(senders: u64, each: u64) -> Vec<Arc<Transfer>> {
    let round = |nonce| (0..senders).map(move |sender| transfer_of(sender, nonce));
    (0..each).flat_map(round).collect()
}

// Announcements that follow a lost one by more than 64 nonces are rejected.
#[test]
fn fetches_lost_announcement_within_two_exchanges() {
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

// The writer validates a block while all peers announce.
#[test]
fn fetches_transfers_announced_while_mempool_was_busy() {
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
        // The peer that is asked meanwhile has to wait too.
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

// A replaced transfer comes after those that depend on it.
#[test]
fn transfer_replaced_late_does_not_block_later_nonces() {
    let mut bench = Bench::with_peers(1);
    let mut other = MockChain::dev();
    let (before, after) = (0..5, 6..900);
    before.chain(after).for_each(|nonce| other.pool.insert(&transfer_of(1, nonce)));
    other.pool.insert(&transfer_of(1, 5));
    let requests = bench.exchange(1, &other);
    assert_eq!(bench.chain.pool.len(), 900);
    assert_eq!(fetched(&requests).len(), 900, "once each");
}

// A gap that is never closed must not cause requests without end.
#[test]
fn transfers_too_far_ahead_are_rarely_fetched() {
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
fn peer_that_exceeded_its_share_is_asked_early() {
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
fn endless_peer_does_not_starve_others() {
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
fn fetches_rejected_transfer_again_later() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..1);
    let one = transfer(0);
    bench.announce(0, &one);
    bench.validate(&one.id(), TransferValidation::Rejected);
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

// The mempool has not rejected it yet when the peer's page contains it.
#[test]
fn retries_transfer_announced_too_early_during_exchange() {
    let mut bench = Bench::with_peers(1);
    let mut other = MockChain::dev();
    (0..200).for_each(|nonce| other.pool.insert(&transfer_of(1, nonce)));
    let outputs = bench.pass(1);
    for nonce in [90, 100] {
        bench.announce(0, &transfer_of(1, nonce));
    }
    let (request, _, what) = asked(&outputs);
    let outputs = bench.response(request, Ok(serve::answer(&other, &what)));
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
fn wrong_response_ends_exchange() {
    let ids: Vec<Id> = (0..3).map(|number| transfer(number).id()).collect();
    let too_many = Response::MempoolIds { ids: vec![Id::ZERO; MAX_MEMPOOL_ITEMS + 1], next: 1 };
    let not_asked_for = Response::MempoolTransfers(vec![Transfer::clone(&transfer(1))]);
    for wrong in [too_many, not_asked_for, Response::Headers(Vec::new())] {
        let mut bench = Bench::with_peers(1);
        let (request, ..) = asked(&bench.pass(1));
        let outputs = bench.response(request, Ok(wrong));
        assert_eq!(outputs.len(), 1);
        assert!(matches!(
            outputs[0],
            Output::ReportPeer { misbehavior: Misbehavior::WrongResponse, .. }
        ));
        assert!(bench.pass(1).is_empty());
    }
    let mut bench = Bench::with_peers(1);
    let (request, ..) = asked(&bench.pass(1));
    let twice = [ids.clone(), ids].concat();
    let outputs = bench.response(request, Ok(Response::MempoolIds { ids: twice, next: 6 }));
    let (request, _, what) = asked(&outputs);
    let Request::MempoolTransfers { ids } = what else { panic!("{what:?}") };
    assert_eq!(ids.len(), 3, "each once");
    let twice = vec![Transfer::clone(&transfer(1)); 2];
    let outputs = bench.response(request, Ok(Response::MempoolTransfers(twice)));
    assert!(matches!(
        outputs[0],
        Output::ReportPeer { misbehavior: Misbehavior::WrongResponse, .. }
    ));
}

#[test]
fn error_response_or_disconnect_ends_exchange_without_report() {
    for result in [Ok(Response::Error(ResponseError::RateLimited)), Err(Failure::Disconnected)] {
        let mut bench = Bench::with_peers(1);
        let (request, ..) = asked(&bench.pass(1));
        assert!(bench.response(request, result).is_empty());
        assert!(bench.pass(9).is_empty());
        assert_eq!(asked(&bench.pass(1)).2, Request::MempoolIds { from: 0 });
    }
}

#[test]
fn requests_page_again_if_its_transfers_did_not_arrive() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..10);
    let (request, _, what) = asked(&bench.pass(1));
    let (request, ..) = asked(&bench.response(request, Ok(serve::answer(&other, &what))));
    let outputs = bench.response(request, Err(Failure::Timeout));
    assert!(matches!(outputs[0], Output::ReportPeer { misbehavior: Misbehavior::Timeout, .. }));
    bench.exchange(10, &other);
    assert_eq!(bench.chain.pool.len(), 10);
}

#[test]
fn invalid_transfer_ends_exchange() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..5_000);
    let (ids, _, what) = asked(&bench.pass(1));
    let outputs = bench.response(ids, Ok(serve::answer(&other, &what)));
    let (transfers, _, what) = asked(&outputs);
    let outputs = bench.response(transfers, Ok(serve::answer(&other, &what)));
    let Output::ImportTransfer(first) = &outputs[0] else { panic!("{outputs:?}") };
    let outputs = bench.validate(&first.id(), TransferValidation::Invalid);
    assert_eq!(outputs.len(), 1);
    assert!(matches!(
        outputs[0],
        Output::ReportPeer { misbehavior: Misbehavior::BadAnnouncement, .. }
    ));
}
