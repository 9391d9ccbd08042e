//! The best chain of a client: blocks in memory, checked for links, proof of work and Merkle roots.

use super::encoding::{
    Hash, Header, U256, add, bits, block_is_plausible, compare, has_work, header_hash, previous,
    split_block, work,
};
use std::collections::HashMap;

pub struct Chain {
    pub genesis: Hash,
    /// Blocks from height 1 on.
    blocks: Vec<(Hash, Vec<u8>)>,
    /// The work of the chain at each height, from genesis on.
    work: Vec<U256>,
    heights: HashMap<Hash, usize>,
}

impl Chain {
    pub fn new(genesis: Hash, genesis_bits: u32) -> Chain {
        let (work, heights) = (vec![work(genesis_bits)], HashMap::from([(genesis, 0)]));
        Chain { genesis, blocks: Vec::new(), work, heights }
    }

    pub fn height(&self) -> usize {
        self.blocks.len()
    }

    pub fn hash_at(&self, height: usize) -> Hash {
        if height == 0 { self.genesis } else { self.blocks[height - 1].0 }
    }

    pub fn tip(&self) -> Hash {
        self.hash_at(self.height())
    }

    pub fn work(&self) -> U256 {
        self.work[self.height()]
    }

    pub fn height_of(&self, hash: &Hash) -> Option<usize> {
        self.heights.get(hash).copied()
    }

    pub fn block(&self, hash: &Hash) -> Option<&[u8]> {
        let height = self.height_of(hash)?;
        Some(&self.blocks.get(height.checked_sub(1)?)?.1)
    }

    /// The tip, then back in growing steps, and genesis: at most 64 hashes.
    pub fn locator(&self) -> Vec<Hash> {
        let (mut hashes, mut height, mut step) = (Vec::new(), self.height(), 1);
        while height > 0 {
            hashes.push(self.hash_at(height));
            step *= if hashes.len() < 10 { 1 } else { 2 };
            height = height.saturating_sub(step);
        }
        hashes.push(self.genesis);
        hashes
    }

    /// The headers after the first hash of a locator that is in the chain.
    pub fn headers_after(&self, locator: &[Hash], stop: &Hash, max: usize) -> Vec<Header> {
        let start = locator.iter().find_map(|hash| self.height_of(hash)).unwrap_or(0);
        let end = self.height_of(stop).map_or(self.height(), |stop| stop.max(start));
        let blocks = self.blocks[start..end].iter().take(max);
        blocks.map(|(_, block)| block[..80].try_into().unwrap()).collect()
    }

    /// Whether headers with proof of work lead from a block of the chain to more work than its tip.
    pub fn is_better(&self, headers: &[Header]) -> bool {
        let Some(first) = headers.first() else { return false };
        let Some(fork) = self.height_of(&previous(first)) else { return false };
        let linked = headers.windows(2).all(|two| previous(&two[1]) == header_hash(&two[0]));
        let sum = headers.iter().fold(self.work[fork], |sum, it| add(&sum, &work(bits(it))));
        linked && headers.iter().all(has_work) && compare(&sum, &self.work()).is_gt()
    }

    /// Adds a block, and removes those after its parent. Returns false if it is not plausible.
    pub fn add(&mut self, block: Vec<u8>) -> bool {
        let Some((header, _)) = split_block(&block).filter(|_| block_is_plausible(&block)) else {
            return false;
        };
        let Some(parent) = self.height_of(&previous(&header)) else { return false };
        for (hash, _) in self.blocks.drain(parent..) {
            self.heights.remove(&hash);
        }
        self.work.truncate(parent + 1);
        let hash = header_hash(&header);
        self.work.push(add(&self.work[parent], &work(bits(&header))));
        self.heights.insert(hash, parent + 1);
        self.blocks.push((hash, block));
        true
    }
}
