//! `getblocktemplate`. The coinbase is always provided, since it commits to the accounts, and a miner
//! may change only its extra nonce; `workid` stands for the other transactions in a submission.

use super::error::Error;
use crate::api::http::long_poll::LongPoll;
use crate::api::http::resources::Client;
use crate::mining::readiness::NotReady;
use crate::mining::templates::{IssuedTemplate, TemplateUnavailable};
use crate::state::NodeState;
use chain::{Address, Transfer};
use serde_json::{Value, json};
use std::time::Duration;

/// Timeout of a long poll.
const POLL_TIMEOUT: Duration = Duration::from_secs(60);
/// Number of hexadecimal digits in a hash.
const HASH_DIGITS: usize = 64;

/// A new template for a miner. With `longpollid`, the response waits until the tip differs from that of
/// the id.
pub(super) async fn get(
    node: &NodeState,
    client: &Client,
    miner: Address,
    request: &Value,
) -> Result<Value, Error> {
    if let Some(mode) = request.get("mode").and_then(Value::as_str)
        && mode != "template"
    {
        let message = format!("mode `{mode}` is not to be had: only `template`");
        return Err(Error::new(Error::INVALID_PARAMETER, message));
    }
    if let Some(id) = request.get("longpollid").and_then(Value::as_str) {
        let long_poll = LongPoll::new(node, client, POLL_TIMEOUT);
        let mut long_poll =
            long_poll.map_err(|problem| Error::new(Error::INTERNAL, problem.detail()))?;
        let mut readiness = node.readiness.subscribe();
        let is_ready = node.readiness.check().await.is_ok();
        if is_ready && id.get(..HASH_DIGITS) == Some(&*long_poll.tip().to_string()) {
            tokio::select! {
                _ = long_poll.tip_changed() => {}
                _ = readiness.changed() => {}
            }
        }
    }
    match node.templates.issue(miner).await {
        Ok(candidate) => Ok(template_json(node, &candidate)),
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
        "capabilities": [],
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
