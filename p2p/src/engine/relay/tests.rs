//! Relay without sync: a bench with a chain, peers and transfers in flight.

mod blocks;
mod bounds;
mod reconstruct;
mod transfers;

use super::Relay;
use crate::engine::context::{Context, Peers};
use crate::engine::transfers::InFlightTransfers;
use crate::engine::{
    AnnouncementId, BlockValidation, Failure, MessageAcceptance, Misbehavior, Now, Output,
    RequestId, TransferValidation,
};
use crate::message::{Announcement, CompactBlock, Request, Response};
use crate::testing::mock_chain::MockChain;
use crate::view::ChainView;
use chain::block::{self, Block, Header, Height, Timestamp};
use chain::tx::{Id, Transfer};
use libp2p::PeerId;
use libp2p::multihash::Multihash;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const CLOCK: Timestamp = Timestamp::new(1_800_000_000);

/// The id of the peer with a number.
fn peer(number: u16) -> PeerId {
    let hash = Multihash::wrap(0, &number.to_be_bytes()).unwrap();
    PeerId::from_multihash(hash).unwrap()
}

struct Bench {
    relay: Relay,
    transfers: InFlightTransfers,
    chain: MockChain,
    peers: Peers,
    importing: BTreeSet<block::Hash>,
    is_synced: bool,
    rng: Xoshiro256PlusPlus,
    elapsed: Duration,
    next_id: u64,
    for_sync: Vec<(PeerId, Header)>,
}

impl Bench {
    /// Returns a bench that is connected with peers 0, 1, … and level with them.
    fn with_peers(peers: u16) -> Bench {
        Bench {
            relay: Relay::new(),
            transfers: InFlightTransfers::new(),
            chain: MockChain::dev(),
            peers: (0..peers).map(|number| (peer(number), Height::GENESIS)).collect(),
            importing: BTreeSet::new(),
            is_synced: true,
            rng: Xoshiro256PlusPlus::seed_from_u64(1),
            elapsed: Duration::ZERO,
            next_id: 0,
            for_sync: Vec::new(),
        }
    }

    fn step(
        &mut self,
        act: impl FnOnce(&mut Relay, &mut Context, &mut InFlightTransfers),
    ) -> Vec<Output> {
        let now = Now { elapsed: self.elapsed, clock: CLOCK };
        let shared = (&self.peers, &self.importing);
        let mut cx = Context::new(now, &self.chain, shared, self.is_synced, &mut self.rng);
        act(&mut self.relay, &mut cx, &mut self.transfers);
        self.for_sync.append(&mut cx.for_sync);
        cx.out
    }

    fn announce(&mut self, from: u16, announcement: Announcement) -> Vec<Output> {
        self.next_id += 1;
        let id = AnnouncementId(self.next_id);
        self.step(|relay, cx, transfers| {
            relay.handle_announcement(cx, (peer(from), id), announcement, transfers);
        })
    }

    fn announce_block(&mut self, from: u16, block: &Arc<Block>) -> Vec<Output> {
        self.announce(from, Announcement::Block(Arc::clone(block)))
    }

    fn announce_compact(&mut self, from: u16, block: &Block) -> Vec<Output> {
        let compact = CompactBlock::of(block, 7, &[]);
        self.announce(from, Announcement::CompactBlock(Arc::new(compact)))
    }

    fn announce_transfer(&mut self, from: u16, transfer: &Arc<Transfer>) -> Vec<Output> {
        self.announce_again(from, 0, transfer)
    }

    fn announce_again(&mut self, from: u16, round: u32, transfer: &Arc<Transfer>) -> Vec<Output> {
        self.announce(from, Announcement::Transfer { round, transfer: Arc::clone(transfer) })
    }

    /// Processes the end of a request.
    fn response(&mut self, asked: &Asked, result: Result<Response, Failure>) -> Vec<Output> {
        self.step(|relay, cx, _| relay.handle_response(cx, asked.request, result))
    }

    /// Validates an imported block.
    fn validate(&mut self, block: &Arc<Block>) -> Vec<Output> {
        let validation = self.chain.insert(block, CLOCK);
        self.validated(block.hash(), validation)
    }

    fn validated(&mut self, hash: block::Hash, validation: BlockValidation) -> Vec<Output> {
        self.importing.remove(&hash);
        self.step(|relay, cx, _| relay.block_validated(cx, hash, validation))
    }

    fn validate_transfer(&mut self, id: &Id, validation: TransferValidation) -> Vec<Output> {
        self.step(|relay, cx, transfers| {
            let in_flight = transfers.validated(cx, id, validation).unwrap();
            relay.transfer_validated(cx, &in_flight, validation);
        })
    }

    /// Inserts transfers into the mempool.
    fn pool(&mut self, transfers: &[Arc<Transfer>]) -> Vec<Output> {
        transfers.iter().for_each(|one| self.chain.pool.insert(one));
        let ids = transfers.iter().map(|one| one.id()).collect();
        self.step(|relay, cx, transfers| relay.transfers_accepted(cx, ids, transfers))
    }

    fn tip_changed(&mut self) -> Vec<Output> {
        self.step(|relay, cx, transfers| relay.tip_changed(cx, false, transfers))
    }

    /// Advances time by a number of milliseconds, with a tick at the end.
    fn pass(&mut self, milliseconds: u64) -> Vec<Output> {
        self.elapsed += Duration::from_millis(milliseconds);
        self.step(Relay::tick)
    }
}

/// A request of relay.
#[derive(Debug)]
struct Asked {
    request: u64,
    peer: PeerId,
    what: Request,
}

fn asked(outputs: &[Output]) -> Vec<Asked> {
    let asked = outputs.iter().filter_map(|output| match output {
        Output::Request { id: RequestId::Relay(request), peer, request: what } => {
            Some(Asked { request: *request, peer: *peer, what: what.clone() })
        }
        _ => None,
    });
    asked.collect()
}

/// The only request of these outputs.
fn only_asked(outputs: &[Output]) -> Asked {
    let mut asked = asked(outputs);
    assert_eq!(asked.len(), 1, "{outputs:?}");
    asked.remove(0)
}

fn validations(outputs: &[Output]) -> Vec<MessageAcceptance> {
    let validations = outputs.iter().filter_map(|output| match output {
        Output::ReportValidation { acceptance, .. } => Some(*acceptance),
        _ => None,
    });
    validations.collect()
}

fn reports(outputs: &[Output]) -> Vec<(PeerId, Misbehavior)> {
    let reports = outputs.iter().filter_map(|output| match output {
        Output::ReportPeer { peer, misbehavior } => Some((*peer, *misbehavior)),
        _ => None,
    });
    reports.collect()
}

fn imported(outputs: &[Output]) -> Vec<block::Hash> {
    let imported = outputs.iter().filter_map(|output| match output {
        Output::ImportBlock(submission) => Some(submission.block.hash()),
        _ => None,
    });
    imported.collect()
}

fn announcements(outputs: &[Output]) -> Vec<Announcement> {
    let announced = outputs.iter().filter_map(|output| match output {
        Output::Announce(announcement) => Some(announcement.clone()),
        _ => None,
    });
    announced.collect()
}

fn submitted(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::ImportTransfer(_))).count()
}
