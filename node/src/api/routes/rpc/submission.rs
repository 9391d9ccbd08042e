//! `submitblock`: a header and the coinbase in Bitcoin's serialization, then all transfers or none. If
//! there are none, those of the template are added that `workid` or the Merkle root of the header
//! identifies.

use super::error::Error;
use crate::state::NodeState;
use chain::codec::{DecodeError, Decoder};
use chain::ledger::{Accepted, SubmitError};
use chain::{Block, Coinbase, Header, Transaction, merkle};
use serde_json::{Value, json};

/// Submits a block. The result is null if it is in the best chain, otherwise a BIP 22 reject reason.
pub(super) async fn submit(node: &NodeState, params: &[Value]) -> Result<Value, Error> {
    let unreadable = |what: &str| Error::new(Error::DESERIALIZATION, what);
    let bytes = params.first().and_then(Value::as_str).and_then(|text| hex::decode(text).ok());
    let bytes = bytes.ok_or_else(|| unreadable("the block is not hexadecimal"))?;
    let (header, body) = bytes
        .split_at_checked(Header::BYTES)
        .and_then(|(header, rest)| Some((Header::decode(header).ok()?, after_count(rest)?)))
        .ok_or_else(|| unreadable("a block is a header, a count and transactions"))?;
    let (coinbase, transfers) = transactions(body)
        .map_err(|error| unreadable(&format!("after the count come transactions: {error}")))?;
    let is_whole = !transfers.is_empty() || header.merkle_root == merkle::root(&[coinbase.id()]);
    let work = params.get(1).and_then(|options| options.get("workid")).and_then(Value::as_str);
    let block = if is_whole {
        let transactions = std::iter::once(Transaction::Coinbase(coinbase)).chain(transfers);
        Some(Block { header, transactions: transactions.collect() })
    } else {
        match work.and_then(|id| node.templates.find(id)) {
            Some(issued) => Some(issued.template().block(header, coinbase)),
            None => node.templates.complete(&header, coinbase),
        }
    };
    let Some(block) = block else { return Ok(json!("stale-work")) };
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

/// Decodes a coinbase in Bitcoin's serialization and the transfers that follow it.
fn transactions(bytes: &[u8]) -> Result<(Coinbase, Vec<Transaction>), DecodeError> {
    let mut input = Decoder::new(bytes);
    let (coinbase, mut transfers) = (Coinbase::read(&mut input)?, Vec::new());
    while input.remaining() > 0 {
        transfers.push(Transaction::read(&mut input)?);
    }
    Ok((coinbase, transfers))
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
