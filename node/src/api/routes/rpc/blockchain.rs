//! Methods that read the chain and the mempool.

use super::context::Context;
use super::error::Error;
use super::params::Params;
use super::rest;
use crate::api::http::extract::Query;
use crate::api::http::page::{Page, PageQuery};
use crate::api::http::problem::Problem;
use crate::api::http::response::blocking;
use crate::api::routes::blocks::{BlockId, Summary, hash};
use crate::api::routes::chain::{self, Chain, SyncState, Tip};
use crate::api::routes::mempool::{self, Pool};
use ::chain::ledger::Reader;
use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};
use std::sync::Arc;

/// Base units per coin, times bytes per kilobyte: Bitcoin Core's unit of fee rates is coins per
/// kilobyte.
const UNITS_PER_COIN: f64 = 100_000_000.0;
const BYTES_PER_KILOBYTE: f64 = 1_000.0;

pub(super) async fn blockchain_info(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    let chain: Chain = rest::decode(chain::chain(State(Arc::clone(&context.node))).await).await?;
    Ok(json!({
        "chain": chain.network,
        "blocks": chain.height,
        "headers": chain.sync.best_header_height,
        "bestblockhash": chain.tip,
        "bits": chain.bits,
        "target": chain.target,
        "difficulty": chain.difficulty,
        "time": chain.tip_time,
        "verificationprogress": chain.sync.progress,
        "initialblockdownload": chain.sync.state != SyncState::Synced,
        "chainwork": chain.chain_work,
        "pruned": false,
        "warnings": chain.waiting.unwrap_or_default(),
    }))
}

pub(super) async fn block_count(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    Ok(context.node.reader.view().tip().height.get().into())
}

pub(super) async fn best_block_hash(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    Ok(context.node.reader.view().tip().hash.to_string().into())
}

pub(super) async fn block_hash(context: &Context, params: Params<'_>) -> Result<Value, Error> {
    let height: i64 = params.require("height")?;
    let view = context.node.reader.view();
    let block =
        u64::try_from(height).ok().and_then(|height| BlockId::Height(height).find(&view).ok());
    let block = block.ok_or_else(|| {
        let message = format!("block height {height} out of range");
        Error::new(Error::INVALID_PARAMETER, message)
    })?;
    Ok(block.hash.to_string().into())
}

/// The block that a parameter names.
fn block_id(params: &Params<'_>) -> Result<BlockId, Error> {
    let text: String = params.require("blockhash")?;
    hash(&text).map(BlockId::Hash).ok_or_else(|| {
        let message = "blockhash must be 64 lower-case hexadecimal digits";
        Error::new(Error::INVALID_PARAMETER, message)
    })
}

pub(super) async fn block_header(context: &Context, params: Params<'_>) -> Result<Value, Error> {
    let (id, verbose) = (block_id(&params)?, params.get("verbose")?.unwrap_or(true));
    let node = &context.node;
    let permit = node.blocking_reads.acquire().await.expect("the semaphore is never closed");
    let reader = node.reader.clone();
    let header = blocking(move || header_json(&reader, &id, verbose)).await?;
    drop(permit);
    header
}

/// Reads a header from the disk.
fn header_json(reader: &Reader, id: &BlockId, verbose: bool) -> Result<Value, Error> {
    let view = reader.view();
    let block = id.find(&view)?;
    if !verbose {
        let header = view.header(block).map_err(Problem::from)?;
        return Ok(hex::encode(header.encode()).into());
    }
    let summary = Summary::of(&view, block)?;
    let mut header = json!({
        "hash": summary.hash,
        // As of Bitcoin Core.
        "confirmations": if summary.in_best_chain { summary.confirmations.into() } else { json!(-1) },
        "height": summary.height,
        "version": summary.version,
        "versionHex": format!("{:08x}", summary.version),
        "merkleroot": summary.merkle_root,
        "time": summary.time,
        "nonce": summary.nonce,
        "bits": summary.bits,
        "difficulty": summary.difficulty,
        "chainwork": summary.chain_work,
        "nTx": summary.transaction_count,
    });
    if summary.height > 0 {
        header["previousblockhash"] = summary.previous.into();
    }
    let next = block.height.next().filter(|_| summary.in_best_chain);
    if let Some(next) = next.and_then(|height| view.at_height(height)) {
        header["nextblockhash"] = next.hash.to_string().into();
    }
    Ok(header)
}

pub(super) async fn chain_tips(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    let (query, uri) = (PageQuery::first(), Uri::from_static("/v1/chain/tips"));
    let node = State(Arc::clone(&context.node));
    let tips = chain::tips(node, uri, Query(query)).await;
    let tips: Page<Tip> = rest::decode_result(tips).await?;
    let tips = tips.items.into_iter().map(|tip| {
        json!({
            "height": tip.height,
            "hash": tip.hash,
            "branchlen": tip.branch_length,
            "status": tip.status,
        })
    });
    Ok(tips.collect())
}

pub(super) async fn mempool_info(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    let pool: Pool = rest::decode(mempool::pool(State(Arc::clone(&context.node))).await).await?;
    let rate = |rate: u64| rate as f64 * BYTES_PER_KILOBYTE / UNITS_PER_COIN;
    Ok(json!({
        "loaded": true,
        "size": pool.count,
        "bytes": pool.bytes,
        "mempoolminfee": rate(pool.min_fee_rate),
    }))
}
