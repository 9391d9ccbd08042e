//! A reference ledger that is too plain to be wrong: for every block it was ever told of it keeps a
//! whole map of accounts, and adds all of them up again for the commitment. It makes a valid child
//! of any block it knows, and spoils one thing in it on demand. Keys, amounts and blocks of tests.

mod agreement;
mod draft;
mod node;
mod reference;

pub(crate) use draft::Draft;
pub(crate) use node::{Node, copy_folder, log_bytes, options};
pub(crate) use reference::{Purse, World, is_met, later};

use chain::params::{Ports, Spec};
use chain::signature::SecretKey;
use chain::{Address, Amount, Bits, Params, Timestamp};

/// Somebody who may own something.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) key: SecretKey,
    pub(crate) address: Address,
}

/// A person by number; 0 to 9 own something from the beginning.
pub(crate) fn person(number: u8) -> Person {
    let key = SecretKey::from_seed([number; 32]);
    let address = key.public_key().address();
    Person { key, address }
}

/// Base units the first ten persons begin with on every network of these tests.
pub(crate) const FUNDS: u64 = 1_000_000;

/// `dev`, owned by the persons of these tests.
pub(crate) fn easy() -> Params {
    easy_with(|_| {})
}

/// `easy` but for something.
pub(crate) fn easy_with(change: impl FnOnce(&mut Spec)) -> Params {
    let funds = |number| (person(number).address, Amount::new(FUNDS).expect("in range"));
    let mut spec =
        Spec { allocations: (0..10).map(funds).collect(), ..Params::dev().spec().clone() };
    change(&mut spec);
    Params::new(spec).expect("the network is well-formed")
}

/// Everything that is constant on `dev` changes within a few blocks: difficulty, subsidy, the
/// maturity of more than one block, and blocks with room for five transfers.
pub(crate) fn lively() -> Params {
    lively_with(|_| {})
}

/// `lively` but for something.
pub(crate) fn lively_with(change: impl FnOnce(&mut Spec)) -> Params {
    let mut spec = Spec {
        name: "lively".into(),
        hrp: "lively".into(),
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
        message: "lively".into(),
        boot_nodes: Vec::new(),
        ports: Ports::default(),
        ..easy().spec().clone()
    };
    change(&mut spec);
    Params::new(spec).expect("the network is well-formed")
}
