//! What the index keeps: every key, its fields and who writes it. All of it follows from the block
//! log. Integers in keys are big-endian, so that keys sort by them; in values little-endian.
//!
//! | key | value | meaning |
//! |---|---|---|
//! | `m` `state` | tip u32, nodes u32, covered position (file u32, offset u32), 2,048 lane bytes | what the other rows stand at |
//! | `n` chunk u32 | up to 32 nodes of 113 bytes | the tree of blocks, in the order of arrival |
//! | `a` address 20 | balance u64, nonce u64, entries u32 | an account, and how many history entries it has |
//! | `h` address 20, page u32 | up to 256 times height u32, position u32 | an address's transactions, oldest first |
//! | `t` first 8 bytes of an id | times height u32, position u32 | transactions of the best chain with such an id |
//!
//! The ledger's writer writes all of them. A page may be longer than the entries that count: those
//! left by a block that was disconnected are overwritten by the next.

use crate::accounts::{Account, LtHash};
use crate::address::Address;
use crate::amount::Amount;
use crate::block::{self, Timestamp};
use crate::block_index::{NodeId, Status, StoredNode};
use crate::codec::{DecodeError, Decoder};
use crate::pow::Bits;
use crate::rules::Rule;
use crate::rules::body::Reward;
use crate::store::blocks::{LogPosition, RecordLocation};
use crate::tx::Id;

/// Changes whenever a row or the block log's records do; an index of another schema is rebuilt.
pub const SCHEMA: u32 = 2;

/// The key of the one `State`.
pub const STATE_KEY: &[u8] = b"mstate";
/// Prefix of all account rows.
pub const ACCOUNTS: &[u8] = b"a";
/// Nodes in a chunk: 3.6 kB, under the 4 kB that a value may have.
pub const NODES_PER_CHUNK: u32 = 32;
/// History entries in a page: 2 kB.
pub const ENTRIES_PER_PAGE: u32 = 256;

/// What all other rows stand at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The best block.
    pub tip: NodeId,
    /// How many nodes there are.
    pub nodes: u32,
    /// All records of the log before it are in the rows.
    pub covered: LogPosition,
    /// The commitment to the accounts.
    pub accounts_hash: LtHash,
}

impl State {
    /// The value.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + LtHash::BYTES);
        for number in [self.tip.get(), self.nodes, self.covered.file, self.covered.offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.accounts_hash.encode());
        bytes
    }

    /// Reads the value.
    pub fn decode(bytes: &[u8]) -> Option<State> {
        let mut input = Decoder::new(bytes);
        let tip = NodeId::new(input.u32().ok()?);
        let nodes = input.u32().ok()?;
        let covered = LogPosition { file: input.u32().ok()?, offset: input.u32().ok()? };
        let accounts_hash = LtHash::decode(input.bytes(LtHash::BYTES).ok()?)?;
        input.finish().ok()?;
        Some(State { tip, nodes, covered, accounts_hash })
    }
}

/// The key of a chunk of nodes.
pub fn chunk_key(chunk: u32) -> Vec<u8> {
    [b"n".as_slice(), &chunk.to_be_bytes()].concat()
}

/// The value of a chunk.
pub fn encode_chunk(nodes: impl Iterator<Item = StoredNode>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for node in nodes {
        let (status, undo) = match node.status {
            Status::Stored => (0, NOWHERE),
            Status::Valid { undo } => (1, undo),
            Status::Invalid { rule } => (status_byte(rule), NOWHERE),
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

/// Reads a chunk.
pub fn decode_chunk(bytes: &[u8]) -> Option<Vec<StoredNode>> {
    let mut input = Decoder::new(bytes);
    let mut nodes = Vec::new();
    while input.remaining() > 0 {
        nodes.push(read_node(&mut input).ok()??);
    }
    Some(nodes)
}

const NOWHERE: RecordLocation = RecordLocation { file: 0, offset: 0, length: 0 };
/// Status bytes from here on are positions in `Rule::ALL`.
const FIRST_RULE: u8 = 2;

fn status_byte(rule: Rule) -> u8 {
    let row =
        Rule::ALL.iter().position(|other| *other == rule).expect("every rule is in the table");
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

fn read_node(input: &mut Decoder) -> Result<Option<StoredNode>, DecodeError> {
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
        rule => Rule::ALL
            .get(usize::from(rule - FIRST_RULE))
            .map(|rule| Status::Invalid { rule: *rule }),
    };
    Ok(amount.zip(status).map(|(amount, status)| StoredNode {
        hash,
        parent,
        time,
        bits,
        location,
        reward: Reward { recipient, amount },
        status,
    }))
}

/// What is kept of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountRow {
    /// The account.
    pub account: Account,
    /// Transactions of the best chain that name it.
    pub entries: u32,
}

impl AccountRow {
    /// The value; `None` if there is nothing to keep.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let bytes = [self.account.encode().as_slice(), &self.entries.to_le_bytes()].concat();
        (*self != AccountRow::default()).then_some(bytes)
    }

    /// Reads the value.
    pub fn decode(bytes: &[u8]) -> Option<AccountRow> {
        let mut input = Decoder::new(bytes);
        let account = Account::read(&mut input).ok()??;
        let entries = input.u32().ok()?;
        input.finish().ok()?;
        Some(AccountRow { account, entries })
    }
}

/// The key of an account.
pub fn account_key(address: &Address) -> Vec<u8> {
    [ACCOUNTS, address.as_bytes()].concat()
}

/// The address of an account's key.
pub fn account_address(key: &[u8]) -> Option<Address> {
    key.strip_prefix(ACCOUNTS)?.try_into().ok().map(Address::from_bytes)
}

/// The key of a page of an address's history.
pub fn page_key(address: &Address, page: u32) -> Vec<u8> {
    [b"h".as_slice(), address.as_bytes(), &page.to_be_bytes()].concat()
}

/// Where a transaction of the best chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TxLocation {
    /// The block's height in the best chain.
    pub height: block::Height,
    /// The transaction's position in the block.
    pub position: u32,
}

impl TxLocation {
    /// Bytes of an entry.
    pub const BYTES: usize = 8;

    /// The value.
    pub fn encode(&self) -> [u8; TxLocation::BYTES] {
        let mut bytes = [0; TxLocation::BYTES];
        bytes[..4].copy_from_slice(&self.height.get().to_le_bytes());
        bytes[4..].copy_from_slice(&self.position.to_le_bytes());
        bytes
    }

    /// Reads the entry at an index of a page; `None` beyond its end.
    pub fn of_page(page: &[u8], at: u32) -> Option<TxLocation> {
        let (entries, _) = page.as_chunks::<{ TxLocation::BYTES }>();
        entries.get(at as usize).map(TxLocation::decode)
    }

    fn decode(bytes: &[u8; TxLocation::BYTES]) -> TxLocation {
        let [a, b, c, d, e, f, g, h] = *bytes;
        let height = block::Height::new(u32::from_le_bytes([a, b, c, d]));
        TxLocation { height, position: u32::from_le_bytes([e, f, g, h]) }
    }
}

/// The key of a transaction.
pub fn transaction_key(id: &Id) -> Vec<u8> {
    [b"t".as_slice(), &id.as_bytes()[..8]].concat()
}

/// The value of a transaction's key.
pub fn encode_entries(entries: &[TxLocation]) -> Option<Vec<u8>> {
    let bytes = entries.iter().flat_map(TxLocation::encode).collect();
    (!entries.is_empty()).then_some(bytes)
}

/// Reads it.
pub fn decode_entries(bytes: &[u8]) -> Option<Vec<TxLocation>> {
    let (entries, rest) = bytes.as_chunks::<{ TxLocation::BYTES }>();
    rest.is_empty().then(|| entries.iter().map(TxLocation::decode).collect())
}
