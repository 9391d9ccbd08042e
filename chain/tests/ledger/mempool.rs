//! The mempool over restarts of the ledger, also when its journal is older than the chain.

use crate::harness::{Reference, TestNode, fixed_params, wallet};
use chain::mempool::{Admission, Replacement, Restored, Source};
use chain::tx::{Id, Memo, Payment, Transfer};
use std::fs;
use std::path::PathBuf;

fn transfer(reference: &Reference, from: u8, nonce: u64, fee: u64) -> Transfer {
    let recipient = wallet(20).address;
    let payment = Payment { nonce, recipient, amount: 1, fee, memo: Memo::default() };
    Transfer::sign(payment, &wallet(from).key, reference.genesis())
}

fn submit(node: &mut TestNode, transfer: &Transfer) {
    let admission =
        node.writer().submit_transfer(transfer.clone(), Replacement::Allowed, Source::Local);
    assert!(matches!(admission, Ok(Admission::Added(_))), "{admission:?}");
}

/// The ids of the mempool in the order of arrival.
fn ids(node: &TestNode) -> Vec<Id> {
    let view = node.reader().view();
    view.mempool().ids_since(0).map(|(_, id)| *id).collect()
}

fn journal(node: &TestNode) -> PathBuf {
    node.path().join("journal/mempool/00000.log")
}

fn restored(node: &mut TestNode) -> (usize, Vec<(Id, &'static str)>) {
    let Restored { count, dropped } = node.writer().take_restored_mempool();
    let dropped = dropped.iter().map(|it| (it.transfer.id(), it.reason.code())).collect();
    (count, dropped)
}

// M14
#[test]
fn unconfirmed_transfers_survive_stop_and_kill() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let [confirmed, next, other] =
        [(0, 0), (0, 1), (1, 0)].map(|(from, nonce)| transfer(&reference, from, nonce, 1_000));
    let block = reference.build_on(genesis).transfer(confirmed.clone()).mine();
    let mut node = TestNode::new(&reference.params);
    for transfer in [&confirmed, &next, &other] {
        submit(&mut node, transfer);
    }
    node.connect(&block);
    for is_killed in [true, false, true] {
        if is_killed {
            node.kill();
        } else {
            node.close();
        }
        assert_eq!(node.start(), []);
        assert_eq!(restored(&mut node), (2, vec![]));
        assert_eq!(ids(&node), [next.id(), other.id()]);
    }
    let due = node.writer().take_due_announcements(std::time::Duration::ZERO);
    assert_eq!(due, [next.id(), other.id()]);
}

// genesis ─ a1        with a transfer
//        └─ b1 ─ b2
#[test]
fn transfers_that_a_reorganisation_returned_survive_a_kill() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let returned = transfer(&reference, 0, 0, 1_000);
    let a1 = reference.build_on(genesis).transfer(returned.clone()).mine();
    let b = reference.mine_chain(genesis, 2);
    let mut node = TestNode::with_blocks(&reference.params, &[a1]);
    node.submit_side_branch(&b[..1]);
    node.connect(&b[1]);
    assert_eq!(ids(&node), [returned.id()]);
    node.kill();
    node.start();
    assert_eq!(ids(&node), [returned.id()]);
}

// What a power failure leaves, or a process that died after a block.
#[test]
fn journal_that_is_older_than_the_chain_brings_nothing_confirmed_back() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let [confirmed, superseded, waiting] =
        [(0, 1_000), (1, 1_000), (2, 1_000)].map(|(from, fee)| transfer(&reference, from, 0, fee));
    let rival = transfer(&reference, 1, 0, 9_000);
    let block = reference.build_on(genesis).transfer(confirmed.clone()).transfer(rival).mine();
    let mut node = TestNode::new(&reference.params);
    for transfer in [&confirmed, &superseded, &waiting] {
        submit(&mut node, transfer);
    }
    let old = fs::read(journal(&node)).unwrap();
    node.connect(&block);
    assert_eq!(ids(&node), [waiting.id()]);
    node.kill();
    fs::write(journal(&node), old).unwrap();
    assert_eq!(node.start(), []);
    assert_eq!(restored(&mut node), (1, vec![(superseded.id(), "nonce-used")]));
    assert_eq!(ids(&node), [waiting.id()]);
    let view = node.reader().view();
    assert_eq!(view.mempool().status(&confirmed.id()), None);
    assert!(view.mempool().status(&superseded.id()).is_some());
}

#[test]
fn missing_or_foreign_journal_does_not_refuse_the_start() {
    let reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&reference.params);
    submit(&mut node, &transfer(&reference, 0, 0, 1_000));
    node.kill();
    fs::remove_dir_all(node.path().join("journal")).unwrap();
    assert_eq!(node.start(), []);
    assert_eq!(ids(&node), []);
    node.close();
    fs::write(journal(&node), [7; 1_000]).unwrap();
    let notices: Vec<String> = node.start().iter().map(ToString::to_string).collect();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].contains("moved to"), "{notices:?}");
    submit(&mut node, &transfer(&reference, 0, 0, 1_000));
    node.kill();
    assert_eq!(node.start(), []);
    assert_eq!(ids(&node).len(), 1);
}
