//! What an announced block lacks: its missing transactions from whoever announced it, and if that
//! fails the whole block from others.

use super::blocks::Blocks;
use super::pending::{Fetching, Missing, Pending, Stage, belongs_together, give_up, ignore};
use crate::engine::compact::{CompactError, Reconstruction};
use crate::engine::context::Context;
use crate::engine::machine::{Failure, Misbehavior, RequestId};
use crate::message::{
    CompactBlock, MAX_BLOCK_TRANSACTIONS, RawBlock, Request, Response, ResponseError,
};
use crate::view::ChainView;
use chain::block::{self, Block, Header};
use chain::tx::Transaction;
use libp2p::PeerId;
use rand::RngExt;
use std::sync::Arc;
use std::time::Duration;

/// How long one peer may take before another is asked.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);
/// Until whoever announced a block but has not judged it yet is asked again; then twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Most peers asked for the same block, its announcer included.
const MAX_ASKED: usize = 3;

impl Blocks {
    /// Asks whoever announced a block for the transactions that are not here.
    pub(super) fn ask(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (compact, begun, positions): (&Arc<CompactBlock>, Reconstruction, Vec<u32>),
    ) {
        let Some(peer) = pending.announcer().filter(|_| positions.len() <= MAX_BLOCK_TRANSACTIONS)
        else {
            return self.fetch(cx, hash, pending, Fetching::new(compact));
        };
        let what = Request::BlockTransactions { block: hash, positions: positions.clone() };
        let request = self.request(cx, peer, hash, what);
        pending.stage = Stage::Missing(Box::new(Missing {
            compact: Arc::clone(compact),
            begun,
            positions,
            request,
            until: cx.now.elapsed.saturating_add(PATIENCE),
            again_at: None,
            pause: FIRST_PAUSE,
        }));
        self.pending.insert(hash, pending);
    }

    fn request(
        &mut self,
        cx: &mut Context<impl ChainView>,
        peer: PeerId,
        hash: block::Hash,
        what: Request,
    ) -> u64 {
        self.next_request += 1;
        self.asked.insert(self.next_request, (peer, hash));
        cx.request(RequestId::Relay(self.next_request), peer, what);
        self.next_request
    }

    /// Asks the next peer for a whole block, or leaves it to sync.
    pub(super) fn fetch(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        mut fetching: Fetching,
    ) {
        let next = next_to_ask(cx, &pending, &fetching.asked);
        let Some(peer) = next.filter(|_| fetching.asked.len() < MAX_ASKED) else {
            return give_up(cx, pending);
        };
        let request = self.request(cx, peer, hash, Request::Blocks { hashes: vec![hash] });
        fetching.asked.push(peer);
        fetching.requests.push(request);
        fetching.until = cx.now.elapsed.saturating_add(PATIENCE);
        pending.stage = Stage::Fetching(fetching);
        self.pending.insert(hash, pending);
    }

    /// A request came to its end.
    pub(super) fn replied(
        &mut self,
        cx: &mut Context<impl ChainView>,
        request: u64,
        result: Result<Response, Failure>,
    ) {
        let Some((peer, hash)) = self.asked.remove(&request) else { return };
        if let Err(failure) = &result {
            cx.report_failure(peer, *failure);
        }
        let Some(mut pending) = self.pending.remove(&hash) else { return };
        let importing = Stage::Importing { served_by: None };
        match std::mem::replace(&mut pending.stage, importing) {
            Stage::Missing(missing) if missing.request == request => {
                self.transactions_came(cx, hash, pending, (*missing, peer), result);
            }
            Stage::Fetching(fetching) if fetching.requests.contains(&request) => {
                self.block_came(cx, hash, pending, (fetching, peer), result);
            }
            other => {
                pending.stage = other;
                self.pending.insert(hash, pending);
            }
        }
    }

    fn transactions_came(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (mut missing, peer): (Missing, PeerId),
        result: Result<Response, Failure>,
    ) {
        let compact = Arc::clone(&missing.compact);
        match result {
            Ok(Response::BlockTransactions(transactions)) => {
                return match fill(missing, transactions) {
                    Ok(block) => self.forward(cx, hash, pending, Arc::new(block)),
                    Err(CompactError::WrongTransactions) => {
                        cx.report(peer, Misbehavior::WrongReply);
                        self.fetch(cx, hash, pending, Fetching::without(&compact, Some(peer)));
                    }
                    Err(_) => self.fetch(cx, hash, pending, Fetching::new(&compact)),
                };
            }
            // Whoever forwards a block may not have judged it yet, and serves it only then.
            Ok(Response::Error(
                ResponseError::NotFound | ResponseError::Busy { .. } | ResponseError::RateLimited,
            )) => {
                missing.again_at = Some(cx.now.elapsed.saturating_add(missing.pause));
                missing.pause = missing.pause.saturating_mul(2);
                pending.stage = Stage::Missing(Box::new(missing));
                self.pending.insert(hash, pending);
                return;
            }
            Ok(Response::Error(ResponseError::BadRequest)) | Err(_) => {}
            Ok(_) => cx.report(peer, Misbehavior::WrongReply),
        }
        self.fetch(cx, hash, pending, Fetching::without(&compact, Some(peer)));
    }

    fn block_came(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (fetching, peer): (Fetching, PeerId),
        result: Result<Response, Failure>,
    ) {
        match result {
            Ok(Response::Blocks(blocks)) if blocks.len() == 1 => {
                let raw = blocks.into_iter().next().flatten();
                match raw.as_ref().map(|raw| decode(raw, &pending.header)) {
                    Some(Some(block)) => {
                        return self.has_come(cx, hash, pending, (&fetching.compact, peer), block);
                    }
                    Some(None) => cx.report(peer, Misbehavior::WrongBody),
                    None => {}
                }
            }
            Ok(Response::Error(_)) | Err(_) => {}
            Ok(_) => cx.report(peer, Misbehavior::WrongReply),
        }
        if fetching.asked.last() == Some(&peer) {
            self.fetch(cx, hash, pending, fetching);
        } else {
            pending.stage = Stage::Fetching(fetching);
            self.pending.insert(hash, pending);
        }
    }

    /// The whole block has come. Its announcement is forwarded only if others can make the same
    /// block of it.
    fn has_come(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (compact, peer): (&CompactBlock, PeerId),
        block: Block,
    ) {
        let prefilled: Vec<u32> = compact.prefilled.iter().map(|(position, _)| *position).collect();
        let is_honest = CompactBlock::of(&block, compact.nonce, &prefilled) == *compact;
        pending.stage = Stage::Importing { served_by: Some(peer) };
        if is_honest {
            self.forward(cx, hash, pending, Arc::new(block));
        } else {
            ignore(cx, &pending);
            pending.announcement = None;
            self.import(cx, hash, pending, Arc::new(block));
        }
    }

    /// Asks again, or others, where it takes too long.
    pub(super) fn hurry(&mut self, cx: &mut Context<impl ChainView>) {
        let now = cx.now.elapsed;
        let is_due = |pending: &Pending| match &pending.stage {
            Stage::Missing(missing) => {
                missing.until <= now || missing.again_at.is_some_and(|at| at <= now)
            }
            Stage::Fetching(fetching) => fetching.until <= now,
            Stage::Held(_) | Stage::Importing { .. } => false,
        };
        let due = self.pending.iter().filter(|(_, pending)| is_due(pending));
        let due: Vec<block::Hash> = due.map(|(hash, _)| *hash).collect();
        for hash in due {
            let Some(mut pending) = self.pending.remove(&hash) else { continue };
            let importing = Stage::Importing { served_by: None };
            match std::mem::replace(&mut pending.stage, importing) {
                Stage::Missing(missing) => self.hurry_missing(cx, hash, pending, *missing),
                Stage::Fetching(fetching) => self.fetch(cx, hash, pending, fetching),
                Stage::Held(_) | Stage::Importing { .. } => {}
            }
        }
    }

    fn hurry_missing(
        &mut self,
        cx: &mut Context<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        mut missing: Missing,
    ) {
        let announcer = pending.announcer();
        let asks_again =
            announcer.filter(|peer| missing.until > cx.now.elapsed && cx.peers.contains_key(peer));
        let Some(peer) = asks_again else {
            let fetching = Fetching::without(&missing.compact, announcer);
            return self.fetch(cx, hash, pending, fetching);
        };
        let positions = missing.positions.clone();
        let what = Request::BlockTransactions { block: hash, positions };
        missing.request = self.request(cx, peer, hash, what);
        missing.again_at = None;
        pending.stage = Stage::Missing(Box::new(missing));
        self.pending.insert(hash, pending);
    }
}

fn fill(missing: Missing, transactions: Vec<Transaction>) -> Result<Block, CompactError> {
    let mut begun = missing.begun;
    begun.fill(transactions)?;
    begun.finish()
}

/// The block, if it is whole and the one of this header.
fn decode(raw: &RawBlock, header: &Header) -> Option<Block> {
    let block = Block::decode(raw).ok()?;
    (block.header == *header && belongs_together(&block)).then_some(block)
}

/// Who should have a block: others that announced it, those who are as high, anybody.
fn next_to_ask(
    cx: &mut Context<impl ChainView>,
    pending: &Pending,
    asked: &[PeerId],
) -> Option<PeerId> {
    let mut sources = pending.sources.iter();
    let is_new = |peer: &PeerId| cx.peers.contains_key(peer) && !asked.contains(peer);
    if let Some(source) = sources.find(|peer| is_new(peer)) {
        return Some(*source);
    }
    let height = cx.chain.find(&pending.header.previous)?.tip.height;
    let others = cx.peers.iter().filter(|(peer, _)| is_new(peer));
    let (high, low): (Vec<_>, Vec<_>) = others.partition(|(_, told)| **told > height);
    let pick = if high.is_empty() { low } else { high };
    if pick.is_empty() {
        return None;
    }
    Some(*pick[cx.rng.random_range(..pick.len())].0)
}
