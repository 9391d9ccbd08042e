//! The messages between peers, and the table of their limits. `wire` encodes them.

mod capabilities;

pub use capabilities::{Capabilities, MAX_EXTENSIONS, REQUIRED_FEATURES, SERVES_ALL_BLOCKS};

use chain::block::{self, Block, Header, Height};
use chain::pow::Work;
use chain::tx::{Id, Transaction, Transfer};
use libp2p::{Multiaddr, PeerId};
use std::sync::Arc;
use std::time::Duration;

/// Most block hashes in a locator.
pub const MAX_LOCATOR: usize = 64;
/// Most headers in a response.
pub const MAX_HEADERS: usize = 2_000;
/// Most blocks in a request.
pub const MAX_BLOCKS: usize = 64;
/// Bytes of encoded blocks after which a response ends. The first block is sent whatever its size.
pub const SOFT_BLOCKS_BYTES: usize = 1 << 20;
/// Most transactions in a request: as many transfers as fit into a block.
pub const MAX_BLOCK_TRANSACTIONS: usize = 13_800;
/// Most ids, or transfers, in a response about the mempool.
pub const MAX_MEMPOOL_ITEMS: usize = 4_000;
/// Most nodes in a response about addresses.
pub const MAX_ADDRESSES: usize = 64;
/// Most addresses of one node.
pub const MAX_ADDRESSES_EACH: usize = 4;
/// Most bytes of an address, and of a peer id.
pub const MAX_ADDRESS_BYTES: usize = 100;
/// Most encoded bytes of a block that this node announces in full.
pub const MAX_WHOLE_BLOCK: usize = 16 << 10;
/// Most bytes of prefilled transactions in a compact block of this node.
pub const MAX_PREFILLED: usize = 10 << 10;
/// Most bytes of an announced block.
pub const MAX_BLOCK_ANNOUNCEMENT: usize = 256 << 10;
/// Most bytes of an announced transfer.
pub const MAX_TRANSFER_ANNOUNCEMENT: usize = 1 << 10;

/// A request-response protocol. `Protocol::limits` is the table of all limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// The handshake: exchanges the statuses of both nodes.
    Hello,
    /// Requests headers after a locator.
    Headers,
    /// Requests full blocks by their hashes.
    Blocks,
    /// Requests transactions of one block by their positions.
    BlockTransactions,
    /// Requests ids and transfers of the mempool.
    Mempool,
    /// Requests addresses of other nodes.
    Addresses,
}

/// The limits of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The name after the network's prefix.
    pub name: &'static str,
    /// Most bytes of a request.
    pub request_bytes: usize,
    /// Most bytes of a response.
    pub response_bytes: usize,
    /// The longest time from a request to the end of its response.
    pub timeout: Duration,
    /// Most requests at a time on a connection, in both directions together.
    pub streams: usize,
    /// Most requests of a peer within `per`; more than twice as many are misbehavior.
    pub requests: u32,
    /// The period within which `requests` are permitted.
    pub per: Duration,
}

impl Protocol {
    /// All request-response protocols.
    pub const ALL: [Protocol; 6] = [
        Protocol::Hello,
        Protocol::Headers,
        Protocol::Blocks,
        Protocol::BlockTransactions,
        Protocol::Mempool,
        Protocol::Addresses,
    ];

    /// Returns the protocol's row in the table of limits.
    pub fn limits(self) -> Limits {
        let row = |name, request_bytes, response_bytes, timeout, streams, requests, per| Limits {
            name,
            request_bytes,
            response_bytes,
            timeout: Duration::from_secs(timeout),
            streams,
            requests,
            per: Duration::from_secs(per),
        };
        match self {
            //                       name     request  response  s  streams  n  per s
            Protocol::Hello => row("hello/1", 512, 512, 10, 4, 8, 15),
            Protocol::Headers => row("headers/1", 4 << 10, 256 << 10, 15, 8, 200, 10),
            Protocol::Blocks => row("blocks/1", 4 << 10, 4 << 20, 30, 16, 4_096, 10),
            Protocol::BlockTransactions => row("blocktxn/1", 64 << 10, 2 << 20, 8, 16, 20, 10),
            Protocol::Mempool => row("mempool/1", 128 << 10, 2 << 20, 10, 4, 60, 60),
            Protocol::Addresses => row("addr/1", 64, 32 << 10, 10, 2, 2, 60),
        }
    }
}

/// The status of a node: the first message on every connection, repeated when the tip changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The versions and features of the protocol that the node supports.
    pub capabilities: Capabilities,
    /// The hash of the network's genesis block.
    pub genesis: block::Hash,
    /// The hash of the node's tip.
    pub tip: block::Hash,
    /// The height of the node's tip.
    pub height: Height,
    /// The work of the node's best chain.
    pub chain_work: Work,
    /// Whether the node wants announcements of transfers.
    pub relay: bool,
    /// The node's wall-clock time, in Unix seconds.
    pub clock: u64,
    /// Random for each run of a node. A node that receives its own is connected to itself.
    pub nonce: u64,
}

/// A request to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The handshake: the status of the requesting node.
    Hello(Status),
    /// Headers after the first block of the locator that is in the peer's best chain.
    Headers {
        /// Blocks of this node's chain, newest first, genesis last: at most `MAX_LOCATOR`.
        locator: Vec<block::Hash>,
        /// The last header wanted; all zero for no such limit.
        stop: block::Hash,
        /// The most headers that the response may contain, at most `MAX_HEADERS`.
        max: u16,
    },
    /// Full blocks, at most `MAX_BLOCKS`.
    Blocks {
        /// The hashes of the blocks.
        hashes: Vec<block::Hash>,
    },
    /// Transactions of a block, at most `MAX_BLOCK_TRANSACTIONS`.
    BlockTransactions {
        /// The hash of the block.
        block: block::Hash,
        /// The positions of the transactions, ascending.
        positions: Vec<u32>,
    },
    /// Ids of the mempool, in the order in which the peer accepted them.
    MempoolIds {
        /// The position in that order to start from: 0, or `next` of an earlier response.
        from: u64,
    },
    /// Transfers of the mempool, at most `MAX_MEMPOOL_ITEMS`.
    MempoolTransfers {
        /// The ids of the transfers.
        ids: Vec<Id>,
    },
    /// Addresses of other nodes, at most `MAX_ADDRESSES`.
    Addresses {
        /// The most nodes whose addresses the response may contain.
        max: u8,
    },
}

impl Request {
    /// Returns the protocol that carries the request.
    pub fn protocol(&self) -> Protocol {
        match self {
            Request::Hello(_) => Protocol::Hello,
            Request::Headers { .. } => Protocol::Headers,
            Request::Blocks { .. } => Protocol::Blocks,
            Request::BlockTransactions { .. } => Protocol::BlockTransactions,
            Request::MempoolIds { .. } | Request::MempoolTransfers { .. } => Protocol::Mempool,
            Request::Addresses { .. } => Protocol::Addresses,
        }
    }
}

/// An encoded block, shared between the peers that it is served to.
pub type RawBlock = Arc<[u8]>;

/// A response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The handshake: the status of the responding node.
    Hello(Status),
    /// Headers, each the parent of the next.
    Headers(Vec<Header>),
    /// The first of the requested blocks in that order, at least one; `None` for one that is missing.
    /// The others have to be requested again.
    Blocks(Vec<Option<RawBlock>>),
    /// The requested transactions, in that order.
    BlockTransactions(Vec<Transaction>),
    /// Ids of the mempool in the order of acceptance.
    MempoolIds {
        /// The ids; fewer than `MAX_MEMPOOL_ITEMS` are the last ones.
        ids: Vec<Id>,
        /// The position after the last id.
        next: u64,
    },
    /// Those of the requested transfers that are in the mempool.
    MempoolTransfers(Vec<Transfer>),
    /// Addresses of other nodes.
    Addresses(Vec<NodeAddresses>),
    /// The request cannot be answered.
    Error(ResponseError),
}

impl Response {
    /// Returns the approximate size of the encoded response, in bytes, as an upper bound in practice.
    pub fn size_hint(&self) -> usize {
        /// A transaction with a memo.
        const TRANSACTION: usize = 256;
        let (count, each) = match self {
            Response::Hello(_) | Response::Error(_) => (1, 256),
            Response::Headers(headers) => (headers.len(), Header::BYTES),
            Response::Blocks(blocks) => (blocks.iter().flatten().map(|block| block.len()).sum(), 1),
            Response::BlockTransactions(transactions) => (transactions.len(), TRANSACTION),
            Response::MempoolIds { ids, .. } => (ids.len(), 32),
            Response::MempoolTransfers(transfers) => (transfers.len(), TRANSACTION),
            Response::Addresses(nodes) => (nodes.len(), 512),
        };
        count.saturating_mul(each)
    }
}

/// Why a request cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// The node is busy.
    Busy {
        /// Seconds after which to try again.
        retry_after: u8,
    },
    /// The requested item is missing.
    NotFound,
    /// The request violates the protocol.
    BadRequest,
    /// The rate limit is exceeded.
    RateLimited,
    /// The hello message states versions that the node does not support, or requires a feature that
    /// it does not have.
    IncompatibleVersion {
        /// What the responding node supports.
        supported: Capabilities,
    },
    /// A count or a length in the request exceeds its limit.
    AboveLimit,
}

/// The addresses of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddresses {
    /// The id of the node.
    pub peer: PeerId,
    /// The addresses without the node's id, at most `MAX_ADDRESSES_EACH`.
    pub addresses: Vec<Multiaddr>,
    /// The time of the last connection, Unix seconds; 0 for never.
    pub last_seen: u64,
}

/// A message that is gossiped to all peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A small block in full.
    Block(Arc<Block>),
    /// A block with short ids in place of transactions.
    CompactBlock(Arc<CompactBlock>),
    /// A pending transfer in full.
    Transfer {
        /// Distinguishes repeated announcements, since the same bytes are never forwarded twice: 0, or
        /// the height of the reorganisation that returned the transfer to the mempool.
        round: u32,
        /// The announced transfer.
        transfer: Arc<Transfer>,
    },
}

/// The short id of a transaction, valid in one compact block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(pub [u8; 6]);

/// A block whose transfers the receiver probably has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactBlock {
    /// The header of the block.
    pub header: Header,
    /// The key of the short ids, together with the header.
    pub nonce: u64,
    /// The short ids of the transactions that are not prefilled, in block order.
    pub short_ids: Vec<ShortId>,
    /// Full transactions and their positions, ascending; the coinbase is always among them.
    pub prefilled: Vec<(u32, Transaction)>,
}
