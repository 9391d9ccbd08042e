//! `submitblock`: a header and the coinbase in Bitcoin's serialization, completed from the template of
//! `workid` or of the header's Merkle root; the template's other transactions may follow.

use super::error::Error;
use crate::state::NodeState;
use chain::ledger::{Accepted, SubmitError};
use chain::{Block, Coinbase, Header, Transaction};
use serde_json::{Value, json};

/// The largest coinbase in bytes.
const MAX_COINBASE: usize = 186;

/// Submits a block. The result is null if it is in the best chain, otherwise a BIP 22 reject reason.
pub(super) async fn submit(node: &NodeState, params: &[Value]) -> Result<Value, Error> {
    let unreadable = |what: &str| Error::new(Error::DESERIALIZATION, what);
    let bytes = params.first().and_then(Value::as_str).and_then(|text| hex::decode(text).ok());
    let bytes = bytes.ok_or_else(|| unreadable("the block is not hexadecimal"))?;
    let (header, rest) = bytes
        .split_at_checked(Header::BYTES)
        .and_then(|(header, rest)| Some((Header::decode(header).ok()?, after_count(rest)?)))
        .ok_or_else(|| unreadable("a block is a header, a count and transactions"))?;
    let work = params.get(1).and_then(|options| options.get("workid")).and_then(Value::as_str);
    let candidate = match work {
        Some(id) => node.templates.find(id),
        None => node.templates.find_by_root(header.merkle_root),
    };
    let Some(candidate) = candidate else { return Ok(json!("stale-work")) };
    let mut block = candidate.solved(|own| *own = header);
    let coinbase = coinbase_bytes(rest, &block)
        .and_then(|coinbase| Coinbase::deserialize(coinbase).ok())
        .ok_or_else(|| unreadable("after the count comes the template's coinbase"))?;
    block.transactions[0] = Transaction::Coinbase(coinbase);
    match node.writer.submit_block(block).await {
        Ok(Ok(Accepted::Connected)) => Ok(Value::Null),
        Ok(Ok(Accepted::SideBranch)) => Ok(json!("inconclusive")),
        Ok(Ok(Accepted::AlreadyKnown)) => Ok(json!("duplicate")),
        Ok(Err(SubmitError::Invalid(error))) => Ok(json!(error.code())),
        Ok(Err(SubmitError::KnownInvalid { rule, .. })) => Ok(json!(rule.code())),
        Ok(Err(SubmitError::UnknownParent { .. })) => Ok(json!("bad-prevblk")),
        Ok(Err(error @ SubmitError::TooDeep { .. })) => Ok(json!(error.code())),
        Ok(Err(SubmitError::Store(error))) => Err(Error::new(Error::INTERNAL, error.to_string())),
        Err(stopped) => Err(Error::new(Error::INTERNAL, stopped.to_string())),
    }
}

/// The bytes after Bitcoin's transaction count, which has one, three or five bytes.
fn after_count(bytes: &[u8]) -> Option<&[u8]> {
    let (mark, rest) = bytes.split_first()?;
    match mark {
        0xfd => rest.get(2..),
        0xfe => rest.get(4..),
        0xff => None,
        _ => Some(rest),
    }
}

/// The bytes of the coinbase, if only the template's transactions follow it.
fn coinbase_bytes<'a>(bytes: &'a [u8], template: &Block) -> Option<&'a [u8]> {
    if bytes.len() <= MAX_COINBASE {
        return Some(bytes);
    }
    let transfers: Vec<u8> =
        template.transfers().flat_map(|(_, transfer)| transfer.encode()).collect();
    bytes.strip_suffix(&transfers[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_one_byte_or_a_mark() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"\x01", Some(&b""[..])),
            (b"\xfcab", Some(b"ab")),
            (b"\xfd\x00\x01ab", Some(b"ab")),
            (b"\xfe\x00\x00\x01\x00ab", Some(b"ab")),
            (b"\xfd\x00", None),
            (b"\xff\0\0\0\0\0\0\0\0ab", None),
        ] {
            assert_eq!(after_count(bytes), expected, "{bytes:?}");
        }
    }
}
