//! Reorganisations: which branch becomes the best chain, and the accounts after them.

use crate::harness::{
    Reference, TestNode, fixed_params, fixed_params_with, log_bytes, options, varying_params,
    wallet,
};
use chain::ledger::{Accepted, ChainTipStatus, Options, SubmitError};
use chain::rules::Rule;
use chain::tx::Transfer;
use chain::{Block, block};

/// Builds a chain of blocks with transfers between a few wallets and a new one each.
fn blocks_with_transfers(
    reference: &mut Reference,
    parent: block::Hash,
    blocks: u64,
) -> Vec<Block> {
    let mut at = parent;
    let mut build = |round: u64| {
        let [a, b] = [round, round + 3].map(|number| wallet(u8::try_from(number % 5).unwrap()));
        let new = wallet(u8::try_from(20 + round % 90).unwrap());
        let block = reference
            .build_on(at)
            .miner(b.address)
            .pay(&a, b.address, 5 + round, 1)
            .pay(&a, new.address, 3, round % 2)
            .pay(&b, b.address, 2, 2)
            .mine();
        at = block.hash();
        block
    };
    (0..blocks).map(&mut build).collect()
}

/// Asserts that a node with two branches from genesis, the second one block longer, has the
/// accounts of a node with the second branch only.
fn assert_reorg(depth: u64, options: Options) {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let (short, long) = (
        blocks_with_transfers(&mut reference, genesis, depth),
        blocks_with_transfers(&mut reference, genesis, depth + 1),
    );
    let mut node = TestNode::with_options(&reference.params, options);
    node.connect_all(&short);
    let (last, before) = long.split_last().unwrap();
    node.submit_headers(&long);
    node.submit_side_branch(before);
    let end = reference.block(short.last().unwrap().hash()).clone();
    node.assert_tip_matches(&reference, &end);
    assert_eq!(node.submit(last).unwrap(), Accepted::Connected);
    let commit = node.commit();
    let (disconnected, connected) = (commit.disconnected.len(), commit.connected.len());
    assert_eq!((disconnected as u64, connected as u64), (depth, depth + 1));
    assert_eq!(
        commit.confirmed as u64,
        3 * (depth + 1),
        "the transactions of the connected blocks"
    );
    node.assert_tip_matches(&reference, last);
    if depth <= 100 {
        node.assert_matches(&reference, last);
    }
    // Back to the first branch, which a third one extends.
    let back = blocks_with_transfers(&mut reference, end.hash(), 2);
    node.submit_headers(&back);
    node.submit_side_branch(&back[..1]);
    node.connect(&back[1]);
    node.assert_tip_matches(&reference, &back[1]);
}

// C22
#[test]
fn reorg_of_1_6_100_and_1088_blocks_yields_accounts_of_fresh_replay() {
    for depth in [1, 6, 100, 1_088] {
        assert_reorg(depth, options());
    }
}

// C22: rows in temporary files are the same.
#[test]
fn reorg_with_rows_in_runs_yields_accounts_of_fresh_replay() {
    for staging_bytes in [0, 3_000, 40_000] {
        assert_reorg(60, Options { staging_bytes, ..options() });
    }
}

// C22; `cargo test --release -p chain --test ledger reorg_of_10_000 -- --ignored`
#[test]
#[ignore = "takes a minute"]
fn reorg_of_10_000_blocks_yields_accounts_of_fresh_replay() {
    assert_reorg(10_000, options());
}

/// The tip, all accounts and all locations that a reader sees as a text, and the content of the
/// log.
fn snapshot(node: &TestNode, reference: &Reference) -> (String, Vec<u8>) {
    use std::fmt::Write as _;
    let view = node.reader().view();
    let mut text = format!("{:?} {}", view.tip(), view.block_count());
    for address in reference.addresses() {
        let account = chain::accounts::AccountView::account(&view, &address).unwrap();
        let history = view.history(&address, u32::MAX, usize::MAX).unwrap();
        let immature = view.immature_balance(&address);
        write!(text, "\n{address:?} {account:?} {immature} {history:?}").unwrap();
    }
    for id in reference.transactions() {
        let location = view.transaction(&id).unwrap().map(|(_, entry)| entry);
        write!(text, "\n{id} {location:?}").unwrap();
    }
    (text, log_bytes(node.path()))
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4
//        └─ b1 ─ b2 ─ b3 ─ b4 ─ b5      the reward of b3 is too high; b5 gives its branch more work
//
// C23, C45
#[test]
fn failed_reorg_to_invalid_branch_changes_nothing() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = blocks_with_transfers(&mut reference, genesis, 4);
    let mut node = TestNode::with_blocks(&reference.params, &a);
    let mut b = blocks_with_transfers(&mut reference, genesis, 2);
    let b3 = reference.build_on(b[1].hash()).pay(&wallet(7), wallet(8).address, 1, 1);
    b.push(b3.edit_coinbase(|coinbase| coinbase.reward += 1).mine());
    b.extend(reference.mine_chain(b[2].hash(), 2));
    let (heavier, rest) = b.split_last().unwrap();
    node.submit_side_branch(rest);

    let before = snapshot(&node, &reference);
    let ends: Vec<_> = node.reader().view().chain_tips(None, usize::MAX);
    let ends: Vec<_> = ends.iter().map(|end| (end.hash, end.height, end.branch_length)).collect();
    assert_eq!(ends.len(), 2);
    let error = node.expect_rejection(heavier);
    assert_eq!(error.code(), Some("invalid-ancestor"));
    assert!(snapshot(&node, &reference) == before);
    // The tips of the branches have the same order and a new status.
    let branches = node.reader().view().chain_tips(None, usize::MAX);
    let statuses: Vec<_> = branches.iter().map(|end| (end.hash, end.status)).collect();
    let invalid = ChainTipStatus::Invalid { rule: Rule::WrongReward };
    let ancestor = ChainTipStatus::Invalid { rule: Rule::InvalidAncestor };
    assert_eq!(statuses.len(), 3);
    assert_eq!(statuses[0], (a[3].hash(), ChainTipStatus::Active));
    assert!(statuses.contains(&(b[3].hash(), invalid)));
    assert!(statuses.contains(&(b[4].hash(), ancestor)));
    node.assert_tip_matches(&reference, &a[3]);

    // Neither the same block nor its descendants are validated again, also after a flush.
    for _ in 0..1_000 {
        assert!(matches!(node.submit(heavier), Err(SubmitError::KnownInvalid { .. })));
    }
    node.writer().flush().unwrap();
    let child = reference.build_on(b[3].hash()).mine();
    assert_eq!(node.expect_rejection(&child).code(), Some("invalid-ancestor"));
    assert!(snapshot(&node, &reference).1 == before.1);

    // The block is still invalid after a restart.
    node.close();
    assert_eq!(node.start(), []);
    assert!(matches!(node.submit(&b[3]), Err(SubmitError::KnownInvalid { .. })));
    assert_eq!(node.submit(&b[1]).unwrap(), Accepted::AlreadyKnown);
    let next = blocks_with_transfers(&mut reference, a[3].hash(), 1);
    node.connect_all(&next);
    node.assert_tip_matches(&reference, &next[0]);
}

// C45
#[test]
fn child_of_invalid_block_is_rejected_without_validation_of_body() {
    let mut reference = Reference::new(fixed_params());
    let bad = reference
        .build_on(reference.genesis())
        .edit_coinbase(|coinbase| coinbase.reward += 1)
        .mine();
    let mut node = TestNode::new(&reference.params);
    node.expect_rejection(&bad);
    // If its body was validated, the code would be another one.
    let mut child = reference.build_on(bad.hash()).mine();
    child.transactions.clear();
    for _ in 0..1_000 {
        assert_eq!(node.submit(&child).unwrap_err().code(), Some("invalid-ancestor"));
    }
    assert_eq!(node.reader().view().block_count(), 1);
}

// genesis ─ a1 ─ a2
//        └─ b1 ─ b2     the same work, but later
//
// C24
#[test]
fn first_of_two_branches_with_equal_work_stays_best_across_restarts() {
    let restarts: [fn(&mut TestNode); 3] = [
        |node| node.close(),
        TestNode::kill,
        |node| {
            node.close();
            std::fs::remove_dir_all(node.path().join("index")).unwrap();
        },
    ];
    for restart in restarts {
        for first in [0, 1] {
            let mut reference = Reference::new(fixed_params());
            let genesis = reference.genesis();
            let branches = [
                blocks_with_transfers(&mut reference, genesis, 2),
                blocks_with_transfers(&mut reference, genesis, 2),
            ];
            let (a, b) = (&branches[first], &branches[1 - first]);
            let mut node = TestNode::with_blocks(&reference.params, a);
            node.submit_side_branch(b);
            restart(&mut node);
            node.start();
            node.assert_matches(&reference, &a[1]);
            assert_eq!(node.submit(&b[1]).unwrap(), Accepted::AlreadyKnown);
            let next = blocks_with_transfers(&mut reference, b[1].hash(), 1);
            node.connect_all(&next);
            node.assert_matches(&reference, &next[0]);
            // Now branch a is the later one.
            let a3 = blocks_with_transfers(&mut reference, a[1].hash(), 1);
            node.submit_side_branch(&a3);
            restart(&mut node);
            node.start();
            node.assert_matches(&reference, &next[0]);
        }
    }
}

// A branch with fewer blocks can have more work.
#[test]
fn branch_with_more_work_wins_over_longer_branch() {
    let mut reference = Reference::new(varying_params());
    let mut slow = vec![reference.build_on(reference.genesis()).mine()];
    let mut fast = vec![slow[0].clone()];
    // Late blocks are fixed_params, and blocks in the same second become harder.
    for _ in 0..40 {
        let parent = slow[slow.len() - 1].hash();
        slow.push(reference.build_on(parent).seconds_after(10_000).mine());
        let parent = fast[fast.len() - 1].hash();
        fast.push(reference.build_on(parent).seconds_after(0).mine());
    }
    let work = |block: &Block| reference.entry(block.hash()).work;
    let enough = fast.iter().position(|block| work(block) > work(&slow[40])).unwrap();
    assert!(enough < 40);
    let mut node = TestNode::with_blocks(&reference.params, &slow);
    node.submit_side_branch(&fast[1..enough]);
    node.connect(&fast[enough]);
    node.assert_matches(&reference, &fast[enough]);
}

// C27
#[test]
fn transfer_in_both_branches_applies_once() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let a = reference.build_on(genesis).pay(&wallet(0), wallet(20).address, 10, 1).mine();
    let transfer: Transfer = a.transfers().next().unwrap().1.clone();
    let b1 = reference.build_on(genesis).transfer(transfer.clone()).pay(
        &wallet(0),
        wallet(1).address,
        1,
        0,
    );
    let b1 = b1.mine();
    let b2 = reference.build_on(b1.hash()).mine();
    let mut node = TestNode::with_blocks(&reference.params, std::slice::from_ref(&a));
    node.submit_side_branch(std::slice::from_ref(&b1));
    node.connect(&b2);
    node.assert_matches(&reference, &b2);
    let again = reference.build_on(b2.hash()).transfer(transfer).mine();
    assert_eq!(node.expect_rejection(&again).code(), Some("bad-nonce"));
}

// C22, C42: an account with a balance of zero, and one that exists on one branch only.
#[test]
fn reorg_removes_accounts_absent_from_new_branch() {
    let mut reference = Reference::new(fixed_params());
    let (rich, new) = (wallet(0), wallet(20));
    let genesis = reference.genesis();
    let a1 = reference.build_on(genesis).miner(new.address).pay(&rich, new.address, 10, 0).mine();
    let a2 = reference.build_on(a1.hash()).pay(&new, rich.address, 5, 5).mine();
    let b = reference.mine_chain(genesis, 3);
    let mut node = TestNode::with_blocks(&reference.params, &[a1, a2.clone()]);
    node.assert_matches(&reference, &a2);
    node.submit_side_branch(&b[..2]);
    node.connect(&b[2]);
    node.assert_matches(&reference, &b[2]);
    assert_eq!(node.reader().view().transaction_count(&new.address).unwrap(), 0);
    node.close();
    node.start();
    node.assert_matches(&reference, &b[2]);
}

// More history entries than a page holds, truncated to a full page, then extended.
#[test]
fn reorg_updates_histories_longer_than_a_page() {
    let mut reference = Reference::new(fixed_params());
    let (a, b) = (wallet(0), wallet(1));
    let pay = |reference: &mut Reference, parent, count| {
        let builder = reference.build_on(parent);
        (0..count).fold(builder, |builder, _| builder.pay(&a, b.address, 1, 0)).mine()
    };
    let genesis = reference.genesis();
    let first = pay(&mut reference, genesis, 250);
    let short = pay(&mut reference, first.hash(), 20);
    let long =
        [pay(&mut reference, first.hash(), 6), reference.mine_chain(first.hash(), 1).remove(0)];
    let mut node = TestNode::with_blocks(&reference.params, &[first, short.clone()]);
    node.assert_matches(&reference, &short);
    let end = pay(&mut reference, long[0].hash(), 270);
    node.submit_side_branch(&long[..1]);
    node.connect(&end);
    node.assert_matches(&reference, &end);
    node.writer().flush().unwrap();
    let empty = reference.mine_chain(long[1].hash(), 2);
    node.submit_side_branch(&[long[1].clone(), empty[0].clone()]);
    node.connect(&empty[1]);
    node.assert_matches(&reference, &empty[1]);
    let again = pay(&mut reference, empty[1].hash(), 30);
    node.connect(&again);
    node.assert_matches(&reference, &again);
}

// C25: each fork costs the work of a block; a node stores it, and its tip does not change.
#[test]
fn thousand_one_block_forks_do_not_change_tip() {
    let mut reference = Reference::new(fixed_params_with(|spec| spec.max_future_seconds = 1));
    let chain = reference.mine_chain(reference.genesis(), 3);
    let mut node = TestNode::with_blocks(&reference.params, &chain);
    let forks: Vec<Block> =
        (0..1_000).map(|_| reference.build_on(chain[1].hash()).mine()).collect();
    node.submit_side_branch(&forks);
    assert_eq!(node.reader().view().chain_tips(None, usize::MAX).len(), 1_001);
    node.assert_tip_matches(&reference, &chain[2]);
    let next = reference.mine_chain(forks[500].hash(), 1);
    node.connect_all(&next);
    node.assert_tip_matches(&reference, &next[0]);
    node.close();
    assert_eq!(node.start(), []);
    assert_eq!(node.reader().view().chain_tips(None, usize::MAX).len(), 1_001);
    node.assert_tip_matches(&reference, &next[0]);
}

// Uncommitted blocks can be reorganised too; readers see the result only.
#[test]
fn reorg_within_one_commit_publishes_only_result() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let (short, long) = (
        blocks_with_transfers(&mut reference, genesis, 3),
        blocks_with_transfers(&mut reference, genesis, 4),
    );
    let mut node = TestNode::new(&reference.params);
    for block in short.iter().chain(&long) {
        node.submit(block).unwrap();
        node.assert_tip_matches(&reference, reference.block(genesis));
    }
    let commit = node.commit();
    assert_eq!((commit.disconnected.len(), commit.connected.len()), (0, 4));
    node.assert_matches(&reference, &long[3]);
}
