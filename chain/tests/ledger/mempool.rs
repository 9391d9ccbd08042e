//! The mempool over restarts of the ledger, also when its journal is older than the chain.

use crate::harness::{Reference, TestNode, fixed_params, wallet};
use chain::mempool::{Admission, RejectReason, Replacement, Restored, Source, Status};
use chain::template::{TemplateError, TemplateRequest};
use chain::testing::solve_header;
use chain::tx::{Id, Memo, Payment, Tag, Transfer};
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

#[test]
fn removed_transfer_stays_removed_after_a_kill() {
    let reference = Reference::new(fixed_params());
    let [first, second] = [0, 1].map(|nonce| transfer(&reference, 0, nonce, 1_000));
    let mut node = TestNode::new(&reference.params);
    submit(&mut node, &first);
    submit(&mut node, &second);
    let dropped = node.writer().remove_transfer(&first.id()).unwrap().unwrap();
    assert_eq!((dropped.transfer.id(), dropped.reason.code()), (first.id(), "removed"));
    assert_eq!(node.writer().remove_transfer(&first.id()).unwrap(), None);
    node.kill();
    node.start();
    assert_eq!(ids(&node), [second.id()]);
    let status = |id: Id| node.reader().view().mempool().status(&id).unwrap();
    assert_eq!(status(first.id()), Status::Dropped(RejectReason::Removed));
    assert_eq!(status(second.id()), Status::Queued);
    // It may come again.
    submit(&mut node, &first);
    assert_eq!(ids(&node).len(), 2);
}

// A list has its own order, needs no minimum fee, and may contain what the mempool lacks.
#[test]
fn block_contains_exactly_the_listed_transfers() {
    let reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&reference.params);
    submit(&mut node, &transfer(&reference, 3, 0, 9_000));
    let list = [(2, 0, 0), (1, 0, 1_000), (2, 1, 5_000)]
        .map(|(from, nonce, fee)| transfer(&reference, from, nonce, fee));
    let now = node.now;
    let template = |node: &mut TestNode, list: &[Transfer]| {
        let miner = wallet(9).address;
        let request = TemplateRequest { miner, now, extra_nonce: [0; 8], tag: Tag::default() };
        node.writer().template_of(request, list)
    };
    let mut block = template(&mut node, &list).unwrap().block;
    assert_eq!(block.ids()[1..], list.clone().map(|transfer| transfer.id()));
    solve_header(&mut block.header);
    node.connect(&block);
    assert_eq!(ids(&node).len(), 1, "the other transfer still waits");
    assert_eq!(template(&mut node, &[]).unwrap().block.transactions.len(), 1);

    let error = template(&mut node, &[transfer(&reference, 1, 1, 1), list[0].clone()]);
    let Err(TemplateError::Transfer { index: 1, error }) = error else { panic!("{error:?}") };
    assert_eq!(error.code(), "bad-nonce");
    let mut forged = transfer(&reference, 1, 1, 1);
    forged.amount += 1;
    let error = template(&mut node, &[forged]);
    let Err(TemplateError::Transfer { index: 0, error }) = error else { panic!("{error:?}") };
    assert_eq!(error.code(), "bad-signature");
}
