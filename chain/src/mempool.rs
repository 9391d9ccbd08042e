//! The mempool: transfers that wait for a block. Policy, not consensus. Each sender has a queue in
//! nonce order; transfers are mined and evicted by fee rate, in base units per encoded byte.
//!
//! A transfer is *pending* if the next block can include it, and *queued* if an earlier nonce of
//! its sender is missing. Every call that validates transfers has the accounts at the tip as an
//! argument. The mempool has no clock: [`Mempool::expire`] has the time as an argument. It does not
//! verify signatures either, which [`CheckedTransfer`] guarantees.
//!
//! A call costs the logarithm of the mempool's size plus at most one pass over a sender's queue.

mod limits;
mod rate;
mod reject;
mod remove;
mod queue;
mod selection;
mod query;
mod change;
pub(crate) mod journal;
mod restore;
#[cfg(test)]
pub(crate) mod tests;

pub use self::change::TipChange;
pub use self::limits::{ENTRY_BYTES, Limits};
pub use self::query::Waiting;
pub use self::rate::{FeeBucket, FeeRate};
pub use self::reject::RejectReason;
pub use self::selection::Selection;

pub(crate) use self::change::Change;
pub(crate) use self::restore::RestoredTransfer;

use self::queue::{EvictionKey, QueueEntry, SenderQueue};
use crate::accounts::{Account, AccountView};
use crate::address::Address;
use crate::block::Timestamp;
use crate::fifo_map::FifoMap;
use crate::rules::tx::CheckedTransfer;
use crate::tx::Id;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// The maximum number of seconds that count between two calls of [`Mempool::expire`], so that a
/// clock that jumps ahead does not empty the mempool.
const MAX_STEP_SECONDS: u64 = 600;

/// The number of dropped transfers whose reasons are stored for status queries: about 2 MB.
const MAX_REASONS: usize = 10_000;

/// How a transfer came to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Submitted to this node, which announces it again until it is confirmed or dropped.
    Local,
    /// Received from a peer, which announces it as well.
    Peer,
}

/// The status of a transfer in the mempool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The next block can include the transfer.
    Pending,
    /// The transfer waits for an earlier nonce of its sender.
    Queued,
    /// The transfer left the mempool recently.
    Dropped(RejectReason),
}

/// Whether a transfer may replace another one of its sender with the same nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// The transfer replaces the other one if it pays enough more.
    Allowed,
    /// The transfer is rejected if there is another one.
    Forbidden,
}

/// A transfer in the mempool.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The transfer, with its signature checked.
    pub transfer: &'a CheckedTransfer,
    /// The arrival number, which increases with every transfer that enters the mempool. It serves
    /// as a cursor for pages.
    pub arrival: u64,
    /// Whether the transfer is pending; otherwise it is queued.
    pub is_pending: bool,
}

impl Entry<'_> {
    /// Returns whether the transfer is pending or queued.
    pub fn status(&self) -> Status {
        if self.is_pending { Status::Pending } else { Status::Queued }
    }
}

/// A transfer that left the mempool without being confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The transfer that was dropped.
    pub transfer: CheckedTransfer,
    /// The reason why it was dropped.
    pub reason: RejectReason,
}

/// The changes that a call made to the mempool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The transfers that became pending, each sender's in nonce order: new transfers, and queued
    /// ones whose gap was filled.
    pub pending: Vec<Id>,
    /// The transfers that left the mempool, except confirmed ones.
    pub dropped: Vec<Dropped>,
}

/// The transfers that came back from the journal after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The number of transfers that are in the mempool again.
    pub count: usize,
    /// The transfers that are not, and were not confirmed either.
    pub dropped: Vec<Dropped>,
}

/// The result of inserting a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The transfer is already in the mempool or in the best chain; nothing changed.
    AlreadyKnown,
    /// The transfer was added.
    Added(Changes),
}

/// An error of inserting a transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError<E> {
    /// The mempool rejects the transfer.
    #[error(transparent)]
    Rejected(#[from] RejectReason),
    /// An account cannot be read.
    #[error("an account cannot be read: {0}")]
    View(E),
}

/// The mempool: unconfirmed transfers, pending and queued, within [`Limits`].
#[derive(Clone, Debug)]
pub struct Mempool {
    limits: Limits,
    /// The transfers by arrival number.
    transfers: BTreeMap<u64, Box<CheckedTransfer>>,
    next_arrival: u64,
    arrivals: HashMap<Id, u64>,
    queues: HashMap<Address, SenderQueue>,
    /// The senders and recipients with the arrival numbers of their transfers.
    by_address: BTreeSet<(Address, u64)>,
    /// The senders in the order in which their last transfers are evicted.
    eviction_order: BTreeMap<EvictionKey, Address>,
    /// The senders with queued transfers, by the mempool time since which a nonce is missing.
    gaps: BTreeSet<(u64, Address)>,
    buckets: BTreeMap<u64, FeeBucket>,
    bytes: u64,
    queued: usize,
    /// The reasons why transfers were dropped recently.
    drop_reasons: FifoMap<Id, RejectReason, MAX_REASONS>,
    /// The mempool time: the seconds that have passed, as far as they count.
    seconds: u64,
    last_time: Option<Timestamp>,
    /// The number of tip changes.
    tip_changes: u64,
    /// The arrival numbers of the transfers that were submitted to this node, with the time at
    /// which each is to be announced again; `None` if it was not announced before.
    local: BTreeMap<u64, Option<Duration>>,
    /// The changes that the journal does not have yet.
    unlogged: Vec<Change>,
}

/// A validated transfer that can be inserted into the mempool as long as neither the mempool nor
/// the tip has changed.
pub(crate) struct Insertion {
    transfer: CheckedTransfer,
    plan: InsertPlan,
}

/// The validated effects of inserting a transfer.
struct InsertPlan {
    sender: Address,
    nonce: u64,
    queue: SenderQueue,
    dropped: Vec<(QueueEntry, RejectReason)>,
    /// The sender whose last transfer is evicted, with the reason.
    victim: Option<(Address, RejectReason)>,
}

impl Mempool {
    /// Creates an empty mempool.
    pub fn new(limits: Limits) -> Mempool {
        Mempool {
            limits,
            transfers: BTreeMap::new(),
            next_arrival: 0,
            arrivals: HashMap::new(),
            queues: HashMap::new(),
            by_address: BTreeSet::new(),
            eviction_order: BTreeMap::new(),
            gaps: BTreeSet::new(),
            buckets: BTreeMap::new(),
            bytes: 0,
            queued: 0,
            drop_reasons: FifoMap::default(),
            seconds: 0,
            last_time: None,
            tip_changes: 0,
            local: BTreeMap::new(),
            unlogged: Vec::new(),
        }
    }

    /// Inserts a transfer, which is validated against the accounts at the tip.
    ///
    /// # Errors
    /// Returns [`InsertError::Rejected`], or [`InsertError::View`] if an account cannot be read.
    /// Nothing changes then.
    pub fn insert<V: AccountView>(
        &mut self,
        transfer: CheckedTransfer,
        replacement: Replacement,
        accounts: &V,
    ) -> Result<Admission, InsertError<V::Error>> {
        Ok(match self.prepare(transfer, replacement, accounts)? {
            Some(insertion) => Admission::Added(self.apply(insertion, Source::Peer)),
            None => Admission::AlreadyKnown,
        })
    }

    /// Validates a transfer for [`apply`](Self::apply); `None` if it is in the mempool already.
    ///
    /// # Errors
    /// Returns the errors of [`insert`](Self::insert).
    pub(crate) fn prepare<V: AccountView>(
        &self,
        transfer: CheckedTransfer,
        replacement: Replacement,
        accounts: &V,
    ) -> Result<Option<Insertion>, InsertError<V::Error>> {
        if self.contains(&transfer.id()) {
            return Ok(None);
        }
        let plan = self.plan(&transfer, replacement, accounts)?;
        Ok(Some(Insertion { transfer, plan }))
    }

    /// Inserts a validated transfer.
    pub(crate) fn apply(&mut self, insertion: Insertion, source: Source) -> Changes {
        let Insertion { transfer, plan } = insertion;
        let by = transfer.id();
        let mut dropped = Vec::new();
        if let Some((sender, reason)) = plan.victim {
            dropped.extend(self.evict_last_of(sender, reason));
        }
        let replaced = self.queues.get(&plan.sender).and_then(|queue| queue.get(plan.nonce));
        if let Some(replaced) = replaced.copied() {
            dropped.push(self.drop_transfer(&replaced, RejectReason::Replaced { by }));
        }
        self.add(transfer);
        if source == Source::Local {
            self.local.insert(self.next_arrival - 1, None);
        }
        let pending = self.replace_queue(plan.sender, plan.queue);
        for (entry, reason) in plan.dropped {
            dropped.push(self.drop_transfer(&entry, reason));
        }
        Changes { pending, dropped }
    }

    /// Validates a transfer without inserting it, and returns the status that it has or would have.
    ///
    /// # Errors
    /// Returns the errors of [`insert`](Self::insert).
    pub fn check<V: AccountView>(
        &self,
        transfer: &CheckedTransfer,
        replacement: Replacement,
        accounts: &V,
    ) -> Result<Status, InsertError<V::Error>> {
        if let Some(entry) = self.get(&transfer.id()) {
            return Ok(entry.status());
        }
        let InsertPlan { queue, nonce, .. } = self.plan(transfer, replacement, accounts)?;
        Ok(if nonce < queue.next_nonce() { Status::Pending } else { Status::Queued })
    }

    fn plan<V: AccountView>(
        &self,
        transfer: &CheckedTransfer,
        replacement: Replacement,
        accounts: &V,
    ) -> Result<InsertPlan, InsertError<V::Error>> {
        let sender = transfer.details().sender;
        let account = accounts.account(&sender).map_err(InsertError::View)?;
        let entry = queue_entry(transfer, self.next_arrival);
        let nonce = entry.nonce;
        if nonce < account.nonce {
            Err(RejectReason::NonceUsed { expected: account.nonce, actual: nonce })?;
        }
        self.check_min_fee(&entry)?;

        let mut queue = self.queues.get(&sender).cloned().unwrap_or_default();
        let fees_before = queue.pending_at(nonce).map(|_| queue.pending_fees());
        let replaced = queue.insert(entry);
        if let Some(replaced) = replaced {
            if replacement == Replacement::Forbidden {
                let id = self.transfer(&replaced).id();
                Err(RejectReason::WouldReplace { id })?;
            }
            check_replacement_fee(&entry, &replaced)?;
            self.count_replacement(&mut queue)?;
        }
        let mut dropped = queue.revalidate(&account, &self.limits, self.seconds);
        if let Some(position) = dropped.iter().position(|(dropped, _)| *dropped == entry) {
            Err(dropped.swap_remove(position).1)?;
        }
        let victim = match replaced {
            Some(_) => {
                check_total_fees(&entry, fees_before, queue.pending_fees())?;
                None
            }
            None => self.find_victim(&queue, sender, nonce, dropped.len())?,
        };
        Ok(InsertPlan { sender, nonce, queue, dropped, victim })
    }

    fn check_min_fee(&self, entry: &QueueEntry) -> Result<(), RejectReason> {
        let (rate, actual) = (self.limits.min_fee_rate, entry.fee);
        let needed = rate.saturating_mul(entry.bytes);
        if actual >= needed { Ok(()) } else { Err(RejectReason::MinFee { rate, needed, actual }) }
    }

    fn count_replacement(&self, queue: &mut SenderQueue) -> Result<(), RejectReason> {
        let (tip_changes, count) = queue.replacements;
        let count = if tip_changes == self.tip_changes { count } else { 0 };
        let limit = self.limits.max_per_sender;
        if count >= limit {
            return Err(RejectReason::ReplacementLimit { limit });
        }
        queue.replacements = (self.tip_changes, count + 1);
        Ok(())
    }

    /// Returns the sender whose last transfer has to be evicted, if the mempool is full: another
    /// sender whose last transfer pays less.
    fn find_victim(
        &self,
        queue: &SenderQueue,
        sender: Address,
        nonce: u64,
        dropped: usize,
    ) -> Result<Option<(Address, RejectReason)>, RejectReason> {
        if self.count() < self.capacity() + dropped {
            return Ok(None);
        }
        let new = queue.eviction_key(nonce).ok_or(RejectReason::MempoolFullOfPending)?;
        let actual = new.rate.floor();
        match self.eviction_order.iter().find(|(_, other)| **other != sender) {
            Some((key, other)) if (key.is_pending, key.rate) < (new.is_pending, new.rate) => {
                Ok(Some((*other, eviction_reason(key))))
            }
            Some((key, _)) if new.is_pending => {
                Err(RejectReason::MempoolFull { needed: key.rate.next_above(), actual })
            }
            Some(_) => Err(RejectReason::MempoolFullOfPending),
            None => Err(RejectReason::SenderLimit { limit: self.capacity() }),
        }
    }

    /// Updates the mempool to a new tip with the given accounts. Transfers of disconnected blocks
    /// return, whether or not they pay the minimum fee, and the queues of all touched senders are
    /// revalidated. The change may be passed in several parts, the transfers of older blocks first.
    ///
    /// # Errors
    /// Returns the error of reading an account. Nothing changes then.
    pub fn reconcile<V: AccountView>(
        &mut self,
        change: TipChange,
        accounts: &V,
    ) -> Result<Changes, V::Error> {
        let TipChange { returned, confirmed, mut touched, is_partial } = change;
        let mut limits = self.limits;
        if is_partial {
            limits.max_nonces_ahead = u64::MAX;
        }
        touched.retain(|address| self.queues.contains_key(address));
        touched.extend(returned.iter().map(|transfer| transfer.details().sender));
        let senders: Vec<(Address, Account)> = touched
            .into_iter()
            .map(|address| Ok((address, accounts.account(&address)?)))
            .collect::<Result<_, V::Error>>()?;

        self.tip_changes += 1;
        let mut returning: HashMap<Address, Vec<CheckedTransfer>> = HashMap::new();
        for transfer in returned {
            returning.entry(transfer.details().sender).or_default().push(transfer);
        }
        let mut changes = Changes::default();
        for (sender, account) in senders {
            let mut queue = self.queues.get(&sender).cloned().unwrap_or_default();
            for transfer in returning.remove(&sender).unwrap_or_default() {
                // The mempool has no transfer with a nonce that was in a block, unless it missed a
                // change of the tip; then its own transfer stays.
                if queue.get(transfer.details().nonce).is_none() {
                    queue.insert(queue_entry(&transfer, self.next_arrival));
                    self.add(transfer);
                }
            }
            let dropped = queue.revalidate(&account, &limits, self.seconds);
            changes.pending.extend(self.replace_queue(sender, queue));
            for (entry, reason) in dropped {
                if confirmed.contains(&self.transfer(&entry).id()) {
                    self.remove(&entry, None);
                } else {
                    changes.dropped.push(self.drop_transfer(&entry, reason));
                }
            }
        }
        while self.count() > self.capacity()
            && let Some((key, sender)) = self.eviction_order.first_key_value()
        {
            let (sender, reason) = (*sender, eviction_reason(key));
            changes.dropped.extend(self.evict_last_of(sender, reason));
        }
        changes.pending.retain(|id| self.contains(id));
        Ok(changes)
    }

    /// Drops transfers that have waited too long for a missing nonce. Call this every few minutes:
    /// the time between two calls counts as ten minutes at most, and as nothing if the clock goes
    /// back.
    pub fn expire(&mut self, now: Timestamp) -> Vec<Dropped> {
        let passed = self.last_time.map_or(0, |last| now.since(last));
        self.last_time = Some(now);
        let passed = u64::try_from(passed).unwrap_or(0).min(MAX_STEP_SECONDS);
        self.seconds = self.seconds.saturating_add(passed);
        let mut dropped = Vec::new();
        while let Some((since, sender)) = self.gaps.first().copied()
            && self.seconds - since >= self.limits.max_wait_seconds
        {
            let mut queue = self.queues.get(&sender).cloned().unwrap_or_default();
            let missing = queue.next_nonce();
            let expired = queue.remove_queued();
            self.replace_queue(sender, queue);
            for entry in expired {
                dropped.push(self.drop_transfer(&entry, RejectReason::Expired { missing }));
            }
        }
        dropped
    }

    fn evict_last_of(&mut self, sender: Address, reason: RejectReason) -> Option<Dropped> {
        let mut queue = self.queues.get(&sender)?.clone();
        let entry = queue.pop()?;
        self.replace_queue(sender, queue);
        Some(self.drop_transfer(&entry, reason))
    }

    /// Adds a transfer to everything but the queue of its sender.
    fn add(&mut self, transfer: CheckedTransfer) {
        let entry = queue_entry(&transfer, self.next_arrival);
        let details = *transfer.details();
        self.arrivals.insert(details.id, entry.arrival);
        self.by_address.insert((details.sender, entry.arrival));
        self.by_address.insert((details.recipient, entry.arrival));
        let rate = rate::bucket_of(entry.rate().floor());
        let bucket = self.buckets.entry(rate).or_insert(FeeBucket { rate, count: 0, bytes: 0 });
        bucket.count += 1;
        bucket.bytes += entry.bytes;
        self.bytes += entry.bytes;
        self.transfers.insert(entry.arrival, Box::new(transfer));
        self.drop_reasons.remove(&details.id);
        self.unlogged.push(Change::Added(entry.arrival));
        self.next_arrival += 1;
    }

    /// Removes a transfer from everything but the queue of its sender. Without a reason it was
    /// confirmed.
    fn remove(&mut self, entry: &QueueEntry, reason: Option<RejectReason>) -> CheckedTransfer {
        let transfer = self.transfers.remove(&entry.arrival).expect("queues hold added transfers");
        let details = transfer.details();
        self.local.remove(&entry.arrival);
        self.unlogged.push(Change::Removed(details.id, reason));
        self.arrivals.remove(&details.id);
        self.by_address.remove(&(details.sender, entry.arrival));
        self.by_address.remove(&(details.recipient, entry.arrival));
        let rate = rate::bucket_of(entry.rate().floor());
        if let Some(bucket) = self.buckets.get_mut(&rate) {
            bucket.count -= 1;
            bucket.bytes -= entry.bytes;
            if bucket.count == 0 {
                self.buckets.remove(&rate);
            }
        }
        self.bytes -= entry.bytes;
        *transfer
    }

    /// Removes a transfer and records the reason.
    fn drop_transfer(&mut self, entry: &QueueEntry, reason: RejectReason) -> Dropped {
        let transfer = self.remove(entry, Some(reason.clone()));
        self.drop_reasons.insert(transfer.id(), reason.clone());
        Dropped { transfer, reason }
    }

    /// Replaces the queue of a sender, and returns the transfers that became pending.
    fn replace_queue(&mut self, sender: Address, queue: SenderQueue) -> Vec<Id> {
        let old = self.queues.remove(&sender).unwrap_or_default();
        if let Some(key) = old.last_eviction_key() {
            self.eviction_order.remove(&key);
        }
        if let Some(since) = old.gap_since() {
            self.gaps.remove(&(since, sender));
        }
        self.queued -= old.queued().len();
        self.queued += queue.queued().len();
        let was_pending = |entry: &&QueueEntry| old.pending_at(entry.nonce) == Some(entry);
        let newly_pending = queue.pending().iter().filter(|entry| !was_pending(entry));
        let newly_pending = newly_pending.map(|entry| self.transfer(entry).id()).collect();
        if let Some(key) = queue.last_eviction_key() {
            self.eviction_order.insert(key, sender);
            self.gaps.extend(queue.gap_since().map(|since| (since, sender)));
            self.queues.insert(sender, queue);
        }
        newly_pending
    }

    fn transfer(&self, entry: &QueueEntry) -> &CheckedTransfer {
        self.transfers.get(&entry.arrival).expect("queues hold added transfers")
    }
}

/// Returns the lowest fee in base units with which a transfer of `bytes` replaces another one: a
/// tenth more, both in total and per byte, because relaying and validating it again is not free. 0
/// replaced bytes count as 1. More is needed if later transfers are dropped.
pub fn min_replacement_fee(replaced_fee: u64, replaced_bytes: u64, bytes: u64) -> u64 {
    let tenth_more = replaced_fee.saturating_add(replaced_fee.div_ceil(10).max(1));
    let for_size = (u128::from(replaced_fee) * u128::from(bytes))
        .saturating_mul(11)
        .div_ceil(u128::from(replaced_bytes.max(1)) * 10);
    tenth_more.max(u64::try_from(for_size).unwrap_or(u64::MAX))
}

fn check_replacement_fee(entry: &QueueEntry, replaced: &QueueEntry) -> Result<(), RejectReason> {
    let needed = min_replacement_fee(replaced.fee, replaced.bytes, entry.bytes);
    let actual = entry.fee;
    if actual >= needed {
        Ok(())
    } else {
        Err(RejectReason::ReplacementTooCheap { needed, actual })
    }
}

/// Checks that replacing a pending transfer raises the sum of all pending fees of its sender, even
/// if later transfers are dropped.
fn check_total_fees(
    entry: &QueueEntry,
    before: Option<u64>,
    after: u64,
) -> Result<(), RejectReason> {
    let actual = entry.fee;
    match before {
        Some(before) if after <= before => {
            let needed = actual.saturating_add(before - after).saturating_add(1);
            Err(RejectReason::ReplacementTooCheap { needed, actual })
        }
        _ => Ok(()),
    }
}

/// Returns the reason for evicting the transfer with this key.
fn eviction_reason(key: &EvictionKey) -> RejectReason {
    if key.is_pending {
        let (needed, actual) = (key.rate.next_above(), key.rate.floor());
        RejectReason::MempoolFull { needed, actual }
    } else {
        RejectReason::MempoolFullOfPending
    }
}

fn queue_entry(transfer: &CheckedTransfer, arrival: u64) -> QueueEntry {
    let details = transfer.details();
    QueueEntry {
        nonce: details.nonce,
        arrival,
        fee: details.fee.units(),
        cost: details.cost.units(),
        bytes: transfer.transfer().size() as u64,
    }
}
