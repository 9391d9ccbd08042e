//! The file of the workers, `DATA/workers.jsonl`: one JSON object in each line, an account or the
//! removal of one. The last line of a worker holds, and none adds to another, so that no share counts
//! twice. Changes are appended, and the file is replaced by a shorter one when it has grown.
//!
//! It is not synced: a crash of the machine may lose more shares than one of the node.

use super::account::Account;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The name of the file in the data directory.
const FILE: &str = "workers.jsonl";
/// The name of the file of earlier versions, a JSON object with a list of accounts.
const EARLIER_FILE: &str = "stratum.json";
/// The bytes of changes after which the file is replaced, if they are more than it began with.
const MIN_CHANGES: u64 = 4 << 20;

/// A worker in the file: its address and its name.
type Key = (String, String);

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Line {
    /// The worker is not recorded any more.
    Removed { removed: Box<str>, name: Box<str> },
    /// The account of a worker.
    Account(Box<Account>),
}

/// The file of earlier versions.
#[derive(Debug, Deserialize)]
struct EarlierFile {
    workers: Vec<Account>,
}

/// The file, to which changes are appended.
pub(super) struct Journal {
    path: PathBuf,
    file: Option<File>,
    /// The bytes that the file began with.
    base: u64,
    /// The bytes appended since.
    changes: u64,
}

impl Journal {
    /// Reads the file of a data directory. Damaged lines are skipped, with a warning.
    pub(super) fn open(data: &Path) -> (Journal, Vec<Account>) {
        let path = data.join(FILE);
        let accounts = match fs::read(&path) {
            Ok(bytes) => accounts(&path, &bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => earlier(data),
            Err(error) => {
                tracing::warn!(
                    "cannot read {}, share counts start from zero: {error}",
                    path.display()
                );
                Vec::new()
            }
        };
        // The first change replaces it: its last line may be incomplete.
        (Journal { path, file: None, base: 0, changes: 0 }, accounts)
    }

    /// Whether the file has to be replaced before changes can be appended.
    pub(super) fn needs_rewrite(&self) -> bool {
        self.file.is_none() || self.changes > self.base.max(MIN_CHANGES)
    }

    /// Appends changes. On an error the file has to be replaced.
    pub(super) fn append(&mut self, lines: &[Line]) -> Result<()> {
        let bytes = encode(lines)?;
        let mut file = self.file.take().context("the file is not open")?;
        file.write_all(&bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.changes += bytes.len() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Replaces the file by one with these accounts, atomically.
    pub(super) fn rewrite(&mut self, lines: &[Line]) -> Result<()> {
        self.file = None;
        let bytes = encode(lines)?;
        let write = || {
            let directory = self.path.parent().unwrap_or(Path::new("."));
            let mut file = tempfile::NamedTempFile::new_in(directory)?;
            file.write_all(&bytes)?;
            Ok::<_, anyhow::Error>(file.persist(&self.path)?)
        };
        let file = write().with_context(|| format!("cannot write {}", self.path.display()))?;
        (self.file, self.base, self.changes) = (Some(file), bytes.len() as u64, 0);
        // What it contained is in the new file.
        let _ = fs::remove_file(self.path.with_file_name(EARLIER_FILE));
        Ok(())
    }
}

fn encode(lines: &[Line]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// The accounts of a file. An interrupted write leaves a damaged line at its end.
fn accounts(path: &Path, bytes: &[u8]) -> Vec<Account> {
    let (mut accounts, mut damaged) = (BTreeMap::<Key, Account>::new(), 0_u64);
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice(line) {
            Ok(Line::Account(account)) => {
                let key = (account.shares.address.clone(), account.shares.name.clone());
                accounts.entry(key).or_default().update(*account);
            }
            Ok(Line::Removed { removed, name }) => {
                accounts.remove(&(removed.into_string(), name.into_string()));
            }
            Err(_) => damaged += 1,
        }
    }
    if damaged > 0 {
        let path = path.display();
        tracing::warn!(
            damaged,
            "{path} is damaged: the shares in its damaged lines are not counted"
        );
    }
    accounts.into_values().collect()
}

/// The accounts in the file of an earlier version; none if there is none, or it is damaged.
fn earlier(data: &Path) -> Vec<Account> {
    let path = data.join(EARLIER_FILE);
    let Ok(bytes) = fs::read(&path) else { return Vec::new() };
    let file = serde_json::from_slice(&bytes).map(|EarlierFile { workers }| workers);
    file.unwrap_or_else(|error| {
        let path = path.display();
        tracing::warn!("{path} is damaged, share counts start from zero: {error}");
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::super::account::Interface;
    use super::*;
    use miner::stratum::ShareOutcome;

    fn account(name: &str, stale: u64) -> Line {
        let (address, name) = ("address".to_owned(), name.to_owned());
        let mut account = Account::new(address, name, Interface::Stratum, 1_800_000_000);
        for _ in 0..stale {
            account.count(ShareOutcome::Stale, None, 1_800_000_000);
        }
        Line::Account(Box::new(account))
    }

    fn stale(data: &Path) -> Vec<(String, u64)> {
        let (_, accounts) = Journal::open(data);
        accounts.into_iter().map(|it| (it.shares.name, it.shares.stale)).collect()
    }

    fn expected(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn last_line_of_a_worker_holds() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path());
        assert!(journal.needs_rewrite() && journal.append(&[account("a", 1)]).is_err());
        journal.rewrite(&[account("a", 1), account("b", 1)]).unwrap();
        journal.append(&[account("a", 2), account("c", 5)]).unwrap();
        journal.append(&[account("a", 3)]).unwrap();
        let removed = Line::Removed { removed: "address".into(), name: "c".into() };
        journal.append(&[removed]).unwrap();
        assert_eq!(stale(folder.path()), expected(&[("a", 3), ("b", 1)]));
        // The history is that of the last line, too.
        let (_, accounts) = Journal::open(folder.path());
        assert_eq!(accounts[0].hours[0].rejected, 3);
    }

    #[test]
    fn damaged_lines_cost_only_their_own_workers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let (mut journal, _) = Journal::open(folder.path());
        journal.rewrite(&[account("a", 1), account("b", 2), account("c", 3)]).unwrap();
        let intact = fs::read(&path).unwrap();
        let mut lines: Vec<&[u8]> = intact.split(|byte| *byte == b'\n').collect();
        lines[1] = b"\xff{]";
        fs::write(&path, lines.join(&b'\n')).unwrap();
        assert_eq!(stale(folder.path()), expected(&[("a", 1), ("c", 3)]));
        // Interrupted while it was written.
        fs::write(&path, &intact[..intact.len() - 20]).unwrap();
        assert_eq!(stale(folder.path()), expected(&[("a", 1), ("b", 2)]));
        let (mut journal, _) = Journal::open(folder.path());
        journal.rewrite(&[account("a", 4)]).unwrap();
        assert_eq!(stale(folder.path()), expected(&[("a", 4)]));
        for garbage in [&b"{"[..], b"\n\n", b"null", &[0; 4_096]] {
            fs::write(&path, garbage).unwrap();
            assert_eq!(stale(folder.path()), []);
        }
    }

    #[test]
    fn file_is_replaced_once_its_changes_are_many() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(folder.path());
        journal.rewrite(&[account("a", 0)]).unwrap();
        let changes: Vec<Line> = (0..1_000).map(|_| account("a", 1)).collect();
        while !journal.needs_rewrite() {
            journal.append(&changes).unwrap();
            assert!(journal.changes < 2 * MIN_CHANGES);
        }
        journal.rewrite(&[account("a", 1)]).unwrap();
        assert!(!journal.needs_rewrite());
        assert!(fs::metadata(folder.path().join(FILE)).unwrap().len() < 2_000);
        assert_eq!(stale(folder.path()), expected(&[("a", 1)]));
    }

    #[test]
    fn file_of_an_earlier_version_is_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EARLIER_FILE);
        let earlier = r#"{"workers":[{"address":"x","name":"rig","accepted":7,
            "accepted_difficulty":3.5,"stale":1,"duplicate":0,"low":0,"invalid":0,"blocks":2,
            "last_share":1800000000}]}"#;
        fs::write(&path, earlier).unwrap();
        assert_eq!(stale(folder.path()), expected(&[("rig", 1)]));
        let (mut journal, accounts) = Journal::open(folder.path());
        assert_eq!((accounts[0].shares.accepted, accounts[0].shares.blocks), (7, 2));
        journal.rewrite(&[account("rig", 2)]).unwrap();
        assert!(!path.exists());
        assert_eq!(stale(folder.path()), expected(&[("rig", 2)]));
        fs::remove_file(folder.path().join(FILE)).unwrap();
        fs::write(&path, "{").unwrap();
        assert_eq!(stale(folder.path()), []);
    }
}
