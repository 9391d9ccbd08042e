//! Offline verification of a data directory: every record of the log and every rule from genesis
//! on, with accounts in memory and without the index; then the index against these accounts. It
//! writes nothing to the directory, which may be on read-only media: the part of the index that cannot
//! be opened without writing is copied first.

use super::error::{OpenError, VerifyError};
use super::interrupt::Interrupt;
use super::load::{
    LoadError, Loaded, index_identity, load_index, name_lost_blocks, visit_accounts,
};
use super::memory_chain::{MemoryChain, VerifyReport};
use super::open::Options;
use super::records::LoggedRecord;
use super::schema;
use crate::accounts::Account;
use crate::address::Address;
use crate::params::Params;
use crate::store::blocks::{BlockLog, LogError, LogPosition, Truncation};
use crate::store::directory::{ReadOnlyDirectory, ShutdownKind};
use crate::store::index::{self, Index, Opened};
use crate::store::invalidated::List;
use crate::store::sorted_run::RunFolder;
use crate::store::{StoreError, invalidated};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Progress of verifying a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyProgress {
    /// The log ends in an incomplete record, which the next start removes.
    IncompleteRecord(Truncation),
    /// Blocks were verified.
    Verified {
        /// The number of verified blocks.
        done: usize,
        /// The total number of blocks.
        total: usize,
    },
}

impl fmt::Display for VerifyProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyProgress::IncompleteRecord(Truncation { path, offset, bytes }) => write!(
                f,
                "{} ends in an incomplete record of {bytes} bytes at byte {offset}, which the next \
                 start removes",
                path.display()
            ),
            VerifyProgress::Verified { done, total } => {
                write!(f, "verified blocks: {done} of {total}")
            }
        }
    }
}

/// Verifies the data directory at a path, and writes nothing to it. `scratch` is an empty folder
/// with room for a copy of the folder `index`, which the caller removes.
///
/// # Errors
/// Returns the first [`VerifyError`].
pub fn verify(
    path: &Path,
    params: &Params,
    options: &Options,
    scratch: &Path,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, VerifyError> {
    let directory =
        ReadOnlyDirectory::open(path, params.genesis_hash()).map_err(StoreError::from)?;
    let index = IndexCopy::open(path, directory.last_shutdown(), scratch, params, options)?;
    let index = index.check_log(&path.join("blocks"))?;

    let mut records = Vec::new();
    let visit = |kind, location, payload: &[u8]| {
        records.push(LoggedRecord::new(kind, location, payload)?);
        Ok::<_, OpenError>(())
    };
    let (log, incomplete) = BlockLog::scan(&path.join("blocks"), LogPosition::START, visit)?;
    incomplete.into_iter().for_each(|it| progress(VerifyProgress::IncompleteRecord(it)));
    let invalidated = invalidated::read(path, List::Invalidated).map_err(StoreError::from)?;
    let mut chain = MemoryChain::new(params, log, options.threads, invalidated, records)?;
    chain.replay(&mut |done, total| progress(VerifyProgress::Verified { done, total }))?;
    chain.check_supply()?;
    let mut report = chain.report();
    report.unused_index = match index {
        IndexCopy::Damaged { reason } => return Err(VerifyError::Index { reason }),
        IndexCopy::Unused { reason } => Some(reason),
        IndexCopy::Usable(loaded) => check_index(&mut chain, &loaded)?,
    };
    Ok(report)
}

/// A copy of the index, as the next start would find the index.
enum IndexCopy {
    Usable(Box<Loaded>),
    /// The next start rebuilds the index, which is no sign of damage.
    Unused {
        reason: String,
    },
    /// The index changed since a clean shutdown.
    Damaged {
        reason: String,
    },
}

impl IndexCopy {
    fn open(
        path: &Path,
        last_shutdown: ShutdownKind,
        scratch: &Path,
        params: &Params,
        options: &Options,
    ) -> Result<IndexCopy, VerifyError> {
        let unusable = |reason: String| match last_shutdown {
            ShutdownKind::Clean => IndexCopy::Damaged { reason },
            _ => IndexCopy::Unused { reason },
        };
        let (folder, copy) = (path.join("index"), scratch.join("index"));
        if !folder.exists() {
            return Ok(IndexCopy::Unused { reason: "there is none".into() });
        }
        if last_shutdown == ShutdownKind::Clean
            && let Some(reason) = index::checksum_mismatch(&folder)
        {
            return Ok(unusable(reason));
        }
        for name in ["index", "index.sum"] {
            copy_all(&path.join(name), &scratch.join(name))
                .map_err(|error| VerifyError::Copy { path: scratch.to_owned(), error })?;
        }
        let identity = index_identity(params);
        let opened = Index::open(&copy, last_shutdown, &identity, options.memory().engine);
        let (index, opened) = opened.map_err(StoreError::from)?;
        if let Opened::Replaced { reason } = opened {
            return Ok(IndexCopy::Unused { reason });
        }
        // Opening runs writes nothing.
        let runs = RunFolder::new(&path.join("runs"), schema::filter_key);
        match load_index(&index, &runs, params, last_shutdown, &Interrupt::default()) {
            Ok(Some(loaded)) => Ok(IndexCopy::Usable(Box::new(loaded))),
            Ok(None) => Ok(IndexCopy::Unused { reason: "it is empty".into() }),
            Err(LoadError::IndexUnusable(reason)) => Ok(unusable(reason)),
            Err(LoadError::Fatal(error)) => Err(error.into()),
        }
    }

    /// Checks that the log does not end before the position up to which the index covers it.
    fn check_log(self, blocks: &Path) -> Result<IndexCopy, OpenError> {
        let IndexCopy::Usable(loaded) = &self else { return Ok(self) };
        match BlockLog::scan(blocks, loaded.covered, |_, _, _| Ok::<_, LogError>(())) {
            Ok(_) => Ok(self),
            Err(LogError::NotCovered(_)) => {
                Ok(IndexCopy::Unused { reason: "it belongs to another block log".into() })
            }
            Err(error) => Err(name_lost_blocks(error.into(), loaded)),
        }
    }
}

/// Copies a file, or a folder with everything in it, if it exists. The copies are writable.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy_all(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.exists() {
        io::copy(&mut File::open(from)?, &mut File::create(to)?)?;
    }
    Ok(())
}

/// Compares the index with the accounts at its tip. After an unclean shutdown that may be another
/// tip than the best one. Returns the reason if the index cannot be compared.
fn check_index(chain: &mut MemoryChain, loaded: &Loaded) -> Result<Option<String>, VerifyError> {
    let Some(tip) = chain.find(&loaded.tip_hash()) else {
        return Ok(Some("it belongs to another block log".into()));
    };
    if !chain.move_tip(tip)? {
        return Ok(Some("its tip is an invalid block".into()));
    }
    let (accounts, mut found) = (chain.accounts(), HashMap::new());
    visit_accounts(&loaded.runs, |address, row| {
        found.insert(address, row.account);
        Ok(())
    })
    .map_err(|error| match error {
        LoadError::IndexUnusable(reason) => VerifyError::Index { reason },
        LoadError::Fatal(error) => error.into(),
    })?;
    let account = |accounts: &HashMap<Address, Account>, address: &Address| {
        accounts.get(address).copied().unwrap_or_default()
    };
    let addresses: BTreeSet<&Address> = accounts.keys().chain(found.keys()).collect();
    for address in addresses {
        let (found, expected) = (account(&found, address), account(accounts, address));
        if found != expected {
            return Err(VerifyError::Account { address: *address, found, expected });
        }
    }
    Ok(None)
}
