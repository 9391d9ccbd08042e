//! What the node can be watched by: everything it counts, under the names by which Prometheus knows
//! it. Nothing in it is secret, names a peer or belongs to a client, and no label's value is chosen
//! by anybody outside.
//! Source of names and units: Prometheus documentation, "Metric and label naming".

use crate::api::http::problem::Problem;
use crate::api::http::response::blocking;
use crate::api::openapi::route::{Routes, get};
use crate::api::routes::{chain, health};
use crate::difficulty;
use crate::jobs::JobsSummary;
use crate::metrics::exposition::{Kind, Page, TEXT};
use crate::metrics::{CounterVec, process};
use crate::mining::stratum::Shares;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use p2p::PeerInfo;
use serde_json::json;
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Routes {
    Routes::new([get("/metrics", "What the node counts, for Prometheus", show)
        .response_as(TEXT, "Its text format, version 0.0.4.")])
}

/// What the node counts.
pub async fn show(State(node): State<Arc<NodeState>>) -> Result<Response, Problem> {
    let asked = Asked {
        is_ready: health::ready(State(node.clone())).await.is_ok(),
        peers: node.peers.peers().await,
        bans: node.peers.bans().await.len(),
        jobs: node.jobs.summary().await.unwrap_or_default(),
    };
    let text = blocking(move || page(&node, &asked)).await?;
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")], text).into_response())
}

/// What other tasks were asked for; once they have ended, nothing.
struct Asked {
    is_ready: bool,
    peers: Vec<PeerInfo>,
    bans: usize,
    jobs: JobsSummary,
}

fn page(node: &NodeState, asked: &Asked) -> String {
    let mut page = Page::default();
    about(&mut page, node, asked);
    chain_and_pool(&mut page, node);
    writing(&mut page, node);
    peers(&mut page, node, asked);
    mining(&mut page, &asked.jobs);
    stratum(&mut page, node);
    api(&mut page, node);
    process::show(&mut page);
    page.into_text()
}

fn about(page: &mut Page, node: &NodeState, asked: &Asked) {
    let network = node.reader.params().name();
    page.family(Kind::Gauge, "chain_build_info", "This program and its network; always 1.")
        .value(&[("version", env!("CARGO_PKG_VERSION")), ("network", network)], 1_u32);
    let is_ready = u32::from(asked.is_ready);
    page.gauge("chain_ready", "1 if /readyz says yes, otherwise 0.", is_ready);
    page.gauge(
        "chain_uptime_seconds",
        "Since the node started.",
        node.started.elapsed().as_secs_f64(),
    );
}

fn chain_and_pool(page: &mut Page, node: &NodeState) {
    let progress = chain::progress(node);
    let view = node.reader.view();
    let (tip, mempool) = (*view.tip(), view.mempool());
    let pool = [mempool.count() - mempool.queued(), mempool.queued()];
    let (pool_bytes, min_fee_rate) = (mempool.bytes(), mempool.min_fee_rate());
    let (issued, hash_rate) =
        (view.params().issued(tip.height).units(), chain::hashrate_estimate(&view));
    let blocks = view.block_count();
    drop(view);
    let sync = chain::SyncProgress::of(progress, tip.height);

    page.gauge("chain_height", "Height of the best block.", tip.height.get());
    page.gauge(
        "chain_best_header_height",
        "Height of the best header, of this node or a peer.",
        sync.best_header_height,
    );
    page.gauge("chain_tip_timestamp_seconds", "Time of the best block, Unix.", tip.time.get());
    page.gauge("chain_blocks", "Blocks of all branches that this node keeps.", blocks);
    page.gauge(
        "chain_difficulty",
        "How many times as hard the best block was as bits 1d00ffff.",
        tip.bits.target().map_or(0.0, difficulty::of),
    );
    page.gauge(
        "chain_estimated_hashes_per_second",
        "Hash rate of the whole network behind recent blocks; 0 without any.",
        hash_rate.unwrap_or(0.0),
    );
    page.gauge("chain_issued_base_units", "Base units that exist, 1e8 to a coin.", issued);
    let mut states =
        page.family(Kind::Gauge, "chain_sync_state", "1 for what sync does, 0 for the rest.");
    for state in [chain::SyncState::Synced, chain::SyncState::Headers, chain::SyncState::Blocks] {
        let name = json!(state);
        let name = name.as_str().unwrap_or_default();
        states.value(&[("state", name)], u32::from(state == sync.state));
    }
    page.gauge("chain_sync_progress_ratio", "Blocks of those known of.", sync.progress);

    let mut counts =
        page.family(Kind::Gauge, "chain_mempool_transfers", "Transfers that wait for a block.");
    for (status, count) in ["pending", "queued"].into_iter().zip(pool) {
        counts.value(&[("status", status)], count);
    }
    page.gauge("chain_mempool_bytes", "Encoded bytes of these transfers.", pool_bytes);
    page.gauge(
        "chain_mempool_min_fee_rate",
        "Base units per byte at which another transfer enters.",
        min_fee_rate,
    );
}

fn writing(page: &mut Page, node: &NodeState) {
    let counts = &node.metrics.writer;
    page.counter(
        "chain_blocks_connected_total",
        "Blocks that entered the best chain.",
        counts.blocks_connected.get(),
    );
    page.counter(
        "chain_blocks_disconnected_total",
        "Blocks that left the best chain.",
        counts.blocks_disconnected.get(),
    );
    tally(
        page,
        "chain_blocks_refused_total",
        "Blocks that were refused, by the rule's code.",
        &counts.blocks_refused,
    );
    page.counter(
        "chain_reorganisations_total",
        "How often blocks left the best chain.",
        counts.reorganisation_depth.get().count,
    );
    page.histogram(
        "chain_reorganisation_depth_blocks",
        "Blocks that left the best chain at a time.",
        &counts.reorganisation_depth,
    );
    page.counter(
        "chain_transfers_confirmed_total",
        "Transfers that entered the best chain, again after a reorganisation too.",
        counts.transfers_confirmed.get(),
    );
    page.counter(
        "chain_mempool_accepted_total",
        "Transfers that entered the pool from outside.",
        counts.transfers_accepted.get(),
    );
    tally(
        page,
        "chain_mempool_refused_total",
        "Transfers that were refused, by the code of the rule or policy.",
        &counts.transfers_refused,
    );
    tally(
        page,
        "chain_mempool_dropped_total",
        "Transfers that left the pool other than into a block, by the policy's code.",
        &counts.transfers_dropped,
    );
    page.histogram(
        "chain_block_check_seconds",
        "Time to check blocks by themselves; those that come together are one.",
        &counts.check_time,
    );
    page.histogram(
        "chain_block_connect_seconds",
        "Time to judge a block on its parent and take it in, without the disk.",
        &counts.connect_time,
    );
    page.histogram(
        "chain_block_commit_seconds",
        "Time to make blocks safe on disk and show them; those that come together are one.",
        &counts.commit_time,
    );
}

fn tally(page: &mut Page, name: &'static str, help: &'static str, tally: &CounterVec) {
    let mut family = page.family(Kind::Counter, name, help);
    for (reason, count) in tally.get() {
        family.value(&[("reason", reason)], count);
    }
}

fn peers(page: &mut Page, node: &NodeState, asked: &Asked) {
    let outbound = asked.peers.iter().filter(|peer| peer.outbound).count();
    let inbound = asked.peers.len() - outbound;
    let mut counts = page.family(Kind::Gauge, "chain_peers", "Connected nodes, by who called.");
    counts.value(&[("direction", "inbound")], inbound);
    counts.value(&[("direction", "outbound")], outbound);
    page.counter(
        "chain_peer_received_bytes_total",
        "Payload received from peers.",
        node.peers.bytes_received(),
    );
    page.counter("chain_peer_sent_bytes_total", "Payload sent to peers.", node.peers.bytes_sent());
    page.gauge("chain_bans", "Nodes and addresses that are kept out.", asked.bans);
}

fn mining(page: &mut Page, jobs: &JobsSummary) {
    let running = || jobs.running.iter().map(|(_, progress)| progress);
    page.gauge(
        "chain_mining_hashes_per_second",
        "What this node's threads do.",
        // An empty sum of floats is −0.
        running().map(|progress| progress.hash_rate).fold(0.0, |sum, rate| sum + rate),
    );
    page.counter("chain_mining_hashes_total", "What they have done.", jobs.hashes);
    page.counter("chain_mining_blocks_found_total", "Blocks that they found.", jobs.found);
    page.gauge(
        "chain_mining_threads",
        "Threads that mine.",
        running().map(|progress| progress.threads).sum::<usize>(),
    );
    page.gauge("chain_mining_max_threads", "Threads that may mine.", jobs.max_threads);
    page.counter(
        "chain_mining_thread_restarts_total",
        "How often one was restarted because it panicked.",
        jobs.restarts,
    );
    let mut states =
        page.family(Kind::Gauge, "chain_mining_jobs", "Mining jobs that are remembered, by state.");
    for (state, count) in &jobs.states {
        let name = json!(state);
        states.value(&[("state", name.as_str().unwrap_or_default())], *count);
    }
}

fn stratum(page: &mut Page, node: &NodeState) {
    let workers = node.stratum.as_ref().map(|(_, workers)| workers);
    let totals = workers.map_or_else(Shares::default, |workers| workers.totals());
    let connected = workers.map_or_else(Vec::new, |workers| workers.list(true));
    page.gauge("chain_stratum_workers", "Mining machines by name, connected.", connected.len());
    page.gauge(
        "chain_stratum_connections",
        "Connections of mining machines.",
        connected.iter().map(|worker| worker.connections).sum::<u32>(),
    );
    page.gauge(
        "chain_stratum_hashes_per_second",
        "What they do, estimated from their shares.",
        connected.iter().map(|worker| worker.hashrate).fold(0.0, |sum, rate| sum + rate),
    );
    let mut shares =
        page.family(Kind::Counter, "chain_stratum_shares_total", "Their shares, by what became.");
    let Shares { accepted, stale, duplicate, low, invalid, blocks, .. } = totals;
    for (outcome, count) in [
        ("accepted", accepted),
        ("stale", stale),
        ("duplicate", duplicate),
        ("low", low),
        ("invalid", invalid),
    ] {
        shares.value(&[("outcome", outcome)], count);
    }
    page.counter("chain_stratum_blocks_found_total", "Shares that were blocks.", blocks);
}

fn api(page: &mut Page, node: &NodeState) {
    let routes: Vec<_> = node.metrics.requests.routes().collect();
    let mut counts = page.family(
        Kind::Counter,
        "chain_http_requests_total",
        "Answers to requests whose head could be read, by pattern of the route, method and status.",
    );
    for route in &routes {
        for (method, status, count) in route.counts() {
            let labels = [("route", route.pattern()), ("method", method), ("status", status)];
            counts.value(&labels, count);
        }
    }
    let mut times = page.family(
        Kind::Histogram,
        "chain_http_request_duration_seconds",
        "Time to an answer's head, also where the client asked it to be held.",
    );
    for route in &routes {
        times.values(&[("route", route.pattern())], route.times());
    }
    let open = node.metrics.connections.get();
    page.gauge("chain_http_connections", "HTTP connections that are open.", open);
    page.counter(
        "chain_http_connections_shed_total",
        "HTTP connections that were closed to make room for others.",
        node.metrics.connections_shed.get(),
    );
    page.counter(
        "chain_http_connections_refused_total",
        "HTTP connections that were not taken: all others were being answered.",
        node.metrics.connections_refused.get(),
    );
    page.gauge(
        "chain_event_readers",
        "Who reads events as they come.",
        node.events.subscriber_count(),
    );
    page.gauge("chain_event_last_id", "Number of the last event.", node.events.last_number());
}
