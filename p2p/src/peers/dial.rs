//! A dial: its target, its purpose, and the ways in which it fails.

use libp2p::{Multiaddr, PeerId};

/// An address to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// The expected peer; `None` if any is accepted.
    pub peer: Option<PeerId>,
    /// The address, without a peer id.
    pub address: Multiaddr,
    /// The purpose of the connection.
    pub purpose: Purpose,
}

/// The purpose of an outbound connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A connection with a persistent peer.
    Persistent,
    /// A connection with one of the peers that were connected longest before the node stopped.
    Anchor,
    /// A connection with any node of the address book.
    Outbound,
    /// A connection with a boot node.
    Boot,
    /// A short connection that tests whether a node listens at an address.
    Feeler,
}

/// The reason of a failed dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFailure {
    /// No node of this protocol responds.
    Unreachable,
    /// The node belongs to another network.
    WrongNetwork,
    /// The node has another peer id than expected.
    WrongPeer(PeerId),
    /// The address belongs to this node.
    SelfConnection,
    /// The dial was not attempted.
    NotAttempted,
}
