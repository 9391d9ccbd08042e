use super::*;
use crate::testing::mock_chain::transfer;
use MessageAcceptance::{Accept, Ignore, Reject};
use chain::Bits;
use chain::testing::{solve_header, unsolve_header};

// N08
#[test]
fn validates_block_announced_ten_thousand_times_once() {
    let mut bench = Bench::with_peers(50);
    let block = bench.chain.mine(&[], CLOCK, 1);
    let mut outputs = bench.announce_block(0, &block);
    for number in 1..5_000 {
        outputs.extend(bench.announce_block(number % 50, &block));
    }
    outputs.extend(bench.validate(&block));
    for number in 0..5_000 {
        outputs.extend(bench.announce_compact(number % 50, &block));
    }
    assert_eq!(imported(&outputs), [block.hash()]);
    let accepted = validations(&outputs).into_iter().filter(|one| *one == Accept).count();
    assert_eq!((accepted, validations(&outputs).len()), (1, 10_000));
    assert_eq!(reports(&outputs), []);
}

// N09
#[test]
fn rejects_invalid_announcement_and_reports_sender() {
    let mut bench = Bench::with_peers(2);
    let good = bench.chain.mine(&[transfer(1)], CLOCK, 1);

    let mut without_work = Block::clone(&good);
    unsolve_header(&mut without_work.header);
    let mut too_easy_or_hard = Block::clone(&good);
    too_easy_or_hard.header.bits = Bits::new(0x2007_ffff);
    solve_header(&mut too_easy_or_hard.header);
    let mut before_parent = Block::clone(&good);
    before_parent.header.time = Timestamp::new(1);
    solve_header(&mut before_parent.header);
    let mut other_body = Block::clone(&good);
    other_body.transactions.pop();
    let mut mutated = Block::clone(&good);
    mutated.transactions.extend(good.transactions.last().cloned());

    for bad in [without_work, too_easy_or_hard, before_parent, other_body, mutated] {
        let outputs = bench.announce_block(1, &Arc::new(bad));
        assert_eq!(validations(&outputs), [Reject]);
        assert_eq!(reports(&outputs), [(peer(1), Misbehavior::BadAnnouncement)]);
        assert_eq!(imported(&outputs), []);
    }
    let mut compact = CompactBlock::of(&good, 1, &[]);
    compact.prefilled.clear();
    let outputs = bench.announce(1, Announcement::CompactBlock(Arc::new(compact)));
    assert_eq!(validations(&outputs), [Reject], "no node can reconstruct a block from it");
    assert_eq!(validations(&bench.announce_block(0, &good)), [Accept], "the block itself is valid");
}

// N18: a forwarder has validated the work and the body of a block, not its state.
#[test]
fn does_not_report_announcer_of_block_with_invalid_state() {
    let mut bench = Bench::with_peers(2);
    let block = bench.chain.mine(&[], CLOCK, 1);
    bench.chain.spoil(block.hash());
    assert_eq!(validations(&bench.announce_block(0, &block)), [Accept]);
    let outputs = bench.validate(&block);
    assert_eq!(reports(&outputs), []);
    assert_eq!(validations(&bench.announce_compact(1, &block)), [Ignore]);
}

#[test]
fn forwards_block_before_its_state_is_validated() {
    let mut bench = Bench::with_peers(1);
    let block = bench.chain.mine(&[], CLOCK, 1);
    let outputs = bench.announce_block(0, &block);
    assert_eq!(validations(&outputs), [Accept]);
    assert_eq!(imported(&outputs), [block.hash()]);
}

#[test]
fn ignores_possibly_valid_announcement_without_report() {
    let mut bench = Bench::with_peers(1);
    let early = bench.chain.mine(&[], CLOCK.saturating_add(7_201), 1);
    let outputs = bench.announce_block(0, &early);
    assert_eq!((validations(&outputs), reports(&outputs)), (vec![Ignore], vec![]));

    let unknown = bench.announce_block(9, &bench.chain.mine(&[], CLOCK, 1));
    assert_eq!(validations(&unknown), [Ignore], "the peer is unknown");

    bench.is_synced = false;
    let block = bench.chain.mine(&[], CLOCK, 2);
    let outputs = bench.announce_block(0, &block);
    assert_eq!((validations(&outputs), imported(&outputs)), (vec![Ignore], vec![]));
    assert_eq!(bench.for_sync, [(peer(0), block.header)]);
}

#[test]
fn leaves_block_with_unknown_parent_to_sync_and_forwards_it_once_fetched() {
    let mut bench = Bench::with_peers(2);
    let (parent, child) = unknown_branch(&bench);
    let outputs = bench.announce_block(0, &child);
    assert_eq!((validations(&outputs), imported(&outputs)), (vec![], vec![]));
    assert_eq!(bench.for_sync, [(peer(0), child.header)]);
    assert_eq!(validations(&bench.announce_block(1, &child)), [Ignore]);
    assert_eq!(
        bench.for_sync[1..],
        [(peer(1), child.header)],
        "it may be the only one to serve it"
    );
    assert_eq!(validations(&bench.validate(&parent)), []);
    assert_eq!(validations(&bench.validate(&child)), [Accept], "neighbours miss it too");
}

#[test]
fn ignores_block_with_unknown_parent_that_sync_does_not_fetch() {
    let mut bench = Bench::with_peers(1);
    let (_, orphan) = unknown_branch(&bench);
    assert_eq!(validations(&bench.announce_block(0, &orphan)), []);
    assert_eq!(validations(&bench.pass(12_000)), [Ignore]);
}

// Gossip does not publish bytes that it has received, so an equal announcement would reach no one.
#[test]
fn announces_synced_tip_in_other_bytes_than_it_was_announced_in() {
    let mut bench = Bench::with_peers(1);
    let (parent, child) = unknown_branch(&bench);
    bench.announce_block(0, &child);
    bench.pass(12_000);
    bench.validate(&parent);
    bench.validate(&child);
    let announced = announcements(&bench.tip_changed());
    let [Announcement::CompactBlock(compact)] = &announced[..] else { panic!("{announced:?}") };
    assert_eq!(compact.header, child.header);
}

/// A block that no peer has announced, and its child.
fn unknown_branch(bench: &Bench) -> (Arc<Block>, Arc<Block>) {
    let mut other = bench.chain.clone();
    let parent = other.mine(&[], CLOCK, 1);
    other.insert(&parent, CLOCK);
    let child = other.mine(&[], CLOCK, 2);
    (parent, child)
}

#[test]
fn ignores_block_with_too_little_work() {
    let mut bench = Bench::with_peers(1);
    let genesis = bench.chain.tip().hash;
    let low = bench.chain.mine_on(&genesis, &[], CLOCK, 7);
    let lower = bench.chain.mine_on(&genesis, &[], CLOCK, 8);
    bench.chain.grow(144, 1);
    assert_eq!(validations(&bench.announce_block(0, &low)), [Accept], "143 blocks' work less");
    bench.chain.grow(1, 1);
    assert_eq!(validations(&bench.announce_block(0, &lower)), [Ignore], "144 blocks' work less");
}

#[test]
fn orphans_wait_for_validation_of_parent() {
    let mut bench = Bench::with_peers(2);
    let mut other = bench.chain.clone();
    let blocks: Vec<_> = (0..3)
        .map(|salt| {
            let block = other.mine(&[], CLOCK, salt);
            other.insert(&block, CLOCK);
            block
        })
        .collect();
    assert_eq!(validations(&bench.announce_block(0, &blocks[0])), [Accept]);
    assert_eq!(validations(&bench.announce_block(0, &blocks[1])), []);
    assert_eq!(validations(&bench.announce_block(1, &blocks[2])), []);
    for at in 0..2 {
        let outputs = bench.validate(&blocks[at]);
        assert_eq!(validations(&outputs), [Accept]);
        assert_eq!(imported(&outputs), [blocks[at + 1].hash()]);
    }
    assert!(bench.for_sync.is_empty());
}

#[test]
fn ignores_children_of_invalid_block() {
    let mut bench = Bench::with_peers(1);
    let mut other = bench.chain.clone();
    let parent = other.mine(&[], CLOCK, 1);
    other.insert(&parent, CLOCK);
    let child = other.mine(&[], CLOCK, 2);
    bench.chain.spoil(parent.hash());
    bench.announce_block(0, &parent);
    bench.announce_block(0, &child);
    let outputs = bench.validate(&parent);
    assert_eq!((validations(&outputs), imported(&outputs)), (vec![Ignore], vec![]));
    assert_eq!(reports(&outputs), []);
}

#[test]
fn announces_new_tip_once_unless_a_peer_announced_it() {
    let mut bench = Bench::with_peers(1);
    assert_eq!(announcements(&bench.tip_changed()), [], "every node has genesis");
    let mined = bench.chain.mine(&[], CLOCK, 1);
    bench.chain.insert(&mined, CLOCK);
    assert_eq!(announcements(&bench.tip_changed()), [Announcement::Block(Arc::clone(&mined))]);
    assert_eq!(announcements(&bench.tip_changed()), []);
    let seen = bench.chain.mine(&[], CLOCK, 2);
    bench.announce_block(0, &seen);
    let mut outputs = bench.validate(&seen);
    outputs.extend(bench.tip_changed());
    assert_eq!(announcements(&outputs), []);
    let own = bench.chain.mine(&[], CLOCK, 3);
    bench.chain.insert(&own, CLOCK);
    bench.is_synced = false;
    assert_eq!(announcements(&bench.tip_changed()), []);
    bench.is_synced = true;
    let outputs = bench.step(|relay, cx, transfers| relay.tip_changed(cx, true, transfers));
    assert_eq!(announcements(&outputs), [], "peers are ahead");
}

#[test]
fn large_block_prefills_unseen_transfers() {
    let mut bench = Bench::with_peers(1);
    let seen: Vec<_> = (0..200).map(transfer).collect();
    let unseen = transfer(200);
    bench.pool(&seen);
    let all: Vec<_> = seen.iter().cloned().chain([Arc::clone(&unseen)]).collect();
    let block = bench.chain.mine(&all, CLOCK, 1);
    assert!(block.encode().len() > 16 << 10);
    bench.chain.insert(&block, CLOCK);
    match announcements(&bench.tip_changed()).as_slice() {
        [Announcement::CompactBlock(compact)] => {
            let prefilled: Vec<_> = compact.prefilled.iter().map(|(at, _)| *at).collect();
            assert_eq!(prefilled, [0, 201]);
            assert_eq!(compact.short_ids.len(), 200);
        }
        other => panic!("{other:?}"),
    }
}
