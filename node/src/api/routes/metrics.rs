//! The page of `/metrics` for Prometheus: the metrics that are counted, and those sampled here from the
//! parts of the node that hold the values. No metric contains secrets, identities or label values chosen
//! by a client.
//! Source of names and units: Prometheus documentation, "Metric and label naming".

use crate::api::http::problem::Problem;
use crate::api::http::resources::Client;
use crate::api::http::response::blocking;
use crate::api::openapi::route::{Routes, get};
use crate::api::routes::{chain, health};
use crate::difficulty;
use crate::jobs::JobsSummary;
use crate::metrics::exposition::{Kind, Page, TEXT};
use crate::metrics::process;
use crate::mining::workers::{Interface, Shares};
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use p2p::PeerInfo;
use serde_json::json;
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([get("/metrics", "Get metrics for Prometheus", show)
        .response_as(TEXT, "The text format, version 0.0.4.")])
}

pub async fn show(State(node): State<Arc<NodeState>>, client: Client) -> Result<Response, Problem> {
    let sampled = Sampled {
        event_readers: client.resources().event_reader_count(),
        is_ready: health::ready(State(node.clone())).await.is_ok(),
        peers: node.peers.peers().await,
        bans: node.peers.bans().await.len(),
        jobs: node.jobs.summary().await.unwrap_or_default(),
    };
    let text = blocking(move || page(&node, &sampled)).await?;
    Ok(([(CONTENT_TYPE, TEXT), (CACHE_CONTROL, "no-store")], text).into_response())
}

/// Values that other tasks returned; the defaults once they have stopped.
struct Sampled {
    event_readers: u64,
    is_ready: bool,
    peers: Vec<PeerInfo>,
    bans: usize,
    jobs: JobsSummary,
}

fn page(node: &NodeState, sampled: &Sampled) -> String {
    let mut page = Page::default();
    about(&mut page, node, sampled);
    chain_and_pool(&mut page, node);
    peers(&mut page, node, sampled);
    mining(&mut page, &sampled.jobs);
    stratum(&mut page, node);
    workers(&mut page, node);
    events(&mut page, node, sampled);
    node.metrics.writer.write(&mut page);
    node.metrics.http.write(&mut page);
    process::show(&mut page);
    page.into_text()
}

fn about(page: &mut Page, node: &NodeState, sampled: &Sampled) {
    let network = node.reader.params().name();
    page.family(Kind::Gauge, "chain_build_info", "Version and network of the node; always 1.")
        .value(&[("version", env!("CARGO_PKG_VERSION")), ("network", network)], 1_u32);
    let is_ready = u32::from(sampled.is_ready);
    page.gauge("chain_ready", "1 if /readyz succeeds, otherwise 0.", is_ready);
    page.gauge(
        "chain_uptime_seconds",
        "Seconds since the node started.",
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
        "Height of the best known header.",
        sync.best_header_height,
    );
    page.gauge(
        "chain_tip_timestamp_seconds",
        "Time of the best block, Unix seconds.",
        tip.time.get(),
    );
    page.gauge("chain_blocks", "Stored blocks of all branches.", blocks);
    page.gauge(
        "chain_difficulty",
        "Difficulty of the best block relative to bits 1d00ffff.",
        tip.bits.target().map_or(0.0, difficulty::of),
    );
    page.gauge(
        "chain_estimated_hashes_per_second",
        "Hash rate of the network, estimated from recent blocks.",
        hash_rate.unwrap_or(0.0),
    );
    page.gauge(
        "chain_issued_base_units",
        "Supply issued so far in base units, 1e8 to a coin.",
        issued,
    );
    let mut states = page.family(
        Kind::Gauge,
        "chain_sync_state",
        "1 for the current sync state, 0 for the others.",
    );
    for state in [chain::SyncState::Synced, chain::SyncState::Headers, chain::SyncState::Blocks] {
        let name = json!(state);
        let name = name.as_str().unwrap_or_default();
        states.value(&[("state", name)], u32::from(state == sync.state));
    }
    page.gauge(
        "chain_sync_progress_ratio",
        "Connected blocks relative to known headers.",
        sync.progress,
    );

    let mut counts =
        page.family(Kind::Gauge, "chain_mempool_transfers", "Transfers in the mempool.");
    for (status, count) in ["pending", "queued"].into_iter().zip(pool) {
        counts.value(&[("status", status)], count);
    }
    page.gauge("chain_mempool_bytes", "Encoded size of the transfers in the mempool.", pool_bytes);
    page.gauge(
        "chain_mempool_min_fee_rate",
        "Lowest fee rate accepted, base units per byte.",
        min_fee_rate,
    );
}

fn peers(page: &mut Page, node: &NodeState, sampled: &Sampled) {
    let outbound = sampled.peers.iter().filter(|peer| peer.outbound).count();
    let inbound = sampled.peers.len() - outbound;
    let mut counts = page.family(Kind::Gauge, "chain_peers", "Connected peers by direction.");
    counts.value(&[("direction", "inbound")], inbound);
    counts.value(&[("direction", "outbound")], outbound);
    page.counter(
        "chain_peer_received_bytes_total",
        "Bytes received from peers.",
        node.peers.bytes_received(),
    );
    page.counter("chain_peer_sent_bytes_total", "Bytes sent to peers.", node.peers.bytes_sent());
    page.gauge("chain_bans", "Banned peers and IP addresses.", sampled.bans);
}

fn mining(page: &mut Page, jobs: &JobsSummary) {
    let running = || jobs.running.iter().map(|(_, progress)| progress);
    page.gauge(
        "chain_mining_hashes_per_second",
        "Hash rate of the miner.",
        // An empty sum of floats is −0.
        running().map(|progress| progress.hash_rate).fold(0.0, |sum, rate| sum + rate),
    );
    page.counter("chain_mining_hashes_total", "Hashes computed by the miner.", jobs.hashes);
    page.counter("chain_mining_blocks_found_total", "Blocks found by the miner.", jobs.found);
    page.gauge(
        "chain_mining_threads",
        "Mining threads in use.",
        running().map(|progress| progress.threads).sum::<usize>(),
    );
    page.gauge("chain_mining_max_threads", "Mining threads allowed.", jobs.max_threads);
    page.counter(
        "chain_mining_thread_restarts_total",
        "Mining threads restarted after a panic.",
        jobs.restarts,
    );
    let mut states =
        page.family(Kind::Gauge, "chain_mining_jobs", "Mining jobs on record by state.");
    for (state, count) in &jobs.states {
        let name = json!(state);
        states.value(&[("state", name.as_str().unwrap_or_default())], *count);
    }
}

fn stratum(page: &mut Page, node: &NodeState) {
    let (connected, connections, hash_rate) = node.workers.connected();
    page.gauge("chain_stratum_workers", "Connected Stratum workers.", connected);
    page.gauge("chain_stratum_connections", "Stratum connections.", connections);
    page.gauge(
        "chain_stratum_hashes_per_second",
        "Hash rate of Stratum workers, estimated from shares.",
        hash_rate,
    );
    let mut shares =
        page.family(Kind::Counter, "chain_stratum_shares_total", "Stratum shares by outcome.");
    let totals = node.workers.totals(Interface::Stratum);
    for (outcome, count) in outcomes(&totals) {
        shares.value(&[("outcome", outcome)], count);
    }
    let blocks = totals.blocks;
    page.counter("chain_stratum_blocks_found_total", "Stratum shares that were blocks.", blocks);
}

/// Workers of all interfaces. None by name: miners choose the names.
fn workers(page: &mut Page, node: &NodeState) {
    let mut solutions = page.family(
        Kind::Counter,
        "chain_mining_solutions_total",
        "Blocks submitted by workers without shares, by interface and outcome.",
    );
    for interface in [Interface::JsonRpc, Interface::Rest] {
        for (outcome, count) in outcomes(&node.workers.totals(interface)) {
            solutions.value(&[("interface", interface.name()), ("outcome", outcome)], count);
        }
    }
    page.gauge(
        "chain_mining_silent_workers",
        "Workers that are silent for ten times their usual interval and five minutes.",
        node.workers.silent_count(),
    );
}

/// The shares of each outcome.
fn outcomes(shares: &Shares) -> [(&'static str, u64); 5] {
    let Shares { accepted, stale, duplicate, low, invalid, .. } = *shares;
    [
        ("accepted", accepted),
        ("stale", stale),
        ("duplicate", duplicate),
        ("low", low),
        ("invalid", invalid),
    ]
}

fn events(page: &mut Page, node: &NodeState, sampled: &Sampled) {
    page.gauge("chain_event_readers", "Subscribers of events.", sampled.event_readers);
    page.gauge("chain_event_last_id", "Id of the last event.", node.events.last_number());
}
