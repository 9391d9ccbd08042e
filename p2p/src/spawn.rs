//! Starts the network: key, sockets, tasks; and watches over the tasks.

use crate::engine::{Progress, SyncState};
use crate::handle::{Life, ORDERS, Order};
use crate::view::ChainView;
use crate::{Ban, Config, ConnectError, Event, Handle, News};
use libp2p::Multiaddr;
use std::io;
use std::path::PathBuf;
use tokio::sync::{broadcast, mpsc, watch};

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
    let tip = chain.tip().height;
    let progress = Progress { state: SyncState::Synced, best_header: tip, height: tip };
    let (orders, mut queue) = mpsc::channel(ORDERS);
    let (progress_sender, progress) = watch::channel(progress);
    let (counted, peer_count) = watch::channel(0);
    let (living, life) = watch::channel(Life::Running);
    let (events, receiver) = mpsc::channel(64);
    let id = libp2p::identity::Keypair::generate_ed25519().public().to_peer_id();
    let handle = Handle { id, listening: config.listen.into(), orders, progress, peer_count, life };
    tokio::spawn(async move {
        let _held = (news, progress_sender, counted, events);
        let mut bans: Vec<Ban> = Vec::new();
        while let Some(order) = queue.recv().await {
            match order {
                Order::Peers(answer) => drop(answer.send(Vec::new())),
                Order::Connect(address, answer) => {
                    drop(answer.send(Err(ConnectError::Unreachable(address.to_string()))));
                }
                Order::Disconnect(_, answer) => drop(answer.send(false)),
                Order::Ban { subject, seconds, reason, done } => {
                    bans.push(Ban { subject, until: seconds, reason });
                    let _ = done.send(());
                }
                Order::Unban(subject, answer) => {
                    let before = bans.len();
                    bans.retain(|ban| ban.subject != subject);
                    let _ = answer.send(bans.len() < before);
                }
                Order::Bans(answer) => drop(answer.send(bans.clone())),
                Order::Stop => break,
            }
        }
        living.send_replace(Life::Stopped);
    });
    Ok((handle, receiver))
}
