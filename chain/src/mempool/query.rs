//! What others may ask the pool.

use super::{Bucket, ENTRY_BYTES, Entry, FeeRate, Limits, Mempool, Queue, Selection, Status, item};
use crate::accounts::Account;
use crate::address::Address;
use crate::amount::Amount;
use crate::tx::{Id, MAX_TRANSFER_BYTES};

/// What a block needs besides transfers: header, count and coinbase.
const BLOCK_OVERHEAD_BYTES: u64 = 300;

impl Entry<'_> {
    /// Pending or queued.
    pub fn status(&self) -> Status {
        if self.is_pending { Status::Pending } else { Status::Queued }
    }

    /// What it pays for itself.
    pub fn fee_rate(&self) -> FeeRate {
        item(self.transfer, self.arrival).rate()
    }
}

impl Mempool {
    /// The limits it was made with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Transfers.
    pub fn count(&self) -> usize {
        self.transfers.len()
    }

    /// Most transfers.
    pub fn capacity(&self) -> usize {
        self.limits.max_bytes / ENTRY_BYTES
    }

    /// Bytes of the encoded transfers.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Transfers that wait for an earlier nonce.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Whether a transfer is in the pool.
    pub fn contains(&self, id: &Id) -> bool {
        self.arrivals.contains_key(id)
    }

    /// The ids of all transfers, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.arrivals.keys()
    }

    /// A transfer of the pool.
    pub fn get(&self, id: &Id) -> Option<Entry<'_>> {
        self.arrivals.get(id).and_then(|arrival| self.entry(*arrival))
    }

    /// What the pool knows of a transfer. The chain is to be asked first: that it was dropped here
    /// does not keep it out of blocks.
    pub fn status(&self, id: &Id) -> Option<Status> {
        let here = self.get(id).map(|entry| entry.status());
        here.or_else(|| self.recent.reason(id).cloned().map(Status::Dropped))
    }

    /// The ids of all transfers with their arrivals, the oldest first, from an arrival on.
    pub fn ids_since(&self, from: u64) -> impl Iterator<Item = (u64, &Id)> {
        self.transfers.range(from..).map(|(arrival, transfer)| (*arrival, &transfer.details().id))
    }

    /// All transfers, the newest first, from those that came before an arrival on.
    pub fn newest_first(&self, before: Option<u64>) -> impl Iterator<Item = Entry<'_>> {
        let arrivals = self.transfers.range(..before.unwrap_or(u64::MAX)).rev();
        arrivals.filter_map(|(arrival, _)| self.entry(*arrival))
    }

    /// A sender's transfers in nonce order.
    pub fn by_sender(&self, sender: &Address) -> impl Iterator<Item = Entry<'_>> + use<'_> {
        let items = self.queues.get(sender).into_iter().flat_map(Queue::items);
        items.filter_map(|item| self.entry(item.arrival))
    }

    /// The transfers an address sends or receives, the newest first, from those that came before
    /// an arrival on.
    pub fn by_address(
        &self,
        address: &Address,
        before: Option<u64>,
    ) -> impl Iterator<Item = Entry<'_>> + use<'_> {
        let range = (*address, 0)..(*address, before.unwrap_or(u64::MAX));
        self.parties.range(range).rev().filter_map(|(_, arrival)| self.entry(*arrival))
    }

    fn entry(&self, arrival: u64) -> Option<Entry<'_>> {
        let transfer = self.transfers.get(&arrival)?;
        let details = transfer.details();
        let queue = self.queues.get(&details.sender)?;
        Some(Entry { transfer, arrival, is_pending: details.nonce < queue.next() })
    }

    /// The nonce for a sender's next transfer: after its pending ones. The account is the one at
    /// the tip.
    pub fn next_nonce(&self, address: &Address, account: &Account) -> u64 {
        self.queues.get(address).map_or(account.nonce, Queue::next)
    }

    /// The balance once all pending transfers from and to an address are confirmed.
    pub fn pending_balance(&self, address: &Address, account: &Account) -> Amount {
        let pending = self.by_address(address, None).filter(|entry| entry.is_pending);
        let (mut sent, mut received) = (0, 0);
        for details in pending.map(|entry| entry.transfer.details()) {
            sent += u128::from(if details.sender == *address { details.cost.units() } else { 0 });
            received +=
                u128::from(if details.recipient == *address { details.amount.units() } else { 0 });
        }
        let balance = (u128::from(account.balance.units()) + received).saturating_sub(sent);
        u64::try_from(balance).ok().and_then(Amount::new).unwrap_or(Amount::MAX)
    }

    /// The pending transfers in the order a block should take them.
    pub fn selection(&self) -> Selection<'_> {
        Selection::new(self)
    }

    /// The least whole rate, base units per byte, at which a transfer may enter now: the limit's,
    /// or more while the pool is full.
    pub fn min_fee_rate(&self) -> u64 {
        let least = self.limits.min_fee_rate;
        match self.tails.first_key_value() {
            Some((tail, _)) if self.count() >= self.capacity() && tail.is_ready => {
                least.max(tail.rate.next_above())
            }
            _ => least,
        }
    }

    /// The rate, in whole base units per byte, that would put a transfer into one of the next
    /// blocks if nothing else came; the minimum if there is room for all.
    pub fn fee_rate_for(&self, blocks: u32, max_block_bytes: u32) -> u64 {
        let block = u64::from(max_block_bytes).saturating_sub(BLOCK_OVERHEAD_BYTES);
        let newcomer = MAX_TRANSFER_BYTES as u64;
        let room = block.saturating_mul(u64::from(blocks.max(1))).saturating_sub(newcomer);
        let least = self.min_fee_rate();
        if self.bytes <= room {
            return least;
        }
        let mut selection = self.selection();
        let mut taken = 0;
        while let Some((rate, transfer)) = selection.next_with_rate() {
            taken += transfer.transfer().size() as u64;
            if taken > room {
                return least.max(rate.next_above());
            }
        }
        least
    }

    /// The transfers by what each pays for itself, the cheapest first, queued ones included.
    pub fn fee_histogram(&self) -> impl Iterator<Item = Bucket> {
        self.buckets.values().copied()
    }
}
