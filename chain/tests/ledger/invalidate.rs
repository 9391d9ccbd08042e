//! Manual invalidation and reconsideration of blocks: the tip, and persistence.

use crate::harness::{Reference, TestNode, fixed_params, varying_params, wallet};
use chain::block;
use chain::ledger::{Accepted, ChainTipStatus, InvalidateError, SubmitError};
use chain::rules::Rule;
use chain::{Block, Params};
use std::fs;

fn invalidate(node: &mut TestNode, block: &Block) {
    node.writer().invalidate(block.hash()).unwrap();
    node.commit();
}

fn reconsider(node: &mut TestNode, block: &Block) {
    node.writer().reconsider(block.hash()).unwrap();
    node.commit();
}

fn status(node: &TestNode, end: &Block) -> ChainTipStatus {
    let branches = node.reader().view().chain_tips(None, usize::MAX);
    branches.iter().find(|branch| branch.hash == end.hash()).expect("it is a chain tip").status
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4 ─ a5
//        └─ b1 ─ b2 ─ b3 ─ b4         b4 is accepted before c4
//                └─ c3 ─ c4
fn forked(params: Params) -> (Reference, TestNode, [Vec<Block>; 3]) {
    let mut reference = Reference::new(params);
    let genesis = reference.genesis();
    let mut at = genesis;
    let mut build = |amount| {
        let builder = reference.build_on(at).miner(wallet(20).address);
        let block = builder.pay(&wallet(0), wallet(1).address, amount, 1).mine();
        at = block.hash();
        block
    };
    let a: Vec<Block> = (1..=5).map(&mut build).collect();
    let b = reference.mine_chain(genesis, 4);
    let c = reference.mine_chain(b[1].hash(), 2);
    let mut node = TestNode::with_blocks(&reference.params, &a);
    node.submit_side_branch(&b);
    node.submit_side_branch(&c);
    (reference, node, [a, b, c])
}

#[test]
fn invalidate_moves_tip_to_best_other_branch_and_reconsider_restores_it() {
    for params in [fixed_params(), varying_params()] {
        let (reference, mut node, [a, b, c]) = forked(params);
        node.writer().invalidate(a[1].hash()).unwrap();
        assert_eq!(node.tip(), a[4].hash(), "readers see it after the commit");
        let commit = node.commit();
        assert_eq!((commit.disconnected.len(), commit.connected.len()), (5, 4));
        node.assert_chain_matches(&reference, &b[3]);
        assert_eq!(status(&node, &a[4]), ChainTipStatus::Invalidated);
        assert_eq!(status(&node, &c[1]), ChainTipStatus::ValidFork);

        // Repeated invalidation changes nothing; each further one moves the tip, finally to a1.
        invalidate(&mut node, &a[1]);
        node.assert_tip_matches(&reference, &b[3]);
        invalidate(&mut node, &b[3]);
        node.assert_tip_matches(&reference, &c[1]);
        invalidate(&mut node, &b[0]);
        node.assert_chain_matches(&reference, &a[0]);

        reconsider(&mut node, &a[1]);
        node.assert_chain_matches(&reference, &a[4]);
        assert_eq!(status(&node, &a[4]), ChainTipStatus::Active);
        invalidate(&mut node, &a[0]);
        node.assert_chain_matches(&reference, reference.params.genesis());
    }
}

#[test]
fn invalidate_returns_transfers_to_mempool() {
    let (reference, mut node, [a, ..]) = forked(fixed_params());
    invalidate(&mut node, &a[2]);
    let ids: Vec<_> = a[2..].iter().map(|block| block.transactions[1].id()).collect();
    // b1 to b4 confirm none of them, nor those of a1 and a2.
    assert_eq!(node.reader().view().mempool().count(), 5);
    assert!(ids.iter().all(|id| node.reader().view().mempool().contains(id)));
    reconsider(&mut node, &a[2]);
    assert_eq!(node.reader().view().mempool().count(), 0);
    node.assert_tip_matches(&reference, &a[4]);
}

#[test]
fn invalidate_without_other_branch_moves_tip_to_parent() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, 5);
    let mut node = TestNode::with_blocks(&reference.params, &a);
    invalidate(&mut node, &a[3]);
    node.assert_chain_matches(&reference, &a[2]);
    let b = reference.mine_chain(a[2].hash(), 1);
    node.connect_all(&b);
    // The new branch has less work than the reconsidered one.
    reconsider(&mut node, &a[3]);
    node.assert_tip_matches(&reference, &a[4]);
}

#[test]
fn descendants_of_invalidated_block_are_accepted_but_not_connected() {
    let (mut reference, mut node, [a, b, _]) = forked(fixed_params());
    invalidate(&mut node, &a[1]);
    let more = reference.mine_chain(a[4].hash(), 3);
    for block in &more {
        assert_eq!(node.submit(block).unwrap(), Accepted::SideBranch);
    }
    node.commit();
    node.assert_tip_matches(&reference, &b[3]);
    assert_eq!(node.submit(&a[4]).unwrap(), Accepted::AlreadyKnown);
    let next = reference.mine_chain(b[3].hash(), 1);
    node.connect_all(&next);
    reconsider(&mut node, &a[1]);
    node.assert_chain_matches(&reference, &more[2]);
}

#[test]
fn invalidation_survives_restart_kill_and_index_loss() {
    let (reference, mut node, [a, b, c]) = forked(varying_params());
    invalidate(&mut node, &a[1]);
    let lose_index = |node: &TestNode| fs::remove_dir_all(node.path().join("index")).unwrap();
    for lost in [false, true] {
        node.close();
        if lost {
            lose_index(&node);
        }
        node.start();
        node.assert_chain_matches(&reference, &b[3]);
        node.close();
        assert_eq!(node.verify().unwrap().tip, b[3].hash());
        node.start();
        // The invalidation is newer than the index.
        invalidate(&mut node, &b[2]);
        node.kill();
        node.start();
        node.assert_chain_matches(&reference, &c[1]);
        reconsider(&mut node, &b[2]);
        node.kill();
        node.start();
        node.assert_chain_matches(&reference, &b[3]);
    }
    reconsider(&mut node, &a[1]);
    node.close();
    lose_index(&node);
    node.start();
    node.assert_chain_matches(&reference, &a[4]);
}

#[test]
fn reconsider_clears_ancestors_and_descendants() {
    let (reference, mut node, [a, b, c]) = forked(fixed_params());
    for block in [&a[1], &a[3], &b[3], &c[0]] {
        invalidate(&mut node, block);
    }
    node.assert_tip_matches(&reference, &b[2]);
    reconsider(&mut node, &b[0]);
    node.assert_tip_matches(&reference, &b[3]);
    reconsider(&mut node, &a[4]);
    node.assert_tip_matches(&reference, &a[4]);
    assert_eq!(status(&node, &c[1]), ChainTipStatus::ValidFork);
}

// The reward of b3 is too high, which is detected when branch b is connected.
#[test]
fn invalidate_skips_invalid_branch() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.mine_chain(genesis, 5);
    let mut b = reference.mine_chain(genesis, 2);
    let b3 = reference.build_on(b[1].hash());
    b.push(b3.edit_coinbase(|coinbase| coinbase.reward += 1).mine());
    b.extend(reference.mine_chain(b[2].hash(), 1));
    let mut node = TestNode::with_blocks(&reference.params, &a);
    node.submit_side_branch(&b);
    invalidate(&mut node, &a[1]);
    node.assert_chain_matches(&reference, &b[1]);
    assert_eq!(status(&node, &b[3]), ChainTipStatus::Invalid { rule: Rule::WrongReward });
    reconsider(&mut node, &a[1]);
    node.assert_chain_matches(&reference, &a[4]);
}

#[test]
fn invalidate_rejects_genesis_and_unknown_blocks() {
    let (reference, mut node, [a, ..]) = forked(fixed_params());
    let genesis = reference.genesis();
    assert!(matches!(node.writer().invalidate(genesis), Err(InvalidateError::Genesis)));
    let unknown = block::Hash::from_bytes([7; 32]);
    let error = node.writer().invalidate(unknown).unwrap_err();
    assert!(matches!(error, InvalidateError::Unknown { hash } if hash == unknown));
    assert!(matches!(node.writer().reconsider(unknown), Err(InvalidateError::Unknown { .. })));
    // No block is invalidated, so this changes nothing.
    reconsider(&mut node, &a[0]);
    node.assert_tip_matches(&reference, &a[4]);
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4
//                └─ b3        the reward is too high, which is not noticed beside a3
//                └─ c3 ─ c4   after the operator invalidated a3
#[test]
fn start_after_power_cut_marks_stored_block_that_is_invalid() {
    for has_descendant in [false, true] {
        let mut reference = Reference::new(fixed_params());
        let a = reference.mine_chain(reference.genesis(), 4);
        let b3 = reference.build_on(a[1].hash());
        let b3 = b3.edit_coinbase(|coinbase| coinbase.reward += 1).mine();
        let mut node = TestNode::with_blocks(&reference.params, &a);
        node.submit_side_branch(std::slice::from_ref(&b3));
        if has_descendant {
            let b4 = reference.build_on(b3.hash()).mine();
            node.submit_side_branch(std::slice::from_ref(&b4));
        }
        invalidate(&mut node, &a[2]);
        assert_eq!(node.tip(), a[1].hash());
        let c = reference.mine_chain(a[1].hash(), 2);
        node.connect_all(&c);
        node.kill();
        fs::remove_dir_all(node.path().join("index")).unwrap();
        for _ in 0..2 {
            node.start();
            assert_eq!(node.tip(), c[1].hash());
            let tips = node.reader().view().chain_tips(None, usize::MAX);
            let is_invalid = |status| matches!(status, ChainTipStatus::Invalid { .. });
            assert_eq!(tips.iter().filter(|tip| is_invalid(tip.status)).count(), 1);
            assert!(matches!(node.submit(&b3), Err(SubmitError::KnownInvalid { .. })));
            node.close();
            assert_eq!(node.verify().unwrap().tip, c[1].hash());
        }
    }
}
