//! Transactions: submission, validation, lookup by id, long polling and inclusion proofs.

use crate::api::http::content::{Encoding, Json};
use crate::api::http::error;
use crate::api::http::extract::{Path, Query};
use crate::api::http::long_poll::{self, LongPoll};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Client;
use crate::api::http::response::{ReadResponse, blocking, is_final, read, read_blocking};
use crate::api::openapi::route::{Routes, get, post};
use crate::api::openapi::schema::{BlockHash, Digest, Digits, Hex, TransactionId};
use crate::api::routes::transfer::{Body, SignedTransfer, TransferRequest};
use crate::state::NodeState;
use crate::writer::Stopped;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chain::ledger::{TransferError, View};
use chain::mempool::{self, Admission, RejectReason, Replacement, Waiting};
use chain::merkle::{self, Branch};
use chain::{Transfer, rules, tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::oneshot;

pub fn routes() -> Routes {
    Routes::new([
        post("/v1/transactions", "Submit a signed transfer", submit)
            .returns_created::<Transaction>(
                "The transfer was added to the mempool. It survives the death of the node's process; \
                 only a power failure within the next 200 milliseconds can lose it.",
            )
            .response::<Transaction>(
                200,
                "The transfer was known already: it is in the mempool or in the best chain.",
            )
            .errors(&error::transfer_errors()),
        post("/v1/transactions/check", "Validate a signed transfer", check)
            .description("Validates the transfer as submission does, without accepting it.")
            .returns::<CheckResponse>()
            .errors(&error::transfer_errors()),
        post("/v1/transactions/batch", "Submit several signed transfers", batch)
            .description("Submits at most 100 transfers in order; one result each. An accepted one survives as \
                 after `POST /v1/transactions`.")
            .response::<Vec<BatchItem>>(200, "The result of each transfer.")
            .errors(&error::transfer_errors()),
        get("/v1/transactions/{id}", "Get a transaction and its status", get_transaction)
            .description(
                "With `wait=confirmed` the response waits until the transaction has `confirmations`, \
                                   was dropped, or `timeout` seconds have passed. A transfer in the \
                                   mempool says what it waits for: a missing nonce, or its rank by fee.",
            )
            .returns::<Transaction>(),
        get("/v1/transactions/{id}/proof", "Get a Merkle proof of a transaction", proof)
            .description("Proves that the transaction is in a block; `chain verify-proof` checks it offline.")
            .returns::<Proof>(),
        get("/v1/transactions/{id}/raw", "Get an encoded transaction", raw).returns_bytes(),
    ])
}

/// Largest number of transfers in a batch: verifying their signatures takes some milliseconds.
const MAX_BATCH: usize = 100;

/// A transaction and its status.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Transaction {
    /// The transaction id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The status.
    pub status: Status,
    /// The stable code of the reason it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A description of the reason it was dropped, or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// If it is queued: the nonce of the sender's transfer that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_nonce: Option<u64>,
    /// If it is pending: its position by fee, from 1; blocks include the transfers before it first.
    /// Only in the response for a single transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fee_rank: Option<usize>,
    /// If it is pending: the size in bytes of the transfers before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_before: Option<u64>,
    /// The hash of the block that contains it.
    #[schemars(with = "Option<BlockHash>")]
    pub block: Option<String>,
    /// The height of the block.
    pub height: Option<u32>,
    /// The index in the block, from 0.
    pub position: Option<u32>,
    /// The time of the block, Unix seconds.
    pub time: Option<u32>,
    /// The number of confirmations; 0 outside the best chain.
    pub confirmations: u32,
    /// The contents; absent once it was dropped.
    #[serde(flatten)]
    pub body: Option<Body>,
}

/// The status of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionStatus")]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// In the mempool and eligible for the next block.
    Pending,
    /// In the mempool, behind a missing earlier nonce of its sender.
    Queued,
    /// In the best chain.
    Confirmed,
    /// Removed from the mempool without being confirmed.
    Dropped,
}

impl Transaction {
    fn without_block(id: tx::Id, status: Status, body: Option<Body>) -> Transaction {
        Transaction {
            id: id.to_string(),
            status,
            reason: None,
            detail: None,
            missing_nonce: None,
            fee_rank: None,
            bytes_before: None,
            block: None,
            height: None,
            position: None,
            time: None,
            confirmations: 0,
            body,
        }
    }

    /// A transaction in the mempool.
    pub fn unconfirmed(entry: &mempool::Entry, view: &View) -> Transaction {
        let status = if entry.is_pending { Status::Pending } else { Status::Queued };
        let sender = &entry.transfer.details().sender;
        let missing = view.mempool().missing_nonce(sender).filter(|_| !entry.is_pending);
        let body = Body::of_transfer(entry.transfer.transfer(), view.params().hrp());
        Transaction {
            missing_nonce: missing,
            detail: missing
                .map(|nonce| format!("waits for the sender's transfer with nonce {nonce}")),
            ..Transaction::without_block(entry.transfer.id(), status, Some(body))
        }
    }

    /// Adds the position by fee of a pending transfer, which takes a pass over the mempool.
    fn ranked(self, id: &tx::Id, view: &View) -> Transaction {
        let Some(Waiting::Fee { before, bytes }) = view.mempool().waiting(id) else { return self };
        let detail = match before {
            0 => "first by fee: waits for the next block".to_owned(),
            1 => format!("waits for a block behind 1 transfer ({bytes} bytes) with a better fee"),
            _ => format!(
                "waits for a block behind {before} transfers ({bytes} bytes) with better fees"
            ),
        };
        let (fee_rank, bytes_before) = (Some(before.saturating_add(1)), Some(bytes));
        Transaction { detail: Some(detail), fee_rank, bytes_before, ..self }
    }

    fn dropped(id: tx::Id, reason: &RejectReason) -> Transaction {
        Transaction {
            reason: Some(reason.code().to_owned()),
            detail: Some(reason.to_string()),
            ..Transaction::without_block(id, Status::Dropped, None)
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
            ..Transaction::without_block(transaction.id(), Status::Confirmed, Some(body))
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

fn lookup(view: &View, id: &tx::Id) -> Result<Option<Transaction>, Problem> {
    if let Some(found) = find(view, id)? {
        return Ok(Some(Transaction::confirmed(&found, view)));
    }
    if let Some(entry) = view.mempool().get(id) {
        return Ok(Some(Transaction::unconfirmed(&entry, view)));
    }
    match view.mempool().status(id) {
        Some(mempool::Status::Dropped(reason)) => Ok(Some(Transaction::dropped(*id, &reason))),
        _ => Ok(None),
    }
}

fn unknown(id: &tx::Id) -> Problem {
    let detail = format!("no transaction {id} in the best chain or the mempool");
    Problem::new(Kind::NOT_FOUND, detail)
}

/// Parses a transaction id.
pub fn parse(text: &str) -> Result<tx::Id, Problem> {
    let lower_case = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    text.parse().ok().filter(|_| lower_case).ok_or_else(|| {
        let detail = "a transaction id is 64 lower-case hexadecimal digits";
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}

/// The query of a long poll for a transaction.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    wait: Option<WaitFor>,
    confirmations: Option<Digits>,
    #[schemars(range(max = 120))]
    timeout: Option<Digits>,
}

/// An event to wait for.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "WaitEvent")]
#[serde(rename_all = "snake_case")]
enum WaitFor {
    Confirmed,
}

pub async fn get_transaction(
    State(node): State<Arc<NodeState>>,
    client: Client,
    Path(TransactionId(id)): Path<TransactionId>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    let timeout = long_poll::timeout(query.timeout, "timeout")?;
    if let Some(WaitFor::Confirmed) = query.wait {
        let confirmations = query.confirmations.map_or(1, |confirmations| confirmations.0);
        let long_poll = LongPoll::new(&node, &client, timeout)?;
        wait(&node, id, confirmations, long_poll).await?;
    }
    Ok(read_blocking(node, move |view| {
        let transaction = lookup(view, &id)?.ok_or_else(|| unknown(&id))?.ranked(&id, view);
        let is_confirmed = transaction.status == Status::Confirmed;
        let response = ReadResponse::new(Json(transaction));
        // Without a block it may change without a new tip. It is never immutable: confirmations
        // grow, and a reorganisation may take the block away.
        Ok(if is_confirmed { response } else { response.volatile() })
    })
    .await)
}

async fn wait(
    node: &NodeState,
    id: tx::Id,
    wanted: u64,
    mut long_poll: LongPoll,
) -> Result<(), Problem> {
    loop {
        // Cheap, because every waiting request checks on every change.
        if node.reader.view().mempool().contains(&id) {
            if long_poll.changed().await {
                continue;
            }
            return Ok(());
        }
        let reader = node.reader.clone();
        let confirmations = blocking(move || {
            let view = reader.view();
            let found = find(&view, &id)?;
            Ok::<_, Problem>(found.map(|found| view.confirmations(&found.node)))
        });
        let too_few = confirmations.await??.is_some_and(|deep| u64::from(deep) < wanted);
        if !too_few || !long_poll.tip_changed().await {
            return Ok(());
        }
    }
}

pub async fn raw(
    State(node): State<Arc<NodeState>>,
    Path(TransactionId(id)): Path<TransactionId>,
    encoding: Encoding,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    Ok(read_blocking(node, move |view| {
        if let Some(Found { node, block, position }) = find(view, &id)? {
            let bytes = block.transactions[position as usize].encode();
            let response = ReadResponse::new(encoding.encode(bytes)).negotiated();
            // The id commits to the bytes, whichever block contains them.
            return Ok(response.immutable_if(is_final(view, &node)));
        }
        let entry = view.mempool().get(&id).ok_or_else(|| unknown(&id))?;
        Ok(ReadResponse::new(encoding.encode(entry.transfer.transfer().encode()))
            .negotiated()
            .volatile())
    })
    .await)
}

/// A proof that a transaction is in a block, enough to verify it offline.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Proof {
    /// The transaction id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The hash of the block.
    #[schemars(with = "BlockHash")]
    pub block: String,
    /// The height of the block.
    pub height: u32,
    /// The 80-byte header of the block.
    #[schemars(with = "Hex")]
    pub header: String,
    /// The siblings on the path to the Merkle root, leaf first, in display byte order.
    #[schemars(with = "Vec<Digest>")]
    pub branch: Vec<String>,
    /// The index of the transaction in the block, from 0.
    pub position: u32,
}

pub async fn proof(
    State(node): State<Arc<NodeState>>,
    Path(TransactionId(id)): Path<TransactionId>,
) -> Result<Response, Problem> {
    let id = parse(&id)?;
    Ok(read_blocking(node, move |view| {
        let Some(Found { node, block, position }) = find(view, &id)? else {
            let waits = view.mempool().contains(&id);
            let detail =
                format!("transaction {id} is unconfirmed: request the proof once it is in a block");
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
        // A reorganisation may move the transaction to another block.
        Ok(ReadResponse::new(Json(proof)))
    })
    .await)
}

/// The query of a submission.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitQuery {
    /// Whether the transfer may replace one of the same sender and nonce; if `false`, the response
    /// is `would-replace` then.
    replace: Option<bool>,
}

impl SubmitQuery {
    fn replacement(self) -> Replacement {
        replacement(self.replace)
    }
}

/// Whether a request allows a replacement; it does unless it says otherwise.
pub(super) fn replacement(replace: Option<bool>) -> Replacement {
    match replace {
        Some(false) => Replacement::Forbidden,
        Some(true) | None => Replacement::Allowed,
    }
}

pub async fn submit(
    State(node): State<Arc<NodeState>>,
    Query(query): Query<SubmitQuery>,
    SignedTransfer(transfer): SignedTransfer,
) -> Result<Response, Problem> {
    respond_to_submit(&node, transfer, query.replacement()).await
}

/// Submits a signed transfer and builds the response: 201 if it is new, 200 if it was known.
pub async fn respond_to_submit(
    node: &NodeState,
    transfer: Transfer,
    replacement: Replacement,
) -> Result<Response, Problem> {
    let (status, transaction) = submit_transfer(node, transfer, replacement).await?;
    let mut headers = HeaderMap::new();
    if status == StatusCode::CREATED {
        let path = format!("/v1/transactions/{}", transaction.id);
        headers.extend(HeaderValue::try_from(path).ok().map(|path| (LOCATION, path)));
    }
    Ok((status, headers, Json(transaction)).into_response())
}

/// Submits a transfer: 201 if it is new, 200 if it is in the mempool or the best chain already.
pub(super) async fn submit_transfer(
    node: &NodeState,
    transfer: Transfer,
    replacement: Replacement,
) -> Result<(StatusCode, Transaction), Problem> {
    Submission::enqueue(node, transfer, replacement).await?.result(node).await
}

/// A transfer in the queue of the writer.
struct Submission {
    id: tx::Id,
    body: Body,
    response: oneshot::Receiver<Result<Admission, TransferError>>,
}

impl Submission {
    async fn enqueue(
        node: &NodeState,
        transfer: Transfer,
        replacement: Replacement,
    ) -> Result<Submission, Problem> {
        let id = transfer.id();
        let body = Body::of_transfer(&transfer, node.reader.params().hrp());
        let response = node.writer.enqueue_transfer(transfer, replacement).await?;
        Ok(Submission { id, body, response })
    }

    async fn result(self, node: &NodeState) -> Result<(StatusCode, Transaction), Problem> {
        let Submission { id, body, response } = self;
        let status = match response.await.map_err(|_| Stopped)?? {
            Admission::Added(_) => StatusCode::CREATED,
            Admission::AlreadyKnown => StatusCode::OK,
        };
        let found = lookup(&node.reader.view(), &id)?;
        // It may have been removed from the mempool in the meantime.
        Ok((status, found.unwrap_or(Transaction::without_block(id, Status::Pending, Some(body)))))
    }
}

/// The result of validating a transfer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionCheck")]
pub struct CheckResponse {
    /// Always true: an invalid transfer is an error response.
    pub valid: bool,
    /// The transaction id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The status it has or would get.
    pub status: Status,
}

pub async fn check(
    State(node): State<Arc<NodeState>>,
    Query(query): Query<SubmitQuery>,
    SignedTransfer(transfer): SignedTransfer,
) -> Result<Response, Problem> {
    let id = transfer.id();
    let checked = blocking({
        let genesis = node.reader.params().genesis_hash();
        move || rules::tx::check(transfer, genesis)
    });
    let checked = checked.await??;
    Ok(read(&node, |view| {
        let status = match view.mempool().check(&checked, query.replacement(), view) {
            Ok(mempool::Status::Pending) => Status::Pending,
            Ok(mempool::Status::Queued) => Status::Queued,
            Ok(mempool::Status::Dropped(reason)) => return Err(reason.into()),
            Err(error) => match find(view, &id)? {
                Some(_) => Status::Confirmed,
                None => return Err(error.into()),
            },
        };
        Ok(ReadResponse::new(Json(CheckResponse { valid: true, id: id.to_string(), status }))
            .volatile())
    }))
}

/// The result of one transfer of a batch.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "BatchResult")]
#[serde(untagged)]
pub enum BatchItem {
    /// The transfer was accepted, or was already known.
    Accepted(Box<Transaction>),
    /// The transfer was rejected.
    Rejected {
        /// The reason.
        problem: Problem,
    },
}

/// A batch of transfers.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TransferBatch")]
pub struct Batch(#[schemars(length(max = 100))] Vec<TransferRequest>);

pub async fn batch(
    State(node): State<Arc<NodeState>>,
    Query(query): Query<SubmitQuery>,
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
            // A malformed item rejects the whole batch before any of it is submitted.
            Err(problem) if problem.kind() == Kind::BAD_REQUEST => {
                return Err(problem.for_item(item));
            }
            read => read,
        });
    }
    // All of them are enqueued before the first result: a batch waits once for the queue of a busy writer.
    let mut submissions = Vec::with_capacity(transfers.len());
    for transfer in transfers {
        submissions.push(match transfer {
            Ok(transfer) => Submission::enqueue(&node, transfer, query.replacement()).await,
            Err(problem) => Err(problem),
        });
    }
    let mut results = Vec::with_capacity(submissions.len());
    for submission in submissions {
        let result = match submission {
            Ok(submission) => submission.result(&node).await,
            Err(problem) => Err(problem),
        };
        results.push(match result {
            Ok((_, transaction)) => BatchItem::Accepted(Box::new(transaction)),
            Err(problem) => BatchItem::Rejected { problem },
        });
    }
    Ok(Json(results).into_response())
}
