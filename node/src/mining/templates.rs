//! Block templates for external miners. The writer makes a template for a version of the chain and
//! mempool; each miner is issued a variant with its own coinbase, so that no two miners search the
//! same headers. Variants are not remembered: the id of a template contains all that it is rebuilt
//! from when a miner submits the fields of the header it chose.
//!
//! What has to be remembered are the templates of the writer. Those of the present tip are never
//! forgotten: what a miner was given is honoured while its tip is best, whatever strangers do. Their
//! memory is bounded because templates share their transfers, and because changes of the mempool,
//! which anyone can cause, lead to new ones ever more slowly, and to none once the memory is full:
//! then the last one is issued until the tip changes.

use super::readiness::{self, NotReady, Readiness};
use crate::random::random_bytes;
use crate::writer::{self, Stopped};
use anyhow::Result;
use chain::store::StoreError;
use chain::template::{Template, TemplateError, TemplateRequest};
use chain::tx::{self, Tag};
use chain::{
    Address, Amount, Block, Coinbase, Header, Height, Target, Timestamp, Transaction, Transfer,
    block, merkle,
};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most templates of earlier tips that are remembered.
const MAX_EARLIER: usize = 256;
/// Most bytes that the templates of earlier tips use.
const MAX_EARLIER_BYTES: usize = 32 << 20;
/// Bytes used by the templates of the present tip above which no other is made for it.
const MAX_TIP_BYTES: usize = 128 << 20;
/// Templates of a tip that changes of the mempool lead to at once. After these, one follows each
/// interval.
const MEMPOOL_BURST: u32 = 32;
/// The least interval between templates that changes of the mempool lead to.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The part of the age of a tip that is the interval: in a day it leads to some 800 templates, whose
/// lists of transfers have 64 MB where blocks are full.
const INTERVALS_PER_AGE: u32 = 100;
/// How often it is checked whether the interval has passed.
const POLL: Duration = Duration::from_millis(250);
/// The number of hexadecimal digits of a Merkle root in the id of a template.
const ROOT_DIGITS: usize = 16;

/// Why no template is issued.
#[derive(Debug, thiserror::Error)]
pub enum TemplateUnavailable {
    /// No block can be mined at present.
    #[error(transparent)]
    NotReady(#[from] NotReady),
    /// The node is shutting down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The writer could not make a template.
    #[error(transparent)]
    Template(#[from] TemplateError<StoreError>),
}

/// A template of the writer, whose transfers are shared with other templates.
#[derive(Debug)]
pub struct SharedTemplate {
    /// The number of the version of the chain that the template was made for.
    pub number: u64,
    /// The header with nonce 0. Its Merkle root is that of no miner.
    pub header: Header,
    /// The coinbase, which pays no miner.
    coinbase: Coinbase,
    /// The transfers in their order in the block.
    transfers: Vec<Arc<Transfer>>,
    /// The Merkle branch from the coinbase to the root.
    pub branch: merkle::Branch,
    /// The minimum time of the block, which is the time of its parent.
    pub min_time: Timestamp,
    /// The height of the block.
    pub height: Height,
    /// The target that the hash must meet.
    pub target: Target,
    /// The sum of the fees of all transfers.
    pub fees: Amount,
}

/// The transfers of the last template by id.
type Transfers = HashMap<tx::Id, Arc<Transfer>>;

impl SharedTemplate {
    /// Takes over a template. Transfers of the last one are shared, and replaced by those of this
    /// one. Also returns the bytes by which the memory grows.
    fn new(number: u64, template: Template, known: &mut Transfers) -> (SharedTemplate, usize) {
        let Template { block, ids, branch, min_time, height, target, fees } = template;
        let Block { header, transactions } = block;
        let mut transactions = transactions.into_iter();
        let Some(Transaction::Coinbase(coinbase)) = transactions.next() else {
            unreachable!("the first transaction of a template is its coinbase");
        };
        let (mut transfers, mut bytes) = (Vec::with_capacity(transactions.len()), 0);
        let mut shared = Transfers::with_capacity(transactions.len());
        for (transaction, id) in transactions.zip(ids.into_iter().skip(1)) {
            let Transaction::Transfer(transfer) = transaction else { continue };
            let transfer = known.remove(&id).unwrap_or_else(|| {
                bytes += size_of::<Transfer>() + transfer.size();
                Arc::new(transfer)
            });
            transfers.push(Arc::clone(&transfer));
            shared.insert(id, transfer);
        }
        *known = shared;
        bytes += transfers.len() * size_of::<Arc<Transfer>>();
        let template = SharedTemplate {
            number,
            header,
            coinbase,
            transfers,
            branch,
            min_time,
            height,
            target,
            fees,
        };
        (template, bytes)
    }

    /// The transfers in their order in the block.
    pub fn transfers(&self) -> impl ExactSizeIterator<Item = &Transfer> {
        self.transfers.iter().map(|transfer| &**transfer)
    }

    /// The Merkle root of the block with this coinbase.
    fn root(&self, coinbase: &Coinbase) -> merkle::Root {
        self.branch.root(coinbase.id()).expect("the branch is that of the coinbase")
    }

    /// A block of these transfers.
    pub fn block(&self, header: Header, coinbase: Coinbase) -> Block {
        let transfers = self.transfers().cloned().map(Transaction::Transfer);
        let transactions = std::iter::once(Transaction::Coinbase(coinbase)).chain(transfers);
        Block { header, transactions: transactions.collect() }
    }
}

/// A template with the coinbase of one miner.
#[derive(Clone, Debug)]
pub struct IssuedTemplate {
    template: Arc<SharedTemplate>,
    /// The fields of the miner's coinbase.
    request: TemplateRequest,
}

impl IssuedTemplate {
    /// Issues a template with the coinbase of this request.
    pub fn new(template: Arc<SharedTemplate>, request: TemplateRequest) -> IssuedTemplate {
        IssuedTemplate { template, request }
    }

    /// The template of the writer.
    pub fn template(&self) -> &SharedTemplate {
        &self.template
    }

    /// The id, from which the template can be rebuilt.
    pub fn id(&self) -> String {
        let TemplateRequest { miner, now, extra_nonce, .. } = &self.request;
        let (miner, extra_nonce) = (hex::encode(miner.as_bytes()), hex::encode(extra_nonce));
        let root = self.header().merkle_root.to_string();
        let (number, now) = (self.template.number, now.get());
        format!("{number:x}-{now:08x}{extra_nonce}{miner}{}", &root[..ROOT_DIGITS])
    }

    /// The header with nonce 0.
    pub fn header(&self) -> Header {
        let SharedTemplate { header, min_time, .. } = &*self.template;
        let merkle_root = self.template.root(&self.coinbase());
        Header { merkle_root, time: self.request.now.max(*min_time), ..*header }
    }

    /// The block with nonce 0.
    pub fn block(&self) -> Block {
        self.template.block(self.header(), self.coinbase())
    }

    /// The block with the header fields that a miner found.
    pub fn solved(&self, solve: impl FnOnce(&mut Header)) -> Block {
        let mut block = self.block();
        solve(&mut block.header);
        block
    }

    /// The encoded size of the transfers in bytes.
    pub fn size(&self) -> usize {
        self.template.transfers().map(Transfer::size).sum()
    }

    /// Replaces the extra nonce of the coinbase.
    #[must_use]
    pub fn with_extra_nonce(&self, extra_nonce: [u8; 8]) -> IssuedTemplate {
        let request = TemplateRequest { extra_nonce, ..self.request.clone() };
        IssuedTemplate { template: Arc::clone(&self.template), request }
    }

    /// The coinbase of the block.
    pub fn coinbase(&self) -> Coinbase {
        let TemplateRequest { miner, extra_nonce, tag, .. } = self.request.clone();
        Coinbase { recipient: miner, extra_nonce, tag, ..self.template.coinbase.clone() }
    }
}

/// The number of the writer's template in the id of an issued template, and the rest of the id.
/// Returns `None` if the text is no id.
pub fn parse_id(id: &str) -> Option<(u64, &str)> {
    const DIGITS: usize = 2 * (size_of::<u32>() + 8 + size_of::<Address>()) + ROOT_DIGITS;
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let (number, rest) = id.split_once('-')?;
    (is_hex(number) && is_hex(rest) && rest.len() == DIGITS)
        .then(|| Some((u64::from_str_radix(number, 16).ok()?, rest)))?
}

/// The payout address in the id of an issued template. Returns `None` if the text is no id.
pub fn payout_address(id: &str) -> Option<Address> {
    let (_, rest) = parse_id(id)?;
    let mut bytes = [0; size_of::<Address>()];
    hex::decode_to_slice(rest.get(24..rest.len() - ROOT_DIGITS)?, &mut bytes).ok()?;
    Some(Address::from_bytes(bytes))
}

/// Issues templates, and rebuilds them when miners submit solutions.
pub struct Templates {
    writer: writer::Handle,
    readiness: Readiness,
    started: Instant,
    latest: tokio::sync::Mutex<Latest>,
    cache: Mutex<TemplateCache>,
    /// The extra nonce of the last issued template.
    extra_nonce: AtomicU64,
}

/// The last template of the writer.
#[derive(Default)]
struct Latest {
    template: Option<Arc<SharedTemplate>>,
    transfers: Transfers,
}

impl Templates {
    /// Issues templates of a writer while the node is ready to mine.
    pub fn new(writer: writer::Handle, readiness: Readiness) -> Result<Templates> {
        Ok(Templates {
            writer,
            readiness,
            started: Instant::now(),
            latest: tokio::sync::Mutex::default(),
            cache: Mutex::default(),
            extra_nonce: AtomicU64::new(u64::from_le_bytes(random_bytes()?)),
        })
    }

    /// The writer's template for the present tip, with the transfers that the mempool had an interval
    /// ago or later.
    pub async fn latest(&self) -> Result<Arc<SharedTemplate>, TemplateUnavailable> {
        self.readiness.check().await?;
        let mut latest = self.latest.lock().await;
        // Read before the template is made, so that a later change outdates it.
        let version = *self.writer.watch_chain().borrow();
        if let Some(template) = &latest.template {
            let is_of_tip = template.header.previous == version.tip;
            if template.number == version.sequence || (is_of_tip && self.is_kept(version.tip)) {
                return Ok(Arc::clone(template));
            }
        }
        // The address is replaced in the issued variants.
        let template = self.writer.template(Address::ZERO).await?;
        let template = template.map_err(|error| match error {
            // The clock was set back since the check.
            TemplateError::ClockBehindParent(behind) => NotReady::ClockBehindTip(behind).into(),
            error => TemplateUnavailable::Template(error),
        })?;
        let (template, bytes) =
            SharedTemplate::new(version.sequence, template, &mut latest.transfers);
        let template = Arc::new(template);
        self.cache().insert(Arc::clone(&template), bytes, self.started.elapsed());
        latest.template = Some(Arc::clone(&template));
        Ok(template)
    }

    /// Issues a template for a miner.
    pub async fn issue(&self, miner: Address) -> Result<IssuedTemplate, TemplateUnavailable> {
        let template = self.latest().await?;
        let extra_nonce = self.extra_nonce.fetch_add(1, Ordering::Relaxed);
        Ok(issued(template, miner, self.writer.now(), extra_nonce.to_le_bytes()))
    }

    /// Waits until another template than that of this number is issued.
    pub async fn wait_for_other_than(&self, number: u64) {
        let mut chain = self.writer.watch_chain();
        loop {
            let version = *chain.borrow_and_update();
            let latest = self.latest.lock().await;
            let same = latest.template.as_ref().filter(|template| template.number == number);
            let is_of_tip = same.is_some_and(|same| same.header.previous == version.tip);
            drop(latest);
            if version.sequence == number {
                if chain.changed().await.is_err() {
                    return;
                }
            } else if is_of_tip && self.is_kept(version.tip) {
                tokio::time::sleep(POLL).await;
            } else {
                return;
            }
        }
    }

    /// A receiver of whether a block can be mined, which is notified when issued templates may have
    /// become useless.
    pub fn subscribe(&self) -> watch::Receiver<readiness::State> {
        self.readiness.subscribe()
    }

    /// Rebuilds an issued template from its id. Returns `None` if the id is none of this run of the
    /// node, or the template is forgotten.
    pub fn find(&self, id: &str) -> Option<IssuedTemplate> {
        self.cache().rebuild(id)
    }

    /// Completes a solved header and its coinbase with the transfers of the template that they
    /// belong to.
    pub fn complete(&self, header: &Header, coinbase: Coinbase) -> Option<Block> {
        let templates: Vec<_> = self
            .cache()
            .of_tip(header.previous)
            .map(|(template, _)| Arc::clone(template))
            .collect();
        let hash = header.hash();
        let template = templates.into_iter().rev().find(|template| {
            // Proof of work first: it costs who submits more than the search costs here.
            template.target.is_met_by(hash.as_bytes())
                && template.root(&coinbase) == header.merkle_root
        })?;
        Some(template.block(*header, coinbase))
    }

    /// Whether the last template of this tip is issued although the mempool has changed.
    fn is_kept(&self, tip: block::Hash) -> bool {
        !self.cache().may_change(tip, self.started.elapsed())
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, TemplateCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A template with the coinbase that is issued over REST and JSON-RPC.
fn issued(
    template: Arc<SharedTemplate>,
    miner: Address,
    now: Timestamp,
    extra_nonce: [u8; 8],
) -> IssuedTemplate {
    let tag = Tag::new(writer::COINBASE_TAG.to_vec()).expect("the tag is short");
    IssuedTemplate::new(template, TemplateRequest { miner, now, extra_nonce, tag })
}

/// The templates of the writer that are remembered, by rising number, each with the bytes by which
/// it made the memory grow. Transfers that outlive the template which they came with are at most
/// those of one block. Times are since the start.
#[derive(Default)]
struct TemplateCache {
    templates: VecDeque<(Arc<SharedTemplate>, usize)>,
    tip: Option<TipTemplates>,
}

/// The templates of the present tip.
#[derive(Clone, Copy, Debug)]
struct TipTemplates {
    tip: block::Hash,
    count: u32,
    bytes: usize,
    /// The time of the first template.
    since: Duration,
    /// The time of the last template.
    latest: Duration,
}

impl TemplateCache {
    /// Whether another template may be made for a tip, because the mempool has changed.
    fn may_change(&self, tip: block::Hash, now: Duration) -> bool {
        let Some(of_tip) = self.tip.filter(|of_tip| of_tip.tip == tip) else { return true };
        let interval = (now.saturating_sub(of_tip.since) / INTERVALS_PER_AGE).max(MIN_INTERVAL);
        let is_due = now.saturating_sub(of_tip.latest) >= interval;
        of_tip.bytes < MAX_TIP_BYTES && (of_tip.count <= MEMPOOL_BURST || is_due)
    }

    /// Adds a template, whose parent is the present tip. Above the limits, forgets the earliest ones
    /// of other tips.
    fn insert(&mut self, template: Arc<SharedTemplate>, bytes: usize, now: Duration) {
        let tip = template.header.previous;
        let known = self.tip.filter(|of_tip| of_tip.tip == tip);
        let mut of_tip = known.unwrap_or_else(|| {
            // After a reorganisation there may be some of an earlier time.
            let bytes = self.of_tip(tip).map(|(_, bytes)| bytes).sum();
            TipTemplates { tip, count: 0, bytes, since: now, latest: now }
        });
        of_tip.count = of_tip.count.saturating_add(1);
        of_tip.bytes = of_tip.bytes.saturating_add(bytes);
        of_tip.latest = now;
        self.tip = Some(of_tip);
        self.templates.push_back((template, bytes));
        let earlier =
            |(template, _): &(Arc<SharedTemplate>, usize)| template.header.previous != tip;
        let mut count = self.templates.iter().filter(|one| earlier(one)).count();
        let all: usize = self.templates.iter().map(|(_, bytes)| bytes).sum();
        let mut bytes = all.saturating_sub(of_tip.bytes);
        while (count > MAX_EARLIER || bytes > MAX_EARLIER_BYTES)
            && let Some(at) = self.templates.iter().position(earlier)
            && let Some((_, freed)) = self.templates.remove(at)
        {
            (count, bytes) = (count - 1, bytes.saturating_sub(freed));
        }
    }

    fn of_tip(&self, tip: block::Hash) -> impl Iterator<Item = (&Arc<SharedTemplate>, usize)> {
        let templates = self.templates.iter().map(|(template, bytes)| (template, *bytes));
        templates.filter(move |(template, _)| template.header.previous == tip)
    }

    /// Rebuilds an issued template from its id.
    fn rebuild(&self, id: &str) -> Option<IssuedTemplate> {
        let (number, rest) = parse_id(id)?;
        let template = self.find(number)?;
        let now = u32::from_str_radix(rest.get(..8)?, 16).ok()?;
        let mut extra_nonce = [0; 8];
        hex::decode_to_slice(rest.get(8..24)?, &mut extra_nonce).ok()?;
        let (miner, now) = (payout_address(id)?, Timestamp::new(now));
        let issued = issued(template, miner, now, extra_nonce);
        (issued.id() == id).then_some(issued)
    }

    fn find(&self, number: u64) -> Option<Arc<SharedTemplate>> {
        let at = self.templates.binary_search_by_key(&number, |(template, _)| template.number);
        at.ok().map(|at| Arc::clone(&self.templates[at].0))
    }
}

#[cfg(test)]
mod tests;
