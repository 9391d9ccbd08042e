//! The rules of a body: that the header commits to it, alone, then on the accounts of its parent.
//! [`check`] validates a [`Block`] alone and returns a [`CheckedBlock`], and [`connect`] applies
//! that to accounts in memory.
//! Source: PROTOCOL.md, "Rules" and "Applying a block".

#![deny(clippy::arithmetic_side_effects)]

use super::RuleError;
use super::tx::{CheckedTransfer, TransferDetails, amounts_are_in_range, signature_check};
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

/// A block whose body is valid alone and is the one that its header commits to. Only [`check`] and
/// [`check_all`] create it.
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
    /// The block that was checked.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// The hash of the block.
    pub fn hash(&self) -> block::Hash {
        self.hash
    }

    /// The ids of all transactions, in order.
    pub fn ids(&self) -> &[Id] {
        &self.ids
    }

    /// The coinbase, which is transaction 0.
    pub fn coinbase(&self) -> &Coinbase {
        &self.coinbase
    }

    /// The effects of the transfers, in order: transaction 1 is the first.
    pub fn transfers(&self) -> &[TransferDetails] {
        &self.transfers
    }

    /// The canonical encoding of the block.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Returns the transfers of the block, in order.
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

/// Validates the body of a block alone, and that the header commits to it.
///
/// Signatures are verified on a number of threads. `is_known` returns whether this node has already
/// verified the signature of the transfer with an id; the id commits to the signature.
pub fn check(
    block: impl Into<Arc<Block>>,
    params: &Params,
    is_known: impl Fn(&Id) -> bool,
    threads: usize,
) -> Result<CheckedBlock, RuleError> {
    Ok(check_unsigned(block, params, is_known)?.verify_beside(threads, |_| ())?.0)
}

/// Validates the body of a block alone as [`check`] does, except for the signatures, which
/// [`UnverifiedBlock::verify_beside`] verifies.
pub fn check_unsigned(
    block: impl Into<Arc<Block>>,
    params: &Params,
    is_known: impl Fn(&Id) -> bool,
) -> Result<UnverifiedBlock, RuleError> {
    let (block, checks) = check_without_signatures(block.into(), params, is_known)?;
    Ok(UnverifiedBlock { checks, ..block })
}

/// Validates the bodies of several blocks, with the same results as [`check`] for each of them.
/// Their signatures are verified together, which is faster.
pub fn check_all(
    blocks: Vec<Arc<Block>>,
    params: &Params,
    is_known: impl Fn(&Id) -> bool,
    threads: usize,
) -> Vec<Result<CheckedBlock, RuleError>> {
    let (mut unverified, mut checks) = (Vec::with_capacity(blocks.len()), Vec::new());
    for block in blocks {
        unverified.push(check_without_signatures(block, params, &is_known).map(
            |(block, mut own)| {
                checks.append(&mut own);
                block
            },
        ));
    }
    if signature::verify_all(&checks, threads).is_ok() {
        return unverified.into_iter().map(|block| Ok(block?.block)).collect();
    }
    let mut rest = checks.as_slice();
    let mut verify = |block: UnverifiedBlock| {
        let (own, others) = rest.split_at(block.unknown.len());
        rest = others;
        UnverifiedBlock { checks: own.to_vec(), ..block }.verify_beside(threads, |_| ())
    };
    unverified.into_iter().map(|block| Ok(block.and_then(&mut verify)?.0)).collect()
}

/// A block that is valid alone if its signatures are.
pub struct UnverifiedBlock {
    block: CheckedBlock,
    /// The transfers whose signatures are not verified yet, in order.
    unknown: Vec<Id>,
    checks: Vec<SignatureCheck>,
}

impl From<CheckedBlock> for UnverifiedBlock {
    fn from(block: CheckedBlock) -> UnverifiedBlock {
        UnverifiedBlock { block, unknown: Vec::new(), checks: Vec::new() }
    }
}

impl UnverifiedBlock {
    /// The hash of the block.
    pub fn hash(&self) -> block::Hash {
        self.block.hash
    }

    /// Verifies the signatures on a number of threads, of which this one does some work with the
    /// block first. The result of the work is lost if a signature is invalid.
    pub fn verify_beside<T>(
        self,
        threads: usize,
        work: impl FnOnce(&CheckedBlock) -> T,
    ) -> Result<(CheckedBlock, T), RuleError> {
        let UnverifiedBlock { block, unknown, checks } = self;
        match signature::verify_beside(&checks, threads, || work(&block)) {
            (Ok(()), result) => Ok((block, result)),
            (Err(at), _) => Err(RuleError::BadSignature { id: unknown[at] }),
        }
    }
}

fn check_without_signatures(
    block: Arc<Block>,
    params: &Params,
    is_known: impl Fn(&Id) -> bool,
) -> Result<(UnverifiedBlock, Vec<SignatureCheck>), RuleError> {
    let (encoded, ids) = block.encode_with_ids();
    let (root, is_mutated) = merkle::root_and_mutation(&ids);
    body_is_not_mutated(is_mutated)?;
    merkle_root_matches(&block, root)?;
    let coinbase = starts_with_its_only_coinbase(&block)?.clone();
    size_is_within_limit(&encoded, params)?;
    transactions_are_distinct(&ids)?;
    let transfers = amounts_of_transfers_are_in_range(&block, &ids)?;
    let (mut unknown, mut checks) = (Vec::new(), Vec::new());
    for ((_, transfer), details) in block.transfers().zip(&transfers) {
        if !is_known(&details.id) {
            unknown.push(details.id);
            checks.push(signature_check(transfer, params.genesis_hash()));
        }
    }
    let hash = block.hash();
    let block = CheckedBlock { block, hash, ids, coinbase, transfers, encoded };
    Ok((UnverifiedBlock { block, unknown, checks: Vec::new() }, checks))
}

fn body_is_not_mutated(is_mutated: bool) -> Result<(), RuleError> {
    if is_mutated { Err(RuleError::MutatedBody) } else { Ok(()) }
}

fn merkle_root_matches(block: &Block, actual: merkle::Root) -> Result<(), RuleError> {
    let expected = block.header.merkle_root;
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

fn size_is_within_limit(encoded: &[u8], params: &Params) -> Result<(), RuleError> {
    let (size, limit) = (encoded.len(), params.spec().max_block_bytes);
    if u32::try_from(size).is_ok_and(|size| size <= limit) {
        Ok(())
    } else {
        Err(RuleError::BlockTooLarge { size, limit })
    }
}

fn transactions_are_distinct(ids: &[Id]) -> Result<(), RuleError> {
    let mut seen = HashSet::with_capacity(ids.len());
    match ids.iter().find(|id| !seen.insert(**id)) {
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

/// The reward of an earlier block, which matures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reward {
    /// The account that receives the reward.
    pub recipient: Address,
    /// The sum of subsidy and fees.
    pub amount: Amount,
}

/// The context of a block in its chain.
#[derive(Clone, Copy, Debug)]
pub struct BlockContext {
    /// The height of the block, one above that of its parent.
    pub height: Height,
    /// The reward that matures in the block: that of the block `maturity` blocks earlier, if any.
    pub matured: Option<Reward>,
}

/// The error of [`connect`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError<E> {
    /// The block breaks a rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// An account could not be read.
    #[error("an account cannot be read: {0}")]
    View(E),
}

/// Applies a block to the accounts of its parent, and returns the changed accounts.
///
/// `commitment` is updated on a number of threads. After an error, the overlay and the commitment
/// are in an unspecified state.
pub fn connect<V: AccountView>(
    block: &CheckedBlock,
    context: &BlockContext,
    params: &Params,
    overlay: &mut Overlay<V>,
    commitment: &mut LtHash,
    threads: usize,
) -> Result<Vec<AccountChange>, ConnectError<V::Error>> {
    coinbase_has_block_height(block, context)?;
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

fn coinbase_has_block_height(
    block: &CheckedBlock,
    context: &BlockContext,
) -> Result<(), RuleError> {
    let (expected, actual) = (context.height, block.coinbase.height);
    let wrong = RuleError::WrongCoinbaseHeight { expected, actual };
    if actual == expected { Ok(()) } else { Err(wrong) }
}

/// Credits the reward that matures in the block.
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
        .expect("all issuance is at most one balance, as `Params::new` checks");
    overlay.replace(recipient, account, Account { balance, ..account });
    Ok(())
}

/// Applies a transfer: debits the sender, increments the nonce, then credits the recipient. A
/// transfer that cannot be applied changes nothing.
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
    overlay.replace(details.sender, sender, debited);
    overlay.replace(details.recipient, recipient, Account { balance, ..recipient });
    Ok(())
}

/// Checks the nonce, and returns the sender's nonce after the transfer.
fn nonce_is_next(sender: &Account, details: &TransferDetails) -> Result<u64, RuleError> {
    let (expected, actual) = (sender.nonce, details.nonce);
    let next = actual.checked_add(1).filter(|_| actual == expected);
    next.ok_or(RuleError::BadNonce { id: details.id, expected, actual })
}

/// Checks the balance, and returns the sender's balance after the debit.
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

    /// A view that counts its reads.
    struct CountingView<'a> {
        accounts: &'a HashMap<Address, Account>,
        reads: &'a Cell<usize>,
    }

    impl AccountView for CountingView<'_> {
        type Error = Infallible;

        fn account(&self, address: &Address) -> Result<Account, Infallible> {
            self.reads.set(self.reads.get() + 1);
            self.accounts.account(address)
        }
    }

    /// The number of account reads that connect a block of transfers, each of another sender.
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
        let mut overlay = Overlay::new(CountingView { accounts: &accounts, reads: &reads });
        let context = BlockContext { height: Height::new(1), matured: None };
        let mut commitment = LtHash::empty();
        let connected = connect(&block, &context, params, &mut overlay, &mut commitment, 1);
        // Only the commitment, which is checked last, is wrong.
        let error = connected.unwrap_err();
        assert!(matches!(error, ConnectError::Rule(RuleError::WrongAccounts { .. })), "{error}");
        reads.get()
    }

    // C39
    #[test]
    fn account_reads_are_linear_in_transfers() {
        let params = Params::dev();
        let (some, twice) = (reads_for(40, &params), reads_for(80, &params));
        assert!(some >= 80, "each transfer reads its sender and its recipient");
        assert_eq!(twice, 2 * some);
    }
}
