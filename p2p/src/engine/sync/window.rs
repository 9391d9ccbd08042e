//! The way from the chain to the best header: which blocks are missing, and for the next of them,
//! who was asked and whose body is here. Blocks in it are named by numbers that only grow.

use super::header_tree::Place;
use chain::block::{self, Block, Height};
use libp2p::PeerId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// A body that waits for those before it.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) block: Arc<Block>,
    pub(super) bytes: usize,
    pub(super) from: PeerId,
}

/// What is known of a block that is to be fetched.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) body: Option<Body>,
    /// The requests that are out for it.
    pub(super) asked: Vec<u64>,
    /// Who failed to send it last.
    pub(super) failed: Option<PeerId>,
}

/// The missing blocks in order.
#[derive(Debug, Default)]
pub(super) struct Window {
    path: VecDeque<block::Hash>,
    /// The height of the first.
    base: Height,
    target: Option<Place>,
    /// For the first blocks of the path.
    slots: VecDeque<Slot>,
    /// The number of the first block.
    first: u64,
    /// The blocks among `slots` that nobody was asked for and whose body is not here.
    unasked: BTreeSet<u64>,
    /// Bytes of all bodies.
    held: usize,
    /// How many of the first bodies are with the writer.
    handed: usize,
}

impl Window {
    /// How many blocks are missing.
    pub(super) fn len(&self) -> usize {
        self.path.len()
    }

    /// The last of them.
    pub(super) fn target(&self) -> Option<Place> {
        self.target
    }

    /// The first of them.
    pub(super) fn front(&self) -> Option<block::Hash> {
        self.path.front().copied()
    }

    /// Whether the first missing block has no body here.
    pub(super) fn waits_at_front(&self) -> bool {
        self.slots.front().is_none_or(|slot| slot.body.is_none()) && !self.path.is_empty()
    }

    /// How many of the first may be asked for.
    pub(super) fn open(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of all bodies that wait.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// How many may be asked for and were not.
    pub(super) fn unasked(&self) -> usize {
        self.unasked.len()
    }

    /// Whether a block of this height and hash is among the missing.
    pub(super) fn contains(&self, height: Height, hash: &block::Hash) -> bool {
        self.index_at(height).is_some_and(|index| self.path.get(index) == Some(hash))
    }

    /// How many missing blocks there are up to this one, if it is among them.
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

    /// The height of a numbered block.
    pub(super) fn height(&self, number: u64) -> Height {
        let above = number.saturating_sub(self.first);
        Height::new(self.base.get().saturating_add(u32::try_from(above).unwrap_or(u32::MAX)))
    }

    /// The hash of a numbered block.
    pub(super) fn hash(&self, number: u64) -> Option<block::Hash> {
        self.path.get(self.index(number)?).copied()
    }

    /// A numbered block that may be asked for.
    pub(super) fn slot(&self, number: u64) -> Option<&Slot> {
        self.slots.get(self.index(number)?)
    }

    /// The same if it is still the block of that hash.
    pub(super) fn slot_of(&mut self, number: u64, hash: &block::Hash) -> Option<&mut Slot> {
        let index = self.index(number)?;
        self.slots.get_mut(index).filter(|_| self.path.get(index) == Some(hash))
    }

    /// Leads to another target. `branch` are the blocks up to it, from the first that is not in the
    /// window; `fork` is the one before that, if it is in the window.
    pub(super) fn lead(
        &mut self,
        fork: Option<Height>,
        branch: impl IntoIterator<Item = block::Hash>,
        (base, target): (Height, Place),
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

    /// Forgets all blocks from an index on.
    fn truncate(&mut self, index: usize) {
        self.path.truncate(index);
        while self.slots.len() > index {
            let Some(slot) = self.slots.pop_back() else { break };
            self.held = self.held.saturating_sub(slot.body.map_or(0, |body| body.bytes));
        }
        self.unasked.split_off(&self.number(index));
        self.handed = self.handed.min(index);
    }

    /// Forgets all blocks.
    pub(super) fn clear(&mut self) {
        // Numbers are not used again, so that late answers meet nothing.
        let next = self.number(self.slots.len());
        self.truncate(0);
        self.first = next;
        self.target = None;
    }

    /// The first block is no longer missing.
    pub(super) fn pop_front(&mut self) {
        self.path.pop_front();
        self.base = self.base.next().unwrap_or(self.base);
        self.unasked.remove(&self.first);
        if let Some(slot) = self.slots.pop_front() {
            self.held = self.held.saturating_sub(slot.body.map_or(0, |body| body.bytes));
        }
        self.handed = self.handed.saturating_sub(1);
        self.first = self.first.saturating_add(1);
        if self.path.is_empty() {
            self.clear();
        }
    }

    /// Lets so many blocks more be asked for, as far as there are some.
    pub(super) fn extend(&mut self, blocks: usize) {
        let more = self.path.len().saturating_sub(self.slots.len()).min(blocks);
        for _ in 0..more {
            self.unasked.insert(self.number(self.slots.len()));
            self.slots.push_back(Slot::default());
        }
    }

    /// Blocks in a row that nobody was asked for, from the first at or after a number on.
    pub(super) fn next_unasked(&self, from: u64, most: usize) -> Option<(u64, usize)> {
        let mut numbers = self.unasked.range(from..).take(most.max(1));
        let first = *numbers.next()?;
        let in_row = numbers.zip(1..).take_while(|(number, at)| **number == first + *at);
        Some((first, in_row.count().saturating_add(1)))
    }

    /// A request is out for blocks in a row.
    pub(super) fn note_asked(&mut self, first: u64, count: usize, request: u64) {
        for number in (first..).take(count) {
            self.unasked.remove(&number);
            let Some(index) = self.index(number) else { continue };
            let Some(slot) = self.slots.get_mut(index) else { return };
            slot.asked.push(request);
        }
    }

    /// A request for a block came to its end, without the body if that is not here now.
    pub(super) fn note_answered(
        &mut self,
        (number, hash): (u64, &block::Hash),
        request: u64,
        failed: Option<PeerId>,
    ) {
        let Some(slot) = self.slot_of(number, hash) else { return };
        slot.asked.retain(|asked| *asked != request);
        if slot.body.is_none() {
            slot.failed = failed.or(slot.failed);
            if slot.asked.is_empty() {
                self.unasked.insert(number);
            }
        }
    }

    /// A body came; whether it was missing.
    pub(super) fn put(&mut self, number: u64, hash: &block::Hash, body: Body) -> bool {
        let bytes = body.bytes;
        let Some(slot) = self.slot_of(number, hash).filter(|slot| slot.body.is_none()) else {
            return false;
        };
        slot.body = Some(body);
        self.held = self.held.saturating_add(bytes);
        self.unasked.remove(&number);
        true
    }

    /// A body was not the one of its header: it is missing again, and all after it wait.
    pub(super) fn drop_body(&mut self, hash: &block::Hash) {
        let Some(index) = self.path.iter().take(self.handed).position(|at| at == hash) else {
            return;
        };
        let number = self.number(index);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let body = slot.body.take();
        slot.failed = body.as_ref().map(|body| body.from);
        let is_asked = !slot.asked.is_empty();
        self.held = self.held.saturating_sub(body.map_or(0, |body| body.bytes));
        if !is_asked {
            self.unasked.insert(number);
        }
        self.handed = index;
    }

    /// All bodies are to be handed over again.
    pub(super) fn take_back(&mut self) {
        self.handed = 0;
    }

    /// The next body to be handed over.
    pub(super) fn next_body(&self) -> Option<(block::Hash, &Body)> {
        let body = self.slots.get(self.handed)?.body.as_ref()?;
        Some((*self.path.get(self.handed)?, body))
    }

    /// That body is with the writer.
    pub(super) fn note_handed(&mut self) {
        self.handed = self.handed.saturating_add(1);
    }

    /// The first block whose body is not here, of those that may be asked for.
    pub(super) fn frontier(&self) -> Option<u64> {
        let waits = |slot: &Slot| slot.body.is_none();
        let index = self.slots.iter().skip(self.handed).position(waits)?;
        Some(self.number(self.handed.saturating_add(index)))
    }
}
