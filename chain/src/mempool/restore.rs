//! Restoring the mempool after a restart, and which of its transfers are announced again.

use super::change::Change;
use super::{Dropped, Mempool, QueueEntry, RejectReason, Source, eviction_reason, queue_entry};
use crate::accounts::AccountView;
use crate::address::Address;
use crate::fifo_map::FifoMap;
use crate::rules::tx::CheckedTransfer;
use crate::tx::Id;
use std::collections::BTreeMap;
use std::time::Duration;

/// The time from one announcement of a transfer that was submitted to this node to the next. Gossip
/// suppresses repeated messages for ten minutes.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(11 * 60);

/// A transfer that was in the mempool before a restart, with its signature checked.
#[derive(Clone, Debug)]
pub(crate) struct RestoredTransfer {
    pub(crate) transfer: CheckedTransfer,
    pub(crate) source: Source,
    /// The mempool time since which it waits, in seconds, if an earlier nonce is missing.
    pub(crate) seconds: u64,
}

impl Mempool {
    /// Restores transfers in their order of arrival, at a mempool time in seconds, and the reasons
    /// of transfers that were dropped before. Transfers that are in the mempool already stay.
    /// Returns the transfers that cannot stay at the new tip.
    ///
    /// # Errors
    /// Returns the error of reading an account. The mempool has some of the transfers then.
    pub(crate) fn restore<V: AccountView>(
        &mut self,
        restored: Vec<RestoredTransfer>,
        drop_reasons: &FifoMap<Id, RejectReason, { super::MAX_REASONS }>,
        seconds: u64,
        accounts: &V,
    ) -> Result<Vec<Dropped>, V::Error> {
        self.seconds = self.seconds.max(seconds);
        for (id, reason) in drop_reasons.iter_in_order() {
            if !self.contains(id) {
                self.drop_reasons.insert(*id, reason.clone());
            }
        }
        let mut senders: BTreeMap<Address, Vec<(QueueEntry, u64)>> = BTreeMap::new();
        for RestoredTransfer { transfer, source, seconds } in restored {
            if self.contains(&transfer.id()) {
                continue;
            }
            let entry = queue_entry(&transfer, self.next_arrival);
            let sender = transfer.details().sender;
            self.add(transfer);
            if source == Source::Local {
                self.local.insert(entry.arrival, Some(Duration::ZERO));
            }
            senders.entry(sender).or_default().push((entry, seconds.min(self.seconds)));
        }
        let mut dropped = Vec::new();
        for (sender, entries) in senders {
            let account = accounts.account(&sender)?;
            let mut queue = self.queues.get(&sender).cloned().unwrap_or_default();
            for (entry, _) in &entries {
                // The later one replaced the earlier one, whose removal was not written any more.
                if let Some(replaced) = queue.insert(*entry) {
                    let by = self.transfer(entry).id();
                    dropped.push(self.drop_transfer(&replaced, RejectReason::Replaced { by }));
                }
            }
            let removed = queue.revalidate(&account, &self.limits, self.seconds);
            let next_nonce = queue.next_nonce();
            let queued = entries.iter().filter(|(entry, _)| entry.nonce >= next_nonce);
            queue.wait_since(queued.map(|(_, seconds)| *seconds).min());
            self.replace_queue(sender, queue);
            let removed = removed.into_iter();
            dropped.extend(removed.map(|(entry, reason)| self.drop_transfer(&entry, reason)));
        }
        while self.count() > self.capacity()
            && let Some((key, sender)) = self.eviction_order.first_key_value()
        {
            let (sender, reason) = (*sender, eviction_reason(key));
            dropped.extend(self.evict_last_of(sender, reason));
        }
        Ok(dropped)
    }

    /// Takes the changes that are to be written to the journal.
    pub(crate) fn take_unlogged(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.unlogged)
    }

    /// Marks a transfer of the mempool as submitted to this node.
    pub(crate) fn mark_local(&mut self, id: &Id) {
        if let Some(arrival) = self.arrivals.get(id)
            && !self.local.contains_key(arrival)
        {
            self.local.insert(*arrival, None);
            self.unlogged.push(Change::Local(*id));
        }
    }

    /// Returns the transfers that were submitted to this node and are to be announced again: eleven
    /// minutes after the last time, and at once after a restart. `now` is the time since the start
    /// of the node. Call it every few seconds.
    pub(crate) fn take_due_announcements(&mut self, now: Duration) -> Vec<Id> {
        let mut due = Vec::new();
        for (arrival, time) in &mut self.local {
            let is_due = time.is_some_and(|time| time <= now);
            if is_due && let Some(transfer) = self.transfers.get(arrival) {
                due.push(transfer.id());
            }
            // Without a time it was announced when it entered the mempool, a few seconds ago.
            if is_due || time.is_none() {
                *time = Some(now.saturating_add(ANNOUNCE_INTERVAL));
            }
        }
        due
    }
}
