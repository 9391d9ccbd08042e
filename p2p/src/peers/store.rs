//! What is kept of other nodes between two runs: `peers.json`, replaced as a whole.

use super::address_book::{Entry, Told, Trust};
use super::netgroup::NetGroup;
use super::{Peers, Purpose, netgroup, unix};
use crate::engine::Now;
use crate::{Ban, Subject};
use libp2p::PeerId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tracing::warn;

/// The file's name in the data folder.
pub(super) const NAME: &str = "peers.json";
/// The version of the format.
const VERSION: u32 = 1;
/// A file of more bytes is not one of ours.
const MAX_BYTES: u64 = 32 << 20;
/// How many connections of longest standing are called first by the next run.
const ANCHORS: usize = 2;

/// What is to be saved; writing it may wait for the disk.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    contents: Contents,
}

#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    version: u32,
    nodes: Vec<Node>,
    anchors: Vec<Anchor>,
    bans: Vec<SavedBan>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Node {
    address: SocketAddr,
    peer: Option<Id>,
    trust: Trust,
    told: SavedTold,
    /// Unix seconds.
    heard: u64,
    /// Unix seconds.
    worked: u64,
    failures: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Anchor {
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
enum SavedTold {
    NetGroup(IpAddr),
    Peer(Id),
    Itself,
    Mdns,
    User,
}

/// A node's id as text.
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
    /// Replaces the file. Whenever this is cut short, the file is the old one or the new one.
    pub fn write(&self) -> io::Result<()> {
        let bytes = serde_json::to_vec(&self.contents)?;
        let aside = self.path.with_extension("json.new");
        match fs::remove_file(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&aside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&aside, &self.path)
    }
}

/// Reads the file; `None` if there is none. One that cannot be read is set aside.
pub(super) fn load(path: &Path) -> Option<Saved> {
    match read(path) {
        Ok(contents) => Some(Saved(contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let aside = path.with_extension("json.corrupt");
            let moved = fs::rename(path, &aside);
            warn!(
                file = %path.display(),
                aside = %aside.display(),
                moved = moved.is_ok(),
                "what was known of other nodes cannot be read, starting without: {error}"
            );
            None
        }
    }
}

fn read(path: &Path) -> io::Result<Contents> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    let contents: Contents = serde_json::from_slice(&bytes)?;
    if contents.version != VERSION {
        return Err(io::Error::other(format!("it is of version {}", contents.version)));
    }
    Ok(contents)
}

/// What was read.
pub(super) struct Saved(Contents);

impl Peers {
    /// What is to be saved. Before closing connections at the end: those of longest standing are
    /// the first to be called by the next run.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        let nodes = self.book.iter().map(|(address, entry)| Node {
            address,
            peer: entry.peer.map(Id),
            trust: entry.trust,
            told: SavedTold::from(entry.told),
            heard: entry.heard,
            worked: entry.worked,
            failures: entry.failures,
        });
        let bans = self.bans.list(unix(now)).into_iter().map(|ban| SavedBan {
            subject: SavedSubject::from(ban.subject),
            until: ban.until,
            reason: ban.reason,
        });
        let (nodes, bans) = (nodes.collect(), bans.collect());
        self.choose_anchors();
        let anchors = self
            .anchors
            .iter()
            .map(|(address, peer)| Anchor { address: *address, peer: Id(*peer) });
        let contents = Contents { version: VERSION, nodes, anchors: anchors.collect(), bans };
        Snapshot { path: self.path.clone(), contents }
    }

    /// The outbound peers of longest standing; the earlier anchors as long as there are too few.
    fn choose_anchors(&mut self) {
        let mut standing: Vec<(Duration, SocketAddr, PeerId)> = self
            .slots
            .iter()
            .filter(|(_, one)| one.greeted)
            .filter(|(_, one)| !matches!(one.purpose, None | Some(Purpose::Feeler | Purpose::Keep)))
            .filter_map(|(_, one)| Some((one.since, netgroup::socket(&one.address)?, one.peer)))
            .collect();
        standing.sort();
        let earlier = std::mem::take(&mut self.anchors);
        let now = standing.into_iter().map(|(_, socket, peer)| (socket, peer));
        for (socket, peer) in now.chain(earlier) {
            let fresh = self.anchors.iter().all(|(_, other)| *other != peer);
            if fresh && self.anchors.len() < ANCHORS {
                self.anchors.push((socket, peer));
            }
        }
    }

    /// Takes in what was read, within the same limits as what is heard.
    pub(super) fn restore(&mut self, Saved(contents): Saved, now: Now) {
        for node in contents.nodes {
            let peer = node.peer.map(|id| id.0);
            if netgroup::reach(node.address.ip()).is_none() || peer == Some(self.local) {
                continue;
            }
            let mut entry = Entry::new(peer, node.trust, Told::from(node.told), node.heard);
            entry.worked = node.worked;
            entry.failures = node.failures;
            self.book.restore(node.address, entry);
        }
        for SavedBan { subject, until, reason } in contents.bans {
            self.bans.add(Ban { subject: Subject::from(subject), until, reason });
        }
        self.bans.prune(unix(now));
        let anchors = contents.anchors.into_iter().take(ANCHORS);
        self.anchors = anchors.map(|anchor| (anchor.address, anchor.peer.0)).collect();
        self.dials.anchors.clone_from(&self.anchors);
    }
}

impl From<Told> for SavedTold {
    fn from(told: Told) -> SavedTold {
        match told {
            Told::NetGroup(NetGroup(ip)) => SavedTold::NetGroup(ip),
            Told::Peer(peer) => SavedTold::Peer(Id(peer)),
            Told::Itself => SavedTold::Itself,
            Told::Mdns => SavedTold::Mdns,
            Told::User => SavedTold::User,
        }
    }
}

impl From<SavedTold> for Told {
    fn from(told: SavedTold) -> Told {
        match told {
            SavedTold::NetGroup(ip) => Told::NetGroup(NetGroup(ip)),
            SavedTold::Peer(Id(peer)) => Told::Peer(peer),
            SavedTold::Itself => Told::Itself,
            SavedTold::Mdns => Told::Mdns,
            SavedTold::User => Told::User,
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
