//! Blocks and headers: read by height, hash or `tip`, and handed in.

use crate::api::http::content::{Content, Form, Json};
use crate::api::http::error;
use crate::api::http::extract::{Encoded, MAX_BLOCK_BODY, Path, Query};
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{Answer, is_final, read, read_aside};
use crate::api::openapi::route::{Table, get, post};
use crate::api::openapi::schema::{AddressText, Bits, BlockHash, BlockId, Digest, Digits, Units};
use crate::api::routes::transfer::Shown;
use crate::difficulty;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chain::ledger::{Accepted, View};
use chain::{Block, Header, Height, block, block_index};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        get("/v1/blocks", "The best chain, newest first", list).lists::<Summary>(&[List::Blocks]),
        post("/v1/blocks", "Hand a mined block in", submit)
            .limited(MAX_BLOCK_BODY)
            .makes::<HandedIn>("It is new.")
            .answers::<HandedIn>(200, "It is known.")
            .fails(&error::of_blocks()),
        get("/v1/blocks/{id}", "A block", one)
            .says("One that left the best chain is shown too, with `in_best_chain` false.")
            .shows::<Whole>(),
        get("/v1/blocks/{id}/header", "A block's 80 bytes", header).shows_bytes(),
        get("/v1/blocks/{id}/raw", "A whole block, encoded", raw).shows_bytes(),
        get("/v1/blocks/{id}/transactions", "A block's transactions", transactions)
            .lists::<Shown>(&[List::OfBlock]),
        get("/v1/headers", "Headers of the best chain", headers)
            .says("80 bytes each, or a line of hexadecimal each.")
            .shows_bytes(),
    ])
}

/// Bytes of a block that is read and shown where it is asked for: in some 50 µs, hardly more than it
/// takes to have another thread begin.
const SMALL: u32 = 16_384;
/// Blocks, counted from the tip, that the system most likely still has in memory. Older ones are read by
/// another thread, which had better wait for a disk than this one.
const RECENT: u32 = 10_000;
/// Headers of one answer: 2,000 are 320 kB of text.
const MAX_HEADERS: u64 = 2_000;

/// A block without its transactions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockSummary")]
pub struct Summary {
    /// Its hash.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// Its height.
    pub height: u32,
    /// Blocks from it up to the tip, itself included; 0 outside the best chain.
    pub confirmations: u32,
    /// Whether it is in the best chain.
    pub in_best_chain: bool,
    /// The header's version.
    pub version: i32,
    /// The parent's hash.
    #[schemars(with = "BlockHash")]
    pub previous: String,
    /// The header's.
    #[schemars(with = "Digest")]
    pub merkle_root: String,
    /// The header's.
    pub time: u32,
    /// The header's: 8 hexadecimal digits.
    #[schemars(with = "Bits")]
    pub bits: String,
    /// The header's.
    pub nonce: u32,
    /// How many times as hard as bits 1d00ffff.
    pub difficulty: f64,
    /// Expected hashes of the chain up to it: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub chain_work: String,
    /// Bytes of the encoded block.
    pub size: u32,
    /// Whom it pays.
    #[schemars(with = "AddressText")]
    pub miner: String,
    /// Subsidy and fees, base units.
    #[schemars(with = "Units")]
    pub reward: u64,
    /// Fees of its transfers, base units.
    #[schemars(with = "Units")]
    pub fees: u64,
    /// How many transactions it has.
    pub transaction_count: u32,
}

/// A block with the ids of its transactions, or with them whole.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Block")]
pub struct Whole {
    /// All but the transactions.
    #[serde(flatten)]
    pub summary: Summary,
    /// Its transactions in order.
    pub transactions: Transactions,
    /// The hash of the next block of the best chain.
    #[schemars(with = "Option<BlockHash>")]
    pub next: Option<String>,
}

/// Transactions of a block.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockTransactions")]
#[serde(untagged)]
pub enum Transactions {
    /// Their ids.
    Ids(Vec<String>),
    /// As they are.
    Whole(Vec<Shown>),
}

impl Summary {
    /// What a view says of a block.
    fn of(view: &View, node: &block_index::BlockNode) -> Result<Summary, Problem> {
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

/// How a path names a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Height(u64),
    Hash(block::Hash),
    Tip,
}

impl FromStr for Name {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Name, Problem> {
        // Heights have 32 bits; no longer number is one.
        let is_number = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        if text == "tip" {
            Ok(Name::Tip)
        } else if let Some(hash) = hash(text) {
            Ok(Name::Hash(hash))
        } else if let Some(height) = text.parse().ok().filter(|_| is_number) {
            Ok(Name::Height(height))
        } else {
            let detail = "a block is named by its height, by the 64 hexadecimal digits of its \
                          hash in lower case, or by `tip`";
            Err(Problem::new(Kind::BAD_REQUEST, detail))
        }
    }
}

/// The hash in a text, in its one form.
pub fn hash(text: &str) -> Option<block::Hash> {
    text.parse().ok().filter(|_| !text.bytes().any(|byte| byte.is_ascii_uppercase()))
}

impl Name {
    fn find<'v>(self, view: &'v View) -> Result<&'v block_index::BlockNode, Problem> {
        let (found, what) = match self {
            Name::Tip => (Some(view.tip()), String::new()),
            Name::Hash(hash) => (view.find(&hash), format!("has the hash {hash}")),
            Name::Height(height) => {
                let found =
                    u32::try_from(height).ok().and_then(|at| view.at_height(Height::new(at)));
                (found, format!("is at height {height}"))
            }
        };
        found.ok_or_else(|| Problem::new(Kind::NOT_FOUND, format!("no block {what}")))
    }

    /// Answers with what is in a block, elsewhere if that takes long.
    async fn read<C: Content>(
        self,
        node: Arc<NodeState>,
        look: impl FnOnce(&View<'_>) -> Result<Answer<C>, Problem> + Send + 'static,
    ) -> Response {
        let is_quick = {
            let view = node.reader.view();
            self.find(&view).map_or(true, |block| {
                let depth = view.tip().height.get().saturating_sub(block.height.get());
                block.location.length <= SMALL && depth < RECENT
            })
        };
        if is_quick { read(&node, look) } else { read_aside(node, look).await }
    }

    /// Whether what it names will stay as it is: heights may pass to other blocks.
    fn is_final(self, view: &View, node: &block_index::BlockNode) -> bool {
        matches!(self, Name::Hash(_)) && is_final(view, node)
    }
}

/// The best chain, newest first.
pub async fn list(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::Blocks])?);
    Ok(read_aside(node, move |view| {
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
        Ok(Answer::page(Page { items, next }, &uri, limit))
    })
    .await)
}

/// What may be said about how to show a block.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockQuery {
    #[serde(default)]
    full: bool,
}

/// A block.
pub async fn one(
    State(node): State<Arc<NodeState>>,
    Path(BlockId(name)): Path<BlockId>,
    Query(query): Query<BlockQuery>,
) -> Result<Response, Problem> {
    let name: Name = name.parse()?;
    Ok(name
        .read(node, move |view| {
            let node = name.find(view)?;
            let block = view.block(node)?;
            let count =
                u32::try_from(block.transactions.len()).expect("its encoding counts in 32 bits");
            let summary = Summary::new(view, node, &block.header, count);
            let transactions = if query.full {
                let hrp = view.params().hrp();
                Transactions::Whole(
                    block.transactions.iter().map(|tx| Shown::of(tx, hrp)).collect(),
                )
            } else {
                Transactions::Ids(block.ids().iter().map(ToString::to_string).collect())
            };
            let next = node.height.next().filter(|_| summary.in_best_chain);
            let next =
                next.and_then(|height| view.at_height(height)).map(|next| next.hash.to_string());
            let whole = Whole { summary, transactions, next };
            Ok(Answer::new(Json(whole)).for_ever_if(name.is_final(view, node)))
        })
        .await)
}

/// A block's 80 bytes.
pub async fn header(
    State(node): State<Arc<NodeState>>,
    Path(BlockId(name)): Path<BlockId>,
    form: Form,
) -> Result<Response, Problem> {
    let name: Name = name.parse()?;
    Ok(read(&node, |view| {
        let node = name.find(view)?;
        let bytes = view.header(node)?.encode().to_vec();
        Ok(Answer::new(form.of(bytes)).negotiated().for_ever_if(name.is_final(view, node)))
    }))
}

/// A whole block, encoded.
pub async fn raw(
    State(node): State<Arc<NodeState>>,
    Path(BlockId(name)): Path<BlockId>,
    form: Form,
) -> Result<Response, Problem> {
    let name: Name = name.parse()?;
    Ok(name
        .read(node, move |view| {
            let node = name.find(view)?;
            let answer = Answer::new(form.of(view.raw_block(node)?));
            Ok(answer.negotiated().for_ever_if(name.is_final(view, node)))
        })
        .await)
}

/// A block's transactions in order.
pub async fn transactions(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Path(BlockId(name)): Path<BlockId>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let name: Name = name.parse()?;
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::OfBlock])?);
    Ok(name
        .read(node, move |view| {
            let (node, from) = match cursor {
                Some(cursor) => (continued(name, &cursor, view)?, cursor.position),
                None => (name.find(view)?, 0),
            };
            let from = usize::try_from(from).unwrap_or(usize::MAX);
            let (block, hrp) = (view.block(node)?, view.params().hrp());
            let mut rest = block.transactions.iter().skip(from);
            let items = rest.by_ref().take(limit).map(|tx| Shown::of(tx, hrp)).collect();
            let next = rest.next().map(|_| {
                let position = from.saturating_add(limit) as u64;
                Cursor { list: List::OfBlock, bound: node.hash, position }.encode()
            });
            let answer = Answer::page(Page { items, next }, &uri, limit);
            Ok(answer.for_ever_if(name.is_final(view, node)))
        })
        .await)
}

/// The block that a list of transactions was begun on. A hash keeps naming it; a height and `tip`
/// do as long as it is in the best chain.
fn continued<'v>(
    name: Name,
    cursor: &Cursor,
    view: &'v View,
) -> Result<&'v block_index::BlockNode, Problem> {
    let begun = view.find(&cursor.bound).ok_or_else(Cursor::gone)?;
    let other = || {
        let detail = "this cursor belongs to the transactions of another block";
        Problem::new(Kind::BAD_REQUEST, detail)
    };
    match name {
        Name::Hash(hash) if hash == begun.hash => return Ok(begun),
        Name::Hash(_) => return Err(other()),
        Name::Height(height) if height != u64::from(begun.height.get()) => return Err(other()),
        Name::Height(_) | Name::Tip => cursor.check(view)?,
    }
    Ok(begun)
}

/// Which headers to send.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersQuery {
    from: Option<Digits>,
    #[schemars(range(min = 1, max = 2_000))]
    count: Option<Digits>,
}

/// Headers of the best chain from a height up: 80 bytes each, or a line of hexadecimal each.
pub async fn headers(
    State(node): State<Arc<NodeState>>,
    Query(query): Query<HeadersQuery>,
    form: Form,
) -> Result<Response, Problem> {
    let from = query.from.map_or(0, |from| from.0);
    let count = query.count.map_or(MAX_HEADERS, |count| count.0);
    if !(1..=MAX_HEADERS).contains(&count) {
        let detail = format!("count must be 1 to {MAX_HEADERS}, not {count}");
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    Ok(read_aside(node, move |view| {
        let heights = (from..from.saturating_add(count)).map_while(|at| u32::try_from(at).ok());
        let nodes = heights.map_while(|height| view.at_height(Height::new(height)));
        let headers = nodes.map(|node| view.header(node)).collect::<Result<Vec<_>, _>>()?;
        let headers = headers.iter().map(|header| header.encode().to_vec());
        Ok(Answer::new(form.of_all(headers)).negotiated())
    })
    .await)
}

/// What became of a block that was handed in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockVerdict")]
pub struct HandedIn {
    /// Its hash.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// Its height.
    pub height: Option<u32>,
    /// What it is now.
    pub status: Taken,
}

/// What a block that was taken is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockOutcome")]
#[serde(rename_all = "kebab-case")]
pub enum Taken {
    /// The new tip.
    Connected,
    /// The end of a branch that is not the best.
    SideBranch,
    /// Nothing new.
    Known,
}

/// Takes a mined block in.
pub async fn submit(
    State(node): State<Arc<NodeState>>,
    Encoded(bytes): Encoded,
) -> Result<Response, Problem> {
    let block = Block::decode(&bytes)?;
    let hash = block.hash();
    let accepted = node.writer.submit_block(block).await??;
    Ok(handed_in(&node, hash, accepted))
}

/// The answer to a block that was taken.
pub fn handed_in(node: &NodeState, hash: block::Hash, accepted: Accepted) -> Response {
    let (code, status) = match accepted {
        Accepted::Connected => (StatusCode::CREATED, Taken::Connected),
        Accepted::SideBranch => (StatusCode::CREATED, Taken::SideBranch),
        Accepted::AlreadyKnown => (StatusCode::OK, Taken::Known),
    };
    let height = node.reader.view().find(&hash).map(|node| node.height.get());
    let taken = Json(HandedIn { hash: hash.to_string(), height, status });
    (code, [(LOCATION, format!("/v1/blocks/{hash}"))], taken).into_response()
}
