//! What a node supports of the protocol, and the version that two nodes use with each other.

use std::fmt;

/// The feature of a node that serves all blocks of its best chain.
pub const SERVES_ALL_BLOCKS: u64 = 1 << 1;
/// The features that a peer must know if they are set: those of even bits. The others are optional.
pub const REQUIRED_FEATURES: u64 = 0x5555_5555_5555_5555;
/// Most bytes of the extensions in a status.
pub const MAX_EXTENSIONS: usize = 256;

/// The versions and features of the protocol that a node supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The lowest version that the node supports.
    pub min_version: u16,
    /// The highest version that the node supports.
    pub max_version: u16,
    /// The features of the node, one a bit. See [`REQUIRED_FEATURES`].
    pub features: u64,
}

impl Capabilities {
    /// What this program supports.
    pub const LOCAL: Capabilities =
        Capabilities { min_version: 1, max_version: 1, features: SERVES_ALL_BLOCKS };

    /// Returns the version that a node with these capabilities uses with a peer: the lower of the
    /// two highest versions. `None` if one of the nodes does not support it, or if the peer requires
    /// a feature that this node does not have.
    pub fn negotiate(self, peer: Capabilities) -> Option<u16> {
        let version = self.max_version.min(peer.max_version);
        let is_supported = self.supports(version) && peer.supports(version);
        let unknown = peer.features & REQUIRED_FEATURES & !self.features;
        (is_supported && unknown == 0).then_some(version)
    }

    fn supports(self, version: u16) -> bool {
        (self.min_version..=self.max_version).contains(&version)
    }
}

impl fmt::Display for Capabilities {
    /// Writes `versions 1 to 2, features 0x2`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Capabilities { min_version, max_version, features } = self;
        write!(out, "versions {min_version} to {max_version}, features {features:#x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(min_version: u16, max_version: u16, features: u64) -> Capabilities {
        Capabilities { min_version, max_version, features }
    }

    fn versions((min, max): (u16, u16), (peer_min, peer_max): (u16, u16)) -> Option<u16> {
        with(min, max, 0).negotiate(with(peer_min, peer_max, 0))
    }

    #[test]
    fn session_has_the_highest_version_that_both_support() {
        assert_eq!(versions((1, 1), (1, 2)), Some(1));
        assert_eq!(versions((1, 2), (1, 1)), Some(1));
        assert_eq!(versions((1, 3), (2, 5)), Some(3));
        assert_eq!(versions((2, 2), (1, 1)), None);
        assert_eq!(versions((1, 1), (2, 2)), None);
        assert_eq!(versions((1, 4), (5, 9)), None);
        // A range without versions.
        assert_eq!(versions((1, 1), (2, 1)), None);
        assert_eq!(versions((1, 2), (3, 1)), None);
    }

    #[test]
    fn unknown_features_of_even_bits_are_refused_and_odd_ones_ignored() {
        let local = with(1, 1, 0b0101);
        let negotiate = |features| local.negotiate(with(1, 1, features));
        assert_eq!(negotiate(0), Some(1));
        assert_eq!(negotiate(0b0101), Some(1));
        assert_eq!(negotiate(0b1111), Some(1));
        assert_eq!(negotiate(1 << 63), Some(1));
        assert_eq!(negotiate(1 << 4), None);
        assert_eq!(negotiate(1 << 62), None);
        assert_eq!(Capabilities::LOCAL.negotiate(Capabilities::LOCAL), Some(1));
    }
}
