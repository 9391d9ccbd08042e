//! What readers see: one tip at a time, nothing that is not safe, and all of it right.

use crate::world::{Node, World, easy, lively, person};
use chain::accounts::AccountView;
use chain::ledger::Accepted;
use chain::tx::Id;
use chain::{Amount, Block, Height, block};
use std::sync::atomic::{AtomicBool, Ordering};

/// Three blocks that name persons 0, 1 and 20 in several ways.
fn named(world: &mut World) -> Vec<Block> {
    let (a, b, c) = (person(0), person(1), person(20));
    let first = world.draft(world.genesis()).miner(a.address).pay(&a, b.address, 5, 1).seal();
    let draft = world.draft(first.hash()).miner(c.address).pay(&a, a.address, 5, 1);
    let second = draft.pay(&b, a.address, 1, 1).seal();
    let third = world.draft(second.hash()).miner(a.address).pay(&b, c.address, 9, 0).seal();
    vec![first, second, third]
}

#[test]
fn a_new_ledger_shows_genesis_and_the_allocations() {
    let world = World::new(easy());
    let node = Node::new(&world.params);
    node.agrees_in_full(&world, world.params.genesis());
    let view = node.reader().view();
    assert_eq!(view.at_height(Height::GENESIS).unwrap().hash, world.genesis());
    assert!(view.tip().is_valid());
    assert_eq!(view.transaction(&world.params.genesis().ids()[0]).unwrap(), None);
}

#[test]
fn everything_is_as_the_reference_says_after_every_block() {
    for params in [easy(), lively()] {
        let mut world = World::new(params);
        let blocks = named(&mut world);
        let mut node = Node::new(&world.params);
        for block in &blocks {
            node.connect(block);
            node.agrees_in_full(&world, block);
            node.writer().flush().unwrap();
            node.agrees_in_full(&world, block);
        }
    }
}

#[test]
fn an_entry_says_where_each_transaction_stands_and_a_transfer_to_oneself_stands_once() {
    let mut world = World::new(easy());
    let blocks = named(&mut world);
    let node = Node::with(&world.params, &blocks);
    let view = node.reader().view();
    let history = |number| {
        let found = view.history(&person(number).address, u32::MAX, 100).unwrap();
        found.into_iter().rev().map(|(_, entry)| (entry.height.get(), entry.position)).collect()
    };
    let of_a: Vec<(u32, u32)> = history(0);
    assert_eq!(of_a, [(1, 0), (1, 1), (2, 1), (2, 2), (3, 0)]);
    let of_c: Vec<(u32, u32)> = history(20);
    assert_eq!(of_c, [(2, 0), (3, 1)]);
    assert_eq!(view.history(&person(0).address, 0, 100).unwrap(), []);
    assert_eq!(view.history(&person(0).address, 3, 0).unwrap(), []);
    assert_eq!(view.history(&person(0).address, 3, 1).unwrap()[0].0, 2);
    assert_eq!(view.transaction(&Id::ZERO).unwrap(), None);
}

#[test]
fn a_reward_is_immature_until_it_can_be_spent() {
    let mut world = World::new(lively());
    let miner = person(20).address;
    let first = world.draft(world.genesis()).miner(miner).seal();
    let mut blocks = vec![first.clone()];
    blocks.extend(world.grow(first.hash(), 3));
    let mut node = Node::new(&world.params);
    let mut seen = Vec::new();
    for block in &blocks {
        node.connect(block);
        let view = node.reader().view();
        let balance = view.account(&miner).unwrap().balance;
        seen.push((view.immature_balance(&miner).units(), balance.units()));
    }
    assert_eq!(seen, [(1_000, 0), (1_000, 0), (1_000, 0), (0, 1_000)]);
}

#[test]
fn nothing_is_seen_before_it_is_committed() {
    let mut world = World::new(easy());
    let blocks = named(&mut world);
    let side = world.grow(blocks[0].hash(), 1);
    let mut node = Node::with(&world.params, &blocks[..1]);
    for block in [&blocks[1], &side[0], &blocks[2]] {
        node.take(block).unwrap();
        let view = node.reader().view();
        assert!(view.find(&block.hash()).is_none());
        assert_eq!((view.tip().hash, view.block_count()), (blocks[0].hash(), 2));
        assert_eq!(view.chain_tips().len(), 1);
        assert!(view.at_height(Height::new(2)).is_none());
        drop(view);
        // A flush writes nothing that is not shown.
        node.writer().flush().unwrap();
        node.agrees(&world, &blocks[0]);
    }
    node.commit();
    node.agrees_in_full(&world, &blocks[2]);
}

#[test]
fn a_block_that_was_here_before_is_known_on_whatever_branch() {
    let mut world = World::new(easy());
    let blocks = named(&mut world);
    let side = world.grow(world.genesis(), 2);
    let mut node = Node::with(&world.params, &blocks);
    node.take_aside(&side);
    let genesis = world.params.genesis().clone();
    for block in blocks.iter().chain(&side).chain([&genesis]) {
        assert_eq!(node.take(block).unwrap(), Accepted::AlreadyKnown);
    }
    let commit = node.commit();
    assert!(commit.connected.is_empty() && commit.disconnected.is_empty());
}

#[test]
fn a_commit_names_the_blocks_that_left_and_entered_in_their_order() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let (short, long) = (world.grow(genesis, 2), world.grow(genesis, 3));
    let mut node = Node::with(&world.params, &short);
    node.take_aside(&long[..2]);
    node.take(&long[2]).unwrap();
    let commit = node.commit();
    let view = node.reader().view();
    let hashes = |numbers: &[chain::block_index::NodeId]| -> Vec<block::Hash> {
        numbers.iter().map(|number| view.node(*number).hash).collect()
    };
    assert_eq!(hashes(&commit.disconnected), [short[1].hash(), short[0].hash()]);
    assert_eq!(hashes(&commit.connected), [0, 1, 2].map(|at: usize| long[at].hash()));
    assert!(!view.is_in_best_chain(view.find(&short[1].hash()).unwrap()));
    assert_eq!(view.confirmations(view.find(&short[1].hash()).unwrap()), 0);
    assert_eq!(view.confirmations(view.find(&long[0].hash()).unwrap()), 3);
}

// A view is of one tip, whatever is committed meanwhile: in each of them the money adds up.
#[test]
fn readers_on_other_threads_never_see_half_a_block() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let pay = |world: &mut World, parent, blocks: u64| {
        let mut at = parent;
        let mut one = |amount| {
            let [a, b] = [amount % 3, (amount + 1) % 3].map(|n| person(u8::try_from(n).unwrap()));
            let block = world.draft(at).miner(a.address).pay(&a, b.address, 1 + amount, 2).seal();
            at = block.hash();
            block
        };
        (0..blocks).map(&mut one).collect::<Vec<_>>()
    };
    let (short, long) = (pay(&mut world, genesis, 60), pay(&mut world, genesis, 61));
    let mut node = Node::new(&world.params);
    let readers = [node.reader().clone(), node.reader().clone()];
    let is_done = AtomicBool::new(false);
    let watch = |reader: &chain::ledger::Reader| {
        let (mut views, mut tips) = (0, 0);
        let mut last = block::Hash::ZERO;
        while !is_done.load(Ordering::Acquire) {
            let view = reader.view();
            let sum = (0..10).fold(0, |sum, number| {
                let address = person(number).address;
                let balance = view.account(&address).unwrap().balance;
                sum + balance.units() + view.immature_balance(&address).units()
            });
            assert_eq!(Amount::new(sum).unwrap(), view.params().issued(view.tip().height));
            let found = view.at_height(view.tip().height).unwrap();
            assert_eq!(found.hash, view.tip().hash);
            views += 1;
            tips += u32::from(view.tip().hash != last);
            last = view.tip().hash;
        }
        (views, tips)
    };
    std::thread::scope(|scope| {
        let watchers: Vec<_> =
            readers.iter().map(|reader| scope.spawn(move || watch(reader))).collect();
        for block in &short {
            node.connect(block);
        }
        node.writer().flush().unwrap();
        node.take_aside(&long[..60]);
        node.connect(&long[60]);
        is_done.store(true, Ordering::Release);
        for watcher in watchers {
            let (views, tips) = watcher.join().unwrap();
            assert!(views > 0 && tips > 0);
        }
    });
    node.agrees(&world, &long[60]);
}
