//! The state of a running node that the API and other tasks share.

use crate::events::Events;
use crate::faucet::Faucet;
use crate::metrics::Metrics;
use crate::mining::readiness::Readiness;
use crate::mining::stratum::Endpoint;
use crate::mining::templates::Templates;
use crate::mining::workers::Workers;
use crate::snapshot::Store;
use crate::{jobs, writer};
use chain::Address;
use chain::ledger::Reader;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio_util::sync::CancellationToken;

/// The handles of the parts of a running node, shared behind an `Arc`.
pub struct NodeState {
    /// Reads the chain and the mempool.
    pub reader: Reader,
    /// Submits blocks and transfers.
    pub writer: writer::Handle,
    /// Reads and publishes events.
    pub events: Events,
    /// Queries and controls the network.
    pub peers: p2p::Handle,
    /// Whether the node is in sync with its network, so that it may mine.
    pub readiness: Readiness,
    /// Creates and queries mining jobs.
    pub jobs: jobs::Handle,
    /// Issues block templates to external miners.
    pub templates: Arc<Templates>,
    /// Where miners reach the Stratum server; `None` if it is disabled.
    pub stratum: Option<Endpoint>,
    /// The workers that mine on this node, by any interface.
    pub workers: Arc<Workers>,
    /// The address that blocks pay unless a request names another.
    pub default_miner: Option<Address>,
    /// Bounds the responses that are built at the same time on blocking threads.
    pub blocking_reads: Semaphore,
    /// Pays coins on request, on development networks.
    pub faucet: Faucet,
    /// Counters of the writer and the API.
    pub metrics: Arc<Metrics>,
    /// The monotonic time at which the node started.
    pub started: Instant,
    /// Cancelled when a client requests the shutdown.
    pub shutdown: CancellationToken,
    /// The snapshots of the data directory, on development networks; one request at a time.
    pub snapshots: Mutex<Store>,
    /// Whether the node starts again once it has stopped; `None` if the program that runs it would end.
    pub restart: Option<AtomicBool>,
    /// Cancelled at shutdown, once the API accepts no more connections.
    pub api_closed: CancellationToken,
    /// Becomes true at shutdown; pending responses should then end.
    pub stopping: watch::Receiver<bool>,
}
