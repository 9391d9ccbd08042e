//! Block templates for external miners. The writer makes a template for a version of the chain and
//! mempool; each miner is issued a variant with its own coinbase, so that no two miners search the
//! same headers. Variants are not remembered: the id of a template contains all that it is rebuilt
//! from when a miner submits the fields of the header it chose.
//!
//! What has to be remembered are the templates of the writer. Changes of the mempool, which anyone can
//! cause, lead to at most one a second after the first ones of a tip, and templates share their
//! transfers. So a template of the present tip is honoured for at least ten minutes after it was last
//! issued, whatever strangers do, and on a quiet network for as long as the tip is best. A job of
//! Stratum holds its template itself.

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
use p2p::rate_limit::TokenBucket;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Most templates of the writer that are remembered.
const MAX_TEMPLATES: usize = 1_024;
/// Most bytes that remembered templates use for their transfers.
const MAX_BYTES: usize = 64 << 20;
/// Templates that changes of the mempool lead to at once. After these, one follows each interval.
const MEMPOOL_BURST: u32 = 32;
/// Interval between templates that changes of the mempool lead to.
const MEMPOOL_INTERVAL: Duration = Duration::from_secs(1);
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
struct Latest {
    template: Option<Arc<SharedTemplate>>,
    transfers: Transfers,
    /// Limits templates that changes of the mempool lead to.
    mempool: TokenBucket,
}

impl Templates {
    /// Issues templates of a writer while the node is ready to mine.
    pub fn new(writer: writer::Handle, readiness: Readiness) -> Result<Templates> {
        let latest = Latest {
            template: None,
            transfers: Transfers::new(),
            mempool: TokenBucket::new(MEMPOOL_BURST, MEMPOOL_INTERVAL),
        };
        Ok(Templates {
            writer,
            readiness,
            started: Instant::now(),
            latest: tokio::sync::Mutex::new(latest),
            cache: Mutex::default(),
            extra_nonce: AtomicU64::new(u64::from_le_bytes(random_bytes()?)),
        })
    }

    /// The writer's template for the present tip, with the transfers that the mempool had at most a
    /// second ago.
    pub async fn latest(&self) -> Result<Arc<SharedTemplate>, TemplateUnavailable> {
        self.readiness.check().await?;
        let mut latest = self.latest.lock().await;
        // Read before the template is made, so that a later change outdates it.
        let version = *self.writer.watch_chain().borrow();
        if let Some(template) = &latest.template {
            let is_of_tip = template.header.previous == version.tip;
            if template.number == version.sequence
                || (is_of_tip && latest.mempool.available(self.started.elapsed()) == 0)
            {
                return Ok(Arc::clone(template));
            }
            if is_of_tip {
                latest.mempool.spend(1, self.started.elapsed());
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
        self.cache().insert(Arc::clone(&template), bytes);
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
            let is_limited = latest.mempool.available(self.started.elapsed()) == 0;
            drop(latest);
            if version.sequence == number {
                if chain.changed().await.is_err() {
                    return;
                }
            } else if is_of_tip && is_limited {
                tokio::time::sleep(MEMPOOL_INTERVAL / 4).await;
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
        let (number, rest) = parse_id(id)?;
        let template = self.cache().find(number)?;
        let now = u32::from_str_radix(rest.get(..8)?, 16).ok()?;
        let mut extra_nonce = [0; 8];
        hex::decode_to_slice(rest.get(8..24)?, &mut extra_nonce).ok()?;
        let mut miner = [0; size_of::<Address>()];
        hex::decode_to_slice(rest.get(24..rest.len() - ROOT_DIGITS)?, &mut miner).ok()?;
        let (miner, now) = (Address::from_bytes(miner), Timestamp::new(now));
        let issued = issued(template, miner, now, extra_nonce);
        (issued.id() == id).then_some(issued)
    }

    /// Completes a solved header and its coinbase with the transfers of the template that they
    /// belong to.
    pub fn complete(&self, header: &Header, coinbase: Coinbase) -> Option<Block> {
        let templates = self.cache().of_parent(header.previous);
        let hash = header.hash();
        let template = templates.into_iter().rev().find(|template| {
            // Proof of work first: it costs who submits more than the search costs here.
            template.target.is_met_by(hash.as_bytes())
                && template.root(&coinbase) == header.merkle_root
        })?;
        Some(template.block(*header, coinbase))
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
/// those of one block.
#[derive(Default)]
struct TemplateCache {
    templates: VecDeque<(Arc<SharedTemplate>, usize)>,
    bytes: usize,
}

impl TemplateCache {
    /// Adds a template. Above the limits, forgets the one that was last issued the longest ago.
    fn insert(&mut self, template: Arc<SharedTemplate>, bytes: usize) {
        self.templates.push_back((template, bytes));
        self.bytes += bytes;
        while self.templates.len() > 1
            && (self.templates.len() > MAX_TEMPLATES || self.bytes > MAX_BYTES)
            && let Some((_, bytes)) = self.templates.pop_front()
        {
            self.bytes -= bytes;
        }
    }

    fn find(&self, number: u64) -> Option<Arc<SharedTemplate>> {
        let at = self.templates.binary_search_by_key(&number, |(template, _)| template.number);
        at.ok().map(|at| Arc::clone(&self.templates[at].0))
    }

    fn of_parent(&self, parent: block::Hash) -> Vec<Arc<SharedTemplate>> {
        let templates = self.templates.iter().map(|(template, _)| template);
        templates.filter(|template| template.header.previous == parent).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use chain::Params;
    use chain::ledger::{self, Options};
    use chain::signature::SecretKey;
    use chain::tx::{Memo, Payment};

    fn template() -> Template {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, threads: 1, ..Options::default() };
        let opened = ledger::open(folder.path(), Params::dev(), options, &mut |_| {}).unwrap();
        let tag = Tag::default();
        let request =
            TemplateRequest { miner: Address::ZERO, now: clock::now(), extra_nonce: [0; 8], tag };
        opened.0.template(request).unwrap()
    }

    fn transfer(nonce: u64) -> Transfer {
        let (recipient, memo) = (Address::ZERO, Memo::default());
        let payment = Payment { nonce, recipient, amount: 1, fee: 1_000, memo };
        Transfer::sign(payment, &SecretKey::from_seed([1; 32]), Params::dev().genesis_hash())
    }

    /// A template with these transfers.
    fn with_transfers(transfers: &[Transfer]) -> Template {
        let mut template = template();
        template.ids.extend(transfers.iter().map(Transfer::id));
        template.branch = merkle::Branch::of(&template.ids, 0).unwrap();
        let transactions = transfers.iter().cloned().map(Transaction::Transfer);
        template.block.transactions.extend(transactions);
        template
    }

    // N03
    #[test]
    fn templates_are_limited_in_number_and_bytes() {
        let (mut cache, mut known) = (TemplateCache::default(), Transfers::new());
        let template = template();
        for number in 0..2_000 {
            let (template, bytes) = SharedTemplate::new(number, template.clone(), &mut known);
            cache.insert(Arc::new(template), bytes);
        }
        assert_eq!(cache.templates.len(), MAX_TEMPLATES);
        assert!(cache.find(2_000 - 1_025).is_none());
        assert!(cache.find(2_000 - 1_024).is_some() && cache.find(1_999).is_some());
        for number in 2_000..2_020 {
            let (template, _) = SharedTemplate::new(number, template.clone(), &mut known);
            cache.insert(Arc::new(template), MAX_BYTES / 10);
            assert!(cache.bytes <= MAX_BYTES);
        }
        assert_eq!(cache.templates.len(), 10);
        let (template, _) = SharedTemplate::new(3_000, template, &mut known);
        cache.insert(Arc::new(template), 2 * MAX_BYTES);
        assert_eq!(cache.templates.len(), 1, "the latest is remembered whatever its size");
    }

    // N03
    #[test]
    fn consecutive_templates_share_their_transfers() {
        let transfers: Vec<Transfer> = (0..4).map(transfer).collect();
        let mut known = Transfers::new();
        let (first, grown) = SharedTemplate::new(1, with_transfers(&transfers[..3]), &mut known);
        let each = size_of::<Transfer>() + transfers[0].size();
        let pointer = size_of::<usize>();
        assert_eq!(grown, 3 * (each + pointer));
        let (second, grown) = SharedTemplate::new(2, with_transfers(&transfers[1..]), &mut known);
        assert_eq!(grown, each + 3 * pointer);
        assert!(Arc::ptr_eq(&first.transfers[1], &second.transfers[0]));
        let ids: Vec<_> = second.transfers().map(Transfer::id).collect();
        assert_eq!(ids, transfers[1..].iter().map(Transfer::id).collect::<Vec<_>>());
    }

    #[test]
    fn issued_template_differs_only_in_coinbase_and_header() {
        let template = with_transfers(&[transfer(0), transfer(1)]);
        let (shared, _) = SharedTemplate::new(7, template.clone(), &mut Transfers::new());
        let (miner, shared) = (Address::from_bytes([7; 20]), Arc::new(shared));
        let given = issued(Arc::clone(&shared), miner, Timestamp::new(u32::MAX), [5; 8]);
        let (number, rest) =
            given.id().split_once('-').map(|(a, b)| (a.to_owned(), b.len())).unwrap();
        assert_eq!((&*number, rest), ("7", 80));
        assert!(parse_id(&given.id()).is_some());
        let given = given.with_extra_nonce([9; 8]);
        let solved = given.solved(|header| header.nonce = 88);
        let coinbase = solved.coinbase().unwrap();
        assert_eq!((coinbase.recipient, coinbase.extra_nonce), (miner, [9; 8]));
        assert_eq!(coinbase, &given.coinbase());
        assert_eq!(solved.header.merkle_root, merkle::root(&solved.ids()));
        assert_eq!((solved.header.nonce, solved.header.time), (88, Timestamp::new(u32::MAX)));
        assert_eq!(solved.header.previous, template.block.header.previous);
        assert_eq!(solved.transactions[1..], template.block.transactions[1..]);
    }

    #[test]
    fn only_ids_of_templates_are_parsed() {
        let rest = "a".repeat(80);
        assert_eq!(parse_id(&format!("1f-{rest}")), Some((31, &*rest)));
        for wrong in ["", "-", "1f", "0-0", "1f-", &rest] {
            assert_eq!(parse_id(wrong), None, "{wrong}");
        }
        for number in ["", "-1", "+1", "1F", "11111111111111111", "g"] {
            assert_eq!(parse_id(&format!("{number}-{rest}")), None, "{number}");
        }
        assert_eq!(parse_id(&format!("1-{}", "A".repeat(80))), None);
    }
}
