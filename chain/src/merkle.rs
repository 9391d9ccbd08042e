//! The Merkle tree of Bitcoin over transaction ids: root, branch, and the detection of mutations
//! that leave the root unchanged. Leaves and inner nodes are hashed alike; a leaf cannot pass for
//! an inner node because no transaction encodes to 64 bytes.
//! Source: Bitcoin developer reference, "Merkle Trees"; CVE-2012-2459.

use crate::hash::{digest, sha256d};

digest! {
    /// The root of a Merkle tree.
    Root
}

/// The maximum number of levels of a branch, more than a block of 2,000,000 bytes needs.
pub const MAX_DEPTH: usize = 32;

fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(left);
    pair[32..].copy_from_slice(right);
    sha256d(&pair)
}

/// Returns the parents of a level. The last node of an odd level is paired with itself.
fn level_above(level: &[[u8; 32]]) -> Vec<[u8; 32]> {
    level.chunks(2).map(|pair| parent(&pair[0], pair.last().unwrap_or(&pair[0]))).collect()
}

fn bytes_of<L: Copy + Into<[u8; 32]>>(leaves: &[L]) -> Vec<[u8; 32]> {
    leaves.iter().map(|leaf| (*leaf).into()).collect()
}

/// Returns the root over leaves, such as transaction ids, in order; zero without leaves.
///
/// ```
/// use chain::merkle::{self, Branch};
///
/// let leaves = [[1; 32], [2; 32], [3; 32]];
/// let root = merkle::root(&leaves);
/// let branch = Branch::of(&leaves, 2).unwrap();
/// assert_eq!(branch.root(leaves[2]), Some(root));
/// assert_ne!(branch.root(leaves[1]), Some(root));
/// ```
pub fn root<L: Copy + Into<[u8; 32]>>(leaves: &[L]) -> Root {
    root_and_mutation(leaves).0
}

/// Returns the root over leaves, and whether two different nodes of a pair are equal. Then a shorter
/// list of leaves has the same root (CVE-2012-2459), and the body does not prove that the header
/// commits to it.
pub fn root_and_mutation<L: Copy + Into<[u8; 32]>>(leaves: &[L]) -> (Root, bool) {
    let (mut level, mut is_mutated) = (bytes_of(leaves), false);
    while level.len() > 1 {
        is_mutated |= level.chunks_exact(2).any(|pair| pair[0] == pair[1]);
        level = level_above(&level);
    }
    (level.first().map_or(Root::ZERO, |top| Root::from_bytes(*top)), is_mutated)
}

/// Whether two different nodes of a pair are equal, as [`root_and_mutation`] returns it.
pub fn is_mutated<L: Copy + Into<[u8; 32]>>(leaves: &[L]) -> bool {
    root_and_mutation(leaves).1
}

/// A Merkle branch: the siblings from a leaf up to the root, which prove that the leaf is in the
/// tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The sibling on each level, from the leaves upwards.
    pub siblings: Vec<[u8; 32]>,
    /// The position of the leaf, from 0.
    pub position: u32,
}

impl Branch {
    /// Returns the branch of the leaf at a position, or `None` if there is no such leaf.
    pub fn of<L: Copy + Into<[u8; 32]>>(leaves: &[L], position: usize) -> Option<Branch> {
        leaves.get(position)?;
        let mut level = bytes_of(leaves);
        let mut siblings = Vec::new();
        let mut at = position;
        while level.len() > 1 {
            siblings.push(*level.get(at ^ 1).unwrap_or(&level[at]));
            level = level_above(&level);
            at /= 2;
        }
        Some(Branch { siblings, position: u32::try_from(position).ok()? })
    }

    /// Returns the root that follows from a leaf and this branch, or `None` if the branch is too
    /// long or too short for its position.
    pub fn root(&self, leaf: impl Into<[u8; 32]>) -> Option<Root> {
        if self.siblings.len() > MAX_DEPTH {
            return None;
        }
        let mut at = self.position;
        let mut node = leaf.into();
        for sibling in &self.siblings {
            node = if at & 1 == 0 { parent(&node, sibling) } else { parent(sibling, &node) };
            at >>= 1;
        }
        (at == 0).then(|| Root::from_bytes(node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ids(texts: &[&str]) -> Vec<[u8; 32]> {
        texts.iter().map(|text| text.parse::<Root>().unwrap().into()).collect()
    }

    // Bitcoin blocks 0, 170 (two transactions) and 100,000 (four).
    #[test]
    fn roots_of_bitcoin_blocks() {
        for (transactions, expected) in [
            (
                &["4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"][..],
                "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
            ),
            (
                &[
                    "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082",
                    "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16",
                ],
                "7dac2c5666815c17a3b36427de37bb9d2e2c5ccec3f8633eb91a4205cb4c10ff",
            ),
            (
                &[
                    "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87",
                    "fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4",
                    "6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4",
                    "e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d",
                ],
                "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766",
            ),
        ] {
            assert_eq!(root(&ids(transactions)).to_string(), expected);
        }
        assert_eq!(root::<[u8; 32]>(&[]), Root::ZERO);
    }

    // C01
    #[test]
    fn detects_repeated_tail_with_same_root() {
        let three: Vec<[u8; 32]> = (0..3).map(|byte| [byte; 32]).collect();
        let repeated = [three.as_slice(), &three[2..]].concat();
        assert_eq!(root(&three), root(&repeated));
        assert!(!is_mutated(&three));
        assert!(is_mutated(&repeated));

        // On a higher level: six leaves, the last two repeated.
        let six: Vec<[u8; 32]> = (0..6).map(|byte| [byte; 32]).collect();
        let repeated = [six.as_slice(), &six[4..]].concat();
        assert_eq!(root(&six), root(&repeated));
        assert!(!is_mutated(&six));
        assert!(is_mutated(&repeated));
    }

    proptest! {
        #[test]
        fn every_branch_yields_the_root(count in 1_usize..40, at: prop::sample::Index) {
            let ids: Vec<[u8; 32]> =
                (0..count).map(|n| sha256d(&n.to_le_bytes())).collect();
            let position = at.index(count);
            let branch = Branch::of(&ids, position).unwrap();
            prop_assert_eq!(branch.root(ids[position]), Some(root(&ids)));
            let elsewhere = Branch { position: branch.position ^ 1, ..branch };
            if count > 1 && position ^ 1 < count {
                prop_assert_ne!(elsewhere.root(ids[position]), Some(root(&ids)));
            }
        }
    }
}
