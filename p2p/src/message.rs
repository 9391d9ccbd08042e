//! What peers say to each other, and the one table of limits on it. Bytes are the business of `wire`.

use chain::block::{self, Block, Header, Height};
use chain::pow::Work;
use chain::tx::{Id, Transaction, Transfer};
use libp2p::{Multiaddr, PeerId};
use std::sync::Arc;
use std::time::Duration;

/// The protocol's version. Others are refused at the first message.
pub const VERSION: u16 = 1;

/// Most block hashes in a locator.
pub const MAX_LOCATOR: usize = 64;
/// Most headers in a reply.
pub const MAX_HEADERS: usize = 2_000;
/// Most blocks that one request names.
pub const MAX_BLOCKS: usize = 64;
/// Encoded blocks after which a reply ends, in bytes; the first block goes whole whatever its size.
pub const SOFT_BLOCKS_BYTES: usize = 1 << 20;
/// Most transactions that one request names: as many transfers as fit into a block.
pub const MAX_BLOCK_TRANSACTIONS: usize = 13_800;
/// Most ids, or transfers, of the mempool in one reply.
pub const MAX_POOL: usize = 4_000;
/// Most nodes in one exchange of addresses, and addresses of each.
pub const MAX_ADDRESSES: usize = 64;
/// Most addresses of one node.
pub const MAX_ADDRESSES_EACH: usize = 4;
/// Most bytes of one address, and of a node's id, as exchanged.
pub const MAX_ADDRESS_BYTES: usize = 100;
/// A block up to this many encoded bytes is announced whole.
pub const MAX_WHOLE_BLOCK: usize = 16 << 10;
/// Encoded transactions that a compact block carries unasked, in bytes.
pub const MAX_PREFILLED: usize = 10 << 10;
/// Most bytes of an announced block.
pub const MAX_BLOCK_ANNOUNCEMENT: usize = 256 << 10;
/// Most bytes of an announced transfer.
pub const MAX_TRANSFER_ANNOUNCEMENT: usize = 1 << 10;

/// A protocol of one request and one reply. `Protocol::limits` is the table of their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Who am I, who are you.
    Hello,
    /// Headers after a place in the chain.
    Headers,
    /// Whole blocks.
    Blocks,
    /// Transactions of one block.
    BlockTransactions,
    /// Transfers that wait for a block.
    Pool,
    /// Addresses of other nodes.
    Addresses,
}

/// What is allowed of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Its name, after the network's prefix.
    pub name: &'static str,
    /// Most bytes of a request.
    pub request_bytes: usize,
    /// Most bytes of a reply.
    pub response_bytes: usize,
    /// How long a request may take as a whole.
    pub timeout: Duration,
    /// Requests at a time on a connection, both ways together.
    pub streams: usize,
    /// Requests that a peer may make in `per`; above twice as many it is misbehaving. A request for
    /// blocks counts as many as it names.
    pub requests: u32,
    /// What `requests` counts over.
    pub per: Duration,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 6] = [
        Protocol::Hello,
        Protocol::Headers,
        Protocol::Blocks,
        Protocol::BlockTransactions,
        Protocol::Pool,
        Protocol::Addresses,
    ];

    /// The table of limits.
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
            //                       name        request   reply    s  streams  n  per s
            Protocol::Hello => row("hello/1", 512, 512, 10, 4, 8, 15),
            Protocol::Headers => row("headers/1", 4 << 10, 256 << 10, 15, 8, 20, 10),
            Protocol::Blocks => row("blocks/1", 4 << 10, 4 << 20, 30, 16, 16_384, 10),
            Protocol::BlockTransactions => row("blocktxn/1", 64 << 10, 2 << 20, 8, 16, 20, 10),
            Protocol::Pool => row("mempool/1", 128 << 10, 2 << 20, 10, 4, 60, 60),
            Protocol::Addresses => row("addr/1", 64, 32 << 10, 10, 2, 2, 60),
        }
    }
}

/// What a node says of itself: the first message on every connection, and again with news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The protocol's version.
    pub version: u16,
    /// What it offers: bit 0, it serves all blocks of its chain.
    pub services: u64,
    /// The network.
    pub genesis: block::Hash,
    /// Its best block.
    pub tip: block::Hash,
    /// The height of that.
    pub height: Height,
    /// The work of its best chain.
    pub chain_work: Work,
    /// Whether it wants transfers.
    pub relay: bool,
    /// Its clock, Unix seconds.
    pub clock: u64,
    /// Random for each run of a node: who hears its own is talking to itself.
    pub nonce: u64,
}

/// What one node asks another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Says who asks.
    Hello(Status),
    /// Headers after the first block of the locator that is in the best chain.
    Headers {
        /// Blocks of the asker's chain, newest first, genesis last: at most `MAX_LOCATOR`.
        locator: Vec<block::Hash>,
        /// The last header wanted, all zero for as many as there are.
        stop: block::Hash,
        /// Most headers wanted, at most `MAX_HEADERS`.
        max: u16,
    },
    /// Whole blocks, at most `MAX_BLOCKS`.
    Blocks {
        /// Which.
        hashes: Vec<block::Hash>,
    },
    /// Transactions of a block by position, ascending: at most `MAX_BLOCK_TRANSACTIONS`.
    BlockTransactions {
        /// The block.
        block: block::Hash,
        /// Where its transactions stand.
        positions: Vec<u32>,
    },
    /// Ids of transfers that wait for a block, in the order in which they came to the node asked.
    PoolIds {
        /// The place in that order from which on: 0, or what an earlier reply says comes next.
        from: u64,
    },
    /// Transfers of the mempool, at most `MAX_POOL`.
    PoolTransfers {
        /// Which.
        ids: Vec<Id>,
    },
    /// Addresses of other nodes, at most `MAX_ADDRESSES`.
    Addresses {
        /// Most nodes wanted.
        max: u8,
    },
}

impl Request {
    /// The protocol that carries it.
    pub fn protocol(&self) -> Protocol {
        match self {
            Request::Hello(_) => Protocol::Hello,
            Request::Headers { .. } => Protocol::Headers,
            Request::Blocks { .. } => Protocol::Blocks,
            Request::BlockTransactions { .. } => Protocol::BlockTransactions,
            Request::PoolIds { .. } | Request::PoolTransfers { .. } => Protocol::Pool,
            Request::Addresses { .. } => Protocol::Addresses,
        }
    }
}

/// An encoded block. Shared, because one is served to many.
pub type RawBlock = Arc<[u8]>;

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Who answers.
    Hello(Status),
    /// Headers, each the parent of the next.
    Headers(Vec<Header>),
    /// The first of the blocks asked for, in that order: at least one; `None` for one that is not
    /// there. The rest has to be asked for again.
    Blocks(Vec<Option<RawBlock>>),
    /// The transactions asked for, in that order.
    BlockTransactions(Vec<Transaction>),
    /// Ids of the mempool in the order of arrival.
    PoolIds {
        /// Fewer than `MAX_POOL` are the last.
        ids: Vec<Id>,
        /// The place after them.
        next: u64,
    },
    /// Those of the transfers asked for that are there.
    PoolTransfers(Vec<Transfer>),
    /// Other nodes.
    Addresses(Vec<NodeAddresses>),
    /// No, and why.
    Error(ResponseError),
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// Not now.
    Busy {
        /// When to ask again, in seconds.
        retry_after: u8,
    },
    /// It is not here.
    NotFound,
    /// The request makes no sense.
    BadRequest,
    /// Too many requests.
    RateLimited,
}

/// Where another node is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddresses {
    /// Which node.
    pub peer: PeerId,
    /// At most `MAX_ADDRESSES_EACH`, without the node's id.
    pub addresses: Vec<Multiaddr>,
    /// When it was last connected to, Unix seconds; 0 for never.
    pub last_seen: u64,
}

/// What is told to everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// A small block, whole.
    Block(Arc<Block>),
    /// A block by the short ids of its transactions.
    CompactBlock(Arc<CompactBlock>),
    /// A transfer.
    Transfer {
        /// What tells repeated announcements of one transfer apart, because the same bytes are
        /// never forwarded twice: 0, or the height of the reorganisation that returned it.
        round: u32,
        /// The transfer.
        transfer: Arc<Transfer>,
    },
}

/// Six bytes that stand for a transaction in one compact block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShortId(pub [u8; 6]);

/// A block whose transfers the other side probably has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactBlock {
    /// The block's header.
    pub header: Header,
    /// Makes short ids another's.
    pub nonce: u64,
    /// For each transaction that is not prefilled, in block order.
    pub short_ids: Vec<ShortId>,
    /// Transactions and their positions in the block, ascending; the coinbase always.
    pub prefilled: Vec<(u32, Transaction)>,
}
