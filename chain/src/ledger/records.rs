//! Blocks and undo data in the records of the block log.

use crate::accounts::Undo;
use crate::block::{self, Block, Header};
use crate::block_index::BlockNode;
use crate::params::Params;
use crate::rules::body::{self, CheckedBlock};
use crate::store::StoreError;
use crate::store::blocks::{LogReader, RecordKind, RecordLocation};

/// A record of the block log.
pub(super) enum LoggedRecord {
    Block(RecordLocation),
    /// The undo data of the block with this hash.
    Undo(block::Hash, RecordLocation),
}

impl LoggedRecord {
    pub(super) fn new(
        kind: RecordKind,
        location: RecordLocation,
        payload: &[u8],
    ) -> Result<LoggedRecord, StoreError> {
        match kind {
            RecordKind::Block => Ok(LoggedRecord::Block(location)),
            RecordKind::Undo => Ok(LoggedRecord::Undo(undo_hash(payload, location)?, location)),
            RecordKind::JournalEntry => Err(StoreError::BadRecord { location }),
        }
    }
}

/// Reads the block at a location.
pub(super) fn read_block_at(
    log: &LogReader,
    location: RecordLocation,
) -> Result<Block, StoreError> {
    let (kind, bytes) = log.read(location)?;
    if kind != RecordKind::Block {
        return Err(StoreError::BadRecord { location });
    }
    Block::decode(&bytes).map_err(|_| StoreError::BadRecord { location })
}

/// Reads a block of the block index.
pub(super) fn read_block(log: &LogReader, node: &BlockNode) -> Result<Block, StoreError> {
    let location = node.location;
    let block = read_block_at(log, location)?;
    if block.hash() == node.hash { Ok(block) } else { Err(StoreError::BadRecord { location }) }
}

/// Reads a block of the block index as a checked block. Its signatures, which were verified before
/// it was logged, are not verified again.
pub(super) fn read_checked_block(
    log: &LogReader,
    node: &BlockNode,
    params: &Params,
) -> Result<CheckedBlock, StoreError> {
    let block = read_block(log, node)?;
    body::check(block, params, |_| true, 1)
        .map_err(|error| StoreError::BadBlock { hash: node.hash, reason: error.to_string() })
}

/// Reads an encoded block of the block index.
pub(super) fn read_raw_block(log: &LogReader, node: &BlockNode) -> Result<Vec<u8>, StoreError> {
    let bytes = log.read(node.location)?.1;
    decode_header(node, bytes.get(..Header::BYTES).unwrap_or_default()).map(|_| bytes)
}

/// Reads the header of a block and the number of its transactions.
pub(super) fn read_header_and_count(
    log: &LogReader,
    node: &BlockNode,
) -> Result<(Header, u32), StoreError> {
    /// The length of a header and a transaction count, in bytes.
    const BYTES: u32 = 84;
    let bytes = log.read_prefix(node.location, BYTES)?;
    let (header, count) = bytes.split_at_checked(Header::BYTES).unwrap_or((&bytes, &[]));
    let header = decode_header(node, header)?;
    let count = count.try_into().map_err(|_| StoreError::BadRecord { location: node.location })?;
    Ok((header, u32::from_le_bytes(count)))
}

/// Decodes the header of a block and compares its hash.
fn decode_header(node: &BlockNode, bytes: &[u8]) -> Result<Header, StoreError> {
    let header = Header::decode(bytes).ok().filter(|header| header.hash() == node.hash);
    header.ok_or(StoreError::BadRecord { location: node.location })
}

/// Encodes the undo data of a block as block hash ‖ undo data.
pub(super) fn encode_undo(hash: &block::Hash, undo: &Undo) -> Vec<u8> {
    [hash.as_bytes().as_slice(), &undo.encode()].concat()
}

/// Returns the hash of the block to which a record of undo data belongs.
fn undo_hash(payload: &[u8], location: RecordLocation) -> Result<block::Hash, StoreError> {
    let hash = payload.first_chunk::<32>().ok_or(StoreError::BadRecord { location })?;
    Ok(block::Hash::from_bytes(*hash))
}

/// Reads the undo data of a block of the best chain.
pub(super) fn read_undo(log: &LogReader, node: &BlockNode) -> Result<Undo, StoreError> {
    let location = node.undo().expect("a block of the best chain is valid");
    let (kind, bytes) = log.read(location)?;
    let undo = bytes.strip_prefix(node.hash.as_bytes()).filter(|_| kind == RecordKind::Undo);
    let undo = undo.and_then(|bytes| Undo::decode(bytes).ok().flatten());
    undo.ok_or(StoreError::BadRecord { location })
}
