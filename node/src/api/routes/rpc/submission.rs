//! `submitblock`: a header and the coinbase in Bitcoin's serialization, then all transfers or none. If
//! there are none, those of the template are added that `workid` or the Merkle root of the header
//! identifies.

use super::context::Context;
use super::credentials;
use super::error::Error;
use super::params::Params;
use crate::api::http::problem::Problem;
use crate::api::routes::solved::{Solved, count_stale};
use crate::mining::workers::Interface;
use chain::codec::{DecodeError, Decoder};
use chain::ledger::{Accepted, SubmitError};
use chain::{Address, Block, Coinbase, Header, Transaction, merkle};
use miner::stratum::Worker;
use serde::Deserialize;
use serde_json::{Value, json};

/// The second parameter of `submitblock`.
#[derive(Default, Deserialize)]
struct Options {
    workid: Option<String>,
}

/// Submits a block. The result is null if it is in the best chain, otherwise a BIP 22 reject reason.
pub(super) async fn submit(context: &Context, params: Params<'_>) -> Result<Value, Error> {
    let node = &context.node;
    let text: Option<String> = params.get("hexdata")?;
    let submitted = SubmittedBlock::decode(text.as_deref().unwrap_or_default())?;
    let Options { workid } = params.get("parameters")?.unwrap_or_default();
    let worker = submitted.worker(context);
    let block = match submitted.complete(context, workid.as_deref()) {
        Ok(block) => Some(block),
        Err(submitted) => node.templates.complete(&submitted.header, submitted.coinbase),
    };
    let Some(block) = block else {
        count_stale(node, &context.client, Interface::JsonRpc, &worker);
        return Ok(json!("stale-work"));
    };
    let solved = Solved::new(&block, Interface::JsonRpc, &worker);
    let result = node.writer.submit_block(block).await?;
    solved.count(node, &context.client, &result);
    match result {
        Ok(Accepted::Connected) => Ok(Value::Null),
        Ok(Accepted::SideBranch) => Ok(json!("inconclusive")),
        Ok(Accepted::AlreadyKnown) => Ok(json!("duplicate")),
        Err(error) => reject_reason(error),
    }
}

/// The BIP 22 reject reason of a block that is not accepted.
///
/// # Errors
/// The store has failed.
pub(super) fn reject_reason(error: SubmitError) -> Result<Value, Error> {
    match (&error, error.code()) {
        (SubmitError::UnknownParent { .. }, _) => Ok(json!("bad-prevblk")),
        (_, Some(code)) => Ok(json!(code)),
        (_, None) => Err(Problem::from(error).into()),
    }
}

/// A block in Bitcoin's serialization, which may lack its transfers.
pub(super) struct SubmittedBlock {
    header: Header,
    coinbase: Coinbase,
    transfers: Vec<Transaction>,
}

impl SubmittedBlock {
    /// Decodes a block from hexadecimal digits.
    pub(super) fn decode(digits: &str) -> Result<SubmittedBlock, Error> {
        let unreadable = |what: &str| Error::new(Error::DESERIALIZATION, what);
        let bytes = hex::decode(digits).ok().filter(|bytes| !bytes.is_empty());
        let bytes = bytes.ok_or_else(|| unreadable("the block is not hexadecimal"))?;
        let (header, body) = bytes
            .split_at_checked(Header::BYTES)
            .and_then(|(header, rest)| Some((Header::decode(header).ok()?, after_count(rest)?)))
            .ok_or_else(|| unreadable("a block is a header, a count and transactions"))?;
        let (coinbase, transfers) = transactions(body)
            .map_err(|error| unreadable(&format!("after the count come transactions: {error}")))?;
        Ok(SubmittedBlock { header, coinbase, transfers })
    }

    /// The worker that the block counts for: the payee of its coinbase, with the name in the credentials
    /// if they have its address.
    fn worker(&self, context: &Context) -> Worker<Address> {
        let payee = self.coinbase.recipient;
        let named = credentials::worker(&context.headers, &context.node).ok();
        named
            .filter(|worker| worker.payout_address == payee)
            .unwrap_or_else(|| Worker::new(payee, ""))
    }

    /// The block with all its transactions: those that it has if they are all, otherwise those of the
    /// template with this id. Returns the block itself if there is no such template.
    pub(super) fn complete(
        self,
        context: &Context,
        template: Option<&str>,
    ) -> Result<Block, Box<SubmittedBlock>> {
        let SubmittedBlock { header, coinbase, transfers } = self;
        if !transfers.is_empty() || header.merkle_root == merkle::root(&[coinbase.id()]) {
            let transactions = std::iter::once(Transaction::Coinbase(coinbase)).chain(transfers);
            return Ok(Block { header, transactions: transactions.collect() });
        }
        match template.and_then(|id| context.node.templates.find(id)) {
            Some(issued) => Ok(issued.template().block(header, coinbase)),
            None => Err(Box::new(SubmittedBlock { header, coinbase, transfers })),
        }
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
