//! The path from the chain to the best header: the missing blocks in order, and for the first of them
//! the requests in flight and the bodies received. Its blocks have numbers that are never reused.

use super::header_tree::ValidHeader;
use chain::block::{self, Block, Height};
use libp2p::PeerId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A body that waits for the blocks before it.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) block: Arc<Block>,
    pub(super) bytes: usize,
    pub(super) sender: PeerId,
}

/// A block that may be requested.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) body: Option<Body>,
    /// The requests in flight for it.
    pub(super) requests: Vec<u64>,
    /// The last peer that failed to send it.
    pub(super) failed: Option<PeerId>,
}

/// The missing blocks in order.
#[derive(Debug, Default)]
pub(super) struct Window {
    path: VecDeque<block::Hash>,
    /// The height of the first block of the path.
    base: Height,
    target: Option<ValidHeader>,
    /// The first blocks of the path, which may be requested.
    slots: VecDeque<Slot>,
    /// The number of the first slot.
    first: u64,
    /// The numbers of the slots without a request in flight and without a body.
    unrequested: BTreeSet<u64>,
    /// The bytes of all downloaded bodies.
    bytes: usize,
    /// The number of the first bodies that are at the writer.
    importing: usize,
}

impl Window {
    /// The number of missing blocks.
    pub(super) fn len(&self) -> usize {
        self.path.len()
    }

    /// The header of the last missing block.
    pub(super) fn target(&self) -> Option<ValidHeader> {
        self.target
    }

    /// The first missing block.
    pub(super) fn front(&self) -> Option<block::Hash> {
        self.path.front().copied()
    }

    /// Returns whether the body of the first missing block has not arrived.
    pub(super) fn lacks_front(&self) -> bool {
        self.slots.front().is_none_or(|slot| slot.body.is_none()) && !self.path.is_empty()
    }

    /// The number of blocks that may be requested.
    pub(super) fn open(&self) -> usize {
        self.slots.len()
    }

    /// Returns the bytes of all downloaded bodies.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of blocks that may be requested and are not.
    pub(super) fn unrequested(&self) -> usize {
        self.unrequested.len()
    }

    pub(super) fn contains(&self, height: Height, hash: &block::Hash) -> bool {
        self.index_at(height).is_some_and(|index| self.path.get(index) == Some(hash))
    }

    /// The number of missing blocks up to this one, if it is among them.
    pub(super) fn depth(&self, height: Height, hash: &block::Hash) -> Option<usize> {
        let index = self.index_at(height)?;
        (self.path.get(index) == Some(hash)).then(|| index.saturating_add(1))
    }

    /// The missing block at a height.
    pub(super) fn hash_at(&self, height: Height) -> Option<block::Hash> {
        self.path.get(self.index_at(height)?).copied()
    }

    fn index_at(&self, height: Height) -> Option<usize> {
        usize::try_from(height.get().checked_sub(self.base.get())?).ok()
    }

    fn index(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }

    fn number(&self, index: usize) -> u64 {
        self.first.saturating_add(u64::try_from(index).unwrap_or(u64::MAX))
    }

    pub(super) fn height(&self, number: u64) -> Height {
        let above = number.saturating_sub(self.first);
        Height::new(self.base.get().saturating_add(u32::try_from(above).unwrap_or(u32::MAX)))
    }

    pub(super) fn hash(&self, number: u64) -> Option<block::Hash> {
        self.path.get(self.index(number)?).copied()
    }

    pub(super) fn slot(&self, number: u64) -> Option<&Slot> {
        self.slots.get(self.index(number)?)
    }

    /// The slot of a number if its block still has that hash.
    fn slot_of(&mut self, number: u64, hash: &block::Hash) -> Option<&mut Slot> {
        let index = self.index(number)?;
        self.slots.get_mut(index).filter(|_| self.path.get(index) == Some(hash))
    }

    /// Switches to another target. `branch` are the blocks up to it from the first one that is not in
    /// the window; `fork` is the height of the one before, if that is in the window.
    pub(super) fn switch_to(
        &mut self,
        fork: Option<Height>,
        branch: impl IntoIterator<Item = block::Hash>,
        (base, target): (Height, ValidHeader),
    ) {
        match fork.and_then(|height| self.index_at(height)) {
            Some(index) => self.truncate(index.saturating_add(1)),
            None => {
                self.clear();
                self.base = base;
            }
        }
        self.path.extend(branch);
        self.target = Some(target);
    }

    fn truncate(&mut self, index: usize) {
        self.path.truncate(index);
        while self.slots.len() > index {
            let Some(slot) = self.slots.pop_back() else { break };
            self.bytes = self.bytes.saturating_sub(slot.body.map_or(0, |body| body.bytes));
        }
        self.unrequested.split_off(&self.number(index));
        self.importing = self.importing.min(index);
    }

    /// Removes all blocks from the window. Late responses for them match nothing.
    pub(super) fn clear(&mut self) {
        // Numbers are not reused, so that late responses match nothing.
        let next = self.number(self.slots.len());
        self.truncate(0);
        self.first = next;
        self.target = None;
    }

    /// Removes the first block, which is no longer missing.
    pub(super) fn pop_front(&mut self) {
        self.path.pop_front();
        self.base = self.base.next().unwrap_or(self.base);
        self.unrequested.remove(&self.first);
        if let Some(slot) = self.slots.pop_front() {
            self.bytes = self.bytes.saturating_sub(slot.body.map_or(0, |body| body.bytes));
        }
        self.importing = self.importing.saturating_sub(1);
        self.first = self.first.saturating_add(1);
        if self.path.is_empty() {
            self.clear();
        }
    }

    /// Opens a number of further blocks for requests, as far as there are any.
    pub(super) fn extend(&mut self, blocks: usize) {
        let more = self.path.len().saturating_sub(self.slots.len()).min(blocks);
        for _ in 0..more {
            self.unrequested.insert(self.number(self.slots.len()));
            self.slots.push_back(Slot::default());
        }
    }

    /// The first consecutive unrequested blocks at or after a number: the first and their count.
    pub(super) fn next_unrequested(&self, from: u64, max: usize) -> Option<(u64, usize)> {
        let mut numbers = self.unrequested.range(from..).take(max.max(1));
        let first = *numbers.next()?;
        let following = numbers.zip(1..).take_while(|(number, at)| **number == first + *at);
        Some((first, following.count().saturating_add(1)))
    }

    /// Records a request for consecutive blocks.
    pub(super) fn request_sent(&mut self, first: u64, count: usize, request: u64) {
        for number in (first..).take(count) {
            self.unrequested.remove(&number);
            let Some(index) = self.index(number) else { continue };
            let Some(slot) = self.slots.get_mut(index) else { return };
            slot.requests.push(request);
        }
    }

    /// Records the end of a request for a block, which is unrequested again if its body has not
    /// arrived.
    pub(super) fn request_ended(
        &mut self,
        (number, hash): (u64, &block::Hash),
        request: u64,
        failed: Option<PeerId>,
    ) {
        let Some(slot) = self.slot_of(number, hash) else { return };
        slot.requests.retain(|other| *other != request);
        if slot.body.is_none() {
            slot.failed = failed.or(slot.failed);
            if slot.requests.is_empty() {
                self.unrequested.insert(number);
            }
        }
    }

    /// Stores a body if it is missing.
    pub(super) fn insert(&mut self, number: u64, hash: &block::Hash, body: Body) {
        let bytes = body.bytes;
        if let Some(slot) = self.slot_of(number, hash).filter(|slot| slot.body.is_none()) {
            slot.body = Some(body);
            self.bytes = self.bytes.saturating_add(bytes);
            self.unrequested.remove(&number);
        }
    }

    /// Drops a body that is not the one of its header. The block is missing again, and those after it
    /// wait.
    pub(super) fn drop_body(&mut self, hash: &block::Hash) {
        let Some(index) = self.path.iter().take(self.importing).position(|at| at == hash) else {
            return;
        };
        let number = self.number(index);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let body = slot.body.take();
        slot.failed = body.as_ref().map(|body| body.sender);
        let is_requested = !slot.requests.is_empty();
        self.bytes = self.bytes.saturating_sub(body.map_or(0, |body| body.bytes));
        if !is_requested {
            self.unrequested.insert(number);
        }
        self.importing = index;
    }

    /// Makes all bodies wait for their import again.
    pub(super) fn restart_imports(&mut self) {
        self.importing = 0;
    }

    /// The next body to import.
    pub(super) fn next_import(&self) -> Option<(block::Hash, &Body)> {
        let body = self.slots.get(self.importing)?.body.as_ref()?;
        Some((*self.path.get(self.importing)?, body))
    }

    /// Records that the next body to import is at the writer.
    pub(super) fn import_submitted(&mut self) {
        self.importing = self.importing.saturating_add(1);
    }

    /// The first block whose body has not arrived, of those that may be requested.
    pub(super) fn frontier(&self) -> Option<u64> {
        let is_missing = |slot: &Slot| slot.body.is_none();
        let index = self.slots.iter().skip(self.importing).position(is_missing)?;
        Some(self.number(self.importing.saturating_add(index)))
    }
}
