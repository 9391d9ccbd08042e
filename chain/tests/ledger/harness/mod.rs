//! A reference implementation of the ledger, without any optimisation: it stores a map of all
//! accounts for every block, and computes the commitment from all of them. It builds valid children
//! of any block, which a test may edit. Also the keys, networks and nodes of tests.

mod builder;
mod compare;
mod node;
mod reference;

pub(crate) use builder::BlockBuilder;
pub(crate) use node::{TestNode, copy_folder, interrupt_after, log_bytes, options};
pub(crate) use reference::{AccountState, Reference, add_seconds};

use chain::params::{Ports, Spec};
use chain::signature::SecretKey;
use chain::{Address, Amount, Bits, Params, Timestamp};

/// A key with its address.
#[derive(Clone, Debug)]
pub(crate) struct Wallet {
    pub(crate) key: SecretKey,
    pub(crate) address: Address,
}

/// Returns the wallet with a number. Wallets 0 to 9 are funded by genesis.
pub(crate) fn wallet(number: u8) -> Wallet {
    let key = SecretKey::from_seed([number; 32]);
    let address = key.public_key().address();
    Wallet { key, address }
}

/// The balance of wallets 0 to 9 after genesis, in base units.
pub(crate) const FUNDS: u64 = 1_000_000;

/// The network `dev` with the wallets of these tests.
pub(crate) fn fixed_params() -> Params {
    fixed_params_with(|_| {})
}

/// The network of `fixed_params` with changed parameters.
pub(crate) fn fixed_params_with(change: impl FnOnce(&mut Spec)) -> Params {
    let funds = |number| (wallet(number).address, Amount::new(FUNDS).expect("in range"));
    let mut spec =
        Spec { allocations: (0..10).map(funds).collect(), ..Params::dev().spec().clone() };
    change(&mut spec);
    Params::new(spec).expect("the network is well-formed")
}

/// A network on which difficulty and subsidy change within a few blocks. Rewards mature after three
/// blocks, and a block has room for five transfers.
pub(crate) fn varying_params() -> Params {
    varying_params_with(|_| {})
}

/// The network of `varying_params` with changed parameters.
pub(crate) fn varying_params_with(change: impl FnOnce(&mut Spec)) -> Params {
    let mut spec = Spec {
        name: "varying".into(),
        hrp: "varying".into(),
        spacing_seconds: 10,
        half_life_seconds: 60,
        fixed_difficulty: false,
        limit_bits: Bits::new(0x207f_ffff),
        genesis_bits: Bits::new(0x207f_ffff),
        genesis_time: Timestamp::new(1_767_225_600),
        initial_subsidy: Amount::new(1_000).expect("in range"),
        halving_interval: 4,
        maturity: 3,
        max_future_seconds: 60,
        max_block_bytes: 1_000,
        message: "varying".into(),
        boot_nodes: Vec::new(),
        ports: Ports::default(),
        ..fixed_params().spec().clone()
    };
    change(&mut spec);
    Params::new(spec).expect("the network is well-formed")
}
