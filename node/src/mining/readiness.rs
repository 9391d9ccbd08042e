//! Whether a block mined now could be worth anything. On a stale tip it is not, and on a network
//! that is known to have other nodes a lone one cannot tell whether its tip is stale. Where all
//! depends on the peers that this node was told of, it waits for them a little and then goes on
//! without.

use chain::Height;
use chain::ledger::Reader;
use p2p::engine::SyncState;
use std::time::{Duration, Instant};

/// How long a node may take to connect with a peer that it was told of and that is there.
const CONNECTING: Duration = Duration::from_secs(5);

/// How much a node depends on peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// There may be no other nodes.
    None,
    /// It was told of some that may be there.
    Some,
    /// The network has nodes that are always there.
    Always,
}

/// Looks at the chain and at peers. Cheap to clone.
#[derive(Clone)]
pub struct Outlook {
    reader: Reader,
    peers: p2p::Handle,
    need: Need,
    since: Instant,
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
    /// Of this chain and these peers, from now on.
    pub fn new(reader: Reader, peers: p2p::Handle, need: Need) -> Outlook {
        Outlook { reader, peers, need, since: Instant::now() }
    }

    /// Whether a node without peers lacks something.
    pub fn needs_peer(&self) -> bool {
        match self.need {
            Need::None => false,
            Need::Some => self.since.elapsed() < CONNECTING,
            Need::Always => true,
        }
    }

    /// What to wait for, if anything.
    pub async fn wait(&self) -> Option<Wait> {
        let progress = *self.peers.progress().borrow();
        if self.peers.peer_count() == 0 {
            return self.needs_peer().then_some(Wait::Peers);
        }
        if progress.state == SyncState::Synced {
            return None;
        }
        let claims = self.peers.peers().await.into_iter().map(|peer| peer.height);
        let best = claims.max().max(Some(progress.best_header))?;
        let height = self.reader.view().tip().height;
        (best > height || self.need == Need::Always).then_some(Wait::Sync { height, best })
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
