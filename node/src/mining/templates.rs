//! Block templates for external miners. The writer makes one template for each version of the chain
//! and mempool; each miner is issued a variant with its own coinbase, so that no two miners search
//! the same headers. Issued templates are remembered for a while, because a miner submits the
//! fields of the header it chose, not the block.

use super::readiness::{self, NotReady, Readiness};
use crate::random::random_bytes;
use crate::writer::{self, Stopped};
use anyhow::Result;
use chain::store::StoreError;
use chain::template::{Template, TemplateError, TemplateRequest};
use chain::tx::Tag;
use chain::{Address, Block, Coinbase, Header, Transaction, merkle};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Most issued templates that are remembered, some hundred bytes each besides their transactions.
const MAX_ISSUED: usize = 16_384;
/// Most bytes of transactions that all remembered templates hold together.
const MAX_BYTES: usize = 64 << 20;
/// Most templates of the writer of which the remembered ones are variants.
const MAX_TEMPLATES: usize = 256;

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

/// A template with the coinbase of one miner.
#[derive(Clone, Debug)]
pub struct IssuedTemplate {
    template: Arc<Template>,
    /// The fields of the miner's coinbase.
    request: TemplateRequest,
}

impl IssuedTemplate {
    /// Issues a template with the coinbase of this request.
    pub fn new(template: Arc<Template>, request: TemplateRequest) -> IssuedTemplate {
        IssuedTemplate { template, request }
    }

    /// The template of the writer.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The block with nonce 0.
    pub fn block(&self) -> Block {
        let mut template = Template::clone(&self.template);
        template.update_coinbase(self.request.clone());
        template.block
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
    pub fn coinbase(&self) -> Option<Coinbase> {
        let TemplateRequest { miner, extra_nonce, tag, .. } = self.request.clone();
        let coinbase = self.template.block.coinbase()?;
        Some(Coinbase { recipient: miner, extra_nonce, tag, ..coinbase.clone() })
    }
}

/// Issues templates and remembers them.
pub struct Templates {
    writer: writer::Handle,
    readiness: Readiness,
    /// The last template of the writer, and the version of the chain that it was made for.
    latest: tokio::sync::Mutex<Option<(u64, Arc<Template>)>>,
    issued: Mutex<IssuedCache>,
}

impl Templates {
    /// Issues templates of a writer while the node is ready to mine.
    pub fn new(writer: writer::Handle, readiness: Readiness) -> Result<Templates> {
        let extra_nonce = u64::from_le_bytes(random_bytes()?);
        let issued = Mutex::new(IssuedCache { extra_nonce, ..IssuedCache::default() });
        Ok(Templates { writer, readiness, latest: Default::default(), issued })
    }

    /// The writer's template for the present tip and mempool, with the sequence number of their
    /// version.
    pub async fn latest(&self) -> Result<(u64, Arc<Template>), TemplateUnavailable> {
        self.readiness.check().await?;
        let mut latest = self.latest.lock().await;
        // Read before the template is made, so that a later change outdates it.
        let sequence = self.writer.watch_chain().borrow().sequence;
        match &*latest {
            Some((known, template)) if *known == sequence => Ok((sequence, Arc::clone(template))),
            _ => {
                // The address is replaced in the issued variants.
                let template = self.writer.template(Address::ZERO).await?;
                let template = Arc::new(template.map_err(|error| match error {
                    // The clock was set back since the check.
                    TemplateError::ClockBehindParent(behind) => {
                        NotReady::ClockBehindTip(behind).into()
                    }
                    error => TemplateUnavailable::Template(error),
                })?);
                *latest = Some((sequence, Arc::clone(&template)));
                Ok((sequence, template))
            }
        }
    }

    /// Issues a template for a miner, with the id by which it is found again.
    pub async fn issue(
        &self,
        miner: Address,
    ) -> Result<(String, IssuedTemplate), TemplateUnavailable> {
        let (sequence, template) = self.latest().await?;
        let mut cache = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        cache.extra_nonce = cache.extra_nonce.wrapping_add(1);
        let request = TemplateRequest {
            miner,
            now: self.writer.now(),
            extra_nonce: cache.extra_nonce.to_le_bytes(),
            tag: Tag::new(writer::COINBASE_TAG.to_vec()).expect("the tag is short"),
        };
        let issued = IssuedTemplate::new(template, request);
        let root = issued.coinbase().and_then(|it| issued.template.branch.root(it.id()));
        let root = root.expect("a template has a coinbase and its branch");
        let id = format!("{sequence:x}-{}", &root.to_string()[..16]);
        cache.insert(CacheEntry { id: id.clone(), root, template: issued.clone() });
        Ok((id, issued))
    }

    /// A receiver of whether a block can be mined, which is notified when issued templates may have
    /// become useless.
    pub fn subscribe(&self) -> watch::Receiver<readiness::State> {
        self.readiness.subscribe()
    }

    /// Finds an issued template by its id; `None` if there is none, or it was issued long ago.
    pub fn find(&self, id: &str) -> Option<IssuedTemplate> {
        self.find_by(|entry| entry.id == id)
    }

    /// Finds an issued template by its Merkle root, for miners that cannot change the coinbase.
    pub fn find_by_root(&self, root: merkle::Root) -> Option<IssuedTemplate> {
        self.find_by(|entry| entry.root == root)
    }

    fn find_by(&self, matches: impl Fn(&CacheEntry) -> bool) -> Option<IssuedTemplate> {
        let cache = self.issued.lock().unwrap_or_else(PoisonError::into_inner);
        let found = cache.entries.iter().rev().find(|entry| matches(entry));
        found.map(|entry| entry.template.clone())
    }
}

/// The issued templates, oldest first.
#[derive(Default)]
struct IssuedCache {
    /// The extra nonce of the last issued template.
    extra_nonce: u64,
    entries: VecDeque<CacheEntry>,
    /// The number of writer templates that the entries are variants of.
    templates: usize,
    /// The memory of the transactions of those templates.
    bytes: usize,
}

struct CacheEntry {
    id: String,
    root: merkle::Root,
    template: IssuedTemplate,
}

impl CacheEntry {
    fn shares_template(&self, other: &CacheEntry) -> bool {
        Arc::ptr_eq(&self.template.template, &other.template.template)
    }

    /// The approximate memory of the template's transactions.
    fn bytes(&self) -> usize {
        self.template.template.block.transactions.len() * size_of::<Transaction>()
    }
}

impl IssuedCache {
    fn insert(&mut self, entry: CacheEntry) {
        if !self.entries.back().is_some_and(|last| last.shares_template(&entry)) {
            self.templates += 1;
            self.bytes += entry.bytes();
        }
        self.entries.push_back(entry);
        while self.entries.len() > MAX_ISSUED
            || ((self.templates > MAX_TEMPLATES || self.bytes > MAX_BYTES) && self.templates > 1)
        {
            let Some(oldest) = self.entries.pop_front() else { return };
            if !self.entries.front().is_some_and(|next| next.shares_template(&oldest)) {
                self.templates -= 1;
                self.bytes -= oldest.bytes();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use chain::Params;
    use chain::ledger::{self, Options};

    fn template() -> Arc<Template> {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 1 << 20, threads: 1, ..Options::default() };
        let opened = ledger::open(folder.path(), Params::dev(), options, &mut |_| {}).unwrap();
        Arc::new(opened.0.template(request(0)).unwrap())
    }

    fn request(number: u64) -> TemplateRequest {
        let extra_nonce = number.to_le_bytes();
        TemplateRequest {
            miner: Address::ZERO,
            now: clock::now(),
            extra_nonce,
            tag: Tag::default(),
        }
    }

    // N03
    #[test]
    fn cache_is_limited_in_entries_and_bytes() {
        let (mut cache, first) = (IssuedCache::default(), template());
        let entry = |template: &Arc<Template>, number: u64| CacheEntry {
            id: number.to_string(),
            root: merkle::Root::ZERO,
            template: IssuedTemplate::new(Arc::clone(template), request(number)),
        };
        for number in 0..20_000 {
            cache.insert(entry(&first, number));
        }
        assert_eq!((cache.entries.len(), cache.templates), (MAX_ISSUED, 1));
        assert_eq!(cache.entries[0].id, "3616");
        for number in 0..300 {
            cache.insert(entry(&Arc::new(Template::clone(&first)), number));
        }
        assert_eq!((cache.entries.len(), cache.templates), (MAX_TEMPLATES, MAX_TEMPLATES));
        assert_eq!(cache.bytes, MAX_TEMPLATES * cache.entries[0].bytes());
        let mut large = Template::clone(&first);
        large.block.transactions = vec![large.block.transactions[0].clone(); 100_000];
        let bytes = size_of::<Transaction>() * 100_000;
        for number in 0..20 {
            cache.insert(entry(&Arc::new(large.clone()), number));
            assert!(cache.bytes <= MAX_BYTES.max(bytes));
        }
        assert!(cache.templates <= MAX_BYTES / bytes + 1);
    }

    #[test]
    fn issued_template_differs_only_in_coinbase_and_header() {
        let template = template();
        let miner = Address::from_bytes([7; 20]);
        let issued =
            IssuedTemplate::new(Arc::clone(&template), TemplateRequest { miner, ..request(5) });
        let issued = issued.with_extra_nonce([9; 8]);
        let solved = issued.solved(|header| header.nonce = 88);
        let coinbase = solved.coinbase().unwrap();
        assert_eq!((coinbase.recipient, coinbase.extra_nonce), (miner, [9; 8]));
        assert_eq!(Some(coinbase), issued.coinbase().as_ref());
        assert_eq!(solved.header.merkle_root, merkle::root(&solved.ids()));
        assert_eq!(solved.header.nonce, 88);
        assert_eq!(solved.header.previous, template.block.header.previous);
    }
}
