//! Transfers that this node is to announce: a queue with an end, let out at a bounded rate.

use crate::engine::Output;
use crate::engine::step::Step;
use crate::message::Announcement;
use crate::view::ChainView;
use chain::tx::Id;
use std::collections::VecDeque;
use std::time::Duration;

/// Most transfers that wait; of more the oldest are left to the exchange of mempools.
const MAX_WAITING: usize = 20_000;
/// Most transfers announced at once: a peer's queue of messages holds 1,000.
const BURST: u32 = 750;
/// Transfers announced in a second, at most.
const PER_SECOND: u32 = 3_000;

/// The queue.
pub(super) struct Outgoing {
    waiting: VecDeque<(Id, u32)>,
    /// Announcements that may be made now.
    allowance: u32,
    counted_at: Duration,
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing { waiting: VecDeque::new(), allowance: BURST, counted_at: Duration::ZERO }
    }

    /// To be announced in a round.
    pub(super) fn push(&mut self, id: Id, round: u32) {
        self.waiting.push_back((id, round));
        if self.waiting.len() > MAX_WAITING {
            self.waiting.pop_front();
        }
    }

    /// Announces what may be announced by now, if anybody is there to hear it.
    pub(super) fn drain(&mut self, step: &mut Step<impl ChainView>) {
        self.count(step.now.elapsed);
        while !step.peers.is_empty() && self.allowance > 0 {
            let Some((id, round)) = self.waiting.pop_front() else { return };
            // It may have left the mempool meanwhile.
            if let Some(transfer) = step.chain.transfer(&id) {
                self.allowance -= 1;
                step.out.push(Output::Announce(Announcement::Transfer { round, transfer }));
            }
        }
    }

    fn count(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.counted_at).as_millis();
        let more = passed.saturating_mul(u128::from(PER_SECOND)) / 1_000;
        if more > 0 {
            let more = u32::try_from(more).unwrap_or(u32::MAX);
            self.allowance = self.allowance.saturating_add(more).min(BURST);
            self.counted_at = now;
        }
    }
}
