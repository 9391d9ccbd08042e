//! The transfers of one sender in nonce order: first the pending ones, then the queued ones, which
//! wait because an earlier nonce is missing.
//!
//! Pending transfers have consecutive nonces from the account's nonce on, and the balance covers
//! all of them, so pending transfers of several senders can be applied in any order that respects
//! the order of each sender. Unconfirmed payments to the sender do not count towards its balance.

use super::limits::Limits;
use super::rate::FeeRate;
use super::reject::RejectReason;
use crate::accounts::Account;
use std::cmp::Reverse;

/// The properties of a transfer on which the decisions of the mempool depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueEntry {
    pub(super) nonce: u64,
    /// The arrival number, which identifies the transfer in the mempool.
    pub(super) arrival: u64,
    pub(super) fee: u64,
    /// The sum of amount and fee, in base units.
    pub(super) cost: u64,
    pub(super) bytes: u64,
}

impl QueueEntry {
    pub(super) fn rate(&self) -> FeeRate {
        FeeRate::new(self.fee, self.bytes)
    }
}

/// The eviction order of the last transfers of the senders: the smallest key is evicted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EvictionKey {
    /// Queued transfers are evicted before pending ones, regardless of their fees.
    pub(super) is_pending: bool,
    /// The fee rate of a queued transfer, or of the chunk of a pending one.
    pub(super) rate: FeeRate,
    /// Of equal transfers the newest is evicted first.
    pub(super) arrival: Reverse<u64>,
}

/// Consecutive pending transfers of a sender that are best mined together, because the later ones
/// pay for the earlier ones. The fee rates of a sender's chunks decrease.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeeChunk {
    /// The position of the first transfer in the queue.
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) rate: FeeRate,
    /// The newest arrival among the transfers of the chunk and all before it, since which the chunk
    /// can be mined.
    pub(super) complete: u64,
}

impl FeeChunk {
    /// The order of selection: the greatest chunk is selected first. Chunks that are complete since
    /// the same arrival belong to one sender.
    pub(super) fn order(&self) -> (FeeRate, Reverse<u64>, Reverse<usize>) {
        (self.rate, Reverse(self.complete), Reverse(self.start))
    }
}

/// The transfers of one sender.
#[derive(Clone, Debug, Default)]
pub(super) struct SenderQueue {
    /// All transfers in ascending order of their nonces.
    entries: Vec<QueueEntry>,
    /// The number of pending transfers, which come first.
    pending: usize,
    /// The nonce after the pending transfers.
    next_nonce: u64,
    /// The mempool time at which `next_nonce` became missing; `None` if no transfer is queued.
    gap_since: Option<u64>,
    /// The number of a tip change of the mempool, and the number of replacements of the sender's
    /// transfers since then.
    pub(super) replacements: (u64, usize),
}

impl SenderQueue {
    pub(super) fn pending(&self) -> &[QueueEntry] {
        &self.entries[..self.pending]
    }

    pub(super) fn queued(&self) -> &[QueueEntry] {
        &self.entries[self.pending..]
    }

    /// Returns the nonce after the pending transfers.
    pub(super) fn next_nonce(&self) -> u64 {
        self.next_nonce
    }

    pub(super) fn gap_since(&self) -> Option<u64> {
        self.gap_since
    }

    /// Returns the pending transfer with this nonce.
    pub(super) fn pending_at(&self, nonce: u64) -> Option<&QueueEntry> {
        let first = self.pending().first()?.nonce;
        self.pending().get(usize::try_from(nonce.checked_sub(first)?).ok()?)
    }

    /// Returns the transfer with this nonce.
    pub(super) fn get(&self, nonce: u64) -> Option<&QueueEntry> {
        let position = self.entries.binary_search_by_key(&nonce, |entry| entry.nonce).ok()?;
        self.entries.get(position)
    }

    /// Inserts a transfer and returns the one with the same nonce that it replaces. The caller must
    /// call [`revalidate`](Self::revalidate) next.
    pub(super) fn insert(&mut self, entry: QueueEntry) -> Option<QueueEntry> {
        match self.entries.binary_search_by_key(&entry.nonce, |entry| entry.nonce) {
            Ok(position) => Some(std::mem::replace(&mut self.entries[position], entry)),
            Err(position) => {
                self.entries.insert(position, entry);
                None
            }
        }
    }

    /// Determines which transfers are pending, and removes those that cannot stay.
    pub(super) fn revalidate(
        &mut self,
        account: &Account,
        limits: &Limits,
        now: u64,
    ) -> Vec<(QueueEntry, RejectReason)> {
        let mut dropped = Vec::new();
        let (expected, available) = (account.nonce, account.balance.units());
        let used = self.entries.partition_point(|entry| entry.nonce < expected);
        for entry in self.entries.drain(..used) {
            dropped.push((entry, RejectReason::NonceUsed { expected, actual: entry.nonce }));
        }
        let limit = limits.max_per_sender;
        for entry in self.entries.drain(limit.min(self.entries.len())..) {
            dropped.push((entry, RejectReason::SenderLimit { limit }));
        }

        let (mut next_nonce, mut spent) = (expected, 0_u64);
        self.pending = 0;
        // No account can have a nonce after the maximum, so that nonce is never pending.
        while let Some(entry) = self.entries.get(self.pending).copied()
            && entry.nonce == next_nonce
            && next_nonce < u64::MAX
        {
            let needed = spent.saturating_add(entry.cost);
            if needed > available {
                self.entries.remove(self.pending);
                dropped.push((entry, RejectReason::InsufficientBalance { needed, available }));
                break;
            }
            (self.pending, next_nonce, spent) = (self.pending + 1, next_nonce + 1, needed);
        }

        let latest = next_nonce.saturating_add(limits.max_nonces_ahead).min(u64::MAX - 1);
        for entry in self.entries.split_off(self.pending) {
            if entry.nonce > latest {
                dropped.push((entry, RejectReason::NonceTooFar { latest, actual: entry.nonce }));
            } else if entry.cost > available {
                let needed = entry.cost;
                dropped.push((entry, RejectReason::InsufficientBalance { needed, available }));
            } else {
                self.entries.push(entry);
            }
        }
        let since = self.gap_since.filter(|_| self.next_nonce == next_nonce).unwrap_or(now);
        self.next_nonce = next_nonce;
        self.gap_since = (!self.queued().is_empty()).then_some(since);
        dropped
    }

    /// Sets the mempool time since which the next nonce is missing, if a transfer waits for it.
    pub(super) fn wait_since(&mut self, since: Option<u64>) {
        self.gap_since = self.gap_since.and(since.or(self.gap_since));
    }

    /// Removes the last transfer, the only one whose removal leaves no gap.
    pub(super) fn pop(&mut self) -> Option<QueueEntry> {
        let entry = self.entries.pop()?;
        if self.pending > self.entries.len() {
            self.pending = self.entries.len();
            self.next_nonce = entry.nonce;
        }
        self.gap_since = self.gap_since.filter(|_| self.entries.len() > self.pending);
        Some(entry)
    }

    /// Removes the transfer with this nonce. Pending transfers after it become queued, and wait for
    /// another one since the mempool time `now`.
    pub(super) fn remove(&mut self, nonce: u64, now: u64) -> Option<QueueEntry> {
        let position = self.entries.binary_search_by_key(&nonce, |entry| entry.nonce).ok()?;
        let entry = self.entries.remove(position);
        if position < self.pending {
            (self.pending, self.next_nonce) = (position, nonce);
            self.gap_since = Some(now);
        }
        self.gap_since = self.gap_since.filter(|_| self.entries.len() > self.pending);
        Some(entry)
    }

    /// Removes all queued transfers.
    pub(super) fn remove_queued(&mut self) -> Vec<QueueEntry> {
        self.gap_since = None;
        self.entries.split_off(self.pending)
    }

    /// Returns the sum of the fees of all pending transfers.
    pub(super) fn pending_fees(&self) -> u64 {
        // The balance covers the costs of all pending transfers, which include the fees.
        self.pending().iter().map(|entry| entry.fee).sum()
    }

    /// Returns the eviction key of the transfer with this nonce, without the transfers after it,
    /// which can only improve it.
    pub(super) fn eviction_key(&self, nonce: u64) -> Option<EvictionKey> {
        let entry = self.get(nonce)?;
        let arrival = Reverse(entry.arrival);
        if nonce >= self.next_nonce {
            return Some(EvictionKey { is_pending: false, rate: entry.rate(), arrival });
        }
        let end = self.entries.partition_point(|entry| entry.nonce <= nonce);
        let mut chunks = Vec::new();
        append_chunks(&self.entries[..end], &mut chunks);
        Some(EvictionKey { is_pending: true, rate: chunks.last()?.rate, arrival })
    }

    /// Returns the eviction key of the last transfer.
    pub(super) fn last_eviction_key(&self) -> Option<EvictionKey> {
        self.eviction_key(self.entries.last()?.nonce)
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> &[QueueEntry] {
        &self.entries
    }
}

/// Appends the chunks of consecutive transfers. Transfers with rising fee rates merge into one
/// chunk, so that a transfer with a low fee is carried by later ones with higher fees.
pub(super) fn append_chunks(entries: &[QueueEntry], chunks: &mut Vec<FeeChunk>) {
    let first = chunks.len();
    let mut complete = 0;
    for (start, entry) in entries.iter().enumerate() {
        complete = complete.max(entry.arrival);
        let mut chunk = FeeChunk { start, length: 1, rate: entry.rate(), complete };
        while let Some(before) = chunks[first..].last()
            && before.rate < chunk.rate
        {
            chunk.start = before.start;
            chunk.length += before.length;
            chunk.rate = before.rate.combine(chunk.rate);
            chunks.pop();
        }
        chunks.push(chunk);
    }
}
