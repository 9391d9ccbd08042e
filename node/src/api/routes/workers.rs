//! Workers: the miners that mine on this node, by any interface.

use crate::api::http::content::Json;
use crate::api::http::extract::{Path, Query, in_range};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{ReadResponse, read, read_blocking};
use crate::api::openapi::route::{Routes, get};
use crate::api::openapi::schema::{Digits, Hex, WorkerId};
use crate::api::routes::transfer;
use crate::difficulty;
use crate::mining::workers::{ChainState, Hour, WorkerInfo};
use crate::state::NodeState;
use axum::extract::State;
use axum::response::Response;
use chain::Address;
use chain::address::Hrp;
use miner::stratum::Worker;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([
        get("/v1/mining/workers", "List workers", workers)
            .description(
                "All workers on record, connected or not: those of Stratum, and those that request \
                 templates over JSON-RPC (user name `ADDRESS` or `ADDRESS.worker`) or REST (`miner` and \
                 `worker`). A worker is an address and a name, by whatever interface it mines. At most \
                 4,096 are recorded.",
            )
            .returns::<Vec<WorkerInfo>>(),
        get("/v1/mining/workers/{worker}", "Get a worker", get_worker)
            .description("The worker with the shares of each hour of the last two days in which it had any.")
            .returns::<WorkerDetail>(),
    ])
}

/// A worker with its history.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WorkerDetail {
    /// The worker.
    #[serde(flatten)]
    pub worker: WorkerInfo,
    /// The shares of each hour in which there were any, oldest first, at most 48.
    pub history: Vec<HourRate>,
    /// A coinbase that pays the worker, of a block that can be mined now, serialized as it is hashed;
    /// null while no block can be mined. `chain util coinbase` decodes it.
    #[schemars(with = "Option<Hex>")]
    pub coinbase: Option<String>,
}

/// The shares of an hour, and the hash rate that they stand for.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WorkerHistory")]
pub struct HourRate {
    /// The shares.
    #[serde(flatten)]
    pub hour: Hour,
    /// The hash rate of the whole hour in hashes a second.
    pub hashrate: f64,
}

/// Seconds of an hour.
const HOUR: f64 = 3_600.0;

/// Most workers that are recorded.
const MAX_WORKERS: u64 = 4_096;

/// The query of the list of workers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WorkersQuery {
    /// The number of workers to list: those with the highest hash rates of the last ten minutes, the
    /// highest first. Without it, all by address and name.
    #[schemars(range(min = 1, max = 4_096))]
    top: Option<Digits>,
}

async fn workers(
    State(node): State<Arc<NodeState>>,
    Query(WorkersQuery { top }): Query<WorkersQuery>,
) -> Result<Response, Problem> {
    let top = top.map(|Digits(top)| in_range(top, 1..=MAX_WORKERS, "top")).transpose()?;
    let workers = Arc::clone(&node.workers);
    let response = read_blocking(node, move |view| {
        let chain = ChainState::of(view);
        let listed = match top {
            Some(top) => workers.top(usize::try_from(top).unwrap_or(usize::MAX), false, &chain),
            None => workers.list(false, &chain),
        };
        Ok(ReadResponse::new(Json(listed)).volatile())
    });
    Ok(response.await)
}

async fn get_worker(
    State(node): State<Arc<NodeState>>,
    Path(WorkerId(id)): Path<WorkerId>,
) -> Result<Response, Problem> {
    let worker = parse(&id, node.reader.params().hrp())?;
    if !node.workers.contains(&worker) {
        return Err(unknown(&id));
    }
    let template = node.templates.issue(worker.payout_address).await.ok();
    let coinbase = template.map(|template| hex::encode(template.coinbase().serialize()));
    Ok(read(&node, |view| {
        let found = node.workers.get(&worker, &ChainState::of(view));
        let (worker, hours) = found.ok_or_else(|| unknown(&id))?;
        let rate = |hour: Hour| HourRate {
            hashrate: hour.accepted_difficulty * difficulty::HASHES_PER_DIFFICULTY / HOUR,
            hour,
        };
        let history = hours.into_iter().map(rate).collect();
        Ok(ReadResponse::new(Json(WorkerDetail { worker, history, coinbase })).volatile())
    }))
}

fn parse(id: &str, hrp: Hrp) -> Result<Worker<Address>, Problem> {
    let (text, name) = id.split_once('.').unwrap_or((id, ""));
    Ok(Worker::new(transfer::address(text, hrp, "the worker")?, name))
}

fn unknown(id: &str) -> Problem {
    Problem::new(Kind::NOT_FOUND, format!("no worker `{}`", id.escape_debug()))
}
