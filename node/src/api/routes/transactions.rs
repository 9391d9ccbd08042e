//! Transactions: handed in, judged, looked up by id, awaited, proven.

use crate::api::http::content::{Form, Json};
use crate::api::http::error;
use crate::api::http::extract::{Path, Query};
use crate::api::http::long_poll::Hold;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{Answer, aside, is_final, read, read_aside};
use crate::api::openapi::route::{Table, get, post};
use crate::api::openapi::schema::{BlockHash, Digest, Digits, Hex, TransactionId};
use crate::api::routes::transfer::{Body, Signed, Submitted};
use crate::state::NodeState;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chain::ledger::{TransferError, View};
use chain::mempool::{self, Admission, RejectReason};
use chain::merkle::{self, Branch};
use chain::{Transfer, rules, tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        post("/v1/transactions", "Hand a signed transfer in", submit)
            .makes::<Transaction>("It is new.")
            .answers::<Transaction>(200, "It is known.")
            .fails(&error::of_transfers()),
        post("/v1/transactions/check", "Judge a signed transfer", check)
            .says("As handing it in does; it is not taken.")
            .shows::<Verdict>()
            .fails(&error::of_transfers()),
        post("/v1/transactions/batch", "Hand several signed transfers in", batch)
            .says("At most 100, taken in order; one result each.")
            .answers::<Vec<Handled>>(200, "What became of each.")
            .fails(&error::of_transfers()),
        get("/v1/transactions/{id}", "A transaction and where it stands", one)
            .says(
                "With `wait=confirmed` it is answered once the transaction has so many \
                   `confirmations`, was dropped, or `timeout` seconds are over.",
            )
            .shows::<Transaction>(),
        get("/v1/transactions/{id}/proof", "That it is in a block", proof)
            .says("Enough for `chain verify-proof` to check it offline.")
            .shows::<Proof>(),
        get("/v1/transactions/{id}/raw", "A transaction, encoded", raw).shows_bytes(),
    ])
}

/// Most transfers of a batch: their signatures take some milliseconds together.
const MAX_BATCH: usize = 100;

/// A transaction and where it stands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Transaction {
    /// Its id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// Why it was dropped: a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The hash of its block.
    #[schemars(with = "Option<BlockHash>")]
    pub block: Option<String>,
    /// The height of that.
    pub height: Option<u32>,
    /// Where it stands in that, from 0.
    pub position: Option<u32>,
    /// The time of that.
    pub time: Option<u32>,
    /// Blocks from its own up to the tip; 0 without a block.
    pub confirmations: u32,
    /// What it consists of; nothing once it was dropped.
    #[serde(flatten)]
    pub body: Option<Body>,
}

/// Where a transaction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionStatus")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The next block could take it.
    Pending,
    /// It waits for an earlier nonce of its sender.
    Queued,
    /// It is in the best chain.
    Confirmed,
    /// It left the pool other than into a block.
    Dropped,
}

impl Transaction {
    fn outside(id: tx::Id, status: Status, body: Option<Body>) -> Transaction {
        Transaction {
            id: id.to_string(),
            status,
            reason: None,
            detail: None,
            block: None,
            height: None,
            position: None,
            time: None,
            confirmations: 0,
            body,
        }
    }

    /// One of the pool.
    pub fn waiting(entry: &mempool::Entry, view: &View) -> Transaction {
        let status = if entry.is_pending { Status::Pending } else { Status::Queued };
        let body = Body::of_transfer(entry.transfer.transfer(), view.params().hrp());
        Transaction::outside(entry.transfer.id(), status, Some(body))
    }

    fn dropped(id: tx::Id, reason: &RejectReason) -> Transaction {
        Transaction {
            reason: Some(reason.code().to_owned()),
            detail: Some(reason.to_string()),
            ..Transaction::outside(id, Status::Dropped, None)
        }
    }

    fn confirmed(found: &Found, view: &View) -> Transaction {
        let transaction = &found.block.transactions[found.position as usize];
        let body = Body::of(transaction, view.params().hrp());
        Transaction {
            block: Some(found.node.hash.to_string()),
            height: Some(found.node.height.get()),
            position: Some(found.position),
            time: Some(found.node.time.get()),
            confirmations: view.confirmations(&found.node),
            ..Transaction::outside(transaction.id(), Status::Confirmed, Some(body))
        }
    }
}

/// A transaction of the best chain.
struct Found {
    node: chain::block_index::BlockNode,
    block: chain::Block,
    position: u32,
}

fn find(view: &View, id: &tx::Id) -> Result<Option<Found>, Problem> {
    let Some((block, entry)) = view.transaction(id)? else { return Ok(None) };
    let node = view.at_height(entry.height).copied();
    Ok(node.map(|node| Found { node, block, position: entry.position }))
}

fn look_up(view: &View, id: &tx::Id) -> Result<Option<Transaction>, Problem> {
    if let Some(found) = find(view, id)? {
        return Ok(Some(Transaction::confirmed(&found, view)));
    }
    if let Some(entry) = view.mempool().get(id) {
        return Ok(Some(Transaction::waiting(&entry, view)));
    }
    match view.mempool().status(id) {
        Some(mempool::Status::Dropped(reason)) => Ok(Some(Transaction::dropped(*id, &reason))),
        _ => Ok(None),
    }
}

fn unknown(id: &tx::Id) -> Problem {
    let detail = format!("no transaction {id} is in the best chain or waits for a block");
    Problem::new(Kind::NOT_FOUND, detail)
}

/// The id in a path.
pub fn parse(text: &str) -> Result<tx::Id, Problem> {
    let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    text.parse().ok().filter(|_| lower_case).ok_or_else(|| {
        let detail = "a transaction is named by the 64 hexadecimal digits of its id in lower case";
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}

/// What to wait for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    wait: Option<Event>,
    confirmations: Option<Digits>,
    #[schemars(range(max = 120))]
    timeout: Option<Digits>,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "WaitEvent")]
#[serde(rename_all = "snake_case")]
enum Event {
    Confirmed,
}

/// A transaction; at once, or when it is deep enough, dropped, or the time is over.
pub async fn one(
    State(node): State<Arc<NodeState>>,
    Path(TransactionId(id)): Path<TransactionId>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let hold = Hold::new(&node, query.timeout)?;
    if let Some(Event::Confirmed) = query.wait {
        let confirmations = query.confirmations.map_or(1, |confirmations| confirmations.0);
        wait(&node, id, confirmations, hold).await?;
    }
    Ok(read_aside(node, move |view| {
        let transaction = look_up(view, &id)?.ok_or_else(|| unknown(&id))?;
        let depth =
            transaction.height.and_then(|height| view.at_height(chain::Height::new(height)));
        let is_final = depth.is_some_and(|node| is_final(view, node));
        let answer = Answer::new(Json(transaction));
        // Without a block it may change without a new tip.
        Ok(if depth.is_some() { answer.for_ever_if(is_final) } else { answer.changing() })
    })
    .await)
}

async fn wait(node: &NodeState, id: tx::Id, wanted: u64, mut hold: Hold) -> Result<(), Problem> {
    loop {
        // Cheap, because everybody who waits looks whenever something changes.
        if node.reader.view().mempool().contains(&id) {
            if hold.changed().await {
                continue;
            }
            return Ok(());
        }
        let reader = node.reader.clone();
        let confirmations = aside(move || {
            let view = reader.view();
            let found = find(&view, &id)?;
            Ok::<_, Problem>(found.map(|found| view.confirmations(&found.node)))
        });
        let too_few = confirmations.await??.is_some_and(|deep| u64::from(deep) < wanted);
        if !too_few || !hold.tip_changed().await {
            return Ok(());
        }
    }
}

/// The encoding of a transaction: as it stands in its block, or waits for one.
pub async fn raw(
    State(node): State<Arc<NodeState>>,
    Path(TransactionId(id)): Path<TransactionId>,
    form: Form,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    Ok(read_aside(node, move |view| {
        if let Some(Found { node, block, position }) = find(view, &id)? {
            let bytes = block.transactions[position as usize].encode();
            let answer = Answer::new(form.of(bytes)).negotiated();
            return Ok(answer.for_ever_if(is_final(view, &node)));
        }
        let entry = view.mempool().get(&id).ok_or_else(|| unknown(&id))?;
        Ok(Answer::new(form.of(entry.transfer.transfer().encode())).negotiated().changing())
    })
    .await)
}

/// That a transaction is in a block: enough to check it offline.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// The transaction.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The hash of its block.
    #[schemars(with = "BlockHash")]
    pub block: String,
    /// The height of that.
    pub height: u32,
    /// Its 80 bytes.
    #[schemars(with = "Hex")]
    pub header: String,
    /// The sibling on each level of the Merkle tree, leaves first, written as ids are.
    #[schemars(with = "Vec<Digest>")]
    pub branch: Vec<String>,
    /// Where the transaction stands in the block, from 0.
    pub position: u32,
}

/// A proof for a transaction of the best chain.
pub async fn proof(
    State(node): State<Arc<NodeState>>,
    Path(TransactionId(id)): Path<TransactionId>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    Ok(read_aside(node, move |view| {
        let Some(Found { node, block, position }) = find(view, &id)? else {
            let waits = view.mempool().contains(&id);
            let detail = format!("transaction {id} is in no block yet: prove it once it is");
            return Err(if waits { Problem::new(Kind::NOT_FOUND, detail) } else { unknown(&id) });
        };
        let Branch { siblings, position } =
            Branch::of(&block.ids(), position as usize).ok_or_else(|| unknown(&id))?;
        let siblings = siblings.into_iter().map(merkle::Root::from_bytes);
        let proof = Proof {
            id: id.to_string(),
            block: node.hash.to_string(),
            height: node.height.get(),
            header: hex::encode(block.header.encode()),
            branch: siblings.map(|sibling| sibling.to_string()).collect(),
            position,
        };
        Ok(Answer::new(Json(proof)).for_ever_if(is_final(view, &node)))
    })
    .await)
}

/// Takes a signed transfer in.
pub async fn submit(
    State(node): State<Arc<NodeState>>,
    Signed(transfer): Signed,
) -> Result<Response, Problem> {
    take(&node, transfer).await
}

/// Takes a signed transfer in, and answers for it.
pub async fn take(node: &NodeState, transfer: Transfer) -> Result<Response, Problem> {
    let (status, transaction) = hand_in(node, transfer).await?;
    let mut headers = HeaderMap::new();
    if status == StatusCode::CREATED {
        let path = format!("/v1/transactions/{}", transaction.id);
        headers.extend(HeaderValue::try_from(path).ok().map(|path| (LOCATION, path)));
    }
    Ok((status, headers, Json(transaction)).into_response())
}

/// 201 for a new one, 200 for one that is known: it is in the pool or in the best chain.
pub(super) async fn hand_in(
    node: &NodeState,
    transfer: Transfer,
) -> Result<(StatusCode, Transaction), Problem> {
    let id = transfer.id();
    let body = Body::of_transfer(&transfer, node.reader.params().hrp());
    let admission = node.writer.submit_transfer(transfer).await?;
    let view = node.reader.view();
    let found = look_up(&view, &id)?;
    let status = match admission {
        Ok(Admission::Added(_)) => StatusCode::CREATED,
        Ok(Admission::AlreadyKnown) => StatusCode::OK,
        Err(error) => match (&error, &found) {
            // Its nonce is used by itself.
            (TransferError::Rejected(RejectReason::NonceUsed { .. }), Some(found))
                if found.status == Status::Confirmed =>
            {
                StatusCode::OK
            }
            _ => return Err(error.into()),
        },
    };
    // It may be gone again by now, and nobody remembers.
    Ok((status, found.unwrap_or(Transaction::outside(id, Status::Pending, Some(body)))))
}

/// That a transfer would be taken.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionVerdict")]
pub struct Verdict {
    /// Always true: what is not valid is a problem.
    pub valid: bool,
    /// Its id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// Where it would stand, or does.
    pub status: Status,
}

/// Judges a transfer as `submit` does, and does not take it.
pub async fn check(
    State(node): State<Arc<NodeState>>,
    Signed(transfer): Signed,
) -> Result<Response, Problem> {
    let id = transfer.id();
    let checked = aside({
        let genesis = node.reader.params().genesis_hash();
        move || rules::tx::check(transfer, genesis)
    });
    let checked = checked.await??;
    Ok(read(&node, |view| {
        let status = match view.mempool().check(&checked, view) {
            Ok(mempool::Status::Pending) => Status::Pending,
            Ok(mempool::Status::Queued) => Status::Queued,
            Ok(mempool::Status::Dropped(reason)) => return Err(reason.into()),
            Err(error) => match find(view, &id)? {
                Some(_) => Status::Confirmed,
                None => return Err(error.into()),
            },
        };
        Ok(Answer::new(Json(Verdict { valid: true, id: id.to_string(), status })).changing())
    }))
}

/// What became of a transfer of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchResult")]
#[serde(untagged)]
pub enum Handled {
    /// It was taken, or is known.
    Taken(Box<Transaction>),
    /// It was refused.
    Refused {
        /// Why.
        problem: Problem,
    },
}

/// Several transfers.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TransferBatch")]
pub struct Batch(#[schemars(length(max = 100))] Vec<Submitted>);

/// Takes several signed transfers in, in order; one result each.
pub async fn batch(
    State(node): State<Arc<NodeState>>,
    Json(Batch(batch)): Json<Batch>,
) -> Result<Response, Problem> {
    if batch.len() > MAX_BATCH {
        let detail = format!("a batch is at most {MAX_BATCH} transactions, not {}", batch.len());
        return Err(Problem::new(Kind::BAD_REQUEST, detail));
    }
    let hrp = node.reader.params().hrp();
    let mut transfers = Vec::with_capacity(batch.len());
    for (item, submitted) in batch.into_iter().enumerate() {
        transfers.push(match submitted.read(hrp) {
            // What is malformed is so as a whole, and nothing of it was taken.
            Err(problem) if problem.kind() == Kind::BAD_REQUEST => {
                return Err(problem.of_item(item));
            }
            read => read,
        });
    }
    let mut results = Vec::with_capacity(transfers.len());
    for transfer in transfers {
        let taken = match transfer {
            Ok(transfer) => hand_in(&node, transfer).await,
            Err(problem) => Err(problem),
        };
        results.push(match taken {
            Ok((_, transaction)) => Handled::Taken(Box::new(transaction)),
            Err(problem) => Handled::Refused { problem },
        });
    }
    Ok(Json(results).into_response())
}
