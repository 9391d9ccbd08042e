//! What waits for a block, and what it takes to be among the next ones.

use crate::api::http::content::Json;
use crate::api::http::extract::Query;
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::Problem;
use crate::api::http::response::{Answer, read, read_aside};
use crate::api::openapi::route::{Table, get};
use crate::api::routes::transactions::Transaction;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        get("/v1/mempool", "What waits for a block, as a whole", pool).shows::<Pool>(),
        get("/v1/mempool/transactions", "What waits for a block", transactions)
            .lists::<Transaction>(&[List::Waiting]),
        get("/v1/fees", "Rates that bring a transfer into one of the next blocks", fees)
            .says("By the number of blocks; base units per byte.")
            .shows::<Rates>(),
    ])
}

/// Rates by the number of blocks.
pub type Rates = BTreeMap<String, u64>;

/// Numbers of blocks for which a rate is told.
const HORIZONS: [u32; 3] = [1, 3, 6];

/// The pool. Rates in base units per byte.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Mempool")]
pub struct Pool {
    /// Transfers.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that wait for an earlier nonce.
    pub queued: usize,
    /// The least rate at which another one enters.
    pub min_fee_rate: u64,
    /// Transfers by rate, the cheapest first.
    pub fee_histogram: Vec<Bucket>,
}

/// Transfers whose rates are alike.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "FeeBucket")]
pub struct Bucket {
    /// The lowest rate that belongs here.
    pub rate: u64,
    /// How many transfers.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The pool as a whole.
pub async fn pool(State(node): State<Arc<NodeState>>) -> Response {
    read(&node, |view| {
        let mempool = view.mempool();
        let buckets = mempool.fee_histogram().map(|bucket| Bucket {
            rate: bucket.rate,
            count: bucket.count,
            bytes: bucket.bytes,
        });
        let pool = Pool {
            count: mempool.count(),
            bytes: mempool.bytes(),
            queued: mempool.queued(),
            min_fee_rate: mempool.min_fee_rate(),
            fee_histogram: buckets.collect(),
        };
        Ok(Answer::new(Json(pool)).changing())
    })
}

/// What waits, the newest first. A page goes on where the last one ended, whatever came or went.
pub async fn transactions(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::Waiting])?);
    Ok(read(&node, |view| {
        let mut entries = view.mempool().newest_first(cursor.map(|cursor| cursor.position));
        let mut last = 0;
        let shown = entries.by_ref().take(limit).inspect(|entry| last = entry.arrival);
        let items = shown.map(|entry| Transaction::waiting(&entry, view)).collect();
        let bound = view.tip().hash;
        let more = entries.next().is_some();
        let next = more.then(|| Cursor { list: List::Waiting, bound, position: last }.encode());
        Ok(Answer::page(Page { items, next }, &uri, limit).changing())
    }))
}

/// Rates that bring a transfer into one of so many next blocks.
pub async fn fees(State(node): State<Arc<NodeState>>) -> Response {
    read_aside(node, |view| {
        let max_block_bytes = view.params().spec().max_block_bytes;
        let rate = |blocks| view.mempool().fee_rate_for(blocks, max_block_bytes);
        let rates: Rates =
            HORIZONS.into_iter().map(|blocks| (blocks.to_string(), rate(blocks))).collect();
        Ok(Answer::new(Json(rates)).changing())
    })
    .await
}
