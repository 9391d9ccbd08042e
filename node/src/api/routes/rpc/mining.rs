//! Methods that miners and pool software call, besides templates and blocks.

use super::context::Context;
use super::error::Error;
use super::params::Params;
use crate::api::routes::chain::{RECENT_BLOCKS, hashrate, hashrate_estimate};
use crate::api::routes::transfer::address;
use crate::difficulty;
use chain::Height;
use serde_json::{Value, json};

/// The result of `getmininginfo`, with the field names of Bitcoin Core.
pub(super) async fn mining_info(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    let view = context.node.reader.view();
    let tip = view.tip();
    let bits = view.as_parent(tip).next_bits(view.params());
    let target = bits.target().expect("the difficulty is computed as canonical bits");
    Ok(json!({
        "blocks": tip.height.get(),
        "bits": bits.to_string(),
        "difficulty": difficulty::of(target),
        "target": target.to_string(),
        "networkhashps": hashrate_estimate(&view).unwrap_or(0.0),
        "pooledtx": view.mempool().count(),
        "chain": view.params().name(),
        "warnings": "",
    }))
}

/// The hash rate of the network over the last `nblocks` blocks up to `height`, or the tip. As of
/// Bitcoin Core, numbers below 1 stand for the default, and a negative height for the tip.
pub(super) async fn network_hashps(context: &Context, params: Params<'_>) -> Result<Value, Error> {
    let blocks: i64 = params.get("nblocks")?.unwrap_or(-1);
    let height: i64 = params.get("height")?.unwrap_or(-1);
    let view = context.node.reader.view();
    let tip = view.tip().height;
    let top = match height {
        ..0 => Some(tip),
        _ => u32::try_from(height).ok().map(Height::new).filter(|height| *height <= tip),
    };
    let top = top.ok_or_else(|| {
        let message = format!("block height {height} out of range");
        Error::new(Error::INVALID_PARAMETER, message)
    })?;
    let blocks = if blocks < 1 { RECENT_BLOCKS } else { u32::try_from(blocks).unwrap_or(u32::MAX) };
    Ok(hashrate(&view, top, blocks).unwrap_or(0.0).into())
}

pub(super) async fn validate_address(
    context: &Context,
    params: Params<'_>,
) -> Result<Value, Error> {
    let text: String = params.require("address")?;
    Ok(match address(&text, context.node.reader.params().hrp(), "address") {
        Ok(address) => json!({
            "isvalid": true,
            "address": address.encode(context.node.reader.params().hrp()),
            "isscript": false,
            "iswitness": false,
        }),
        Err(problem) => json!({ "isvalid": false, "error": problem.detail() }),
    })
}
