//! The schema of the index: all keys and values. All rows follow from the block log.
//! Integers are big-endian in keys, so that keys sort by them, and little-endian in values.
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `m` `state` | tip u32, nodes u32, covered position (file u32, offset u32), 2,048 bytes of LtHash lanes | the state that the other rows reflect |
//! | `m` `flush` | the value of `m` `state` to come, then per run: number u32, bytes u64, CRC-32C u32 | rows of these runs are being written |
//! | `n` chunk u32 | up to 32 nodes of 113 bytes | the block index, in the order of arrival |
//! | `a` address 20 | balance u64, nonce u64, transactions u32 | an account and the length of its history |
//! | `h` address 20, page u32 | up to 256 times height u32, position u32 | the transactions of an address, oldest first |
//! | `t` first 8 bytes of an id | one or more times height u32, position u32 | the transactions of the best chain whose ids start with these bytes |
//!
//! The ledger's writer writes all rows. A page may have more locations than the history: those of
//! disconnected blocks remain until they are overwritten.

use crate::accounts::{Account, LtHash};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Timestamp};
use crate::block_index::{NodeFields, NodeId, Status};
use crate::codec::{DecodeError, Decoder};
use crate::pow::Bits;
use crate::rules::Rule;
use crate::rules::body::Reward;
use crate::store::blocks::{LogPosition, RecordLocation};
use crate::store::sorted_run::RunDescription;
use crate::tx::Id;

/// The version of the rows and of the block log's records. An index of another version is rebuilt.
pub const VERSION: u32 = 2;

/// The key of the state row.
pub const STATE_KEY: &[u8] = b"mstate";
/// The key of the flush row, which exists during a flush only.
pub const FLUSH_KEY: &[u8] = b"mflush";
/// The prefix of all account rows.
pub const ACCOUNTS: &[u8] = b"a";
/// The number of block nodes in a chunk: 3.6 kB, below the maximum of 4 kB for a value.
pub const NODES_PER_CHUNK: u32 = 32;
/// The number of locations in a page of a history: 2 kB.
pub const LOCATIONS_PER_PAGE: u32 = 256;

/// The state that all other rows reflect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// The id of the best block.
    pub tip: NodeId,
    /// The number of blocks in the block index.
    pub nodes: u32,
    /// The position in the log before which all records are reflected by the rows.
    pub covered: LogPosition,
    /// The hash of the accounts.
    pub accounts_hash: LtHash,
}

impl StateRow {
    /// Encodes the value of the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + LtHash::BYTES);
        for number in [self.tip.get(), self.nodes, self.covered.file, self.covered.offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.accounts_hash.encode());
        bytes
    }

    /// Decodes the value of the row.
    pub fn decode(bytes: &[u8]) -> Option<StateRow> {
        let mut input = Decoder::new(bytes);
        let tip = NodeId::new(input.u32().ok()?);
        let nodes = input.u32().ok()?;
        let covered = LogPosition { file: input.u32().ok()?, offset: input.u32().ok()? };
        let accounts_hash = LtHash::decode(input.bytes(LtHash::BYTES).ok()?)?;
        input.finish().ok()?;
        Some(StateRow { tip, nodes, covered, accounts_hash })
    }
}

/// The rows that a flush is writing, for the start after a kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlushRow {
    /// The state that the rows lead to.
    pub state: StateRow,
    /// The runs with the rows, the oldest first.
    pub runs: Vec<RunDescription>,
}

impl FlushRow {
    /// Encodes the value of the row.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.state.encode();
        for RunDescription { number, bytes: size, crc } in &self.runs {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&size.to_le_bytes());
            bytes.extend_from_slice(&crc.to_le_bytes());
        }
        bytes
    }

    /// Decodes the value of the row.
    pub fn decode(bytes: &[u8]) -> Option<FlushRow> {
        let (state, runs) = bytes.split_at_checked(16 + LtHash::BYTES)?;
        let mut input = Decoder::new(runs);
        let mut runs = Vec::new();
        while input.remaining() > 0 {
            let (number, bytes) = (input.u32().ok()?, input.u64().ok()?);
            runs.push(RunDescription { number, bytes, crc: input.u32().ok()? });
        }
        Some(FlushRow { state: StateRow::decode(state)?, runs })
    }
}

/// Returns the key of a chunk of block nodes.
pub fn chunk_key(chunk: u32) -> Vec<u8> {
    [b"n".as_slice(), &chunk.to_be_bytes()].concat()
}

/// Encodes a chunk of block nodes.
pub fn encode_chunk(nodes: impl Iterator<Item = (NodeFields, Status)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (node, status) in nodes {
        let (status, undo) = match status {
            // The log knows which blocks were removed.
            Status::Stored | Status::Pruned => (0, NO_RECORD),
            Status::Valid { undo } => (1, undo),
            Status::Invalid { rule } => (status_byte(rule), NO_RECORD),
        };
        bytes.extend_from_slice(node.hash.as_bytes());
        bytes.extend_from_slice(&node.parent.get().to_le_bytes());
        bytes.extend_from_slice(&node.time.get().to_le_bytes());
        bytes.extend_from_slice(&node.bits.raw().to_le_bytes());
        write_location(&mut bytes, node.location);
        bytes.extend_from_slice(node.reward.recipient.as_bytes());
        bytes.extend_from_slice(&node.reward.amount.units().to_le_bytes());
        bytes.push(status);
        write_location(&mut bytes, undo);
    }
    bytes
}

/// Decodes a chunk of block nodes.
pub fn decode_chunk(bytes: &[u8]) -> Option<Vec<(NodeFields, Status)>> {
    let mut input = Decoder::new(bytes);
    let mut nodes = Vec::new();
    while input.remaining() > 0 {
        nodes.push(read_node(&mut input).ok()??);
    }
    Some(nodes)
}

const NO_RECORD: RecordLocation = RecordLocation { file: 0, offset: 0, length: 0 };
/// The status byte of the first rule of [`Rule::ALL`].
const FIRST_RULE: u8 = 2;

fn status_byte(rule: Rule) -> u8 {
    let row = Rule::ALL.iter().position(|other| *other == rule).expect("all rules are listed");
    u8::try_from(row).expect("there are few rules").saturating_add(FIRST_RULE)
}

fn write_location(bytes: &mut Vec<u8>, location: RecordLocation) {
    for number in [location.file, location.offset, location.length] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}

fn read_location(input: &mut Decoder) -> Result<RecordLocation, DecodeError> {
    Ok(RecordLocation { file: input.u32()?, offset: input.u32()?, length: input.u32()? })
}

fn read_node(input: &mut Decoder) -> Result<Option<(NodeFields, Status)>, DecodeError> {
    let hash = block::Hash::from_bytes(input.array()?);
    let parent = NodeId::new(input.u32()?);
    let time = Timestamp::new(input.u32()?);
    let bits = Bits::new(input.u32()?);
    let location = read_location(input)?;
    let recipient = Address::from_bytes(input.array()?);
    let amount = Amount::new(input.u64()?);
    let status = input.u8()?;
    let undo = read_location(input)?;
    let status = match status {
        0 => Some(Status::Stored),
        1 => Some(Status::Valid { undo }),
        rule => {
            let rule = Rule::ALL.get(usize::from(rule - FIRST_RULE));
            rule.map(|rule| Status::Invalid { rule: *rule })
        }
    };
    Ok(amount.zip(status).map(|(amount, status)| {
        let reward = Reward { recipient, amount };
        (NodeFields { hash, parent, time, bits, location, reward }, status)
    }))
}

/// An account and the length of its history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountRow {
    /// The account, as the index stores it.
    pub account: Account,
    /// The number of transactions of the best chain that involve the address.
    pub transactions: u32,
}

impl AccountRow {
    /// Encodes the value of the row; `None` for a default row, which is not stored.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let bytes = [self.account.encode().as_slice(), &self.transactions.to_le_bytes()].concat();
        (*self != AccountRow::default()).then_some(bytes)
    }

    /// Decodes the value of the row.
    pub fn decode(bytes: &[u8]) -> Option<AccountRow> {
        let mut input = Decoder::new(bytes);
        let account = Account::read(&mut input).ok()??;
        let transactions = input.u32().ok()?;
        input.finish().ok()?;
        Some(AccountRow { account, transactions })
    }
}

/// Returns the key of an account row.
pub fn account_key(address: &Address) -> Vec<u8> {
    [ACCOUNTS, address.as_bytes()].concat()
}

/// Returns the address in the key of an account row.
pub fn account_address(key: &[u8]) -> Option<Address> {
    key.strip_prefix(ACCOUNTS)?.try_into().ok().map(Address::from_bytes)
}

/// Returns the key of a page of an address's history.
pub fn page_key(address: &Address, page: u32) -> Vec<u8> {
    [b"h".as_slice(), address.as_bytes(), &page.to_be_bytes()].concat()
}

/// The location of a transaction in the best chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxLocation {
    /// The height of the block.
    pub height: block::Height,
    /// The position of the transaction in the block, counted from 0.
    pub position: u32,
}

impl TxLocation {
    /// The length of an encoded location, in bytes.
    pub const BYTES: usize = 8;

    /// Encodes the location for a row of the index: height, then position, each 4 bytes.
    pub fn encode(&self) -> [u8; TxLocation::BYTES] {
        let mut bytes = [0; TxLocation::BYTES];
        bytes[..4].copy_from_slice(&self.height.get().to_le_bytes());
        bytes[4..].copy_from_slice(&self.position.to_le_bytes());
        bytes
    }

    /// Decodes the location with this index in a page; `None` beyond the end of the page.
    pub fn read_from_page(page: &[u8], index: u32) -> Option<TxLocation> {
        let (locations, _) = page.as_chunks::<{ TxLocation::BYTES }>();
        locations.get(index as usize).map(TxLocation::decode)
    }

    fn decode(bytes: &[u8; TxLocation::BYTES]) -> TxLocation {
        let [a, b, c, d, e, f, g, h] = *bytes;
        let height = block::Height::new(u32::from_le_bytes([a, b, c, d]));
        TxLocation { height, position: u32::from_le_bytes([e, f, g, h]) }
    }
}

/// Returns the key of the row of a transaction id.
pub fn transaction_key(id: &Id) -> Vec<u8> {
    [b"t".as_slice(), &id.as_bytes()[..8]].concat()
}

/// Encodes the locations of a transaction row; `None` if there are none.
pub fn encode_locations(locations: &[TxLocation]) -> Option<Vec<u8>> {
    let bytes = locations.iter().flat_map(TxLocation::encode).collect();
    (!locations.is_empty()).then_some(bytes)
}

/// Decodes the locations of a transaction row.
pub fn decode_locations(bytes: &[u8]) -> Option<Vec<TxLocation>> {
    let (locations, rest) = bytes.as_chunks::<{ TxLocation::BYTES }>();
    rest.is_empty().then(|| locations.iter().map(TxLocation::decode).collect())
}
