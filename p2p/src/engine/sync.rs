//! Headers-first sync: which peer to ask for headers, which for bodies, and what to make of their
//! answers. Pure: time, the chain and a seed are arguments. Knows no announcements but by header.

mod header_tree;
mod peer;
mod segment;
mod session;
mod headers;
mod window;
mod bodies;
mod import;
mod progress;

use crate::engine::context::Context;
use crate::engine::machine::{BlockValidation, Failure, Input, Progress, RequestId};
use crate::message::{Request, Response};
use crate::view::ChainView;
use chain::block::{self, Header};
use header_tree::HeaderTree;
use import::ImportQueue;
use libp2p::PeerId;
use peer::Peer;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::time::Duration;
use window::Window;

/// What the machine may take, and how long it waits. `Limits::default` is what the design says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Headers without body of one branch, about 250 bytes each. A longer fork is not followed; a
    /// longer chain is fetched in parts.
    pub(crate) branch_headers: usize,
    /// Headers without body of all branches.
    pub(crate) all_headers: usize,
    /// Blocks after the import point that may be asked for.
    pub(crate) window_blocks: usize,
    /// Bytes of blocks that wait to be handed over.
    pub(crate) window_bytes: usize,
    /// Blocks that are with the writer at a time: enough for it to take some in, to check those behind
    /// them, and never to wait for the next. They are among those of the window.
    pub(crate) importing: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            branch_headers: 100_000,
            all_headers: 150_000,
            window_blocks: 1_024,
            window_bytes: 64 << 20,
            importing: 256,
        }
    }
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Sync {
    limits: Limits,
    rng: Xoshiro256PlusPlus,
    peers: BTreeMap<PeerId, Peer>,
    tree: HeaderTree,
    window: Window,
    imports: ImportQueue,
    /// Requests that were not answered yet.
    requests: BTreeMap<u64, InFlightRequest>,
    next_request: u64,
    /// The block whose header was announced last, and who did: it is asked first.
    hint: Option<(block::Hash, PeerId)>,
    /// What an encoded block takes: a decaying average.
    block_bytes: usize,
    /// After this time without the first missing block another peer is asked.
    stall_timeout: Duration,
    /// The first missing block, and since when it is that.
    front: Option<(block::Hash, Duration)>,
    first_peer: Option<Duration>,
    has_started: bool,
    /// Peers left to be asked for what another one showed; none before one did.
    checks: Option<u32>,
    /// When the tip changed, or its age was last complained about.
    tip_since: Duration,
    is_synced: bool,
    told: Option<(Progress, Duration)>,
}

/// A request that is out.
#[derive(Debug)]
struct InFlightRequest {
    peer: PeerId,
    at: Duration,
    what: What,
}

/// What was asked.
#[derive(Debug)]
enum What {
    Headers,
    Blocks {
        /// The number of the first.
        first: u64,
        /// In a row.
        hashes: Vec<block::Hash>,
    },
}

/// Sends a request and returns its number.
fn request<C>(cx: &mut Context<'_, C>, next: &mut u64, peer: PeerId, request: Request) -> u64 {
    let number = *next;
    *next = next.wrapping_add(1);
    cx.request(RequestId::Sync(number), peer, request);
    number
}

impl Sync {
    /// Knows nobody, and what it has to know of the chain it reads there. The seed makes one node
    /// choose other peers than another.
    pub(crate) fn new(seed: u64, limits: Limits) -> Sync {
        Sync {
            limits,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            peers: BTreeMap::new(),
            tree: HeaderTree::default(),
            window: Window::default(),
            imports: ImportQueue::default(),
            requests: BTreeMap::new(),
            next_request: 0,
            hint: None,
            block_bytes: bodies::FIRST_BLOCK_BYTES,
            stall_timeout: bodies::LATE.0,
            front: None,
            first_peer: None,
            has_started: false,
            checks: None,
            tip_since: Duration::ZERO,
            is_synced: false,
            told: None,
        }
    }

    /// Processes an input. Ignores those that do not concern sync.
    pub(crate) fn handle<C: ChainView>(&mut self, cx: &mut Context<'_, C>, input: Input) {
        // These arrive thousands of times a second and do not change which peers to ask.
        let is_routine = match input {
            Input::BlockValidated { validation, .. } => {
                matches!(validation, BlockValidation::Accepted(_))
            }
            Input::TipChanged => true,
            _ => false,
        };
        match input {
            Input::PeerConnected { peer, outbound, status } => {
                self.peer_disconnected(&peer);
                self.first_peer.get_or_insert(cx.now.elapsed);
                self.peers.insert(peer, Peer::new(outbound, &status, cx.now.elapsed));
            }
            Input::PeerStatus { peer, status } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.tell(&status, cx.now.elapsed);
                }
            }
            Input::PeerDisconnected { peer } => self.peer_disconnected(&peer),
            Input::Response { id: RequestId::Sync(request), result } => {
                self.replied(cx, request, result);
            }
            Input::BlockValidated { hash, validation } => self.judged(cx, hash, validation),
            Input::TipChanged => {
                self.tip_since = cx.now.elapsed;
                self.retarget(cx);
            }
            Input::Tick => self.tick(cx),
            Input::Response { .. }
            | Input::Announcement { .. }
            | Input::TransferValidated { .. }
            | Input::TransfersAccepted(_) => return,
        }
        self.advance(cx, is_routine);
    }

    /// Follows a header that a peer announced and whose parent or body is missing here. That peer is
    /// asked first.
    pub(crate) fn header_announced<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        peer: PeerId,
        header: &Header,
    ) {
        self.announced(cx, peer, header);
        self.advance(cx, false);
    }

    /// Sends the requests and imports that the state calls for.
    fn advance<C: ChainView>(&mut self, cx: &mut Context<'_, C>, is_routine: bool) {
        if !is_routine {
            self.pursue(cx);
        }
        if self.extend_window() || (!is_routine && self.window.unasked() > 0) {
            self.ask_bodies(cx);
        }
        self.hand_over(cx);
        self.latch(cx);
        self.tell(cx);
    }

    /// A request came to its end. Numbers that are not out mean nothing: the peer was slower than its
    /// own disconnection, or somebody invents them.
    fn replied<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        request: u64,
        result: Result<Response, Failure>,
    ) {
        let Some(InFlightRequest { peer, at, what }) = self.requests.remove(&request) else {
            return;
        };
        match what {
            What::Headers => self.headers_replied(cx, (request, peer), result),
            What::Blocks { first, hashes } => {
                self.blocks_replied(cx, (request, peer, at), (first, &hashes), result);
            }
        }
    }

    /// What was asked of a peer that is gone is to be asked of others.
    fn peer_disconnected(&mut self, id: &PeerId) {
        self.peers.remove(id);
        let window = &mut self.window;
        self.requests.retain(|request, asked| {
            if let What::Blocks { first, hashes } = &asked.what
                && asked.peer == *id
            {
                for (number, hash) in (*first..).zip(hashes) {
                    window.note_answered((number, hash), *request, None);
                }
            }
            asked.peer != *id
        });
    }

    /// How far this node is, to be shown. What depends on being synced asks `is_synced`.
    pub(crate) fn progress(&self, chain: &impl ChainView) -> Progress {
        self.measure(chain)
    }

    /// Whether this node has been level with its peers since it started. Never taken back: neither a
    /// reorganisation nor a peer that claims much is a reason to stop mining.
    pub(crate) fn is_synced(&self) -> bool {
        self.is_synced
    }
}

#[cfg(test)]
mod tests;
