//! The pure machine behind a node's conversation: what comes in, what is to be done. Time, the chain
//! and randomness are arguments, so a run can be repeated exactly. `sync`, `relay` and `pool` are its
//! parts; this module says what they hear and say, and leads each input to those whom it concerns.

pub(crate) mod intake;
pub(crate) mod ring;
pub(crate) mod step;

use crate::message::{Announcement, Reply, Request, Status, VERSION};
use crate::pool::Exchange;
use crate::relay::Relay;
use crate::sync::{self, Sync};
use crate::view::ChainView;
use chain::block::{self, Block, Header, Height, Timestamp};
use chain::ledger::{Accepted, SubmitError, TransferError};
use chain::mempool::{Admission, RejectReason};
use chain::tx::{Id, Transfer};
use intake::Intake;
use libp2p::PeerId;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use ring::Ring;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use step::{Peers, Step};

/// The time, twice: one that only grows, and one to compare block times with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the machine was made.
    pub elapsed: Duration,
    /// The wall clock.
    pub clock: Timestamp,
}

/// Which part of the machine made a request, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestId {
    /// Headers and bodies.
    Sync(u64),
    /// What an announcement lacked.
    Relay(u64),
    /// What the mempool lacks.
    Pool(u64),
}

/// Names an announcement until it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnnouncementId(pub u64);

/// Something happened.
#[derive(Debug)]
pub enum Input {
    /// A peer of our network is connected and has said hello.
    Up {
        /// Who.
        peer: PeerId,
        /// Whether we called it.
        outbound: bool,
        /// What it says of itself.
        status: Status,
    },
    /// A peer has news of itself.
    Status {
        /// Who.
        peer: PeerId,
        /// What it says.
        status: Status,
    },
    /// A peer is gone. What was asked of it will not be answered.
    Down {
        /// Who.
        peer: PeerId,
    },
    /// A request came to its end.
    Replied {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<Reply, Failure>,
    },
    /// A peer announces something.
    Announced {
        /// Who.
        peer: PeerId,
        /// Awaits `Output::Judge`.
        id: AnnouncementId,
        /// What.
        announcement: Announcement,
    },
    /// A block from `Output::ImportBlock` was judged.
    BlockJudged {
        /// Which.
        hash: block::Hash,
        /// How.
        verdict: BlockVerdict,
    },
    /// A transfer from `Output::ImportTransfer` was judged.
    TransferJudged {
        /// Which.
        id: Id,
        /// How.
        verdict: TransferVerdict,
    },
    /// The node's best chain is another one now, whoever brought the block.
    TipChanged,
    /// Transfers that this node's mempool took, from whomever, or took back in a reorganisation.
    Pooled(Vec<Id>),
    /// Time passes: at least four times a second.
    Tick,
}

/// Why a request has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It took too long.
    Timeout,
    /// The peer is gone.
    Disconnected,
    /// The reply could not be decoded, or is above its limit.
    Malformed,
    /// The stream broke.
    Io,
    /// The peer does not speak the protocol.
    Unsupported,
}

impl Failure {
    /// What it counts against whoever was asked. A peer that is gone does no harm.
    pub fn conduct(self) -> Option<Conduct> {
        match self {
            Failure::Timeout => Some(Conduct::Timeout),
            Failure::Malformed => Some(Conduct::Malformed),
            Failure::Io | Failure::Unsupported => Some(Conduct::BrokenStream),
            Failure::Disconnected => None,
        }
    }
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockVerdict {
    /// It was taken in, or was there.
    Accepted(Accepted),
    /// It breaks a rule.
    Invalid {
        /// The rule's code.
        code: &'static str,
        /// Whether the header is to blame, not only this body: no other body can make it valid.
        for_ever: bool,
    },
    /// Its parent is not here.
    UnknownParent,
    /// This node could not judge it.
    Failed,
}

impl From<&Result<Accepted, SubmitError>> for BlockVerdict {
    fn from(result: &Result<Accepted, SubmitError>) -> BlockVerdict {
        match result {
            Ok(accepted) => BlockVerdict::Accepted(*accepted),
            Err(SubmitError::Invalid(error)) => {
                BlockVerdict::Invalid { code: error.code(), for_ever: error.invalidates_header() }
            }
            Err(SubmitError::KnownInvalid { code, .. }) => {
                BlockVerdict::Invalid { code, for_ever: true }
            }
            Err(SubmitError::UnknownParent { .. }) => BlockVerdict::UnknownParent,
            Err(SubmitError::Store(_)) => BlockVerdict::Failed,
        }
    }
}

/// What became of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferVerdict {
    /// The mempool took it.
    Added,
    /// The mempool had it.
    Known,
    /// It can never be valid.
    Invalid,
    /// Too many transfers of its sender that come before it are missing.
    TooFar,
    /// It does not fit the accounts or the mempool as they are now for another reason.
    Refused,
    /// This node could not judge it.
    Failed,
}

impl From<&Result<Admission, TransferError>> for TransferVerdict {
    fn from(result: &Result<Admission, TransferError>) -> TransferVerdict {
        match result {
            Ok(Admission::Added(_)) => TransferVerdict::Added,
            Ok(Admission::AlreadyKnown) => TransferVerdict::Known,
            Err(TransferError::Invalid(_)) => TransferVerdict::Invalid,
            Err(TransferError::Rejected(RejectReason::NonceTooFar { .. })) => {
                TransferVerdict::TooFar
            }
            Err(TransferError::Rejected(_)) => TransferVerdict::Refused,
            Err(TransferError::Store(_)) => TransferVerdict::Failed,
        }
    }
}

/// Something is to be done.
#[derive(Debug)]
pub enum Output {
    /// Ask a peer. `Input::Replied` follows, also when the peer is gone.
    Ask {
        /// To be named by the answer.
        request: RequestId,
        /// Whom.
        peer: PeerId,
        /// What.
        what: Request,
    },
    /// Hand a block to the chain. `Input::BlockJudged` follows, in the order of handing over.
    ImportBlock(Arc<Block>),
    /// Hand a transfer to the mempool. `Input::TransferJudged` follows.
    ImportTransfer(Arc<Transfer>),
    /// Tell everybody.
    Announce(Announcement),
    /// Settle what a peer announced.
    Judge {
        /// Which.
        id: AnnouncementId,
        /// How.
        judgement: Judgement,
    },
    /// A peer behaved well or badly.
    Report {
        /// Who.
        peer: PeerId,
        /// What it did.
        conduct: Conduct,
    },
    /// A peer is of no use.
    Disconnect {
        /// Who.
        peer: PeerId,
        /// Why: for the log.
        why: &'static str,
    },
    /// What this node says of its chain has changed, or how far sync is.
    Progress(Progress),
}

/// What is done with an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Forward it.
    Accept,
    /// Do not.
    Ignore,
    /// Do not, and hold it against whoever sent it: it is wrong for everyone and for ever.
    Reject,
}

/// What a peer did. `Conduct::points` is the table of what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// It sent blocks that were asked for; this many MiB, rounded down.
    Delivered,
    /// A header without its proof of work, or one that breaks another rule for ever.
    BadHeader,
    /// A body that is not the one of its header.
    WrongBody,
    /// A body that breaks a rule: whoever serves blocks has checked them.
    InvalidBlock,
    /// An announcement that is wrong for everyone and for ever.
    BadAnnouncement,
    /// Another genesis or version than its protocol names say.
    WrongNetwork,
    /// A message that cannot be decoded, or is above its limit.
    Malformed,
    /// A request that makes no sense.
    BadRequest,
    /// More requests than twice the limit.
    TooManyRequests,
    /// A reply that does not fit its request.
    WrongReply,
    /// A stream that broke.
    BrokenStream,
    /// No reply in time.
    Timeout,
}

/// How far this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being fetched.
    pub state: SyncState,
    /// The best header's height, at least the tip's.
    pub best_header: Height,
    /// The tip's height.
    pub height: Height,
}

/// What is being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// Headers, or nothing yet because nobody was asked.
    Headers,
    /// Bodies.
    Blocks,
    /// News only.
    Synced,
}

/// Services: this node serves all blocks of its chain.
const SERVES_ALL_BLOCKS: u64 = 1;

/// Blocks from others that are remembered: as many as sync fetches ahead.
const FOREIGN: usize = 1_024;

/// The whole machine.
pub struct Engine {
    sync: Sync,
    relay: Relay,
    exchange: Exchange,
    intake: Intake,
    peers: Peers,
    /// Blocks that the chain is judging, whichever part handed them over.
    importing: BTreeSet<block::Hash>,
    /// Blocks that came from others lately.
    foreign: Ring<block::Hash>,
    rng: Xoshiro256PlusPlus,
    /// Names this run of the node to others.
    nonce: u64,
}

impl Engine {
    /// A machine that knows nobody. The same seed and inputs give the same outputs; a node takes
    /// another seed each time it starts, that nobody can guess.
    pub fn new(seed: u64) -> Engine {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Engine {
            sync: Sync::new(rng.random(), sync::Limits::default()),
            relay: Relay::new(),
            exchange: Exchange::new(),
            intake: Intake::new(),
            peers: Peers::new(),
            importing: BTreeSet::new(),
            foreign: Ring::new(FOREIGN),
            nonce: rng.random(),
            rng,
        }
    }

    /// Takes in what happened; what is to be done about it, in this order.
    pub fn handle(&mut self, now: Now, input: Input, chain: &impl ChainView) -> Vec<Output> {
        let (mut out, mut for_sync) = (Vec::new(), Vec::new());
        self.keep_in_mind(&input);
        self.lead(now, input, chain, (&mut out, &mut for_sync));
        for (peer, header) in for_sync {
            self.sync.handle(now, sync::Event::Announced { peer, header }, chain, &mut out);
        }
        for output in &out {
            if let Output::ImportBlock(block) = output {
                self.importing.insert(block.hash());
                self.foreign.insert(block.hash(), ());
            }
        }
        out
    }

    /// Who is there, and what the chain is judging.
    fn keep_in_mind(&mut self, input: &Input) {
        match input {
            Input::Up { peer, status, .. } => {
                self.peers.insert(*peer, status.height);
            }
            Input::Status { peer, status } => {
                if let Some(height) = self.peers.get_mut(peer) {
                    *height = status.height;
                }
            }
            Input::Down { peer } => drop(self.peers.remove(peer)),
            Input::BlockJudged { hash, .. } => drop(self.importing.remove(hash)),
            _ => {}
        }
    }

    /// Leads an input to the parts that it concerns; sync comes first.
    fn lead<C: ChainView>(
        &mut self,
        now: Now,
        input: Input,
        chain: &C,
        (out, for_sync): (&mut Vec<Output>, &mut Vec<(PeerId, Header)>),
    ) {
        let Engine { sync, relay, exchange, intake, peers, importing, foreign, rng, .. } = self;
        let is_synced = sync.is_synced();
        let mut step = Step { now, chain, peers, is_synced, rng, out, for_sync };
        let mut tell_sync = |step: &mut Step<C>, event| sync.handle(now, event, chain, step.out);
        match input {
            Input::Up { peer, outbound, status } => {
                exchange.up(peer);
                tell_sync(&mut step, sync::Event::PeerUp { peer, outbound, status });
            }
            Input::Status { peer, status } => {
                tell_sync(&mut step, sync::Event::PeerStatus { peer, status });
            }
            Input::Down { peer } => {
                exchange.down(&peer);
                tell_sync(&mut step, sync::Event::PeerDown { peer });
            }
            Input::Replied { request: RequestId::Sync(request), result } => {
                tell_sync(&mut step, sync::Event::Replied { request, result });
            }
            Input::Replied { request: RequestId::Relay(request), result } => {
                relay.replied(&mut step, request, result);
            }
            Input::Replied { request: RequestId::Pool(request), result } => {
                exchange.replied(&mut step, request, result, intake);
            }
            Input::Announced { peer, id, announcement } => {
                relay.announced(&mut step, (peer, id), announcement, intake, importing);
            }
            Input::BlockJudged { hash, verdict } => {
                tell_sync(&mut step, sync::Event::BlockJudged { hash, verdict });
                relay.block_judged(&mut step, hash, verdict, importing);
            }
            Input::TransferJudged { id, verdict } => {
                if let Some(came) = intake.judged(&mut step, &id, verdict) {
                    relay.transfer_judged(&mut step, &came, verdict);
                    exchange.judged(&mut step, &came, verdict, intake);
                }
            }
            Input::TipChanged => {
                tell_sync(&mut step, sync::Event::TipChanged);
                let Progress { best_header, height, .. } = sync.progress(chain);
                let more_will_come = best_header > height && foreign.contains(&chain.tip().hash);
                relay.tip_changed(&mut step, more_will_come, intake);
            }
            Input::Pooled(ids) => relay.pooled(&mut step, ids, intake),
            Input::Tick => {
                tell_sync(&mut step, sync::Event::Tick);
                relay.tick(&mut step, intake, importing);
                exchange.tick(&mut step, intake);
            }
        }
    }

    /// What this node says of itself.
    pub fn status(&self, now: Now, chain: &impl ChainView) -> Status {
        let tip = chain.tip();
        Status {
            version: VERSION,
            services: SERVES_ALL_BLOCKS,
            genesis: chain.params().genesis_hash(),
            tip: tip.hash,
            height: tip.height,
            chain_work: tip.chain_work,
            relay: self.sync.is_synced(),
            clock: u64::from(now.clock.get()),
            nonce: self.nonce,
        }
    }

    /// How far this node is.
    pub fn progress(&self, chain: &impl ChainView) -> Progress {
        self.sync.progress(chain)
    }
}

#[cfg(test)]
mod tests;
