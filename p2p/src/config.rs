//! The configuration of the network.

use libp2p::Multiaddr;
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
    /// Whether to dial addresses learned from others. Otherwise only `peers` are dialed.
    pub discover: bool,
    /// Whether to discover nodes on the local network by mDNS, and to be discovered.
    pub mdns: bool,
    /// The data directory, which stores the node's key and the address book.
    pub data: PathBuf,
    /// The agent string sent to peers: program and version.
    pub agent: String,
}
