//! Rules of the body on the accounts of its parent.

use super::{assert_invalidates, setup};
use crate::harness::{FUNDS, Reference, fixed_params, varying_params, varying_params_with, wallet};
use chain::tx::{Memo, Payment};
use chain::{Block, Coinbase, Height};

// wrong-coinbase-height, C10
#[test]
fn accept_coinbase_with_block_height() {
    let (mut reference, mut node) = setup(&fixed_params());
    // The encoding of the height changes from 16 to 17, 127 to 128 and 255 to 256.
    let blocks = reference.mine_chain(reference.genesis(), 260);
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
fn reject_coinbase_with_other_height() {
    let (mut reference, mut node) = setup(&fixed_params());
    let blocks = reference.mine_chain(reference.genesis(), 17);
    node.connect_all(&blocks);
    for height in [0, 16, 17, 19, 1 << 24, u32::MAX] {
        let edit = |coinbase: &mut Coinbase| coinbase.height = Height::new(height);
        let block = reference.build_on(blocks[16].hash()).edit_coinbase(edit).mine();
        assert_invalidates(&mut reference, &mut node, &block, "wrong-coinbase-height");
    }
    // A copy of the coinbase of an earlier block.
    let used = blocks[3].coinbase().unwrap().clone();
    let block =
        reference.build_on(blocks[16].hash()).edit_coinbase(|coinbase| *coinbase = used).mine();
    assert_invalidates(&mut reference, &mut node, &block, "wrong-coinbase-height");
}

fn with_nonces(reference: &mut Reference, nonces: &[u64]) -> Block {
    let mut builder = reference.build_on(reference.genesis());
    for nonce in nonces {
        let (nonce, recipient) = (*nonce, wallet(20).address);
        let payment = Payment { nonce, recipient, amount: 1, fee: 1, memo: Memo::default() };
        builder = builder.payment(&wallet(0), payment);
    }
    builder.mine()
}

// bad-nonce, C28
#[test]
fn accept_consecutive_nonces() {
    let (mut reference, mut node) = setup(&fixed_params());
    let block = with_nonces(&mut reference, &[0, 1, 2, 3]);
    node.connect(&block);
    node.assert_tip_matches(&reference, &block);
}

// bad-nonce, C28
#[test]
fn reject_nonce_that_is_not_next() {
    let (mut reference, mut node) = setup(&fixed_params());
    let wrong: [&[u64]; 6] = [&[1], &[1, 0], &[0, 2], &[0, 1, 3, 2], &[u64::MAX], &[0, u64::MAX]];
    for nonces in wrong {
        let block = with_nonces(&mut reference, nonces);
        assert_invalidates(&mut reference, &mut node, &block, "bad-nonce");
    }
}

// bad-nonce, C27
#[test]
fn reject_transfer_already_in_chain() {
    let (mut reference, mut node) = setup(&fixed_params());
    let first = with_nonces(&mut reference, &[0]);
    let transfer = first.transfers().next().unwrap().1.clone();
    node.connect(&first);
    let again = reference.build_on(first.hash()).transfer(transfer.clone()).mine();
    assert_invalidates(&mut reference, &mut node, &again, "bad-nonce");

    // On a branch that does not contain the transfer it is valid, once.
    let side = reference.mine_chain(reference.genesis(), 1).remove(0);
    node.submit_side_branch(std::slice::from_ref(&side));
    let moved = reference.build_on(side.hash()).transfer(transfer.clone()).mine();
    node.connect(&moved);
    node.assert_tip_matches(&reference, &moved);
    let again = reference.build_on(moved.hash()).transfer(transfer).mine();
    assert_invalidates(&mut reference, &mut node, &again, "bad-nonce");
}

// insufficient-balance
#[test]
fn accept_transfer_of_whole_balance() {
    let (mut reference, mut node) = setup(&fixed_params());
    let builder =
        reference.build_on(reference.genesis()).pay(&wallet(0), wallet(20).address, FUNDS - 7, 7);
    let block = builder.pay(&wallet(1), wallet(20).address, FUNDS, 0).mine();
    node.connect(&block);
    node.assert_tip_matches(&reference, &block);
    assert_eq!(reference.account(block.hash(), wallet(0).address).balance, 0);
}

// insufficient-balance
#[test]
fn reject_transfer_above_balance() {
    let (mut reference, mut node) = setup(&fixed_params());
    let genesis = reference.genesis();
    for (from, amount, fee) in [(0, FUNDS, 1), (0, FUNDS - 7, 8), (0, 1, FUNDS), (20, 1, 0)] {
        let block =
            reference.build_on(genesis).pay(&wallet(from), wallet(1).address, amount, fee).mine();
        assert_invalidates(&mut reference, &mut node, &block, "insufficient-balance");
    }
    // A second transfer above the remaining balance, and a transfer of more than the balance to
    // the sender.
    let (owner, to) = (wallet(0), wallet(1).address);
    let second = reference.build_on(genesis).pay(&owner, to, FUNDS, 0).pay(&owner, to, 1, 0).mine();
    assert_invalidates(&mut reference, &mut node, &second, "insufficient-balance");
    let to_self = reference.build_on(genesis).pay(&owner, owner.address, FUNDS + 1, 0).mine();
    assert_invalidates(&mut reference, &mut node, &to_self, "insufficient-balance");
}

// insufficient-balance, C36
#[test]
fn accept_spending_of_amount_received_earlier_in_block() {
    let (mut reference, mut node) = setup(&fixed_params());
    let (a, b, c) = (wallet(0), wallet(20), wallet(21));
    let builder = reference.build_on(reference.genesis()).pay(&a, b.address, 100, 1);
    let block = builder.pay(&b, c.address, 90, 10).pay(&c, a.address, 90, 0).mine();
    node.connect(&block);
    node.assert_tip_matches(&reference, &block);
}

// insufficient-balance, C36
#[test]
fn reject_spending_of_amount_received_later_in_block() {
    let (mut reference, mut node) = setup(&fixed_params());
    let (a, b) = (wallet(0), wallet(20));
    let builder = reference.build_on(reference.genesis()).pay(&b, a.address, 90, 10);
    let block = builder.pay(&a, b.address, 100, 1).mine();
    assert_invalidates(&mut reference, &mut node, &block, "insufficient-balance");
}

/// The blocks below a height of the varying network, and one at that height that spends the reward
/// of block 1.
fn spend_at(reference: &mut Reference, height: usize) -> (Vec<Block>, Block) {
    let miner = wallet(20);
    let first = reference.build_on(reference.genesis()).miner(miner.address).mine();
    let mut blocks = vec![first];
    blocks.extend(reference.mine_chain(blocks[0].hash(), height - 2));
    let parent = blocks[height - 2].hash();
    let spend = reference.build_on(parent).pay(&miner, wallet(1).address, 1_000, 0).mine();
    (blocks, spend)
}

// insufficient-balance, C08
#[test]
fn accept_spending_of_reward_in_block_that_matures_it() {
    let (mut reference, mut node) = setup(&varying_params());
    let (blocks, spend) = spend_at(&mut reference, 4);
    node.connect_all(&blocks);
    node.connect(&spend);
    node.assert_tip_matches(&reference, &spend);
}

// insufficient-balance, C08
#[test]
fn reject_spending_of_immature_reward() {
    let (mut reference, mut node) = setup(&varying_params());
    let (blocks, spend) = spend_at(&mut reference, 3);
    node.connect_all(&blocks);
    assert_invalidates(&mut reference, &mut node, &spend, "insufficient-balance");
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4        a4 spends the reward of a1, which matures in it
//        └─ b1 ─ b2 ─ b3 ─ b4 ─ b5   this branch does not contain a1
//
// insufficient-balance, C08
#[test]
fn reject_spending_of_reward_of_other_branch() {
    let (mut reference, mut node) = setup(&varying_params());
    let (blocks, spend) = spend_at(&mut reference, 4);
    node.connect_all(&blocks);
    node.connect(&spend);
    let side = reference.mine_chain(reference.genesis(), 4);
    node.submit_side_branch(&side);
    let transfer = spend.transfers().next().unwrap().1.clone();
    let replay = reference.build_on(side[3].hash()).transfer(transfer).mine();
    assert_invalidates(&mut reference, &mut node, &replay, "insufficient-balance");
    node.assert_tip_matches(&reference, &spend);
}

// wrong-reward, C06
#[test]
fn accept_reward_of_subsidy_and_fees_at_every_halving() {
    let (mut reference, mut node) = setup(&varying_params());
    let mut parent = reference.genesis();
    let mut rewards = Vec::new();
    for height in 1..=44 {
        let block = reference.build_on(parent).pay(&wallet(0), wallet(1).address, 1, height).mine();
        node.connect(&block);
        rewards.push(block.coinbase().unwrap().reward - height);
        parent = block.hash();
    }
    node.assert_tip_matches(&reference, reference.block(parent));
    // The subsidy starts at 1,000 units and halves every four blocks, rounded down.
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
fn reject_reward_off_by_one_at_every_halving() {
    let (mut reference, mut node) = setup(&varying_params());
    let mut parent = reference.genesis();
    for height in 1..=44 {
        if [0, 3].contains(&(height % 4)) {
            for change in [(|units| units + 1) as fn(u64) -> u64, |units| units - 1] {
                let edit = |coinbase: &mut Coinbase| coinbase.reward = change(coinbase.reward);
                let builder = reference.build_on(parent).pay(&wallet(0), wallet(1).address, 1, 9);
                let block = builder.edit_coinbase(edit).mine();
                assert_invalidates(&mut reference, &mut node, &block, "wrong-reward");
            }
        }
        let block = reference.build_on(parent).mine();
        node.connect(&block);
        parent = block.hash();
    }
    // Without the fees, with twice the fees, and numbers that are not amounts.
    for reward in [0, 8, 18, u64::MAX, 1 << 53, 1 << 63] {
        let builder = reference.build_on(parent).pay(&wallet(0), wallet(1).address, 1, 9);
        let block = builder.edit_coinbase(|coinbase| coinbase.reward = reward).mine();
        assert_invalidates(&mut reference, &mut node, &block, "wrong-reward");
    }
}

// wrong-accounts, C11
#[test]
fn accept_commitment_to_accounts_after_block() {
    let (mut reference, mut node) = setup(&varying_params());
    let mut parent = reference.genesis();
    for amount in 1..=12 {
        let block =
            reference.build_on(parent).pay(&wallet(0), wallet(40).address, amount, 1).mine();
        node.connect(&block);
        parent = block.hash();
    }
    node.assert_tip_matches(&reference, reference.block(parent));
}

// wrong-accounts, C11
#[test]
fn reject_commitment_with_flipped_bit_at_every_height() {
    let (mut reference, mut node) = setup(&varying_params());
    let mut parent = reference.genesis();
    for height in 0..256_usize {
        let flip = |coinbase: &mut Coinbase| coinbase.commitment[height / 8] ^= 1 << (height % 8);
        let wrong = reference.build_on(parent).edit_coinbase(flip).mine();
        assert_invalidates(&mut reference, &mut node, &wrong, "wrong-accounts");
        let block = reference.build_on(parent).mine();
        node.connect(&block);
        parent = block.hash();
    }
}

// wrong-accounts, C11
#[test]
fn reject_commitment_to_accounts_before_block() {
    let (mut reference, mut node) = setup(&varying_params());
    let blocks = reference.mine_chain(reference.genesis(), 5);
    node.connect_all(&blocks);
    let parent = blocks[4].hash();
    let before = blocks[4].coinbase().unwrap().commitment;
    let builder = reference.build_on(parent).pay(&wallet(0), wallet(1).address, 1, 0);
    let block = builder.edit_coinbase(|coinbase| coinbase.commitment = before).mine();
    assert_invalidates(&mut reference, &mut node, &block, "wrong-accounts");
}

// Rewards mature in the next block, in the one after it, or never in this test.
#[test]
fn maturity_counts_from_first_block_after_genesis() {
    for maturity in [1, 2, 1_000] {
        let (mut reference, mut node) =
            setup(&varying_params_with(|spec| spec.maturity = maturity));
        let mut parent = reference.genesis();
        for height in 1..=6 {
            let block = reference.build_on(parent).miner(wallet(20).address).mine();
            node.connect(&block);
            node.assert_tip_matches(&reference, &block);
            parent = block.hash();
            let mature = (1..=height).filter(|mined| height - mined >= maturity);
            let mature: u64 = mature.map(|height| reference.subsidy(height)).sum();
            assert_eq!(reference.account(parent, wallet(20).address).balance, mature);
        }
    }
}
