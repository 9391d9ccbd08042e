//! The chain as a whole: its state, its parameters and its branches.

use crate::api::http::content::Json;
use crate::api::http::extract::Query;
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::Problem;
use crate::api::http::response::{ReadResponse, read, read_blocking};
use crate::api::openapi::route::{Routes, get};
use crate::api::openapi::schema::{AddressText, Bits, BlockHash, Digest, Units};
use crate::api::routes::dev;
use crate::difficulty;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chain::hash::sha256;
use chain::ledger::{ChainTip, ChainTipStatus, TipPosition, View};
use chain::params::Spec;
use chain::{Height, Params, block_index};
use p2p::engine::{self, Progress};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([
        get("/v1/chain", "Get the state of the chain", chain).returns::<Chain>(),
        get("/v1/chain/params", "Get the network parameters", params).returns::<Parameters>(),
        get("/v1/chain/tips", "List the tips of all branches, best first", tips)
            .returns_page::<Tip>(&[List::ChainTips]),
    ])
}

/// Block intervals used for estimates.
pub(super) const RECENT_BLOCKS: u32 = 100;
/// Smallest number of intervals for a median.
const MIN_INTERVALS: usize = 11;

/// The state of the chain.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Chain {
    /// The network name.
    pub network: String,
    /// The hash of the genesis block.
    #[schemars(with = "BlockHash")]
    pub genesis: String,
    /// The height of the tip.
    pub height: u32,
    /// The hash of the tip.
    #[schemars(with = "BlockHash")]
    pub tip: String,
    /// The time of the tip, Unix seconds.
    pub tip_time: u32,
    /// The compact target of the tip: 8 hexadecimal digits.
    #[schemars(with = "Bits")]
    pub bits: String,
    /// The target of the tip: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub target: String,
    /// The difficulty of the tip relative to bits 1d00ffff.
    pub difficulty: f64,
    /// The expected number of hashes of the whole chain: 64 hexadecimal digits.
    #[schemars(with = "Digest")]
    pub chain_work: String,
    /// The supply issued so far, in base units.
    #[schemars(with = "Units")]
    pub issued: u64,
    /// The median of recent block intervals in seconds; null with too few blocks.
    pub median_block_seconds: Option<f64>,
    /// The estimated hash rate of the network in hashes per second; null without blocks.
    pub hashrate_estimate: Option<f64>,
    /// The sync progress of this node.
    pub sync: SyncProgress,
    /// Why no block can be mined at present; null if one can.
    pub waiting: Option<String>,
    /// The seconds by which the clocks of peers are ahead of this machine's; null unless most peers
    /// disagree with it by more than a minute.
    pub clock_skew_seconds: Option<i64>,
    /// The size of the mempool.
    pub mempool: MempoolSize,
    /// The number of connected peers.
    pub peers: usize,
    /// The version of this program.
    pub version: String,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
    /// The access level of each group of routes.
    pub apis: BTreeMap<String, Access>,
}

/// The sync progress of a node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "SyncProgress")]
pub struct SyncProgress {
    /// The sync state.
    pub state: SyncState,
    /// The height of the best known header.
    pub best_header_height: u32,
    /// The progress from 0 to 1.
    pub progress: f64,
}

/// The sync state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// All known blocks are present.
    Synced,
    /// Downloading headers.
    Headers,
    /// Downloading the blocks of known headers.
    Blocks,
}

impl SyncProgress {
    /// The progress of the sync machine for a chain of this height.
    pub fn of(progress: Progress, height: Height) -> SyncProgress {
        let best = progress.best_header.max(height);
        let (done, all) = (height.get().saturating_add(1), best.get().saturating_add(1));
        let state = match progress.state {
            engine::SyncState::Synced => SyncState::Synced,
            engine::SyncState::Headers => SyncState::Headers,
            engine::SyncState::Blocks => SyncState::Blocks,
        };
        let progress =
            if state == SyncState::Synced { 1.0 } else { f64::from(done) / f64::from(all) };
        SyncProgress { state, best_header_height: best.get(), progress }
    }
}

/// The progress of the initial sync.
#[derive(Debug, Serialize, JsonSchema)]
pub struct SyncEvent {
    /// The height of the tip.
    pub height: u32,
    #[serde(flatten)]
    pub sync: SyncProgress,
}

/// The number and size of the transfers in the mempool.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MempoolSize")]
pub struct MempoolSize {
    /// The number of transfers.
    pub count: usize,
    /// Their encoded size in bytes.
    pub bytes: u64,
}

/// The access level of a group of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Open to every client.
    Public,
    /// Requires the token.
    Protected,
    /// Not available on this network.
    Disabled,
}

pub async fn chain(State(node): State<Arc<NodeState>>) -> Response {
    let uptime_seconds = node.started.elapsed().as_secs();
    let (peers, progress) = (node.peers.peer_count(), progress(&node));
    let clock_skew_seconds = node.peers.clock_skew();
    let waiting = node.readiness.reason().map(|reason| reason.to_string());
    read(&node, |view| {
        let (params, tip) = (view.params(), view.tip());
        let mempool = MempoolSize { count: view.mempool().count(), bytes: view.mempool().bytes() };
        let target = tip.bits.target().ok();
        let sync = SyncProgress::of(progress, tip.height);
        let SyncProgress { state, best_header_height, .. } = sync;
        let pool = format!("{}-{}", mempool.count, mempool.bytes);
        let skew = clock_skew_seconds.unwrap_or_default();
        let reason = hex::encode(&sha256(waiting.as_deref().unwrap_or_default().as_bytes())[..4]);
        let tag = format!("{pool}-{peers}-{state:?}-{best_header_height}-{reason}-{skew}");
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
            waiting,
            clock_skew_seconds,
            mempool,
            peers,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds,
            apis: apis(params),
        };
        Ok(ReadResponse::new(Json(chain)).tagged(tag))
    })
}

/// The sync progress; without peers, a node that needs none is synced.
pub(super) fn progress(node: &NodeState) -> Progress {
    let mut progress = *node.peers.progress().borrow();
    if node.peers.peer_count() == 0 && !node.readiness.requires_peer() {
        // There is no peer to sync from.
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

/// Recent blocks, newest first. Genesis is excluded: its time is not that of mining.
fn recent<'v>(view: &'v View) -> Vec<&'v block_index::BlockNode> {
    let top = view.tip().height.get();
    let heights = (1..=top).rev().take(RECENT_BLOCKS as usize + 1);
    heights.filter_map(|height| view.at_height(Height::new(height))).collect()
}

fn median_block_seconds(view: &View) -> Option<f64> {
    let recent = recent(view);
    let pairs = recent.windows(2);
    let mut seconds: Vec<i64> = pairs.map(|pair| pair[0].time.since(pair[1].time)).collect();
    if seconds.len() < MIN_INTERVALS {
        return None;
    }
    seconds.sort_unstable();
    let (lower, upper) = (seconds[(seconds.len() - 1) / 2], seconds[seconds.len() / 2]);
    Some((lower + upper) as f64 / 2.0)
}

/// The hash rate in hashes per second, estimated from recent blocks.
pub(super) fn hashrate_estimate(view: &View) -> Option<f64> {
    hashrate(view, view.tip().height, RECENT_BLOCKS)
}

/// The hash rate in hashes per second, estimated from a number of block intervals up to a height of
/// the best chain. Genesis is excluded: its time is not that of mining.
pub(super) fn hashrate(view: &View, top: Height, blocks: u32) -> Option<f64> {
    let first = Height::new(top.get().saturating_sub(blocks).max(1));
    let (first, last) = (view.at_height(first)?, view.at_height(top)?);
    let seconds = last.time.since(first.time).max(1);
    let hashes = difficulty::hashes(first.chain_work, last.chain_work);
    (first.height < last.height).then(|| hashes / seconds as f64)
}

/// The parameters of a network, named as in a network file.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Parameters {
    /// The network name.
    pub name: String,
    /// The hash of the genesis block.
    #[schemars(with = "BlockHash")]
    pub genesis: String,
    /// The human-readable prefix of addresses.
    pub hrp: String,
    /// The target block interval in seconds.
    pub spacing_seconds: u32,
    /// The deviation in seconds that halves or doubles the difficulty.
    pub half_life_seconds: u32,
    /// Whether every block has the genesis bits.
    pub fixed_difficulty: bool,
    /// The easiest target.
    #[schemars(with = "Bits")]
    pub limit_bits: String,
    /// The target of genesis and block 1.
    #[schemars(with = "Bits")]
    pub genesis_bits: String,
    /// The time of the genesis block, Unix seconds.
    pub genesis_time: u32,
    /// The subsidy of a block of the first era, in base units.
    #[schemars(with = "Units")]
    pub initial_subsidy: u64,
    /// The number of blocks until the subsidy halves.
    pub halving_interval: u32,
    /// The number of confirmations until a block reward can be spent.
    pub maturity: u32,
    /// How far the time of a block may be ahead of a node's clock, in seconds.
    pub max_future_seconds: u32,
    /// The largest encoded size of a block in bytes.
    pub max_block_bytes: u32,
    /// The balances in the genesis block.
    pub allocations: Vec<Allocation>,
    /// The tag of the genesis coinbase.
    pub message: String,
    /// The addresses of the boot nodes.
    pub boot_nodes: Vec<String>,
    /// The default ports.
    pub ports: Ports,
    /// The largest supply that will ever be issued, in base units.
    #[schemars(with = "Units")]
    pub max_issuance: u64,
    /// The subsidy of each era.
    pub subsidy_schedule: Vec<Era>,
}

/// A balance in the genesis block.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Allocation {
    /// The address.
    #[schemars(with = "AddressText")]
    pub address: String,
    /// The amount in base units.
    #[schemars(with = "Units")]
    pub amount: u64,
}

/// The default ports of a network.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Ports {
    /// The REST API.
    pub api: u16,
    /// Peer-to-peer connections.
    pub peers: u16,
    /// Stratum.
    pub stratum: u16,
}

/// A range of heights with the same subsidy.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Era {
    /// The first height of the era.
    pub from_height: u32,
    /// The subsidy of a block in base units.
    #[schemars(with = "Units")]
    pub subsidy: u64,
}

pub async fn params(State(node): State<Arc<NodeState>>) -> Response {
    read(&node, |view| Ok(ReadResponse::new(Json(parameters(view.params())))))
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

/// The eras up to the first without a subsidy, if there is one.
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

/// The tip of a branch.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BranchTip")]
pub struct Tip {
    /// The hash of the tip.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// The height of the tip.
    pub height: u32,
    /// The number of blocks that are not in the best chain.
    pub branch_length: u32,
    /// The status of the branch.
    pub status: TipStatus,
    /// The code of the violated rule; `invalidated` for a branch invalidated by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

/// The status of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TipStatus {
    /// The best chain.
    Active,
    /// Valid, with no more work than the best chain.
    ValidFork,
    /// Invalid by a rule, or invalidated by the operator.
    Invalid,
}

pub async fn tips(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::ChainTips])?);
    let after = cursor.map(|Cursor { bound, position, .. }| match u32::try_from(position) {
        Ok(height) => TipPosition::Side(Height::new(height), bound),
        Err(_) => TipPosition::Active,
    });
    Ok(read_blocking(node, move |view| {
        let mut tips = view.chain_tips(after, limit.saturating_add(1));
        let more = tips.len() > limit;
        tips.truncate(limit);
        let next = tips.last().filter(|_| more).map(|last| {
            let (position, bound) = match last.position() {
                TipPosition::Active => (u64::MAX, last.hash),
                TipPosition::Side(height, hash) => (height.get().into(), hash),
            };
            Cursor { list: List::ChainTips, bound, position }.encode()
        });
        let items = tips.into_iter().map(Tip::of).collect();
        // A side branch may appear without a change of the tip.
        Ok(ReadResponse::page(Page { items, next }, &uri, limit).volatile())
    })
    .await)
}

impl Tip {
    fn of(branch: ChainTip) -> Tip {
        let (status, code) = match branch.status {
            ChainTipStatus::Active => (TipStatus::Active, None),
            ChainTipStatus::ValidFork => (TipStatus::ValidFork, None),
            ChainTipStatus::Invalidated => (TipStatus::Invalid, Some(dev::INVALIDATED.to_owned())),
            ChainTipStatus::Invalid { rule } => (TipStatus::Invalid, Some(rule.code().to_owned())),
        };
        Tip {
            hash: branch.hash.to_string(),
            height: branch.height.get(),
            branch_length: branch.branch_length,
            status,
            code,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsidy_schedule_ends_with_zero_subsidy() {
        let schedule = subsidy_schedule(&Params::main());
        assert_eq!(schedule.len(), 34);
        assert_eq!(schedule[0], Era { from_height: 1, subsidy: 5_000_000_000 });
        assert_eq!(schedule[1], Era { from_height: 210_000, subsidy: 2_500_000_000 });
        assert_eq!(schedule[33], Era { from_height: 33 * 210_000, subsidy: 0 });
    }

    #[test]
    fn subsidy_schedule_lists_each_height_once() {
        let spec = Spec { halving_interval: 1, ..Params::main().spec().clone() };
        let schedule = subsidy_schedule(&Params::new(spec).unwrap());
        assert_eq!(schedule[0], Era { from_height: 1, subsidy: 2_500_000_000 });
        assert_eq!(schedule[1].from_height, 2);
    }
}
