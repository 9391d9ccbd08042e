//! A session of header requests to one peer, one after the other. Each response is validated as a
//! whole before any of it is stored.
//!
//! Headers of a chain with too little work so far are synced twice, as Bitcoin Core does: *presync*
//! counts their work and remembers only the last hash of every response; once there is enough work,
//! *redownload* requests the same headers again and stores them.

use super::header_tree::{HeaderTree, ValidHeader};
use super::segment::{HeaderSegment, Reject};
use super::window::Window;
use crate::engine::context::Context;
use crate::engine::machine::Misbehavior;
use crate::engine::work_threshold::work_threshold;
use crate::message::MAX_HEADERS;
use crate::view::{ChainView, Tip};
use chain::block::{self, Header};
use chain::pow::Work;
use std::time::Duration;

/// A session with fewer than `MIN_RATE` headers a second over this time is slow.
const SLOW_AFTER: Duration = Duration::from_secs(120);
const MIN_RATE: u64 = 400;
/// The time for which a session without any headers so far counts against the limit of sessions: a
/// peer that does not answer must not delay the others.
const FIRST_RESPONSE: Duration = Duration::from_millis(500);
/// The time for which a session counts against that limit after a later request.
const NEXT_RESPONSE: Duration = Duration::from_secs(2);
/// The age at which a session counts against that limit only if it is fast.
const MEASURED_AFTER: Duration = Duration::from_secs(5);
/// The headers a second of a fast session.
const FAST_RATE: u64 = 2_000;

/// The limits of sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Headers without body of one branch, about 250 bytes each. A longer fork is not followed; a
    /// longer chain is fetched in parts.
    pub(crate) branch_headers: usize,
    /// Headers without body of all branches.
    pub(crate) all_headers: usize,
    /// Blocks after the tip that may be requested.
    pub(crate) window_blocks: usize,
    /// Bytes of blocks that wait to be imported.
    pub(crate) window_bytes: usize,
    /// Blocks at the writer at a time, part of the window: enough that it never waits for the next.
    pub(crate) importing: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            branch_headers: 100_000,
            all_headers: 150_000,
            window_blocks: 2_048,
            window_bytes: 64 << 20,
            importing: 1_024,
        }
    }
}

/// Why a session ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    /// The peer has no more headers.
    Complete,
    /// The peer's chain has too little work: that of its last header.
    LowWork(Work),
    /// The branch is full: bodies have to come first.
    BranchFull,
    /// The peer's headers do not continue: it may have reorganised.
    Discontinuous,
    /// A header was rejected.
    Rejected(Reject),
}

#[derive(Debug)]
enum Phase {
    Store,
    Presync(Presync),
    Redownload(Redownload),
}

/// A session with one peer.
#[derive(Debug)]
pub(super) struct Session {
    /// The request in flight; `None` while the rate limit permits none.
    pub(super) request: Option<u64>,
    /// The locator of the request in flight.
    locator: Vec<block::Hash>,
    /// The tip that the peer claimed when the session began.
    pub(super) claim: Tip,
    /// The header that the peer had announced when the request in flight was sent.
    pub(super) announced: Option<block::Hash>,
    /// The monotonic time at which the request in flight was sent.
    requested_at: Duration,
    start: Option<block::Hash>,
    /// The last header that was stored.
    pub(super) last: Option<ValidHeader>,
    /// Headers without body from the chain to that one.
    depth: usize,
    since: Duration,
    received: usize,
    phase: Phase,
}

impl Session {
    /// Returns a session that begins after a header, or at the tip, with a peer that claims a tip.
    pub(super) fn new(start: Option<block::Hash>, claim: Tip, now: Duration) -> Session {
        Session {
            request: None,
            locator: Vec::new(),
            claim,
            announced: None,
            requested_at: now,
            start,
            last: None,
            depth: 0,
            since: now,
            received: 0,
            phase: Phase::Store,
        }
    }

    pub(super) fn is_slow(&self, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.since);
        let expected = elapsed.as_secs().saturating_mul(MIN_RATE);
        elapsed >= SLOW_AFTER && u64::try_from(self.received).is_ok_and(|got| got < expected)
    }

    /// Returns whether the session counts against the limit of sessions: it has waited for a response
    /// only briefly, and it is fast or young.
    pub(super) fn is_active(&self, now: Duration) -> bool {
        let patience = if self.received == 0 { FIRST_RESPONSE } else { NEXT_RESPONSE };
        let is_measured = now.saturating_sub(self.since) >= MEASURED_AFTER;
        now.saturating_sub(self.requested_at) < patience
            && (!is_measured || self.rate(now) >= FAST_RATE)
    }

    /// Returns whether the peer has sent headers in this session.
    pub(super) fn has_received(&self) -> bool {
        self.received > 0
    }

    /// The headers received a second since the session began.
    pub(super) fn rate(&self, now: Duration) -> u64 {
        let millis = u64::try_from(now.saturating_sub(self.since).as_millis()).unwrap_or(u64::MAX);
        let received = u64::try_from(self.received).unwrap_or(u64::MAX);
        received.saturating_mul(1_000) / millis.max(1)
    }

    /// The stored header to continue from.
    pub(super) fn end(&self) -> Option<block::Hash> {
        self.last.map(|last| last.tip.hash).or(self.start)
    }

    /// During presync and redownload: the header before the first one, and the last one.
    pub(super) fn unstored_range(&self) -> Option<(ValidHeader, ValidHeader)> {
        match &self.phase {
            Phase::Store => None,
            Phase::Presync(Presync { from, last, .. })
            | Phase::Redownload(Redownload { from, last, .. }) => Some((*from, *last)),
        }
    }

    pub(super) fn request_sent(
        &mut self,
        request: u64,
        locator: Vec<block::Hash>,
        announced: Option<block::Hash>,
        now: Duration,
    ) {
        (self.request, self.locator) = (Some(request), locator);
        (self.announced, self.requested_at) = (announced, now);
    }

    /// Processes a response. `Ok` if the session may continue.
    pub(super) fn handle_headers(
        &mut self,
        cx: &Context,
        tree: &mut HeaderTree,
        window: &Window,
        limits: &Limits,
        headers: &[Header],
    ) -> Result<(), Outcome> {
        self.request = None;
        self.received = self.received.saturating_add(headers.len());
        let Some(first) = headers.first() else { return Err(Outcome::Complete) };
        if headers.len() > MAX_HEADERS || !self.locator.contains(&first.previous) {
            return Err(Outcome::Rejected(Reject::Invalid(Misbehavior::WrongResponse)));
        }
        let (expected, from) = match self.unstored_range() {
            None => (first.previous, tree.lookup(&first.previous, cx.chain)),
            Some((_, last)) => (last.tip.hash, Some(last)),
        };
        // The peer has reorganised, or the header it continues from was evicted.
        let Some(from) = from.filter(|_| first.previous == expected) else {
            return Err(Outcome::Discontinuous);
        };
        let segment = HeaderSegment::validate(from, headers, tree, cx.chain, cx.now);
        if let Some(reject @ Reject::Invalid(_)) = segment.reject {
            return Err(Outcome::Rejected(reject));
        }
        if self.count(cx.chain, limits, from, &segment)? {
            self.store(tree, window, limits, from, &segment)?;
        }
        match segment.reject {
            Some(reject) => Err(Outcome::Rejected(reject)),
            None if headers.len() < MAX_HEADERS => Err(Outcome::Complete),
            None => Ok(()),
        }
    }

    /// Advances presync and redownload. Returns whether the segment is to be stored.
    fn count(
        &mut self,
        chain: &dyn ChainView,
        limits: &Limits,
        from: ValidHeader,
        segment: &HeaderSegment,
    ) -> Result<bool, Outcome> {
        let Some(end) = segment.end() else { return Ok(false) };
        let is_enough = end.tip.chain_work > work_threshold(chain);
        let mut presync = match std::mem::replace(&mut self.phase, Phase::Store) {
            Phase::Store if is_enough || segment.stored == segment.headers.len() => {
                return Ok(true);
            }
            Phase::Store => Presync { from, last: from, headers: 0, checkpoints: Vec::new() },
            Phase::Presync(presync) => presync,
            Phase::Redownload(mut redownload) => {
                if !redownload.matches(segment) {
                    return Err(Outcome::Discontinuous);
                }
                if !redownload.is_complete() {
                    self.phase = Phase::Redownload(redownload);
                }
                return Ok(true);
            }
        };
        presync.add(segment, end);
        if is_enough {
            // Presync has stored nothing, so redownload begins at its start.
            self.phase = Phase::Redownload(presync.redownload(segment.headers.len()));
            return Ok(false);
        }
        if let Some(reject) = segment.reject {
            return Err(Outcome::Rejected(reject));
        }
        if segment.headers.len() < MAX_HEADERS || presync.headers >= limits.branch_headers {
            return Err(Outcome::LowWork(presync.last.tip.chain_work));
        }
        self.phase = Phase::Presync(presync);
        Ok(false)
    }

    /// Adds as much of a segment to the tree as the branch has room for.
    fn store(
        &mut self,
        tree: &mut HeaderTree,
        window: &Window,
        limits: &Limits,
        from: ValidHeader,
        segment: &HeaderSegment,
    ) -> Result<(), Outcome> {
        let Some(end) = segment.end() else { return Ok(()) };
        // Without progress from response to response a session would never end.
        if self.last.is_some_and(|last| end.tip.height <= last.tip.height) {
            return Err(Outcome::Discontinuous);
        }
        if self.last.map(|last| last.tip.hash) != Some(from.tip.hash) {
            self.depth = depth(&from.tip.hash, tree, window);
        }
        let room = limits.branch_headers.saturating_sub(self.depth);
        let is_full = segment.headers.len() > room.saturating_add(segment.stored);
        let (stored, new) = segment.headers.split_at(segment.stored);
        let mut parent = stored.last().unwrap_or(&from).tip.hash;
        let mut last = None;
        for header in new.iter().take(room) {
            tree.insert(parent, *header);
            parent = header.tip.hash;
            self.depth = self.depth.saturating_add(1);
            last = Some(*header);
        }
        self.last = if is_full { last } else { Some(end) }.or(self.last);
        if is_full { Err(Outcome::BranchFull) } else { Ok(()) }
    }
}

/// The number of headers from the chain up to this one.
fn depth(hash: &block::Hash, tree: &HeaderTree, window: &Window) -> usize {
    let header = tree.get(hash);
    let in_window = header.and_then(|header| window.depth(header.tip.height, hash));
    in_window.unwrap_or_else(|| tree.branch(hash).len())
}

/// The first pass over a chain with too little work so far.
#[derive(Debug)]
struct Presync {
    /// The stored header before the first one.
    from: ValidHeader,
    last: ValidHeader,
    headers: usize,
    /// The last hash of every response.
    checkpoints: Vec<block::Hash>,
}

impl Presync {
    fn add(&mut self, segment: &HeaderSegment, end: ValidHeader) {
        self.last = end;
        self.headers = self.headers.saturating_add(segment.headers.len());
        self.checkpoints.push(end.tip.hash);
    }

    /// Begins the second pass. The last response had this many headers.
    fn redownload(self, last_response: usize) -> Redownload {
        let Presync { from, checkpoints, .. } = self;
        Redownload { from, last: from, checkpoints, next: 0, last_response }
    }
}

/// The second pass over the same headers. A peer that sends others now is detected at every response.
#[derive(Debug)]
struct Redownload {
    from: ValidHeader,
    last: ValidHeader,
    checkpoints: Vec<block::Hash>,
    /// The index of the next checkpoint.
    next: usize,
    last_response: usize,
}

impl Redownload {
    /// Returns whether a segment matches the next checkpoint, and moves on.
    fn matches(&mut self, segment: &HeaderSegment) -> bool {
        let is_last = self.next.saturating_add(1) == self.checkpoints.len();
        let length = if is_last { self.last_response } else { MAX_HEADERS };
        let end = length.checked_sub(1).and_then(|last| segment.headers.get(last));
        let matches = end.map(|end| end.tip.hash) == self.checkpoints.get(self.next).copied();
        self.next = self.next.saturating_add(1);
        self.last = segment.end().unwrap_or(self.last);
        matches && (is_last || segment.headers.len() == MAX_HEADERS)
    }

    fn is_complete(&self) -> bool {
        self.next >= self.checkpoints.len()
    }
}
