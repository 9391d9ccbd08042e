//! Offline verification of a data directory: every record of the log, and every rule from genesis
//! on, with accounts in memory and without the index; then the index against these accounts.
//! Opening the directory for verification makes the same repairs as starting a node.

use super::open::{OpenError, OpenProgress, Options, open};
use super::schema;
use super::view::View;
use super::writer::Writer;
use crate::accounts::{Account, AccountView, LtHash, Overlay, Undo};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Height};
use crate::block_index::{BlockNode, NodeId};
use crate::params::Params;
use crate::rules::body::{self, ConnectError};
use crate::rules::{RuleError, header};
use crate::store::StoreError;
use crate::store::blocks::RecordLocation;
use std::collections::HashMap;
use std::path::Path;

/// The report of a successful verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// The height of the best block.
    pub height: Height,
    /// The hash of the best block.
    pub tip: block::Hash,
    /// The number of blocks in the log, including side branches.
    pub blocks: usize,
    /// The number of transfers in the best chain.
    pub transfers: u64,
    /// The number of accounts that are not absent.
    pub accounts: usize,
    /// The total issuance, including immature rewards.
    pub issued: Amount,
    /// The digest of all accounts, to which the best block commits.
    pub commitment: [u8; 32],
}

/// An error of verifying a data directory.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A block of the best chain breaks a rule.
    #[error("block {hash} at height {height} is invalid: {}: {error}", error.code())]
    Block {
        /// The height of the block.
        height: Height,
        /// The hash of the block.
        hash: block::Hash,
        /// The rule that the block breaks.
        error: RuleError,
    },
    /// An account in the index differs from the account that follows from the blocks.
    #[error(
        "the index has balance {1} and nonce {2} for account {0}, but the blocks result in {3} and \
         {4}: delete the folder `index` in the data directory and start again",
        hex::encode(address.as_bytes()), found.balance.units(), found.nonce,
        expected.balance.units(), expected.nonce
    )]
    Account {
        /// The address of the account.
        address: Address,
        /// The account in the index.
        found: Account,
        /// The account that follows from the blocks.
        expected: Account,
    },
    /// The undo data of a block does not match its changes.
    #[error(
        "wrong undo data of block {hash} at height {height} in block file {} at offset {}: restore \
         the file from a backup or another node's data directory",
        location.file, location.offset
    )]
    Undo {
        /// The height of the block.
        height: Height,
        /// The hash of the block.
        hash: block::Hash,
        /// The location of the undo record.
        location: RecordLocation,
    },
    /// The sum of all accounts differs from the issuance.
    #[error(
        "balances and immature rewards sum up to {found} base units, but {expected} were issued"
    )]
    Supply {
        /// The sum of all balances and immature rewards, in base units.
        found: u64,
        /// The sum of all allocations and subsidies, in base units.
        expected: u64,
    },
}

impl From<StoreError> for VerifyError {
    fn from(error: StoreError) -> Self {
        VerifyError::Open(error.into())
    }
}

/// Verifies the data directory at a path. Calls `opening` with the progress of opening it, and
/// `progress` with the number of verified blocks and their total number.
///
/// # Errors
/// Returns the first [`VerifyError`].
pub fn verify(
    path: &Path,
    params: Params,
    options: Options,
    opening: &mut dyn FnMut(OpenProgress),
    progress: &mut dyn FnMut(u32, u32),
) -> Result<VerifyReport, VerifyError> {
    let threads = options.threads;
    let (writer, reader) = open(path, params, options, opening)?;
    let view = reader.view();
    let replayed = replay(&view, threads, progress)?;
    check_index(&writer, &replayed.accounts)?;
    check_supply(&view, &replayed.accounts)?;
    check_side_branches(&view)?;
    let verified = VerifyReport {
        height: view.tip().height,
        tip: view.tip().hash,
        blocks: view.block_count(),
        transfers: replayed.transfers,
        accounts: replayed.accounts.len(),
        issued: view.params().issued(view.tip().height),
        commitment: replayed.accounts_hash.digest(),
    };
    drop(view);
    writer.close()?;
    Ok(verified)
}

struct Replayed {
    accounts: HashMap<Address, Account>,
    accounts_hash: LtHash,
    transfers: u64,
}

fn replay(
    view: &View,
    threads: usize,
    progress: &mut dyn FnMut(u32, u32),
) -> Result<Replayed, VerifyError> {
    /// The number of blocks between two calls of `progress`.
    const STEP: u32 = 256;
    let params = view.params();
    let tip = view.tip().height.get();
    let mut accounts: HashMap<Address, Account> = params
        .spec()
        .allocations
        .iter()
        .map(|(address, balance)| (*address, Account { balance: *balance, nonce: 0 }))
        .collect();
    let mut accounts_hash = params.genesis_accounts_hash().clone();
    let mut transfers = 0;
    for height in 1..=tip {
        if height % STEP == 0 {
            progress(height, tip);
        }
        let node = node_at(view, height);
        let invalid = |error| VerifyError::Block { height: node.height, hash: node.hash, error };
        let block = view.block(node)?;
        let parent = node_at(view, height - 1);
        check_header(view, node, parent, &block.header).map_err(invalid)?;
        let checked = body::check(block, params, |_| false, threads).map_err(invalid)?;
        transfers += checked.transfers().len() as u64;
        let maturity = params.spec().maturity;
        let matured = height.checked_sub(maturity).filter(|matured| *matured > 0);
        let matured = matured.map(|matured| {
            let node = node_at(view, matured);
            body::Reward { recipient: node.miner, amount: node.reward }
        });
        let context = body::BlockContext { height: node.height, matured };
        let mut overlay = Overlay::new(&accounts);
        let changes =
            body::connect(&checked, &context, params, &mut overlay, &mut accounts_hash, threads);
        let changes = match changes {
            Ok(changes) => changes,
            Err(ConnectError::Rule(error)) => return Err(invalid(error)),
            Err(ConnectError::View(never)) => match never {},
        };
        if view.undo(node)? != Undo::of(&changes) {
            let location = node.undo().expect("a block of the best chain is valid");
            return Err(VerifyError::Undo { height: node.height, hash: node.hash, location });
        }
        accounts.extend(changes.iter().map(|change| (change.address, change.after)));
    }
    progress(tip, tip);
    accounts.retain(|_, account| !account.is_absent());
    Ok(Replayed { accounts, accounts_hash, transfers })
}

fn node_at<'a>(view: &'a View, height: u32) -> &'a BlockNode {
    view.at_height(Height::new(height))
        .expect("the best chain has a block at every height up to its tip")
}

fn check_header(
    view: &View,
    node: &BlockNode,
    parent: &BlockNode,
    found: &block::Header,
) -> Result<(), RuleError> {
    let params = view.params();
    header::check_standalone(found, params)?;
    header::check_contextual(found, &view.as_parent(parent), params, node.time)
}

/// Compares the accounts in the index with the replayed accounts.
fn check_index(writer: &Writer, accounts: &HashMap<Address, Account>) -> Result<(), VerifyError> {
    let mut present = 0;
    for row in writer.index.scan_prefix(schema::ACCOUNTS) {
        let (key, value) = row.map_err(StoreError::from)?;
        let parsed = schema::account_address(&key).zip(schema::AccountRow::decode(&value));
        let (address, row) = parsed.ok_or(StoreError::BadRow { key })?;
        let expected = accounts.get(&address).copied().unwrap_or_default();
        if row.account != expected {
            return Err(VerifyError::Account { address, found: row.account, expected });
        }
        present += usize::from(!expected.is_absent());
    }
    if present == accounts.len() {
        return Ok(());
    }
    let reader = writer.reader();
    let view = reader.view();
    for (address, expected) in accounts {
        let found = view.account(address)?;
        if found != *expected {
            return Err(VerifyError::Account { address: *address, found, expected: *expected });
        }
    }
    Ok(())
}

fn check_supply(view: &View, accounts: &HashMap<Address, Account>) -> Result<(), VerifyError> {
    let tip = view.tip().height.get();
    let first_immature = tip.saturating_sub(view.params().spec().maturity).saturating_add(1).max(1);
    let immature: u64 =
        (first_immature..=tip).map(|height| node_at(view, height).reward.units()).sum();
    let balances: u64 = accounts.values().map(|account| account.balance.units()).sum();
    let expected = view.params().issued(view.tip().height).units();
    let found = balances.saturating_add(immature);
    if found == expected { Ok(()) } else { Err(VerifyError::Supply { found, expected }) }
}

/// Reads the blocks of side branches, which are not replayed.
fn check_side_branches(view: &View) -> Result<(), StoreError> {
    for id in 0..view.block_count() {
        let node = view.node(NodeId::new(u32::try_from(id).expect("ids are u32")));
        if !view.is_in_best_chain(node) {
            view.block(node)?;
        }
    }
    Ok(())
}
