//! Checks a whole data directory without a node: every record of the log, every rule from genesis
//! on, on accounts kept in memory and nothing taken from the index; then the index against them.
//! Opens the directory as a start does, so it repairs what a start repairs.

use super::open::{OpenError, OpenProgress, Options, open};
use super::schema;
use super::{View, Writer};
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

/// What was found to be in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Of the best block.
    pub height: Height,
    /// Its hash.
    pub tip: block::Hash,
    /// Blocks in the log, side branches included.
    pub blocks: usize,
    /// Transfers in the best chain.
    pub transfers: u64,
    /// Accounts that are not absent.
    pub accounts: usize,
    /// All that exists, mature or not.
    pub issued: Amount,
    /// The commitment to the accounts.
    pub commitment: [u8; 32],
}

/// What was found not to be in order.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A block breaks a rule.
    #[error("block {hash} at height {height} is invalid: {}: {error}", error.code())]
    Block {
        /// Its height.
        height: Height,
        /// Its hash.
        hash: block::Hash,
        /// The rule.
        error: RuleError,
    },
    /// The index has another account than the blocks give.
    #[error(
        "the index is wrong about account {}: it has balance {} and nonce {}, the blocks give {} \
         and {}: delete the folder `index` in the data directory and start again",
        hex::encode(address.as_bytes()), found.balance.units(), found.nonce,
        expected.balance.units(), expected.nonce
    )]
    Account {
        /// Whose.
        address: Address,
        /// As the index has it.
        found: Account,
        /// As the blocks give it.
        expected: Account,
    },
    /// A block could not be taken back rightly.
    #[error(
        "what takes back block {hash} at height {height} is recorded wrongly in block file {} at \
         offset {}: restore the file from a backup or another node's data directory",
        location.file, location.offset
    )]
    Undo {
        /// Its height.
        height: Height,
        /// Its hash.
        hash: block::Hash,
        /// Where the record is.
        location: RecordLocation,
    },
    /// Money was made or lost.
    #[error(
        "balances and immature rewards are {found} base units together, {expected} were issued"
    )]
    Supply {
        /// Balances and immature rewards.
        found: u64,
        /// Allocations and subsidies.
        expected: u64,
    },
}

impl From<StoreError> for VerifyError {
    fn from(error: StoreError) -> Self {
        VerifyError::Open(error.into())
    }
}

/// Checks the data directory at a path; `progress` is told blocks done and in all.
pub fn verify(
    path: &Path,
    params: Params,
    options: Options,
    notice: &mut dyn FnMut(OpenProgress),
    progress: &mut dyn FnMut(u32, u32),
) -> Result<VerifyReport, VerifyError> {
    let threads = options.threads;
    let (writer, reader) = open(path, params, options, notice)?;
    let view = reader.view();
    let replayed = replay(&view, threads, progress)?;
    compare(&writer, &replayed.accounts)?;
    check_supply(&view, &replayed.accounts)?;
    every_record_is_whole(&view)?;
    let verified = VerifyReport {
        height: view.tip().height,
        tip: view.tip().hash,
        blocks: view.block_count(),
        transfers: replayed.transfers,
        accounts: replayed.accounts.len(),
        issued: view.params().issued(view.tip().height),
        commitment: replayed.commitment.digest(),
    };
    drop(view);
    writer.close()?;
    Ok(verified)
}

struct Replayed {
    accounts: HashMap<Address, Account>,
    commitment: LtHash,
    transfers: u64,
}

fn replay(
    view: &View,
    threads: usize,
    progress: &mut dyn FnMut(u32, u32),
) -> Result<Replayed, VerifyError> {
    /// Blocks between two calls of `progress`.
    const STEP: u32 = 256;
    let params = view.params();
    let tip = view.tip().height.get();
    let mut accounts: HashMap<Address, Account> = params
        .spec()
        .allocations
        .iter()
        .map(|(address, balance)| (*address, Account { balance: *balance, nonce: 0 }))
        .collect();
    let mut commitment = params.genesis_accounts_hash().clone();
    let mut transfers = 0;
    for height in 1..=tip {
        if height % STEP == 0 {
            progress(height, tip);
        }
        let node = at(view, height);
        let invalid = |error| VerifyError::Block { height: node.height, hash: node.hash, error };
        let block = view.block(node)?;
        let parent = at(view, height - 1);
        check_header(view, node, parent, &block.header).map_err(invalid)?;
        let checked = body::check(block, params, |_| false, threads).map_err(invalid)?;
        transfers += checked.transfers().len() as u64;
        let maturity = params.spec().maturity;
        let matured = height.checked_sub(maturity).filter(|matured| *matured > 0);
        let matured = matured.map(|matured| {
            let node = at(view, matured);
            body::Reward { recipient: node.miner, amount: node.reward }
        });
        let context = body::BlockContext { height: node.height, matured };
        let mut overlay = Overlay::new(&accounts);
        let changes =
            body::connect(&checked, &context, params, &mut overlay, &mut commitment, threads);
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
    Ok(Replayed { accounts, commitment, transfers })
}

fn at<'a>(view: &'a View, height: u32) -> &'a BlockNode {
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
    let grandparent_time =
        parent.height.checked_sub(1).and_then(|height| view.at_height(height)).map(|g| g.time);
    let parent = header::Parent { bits: parent.bits, time: parent.time, grandparent_time };
    header::check_contextual(found, &parent, params, node.time)
}

fn compare(writer: &Writer, accounts: &HashMap<Address, Account>) -> Result<(), VerifyError> {
    let mut met = 0;
    for row in writer.index.scan_prefix(schema::ACCOUNTS) {
        let (key, value) = row.map_err(StoreError::from)?;
        let parsed = schema::account_address(&key).zip(schema::AccountRow::decode(&value));
        let (address, row) = parsed.ok_or(StoreError::BadRow { key })?;
        let expected = accounts.get(&address).copied().unwrap_or_default();
        if row.account != expected {
            return Err(VerifyError::Account { address, found: row.account, expected });
        }
        met += usize::from(!expected.is_absent());
    }
    if met == accounts.len() {
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
    let immature: u64 = (first_immature..=tip).map(|height| at(view, height).reward.units()).sum();
    let balances: u64 = accounts.values().map(|account| account.balance.units()).sum();
    let expected = view.params().issued(view.tip().height).units();
    let found = balances.saturating_add(immature);
    if found == expected { Ok(()) } else { Err(VerifyError::Supply { found, expected }) }
}

/// Blocks of side branches are not replayed; their records must still be readable.
fn every_record_is_whole(view: &View) -> Result<(), StoreError> {
    for number in 0..view.block_count() {
        let number = NodeId::new(u32::try_from(number).expect("numbers are u32"));
        let node = view.node(number);
        if !view.is_in_best_chain(node) {
            view.block(node)?;
        }
    }
    Ok(())
}
