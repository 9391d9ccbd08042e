//! The body on its parent's accounts.

use super::{both, is_known_invalid};
use crate::world::{FUNDS, World, easy, lively, lively_with, person};
use chain::tx::{Memo, Payment};
use chain::{Block, Coinbase, Height};

// wrong-coinbase-height, C10
#[test]
fn accept_a_coinbase_that_names_its_height() {
    let (mut world, mut node) = both(&easy());
    // Where the push of the height changes its form: 16 to 17, 127 to 128, 255 to 256.
    let blocks = world.grow(world.genesis(), 260);
    node.connect_all(&blocks);
    let ids: std::collections::BTreeSet<_> = blocks.iter().flat_map(Block::ids).collect();
    assert_eq!(ids.len(), blocks.len());
    let view = node.reader().view();
    for (height, block) in (1..).zip(&blocks) {
        let (found, entry) = view.transaction(&block.ids()[0]).unwrap().unwrap();
        assert_eq!((&found, entry.height.get(), entry.position), (block, height, 0));
    }
}

// wrong-coinbase-height, C10
#[test]
fn reject_a_coinbase_of_another_height() {
    let (mut world, mut node) = both(&easy());
    let blocks = world.grow(world.genesis(), 17);
    node.connect_all(&blocks);
    for height in [0, 16, 17, 19, 1 << 24, u32::MAX] {
        let spoil = |coinbase: &mut Coinbase| coinbase.height = Height::new(height);
        let block = world.draft(blocks[16].hash()).coinbase(spoil).seal();
        is_known_invalid(&mut world, &mut node, &block, "wrong-coinbase-height");
    }
    // The coinbase of an earlier block again, byte for byte.
    let used = blocks[3].coinbase().unwrap().clone();
    let block = world.draft(blocks[16].hash()).coinbase(|coinbase| *coinbase = used).seal();
    is_known_invalid(&mut world, &mut node, &block, "wrong-coinbase-height");
}

fn with_nonces(world: &mut World, nonces: &[u64]) -> Block {
    let mut draft = world.draft(world.genesis());
    for nonce in nonces {
        let (nonce, recipient) = (*nonce, person(20).address);
        let payment = Payment { nonce, recipient, amount: 1, fee: 1, memo: Memo::default() };
        draft = draft.payment(&person(0), payment);
    }
    draft.seal()
}

// bad-nonce, C28
#[test]
fn accept_nonces_in_their_order() {
    let (mut world, mut node) = both(&easy());
    let block = with_nonces(&mut world, &[0, 1, 2, 3]);
    node.connect(&block);
    node.agrees(&world, &block);
}

// bad-nonce, C28
#[test]
fn reject_a_nonce_that_is_not_the_next() {
    let (mut world, mut node) = both(&easy());
    let wrong: [&[u64]; 6] = [&[1], &[1, 0], &[0, 2], &[0, 1, 3, 2], &[u64::MAX], &[0, u64::MAX]];
    for nonces in wrong {
        let block = with_nonces(&mut world, nonces);
        is_known_invalid(&mut world, &mut node, &block, "bad-nonce");
    }
}

// bad-nonce, C27
#[test]
fn reject_a_transfer_that_is_in_the_chain_already() {
    let (mut world, mut node) = both(&easy());
    let first = with_nonces(&mut world, &[0]);
    let transfer = first.transfers().next().unwrap().1.clone();
    node.connect(&first);
    let again = world.draft(first.hash()).transfer(transfer.clone()).seal();
    is_known_invalid(&mut world, &mut node, &again, "bad-nonce");

    // On a branch without it it is as good as new, and once only.
    let side = world.grow(world.genesis(), 1).remove(0);
    node.take_aside(std::slice::from_ref(&side));
    let moved = world.draft(side.hash()).transfer(transfer.clone()).seal();
    node.connect(&moved);
    node.agrees(&world, &moved);
    let again = world.draft(moved.hash()).transfer(transfer).seal();
    is_known_invalid(&mut world, &mut node, &again, "bad-nonce");
}

// insufficient-balance
#[test]
fn accept_the_last_unit_of_a_balance() {
    let (mut world, mut node) = both(&easy());
    let draft = world.draft(world.genesis()).pay(&person(0), person(20).address, FUNDS - 7, 7);
    let block = draft.pay(&person(1), person(20).address, FUNDS, 0).seal();
    node.connect(&block);
    node.agrees(&world, &block);
    assert_eq!(world.purse(block.hash(), person(0).address).balance, 0);
}

// insufficient-balance
#[test]
fn reject_one_unit_more_than_the_balance() {
    let (mut world, mut node) = both(&easy());
    let genesis = world.genesis();
    for (from, amount, fee) in [(0, FUNDS, 1), (0, FUNDS - 7, 8), (0, 1, FUNDS), (20, 1, 0)] {
        let block = world.draft(genesis).pay(&person(from), person(1).address, amount, fee).seal();
        is_known_invalid(&mut world, &mut node, &block, "insufficient-balance");
    }
    // What is left after a first transfer, and what the sender would only pay to himself.
    let (owner, to) = (person(0), person(1).address);
    let second = world.draft(genesis).pay(&owner, to, FUNDS, 0).pay(&owner, to, 1, 0).seal();
    is_known_invalid(&mut world, &mut node, &second, "insufficient-balance");
    let to_himself = world.draft(genesis).pay(&owner, owner.address, FUNDS + 1, 0).seal();
    is_known_invalid(&mut world, &mut node, &to_himself, "insufficient-balance");
}

// insufficient-balance, C36
#[test]
fn accept_money_that_came_earlier_in_the_same_block() {
    let (mut world, mut node) = both(&easy());
    let (a, b, c) = (person(0), person(20), person(21));
    let draft = world.draft(world.genesis()).pay(&a, b.address, 100, 1);
    let block = draft.pay(&b, c.address, 90, 10).pay(&c, a.address, 90, 0).seal();
    node.connect(&block);
    node.agrees(&world, &block);
}

// insufficient-balance, C36
#[test]
fn reject_money_that_comes_later_in_the_same_block() {
    let (mut world, mut node) = both(&easy());
    let (a, b) = (person(0), person(20));
    let draft = world.draft(world.genesis()).pay(&b, a.address, 90, 10);
    let block = draft.pay(&a, b.address, 100, 1).seal();
    is_known_invalid(&mut world, &mut node, &block, "insufficient-balance");
}

/// The block at a height of `lively` in which somebody spends a reward of block 1.
fn spend_at(world: &mut World, height: usize) -> (Vec<Block>, Block) {
    let miner = person(20);
    let first = world.draft(world.genesis()).miner(miner.address).seal();
    let mut blocks = vec![first];
    blocks.extend(world.grow(blocks[0].hash(), height - 2));
    let parent = blocks[height - 2].hash();
    let spend = world.draft(parent).pay(&miner, person(1).address, 1_000, 0).seal();
    (blocks, spend)
}

// insufficient-balance, C08
#[test]
fn accept_a_reward_in_the_block_that_matures_it() {
    let (mut world, mut node) = both(&lively());
    let (blocks, spend) = spend_at(&mut world, 4);
    node.connect_all(&blocks);
    node.connect(&spend);
    node.agrees(&world, &spend);
}

// insufficient-balance, C08
#[test]
fn reject_a_reward_a_block_before_it_is_mature() {
    let (mut world, mut node) = both(&lively());
    let (blocks, spend) = spend_at(&mut world, 3);
    node.connect_all(&blocks);
    is_known_invalid(&mut world, &mut node, &spend, "insufficient-balance");
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4        a4 spends the reward of a1, mature in it
//        └─ b1 ─ b2 ─ b3 ─ b4 ─ b5   on this branch a1 was never mined
//
// insufficient-balance, C08
#[test]
fn reject_a_reward_of_another_branch() {
    let (mut world, mut node) = both(&lively());
    let (blocks, spend) = spend_at(&mut world, 4);
    node.connect_all(&blocks);
    node.connect(&spend);
    let side = world.grow(world.genesis(), 4);
    node.take_aside(&side);
    let transfer = spend.transfers().next().unwrap().1.clone();
    let replay = world.draft(side[3].hash()).transfer(transfer).seal();
    is_known_invalid(&mut world, &mut node, &replay, "insufficient-balance");
    node.agrees(&world, &spend);
}

// wrong-reward, C06
#[test]
fn accept_exactly_subsidy_and_fees_at_every_halving() {
    let (mut world, mut node) = both(&lively());
    let mut parent = world.genesis();
    let mut rewards = Vec::new();
    for height in 1..=44 {
        let block = world.draft(parent).pay(&person(0), person(1).address, 1, height).seal();
        node.connect(&block);
        rewards.push(block.coinbase().unwrap().reward - height);
        parent = block.hash();
    }
    node.agrees(&world, world.block(parent));
    // Halves every fourth block of 1,000 units, rounded down, until nothing is left.
    let mut expected: Vec<u64> = [1_000, 500, 250, 125, 62, 31, 15, 7, 3, 1, 0]
        .iter()
        .flat_map(|units| [*units; 4])
        .collect();
    expected.remove(0);
    expected.push(0);
    assert_eq!(rewards, expected);
}

// wrong-reward, C06
#[test]
fn reject_one_unit_more_or_less_at_every_halving() {
    let (mut world, mut node) = both(&lively());
    let mut parent = world.genesis();
    for height in 1..=44 {
        if [0, 3].contains(&(height % 4)) {
            for spoil in [(|units| units + 1) as fn(u64) -> u64, |units| units - 1] {
                let spoil = |coinbase: &mut Coinbase| coinbase.reward = spoil(coinbase.reward);
                let draft = world.draft(parent).pay(&person(0), person(1).address, 1, 9);
                let block = draft.coinbase(spoil).seal();
                is_known_invalid(&mut world, &mut node, &block, "wrong-reward");
            }
        }
        let block = world.draft(parent).seal();
        node.connect(&block);
        parent = block.hash();
    }
    // Without the fees, twice the fees, and numbers that are no amount at all.
    for reward in [0, 8, 18, u64::MAX, 1 << 53, 1 << 63] {
        let draft = world.draft(parent).pay(&person(0), person(1).address, 1, 9);
        let block = draft.coinbase(|coinbase| coinbase.reward = reward).seal();
        is_known_invalid(&mut world, &mut node, &block, "wrong-reward");
    }
}

// wrong-accounts, C11
#[test]
fn accept_the_commitment_to_the_accounts_after_the_block() {
    let (mut world, mut node) = both(&lively());
    let mut parent = world.genesis();
    for amount in 1..=12 {
        let block = world.draft(parent).pay(&person(0), person(40).address, amount, 1).seal();
        node.connect(&block);
        parent = block.hash();
    }
    node.agrees(&world, world.block(parent));
}

// wrong-accounts, C11
#[test]
fn reject_a_commitment_that_is_wrong_by_one_bit_at_every_height() {
    let (mut world, mut node) = both(&lively());
    let mut parent = world.genesis();
    for height in 0..256_usize {
        let flip = |coinbase: &mut Coinbase| coinbase.commitment[height / 8] ^= 1 << (height % 8);
        let wrong = world.draft(parent).coinbase(flip).seal();
        is_known_invalid(&mut world, &mut node, &wrong, "wrong-accounts");
        let block = world.draft(parent).seal();
        node.connect(&block);
        parent = block.hash();
    }
}

// wrong-accounts, C11
#[test]
fn reject_the_commitment_to_the_accounts_before_the_block_or_without_what_matures() {
    let (mut world, mut node) = both(&lively());
    let blocks = world.grow(world.genesis(), 5);
    node.connect_all(&blocks);
    let parent = blocks[4].hash();
    let before = blocks[4].coinbase().unwrap().commitment;
    let draft = world.draft(parent).pay(&person(0), person(1).address, 1, 0);
    let block = draft.coinbase(|coinbase| coinbase.commitment = before).seal();
    is_known_invalid(&mut world, &mut node, &block, "wrong-accounts");
}

// A network on which a reward can be spent in the next block, and one on which none ever can.
#[test]
fn maturity_is_counted_from_the_first_block_after_genesis() {
    for maturity in [1, 2, 1_000] {
        let (mut world, mut node) = both(&lively_with(|spec| spec.maturity = maturity));
        let mut parent = world.genesis();
        for height in 1..=6 {
            let block = world.draft(parent).miner(person(20).address).seal();
            node.connect(&block);
            node.agrees(&world, &block);
            parent = block.hash();
            let mature = (1..=height).filter(|mined| height - mined >= maturity);
            let mature: u64 = mature.map(|height| world.subsidy(height)).sum();
            assert_eq!(world.purse(parent, person(20).address).balance, mature);
        }
    }
}
