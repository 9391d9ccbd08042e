//! Starts the network: key, sockets, tasks; and watches over the tasks.

use crate::view::ChainView;
use crate::{Config, Event, Handle, News};
use libp2p::Multiaddr;
use std::io;
use std::path::PathBuf;
use tokio::sync::{broadcast, mpsc};

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// An address is of a kind that this node cannot use.
    #[error("{0} is not an address this node can use; give /ip4/HOST/tcp/PORT")]
    Unsupported(Multiaddr),
    /// Somebody else listens there.
    #[error("{0} is in use: another node may be running, or choose another port with --listen")]
    InUse(Multiaddr),
    /// The system does not let this node listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// What the system says.
        source: io::Error,
    },
    /// The node's key cannot be read or made.
    #[error("the node's key {path}: {why}", path = .path.display())]
    Key {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The system refuses something else.
    #[error("cannot start the network: {0}")]
    System(String),
}

/// Starts the network and returns when it listens. Every event has to be answered; `news` has to tell
/// of every new tip and of all transfers that enter the mempool.
///
/// # Errors
/// If it cannot listen where it should, or the data folder is not usable.
pub async fn spawn<C>(
    config: Config,
    chain: C,
    news: broadcast::Receiver<News>,
) -> Result<(Handle, mpsc::Receiver<Event>), SpawnError>
where
    C: ChainView + Clone + Send + Sync + 'static,
{
    drop((chain, news));
    Err(SpawnError::System(format!("not yet: {}", config.agent)))
}
