//! `getblocktemplate`. The coinbase is always provided, since it commits to the accounts, and a miner
//! may change only its extra nonce; `workid` stands for the other transactions in a submission.

use super::context::Context;
use super::credentials;
use super::error::Error;
use super::params::Params;
use super::submission::{SubmittedBlock, reject_reason};
use crate::api::http::long_poll::LongPoll;
use crate::api::http::response::blocking;
use crate::difficulty;
use crate::mining::readiness::NotReady;
use crate::mining::templates::{IssuedTemplate, TemplateUnavailable};
use crate::mining::workers::Interface;
use crate::state::NodeState;
use chain::Transfer;
use chain::ledger::ProposalError;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Timeout of a long poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of hexadecimal digits in a hash.
const HASH_DIGITS: usize = 64;
/// Bytes in memory of a template until it is encoded, for each byte of its transfers.
const RENDERED_SIZE: u64 = 4;
/// Transfers of a proposed block that cost one more token of the rate limit: their signatures are
/// verified without any proof of work.
const TRANSFERS_PER_TOKEN: usize = 20;

/// The parameter of `getblocktemplate`. Other members, such as `rules`, are ignored.
#[derive(Default, Deserialize)]
struct TemplateRequest {
    mode: Option<String>,
    longpollid: Option<String>,
    /// The proposed block.
    data: Option<String>,
    workid: Option<String>,
}

/// A new template for a miner, or the validation of a proposed block.
pub(super) async fn get(context: &Context, params: Params<'_>) -> Result<Value, Error> {
    let request: TemplateRequest = params.get("template_request")?.unwrap_or_default();
    match request.mode.as_deref() {
        None | Some("template") => issue(context, request.longpollid.as_deref()).await,
        Some("proposal") => propose(context, request).await,
        Some(mode) => {
            let message = format!(
                "mode `{}` is not supported: only `template` and `proposal`",
                mode.escape_debug()
            );
            Err(Error::new(Error::INVALID_PARAMETER, message))
        }
    }
}

/// A new template. With `longpollid`, the response waits until the tip differs from that of the id.
async fn issue(context: &Context, longpollid: Option<&str>) -> Result<Value, Error> {
    let node = &context.node;
    let worker = credentials::worker(&context.headers, node)?;
    if let Some(id) = longpollid {
        if context.is_batch {
            let message = "a batch cannot contain a long poll";
            return Err(Error::new(Error::INVALID_PARAMETER, message));
        }
        let long_poll = LongPoll::new(node, &context.client, POLL_TIMEOUT);
        let mut long_poll = long_poll.map_err(Error::from)?;
        let mut readiness = node.readiness.subscribe();
        let is_ready = node.readiness.check().await.is_ok();
        if is_ready && id.get(..HASH_DIGITS) == Some(&*long_poll.tip().to_string()) {
            tokio::select! {
                _ = long_poll.tip_changed() => {}
                _ = readiness.changed() => {}
            }
        }
    }
    match node.templates.issue(worker.payout_address).await {
        Ok(candidate) => {
            let difficulty = difficulty::of(candidate.template().target);
            node.workers.request(&worker, context.client.ip(), Interface::JsonRpc, difficulty);
            // Its transfers are rendered twice: as a value, and encoded.
            let _lease = context.client.count_bytes(RENDERED_SIZE * candidate.size() as u64)?;
            Ok(template_json(node, &candidate))
        }
        Err(why) => {
            let code = match why {
                TemplateUnavailable::NotReady(NotReady::NoPeers) => Error::NOT_CONNECTED,
                TemplateUnavailable::NotReady(_) => Error::NOT_READY,
                TemplateUnavailable::Stopped(_) | TemplateUnavailable::Template(_) => {
                    Error::INTERNAL
                }
            };
            Err(Error::new(code, why.to_string()))
        }
    }
}

/// Validates a block without proof of work. The result is null if it could be the next block, otherwise
/// a BIP 22 reject reason.
async fn propose(context: &Context, request: TemplateRequest) -> Result<Value, Error> {
    let data = request.data.ok_or_else(|| {
        Error::new(Error::TYPE, "a proposal has the block in `data`, in hexadecimal")
    })?;
    let proposed = SubmittedBlock::decode(&data)?;
    let Ok(block) = proposed.complete(context, request.workid.as_deref()) else {
        return Ok(json!("stale-work"));
    };
    let tokens = u32::try_from(block.transactions.len() / TRANSFERS_PER_TOKEN).unwrap_or(u32::MAX);
    context.client.charge(tokens)?;
    let node = Arc::clone(&context.node);
    let permit = node.blocking_reads.acquire().await.expect("the semaphore is never closed");
    let (reader, now) = (node.reader.clone(), node.writer.now());
    let checked = blocking(move || reader.check_proposal(block, now)).await?;
    drop(permit);
    let result = match checked {
        Ok(checked) => node.writer.check_proposal(checked).await?,
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => Ok(Value::Null),
        Err(ProposalError::AlreadyKnown) => Ok(json!("duplicate")),
        Err(ProposalError::NotOnTip { .. }) => Ok(json!("inconclusive-not-best-prevblk")),
        Err(ProposalError::Rejected(error)) => reject_reason(error),
    }
}

fn template_json(node: &NodeState, candidate: &IssuedTemplate) -> Value {
    let (template, spec) = (candidate.template(), node.reader.params().spec());
    let (id, header, coinbase) = (candidate.id(), template.header, candidate.coinbase());
    let fees = i64::try_from(template.fees.units()).expect("an amount is below 2^53");
    let coinbase = json!({
        "data": hex::encode(coinbase.serialize()),
        "txid": coinbase.id().to_string(),
        "hash": coinbase.id().to_string(),
        "depends": [],
        "fee": -fees,
        "sigops": 0,
        "required": true,
    });
    let transfers = template.transfers().map(transfer_json);
    let now = node.writer.now();
    json!({
        "capabilities": ["proposal"],
        "version": header.version,
        "rules": [],
        "vbavailable": {},
        "vbrequired": 0,
        "previousblockhash": header.previous.to_string(),
        "transactions": transfers.collect::<Vec<_>>(),
        "coinbaseaux": {},
        "coinbasetxn": coinbase,
        "longpollid": format!("{}{id}", header.previous),
        "submitold": true,
        "target": template.target.to_string(),
        "mintime": template.min_time.get(),
        "maxtime": now.saturating_add(spec.max_future_seconds).get(),
        "mutable": ["submit/coinbase"],
        "noncerange": "00000000ffffffff",
        "sizelimit": spec.max_block_bytes,
        "curtime": now.max(template.min_time).get(),
        "bits": header.bits.to_string(),
        "height": template.height.get(),
        "workid": id,
    })
}

fn transfer_json(transfer: &Transfer) -> Value {
    let id = transfer.id().to_string();
    json!({
        "data": hex::encode(transfer.encode()),
        "txid": id,
        "hash": id,
        "depends": [],
        "fee": transfer.fee,
        "sigops": 0,
        "weight": 4 * transfer.size(),
    })
}
