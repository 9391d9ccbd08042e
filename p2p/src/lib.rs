//! Peers: how nodes find each other, sync, relay and agree. Reads the chain, never writes it.
//!
//! What is received goes out as an `Event` to the one writer, the same door as a block from the REST
//! API, and its validation comes back to whoever sent it.

pub mod message;
pub mod rate_limit;
pub mod view;
pub mod wire;

mod clock;
mod driver;
pub mod engine;
mod handle;
mod net;
pub mod peers;
mod runner;
pub mod serve;
mod spawn;

#[cfg(test)]
mod testing;

pub use handle::{ConnectError, Handle, TaskFailed};
pub use libp2p::{Multiaddr, PeerId, multiaddr};
pub use net::key::KeyError;
pub use spawn::{SpawnError, spawn};

use chain::block::{self, Block, Height};
use chain::ledger::{Accepted, SubmitError, TransferError};
use chain::mempool::Admission;
use chain::tx::{Id, Transfer};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; empty for nowhere.
    pub listen: Vec<Multiaddr>,
    /// Nodes to stay connected with, whatever happens.
    pub peers: Vec<Multiaddr>,
    /// Nodes to ask for others when none are known.
    pub boot_nodes: Vec<Multiaddr>,
    /// Most peers, `peers` included.
    pub max_peers: usize,
    /// Whether to look for other nodes; if not, `peers` alone are called.
    pub discover: bool,
    /// Whether to find nodes on the local network, and be found.
    pub mdns: bool,
    /// The folder for the node's key and what is known of other nodes.
    pub data: PathBuf,
    /// What this node calls itself: program and version.
    pub agent: String,
}

/// What comes from peers for the chain. Whoever receives answers every one.
#[derive(Debug)]
pub enum Event {
    /// A block. To be handed to the writer in the order of arrival.
    Block {
        /// The block.
        block: Arc<Block>,
        /// How the writer judged it.
        reply: oneshot::Sender<Result<Accepted, SubmitError>>,
    },
    /// A transfer.
    Transfer {
        /// The transfer.
        transfer: Box<Transfer>,
        /// How the mempool judged it.
        reply: oneshot::Sender<Result<Admission, TransferError>>,
    },
}

/// What the chain has to tell peers.
#[derive(Clone, Debug)]
pub enum ChainUpdate {
    /// The best chain is another one.
    TipChanged,
    /// Transfers entered the mempool, or came back to it.
    TransfersAccepted(Vec<Id>),
}

/// A peer as others may see it.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Its id: the hash of its public key.
    pub id: PeerId,
    /// Where it is, as this node sees it.
    pub address: Multiaddr,
    /// Whether this node called it.
    pub outbound: bool,
    /// Connections with it: one, or for a moment two.
    pub connections: usize,
    /// What it calls itself; chosen by it, so anything.
    pub agent: String,
    /// The best block it told of.
    pub tip: block::Hash,
    /// The height of that.
    pub height: Height,
    /// Time from a ping to its answer, last seen.
    pub latency: Option<Duration>,
    /// Payload received from it, in bytes.
    pub bytes_received: u64,
    /// Payload sent to it, in bytes.
    pub bytes_sent: u64,
    /// How it behaved: −100 to 20.
    pub score: f64,
    /// How long it is connected.
    pub connected: Duration,
}

/// Somebody who is kept out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub subject: Subject,
    /// Until when, Unix seconds.
    pub until: u64,
    /// Why.
    pub reason: String,
}

/// Whom a ban is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node.
    Peer(PeerId),
    /// An address: whoever comes from there.
    Ip(IpAddr),
}
