//! From one branch to another: which one wins, what becomes of the accounts, and what does not.

use crate::world::{Node, World, easy, easy_with, lively, log_bytes, person};
use chain::ledger::{Accepted, ChainTipStatus, SubmitError};
use chain::rules::Rule;
use chain::tx::Transfer;
use chain::{Block, block};

/// Blocks on a parent that each move money between a few persons and a new one.
fn busy(world: &mut World, parent: block::Hash, blocks: u64) -> Vec<Block> {
    let mut at = parent;
    let mut busy = |round: u64| {
        let [a, b] = [round, round + 3].map(|number| person(u8::try_from(number % 5).unwrap()));
        let new = person(u8::try_from(20 + round % 90).unwrap());
        let block = world
            .draft(at)
            .miner(b.address)
            .pay(&a, b.address, 5 + round, 1)
            .pay(&a, new.address, 3, round % 2)
            .pay(&b, b.address, 2, 2)
            .seal();
        at = block.hash();
        block
    };
    (0..blocks).map(&mut busy).collect()
}

/// Two branches from genesis, the second one block longer; a node that has seen both ends on the
/// second one with exactly the accounts of a node that never saw the first.
fn reorganises(depth: u64) {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let (short, long) = (busy(&mut world, genesis, depth), busy(&mut world, genesis, depth + 1));
    let mut node = Node::with(&world.params, &short);
    let (last, before) = long.split_last().unwrap();
    node.take_aside(before);
    let end = world.block(short.last().unwrap().hash()).clone();
    node.agrees(&world, &end);
    assert_eq!(node.take(last).unwrap(), Accepted::Connected);
    let commit = node.commit();
    let (left, entered) = (commit.disconnected.len(), commit.connected.len());
    assert_eq!((left as u64, entered as u64), (depth, depth + 1));
    assert_eq!(commit.confirmed as u64, 3 * (depth + 1), "those of the blocks that entered");
    node.agrees(&world, last);
    if depth <= 100 {
        node.agrees_in_full(&world, last);
    }
    // And back, over a third branch from the first one's end.
    let back = busy(&mut world, end.hash(), 2);
    node.take_aside(&back[..1]);
    node.connect(&back[1]);
    node.agrees(&world, &back[1]);
}

// C22
#[test]
fn of_1_6_100_and_1088_blocks_ends_with_the_accounts_of_a_fresh_replay() {
    for depth in [1, 6, 100, 1_088] {
        reorganises(depth);
    }
}

// C22; `cargo test --release -p chain --test ledger of_10_000 -- --ignored`
#[test]
#[ignore = "takes a minute"]
fn of_10_000_blocks_ends_with_the_accounts_of_a_fresh_replay() {
    reorganises(10_000);
}

/// Tip, all accounts and rows that a reader sees, as one comparable text, and the log's bytes.
fn everything(node: &Node, world: &World) -> (String, Vec<u8>) {
    use std::fmt::Write as _;
    let view = node.reader().view();
    let mut text = format!("{:?} {}", view.tip(), view.block_count());
    for address in world.addresses() {
        let account = chain::accounts::AccountView::account(&view, &address).unwrap();
        let history = view.history(&address, u32::MAX, usize::MAX).unwrap();
        let immature = view.immature_balance(&address);
        write!(text, "\n{address:?} {account:?} {immature} {history:?}").unwrap();
    }
    for id in world.transactions() {
        let location = view.transaction(&id).unwrap().map(|(_, entry)| entry);
        write!(text, "\n{id} {location:?}").unwrap();
    }
    (text, log_bytes(node.path()))
}

// genesis ─ a1 ─ a2 ─ a3 ─ a4
//        └─ b1 ─ b2 ─ b3 ─ b4 ─ b5      b3 takes too much; b5 makes the branch heavier
//
// C23, C45
#[test]
fn to_a_branch_whose_third_block_is_invalid_leaves_everything_as_it_was() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let a = busy(&mut world, genesis, 4);
    let mut node = Node::with(&world.params, &a);
    let mut b = busy(&mut world, genesis, 2);
    let b3 = world.draft(b[1].hash()).pay(&person(7), person(8).address, 1, 1);
    b.push(b3.coinbase(|coinbase| coinbase.reward += 1).seal());
    b.extend(world.grow(b[2].hash(), 2));
    let (heavier, rest) = b.split_last().unwrap();
    node.take_aside(rest);

    let before = everything(&node, &world);
    let ends: Vec<_> = node.reader().view().chain_tips();
    let ends: Vec<_> = ends.iter().map(|end| (end.hash, end.height, end.branch_length)).collect();
    assert_eq!(ends.len(), 2);
    let error = node.refuse(heavier);
    assert_eq!(error.code(), Some("invalid-ancestor"));
    assert!(everything(&node, &world) == before);
    // The ends of the branches are in the order they were in, now with what is known of them.
    let branches = node.reader().view().chain_tips();
    let statuses: Vec<_> = branches.iter().map(|end| (end.hash, end.status)).collect();
    let invalid = ChainTipStatus::Invalid { rule: Rule::WrongReward };
    let ancestor = ChainTipStatus::Invalid { rule: Rule::InvalidAncestor };
    assert_eq!(statuses.len(), 3);
    assert_eq!(statuses[0], (a[3].hash(), ChainTipStatus::Active));
    assert!(statuses.contains(&(b[3].hash(), invalid)));
    assert!(statuses.contains(&(b[4].hash(), ancestor)));
    node.agrees(&world, &a[3]);

    // No retry: not for the same block, nor for others on the branch, nor after a flush.
    for _ in 0..1_000 {
        assert!(matches!(node.take(heavier), Err(SubmitError::KnownInvalid { .. })));
    }
    node.writer().flush().unwrap();
    let child = world.draft(b[3].hash()).seal();
    assert_eq!(node.refuse(&child).code(), Some("invalid-ancestor"));
    assert!(everything(&node, &world).1 == before.1);

    // It is known to be invalid after a restart too.
    node.close();
    assert_eq!(node.start(), []);
    assert!(matches!(node.take(&b[3]), Err(SubmitError::KnownInvalid { .. })));
    assert_eq!(node.take(&b[1]).unwrap(), Accepted::AlreadyKnown);
    let next = busy(&mut world, a[3].hash(), 1);
    node.connect_all(&next);
    node.agrees(&world, &next[0]);
}

// C45
#[test]
fn a_child_of_an_invalid_block_is_refused_a_thousand_times_without_a_look_at_its_body() {
    let mut world = World::new(easy());
    let bad = world.draft(world.genesis()).coinbase(|coinbase| coinbase.reward += 1).seal();
    let mut node = Node::new(&world.params);
    node.refuse(&bad);
    // Were its body looked at, another code would come first.
    let mut child = world.draft(bad.hash()).seal();
    child.transactions.clear();
    for _ in 0..1_000 {
        assert_eq!(node.take(&child).unwrap_err().code(), Some("invalid-ancestor"));
    }
    assert_eq!(node.reader().view().block_count(), 1);
}

// genesis ─ a1 ─ a2
//        └─ b1 ─ b2     as heavy, and later
//
// C24
#[test]
fn the_first_of_two_equals_stays_also_after_restarts_until_the_next_block_decides() {
    let restarts: [fn(&mut Node); 3] = [
        |node| node.close(),
        Node::kill,
        |node| {
            node.close();
            std::fs::remove_dir_all(node.path().join("index")).unwrap();
        },
    ];
    for restart in restarts {
        for first in [0, 1] {
            let mut world = World::new(easy());
            let genesis = world.genesis();
            let branches = [busy(&mut world, genesis, 2), busy(&mut world, genesis, 2)];
            let (a, b) = (&branches[first], &branches[1 - first]);
            let mut node = Node::with(&world.params, a);
            node.take_aside(b);
            restart(&mut node);
            node.start();
            node.agrees_in_full(&world, &a[1]);
            assert_eq!(node.take(&b[1]).unwrap(), Accepted::AlreadyKnown);
            let next = busy(&mut world, b[1].hash(), 1);
            node.connect_all(&next);
            node.agrees_in_full(&world, &next[0]);
            // Now a is the later one.
            let a3 = busy(&mut world, a[1].hash(), 1);
            node.take_aside(&a3);
            restart(&mut node);
            node.start();
            node.agrees_in_full(&world, &next[0]);
        }
    }
}

// A branch with fewer blocks can have more work.
#[test]
fn work_decides_and_not_the_number_of_blocks() {
    let mut world = World::new(lively());
    let mut slow = vec![world.draft(world.genesis()).seal()];
    let mut fast = vec![slow[0].clone()];
    // Late blocks are easy, those of the same second harder and harder.
    for _ in 0..40 {
        let parent = slow[slow.len() - 1].hash();
        slow.push(world.draft(parent).after(10_000).seal());
        let parent = fast[fast.len() - 1].hash();
        fast.push(world.draft(parent).after(0).seal());
    }
    let work = |block: &Block| world.known(block.hash()).work;
    let enough = fast.iter().position(|block| work(block) > work(&slow[40])).unwrap();
    assert!(enough < 40);
    let mut node = Node::with(&world.params, &slow);
    node.take_aside(&fast[1..enough]);
    node.connect(&fast[enough]);
    node.agrees_in_full(&world, &fast[enough]);
}

// C27
#[test]
fn a_transfer_can_be_in_both_branches_and_counts_once() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let a = world.draft(genesis).pay(&person(0), person(20).address, 10, 1).seal();
    let transfer: Transfer = a.transfers().next().unwrap().1.clone();
    let b1 =
        world.draft(genesis).transfer(transfer.clone()).pay(&person(0), person(1).address, 1, 0);
    let b1 = b1.seal();
    let b2 = world.draft(b1.hash()).seal();
    let mut node = Node::with(&world.params, std::slice::from_ref(&a));
    node.take_aside(std::slice::from_ref(&b1));
    node.connect(&b2);
    node.agrees_in_full(&world, &b2);
    let again = world.draft(b2.hash()).transfer(transfer).seal();
    assert_eq!(node.refuse(&again).code(), Some("bad-nonce"));
}

// C22, C42: an account that is emptied, and one that exists on one branch only.
#[test]
fn accounts_that_the_other_branch_never_had_are_gone() {
    let mut world = World::new(easy());
    let (rich, new) = (person(0), person(20));
    let genesis = world.genesis();
    let a1 = world.draft(genesis).miner(new.address).pay(&rich, new.address, 10, 0).seal();
    let a2 = world.draft(a1.hash()).pay(&new, rich.address, 5, 5).seal();
    let b = world.grow(genesis, 3);
    let mut node = Node::with(&world.params, &[a1, a2.clone()]);
    node.agrees_in_full(&world, &a2);
    node.take_aside(&b[..2]);
    node.connect(&b[2]);
    node.agrees_in_full(&world, &b[2]);
    assert_eq!(node.reader().view().transaction_count(&new.address).unwrap(), 0);
    node.close();
    node.start();
    node.agrees_in_full(&world, &b[2]);
}

// More history entries than a page holds, cut back to a page's end, and grown again.
#[test]
fn histories_longer_than_a_page_follow_a_reorganisation() {
    let mut world = World::new(easy());
    let (a, b) = (person(0), person(1));
    let pay = |world: &mut World, parent, count| {
        let draft = world.draft(parent);
        (0..count).fold(draft, |draft, _| draft.pay(&a, b.address, 1, 0)).seal()
    };
    let genesis = world.genesis();
    let first = pay(&mut world, genesis, 250);
    let short = pay(&mut world, first.hash(), 20);
    let long = [pay(&mut world, first.hash(), 6), world.grow(first.hash(), 1).remove(0)];
    let mut node = Node::with(&world.params, &[first, short.clone()]);
    node.agrees_in_full(&world, &short);
    let end = pay(&mut world, long[0].hash(), 270);
    node.take_aside(&long[..1]);
    node.connect(&end);
    node.agrees_in_full(&world, &end);
    node.writer().flush().unwrap();
    let empty = world.grow(long[1].hash(), 2);
    node.take_aside(&[long[1].clone(), empty[0].clone()]);
    node.connect(&empty[1]);
    node.agrees_in_full(&world, &empty[1]);
    let again = pay(&mut world, empty[1].hash(), 30);
    node.connect(&again);
    node.agrees_in_full(&world, &again);
}

// C25: each of them costs its maker the work of a block; a node keeps it and stays where it was.
#[test]
fn a_thousand_one_block_forks_at_the_tip_change_nothing() {
    let mut world = World::new(easy_with(|spec| spec.max_future_seconds = 1));
    let chain = world.grow(world.genesis(), 3);
    let mut node = Node::with(&world.params, &chain);
    let forks: Vec<Block> = (0..1_000).map(|_| world.draft(chain[1].hash()).seal()).collect();
    node.take_aside(&forks);
    assert_eq!(node.reader().view().chain_tips().len(), 1_001);
    node.agrees(&world, &chain[2]);
    let next = world.grow(forks[500].hash(), 1);
    node.connect_all(&next);
    node.agrees(&world, &next[0]);
    node.close();
    assert_eq!(node.start(), []);
    assert_eq!(node.reader().view().chain_tips().len(), 1_001);
    node.agrees(&world, &next[0]);
}

// What is taken in but not committed can be reorganised too; readers see the outcome only.
#[test]
fn within_one_commit_shows_only_its_outcome() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let (short, long) = (busy(&mut world, genesis, 3), busy(&mut world, genesis, 4));
    let mut node = Node::new(&world.params);
    for block in short.iter().chain(&long) {
        node.take(block).unwrap();
        node.agrees(&world, world.block(genesis));
    }
    let commit = node.commit();
    assert_eq!((commit.disconnected.len(), commit.connected.len()), (0, 4));
    node.agrees_in_full(&world, &long[3]);
}
