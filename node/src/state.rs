//! The state of a running node that the API and other tasks share.

use crate::events::Events;
use crate::faucet::Faucet;
use crate::metrics::Metrics;
use crate::mining::Outlook;
use crate::mining::stratum::Workers;
use crate::mining::templates::Templates;
use crate::{jobs, writer};
use chain::Address;
use chain::ledger::Reader;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Handles of the parts of a running node, shared behind an `Arc`.
pub struct NodeState {
    /// Reads the chain.
    pub reader: Reader,
    /// Changes it.
    pub writer: writer::Handle,
    /// What happened, in order.
    pub events: Events,
    /// Other nodes.
    pub peers: p2p::Handle,
    /// Whether mining makes sense.
    pub outlook: Outlook,
    /// What its threads mine.
    pub jobs: jobs::Handle,
    /// Candidates for miners elsewhere.
    pub templates: Arc<Templates>,
    /// Where mining machines connect and who does; `None` where none may.
    pub stratum: Option<(SocketAddr, Arc<Workers>)>,
    /// Whom blocks pay unless a request says otherwise.
    pub default_miner: Option<Address>,
    /// Gives coins away on a network for development.
    pub faucet: Faucet,
    /// What is counted on the way.
    pub metrics: Arc<Metrics>,
    /// When the node started.
    pub started: Instant,
    /// True once the node is to stop: answers that wait should end.
    pub stopping: watch::Receiver<bool>,
}
