//! Workers as the API and events show them.

use super::account::{Interface, Shares};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a worker.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Worker")]
pub struct WorkerInfo {
    /// The user name of the worker: its address, and its name after a dot unless it is empty.
    pub id: String,
    /// The share counts.
    #[serde(flatten)]
    pub shares: Shares,
    /// The interface by which it mined last.
    pub interface: Interface,
    /// The number of present Stratum connections of the worker.
    pub connections: u32,
    /// When it connected, in Unix seconds; null if it has no Stratum connection.
    pub connected_since: Option<u32>,
    /// When it was first seen, in Unix seconds.
    pub first_seen: u32,
    /// When it was last active, in Unix seconds: by an accepted share, or a request for a template.
    pub last_seen: u32,
    /// The average time between two activities in seconds; null before the second.
    pub interval_seconds: Option<f64>,
    /// Whether it has been silent for ten times that, and for at least five minutes.
    pub silent: bool,
    /// The last difficulty of its shares since the node started. Over JSON-RPC and REST, that of the
    /// block.
    pub difficulty: Option<f64>,
    /// The highest difficulty that the hash of a share met; null before the first share.
    pub best_share: Option<f64>,
    /// The hash rate in hashes a second, estimated from the shares of the last ten minutes.
    pub hashrate: f64,
    /// The hash rate of the last minute. Each of these is an exponential average with that time
    /// constant.
    pub hashrate_1m: f64,
    /// The hash rate of the last hour.
    pub hashrate_1h: f64,
    /// The hash rate of the last day.
    pub hashrate_1d: f64,
    /// The number of blocks that the accepted shares were expected to contain.
    pub expected_blocks: f64,
    /// Found blocks divided by expected ones; null before the first share.
    pub luck: Option<f64>,
    /// The expected time to a block in seconds at the hash rate of the last hour and the present
    /// difficulty; null without a hash rate. An average: past hashes bring no block nearer.
    pub expected_seconds: Option<f64>,
    /// The rewards, subsidy and fees, of its blocks in the best chain, in base units. A block is
    /// final once its reward is spendable.
    #[schemars(with = "crate::api::openapi::schema::Units")]
    pub earnings: u64,
}

/// A worker that has become silent, or active again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct WorkerEvent {
    /// The user name of the worker: its address, and its name after a dot unless it is empty.
    pub worker: String,
    /// The address that its blocks pay.
    pub address: String,
    /// The name of the worker; may be empty.
    pub name: String,
    /// When it was last active, in Unix seconds.
    pub last_seen: u32,
    /// The average time between two activities in seconds.
    pub interval_seconds: Option<f64>,
    /// The number of present Stratum connections of the worker.
    pub connections: u32,
}
