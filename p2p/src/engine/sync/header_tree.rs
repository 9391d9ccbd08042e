//! Headers whose bodies are not here: a tree that is rooted in the chain. Bounded by whoever
//! inserts; an entry takes about 250 bytes with its share of the maps.

use crate::view::{ChainView, Tip};
use chain::block::{self, Header, Height};
use chain::pow::{Target, Work};
use chain::rules::header::Parent;
use std::collections::{BTreeMap, BTreeSet};

/// Where a header stands, and what its child has to satisfy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) tip: Tip,
    pub(super) as_parent: Parent,
}

impl Place {
    /// The place of a child that satisfies the rules; `None` at the end of all heights.
    pub(super) fn child(&self, hash: block::Hash, header: &Header) -> Option<Place> {
        let work = header.bits.target().map_or(Work::ZERO, Target::work);
        let chain_work = self.tip.chain_work.saturating_add(work);
        let tip = Tip { hash, height: self.tip.height.next()?, chain_work };
        Some(Place { tip, as_parent: self.as_parent.advance(header) })
    }
}

#[derive(Debug)]
struct Node {
    parent: block::Hash,
    place: Place,
    /// How many entries have this one as their parent.
    children: u32,
}

/// The headers, by hash.
#[derive(Debug, Default)]
pub(super) struct HeaderTree {
    nodes: BTreeMap<block::Hash, Node>,
    /// Entries without children, least work first.
    leaves: BTreeSet<(Work, block::Hash)>,
}

impl HeaderTree {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Where a header stands.
    pub(super) fn place(&self, hash: &block::Hash) -> Option<&Place> {
        self.nodes.get(hash).map(|node| &node.place)
    }

    /// The hash of a header's parent, wherever that one is.
    pub(super) fn parent(&self, hash: &block::Hash) -> Option<&block::Hash> {
        self.nodes.get(hash).map(|node| &node.parent)
    }

    /// The ends of all branches, most work first.
    pub(super) fn leaves(&self) -> impl Iterator<Item = &(Work, block::Hash)> {
        self.leaves.iter().rev()
    }

    /// Adds a header whose parent is here or in the chain.
    pub(super) fn insert(&mut self, parent: block::Hash, place: Place) {
        let hash = place.tip.hash;
        if self.nodes.contains_key(&hash) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.children = node.children.saturating_add(1);
            self.leaves.remove(&(node.place.tip.chain_work, parent));
        }
        self.nodes.insert(hash, Node { parent, place, children: 0 });
        self.leaves.insert((place.tip.chain_work, hash));
    }

    /// Forgets a header and nothing else: its body came, or its branch is being cut from the end.
    pub(super) fn remove(&mut self, hash: &block::Hash) -> Option<block::Hash> {
        let node = self.nodes.remove(hash)?;
        self.leaves.remove(&(node.place.tip.chain_work, *hash));
        if let Some(parent) = self.nodes.get_mut(&node.parent) {
            parent.children = parent.children.saturating_sub(1);
            if parent.children == 0 {
                self.leaves.insert((parent.place.tip.chain_work, node.parent));
            }
        }
        Some(node.parent)
    }

    /// Forgets all that descends from a block, and the block if it is here. Looks at every header,
    /// unless there is nothing below this one.
    pub(super) fn remove_branch(&mut self, hash: &block::Hash) {
        if self.nodes.get(hash).is_some_and(|node| node.children == 0) {
            self.remove(hash);
            return;
        }
        let mut by_height: Vec<_> =
            self.nodes.iter().map(|(hash, node)| (node.place.tip.height, *hash)).collect();
        by_height.sort_unstable();
        let mut doomed = vec![*hash];
        let mut met = BTreeSet::from([*hash]);
        for (_, at) in by_height {
            if self.parent(&at).is_some_and(|parent| met.contains(parent)) {
                met.insert(at);
                doomed.push(at);
            }
        }
        for hash in doomed.iter().rev() {
            self.remove(hash);
        }
    }

    /// Forgets a leaf and all that only led to it.
    pub(super) fn remove_leaf(&mut self, leaf: &block::Hash) {
        let mut at = *leaf;
        while self.nodes.get(&at).is_some_and(|node| node.children == 0) {
            let Some(parent) = self.remove(&at) else { return };
            at = parent;
        }
    }

    /// Forgets branches, those with the least work first, as long as there are more headers than
    /// `most` or a branch has no more work than `least`; never the protected ones.
    pub(super) fn evict(&mut self, most: usize, least: Work, protected: &BTreeSet<block::Hash>) {
        loop {
            let unprotected = |(_, leaf): &&(Work, block::Hash)| !protected.contains(leaf);
            let Some((work, leaf)) = self.leaves.iter().find(unprotected).copied() else { return };
            if self.nodes.len() <= most && work > least {
                return;
            }
            self.remove_leaf(&leaf);
        }
    }

    /// The best branch's end. Forgets those ends that came into the chain by another door.
    pub(super) fn best(&mut self, chain: &impl ChainView) -> Option<Place> {
        loop {
            let (_, hash) = *self.leaves.last()?;
            if chain.find(&hash).is_none() {
                return self.place(&hash).copied();
            }
            self.remove(&hash);
        }
    }

    /// Whether a header descends from a block at a height.
    pub(super) fn descends(&self, hash: &block::Hash, from: (Height, block::Hash)) -> bool {
        let mut at = *hash;
        while let Some(node) = self.nodes.get(&at) {
            if node.place.tip.height <= from.0 {
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

    /// Puts a branch of so many headers after a place; its hashes.
    fn grow(tree: &mut HeaderTree, from: Place, headers: usize, salt: u64) -> Vec<Place> {
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

    fn root() -> Place {
        let chain = MockChain::dev();
        Place { tip: chain.tip(), as_parent: chain.end().1 }
    }

    #[test]
    fn a_branch_is_removed_with_all_that_grows_on_it() {
        let mut tree = HeaderTree::default();
        let trunk = grow(&mut tree, root(), 6, 1);
        let bough = grow(&mut tree, trunk[3], 3, 2);
        grow(&mut tree, trunk[0], 2, 3);
        assert!(tree.descends(&bough[2].tip.hash, (Height::new(3), trunk[2].tip.hash)));
        tree.remove_branch(&trunk[2].tip.hash);
        assert_eq!(tree.len(), 4);
        let leaves: Vec<_> = tree.leaves().map(|leaf| leaf.0).collect();
        assert_eq!(leaves.len(), 2, "the trunk's stump and the other branch: {leaves:?}");
    }

    #[test]
    fn eviction_takes_the_least_work_first_and_spares_the_protected() {
        let mut tree = HeaderTree::default();
        let long = grow(&mut tree, root(), 10, 1);
        let short = grow(&mut tree, root(), 3, 2);
        let middle = grow(&mut tree, root(), 5, 3);
        let spared = BTreeSet::from([short[2].tip.hash]);
        tree.evict(14, Work::ZERO, &spared);
        assert_eq!(tree.len(), 13);
        assert!(tree.place(&middle[0].tip.hash).is_none());
        assert!(tree.place(&short[0].tip.hash).is_some());
        tree.evict(100, short[2].tip.chain_work, &BTreeSet::new());
        assert_eq!(tree.len(), 10);
        assert!(tree.place(&long[9].tip.hash).is_some());
    }

    #[test]
    fn what_came_into_the_chain_is_no_longer_a_leaf() {
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
