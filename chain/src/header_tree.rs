//! Valid headers of blocks that are not stored, by hash: a tree rooted in the block index. It shows
//! how much work the headers known so far give to the branch of a block, which decides whether the
//! block is worth storing. Its size is limited; the branch with the least work is evicted first.

use crate::block::{self, Header, Height};
use crate::pow::{Target, Work};
use crate::rules::header::Parent;
use std::collections::{BTreeSet, HashMap};

/// The maximum number of headers. Each occupies about 300 bytes and costs its sender a proof of
/// work.
pub const MAX_HEADERS: usize = 100_000;

/// A header that satisfies all rules for headers, with the work of the chain that ends in it and
/// what its child is validated against.
#[derive(Clone, Copy, Debug)]
pub struct ValidHeader {
    /// The hash of the header.
    pub hash: block::Hash,
    /// The number of blocks from genesis to this one.
    pub height: Height,
    /// The total work of the chain that ends in this header.
    pub chain_work: Work,
    /// The context in which a child is validated.
    pub as_parent: Parent,
}

impl ValidHeader {
    /// Returns the child with a header that satisfies the rules; `None` at the greatest height.
    pub fn child(&self, header: &Header) -> Option<ValidHeader> {
        let work = header.bits.target().map_or(Work::ZERO, Target::work);
        Some(ValidHeader {
            hash: header.hash(),
            height: self.height.next()?,
            chain_work: self.chain_work.saturating_add(work),
            as_parent: self.as_parent.advance(header),
        })
    }
}

#[derive(Debug)]
struct Node {
    parent: block::Hash,
    header: ValidHeader,
    /// The most work of a chain through this header.
    most_work: Work,
    children: u32,
}

/// The headers by hash.
#[derive(Debug)]
pub struct HeaderTree {
    max: usize,
    nodes: HashMap<block::Hash, Node>,
    /// The headers without children, least work first.
    leaves: BTreeSet<(Work, block::Hash)>,
}

impl Default for HeaderTree {
    fn default() -> HeaderTree {
        HeaderTree { max: MAX_HEADERS, nodes: HashMap::new(), leaves: BTreeSet::new() }
    }
}

impl HeaderTree {
    /// Returns the header with this hash.
    pub fn get(&self, hash: &block::Hash) -> Option<&ValidHeader> {
        self.nodes.get(hash).map(|node| &node.header)
    }

    /// Returns the most work of a chain of known headers through the one with this hash; zero if it
    /// is unknown.
    pub fn most_work(&self, hash: &block::Hash) -> Work {
        self.nodes.get(hash).map_or(Work::ZERO, |node| node.most_work)
    }

    /// Adds headers of which each is the parent of the next, and the first is a child of `parent`.
    /// Returns the block of the block index on which the branch starts, if its headers have more work
    /// than before. The last header is missing afterwards if other branches with more work fill the
    /// tree.
    pub fn insert(&mut self, parent: block::Hash, headers: &[ValidHeader]) -> Option<block::Hash> {
        let mut last = parent;
        for header in headers {
            self.insert_one(last, *header);
            last = header.hash;
        }
        let root = self.raise_most_work(last);
        while self.nodes.len() > self.max
            && let Some((_, leaf)) = self.leaves.first().copied()
        {
            self.remove(&leaf);
        }
        root
    }

    fn insert_one(&mut self, parent: block::Hash, header: ValidHeader) {
        let ValidHeader { hash, chain_work, .. } = header;
        if self.nodes.contains_key(&hash) {
            return;
        }
        if let Some(node) = self.nodes.get_mut(&parent) {
            node.children = node.children.saturating_add(1);
            self.leaves.remove(&(node.header.chain_work, parent));
        }
        self.nodes.insert(hash, Node { parent, header, most_work: chain_work, children: 0 });
        self.leaves.insert((chain_work, hash));
    }

    /// Lets the ancestors of a header know its work, and returns the parent of the first of them;
    /// `None` if they know of as much work.
    fn raise_most_work(&mut self, hash: block::Hash) -> Option<block::Hash> {
        let ValidHeader { chain_work, .. } = *self.get(&hash)?;
        let mut at = self.nodes.get(&hash)?.parent;
        while let Some(node) = self.nodes.get_mut(&at) {
            if node.most_work >= chain_work {
                return None;
            }
            node.most_work = chain_work;
            at = node.parent;
        }
        Some(at)
    }

    /// Removes a header, whose descendants remain.
    pub fn remove(&mut self, hash: &block::Hash) {
        let Some(node) = self.nodes.remove(hash) else { return };
        self.leaves.remove(&(node.header.chain_work, *hash));
        if let Some(parent) = self.nodes.get_mut(&node.parent) {
            parent.children = parent.children.saturating_sub(1);
            if parent.children == 0 {
                self.leaves.insert((parent.header.chain_work, node.parent));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;

    fn root() -> ValidHeader {
        let header = Params::dev().genesis().header;
        ValidHeader {
            hash: header.hash(),
            height: Height::GENESIS,
            chain_work: header.bits.target().unwrap().work(),
            as_parent: Parent { bits: header.bits, time: header.time, grandparent_time: None },
        }
    }

    /// Headers after another one, without proof of work; `salt` distinguishes branches.
    fn branch(from: ValidHeader, length: usize, salt: u32) -> Vec<ValidHeader> {
        let template = Params::dev().genesis().header;
        let mut last = from;
        let next = |_| {
            last = last.child(&Header { previous: last.hash, nonce: salt, ..template }).unwrap();
            last
        };
        (0..length).map(next).collect()
    }

    #[test]
    fn headers_know_the_most_work_of_their_descendants() {
        let mut tree = HeaderTree::default();
        let trunk = branch(root(), 10, 1);
        let (lower, upper) = trunk.split_at(4);
        assert_eq!(tree.insert(root().hash, lower), Some(root().hash));
        assert_eq!(tree.most_work(&trunk[0].hash), trunk[3].chain_work);
        assert_eq!(tree.insert(lower[3].hash, upper), Some(root().hash));
        let side = branch(trunk[1], 3, 2);
        assert_eq!(tree.insert(trunk[1].hash, &side), None, "the trunk has more work");
        for header in &trunk {
            assert_eq!(tree.most_work(&header.hash), trunk[9].chain_work);
        }
        assert_eq!(tree.most_work(&side[0].hash), side[2].chain_work);
        assert_eq!(tree.most_work(&root().hash), Work::ZERO);

        // A stored block leaves the tree.
        tree.remove(&trunk[0].hash);
        assert!(tree.get(&trunk[0].hash).is_none());
        assert_eq!(tree.most_work(&trunk[1].hash), trunk[9].chain_work);
        let more = branch(trunk[9], 1, 1);
        assert_eq!(tree.insert(trunk[9].hash, &more), Some(trunk[0].hash));
        assert_eq!(tree.most_work(&trunk[1].hash), more[0].chain_work);
    }

    #[test]
    fn full_tree_evicts_the_branch_with_the_least_work() {
        let mut tree = HeaderTree { max: 20, ..HeaderTree::default() };
        let [long, middle, short] =
            [(12, 1), (8, 2), (5, 3)].map(|(length, salt)| branch(root(), length, salt));
        tree.insert(root().hash, &long);
        tree.insert(root().hash, &short);
        tree.insert(root().hash, &middle);
        assert_eq!((tree.nodes.len(), tree.leaves.len()), (20, 2));
        assert!(short.iter().all(|header| tree.get(&header.hash).is_none()));
        assert!(long.iter().chain(&middle).all(|header| tree.get(&header.hash).is_some()));
        tree.insert(root().hash, &short);
        assert!(tree.get(&short[4].hash).is_none(), "it has the least work");
        assert_eq!(tree.nodes.len(), 20);
    }
}
