//! How much there is: never more or less than what was issued, whatever the numbers.

use crate::world::{Draft, FUNDS, Node, World, easy_with, lively_with, options, person};
use chain::accounts::{Account, AccountView, LtHash, Overlay};
use chain::rules::body::{self, BlockContext, ConnectError};
use chain::signature::Signature;
use chain::tx::{Memo, Payment, Transfer};
use chain::{Address, Amount, Block, Height, Params, block, ledger};
use proptest::prelude::*;
use std::collections::HashMap;

// C43
#[test]
fn nothing_is_created_after_64_halvings() {
    let params = lively_with(|spec| {
        spec.halving_interval = 1;
        spec.initial_subsidy = Amount::new(1 << 40).unwrap();
    });
    let mut world = World::new(params);
    let mut node = Node::new(&world.params);
    let mut parent = world.genesis();
    for height in 1..=70 {
        let draft = world.draft(parent).miner(person(20).address);
        let block = draft.pay(&person(0), person(0).address, 5, 3).seal();
        node.connect(&block);
        parent = block.hash();
        let view = node.reader().view();
        let sum = |number| {
            let address = person(number).address;
            view.account(&address).unwrap().balance.units()
                + view.immature_balance(&address).units()
        };
        let found: u64 = (0..10).chain([20]).map(sum).sum();
        assert_eq!(found, world.issued(height));
        assert_eq!(view.params().issued(Height::new(height)).units(), found);
    }
    assert_eq!(world.subsidy(40), 1);
    assert_eq!(world.subsidy(41), 0);
    assert_eq!(world.issued(70), world.params.max_issuance().units());
    assert_eq!(world.issued(70), 10 * FUNDS + (1 << 40) - 1);
}

/// Connects a block at height 1 to accounts that need not be possible.
fn connect(
    block: Block,
    params: &Params,
    accounts: &HashMap<Address, Account>,
) -> Result<HashMap<Address, Account>, &'static str> {
    let checked = body::check(block, params, |_| false, 1).map_err(|error| error.code())?;
    let location = BlockContext { height: Height::new(1), matured: None };
    let mut overlay = Overlay::new(accounts);
    let connected =
        body::connect(&checked, &location, params, &mut overlay, &mut LtHash::empty(), 1);
    let mut after = accounts.clone();
    after.extend(overlay.into_changes());
    match connected {
        Ok(_) => Ok(after),
        // The rule that comes last: the accounts are not those of the world.
        Err(ConnectError::Rule(error)) if error.code() == "wrong-accounts" => Ok(after),
        Err(ConnectError::Rule(error)) => Err(error.code()),
        Err(ConnectError::View(never)) => match never {},
    }
}

fn account(balance: u64, nonce: u64) -> Account {
    Account { balance: Amount::new(balance).unwrap(), nonce }
}

/// A block of the first person's and others' payments, whatever they have.
fn paying(payments: &[(u8, Payment)]) -> (Block, Params) {
    let mut world = World::new(lively_with(|spec| spec.max_block_bytes = 2_000_000));
    let mut draft = world.draft(world.genesis());
    for (from, payment) in payments {
        draft = draft.payment(&person(*from), payment.clone());
    }
    (draft.seal(), world.params.clone())
}

fn payment(nonce: u64, to: u8, amount: u64, fee: u64) -> Payment {
    Payment { nonce, recipient: person(to).address, amount, fee, memo: Memo::default() }
}

const MOST: u64 = Amount::MAX.units();

// C05
#[test]
fn a_credit_above_the_largest_balance_is_refused() {
    let accounts =
        HashMap::from([(person(0).address, account(10, 0)), (person(1).address, account(MOST, 0))]);
    let (block, params) = paying(&[(0, payment(0, 1, 1, 0))]);
    assert_eq!(connect(block, &params, &accounts), Err("amount-overflow"));
}

// C07
#[test]
fn fees_that_sum_above_the_largest_amount_are_refused() {
    let accounts = HashMap::from([
        (person(0).address, account(MOST, 0)),
        (person(1).address, account(MOST, 0)),
    ]);
    let (block, params) = paying(&[(0, payment(0, 2, 1, MOST - 1)), (1, payment(0, 2, 1, 2))]);
    assert_eq!(connect(block, &params, &accounts), Err("amount-overflow"));
}

// C28
#[test]
fn the_last_nonce_cannot_be_used_because_there_is_none_after_it() {
    let accounts = HashMap::from([(person(0).address, account(10, u64::MAX))]);
    let (block, params) = paying(&[(0, payment(u64::MAX, 1, 1, 0))]);
    assert_eq!(connect(block, &params, &accounts), Err("bad-nonce"));
    let accounts = HashMap::from([(person(0).address, account(10, u64::MAX - 1))]);
    let two = [(0, payment(u64::MAX - 1, 1, 1, 0)), (0, payment(u64::MAX, 1, 1, 0))];
    let (block, params) = paying(&two);
    assert_eq!(connect(block, &params, &accounts), Err("bad-nonce"));
    let (block, params) = paying(&two[..1]);
    let after = connect(block, &params, &accounts);
    assert_eq!(after.unwrap()[&person(0).address], account(9, u64::MAX));
}

/// Numbers at whose edges something could wrap.
fn edge() -> impl Strategy<Value = u64> {
    let near = |at: u64| (0..3_u64).prop_map(move |off| at.wrapping_add(off).wrapping_sub(1));
    prop_oneof![near(0), near(1 << 32), near(MOST), near(1 << 63), near(u64::MAX), 0..20_u64]
}

proptest! {
    // C04, C05, C07
    #[test]
    fn whatever_the_amounts_a_block_moves_money_or_is_refused(
        balances in prop::collection::vec(edge().prop_map(|units| units.min(MOST)), 3),
        moves in prop::collection::vec((0..3_u8, 0..3_u8, edge(), edge()), 1..5),
    ) {
        let mut nonces = [0; 3];
        let mut payments = Vec::new();
        for (from, to, amount, fee) in &moves {
            payments.push((*from, payment(nonces[usize::from(*from)], *to, *amount, *fee)));
            nonces[usize::from(*from)] += 1;
        }
        let (block, params) = paying(&payments);
        let people = (0..3).map(|number| person(number).address);
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

/// Six hundred transfers to four hundred accounts, one of them perhaps with a forged signature.
fn crowded(world: &mut World, parent: block::Hash, forged: Option<usize>) -> Block {
    let (rich, genesis) = (person(0), world.genesis());
    let first = world.purse(parent, rich.address).nonce;
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
    transfers.into_iter().fold(world.draft(parent), Draft::transfer).seal()
}

// C44: hash maps are seeded anew in every ledger; signatures and commitments are split differently.
#[test]
fn ledgers_with_other_hash_seeds_and_threads_agree() {
    let mut world = World::new(easy_with(|spec| spec.max_block_bytes = 200_000));
    let genesis = world.genesis();
    let first = crowded(&mut world, genesis, None);
    let second = crowded(&mut world, first.hash(), None);
    let forged = crowded(&mut world, second.hash(), Some(571));
    let now = world.params.spec().genesis_time;
    let verified = [1, 2, 5].map(|threads| {
        let folder = tempfile::tempdir().unwrap();
        let options = ledger::Options { threads, ..options() };
        let (path, params) = (folder.path(), &world.params);
        let (mut writer, reader) =
            ledger::open(path, params.clone(), options, &mut |_| {}).unwrap();
        writer.submit_block(first.clone(), now).unwrap();
        writer.submit_block(second.clone(), now).unwrap();
        let error = writer.submit_block(forged.clone(), now).unwrap_err();
        assert!(error.to_string().contains(&forged.ids()[572].to_string()), "{error}");
        writer.commit().unwrap();
        assert_eq!(reader.view().tip().hash, second.hash());
        writer.close().unwrap();
        ledger::verify(path, params.clone(), options, &mut |_| {}, &mut |_, _| {}).unwrap()
    });
    assert_eq!(verified[0], verified[1]);
    assert_eq!(verified[1], verified[2]);
    // The miner of the first block is the last of them.
    assert_eq!(verified[0].accounts, 10 + 400 + 1);
}
