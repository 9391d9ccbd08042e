//! The tree of validated headers whose bodies are missing here, rooted in the chain. Its callers bound
//! it; an entry uses about 250 bytes with its share of the maps.

use crate::engine::recent::Recent;
use crate::view::{ChainView, Tip};
use chain::block::{self, Header, Height};
use chain::pow::{Target, Work};
use chain::rules::header::Parent;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Branches that are remembered as abandoned.
const MAX_ABANDONED: usize = 256;
/// The time for which a branch whose bodies were withheld is not followed again; it doubles each time.
const ABANDONED_FOR: Duration = Duration::from_secs(60);
const MAX_ABANDONED_FOR: Duration = Duration::from_secs(3_600);

/// A header that satisfies all rules for headers, and what its child has to satisfy.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValidHeader {
    pub(super) tip: Tip,
    pub(super) as_parent: Parent,
}

impl ValidHeader {
    /// Returns the child with a header that satisfies the rules. `None` at the greatest height.
    pub(super) fn child(&self, hash: block::Hash, header: &Header) -> Option<ValidHeader> {
        let work = header.bits.target().map_or(Work::ZERO, Target::work);
        let chain_work = self.tip.chain_work.saturating_add(work);
        let tip = Tip { hash, height: self.tip.height.next()?, chain_work };
        Some(ValidHeader { tip, as_parent: self.as_parent.advance(header) })
    }
}

#[derive(Debug)]
struct Node {
    parent: block::Hash,
    header: ValidHeader,
    children: u32,
}

/// The headers by hash.
#[derive(Debug)]
pub(super) struct HeaderTree {
    nodes: BTreeMap<block::Hash, Node>,
    /// Headers without children, least work first.
    leaves: BTreeSet<(Work, block::Hash)>,
    /// The first headers of abandoned branches: how often each was abandoned, and the monotonic time
    /// until which it is not added again.
    abandoned: Recent<block::Hash, (u32, Duration)>,
}

impl Default for HeaderTree {
    fn default() -> HeaderTree {
        let (nodes, leaves) = (BTreeMap::new(), BTreeSet::new());
        HeaderTree { nodes, leaves, abandoned: Recent::new(MAX_ABANDONED) }
    }
}

impl HeaderTree {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn get(&self, hash: &block::Hash) -> Option<&ValidHeader> {
        self.nodes.get(hash).map(|node| &node.header)
    }

    /// Returns a header of the tree or of a block of the chain that is not invalid.
    pub(super) fn lookup(&self, hash: &block::Hash, chain: &dyn ChainView) -> Option<ValidHeader> {
        if let Some(header) = self.get(hash) {
            return Some(*header);
        }
        let known = chain.find(hash).filter(|known| !known.is_invalid)?;
        Some(ValidHeader { tip: known.tip, as_parent: known.as_parent })
    }

    /// Returns whether a header is in the tree or in the chain, valid or not.
    pub(super) fn is_known(&self, hash: &block::Hash, chain: &dyn ChainView) -> bool {
        self.get(hash).is_some() || chain.find(hash).is_some()
    }

    /// The hash of a header's parent, which may be in the chain.
    pub(super) fn parent(&self, hash: &block::Hash) -> Option<&block::Hash> {
        self.nodes.get(hash).map(|node| &node.parent)
    }

    /// The headers from the chain up to this one, lowest first; none if it is not in the tree.
    pub(super) fn branch(&self, hash: &block::Hash) -> Vec<block::Hash> {
        let mut branch = Vec::new();
        let mut at = *hash;
        while let Some(parent) = self.parent(&at) {
            branch.push(at);
            at = *parent;
        }
        branch.reverse();
        branch
    }

    /// The ends of all branches, most work first.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &(Work, block::Hash)> {
        self.leaves.iter().rev()
    }

    /// Adds a header whose parent is in the tree or in the chain.
    pub(super) fn insert(&mut self, parent: block::Hash, header: ValidHeader) {
        let hash = header.tip.hash;
        if self.nodes.contains_key(&hash) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.children = node.children.saturating_add(1);
            self.leaves.remove(&(node.header.tip.chain_work, parent));
        }
        self.nodes.insert(hash, Node { parent, header, children: 0 });
        self.leaves.insert((header.tip.chain_work, hash));
    }

    /// Removes a header without its descendants and returns its parent's hash.
    pub(super) fn remove(&mut self, hash: &block::Hash) -> Option<block::Hash> {
        let node = self.nodes.remove(hash)?;
        self.leaves.remove(&(node.header.tip.chain_work, *hash));
        if let Some(parent) = self.nodes.get_mut(&node.parent) {
            parent.children = parent.children.saturating_sub(1);
            if parent.children == 0 {
                self.leaves.insert((parent.header.tip.chain_work, node.parent));
            }
        }
        Some(node.parent)
    }

    /// Removes all descendants of a block, and the block if it is in the tree. Visits every header
    /// unless the block is a leaf.
    pub(super) fn remove_branch(&mut self, hash: &block::Hash) {
        if self.nodes.get(hash).is_some_and(|node| node.children == 0) {
            self.remove(hash);
            return;
        }
        let mut by_height: Vec<_> =
            self.nodes.iter().map(|(hash, node)| (node.header.tip.height, *hash)).collect();
        by_height.sort_unstable();
        let mut order = vec![*hash];
        let mut descendants = BTreeSet::from([*hash]);
        for (_, at) in by_height {
            if self.parent(&at).is_some_and(|parent| descendants.contains(parent)) {
                descendants.insert(at);
                order.push(at);
            }
        }
        for hash in order.iter().rev() {
            self.remove(hash);
        }
    }

    /// Removes a header and its descendants because no peer delivers its body, and does not accept it
    /// again for a while: a peer that reconnects cannot repeat the delay.
    pub(super) fn abandon_branch(&mut self, hash: &block::Hash, now: Duration) {
        self.remove_branch(hash);
        let times = self.abandoned.get(hash).map_or(0, |(times, _)| *times);
        let pause = ABANDONED_FOR.saturating_mul(1 << times.min(6)).min(MAX_ABANDONED_FOR);
        self.abandoned.insert(*hash, (times.saturating_add(1), now.saturating_add(pause)));
    }

    /// Returns whether a header is the first of a branch that was abandoned recently.
    pub(super) fn is_abandoned(&self, hash: &block::Hash, now: Duration) -> bool {
        self.abandoned.get(hash).is_some_and(|(_, until)| now < *until)
    }

    /// Removes a leaf and all its ancestors without other descendants.
    fn remove_leaf(&mut self, leaf: &block::Hash) {
        let mut at = *leaf;
        while self.nodes.get(&at).is_some_and(|node| node.children == 0) {
            let Some(parent) = self.remove(&at) else { return };
            at = parent;
        }
    }

    /// Removes unprotected branches, least work first, until at most `max` headers remain and every
    /// branch has more work than `threshold`.
    pub(super) fn evict(&mut self, max: usize, threshold: Work, protected: &BTreeSet<block::Hash>) {
        loop {
            let unprotected = |(_, leaf): &&(Work, block::Hash)| !protected.contains(leaf);
            let Some((work, leaf)) = self.leaves.iter().find(unprotected).copied() else { return };
            if self.nodes.len() <= max && work > threshold {
                return;
            }
            self.remove_leaf(&leaf);
        }
    }

    /// Returns the end of the branch with the most work. Removes leaves that have entered the chain.
    pub(super) fn best(&mut self, chain: &dyn ChainView) -> Option<ValidHeader> {
        loop {
            let (_, hash) = *self.leaves.last()?;
            if chain.find(&hash).is_none() {
                return self.get(&hash).copied();
            }
            self.remove(&hash);
        }
    }

    /// Returns whether a header descends from the block of a height and hash, or is that block.
    pub(super) fn descends(&self, hash: &block::Hash, from: (Height, block::Hash)) -> bool {
        let mut at = *hash;
        while let Some(node) = self.nodes.get(&at) {
            if node.header.tip.height <= from.0 {
                return at == from.1;
            }
            at = node.parent;
        }
        at == from.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::mock_chain::{MockChain, header_chain};

    /// Adds a branch of a number of headers and returns them.
    fn grow(
        tree: &mut HeaderTree,
        from: ValidHeader,
        headers: usize,
        salt: u64,
    ) -> Vec<ValidHeader> {
        let start = (from.tip.hash, from.as_parent);
        let mut at = from;
        let chain = MockChain::dev();
        let branch = header_chain(chain.params(), start, 1, salt).take(headers);
        branch
            .map(|header| {
                let parent = at.tip.hash;
                at = at.child(header.hash(), &header).unwrap();
                tree.insert(parent, at);
                at
            })
            .collect()
    }

    fn root() -> ValidHeader {
        let chain = MockChain::dev();
        ValidHeader { tip: chain.tip(), as_parent: chain.end().1 }
    }

    #[test]
    fn remove_branch_removes_all_descendants() {
        let mut tree = HeaderTree::default();
        let trunk = grow(&mut tree, root(), 6, 1);
        let side = grow(&mut tree, trunk[3], 3, 2);
        grow(&mut tree, trunk[0], 2, 3);
        assert!(tree.descends(&side[2].tip.hash, (Height::new(3), trunk[2].tip.hash)));
        tree.remove_branch(&trunk[2].tip.hash);
        assert_eq!(tree.len(), 4);
        let leaves: Vec<_> = tree.leaves().map(|leaf| leaf.0).collect();
        assert_eq!(leaves.len(), 2, "{leaves:?}");
    }

    #[test]
    fn evicts_least_work_first_and_spares_protected_branches() {
        let mut tree = HeaderTree::default();
        let long = grow(&mut tree, root(), 10, 1);
        let short = grow(&mut tree, root(), 3, 2);
        let middle = grow(&mut tree, root(), 5, 3);
        let protected = BTreeSet::from([short[2].tip.hash]);
        tree.evict(14, Work::ZERO, &protected);
        assert_eq!(tree.len(), 13);
        assert!(tree.get(&middle[0].tip.hash).is_none());
        assert!(tree.get(&short[0].tip.hash).is_some());
        tree.evict(100, short[2].tip.chain_work, &BTreeSet::new());
        assert_eq!(tree.len(), 10);
        assert!(tree.get(&long[9].tip.hash).is_some());
    }

    #[test]
    fn best_removes_leaves_that_entered_the_chain() {
        let mut chain = MockChain::dev();
        let mut tree = HeaderTree::default();
        let mut at = root();
        for block in chain.grow(3, 1) {
            let parent = at.tip.hash;
            at = at.child(block.hash(), &block.header).unwrap();
            tree.insert(parent, at);
        }
        assert_eq!(tree.len(), 3);
        assert!(tree.best(&chain).is_none());
        assert_eq!(tree.len(), 0);
    }
}
