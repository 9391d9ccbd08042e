//! What a body must satisfy: that it belongs to its header, alone, then on its parent's accounts.
//! A block passes from `Block` to `CheckedBlock` to applied changes; nothing is written here.

#![deny(clippy::arithmetic_side_effects)]

use super::RuleError;
use super::tx::{CheckedTransfer, TransferDetails, amounts_are_in_range, claim};
use crate::accounts::{Account, AccountChange, AccountView, LtHash, Overlay};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Block, Height};
use crate::merkle;
use crate::params::Params;
use crate::signature::{self, SignatureCheck};
use crate::tx::{Coinbase, Id, Transaction};
use std::collections::HashSet;
use std::sync::Arc;

/// A block whose body belongs to its header and is valid alone. Made only by `check` and `check_all`.
#[derive(Clone, Debug)]
pub struct CheckedBlock {
    block: Arc<Block>,
    hash: block::Hash,
    ids: Vec<Id>,
    coinbase: Coinbase,
    transfers: Vec<TransferDetails>,
    encoded: Vec<u8>,
}

impl CheckedBlock {
    /// The block.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Its hash.
    pub fn hash(&self) -> block::Hash {
        self.hash
    }

    /// The ids of all transactions, in order.
    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// The first transaction.
    pub fn coinbase(&self) -> &Coinbase {
        &self.coinbase
    }

    /// What the transfers do, in order: transactions 1 and up.
    pub fn transfers(&self) -> &[TransferDetails] {
        &self.transfers
    }

    /// The encoding.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The transfers, in order, each valid alone as the block is.
    pub fn into_transfers(self) -> Vec<CheckedTransfer> {
        let transactions = Arc::unwrap_or_clone(self.block).transactions.into_iter();
        let transfers = transactions.filter_map(|transaction| match transaction {
            Transaction::Transfer(transfer) => Some(transfer),
            Transaction::Coinbase(_) => None,
        });
        let checked = |(transfer, details)| CheckedTransfer::of_block(transfer, details);
        transfers.zip(self.transfers).map(checked).collect()
    }
}

/// Everything that needs no other block. `is_known` tells the ids of transfers whose signature
/// this node has verified already: an id covers every byte of a transfer, the signature included.
pub fn check(
    block: impl Into<Arc<Block>>,
    params: &Params,
    is_known: impl Fn(&Id) -> bool,
    threads: usize,
) -> Result<CheckedBlock, RuleError> {
    let (unsigned, claims) = check_but_signatures(block.into(), params, is_known)?;
    unsigned.check_signatures(&claims, threads)
}

/// The same for several blocks, each judged as if it were alone. Their signatures are verified
/// together, which takes less time for each.
pub fn check_all(
    blocks: Vec<Arc<Block>>,
    params: &Params,
    is_known: impl Fn(&Id) -> bool,
    threads: usize,
) -> Vec<Result<CheckedBlock, RuleError>> {
    let (mut unsigned, mut claims) = (Vec::with_capacity(blocks.len()), Vec::new());
    for block in blocks {
        unsigned.push(check_but_signatures(block, params, &is_known).map(|(block, mut own)| {
            claims.append(&mut own);
            block
        }));
    }
    if signature::verify_all(&claims, threads).is_ok() {
        return unsigned.into_iter().map(|block| Ok(block?.block)).collect();
    }
    let mut rest = claims.as_slice();
    let mut judge = |block: Unsigned| {
        let (own, others) = rest.split_at(block.unknown.len());
        rest = others;
        block.check_signatures(own, threads)
    };
    unsigned.into_iter().map(|block| block.and_then(&mut judge)).collect()
}

/// A block that is valid alone if the claims that belong to it hold.
struct Unsigned {
    block: CheckedBlock,
    /// The transfers that those claims are about, in their order.
    unknown: Vec<Id>,
}

impl Unsigned {
    fn check_signatures(
        self,
        claims: &[SignatureCheck],
        threads: usize,
    ) -> Result<CheckedBlock, RuleError> {
        match signature::verify_all(claims, threads) {
            Ok(()) => Ok(self.block),
            Err(at) => Err(RuleError::BadSignature { id: self.unknown[at] }),
        }
    }
}

fn check_but_signatures(
    block: Arc<Block>,
    params: &Params,
    is_known: impl Fn(&Id) -> bool,
) -> Result<(Unsigned, Vec<SignatureCheck>), RuleError> {
    let ids = block.ids();
    body_is_not_mutated(&ids)?;
    merkle_root_matches(&block, &ids)?;
    let coinbase = starts_with_its_only_coinbase(&block)?.clone();
    let encoded = block.encode();
    fits(&encoded, params)?;
    no_transaction_twice(&ids)?;
    let transfers = amounts_of_transfers_are_in_range(&block, &ids)?;
    let (mut unknown, mut claims) = (Vec::new(), Vec::new());
    for ((_, transfer), details) in block.transfers().zip(&transfers) {
        if !is_known(&details.id) {
            unknown.push(details.id);
            claims.push(claim(transfer, params.genesis_hash()));
        }
    }
    let hash = block.hash();
    let block = CheckedBlock { block, hash, ids, coinbase, transfers, encoded };
    Ok((Unsigned { block, unknown }, claims))
}

fn body_is_not_mutated(ids: &[Id]) -> Result<(), RuleError> {
    if merkle::is_mutated(ids) { Err(RuleError::MutatedBody) } else { Ok(()) }
}

fn merkle_root_matches(block: &Block, ids: &[Id]) -> Result<(), RuleError> {
    let (expected, actual) = (block.header.merkle_root, merkle::root(ids));
    if actual == expected { Ok(()) } else { Err(RuleError::BadMerkleRoot { expected, actual }) }
}

fn starts_with_its_only_coinbase(block: &Block) -> Result<&Coinbase, RuleError> {
    let is_coinbase = |transaction: &Transaction| matches!(transaction, Transaction::Coinbase(_));
    let mut rest = block.transactions.iter().enumerate().skip(1);
    let misplaced = rest.find(|(_, transaction)| is_coinbase(transaction));
    match (block.coinbase(), misplaced) {
        (_, Some((position, _))) => Err(RuleError::CoinbaseMisplaced { position }),
        (None, None) => Err(RuleError::NoCoinbase),
        (Some(coinbase), None) => Ok(coinbase),
    }
}

fn fits(encoded: &[u8], params: &Params) -> Result<(), RuleError> {
    let (size, limit) = (encoded.len(), params.spec().max_block_bytes);
    if u32::try_from(size).is_ok_and(|size| size <= limit) {
        Ok(())
    } else {
        Err(RuleError::BlockTooLarge { size, limit })
    }
}

fn no_transaction_twice(ids: &[Id]) -> Result<(), RuleError> {
    let mut met = HashSet::with_capacity(ids.len());
    match ids.iter().find(|id| !met.insert(**id)) {
        Some(id) => Err(RuleError::DuplicateTransaction { id: *id }),
        None => Ok(()),
    }
}

fn amounts_of_transfers_are_in_range(
    block: &Block,
    ids: &[Id],
) -> Result<Vec<TransferDetails>, RuleError> {
    let transfers = block.transfers().zip(ids.iter().skip(1));
    transfers.map(|((_, transfer), id)| amounts_are_in_range(transfer, *id)).collect()
}

/// A reward that becomes spendable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reward {
    /// Who mined it.
    pub recipient: Address,
    /// Subsidy and fees.
    pub amount: Amount,
}

/// Where a block stands.
#[derive(Clone, Copy, Debug)]
pub struct BlockContext {
    /// One above the parent's.
    pub height: Height,
    /// The reward of the block `maturity` earlier, if there is one.
    pub matured: Option<Reward>,
}

/// Why a block could not be connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError<E> {
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// An account could not be read.
    #[error("an account cannot be read: {0}")]
    View(E),
}

/// Applies a block to its parent's accounts; what it changed. After an error the overlay and the
/// commitment are of no use any more.
pub fn connect<V: AccountView>(
    block: &CheckedBlock,
    context: &BlockContext,
    params: &Params,
    overlay: &mut Overlay<V>,
    commitment: &mut LtHash,
    threads: usize,
) -> Result<Vec<AccountChange>, ConnectError<V::Error>> {
    coinbase_names_the_height(block, context)?;
    mature(overlay, context)?;
    let mut fees = Amount::ZERO;
    for details in block.transfers() {
        apply(overlay, details)?;
        let overflow = RuleError::AmountOverflow { id: details.id };
        fees = fees.checked_add(details.fee).ok_or(overflow)?;
    }
    reward_is_subsidy_and_fees(block, params.subsidy(context.height), fees)?;
    let changes = overlay.end_block();
    commitment.apply(&changes, threads);
    coinbase_commits_to_accounts(block, commitment)?;
    Ok(changes)
}

fn coinbase_names_the_height(
    block: &CheckedBlock,
    context: &BlockContext,
) -> Result<(), RuleError> {
    let (expected, actual) = (context.height, block.coinbase.height);
    let wrong = RuleError::WrongCoinbaseHeight { expected, actual };
    if actual == expected { Ok(()) } else { Err(wrong) }
}

/// Credits the reward that becomes spendable at this place.
pub(crate) fn mature<V: AccountView>(
    overlay: &mut Overlay<V>,
    context: &BlockContext,
) -> Result<(), ConnectError<V::Error>> {
    let Some(Reward { recipient, amount }) = context.matured else { return Ok(()) };
    if amount == Amount::ZERO {
        return Ok(());
    }
    let account = overlay.account(&recipient).map_err(ConnectError::View)?;
    let balance = account
        .balance
        .checked_add(amount)
        .expect("all that is ever issued fits into one balance, as `Params::new` checks");
    overlay.set(recipient, Account { balance, ..account }).map_err(ConnectError::View)
}

/// Moves money: debits, raises the nonce, then credits. A transfer that cannot be applied changes
/// nothing.
pub(crate) fn apply<V: AccountView>(
    overlay: &mut Overlay<V>,
    details: &TransferDetails,
) -> Result<(), ConnectError<V::Error>> {
    let sender = overlay.account(&details.sender).map_err(ConnectError::View)?;
    let debited = Account {
        nonce: nonce_is_next(&sender, details)?,
        balance: balance_covers_cost(&sender, details)?,
    };
    let recipient = if details.recipient == details.sender {
        debited
    } else {
        overlay.account(&details.recipient).map_err(ConnectError::View)?
    };
    let balance = recipient
        .balance
        .checked_add(details.amount)
        .ok_or(RuleError::AmountOverflow { id: details.id })?;
    overlay.set(details.sender, debited).map_err(ConnectError::View)?;
    overlay.set(details.recipient, Account { balance, ..recipient }).map_err(ConnectError::View)
}

/// The nonce after the transfer.
fn nonce_is_next(sender: &Account, details: &TransferDetails) -> Result<u64, RuleError> {
    let (expected, actual) = (sender.nonce, details.nonce);
    let next = actual.checked_add(1).filter(|_| actual == expected);
    next.ok_or(RuleError::BadNonce { id: details.id, expected, actual })
}

/// The balance after the debit.
fn balance_covers_cost(sender: &Account, details: &TransferDetails) -> Result<Amount, RuleError> {
    sender.balance.checked_sub(details.cost).ok_or(RuleError::InsufficientBalance {
        id: details.id,
        needed: details.cost.units(),
        available: sender.balance.units(),
    })
}

fn reward_is_subsidy_and_fees(
    block: &CheckedBlock,
    subsidy: Amount,
    fees: Amount,
) -> Result<(), RuleError> {
    // Both are at most 2^53 − 1, so their sum is far below 2^64.
    let expected = subsidy.units().saturating_add(fees.units());
    let actual = block.coinbase.reward;
    if actual == expected { Ok(()) } else { Err(RuleError::WrongReward { expected, actual }) }
}

fn coinbase_commits_to_accounts(
    block: &CheckedBlock,
    commitment: &LtHash,
) -> Result<(), RuleError> {
    let (expected, actual) = (commitment.digest(), block.coinbase.commitment);
    if actual == expected { Ok(()) } else { Err(RuleError::WrongAccounts { expected, actual }) }
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)] // overflow is a failed test
mod tests {
    use super::*;
    use crate::block::{Header, Timestamp};
    use crate::signature::SecretKey;
    use crate::tx::{Memo, Payment, Tag, Transfer};
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::convert::Infallible;

    /// Counts how often it is asked.
    struct Counting<'a> {
        accounts: &'a HashMap<Address, Account>,
        reads: &'a Cell<usize>,
    }

    impl AccountView for Counting<'_> {
        type Error = Infallible;

        fn account(&self, address: &Address) -> Result<Account, Infallible> {
            self.reads.set(self.reads.get() + 1);
            self.accounts.account(address)
        }
    }

    /// Account reads for connecting a block of so many transfers, each of another sender.
    fn reads_for(transfers: u8, params: &Params) -> usize {
        let keys: Vec<_> = (0..transfers).map(|n| SecretKey::from_seed([n; 32])).collect();
        let funded = Account { balance: Amount::new(10).unwrap(), nonce: 0 };
        let accounts = keys.iter().map(|key| (key.public_key().address(), funded)).collect();
        let coinbase = Coinbase {
            height: Height::new(1),
            extra_nonce: [0; 8],
            tag: Tag::default(),
            reward: params.subsidy(Height::new(1)).units() + u64::from(transfers),
            recipient: Address::ZERO,
            commitment: [0; 32],
        };
        let mut transactions = vec![Transaction::Coinbase(coinbase)];
        for (n, key) in (0..).zip(&keys) {
            let recipient = Address::from_bytes([n; 20]);
            let payment = Payment { nonce: 0, recipient, amount: 1, fee: 1, memo: Memo::default() };
            let transfer = Transfer::sign(payment, key, params.genesis_hash());
            transactions.push(Transaction::Transfer(transfer));
        }
        let ids: Vec<Id> = transactions.iter().map(Transaction::id).collect();
        let header = Header {
            version: Header::VERSION,
            previous: params.genesis_hash(),
            merkle_root: merkle::root(&ids),
            time: Timestamp::default(),
            bits: params.spec().genesis_bits,
            nonce: 0,
        };
        let block = check(Block { header, transactions }, params, |_| false, 1).unwrap();
        let reads = Cell::new(0);
        let mut overlay = Overlay::new(Counting { accounts: &accounts, reads: &reads });
        let context = BlockContext { height: Height::new(1), matured: None };
        let mut commitment = LtHash::empty();
        let connected = connect(&block, &context, params, &mut overlay, &mut commitment, 1);
        // Everything but the commitment, which comes last, is right.
        let error = connected.unwrap_err();
        assert!(matches!(error, ConnectError::Rule(RuleError::WrongAccounts { .. })), "{error}");
        reads.get()
    }

    // C39
    #[test]
    fn twice_the_transfers_read_twice_the_accounts() {
        let params = Params::dev();
        let (some, twice) = (reads_for(40, &params), reads_for(80, &params));
        assert!(some >= 80, "each transfer reads its sender and its recipient");
        assert_eq!(twice, 2 * some);
    }
}
