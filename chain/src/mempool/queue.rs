//! The transfers of one sender in nonce order: first the ready ones, then those that wait because
//! a nonce before theirs is missing.
//!
//! Ready ones have consecutive nonces from the account's, and the balance covers them together, so
//! any mixture of senders' ready transfers that keeps each sender's order can be applied.
//! Money that is only on its way to the sender does not count.

use super::{FeeRate, Limits, RejectReason};
use crate::accounts::Account;
use std::cmp::Reverse;

/// What the pool's decisions need to know of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) nonce: u64,
    /// Names the transfer in the pool.
    pub(super) arrival: u64,
    pub(super) fee: u64,
    /// Amount and fee.
    pub(super) cost: u64,
    pub(super) bytes: u64,
}

impl Item {
    pub(super) fn rate(&self) -> FeeRate {
        FeeRate::new(self.fee, self.bytes)
    }
}

/// Where a sender's last transfers stand when room is needed: the least goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    /// Waiting ones go before ready ones, whatever they promise.
    pub(super) is_ready: bool,
    /// What they pay: a waiting one for itself, a ready one with its chunk.
    pub(super) rate: FeeRate,
    /// Of equals the newest goes first.
    pub(super) arrival: Reverse<u64>,
}

/// Consecutive ready transfers of a sender that are best mined together: each pays for those
/// before it. The chunks of a sender pay less and less.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    /// Position of the first one in the queue.
    pub(super) start: usize,
    pub(super) length: usize,
    pub(super) rate: FeeRate,
    /// The newest arrival among these and all before them: from then on the chunk could be mined.
    pub(super) complete: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// Ascending nonces.
    items: Vec<Item>,
    /// How many, from the front, are ready.
    ready: usize,
    /// The first nonce that no ready one has.
    next: u64,
    /// When the pool began to wait for `next`, by its own clock; `None` if nothing waits.
    gap_since: Option<u64>,
    /// How many were replaced since the tip changed for the so-many-th time.
    pub(super) replacements: (u64, usize),
}

impl Queue {
    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(super) fn ready(&self) -> &[Item] {
        &self.items[..self.ready]
    }

    pub(super) fn waiting(&self) -> &[Item] {
        &self.items[self.ready..]
    }

    /// The nonce after the ready ones.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn gap_since(&self) -> Option<u64> {
        self.gap_since
    }

    /// The ready one with a nonce.
    pub(super) fn ready_at(&self, nonce: u64) -> Option<&Item> {
        let first = self.ready().first()?.nonce;
        self.ready().get(usize::try_from(nonce.checked_sub(first)?).ok()?)
    }

    /// The one with a nonce.
    pub(super) fn at(&self, nonce: u64) -> Option<&Item> {
        let at = self.items.binary_search_by_key(&nonce, |item| item.nonce).ok()?;
        self.items.get(at)
    }

    /// Puts a transfer into its place; the one that had its nonce. `judge` must follow.
    pub(super) fn put(&mut self, item: Item) -> Option<Item> {
        match self.items.binary_search_by_key(&item.nonce, |item| item.nonce) {
            Ok(at) => Some(std::mem::replace(&mut self.items[at], item)),
            Err(at) => {
                self.items.insert(at, item);
                None
            }
        }
    }

    /// Finds out which are ready, and drops what cannot stay.
    pub(super) fn judge(
        &mut self,
        account: &Account,
        limits: &Limits,
        now: u64,
    ) -> Vec<(Item, RejectReason)> {
        let mut dropped = Vec::new();
        let (expected, available) = (account.nonce, account.balance.units());
        let used = self.items.partition_point(|item| item.nonce < expected);
        for item in self.items.drain(..used) {
            dropped.push((item, RejectReason::NonceUsed { expected, actual: item.nonce }));
        }
        let limit = limits.max_per_sender;
        for item in self.items.drain(limit.min(self.items.len())..) {
            dropped.push((item, RejectReason::SenderLimit { limit }));
        }

        let (mut next, mut spent) = (expected, 0_u64);
        self.ready = 0;
        // No account can get past the last nonce, so that one is never ready.
        while let Some(item) = self.items.get(self.ready).copied()
            && item.nonce == next
            && next < u64::MAX
        {
            let needed = spent.saturating_add(item.cost);
            if needed > available {
                self.items.remove(self.ready);
                dropped.push((item, RejectReason::InsufficientBalance { needed, available }));
                break;
            }
            (self.ready, next, spent) = (self.ready + 1, next + 1, needed);
        }

        let latest = next.saturating_add(limits.max_nonces_ahead).min(u64::MAX - 1);
        for item in self.items.split_off(self.ready) {
            if item.nonce > latest {
                dropped.push((item, RejectReason::NonceTooFar { latest, actual: item.nonce }));
            } else if item.cost > available {
                let needed = item.cost;
                dropped.push((item, RejectReason::InsufficientBalance { needed, available }));
            } else {
                self.items.push(item);
            }
        }
        let gap_began = self.gap_since.filter(|_| self.next == next).unwrap_or(now);
        self.next = next;
        self.gap_since = (!self.waiting().is_empty()).then_some(gap_began);
        dropped
    }

    /// Takes the last transfer away: the only one whose loss leaves no gap.
    pub(super) fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop()?;
        if self.ready > self.items.len() {
            self.ready = self.items.len();
            self.next = item.nonce;
        }
        self.gap_since = self.gap_since.filter(|_| self.items.len() > self.ready);
        Some(item)
    }

    /// Takes away all that wait.
    pub(super) fn give_up_waiting(&mut self) -> Vec<Item> {
        self.gap_since = None;
        self.items.split_off(self.ready)
    }

    /// Fees of the ready ones.
    pub(super) fn ready_fees(&self) -> u64 {
        // Fees are part of costs, which the balance covers together.
        self.ready().iter().map(|item| item.fee).sum()
    }

    /// Where the transfer with a nonce stands; with those of its chunk after it, it may only stand
    /// better.
    pub(super) fn standing(&self, nonce: u64) -> Option<Standing> {
        let item = self.at(nonce)?;
        let arrival = Reverse(item.arrival);
        if nonce >= self.next {
            return Some(Standing { is_ready: false, rate: item.rate(), arrival });
        }
        let up_to_it = self.items.partition_point(|item| item.nonce <= nonce);
        let mut chunks = Vec::new();
        append_chunks(&self.items[..up_to_it], &mut chunks);
        Some(Standing { is_ready: true, rate: chunks.last()?.rate, arrival })
    }

    /// Where the last transfer stands.
    pub(super) fn tail(&self) -> Option<Standing> {
        self.standing(self.items.last()?.nonce)
    }
}

/// Appends the chunks of consecutive transfers. Where rates rise along the queue they melt into
/// one, so that a poor transfer in front is carried by the rich ones that need it.
pub(super) fn append_chunks(items: &[Item], chunks: &mut Vec<Chunk>) {
    let first = chunks.len();
    let mut complete = 0;
    for (start, item) in items.iter().enumerate() {
        complete = complete.max(item.arrival);
        let mut chunk = Chunk { start, length: 1, rate: item.rate(), complete };
        while let Some(before) = chunks[first..].last()
            && before.rate < chunk.rate
        {
            chunk.start = before.start;
            chunk.length += before.length;
            chunk.rate = before.rate.with(chunk.rate);
            chunks.pop();
        }
        chunks.push(chunk);
    }
}
