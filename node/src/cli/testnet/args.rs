//! What the commands of `chain testnet` share: the nodes they name, the lock on the directory, notices.

use crate::testnet::{Directory, DirectoryLock, Testnet};
use anyhow::Result;
use std::io::{self, Write};

#[derive(Debug, clap::Args)]
pub struct Nodes {
    /// Numbers such as 2, names such as node-2, or `all`
    #[arg(required = true, value_name = "NODE")]
    pub nodes: Vec<String>,
}

/// Locks the directory against other commands.
pub fn lock(directory: &Directory) -> Result<DirectoryLock> {
    let path = directory.path().display();
    directory.lock(|| notice(&format!("waiting for another `chain testnet` in {path}")))
}

/// Locks the directory of an existing testnet; does not create one.
pub fn lock_testnet(directory: &Directory) -> Result<(DirectoryLock, Testnet)> {
    Testnet::read(directory)?;
    let lock = lock(directory)?;
    // It may have changed while this command waited.
    let testnet = Testnet::read(lock.directory())?;
    Ok((lock, testnet))
}

/// Prints that blocks do not derive from the seed of a testnet, if it has one and nodes mine with threads.
pub fn notice_threads(testnet: &Testnet) {
    if testnet.manifest().seed.is_some() && !testnet.is_deterministic() {
        notice(
            "blocks are mined with threads, which find them at random times: --seed determines keys, and \
             what links lose, but not blocks",
        );
    }
}

/// Prints a notice to stderr, beside the result on stdout.
pub fn notice(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
