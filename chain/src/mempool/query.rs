//! Queries of the mempool.

use super::limits::{ENTRY_BYTES, Limits};
use super::queue::{QueueEntry, SenderQueue, append_chunks};
use super::rate::FeeBucket;
use super::selection::Selection;
use super::{Entry, Mempool, Status};
use crate::accounts::Account;
use crate::address::Address;
use crate::amount::Amount;
use crate::tx::{Id, MAX_TRANSFER_BYTES};

/// Why a transfer of the mempool is not in a block yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The transfer is queued behind a missing nonce of its sender.
    Nonce {
        /// The nonce of the first missing transfer.
        missing: u64,
    },
    /// The transfer is pending, and blocks include others first.
    Fee {
        /// The number of transfers that are included first.
        before: usize,
        /// The size of those transfers, in bytes.
        bytes: u64,
    },
}

/// The bytes of a block besides its transfers: header, count and coinbase.
const BLOCK_OVERHEAD_BYTES: u64 = 300;

impl Mempool {
    /// Returns the limits of the mempool.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns the number of transfers.
    pub fn count(&self) -> usize {
        self.transfers.len()
    }

    /// Returns the maximum number of transfers.
    pub fn capacity(&self) -> usize {
        self.limits.max_bytes / ENTRY_BYTES
    }

    /// Returns the size of all encoded transfers, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the number of transfers that wait for an earlier nonce.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether a transfer is in the mempool.
    pub fn contains(&self, id: &Id) -> bool {
        self.arrivals.contains_key(id)
    }

    /// Returns the ids of all transfers, in arbitrary order.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.arrivals.keys()
    }

    /// Whether the mempool has transfers of a sender.
    pub fn has_sender(&self, address: &Address) -> bool {
        self.queues.contains_key(address)
    }

    /// Returns all senders, in arbitrary order.
    pub fn senders(&self) -> impl Iterator<Item = &Address> {
        self.queues.keys()
    }

    /// Returns the ids of all pending transfers, in arbitrary order.
    pub fn pending_ids(&self) -> impl Iterator<Item = Id> {
        let pending = self.queues.values().flat_map(SenderQueue::pending);
        pending.map(|entry| self.transfer(entry).id())
    }

    /// Returns the ids of a sender's transfers with nonces below `nonce`.
    pub fn ids_below(&self, sender: &Address, nonce: u64) -> impl Iterator<Item = Id> {
        let entries = self.queues.get(sender).into_iter();
        let entries = entries.flat_map(|queue| queue.pending().iter().chain(queue.queued()));
        entries.take_while(move |entry| entry.nonce < nonce).map(|entry| self.transfer(entry).id())
    }

    /// Returns the transfer with this id.
    pub fn get(&self, id: &Id) -> Option<Entry<'_>> {
        self.arrivals.get(id).and_then(|arrival| self.entry(*arrival))
    }

    /// Returns the status of a transfer. Query the chain first: a block may contain a transfer that
    /// the mempool dropped.
    pub fn status(&self, id: &Id) -> Option<Status> {
        let current = self.get(id).map(|entry| entry.status());
        current.or_else(|| self.drop_reasons.get(id).cloned().map(Status::Dropped))
    }

    /// Returns the ids of all transfers from an arrival number on with their arrival numbers, the
    /// oldest first.
    pub fn ids_since(&self, arrival: u64) -> impl Iterator<Item = (u64, &Id)> {
        let transfers = self.transfers.range(arrival..);
        transfers.map(|(arrival, transfer)| (*arrival, &transfer.details().id))
    }

    /// Returns the transfers that arrived before an arrival number, or all of them, the newest
    /// first.
    pub fn newest_first(&self, before: Option<u64>) -> impl Iterator<Item = Entry<'_>> {
        let arrivals = self.transfers.range(..before.unwrap_or(u64::MAX)).rev();
        arrivals.filter_map(|(arrival, _)| self.entry(*arrival))
    }

    /// Returns the transfers from or to an address that arrived before an arrival number, or all of
    /// them, the newest first.
    pub fn by_address(
        &self,
        address: &Address,
        before: Option<u64>,
    ) -> impl Iterator<Item = Entry<'_>> + use<'_> {
        let range = (*address, 0)..(*address, before.unwrap_or(u64::MAX));
        self.by_address.range(range).rev().filter_map(|(_, arrival)| self.entry(*arrival))
    }

    fn entry(&self, arrival: u64) -> Option<Entry<'_>> {
        let transfer = self.transfers.get(&arrival)?;
        let details = transfer.details();
        let queue = self.queues.get(&details.sender)?;
        Some(Entry { transfer, arrival, is_pending: details.nonce < queue.next_nonce() })
    }

    /// Returns the nonce for the next transfer of a sender, which follows its pending transfers.
    /// `account` is the account of the sender at the tip.
    pub fn next_nonce(&self, address: &Address, account: &Account) -> u64 {
        self.queues.get(address).map_or(account.nonce, SenderQueue::next_nonce)
    }

    /// Returns the balance of an address after all pending transfers from and to it are confirmed.
    /// `account` is the account of the address at the tip.
    pub fn pending_balance(&self, address: &Address, account: &Account) -> Amount {
        let pending = self.by_address(address, None).filter(|entry| entry.is_pending);
        let (mut sent, mut received) = (0, 0);
        for details in pending.map(|entry| entry.transfer.details()) {
            if details.sender == *address {
                sent += u128::from(details.cost.units());
            }
            if details.recipient == *address {
                received += u128::from(details.amount.units());
            }
        }
        let balance = (u128::from(account.balance.units()) + received).saturating_sub(sent);
        u64::try_from(balance).ok().and_then(Amount::new).unwrap_or(Amount::MAX)
    }

    /// Returns the sum of the amounts and fees of the pending transfers of an address, in base
    /// units. Another transfer can spend what the balance at the tip exceeds it by.
    pub fn pending_cost(&self, address: &Address) -> u64 {
        let pending = self.queues.get(address).map_or(&[][..], SenderQueue::pending);
        // The balance covers the costs of all pending transfers.
        pending.iter().map(|entry| entry.cost).sum()
    }

    /// Returns the first nonce of a sender for which the mempool has no transfer although it has
    /// one with a later nonce; `None` if there is no such gap.
    pub fn missing_nonce(&self, sender: &Address) -> Option<u64> {
        let queue = self.queues.get(sender)?;
        (!queue.queued().is_empty()).then(|| queue.next_nonce())
    }

    /// Returns why a transfer waits; `None` if the mempool does not have it. For a pending transfer
    /// this takes one pass over all pending transfers.
    pub fn waiting(&self, id: &Id) -> Option<Waiting> {
        let details = self.get(id)?.transfer.details();
        let queue = self.queues.get(&details.sender)?;
        let Some(position) = queue.pending().iter().position(|entry| entry.nonce == details.nonce)
        else {
            return Some(Waiting::Nonce { missing: queue.next_nonce() });
        };
        let mut chunks = Vec::new();
        append_chunks(queue.pending(), &mut chunks);
        let own = *chunks.iter().find(|chunk| position < chunk.start + chunk.length)?;
        let bytes = |entries: &[QueueEntry]| entries.iter().map(|entry| entry.bytes).sum::<u64>();
        // The earlier transfers of its own chunk, and the chunks that are selected before that.
        let (mut before, mut total) =
            (position - own.start, bytes(&queue.pending()[own.start..position]));
        for other in self.queues.values() {
            chunks.clear();
            append_chunks(other.pending(), &mut chunks);
            let first = chunks.iter().filter(|chunk| chunk.order() > own.order());
            for chunk in first {
                before += chunk.length;
                total += bytes(&other.pending()[chunk.start..chunk.start + chunk.length]);
            }
        }
        Some(Waiting::Fee { before, bytes: total })
    }

    /// Returns the pending transfers in the order in which a block includes them.
    pub fn selection(&self) -> Selection<'_> {
        Selection::new(self)
    }

    /// Returns the minimum fee rate for a new transfer in whole base units per byte: the configured
    /// minimum, or more while the mempool is full.
    pub fn min_fee_rate(&self) -> u64 {
        let min = self.limits.min_fee_rate;
        match self.eviction_order.first_key_value() {
            Some((key, _)) if self.count() >= self.capacity() && key.is_pending => {
                min.max(key.rate.next_above())
            }
            _ => min,
        }
    }

    /// Estimates the fee rate in whole base units per byte with which a transfer is included in one
    /// of the next `blocks` blocks, if no other transfers arrive. Returns the minimum if there is
    /// room for all.
    pub fn fee_rate_for(&self, blocks: u32, max_block_bytes: u32) -> u64 {
        let block = u64::from(max_block_bytes).saturating_sub(BLOCK_OVERHEAD_BYTES);
        let new_transfer = MAX_TRANSFER_BYTES as u64;
        let room = block.saturating_mul(u64::from(blocks.max(1))).saturating_sub(new_transfer);
        let min = self.min_fee_rate();
        if self.bytes <= room {
            return min;
        }
        let mut selection = self.selection();
        let mut bytes = 0;
        while let Some((rate, transfer)) = selection.next_with_rate() {
            bytes += transfer.transfer().size() as u64;
            if bytes > room {
                return min.max(rate.next_above());
            }
        }
        min
    }

    /// Returns a histogram of all transfers by their own fee rates, the lowest first.
    pub fn fee_histogram(&self) -> impl Iterator<Item = FeeBucket> {
        self.buckets.values().copied()
    }
}
