//! Snapshots of directories: copies by name in the directory `snapshots`, each complete or absent. Also
//! what a snapshot of a node's data directory contains, and how the data directory returns to it.
//!
//! Files are copied by the system, which shares their blocks where the file system can: Btrfs, XFS, APFS.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// Name of the directory with the snapshots.
pub const DIRECTORY: &str = "snapshots";
/// File of a snapshot that describes it.
pub const DESCRIPTION: &str = "snapshot.json";
/// The version of the format.
pub const VERSION: u32 = 1;
/// Most snapshots in a directory.
const MAX_SNAPSHOTS: usize = 1_000;
/// Longest name of a snapshot.
const MAX_NAME: usize = 64;
/// Start of the names of incomplete copies, which no snapshot has.
const INCOMPLETE: &str = ".incomplete-";
/// What of a data directory belongs to its present process, to the directory itself, or is a secret that
/// the chain does not depend on. A return to a snapshot does not change it.
const OWN: [&str; 8] = [
    "lock",
    "process",
    "node.log",
    "api-token",
    "index.reserve",
    DIRECTORY,
    DESCRIPTION,
    RETURN_FILE,
];
/// What of a data directory states that its process runs, or is paused. A return to a snapshot removes it.
const TRANSIENT: [&str; 2] = ["node.json", "paused"];
/// Start of the names of files that are being written.
pub const TEMPORARY: &str = ".tmp";
/// File that names the snapshot to which a directory is returning.
pub const RETURN_FILE: &str = "returning-to";

/// The name of a snapshot: letters, digits, `-`, `_` and `.`, of which the first is none of `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl FromStr for Name {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Name> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        ensure!(
            (1..=MAX_NAME).contains(&text.len())
                && text.chars().all(is_allowed)
                && !text.starts_with(['.', '-']),
            "`{text}` is not the name of a snapshot: use up to {MAX_NAME} letters, digits, `-`, `_` and `.`"
        );
        Ok(Name(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Name> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The snapshots in a directory.
#[derive(Clone, Debug)]
pub struct Store {
    owner: PathBuf,
}

impl Store {
    /// The snapshots of a testnet's directory, or of a data directory.
    pub fn of(owner: &Path) -> Store {
        Store { owner: owner.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.owner.join(DIRECTORY)
    }

    /// The names of all snapshots, sorted.
    pub fn names(&self) -> Result<Vec<Name>> {
        let mut names = Vec::new();
        for (name, _) in entries(&self.path())? {
            names.extend(name.parse::<Name>().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The directory of which these are the snapshots.
    pub fn owner(&self) -> &Path {
        &self.owner
    }

    /// Whether there is a snapshot.
    pub fn contains(&self, name: &Name) -> bool {
        self.path().join(&name.0).is_dir()
    }

    /// The directory of a snapshot, which exists.
    pub fn find(&self, name: &Name) -> Result<PathBuf> {
        let path = self.path().join(&name.0);
        if path.is_dir() {
            return Ok(path);
        }
        let names: Vec<String> = self.names()?.iter().map(Name::to_string).collect();
        match names.is_empty() {
            true => bail!("no snapshot `{name}`: there is none"),
            false => bail!("no snapshot `{name}`: there are {}", names.join(", ")),
        }
    }

    /// Creates a snapshot, whose content `fill` writes into a directory. If it fails, or the process ends
    /// meanwhile, there is no snapshot. One at a time.
    pub fn create<T>(&self, name: &Name, fill: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let path = self.path();
        create_private(&path).with_context(|| format!("cannot create {}", path.display()))?;
        self.remove_incomplete()?;
        let target = path.join(&name.0);
        ensure!(
            !target.exists(),
            "there is a snapshot `{name}` already: remove it, or use another name"
        );
        let count = self.names()?.len();
        ensure!(count < MAX_SNAPSHOTS, "there are {count} snapshots already: remove some");
        let incomplete = tempfile::Builder::new().prefix(INCOMPLETE).tempdir_in(&path);
        let incomplete =
            incomplete.with_context(|| format!("cannot write to {}", path.display()))?;
        let filled = fill(incomplete.path())?;
        let context = || format!("cannot create {}", target.display());
        fs::rename(incomplete.path(), &target).with_context(context)?;
        // It has another name now.
        drop(incomplete.keep());
        Ok(filled)
    }

    /// Removes a snapshot.
    pub fn remove(&self, name: &Name) -> Result<()> {
        let path = self.find(name)?;
        // At once, so that no snapshot is left incomplete.
        let removed = self.path().join(format!("{INCOMPLETE}removed-{name}"));
        let result = fs::rename(&path, &removed).and_then(|()| fs::remove_dir_all(&removed));
        result.with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Removes what interrupted copies have left.
    fn remove_incomplete(&self) -> Result<()> {
        let entries = entries(&self.path())?.into_iter();
        let mut incomplete = entries.filter(|(name, _)| name.starts_with(INCOMPLETE));
        incomplete.try_for_each(|(_, path)| remove(&path))
    }

    /// Records that the directory returns to a snapshot, until [`has_returned`](Self::has_returned): what
    /// it contains meanwhile is of neither state.
    pub fn returns_to(&self, name: &Name) -> Result<()> {
        let path = self.owner.join(RETURN_FILE);
        fs::write(&path, &name.0).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Records that the return is complete.
    pub fn has_returned(&self) -> Result<()> {
        let path = self.owner.join(RETURN_FILE);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Completes the return of a data directory to a snapshot that was requested or interrupted, if there is
    /// one. Before its node opens it.
    pub fn complete_return(&self) -> Result<()> {
        let Some(name) = self.interrupted_return()? else { return Ok(()) };
        let complete = || {
            let path = self.owner.join("lock");
            let lock = File::options().write(true).create(true).truncate(false).open(&path);
            let lock = lock.with_context(|| format!("cannot open {}", path.display()))?;
            lock.try_lock().context("another process uses the data directory")?;
            Copier::default().restore_data(&self.find(&name)?, &self.owner)
        };
        complete().with_context(|| format!("cannot return to snapshot `{name}`"))?;
        tracing::info!(%name, "returned to a snapshot");
        self.has_returned()
    }

    /// The snapshot to which a return was interrupted, if any.
    pub fn interrupted_return(&self) -> Result<Option<Name>> {
        let path = self.owner.join(RETURN_FILE);
        match fs::read_to_string(&path) {
            // Without room on the disk the file is created, and no return begins.
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => text.parse().map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
}

/// The entries of a directory with names in UTF-8; none if it does not exist.
pub fn entries(path: &Path) -> Result<Vec<(String, PathBuf)>> {
    let context = || format!("cannot read {}", path.display());
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(context)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(context)?;
        found.extend(entry.file_name().into_string().ok().map(|name| (name, entry.path())));
    }
    found.sort_unstable();
    Ok(found)
}

/// Creates a directory that only its owner can read; its parents must exist.
pub fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

/// Number and size of copied files. A snapshot that has others is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// Number of files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Size {
    /// Counts a file.
    pub fn add(&mut self, bytes: u64) {
        self.files = self.files.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The files of a directory, and of those in it.
    pub fn of(directory: &Path) -> Result<Size> {
        let mut size = Size::default();
        for (_, path) in entries(directory)? {
            let context = || format!("cannot read {}", path.display());
            let metadata = fs::symlink_metadata(&path).with_context(context)?;
            match metadata.is_dir() {
                true => {
                    let Size { files, bytes } = Size::of(&path)?;
                    size.files = size.files.saturating_add(files);
                    size.bytes = size.bytes.saturating_add(bytes);
                }
                false => size.add(metadata.len()),
            }
        }
        Ok(size)
    }
}

/// Copies files until it is cancelled.
#[derive(Debug, Default)]
pub struct Copier {
    /// Whether copying should end with an error.
    pub is_cancelled: AtomicBool,
}

impl Copier {
    /// Copies what a snapshot of a data directory contains, or back, into a directory, which must exist. No
    /// process must change it meanwhile.
    pub fn copy_data(&self, from: &Path, to: &Path) -> Result<()> {
        self.copy_entries(from, to, |_| true)
    }

    /// Copies the data directory of a node that runs but writes no blocks and transfers meanwhile. Without
    /// the index, which is rebuilt from the blocks: its database writes at any time.
    pub fn copy_data_of_running(&self, from: &Path, to: &Path) -> Result<()> {
        self.copy_entries(from, to, |name| !name.starts_with("index"))
    }

    fn copy_entries(
        &self,
        from: &Path,
        to: &Path,
        is_selected: impl Fn(&str) -> bool,
    ) -> Result<()> {
        for (name, path) in entries(from)? {
            // Files with the prefix of temporary ones are about to be renamed.
            let is_transient = TRANSIENT.contains(&&*name) || name.starts_with(TEMPORARY);
            if !is_own(&name) && !is_transient && is_selected(&name) {
                self.copy(&path, &to.join(name))?;
            }
        }
        Ok(())
    }

    /// Copies a file, or a directory with all that is in it. Links are followed at the top only; other
    /// special files are left out.
    pub fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        ensure!(!self.is_cancelled.load(Ordering::Relaxed), "interrupted");
        let context = || format!("cannot copy {} to {}", from.display(), to.display());
        let metadata = fs::metadata(from).with_context(context)?;
        if metadata.is_dir() {
            create_private(to).with_context(context)?;
            for (name, path) in entries(from)? {
                let is_link = fs::symlink_metadata(&path).is_ok_and(|it| it.is_symlink());
                if !is_link && !name.starts_with(TEMPORARY) {
                    self.copy(&path, &to.join(name))?;
                }
            }
        } else if metadata.is_file() {
            fs::copy(from, to).with_context(context)?;
        }
        Ok(())
    }

    /// Replaces the content of a data directory, which no process uses, by that of a snapshot of it. The
    /// log and the token of the API stay. May be repeated if it is interrupted.
    pub fn restore_data(&self, snapshot: &Path, data: &Path) -> Result<()> {
        create_private(data).with_context(|| format!("cannot create {}", data.display()))?;
        for (name, path) in entries(data)? {
            if !is_own(&name) {
                remove(&path)?;
            }
        }
        self.copy_data(snapshot, data)
    }
}

fn is_own(name: &str) -> bool {
    OWN.contains(&name)
}

/// Removes a file, or a directory with all that is in it.
pub fn remove(path: &Path) -> Result<()> {
    let is_directory = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn names_are_no_paths() {
        for good in ["a", "before-fork", "v1.2_x", &"n".repeat(64)] {
            assert_eq!(name(good).to_string(), good);
        }
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "/a",
            ".hidden",
            "-x",
            "a b",
            "ä",
            "a\0",
            &"n".repeat(65),
        ] {
            let error = bad.parse::<Name>().unwrap_err().to_string();
            assert!(error.contains("is not the name of a snapshot"), "{error}");
        }
    }

    #[test]
    fn interrupted_snapshot_is_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::of(dir.path());
        assert!(store.names().unwrap().is_empty());
        let failed = store.create(&name("a"), |to| {
            fs::write(to.join("half"), "")?;
            bail!("disk full")
        });
        let failed: Result<()> = failed;
        assert!(failed.is_err() && store.names().unwrap().is_empty());
        assert!(entries(&dir.path().join(DIRECTORY)).unwrap().is_empty());
        // Of a process that was killed.
        fs::create_dir(dir.path().join(DIRECTORY).join(".incomplete-x")).unwrap();
        store.create(&name("a"), |to| Ok(fs::write(to.join("whole"), "")?)).unwrap();
        assert_eq!(store.names().unwrap(), [name("a")]);
        let error = store.create(&name("a"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("there is a snapshot `a` already"), "{error}");
        assert!(store.find(&name("b")).unwrap_err().to_string().contains("there are a"));
        store.remove(&name("a")).unwrap();
        assert!(store.names().unwrap().is_empty() && store.find(&name("a")).is_err());
    }

    // The name was not written, so nothing was removed; but no node started any more.
    #[test]
    fn return_that_a_full_disk_prevented_is_not_interrupted() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(RETURN_FILE), "").unwrap();
        let store = Store::of(dir.path());
        assert_eq!(store.interrupted_return().unwrap(), None);
        store.returns_to(&name("a")).unwrap();
        assert_eq!(store.interrupted_return().unwrap(), Some(name("a")));
    }

    #[test]
    fn data_directory_returns_to_its_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let (data, copy) = (dir.path().join("data"), dir.path().join("copy"));
        fs::create_dir_all(data.join("blocks")).unwrap();
        fs::create_dir(&copy).unwrap();
        let write = |name: &str, text: &str| fs::write(data.join(name), text).unwrap();
        let read = |name: &str| fs::read_to_string(data.join(name)).ok();
        write("blocks/0.log", "old");
        write("clock-offset", "7");
        write("api-token", "secret");
        write("node.json", "{}");
        let copier = Copier::default();
        copier.copy_data(&data, &copy).unwrap();
        assert_eq!(Size::of(&copy).unwrap(), Size { files: 2, bytes: 4 });
        write("blocks/0.log", "new blocks");
        write("blocks/1.log", "more");
        write("api-token", "other");
        write("node.log", "lines");
        fs::remove_file(data.join("clock-offset")).unwrap();
        for _ in 0..2 {
            copier.restore_data(&copy, &data).unwrap();
            assert_eq!(read("blocks/0.log").as_deref(), Some("old"));
            assert_eq!((read("blocks/1.log"), read("node.json")), (None, None));
            assert_eq!(read("clock-offset").as_deref(), Some("7"));
            assert_eq!(read("api-token").as_deref(), Some("other"));
            assert_eq!(read("node.log").as_deref(), Some("lines"));
        }
    }

    #[test]
    fn cancelled_copy_ends_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let copier = Copier::default();
        copier.is_cancelled.store(true, Ordering::Relaxed);
        assert!(copier.copy_data(dir.path(), &dir.path().join("b")).is_err());
    }
}
