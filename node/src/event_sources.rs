//! Polls peers, sync, mining and jobs, and publishes an event when they change.

use crate::api::routes;
use crate::api::routes::chain::{SyncEvent, SyncProgress};
use crate::api::routes::mining::HashrateEvent;
use crate::api::routes::peers::PeerEvent;
use crate::clock::interval;
use crate::events::Topic;
use crate::jobs::{Job, Status};
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use p2p::PeerId;
use p2p::engine::SyncState;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// Poll interval of peers, which are also polled whenever their number changes.
const PEERS_INTERVAL: Duration = Duration::from_secs(5);
/// Least time between two polls of peers: many may connect at once.
const PEERS_PAUSE: Duration = Duration::from_millis(100);
/// Interval of progress events while the node is syncing.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of hash-rate events while the node is mining.
const HASHRATE_INTERVAL: Duration = Duration::from_secs(5);

/// Interval at which silent workers are looked for.
const WORKERS_INTERVAL: Duration = Duration::from_secs(1);
/// Most events of workers at a time: all of a farm are silent at once.
const MAX_WORKER_EVENTS: usize = 32;

/// Publishes events until shutdown. No change of a job after this call is missed, even if the
/// returned future is first polled later.
pub fn run(node: Arc<NodeState>) -> impl Future<Output = ()> {
    let updates = node.jobs.updates();
    let mut stopping = node.stopping.clone();
    async move {
        tokio::select! {
            () = shutdown_requested(&mut stopping) => {}
            _ = async {
                tokio::join!(
                    publish_peers(&node),
                    publish_sync(&node),
                    publish_hashrate(&node),
                    publish_workers(&node),
                    publish_jobs(&node, updates),
                )
            } => {}
        }
    }
}

async fn publish_peers(node: &NodeState) {
    let (mut counts, mut poll) = (node.peers.peer_counts(), interval(PEERS_INTERVAL));
    let mut known = BTreeMap::new();
    let publisher = node.events.publisher();
    loop {
        tokio::select! {
            changed = counts.changed() => if changed.is_err() { return },
            _ = poll.tick() => {}
        }
        let peers = node.peers.peers().await.into_iter();
        let connected: BTreeMap<PeerId, PeerEvent> =
            peers.map(|peer| (peer.id, peer.into())).collect();
        for (_, peer) in known.iter().filter(|(id, _)| !connected.contains_key(id)) {
            publisher.publish(Topic::PeerDisconnected, &json!(peer));
        }
        for (_, peer) in connected.iter().filter(|(id, _)| !known.contains_key(id)) {
            publisher.publish(Topic::PeerConnected, &json!(peer));
        }
        known = connected;
        tokio::time::sleep(PEERS_PAUSE).await;
    }
}

async fn publish_sync(node: &NodeState) {
    let (mut poll, mut published) = (interval(SYNC_INTERVAL), None);
    loop {
        poll.tick().await;
        let progress = *node.peers.progress().borrow();
        let was_syncing = published.is_some_and(|(state, _, _)| state != SyncState::Synced);
        let current = (progress.state, progress.best_header, progress.height);
        let is_synced = progress.state == SyncState::Synced;
        let is_syncing = !is_synced && node.peers.peer_count() > 0;
        // The transition to synced is published once.
        if (is_syncing && published != Some(current)) || (was_syncing && is_synced) {
            let sync = SyncProgress::of(progress, node.reader.view().tip().height);
            let data = SyncEvent { height: current.2.get(), sync };
            node.events.publisher().publish(Topic::SyncProgress, &json!(data));
            published = Some(current);
        }
    }
}

async fn publish_hashrate(node: &NodeState) {
    let mut poll = interval(HASHRATE_INTERVAL);
    loop {
        poll.tick().await;
        let Ok(summary) = node.jobs.summary().await else { return };
        if summary.running.is_empty() {
            continue;
        }
        let running = || summary.running.iter().map(|(_, progress)| progress);
        let data = HashrateEvent {
            hashrate: running().map(|progress| progress.hash_rate).sum::<f64>() + 0.0,
            threads: running().map(|progress| progress.threads).sum(),
            hashes: summary.hashes,
        };
        node.events.publisher().publish(Topic::MiningHashrate, &json!(data));
    }
}

async fn publish_workers(node: &NodeState) {
    let mut poll = interval(WORKERS_INTERVAL);
    loop {
        poll.tick().await;
        for (is_silent, worker) in node.workers.update_silence(MAX_WORKER_EVENTS) {
            let topic = if is_silent { Topic::WorkerSilent } else { Topic::WorkerActive };
            node.events.publisher().publish(topic, &json!(worker));
        }
    }
}

async fn publish_jobs(node: &NodeState, mut updates: Receiver<Job>) {
    let publisher = node.events.publisher();
    loop {
        match updates.recv().await {
            Ok(job) => {
                let Ok(Some(status)) = node.jobs.job(job.id).await else { continue };
                // The job as it was at the update; its blocks only once there will be no more.
                let is_finished = job.state.is_terminal();
                let shown =
                    routes::jobs::job_response(node, &Status { job, ..status }, is_finished);
                publisher.publish(Topic::JobUpdated, &json!(shown));
            }
            Err(RecvError::Lagged(_)) => publisher.mark_gap(),
            Err(RecvError::Closed) => return,
        }
    }
}
