//! The account of one worker: its shares, hash rate, found blocks, activity and history.

use super::rate::{HashRates, Rates};
use chain::{Height, block};
use miner::stratum::{AcceptedShare, ShareOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Hours of history that an account keeps: two days.
const MAX_HOURS: usize = 48;
/// Seconds of an hour.
const HOUR: u32 = 3_600;
/// Most found blocks whose reward may still change.
const MAX_UNSETTLED: usize = 256;
/// The weight of the last interval in the average of the intervals between activities.
const INTERVAL_WEIGHT: f64 = 0.1;
/// A worker is silent after this many of its usual intervals …
const SILENT_INTERVALS: f64 = 10.0;
/// … and at least after this time, in seconds.
const MIN_SILENCE: f64 = 300.0;

/// The share counts of a worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Shares {
    /// The address that its blocks pay.
    pub address: String,
    /// The name of the worker; may be empty.
    pub name: String,
    /// Accepted shares. Over JSON-RPC and REST, which have no shares, accepted blocks.
    pub accepted: u64,
    /// The sum of the difficulties of accepted shares.
    pub accepted_difficulty: f64,
    /// Shares of an old job.
    pub stale: u64,
    /// Shares that were submitted before.
    pub duplicate: u64,
    /// Shares that did not meet their difficulty.
    pub low: u64,
    /// Malformed shares.
    pub invalid: u64,
    /// Accepted shares that solved a block.
    pub blocks: u64,
    /// When the last share was accepted, in Unix seconds.
    pub last_share: Option<u32>,
}

impl Shares {
    /// The number of rejected shares.
    pub fn rejected(&self) -> u64 {
        self.stale + self.duplicate + self.low + self.invalid
    }

    /// Counts a share.
    pub(super) fn count(&mut self, outcome: ShareOutcome, now: u32) {
        match outcome {
            ShareOutcome::Accepted(share) | ShareOutcome::Block(share) => {
                self.accepted += 1;
                self.accepted_difficulty += share.difficulty.get();
                self.blocks += u64::from(matches!(outcome, ShareOutcome::Block(_)));
                self.last_share = Some(now);
            }
            ShareOutcome::Stale => self.stale += 1,
            ShareOutcome::Duplicate => self.duplicate += 1,
            ShareOutcome::LowDifficulty => self.low += 1,
            ShareOutcome::Invalid => self.invalid += 1,
        }
    }
}

/// The interface by which a worker mines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "WorkerInterface")]
pub enum Interface {
    /// Stratum v1.
    #[default]
    Stratum,
    /// `getblocktemplate` and `submitblock`.
    JsonRpc,
    /// Templates and solutions of the REST API.
    Rest,
}

impl Interface {
    /// Every interface.
    pub const ALL: [Interface; 3] = [Interface::Stratum, Interface::JsonRpc, Interface::Rest];

    /// The name in metrics and the API.
    pub const fn name(self) -> &'static str {
        match self {
            Interface::Stratum => "stratum",
            Interface::JsonRpc => "json-rpc",
            Interface::Rest => "rest",
        }
    }
}

/// A block that a worker found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundBlock {
    /// Its hash.
    #[serde(with = "hash_text")]
    pub hash: block::Hash,
    /// Its height.
    pub height: u32,
    /// Its reward in base units.
    pub reward: u64,
}

/// Hashes of blocks as text.
mod hash_text {
    use chain::block;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(hash: &block::Hash, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<block::Hash, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

/// The shares of an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "WorkerHour")]
pub struct Hour {
    /// The start of the hour, Unix seconds.
    pub time: u32,
    /// Accepted shares.
    pub accepted: u64,
    /// The sum of their difficulties.
    pub accepted_difficulty: f64,
    /// Rejected shares.
    pub rejected: u64,
    /// Found blocks.
    pub blocks: u64,
}

/// The account of a worker, as it is stored. Times are Unix seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Account {
    #[serde(flatten)]
    pub shares: Shares,
    #[serde(default)]
    pub interface: Interface,
    /// The highest difficulty that a share met.
    #[serde(default)]
    pub best_share: f64,
    /// The blocks that the accepted shares were expected to contain.
    #[serde(default)]
    pub expected_blocks: f64,
    /// When the worker was first seen.
    #[serde(default)]
    pub first_seen: u32,
    /// When the worker was last active: by an accepted share, or a request for a template.
    #[serde(default)]
    pub last_seen: u32,
    /// The average time between two activities in seconds; `None` before the second.
    #[serde(default)]
    pub interval: Option<f64>,
    /// Whether the worker has been silent for long.
    #[serde(default)]
    pub is_silent: bool,
    #[serde(default)]
    rates: HashRates,
    /// The rewards of found blocks below those of `unsettled`, in base units.
    #[serde(default)]
    settled: u64,
    /// Found blocks that may yet leave or join the best chain, oldest first.
    #[serde(default)]
    unsettled: Vec<FoundBlock>,
    /// The history, oldest first. In a stored change, its end only.
    #[serde(default)]
    pub hours: VecDeque<Hour>,
}

impl Account {
    pub(super) fn new(address: String, name: String, interface: Interface, now: u32) -> Account {
        Account {
            shares: Shares { address, name, ..Shares::default() },
            interface,
            first_seen: now,
            last_seen: now,
            rates: HashRates::new(now),
            ..Account::default()
        }
    }

    /// Whether a share of the worker was accepted.
    pub(super) fn is_proven(&self) -> bool {
        self.shares.accepted > 0
    }

    /// Counts a share, and the block if it is one.
    pub(super) fn count(&mut self, outcome: ShareOutcome, block: Option<FoundBlock>, now: u32) {
        self.shares.count(outcome, now);
        let hour = self.hour(now);
        match outcome {
            ShareOutcome::Accepted(share) | ShareOutcome::Block(share) => {
                hour.accepted += 1;
                hour.accepted_difficulty += share.difficulty.get();
                hour.blocks += u64::from(matches!(outcome, ShareOutcome::Block(_)));
                self.count_work(share, now);
                self.record_activity(now);
            }
            _ => hour.rejected += 1,
        }
        self.unsettled.extend(block);
    }

    fn count_work(&mut self, share: AcceptedShare, now: u32) {
        self.best_share = self.best_share.max(share.achieved);
        self.expected_blocks += share.difficulty.get() / share.network;
        self.rates.add(share.difficulty.expected_hashes(), now);
    }

    /// The present hour of the history. The clock may have been set back: hours only go forward.
    fn hour(&mut self, now: u32) -> &mut Hour {
        let time = now - now % HOUR;
        let last = self.hours.pop_back().unwrap_or_default();
        if last.time >= time {
            self.hours.push_back(last);
        } else {
            if last.time > 0 {
                self.hours.push_back(last);
            }
            if self.hours.len() >= MAX_HOURS {
                self.hours.pop_front();
            }
            self.hours.push_back(Hour { time, ..Hour::default() });
        }
        let last = self.hours.len() - 1;
        &mut self.hours[last]
    }

    /// Records that the worker was active. The time that it was silent is none of its usual intervals.
    pub(super) fn record_activity(&mut self, now: u32) {
        let interval = f64::from(now.saturating_sub(self.last_seen));
        if !self.is_silent && self.first_seen < now {
            let usual = self.interval.unwrap_or(interval);
            self.interval = Some(usual + (interval - usual) * INTERVAL_WEIGHT);
        }
        self.last_seen = self.last_seen.max(now);
    }

    /// Whether the worker is silent for longer than is usual. The time until `start`, when the node
    /// did not run, does not count.
    pub(super) fn is_overdue(&self, start: u32, now: u32) -> bool {
        let silence = f64::from(now.saturating_sub(self.last_seen.max(start)));
        let usual = |interval: f64| (interval * SILENT_INTERVALS).max(MIN_SILENCE);
        self.interval.is_some_and(|interval| silence > usual(interval))
    }

    pub(super) fn rates(&self, now: u32) -> Rates {
        self.rates.rates(now)
    }

    /// The rewards of found blocks in the best chain, in base units.
    pub(super) fn earnings(&self, is_best: impl Fn(&FoundBlock) -> bool) -> u64 {
        let unsettled = self.unsettled.iter().filter(|block| is_best(block));
        unsettled.fold(self.settled, |sum, block| sum.saturating_add(block.reward))
    }

    /// Settles blocks that are at or below a height, or too many: those in the best chain are
    /// final. Returns whether there were any.
    pub(super) fn settle(&mut self, height: Height, is_best: impl Fn(&FoundBlock) -> bool) -> bool {
        let excess = self.unsettled.len().saturating_sub(MAX_UNSETTLED);
        let (mut index, mut settled) = (0, self.settled);
        let before = self.unsettled.len();
        self.unsettled.retain(|block| {
            index += 1;
            let is_final = index <= excess || block.height <= height.get();
            if is_final && is_best(block) {
                settled = settled.saturating_add(block.reward);
            }
            !is_final
        });
        self.settled = settled;
        self.unsettled.len() < before
    }

    /// The account as a change is stored: with the hours that may have changed since the last one.
    pub(super) fn change(&self) -> Account {
        let hours = self.hours.range(self.hours.len().saturating_sub(2)..).copied().collect();
        Account {
            shares: self.shares.clone(),
            rates: self.rates.clone(),
            unsettled: self.unsettled.clone(),
            hours,
            ..*self
        }
    }

    /// Restores an account: the state of a later change, and the history of both.
    pub(super) fn update(&mut self, change: Account) {
        let mut hours = std::mem::take(&mut self.hours);
        for hour in &change.hours {
            while hours.back().is_some_and(|last| last.time >= hour.time) {
                hours.pop_back();
            }
            hours.push_back(*hour);
        }
        while hours.len() > MAX_HOURS {
            hours.pop_front();
        }
        *self = Account { hours, ..change };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miner::stratum::Difficulty;

    const START: u32 = 1_800_000_000;

    fn share(difficulty: f64, achieved: f64, network: f64) -> AcceptedShare {
        AcceptedShare { difficulty: Difficulty::new(difficulty).unwrap(), achieved, network }
    }

    fn account() -> Account {
        Account::new("address".to_owned(), "rig".to_owned(), Interface::Stratum, START)
    }

    fn block(height: u32) -> FoundBlock {
        let hash = block::Hash::from_bytes([u8::try_from(height % 251).unwrap(); 32]);
        FoundBlock { hash, height, reward: 10 }
    }

    #[test]
    fn history_has_two_days_of_hours() {
        let mut account = account();
        for hour in 0..60 {
            account.count(ShareOutcome::Accepted(share(0.5, 1.0, 2.0)), None, START + hour * HOUR);
            account.count(ShareOutcome::Stale, None, START + hour * HOUR + 5);
        }
        // The clock was set back.
        account.count(ShareOutcome::Block(share(0.5, 3.0, 2.0)), Some(block(1)), START);
        assert_eq!(account.hours.len(), MAX_HOURS);
        let last = account.hours.back().unwrap();
        assert_eq!(
            (last.time, last.accepted, last.rejected, last.blocks),
            (START + 59 * HOUR, 2, 1, 1)
        );
        assert!(account.hours.iter().all(|hour| hour.time % HOUR == 0));
        assert_eq!((account.best_share, account.expected_blocks), (3.0, 15.25));
    }

    #[test]
    fn change_restores_an_account_and_keeps_its_history() {
        let mut account = account();
        for hour in 0..3 {
            account.count(ShareOutcome::Accepted(share(0.5, 1.0, 2.0)), None, START + hour * HOUR);
        }
        let mut restored = account.clone();
        account.count(ShareOutcome::Block(share(2.0, 9.0, 2.0)), Some(block(7)), START + 2 * HOUR);
        account.count(ShareOutcome::Duplicate, None, START + 3 * HOUR);
        // Shares may arrive before and after the full hour.
        let change = account.change();
        assert_eq!(change.hours.len(), 2);
        restored.update(change);
        assert_eq!(restored.shares, account.shares);
        assert_eq!((restored.best_share, restored.earnings(|_| true)), (9.0, 10));
        assert_eq!(restored.hours, account.hours);
    }

    #[test]
    fn rewards_count_while_their_block_is_in_the_best_chain() {
        let mut account = account();
        for height in 1..=300 {
            account.count(ShareOutcome::Block(share(1.0, 1.0, 1.0)), Some(block(height)), START);
        }
        assert_eq!(account.earnings(|block| block.height % 2 == 0), 1_500);
        // All but the newest are settled, of which half were in the best chain.
        assert!(account.settle(Height::new(0), |block| block.height % 2 == 0));
        assert_eq!(account.unsettled.len(), MAX_UNSETTLED);
        assert_eq!(account.earnings(|_| false), 220);
        assert!(account.settle(Height::new(299), |_| true));
        assert!(!account.settle(Height::new(299), |_| true));
        assert_eq!((account.unsettled.len(), account.earnings(|_| false)), (1, 220 + 2_550));
    }

    #[test]
    fn worker_is_silent_after_ten_usual_intervals_and_five_minutes() {
        let mut account = account();
        account.record_activity(START);
        assert!(!account.is_overdue(START, START + 1_000_000), "nothing is usual yet");
        for share in 1..100 {
            account.record_activity(START + share * 10);
        }
        let last = account.last_seen;
        assert!(!account.is_overdue(START, last + 300));
        assert!(account.is_overdue(START, last + 301));
        // The node was down, and has just started.
        assert!(!account.is_overdue(last + 10_000, last + 10_300));
        for share in 1..100 {
            account.record_activity(last + share * 60);
        }
        assert!(!account.is_overdue(START, account.last_seen + 590));
        assert!(account.is_overdue(START, account.last_seen + 601));
        account.is_silent = true;
        account.record_activity(account.last_seen + 1_000_000);
        assert!((59.0..61.0).contains(&account.interval.unwrap()), "{:?}", account.interval);
    }
}
