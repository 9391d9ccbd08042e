//! Transfers that wait for a block: policy, not consensus. Queues by sender in nonce order, mined
//! and evicted by fee rate (base units per byte of encoding).
//!
//! Accounts at the tip are an argument of every call that judges; a transfer is *pending* if the
//! next block could take it, and *queued* if an earlier nonce of its sender is missing.
//! No clock: `expire` is told the time. Does not verify signatures: `CheckedTransfer` is proof.
//!
//! A call costs the logarithm of the pool's size and, at most, a walk along one sender's queue.

use crate::accounts::{Account, AccountView};
use crate::address::Address;
use crate::block::Timestamp;
use crate::rules::tx::CheckedTransfer;
use crate::tx::Id;
use queue::{Item, Queue, Standing};
use recently_removed::Recent;
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod rate;
mod reject;
mod queue;
mod recently_removed;
mod selection;
mod query;
#[cfg(test)]
pub(crate) mod tests;

pub use rate::{Bucket, FeeRate};
pub use reject::RejectReason;
pub use selection::Selection;

/// Memory one transfer counts for, with all that the pool keeps about it. Measured: 590 bytes where
/// a sender has many without memo, 1,160 where each has one with the longest memo. All count alike,
/// so that evicting one always makes room for any other.
pub const ENTRY_BYTES: usize = 1_280;

/// Most seconds that pass for the pool between two calls of `expire`: a clock that jumps ahead
/// does not empty it.
const MAX_STEP_SECONDS: u64 = 600;

/// How much the pool takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory, at `ENTRY_BYTES` a transfer.
    pub max_bytes: usize,
    /// The least fee, base units per byte; 0 lets transfers in that pay nothing.
    pub min_fee_rate: u64,
    /// Transfers of one sender, and replacements by one sender between two blocks. A script that
    /// pays a class from one account fits; 52 such senders fill the pool, where fees decide.
    pub max_per_sender: usize,
    /// How far beyond the first missing nonce a transfer may be, so also how many can wait.
    pub max_nonces_ahead: u64,
    /// Seconds that transfers wait for a missing nonce.
    pub max_wait_seconds: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            max_bytes: 64 << 20,
            min_fee_rate: 1,
            max_per_sender: 1_000,
            max_nonces_ahead: 64,
            max_wait_seconds: 3_600,
        }
    }
}

/// Whether a transfer is in the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The next block could take it.
    Pending,
    /// It waits for an earlier nonce of its sender.
    Queued,
    /// It left the pool, not long ago.
    Dropped(RejectReason),
}

/// A transfer of the pool.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// What was signed, and what it does.
    pub transfer: &'a CheckedTransfer,
    /// Counts up with every transfer that enters: a position for pages.
    pub arrival: u64,
    /// Pending, not queued.
    pub is_pending: bool,
}

/// A transfer that left the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Which.
    pub transfer: CheckedTransfer,
    /// Why.
    pub reason: RejectReason,
}

/// What a call did to the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Became pending, each sender's in nonce order: new ones, and queued ones whose gap closed.
    pub pending: Vec<Id>,
    /// Left, except those that were confirmed.
    pub dropped: Vec<Dropped>,
}

/// A transfer that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was there already; nothing changed.
    AlreadyKnown,
    /// It is in the pool now.
    Added(Changes),
}

/// Why a transfer did not enter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError<E> {
    /// The pool does not want it.
    #[error(transparent)]
    Rejected(#[from] RejectReason),
    /// An account could not be read.
    #[error("an account cannot be read: {0}")]
    View(E),
}

/// A move from one tip to another, over any number of blocks.
#[derive(Clone, Debug, Default)]
pub struct TipChange {
    /// The transfers of the blocks that were left.
    pub returned: Vec<CheckedTransfer>,
    /// The ids of the transfers of the blocks that were entered.
    pub confirmed: BTreeSet<Id>,
    /// All addresses whose accounts are not what they were.
    pub touched: BTreeSet<Address>,
}

/// The pool.
#[derive(Clone, Debug)]
pub struct Mempool {
    limits: Limits,
    /// By arrival.
    transfers: BTreeMap<u64, Box<CheckedTransfer>>,
    next_arrival: u64,
    arrivals: HashMap<Id, u64>,
    queues: HashMap<Address, Queue>,
    /// Senders and recipients with the arrivals that concern them.
    parties: BTreeSet<(Address, u64)>,
    /// Whose last transfer goes first when room is needed.
    tails: BTreeMap<Standing, Address>,
    /// Queues with a gap, by the pool's seconds at which it began.
    gaps: BTreeSet<(u64, Address)>,
    buckets: BTreeMap<u64, Bucket>,
    bytes: u64,
    queued: usize,
    recent: Recent,
    /// Seconds that have passed for the pool.
    seconds: u64,
    last_time: Option<Timestamp>,
    /// How often the tip changed.
    tips: u64,
}

/// How a transfer would enter.
struct Plan {
    sender: Address,
    nonce: u64,
    queue: Queue,
    dropped: Vec<(Item, RejectReason)>,
    /// The sender whose last transfer has to go, and why it.
    victim: Option<(Address, RejectReason)>,
}

impl Mempool {
    /// Empty.
    pub fn new(limits: Limits) -> Mempool {
        Mempool {
            limits,
            transfers: BTreeMap::new(),
            next_arrival: 0,
            arrivals: HashMap::new(),
            queues: HashMap::new(),
            parties: BTreeSet::new(),
            tails: BTreeMap::new(),
            gaps: BTreeSet::new(),
            buckets: BTreeMap::new(),
            bytes: 0,
            queued: 0,
            recent: Recent::default(),
            seconds: 0,
            last_time: None,
            tips: 0,
        }
    }

    /// Takes a transfer, judged by the accounts at the tip. A refused one changes nothing.
    pub fn insert<V: AccountView>(
        &mut self,
        transfer: CheckedTransfer,
        accounts: &V,
    ) -> Result<Admission, InsertError<V::Error>> {
        if self.contains(&transfer.id()) {
            return Ok(Admission::AlreadyKnown);
        }
        let plan = self.plan(&transfer, accounts)?;
        let by = transfer.id();
        let mut dropped = Vec::new();
        if let Some((sender, reason)) = plan.victim {
            dropped.extend(self.evict_last_of(sender, reason));
        }
        let replaced = self.queues.get(&plan.sender).and_then(|queue| queue.at(plan.nonce));
        if let Some(replaced) = replaced.copied() {
            dropped.push(self.forget(&replaced, RejectReason::Replaced { by }));
        }
        self.add(transfer);
        let pending = self.settle(plan.sender, plan.queue);
        dropped.extend(plan.dropped.into_iter().map(|(item, reason)| self.forget(&item, reason)));
        Ok(Admission::Added(Changes { pending, dropped }))
    }

    /// The judgement of `insert` without taking the transfer: what its status is or would be.
    pub fn check<V: AccountView>(
        &self,
        transfer: &CheckedTransfer,
        accounts: &V,
    ) -> Result<Status, InsertError<V::Error>> {
        if let Some(entry) = self.get(&transfer.id()) {
            return Ok(entry.status());
        }
        let Plan { queue, nonce, .. } = self.plan(transfer, accounts)?;
        Ok(if nonce < queue.next() { Status::Pending } else { Status::Queued })
    }

    fn plan<V: AccountView>(
        &self,
        transfer: &CheckedTransfer,
        accounts: &V,
    ) -> Result<Plan, InsertError<V::Error>> {
        let sender = transfer.details().sender;
        let account = accounts.account(&sender).map_err(InsertError::View)?;
        let item = item(transfer, self.next_arrival);
        let nonce = item.nonce;
        if nonce < account.nonce {
            Err(RejectReason::NonceUsed { expected: account.nonce, actual: nonce })?;
        }
        self.pays_the_minimum(&item)?;

        let mut queue = self.queues.get(&sender).cloned().unwrap_or_default();
        let fees_before = queue.ready_at(nonce).map(|_| queue.ready_fees());
        let replaced = queue.put(item);
        if let Some(replaced) = replaced {
            pays_more_than(&item, &replaced)?;
            self.count_replacement(&mut queue)?;
        }
        let mut dropped = queue.judge(&account, &self.limits, self.seconds);
        if let Some(at) = dropped.iter().position(|(dropped, _)| *dropped == item) {
            Err(dropped.swap_remove(at).1)?;
        }
        let victim = match replaced {
            Some(_) => {
                fees_rise(&item, fees_before, queue.ready_fees())?;
                None
            }
            None => self.room_for(&queue, sender, nonce, dropped.len())?,
        };
        Ok(Plan { sender, nonce, queue, dropped, victim })
    }

    fn pays_the_minimum(&self, item: &Item) -> Result<(), RejectReason> {
        let (rate, actual) = (self.limits.min_fee_rate, item.fee);
        let needed = rate.saturating_mul(item.bytes);
        if actual >= needed { Ok(()) } else { Err(RejectReason::MinFee { rate, needed, actual }) }
    }

    fn count_replacement(&self, queue: &mut Queue) -> Result<(), RejectReason> {
        let (tips, count) = queue.replacements;
        let count = if tips == self.tips { count } else { 0 };
        let limit = self.limits.max_per_sender;
        if count >= limit {
            return Err(RejectReason::ReplacementLimit { limit });
        }
        queue.replacements = (self.tips, count + 1);
        Ok(())
    }

    /// Whose last transfer gives way, if any has to: one of another sender that pays less.
    fn room_for(
        &self,
        queue: &Queue,
        sender: Address,
        nonce: u64,
        dropped: usize,
    ) -> Result<Option<(Address, RejectReason)>, RejectReason> {
        if self.count() < self.capacity() + dropped {
            return Ok(None);
        }
        let standing = queue.standing(nonce).ok_or(RejectReason::MempoolFullOfPending)?;
        let actual = standing.rate.floor();
        match self.tails.iter().find(|(_, other)| **other != sender) {
            Some((tail, other))
                if (tail.is_ready, tail.rate) < (standing.is_ready, standing.rate) =>
            {
                Ok(Some((*other, full(tail))))
            }
            Some((tail, _)) if standing.is_ready => {
                Err(RejectReason::MempoolFull { needed: tail.rate.next_above(), actual })
            }
            Some(_) => Err(RejectReason::MempoolFullOfPending),
            None => Err(RejectReason::SenderLimit { limit: self.capacity() }),
        }
    }

    /// Follows the chain to another tip, whose accounts are given: returned transfers come back,
    /// whether or not they pay the minimum, and the queues of all touched senders are judged
    /// again. If an account cannot be read nothing changes.
    pub fn reconcile<V: AccountView>(
        &mut self,
        change: TipChange,
        accounts: &V,
    ) -> Result<Changes, V::Error> {
        let TipChange { returned, confirmed, mut touched } = change;
        touched.retain(|address| self.queues.contains_key(address));
        touched.extend(returned.iter().map(|transfer| transfer.details().sender));
        let judged: Vec<(Address, Account)> = touched
            .into_iter()
            .map(|address| Ok((address, accounts.account(&address)?)))
            .collect::<Result<_, V::Error>>()?;

        self.tips += 1;
        let mut returning: HashMap<Address, Vec<CheckedTransfer>> = HashMap::new();
        for transfer in returned {
            returning.entry(transfer.details().sender).or_default().push(transfer);
        }
        let mut changes = Changes::default();
        for (sender, account) in judged {
            let mut queue = self.queues.get(&sender).cloned().unwrap_or_default();
            for transfer in returning.remove(&sender).unwrap_or_default() {
                // A nonce that was in a block is free here, unless the pool missed a change of the
                // tip; then what it holds stays.
                if queue.at(transfer.details().nonce).is_none() {
                    queue.put(item(&transfer, self.next_arrival));
                    self.add(transfer);
                }
            }
            let dropped = queue.judge(&account, &self.limits, self.seconds);
            changes.pending.extend(self.settle(sender, queue));
            for (item, reason) in dropped {
                if confirmed.contains(&self.transfer(&item).id()) {
                    self.remove(&item);
                } else {
                    changes.dropped.push(self.forget(&item, reason));
                }
            }
        }
        while self.count() > self.capacity()
            && let Some((tail, sender)) = self.tails.first_key_value()
        {
            let (sender, reason) = (*sender, full(tail));
            changes.dropped.extend(self.evict_last_of(sender, reason));
        }
        changes.pending.retain(|id| self.contains(id));
        Ok(changes)
    }

    /// Drops transfers that have waited too long for a missing nonce. To be called every few
    /// minutes: what passes between two calls counts as ten minutes at most, and a clock that
    /// goes backwards as nothing.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Dropped> {
        let passed = self.last_time.map_or(0, |last| now.since(last));
        self.last_time = Some(now);
        self.seconds += u64::try_from(passed).unwrap_or(0).min(MAX_STEP_SECONDS);
        let mut dropped = Vec::new();
        while let Some((since, sender)) = self.gaps.first().copied()
            && self.seconds - since >= self.limits.max_wait_seconds
        {
            let mut queue = self.queues.get(&sender).cloned().unwrap_or_default();
            let missing = queue.next();
            let expired = queue.give_up_waiting();
            self.settle(sender, queue);
            for item in expired {
                dropped.push(self.forget(&item, RejectReason::Expired { missing }));
            }
        }
        dropped
    }

    fn evict_last_of(&mut self, sender: Address, reason: RejectReason) -> Option<Dropped> {
        let mut queue = self.queues.get(&sender)?.clone();
        let item = queue.pop()?;
        self.settle(sender, queue);
        Some(self.forget(&item, reason))
    }

    /// Adds what is known of a transfer, but for its place in a queue.
    fn add(&mut self, transfer: CheckedTransfer) {
        let item = item(&transfer, self.next_arrival);
        let details = *transfer.details();
        self.arrivals.insert(details.id, item.arrival);
        self.parties.insert((details.sender, item.arrival));
        self.parties.insert((details.recipient, item.arrival));
        let rate = rate::bucket_of(item.rate().floor());
        let bucket = self.buckets.entry(rate).or_insert(Bucket { rate, count: 0, bytes: 0 });
        bucket.count += 1;
        bucket.bytes += item.bytes;
        self.bytes += item.bytes;
        self.transfers.insert(item.arrival, Box::new(transfer));
        self.next_arrival += 1;
    }

    /// The opposite of `add`.
    fn remove(&mut self, item: &Item) -> CheckedTransfer {
        let transfer = self.transfers.remove(&item.arrival).expect("queues hold what is added");
        let details = transfer.details();
        self.arrivals.remove(&details.id);
        self.parties.remove(&(details.sender, item.arrival));
        self.parties.remove(&(details.recipient, item.arrival));
        let rate = rate::bucket_of(item.rate().floor());
        if let Some(bucket) = self.buckets.get_mut(&rate) {
            bucket.count -= 1;
            bucket.bytes -= item.bytes;
            if bucket.count == 0 {
                self.buckets.remove(&rate);
            }
        }
        self.bytes -= item.bytes;
        *transfer
    }

    /// Removes a transfer and remembers why.
    fn forget(&mut self, item: &Item, reason: RejectReason) -> Dropped {
        let transfer = self.remove(item);
        self.recent.add(transfer.id(), reason.clone());
        Dropped { transfer, reason }
    }

    /// Puts a sender's queue into the place of what it was; those that became ready.
    fn settle(&mut self, sender: Address, queue: Queue) -> Vec<Id> {
        let old = self.queues.remove(&sender).unwrap_or_default();
        if let Some(tail) = old.tail() {
            self.tails.remove(&tail);
        }
        if let Some(since) = old.gap_since() {
            self.gaps.remove(&(since, sender));
        }
        self.queued -= old.waiting().len();
        self.queued += queue.waiting().len();
        let was_ready = |item: &&Item| old.ready_at(item.nonce) == Some(item);
        let became_ready = queue.ready().iter().filter(|item| !was_ready(item));
        let became_ready = became_ready.map(|item| self.transfer(item).id()).collect();
        if let Some(tail) = queue.tail() {
            self.tails.insert(tail, sender);
            self.gaps.extend(queue.gap_since().map(|since| (since, sender)));
            self.queues.insert(sender, queue);
        }
        became_ready
    }

    fn transfer(&self, item: &Item) -> &CheckedTransfer {
        self.transfers.get(&item.arrival).expect("queues hold what is added")
    }
}

/// A tenth more, both the fee and the fee per byte: relaying and judging again is not free.
fn pays_more_than(item: &Item, replaced: &Item) -> Result<(), RejectReason> {
    let tenth_more = replaced.fee.saturating_add(replaced.fee.div_ceil(10).max(1));
    let for_its_size = (u128::from(replaced.fee) * u128::from(item.bytes) * 11)
        .div_ceil(u128::from(replaced.bytes) * 10);
    let needed = tenth_more.max(u64::try_from(for_its_size).unwrap_or(u64::MAX));
    let actual = item.fee;
    if actual >= needed {
        Ok(())
    } else {
        Err(RejectReason::ReplacementTooCheap { needed, actual })
    }
}

/// Replacing a ready transfer may cost its sender some of those after it; all that the ready ones
/// pay together must rise all the same.
fn fees_rise(item: &Item, before: Option<u64>, after: u64) -> Result<(), RejectReason> {
    let actual = item.fee;
    match before {
        Some(before) if after <= before => {
            let needed = actual.saturating_add(before - after).saturating_add(1);
            Err(RejectReason::ReplacementTooCheap { needed, actual })
        }
        _ => Ok(()),
    }
}

/// Why the transfer that stands there gave way.
fn full(tail: &Standing) -> RejectReason {
    if tail.is_ready {
        let (needed, actual) = (tail.rate.next_above(), tail.rate.floor());
        RejectReason::MempoolFull { needed, actual }
    } else {
        RejectReason::MempoolFullOfPending
    }
}

fn item(transfer: &CheckedTransfer, arrival: u64) -> Item {
    let details = transfer.details();
    Item {
        nonce: details.nonce,
        arrival,
        fee: details.fee.units(),
        cost: details.cost.units(),
        bytes: transfer.transfer().size() as u64,
    }
}
