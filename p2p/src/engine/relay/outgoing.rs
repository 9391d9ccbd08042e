//! The queue of transfers to announce: bounded, and sent at a limited rate.

use crate::engine::context::Context;
use crate::engine::machine::Output;
use crate::message::Announcement;
use crate::rate_limit::TokenBucket;
use chain::tx::Id;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Most queued transfers; later ones are left to mempool sync. The queued ones are those that later
/// transfers of their senders depend on.
const MAX_QUEUED: usize = 20_000;
/// A burst of 750, as a peer's message queue has room for 5,000; then 3,000 a second.
const RATE_LIMIT: TokenBucket = TokenBucket::new(750, Duration::from_nanos(1_000_000_000 / 3_000));

/// The queue of transfers and the rounds of their announcements. A transfer is in it at most once,
/// so that those to be announced again do not fill it while there are no peers.
pub(super) struct OutgoingTransfers {
    queue: VecDeque<Id>,
    /// The last round of each transfer of the queue, which is there once.
    rounds: BTreeMap<Id, u32>,
    rate_limit: TokenBucket,
}

impl OutgoingTransfers {
    pub(super) fn new() -> OutgoingTransfers {
        OutgoingTransfers {
            queue: VecDeque::new(),
            rounds: BTreeMap::new(),
            rate_limit: RATE_LIMIT,
        }
    }

    pub(super) fn push(&mut self, id: Id, round: u32) {
        if let Some(queued) = self.rounds.get_mut(&id) {
            *queued = round;
        } else if self.queue.len() < MAX_QUEUED {
            self.rounds.insert(id, round);
            self.queue.push_back(id);
        }
    }

    /// Announces as many transfers as the rate limit permits, if there are peers.
    pub(super) fn drain(&mut self, cx: &mut Context) {
        let now = cx.now.elapsed;
        while !cx.peers.is_empty() && self.rate_limit.available(now) > 0 {
            let Some(id) = self.queue.pop_front() else { return };
            let Some(round) = self.rounds.remove(&id) else { continue };
            // It may have left the mempool meanwhile.
            if let Some(transfer) = cx.chain.transfer(&id) {
                self.rate_limit.spend(1, now);
                cx.out.push(Output::Announce(Announcement::Transfer { round, transfer }));
            }
        }
    }
}
