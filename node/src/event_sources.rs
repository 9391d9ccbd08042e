//! What is told of peers, sync and mining: looked at now and then, told when it changed.

use crate::api::routes;
use crate::api::routes::chain::Sync;
use crate::api::routes::peers::Peer;
use crate::events::Topic;
use crate::jobs::{Job, Status};
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use p2p::PeerId;
use p2p::engine::SyncState;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior};

/// How often peers are looked at, besides whenever their number changes.
const PEERS_EVERY: Duration = Duration::from_secs(5);
/// After a look at peers, news of their number wait so long: many may come and go at once.
const PEERS_PAUSE: Duration = Duration::from_millis(100);
/// How often progress is told while this node is behind.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often the hash rate is told while this node mines.
const HASHRATE_EVERY: Duration = Duration::from_secs(5);

/// Tells until the node stops. Changes of jobs are not missed from this call on.
pub fn tell(node: Arc<NodeState>) -> impl Future<Output = ()> {
    let updates = node.jobs.updates();
    let mut stopping = node.stopping.clone();
    async move {
        tokio::select! {
            () = shutdown_requested(&mut stopping) => {}
            _ = async {
                tokio::join!(peers(&node), sync(&node), hashrate(&node), jobs(&node, updates))
            } => {}
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn peers(node: &NodeState) {
    let (mut counts, mut look) = (node.peers.peer_counts(), every(PEERS_EVERY));
    let mut known = BTreeMap::new();
    let publisher = node.events.publisher();
    loop {
        tokio::select! {
            changed = counts.changed() => if changed.is_err() { return },
            _ = look.tick() => {}
        }
        let peers = node.peers.peers().await.into_iter();
        let now: BTreeMap<PeerId, Value> = peers
            .map(|peer| {
                let id = peer.id;
                let Peer { id: shown, address, direction, agent, .. } = peer.into();
                let data = json!({
                    "id": shown, "address": address, "direction": direction, "agent": agent,
                });
                (id, data)
            })
            .collect();
        for (_, gone) in known.iter().filter(|(id, _)| !now.contains_key(id)) {
            publisher.tell(Topic::PeerDisconnected, gone);
        }
        for (_, new) in now.iter().filter(|(id, _)| !known.contains_key(id)) {
            publisher.tell(Topic::PeerConnected, new);
        }
        known = now;
        tokio::time::sleep(PEERS_PAUSE).await;
    }
}

async fn sync(node: &NodeState) {
    let (mut look, mut told) = (every(SYNC_EVERY), None);
    loop {
        look.tick().await;
        let progress = *node.peers.progress().borrow();
        let was_behind = told.is_some_and(|(state, _, _)| state != SyncState::Synced);
        let now = (progress.state, progress.best_header, progress.height);
        let is_behind = progress.state != SyncState::Synced && node.peers.peer_count() > 0;
        // Also that it has caught up, once.
        if (is_behind && told != Some(now)) || (was_behind && progress.state == SyncState::Synced) {
            let Sync { state, best_header_height, progress } =
                Sync::of(progress, node.reader.view().tip().height);
            let data = json!({
                "state": state, "height": now.2.get(), "best_header_height": best_header_height,
                "progress": progress,
            });
            node.events.publisher().tell(Topic::SyncProgress, &data);
            told = Some(now);
        }
    }
}

async fn hashrate(node: &NodeState) {
    let mut look = every(HASHRATE_EVERY);
    loop {
        look.tick().await;
        let Ok(overview) = node.jobs.overview().await else { return };
        if overview.running.is_empty() {
            continue;
        }
        let running = || overview.running.iter().map(|(_, progress)| progress);
        let data = json!({
            "hashrate": running().map(|progress| progress.hash_rate).sum::<f64>(),
            "threads": running().map(|progress| progress.threads).sum::<usize>(),
            "hashes": overview.hashes,
        });
        node.events.publisher().tell(Topic::MiningHashrate, &data);
    }
}

async fn jobs(node: &NodeState, mut updates: Receiver<Job>) {
    let publisher = node.events.publisher();
    loop {
        match updates.recv().await {
            Ok(job) => {
                let Ok(Some(now)) = node.jobs.job(job.id).await else { continue };
                // As it was then; its blocks only once there will be no more.
                let is_over = job.state.is_terminal();
                let shown = routes::jobs::shown(node, &Status { job, ..now }, is_over);
                publisher.tell(Topic::JobUpdated, &json!(shown));
            }
            Err(RecvError::Lagged(_)) => publisher.miss(),
            Err(RecvError::Closed) => return,
        }
    }
}
