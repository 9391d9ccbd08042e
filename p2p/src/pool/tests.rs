use super::*;
use crate::engine::intake::LEAST_SHARE;
use crate::engine::step::Peers;
use crate::engine::{Now, Output};
use crate::message::Refusal;
use crate::serve;
use crate::toy_chain::{ToyChain, transfer};
use chain::block::{Height, Timestamp};
use libp2p::multihash::Multihash;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

fn peer(number: u8) -> PeerId {
    PeerId::from_multihash(Multihash::wrap(0, &[number]).unwrap()).unwrap()
}

/// A mempool so large, of transfers that only differ in their number.
fn pool_of(transfers: std::ops::Range<u64>) -> ToyChain {
    let mut chain = ToyChain::dev();
    chain.pool = transfers.map(transfer).map(|one| (one.id(), one)).collect();
    chain
}

/// A node that exchanges its mempool with others.
struct Bench {
    exchange: Exchange,
    intake: Intake,
    chain: ToyChain,
    peers: Peers,
    is_synced: bool,
    rng: Xoshiro256PlusPlus,
    elapsed: Duration,
    reports: Vec<(PeerId, Conduct)>,
}

impl Bench {
    fn with_peers(peers: u8) -> Bench {
        Bench {
            exchange: Exchange::new(),
            intake: Intake::new(),
            chain: ToyChain::dev(),
            peers: (0..peers).map(|number| (peer(number), Height::GENESIS)).collect(),
            is_synced: true,
            rng: Xoshiro256PlusPlus::seed_from_u64(1),
            elapsed: Duration::ZERO,
            reports: Vec::new(),
        }
    }

    fn step(
        &mut self,
        act: impl FnOnce(&mut Exchange, &mut Step<ToyChain>, &mut Intake),
    ) -> Vec<Output> {
        let mut out = Vec::new();
        let mut step = Step {
            now: Now { elapsed: self.elapsed, clock: Timestamp::new(1_800_000_000) },
            chain: &self.chain,
            peers: &self.peers,
            is_synced: self.is_synced,
            rng: &mut self.rng,
            out: &mut out,
            for_sync: &mut Vec::new(),
        };
        act(&mut self.exchange, &mut step, &mut self.intake);
        out
    }

    fn pass(&mut self, seconds: u64) -> Vec<Output> {
        self.elapsed += Duration::from_secs(seconds);
        self.step(Exchange::tick)
    }

    fn reply(&mut self, request: u64, result: Result<Reply, Failure>) -> Vec<Output> {
        self.step(|exchange, step, intake| exchange.replied(step, request, result, intake))
    }

    /// Does all there is to do, with an honest peer that has another mempool; the requests.
    fn run(&mut self, mut outputs: Vec<Output>, other: &ToyChain) -> Vec<(PeerId, Request)> {
        let mut requests = Vec::new();
        while !outputs.is_empty() {
            for output in std::mem::take(&mut outputs) {
                match output {
                    Output::Ask { request: RequestId::Pool(request), peer, what } => {
                        let reply = serve::answer(other, &what);
                        requests.push((peer, what));
                        outputs.extend(self.reply(request, Ok(reply)));
                    }
                    Output::ImportTransfer(transfer) => {
                        let id = transfer.id();
                        self.chain.pool.insert(id, transfer);
                        outputs.extend(self.judge(&id, TransferVerdict::Added));
                    }
                    Output::Report { peer, conduct } => self.reports.push((peer, conduct)),
                    other => panic!("{other:?}"),
                }
            }
        }
        requests
    }

    fn judge(&mut self, id: &Id, verdict: TransferVerdict) -> Vec<Output> {
        self.step(|exchange, step, intake| {
            let came = intake.judged(step, id, verdict).unwrap();
            exchange.judged(step, came, verdict, intake);
        })
    }
}

/// The one request among these.
fn asked(outputs: &[Output]) -> (u64, PeerId, Request) {
    let mut asked = outputs.iter().filter_map(|output| match output {
        Output::Ask { request: RequestId::Pool(request), peer, what } => {
            Some((*request, *peer, what.clone()))
        }
        _ => None,
    });
    let first = asked.next().unwrap();
    assert!(asked.next().is_none());
    first
}

#[test]
fn a_node_takes_what_it_lacks_from_a_new_peer() {
    let mut bench = Bench::with_peers(2);
    bench.chain = pool_of(0..3_000);
    let other = pool_of(2_000..9_000);
    bench.exchange.up(peer(1));
    let outputs = bench.pass(1);
    let requests = bench.run(outputs, &other);
    assert_eq!(bench.chain.pool.len(), 9_000);
    assert!(requests.iter().all(|(asked, _)| *asked == peer(1)));
    let mut fetched = BTreeSet::new();
    for (_, request) in &requests {
        if let Request::PoolTransfers { ids } = request {
            assert!(ids.len() <= BATCH);
            assert!(ids.iter().all(|id| fetched.insert(*id)), "nothing is fetched twice");
        }
    }
    assert_eq!(fetched.len(), 6_000);
    assert_eq!(bench.reports, []);
    assert!(bench.pass(59).is_empty());
    assert_eq!(asked(&bench.pass(1)).2, Request::PoolIds { after: Id::ZERO }, "with anybody");
}

#[test]
fn nobody_is_asked_before_the_node_is_synced() {
    let mut bench = Bench::with_peers(1);
    bench.is_synced = false;
    bench.exchange.up(peer(0));
    assert!(bench.pass(100).is_empty());
    bench.is_synced = true;
    assert_eq!(asked(&bench.pass(1)).1, peer(0));
}

#[test]
fn an_exchange_stays_below_what_a_peer_may_ask_and_the_next_goes_on_after_it() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..30_000);
    let outputs = bench.pass(1);
    let requests = bench.run(outputs, &other).len();
    let limits = crate::message::Protocol::Pool.limits();
    assert_eq!(limits.per, PERIOD);
    assert!(u32::try_from(requests).unwrap() <= limits.requests, "{requests}");
    assert_eq!(bench.chain.pool.len(), 24_000);
    let outputs = bench.pass(60);
    bench.run(outputs, &other);
    assert_eq!(bench.chain.pool.len(), 30_000);
}

// N13: fetched transfers wait for room on the way like announced ones.
#[test]
fn fetched_transfers_wait_for_their_turn() {
    let mut bench = Bench::with_peers(10);
    let other = pool_of(0..1_000);
    let (ids, ..) = asked(&bench.pass(1));
    let outputs = bench.reply(ids, Ok(Reply::PoolIds(other.pool_ids())));
    let (transfers, _, what) = asked(&outputs);
    let outputs = bench.reply(transfers, Ok(serve::answer(&other, &what)));
    assert_eq!(outputs.len(), LEAST_SHARE);
    let Output::ImportTransfer(first) = &outputs[0] else { panic!("{outputs:?}") };
    let next = bench.judge(&first.id(), TransferVerdict::Added);
    assert!(matches!(next.as_slice(), [Output::ImportTransfer(_)]), "{next:?}");
}

// N28
#[test]
fn a_reply_that_does_not_fit_ends_the_exchange() {
    let ascending = pool_of(0..3).pool_ids();
    let descending: Vec<Id> = ascending.iter().rev().copied().collect();
    let not_asked_for = Reply::PoolTransfers(vec![Transfer::clone(&transfer(1))]);
    for wrong in [Reply::PoolIds(descending), not_asked_for, Reply::Headers(Vec::new())] {
        let mut bench = Bench::with_peers(1);
        let (request, ..) = asked(&bench.pass(1));
        let outputs = bench.reply(request, Ok(wrong));
        assert_eq!(outputs.len(), 1);
        assert!(matches!(outputs[0], Output::Report { conduct: Conduct::WrongReply, .. }));
        assert!(bench.pass(1).is_empty());
    }
    let mut bench = Bench::with_peers(1);
    let (request, ..) = asked(&bench.pass(1));
    let (request, _, _) = asked(&bench.reply(request, Ok(Reply::PoolIds(ascending))));
    let twice = vec![Transfer::clone(&transfer(1)); 2];
    let outputs = bench.reply(request, Ok(Reply::PoolTransfers(twice)));
    assert!(matches!(outputs[0], Output::Report { conduct: Conduct::WrongReply, .. }));
}

#[test]
fn a_refusal_or_a_lost_peer_ends_the_exchange_without_blame() {
    for result in [Ok(Reply::Refused(Refusal::RateLimited)), Err(Failure::Disconnected)] {
        let mut bench = Bench::with_peers(1);
        let (request, ..) = asked(&bench.pass(1));
        assert!(bench.reply(request, result).is_empty());
        assert!(bench.pass(59).is_empty());
        asked(&bench.pass(1));
    }
}

#[test]
fn a_peer_with_an_invalid_transfer_is_left() {
    let mut bench = Bench::with_peers(1);
    let other = pool_of(0..5_000);
    let (ids, ..) = asked(&bench.pass(1));
    let outputs =
        bench.reply(ids, Ok(serve::answer(&other, &Request::PoolIds { after: Id::ZERO })));
    let (transfers, _, what) = asked(&outputs);
    let outputs = bench.reply(transfers, Ok(serve::answer(&other, &what)));
    let Output::ImportTransfer(first) = &outputs[0] else { panic!("{outputs:?}") };
    let outputs = bench.judge(&first.id(), TransferVerdict::Invalid);
    assert_eq!(outputs.len(), 1);
    assert!(matches!(outputs[0], Output::Report { conduct: Conduct::BadAnnouncement, .. }));
}
