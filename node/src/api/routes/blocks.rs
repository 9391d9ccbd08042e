//! Blocks and headers, by height, hash or `tip`; submission of blocks.

use crate::api::http::content::{self, Content, Encoding, Json, Payload};
use crate::api::http::error;
use crate::api::http::extract::{EncodedBody, EncodedItems, MAX_BLOCK_BODY, Path, Query, in_range};
use crate::api::http::long_poll::{self, LongPoll};
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Client;
use crate::api::http::response::{ReadResponse, is_final, read, read_blocking};
use crate::api::http::streamed::Items;
use crate::api::openapi::route::{Routes, get, post};
use crate::api::openapi::schema::{self, AddressText, Bits, BlockHash, Digest, Digits, Units};
use crate::api::routes::solved::Solved;
use crate::api::routes::transfer::TransactionJson;
use crate::difficulty;
use crate::mining::workers::Interface;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chain::address::Hrp;
use chain::ledger::{Accepted, View};
use chain::{Block, DecodeError, Header, Height, block, block_index};
use miner::stratum::Worker;
use p2p::shares::Lease;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([
        get("/v1/blocks", "List blocks of the best chain, newest first", list)
            .returns_page::<Summary>(&[List::Blocks]),
        post("/v1/blocks", "Submit a mined block", submit)
            .body_limit(MAX_BLOCK_BODY)
            .returns_created::<SubmitResponse>("The block is new.")
            .response::<SubmitResponse>(
                200,
                "The block was known already: it is synced, and readable at `/v1/blocks/{hash}`.",
            )
            .errors(&error::block_errors()),
        get("/v1/blocks/{id}", "Get a block", get_block)
            .description(
                "A block outside the best chain has `in_best_chain` false. `tip` with `after`, a hash, \
                 waits until the tip is another block, for `wait` seconds at most: 30 unless set, and \
                 120 at most.",
            )
            .returns::<BlockResponse>(),
        get("/v1/blocks/{id}/header", "Get the header of a block", header).returns_bytes(),
        get("/v1/blocks/{id}/raw", "Get an encoded block", raw).returns_bytes(),
        get("/v1/blocks/{id}/transactions", "List the transactions of a block", transactions)
            .returns_page::<TransactionJson>(&[List::BlockTransactions]),
        get("/v1/headers", "Get headers of the best chain", headers)
            .description("80 bytes each, or a line of hexadecimal each.")
            .returns_bytes(),
        post("/v1/headers", "Submit headers of a branch", submit_headers)
            .description(
                "1 to 2,000 headers as `GET /v1/headers` returns them, each the parent of the next. \
                 The node keeps them in memory, those with the least work for the shortest time. \
                 If a branch has more work than the best chain, its blocks are accepted however \
                 deep it forks.",
            )
            .response::<SubmitHeadersResponse>(200, "The headers are valid.")
            .errors(&Kind::rules().chain([Kind::HEADERS_FULL]).collect::<Vec<_>>()),
    ])
}

/// Largest block in bytes that is read on the async thread: that takes about 50 µs, about as long as a
/// blocking thread needs to start.
const SMALL: u32 = 16_384;
/// Bytes in memory of a block, decoded or in hexadecimal, for each of its encoded bytes.
const DECODED_SIZE: u64 = 2;
/// Depth up to which blocks are most likely in the page cache. Deeper ones are read on a blocking
/// thread, since the disk may be slow.
const RECENT: u32 = 10_000;
/// Largest number of headers per response: 2,000 are 320 kB of text.
const MAX_HEADERS: u64 = 2_000;

/// A block without its transactions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockSummary")]
pub struct Summary {
    /// The hash of the block.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// The height of the block.
    pub height: u32,
    /// The number of confirmations; 0 outside the best chain.
    pub confirmations: u32,
    /// Whether the block is in the best chain.
    pub in_best_chain: bool,
    /// The version of the header.
    pub version: i32,
    /// The hash of the parent.
    #[schemars(with = "BlockHash")]
    pub previous: String,
    /// The Merkle root of the transactions.
    #[schemars(with = "Digest")]
    pub merkle_root: String,
    /// The time of the header, Unix seconds.
    pub time: u32,
    /// The compact target: 8 hexadecimal digits.
    #[schemars(with = "Bits")]
    pub bits: String,
    /// The nonce of the header.
    pub nonce: u32,
    /// The difficulty relative to bits 1d00ffff.
    pub difficulty: f64,
    /// The expected number of hashes of the chain up to this block: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub chain_work: String,
    /// The encoded size in bytes.
    pub size: u32,
    /// The address of the miner.
    #[schemars(with = "AddressText")]
    pub miner: String,
    /// The reward: subsidy and fees, in base units.
    #[schemars(with = "Units")]
    pub reward: u64,
    /// The fees of the transfers, in base units.
    #[schemars(with = "Units")]
    pub fees: u64,
    /// The number of transactions.
    pub transaction_count: u32,
}

/// A block with its transactions, or the ids of them.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Block")]
pub struct BlockResponse {
    /// The block without its transactions.
    #[serde(flatten)]
    pub summary: Summary,
    /// The transactions in order.
    pub transactions: Transactions,
    /// The hash of the next block of the best chain.
    #[schemars(with = "Option<BlockHash>")]
    pub next: Option<String>,
}

/// The transactions of a block.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockTransactions")]
#[serde(untagged)]
pub enum Transactions {
    /// Transaction ids.
    Ids(Vec<String>),
    /// Full transactions.
    Full(Vec<TransactionJson>),
}

impl Summary {
    /// The summary of a block, whose header is read from the disk.
    pub fn of(view: &View, node: &block_index::BlockNode) -> Result<Summary, Problem> {
        let (header, transaction_count) = view.header_and_count(node)?;
        Ok(Summary::new(view, node, &header, transaction_count))
    }

    fn new(
        view: &View,
        node: &block_index::BlockNode,
        header: &Header,
        transaction_count: u32,
    ) -> Summary {
        let Header { version, previous, merkle_root, time, bits, nonce } = *header;
        let subsidy = view.params().subsidy(node.height);
        Summary {
            hash: node.hash.to_string(),
            height: node.height.get(),
            confirmations: view.confirmations(node),
            in_best_chain: view.is_in_best_chain(node),
            version,
            previous: previous.to_string(),
            merkle_root: merkle_root.to_string(),
            time: time.get(),
            bits: bits.to_string(),
            nonce,
            difficulty: bits.target().map_or(0.0, difficulty::of),
            chain_work: node.chain_work.to_string(),
            size: node.location.length,
            miner: node.miner.encode(view.params().hrp()),
            reward: node.reward.units(),
            // A rule makes the difference the fees; the block of a side branch may only claim so.
            fees: node.reward.units().saturating_sub(subsidy.units()),
            transaction_count,
        }
    }
}

/// The name of a block, as in a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockId {
    /// The block of the best chain at a height.
    Height(u64),
    /// The block with a hash.
    Hash(block::Hash),
    /// The best block.
    Tip,
}

impl FromStr for BlockId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<BlockId, Problem> {
        // Heights have 32 bits; no longer number is one.
        let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if text == "tip" {
            Ok(BlockId::Tip)
        } else if let Some(hash) = hash(text) {
            Ok(BlockId::Hash(hash))
        } else if let Some(height) = text.parse().ok().filter(|_| is_number) {
            Ok(BlockId::Height(height))
        } else {
            let detail = "a block is named by its height, by the 64 hexadecimal digits of its \
                          hash in lower case, or by `tip`";
            Err(Problem::new(Kind::BAD_REQUEST, detail))
        }
    }
}

/// Parses a block hash in lower case.
pub fn hash(text: &str) -> Option<block::Hash> {
    text.parse().ok().filter(|_| !text.bytes().any(|byte| byte.is_ascii_uppercase()))
}

impl BlockId {
    /// Finds the block.
    pub fn find<'v>(self, view: &'v View) -> Result<&'v block_index::BlockNode, Problem> {
        let (found, what) = match self {
            BlockId::Tip => (Some(view.tip()), String::new()),
            BlockId::Hash(hash) => (view.find(&hash), format!("has the hash {hash}")),
            BlockId::Height(height) => {
                let found =
                    u32::try_from(height).ok().and_then(|at| view.at_height(Height::new(at)));
                (found, format!("is at height {height}"))
            }
        };
        found.ok_or_else(|| Problem::new(Kind::NOT_FOUND, format!("no block {what}")))
    }

    /// Builds a response from a block, on a blocking thread if reading it may take long. The
    /// memory for the block is counted before it is read.
    async fn read<C: Content>(
        self,
        node: Arc<NodeState>,
        client: &Client,
        build: impl FnOnce(&View<'_>, Option<Lease>) -> Result<ReadResponse<C>, Problem>
        + Send
        + 'static,
    ) -> Result<Response, Problem> {
        let (length, is_recent) = {
            let view = node.reader.view();
            self.find(&view).map_or((0, true), |block| {
                let depth = view.tip().height.get().saturating_sub(block.height.get());
                (block.location.length, depth < RECENT)
            })
        };
        let lease = client.count_bytes(u64::from(length).saturating_mul(DECODED_SIZE))?;
        let build = |view: &View<'_>| build(view, lease);
        Ok(match length <= SMALL && is_recent {
            true => read(&node, build),
            false => read_blocking(node, build).await,
        })
    }

    /// Returns whether the content is final; a height may refer to another block later.
    fn is_final(self, view: &View, node: &block_index::BlockNode) -> bool {
        matches!(self, BlockId::Hash(_)) && is_final(view, node)
    }
}

pub async fn list(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::Blocks])?);
    Ok(read_blocking(node, move |view| {
        let tip = view.tip();
        let (bound, from) = match cursor {
            Some(cursor) => {
                cursor.check(view)?;
                (cursor.bound, u32::try_from(cursor.position).unwrap_or(u32::MAX))
            }
            None => (tip.hash, tip.height.get()),
        };
        let mut heights = (0..=from).rev();
        let found =
            heights.by_ref().take(limit).map_while(|height| view.at_height(Height::new(height)));
        let items = found.map(|node| Summary::of(view, node)).collect::<Result<_, _>>()?;
        let next = heights
            .next()
            .map(|height| Cursor { list: List::Blocks, bound, position: height.into() }.encode());
        Ok(ReadResponse::page(Page { items, next }, &uri, limit))
    })
    .await)
}

/// The query of a block.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockQuery {
    #[serde(default)]
    full: bool,
    /// The hash of the tip that the client knows; for `tip` only.
    #[schemars(with = "Option<BlockHash>")]
    after: Option<String>,
    /// The number of seconds after which the response has the tip that the client knows.
    #[schemars(range(max = 120))]
    wait: Option<Digits>,
}

impl BlockQuery {
    /// Waits until the tip is another block than the client knows.
    async fn wait(&self, id: BlockId, node: &NodeState, client: &Client) -> Result<(), Problem> {
        let after = match (&self.after, self.wait) {
            (None, None) => return Ok(()),
            (Some(after), _) if id == BlockId::Tip => hash(after).ok_or_else(|| {
                let detail = "`after` must be 64 lower-case hexadecimal digits";
                Problem::new(Kind::BAD_REQUEST, detail)
            })?,
            _ => {
                let detail = "only `tip` waits, with `after`, the hash of the known tip";
                return Err(Problem::new(Kind::BAD_REQUEST, detail));
            }
        };
        let timeout = long_poll::timeout(self.wait, "wait")?;
        let mut long_poll = LongPoll::new(node, client, timeout)?;
        if long_poll.tip() == after {
            long_poll.tip_changed().await;
        }
        Ok(())
    }
}

pub async fn get_block(
    State(node): State<Arc<NodeState>>,
    client: Client,
    Path(schema::BlockId(id)): Path<schema::BlockId>,
    Query(query): Query<BlockQuery>,
) -> Result<Response, Problem> {
    let id: BlockId = id.parse()?;
    query.wait(id, &node, &client).await?;
    let is_long_poll = query.after.is_some();
    id.read(Arc::clone(&node), &client.clone(), move |view, lease| {
        let node = id.find(view)?;
        let block = view.block(node)?;
        let count =
            u32::try_from(block.transactions.len()).expect("its encoding counts in 32 bits");
        let summary = Summary::new(view, node, &block.header, count);
        let transactions = match query.full {
            true => Transactions::Full(Vec::new()),
            false => Transactions::Ids(block.ids().iter().map(ToString::to_string).collect()),
        };
        let next = node.height.next().filter(|_| summary.in_best_chain);
        let next = next.and_then(|height| view.at_height(height)).map(|next| next.hash.to_string());
        let response = BlockResponse { summary, transactions, next };
        let content = match query.full {
            true => full(&response, block, view.params().hrp(), client, lease),
            false => Json(response).encode(),
        };
        // Never immutable: its confirmations grow, and a reorganisation may make it stale.
        let response = ReadResponse::new(content);
        Ok(if is_long_poll { response.volatile() } else { response })
    })
    .await
}

/// A block with its transactions, which are rendered while the client reads them.
fn full(
    response: &BlockResponse,
    block: Block,
    hrp: Hrp,
    client: Client,
    lease: Option<Lease>,
) -> (&'static str, Payload) {
    let transactions = block.transactions.into_iter().map(move |transaction| {
        let transaction = TransactionJson::of(&transaction, hrp);
        serde_json::to_vec(&transaction).expect("keys of JSON types are strings")
    });
    let items = Items::in_json(response, ("\"transactions\":[", "]"), transactions, ",");
    (content::JSON, items.into_payload(client, lease))
}

pub async fn header(
    State(node): State<Arc<NodeState>>,
    Path(schema::BlockId(id)): Path<schema::BlockId>,
    encoding: Encoding,
) -> Result<Response, Problem> {
    let id: BlockId = id.parse()?;
    Ok(read(&node, |view| {
        let node = id.find(view)?;
        let bytes = view.header(node)?.encode().to_vec();
        Ok(ReadResponse::new(encoding.encode(bytes))
            .negotiated()
            .immutable_if(id.is_final(view, node)))
    }))
}

pub async fn raw(
    State(node): State<Arc<NodeState>>,
    client: Client,
    Path(schema::BlockId(id)): Path<schema::BlockId>,
    encoding: Encoding,
) -> Result<Response, Problem> {
    let id: BlockId = id.parse()?;
    id.read(node, &client, move |view, _lease| {
        let node = id.find(view)?;
        let response = ReadResponse::new(encoding.encode(view.raw_block(node)?));
        Ok(response.negotiated().immutable_if(id.is_final(view, node)))
    })
    .await
}

pub async fn transactions(
    State(node): State<Arc<NodeState>>,
    client: Client,
    uri: Uri,
    Path(schema::BlockId(id)): Path<schema::BlockId>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let id: BlockId = id.parse()?;
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::BlockTransactions])?);
    id.read(node, &client, move |view, _lease| {
        let (node, from) = match cursor {
            Some(cursor) => (cursor_block(id, &cursor, view)?, cursor.position),
            None => (id.find(view)?, 0),
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let (block, hrp) = (view.block(node)?, view.params().hrp());
        let mut rest = block.transactions.iter().skip(from);
        let items = rest.by_ref().take(limit).map(|tx| TransactionJson::of(tx, hrp)).collect();
        let next = rest.next().map(|_| {
            let position = from.saturating_add(limit) as u64;
            Cursor { list: List::BlockTransactions, bound: node.hash, position }.encode()
        });
        let response = ReadResponse::page(Page { items, next }, &uri, limit);
        Ok(response.immutable_if(id.is_final(view, node)))
    })
    .await
}

/// The block whose transactions the cursor lists. With a height or `tip` in the path, the cursor
/// expires once the block has left the best chain.
fn cursor_block<'v>(
    id: BlockId,
    cursor: &Cursor,
    view: &'v View,
) -> Result<&'v block_index::BlockNode, Problem> {
    let begun = view.find(&cursor.bound).ok_or_else(Cursor::expired)?;
    let other = || {
        let detail = "this cursor belongs to the transactions of another block";
        Problem::new(Kind::BAD_REQUEST, detail)
    };
    match id {
        BlockId::Hash(hash) if hash == begun.hash => return Ok(begun),
        BlockId::Hash(_) => return Err(other()),
        BlockId::Height(height) if height != u64::from(begun.height.get()) => return Err(other()),
        BlockId::Height(_) | BlockId::Tip => cursor.check(view)?,
    }
    Ok(begun)
}

/// The query of a range of headers.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersQuery {
    from: Option<Digits>,
    #[schemars(range(min = 1, max = 2_000))]
    count: Option<Digits>,
}

pub async fn headers(
    State(node): State<Arc<NodeState>>,
    Query(query): Query<HeadersQuery>,
    encoding: Encoding,
) -> Result<Response, Problem> {
    let from = query.from.map_or(0, |from| from.0);
    let count = query.count.map_or(MAX_HEADERS, |count| count.0);
    let count = in_range(count, 1..=MAX_HEADERS, "count")?;
    Ok(read_blocking(node, move |view| {
        let heights = (from..from.saturating_add(count)).map_while(|at| u32::try_from(at).ok());
        let nodes = heights.map_while(|height| view.at_height(Height::new(height)));
        let headers = nodes.map(|node| view.header(node)).collect::<Result<Vec<_>, _>>()?;
        let headers = headers.iter().map(|header| header.encode().to_vec());
        Ok(ReadResponse::new(encoding.encode_all(headers)).negotiated())
    })
    .await)
}

/// The last of the submitted headers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HeadersSubmitResult")]
pub struct SubmitHeadersResponse {
    /// The hash of the last header.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// The height of the last header.
    pub height: u32,
    /// The expected number of hashes of the chain up to the last header: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub chain_work: String,
    /// The number of headers that were not known before.
    pub new: usize,
    /// Whether the branch has more work than the best chain.
    pub has_more_work: bool,
}

pub async fn submit_headers(
    State(node): State<Arc<NodeState>>,
    EncodedItems(bytes): EncodedItems,
) -> Result<Json<SubmitHeadersResponse>, Problem> {
    let (headers, rest) = bytes.as_chunks::<{ Header::BYTES }>();
    if headers.is_empty() || !rest.is_empty() {
        let error = DecodeError::Truncated { needed: Header::BYTES, left: rest.len() };
        return Err(error.into());
    }
    in_range(headers.len() as u64, 1..=MAX_HEADERS, "the number of headers")?;
    let headers = headers.iter().map(|bytes| Header::decode(bytes)).collect::<Result<_, _>>()?;
    let branch = node.writer.submit_headers(headers).await??;
    Ok(Json(SubmitHeadersResponse {
        hash: branch.hash.to_string(),
        height: branch.height.get(),
        chain_work: branch.chain_work.to_string(),
        new: branch.new,
        has_more_work: branch.has_more_work,
    }))
}

/// The result of a block submission.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockSubmitResult")]
pub struct SubmitResponse {
    /// The hash of the block.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// The height of the block.
    pub height: Option<u32>,
    /// The status of the block.
    pub status: SubmitStatus,
}

/// The status of an accepted block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockSubmitStatus")]
#[serde(rename_all = "kebab-case")]
pub enum SubmitStatus {
    /// The block is the new tip.
    Connected,
    /// The block is on a side branch.
    SideBranch,
    /// The block was known already, in the best chain or on a side branch.
    Known,
}

pub async fn submit(
    State(node): State<Arc<NodeState>>,
    client: Client,
    EncodedBody(bytes): EncodedBody,
) -> Result<Response, Problem> {
    let block = Block::decode(&bytes)?;
    let (hash, payee) = (block.hash(), block.coinbase().map(|coinbase| coinbase.recipient));
    // Others relay the blocks of others.
    let worker = payee.map(|payee| Worker::new(payee, ""));
    let worker = worker.filter(|worker| node.workers.contains(worker));
    let solved = worker.map(|worker| Solved::new(&block, Interface::Rest, &worker));
    let result = node.writer.submit_block(block).await?;
    if let Some(solved) = solved {
        solved.count(&node, &client, &result);
    }
    Ok(submit_response(&node, hash, result?))
}

/// The response to an accepted block.
pub fn submit_response(node: &NodeState, hash: block::Hash, accepted: Accepted) -> Response {
    let (code, status) = match accepted {
        Accepted::Connected => (StatusCode::CREATED, SubmitStatus::Connected),
        Accepted::SideBranch => (StatusCode::CREATED, SubmitStatus::SideBranch),
        Accepted::AlreadyKnown => (StatusCode::OK, SubmitStatus::Known),
    };
    let height = node.reader.view().find(&hash).map(|node| node.height.get());
    let response = Json(SubmitResponse { hash: hash.to_string(), height, status });
    (code, [(LOCATION, format!("/v1/blocks/{hash}"))], response).into_response()
}
