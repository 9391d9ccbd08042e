//! A mining job: what was asked for, and how it goes. As it is kept in the journal and as everybody
//! in this program sees it; what clients see of it is `api::jobs`'s.

use chain::hash::sha256;
use chain::{Address, block, tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::str::FromStr;

/// Names a job: eight hexadecimal digits, not all 0. Blocks that a job finds carry these four bytes
/// first in the extra nonce of their coinbase, so that the chain itself tells whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(NonZeroU32);

impl Id {
    /// One out of many, by chance; `None` now and then.
    pub(super) fn by_lot(seed: [u8; 32], lot: u64) -> Option<Id> {
        let digest = sha256(&[seed.as_slice(), &lot.to_be_bytes()].concat());
        let [a, b, c, d, ..] = digest;
        NonZeroU32::new(u32::from_be_bytes([a, b, c, d])).map(Id)
    }

    /// What coinbases of its blocks carry.
    pub fn mark(self) -> [u8; 4] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What was given is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job's id has 8 hexadecimal digits")]
pub struct ParseIdError;

impl FromStr for Id {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Id, ParseIdError> {
        let mut bytes = [0; 4];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseIdError)?;
        NonZeroU32::new(u32::from_be_bytes(bytes)).map(Id).ok_or(ParseIdError)
    }
}

/// How far a job is. Only ever a later one, but that the job of lowest priority goes from `Running`
/// back to `Queued` while others have its threads.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobState")]
pub enum State {
    /// It waits for its time.
    Scheduled,
    /// It waits for threads.
    Queued,
    /// It has threads. A recurring job: it has had a run.
    Running,
    /// Its goal is reached.
    Succeeded,
    /// Its goal cannot be reached.
    Failed,
    /// Somebody wanted no more of it.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [State; 6] = [
        State::Scheduled,
        State::Queued,
        State::Running,
        State::Succeeded,
        State::Failed,
        State::Cancelled,
    ];

    /// Whether nothing comes after it.
    pub fn is_terminal(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }
}

/// When a job has done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// It has found so many blocks.
    Blocks(NonZeroU32),
    /// Something is so, whoever brought it about.
    Until(Until),
    /// Never.
    Forever,
}

/// What a job brings about, or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The best chain is so high.
    Height(u32),
    /// It is that late: Unix seconds, by this machine's clock.
    Time(u64),
    /// A transaction has so many confirmations.
    Transaction {
        /// Its id.
        #[serde(with = "text")]
        id: tx::Id,
        /// How many; 1 as soon as it is in a block.
        confirmations: NonZeroU32,
    },
    /// The job's miner can spend so much, base units.
    Balance(u64),
}

/// When a job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// At once.
    Now,
    /// At a time, Unix seconds by this machine's clock, wherever that is set meanwhile.
    At(u64),
    /// After so many seconds, which no change of the clock makes more or fewer.
    In(u64),
}

/// Who gets threads first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobPriority")]
pub enum Priority {
    /// Who came first, and keeps them.
    Normal,
    /// Who takes what is left and gives it back: what a node mines all the time.
    Lowest,
}

/// What a job is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Whom its blocks pay.
    #[serde(with = "address")]
    pub miner: Address,
    /// When it has done its work.
    pub goal: Goal,
    /// Most threads it uses.
    pub threads: NonZeroUsize,
    /// When it begins.
    pub start: Start,
    /// It begins anew after so many seconds, each time as a job of its own. Only with `Blocks`.
    pub every_seconds: Option<NonZeroU64>,
    /// Who gets threads first.
    pub priority: Priority,
    /// Whether it belongs to the process that runs it, and ends with it.
    pub of_process: bool,
}

impl Order {
    /// To mine for somebody as long as this process runs, with what others leave of its threads.
    pub fn standing(miner: Address, threads: NonZeroUsize) -> Order {
        let (start, priority) = (Start::Now, Priority::Lowest);
        let goal = Goal::Forever;
        Order { miner, goal, threads, start, every_seconds: None, priority, of_process: true }
    }
}

/// What makes a request the same as an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// What the client called it.
    pub text: String,
    /// Digest of what it asked for.
    #[serde(with = "digest")]
    pub request: [u8; 32],
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// In kind.
    pub kind: FailureKind,
    /// In a sentence for people.
    pub detail: String,
}

/// In kind why a job failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The process that it belonged to has ended.
    Interrupted,
    /// A fault of this program or this machine.
    Internal,
}

/// A job, but for the hashes of the blocks that it found. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name.
    pub id: Id,
    /// Grows with every job.
    pub number: u64,
    /// What it is to do.
    pub order: Order,
    /// The recurring job that it is a run of.
    pub series: Option<Id>,
    /// How far it is.
    pub state: State,
    /// Its place among those that wait for threads, or have them: who came first.
    pub place: Option<u64>,
    /// When it was asked for.
    pub created_at: u64,
    /// When it is, or was, to begin. A recurring job: when it will next.
    pub due_at: u64,
    /// When it first had threads.
    pub started_at: Option<u64>,
    /// When it came to an end.
    pub finished_at: Option<u64>,
    /// Blocks found that were in the best chain when they were handed in.
    pub blocks: u64,
    /// Hashes.
    pub hashes: u64,
    /// A recurring job's runs.
    pub runs: u64,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// Up to this height all its blocks are counted.
    pub counted_to: u32,
    /// What makes a request the same.
    pub key: Option<Key>,
}

impl Job {
    /// Blocks that it is to find.
    pub fn target(&self) -> Option<NonZeroU32> {
        match self.order.goal {
            Goal::Blocks(blocks) => Some(blocks),
            _ => None,
        }
    }

    /// Whether it only gives rise to others.
    pub fn is_series(&self) -> bool {
        self.order.every_seconds.is_some()
    }
}

impl Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
        text::deserialize(deserializer)
    }
}

/// As text, for what has one.
mod text {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::fmt::Display;
    use std::str::FromStr;

    pub(super) fn serialize<S: Serializer>(
        it: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(it)
    }

    pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Bytes of a known number, as hexadecimal digits.
mod digest {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &impl AsRef<[u8]>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let mut bytes = [0; N];
        let text = String::deserialize(deserializer)?;
        hex::decode_to_slice(text, &mut bytes).map_err(D::Error::custom)?;
        Ok(bytes)
    }
}

/// Addresses without the name of a network: a journal belongs to one.
mod address {
    use super::{Address, digest};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        address: &Address,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        digest::serialize(address.as_bytes(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Address, D::Error> {
        digest::deserialize(deserializer).map(Address::from_bytes)
    }
}

/// Hashes of blocks, one text: 64 hexadecimal digits each.
pub(super) mod hashes {
    use super::block;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        hashes: &[block::Hash],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&hashes.iter().map(ToString::to_string).collect::<String>())
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<block::Hash>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).map_err(D::Error::custom)?;
            digits.parse().map_err(D::Error::custom)
        };
        text.as_bytes().chunks(64).map(hash).collect()
    }
}
