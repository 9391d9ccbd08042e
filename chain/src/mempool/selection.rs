//! The pending transfers in the order in which a block includes them.

use super::Mempool;
use super::queue::{FeeChunk, SenderQueue, append_chunks};
use super::rate::FeeRate;
use crate::address::Address;
use crate::rules::tx::CheckedTransfer;
use std::collections::HashSet;

/// An iterator over the pending transfers, by descending fee rate and each sender's in nonce order.
pub struct Selection<'a> {
    mempool: &'a Mempool,
    /// The chunks in ascending order. The fee rates of a sender's chunks decrease, so sorting
    /// preserves the order of each sender.
    chunks: Vec<(FeeChunk, Address, &'a SenderQueue)>,
    /// The rest of the current chunk.
    current: Option<(FeeChunk, Address, &'a SenderQueue)>,
    skipped: HashSet<Address>,
}

impl<'a> Selection<'a> {
    pub(super) fn new(mempool: &'a Mempool) -> Selection<'a> {
        let mut chunks = Vec::with_capacity(mempool.queues.len());
        let mut of_sender = Vec::new();
        for (sender, queue) in &mempool.queues {
            append_chunks(queue.pending(), &mut of_sender);
            chunks.extend(of_sender.drain(..).map(|chunk| (chunk, *sender, queue)));
        }
        chunks.sort_unstable_by_key(|(chunk, ..)| chunk.order());
        Selection { mempool, chunks, current: None, skipped: HashSet::new() }
    }

    /// Skips the remaining transfers of a sender. Call this when a transfer was not included,
    /// because later ones of the sender cannot be included then.
    pub fn skip_sender(&mut self, sender: Address) {
        self.skipped.insert(sender);
        self.current = self.current.filter(|(_, current, _)| *current != sender);
    }

    /// Returns the next transfer with the fee rate of its chunk.
    pub(super) fn next_with_rate(&mut self) -> Option<(FeeRate, &'a CheckedTransfer)> {
        let (mut chunk, sender, queue) = match self.current.take() {
            Some(current) => current,
            None => loop {
                let next = self.chunks.pop()?;
                if !self.skipped.contains(&next.1) {
                    break next;
                }
            },
        };
        let entry = queue.pending()[chunk.start];
        (chunk.start, chunk.length) = (chunk.start + 1, chunk.length - 1);
        self.current = (chunk.length > 0).then_some((chunk, sender, queue));
        Some((chunk.rate, self.mempool.transfer(&entry)))
    }
}

impl<'a> Iterator for Selection<'a> {
    type Item = &'a CheckedTransfer;

    fn next(&mut self) -> Option<&'a CheckedTransfer> {
        self.next_with_rate().map(|(_, transfer)| transfer)
    }
}
