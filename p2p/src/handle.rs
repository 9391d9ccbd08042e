//! The handle of a running network: queries and commands to the driver.

use crate::engine::Progress;
use crate::message::Capabilities;
use crate::net::bandwidth::ByteCounters;
use crate::peers::{Ban, PersistentPeer, Purpose, Subject};
use chain::block::{self, Height};
use chain::pow::Work;
use libp2p::{Multiaddr, PeerId};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// The capacity of the command queue. Callers wait while it is full.
pub(crate) const COMMANDS: usize = 256;

/// A change of the persistent peers or the bans could not be saved. It is in force until the node
/// stops, if that has not happened yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("in force until the node stops, but not saved: {reason}")]
pub struct NotSaved {
    /// The error of the operating system.
    pub reason: String,
    /// Whether the disk is full.
    pub is_disk_full: bool,
}

impl NotSaved {
    /// The network has stopped, so nothing was changed or saved.
    fn stopped() -> NotSaved {
        NotSaved { reason: "the network has stopped".to_owned(), is_disk_full: false }
    }
}

impl From<io::Error> for NotSaved {
    fn from(error: io::Error) -> NotSaved {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        NotSaved { reason: error.to_string(), is_disk_full: full.contains(&error.kind()) }
    }
}

/// An error that prevents a connection with a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The address uses a protocol that cannot be dialed.
    #[error("cannot dial {0}: use /ip4/HOST/tcp/PORT or /dns/HOST/tcp/PORT")]
    Unsupported(Multiaddr),
    /// The peer is persistent until the node stops, but could not be saved.
    #[error(transparent)]
    NotSaved(#[from] NotSaved),
    /// The address belongs to this node.
    #[error("the address belongs to this node")]
    Own,
    /// The node or its IP address is banned.
    #[error("the peer is banned; remove the ban first")]
    Banned,
    /// This node connects to certain peers only, and the node at the address is none of them.
    #[error("the node at the address is not among the allowed peers")]
    NotAllowed,
    /// No node of this network responds at the address.
    #[error("no node responds at the address: {0}")]
    Unreachable(String),
    /// What responds at the address is no node of this network.
    #[error(
        "no node of this network responds at the address: it may have another genesis block or another network key"
    )]
    OtherNetwork,
    /// The node at the address has another peer id than expected.
    #[error("the node at the address has another id: {0}")]
    OtherNode(PeerId),
    /// The node at the address uses other versions of the protocol, or requires a feature that this
    /// node does not have.
    #[error("the node at the address supports {supported} of the protocol, and this node {local}")]
    IncompatibleVersion {
        /// What the node at the address supports.
        supported: Capabilities,
        /// What this node supports.
        local: Capabilities,
    },
    /// The connection or the handshake timed out.
    #[error("timed out while connecting")]
    Timeout,
    /// This node is shutting down.
    #[error("the node is stopping")]
    Stopped,
}

impl ConnectError {
    /// Whether another attempt cannot succeed either.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            ConnectError::Unsupported(_)
            | ConnectError::Own
            | ConnectError::OtherNetwork
            | ConnectError::OtherNode(_)
            | ConnectError::NotAllowed => true,
            ConnectError::Banned
            | ConnectError::IncompatibleVersion { .. }
            | ConnectError::Unreachable(_)
            | ConnectError::Timeout
            | ConnectError::NotSaved(_)
            | ConnectError::Stopped => false,
        }
    }
}

/// A failure of one of the network's tasks. The network has stopped, so the node should stop too.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network's {task} has failed: {reason}")]
pub struct TaskFailed {
    /// The name of the task.
    pub task: &'static str,
    /// The panic message or error.
    pub reason: String,
}

/// A connected peer that has completed the handshake.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The peer id: the hash of the peer's public key.
    pub id: PeerId,
    /// The remote address of the connection, with the peer id.
    pub address: Multiaddr,
    /// Whether this node dialed the peer.
    pub outbound: bool,
    /// The purpose of the connection; `None` if the peer dialed this node.
    pub purpose: Option<Purpose>,
    /// The version of the protocol that is used with the peer.
    pub version: u16,
    /// The features of the peer, one a bit.
    pub features: u64,
    /// The number of connections: one, or two after simultaneous dials.
    pub connections: usize,
    /// The agent string that the peer sent: printable, but not to be trusted.
    pub agent: String,
    /// The peer's best block, by its last status.
    pub tip: block::Hash,
    /// The height of `tip`, as claimed by the peer.
    pub height: Height,
    /// The work of its chain up to `tip`, as claimed by the peer.
    pub claimed_work: Work,
    /// The most work of a chain of valid headers that the peer has sent, or that it claims and this
    /// node knows; zero if there is none.
    pub shown_work: Work,
    /// The time since the peer was last the first to announce a block; `None` for never.
    pub last_block: Option<Duration>,
    /// The time since the peer was last the first to announce a transfer; `None` for never.
    pub last_transfer: Option<Duration>,
    /// The round-trip time of the last ping.
    pub latency: Option<Duration>,
    /// Payload received from the peer, in bytes.
    pub bytes_received: u64,
    /// Payload sent to the peer, in bytes.
    pub bytes_sent: u64,
    /// The misbehavior score: −100 (worst) to 20.
    pub score: f64,
    /// The time since the peer connected.
    pub connected: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskStatus {
    Running,
    Stopped,
    Failed(TaskFailed),
}

/// A command or query for the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Connect {
        address: Multiaddr,
        reply: oneshot::Sender<Result<PeerId, ConnectError>>,
        saved: oneshot::Sender<Result<(), NotSaved>>,
    },
    Disconnect(PeerId, oneshot::Sender<Result<bool, NotSaved>>),
    PersistentPeers(oneshot::Sender<Vec<PersistentPeer>>),
    RemovePersistent(Multiaddr, oneshot::Sender<Result<bool, NotSaved>>),
    Ban {
        subject: Subject,
        seconds: u64,
        reason: String,
        done: oneshot::Sender<Result<(), NotSaved>>,
    },
    Unban(Subject, oneshot::Sender<Result<bool, NotSaved>>),
    Bans(oneshot::Sender<Vec<Ban>>),
    Stop,
}

/// Controls a running network. Cheap to clone. After the network has stopped, queries return
/// nothing.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) id: PeerId,
    pub(crate) listening: watch::Receiver<Vec<Multiaddr>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) progress: watch::Receiver<Progress>,
    /// The work that each peer has shown, at the last tick of the engine.
    pub(crate) shown_work: watch::Receiver<BTreeMap<PeerId, Work>>,
    pub(crate) peer_count: watch::Receiver<usize>,
    pub(crate) clock_skew: watch::Receiver<Option<i64>>,
    pub(crate) traffic: Arc<ByteCounters>,
    pub(crate) status: watch::Receiver<TaskStatus>,
}

impl Handle {
    /// Returns this node's peer id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Returns the addresses on which this node listens, with its peer id and the actual ports.
    pub fn listening(&self) -> Vec<Multiaddr> {
        self.listening.borrow().clone()
    }

    /// Returns the peers that have completed the handshake, ordered by id.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        let mut peers = self.request(Command::Peers).await.unwrap_or_default();
        let shown = self.shown_work.borrow();
        for peer in &mut peers {
            peer.shown_work = shown.get(&peer.id).copied().unwrap_or(Work::ZERO);
        }
        peers
    }

    /// Returns the number of peers that have completed the handshake.
    pub fn peer_count(&self) -> usize {
        *self.peer_count.borrow()
    }

    /// Returns a receiver that is notified when the number of peers changes.
    pub fn peer_counts(&self) -> watch::Receiver<usize> {
        self.peer_count.clone()
    }

    /// Returns the seconds by which the clocks of peers are ahead of the system clock; `None` unless
    /// most outbound peers disagree with it by more than a minute.
    pub fn clock_skew(&self) -> Option<i64> {
        *self.clock_skew.borrow()
    }

    /// Returns the payload received from all peers since the start, in bytes.
    pub fn bytes_received(&self) -> u64 {
        self.traffic.received()
    }

    /// Returns the payload sent to all peers since the start, in bytes.
    pub fn bytes_sent(&self) -> u64 {
        self.traffic.sent()
    }

    /// Adds a persistent peer, also for later runs, and dials it. The address may end with its peer
    /// id.
    ///
    /// Returns its id when the handshake is complete.
    ///
    /// # Errors
    /// The handshake is not complete within 20 seconds. A node that is unreachable for now remains
    /// a persistent peer and is dialed again; one that can never be this peer does not. Or the peer
    /// could not be saved.
    pub async fn connect(&self, address: Multiaddr) -> Result<PeerId, ConnectError> {
        let (saved, is_saved) = oneshot::channel();
        let connected = self.request(|reply| Command::Connect { address, reply, saved }).await;
        let connected = connected.unwrap_or(Err(ConnectError::Stopped));
        match &connected {
            Ok(_) | Err(ConnectError::Unreachable(_) | ConnectError::Timeout) => {
                is_saved.await.unwrap_or_else(|_| Err(NotSaved::stopped()))?;
            }
            Err(_) => {}
        }
        connected
    }

    /// Returns the persistent peers with the states of their connections.
    pub async fn persistent_peers(&self) -> Vec<PersistentPeer> {
        self.request(Command::PersistentPeers).await.unwrap_or_default()
    }

    /// Disconnects the persistent peer at an address, which is no longer persistent, also after a
    /// restart. Returns false if there is none.
    ///
    /// # Errors
    /// The change could not be saved.
    pub async fn remove_persistent_peer(&self, address: Multiaddr) -> Result<bool, NotSaved> {
        let command = |reply| Command::RemovePersistent(address, reply);
        self.request(command).await.unwrap_or_else(|| Err(NotSaved::stopped()))
    }

    /// Disconnects a peer, which is no longer persistent, also after a restart. Returns false if it
    /// was neither connected nor persistent.
    ///
    /// # Errors
    /// The change could not be saved.
    pub async fn disconnect(&self, peer: PeerId) -> Result<bool, NotSaved> {
        self.request(|reply| Command::Disconnect(peer, reply))
            .await
            .unwrap_or_else(|| Err(NotSaved::stopped()))
    }

    /// Bans a peer or an IP address for a number of seconds, also after a restart, and disconnects
    /// the peers concerned.
    ///
    /// # Errors
    /// The ban could not be saved.
    pub async fn ban(
        &self,
        subject: Subject,
        seconds: u64,
        reason: String,
    ) -> Result<(), NotSaved> {
        let command = |done| Command::Ban { subject, seconds, reason, done };
        self.request(command).await.unwrap_or_else(|| Err(NotSaved::stopped()))
    }

    /// Removes a ban, also after a restart. Returns false if there was none.
    ///
    /// # Errors
    /// The change could not be saved.
    pub async fn unban(&self, subject: Subject) -> Result<bool, NotSaved> {
        self.request(|reply| Command::Unban(subject, reply))
            .await
            .unwrap_or_else(|| Err(NotSaved::stopped()))
    }

    /// Returns the bans in force.
    pub async fn bans(&self) -> Vec<Ban> {
        self.request(Command::Bans).await.unwrap_or_default()
    }

    /// Returns a receiver of the synchronisation progress.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Disconnects all peers, saves the address book, and returns when the network has stopped.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
        let _ = self.finished().await;
    }

    /// Waits until the network has stopped.
    ///
    /// # Errors
    /// One of the network's tasks has panicked.
    pub async fn finished(&self) -> Result<(), TaskFailed> {
        let mut status = self.status.clone();
        match status.wait_for(|status| *status != TaskStatus::Running).await.as_deref() {
            Ok(TaskStatus::Failed(failed)) => Err(failed.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(TaskFailed { task: "supervisor", reason: "it has ended".into() }),
        }
    }

    /// Sends a command and waits for its reply; `None` if the driver has ended.
    async fn request<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, reply) = oneshot::channel();
        self.commands.send(command(sender)).await.ok()?;
        reply.await.ok()
    }
}
