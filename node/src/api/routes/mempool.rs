//! The mempool and fee estimates.

use crate::api::http::content::Json;
use crate::api::http::extract::{Path, Query};
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{ReadResponse, read, read_blocking};
use crate::api::openapi::route::{Routes, delete, get};
use crate::api::openapi::schema::TransactionId;
use crate::api::routes::transactions::{self, Transaction};
use crate::auth::Token;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn routes(token: &Token) -> Routes {
    let protected = Routes::new([delete(
        "/v1/mempool/transactions/{id}",
        "Remove a transfer from the mempool of this node",
        remove,
    )
    .description(
        "Other nodes are not affected, and may send the transfer again. Later transfers of the sender \
         wait for another one with its nonce.",
    )
    .no_content("The transfer was dropped, with the reason `removed`.")
    .errors(&[Kind::NOT_FOUND, Kind::DISK_FULL])]);
    Routes::new([
        get("/v1/mempool", "Get the state of the mempool", pool).returns::<Pool>(),
        get("/v1/mempool/transactions", "List unconfirmed transactions", transactions)
            .returns_page::<Transaction>(&[List::Mempool]),
        get("/v1/fees", "Estimate fee rates", fees)
            .description(
                "Maps a confirmation target in blocks to a fee rate in base units per byte.",
            )
            .returns::<Rates>(),
    ])
    .merge(protected.protected(token))
}

/// Fee rates in base units per byte, by confirmation target in blocks.
pub type Rates = BTreeMap<String, u64>;

/// Confirmation targets of fee estimates, in blocks.
const HORIZONS: [u32; 3] = [1, 3, 6];

/// The state of the mempool. Fee rates are in base units per byte.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Mempool")]
pub struct Pool {
    /// The number of transfers.
    pub count: usize,
    /// The size of the transfers in bytes.
    pub bytes: u64,
    /// The number of transfers behind a missing earlier nonce.
    pub queued: usize,
    /// The lowest fee rate at which another transfer is accepted.
    pub min_fee_rate: u64,
    /// The distribution of fee rates, lowest first.
    pub fee_histogram: Vec<Bucket>,
}

/// A range of fee rates.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "FeeBucket")]
pub struct Bucket {
    /// The lowest fee rate of the range.
    pub rate: u64,
    /// The number of transfers.
    pub count: usize,
    /// The size of the transfers in bytes.
    pub bytes: u64,
}

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
        Ok(ReadResponse::new(Json(pool)).volatile())
    })
}

/// Newest first. The cursor stays valid while transfers are added and removed.
pub async fn transactions(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::Mempool])?);
    Ok(read(&node, |view| {
        let mut entries = view.mempool().newest_first(cursor.map(|cursor| cursor.position));
        let mut last = 0;
        let shown = entries.by_ref().take(limit).inspect(|entry| last = entry.arrival);
        let items = shown.map(|entry| Transaction::unconfirmed(&entry, view)).collect();
        let bound = view.tip().hash;
        let more = entries.next().is_some();
        let next = more.then(|| Cursor { list: List::Mempool, bound, position: last }.encode());
        Ok(ReadResponse::page(Page { items, next }, &uri, limit).volatile())
    }))
}

pub async fn remove(
    State(node): State<Arc<NodeState>>,
    Path(TransactionId(id)): Path<TransactionId>,
) -> Result<StatusCode, Problem> {
    let id = transactions::parse(&id)?;
    match node.writer.remove_transfer(id).await?? {
        Some(_) => Ok(StatusCode::NO_CONTENT),
        None => Err(Problem::new(Kind::NOT_FOUND, format!("no transfer {id} in the mempool"))),
    }
}

pub async fn fees(State(node): State<Arc<NodeState>>) -> Response {
    read_blocking(node, |view| {
        let max_block_bytes = view.params().spec().max_block_bytes;
        let rate = |blocks| view.mempool().fee_rate_for(blocks, max_block_bytes);
        let rates: Rates =
            HORIZONS.into_iter().map(|blocks| (blocks.to_string(), rate(blocks))).collect();
        Ok(ReadResponse::new(Json(rates)).volatile())
    })
    .await
}
