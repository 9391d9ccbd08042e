//! The responses to requests about the chain and the mempool, with bounded work for any request.

use crate::message::{
    MAX_BLOCK_TRANSACTIONS, MAX_BLOCKS, MAX_HEADERS, MAX_LOCATOR, MAX_MEMPOOL_ITEMS, RawBlock,
    Request, Response, ResponseError, SOFT_BLOCKS_BYTES,
};
use crate::view::ChainView;
use chain::block::{self, Block, Height};
use chain::tx::{Id, Transaction, Transfer};

/// The greatest depth below the tip at which a block of another branch is served. Older ones would
/// reveal which branches this node has seen, and so identify it.
pub const MAX_STALE_DEPTH: u32 = 288;

/// Seconds after which to try again if a reorganisation interferes.
const RETRY_AFTER: u8 = 1;

/// Returns the response to a request about the chain or the mempool. `Hello` and `Addresses` are about
/// neither and have other handlers.
pub fn answer(chain: &dyn ChainView, request: &Request) -> Response {
    let response = match request {
        Request::Headers { locator, stop, max } => headers(chain, locator, stop, *max),
        Request::Blocks { hashes } => blocks(chain, hashes),
        Request::BlockTransactions { block, positions } => transactions(chain, block, positions),
        Request::MempoolIds { from } => {
            let (ids, next) = chain.mempool_page(*from, MAX_MEMPOOL_ITEMS);
            Ok(Response::MempoolIds { ids, next })
        }
        Request::MempoolTransfers { ids } => transfers(chain, ids),
        Request::Hello(_) | Request::Addresses { .. } => Err(ResponseError::BadRequest),
    };
    response.unwrap_or_else(Response::Error)
}

/// Returns whether the response to a request has at most a number of bytes, without preparing it. That of
/// any other request than one for blocks counts as having.
pub fn is_within(chain: &dyn ChainView, request: &Request, max_bytes: usize) -> bool {
    let Request::Blocks { hashes } = request else { return true };
    let mut left = max_bytes;
    hashes.iter().take(MAX_BLOCKS).all(|hash| {
        let bytes = chain.find(hash).map_or(0, |known| known.bytes);
        let is_within = bytes <= left;
        left = left.saturating_sub(bytes);
        is_within
    })
}

/// Headers after the first block of the locator that is in the best chain, or after genesis.
fn headers(
    chain: &dyn ChainView,
    locator: &[block::Hash],
    stop: &block::Hash,
    max: u16,
) -> Result<Response, ResponseError> {
    let max = usize::from(max);
    if locator.len() > MAX_LOCATOR || max > MAX_HEADERS {
        return Err(ResponseError::BadRequest);
    }
    let best = |hash: &block::Hash| chain.find(hash).filter(|known| known.is_best);
    let known = locator.iter().find_map(best).map(|known| known.tip);
    let genesis = (chain.params().genesis_hash(), Height::GENESIS);
    let (start, height) = known.map_or(genesis, |tip| (tip.hash, tip.height));
    let last = best(stop).map_or(u32::MAX, |known| known.tip.height.get());
    let wanted = usize::try_from(last.saturating_sub(height.get())).unwrap_or(usize::MAX);
    let Some(from) = height.next() else { return Ok(Response::Headers(Vec::new())) };
    let headers = chain.headers(from, max.min(wanted));
    // After a reorganisation between the two reads, the headers do not continue the locator.
    if headers.first().is_some_and(|first| first.previous != start) {
        return Err(ResponseError::Busy { retry_after: RETRY_AFTER });
    }
    Ok(Response::Headers(headers))
}

/// The first of the blocks, up to the soft limit of bytes.
fn blocks(chain: &dyn ChainView, hashes: &[block::Hash]) -> Result<Response, ResponseError> {
    if hashes.is_empty() || hashes.len() > MAX_BLOCKS {
        return Err(ResponseError::BadRequest);
    }
    let (mut found, mut bytes) = (Vec::new(), 0_usize);
    for hash in hashes {
        if bytes >= SOFT_BLOCKS_BYTES {
            break;
        }
        let block = served_block(chain, hash);
        bytes = bytes.saturating_add(block.as_ref().map_or(0, |block| block.len()));
        found.push(block);
    }
    Ok(Response::Blocks(found))
}

fn transactions(
    chain: &dyn ChainView,
    hash: &block::Hash,
    positions: &[u32],
) -> Result<Response, ResponseError> {
    if positions.is_empty() || positions.len() > MAX_BLOCK_TRANSACTIONS {
        return Err(ResponseError::BadRequest);
    }
    let block = served_block(chain, hash).ok_or(ResponseError::NotFound)?;
    let block = Block::decode(&block).map_err(|_| ResponseError::NotFound)?;
    let mut left: Vec<Option<Transaction>> = block.transactions.into_iter().map(Some).collect();
    let mut extract = |position: &u32| left.get_mut(usize::try_from(*position).ok()?)?.take();
    let found: Option<Vec<Transaction>> = positions.iter().map(&mut extract).collect();
    found.map(Response::BlockTransactions).ok_or(ResponseError::BadRequest)
}

/// A valid block of the best chain, or of another branch near the tip.
fn served_block(chain: &dyn ChainView, hash: &block::Hash) -> Option<RawBlock> {
    let known = chain.find(hash).filter(|known| !known.is_invalid)?;
    let depth = chain.tip().height.get().saturating_sub(known.tip.height.get());
    if known.is_best || depth <= MAX_STALE_DEPTH { chain.block(hash) } else { None }
}

fn transfers(chain: &dyn ChainView, ids: &[Id]) -> Result<Response, ResponseError> {
    if ids.is_empty() || ids.len() > MAX_MEMPOOL_ITEMS {
        return Err(ResponseError::BadRequest);
    }
    let found = ids.iter().filter_map(|id| chain.transfer(id));
    Ok(Response::MempoolTransfers(found.map(|transfer| Transfer::clone(&transfer)).collect()))
}

#[cfg(test)]
mod tests;
