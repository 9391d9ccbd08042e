//! The configuration of the network.

use crate::cidr::Cidr;
use crate::network_key::NetworkKey;
use libp2p::{Multiaddr, PeerId};
use std::path::PathBuf;

/// The configuration of a node's network.
#[derive(Clone, Debug)]
pub struct Config {
    /// The addresses to listen on. With none the node only dials.
    pub listen: Vec<Multiaddr>,
    /// Persistent peers: the node dials them until it is connected with them, and reconnects.
    pub peers: Vec<Multiaddr>,
    /// Boot nodes: dialed while the node has few peers.
    pub boot_nodes: Vec<Multiaddr>,
    /// The maximum number of peers, persistent ones included.
    pub max_peers: usize,
    /// The bytes of blocks served a second to peers outside the local network; 0 for no limit.
    pub max_upload: u64,
    /// Whether to dial addresses learned from others. Otherwise only `peers` are dialed.
    pub discover: bool,
    /// Whether to discover nodes on the local network by mDNS, and to be discovered.
    pub mdns: bool,
    /// The only peers that may connect, in both directions; all, if there are none.
    pub allowed_peers: Vec<PeerId>,
    /// The key of a private network: only nodes with the same key connect.
    pub network_key: Option<NetworkKey>,
    /// IP addresses that are exempt from limits on connections and requests, but not from the rules
    /// of the protocol.
    pub trusted: Vec<Cidr>,
    /// Addresses at which other nodes can dial this one, besides those it listens on.
    pub external_addresses: Vec<Multiaddr>,
    /// The data directory, which stores the node's key and the address book.
    pub data: PathBuf,
    /// The agent string sent to peers: program and version.
    pub agent: String,
}
