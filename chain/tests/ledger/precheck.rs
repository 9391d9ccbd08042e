//! Prechecked blocks: the writer accepts or rejects them as if it had validated them itself.
//! `TestNode::submit` compares both for every block of every other test.

use crate::harness::{Reference, TestNode, fixed_params, wallet};
use chain::ledger::PrecheckedBlock;
use chain::rules::RuleError;
use chain::testing::unsolve_header;
use chain::tx::{Id, Transfer};
use chain::{Block, block};
use std::sync::Arc;

/// Submits blocks in order, and returns how each was accepted or the code of its error.
fn submit_all(node: &mut TestNode, candidates: Vec<PrecheckedBlock>) -> Vec<String> {
    let now = node.now;
    let mut submit = |candidate| match node.writer().submit_block(candidate, now) {
        Ok(accepted) => format!("{accepted:?}"),
        Err(error) => error.code().expect("the disk works").to_owned(),
    };
    let results = candidates.into_iter().map(&mut submit).collect();
    node.commit();
    results
}

/// Whether the bodies of blocks are valid; `None` for those that were not checked.
fn precheck_results(candidates: &[PrecheckedBlock]) -> Vec<Option<bool>> {
    candidates.iter().map(|it| it.precheck_result().map(|result| result.is_ok())).collect()
}

/// Builds a chain of blocks with some transfers each.
fn chain_of(reference: &mut Reference, mut parent: block::Hash, blocks: u8) -> Vec<Block> {
    let mut grow = |_| {
        let builder = reference.build_on(parent);
        let builder = (0..4)
            .fold(builder, |builder, n| builder.pay(&wallet(n), wallet(n + 20).address, 5, 1));
        let block = builder.mine();
        parent = block.hash();
        block
    };
    (0..blocks).map(&mut grow).collect()
}

/// A transfer with the signature of another one.
fn forged(reference: &Reference, amount: u64) -> Transfer {
    let payment = |amount| chain::tx::Payment {
        nonce: 0,
        recipient: wallet(20).address,
        amount,
        fee: 0,
        memo: chain::tx::Memo::default(),
    };
    let sign = |amount| Transfer::sign(payment(amount), &wallet(9).key, reference.genesis());
    Transfer { signature: sign(1_000).signature, ..sign(amount) }
}

#[test]
fn prechecked_chain_becomes_best_chain() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let genesis = reference.genesis();
    let blocks = chain_of(&mut reference, genesis, 9);
    let candidates = node.precheck(&blocks);
    assert_eq!(precheck_results(&candidates), [Some(true); 9]);
    assert_eq!(submit_all(&mut node, candidates), ["Connected"; 9]);
    node.accepted.extend(blocks.iter().map(Block::hash));
    node.assert_matches(&reference, &blocks[8]);
}

// The second call depends on the first, whose blocks the writer has not accepted yet.
#[test]
fn precheck_continues_after_unsubmitted_blocks() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let genesis = reference.genesis();
    let blocks = chain_of(&mut reference, genesis, 6);
    let (now, mut prechecker) = (node.now, node.writer().prechecker());
    let [first, second] = [&blocks[..3], &blocks[3..]]
        .map(|some| prechecker.precheck(some.iter().cloned().map(Arc::new).collect(), now));
    assert_eq!(precheck_results(&second), [Some(true); 3]);
    assert_eq!(submit_all(&mut node, first), ["Connected"; 3]);
    assert_eq!(submit_all(&mut node, second), ["Connected"; 3]);
    node.assert_tip_matches(&reference, &blocks[5]);
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4        a2 is forged
//              ├ b2                  forged too
//              └ c2 ─ c3
//
// bad-signature, C30: signatures are verified together, but only the block with the bad one is
// rejected.
#[test]
fn bad_signature_is_attributed_to_its_block_and_transfer() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let genesis = reference.genesis();
    let a1 = chain_of(&mut reference, genesis, 1).remove(0);
    let (wrong, other_wrong) = (forged(&reference, 7), forged(&reference, 8));
    let forged_block = |reference: &mut Reference, first: &Transfer, second: &Transfer| {
        let builder = reference.build_on(a1.hash()).pay(&wallet(1), wallet(2).address, 1, 0);
        builder.transfer(first.clone()).transfer(second.clone()).mine()
    };
    let a2 = forged_block(&mut reference, &wrong, &other_wrong);
    let after = chain_of(&mut reference, a2.hash(), 2);
    let blocks = [&[a1.clone(), a2.clone()], after.as_slice()].concat();
    let candidates = node.precheck(&blocks);
    assert_eq!(precheck_results(&candidates), [Some(true), Some(false), Some(true), Some(true)]);
    let expected = RuleError::BadSignature { id: wrong.id() };
    assert_eq!(candidates[1].precheck_result(), Some(Err(&expected)));
    let results = ["Connected", "bad-signature", "invalid-ancestor", "unknown-parent"];
    assert_eq!(submit_all(&mut node, candidates), results);
    assert!(node.reader().view().is_known_invalid(&a2.hash()));

    let b2 = forged_block(&mut reference, &other_wrong, &wrong);
    let candidates = node.precheck(std::slice::from_ref(&b2));
    let expected: Id = other_wrong.id();
    assert_eq!(
        candidates[0].precheck_result(),
        Some(Err(&RuleError::BadSignature { id: expected }))
    );
    assert_eq!(submit_all(&mut node, candidates), ["bad-signature"]);
    let c = chain_of(&mut reference, a1.hash(), 2);
    let candidates = node.precheck(&c);
    assert_eq!(submit_all(&mut node, candidates), ["Connected", "Connected"]);
    node.assert_tip_matches(&reference, &c[1]);
}

#[test]
fn precheck_reports_bad_signature_of_each_block() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let wrong: Vec<Transfer> = (1..=5).map(|amount| forged(&reference, amount)).collect();
    let genesis = reference.genesis();
    let mut blocks = Vec::new();
    for (number, transfer) in (0..).zip(&wrong) {
        let builder = reference.build_on(genesis).pay(&wallet(number), wallet(30).address, 1, 0);
        let builder = builder.transfer(transfer.clone());
        blocks.push(builder.pay(&wallet(8), wallet(31).address, 1, 0).mine());
        blocks.push(
            reference.build_on(genesis).pay(&wallet(number), wallet(30).address, 2, 0).mine(),
        );
    }
    let candidates = node.precheck(&blocks);
    for (pair, transfer) in candidates.chunks(2).zip(&wrong) {
        let expected = RuleError::BadSignature { id: transfer.id() };
        assert_eq!(pair[0].precheck_result(), Some(Err(&expected)));
        assert_eq!(pair[1].precheck_result(), Some(Ok(())));
    }
}

// An error on the parent's accounts is detected when the block is submitted.
#[test]
fn block_invalid_on_parent_invalidates_only_descendants() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let genesis = reference.genesis();
    let good = chain_of(&mut reference, genesis, 2);
    let parent = good[1].hash();
    let bad =
        reference.build_on(parent).edit_coinbase(|coinbase| coinbase.commitment = [7; 32]).mine();
    let after = chain_of(&mut reference, bad.hash(), 2);
    let blocks = [good.as_slice(), std::slice::from_ref(&bad), &after].concat();
    let candidates = node.precheck(&blocks);
    assert_eq!(precheck_results(&candidates), [Some(true); 5]);
    let results = submit_all(&mut node, candidates);
    let expected =
        ["Connected", "Connected", "wrong-accounts", "invalid-ancestor", "unknown-parent"];
    assert_eq!(results, expected);
    node.assert_tip_matches(&reference, &good[1]);
}

// Cheap checks come first: signatures are not verified before the header proves its work.
#[test]
fn precheck_skips_body_without_valid_header_and_known_parent() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let genesis = reference.genesis();
    let known = chain_of(&mut reference, genesis, 1).remove(0);
    node.connect(&known);
    let mut no_work = chain_of(&mut reference, genesis, 1).remove(0);
    unsolve_header(&mut no_work.header);
    let early = reference.build_on(genesis).seconds_after(-1).mine();
    let orphan = chain_of(&mut reference, genesis, 2).remove(1);
    for block in [&known, &no_work, &early, &orphan] {
        let candidates = node.precheck(std::slice::from_ref(block));
        assert_eq!(precheck_results(&candidates), [None]);
    }
    let invalid =
        reference.build_on(known.hash()).edit_coinbase(|coinbase| coinbase.reward = 1).mine();
    node.expect_rejection(&invalid);
    assert_eq!(precheck_results(&node.precheck(std::slice::from_ref(&invalid))), [None]);
    let child = reference.build_on(invalid.hash()).mine();
    assert_eq!(precheck_results(&node.precheck(&[child])), [None]);
}

// The blocks after such a block are not prechecked either. The writer validates them itself.
#[test]
fn writer_validates_blocks_that_were_not_prechecked() {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&fixed_params());
    let genesis = reference.genesis();
    let blocks = chain_of(&mut reference, genesis, 3);
    let wrong = forged(&reference, 3);
    let bad = reference.build_on(blocks[1].hash()).transfer(wrong).mine();
    let [a1, a2, a3] = [0, 1, 2].map(|at: usize| blocks[at].clone());
    node.connect(&a1);
    let candidates = node.precheck(&[a1, a2, bad, a3.clone()]);
    assert_eq!(precheck_results(&candidates), [None; 4]);
    let results = submit_all(&mut node, candidates);
    assert_eq!(results, ["AlreadyKnown", "Connected", "bad-signature", "Connected"]);
    node.assert_tip_matches(&reference, &a3);
}
