//! The topology of a testnet, and the names of its nodes.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The pairs of nodes of a testnet that are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Each node with the next.
    Line,
    /// Each node with the next, and the last with the first.
    Ring,
    /// Each node with node 1.
    Star,
    /// All nodes with each other.
    Full,
}

impl Topology {
    /// The neighbours of a node among `count` nodes, in order.
    pub fn neighbours(self, node: NodeNumber, count: usize) -> impl Iterator<Item = NodeNumber> {
        NodeNumber::first(count)
            .filter(move |other| *other != node && self.connects(node, *other, count))
    }

    fn connects(self, one: NodeNumber, other: NodeNumber, count: usize) -> bool {
        let (low, high) = (one.0.min(other.0), one.0.max(other.0));
        match self {
            Topology::Line => high - low == 1,
            Topology::Ring => high - low == 1 || (low == 1 && high == count),
            Topology::Star => low == 1,
            Topology::Full => true,
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Topology::Line => "line",
            Topology::Ring => "ring",
            Topology::Star => "star",
            Topology::Full => "full",
        })
    }
}

/// The number of a node of a testnet, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "usize", into = "usize")]
pub struct NodeNumber(usize);

impl TryFrom<usize> for NodeNumber {
    type Error = &'static str;

    fn try_from(number: usize) -> Result<NodeNumber, Self::Error> {
        (number > 0).then_some(NodeNumber(number)).ok_or("nodes are numbered from 1")
    }
}

impl From<NodeNumber> for usize {
    fn from(number: NodeNumber) -> usize {
        number.0
    }
}

impl NodeNumber {
    /// The first `count` numbers.
    pub fn first(count: usize) -> impl DoubleEndedIterator<Item = NodeNumber> {
        (1..=count).map(NodeNumber)
    }

    /// Parses `2` or `node-2`.
    pub fn parse(name: &str) -> Option<NodeNumber> {
        let digits = name.strip_prefix("node-").unwrap_or(name);
        // One spelling per node: neither +2 nor 02.
        let number: usize = digits.parse().ok()?;
        (number > 0 && number.to_string() == digits).then_some(NodeNumber(number))
    }

    /// The index of the node in a list of all.
    pub fn index(self) -> usize {
        self.0 - 1
    }
}

impl fmt::Display for NodeNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node-{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every connected pair, such as `1-2`.
    fn pairs(topology: Topology, count: usize) -> String {
        let mut pairs = Vec::new();
        for node in NodeNumber::first(count) {
            let higher = topology.neighbours(node, count).filter(|other| *other > node);
            pairs.extend(higher.map(|other| format!("{}-{}", node.0, other.0)));
        }
        pairs.join(" ")
    }

    #[test]
    fn topologies_connect_the_expected_pairs() {
        for (topology, three, four) in [
            (Topology::Line, "1-2 2-3", "1-2 2-3 3-4"),
            (Topology::Ring, "1-2 1-3 2-3", "1-2 1-4 2-3 3-4"),
            (Topology::Star, "1-2 1-3", "1-2 1-3 1-4"),
            (Topology::Full, "1-2 1-3 2-3", "1-2 1-3 1-4 2-3 2-4 3-4"),
        ] {
            assert_eq!(pairs(topology, 1), "", "{topology}");
            assert_eq!(pairs(topology, 2), "1-2", "{topology}");
            assert_eq!(pairs(topology, 3), three, "{topology}");
            assert_eq!(pairs(topology, 4), four, "{topology}");
        }
    }

    #[test]
    fn neighbours_are_symmetric() {
        for topology in [Topology::Line, Topology::Ring, Topology::Star, Topology::Full] {
            for node in NodeNumber::first(5) {
                for other in topology.neighbours(node, 5) {
                    assert!(topology.neighbours(other, 5).any(|back| back == node), "{topology}");
                }
            }
        }
    }

    #[test]
    fn parses_numbers_and_names() {
        assert_eq!(NodeNumber::parse("2"), Some(NodeNumber(2)));
        assert_eq!(NodeNumber::parse("node-2").unwrap().to_string(), "node-2");
        for name in ["", "0", "-1", "+2", "02", "node2", "node-", "node-0", "2 ", "two", "all"] {
            assert_eq!(NodeNumber::parse(name), None, "{name}");
        }
    }
}
