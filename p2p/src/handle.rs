//! The outside's way to the running network: questions and commands to the driver.

use crate::engine::Progress;
use crate::net::bandwidth::ByteCounters;
use crate::{Ban, PeerInfo, Subject};
use libp2p::{Multiaddr, PeerId};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// Commands that may wait; beyond that whoever commands waits too.
pub(crate) const COMMANDS: usize = 256;

/// Why there is no connection to a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The address is of a kind that this node cannot call.
    #[error(
        "{0} is not an address this node can call; give /ip4/HOST/tcp/PORT or /dns/HOST/tcp/PORT"
    )]
    Unsupported(Multiaddr),
    /// It is this node.
    #[error("that is this node itself")]
    Own,
    /// It is kept out.
    #[error("it is banned; lift the ban first")]
    Banned,
    /// Nobody answers there as a node of this network would.
    #[error("no node answers there: {0}")]
    Unreachable(String),
    /// A node of another network is there.
    #[error("a node of another network answers there")]
    OtherNetwork,
    /// Another node answered than the address says.
    #[error("another node answers there: {0}")]
    OtherNode(PeerId),
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// This node is going down.
    #[error("the node is stopping")]
    Stopped,
}

/// A part of the network has failed: it does nothing any more, so the node should end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network's {part} has failed: {why}")]
pub struct TaskFailed {
    /// Which task.
    pub part: &'static str,
    /// What it left behind.
    pub why: String,
}

/// What becomes of the network's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TaskStatus {
    Running,
    Stopped,
    Failed(TaskFailed),
}

/// What the driver is asked.
#[derive(Debug)]
pub(crate) enum Command {
    Peers(oneshot::Sender<Vec<PeerInfo>>),
    Connect(Multiaddr, oneshot::Sender<Result<PeerId, ConnectError>>),
    Disconnect(PeerId, oneshot::Sender<bool>),
    Ban { subject: Subject, seconds: u64, reason: String, done: oneshot::Sender<()> },
    Unban(Subject, oneshot::Sender<bool>),
    Bans(oneshot::Sender<Vec<Ban>>),
    Stop,
}

/// Speaks with the running network. Cheap to clone. Once the network has stopped, answers are empty.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) id: PeerId,
    pub(crate) listening: watch::Receiver<Vec<Multiaddr>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) peer_count: watch::Receiver<usize>,
    pub(crate) traffic: Arc<ByteCounters>,
    pub(crate) status: watch::Receiver<TaskStatus>,
}

impl Handle {
    /// This node's id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where others reach this node, its id included, ports as they really are.
    pub fn listening(&self) -> Vec<Multiaddr> {
        self.listening.borrow().clone()
    }

    /// All peers that have said hello, by id.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.ask(Command::Peers).await.unwrap_or_default()
    }

    /// How many peers have said hello.
    pub fn peer_count(&self) -> usize {
        *self.peer_count.borrow()
    }

    /// Tells how many peers have said hello whenever that changes.
    pub fn peer_counts(&self) -> watch::Receiver<usize> {
        self.peer_count.clone()
    }

    /// Payload received from all peers since the start, also from those who are gone, in bytes.
    pub fn bytes_received(&self) -> u64 {
        self.traffic.received()
    }

    /// Payload sent to all of them, in bytes.
    pub fn bytes_sent(&self) -> u64 {
        self.traffic.sent()
    }

    /// Connects to a node, with or without its id in the address, and stays connected with it from
    /// then on: also if it is not there yet. Answered when it has said hello, or after some seconds.
    pub async fn connect(&self, address: Multiaddr) -> Result<PeerId, ConnectError> {
        self.ask(|answer| Command::Connect(address, answer))
            .await
            .unwrap_or(Err(ConnectError::Stopped))
    }

    /// Ends the connection with a node and forgets that it was wanted; false if there was none.
    pub async fn disconnect(&self, peer: PeerId) -> bool {
        self.ask(|answer| Command::Disconnect(peer, answer)).await.unwrap_or_default()
    }

    /// Keeps somebody out for so many seconds; who is connected is disconnected at once.
    pub async fn ban(&self, subject: Subject, seconds: u64, reason: String) {
        let _ = self.ask(|done| Command::Ban { subject, seconds, reason, done }).await;
    }

    /// Lets somebody in again; false if nobody was kept out.
    pub async fn unban(&self, subject: Subject) -> bool {
        self.ask(|answer| Command::Unban(subject, answer)).await.unwrap_or_default()
    }

    /// Who is kept out.
    pub async fn bans(&self) -> Vec<Ban> {
        self.ask(Command::Bans).await.unwrap_or_default()
    }

    /// How far sync is.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Disconnects from everybody, saves what is known of other nodes, and returns when that is done.
    pub async fn stop(&self) {
        let _ = self.commands.send(Command::Stop).await;
        let _ = self.finished().await;
    }

    /// Returns when the network has stopped: with an error if it was not asked to.
    pub async fn finished(&self) -> Result<(), TaskFailed> {
        let mut status = self.status.clone();
        match status.wait_for(|status| *status != TaskStatus::Running).await.as_deref() {
            Ok(TaskStatus::Failed(failed)) => Err(failed.clone()),
            Ok(_) => Ok(()),
            Err(_) => Err(TaskFailed { part: "supervisor", why: "it is gone".into() }),
        }
    }

    /// `None` if the driver is gone.
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(order(sender)).await.ok()?;
        answer.await.ok()
    }
}
