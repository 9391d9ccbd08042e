//! The parameters of a network: every number in which networks differ, and the genesis block that
//! commits to them. Times are in seconds, amounts in base units.
//! Source: PROTOCOL.md, "Networks" and "Genesis".

#![deny(clippy::arithmetic_side_effects)]

use crate::accounts::{Account, LtHash};
use crate::address::{Address, Hrp};
use crate::amount::{Amount, COIN};
use crate::block::{self, Block, Header, Height, Timestamp};
use crate::hash::sha256d;
use crate::merkle;
use crate::pow::{Bits, BitsError, Target};
use crate::tx::{Coinbase, MAX_TAG_BYTES, Tag, Transaction};
use std::collections::BTreeSet;

/// The specification of a network, which [`Params::new`] validates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The name of the network: 1 to 40 lower-case letters, digits and hyphens. It is also the name
    /// of the data directory.
    pub name: String,
    /// The human-readable part of addresses: 1 to 20 lower-case letters.
    pub hrp: String,
    /// The target time between two blocks, in seconds; at least 1.
    pub spacing_seconds: u32,
    /// The delay behind the schedule that doubles the target, in seconds: 5 to 1,000 times
    /// `spacing_seconds`. The solve time of a block counts as at most one half-life, so with a
    /// shorter one blocks are slower than the spacing, and at one spacing the difficulty only rises.
    pub half_life_seconds: u32,
    /// Whether the difficulty is fixed: then every block has the genesis bits.
    pub fixed_difficulty: bool,
    /// The easiest target that a block may have, as compact bits.
    pub limit_bits: Bits,
    /// The target of genesis and of block 1, as compact bits; not easier than `limit_bits`.
    pub genesis_bits: Bits,
    /// The time of the genesis block.
    pub genesis_time: Timestamp,
    /// The subsidy of a block before the first halving.
    pub initial_subsidy: Amount,
    /// The number of blocks between two halvings of the subsidy; at least 1.
    pub halving_interval: u32,
    /// The number of blocks after which a reward can be spent; at least 1.
    pub maturity: u32,
    /// The maximum time by which a block may be ahead of a node's clock, in seconds.
    pub max_future_seconds: u32,
    /// The maximum size of an encoded block, in bytes: within [`BLOCK_BYTES_RANGE`].
    pub max_block_bytes: u32,
    /// The balances after genesis, by address. Addresses are distinct, and no balance is zero.
    pub allocations: Vec<(Address, Amount)>,
    /// The tag of the genesis coinbase: at most [`MAX_TAG_BYTES`] bytes.
    pub message: String,
    /// The multiaddrs of the first nodes to dial. The genesis hash does not commit to them.
    pub boot_nodes: Vec<String>,
    /// The default ports of nodes. The genesis hash does not commit to them.
    pub ports: Ports,
}

/// The default TCP ports of the nodes of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The port of the REST API.
    pub api: u16,
    /// The port for peers.
    pub peers: u16,
    /// The port of the Stratum server.
    pub stratum: u16,
}

/// The ports of `main`, which custom networks have by default.
impl Default for Ports {
    fn default() -> Ports {
        Ports { api: 8400, peers: 8401, stratum: 3333 }
    }
}

/// The range of `max_block_bytes`: at least room for a few transfers, at most what peers transmit.
pub const BLOCK_BYTES_RANGE: std::ops::RangeInclusive<u32> = 1_000..=2_000_000;
/// The range of the half-life, as multiples of the spacing. At 5 the mean interval between blocks is
/// 2 % longer than the spacing, at 3 it is 11 %, and at 1 the difficulty can only rise.
const HALF_LIFE_RANGE: std::ops::RangeInclusive<u64> = 5..=1_000;
/// The maximum length of a network's name, in bytes.
const MAX_NAME_BYTES: usize = 40;
/// 2026-01-01 00:00:00 UTC: the genesis time of the built-in networks.
const GENESIS_TIME: Timestamp = Timestamp::new(1_767_225_600);

/// Accounts 0' to 9' of the public, worthless mnemonic
/// `test test test test test test test test test test test junk`.
const DEV_ACCOUNTS: [&str; 10] = [
    "dc40b213427a058ee6c2bc897bdd480537db3f4f",
    "5d7603d345f93e733e06edfab6eb1256e798db57",
    "2657044ff2462349949d0f0c9bca64ec4792ce52",
    "c807ce18180a5a97a67a7957475149ca5d0b2cab",
    "67162d8ff3e62e62ccb187ce23bba538e65e85c5",
    "93b3fb849deb0b93d273977348f7fdbc787a7e57",
    "82bf8e5db44432da7c615b5bda1999445a8375c1",
    "91b98f2830959605cef3ef3f80b1bf1d336733fd",
    "c3c41cbe1e356b6b41cda643d459a01e43663d7a",
    "9ebb514df6bb7c7ff4441dc39fd7301155728020",
];

/// The error of an invalid [`Spec`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// The name is empty, too long, or has other characters than lower-case letters, digits and
    /// hyphens.
    #[error("name must be 1 to {MAX_NAME_BYTES} lower-case letters, digits and hyphens, not {0:?}")]
    Name(String),
    /// The human-readable part is not 1 to 20 lower-case letters.
    #[error("hrp must be 1 to 20 lower-case letters, not {0:?}")]
    Hrp(String),
    /// The spacing is zero, or the half-life is too short or too long for the spacing.
    #[error(
        "spacing_seconds must be at least 1 and half_life_seconds {min} to {max} times that, not \
         {spacing_seconds} and {half_life_seconds}: with a shorter half-life the difficulty rises \
         faster than it can fall, and blocks become ever slower",
        min = HALF_LIFE_RANGE.start(), max = HALF_LIFE_RANGE.end()
    )]
    Timing {
        /// The invalid combination's spacing, in seconds.
        spacing_seconds: u32,
        /// The invalid combination's half-life, in seconds.
        half_life_seconds: u32,
    },
    /// `limit_bits` or `genesis_bits` do not encode a target.
    #[error("{field} {bits} is not a target: {reason}")]
    Bits {
        /// The name of the invalid field.
        field: &'static str,
        /// The bits that encode no target.
        bits: Bits,
        /// The reason why they encode no target.
        reason: BitsError,
    },
    /// `genesis_bits` are easier than `limit_bits`.
    #[error("genesis_bits {genesis} is easier than limit_bits {limit}")]
    GenesisAboveLimit {
        /// The value of `genesis_bits`.
        genesis: Bits,
        /// The value of `limit_bits`.
        limit: Bits,
    },
    /// `halving_interval` or `maturity`, whichever the value names, is zero.
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    /// `max_block_bytes` is outside [`BLOCK_BYTES_RANGE`].
    #[error("max_block_bytes must be {min} to {max}, not {0}", min = BLOCK_BYTES_RANGE.start(), max = BLOCK_BYTES_RANGE.end())]
    BlockBytes(u32),
    /// The message has more than [`MAX_TAG_BYTES`] bytes. The value is its length in bytes.
    #[error("message must be at most {MAX_TAG_BYTES} bytes, not {0}")]
    Message(usize),
    /// An address has two allocations, or an allocation is zero.
    #[error("allocations must go to distinct addresses, and none may be zero")]
    Allocations,
    /// The sum of all allocations and subsidies is above [`Amount::MAX`].
    #[error("all allocations and subsidies together are above {} base units", Amount::MAX.units())]
    Issuance,
}

/// The validated parameters of a network, with its genesis block.
///
/// ```
/// use chain::params::Spec;
/// use chain::{Height, Params};
///
/// let main = Params::main();
/// assert_eq!(main.subsidy(Height::new(1)).to_string(), "50");
/// assert_eq!(main.subsidy(Height::new(210_000)).to_string(), "25");
///
/// let spec = Spec { name: "fork".into(), ..main.spec().clone() };
/// let fork = Params::new(spec)?;
/// assert_ne!(fork.genesis_hash(), main.genesis_hash());
/// # Ok::<(), chain::params::ParamsError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Params {
    spec: Spec,
    hrp: Hrp,
    limit: Target,
    max_issuance: Amount,
    genesis: Block,
    genesis_hash: block::Hash,
    genesis_accounts_hash: LtHash,
}

impl Params {
    /// Validates a specification and builds its genesis block. Sorts the allocations by address.
    pub fn new(mut spec: Spec) -> Result<Params, ParamsError> {
        let name_byte =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=MAX_NAME_BYTES).contains(&spec.name.len()) || !spec.name.bytes().all(name_byte) {
            return Err(ParamsError::Name(spec.name));
        }
        let Some(hrp) = Hrp::new(&spec.hrp) else { return Err(ParamsError::Hrp(spec.hrp)) };
        let (spacing_seconds, half_life_seconds) = (spec.spacing_seconds, spec.half_life_seconds);
        let multiple = |times: &u64| times.saturating_mul(spacing_seconds.into());
        let range = multiple(HALF_LIFE_RANGE.start())..=multiple(HALF_LIFE_RANGE.end());
        if spacing_seconds == 0 || !range.contains(&half_life_seconds.into()) {
            return Err(ParamsError::Timing { spacing_seconds, half_life_seconds });
        }
        let target = |field, bits: Bits| {
            bits.target().map_err(|reason| ParamsError::Bits { field, bits, reason })
        };
        let limit = target("limit_bits", spec.limit_bits)?;
        if target("genesis_bits", spec.genesis_bits)? > limit {
            let (genesis, limit) = (spec.genesis_bits, spec.limit_bits);
            return Err(ParamsError::GenesisAboveLimit { genesis, limit });
        }
        for (field, value) in
            [("halving_interval", spec.halving_interval), ("maturity", spec.maturity)]
        {
            if value == 0 {
                return Err(ParamsError::Zero(field));
            }
        }
        if !BLOCK_BYTES_RANGE.contains(&spec.max_block_bytes) {
            return Err(ParamsError::BlockBytes(spec.max_block_bytes));
        }
        let tag = Tag::new(spec.message.clone().into_bytes())
            .ok_or(ParamsError::Message(spec.message.len()))?;
        spec.allocations.sort_by_key(|(address, _)| *address);
        let addresses: BTreeSet<_> = spec.allocations.iter().map(|(address, _)| address).collect();
        let any_zero = spec.allocations.iter().any(|(_, amount)| *amount == Amount::ZERO);
        if addresses.len() != spec.allocations.len() || any_zero {
            return Err(ParamsError::Allocations);
        }
        let max_issuance = max_issuance(&spec).ok_or(ParamsError::Issuance)?;

        let mut genesis_accounts_hash = LtHash::empty();
        for (address, balance) in &spec.allocations {
            genesis_accounts_hash.add(address, &Account { balance: *balance, nonce: 0 });
        }
        let genesis = genesis(&spec, tag, genesis_accounts_hash.digest());
        let genesis_hash = genesis.hash();
        Ok(Params { spec, hrp, limit, max_issuance, genesis, genesis_hash, genesis_accounts_hash })
    }

    /// The network `main`: a public network with a block every minute.
    pub fn main() -> Params {
        Params::new(Spec {
            name: "main".into(),
            hrp: "ch".into(),
            spacing_seconds: 60,
            half_life_seconds: 3_000,
            fixed_difficulty: false,
            limit_bits: Bits::new(0x1d00_ffff),
            genesis_bits: Bits::new(0x1d00_ffff),
            genesis_time: GENESIS_TIME,
            initial_subsidy: coins(50),
            halving_interval: 210_000,
            maturity: 100,
            max_future_seconds: 120,
            max_block_bytes: 2_000_000,
            allocations: Vec::new(),
            message: "chain main".into(),
            boot_nodes: Vec::new(),
            ports: Ports::default(),
        })
        .expect("the built-in network `main` is well-formed")
    }

    /// The network `testnet`: real proof of work, a block every five seconds.
    pub fn testnet() -> Params {
        Params::new(Spec {
            name: "testnet".into(),
            hrp: "tch".into(),
            spacing_seconds: 5,
            half_life_seconds: 125,
            limit_bits: Bits::new(0x1f00_ffff),
            genesis_bits: Bits::new(0x1e00_ffff),
            maturity: 10,
            max_future_seconds: 60,
            message: "chain testnet".into(),
            ports: Ports { api: 18_400, peers: 18_401, stratum: 13_333 },
            ..Params::main().spec
        })
        .expect("the built-in network `testnet` is well-formed")
    }

    /// The network `dev` for development: a minimal proof of work and ten funded accounts.
    pub fn dev() -> Params {
        let account = |text: &&str| {
            let mut bytes = [0; 20];
            hex::decode_to_slice(text, &mut bytes).expect("the addresses above are hexadecimal");
            (Address::from_bytes(bytes), coins(10_000))
        };
        Params::new(Spec {
            name: "dev".into(),
            hrp: "dch".into(),
            spacing_seconds: 1,
            half_life_seconds: 60,
            fixed_difficulty: true,
            limit_bits: Bits::new(0x207f_ffff),
            genesis_bits: Bits::new(0x207f_ffff),
            maturity: 1,
            max_future_seconds: 7_200,
            message: "chain dev".into(),
            ports: Ports { api: 28_400, peers: 28_401, stratum: 23_333 },
            allocations: DEV_ACCOUNTS.iter().map(account).collect(),
            ..Params::main().spec
        })
        .expect("the built-in network `dev` is well-formed")
    }

    /// The built-in networks: `main`, `testnet` and `dev`.
    pub fn built_in() -> [Params; 3] {
        [Params::main(), Params::testnet(), Params::dev()]
    }

    /// The specification, with its allocations sorted by address.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The name of the network.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The human-readable part of the network's addresses.
    pub fn hrp(&self) -> Hrp {
        self.hrp
    }

    /// The easiest target that a block may have.
    pub fn limit(&self) -> Target {
        self.limit
    }

    /// The sum of all allocations and subsidies: the most that can ever exist.
    pub fn max_issuance(&self) -> Amount {
        self.max_issuance
    }

    /// The genesis block, with which every chain of this network starts.
    pub fn genesis(&self) -> &Block {
        &self.genesis
    }

    /// The hash of the genesis block, which identifies the network.
    pub fn genesis_hash(&self) -> block::Hash {
        self.genesis_hash
    }

    /// The commitment to the accounts after genesis, which are the allocations.
    pub fn genesis_accounts_hash(&self) -> &LtHash {
        &self.genesis_accounts_hash
    }

    /// The subsidy of the block at a height; zero for genesis.
    pub fn subsidy(&self, height: Height) -> Amount {
        if height == Height::GENESIS {
            return Amount::ZERO;
        }
        let era = height.get().checked_div(self.spec.halving_interval).unwrap_or(u32::MAX);
        subsidy_of_era(&self.spec, era)
    }

    /// The sum of the allocations and of all subsidies up to a height, mature or not.
    pub fn issued(&self, height: Height) -> Amount {
        let mut issued: Amount = self
            .spec
            .allocations
            .iter()
            .try_fold(Amount::ZERO, |sum, (_, amount)| sum.checked_add(*amount))
            .expect("`new` checked the sum of all issuance");
        // Genesis is in era 0 and creates nothing, so count heights 1 to `height`.
        let interval = u64::from(self.spec.halving_interval);
        let end = u64::from(height.get()).saturating_add(1);
        for era in 0..64_u32 {
            let start = u64::from(era).saturating_mul(interval).max(1);
            let stop = u64::from(era).saturating_add(1).saturating_mul(interval).min(end);
            let Some(blocks) = stop.checked_sub(start) else { break };
            let created = subsidy_of_era(&self.spec, era)
                .units()
                .checked_mul(blocks)
                .and_then(Amount::new)
                .and_then(|created| issued.checked_add(created));
            issued = created.expect("`new` checked the sum of all issuance");
        }
        issued
    }
}

fn coins(coins: u64) -> Amount {
    coins.checked_mul(COIN).and_then(Amount::new).expect("a built-in amount is in range")
}

fn subsidy_of_era(spec: &Spec, era: u32) -> Amount {
    let units = spec.initial_subsidy.units().checked_shr(era).unwrap_or(0);
    Amount::new(units).expect("shifting right never makes an amount larger")
}

/// The sum of the allocations and of the subsidies of all eras; `None` above `Amount::MAX`.
fn max_issuance(spec: &Spec) -> Option<Amount> {
    let mut sum = Amount::ZERO;
    for (_, amount) in &spec.allocations {
        sum = sum.checked_add(*amount)?;
    }
    for era in 0..64 {
        // Genesis is in the first era and has no subsidy.
        let blocks = spec.halving_interval.checked_sub(u32::from(era == 0))?;
        let units = subsidy_of_era(spec, era).units().checked_mul(u64::from(blocks))?;
        sum = sum.checked_add(Amount::new(units)?)?;
    }
    Some(sum)
}

/// Builds the genesis block. Its `previous` commits to every parameter, and so does its hash.
fn genesis(spec: &Spec, tag: Tag, commitment: [u8; 32]) -> Block {
    let coinbase = Coinbase {
        height: Height::GENESIS,
        extra_nonce: [0; 8],
        tag,
        reward: 0,
        recipient: Address::ZERO,
        commitment,
    };
    let header = Header {
        version: Header::VERSION,
        previous: block::Hash::from_bytes(sha256d(&encode(spec))),
        merkle_root: merkle::root(&[coinbase.id()]),
        time: spec.genesis_time,
        bits: spec.genesis_bits,
        nonce: 0,
    };
    Block { header, transactions: vec![Transaction::Coinbase(coinbase)] }
}

/// Encodes the parameters that genesis commits to: borsh, in the order of PROTOCOL.md, "Genesis".
fn encode(spec: &Spec) -> Vec<u8> {
    let length = |length: usize| u32::try_from(length).expect("short").to_le_bytes();
    let mut bytes = Vec::new();
    for text in [&spec.name, &spec.hrp] {
        bytes.extend_from_slice(&length(text.len()));
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&spec.spacing_seconds.to_le_bytes());
    bytes.extend_from_slice(&spec.half_life_seconds.to_le_bytes());
    bytes.push(u8::from(spec.fixed_difficulty));
    bytes.extend_from_slice(&spec.limit_bits.raw().to_le_bytes());
    bytes.extend_from_slice(&spec.genesis_bits.raw().to_le_bytes());
    bytes.extend_from_slice(&spec.genesis_time.get().to_le_bytes());
    bytes.extend_from_slice(&spec.initial_subsidy.units().to_le_bytes());
    for number in
        [spec.halving_interval, spec.maturity, spec.max_future_seconds, spec.max_block_bytes]
    {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&length(spec.allocations.len()));
    for (address, amount) in &spec.allocations {
        bytes.extend_from_slice(address.as_bytes());
        bytes.extend_from_slice(&amount.units().to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_issuance_of_built_in_networks() {
        assert_eq!(Params::main().max_issuance().units(), 2_099_994_997_690_000);
        assert_eq!(Params::testnet().max_issuance().units(), 2_099_994_997_690_000);
        assert_eq!(Params::dev().max_issuance().units(), 2_109_994_997_690_000);
    }

    // C43
    #[test]
    fn subsidy_halves_to_zero_and_adds_up() {
        let params = Params::main();
        let subsidy = |height| params.subsidy(Height::new(height)).units();
        assert_eq!(subsidy(0), 0);
        assert_eq!(subsidy(1), 50 * COIN);
        assert_eq!(subsidy(209_999), 50 * COIN);
        assert_eq!(subsidy(210_000), 25 * COIN);
        assert_eq!(subsidy(32 * 210_000), 1);
        assert_eq!(subsidy(33 * 210_000), 0);
        assert_eq!(subsidy(u32::MAX), 0);

        let issued = |height| params.issued(Height::new(height)).units();
        assert_eq!(issued(0), 0);
        assert_eq!(issued(1), 50 * COIN);
        assert_eq!(issued(210_000), 209_999 * 50 * COIN + 25 * COIN);
        assert_eq!(issued(u32::MAX), params.max_issuance().units());
        assert_eq!(Params::dev().issued(Height::GENESIS).units(), 100_000 * COIN);
    }

    #[test]
    fn subsidy_is_zero_from_a_shift_of_64_on() {
        let spec = Spec { halving_interval: 1, ..Params::main().spec };
        let params = Params::new(spec).unwrap();
        for height in [64, 65, 127, 1_000_000] {
            assert_eq!(params.subsidy(Height::new(height)), Amount::ZERO);
        }
    }

    // C29, C46
    #[test]
    fn every_parameter_changes_the_genesis_hash() {
        let original = Params::dev();
        let changes: [fn(&mut Spec); 15] = [
            |spec| spec.name = "dev-2".into(),
            |spec| spec.hrp = "dc".into(),
            |spec| spec.spacing_seconds = 2,
            |spec| spec.half_life_seconds = 61,
            |spec| spec.fixed_difficulty = false,
            |spec| {
                spec.genesis_bits = Bits::new(0x207f_0000);
                spec.limit_bits = Bits::new(0x207f_fffe);
            },
            |spec| spec.genesis_bits = Bits::new(0x1f00_ffff),
            |spec| spec.genesis_time = Timestamp::new(1),
            |spec| spec.initial_subsidy = coins(49),
            |spec| spec.halving_interval = 2,
            |spec| spec.maturity = 2,
            |spec| spec.max_future_seconds = 1,
            |spec| spec.max_block_bytes = 1_000,
            |spec| spec.message = "other".into(),
            |spec| spec.allocations[0].1 = coins(1),
        ];
        let mut hashes = BTreeSet::from([original.genesis_hash()]);
        for change in changes {
            let mut spec = original.spec().clone();
            change(&mut spec);
            assert!(hashes.insert(Params::new(spec).unwrap().genesis_hash()));
        }
        let mut same = original.spec().clone();
        same.boot_nodes.push("/ip4/127.0.0.1/tcp/8401".into());
        same.allocations.reverse();
        assert_eq!(Params::new(same).unwrap().genesis_hash(), original.genesis_hash());
    }

    // At a half-life of one spacing the difficulty could only rise, and the chain stopped.
    #[test]
    fn half_life_is_at_least_five_spacings() {
        let with = |spacing_seconds, half_life_seconds| {
            Params::new(Spec { spacing_seconds, half_life_seconds, ..Params::main().spec })
        };
        for (spacing, half_life) in [(2, 2), (10, 49), (u32::MAX, u32::MAX), (1 << 30, u32::MAX)] {
            let error = with(spacing, half_life).unwrap_err();
            let expected =
                ParamsError::Timing { spacing_seconds: spacing, half_life_seconds: half_life };
            assert_eq!(error, expected);
            let text = error.to_string();
            assert!(text.contains("half_life_seconds 5 to 1000 times"), "{text}");
        }
        for (spacing, half_life) in [(1, 5), (10, 50), (10, 10_000), (858_993_459, u32::MAX)] {
            assert!(with(spacing, half_life).is_ok(), "{spacing} {half_life}");
        }
    }

    #[test]
    fn rejects_invalid_specs() {
        let error_of = |change: fn(&mut Spec)| {
            let mut spec = Params::dev().spec;
            change(&mut spec);
            Params::new(spec).unwrap_err()
        };
        assert!(matches!(error_of(|spec| spec.name = "../x".into()), ParamsError::Name(_)));
        assert!(matches!(error_of(|spec| spec.name = String::new()), ParamsError::Name(_)));
        assert!(matches!(error_of(|spec| spec.hrp = "DCH".into()), ParamsError::Hrp(_)));
        assert!(matches!(error_of(|spec| spec.spacing_seconds = 0), ParamsError::Timing { .. }));
        assert!(matches!(error_of(|spec| spec.half_life_seconds = 0), ParamsError::Timing { .. }));
        assert!(matches!(
            error_of(|spec| spec.half_life_seconds = 1_001),
            ParamsError::Timing { .. }
        ));
        assert!(matches!(
            error_of(|spec| spec.limit_bits = Bits::new(0)),
            ParamsError::Bits { .. }
        ));
        assert!(matches!(
            error_of(|spec| spec.limit_bits = Bits::new(0x1d00_ffff)),
            ParamsError::GenesisAboveLimit { .. }
        ));
        assert_eq!(error_of(|spec| spec.maturity = 0), ParamsError::Zero("maturity"));
        assert_eq!(
            error_of(|spec| spec.halving_interval = 0),
            ParamsError::Zero("halving_interval")
        );
        assert_eq!(error_of(|spec| spec.max_block_bytes = 999), ParamsError::BlockBytes(999));
        assert_eq!(
            error_of(|spec| spec.max_block_bytes = 2_000_001),
            ParamsError::BlockBytes(2_000_001)
        );
        assert_eq!(error_of(|spec| spec.message = "x".repeat(41)), ParamsError::Message(41));
        assert_eq!(error_of(|spec| spec.allocations[0].1 = Amount::ZERO), ParamsError::Allocations);
        assert_eq!(
            error_of(|spec| spec.allocations.push(spec.allocations[0])),
            ParamsError::Allocations
        );
        assert_eq!(error_of(|spec| spec.halving_interval = u32::MAX), ParamsError::Issuance);
    }
}
