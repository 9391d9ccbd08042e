//! The file `peers.json`, which stores the address book, anchors and bans across restarts.

use super::address_book::{AddressBook, Confidence, Entry, SourceKey};
use super::bans::{Ban, Subject};
use super::netgroup::NetGroup;
use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// The file's name in the data directory.
pub(super) const NAME: &str = "peers.json";
/// The version of the format.
const VERSION: u32 = 2;
/// The maximum size of the file, in bytes.
const MAX_BYTES: u64 = 32 << 20;

/// The content to be saved. Writing it may block on the disk.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    file: PeersFile,
}

/// The content of the file.
#[derive(Debug, Serialize, Deserialize)]
struct PeersFile {
    version: u32,
    addresses: Vec<SavedAddress>,
    anchors: Vec<SavedAnchor>,
    bans: Vec<SavedBan>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedAddress {
    address: SocketAddr,
    peer: Option<Id>,
    confidence: Confidence,
    source: SavedSource,
    /// Unix seconds.
    advertised: u64,
    /// Unix seconds.
    connected: u64,
    failures: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedAnchor {
    address: SocketAddr,
    peer: Id,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedBan {
    subject: SavedSubject,
    /// Unix seconds.
    until: u64,
    reason: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedSubject {
    Peer(Id),
    Ip(IpAddr),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SavedSource {
    NetGroup(IpAddr),
    Peer(Id),
    SelfAdvertised,
    Mdns,
    User,
}

/// A peer id as text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Id(PeerId);

impl TryFrom<String> for Id {
    type Error = libp2p::identity::ParseError;

    fn try_from(text: String) -> Result<Id, Self::Error> {
        text.parse().map(Id)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0.to_string()
    }
}

impl Snapshot {
    pub(super) fn new(
        path: &Path,
        book: &AddressBook,
        anchors: &[(SocketAddr, PeerId)],
        bans: Vec<Ban>,
    ) -> Snapshot {
        let addresses = book.iter().map(|(address, entry)| SavedAddress {
            address,
            peer: entry.peer.map(Id),
            confidence: entry.confidence,
            source: SavedSource::from(entry.source),
            advertised: entry.advertised,
            connected: entry.connected,
            failures: entry.failures,
        });
        let anchors = anchors
            .iter()
            .map(|(address, peer)| SavedAnchor { address: *address, peer: Id(*peer) });
        let bans = bans.into_iter().map(|Ban { subject, until, reason }| SavedBan {
            subject: SavedSubject::from(subject),
            until,
            reason,
        });
        let file = PeersFile {
            version: VERSION,
            addresses: addresses.collect(),
            anchors: anchors.collect(),
            bans: bans.collect(),
        };
        Snapshot { path: path.to_owned(), file }
    }

    /// Replaces the file atomically.
    ///
    /// # Errors
    /// The file cannot be written.
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
        fs::rename(&temporary, &self.path)
    }
}

/// What a previous run saved.
#[derive(Default)]
pub(super) struct Saved {
    pub(super) entries: Vec<(SocketAddr, Entry)>,
    pub(super) anchors: Vec<(SocketAddr, PeerId)>,
    pub(super) bans: Vec<Ban>,
}

/// Reads the file. An unreadable one is renamed, with a warning, and counts as empty.
pub(super) fn load(path: &Path) -> Saved {
    match read(path) {
        Ok(file) => file.into(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
        Err(error) => {
            let corrupt = path.with_extension("json.corrupt");
            let renamed = fs::rename(path, &corrupt);
            tracing::warn!(
                file = %path.display(),
                renamed_to = %corrupt.display(),
                renamed = renamed.is_ok(),
                "cannot read the address book, starting with an empty one: {error}"
            );
            Saved::default()
        }
    }
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

impl From<PeersFile> for Saved {
    fn from(file: PeersFile) -> Saved {
        let entries = file.addresses.into_iter().map(|saved| {
            let (peer, source) = (saved.peer.map(|id| id.0), SourceKey::from(saved.source));
            let mut entry = Entry::new(peer, saved.confidence, source, saved.advertised);
            entry.connected = saved.connected;
            entry.failures = saved.failures;
            (saved.address, entry)
        });
        let anchors = file.anchors.into_iter().map(|anchor| (anchor.address, anchor.peer.0));
        let bans = file.bans.into_iter().map(|SavedBan { subject, until, reason }| Ban {
            subject: Subject::from(subject),
            until,
            reason,
        });
        Saved { entries: entries.collect(), anchors: anchors.collect(), bans: bans.collect() }
    }
}

impl From<SourceKey> for SavedSource {
    fn from(source: SourceKey) -> SavedSource {
        match source {
            SourceKey::NetGroup(NetGroup(ip)) => SavedSource::NetGroup(ip),
            SourceKey::Peer(peer) => SavedSource::Peer(Id(peer)),
            SourceKey::SelfAdvertised => SavedSource::SelfAdvertised,
            SourceKey::Mdns => SavedSource::Mdns,
            SourceKey::User => SavedSource::User,
        }
    }
}

impl From<SavedSource> for SourceKey {
    fn from(source: SavedSource) -> SourceKey {
        match source {
            SavedSource::NetGroup(ip) => SourceKey::NetGroup(NetGroup(ip)),
            SavedSource::Peer(Id(peer)) => SourceKey::Peer(peer),
            SavedSource::SelfAdvertised => SourceKey::SelfAdvertised,
            SavedSource::Mdns => SourceKey::Mdns,
            SavedSource::User => SourceKey::User,
        }
    }
}

impl From<Subject> for SavedSubject {
    fn from(subject: Subject) -> SavedSubject {
        match subject {
            Subject::Peer(peer) => SavedSubject::Peer(Id(peer)),
            Subject::Ip(ip) => SavedSubject::Ip(ip),
        }
    }
}

impl From<SavedSubject> for Subject {
    fn from(subject: SavedSubject) -> Subject {
        match subject {
            SavedSubject::Peer(Id(peer)) => Subject::Peer(peer),
            SavedSubject::Ip(ip) => Subject::Ip(ip),
        }
    }
}
