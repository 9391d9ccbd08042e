//! Candidate blocks for miners elsewhere. The writer makes one for each state of tip and pool; for
//! every miner it is then made over, so that no two search the same headers. What was handed out is
//! remembered for a while: a miner sends back what it chose, not the block.

use super::readiness::{Outlook, Wait};
use crate::writer::{self, Stopped};
use anyhow::Result;
use chain::store::StoreError;
use chain::template::{Template, TemplateError, TemplateRequest};
use chain::tx::Tag;
use chain::{Address, Block, Coinbase, Header, Transaction, merkle};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Most candidates that are remembered, of some hundred bytes each besides their transactions.
const MAX_GIVEN: usize = 16_384;
/// Most bytes of transactions that they hold, and of how many templates those may be.
const MAX_BYTES: usize = 64 << 20;
const MAX_TEMPLATES: usize = 256;

/// Why there is no candidate.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It would be worth nothing.
    #[error(transparent)]
    Wait(#[from] Wait),
    /// The node is going down.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// It could not be made.
    #[error(transparent)]
    Template(#[from] TemplateError<StoreError>),
}

/// A template made over for one miner.
#[derive(Clone, Debug)]
pub struct Candidate {
    template: Arc<Template>,
    /// What the miner decided.
    wish: TemplateRequest,
}

impl Candidate {
    /// The template with this in its coinbase.
    pub fn new(template: Arc<Template>, wish: TemplateRequest) -> Candidate {
        Candidate { template, wish }
    }

    /// The template that it was made from.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The block, with nonce 0.
    pub fn block(&self) -> Block {
        let mut template = Template::clone(&self.template);
        template.update_coinbase(self.wish.clone());
        template.block
    }

    /// The block with what the miner found put into its header.
    pub fn sealed(&self, seal: impl FnOnce(&mut Header)) -> Block {
        let mut block = self.block();
        seal(&mut block.header);
        block
    }

    /// The same with another extra nonce.
    #[must_use]
    pub fn with_extra_nonce(&self, extra_nonce: [u8; 8]) -> Candidate {
        let wish = TemplateRequest { extra_nonce, ..self.wish.clone() };
        Candidate { template: Arc::clone(&self.template), wish }
    }

    /// The coinbase.
    pub fn coinbase(&self) -> Option<Coinbase> {
        let TemplateRequest { miner, extra_nonce, tag, .. } = self.wish.clone();
        let coinbase = self.template.block.coinbase()?;
        Some(Coinbase { recipient: miner, extra_nonce, tag, ..coinbase.clone() })
    }
}

/// Makes candidates and remembers them.
pub struct Templates {
    writer: writer::Handle,
    outlook: Outlook,
    /// That of the last state that was asked for.
    latest: tokio::sync::Mutex<Option<(u64, Arc<Template>)>>,
    given: Mutex<Given>,
}

impl Templates {
    /// From this writer, while the outlook is good.
    pub fn new(writer: writer::Handle, outlook: Outlook) -> Result<Templates> {
        let given =
            Given { extra_nonce: u64::from_le_bytes(writer::random()?), ..Given::default() };
        Ok(Templates { writer, outlook, latest: Default::default(), given: Mutex::new(given) })
    }

    /// The template of the present state of tip and pool, and the number of that state.
    pub async fn latest(&self) -> Result<(u64, Arc<Template>), Unavailable> {
        if let Some(wait) = self.outlook.wait().await {
            return Err(wait.into());
        }
        let mut latest = self.latest.lock().await;
        // Whatever changes from here on makes this an old one.
        let state = self.writer.news().borrow().number;
        match &*latest {
            Some((known, template)) if *known == state => Ok((state, Arc::clone(template))),
            _ => {
                // Whom it pays is decided later.
                let template = Arc::new(self.writer.template(Address::ZERO).await??);
                *latest = Some((state, Arc::clone(&template)));
                Ok((state, template))
            }
        }
    }

    /// A candidate of its own for a miner, and the id by which it is found again.
    pub async fn give(&self, miner: Address) -> Result<(String, Candidate), Unavailable> {
        let (state, template) = self.latest().await?;
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.extra_nonce = given.extra_nonce.wrapping_add(1);
        let wish = TemplateRequest {
            miner,
            now: self.writer.now(),
            extra_nonce: given.extra_nonce.to_le_bytes(),
            tag: Tag::new(writer::TAG.to_vec()).expect("the tag is short"),
        };
        let candidate = Candidate::new(template, wish);
        let root = candidate.coinbase().and_then(|it| candidate.template.branch.root(it.id()));
        let root = root.expect("a template has a coinbase and its branch");
        let id = format!("{state:x}-{}", &root.to_string()[..16]);
        given.remember(Gift { id: id.clone(), root, candidate: candidate.clone() });
        Ok((id, candidate))
    }

    /// One that was handed out, unless that is long ago.
    pub fn find(&self, id: &str) -> Option<Candidate> {
        self.find_by(|gift| gift.id == id)
    }

    /// The same by its Merkle root, where the miner had nothing to choose in its coinbase.
    pub fn find_by_root(&self, root: merkle::Root) -> Option<Candidate> {
        self.find_by(|gift| gift.root == root)
    }

    fn find_by(&self, is_it: impl Fn(&Gift) -> bool) -> Option<Candidate> {
        let given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.gifts.iter().rev().find(|gift| is_it(gift)).map(|gift| gift.candidate.clone())
    }
}

/// What was handed out, oldest first.
#[derive(Default)]
struct Given {
    /// The last one's.
    extra_nonce: u64,
    gifts: VecDeque<Gift>,
    /// Templates that they share, and the bytes of those.
    templates: usize,
    bytes: usize,
}

struct Gift {
    id: String,
    root: merkle::Root,
    candidate: Candidate,
}

impl Gift {
    fn shares_template(&self, other: &Gift) -> bool {
        Arc::ptr_eq(&self.candidate.template, &other.candidate.template)
    }

    /// Roughly what its transactions take in memory.
    fn bytes(&self) -> usize {
        self.candidate.template.block.transactions.len() * size_of::<Transaction>()
    }
}

impl Given {
    fn remember(&mut self, gift: Gift) {
        if !self.gifts.back().is_some_and(|last| last.shares_template(&gift)) {
            self.templates += 1;
            self.bytes += gift.bytes();
        }
        self.gifts.push_back(gift);
        while self.gifts.len() > MAX_GIVEN
            || ((self.templates > MAX_TEMPLATES || self.bytes > MAX_BYTES) && self.templates > 1)
        {
            let Some(oldest) = self.gifts.pop_front() else { return };
            if !self.gifts.front().is_some_and(|next| next.shares_template(&oldest)) {
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
    use chain::ledger::{self, Options};
    use chain::{Params, mempool};

    fn template() -> Arc<Template> {
        let folder = tempfile::tempdir().unwrap();
        let options =
            Options { cache_bytes: 1 << 20, threads: 1, mempool: mempool::Limits::default() };
        let opened = ledger::open(folder.path(), Params::dev(), options, &mut |_| {}).unwrap();
        Arc::new(opened.0.template(wish(0)).unwrap())
    }

    fn wish(number: u64) -> TemplateRequest {
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
    fn what_is_remembered_is_bounded_in_number_and_in_bytes() {
        let (mut given, first) = (Given::default(), template());
        let gift = |template: &Arc<Template>, number: u64| Gift {
            id: number.to_string(),
            root: merkle::Root::ZERO,
            candidate: Candidate::new(Arc::clone(template), wish(number)),
        };
        for number in 0..20_000 {
            given.remember(gift(&first, number));
        }
        assert_eq!((given.gifts.len(), given.templates), (MAX_GIVEN, 1));
        assert_eq!(given.gifts[0].id, "3616");
        for number in 0..300 {
            given.remember(gift(&Arc::new(Template::clone(&first)), number));
        }
        assert_eq!((given.gifts.len(), given.templates), (MAX_TEMPLATES, MAX_TEMPLATES));
        assert_eq!(given.bytes, MAX_TEMPLATES * given.gifts[0].bytes());
        let mut large = Template::clone(&first);
        large.block.transactions = vec![large.block.transactions[0].clone(); 100_000];
        let bytes = size_of::<Transaction>() * 100_000;
        for number in 0..20 {
            given.remember(gift(&Arc::new(large.clone()), number));
            assert!(given.bytes <= MAX_BYTES.max(bytes));
        }
        assert!(given.templates <= MAX_BYTES / bytes + 1);
    }

    #[test]
    fn a_candidate_is_the_template_but_for_what_its_miner_decides() {
        let template = template();
        let miner = Address::from_bytes([7; 20]);
        let candidate = Candidate::new(Arc::clone(&template), TemplateRequest { miner, ..wish(5) });
        let candidate = candidate.with_extra_nonce([9; 8]);
        let sealed = candidate.sealed(|header| header.nonce = 88);
        let coinbase = sealed.coinbase().unwrap();
        assert_eq!((coinbase.recipient, coinbase.extra_nonce), (miner, [9; 8]));
        assert_eq!(Some(coinbase), candidate.coinbase().as_ref());
        assert_eq!(sealed.header.merkle_root, merkle::root(&sealed.ids()));
        assert_eq!(sealed.header.nonce, 88);
        assert_eq!(sealed.header.previous, template.block.header.previous);
    }
}
