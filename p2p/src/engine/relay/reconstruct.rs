//! The missing parts of announced blocks: transactions are requested from the announcer, and if that
//! fails the full block from other peers.

use super::blocks::Blocks;
use super::pending::{BlockRequest, PendingBlock, Stage, TransactionsRequest, matches_header};
use crate::engine::compact::{CompactError, Reconstruction};
use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior, RequestId};
use crate::message::{
    CompactBlock, MAX_BLOCK_TRANSACTIONS, RawBlock, Request, Response, ResponseError,
};
use chain::block::{self, Block, Header};
use libp2p::PeerId;
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;

/// The maximum time for one peer to respond before another is asked.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(3);
/// The delay until an announcer that has not validated its block yet is asked again; it doubles.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Most peers that are asked for the same block, a failed announcer included.
const MAX_ASKED: usize = 3;

impl Blocks {
    /// Requests missing transactions from the announcer.
    pub(super) fn request_transactions(
        &mut self,
        cx: &mut Context,
        mut pending: PendingBlock,
        (compact, reconstruction, positions): (&Arc<CompactBlock>, Reconstruction, Vec<u32>),
    ) {
        let announcer = pending.announcer();
        let Some(peer) = announcer.filter(|_| positions.len() <= MAX_BLOCK_TRANSACTIONS) else {
            return self.request_block(cx, pending, BlockRequest::new(compact, None));
        };
        let request =
            Request::BlockTransactions { block: pending.hash, positions: positions.clone() };
        pending.stage = Stage::AwaitingTransactions(Box::new(TransactionsRequest {
            compact: Arc::clone(compact),
            reconstruction,
            positions,
            request: self.send(cx, peer, pending.hash, request),
            deadline: cx.now.elapsed.saturating_add(PEER_TIMEOUT),
            retry_at: None,
            retry_delay: FIRST_RETRY_DELAY,
        }));
        self.pending.insert(pending.hash, pending);
    }

    fn send(
        &mut self,
        cx: &mut Context,
        peer: PeerId,
        block: block::Hash,
        request: Request,
    ) -> u64 {
        let number = self.requests.insert(peer, cx.now.elapsed, block);
        cx.request(RequestId::Relay(number), peer, request);
        number
    }

    /// Requests a full block from the next peer, or leaves it to sync.
    pub(super) fn request_block(
        &mut self,
        cx: &mut Context,
        mut pending: PendingBlock,
        mut request: BlockRequest,
    ) {
        let next = select_peer(cx, &pending, &request.asked);
        let Some(peer) = next.filter(|_| request.asked.len() < MAX_ASKED) else {
            return pending.leave_to_sync(cx);
        };
        let hashes = vec![pending.hash];
        request.requests.push(self.send(cx, peer, pending.hash, Request::Blocks { hashes }));
        request.asked.push(peer);
        request.deadline = cx.now.elapsed.saturating_add(PEER_TIMEOUT);
        pending.stage = Stage::AwaitingBlock(request);
        self.pending.insert(pending.hash, pending);
    }

    /// Processes the end of a request.
    pub(super) fn handle_response(
        &mut self,
        cx: &mut Context,
        number: u64,
        result: Result<Response, Failure>,
    ) {
        let Some(request) = self.requests.remove(number) else { return };
        let (peer, hash) = (request.peer, request.content);
        if let Err(failure) = &result {
            cx.report_failure(peer, *failure);
        }
        let Some(mut pending) = self.pending.remove(&hash) else { return };
        match pending.start_import() {
            Stage::AwaitingTransactions(request) if request.request == number => {
                self.handle_transactions(cx, pending, (*request, peer), result);
            }
            Stage::AwaitingBlock(request) if request.requests.contains(&number) => {
                self.handle_block(cx, pending, (request, peer), result);
            }
            other => {
                pending.stage = other;
                self.pending.insert(hash, pending);
            }
        }
    }

    fn handle_transactions(
        &mut self,
        cx: &mut Context,
        mut pending: PendingBlock,
        (mut request, peer): (TransactionsRequest, PeerId),
        result: Result<Response, Failure>,
    ) {
        let mut failed = Some(peer);
        let compact = Arc::clone(&request.compact);
        match result {
            Ok(Response::BlockTransactions(transactions)) => {
                let mut reconstruction = request.reconstruction;
                let filled = reconstruction.fill(transactions);
                match filled.and_then(|()| reconstruction.finish()) {
                    Ok(block) => return self.forward(cx, pending, Arc::new(block)),
                    Err(CompactError::WrongTransactions) => {
                        cx.report(peer, Misbehavior::WrongResponse);
                    }
                    Err(_) => failed = None,
                }
            }
            // A peer forwards a block before it has validated it, and serves it only afterwards.
            Ok(Response::Error(
                ResponseError::NotFound | ResponseError::Busy { .. } | ResponseError::RateLimited,
            )) => {
                request.retry_at = Some(cx.now.elapsed.saturating_add(request.retry_delay));
                request.retry_delay = request.retry_delay.saturating_mul(2);
                pending.stage = Stage::AwaitingTransactions(Box::new(request));
                self.pending.insert(pending.hash, pending);
                return;
            }
            Ok(Response::Error(ResponseError::BadRequest | ResponseError::AboveLimit)) | Err(_) => {
            }
            Ok(_) => cx.report(peer, Misbehavior::WrongResponse),
        }
        self.request_block(cx, pending, BlockRequest::new(&compact, failed));
    }

    fn handle_block(
        &mut self,
        cx: &mut Context,
        mut pending: PendingBlock,
        (request, peer): (BlockRequest, PeerId),
        result: Result<Response, Failure>,
    ) {
        match result {
            Ok(Response::Blocks(blocks)) if blocks.len() == 1 => {
                if let Some(raw) = blocks.into_iter().next().flatten() {
                    match decode(&raw, &pending.header) {
                        Some(block) => {
                            let served = (&*request.compact, peer);
                            return self.block_received(cx, pending, served, block);
                        }
                        None => cx.report(peer, Misbehavior::WrongBody),
                    }
                }
            }
            Ok(Response::Error(_)) | Err(_) => {}
            Ok(_) => cx.report(peer, Misbehavior::WrongResponse),
        }
        if request.asked.last() == Some(&peer) {
            self.request_block(cx, pending, request);
        } else {
            pending.stage = Stage::AwaitingBlock(request);
            self.pending.insert(pending.hash, pending);
        }
    }

    /// Imports a full block. Its announcement is forwarded only if other nodes can reconstruct the
    /// same block from it.
    fn block_received(
        &mut self,
        cx: &mut Context,
        mut pending: PendingBlock,
        (compact, peer): (&CompactBlock, PeerId),
        block: Block,
    ) {
        let prefilled: Vec<u32> = compact.prefilled.iter().map(|(position, _)| *position).collect();
        let is_faithful = CompactBlock::of(&block, compact.nonce, &prefilled) == *compact;
        pending.stage = Stage::Importing { served_by: Some(peer) };
        if is_faithful {
            self.forward(cx, pending, Arc::new(block));
        } else {
            pending.ignore(cx);
            self.import(cx, pending, Arc::new(block));
        }
    }

    /// Repeats requests that are due, or sends them to other peers.
    pub(super) fn retry_requests(&mut self, cx: &mut Context) {
        let now = cx.now.elapsed;
        let is_due = |pending: &PendingBlock| match &pending.stage {
            Stage::AwaitingTransactions(request) => {
                request.deadline <= now || request.retry_at.is_some_and(|at| at <= now)
            }
            Stage::AwaitingBlock(request) => request.deadline <= now,
            Stage::AwaitingParent(_) | Stage::AwaitingSync | Stage::Importing { .. } => false,
        };
        for mut pending in self.extract(is_due) {
            match pending.start_import() {
                Stage::AwaitingTransactions(request) => {
                    self.retry_transactions(cx, pending, *request);
                }
                Stage::AwaitingBlock(request) => self.request_block(cx, pending, request),
                Stage::AwaitingParent(_) | Stage::AwaitingSync | Stage::Importing { .. } => {}
            }
        }
    }

    fn retry_transactions(
        &mut self,
        cx: &mut Context,
        mut pending: PendingBlock,
        mut request: TransactionsRequest,
    ) {
        let announcer = pending.announcer();
        let is_in_time = request.deadline > cx.now.elapsed;
        let is_in_flight = request.retry_at.is_none();
        if !is_in_time && is_in_flight && select_peer(cx, &pending, announcer.as_slice()).is_none()
        {
            // A slow link, perhaps. The request has a timeout.
            request.deadline = Duration::MAX;
            pending.stage = Stage::AwaitingTransactions(Box::new(request));
            self.pending.insert(pending.hash, pending);
            return;
        }
        let Some(peer) = announcer.filter(|peer| is_in_time && cx.peers.contains_key(peer)) else {
            let request = BlockRequest::new(&request.compact, announcer);
            return self.request_block(cx, pending, request);
        };
        let positions = request.positions.clone();
        let message = Request::BlockTransactions { block: pending.hash, positions };
        request.request = self.send(cx, peer, pending.hash, message);
        request.retry_at = None;
        pending.stage = Stage::AwaitingTransactions(Box::new(request));
        self.pending.insert(pending.hash, pending);
    }
}

/// Decodes a block. `None` if it is malformed or not the block of this header.
fn decode(raw: &RawBlock, header: &Header) -> Option<Block> {
    let block = Block::decode(raw).ok()?;
    (block.header == *header && matches_header(&block)).then_some(block)
}

/// Selects the next peer to ask for a block: another announcer, else a random peer, of those above
/// the block's parent if there are any.
fn select_peer(cx: &mut Context, pending: &PendingBlock, asked: &[PeerId]) -> Option<PeerId> {
    let is_new = |peer: &PeerId| cx.peers.contains_key(peer) && !asked.contains(peer);
    if let Some(announcer) = pending.announcers.iter().find(|peer| is_new(peer)) {
        return Some(*announcer);
    }
    let height = cx.chain.find(&pending.header.previous)?.tip.height;
    let others = cx.peers.iter().filter(|(peer, _)| is_new(peer));
    let (high, low): (Vec<_>, Vec<_>) = others.partition(|(_, claimed)| **claimed > height);
    let candidates = if high.is_empty() { low } else { high };
    if candidates.is_empty() {
        return None;
    }
    Some(*candidates[cx.rng.random_range(..candidates.len())].0)
}
