//! The encoding of announcements by gossip topic.

use super::encoding::{WireError, check_ascending, read_all, read_count, write_count};
use super::name::network_name;
use crate::message::{
    Announcement, CompactBlock, MAX_BLOCK_ANNOUNCEMENT, MAX_BLOCK_TRANSACTIONS,
    MAX_TRANSFER_ANNOUNCEMENT, ShortId,
};
use chain::block::{self, Block, Header};
use chain::codec::Decoder;
use chain::tx::{MIN_TRANSFER_BYTES, Transaction, Transfer};
use std::sync::Arc;

const KIND_FULL: u8 = 0;
const KIND_COMPACT: u8 = 1;
/// Bytes of a short id.
const SHORT_ID: usize = 6;
/// The least bytes of a prefilled transaction: its position and the shortest transaction.
const MIN_PREFILLED: usize = 4 + MIN_TRANSFER_BYTES;

/// A gossip topic: announcements of blocks or of transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// New blocks, full or compact.
    Blocks,
    /// New transfers of the mempool.
    Transfers,
}

impl Topic {
    /// All topics of gossip.
    pub const ALL: [Topic; 2] = [Topic::Blocks, Topic::Transfers];

    /// Returns the topic of an announcement.
    pub fn of(announcement: &Announcement) -> Topic {
        match announcement {
            Announcement::Block(_) | Announcement::CompactBlock(_) => Topic::Blocks,
            Announcement::Transfer { .. } => Topic::Transfers,
        }
    }

    /// Returns the topic's name on a network.
    pub fn name(self, genesis: block::Hash) -> String {
        let name = match self {
            Topic::Blocks => "blocks/1",
            Topic::Transfers => "txs/1",
        };
        network_name(genesis, name)
    }

    /// Returns the most bytes of an announcement.
    pub fn limit(self) -> usize {
        match self {
            Topic::Blocks => MAX_BLOCK_ANNOUNCEMENT,
            Topic::Transfers => MAX_TRANSFER_ANNOUNCEMENT,
        }
    }
}

/// Encodes an announcement for its topic.
pub fn encode_announcement(announcement: &Announcement) -> Vec<u8> {
    let mut bytes = Vec::new();
    match announcement {
        Announcement::Block(block) => {
            bytes.push(KIND_FULL);
            bytes.extend_from_slice(&block.encode());
        }
        Announcement::CompactBlock(compact) => {
            bytes.push(KIND_COMPACT);
            write_compact(&mut bytes, compact);
        }
        Announcement::Transfer { round, transfer } => {
            bytes.extend_from_slice(&round.to_le_bytes());
            bytes.extend_from_slice(&transfer.encode());
        }
    }
    bytes
}

/// Decodes an announcement of a topic.
///
/// # Errors
/// If the bytes are malformed or exceed the topic's limit.
pub fn decode_announcement(topic: Topic, bytes: &[u8]) -> Result<Announcement, WireError> {
    let (count, limit) = (bytes.len(), topic.limit());
    if count > limit {
        return Err(WireError::AboveLimit { what: "bytes of an announcement", count, limit });
    }
    let mut input = Decoder::new(bytes);
    Ok(match topic {
        Topic::Blocks => match input.u8()? {
            KIND_FULL => Announcement::Block(Arc::new(Block::decode(rest(input)?)?)),
            KIND_COMPACT => Announcement::CompactBlock(Arc::new(read_compact(input)?)),
            value => return Err(WireError::Unknown { what: "kind of announcement", value }),
        },
        Topic::Transfers => {
            let round = input.u32()?;
            Announcement::Transfer { round, transfer: Arc::new(Transfer::decode(rest(input)?)?) }
        }
    })
}

fn rest(mut input: Decoder<'_>) -> Result<&[u8], WireError> {
    Ok(input.bytes(input.remaining())?)
}

fn write_compact(bytes: &mut Vec<u8>, compact: &CompactBlock) {
    let CompactBlock { header, nonce, short_ids, prefilled } = compact;
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(&nonce.to_le_bytes());
    write_count(bytes, short_ids.len());
    for ShortId(id) in short_ids {
        bytes.extend_from_slice(id);
    }
    write_count(bytes, prefilled.len());
    for (position, transaction) in prefilled {
        bytes.extend_from_slice(&position.to_le_bytes());
        transaction.write(bytes);
    }
}

fn read_compact(mut input: Decoder) -> Result<CompactBlock, WireError> {
    let header = Header::read(&mut input)?;
    let nonce = input.u64()?;
    let count = read_count(&mut input, SHORT_ID, "short ids", MAX_BLOCK_TRANSACTIONS)?;
    let short_ids = read_all(&mut input, count, |input| Ok(ShortId(input.array()?)))?;
    let what = "prefilled transactions";
    let count = read_count(&mut input, MIN_PREFILLED, what, MAX_BLOCK_TRANSACTIONS)?;
    let prefilled =
        read_all(&mut input, count, |input| Ok((input.u32()?, Transaction::read(input)?)))?;
    check_ascending(prefilled.iter().map(|(position, _)| *position), "positions")?;
    input.finish()?;
    Ok(CompactBlock { header, nonce, short_ids, prefilled })
}
