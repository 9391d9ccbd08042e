//! `getblocktemplate`. The coinbase is always given, since it commits to the accounts; a miner may
//! change nothing in it, and need not send back the transactions: `workid` stands for them.

use super::error::Error;
use crate::api::http::long_poll::Hold;
use crate::api::openapi::schema::Digits;
use crate::mining::readiness::NotReady;
use crate::mining::templates::{IssuedTemplate, TemplateUnavailable};
use crate::state::NodeState;
use chain::{Address, Transfer};
use serde_json::{Value, json};

/// Seconds that an answer is held while the tip stays the same.
const HOLD: u64 = 60;
/// Digits of a hash.
const HASH_DIGITS: usize = 64;

/// A template of its own for a miner; once there is another tip than that of `longpollid`, if the
/// request has one.
pub(super) async fn get(node: &NodeState, miner: Address, request: &Value) -> Result<Value, Error> {
    if let Some(mode) = request.get("mode").and_then(Value::as_str)
        && mode != "template"
    {
        let message = format!("mode `{mode}` is not to be had: only `template`");
        return Err(Error::new(Error::INVALID_PARAMETER, message));
    }
    if let Some(id) = request.get("longpollid").and_then(Value::as_str) {
        let hold = Hold::new(node, Some(Digits(HOLD)));
        let mut hold = hold.map_err(|_| Error::new(Error::INTERNAL, "no answer can be held"))?;
        if id.get(..HASH_DIGITS) == Some(&*hold.tip().to_string()) {
            hold.tip_changed().await;
        }
    }
    match node.templates.issue(miner).await {
        Ok((id, candidate)) => Ok(shown(node, &id, &candidate)),
        Err(why) => {
            let code = match why {
                TemplateUnavailable::NotReady(NotReady::NoPeers) => Error::NOT_CONNECTED,
                TemplateUnavailable::NotReady(NotReady::Syncing { .. }) => Error::CATCHING_UP,
                TemplateUnavailable::Stopped(_) | TemplateUnavailable::Template(_) => {
                    Error::INTERNAL
                }
            };
            Err(Error::new(code, why.to_string()))
        }
    }
}

fn shown(node: &NodeState, id: &str, candidate: &IssuedTemplate) -> Value {
    let (template, spec) = (candidate.template(), node.reader.params().spec());
    let header = template.block.header;
    let coinbase = candidate.coinbase().expect("a template has a coinbase");
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
    let transfers = template.block.transfers().map(|(_, transfer)| transfer_shown(transfer));
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

fn transfer_shown(transfer: &Transfer) -> Value {
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
