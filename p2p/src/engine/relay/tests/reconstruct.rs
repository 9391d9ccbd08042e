use super::*;
use crate::message::{RawBlock, ResponseError};
use crate::testing::mock_chain::transfer;
use MessageAcceptance::{Accept, Ignore};
use chain::tx::Transaction;
use std::time::Instant;

/// A bench and the next block, with a number of transfers of which the mempool has some.
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
    assert_eq!(validations(&outputs), [Accept]);
    assert_eq!(imported(&outputs), [block.hash()]);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

// N10
#[test]
fn requests_missing_transactions_from_announcer() {
    let (mut bench, block) = bench_and_block(13_791, 7_000);
    let outputs = bench.announce_compact(3, &block);
    assert_eq!((validations(&outputs), imported(&outputs)), (vec![], vec![]));
    let asked = only_asked(&outputs);
    assert_eq!(asked.peer, peer(3));
    let outputs = bench.response(&asked, Ok(transactions(&block, &asked)));
    assert_eq!(validations(&outputs), [Accept]);
    assert_eq!(imported(&outputs), [block.hash()]);
    assert_eq!(reports(&outputs), []);
}

// N10: over a slow link the transactions take longer than their request may, and the block would be
// requested twice.
#[test]
fn sync_fetches_block_of_which_most_is_missing() {
    let (mut bench, block) = bench_and_block(13_791, 6_000);
    let outputs = bench.announce_compact(3, &block);
    assert_eq!((validations(&outputs), asked(&outputs).len()), (vec![], 0));
    assert_eq!(bench.for_sync, [(peer(3), block.header)]);
    assert_eq!(asked(&bench.pass(11_000)).len(), 0);
    bench.chain.insert(&block, CLOCK);
    assert_eq!(validations(&bench.tip_changed()), [Accept]);
}

#[test]
fn waits_for_slow_announcer_if_there_is_no_other_peer() {
    let (mut bench, block) = bench_and_block(4, 2);
    bench.peers.retain(|id, _| *id == peer(3));
    let slow = only_asked(&bench.announce_compact(3, &block));
    assert!(bench.pass(3_000).is_empty() && bench.pass(4_000).is_empty());
    let outputs = bench.response(&slow, Ok(transactions(&block, &slow)));
    assert_eq!((validations(&outputs), imported(&outputs)), (vec![Accept], vec![block.hash()]));
    assert!(bench.for_sync.is_empty());
}

#[test]
fn asks_announcer_again_while_it_validates() {
    let (mut bench, block) = bench_and_block(4, 2);
    let first = only_asked(&bench.announce_compact(3, &block));
    let not_found = || Ok(Response::Error(ResponseError::NotFound));
    assert_eq!(asked(&bench.response(&first, not_found())).len(), 0);
    let second = only_asked(&bench.pass(250));
    assert_eq!(second.peer, peer(3));
    bench.response(&second, not_found());
    let third = only_asked(&bench.pass(250));
    assert_eq!(third.what, first.what);
    let outputs = bench.response(&third, Ok(transactions(&block, &third)));
    assert_eq!((validations(&outputs), reports(&outputs)), (vec![Accept], vec![]));
}

// N16
#[test]
fn replaces_silent_announcer_after_three_seconds() {
    let (mut bench, block) = bench_and_block(4, 2);
    let silent = only_asked(&bench.announce_compact(3, &block));
    assert_eq!(validations(&bench.announce_compact(1, &block)), [Ignore]);
    assert!(bench.pass(2_900).is_empty());
    let other = only_asked(&bench.pass(100));
    assert_eq!(other.peer, peer(1), "it has announced the block too");
    assert_eq!(other.what, Request::Blocks { hashes: vec![block.hash()] });
    let outputs = bench.response(&other, Ok(whole(&block)));
    assert_eq!((validations(&outputs), imported(&outputs)), (vec![Accept], vec![block.hash()]));
    let outputs = bench.response(&silent, Err(Failure::Timeout));
    assert_eq!((outputs.len(), reports(&outputs)), (1, vec![(peer(3), Misbehavior::Timeout)]));
}

#[test]
fn leaves_block_that_no_peer_serves_to_sync() {
    let (mut bench, block) = bench_and_block(4, 2);
    let mut tried = vec![only_asked(&bench.announce_compact(3, &block))];
    for _ in 0..2 {
        tried.push(only_asked(&bench.pass(3_000)));
    }
    let outputs = bench.pass(3_000);
    assert_eq!((validations(&outputs), asked(&outputs).len()), (vec![Ignore], 0));
    assert_eq!(bench.for_sync, [(peer(3), block.header)]);
    let peers: BTreeSet<_> = tried.iter().map(|asked| asked.peer).collect();
    assert_eq!(peers.len(), 3, "no peer was asked twice");
    let late = bench.response(&tried[1], Ok(whole(&block)));
    assert!(late.is_empty());
}

// N17, N18
#[test]
fn reports_only_server_of_wrong_body() {
    let (mut bench, block) = bench_and_block(4, 2);
    let silent = only_asked(&bench.announce_compact(3, &block));
    let liar = only_asked(&bench.response(&silent, Err(Failure::Disconnected)));
    let mut other_body = Block::clone(&block);
    other_body.transactions.pop();
    let outputs = bench.response(&liar, Ok(whole(&other_body)));
    assert_eq!(reports(&outputs), [(liar.peer, Misbehavior::WrongBody)]);
    let honest = only_asked(&outputs);
    let outputs = bench.response(&honest, Ok(whole(&block)));
    assert_eq!((validations(&outputs), reports(&outputs)), (vec![Accept], vec![]));
}

#[test]
fn reports_sender_of_wrong_transactions() {
    let (mut bench, block) = bench_and_block(4, 2);
    let liar = only_asked(&bench.announce_compact(3, &block));
    let wrong = Transaction::Transfer((*transfer(99)).clone());
    let outputs = bench.response(&liar, Ok(Response::BlockTransactions(vec![wrong; 2])));
    assert_eq!(reports(&outputs), [(peer(3), Misbehavior::WrongResponse)]);
    assert_ne!(only_asked(&outputs).peer, peer(3));
}

// N18: short ids collide by chance, or the compact block is wrong.
#[test]
fn requests_full_block_after_wrong_root_without_report() {
    let (mut bench, block) = bench_and_block(4, 4);
    let mut lie = CompactBlock::of(&block, 7, &[]);
    lie.short_ids.swap(1, 2);
    let outputs = bench.announce(3, Announcement::CompactBlock(Arc::new(lie)));
    assert_eq!((validations(&outputs), reports(&outputs)), (vec![], vec![]));
    let whole_asked = only_asked(&outputs);
    assert_eq!(whole_asked.peer, peer(3), "it has the block");
    let outputs = bench.response(&whole_asked, Ok(whole(&block)));
    assert_eq!(imported(&outputs), [block.hash()]);
    assert_eq!(validations(&outputs), [Ignore], "others would stumble over it as well");
    bench.validate(&block);
    let announced = announcements(&bench.tip_changed());
    assert_eq!(announced, [Announcement::Block(block)], "so it is announced aright");
}

// N18
#[test]
fn reports_server_of_invalid_full_block() {
    let (mut bench, block) = bench_and_block(4, 2);
    bench.chain.spoil(block.hash());
    let silent = only_asked(&bench.announce_compact(3, &block));
    let server = only_asked(&bench.response(&silent, Err(Failure::Timeout)));
    bench.response(&server, Ok(whole(&block)));
    assert_eq!(reports(&bench.validate(&block)), [(server.peer, Misbehavior::InvalidBlock)]);
}

#[test]
fn ignores_incomplete_block_that_arrived_otherwise() {
    let (mut bench, block) = bench_and_block(4, 2);
    let asked_for = only_asked(&bench.announce_compact(3, &block));
    bench.chain.insert(&block, CLOCK);
    let outputs = bench.tip_changed();
    assert_eq!(validations(&outputs), [Ignore]);
    assert!(bench.response(&asked_for, Ok(transactions(&block, &asked_for))).is_empty());
}

// A first announcement with the right header and a wrong body must not suppress the block.
#[test]
fn valid_announcement_replaces_bad_one_of_same_block() {
    let (mut bench, block) = bench_and_block(4, 4);
    let mut nonsense = CompactBlock::of(&block, 7, &[]);
    for short_id in &mut nonsense.short_ids {
        short_id.0[0] ^= 1;
    }
    let outputs = bench.announce(3, Announcement::CompactBlock(Arc::new(nonsense)));
    let from_liar = only_asked(&outputs);
    let outputs = bench.announce_compact(1, &block);
    assert_eq!(validations(&outputs), [Ignore, Accept], "the first, then the second");
    assert_eq!(imported(&outputs), [block.hash()]);
    assert!(bench.response(&from_liar, Err(Failure::Disconnected)).is_empty());
}
