//! Readiness to mine: the one place that decides whether a block can be mined at present, and why
//! not. A block mined on a stale tip is worthless: a node whose network has other nodes must be in
//! sync with them, and a node without peers cannot know whether its tip is stale. A block that the
//! node itself would refuse is worthless too: one of a clock far behind the tip, or one that does
//! not fit on the disk.

use crate::clock::interval;
use crate::shutdown::shutdown_requested;
use crate::writer;
use chain::ledger::Reader;
use chain::template::{ClockBehindParent, block_time};
use chain::{Header, Height, Timestamp};
use p2p::engine::SyncState;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The maximum time that a node needs to connect to a configured peer that is up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval of the checks that nothing else causes: clocks change without notice.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);
/// The least difference between wall clock and monotonic clock that counts as a step back, in
/// seconds. Both are read with a resolution of one second.
const STEP_BACK_SECONDS: i64 = 2;

/// The condition on which mining requires a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRequirement {
    /// Mining never requires a peer: the network may have no other nodes.
    None,
    /// Mining requires a peer for a while after the start: configured peers may be up.
    AtStart,
    /// Mining always requires a peer: the network has boot nodes.
    Always,
}

/// Why no block can be mined at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The disk is full.
    #[error("the disk is full: no block can be stored until there is space")]
    DiskFull,
    /// The clock is so far behind the tip that the node would refuse the block as too new.
    #[error("{}", behind(.0))]
    ClockBehindTip(ClockBehindParent),
    /// The node has no peers.
    #[error("the node has no peers yet")]
    NoPeers,
    /// The peers of the node have more blocks.
    #[error("the node is catching up: block {height} of {best}")]
    Syncing {
        /// The height of this node.
        height: Height,
        /// The best height that a peer claims.
        best: Height,
    },
}

impl NotReady {
    /// Whether only the operator can end it: the node then logs it once, and what waits for it does
    /// not log it again.
    pub fn needs_operator(&self) -> bool {
        matches!(self, NotReady::DiskFull | NotReady::ClockBehindTip(_))
    }
}

fn behind(behind: &ClockBehindParent) -> String {
    let ahead = Span(behind.seconds_behind());
    let wait = Span(behind.seconds_to_wait());
    format!("the tip is {ahead} ahead of this machine's clock: set the clock, or wait {wait}")
}

/// A number of seconds, displayed in its two largest units, such as `9 d 21 h`.
struct Span(u32);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
        match (days, hours, minutes) {
            (0, 0, 0) => write!(f, "{seconds} s"),
            (0, 0, _) => write!(f, "{minutes} min {} s", seconds % 60),
            (0, ..) => write!(f, "{hours} h {} min", minutes % 60),
            _ => write!(f, "{days} d {} h", hours % 24),
        }
    }
}

/// What [`Readiness::subscribe`] reports. A receiver is notified when another kind of reason, or
/// none, applies, and when the clock was set back; not when numbers of a reason change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Why no block can be mined; `None` if one can.
    pub reason: Option<NotReady>,
    /// The number of times that the clock was set back since the start: work made before that may
    /// be too new.
    pub steps_back: u32,
}

impl State {
    fn differs_in_kind(&self, other: &State) -> bool {
        let kind = |state: &State| state.reason.as_ref().map(std::mem::discriminant);
        kind(self) != kind(other) || self.steps_back != other.steps_back
    }
}

/// Checks whether a block can be mined. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    reader: Reader,
    writer: writer::Handle,
    disk_full: watch::Receiver<bool>,
    peers: p2p::Handle,
    requirement: PeerRequirement,
    since: Instant,
    state: Arc<watch::Sender<State>>,
}

impl Readiness {
    /// Starts checking a chain against the peers of its network, the clock and the disk.
    pub fn new(
        reader: Reader,
        writer: writer::Handle,
        peers: p2p::Handle,
        requirement: PeerRequirement,
    ) -> Readiness {
        let state = Arc::new(watch::Sender::new(State::default()));
        let (disk_full, since) = (writer.disk_full(), Instant::now());
        Readiness { reader, writer, disk_full, peers, requirement, since, state }
    }

    /// Whether the node needs a peer at present.
    pub fn requires_peer(&self) -> bool {
        match self.requirement {
            PeerRequirement::None => false,
            PeerRequirement::AtStart => self.since.elapsed() < CONNECT_TIMEOUT,
            PeerRequirement::Always => true,
        }
    }

    /// Checks whether a block can be mined, and publishes the result.
    pub async fn check(&self) -> Result<(), NotReady> {
        let reason = match self.check_local() {
            Err(reason) => Some(reason),
            Ok(()) => self.check_peers().await.err(),
        };
        self.publish(reason);
        reason.map_or(Ok(()), Err)
    }

    /// Why no block can be mined, as known without asking the network.
    pub fn reason(&self) -> Option<NotReady> {
        let published = self.state.borrow().reason;
        match (self.check_local(), published) {
            (Err(reason), _) => Some(reason),
            // That reason has just ended.
            (Ok(()), Some(reason)) if reason.needs_operator() => None,
            (Ok(()), published) => published,
        }
    }

    /// Whether the node would accept a block with this header as far as the clock is concerned.
    pub fn accepts_time(&self, header: &Header) -> bool {
        let max_future_seconds = self.reader.params().spec().max_future_seconds;
        header.time <= self.writer.now().saturating_add(max_future_seconds)
    }

    /// A receiver of the state, which [`Readiness::run`] keeps up to date.
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Keeps the state up to date until shutdown, and logs once that the clock is behind the tip.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let (mut tick, mut clock) =
            (interval(CHECK_INTERVAL), StepDetector::new(self.writer.now()));
        let mut logged = None;
        let watched = async {
            loop {
                tick.tick().await;
                if clock.was_set_back(self.writer.now(), Instant::now()) {
                    self.state.send_modify(|state| {
                        state.steps_back = state.steps_back.wrapping_add(1);
                    });
                }
                let reason = self.check().await.err();
                // The writer logs a full disk.
                let reason = reason.filter(|it| matches!(it, NotReady::ClockBehindTip(_)));
                let kind = reason.as_ref().map(std::mem::discriminant);
                if kind != logged {
                    match reason {
                        Some(reason) => tracing::warn!("no block can be mined: {reason}"),
                        None => tracing::info!("blocks can be mined again"),
                    }
                    logged = kind;
                }
            }
        };
        tokio::select! {
            () = shutdown_requested(&mut stop) => {}
            () = watched => {}
        }
    }

    /// The reasons that do not depend on peers.
    fn check_local(&self) -> Result<(), NotReady> {
        if *self.disk_full.borrow() {
            return Err(NotReady::DiskFull);
        }
        let tip = self.reader.view().tip().time;
        block_time(self.reader.params(), tip, self.writer.now())
            .map(drop)
            .map_err(NotReady::ClockBehindTip)
    }

    async fn check_peers(&self) -> Result<(), NotReady> {
        let progress = *self.peers.progress().borrow();
        if self.peers.peer_count() == 0 {
            return if self.requires_peer() { Err(NotReady::NoPeers) } else { Ok(()) };
        }
        if progress.state == SyncState::Synced {
            return Ok(());
        }
        let claimed = self.peers.peers().await.into_iter().map(|peer| peer.height);
        let best = claimed.max().unwrap_or(progress.best_header).max(progress.best_header);
        let height = self.reader.view().tip().height;
        Err(NotReady::Syncing { height, best })
    }

    fn publish(&self, reason: Option<NotReady>) {
        self.state.send_if_modified(|state| {
            let new = State { reason, ..*state };
            std::mem::replace(state, new).differs_in_kind(&new)
        });
    }
}

/// Detects that the wall clock was set back, by comparing it with the monotonic clock.
struct StepDetector {
    time: Timestamp,
    at: Instant,
}

impl StepDetector {
    fn new(time: Timestamp) -> StepDetector {
        StepDetector { time, at: Instant::now() }
    }

    /// Whether the wall clock was set back since the last call.
    fn was_set_back(&mut self, time: Timestamp, at: Instant) -> bool {
        let elapsed = at.saturating_duration_since(self.at).as_secs();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let missing = elapsed.saturating_sub(time.since(self.time));
        // Small deviations must not add up.
        *self = StepDetector { time, at };
        missing >= STEP_BACK_SECONDS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(seconds: u32) -> Timestamp {
        Timestamp::new(seconds)
    }

    // G03
    #[test]
    fn clock_set_back_is_noticed_but_not_a_slow_or_advanced_one() {
        let mut clock = StepDetector::new(timestamp(10_000));
        let mut at = clock.at;
        for (seconds, time, is_step) in [
            (1, 10_001, false),
            // Readings with a resolution of one second.
            (1, 10_001, false),
            (1, 10_003, false),
            (10, 10_012, false),
            (1, 900_000, false),
            (1, 899_999, true),
            (1, 900_000, false),
            (1, 0, true),
            (1, 0, false),
            (1_000_000, u32::MAX, false),
            (1, 0, true),
        ] {
            at += Duration::from_secs(seconds);
            assert_eq!(clock.was_set_back(timestamp(time), at), is_step, "{time}");
        }
    }

    #[test]
    fn reason_names_how_far_the_clock_is_behind_and_how_long_to_wait() {
        for (seconds, text) in
            [(0, "0 s"), (59, "59 s"), (3_599, "59 min 59 s"), (7_260, "2 h 1 min")]
        {
            assert_eq!(Span(seconds).to_string(), text);
        }
        let parent = timestamp(1_000_000 + 9 * 86_400 + 21 * 3_600);
        let behind =
            ClockBehindParent { parent, now: timestamp(1_000_000), max_future_seconds: 7_200 };
        assert_eq!(
            NotReady::ClockBehindTip(behind).to_string(),
            "the tip is 9 d 21 h ahead of this machine's clock: set the clock, or wait 9 d 19 h"
        );
    }

    #[test]
    fn only_another_kind_of_reason_or_a_step_back_is_notified() {
        let syncing = |height| {
            let (height, best) = (Height::new(height), Height::new(9));
            State { reason: Some(NotReady::Syncing { height, best }), steps_back: 0 }
        };
        assert!(!syncing(1).differs_in_kind(&syncing(2)));
        assert!(syncing(1).differs_in_kind(&State::default()));
        assert!(syncing(1).differs_in_kind(&State { steps_back: 1, ..syncing(1) }));
        let no_peers = State { reason: Some(NotReady::NoPeers), steps_back: 0 };
        assert!(syncing(1).differs_in_kind(&no_peers));
    }
}
