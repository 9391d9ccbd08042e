//! A builder of blocks, which are valid unless a test edits them.

use super::reference::{add_seconds, apply, commitment};
use super::{AccountState, Reference, Wallet};
use chain::testing::solve_header;
use chain::tx::{Coinbase, Memo, Payment, Tag, Transfer};
use chain::{Address, Block, Header, Height, Transaction, block, merkle};

type Edit<'w, T> = Box<dyn FnOnce(&mut T) + 'w>;

/// A builder of a child of a block. An edit is applied before everything that commits to the edited
/// part, so that nothing else is wrong.
pub(crate) struct BlockBuilder<'w> {
    reference: &'w mut Reference,
    parent: block::Hash,
    miner: Address,
    seconds: i64,
    transfers: Vec<Transaction>,
    coinbase: Edit<'w, Coinbase>,
    body: Edit<'w, Vec<Transaction>>,
    header: Edit<'w, Header>,
}

impl<'w> BlockBuilder<'w> {
    pub(super) fn new(reference: &'w mut Reference, parent: block::Hash) -> Self {
        reference.builders += 1;
        BlockBuilder {
            seconds: i64::from(reference.params.spec().spacing_seconds),
            reference,
            parent,
            miner: super::wallet(99).address,
            transfers: Vec::new(),
            coinbase: Box::new(|_| {}),
            body: Box::new(|_| {}),
            header: Box::new(|_| {}),
        }
    }

    /// Sets the recipient of the reward.
    pub(crate) fn miner(self, miner: Address) -> Self {
        Self { miner, ..self }
    }

    /// Sets the time of the block, in seconds after its parent.
    pub(crate) fn seconds_after(self, seconds: i64) -> Self {
        Self { seconds, ..self }
    }

    /// The account of an address before the next transfer.
    pub(crate) fn account(&self, address: Address) -> AccountState {
        let mut accounts = self.reference.entry(self.parent).accounts.clone();
        apply(&mut accounts, self.reference.matured(self.parent), &self.transfers);
        accounts.get(&address).copied().unwrap_or_default()
    }

    /// Adds a transfer with the sender's next nonce.
    pub(crate) fn pay(self, from: &Wallet, to: Address, amount: u64, fee: u64) -> Self {
        self.pay_with_memo(from, to, amount, fee, &[])
    }

    /// Adds a transfer with the sender's next nonce and a memo.
    pub(crate) fn pay_with_memo(
        self,
        from: &Wallet,
        to: Address,
        amount: u64,
        fee: u64,
        memo: &[u8],
    ) -> Self {
        let nonce = self.account(from.address).nonce;
        let memo = Memo::new(memo.to_vec()).expect("memos of tests are short");
        self.payment(from, Payment { nonce, recipient: to, amount, fee, memo })
    }

    /// Adds a transfer with the given content, signed by `from`.
    pub(crate) fn payment(self, from: &Wallet, payment: Payment) -> Self {
        let transfer = Transfer::sign(payment, &from.key, self.reference.genesis());
        self.transfer(transfer)
    }

    /// Adds a signed transfer.
    pub(crate) fn transfer(mut self, transfer: Transfer) -> Self {
        self.transfers.push(Transaction::Transfer(transfer));
        self
    }

    /// Edits the coinbase.
    pub(crate) fn edit_coinbase(self, edit: impl FnOnce(&mut Coinbase) + 'w) -> Self {
        Self { coinbase: Box::new(edit), ..self }
    }

    /// Edits the body, to which the header then commits.
    pub(crate) fn edit_body(self, edit: impl FnOnce(&mut Vec<Transaction>) + 'w) -> Self {
        Self { body: Box::new(edit), ..self }
    }

    /// Edits the header, before the search for a nonce.
    pub(crate) fn edit_header(self, edit: impl FnOnce(&mut Header) + 'w) -> Self {
        Self { header: Box::new(edit), ..self }
    }

    /// Builds the block: commits to accounts and body, searches a nonce, and adds it to the
    /// reference.
    pub(crate) fn mine(self) -> Block {
        let BlockBuilder { reference, parent, miner, seconds, transfers, coinbase, body, header } =
            self;
        let height = reference.entry(parent).height + 1;
        let mut accounts = reference.entry(parent).accounts.clone();
        let is_affordable = apply(&mut accounts, reference.matured(parent), &transfers);
        let fees = transfers.iter().map(|transaction| match transaction {
            Transaction::Transfer(transfer) => transfer.fee,
            Transaction::Coinbase(_) => 0,
        });
        let mut edited_coinbase = Coinbase {
            height: Height::new(height),
            extra_nonce: reference.builders.to_le_bytes(),
            tag: Tag::default(),
            reward: fees.fold(reference.subsidy(height), u64::saturating_add),
            recipient: miner,
            commitment: commitment(&accounts),
        };
        coinbase(&mut edited_coinbase);
        let mut transactions = vec![Transaction::Coinbase(edited_coinbase)];
        transactions.extend(transfers);
        body(&mut transactions);
        let ids: Vec<_> = transactions.iter().map(Transaction::id).collect();
        let mut edited_header = Header {
            version: Header::VERSION,
            previous: parent,
            merkle_root: merkle::root(&ids),
            time: add_seconds(reference.block(parent).header.time, seconds),
            bits: reference.next_bits(parent),
            nonce: 0,
        };
        header(&mut edited_header);
        solve_header(&mut edited_header);
        let block = Block { header: edited_header, transactions };
        reference.insert(parent, block.clone(), accounts, is_affordable);
        block
    }
}
