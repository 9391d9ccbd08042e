//! Headers-first sync: which peer to ask for headers, which for bodies, and what to make of their
//! answers. Pure: time, the chain and a seed are arguments. Knows no announcements but by header.

use crate::engine::{BlockVerdict, Failure, Now, Output, Progress, SyncState};
use crate::message::{Reply, Status};
use crate::view::ChainView;
use chain::block::{self, Header};
use libp2p::PeerId;
use std::time::Duration;

/// What the machine may take, and how long it waits. `Limits::default` is what the design says.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Headers without body of one branch: about 200 bytes each. A longer fork is not followed.
    pub branch_headers: usize,
    /// Headers without body of all branches.
    pub all_headers: usize,
    /// Blocks after the import point that may be asked for.
    pub window_blocks: usize,
    /// Bytes of blocks that wait to be handed over.
    pub window_bytes: usize,
    /// Blocks that are with the writer at a time.
    pub importing: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            branch_headers: 100_000,
            all_headers: 250_000,
            window_blocks: 1_024,
            window_bytes: 64 << 20,
            importing: 64,
        }
    }
}

/// What concerns sync.
#[derive(Debug)]
pub enum Event {
    /// A peer is there and has said hello.
    PeerUp {
        /// Who.
        peer: PeerId,
        /// Whether we called it.
        outbound: bool,
        /// What it says of itself.
        status: Status,
    },
    /// A peer has news of itself.
    PeerStatus {
        /// Who.
        peer: PeerId,
        /// What it says.
        status: Status,
    },
    /// A peer is gone.
    PeerDown {
        /// Who.
        peer: PeerId,
    },
    /// A request of this machine came to its end: the number in `RequestId::Sync`.
    Replied {
        /// Which.
        request: u64,
        /// How.
        result: Result<Reply, Failure>,
    },
    /// A peer showed a header whose parent or body is missing here: to be fetched, from it first.
    Announced {
        /// Who.
        peer: PeerId,
        /// What.
        header: Header,
    },
    /// A block was judged, whoever handed it over.
    BlockJudged {
        /// Which.
        hash: block::Hash,
        /// How.
        verdict: BlockVerdict,
    },
    /// The best chain is another one.
    TipChanged,
    /// Time passes: about four times a second.
    Tick,
}

/// The machine.
#[derive(Debug)]
pub struct Sync {
    limits: Limits,
    is_synced: bool,
}

impl Sync {
    /// Knows nobody, and what it has to know of the chain it reads there. The seed makes one node
    /// choose other peers than another.
    pub fn new(_seed: u64, limits: Limits) -> Sync {
        Sync { limits, is_synced: false }
    }

    /// What is to be done about an event is added to `out`.
    pub fn handle(
        &mut self,
        _now: Now,
        _event: Event,
        _chain: &impl ChainView,
        _out: &mut Vec<Output>,
    ) {
        let _ = (self.limits, Duration::ZERO);
    }

    /// How far this node is. `Synced` is for ever once it is reached.
    pub fn progress(&self, chain: &impl ChainView) -> Progress {
        let height = chain.tip().height;
        let state = if self.is_synced { SyncState::Synced } else { SyncState::Headers };
        Progress { state, best_header: height, height }
    }

    /// Whether this node has been level with its peers since it started. Never taken back: neither a
    /// reorganisation nor a peer that claims much is a reason to stop mining.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }
}
