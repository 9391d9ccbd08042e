//! The folder that everything about a testnet is in, and the right to change something in it.

use super::process::Process;
use super::topology::Number;
use crate::config::network;
use anyhow::{Context, Result, ensure};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// File name of the network of a testnet, unless it is built in.
pub const NETWORK_FILE: &str = "network.toml";

/// Where a testnet is kept.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Any folder; it need not be there yet.
    pub fn at(path: PathBuf) -> Folder {
        Folder(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The data folder of a node.
    pub fn node(&self, number: Number) -> PathBuf {
        self.0.join(number.to_string())
    }

    /// The file with the plan.
    pub fn plan(&self) -> PathBuf {
        self.0.join("testnet.json")
    }

    /// The testnet's own wallet.
    pub fn wallet(&self) -> PathBuf {
        self.wallets().join("miners.json")
    }

    fn wallets(&self) -> PathBuf {
        self.0.join("wallets")
    }

    fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    /// Lets no other command change anything in the folder, which is made if there is none. While
    /// another command does, this one says so by `waiting` and waits.
    pub fn claim(&self, waiting: impl FnOnce()) -> Result<Claim> {
        ensure!(
            !network::is_data(&self.0),
            "{} is the data folder of a node: choose another one for a testnet",
            self.0.display()
        );
        let mut waiting = Some(waiting);
        loop {
            make_private(&self.0)?;
            let context = || format!("cannot use the folder {}", self.0.display());
            // A node is told its paths once, wherever the next command is called from.
            let folder = Folder(fs::canonicalize(&self.0).with_context(context)?);
            let path = folder.lock();
            let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
            let lock = lock.with_context(context)?;
            if lock.try_lock().is_err() {
                if let Some(waiting) = waiting.take() {
                    waiting();
                }
                lock.lock().with_context(context)?;
            }
            // The other command may have deleted the testnet: then this is nobody's lock any more.
            let there = fs::metadata(&path).is_ok_and(|there| {
                lock.metadata()
                    .is_ok_and(|held| (held.dev(), held.ino()) == (there.dev(), there.ino()))
            });
            if there {
                return Ok(Claim { folder, _lock: lock });
            }
        }
    }

    /// The numbers of the nodes that have a folder, whatever the plan says.
    fn nodes(&self) -> Result<Vec<Number>> {
        let context = || format!("cannot read {}", self.0.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).with_context(context)? {
            let name = entry.with_context(context)?.file_name();
            let name = name.to_str().filter(|name| name.starts_with("node-"));
            found.extend(name.and_then(Number::parse));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// A folder that only this command may change.
#[derive(Debug)]
pub struct Claim {
    folder: Folder,
    _lock: File,
}

impl Claim {
    /// The folder, with its whole path.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Every process of a node in the folder, also of one that no plan knows.
    pub fn processes(&self) -> Result<Vec<(Number, Process)>> {
        processes(&self.folder, self.folder.nodes()?)
    }

    /// Removes everything that belongs to the testnet, and the folder if nothing else is in it.
    pub fn delete(self) -> Result<()> {
        let folder = &self.folder;
        for number in folder.nodes()? {
            remove(&folder.node(number), |path| fs::remove_dir_all(path))?;
        }
        remove(&folder.wallets(), |path| fs::remove_dir_all(path))?;
        for file in [folder.0.join(NETWORK_FILE), folder.plan(), folder.lock()] {
            remove(&file, |path| fs::remove_file(path))?;
        }
        match fs::remove_dir(&folder.0) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {}", folder.0.display())),
        }
    }
}

fn remove(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    match how(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// Makes a folder for its owner alone, and those above it; one that is there stays as it is.
pub fn make_private(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Those of these nodes that run.
pub fn processes(
    folder: &Folder,
    numbers: impl IntoIterator<Item = Number>,
) -> Result<Vec<(Number, Process)>> {
    let find = |number| Ok(Process::find(&folder.node(number))?.map(|found| (number, found)));
    numbers.into_iter().filter_map(|number| find(number).transpose()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn what_is_not_the_testnets_survives_its_deletion() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path().join("t"));
        let claim = folder.claim(|| ()).unwrap();
        for file in ["testnet.json", "network.toml", "node-1/genesis", "wallets/miners.json"] {
            let path = claim.folder().path().join(file);
            make_private(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mine = folder.path().join("node-of-mine.txt");
        fs::write(&mine, "").unwrap();
        claim.delete().unwrap();
        let left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path()).collect();
        assert_eq!(left, std::slice::from_ref(&mine));

        fs::remove_file(mine).unwrap();
        folder.claim(|| ()).unwrap().delete().unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn a_second_command_waits_for_the_first_even_if_that_deletes_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path().join("t"));
        let first = folder.claim(|| ()).unwrap();
        let (waits, waiting) = mpsc::channel();
        let second = {
            let folder = folder.clone();
            thread::spawn(move || folder.claim(move || waits.send(()).unwrap()).map(drop))
        };
        waiting.recv().unwrap();
        assert!(!second.is_finished());
        first.delete().unwrap();
        second.join().unwrap().unwrap();
        assert!(folder.lock().exists());
    }

    #[test]
    fn the_folder_of_a_node_is_not_taken_for_a_testnet() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("genesis"), "").unwrap();
        let error = Folder::at(dir.path().to_owned()).claim(|| ()).unwrap_err();
        assert!(error.to_string().contains("is the data folder of a node"), "{error}");
        assert!(!dir.path().join("lock").exists());
    }
}
