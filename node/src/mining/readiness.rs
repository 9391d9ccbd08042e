//! Readiness to mine: a block mined on a stale tip is worthless. A node whose network has other nodes
//! must be in sync with them; a node without peers cannot know whether its tip is stale.

use chain::Height;
use chain::ledger::Reader;
use p2p::engine::SyncState;
use std::time::{Duration, Instant};

/// The maximum time that a node needs to connect to a configured peer that is up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The condition on which mining requires a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerRequirement {
    /// Mining never requires a peer: the network may have no other nodes.
    None,
    /// Mining requires a peer for a while after the start: configured peers may be up.
    AtStart,
    /// Mining always requires a peer: the network has boot nodes.
    Always,
}

/// Checks whether the node may mine. Cheap to clone.
#[derive(Clone)]
pub struct Readiness {
    reader: Reader,
    peers: p2p::Handle,
    requirement: PeerRequirement,
    since: Instant,
}

/// Why the node may not mine yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// The node has no peers.
    #[error("the node has no peers yet")]
    NoPeers,
    /// The peers of the node have more blocks.
    #[error("the node is catching up: block {height} of {best}")]
    Syncing {
        /// The height of this node.
        height: Height,
        /// The best height that a peer claims.
        best: Height,
    },
}

impl Readiness {
    /// Starts checking a chain against the peers of its network.
    pub fn new(reader: Reader, peers: p2p::Handle, requirement: PeerRequirement) -> Readiness {
        Readiness { reader, peers, requirement, since: Instant::now() }
    }

    /// Whether the node needs a peer at present.
    pub fn requires_peer(&self) -> bool {
        match self.requirement {
            PeerRequirement::None => false,
            PeerRequirement::AtStart => self.since.elapsed() < CONNECT_TIMEOUT,
            PeerRequirement::Always => true,
        }
    }

    /// Checks whether the node may mine.
    pub async fn check(&self) -> Result<(), NotReady> {
        let progress = *self.peers.progress().borrow();
        if self.peers.peer_count() == 0 {
            return if self.requires_peer() { Err(NotReady::NoPeers) } else { Ok(()) };
        }
        if progress.state == SyncState::Synced {
            return Ok(());
        }
        let claimed = self.peers.peers().await.into_iter().map(|peer| peer.height);
        let best = claimed.max().unwrap_or(progress.best_header).max(progress.best_header);
        let height = self.reader.view().tip().height;
        if best > height || self.requirement == PeerRequirement::Always {
            Err(NotReady::Syncing { height, best })
        } else {
            Ok(())
        }
    }

    /// Waits until the node becomes synced, or is synced no more.
    pub async fn changed(&self) {
        let mut progress = self.peers.progress();
        let is_synced = progress.borrow_and_update().state == SyncState::Synced;
        let differs = |now: &p2p::engine::Progress| (now.state == SyncState::Synced) != is_synced;
        if progress.wait_for(differs).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
