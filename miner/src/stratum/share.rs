//! Shares: the parameters of `mining.submit`, and their outcome.

use super::difficulty::Difficulty;
use super::message::{RejectReason, parse_hex_word};
use super::template::{BlockTemplate, CoinbaseSource};
use super::worker::Worker;
use chain::{Header, Timestamp};
use serde_json::Value;
use std::sync::Arc;

/// The difficulties of an accepted share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AcceptedShare {
    /// The difficulty of its job, for which it counts.
    pub difficulty: Difficulty,
    /// The highest difficulty that its hash meets.
    pub achieved: f64,
    /// The difficulty of the block of its job.
    pub network: f64,
}

/// The outcome of the validation of a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShareOutcome {
    /// The share meets the difficulty of its job.
    Accepted(AcceptedShare),
    /// The share meets the target of the block.
    Block(AcceptedShare),
    /// The job is unknown to the session, belongs to an old tip, or to the time before the difficulty
    /// was raised.
    Stale,
    /// The share was submitted before.
    Duplicate,
    /// The share does not meet the difficulty of its job.
    LowDifficulty,
    /// The share is malformed.
    Invalid,
}

impl From<RejectReason> for ShareOutcome {
    fn from(reason: RejectReason) -> ShareOutcome {
        match reason {
            RejectReason::UnknownJob
            | RejectReason::StaleJob
            | RejectReason::ExpiredJob
            | RejectReason::NoWork => ShareOutcome::Stale,
            RejectReason::Duplicate => ShareOutcome::Duplicate,
            RejectReason::LowDifficulty => ShareOutcome::LowDifficulty,
            RejectReason::Other(_)
            | RejectReason::Unauthorized(_)
            | RejectReason::NotSubscribed => ShareOutcome::Invalid,
        }
    }
}

/// A share that meets the target of the block.
#[derive(Debug)]
pub struct SolvedBlock<C: CoinbaseSource> {
    /// The template of the block.
    pub template: Arc<BlockTemplate<C>>,
    /// The header that meets the target of the block.
    pub header: Header,
    /// The extra nonce in the coinbase.
    pub extra_nonce: [u8; 8],
    /// The worker that found the block and whose address the coinbase pays.
    pub worker: Arc<Worker<C::PayoutAddress>>,
}

/// The parameters of `mining.submit`.
#[derive(Debug)]
pub(super) struct Submission<'a> {
    pub user: &'a str,
    pub job: &'a str,
    pub extra_nonce2: [u8; 4],
    pub time: Timestamp,
    pub nonce: u32,
    /// The version bits that the miner changed; 0 if none.
    pub version_bits: u32,
}

impl<'a> Submission<'a> {
    /// Parses user name, job, second half of the extra nonce, time, nonce and, optionally, version
    /// bits.
    pub(super) fn parse(params: &'a Value) -> Result<Submission<'a>, RejectReason> {
        const FIELD_COUNT: RejectReason = RejectReason::Other("A share has five or six fields");
        let fields = params.as_array().map(Vec::as_slice);
        let Some([user, job, extra_nonce2_text, time, nonce, rest @ ..]) = fields else {
            return Err(FIELD_COUNT);
        };
        let (Some(user), Some(job)) = (user.as_str(), job.as_str()) else {
            return Err(RejectReason::Other("User and job are strings"));
        };
        let mut extra_nonce2 = [0; 4];
        let decoded = extra_nonce2_text
            .as_str()
            .and_then(|text| hex::decode_to_slice(text, &mut extra_nonce2).ok());
        if decoded.is_none() {
            return Err(RejectReason::Other("The extranonce2 is 8 hexadecimal digits"));
        }
        let (Some(time), Some(nonce)) = (parse_hex_word(time), parse_hex_word(nonce)) else {
            return Err(RejectReason::Other("Time and nonce are up to 8 hexadecimal digits"));
        };
        let version_bits = match rest {
            [] | [Value::Null] => 0,
            [bits] => parse_hex_word(bits)
                .ok_or(RejectReason::Other("Version bits are up to 8 hexadecimal digits"))?,
            _ => return Err(FIELD_COUNT),
        };
        let time = Timestamp::new(time);
        Ok(Submission { user, job, extra_nonce2, time, nonce, version_bits })
    }

    /// Both halves of the extra nonce.
    pub(super) fn extra_nonce(&self, extra_nonce1: [u8; 4]) -> [u8; 8] {
        let mut extra_nonce = [0; 8];
        extra_nonce[..4].copy_from_slice(&extra_nonce1);
        extra_nonce[4..].copy_from_slice(&self.extra_nonce2);
        extra_nonce
    }
}
