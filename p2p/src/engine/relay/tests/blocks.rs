use super::*;
use crate::testing::mock_chain::{seal, transfer};
use MessageAcceptance::{Accept, Ignore, Reject};
use chain::{Bits, Target};

// N08
#[test]
fn a_block_announced_ten_thousand_times_is_validated_once() {
    let mut bench = Bench::with_peers(50);
    let block = bench.chain.mine(&[], CLOCK, 1);
    let mut outputs = bench.announce_block(0, &block);
    for number in 1..5_000 {
        outputs.extend(bench.announce_block(number % 50, &block));
    }
    outputs.extend(bench.judge(&block));
    for number in 0..5_000 {
        outputs.extend(bench.announce_compact(number % 50, &block));
    }
    assert_eq!(imported(&outputs), [block.hash()]);
    let accepted = judgements(&outputs).into_iter().filter(|one| *one == Accept).count();
    assert_eq!((accepted, judgements(&outputs).len()), (1, 10_000));
    assert_eq!(reports(&outputs), []);
}

// N09
#[test]
fn what_is_wrong_for_everyone_is_rejected_and_held_against_the_sender() {
    let mut bench = Bench::with_peers(2);
    let good = bench.chain.mine(&[transfer(1)], CLOCK, 1);

    let mut without_work = Block::clone(&good);
    let target: Target = good.header.bits.target().unwrap();
    while target.is_met_by(without_work.hash().as_bytes()) {
        without_work.header.nonce += 1;
    }
    let mut too_easy_or_hard = Block::clone(&good);
    too_easy_or_hard.header.bits = Bits::new(0x2007_ffff);
    seal(&mut too_easy_or_hard.header);
    let mut before_parent = Block::clone(&good);
    before_parent.header.time = Timestamp::new(1);
    seal(&mut before_parent.header);
    let mut other_body = Block::clone(&good);
    other_body.transactions.pop();
    let mut mutated = Block::clone(&good);
    mutated.transactions.extend(good.transactions.last().cloned());

    for bad in [without_work, too_easy_or_hard, before_parent, other_body, mutated] {
        let outputs = bench.announce_block(1, &Arc::new(bad));
        assert_eq!(judgements(&outputs), [Reject]);
        assert_eq!(reports(&outputs), [(peer(1), Misbehavior::BadAnnouncement)]);
        assert_eq!(imported(&outputs), []);
    }
    let mut compact = CompactBlock::of(&good, 1, &[]);
    compact.prefilled.clear();
    let outputs = bench.announce(1, Announcement::CompactBlock(Arc::new(compact)));
    assert_eq!(judgements(&outputs), [Reject], "nobody makes a block of that");
    assert_eq!(judgements(&bench.announce_block(0, &good)), [Accept], "the block is not to blame");
}

// N18: who forwards a block has proven its work and its body, not its state.
#[test]
fn a_block_with_an_invalid_state_is_not_held_against_who_announced_it() {
    let mut bench = Bench::with_peers(2);
    let block = bench.chain.mine(&[], CLOCK, 1);
    bench.chain.spoil(block.hash());
    assert_eq!(judgements(&bench.announce_block(0, &block)), [Accept]);
    let outputs = bench.judge(&block);
    assert_eq!(reports(&outputs), []);
    assert_eq!(judgements(&bench.announce_compact(1, &block)), [Ignore]);
}

#[test]
fn a_block_is_forwarded_before_the_chain_has_judged_it() {
    let mut bench = Bench::with_peers(1);
    let block = bench.chain.mine(&[], CLOCK, 1);
    let outputs = bench.announce_block(0, &block);
    assert_eq!(judgements(&outputs), [Accept]);
    assert_eq!(imported(&outputs), [block.hash()]);
}

#[test]
fn what_may_be_right_elsewhere_or_later_is_ignored_without_blame() {
    let mut bench = Bench::with_peers(1);
    let early = bench.chain.mine(&[], CLOCK.saturating_add(7_201), 1);
    let outputs = bench.announce_block(0, &early);
    assert_eq!((judgements(&outputs), reports(&outputs)), (vec![Ignore], vec![]));

    let stranger = bench.announce_block(9, &bench.chain.mine(&[], CLOCK, 1));
    assert_eq!(judgements(&stranger), [Ignore], "nobody knows who that is");

    bench.is_synced = false;
    let block = bench.chain.mine(&[], CLOCK, 2);
    let outputs = bench.announce_block(0, &block);
    assert_eq!((judgements(&outputs), imported(&outputs)), (vec![Ignore], vec![]));
    assert_eq!(bench.for_sync, [(peer(0), block.header)]);
}

#[test]
fn a_block_without_its_parent_is_left_to_sync() {
    let mut bench = Bench::with_peers(1);
    let mut other = bench.chain.clone();
    let parent = other.mine(&[], CLOCK, 1);
    other.insert(&parent, CLOCK);
    let child = other.mine(&[], CLOCK, 2);
    let outputs = bench.announce_block(0, &child);
    assert_eq!((judgements(&outputs), imported(&outputs)), (vec![Ignore], vec![]));
    assert_eq!(bench.for_sync, [(peer(0), child.header)]);
}

#[test]
fn a_block_far_below_the_best_chain_is_not_looked_at() {
    let mut bench = Bench::with_peers(1);
    let genesis = bench.chain.tip().hash;
    let low = bench.chain.mine_on(&genesis, &[], CLOCK, 7);
    let lower = bench.chain.mine_on(&genesis, &[], CLOCK, 8);
    bench.chain.grow(144, 1);
    assert_eq!(judgements(&bench.announce_block(0, &low)), [Accept], "143 blocks' work less");
    bench.chain.grow(1, 1);
    assert_eq!(judgements(&bench.announce_block(0, &lower)), [Ignore], "144 blocks' work less");
}

#[test]
fn blocks_that_overtake_their_parents_verdict_wait_for_it() {
    let mut bench = Bench::with_peers(2);
    let mut other = bench.chain.clone();
    let blocks: Vec<_> = (0..3)
        .map(|salt| {
            let block = other.mine(&[], CLOCK, salt);
            other.insert(&block, CLOCK);
            block
        })
        .collect();
    assert_eq!(judgements(&bench.announce_block(0, &blocks[0])), [Accept]);
    assert_eq!(judgements(&bench.announce_block(0, &blocks[1])), []);
    assert_eq!(judgements(&bench.announce_block(1, &blocks[2])), []);
    for at in 0..2 {
        let outputs = bench.judge(&blocks[at]);
        assert_eq!(judgements(&outputs), [Accept]);
        assert_eq!(imported(&outputs), [blocks[at + 1].hash()]);
    }
    assert!(bench.for_sync.is_empty());
}

#[test]
fn children_of_an_invalid_block_are_ignored() {
    let mut bench = Bench::with_peers(1);
    let mut other = bench.chain.clone();
    let parent = other.mine(&[], CLOCK, 1);
    other.insert(&parent, CLOCK);
    let child = other.mine(&[], CLOCK, 2);
    bench.chain.spoil(parent.hash());
    bench.announce_block(0, &parent);
    bench.announce_block(0, &child);
    let outputs = bench.judge(&parent);
    assert_eq!((judgements(&outputs), imported(&outputs)), (vec![Ignore], vec![]));
    assert_eq!(reports(&outputs), []);
}

#[test]
fn a_new_tip_is_announced_once_and_only_if_nobody_announced_it_here() {
    let mut bench = Bench::with_peers(1);
    assert_eq!(announcements(&bench.tip_changed()), [], "all know genesis");
    let mined = bench.chain.mine(&[], CLOCK, 1);
    bench.chain.insert(&mined, CLOCK);
    assert_eq!(announcements(&bench.tip_changed()), [Announcement::Block(Arc::clone(&mined))]);
    assert_eq!(announcements(&bench.tip_changed()), []);
    let seen = bench.chain.mine(&[], CLOCK, 2);
    bench.announce_block(0, &seen);
    let mut outputs = bench.judge(&seen);
    outputs.extend(bench.tip_changed());
    assert_eq!(announcements(&outputs), []);
    let own = bench.chain.mine(&[], CLOCK, 3);
    bench.chain.insert(&own, CLOCK);
    bench.is_synced = false;
    assert_eq!(announcements(&bench.tip_changed()), []);
    bench.is_synced = true;
    let outputs = bench.step(|relay, cx, transfers, _| relay.tip_changed(cx, true, transfers));
    assert_eq!(announcements(&outputs), [], "others are ahead");
}

#[test]
fn a_large_block_is_announced_with_what_others_have_not_heard_of() {
    let mut bench = Bench::with_peers(1);
    let seen: Vec<_> = (0..200).map(transfer).collect();
    let unheard = transfer(200);
    bench.pool(&seen);
    let all: Vec<_> = seen.iter().cloned().chain([Arc::clone(&unheard)]).collect();
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
