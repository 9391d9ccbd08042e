//! The directory of a testnet, and the lock on it.

use super::process::Process;
use super::topology::NodeNumber;
use crate::config::network;
use crate::snapshot::{self, Store};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// File name of the network of a testnet, unless it is built in.
pub const NETWORK_FILE: &str = "network.toml";

/// The directory of a testnet.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at a path, which need not exist yet.
    pub fn at(path: PathBuf) -> Directory {
        Directory(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The data directory of a node.
    pub fn node(&self, number: NodeNumber) -> PathBuf {
        self.0.join(number.to_string())
    }

    /// The path of the manifest.
    pub fn manifest(&self) -> PathBuf {
        self.0.join("testnet.json")
    }

    /// The file of the testnet's wallet.
    pub fn wallet(&self) -> PathBuf {
        self.wallets().join("miners.json")
    }

    /// The directory of the relay.
    pub fn relay(&self) -> PathBuf {
        self.0.join("relay")
    }

    /// The file of what differs from perfect links.
    pub fn links(&self) -> PathBuf {
        self.0.join("links.json")
    }

    /// The directory of the testnet's wallet.
    pub fn wallets(&self) -> PathBuf {
        self.0.join("wallets")
    }

    /// The snapshots of the testnet.
    pub fn snapshots(&self) -> Store {
        Store::of(&self.0)
    }

    /// Checks that the directory is not in the middle of a return to a snapshot.
    pub fn check_complete(&self) -> Result<()> {
        match self.snapshots().interrupted_return()? {
            None => Ok(()),
            Some(name) => bail!(
                "the return to snapshot `{name}` was interrupted: complete it with `chain testnet \
                 revert {name}`"
            ),
        }
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Locks the directory, which is created if it does not exist. If another command has the lock,
    /// calls `waiting` and waits.
    pub fn lock(&self, waiting: impl FnOnce()) -> Result<DirectoryLock> {
        ensure!(
            !network::is_data(&self.0),
            "{} is the data directory of a node: choose another one for a testnet",
            self.0.display()
        );
        let mut waiting = Some(waiting);
        loop {
            self.check_own()?;
            create_private(&self.0)?;
            let context = || format!("cannot use the directory {}", self.0.display());
            // Nodes are started with absolute paths, which hold for commands from any directory.
            let directory = Directory(fs::canonicalize(&self.0).with_context(context)?);
            let path = directory.lock_file();
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let file = file.with_context(context)?;
            if file.try_lock().is_err() {
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                file.lock().with_context(context)?;
            }
            // The other command may have deleted the testnet, and this lock file with it.
            let is_current = fs::metadata(&path).is_ok_and(|current| {
                file.metadata()
                    .is_ok_and(|held| (held.dev(), held.ino()) == (current.dev(), current.ino()))
            });
            if is_current {
                return Ok(DirectoryLock { directory, _lock: file });
            }
        }
    }

    /// Checks that a directory with files belongs to a testnet, since its files may be removed or replaced.
    fn check_own(&self) -> Result<()> {
        // A testnet whose creation was interrupted has a lock file and maybe no manifest.
        let entries = snapshot::entries(&self.0)?;
        let is_incomplete = entries.is_empty()
            || (self.lock_file().exists() && entries.iter().all(|(name, _)| is_own_name(name)));
        let is_own = self.manifest().exists() || is_incomplete;
        ensure!(
            is_own,
            "{} has files of others: choose a new or empty directory for a testnet",
            self.0.display()
        );
        Ok(())
    }

    /// The numbers of all node directories, whether or not the manifest lists them.
    pub fn nodes(&self) -> Result<Vec<NodeNumber>> {
        let context = || format!("cannot read {}", self.0.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            let name = name.to_str().filter(|name| name.starts_with("node-"));
            found.extend(name.and_then(NodeNumber::parse));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The exclusive lock on a testnet's directory.
#[derive(Debug)]
pub struct DirectoryLock {
    directory: Directory,
    _lock: File,
}

impl DirectoryLock {
    /// The directory, with its absolute path.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The processes of all nodes of the directory, whether or not the manifest lists them.
    pub fn processes(&self) -> Result<Vec<(NodeNumber, Process)>> {
        processes(&self.directory, self.directory.nodes()?)
    }

    /// Removes the files of the testnet, and the directory unless it contains others. Returns whether
    /// it does.
    pub fn delete(self) -> Result<bool> {
        let directory = &self.directory;
        for number in directory.nodes()? {
            remove(&directory.node(number), |path| fs::remove_dir_all(path))?;
        }
        for path in [directory.wallets(), directory.relay(), directory.0.join(snapshot::DIRECTORY)]
        {
            remove(&path, |path| fs::remove_dir_all(path))?;
        }
        let returning = directory.0.join(snapshot::RETURN_FILE);
        let files = [directory.0.join(NETWORK_FILE), directory.links(), directory.manifest()];
        for file in files.into_iter().chain([returning, directory.lock_file()]) {
            remove(&file, |path| fs::remove_file(path))?;
        }
        match fs::remove_dir(&directory.0) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(true),
            removed => {
                removed.with_context(|| format!("cannot remove {}", directory.0.display()))?;
                Ok(false)
            }
        }
    }
}

/// Whether an entry of a directory has a name that a testnet without a manifest gives: one whose creation, or
/// return to a snapshot, was interrupted.
fn is_own_name(name: &str) -> bool {
    let own = [
        "lock",
        NETWORK_FILE,
        "links.json",
        "wallets",
        "relay",
        snapshot::DIRECTORY,
        snapshot::RETURN_FILE,
    ];
    let is_node = name.starts_with("node-") && NodeNumber::parse(name).is_some();
    own.contains(&name) || is_node || name.starts_with(snapshot::TEMPORARY)
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    match how(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Creates a directory and its parents with mode 0700; existing ones are not changed.
pub fn create_private(path: &Path) -> Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.with_context(|| format!("cannot create the directory {}", path.display()))
}

/// The processes of the given nodes that run.
pub fn processes(
    directory: &Directory,
    numbers: impl IntoIterator<Item = NodeNumber>,
) -> Result<Vec<(NodeNumber, Process)>> {
    let find = |number| Ok(Process::find(&directory.node(number))?.map(|found| (number, found)));
    numbers.into_iter().filter_map(|number| find(number).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn delete_spares_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::at(dir.path().join("t"));
        let lock = directory.lock(|| ()).unwrap();
        let files = ["testnet.json", "links.json", "network.toml", "node-1/genesis"];
        for file in
            files.into_iter().chain(["wallets/miners.json", "relay/relay.json", "snapshots/a/x"])
        {
            let path = lock.directory().path().join(file);
            create_private(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let other = directory.path().join("node-notes.txt");
        fs::write(&other, "").unwrap();
        assert!(lock.delete().unwrap());
        let left: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&other));

        fs::remove_file(other).unwrap();
        assert!(!directory.lock(|| ()).unwrap().delete().unwrap());
        assert!(!directory.path().exists());
    }

    #[test]
    fn directory_with_files_of_others_is_neither_used_nor_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let wallet = dir.path().join("wallets/mine.json");
        create_private(wallet.parent().unwrap()).unwrap();
        fs::write(&wallet, "").unwrap();
        let directory = Directory::at(dir.path().to_owned());
        let error = directory.lock(|| ()).unwrap_err();
        assert!(error.to_string().contains("has files of others"), "{error}");
        assert!(wallet.exists() && !directory.lock_file().exists());
        // A testnet whose creation was interrupted is continued or deleted.
        fs::write(directory.lock_file(), "").unwrap();
        drop(directory.lock(|| ()).unwrap());
        // Earlier versions left a lock file in any directory.
        fs::create_dir(dir.path().join("main")).unwrap();
        assert!(directory.lock(|| ()).is_err() && wallet.exists());
    }

    #[test]
    fn lock_waits_even_if_the_holder_deletes_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::at(dir.path().join("t"));
        let first = directory.lock(|| ()).unwrap();
        let (waits, waiting) = mpsc::channel();
        let second = {
            let directory = directory.clone();
            thread::spawn(move || directory.lock(move || waits.send(()).unwrap()).map(drop))
        };
        waiting.recv().unwrap();
        assert!(!second.is_finished());
        assert!(!first.delete().unwrap());
        second.join().unwrap().unwrap();
        assert!(directory.lock_file().exists());
    }

    #[test]
    fn rejects_the_data_directory_of_a_node() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("genesis"), "").unwrap();
        let error = Directory::at(dir.path().to_owned()).lock(|| ()).unwrap_err();
        assert!(error.to_string().contains("is the data directory of a node"), "{error}");
        assert!(!dir.path().join("lock").exists());
    }
}
