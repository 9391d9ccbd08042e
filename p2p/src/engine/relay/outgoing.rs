//! Transfers that this node is to announce: a queue with an end, let out at a bounded rate.

use crate::engine::context::Context;
use crate::engine::machine::Output;
use crate::message::Announcement;
use crate::view::ChainView;
use chain::tx::Id;
use std::collections::VecDeque;
use std::time::Duration;

/// Most transfers that wait; what comes then is left to the exchange of mempools. Those that wait
/// are the ones that later ones of their senders follow.
const MAX_WAITING: usize = 20_000;
/// Most transfers announced at once: a peer's queue of messages holds 5,000.
const BURST: u32 = 750;
/// From one announcement to the next on average, at least: 3,000 a second.
const ONE_EVERY: Duration = Duration::from_nanos(1_000_000_000 / 3_000);

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
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((id, round));
        }
    }

    /// Announces what may be announced by now, if anybody is there to hear it.
    pub(super) fn drain(&mut self, cx: &mut Context<impl ChainView>) {
        self.count(cx.now.elapsed);
        while !cx.peers.is_empty() && self.allowance > 0 {
            let Some((id, round)) = self.waiting.pop_front() else { return };
            // It may have left the mempool meanwhile.
            if let Some(transfer) = cx.chain.transfer(&id) {
                self.allowance -= 1;
                cx.out.push(Output::Announce(Announcement::Transfer { round, transfer }));
            }
        }
    }

    fn count(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.counted_at);
        let more = passed.as_nanos() / ONE_EVERY.as_nanos();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        self.allowance = self.allowance.saturating_add(more).min(BURST);
        // What is left of the time counts the next time.
        self.counted_at = self.counted_at.saturating_add(ONE_EVERY.saturating_mul(more));
    }
}
