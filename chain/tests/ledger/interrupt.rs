//! Interrupting long work: it ends early, nothing is lost, and the next start continues.

use crate::harness::{TestNode, interrupt_after, options};
use chain::ledger::{Accepted, Interrupt, OpenError, Options, SubmitError};
use chain::testing::{TestChain, dev_key};
use chain::tx::{Id, Memo, Payment, Transfer};
use chain::{Address, Block, Params};
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The number of transfers in each block of the branch that is left: more than the mempool accepts in a step.
const TRANSFERS: u64 = 700;

/// The transfers of a block, all of one account.
fn transfers(block: usize) -> Vec<Transfer> {
    let (key, genesis) = (dev_key(block), Params::dev().genesis_hash());
    let recipient = Address::from_bytes([7; 20]);
    let pay = |nonce| {
        let payment = Payment { nonce, recipient, amount: 1, fee: 1_000, memo: Memo::default() };
        Transfer::sign(payment, &key, genesis)
    };
    (0..TRANSFERS).map(pay).collect()
}

/// A node with two full blocks and all but the last block of a heavier branch without transfers, that
/// block, and the ids of the transfers.
fn forked() -> (TestNode, Block, BTreeSet<Id>) {
    let mut full = TestChain::new(Params::dev(), Address::from_bytes([1; 20]));
    let mut empty = TestChain::new(Params::dev(), Address::from_bytes([2; 20]));
    let mut node = TestNode::new(&Params::dev());
    let mut ids = BTreeSet::new();
    for block in 0..2 {
        ids.extend(transfers(block).iter().map(Transfer::id));
        node.connect(&full.mine_block(transfers(block)));
    }
    let mut branch = empty.mine(3);
    let last = branch.pop().unwrap();
    node.submit_side_branch(&branch);
    (node, last, ids)
}

/// Opens the ledger of a closed node again, with an interrupt.
fn restart(node: &mut TestNode, interrupt: Interrupt) {
    node.options = Options { interrupt, ..options() };
    node.start();
}

/// Asserts that a block which becomes the tip leads to the same pending transfers as without
/// interruption.
fn assert_pending(node: &mut TestNode, tip: &Block, ids: &BTreeSet<Id>) {
    while node.writer().next_mempool_changes().unwrap().is_some() {}
    assert_eq!(node.tip(), tip.hash());
    let view = node.reader().view();
    let pending: BTreeSet<Id> = view.mempool().ids().copied().collect();
    assert_eq!((pending.len(), pending == *ids), (ids.len(), true));
    assert_eq!(view.mempool().queued(), 0);
}

// A node that was asked to stop in the middle of a deep reorganisation ended many seconds later.
#[test]
fn interrupted_reorg_is_not_accepted_and_changes_nothing() {
    let (mut node, last, ids) = forked();
    let old_tip = node.tip();
    node.close();
    let checks_of_a_start = 1;
    let mut interrupted = 0;
    loop {
        restart(&mut node, interrupt_after(checks_of_a_start + interrupted));
        let now = last.header.time;
        match node.writer().submit_block(last.clone(), now) {
            Err(SubmitError::Store(error)) => assert!(error.is_interruption(), "{error}"),
            accepted => break assert_eq!(accepted.unwrap(), Accepted::Connected),
        }
        interrupted += 1;
        assert!(!node.writer().has_uncommitted());
        node.close();
        restart(&mut node, Interrupt::default());
        assert_eq!(node.tip(), old_tip);
        node.close();
    }
    assert_eq!(interrupted, 4, "at each block that leaves or joins the best chain");
    node.close();
    restart(&mut node, Interrupt::default());
    assert_pending(&mut node, &last, &ids);
    node.close();
    node.verify().unwrap();
}

// Transfers of blocks that had left the best chain were gone after a stop before they returned.
#[test]
fn transfers_return_at_the_start_after_an_interrupted_update() {
    for is_killed in [false, true] {
        let (mut forked, last, ids) = forked();
        forked.close();
        for steps in 0..4 {
            let mut node = forked.copy();
            let is_requested = Arc::new(AtomicBool::new(false));
            let requested = Arc::clone(&is_requested);
            restart(&mut node, Interrupt::when(move || requested.load(Ordering::Relaxed)));
            node.submit(&last).unwrap();
            node.writer().commit().unwrap();
            for _ in 0..steps {
                node.writer().next_mempool_changes().unwrap().unwrap();
            }
            if is_killed {
                node.kill();
            } else {
                is_requested.store(true, Ordering::Relaxed);
                assert_eq!(node.writer().next_mempool_changes().unwrap(), None);
                node.close();
            }
            restart(&mut node, Interrupt::default());
            node.writer().next_mempool_changes().unwrap().unwrap();
            node.kill();
            node.start();
            assert_pending(&mut node, &last, &ids);
            node.close();
            node.verify().unwrap();
        }
    }
}

#[test]
fn replay_of_a_reorg_is_interrupted_between_its_blocks() {
    let (mut node, last, ids) = forked();
    node.submit(&last).unwrap();
    node.writer().commit().unwrap();
    node.kill();
    fs::remove_dir_all(node.path().join("index")).unwrap();
    let mut interrupted = 0;
    for checks in 0.. {
        node.options.interrupt = interrupt_after(checks);
        match node.try_start() {
            Ok(_) => break,
            Err(error) => assert!(matches!(error, OpenError::Interrupted), "{error}"),
        }
        interrupted += 1;
    }
    assert!(interrupted > 8, "{interrupted}");
    node.kill();
    node.options = options();
    node.start();
    assert_pending(&mut node, &last, &ids);
}
