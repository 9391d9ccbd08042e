//! What an announced block lacks: its missing transactions from whoever announced it, and if that
//! fails the whole block from others.

use super::blocks::{Blocks, Pending, Stage, belongs_together, give_up, ignore};
use crate::compact::{CompactError, Reconstruction};
use crate::engine::step::Step;
use crate::engine::{Conduct, Failure, RequestId};
use crate::message::{CompactBlock, MAX_BLOCK_TRANSACTIONS, RawBlock, Refusal, Reply, Request};
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

/// Some transactions are asked for.
pub(super) struct Missing {
    compact: Arc<CompactBlock>,
    begun: Reconstruction,
    positions: Vec<u32>,
    request: u64,
    /// When others are asked.
    until: Duration,
    /// When to ask again, if the answer was "not now".
    again_at: Option<Duration>,
    pause: Duration,
}

/// The whole block is asked for.
pub(super) struct Fetching {
    compact: Arc<CompactBlock>,
    /// Who was asked, the last one last.
    asked: Vec<PeerId>,
    requests: Vec<u64>,
    /// When the next one is asked.
    until: Duration,
}

impl Fetching {
    /// From anybody, whoever announced it first.
    pub(super) fn new(compact: &Arc<CompactBlock>) -> Fetching {
        let compact = Arc::clone(compact);
        Fetching { compact, asked: Vec::new(), requests: Vec::new(), until: Duration::ZERO }
    }

    /// From others than whoever failed.
    fn without(compact: &Arc<CompactBlock>, failed: Option<PeerId>) -> Fetching {
        Fetching { asked: failed.into_iter().collect(), ..Fetching::new(compact) }
    }
}

impl Blocks {
    /// Asks whoever announced a block for the transactions that are not here.
    pub(super) fn ask(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (compact, begun, positions): (&Arc<CompactBlock>, Reconstruction, Vec<u32>),
    ) {
        let Some(peer) = pending.announcer().filter(|_| positions.len() <= MAX_BLOCK_TRANSACTIONS)
        else {
            return self.fetch(step, hash, pending, Fetching::new(compact));
        };
        let what = Request::BlockTransactions { block: hash, positions: positions.clone() };
        let request = self.request(step, peer, hash, what);
        pending.stage = Stage::Missing(Box::new(Missing {
            compact: Arc::clone(compact),
            begun,
            positions,
            request,
            until: step.now.elapsed.saturating_add(PATIENCE),
            again_at: None,
            pause: FIRST_PAUSE,
        }));
        self.pending.insert(hash, pending);
    }

    fn request(
        &mut self,
        step: &mut Step<impl ChainView>,
        peer: PeerId,
        hash: block::Hash,
        what: Request,
    ) -> u64 {
        self.next_request += 1;
        self.asked.insert(self.next_request, (peer, hash));
        step.ask(RequestId::Relay(self.next_request), peer, what);
        self.next_request
    }

    /// Asks the next peer for a whole block, or leaves it to sync.
    pub(super) fn fetch(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        mut fetching: Fetching,
    ) {
        let next = next_to_ask(step, &pending, &fetching.asked);
        let Some(peer) = next.filter(|_| fetching.asked.len() < MAX_ASKED) else {
            return give_up(step, pending);
        };
        let request = self.request(step, peer, hash, Request::Blocks { hashes: vec![hash] });
        fetching.asked.push(peer);
        fetching.requests.push(request);
        fetching.until = step.now.elapsed.saturating_add(PATIENCE);
        pending.stage = Stage::Fetching(fetching);
        self.pending.insert(hash, pending);
    }

    /// A request came to its end.
    pub(super) fn replied(
        &mut self,
        step: &mut Step<impl ChainView>,
        request: u64,
        result: Result<Reply, Failure>,
    ) {
        let Some((peer, hash)) = self.asked.remove(&request) else { return };
        if let Err(failure) = &result {
            step.blame(peer, *failure);
        }
        let Some(mut pending) = self.pending.remove(&hash) else { return };
        let importing = Stage::Importing { served_by: None };
        match std::mem::replace(&mut pending.stage, importing) {
            Stage::Missing(missing) if missing.request == request => {
                self.transactions_came(step, hash, pending, (*missing, peer), result);
            }
            Stage::Fetching(fetching) if fetching.requests.contains(&request) => {
                self.block_came(step, hash, pending, (fetching, peer), result);
            }
            other => {
                pending.stage = other;
                self.pending.insert(hash, pending);
            }
        }
    }

    fn transactions_came(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (mut missing, peer): (Missing, PeerId),
        result: Result<Reply, Failure>,
    ) {
        let compact = Arc::clone(&missing.compact);
        match result {
            Ok(Reply::BlockTransactions(transactions)) => {
                return match fill(missing, transactions) {
                    Ok(block) => self.forward(step, hash, pending, Arc::new(block)),
                    Err(CompactError::WrongTransactions) => {
                        step.report(peer, Conduct::WrongReply);
                        self.fetch(step, hash, pending, Fetching::without(&compact, Some(peer)));
                    }
                    Err(_) => self.fetch(step, hash, pending, Fetching::new(&compact)),
                };
            }
            // Whoever forwards a block may not have judged it yet, and serves it only then.
            Ok(Reply::Refused(Refusal::NotFound | Refusal::Busy { .. } | Refusal::RateLimited)) => {
                missing.again_at = Some(step.now.elapsed.saturating_add(missing.pause));
                missing.pause = missing.pause.saturating_mul(2);
                pending.stage = Stage::Missing(Box::new(missing));
                self.pending.insert(hash, pending);
                return;
            }
            Ok(Reply::Refused(Refusal::BadRequest)) | Err(_) => {}
            Ok(_) => step.report(peer, Conduct::WrongReply),
        }
        self.fetch(step, hash, pending, Fetching::without(&compact, Some(peer)));
    }

    fn block_came(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (fetching, peer): (Fetching, PeerId),
        result: Result<Reply, Failure>,
    ) {
        match result {
            Ok(Reply::Blocks(blocks)) if blocks.len() == 1 => {
                let raw = blocks.into_iter().next().flatten();
                match raw.as_ref().map(|raw| decode(raw, &pending.header)) {
                    Some(Some(block)) => {
                        return self.has_come(
                            step,
                            hash,
                            pending,
                            (&fetching.compact, peer),
                            block,
                        );
                    }
                    Some(None) => step.report(peer, Conduct::WrongBody),
                    None => {}
                }
            }
            Ok(Reply::Refused(_)) | Err(_) => {}
            Ok(_) => step.report(peer, Conduct::WrongReply),
        }
        if fetching.asked.last() == Some(&peer) {
            self.fetch(step, hash, pending, fetching);
        } else {
            pending.stage = Stage::Fetching(fetching);
            self.pending.insert(hash, pending);
        }
    }

    /// The whole block has come. Its announcement is forwarded only if others can make the same
    /// block of it.
    fn has_come(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        (compact, peer): (&CompactBlock, PeerId),
        block: Block,
    ) {
        let prefilled: Vec<u32> = compact.prefilled.iter().map(|(position, _)| *position).collect();
        let is_honest = CompactBlock::of(&block, compact.nonce, &prefilled) == *compact;
        pending.stage = Stage::Importing { served_by: Some(peer) };
        if is_honest {
            self.forward(step, hash, pending, Arc::new(block));
        } else {
            ignore(step, &pending);
            pending.announcement = None;
            self.import(step, hash, pending, Arc::new(block));
        }
    }

    /// Asks again, or others, where it takes too long.
    pub(super) fn hurry(&mut self, step: &mut Step<impl ChainView>) {
        let now = step.now.elapsed;
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
                Stage::Missing(missing) => self.hurry_missing(step, hash, pending, *missing),
                Stage::Fetching(fetching) => self.fetch(step, hash, pending, fetching),
                Stage::Held(_) | Stage::Importing { .. } => {}
            }
        }
    }

    fn hurry_missing(
        &mut self,
        step: &mut Step<impl ChainView>,
        hash: block::Hash,
        mut pending: Pending,
        mut missing: Missing,
    ) {
        let announcer = pending.announcer();
        let asks_again = announcer
            .filter(|peer| missing.until > step.now.elapsed && step.peers.contains_key(peer));
        let Some(peer) = asks_again else {
            let fetching = Fetching::without(&missing.compact, announcer);
            return self.fetch(step, hash, pending, fetching);
        };
        let positions = missing.positions.clone();
        let what = Request::BlockTransactions { block: hash, positions };
        missing.request = self.request(step, peer, hash, what);
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
    step: &mut Step<impl ChainView>,
    pending: &Pending,
    asked: &[PeerId],
) -> Option<PeerId> {
    let mut sources = pending.sources.iter();
    let is_new = |peer: &PeerId| step.peers.contains_key(peer) && !asked.contains(peer);
    if let Some(source) = sources.find(|peer| is_new(peer)) {
        return Some(*source);
    }
    let height = step.chain.find(&pending.header.previous)?.tip.height;
    let others = step.peers.iter().filter(|(peer, _)| is_new(peer));
    let (high, low): (Vec<_>, Vec<_>) = others.partition(|(_, told)| **told > height);
    let pick = if high.is_empty() { low } else { high };
    if pick.is_empty() {
        return None;
    }
    Some(*pick[step.rng.random_range(..pick.len())].0)
}
