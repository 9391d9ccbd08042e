//! Headers-first sync: which peer to ask for headers, which for bodies, and what to make of their
//! answers. Pure: time, the chain and a seed are arguments. Knows no announcements but by header.

mod forest;
mod peer;
mod run;
mod session;
mod headers;
mod window;
mod bodies;
mod import;
mod watch;

use crate::engine::{BlockVerdict, Conduct, Failure, Now, Output, Progress, RequestId};
use crate::message::{Reply, Request, Status};
use crate::view::ChainView;
use chain::block::{self, Header};
use forest::Forest;
use import::Desk;
use libp2p::PeerId;
use peer::Peer;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::BTreeMap;
use std::time::Duration;
use window::Window;

/// What the machine may take, and how long it waits. `Limits::default` is what the design says.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Headers without body of one branch, about 250 bytes each. A longer fork is not followed; a
    /// longer chain is fetched in parts.
    pub branch_headers: usize,
    /// Headers without body of all branches.
    pub all_headers: usize,
    /// Blocks after the import point that may be asked for.
    pub window_blocks: usize,
    /// Bytes of blocks that wait to be handed over.
    pub window_bytes: usize,
    /// Blocks that are with the writer at a time: enough for it to take some in, to check those behind
    /// them, and never to wait for the next. They are among those of the window.
    pub importing: usize,
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
    rng: Xoshiro256PlusPlus,
    peers: BTreeMap<PeerId, Peer>,
    forest: Forest,
    window: Window,
    desk: Desk,
    /// Requests that were not answered yet.
    requests: BTreeMap<u64, Asked>,
    next_request: u64,
    /// The block whose header was announced last, and who did: it is asked first.
    hint: Option<(block::Hash, PeerId)>,
    /// What an encoded block takes: a decaying average.
    block_bytes: usize,
    /// After this time without the first missing block another peer is asked.
    late: Duration,
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
struct Asked {
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

/// What a step looks at, and where it says what is to be done.
struct Context<'a, C> {
    now: Now,
    chain: &'a C,
    out: &'a mut Vec<Output>,
}

impl<C> Context<'_, C> {
    fn time(&self) -> Duration {
        self.now.elapsed
    }

    fn report(&mut self, peer: PeerId, conduct: Conduct) {
        self.out.push(Output::Report { peer, conduct });
    }

    fn disconnect(&mut self, peer: PeerId, why: &'static str) {
        self.out.push(Output::Disconnect { peer, why });
    }

    /// Asks, and returns the request's number.
    fn ask(&mut self, next: &mut u64, peer: PeerId, what: Request) -> u64 {
        let number = *next;
        *next = next.wrapping_add(1);
        self.out.push(Output::Ask { request: RequestId::Sync(number), peer, what });
        number
    }

    /// Reports a request that has no reply.
    fn blame_failure(&mut self, peer: PeerId, failure: Failure) {
        if let Some(conduct) = failure.conduct() {
            self.report(peer, conduct);
        }
    }
}

impl Sync {
    /// Knows nobody, and what it has to know of the chain it reads there. The seed makes one node
    /// choose other peers than another.
    pub fn new(seed: u64, limits: Limits) -> Sync {
        Sync {
            limits,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            peers: BTreeMap::new(),
            forest: Forest::default(),
            window: Window::default(),
            desk: Desk::default(),
            requests: BTreeMap::new(),
            next_request: 0,
            hint: None,
            block_bytes: bodies::FIRST_BLOCK_BYTES,
            late: bodies::LATE.0,
            front: None,
            first_peer: None,
            has_started: false,
            checks: None,
            tip_since: Duration::ZERO,
            is_synced: false,
            told: None,
        }
    }

    /// What is to be done about an event is added to `out`.
    pub fn handle(
        &mut self,
        now: Now,
        event: Event,
        chain: &impl ChainView,
        out: &mut Vec<Output>,
    ) {
        let cx = &mut Context { now, chain, out };
        // These come thousands of times a second and change nothing about whom to ask.
        let is_routine = match event {
            Event::BlockJudged { verdict, .. } => matches!(verdict, BlockVerdict::Accepted(_)),
            Event::TipChanged => true,
            _ => false,
        };
        self.take(cx, event);
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

    fn take<C: ChainView>(&mut self, cx: &mut Context<'_, C>, event: Event) {
        match event {
            Event::PeerUp { peer, outbound, status } => {
                self.peer_down(&peer);
                self.first_peer.get_or_insert(cx.time());
                self.peers.insert(peer, Peer::new(outbound, &status, cx.time()));
            }
            Event::PeerStatus { peer, status } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.tell(&status, cx.time());
                }
            }
            Event::PeerDown { peer } => self.peer_down(&peer),
            Event::Replied { request, result } => self.replied(cx, request, result),
            Event::Announced { peer, header } => self.announced(cx, peer, &header),
            Event::BlockJudged { hash, verdict } => self.judged(cx, hash, verdict),
            Event::TipChanged => {
                self.tip_since = cx.time();
                self.retarget(cx);
            }
            Event::Tick => self.tick(cx),
        }
    }

    /// A request came to its end. Numbers that are not out mean nothing: the peer was slower than its
    /// own disconnection, or somebody invents them.
    fn replied<C: ChainView>(
        &mut self,
        cx: &mut Context<'_, C>,
        request: u64,
        result: Result<Reply, Failure>,
    ) {
        let Some(Asked { peer, at, what }) = self.requests.remove(&request) else { return };
        match what {
            What::Headers => self.headers_replied(cx, (request, peer), result),
            What::Blocks { first, hashes } => {
                self.blocks_replied(cx, (request, peer, at), (first, &hashes), result);
            }
        }
    }

    /// What was asked of a peer that is gone is to be asked of others.
    fn peer_down(&mut self, id: &PeerId) {
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
    pub fn progress(&self, chain: &impl ChainView) -> Progress {
        self.measure(chain)
    }

    /// Whether this node has been level with its peers since it started. Never taken back: neither a
    /// reorganisation nor a peer that claims much is a reason to stop mining.
    pub fn is_synced(&self) -> bool {
        self.is_synced
    }
}

#[cfg(test)]
mod tests;
