//! A mining job: its specification and its state. The types are also the format of the journal; what
//! clients see of a job is defined by `api::routes::jobs`.

use chain::hash::sha256;
use chain::{Address, tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::str::FromStr;

/// The id of a job: eight hexadecimal digits, not all 0. The extra nonce in the coinbase of a block
/// that a job finds begins with these four bytes, which identifies the job's blocks in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(NonZeroU32);

impl Id {
    /// Derives a pseudo-random id; rarely `None`.
    pub(super) fn derive(seed: [u8; 32], counter: u64) -> Option<Id> {
        let digest = sha256(&[seed.as_slice(), &counter.to_be_bytes()].concat());
        let [a, b, c, d, ..] = digest;
        NonZeroU32::new(u32::from_be_bytes([a, b, c, d])).map(Id)
    }

    /// The mark in the coinbases of the job's blocks.
    pub fn mark(self) -> [u8; 4] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// A text is not the id of a job.
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

/// The state of a job. It only moves forward, except that a job of lowest priority returns from
/// `Running` to `Queued` while others have its threads.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobState")]
pub enum State {
    /// Waits for its start time.
    Scheduled,
    /// Waits for threads.
    Queued,
    /// Has threads. A recurring job: has started its first run.
    Running,
    /// Has reached its goal.
    Succeeded,
    /// Cannot reach its goal.
    Failed,
    /// Was cancelled by a client.
    Cancelled,
}

impl State {
    /// Every state, in order.
    pub const ALL: [State; 6] = [
        State::Scheduled,
        State::Queued,
        State::Running,
        State::Succeeded,
        State::Failed,
        State::Cancelled,
    ];

    /// Whether a job in this state has ended.
    pub fn is_terminal(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled)
    }
}

/// The goal of a job: the condition on which it has succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The job has succeeded once it has found this number of blocks.
    Blocks(NonZeroU32),
    /// The job has succeeded once the chain has reached a condition, by its blocks or those of
    /// others.
    Until(Until),
    /// The job never succeeds: it mines until it is cancelled.
    Forever,
}

/// A condition of the chain or the time at which a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// The best chain has at least this height.
    Height(u32),
    /// The time has come: Unix seconds by the wall clock.
    Time(u64),
    /// A transaction has at least this number of confirmations.
    Transaction {
        /// The id of the transaction.
        #[serde(with = "text")]
        id: tx::Id,
        /// The number of confirmations; 1 once it is in a block.
        confirmations: NonZeroU32,
    },
    /// The balance of the job's miner is at least this many base units.
    Balance(u64),
}

/// The time at which a job starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The job starts immediately.
    Now,
    /// The job starts at a time in Unix seconds, by the wall clock even if that is changed
    /// meanwhile.
    At(u64),
    /// The job starts after a number of seconds by the monotonic clock.
    In(u64),
}

/// The order in which jobs get threads.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "JobPriority")]
pub enum Priority {
    /// In the order of creation; a job never loses its threads to a later one.
    Normal,
    /// The threads that normal jobs leave; they are taken away when another job needs them.
    Lowest,
}

/// The specification of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The address that the blocks of the job pay.
    #[serde(with = "address")]
    pub miner: Address,
    /// The condition on which the job has succeeded.
    pub goal: Goal,
    /// The most threads that the job uses.
    pub threads: NonZeroUsize,
    /// The time at which the job starts.
    pub start: Start,
    /// The interval of a recurring job, which starts a new job each time. Requires `Goal::Blocks`.
    pub every_seconds: Option<NonZeroU64>,
    /// The order in which the job gets threads.
    pub priority: Priority,
    /// Whether the job ends with the process that created it.
    #[serde(rename = "of_process")]
    pub ends_with_process: bool,
}

impl JobSpec {
    /// A job that mines for an address as long as this process runs, with the threads that other jobs
    /// leave.
    pub fn background(miner: Address, threads: NonZeroUsize) -> JobSpec {
        let (start, priority) = (Start::Now, Priority::Lowest);
        let goal = Goal::Forever;
        JobSpec {
            miner,
            goal,
            threads,
            start,
            every_seconds: None,
            priority,
            ends_with_process: true,
        }
    }
}

/// Identifies repetitions of a request that creates a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// The key that the client chose.
    pub text: String,
    /// The digest of the request.
    #[serde(with = "digest")]
    pub request: [u8; 32],
}

/// The reason why a job failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// A description for people.
    pub detail: String,
}

/// Hashes, and the blocks to be expected from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hashing {
    /// The number of hashes.
    pub hashes: u64,
    /// The number of expected blocks, in billionths.
    pub expected_nanoblocks: u64,
}

/// The number of runs of a recurring job that have ended, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndedRuns {
    /// Runs that found their blocks.
    pub succeeded: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
}

impl EndedRuns {
    /// Counts a run that has ended in this state.
    pub(super) fn count(&mut self, state: State) {
        let count = match state {
            State::Succeeded => &mut self.succeeded,
            State::Failed => &mut self.failed,
            State::Cancelled => &mut self.cancelled,
            State::Scheduled | State::Queued | State::Running => return,
        };
        *count = count.saturating_add(1);
    }
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The process that created the job has ended.
    Interrupted,
    /// An error of this program or this machine.
    Internal,
}

/// A job without the hashes of its blocks. Times are Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The id of the job.
    pub id: Id,
    /// The creation number; grows with every job.
    pub number: u64,
    /// The specification of the job.
    #[serde(rename = "order")]
    pub spec: JobSpec,
    /// The recurring job that started this one, if any.
    pub series: Option<Id>,
    /// The state of the job.
    pub state: State,
    /// The position in the queue of jobs that wait for threads or have some.
    #[serde(rename = "place")]
    pub queue_position: Option<u64>,
    /// Unix seconds at which the job was created.
    pub created_at: u64,
    /// Unix seconds at which the job is due to start. For a recurring job: at which its next run is
    /// due.
    pub due_at: u64,
    /// Unix seconds at which the job first got threads; `None` before.
    pub started_at: Option<u64>,
    /// Unix seconds at which the job ended; `None` before.
    pub finished_at: Option<u64>,
    /// The number of blocks that joined the best chain when they were submitted.
    pub blocks: u64,
    /// The number of hashes computed.
    pub hashes: u64,
    /// The number of blocks to be expected from the hashes, in billionths; `None` for a job of a
    /// version that did not count them.
    #[serde(default)]
    pub expected_nanoblocks: Option<u64>,
    /// The number of runs that a recurring job has started.
    pub runs: u64,
    /// The number of runs of a recurring job that have ended.
    #[serde(default)]
    pub ended_runs: EndedRuns,
    /// Why the job failed, if it did.
    pub failure: Option<Failure>,
    /// The height up to which all blocks of the job are counted.
    pub counted_to: u32,
    /// The idempotency key of the request that created the job.
    pub key: Option<IdempotencyKey>,
}

impl Job {
    /// The number of blocks to find, if that is the goal.
    pub fn target(&self) -> Option<NonZeroU32> {
        match self.spec.goal {
            Goal::Blocks(blocks) => Some(blocks),
            _ => None,
        }
    }

    /// Whether this is a recurring job, which mines through the jobs that it starts.
    pub fn is_series(&self) -> bool {
        self.spec.every_seconds.is_some()
    }

    /// The time of the next run in Unix seconds, if this is a recurring job that has not ended.
    pub fn next_run(&self) -> Option<u64> {
        (self.is_series() && !self.state.is_terminal()).then_some(self.due_at)
    }

    /// The number of blocks to be expected from the hashes; `None` if that was not counted.
    pub fn expected_blocks(&self) -> Option<f64> {
        self.expected_nanoblocks.map(|expected| expected as f64 / 1e9)
    }

    /// The blocks found in relation to those to be expected; `None` without hashes.
    pub fn luck(&self) -> Option<f64> {
        let expected = self.expected_blocks().filter(|expected| *expected > 0.0)?;
        Some(self.blocks as f64 / expected)
    }

    /// The position in lists: first jobs that run, recurring ones before others, then those that wait
    /// for threads, those that wait for their time, and those that have ended; of each the newest
    /// first.
    pub fn list_position(&self) -> u64 {
        const NUMBERS: u64 = 1 << 56;
        let rank = match self.state {
            State::Running if self.is_series() => 0,
            State::Running => 1,
            State::Queued => 2,
            State::Scheduled => 3,
            State::Succeeded | State::Failed | State::Cancelled => 4,
        };
        rank * NUMBERS + (NUMBERS - 1).saturating_sub(self.number)
    }

    /// Adds hashes that were computed.
    pub(super) fn add_hashing(&mut self, more: Hashing) {
        self.hashes = self.hashes.saturating_add(more.hashes);
        if let Some(expected) = &mut self.expected_nanoblocks {
            *expected = expected.saturating_add(more.expected_nanoblocks);
        }
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

/// Serialization of a type as its text.
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

/// Serialization of byte arrays in hexadecimal.
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

/// Serialization of addresses in hexadecimal: without a network prefix, as a journal belongs to one
/// network.
mod address {
    use chain::Address;
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        address: &Address,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::digest::serialize(address.as_bytes(), serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Address, D::Error> {
        super::digest::deserialize(deserializer).map(Address::from_bytes)
    }
}

/// Serialization of block hashes as one text of 64 hexadecimal digits each.
pub(super) mod hashes {
    use chain::block;
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
