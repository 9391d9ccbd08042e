//! What is told of peers, sync and mining: looked at now and then, told when it changed.

use super::Topic;
use crate::api::chain::Sync;
use crate::api::jobs::shown;
use crate::api::peers::Peer;
use crate::daemon::Node;
use crate::jobs::Overview;
use p2p::PeerId;
use p2p::engine::SyncState;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Interval, MissedTickBehavior};

/// How often peers are looked at, besides whenever their number changes.
const PEERS_EVERY: Duration = Duration::from_secs(5);
/// After a look at peers, news of their number wait so long: many may come and go at once.
const PEERS_PAUSE: Duration = Duration::from_millis(100);
/// How often progress is told while this node is behind.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often the hash rate is told while this node mines.
const HASHRATE_EVERY: Duration = Duration::from_secs(5);

/// Jobs that are told of when more changed at once than were remembered: the newest.
const MISSED_JOBS: usize = 100;

/// Tells until the node stops.
pub async fn tell(node: Node) {
    let mut stopping = node.stopping.clone();
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        _ = async { tokio::join!(peers(&node), sync(&node), hashrate(&node), jobs(&node)) } => {}
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

async fn peers(node: &Node) {
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

async fn sync(node: &Node) {
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

async fn hashrate(node: &Node) {
    let mut look = every(HASHRATE_EVERY);
    loop {
        look.tick().await;
        let Ok(Overview { running, hashes, .. }) = node.jobs.overview().await else { return };
        let progress = || running.iter().map(|(_, progress)| progress);
        if !progress().any(|progress| progress.candidate.is_some()) {
            continue;
        }
        let hash_rate: f64 = progress().map(|progress| progress.hash_rate).sum();
        let threads: usize = progress().map(|progress| progress.threads).sum();
        let data = json!({ "hashrate": hash_rate, "threads": threads, "hashes": hashes });
        node.events.publisher().tell(Topic::MiningHashrate, &data);
    }
}

/// Jobs that changed, each once as it is after all changes that have come meanwhile; without their
/// blocks, which may be many.
async fn jobs(node: &Node) {
    let mut updates = node.jobs.updates();
    loop {
        let mut changed = BTreeSet::new();
        let mut update = updates.recv().await.map_err(|error| match error {
            RecvError::Closed => TryRecvError::Closed,
            RecvError::Lagged(missed) => TryRecvError::Lagged(missed),
        });
        loop {
            match update {
                Ok(job) => drop(changed.insert(job.id)),
                Err(TryRecvError::Lagged(_)) => {
                    let Ok(newest) = node.jobs.newest(u64::MAX, MISSED_JOBS).await else { return };
                    changed.extend(newest.iter().map(|status| status.job.id));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Closed) => return,
            }
            update = updates.try_recv();
        }
        for id in changed {
            let Ok(status) = node.jobs.job(id).await else { return };
            let Some(status) = status else { continue };
            let Ok(data) = serde_json::to_value(shown(node, &status, false)) else { continue };
            node.events.publisher().tell(Topic::JobUpdated, &data);
        }
    }
}
