use super::*;
use crate::message::{Announcement, RawBlock};
use crate::testing::fixtures::{block, coinbase, transfer};
use crate::view::{Known, Tip};
use crate::wire;
use chain::Params;
use chain::block::Height;
use chain::tx::Transfer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A mempool, and nothing else that could be asked for.
struct Pool {
    params: Params,
    transfers: BTreeMap<Id, Arc<Transfer>>,
    /// Transfers with the ids of others, as if short ids were alike by chance.
    twins: Vec<(Id, Transfer)>,
}

impl Pool {
    fn of(numbers: impl IntoIterator<Item = u32>) -> Pool {
        let transfers = numbers.into_iter().map(transfer);
        let transfers = transfers.map(|transfer| (transfer.id(), Arc::new(transfer))).collect();
        Pool { params: Params::dev(), transfers, twins: Vec::new() }
    }
}

impl ChainView for Pool {
    fn params(&self) -> &Params {
        &self.params
    }
    fn tip(&self) -> Tip {
        unreachable!()
    }
    fn find(&self, _: &block::Hash) -> Option<Known> {
        unreachable!()
    }
    fn is_known_invalid(&self, _: &block::Hash) -> bool {
        unreachable!()
    }
    fn at(&self, _: Height) -> Option<block::Hash> {
        unreachable!()
    }
    fn headers(&self, _: Height, _: usize) -> Vec<Header> {
        unreachable!()
    }
    fn block(&self, _: &block::Hash) -> Option<RawBlock> {
        unreachable!()
    }
    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>> {
        self.transfers.get(id).cloned()
    }
    fn pool_page(&self, _: u64, _: usize) -> (Vec<Id>, u64) {
        unreachable!()
    }
    fn pool_transfers(&self, is_wanted: &dyn Fn(&Id) -> bool) -> Vec<(Id, Transfer)> {
        let wanted = self.transfers.iter().filter(|(id, _)| is_wanted(id));
        let found = wanted.map(|(id, transfer)| (*id, Transfer::clone(transfer)));
        found.chain(self.twins.iter().cloned()).collect()
    }
}

fn some(block: &Block, positions: &[u32]) -> Vec<Transaction> {
    positions.iter().map(|at| block.transactions[*at as usize].clone()).collect()
}

/// As many transfers as fit into 2,000,000 bytes beside a coinbase.
fn full_block() -> Block {
    block((0..13_791).map(transfer))
}

#[test]
fn a_block_whose_transfers_all_wait_in_the_mempool_needs_nothing_more() {
    let block = block((0..20).map(transfer));
    let compact = CompactBlock::of(&block, 5, &[]);
    assert_eq!((compact.short_ids.len(), compact.prefilled.len()), (20, 1));
    assert_eq!(compact.hash(), block.hash());
    let rebuilt = Reconstruction::start(&compact, &Pool::of(0..50)).unwrap();
    assert!(rebuilt.missing().is_empty());
    assert_eq!(rebuilt.finish(), Ok(block));
}

#[test]
fn an_empty_mempool_misses_all_but_the_prefilled_and_takes_them_in_order() {
    let block = block((0..5).map(transfer));
    let compact = CompactBlock::of(&block, 5, &[2, 400]);
    let mut rebuilt = Reconstruction::start(&compact, &Pool::of([])).unwrap();
    assert_eq!(rebuilt.missing(), [1, 3, 4, 5]);
    assert_eq!(rebuilt.clone().finish(), Err(CompactError::Incomplete(4)));
    rebuilt.fill(some(&block, &[1, 3, 4, 5])).unwrap();
    assert!(rebuilt.missing().is_empty());
    assert_eq!(rebuilt.finish(), Ok(block));
}

#[test]
fn a_block_of_a_coinbase_alone_goes_whole() {
    let block = block([]);
    let compact = CompactBlock::of(&block, 5, &[]);
    assert_eq!(Reconstruction::start(&compact, &Pool::of([])).unwrap().finish(), Ok(block));
}

#[test]
fn other_transactions_than_the_missing_are_refused_and_the_right_ones_taken_after_them() {
    let block = block((0..4).map(transfer));
    let compact = CompactBlock::of(&block, 5, &[]);
    let mut rebuilt = Reconstruction::start(&compact, &Pool::of([0, 2])).unwrap();
    assert_eq!(rebuilt.missing(), [2, 4]);
    for wrong in [&[][..], &[2], &[4, 2], &[2, 4, 4], &[2, 1], &[0, 4]] {
        let filled = rebuilt.fill(some(&block, wrong));
        assert_eq!(filled, Err(CompactError::WrongTransactions), "{wrong:?}");
        assert_eq!(rebuilt.missing(), [2, 4]);
    }
    rebuilt.fill(some(&block, &[2, 4])).unwrap();
    assert_eq!(rebuilt.finish(), Ok(block));
}

// N18: whoever forwards it may be honest.
#[test]
fn a_transfer_taken_for_another_one_asks_for_the_whole_block() {
    let genuine = block((0..4).map(transfer));
    let ids = ShortIds::new(&genuine.header, 5);
    let mut compact = CompactBlock::of(&genuine, 5, &[]);
    // As if transfer 9 had by chance the short id of transfer 2.
    compact.short_ids[2] = ids.of(&transfer(9).id());
    let rebuilt = Reconstruction::start(&compact, &Pool::of([0, 1, 3, 9])).unwrap();
    assert!(rebuilt.missing().is_empty());
    assert_eq!(rebuilt.finish(), Err(CompactError::Collision));
}

#[test]
fn two_equal_short_ids_ask_for_the_whole_block() {
    let mut compact = CompactBlock::of(&block((0..4).map(transfer)), 5, &[]);
    compact.short_ids[3] = compact.short_ids[1];
    let started = Reconstruction::start(&compact, &Pool::of(0..4));
    assert_eq!(started.unwrap_err(), CompactError::Collision);
}

#[test]
fn two_transfers_of_the_mempool_with_one_short_id_count_as_missing() {
    let block = block((0..4).map(transfer));
    let mut pool = Pool::of(0..4);
    let twice = *pool.transfers.keys().nth(1).unwrap();
    pool.twins = vec![(twice, transfer(77)); 2];
    let compact = CompactBlock::of(&block, 5, &[]);
    let mut rebuilt = Reconstruction::start(&compact, &pool).unwrap();
    let [missing] = rebuilt.missing()[..] else { panic!("one is missing") };
    assert_eq!(block.transactions[missing as usize].id(), twice);
    rebuilt.fill(some(&block, &[missing])).unwrap();
    assert_eq!(rebuilt.finish(), Ok(block));
}

#[test]
fn another_root_is_bad_only_if_no_short_id_can_be_why() {
    let mut wrong = block((0..4).map(transfer));
    wrong.header.merkle_root = merkle::Root::from_bytes([1; 32]);
    for (prefill, expected) in [
        (&[][..], CompactError::Collision),
        (&[1, 2, 3], CompactError::Collision),
        (&[1, 2, 3, 4], CompactError::Bad("another merkle root")),
    ] {
        let compact = CompactBlock::of(&wrong, 5, prefill);
        let rebuilt = Reconstruction::start(&compact, &Pool::of(0..4)).unwrap();
        assert_eq!(rebuilt.finish(), Err(expected), "{prefill:?}");
    }
}

// C01: the root is right, but the body says nothing about the header.
#[test]
fn a_body_with_its_tail_repeated_is_not_the_headers() {
    let genuine = block((0..2).map(transfer));
    let mut longer = genuine.clone();
    longer.transactions.push(Transaction::Transfer(transfer(1)));
    assert_eq!(merkle::root(&longer.ids()), genuine.header.merkle_root);
    let compact = CompactBlock::of(&longer, 5, &[1, 2, 3]);
    let rebuilt = Reconstruction::start(&compact, &Pool::of([])).unwrap();
    assert_eq!(rebuilt.finish(), Err(CompactError::Bad("another merkle root")));
}

#[test]
fn an_announcement_nobody_could_complete_is_bad() {
    let honest = CompactBlock::of(&block((0..4).map(transfer)), 5, &[3]);
    let start = |change: &dyn Fn(&mut CompactBlock)| {
        let mut compact = honest.clone();
        change(&mut compact);
        Reconstruction::start(&compact, &Pool::of(0..4)).map(|_| ()).unwrap_err()
    };
    let beyond = CompactError::Bad("a position is beyond the end");
    assert_eq!(start(&|compact| compact.prefilled[1].0 = 5), beyond);
    assert_eq!(start(&|compact| compact.prefilled[1].0 = u32::MAX), beyond);
    let twice = CompactError::Bad("positions do not ascend");
    assert_eq!(start(&|compact| compact.prefilled[1].0 = 0), twice);
    let headless = CompactError::Bad("it does not begin with a coinbase");
    assert_eq!(start(&|compact| compact.prefilled.clear()), headless);
    assert_eq!(start(&|compact| compact.prefilled[0].0 = 1), headless);
    assert_eq!(start(&|compact| compact.prefilled.swap(0, 1)), headless);
    assert_eq!(
        start(&|compact| compact.prefilled[0].1 = Transaction::Transfer(transfer(4))),
        headless
    );
}

#[test]
fn more_short_ids_than_a_block_has_room_for_are_bad() {
    let block = block([]);
    let mut compact = CompactBlock::of(&block, 5, &[]);
    let with = |count: u32| (0..count).map(|id| [id.to_le_bytes(), [0; 4]].concat());
    let short = |bytes: Vec<u8>| ShortId(bytes[..6].try_into().unwrap());
    let room = (2_000_000 - BLOCK_OVERHEAD - coinbase(1).encode().len()) / MIN_TRANSFER_BYTES;
    assert_eq!(room, 13_791);
    compact.short_ids = with(13_791).map(short).collect();
    let started = Reconstruction::start(&compact, &Pool::of([])).unwrap();
    assert_eq!(started.missing().len(), 13_791);
    compact.short_ids = with(13_792).map(short).collect();
    let started = Reconstruction::start(&compact, &Pool::of([]));
    let bad = CompactError::Bad("more transactions than fit into a block");
    assert_eq!(started.unwrap_err(), bad);
}

#[test]
fn a_full_block_is_announced_in_a_twentieth_of_its_bytes_and_rebuilt_from_50000_transfers() {
    let block = full_block();
    let bytes = block.encode().len();
    assert!((1_999_000..=2_000_000).contains(&bytes), "{bytes}");
    let compact = Arc::new(CompactBlock::of(&block, 5, &[]));
    let announcement = Announcement::CompactBlock(Arc::clone(&compact));
    let encoded = wire::encode_announcement(&announcement);
    assert!(encoded.len() < bytes / 20, "{} of {bytes}", encoded.len());
    assert_eq!(wire::decode_announcement(wire::Topic::Blocks, &encoded), Ok(announcement));

    let pool = Pool::of(0..50_000);
    let begun = Instant::now();
    let rebuilt = Reconstruction::start(&compact, &pool).unwrap();
    assert!(rebuilt.missing().is_empty());
    let rebuilt = rebuilt.finish().unwrap();
    println!("rebuilt in {:?}", begun.elapsed());
    assert!(rebuilt == block);
}

#[test]
fn prefilled_transactions_keep_to_their_room() {
    let block = block((0..200).map(transfer));
    let all: Vec<u32> = (0..201).rev().collect();
    let compact = CompactBlock::of(&block, 5, &all);
    let prefilled: usize = compact.prefilled.iter().map(|(_, it)| it.encode().len()).sum();
    assert!((MAX_PREFILLED - 145..=MAX_PREFILLED).contains(&prefilled), "{prefilled}");
    assert!((0..).zip(&compact.prefilled).all(|(position, (at, _))| position == *at));
    let rebuilt = Reconstruction::start(&compact, &Pool::of(0..200)).unwrap();
    assert_eq!(rebuilt.finish(), Ok(block));
}

#[test]
fn each_announcement_has_short_ids_of_its_own() {
    let block = block([transfer(0)]);
    let other_header = Header { nonce: 2, ..block.header };
    let id = transfer(0).id();
    let short_id = ShortIds::new(&block.header, 5).of(&id);
    assert_ne!(short_id, ShortIds::new(&block.header, 6).of(&id));
    assert_ne!(short_id, ShortIds::new(&other_header, 5).of(&id));
    assert_eq!(short_id, CompactBlock::of(&block, 5, &[]).short_ids[0]);
}
