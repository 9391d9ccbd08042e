//! Blocks that are checked alone before it is their turn: the writer judges them, and those around
//! them, exactly as if it had checked them itself. `Node::take` compares the two for every block of
//! every other test.

use crate::world::{Node, World, easy, is_met, person};
use chain::ledger::PrecheckedBlock;
use chain::rules::RuleError;
use chain::tx::{Id, Transfer};
use chain::{Block, block};
use std::sync::Arc;

/// What becomes of candidates, in order: what they were accepted as, or the code of their rule.
fn hand_in(node: &mut Node, candidates: Vec<PrecheckedBlock>) -> Vec<String> {
    let now = node.now;
    let mut tell = |candidate| match node.writer().submit_block(candidate, now) {
        Ok(accepted) => format!("{accepted:?}"),
        Err(error) => error.code().expect("the disk works").to_owned(),
    };
    let told = candidates.into_iter().map(&mut tell).collect();
    node.commit();
    told
}

/// Whether the bodies of candidates were checked and found good.
fn judgements(candidates: &[PrecheckedBlock]) -> Vec<Option<bool>> {
    candidates.iter().map(|it| it.precheck_result().map(|judged| judged.is_ok())).collect()
}

/// A chain of so many blocks after one, each with some transfers.
fn chain_of(world: &mut World, mut parent: block::Hash, blocks: u8) -> Vec<Block> {
    let mut grow = |_| {
        let draft = world.draft(parent);
        let draft =
            (0..4).fold(draft, |draft, n| draft.pay(&person(n), person(n + 20).address, 5, 1));
        let block = draft.seal();
        parent = block.hash();
        block
    };
    (0..blocks).map(&mut grow).collect()
}

/// A transfer whose signature is another one's.
fn forged(world: &World, amount: u64) -> Transfer {
    let payment = |amount| chain::tx::Payment {
        nonce: 0,
        recipient: person(20).address,
        amount,
        fee: 0,
        memo: chain::tx::Memo::default(),
    };
    let sign = |amount| Transfer::sign(payment(amount), &person(9).key, world.genesis());
    Transfer { signature: sign(1_000).signature, ..sign(amount) }
}

#[test]
fn a_chain_that_is_checked_ahead_becomes_the_best() {
    let mut world = World::new(easy());
    let mut node = Node::new(&easy());
    let genesis = world.genesis();
    let blocks = chain_of(&mut world, genesis, 9);
    let candidates = node.check_ahead(&blocks);
    assert_eq!(judgements(&candidates), [Some(true); 9]);
    assert_eq!(hand_in(&mut node, candidates), ["Connected"; 9]);
    node.taken.extend(blocks.iter().map(Block::hash));
    node.agrees_in_full(&world, &blocks[8]);
}

// The checker is ahead of the writer by more than one call.
#[test]
fn blocks_follow_those_that_the_writer_has_not_come_to_yet() {
    let mut world = World::new(easy());
    let mut node = Node::new(&easy());
    let genesis = world.genesis();
    let blocks = chain_of(&mut world, genesis, 6);
    let (now, mut prechecker) = (node.now, node.writer().prechecker());
    let [first, second] = [&blocks[..3], &blocks[3..]]
        .map(|some| prechecker.precheck(some.iter().cloned().map(Arc::new).collect(), now));
    assert_eq!(judgements(&second), [Some(true); 3]);
    assert_eq!(hand_in(&mut node, first), ["Connected"; 3]);
    assert_eq!(hand_in(&mut node, second), ["Connected"; 3]);
    node.agrees(&world, &blocks[5]);
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4        a2 is forged
//              ├ b2                  forged too
//              └ c2 ─ c3
//
// bad-signature, C30: verified together, each is still its own block's fault.
#[test]
fn a_bad_signature_among_many_is_that_of_its_block_and_transfer() {
    let mut world = World::new(easy());
    let mut node = Node::new(&easy());
    let genesis = world.genesis();
    let a1 = chain_of(&mut world, genesis, 1).remove(0);
    let (wrong, other_wrong) = (forged(&world, 7), forged(&world, 8));
    let spoiled = |world: &mut World, first: &Transfer, second: &Transfer| {
        let draft = world.draft(a1.hash()).pay(&person(1), person(2).address, 1, 0);
        draft.transfer(first.clone()).transfer(second.clone()).seal()
    };
    let a2 = spoiled(&mut world, &wrong, &other_wrong);
    let after = chain_of(&mut world, a2.hash(), 2);
    let blocks = [&[a1.clone(), a2.clone()], after.as_slice()].concat();
    let candidates = node.check_ahead(&blocks);
    assert_eq!(judgements(&candidates), [Some(true), Some(false), Some(true), Some(true)]);
    let expected = RuleError::BadSignature { id: wrong.id() };
    assert_eq!(candidates[1].precheck_result(), Some(Err(&expected)));
    let told = ["Connected", "bad-signature", "invalid-ancestor", "unknown-parent"];
    assert_eq!(hand_in(&mut node, candidates), told);
    assert!(node.reader().view().is_known_invalid(&a2.hash()));

    let b2 = spoiled(&mut world, &other_wrong, &wrong);
    let candidates = node.check_ahead(std::slice::from_ref(&b2));
    let expected: Id = other_wrong.id();
    assert_eq!(
        candidates[0].precheck_result(),
        Some(Err(&RuleError::BadSignature { id: expected }))
    );
    assert_eq!(hand_in(&mut node, candidates), ["bad-signature"]);
    let c = chain_of(&mut world, a1.hash(), 2);
    let candidates = node.check_ahead(&c);
    assert_eq!(hand_in(&mut node, candidates), ["Connected", "Connected"]);
    node.agrees(&world, &c[1]);
}

#[test]
fn every_block_of_several_with_bad_signatures_is_told_which() {
    let mut world = World::new(easy());
    let mut node = Node::new(&easy());
    let wrong: Vec<Transfer> = (1..=5).map(|amount| forged(&world, amount)).collect();
    let genesis = world.genesis();
    let mut blocks = Vec::new();
    for (number, transfer) in (0..).zip(&wrong) {
        let draft = world.draft(genesis).pay(&person(number), person(30).address, 1, 0);
        let draft = draft.transfer(transfer.clone());
        blocks.push(draft.pay(&person(8), person(31).address, 1, 0).seal());
        blocks.push(world.draft(genesis).pay(&person(number), person(30).address, 2, 0).seal());
    }
    let candidates = node.check_ahead(&blocks);
    for (pair, transfer) in candidates.chunks(2).zip(&wrong) {
        let expected = RuleError::BadSignature { id: transfer.id() };
        assert_eq!(pair[0].precheck_result(), Some(Err(&expected)));
        assert_eq!(pair[1].precheck_result(), Some(Ok(())));
    }
}

// What is wrong only on the parent's accounts shows when it is the block's turn.
#[test]
fn a_block_that_does_not_fit_its_parent_spoils_those_after_it_only() {
    let mut world = World::new(easy());
    let mut node = Node::new(&easy());
    let genesis = world.genesis();
    let good = chain_of(&mut world, genesis, 2);
    let parent = good[1].hash();
    let bad = world.draft(parent).coinbase(|coinbase| coinbase.commitment = [7; 32]).seal();
    let after = chain_of(&mut world, bad.hash(), 2);
    let blocks = [good.as_slice(), std::slice::from_ref(&bad), &after].concat();
    let candidates = node.check_ahead(&blocks);
    assert_eq!(judgements(&candidates), [Some(true); 5]);
    let told = hand_in(&mut node, candidates);
    let expected =
        ["Connected", "Connected", "wrong-accounts", "invalid-ancestor", "unknown-parent"];
    assert_eq!(told, expected);
    node.agrees(&world, &good[1]);
}

// Cheap before dear: nobody has this node verify signatures for a header that cost nothing.
#[test]
fn a_body_is_not_looked_at_before_its_header_is_right_and_its_parent_there() {
    let mut world = World::new(easy());
    let mut node = Node::new(&easy());
    let genesis = world.genesis();
    let known = chain_of(&mut world, genesis, 1).remove(0);
    node.connect(&known);
    let mut no_work = chain_of(&mut world, genesis, 1).remove(0);
    while is_met(&no_work.header) {
        no_work.header.nonce += 1;
    }
    let early = world.draft(genesis).after(-1).seal();
    let orphan = chain_of(&mut world, genesis, 2).remove(1);
    for block in [&known, &no_work, &early, &orphan] {
        let candidates = node.check_ahead(std::slice::from_ref(block));
        assert_eq!(judgements(&candidates), [None]);
    }
    let condemned = world.draft(known.hash()).coinbase(|coinbase| coinbase.reward = 1).seal();
    node.refuse(&condemned);
    assert_eq!(judgements(&node.check_ahead(std::slice::from_ref(&condemned))), [None]);
    let child = world.draft(condemned.hash()).seal();
    assert_eq!(judgements(&node.check_ahead(&[child])), [None]);
}

// Nor are those behind such a block, which the writer then checks as it always did.
#[test]
fn what_was_not_checked_ahead_the_writer_checks_itself() {
    let mut world = World::new(easy());
    let mut node = Node::new(&easy());
    let genesis = world.genesis();
    let blocks = chain_of(&mut world, genesis, 3);
    let wrong = forged(&world, 3);
    let bad = world.draft(blocks[1].hash()).transfer(wrong).seal();
    let [a1, a2, a3] = [0, 1, 2].map(|at: usize| blocks[at].clone());
    node.connect(&a1);
    let candidates = node.check_ahead(&[a1, a2, bad, a3.clone()]);
    assert_eq!(judgements(&candidates), [None; 4]);
    let told = hand_in(&mut node, candidates);
    assert_eq!(told, ["AlreadyKnown", "Connected", "bad-signature", "Connected"]);
    node.agrees(&world, &a3);
}
