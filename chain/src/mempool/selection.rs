//! The ready transfers in the order a block should take them.

use super::queue::{Chunk, Queue, append_chunks};
use super::{FeeRate, Mempool};
use crate::address::Address;
use crate::rules::tx::CheckedTransfer;
use std::cmp::Reverse;
use std::collections::HashSet;

/// Goes through the ready transfers, the best paying first, each sender's in nonce order.
pub struct Selection<'a> {
    mempool: &'a Mempool,
    /// The best last. A sender's chunks pay less and less, so sorting them keeps its order.
    chunks: Vec<(Chunk, Address, &'a Queue)>,
    /// The rest of the chunk that is being gone through.
    current: Option<(Chunk, Address, &'a Queue)>,
    skipped: HashSet<Address>,
}

impl<'a> Selection<'a> {
    pub(super) fn new(mempool: &'a Mempool) -> Selection<'a> {
        let mut chunks = Vec::with_capacity(mempool.queues.len());
        let mut of_sender = Vec::new();
        for (sender, queue) in &mempool.queues {
            append_chunks(queue.ready(), &mut of_sender);
            chunks.extend(of_sender.drain(..).map(|chunk| (chunk, *sender, queue)));
        }
        // Two chunks that were complete with the same arrival are of one sender.
        chunks.sort_unstable_by_key(|(chunk, ..)| {
            (chunk.rate, Reverse(chunk.complete), Reverse(chunk.start))
        });
        Selection { mempool, chunks, current: None, skipped: HashSet::new() }
    }

    /// Leaves out what is left of a sender: one of its transfers was not taken, so those after it
    /// cannot be.
    pub fn skip_sender(&mut self, sender: Address) {
        self.skipped.insert(sender);
        self.current = self.current.filter(|(_, current, _)| *current != sender);
    }

    /// The next transfer, with the rate of the chunk it is mined for.
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
        let item = queue.ready()[chunk.start];
        (chunk.start, chunk.length) = (chunk.start + 1, chunk.length - 1);
        self.current = (chunk.length > 0).then_some((chunk, sender, queue));
        Some((chunk.rate, self.mempool.transfer(&item)))
    }
}

impl<'a> Iterator for Selection<'a> {
    type Item = &'a CheckedTransfer;

    fn next(&mut self) -> Option<&'a CheckedTransfer> {
        self.next_with_rate().map(|(_, transfer)| transfer)
    }
}
