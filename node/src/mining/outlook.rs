//! Whether a block mined now could be worth anything. On a stale tip it is not, and on a network
//! that is known to have other nodes a lone one cannot tell whether its tip is stale.

use chain::Height;
use chain::ledger::Reader;
use p2p::engine::SyncState;

/// Looks at the chain and at peers. Cheap to clone.
#[derive(Clone)]
pub struct Outlook {
    reader: Reader,
    peers: p2p::Handle,
    needs_peer: bool,
}

/// What mining has to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wait {
    /// There is nobody to tell this node how far the chain is.
    #[error("the node has no peers yet")]
    Peers,
    /// Others have more blocks.
    #[error("the node is catching up: block {height} of {best}")]
    Sync {
        /// How far this node is.
        height: Height,
        /// How far another one says it is.
        best: Height,
    },
}

impl Outlook {
    /// Of this chain and these peers; whether the chain is of a network with nodes that are always
    /// there.
    pub fn new(reader: Reader, peers: p2p::Handle, needs_peer: bool) -> Outlook {
        Outlook { reader, peers, needs_peer }
    }

    /// Whether the network has nodes that are always there, so that one without peers knows little.
    pub fn needs_peer(&self) -> bool {
        self.needs_peer
    }

    /// What to wait for, if anything.
    pub async fn wait(&self) -> Option<Wait> {
        let progress = *self.peers.progress().borrow();
        if self.peers.peer_count() == 0 {
            return self.needs_peer.then_some(Wait::Peers);
        }
        if progress.state == SyncState::Synced {
            return None;
        }
        let claims = self.peers.peers().await.into_iter().map(|peer| peer.height);
        let best = claims.max().max(Some(progress.best_header))?;
        let height = self.reader.view().tip().height;
        (best > height || self.needs_peer).then_some(Wait::Sync { height, best })
    }

    /// Waits until sync has more to do than to follow, or has less.
    pub async fn changed(&self) {
        let mut progress = self.peers.progress();
        let is_synced = progress.borrow_and_update().state == SyncState::Synced;
        let other = |now: &p2p::engine::Progress| (now.state == SyncState::Synced) != is_synced;
        if progress.wait_for(other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
