//! The file `peers.json`, which stores the address book, anchors and bans across restarts.

use super::address_book::Entry;
use super::bans::Ban;
use super::peer_text;
use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The file's name in the data directory.
pub(super) const NAME: &str = "peers.json";
/// The format version of the file that stores known peers.
const VERSION: u32 = 2;
/// The maximum size of the file, in bytes.
const MAX_BYTES: u64 = 32 << 20;

/// The content of the file that stores known peers.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct PeersFile {
    version: u32,
    pub(super) addresses: Vec<(SocketAddr, Entry)>,
    pub(super) anchors: Vec<Anchor>,
    pub(super) bans: Vec<Ban>,
    /// Persistent peers that were added at run time.
    #[serde(default)]
    pub(super) persistent: Vec<Multiaddr>,
}

/// A peer to dial first after a restart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Anchor {
    pub(super) address: SocketAddr,
    #[serde(with = "peer_text")]
    pub(super) peer: PeerId,
}

/// The content to be saved. Writing it may block on the disk.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    file: PeersFile,
}

impl Snapshot {
    pub(super) fn new(
        path: &Path,
        addresses: Vec<(SocketAddr, Entry)>,
        anchors: Vec<Anchor>,
        bans: Vec<Ban>,
        persistent: Vec<Multiaddr>,
    ) -> Snapshot {
        let file = PeersFile { version: VERSION, addresses, anchors, bans, persistent };
        Snapshot { path: path.to_owned(), file }
    }

    /// Replaces the file atomically and durably.
    ///
    /// # Errors
    /// The file cannot be written, or the file or its directory cannot be synced.
    pub fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.file)?;
        let temporary = self.path.with_extension("json.new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        match self.path.parent() {
            // Other systems cannot sync a directory.
            Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
            _ => Ok(()),
        }
    }
}

/// Reads the file. An unreadable one is renamed, with a warning, and counts as empty.
pub(super) fn load(path: &Path) -> PeersFile {
    read(path).unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            let corrupt = path.with_extension("json.corrupt");
            let renamed = fs::rename(path, &corrupt);
            tracing::warn!(
                file = %path.display(),
                renamed_to = %corrupt.display(),
                renamed = renamed.is_ok(),
                "cannot read the address book, starting with an empty one: {error}"
            );
        }
        PeersFile::default()
    })
}

fn read(path: &Path) -> io::Result<PeersFile> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("the file is too large"));
    }
    let file: PeersFile = serde_json::from_slice(&bytes)?;
    if file.version != VERSION {
        return Err(io::Error::other(format!("unsupported version {}", file.version)));
    }
    Ok(file)
}
