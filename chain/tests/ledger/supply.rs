//! The supply: always equal to the issuance, for any amounts.

use crate::harness::{
    BlockBuilder, FUNDS, Reference, TestNode, fixed_params_with, options, varying_params_with,
    wallet,
};
use chain::accounts::{Account, AccountView, LtHash, Overlay};
use chain::rules::body::{self, BlockContext, ConnectError};
use chain::signature::Signature;
use chain::tx::{Memo, Payment, Transfer};
use chain::{Address, Amount, Block, Height, Params, block, ledger};
use proptest::prelude::*;
use std::collections::HashMap;

// C43
#[test]
fn no_subsidy_after_64_halvings() {
    let params = varying_params_with(|spec| {
        spec.halving_interval = 1;
        spec.initial_subsidy = Amount::new(1 << 40).unwrap();
    });
    let mut reference = Reference::new(params);
    let mut node = TestNode::new(&reference.params);
    let mut parent = reference.genesis();
    for height in 1..=70 {
        let builder = reference.build_on(parent).miner(wallet(20).address);
        let block = builder.pay(&wallet(0), wallet(0).address, 5, 3).mine();
        node.connect(&block);
        parent = block.hash();
        let view = node.reader().view();
        let sum = |number| {
            let address = wallet(number).address;
            view.account(&address).unwrap().balance.units()
                + view.immature_balance(&address).units()
        };
        let found: u64 = (0..10).chain([20]).map(sum).sum();
        assert_eq!(found, reference.issued(height));
        assert_eq!(view.params().issued(Height::new(height)).units(), found);
    }
    assert_eq!(reference.subsidy(40), 1);
    assert_eq!(reference.subsidy(41), 0);
    assert_eq!(reference.issued(70), reference.params.max_issuance().units());
    assert_eq!(reference.issued(70), 10 * FUNDS + (1 << 40) - 1);
}

/// Connects a block at height 1 to any accounts, which need not be reachable.
fn connect(
    block: Block,
    params: &Params,
    accounts: &HashMap<Address, Account>,
) -> Result<HashMap<Address, Account>, &'static str> {
    let checked = body::check(block, params, |_| false, 1).map_err(|error| error.code())?;
    let context = BlockContext { height: Height::new(1), matured: None };
    let mut overlay = Overlay::new(accounts);
    let connected =
        body::connect(&checked, &context, params, &mut overlay, &mut LtHash::empty(), 1);
    let mut after = accounts.clone();
    after.extend(overlay.into_changes());
    match connected {
        Ok(_) => Ok(after),
        // This rule is checked last; the accounts are not those of the reference.
        Err(ConnectError::Rule(error)) if error.code() == "wrong-accounts" => Ok(after),
        Err(ConnectError::Rule(error)) => Err(error.code()),
        Err(ConnectError::View(never)) => match never {},
    }
}

fn account(balance: u64, nonce: u64) -> Account {
    Account { balance: Amount::new(balance).unwrap(), nonce }
}

/// A block with payments, which the balances need not cover.
fn block_with_payments(payments: &[(u8, Payment)]) -> (Block, Params) {
    let mut reference =
        Reference::new(varying_params_with(|spec| spec.max_block_bytes = 2_000_000));
    let mut builder = reference.build_on(reference.genesis());
    for (from, payment) in payments {
        builder = builder.payment(&wallet(*from), payment.clone());
    }
    (builder.mine(), reference.params.clone())
}

fn payment(nonce: u64, to: u8, amount: u64, fee: u64) -> Payment {
    Payment { nonce, recipient: wallet(to).address, amount, fee, memo: Memo::default() }
}

const MAX_UNITS: u64 = Amount::MAX.units();

// C05
#[test]
fn rejects_credit_above_maximum_balance() {
    let accounts = HashMap::from([
        (wallet(0).address, account(10, 0)),
        (wallet(1).address, account(MAX_UNITS, 0)),
    ]);
    let (block, params) = block_with_payments(&[(0, payment(0, 1, 1, 0))]);
    assert_eq!(connect(block, &params, &accounts), Err("amount-overflow"));
}

// C07
#[test]
fn rejects_fees_with_overflowing_sum() {
    let accounts = HashMap::from([
        (wallet(0).address, account(MAX_UNITS, 0)),
        (wallet(1).address, account(MAX_UNITS, 0)),
    ]);
    let (block, params) =
        block_with_payments(&[(0, payment(0, 2, 1, MAX_UNITS - 1)), (1, payment(0, 2, 1, 2))]);
    assert_eq!(connect(block, &params, &accounts), Err("amount-overflow"));
}

// C28
#[test]
fn rejects_last_nonce_without_successor() {
    let accounts = HashMap::from([(wallet(0).address, account(10, u64::MAX))]);
    let (block, params) = block_with_payments(&[(0, payment(u64::MAX, 1, 1, 0))]);
    assert_eq!(connect(block, &params, &accounts), Err("bad-nonce"));
    let accounts = HashMap::from([(wallet(0).address, account(10, u64::MAX - 1))]);
    let two = [(0, payment(u64::MAX - 1, 1, 1, 0)), (0, payment(u64::MAX, 1, 1, 0))];
    let (block, params) = block_with_payments(&two);
    assert_eq!(connect(block, &params, &accounts), Err("bad-nonce"));
    let (block, params) = block_with_payments(&two[..1]);
    let after = connect(block, &params, &accounts);
    assert_eq!(after.unwrap()[&wallet(0).address], account(9, u64::MAX));
}

/// Numbers near those where arithmetic could wrap.
fn edge_value() -> impl Strategy<Value = u64> {
    let near = |at: u64| (0..3_u64).prop_map(move |off| at.wrapping_add(off).wrapping_sub(1));
    prop_oneof![near(0), near(1 << 32), near(MAX_UNITS), near(1 << 63), near(u64::MAX), 0..20_u64]
}

proptest! {
    // C04, C05, C07
    #[test]
    fn block_conserves_supply_or_is_rejected(
        balances in prop::collection::vec(edge_value().prop_map(|units| units.min(MAX_UNITS)), 3),
        moves in prop::collection::vec((0..3_u8, 0..3_u8, edge_value(), edge_value()), 1..5),
    ) {
        let mut nonces = [0; 3];
        let mut payments = Vec::new();
        for (from, to, amount, fee) in &moves {
            payments.push((*from, payment(nonces[usize::from(*from)], *to, *amount, *fee)));
            nonces[usize::from(*from)] += 1;
        }
        let (block, params) = block_with_payments(&payments);
        let people = (0..3).map(|number| wallet(number).address);
        let accounts: HashMap<_, _> =
            people.zip(balances.iter().map(|units| account(*units, 0))).collect();
        if let Ok(after) = connect(block, &params, &accounts) {
            let sum = |accounts: &HashMap<Address, Account>| {
                accounts.values().map(|account| u128::from(account.balance.units())).sum::<u128>()
            };
            let fees: u128 = moves.iter().map(|(_, _, _, fee)| u128::from(*fee)).sum();
            prop_assert_eq!(sum(&accounts), sum(&after) + fees);
        }
    }
}

/// A block with 600 transfers to 400 accounts, optionally one of them with a forged signature.
fn large_block(reference: &mut Reference, parent: block::Hash, forged: Option<usize>) -> Block {
    let (rich, genesis) = (wallet(0), reference.genesis());
    let first = reference.account(parent, rich.address).nonce;
    let transfers = (0..600).map(|number: u64| {
        let mut to = [0; 20];
        to[..8].copy_from_slice(&(number * 7 % 400).to_le_bytes());
        let payment = Payment {
            nonce: first + number,
            recipient: Address::from_bytes(to),
            amount: 1 + number % 5,
            fee: number % 2,
            memo: Memo::default(),
        };
        Transfer::sign(payment, &rich.key, genesis)
    });
    let mut transfers: Vec<Transfer> = transfers.collect();
    if let Some(at) = forged {
        transfers[at].signature = Signature::from_bytes([1; 64]);
    }
    transfers.into_iter().fold(reference.build_on(parent), BlockBuilder::transfer).mine()
}

// C44: every ledger has other hash seeds, and splits signatures and commitments among other
// threads.
#[test]
fn ledgers_with_different_hash_seeds_and_threads_agree() {
    let mut reference = Reference::new(fixed_params_with(|spec| spec.max_block_bytes = 200_000));
    let genesis = reference.genesis();
    let first = large_block(&mut reference, genesis, None);
    let second = large_block(&mut reference, first.hash(), None);
    let forged = large_block(&mut reference, second.hash(), Some(571));
    let now = reference.params.spec().genesis_time;
    let verified = [1, 2, 5].map(|threads| {
        let folder = tempfile::tempdir().unwrap();
        let options = ledger::Options { threads, ..options() };
        let (path, params) = (folder.path(), &reference.params);
        let (mut writer, reader) =
            ledger::open(path, params.clone(), &options, &mut |_| {}).unwrap();
        writer.submit_block(first.clone(), now).unwrap();
        writer.submit_block(second.clone(), now).unwrap();
        let error = writer.submit_block(forged.clone(), now).unwrap_err();
        assert!(error.to_string().contains(&forged.ids()[572].to_string()), "{error}");
        writer.commit().unwrap();
        assert_eq!(reader.view().tip().hash, second.hash());
        writer.close().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        ledger::verify(path, params, &options, scratch.path(), &mut |_| {}).unwrap()
    });
    assert_eq!(verified[0], verified[1]);
    assert_eq!(verified[1], verified[2]);
    // The last one is the miner of the first block.
    assert_eq!(verified[0].accounts, 10 + 400 + 1);
}
