//! The chain as a whole: where it stands, what its rules are, where it branches.

use crate::api::http::content::Json;
use crate::api::http::response::{Answer, read};
use crate::api::openapi::route::{Table, get};
use crate::api::openapi::schema::{AddressText, Bits, BlockHash, Digest, Units};
use crate::api::routes::dev;
use crate::difficulty;
use crate::state::NodeState;
use axum::extract::State;
use axum::response::Response;
use chain::ledger::{ChainTipStatus, View};
use chain::params::Spec;
use chain::{Height, Params, block_index};
use p2p::engine::{self, Progress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        get("/v1/chain", "Where the chain stands", chain).shows::<Chain>(),
        get("/v1/chain/params", "The network's parameters", params).shows::<Parameters>(),
        get("/v1/chain/tips", "The ends of all branches, the best first", tips).shows::<Vec<Tip>>(),
    ])
}

/// Intervals between blocks that estimates look at.
const WINDOW: u32 = 100;
/// Fewer say nothing about the pace.
const LEAST_INTERVALS: usize = 11;

/// Where the chain stands.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Chain {
    /// The network's name.
    pub network: String,
    /// The hash of its first block.
    #[schemars(with = "BlockHash")]
    pub genesis: String,
    /// The tip's height.
    pub height: u32,
    /// The tip's hash.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The tip's time.
    pub tip_time: u32,
    /// The tip's bits: 8 hexadecimal digits.
    #[schemars(with = "Bits")]
    pub bits: String,
    /// The target they stand for: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub target: String,
    /// How many times as hard as bits 1d00ffff.
    pub difficulty: f64,
    /// Expected hashes of the whole chain: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub chain_work: String,
    /// Base units that exist.
    #[schemars(with = "Units")]
    pub issued: u64,
    /// Seconds between recent blocks; none while there are few.
    pub median_block_seconds: Option<f64>,
    /// Hashes a second behind recent blocks; none without blocks.
    pub hashrate_estimate: Option<f64>,
    /// Whether this node is up to date.
    pub sync: Sync,
    /// What waits for a block.
    pub mempool: Waiting,
    /// Connected nodes.
    pub peers: usize,
    /// Of this program.
    pub version: String,
    /// Since the node started.
    pub uptime_seconds: u64,
    /// Who may use which interface.
    pub apis: BTreeMap<String, Access>,
}

/// How far this node is behind the others.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SyncProgress")]
pub struct Sync {
    /// What it is doing about it.
    pub state: SyncState,
    /// Height of the best header known.
    pub best_header_height: u32,
    /// From 0 to 1.
    pub progress: f64,
}

/// Stages of catching up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// Nothing is missing as far as is known.
    Synced,
    /// It asks others for headers.
    Headers,
    /// It asks others for the blocks of the headers it has.
    Blocks,
}

impl Sync {
    /// As peers have it, of a chain of this height.
    pub fn of(progress: Progress, height: Height) -> Sync {
        let best = progress.best_header.max(height);
        let (done, all) = (height.get().saturating_add(1), best.get().saturating_add(1));
        let state = match progress.state {
            engine::SyncState::Synced => SyncState::Synced,
            engine::SyncState::Headers => SyncState::Headers,
            engine::SyncState::Blocks => SyncState::Blocks,
        };
        let progress =
            if state == SyncState::Synced { 1.0 } else { f64::from(done) / f64::from(all) };
        Sync { state, best_header_height: best.get(), progress }
    }
}

/// Transfers in the pool.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MempoolSize")]
pub struct Waiting {
    /// How many.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// Who may use an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everyone who can reach it.
    Public,
    /// Whoever has the token.
    Protected,
    /// Nobody, on this network.
    Disabled,
}

/// Where the chain stands.
pub async fn chain(State(node): State<Arc<NodeState>>) -> Response {
    let uptime_seconds = node.started.elapsed().as_secs();
    let (peers, progress) = (node.peers.peer_count(), progress(&node));
    read(&node, |view| {
        let (params, tip) = (view.params(), view.tip());
        let mempool = Waiting { count: view.mempool().count(), bytes: view.mempool().bytes() };
        let target = tip.bits.target().ok();
        let sync = Sync::of(progress, tip.height);
        let Sync { state, best_header_height, .. } = sync;
        let pool = format!("{}-{}", mempool.count, mempool.bytes);
        let tag = format!("{pool}-{peers}-{state:?}-{best_header_height}");
        let chain = Chain {
            network: params.name().to_owned(),
            genesis: params.genesis_hash().to_string(),
            height: tip.height.get(),
            tip: tip.hash.to_string(),
            tip_time: tip.time.get(),
            bits: tip.bits.to_string(),
            target: target.map(|target| target.to_string()).unwrap_or_default(),
            difficulty: target.map_or(0.0, difficulty::of),
            chain_work: tip.chain_work.to_string(),
            issued: params.issued(tip.height).units(),
            median_block_seconds: median_block_seconds(view),
            hashrate_estimate: hashrate_estimate(view),
            sync,
            mempool,
            peers,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds,
            apis: apis(params),
        };
        Ok(Answer::new(Json(chain)).tagged(tag))
    })
}

/// How far this node is behind others.
pub(super) fn progress(node: &NodeState) -> Progress {
    let mut progress = *node.peers.progress().borrow();
    if node.peers.peer_count() == 0 && !node.readiness.requires_peer() {
        // There is nobody to be behind of.
        progress.state = engine::SyncState::Synced;
    }
    progress
}

fn apis(params: &Params) -> BTreeMap<String, Access> {
    let dev = match dev::is_available(params) {
        true => Access::Protected,
        false => Access::Disabled,
    };
    let public = [
        "chain",
        "blocks",
        "headers",
        "transactions",
        "accounts",
        "mempool",
        "fees",
        "mining",
        "peers",
        "bans",
        "events",
    ];
    let public = public.into_iter().map(|name| (name, Access::Public));
    public.chain([("dev", dev)]).map(|(name, access)| (name.to_owned(), access)).collect()
}

/// Recent blocks, newest first. Genesis was mined by nobody, so its time says nothing.
fn recent<'v>(view: &'v View) -> Vec<&'v block_index::BlockNode> {
    let top = view.tip().height.get();
    let heights = (1..=top).rev().take(WINDOW as usize + 1);
    heights.filter_map(|height| view.at_height(Height::new(height))).collect()
}

fn median_block_seconds(view: &View) -> Option<f64> {
    let recent = recent(view);
    let pairs = recent.windows(2);
    let mut seconds: Vec<i64> = pairs.map(|pair| pair[0].time.since(pair[1].time)).collect();
    if seconds.len() < LEAST_INTERVALS {
        return None;
    }
    seconds.sort_unstable();
    let (lower, upper) = (seconds[(seconds.len() - 1) / 2], seconds[seconds.len() / 2]);
    Some((lower + upper) as f64 / 2.0)
}

/// Hashes a second behind recent blocks.
pub(super) fn hashrate_estimate(view: &View) -> Option<f64> {
    let recent = recent(view);
    let (last, first) = (recent.first()?, recent.last()?);
    let seconds = last.time.since(first.time).max(1);
    let hashes = difficulty::hashes(first.chain_work, last.chain_work);
    (recent.len() > 1).then(|| hashes / seconds as f64)
}

/// A network's parameters, under the names of a network file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Parameters {
    /// Its name.
    pub name: String,
    /// The hash of its first block.
    #[schemars(with = "BlockHash")]
    pub genesis: String,
    /// What its addresses start with.
    pub hrp: String,
    /// Seconds between blocks that the difficulty aims at.
    pub spacing_seconds: u32,
    /// Seconds of deviation after which the difficulty has halved or doubled.
    pub half_life_seconds: u32,
    /// Whether every block has the genesis bits.
    pub fixed_difficulty: bool,
    /// The easiest target.
    #[schemars(with = "Bits")]
    pub limit_bits: String,
    /// The target of genesis and block 1.
    #[schemars(with = "Bits")]
    pub genesis_bits: String,
    /// The time of genesis.
    pub genesis_time: u32,
    /// Base units created by a block of the first era.
    #[schemars(with = "Units")]
    pub initial_subsidy: u64,
    /// Blocks until the subsidy halves.
    pub halving_interval: u32,
    /// Blocks until a reward can be spent.
    pub maturity: u32,
    /// Seconds that a block may be ahead of a node's clock.
    pub max_future_seconds: u32,
    /// Most bytes of an encoded block.
    pub max_block_bytes: u32,
    /// Who owns what from the beginning.
    pub allocations: Vec<Allocation>,
    /// The tag of the genesis coinbase.
    pub message: String,
    /// Nodes to begin with.
    pub boot_nodes: Vec<String>,
    /// Where nodes listen unless told otherwise.
    pub ports: Ports,
    /// Base units that will ever exist.
    #[schemars(with = "Units")]
    pub max_issuance: u64,
    /// What blocks create from which height on.
    pub subsidy_schedule: Vec<Era>,
}

/// What an address owns from the beginning.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Allocation {
    /// Whose.
    #[schemars(with = "AddressText")]
    pub address: String,
    /// Base units.
    #[schemars(with = "Units")]
    pub amount: u64,
}

/// Default ports.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    /// This interface.
    pub api: u16,
    /// Peers.
    pub peers: u16,
    /// Stratum.
    pub stratum: u16,
}

/// A stretch of the chain whose blocks create the same.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Era {
    /// Its first height.
    pub from_height: u32,
    /// Base units a block creates.
    #[schemars(with = "Units")]
    pub subsidy: u64,
}

/// The network's parameters.
pub async fn params(State(node): State<Arc<NodeState>>) -> Response {
    read(&node, |view| Ok(Answer::new(Json(parameters(view.params())))))
}

fn parameters(params: &Params) -> Parameters {
    let Spec {
        name,
        hrp,
        spacing_seconds,
        half_life_seconds,
        fixed_difficulty,
        limit_bits,
        genesis_bits,
        genesis_time,
        initial_subsidy,
        halving_interval,
        maturity,
        max_future_seconds,
        max_block_bytes,
        allocations,
        message,
        boot_nodes,
        ports,
    } = params.spec().clone();
    let allocations = allocations.into_iter().map(|(address, amount)| Allocation {
        address: address.encode(params.hrp()),
        amount: amount.units(),
    });
    Parameters {
        name,
        genesis: params.genesis_hash().to_string(),
        hrp,
        spacing_seconds,
        half_life_seconds,
        fixed_difficulty,
        limit_bits: limit_bits.to_string(),
        genesis_bits: genesis_bits.to_string(),
        genesis_time: genesis_time.get(),
        initial_subsidy: initial_subsidy.units(),
        halving_interval,
        maturity,
        max_future_seconds,
        max_block_bytes,
        allocations: allocations.collect(),
        message,
        boot_nodes,
        ports: Ports { api: ports.api, peers: ports.peers, stratum: ports.stratum },
        max_issuance: params.max_issuance().units(),
        subsidy_schedule: subsidy_schedule(params),
    }
}

/// Up to the height from which blocks create nothing, if there is one.
fn subsidy_schedule(params: &Params) -> Vec<Era> {
    let interval = params.spec().halving_interval;
    // Genesis creates nothing, so the first era begins after it.
    let starts = (0..=64).map_while(|era: u32| interval.checked_mul(era)).map(|start| start.max(1));
    let mut eras: Vec<Era> = Vec::new();
    for from_height in starts {
        let subsidy = params.subsidy(Height::new(from_height)).units();
        if eras.last().is_none_or(|last| last.subsidy != subsidy) {
            eras.push(Era { from_height, subsidy });
        }
    }
    eras
}

/// The end of a branch.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BranchTip")]
pub struct Tip {
    /// Its last block.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// The height of that.
    pub height: u32,
    /// Blocks that are not in the best chain.
    pub branch_length: u32,
    /// What is known of it.
    pub status: TipStatus,
    /// The rule it breaks, if it breaks one; `invalidated` if this node's operator did that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// What is known of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TipStatus {
    /// The best chain.
    Active,
    /// As good, but with no more work.
    ValidFork,
    /// It breaks a rule, or was invalidated by this node's operator.
    Invalid,
}

/// The ends of all branches, the best first.
pub async fn tips(State(node): State<Arc<NodeState>>) -> Response {
    read(&node, |view| {
        let tips = view.chain_tips().into_iter().map(|branch| {
            let (status, code) = match branch.status {
                ChainTipStatus::Active => (TipStatus::Active, None),
                ChainTipStatus::ValidFork => (TipStatus::ValidFork, None),
                ChainTipStatus::Invalidated => {
                    (TipStatus::Invalid, Some(dev::INVALIDATED.to_owned()))
                }
                ChainTipStatus::Invalid { rule } => {
                    (TipStatus::Invalid, Some(rule.code().to_owned()))
                }
            };
            Tip {
                hash: branch.hash.to_string(),
                height: branch.height.get(),
                branch_length: branch.branch_length,
                status,
                code,
            }
        });
        // A side branch may come without a change of the tip.
        Ok(Answer::new(Json(tips.collect::<Vec<_>>())).changing())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_ends_where_nothing_is_created() {
        let schedule = subsidy_schedule(&Params::main());
        assert_eq!(schedule.len(), 34);
        assert_eq!(schedule[0], Era { from_height: 1, subsidy: 5_000_000_000 });
        assert_eq!(schedule[1], Era { from_height: 210_000, subsidy: 2_500_000_000 });
        assert_eq!(schedule[33], Era { from_height: 33 * 210_000, subsidy: 0 });
    }

    #[test]
    fn a_schedule_of_single_blocks_has_each_height_once() {
        let spec = Spec { halving_interval: 1, ..Params::main().spec().clone() };
        let schedule = subsidy_schedule(&Params::new(spec).unwrap());
        assert_eq!(schedule[0], Era { from_height: 1, subsidy: 2_500_000_000 });
        assert_eq!(schedule[1].from_height, 2);
    }
}
