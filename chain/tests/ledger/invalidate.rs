//! Blocks that an operator sets aside: where the tip goes, that it comes back, and what survives.

use crate::world::{Node, World, easy, lively, person};
use chain::block;
use chain::ledger::{Accepted, ChainTipStatus, InvalidateError};
use chain::rules::Rule;
use chain::{Block, Params};
use std::fs;

fn invalidate(node: &mut Node, block: &Block) {
    node.writer().invalidate(block.hash()).unwrap();
    node.commit();
}

fn reconsider(node: &mut Node, block: &Block) {
    node.writer().reconsider(block.hash()).unwrap();
    node.commit();
}

fn status(node: &Node, end: &Block) -> ChainTipStatus {
    let branches = node.reader().view().chain_tips();
    branches.iter().find(|branch| branch.hash == end.hash()).expect("it is an end").status
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4 ─ a5
//        └─ b1 ─ b2 ─ b3 ─ b4         b4 comes before c4
//                └─ c3 ─ c4
fn forked(params: Params) -> (World, Node, [Vec<Block>; 3]) {
    let mut world = World::new(params);
    let genesis = world.genesis();
    let mut at = genesis;
    let mut paying = |amount| {
        let draft = world.draft(at).miner(person(20).address);
        let block = draft.pay(&person(0), person(1).address, amount, 1).seal();
        at = block.hash();
        block
    };
    let a: Vec<Block> = (1..=5).map(&mut paying).collect();
    let b = world.grow(genesis, 4);
    let c = world.grow(b[1].hash(), 2);
    let mut node = Node::with(&world.params, &a);
    node.take_aside(&b);
    node.take_aside(&c);
    (world, node, [a, b, c])
}

#[test]
fn the_tip_moves_to_the_best_of_the_others_and_comes_back() {
    for params in [easy(), lively()] {
        let (world, mut node, [a, b, c]) = forked(params);
        node.writer().invalidate(a[1].hash()).unwrap();
        assert_eq!(node.tip(), a[4].hash(), "readers see it with the commit");
        let commit = node.commit();
        assert_eq!((commit.disconnected.len(), commit.connected.len()), (5, 4));
        node.agrees_about_the_chain(&world, &b[3]);
        assert_eq!(status(&node, &a[4]), ChainTipStatus::Invalidated);
        assert_eq!(status(&node, &c[1]), ChainTipStatus::ValidFork);

        // Again changes nothing; each further one takes the next away, in the end to a1.
        invalidate(&mut node, &a[1]);
        node.agrees(&world, &b[3]);
        invalidate(&mut node, &b[3]);
        node.agrees(&world, &c[1]);
        invalidate(&mut node, &b[0]);
        node.agrees_about_the_chain(&world, &a[0]);

        reconsider(&mut node, &a[1]);
        node.agrees_about_the_chain(&world, &a[4]);
        assert_eq!(status(&node, &a[4]), ChainTipStatus::Active);
        invalidate(&mut node, &a[0]);
        node.agrees_about_the_chain(&world, world.params.genesis());
    }
}

#[test]
fn transfers_of_a_branch_that_is_set_aside_wait_again() {
    let (world, mut node, [a, ..]) = forked(easy());
    invalidate(&mut node, &a[2]);
    let ids: Vec<_> = a[2..].iter().map(|block| block.transactions[1].id()).collect();
    // b1 to b4 confirm none of them, nor those of a1 and a2.
    assert_eq!(node.reader().view().mempool().count(), 5);
    assert!(ids.iter().all(|id| node.reader().view().mempool().contains(id)));
    reconsider(&mut node, &a[2]);
    assert_eq!(node.reader().view().mempool().count(), 0);
    node.agrees(&world, &a[4]);
}

#[test]
fn with_no_other_branch_the_tip_is_the_parent_and_mining_goes_on_there() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let a = world.grow(genesis, 5);
    let mut node = Node::with(&world.params, &a);
    invalidate(&mut node, &a[3]);
    node.agrees_about_the_chain(&world, &a[2]);
    let b = world.grow(a[2].hash(), 1);
    node.connect_all(&b);
    // It has less work than what was set aside, and so gives way to it.
    reconsider(&mut node, &a[3]);
    node.agrees(&world, &a[4]);
}

#[test]
fn what_descends_from_it_is_taken_in_and_not_followed() {
    let (mut world, mut node, [a, b, _]) = forked(easy());
    invalidate(&mut node, &a[1]);
    let more = world.grow(a[4].hash(), 3);
    for block in &more {
        assert_eq!(node.take(block).unwrap(), Accepted::SideBranch);
    }
    node.commit();
    node.agrees(&world, &b[3]);
    assert_eq!(node.take(&a[4]).unwrap(), Accepted::AlreadyKnown);
    let next = world.grow(b[3].hash(), 1);
    node.connect_all(&next);
    reconsider(&mut node, &a[1]);
    node.agrees_about_the_chain(&world, &more[2]);
}

#[test]
fn a_mark_outlives_stops_kills_and_a_lost_index() {
    let (world, mut node, [a, b, c]) = forked(lively());
    invalidate(&mut node, &a[1]);
    let lose_index = |node: &Node| fs::remove_dir_all(node.path().join("index")).unwrap();
    for lost in [false, true] {
        node.close();
        if lost {
            lose_index(&node);
        }
        node.start();
        node.agrees_about_the_chain(&world, &b[3]);
        node.close();
        assert_eq!(node.verify().unwrap().tip, b[3].hash());
        node.start();
        // The mark is newer than the index.
        invalidate(&mut node, &b[2]);
        node.kill();
        node.start();
        node.agrees_about_the_chain(&world, &c[1]);
        reconsider(&mut node, &b[2]);
        node.kill();
        node.start();
        node.agrees_about_the_chain(&world, &b[3]);
    }
    reconsider(&mut node, &a[1]);
    node.close();
    lose_index(&node);
    node.start();
    node.agrees_about_the_chain(&world, &a[4]);
}

#[test]
fn to_reconsider_a_block_takes_back_marks_on_its_ancestors_and_descendants() {
    let (world, mut node, [a, b, c]) = forked(easy());
    for block in [&a[1], &a[3], &b[3], &c[0]] {
        invalidate(&mut node, block);
    }
    node.agrees(&world, &b[2]);
    reconsider(&mut node, &b[0]);
    node.agrees(&world, &b[3]);
    reconsider(&mut node, &a[4]);
    node.agrees(&world, &a[4]);
    assert_eq!(status(&node, &c[1]), ChainTipStatus::ValidFork);
}

// b3 takes too much, which nobody knows until b is tried.
#[test]
fn a_branch_that_turns_out_invalid_is_passed_over() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let a = world.grow(genesis, 5);
    let mut b = world.grow(genesis, 2);
    let b3 = world.draft(b[1].hash());
    b.push(b3.coinbase(|coinbase| coinbase.reward += 1).seal());
    b.extend(world.grow(b[2].hash(), 1));
    let mut node = Node::with(&world.params, &a);
    node.take_aside(&b);
    invalidate(&mut node, &a[1]);
    node.agrees_about_the_chain(&world, &b[1]);
    assert_eq!(status(&node, &b[3]), ChainTipStatus::Invalid { rule: Rule::WrongReward });
    reconsider(&mut node, &a[1]);
    node.agrees_about_the_chain(&world, &a[4]);
}

#[test]
fn genesis_and_what_is_not_here_cannot_be_set_aside() {
    let (world, mut node, [a, ..]) = forked(easy());
    let genesis = world.genesis();
    assert!(matches!(node.writer().invalidate(genesis), Err(InvalidateError::Genesis)));
    let unknown = block::Hash::from_bytes([7; 32]);
    let error = node.writer().invalidate(unknown).unwrap_err();
    assert!(matches!(error, InvalidateError::Unknown { hash } if hash == unknown));
    assert!(matches!(node.writer().reconsider(unknown), Err(InvalidateError::Unknown { .. })));
    // Nothing is marked, so this changes nothing.
    reconsider(&mut node, &a[0]);
    node.agrees(&world, &a[4]);
}
