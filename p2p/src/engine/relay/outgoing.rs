//! Transfers that this node is to announce: a queue with an end, let out at a bounded rate.

use crate::engine::context::Context;
use crate::engine::machine::Output;
use crate::message::Announcement;
use crate::rate_limit::TokenBucket;
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
    rate_limit: TokenBucket,
}

impl Outgoing {
    pub(super) fn new() -> Outgoing {
        Outgoing { waiting: VecDeque::new(), rate_limit: TokenBucket::new(BURST, ONE_EVERY) }
    }

    /// To be announced in a round.
    pub(super) fn push(&mut self, id: Id, round: u32) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((id, round));
        }
    }

    /// Announces what may be announced by now, if anybody is there to hear it.
    pub(super) fn drain(&mut self, cx: &mut Context<impl ChainView>) {
        while !cx.peers.is_empty() && self.rate_limit.available(cx.now.elapsed) > 0 {
            let Some((id, round)) = self.waiting.pop_front() else { return };
            // It may have left the mempool meanwhile.
            if let Some(transfer) = cx.chain.transfer(&id) {
                self.rate_limit.spend(1, cx.now.elapsed);
                cx.out.push(Output::Announce(Announcement::Transfer { round, transfer }));
            }
        }
    }
}
