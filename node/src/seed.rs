//! The start value from which development networks derive what is random otherwise, so that the same
//! commands give the same blocks on every machine.

use chain::hash::sha256;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The purpose of the secret of a node's key.
pub const NODE_KEY: &str = "node key";

/// A start value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(u64);

impl Seed {
    pub fn new(seed: u64) -> Seed {
        Seed(seed)
    }

    /// The number that was passed to `new`.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Bytes for a purpose: the same for the same label, independent of those of all others.
    pub fn bytes(self, label: &str) -> [u8; 32] {
        sha256(&[b"chain seed ", &self.0.to_le_bytes()[..], label.as_bytes()].concat())
    }

    /// A number for a purpose.
    pub fn number(self, label: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.bytes(label);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// A seed for a part that has several random values of its own.
    pub fn part(self, label: &str) -> Seed {
        Seed(self.number(label))
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A change would change the blocks of every script.
    #[test]
    fn derived_values_are_fixed() {
        let seed = Seed::new(7);
        assert_eq!(seed.bytes("a"), seed.bytes("a"));
        assert_ne!(seed.bytes("a"), seed.bytes("b"));
        assert_ne!(seed.bytes("a"), Seed::new(8).bytes("a"));
        assert_eq!(seed.number("node-1"), 11_241_569_138_536_238_570);
    }
}
