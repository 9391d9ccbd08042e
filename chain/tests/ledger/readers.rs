//! The views of readers: consistent, of one tip, and of durable blocks only.

use crate::harness::{Reference, TestNode, fixed_params, varying_params, wallet};
use chain::accounts::AccountView;
use chain::ledger::Accepted;
use chain::mempool::{Admission, Replacement, Source};
use chain::tx::Id;
use chain::{Amount, Block, Height, block};
use std::sync::atomic::{AtomicBool, Ordering};

/// Three blocks that involve wallets 0, 1 and 20 in several ways.
fn blocks_with_history(reference: &mut Reference) -> Vec<Block> {
    let (a, b, c) = (wallet(0), wallet(1), wallet(20));
    let first =
        reference.build_on(reference.genesis()).miner(a.address).pay(&a, b.address, 5, 1).mine();
    let builder = reference.build_on(first.hash()).miner(c.address).pay(&a, a.address, 5, 1);
    let second = builder.pay(&b, a.address, 1, 1).mine();
    let third = reference.build_on(second.hash()).miner(a.address).pay(&b, c.address, 9, 0).mine();
    vec![first, second, third]
}

#[test]
fn new_ledger_has_genesis_and_allocations() {
    let reference = Reference::new(fixed_params());
    let node = TestNode::new(&reference.params);
    node.assert_matches(&reference, reference.params.genesis());
    let view = node.reader().view();
    assert_eq!(view.at_height(Height::GENESIS).unwrap().hash, reference.genesis());
    assert!(view.tip().is_valid());
    assert_eq!(view.transaction(&reference.params.genesis().ids()[0]).unwrap(), None);
}

#[test]
fn views_match_reference_after_every_block() {
    for params in [fixed_params(), varying_params()] {
        let mut reference = Reference::new(params);
        let blocks = blocks_with_history(&mut reference);
        let mut node = TestNode::new(&reference.params);
        for block in &blocks {
            node.connect(block);
            node.assert_matches(&reference, block);
            node.writer().flush().unwrap();
            node.assert_matches(&reference, block);
        }
    }
}

#[test]
fn confirmed_transfer_is_known_when_it_is_submitted_again() {
    let mut reference = Reference::new(fixed_params());
    let blocks = blocks_with_history(&mut reference);
    let other = reference.build_on(reference.genesis());
    let other = other.pay(&wallet(0), wallet(1).address, 6, 1_000).mine();
    let mut node = TestNode::with_blocks(&reference.params, &blocks);
    for (_, transfer) in blocks.iter().flat_map(Block::transfers) {
        let submitted =
            node.writer().submit_transfer(transfer.clone(), Replacement::Allowed, Source::Peer);
        let admission = submitted.unwrap();
        assert_eq!(admission, Admission::AlreadyKnown);
    }
    let (_, other) = other.transfers().next().unwrap();
    let submitted =
        node.writer().submit_transfer(other.clone(), Replacement::Allowed, Source::Peer);
    let error = submitted.unwrap_err();
    assert_eq!(error.code(), Some("nonce-used"), "{error}");
}

#[test]
fn history_lists_transfer_to_self_once() {
    let mut reference = Reference::new(fixed_params());
    let blocks = blocks_with_history(&mut reference);
    let node = TestNode::with_blocks(&reference.params, &blocks);
    let view = node.reader().view();
    let history = |number| {
        let found = view.history(&wallet(number).address, u32::MAX, 100).unwrap();
        found.into_iter().rev().map(|(_, entry)| (entry.height.get(), entry.position)).collect()
    };
    let of_a: Vec<(u32, u32)> = history(0);
    assert_eq!(of_a, [(1, 0), (1, 1), (2, 1), (2, 2), (3, 0)]);
    let of_c: Vec<(u32, u32)> = history(20);
    assert_eq!(of_c, [(2, 0), (3, 1)]);
    assert_eq!(view.history(&wallet(0).address, 0, 100).unwrap(), []);
    assert_eq!(view.history(&wallet(0).address, 3, 0).unwrap(), []);
    assert_eq!(view.history(&wallet(0).address, 3, 1).unwrap()[0].0, 2);
    assert_eq!(view.transaction(&Id::ZERO).unwrap(), None);
}

#[test]
fn reward_is_immature_until_spendable() {
    let mut reference = Reference::new(varying_params());
    let miner = wallet(20).address;
    let first = reference.build_on(reference.genesis()).miner(miner).mine();
    let mut blocks = vec![first.clone()];
    blocks.extend(reference.mine_chain(first.hash(), 3));
    let mut node = TestNode::new(&reference.params);
    let mut balances = Vec::new();
    for block in &blocks {
        node.connect(block);
        let view = node.reader().view();
        let balance = view.account(&miner).unwrap().balance;
        balances.push((view.immature_balance(&miner).units(), balance.units()));
    }
    assert_eq!(balances, [(1_000, 0), (1_000, 0), (1_000, 0), (0, 1_000)]);
}

#[test]
fn uncommitted_blocks_are_not_visible() {
    let mut reference = Reference::new(fixed_params());
    let blocks = blocks_with_history(&mut reference);
    let side = reference.mine_chain(blocks[0].hash(), 1);
    let mut node = TestNode::with_blocks(&reference.params, &blocks[..1]);
    for block in [&blocks[1], &side[0], &blocks[2]] {
        node.submit(block).unwrap();
        let view = node.reader().view();
        assert!(view.find(&block.hash()).is_none());
        assert_eq!((view.tip().hash, view.block_count()), (blocks[0].hash(), 2));
        assert_eq!(view.chain_tips(None, usize::MAX).len(), 1);
        assert!(view.at_height(Height::new(2)).is_none());
        drop(view);
        // A flush does not publish uncommitted blocks.
        node.writer().flush().unwrap();
        node.assert_tip_matches(&reference, &blocks[0]);
    }
    node.commit();
    node.assert_matches(&reference, &blocks[2]);
}

#[test]
fn resubmitted_block_is_already_known_on_any_branch() {
    let mut reference = Reference::new(fixed_params());
    let blocks = blocks_with_history(&mut reference);
    let side = reference.mine_chain(reference.genesis(), 2);
    let mut node = TestNode::with_blocks(&reference.params, &blocks);
    node.submit_side_branch(&side);
    let genesis = reference.params.genesis().clone();
    for block in blocks.iter().chain(&side).chain([&genesis]) {
        assert_eq!(node.submit(block).unwrap(), Accepted::AlreadyKnown);
    }
    let commit = node.commit();
    assert!(commit.connected.is_empty() && commit.disconnected.is_empty());
}

#[test]
fn commit_lists_disconnected_and_connected_blocks_in_order() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let (short, long) = (reference.mine_chain(genesis, 2), reference.mine_chain(genesis, 3));
    let mut node = TestNode::with_blocks(&reference.params, &short);
    node.submit_side_branch(&long[..2]);
    node.submit(&long[2]).unwrap();
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

// A view is of one tip, regardless of later commits: the supply of each view is as issued.
#[test]
fn concurrent_readers_see_consistent_views() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let pay = |reference: &mut Reference, parent, blocks: u64| {
        let mut at = parent;
        let mut one = |amount| {
            let [a, b] = [amount % 3, (amount + 1) % 3].map(|n| wallet(u8::try_from(n).unwrap()));
            let block =
                reference.build_on(at).miner(a.address).pay(&a, b.address, 1 + amount, 2).mine();
            at = block.hash();
            block
        };
        (0..blocks).map(&mut one).collect::<Vec<_>>()
    };
    let (short, long) = (pay(&mut reference, genesis, 60), pay(&mut reference, genesis, 61));
    let mut node = TestNode::new(&reference.params);
    let readers = [node.reader().clone(), node.reader().clone()];
    let is_done = AtomicBool::new(false);
    let poll = |reader: &chain::ledger::Reader| {
        let (mut views, mut tips) = (0, 0);
        let mut last = block::Hash::ZERO;
        while !is_done.load(Ordering::Acquire) {
            let view = reader.view();
            let sum = (0..10).fold(0, |sum, number| {
                let address = wallet(number).address;
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
        let pollers: Vec<_> =
            readers.iter().map(|reader| scope.spawn(move || poll(reader))).collect();
        for block in &short {
            node.connect(block);
        }
        node.writer().flush().unwrap();
        node.submit_side_branch(&long[..60]);
        node.connect(&long[60]);
        is_done.store(true, Ordering::Release);
        for poller in pollers {
            let (views, tips) = poller.join().unwrap();
            assert!(views > 0 && tips > 0);
        }
    });
    node.assert_tip_matches(&reference, &long[60]);
}
