//! A block in the making: valid unless something in it is spoiled.

use super::reference::{apply, commitment, is_met, later};
use super::{Person, Purse, World};
use chain::tx::{Coinbase, Memo, Payment, Tag, Transfer};
use chain::{Address, Block, Header, Height, Transaction, block, merkle};

type Spoil<'w, T> = Box<dyn FnOnce(&mut T) + 'w>;

/// A child of a block. What is spoiled is spoiled before all that commits to it, so that nothing
/// else is wrong.
pub(crate) struct Draft<'w> {
    world: &'w mut World,
    parent: block::Hash,
    miner: Address,
    seconds: i64,
    transfers: Vec<Transaction>,
    coinbase: Spoil<'w, Coinbase>,
    body: Spoil<'w, Vec<Transaction>>,
    header: Spoil<'w, Header>,
}

impl<'w> Draft<'w> {
    pub(super) fn new(world: &'w mut World, parent: block::Hash) -> Draft<'w> {
        world.drafts += 1;
        Draft {
            seconds: i64::from(world.params.spec().spacing_seconds),
            world,
            parent,
            miner: super::person(99).address,
            transfers: Vec::new(),
            coinbase: Box::new(|_| {}),
            body: Box::new(|_| {}),
            header: Box::new(|_| {}),
        }
    }

    /// Who mines it.
    pub(crate) fn miner(self, miner: Address) -> Draft<'w> {
        Draft { miner, ..self }
    }

    /// So many seconds after its parent.
    pub(crate) fn after(self, seconds: i64) -> Draft<'w> {
        Draft { seconds, ..self }
    }

    /// What somebody has before the next transfer.
    pub(crate) fn purse(&self, address: Address) -> Purse {
        let mut purses = self.world.known(self.parent).purses.clone();
        apply(&mut purses, self.world.matured(self.parent), &self.transfers);
        purses.get(&address).copied().unwrap_or_default()
    }

    /// A transfer with the sender's next nonce.
    pub(crate) fn pay(self, from: &Person, to: Address, amount: u64, fee: u64) -> Draft<'w> {
        self.pay_with_memo(from, to, amount, fee, &[])
    }

    /// The same with a memo.
    pub(crate) fn pay_with_memo(
        self,
        from: &Person,
        to: Address,
        amount: u64,
        fee: u64,
        memo: &[u8],
    ) -> Draft<'w> {
        let nonce = self.purse(from.address).nonce;
        let memo = Memo::new(memo.to_vec()).expect("a memo of a test is short");
        self.payment(from, Payment { nonce, recipient: to, amount, fee, memo })
    }

    /// A transfer exactly like that.
    pub(crate) fn payment(self, from: &Person, payment: Payment) -> Draft<'w> {
        let transfer = Transfer::sign(payment, &from.key, self.world.genesis());
        self.transfer(transfer)
    }

    /// A transfer that was made elsewhere.
    pub(crate) fn transfer(mut self, transfer: Transfer) -> Draft<'w> {
        self.transfers.push(Transaction::Transfer(transfer));
        self
    }

    /// Spoils the coinbase.
    pub(crate) fn coinbase(self, spoil: impl FnOnce(&mut Coinbase) + 'w) -> Draft<'w> {
        Draft { coinbase: Box::new(spoil), ..self }
    }

    /// Spoils the body, which the header then commits to.
    pub(crate) fn body(self, spoil: impl FnOnce(&mut Vec<Transaction>) + 'w) -> Draft<'w> {
        Draft { body: Box::new(spoil), ..self }
    }

    /// Spoils the header, for which a nonce is searched then.
    pub(crate) fn header(self, spoil: impl FnOnce(&mut Header) + 'w) -> Draft<'w> {
        Draft { header: Box::new(spoil), ..self }
    }

    /// Commits to accounts and body, proves work, and is known from then on.
    pub(crate) fn seal(self) -> Block {
        let Draft { world, parent, miner, seconds, transfers, coinbase, body, header } = self;
        let height = world.known(parent).height + 1;
        let mut purses = world.known(parent).purses.clone();
        let is_affordable = apply(&mut purses, world.matured(parent), &transfers);
        let fees = transfers.iter().map(|transaction| match transaction {
            Transaction::Transfer(transfer) => transfer.fee,
            Transaction::Coinbase(_) => 0,
        });
        let mut first = Coinbase {
            height: Height::new(height),
            extra_nonce: world.drafts.to_le_bytes(),
            tag: Tag::default(),
            reward: fees.fold(world.subsidy(height), u64::saturating_add),
            recipient: miner,
            commitment: commitment(&purses),
        };
        coinbase(&mut first);
        let mut transactions = vec![Transaction::Coinbase(first)];
        transactions.extend(transfers);
        body(&mut transactions);
        let ids: Vec<_> = transactions.iter().map(Transaction::id).collect();
        let mut sealed = Header {
            version: Header::VERSION,
            previous: parent,
            merkle_root: merkle::root(&ids),
            time: later(world.block(parent).header.time, seconds),
            bits: world.next_bits(parent),
            nonce: 0,
        };
        header(&mut sealed);
        prove_work(&mut sealed);
        let block = Block { header: sealed, transactions };
        world.record(parent, block.clone(), purses, is_affordable);
        block
    }
}

/// Bits that are no target cannot be met: such a header stays as it is.
fn prove_work(header: &mut Header) {
    while header.bits.target().is_ok() && !is_met(header) {
        header.nonce = header.nonce.checked_add(1).expect("targets of tests are easy");
    }
}
