//! A share: how a miner hands it in, the header it stands for, and what it is worth.

use super::difficulty::Difficulty;
use super::message::{Refusal, word};
use super::template::{BlockTemplate, CoinbaseParts, CoinbaseSource, DuplicateStatus};
use super::worker::Worker;
use chain::hash::sha256d;
use chain::{Header, Timestamp, tx};
use serde_json::Value;
use std::sync::Arc;

/// What became of a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShareOutcome {
    /// It met this difficulty.
    Accepted(Difficulty),
    /// It met the block's own difficulty too.
    Block(Difficulty),
    /// Its job is one of an old tip, or none that the miner was given.
    Stale,
    /// It came before.
    Duplicate,
    /// It does not meet the difficulty it should.
    LowDifficulty,
    /// It is malformed.
    Invalid,
}

/// A share that is a block.
#[derive(Debug)]
pub struct SolvedBlock<C: CoinbaseSource> {
    /// What was mined.
    pub template: Arc<BlockTemplate<C>>,
    /// The header, nonce and all.
    pub header: Header,
    /// As in the coinbase.
    pub extra_nonce: [u8; 8],
    /// Who found it, and is paid by it.
    pub worker: Arc<Worker<C::PayoutAddress>>,
}

/// What `mining.submit` says.
#[derive(Debug)]
pub(super) struct Submission<'a> {
    pub user: &'a str,
    pub job: &'a str,
    pub extra_nonce_2: [u8; 4],
    pub time: Timestamp,
    pub nonce: u32,
    /// The version bits that the miner rolled; 0 if it did not.
    pub version_bits: u32,
}

impl<'a> Submission<'a> {
    /// From the user's name, the job, the second half of the extra nonce, time and nonce, and
    /// perhaps version bits.
    pub(super) fn read(params: &'a Value) -> Result<Submission<'a>, Refusal> {
        let fields = params.as_array().map(Vec::as_slice);
        let Some([user, job, extra_nonce_2, time, nonce, rest @ ..]) = fields else {
            return Err(Refusal::Other("A share has five fields, or six"));
        };
        let (Some(user), Some(job)) = (user.as_str(), job.as_str()) else {
            return Err(Refusal::Other("User and job are strings"));
        };
        let mut bytes = [0; 4];
        let half =
            extra_nonce_2.as_str().and_then(|text| hex::decode_to_slice(text, &mut bytes).ok());
        if half.is_none() {
            return Err(Refusal::Other("The extranonce2 is 8 hexadecimal digits"));
        }
        let (Some(time), Some(nonce)) = (word(time), word(nonce)) else {
            return Err(Refusal::Other("Time and nonce are up to 8 hexadecimal digits"));
        };
        let version_bits = match rest {
            [] | [Value::Null] => 0,
            [bits] => {
                word(bits).ok_or(Refusal::Other("Version bits are up to 8 hexadecimal digits"))?
            }
            _ => return Err(Refusal::Other("A share has five fields, or six")),
        };
        let time = Timestamp::new(time);
        Ok(Submission { user, job, extra_nonce_2: bytes, time, nonce, version_bits })
    }
}

/// What one connection was told to mine.
#[derive(Debug)]
pub(super) struct Job<C> {
    pub id: String,
    /// How often the same work was given out before.
    pub again: u32,
    pub work: Arc<BlockTemplate<C>>,
    /// What its shares must meet at least.
    pub difficulty: Difficulty,
    pub coinbase: CoinbaseParts,
}

/// What a share is, by its hash.
#[derive(Debug)]
pub(super) struct Judged {
    pub header: Header,
    pub extra_nonce: [u8; 8],
    /// Whether it meets the block's target.
    pub is_block: bool,
    /// Whether it meets its own.
    pub is_enough: bool,
}

impl<C> Job<C> {
    /// The header that a submission stands for, hashed.
    pub(super) fn judge(
        &self,
        extra_nonce_1: [u8; 4],
        share: &Submission,
        difficulty: Difficulty,
    ) -> Judged {
        let mut extra_nonce = [0; 8];
        extra_nonce[..4].copy_from_slice(&extra_nonce_1);
        extra_nonce[4..].copy_from_slice(&share.extra_nonce_2);
        let coinbase = [&self.coinbase.prefix[..], &extra_nonce, &self.coinbase.suffix].concat();
        let id = tx::Id::from_bytes(sha256d(&coinbase));
        let root = self.work.branch.root(id).expect("the branch is one of a coinbase");
        let header = Header {
            version: self.work.header.version ^ share.version_bits.cast_signed(),
            merkle_root: root,
            time: share.time,
            nonce: share.nonce,
            ..self.work.header
        };
        let hash = header.hash();
        Judged {
            header,
            extra_nonce,
            is_block: self.work.target.is_met_by(hash.as_bytes()),
            is_enough: difficulty.target().is_met_by(hash.as_bytes()),
        }
    }

    /// Whether a share comes for the first time.
    pub(super) fn arrives(&self, header: &Header) -> DuplicateStatus {
        self.work.arrives(&header.hash())
    }
}
