use super::*;
use crate::message::{RawBlock, ResponseError};
use crate::testing::mock_chain::transfer;
use MessageAcceptance::{Accept, Ignore};
use chain::tx::Transaction;
use std::time::Instant;

/// A bench whose chain's next block carries so many transfers, of which the mempool has some.
fn bench_and_block(transfers: u64, here: u64) -> (Bench, Arc<Block>) {
    let mut bench = Bench::with_peers(5);
    let transfers: Vec<_> = (0..transfers).map(transfer).collect();
    let known = transfers.iter().take(usize::try_from(here).unwrap());
    bench.chain.pool = known.collect();
    let block = bench.chain.mine(&transfers, CLOCK, 1);
    (bench, block)
}

fn transactions(block: &Block, asked: &Asked) -> Response {
    let Request::BlockTransactions { positions, .. } = &asked.what else { panic!("{asked:?}") };
    let at = |position: &u32| block.transactions[*position as usize].clone();
    Response::BlockTransactions(positions.iter().map(at).collect())
}

fn whole(block: &Block) -> Response {
    Response::Blocks(vec![Some(RawBlock::from(block.encode()))])
}

// N10
#[test]
fn a_block_of_2_000_000_bytes_is_rebuilt_from_the_mempool() {
    let (mut bench, block) = bench_and_block(13_791, 13_791);
    let size = block.encode().len();
    assert!((1_999_800..=2_000_000).contains(&size), "{size}");
    let begun = Instant::now();
    let outputs = bench.announce_compact(0, &block);
    assert_eq!(judgements(&outputs), [Accept]);
    assert_eq!(imported(&outputs), [block.hash()]);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

// N10
#[test]
fn what_is_missing_is_asked_of_who_announced_it() {
    let (mut bench, block) = bench_and_block(13_791, 0);
    let outputs = bench.announce_compact(3, &block);
    assert_eq!((judgements(&outputs), imported(&outputs)), (vec![], vec![]));
    let asked = only_asked(&outputs);
    assert_eq!(asked.peer, peer(3));
    let outputs = bench.reply(&asked, Ok(transactions(&block, &asked)));
    assert_eq!(judgements(&outputs), [Accept]);
    assert_eq!(imported(&outputs), [block.hash()]);
    assert_eq!(reports(&outputs), []);
}

#[test]
fn an_announcer_that_is_still_judging_its_block_is_asked_again() {
    let (mut bench, block) = bench_and_block(4, 2);
    let first = only_asked(&bench.announce_compact(3, &block));
    let not_found = || Ok(Response::Error(ResponseError::NotFound));
    assert_eq!(asked(&bench.reply(&first, not_found())).len(), 0);
    let second = only_asked(&bench.pass(250));
    assert_eq!(second.peer, peer(3));
    bench.reply(&second, not_found());
    let third = only_asked(&bench.pass(250));
    assert_eq!(third.what, first.what);
    let outputs = bench.reply(&third, Ok(transactions(&block, &third)));
    assert_eq!((judgements(&outputs), reports(&outputs)), (vec![Accept], vec![]));
}

// N16
#[test]
fn a_silent_announcer_is_replaced_after_three_seconds() {
    let (mut bench, block) = bench_and_block(4, 2);
    let silent = only_asked(&bench.announce_compact(3, &block));
    assert_eq!(judgements(&bench.announce_compact(1, &block)), [Ignore]);
    assert!(bench.pass(2_900).is_empty());
    let other = only_asked(&bench.pass(100));
    assert_eq!(other.peer, peer(1), "it has announced the block too");
    assert_eq!(other.what, Request::Blocks { hashes: vec![block.hash()] });
    let outputs = bench.reply(&other, Ok(whole(&block)));
    assert_eq!((judgements(&outputs), imported(&outputs)), (vec![Accept], vec![block.hash()]));
    let outputs = bench.reply(&silent, Err(Failure::Timeout));
    assert_eq!((outputs.len(), reports(&outputs)), (1, vec![(peer(3), Misbehavior::Timeout)]));
}

#[test]
fn when_nobody_serves_a_block_it_is_left_to_sync_in_time() {
    let (mut bench, block) = bench_and_block(4, 2);
    let mut tried = vec![only_asked(&bench.announce_compact(3, &block))];
    for _ in 0..2 {
        tried.push(only_asked(&bench.pass(3_000)));
    }
    let outputs = bench.pass(3_000);
    assert_eq!((judgements(&outputs), asked(&outputs).len()), (vec![Ignore], 0));
    assert_eq!(bench.for_sync, [(peer(3), block.header)]);
    let peers: BTreeSet<_> = tried.iter().map(|asked| asked.peer).collect();
    assert_eq!(peers.len(), 3, "nobody was asked twice");
    let late = bench.reply(&tried[1], Ok(whole(&block)));
    assert!(late.is_empty());
}

// N17, N18
#[test]
fn a_wrong_body_is_held_against_who_served_it_and_nobody_else() {
    let (mut bench, block) = bench_and_block(4, 2);
    let silent = only_asked(&bench.announce_compact(3, &block));
    let liar = only_asked(&bench.reply(&silent, Err(Failure::Disconnected)));
    let mut other_body = Block::clone(&block);
    other_body.transactions.pop();
    let outputs = bench.reply(&liar, Ok(whole(&other_body)));
    assert_eq!(reports(&outputs), [(liar.peer, Misbehavior::WrongBody)]);
    let honest = only_asked(&outputs);
    let outputs = bench.reply(&honest, Ok(whole(&block)));
    assert_eq!((judgements(&outputs), reports(&outputs)), (vec![Accept], vec![]));
}

#[test]
fn transactions_that_are_not_the_missing_ones_are_held_against_who_sent_them() {
    let (mut bench, block) = bench_and_block(4, 2);
    let liar = only_asked(&bench.announce_compact(3, &block));
    let wrong = Transaction::Transfer((*transfer(99)).clone());
    let outputs = bench.reply(&liar, Ok(Response::BlockTransactions(vec![wrong; 2])));
    assert_eq!(reports(&outputs), [(peer(3), Misbehavior::WrongReply)]);
    assert_ne!(only_asked(&outputs).peer, peer(3));
}

// N18: six bytes are alike by chance, or somebody lied in the compact block.
#[test]
fn a_wrong_root_after_rebuilding_is_nobodys_fault_and_the_whole_block_is_fetched() {
    let (mut bench, block) = bench_and_block(4, 4);
    let mut lie = CompactBlock::of(&block, 7, &[]);
    lie.short_ids.swap(1, 2);
    let outputs = bench.announce(3, Announcement::CompactBlock(Arc::new(lie)));
    assert_eq!((judgements(&outputs), reports(&outputs)), (vec![], vec![]));
    let whole_asked = only_asked(&outputs);
    assert_eq!(whole_asked.peer, peer(3), "it has the block");
    let outputs = bench.reply(&whole_asked, Ok(whole(&block)));
    assert_eq!(imported(&outputs), [block.hash()]);
    assert_eq!(judgements(&outputs), [Ignore], "others would stumble over it as well");
    bench.judge(&block);
    let announced = announcements(&bench.tip_changed());
    assert_eq!(announced, [Announcement::Block(block)], "so it is announced aright");
}

// N18
#[test]
fn an_invalid_block_is_held_against_who_served_it_whole() {
    let (mut bench, block) = bench_and_block(4, 2);
    bench.chain.spoil(block.hash());
    let silent = only_asked(&bench.announce_compact(3, &block));
    let server = only_asked(&bench.reply(&silent, Err(Failure::Timeout)));
    bench.reply(&server, Ok(whole(&block)));
    assert_eq!(reports(&bench.judge(&block)), [(server.peer, Misbehavior::InvalidBlock)]);
}

#[test]
fn a_block_that_came_another_way_is_not_waited_for() {
    let (mut bench, block) = bench_and_block(4, 2);
    let asked_for = only_asked(&bench.announce_compact(3, &block));
    bench.chain.insert(&block, CLOCK);
    let outputs = bench.tip_changed();
    assert_eq!(judgements(&outputs), [Ignore]);
    assert!(bench.reply(&asked_for, Ok(transactions(&block, &asked_for))).is_empty());
}

// Whoever is first with a header and nonsense behind it must not keep the block from others.
#[test]
fn a_good_announcement_overtakes_a_bad_one_of_the_same_block() {
    let (mut bench, block) = bench_and_block(4, 4);
    let mut nonsense = CompactBlock::of(&block, 7, &[]);
    for short_id in &mut nonsense.short_ids {
        short_id.0[0] ^= 1;
    }
    let outputs = bench.announce(3, Announcement::CompactBlock(Arc::new(nonsense)));
    let from_liar = only_asked(&outputs);
    let outputs = bench.announce_compact(1, &block);
    assert_eq!(judgements(&outputs), [Ignore, Accept], "the first, then the second");
    assert_eq!(imported(&outputs), [block.hash()]);
    assert!(bench.reply(&from_liar, Err(Failure::Disconnected)).is_empty());
}
