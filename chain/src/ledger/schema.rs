//! The schema of the index: all keys and values. All rows follow from the block log. Rows about
//! blocks are in sled:
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `m` `state` | tip u32, nodes u32, covered position (file u32, offset u32), 2,048 bytes of LtHash lanes | the state that all other rows reflect |
//! | `m` `runs` | per run, the oldest first: number u32, bytes u64, CRC-32C u32, keys u32 | the sorted runs with all rows about transactions |
//! | `n` chunk u32 | up to 32 nodes of 113 bytes | the block index, in the order of arrival |
//!
//! Rows about transactions are in sorted runs. They are written without reading those that they
//! replace, except for accounts:
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `a` address 20 | balance, nonce, transactions | an account and the length of its history |
//! | `a` address 20, index | height, position | the transactions of an address, the oldest has index 0 |
//! | `t` first 8 bytes of an id, height, position | | the transactions of the best chain |
//!
//! Integers of the second table have a variable length: in an index, the number of bytes and then
//! the bytes, big-endian and without leading zeros, so that keys sort by it; otherwise seven bits a
//! byte, the lowest first, with the highest bit set in all bytes but the last (LEB128). Integers of
//! the first table are big-endian in keys and little-endian in values.
//!
//! The ledger's writer writes all rows. There may be more transactions of an address than its account
//! row counts: those of disconnected blocks remain until they are overwritten.

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
pub const VERSION: u32 = 3;

/// The key of the state row.
pub const STATE_KEY: &[u8] = b"mstate";
/// The key of the row that names the runs.
pub const RUNS_KEY: &[u8] = b"mruns";
/// The maximum number of runs, which the row that names them has room for.
pub const MAX_RUNS: usize = 200;
/// The prefix of all rows of accounts and their transactions.
pub const ACCOUNTS: &[u8] = b"a";
/// The number of block nodes in a chunk: 3.6 kB, below the maximum of 4 kB for a value.
pub const NODES_PER_CHUNK: u32 = 32;
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

/// Encodes the value of the row that names the runs.
pub fn encode_runs(runs: impl Iterator<Item = RunDescription>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for RunDescription { number, bytes: size, crc, keys } in runs {
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&keys.to_le_bytes());
    }
    bytes
}

/// Decodes the value of the row that names the runs.
pub fn decode_runs(bytes: &[u8]) -> Option<Vec<RunDescription>> {
    let (mut input, mut runs) = (Decoder::new(bytes), Vec::new());
    while input.remaining() > 0 {
        let (number, bytes) = (input.u32().ok()?, input.u64().ok()?);
        let (crc, keys) = (input.u32().ok()?, input.u32().ok()?);
        runs.push(RunDescription { number, bytes, crc, keys });
    }
    Some(runs)
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

/// Appends an integer of variable length to a value.
fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Splits an integer of variable length off a value.
fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0_u64, 0_u32);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let low = u64::from(byte & 0x7f);
        if shift >= u64::BITS || low << shift >> shift != low {
            return None;
        }
        number |= low << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
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
        if *self == AccountRow::default() {
            return None;
        }
        let mut bytes = Vec::with_capacity(16);
        write_varint(&mut bytes, self.account.balance.units());
        write_varint(&mut bytes, self.account.nonce);
        write_varint(&mut bytes, self.transactions.into());
        Some(bytes)
    }

    /// Decodes the value of the row.
    pub fn decode(mut bytes: &[u8]) -> Option<AccountRow> {
        let balance = Amount::new(read_varint(&mut bytes)?)?;
        let nonce = read_varint(&mut bytes)?;
        let transactions = read_varint(&mut bytes)?.try_into().ok()?;
        let row = AccountRow { account: Account { balance, nonce }, transactions };
        bytes.is_empty().then_some(row)
    }
}

/// The length of the key of an account row, in bytes.
const ACCOUNT_KEY_BYTES: usize = 21;
/// The length of the start of the key of a transaction row, in bytes.
const TRANSACTION_PREFIX_BYTES: usize = 9;

/// Returns the part of a key that the filter of a run knows: the account, or the first bytes of the
/// transaction's id.
pub fn filter_key(key: &[u8]) -> &[u8] {
    let length = match key.first() {
        Some(b'a') => ACCOUNT_KEY_BYTES,
        _ => TRANSACTION_PREFIX_BYTES,
    };
    key.get(..length).unwrap_or(key)
}

/// Returns the key of an account row.
pub fn account_key(address: &Address) -> [u8; ACCOUNT_KEY_BYTES] {
    let mut key = [b'a'; ACCOUNT_KEY_BYTES];
    key[1..].copy_from_slice(address.as_bytes());
    key
}

/// Returns the address in the key of an account row; `None` for the key of any other row.
pub fn account_address(key: &[u8]) -> Option<Address> {
    key.strip_prefix(ACCOUNTS)?.try_into().ok().map(Address::from_bytes)
}

/// Returns the key of a transaction of an address.
pub fn history_key(address: &Address, index: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(ACCOUNT_KEY_BYTES + 5);
    key.extend_from_slice(&account_key(address));
    let bytes = index.to_be_bytes();
    let zeros = (index.leading_zeros() / 8) as usize;
    let rest = &bytes[zeros.min(bytes.len())..];
    key.push(u8::try_from(rest.len()).expect("an index has four bytes"));
    key.extend_from_slice(rest);
    key
}

/// Returns the index in the key of a transaction of this address; `None` for the key of any other
/// row.
pub fn history_index(key: &[u8], address: &Address) -> Option<u32> {
    let rest = key.strip_prefix(&account_key(address)[..])?;
    let (length, rest) = rest.split_first()?;
    if rest.len() != usize::from(*length) || rest.len() > 4 {
        return None;
    }
    Some(rest.iter().fold(0, |index, byte| index << 8 | u32::from(*byte)))
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
    /// Appends the location to a key or a value.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        write_varint(bytes, self.height.get().into());
        write_varint(bytes, self.position.into());
    }

    /// Decodes a location, which must use all bytes.
    pub fn decode(mut bytes: &[u8]) -> Option<TxLocation> {
        let height = block::Height::new(read_varint(&mut bytes)?.try_into().ok()?);
        let position = read_varint(&mut bytes)?.try_into().ok()?;
        bytes.is_empty().then_some(TxLocation { height, position })
    }
}

/// The first bytes of the id of a transaction.
pub type IdPrefix = [u8; TRANSACTION_PREFIX_BYTES - 1];

/// Returns the first bytes of an id.
pub fn id_prefix(id: &Id) -> IdPrefix {
    let [a, b, c, d, e, f, g, h, ..] = *id.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Returns the start of the keys of all transactions whose ids start with these bytes.
pub fn transaction_prefix(prefix: &IdPrefix) -> [u8; TRANSACTION_PREFIX_BYTES] {
    let mut key = [b't'; TRANSACTION_PREFIX_BYTES];
    key[1..].copy_from_slice(prefix);
    key
}

/// Returns the key of a transaction of the best chain.
pub fn transaction_key(prefix: &IdPrefix, location: TxLocation) -> Vec<u8> {
    let mut key = Vec::with_capacity(TRANSACTION_PREFIX_BYTES + 8);
    key.extend_from_slice(&transaction_prefix(prefix));
    location.write(&mut key);
    key
}
