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

/// A chain view with a mempool and nothing else.
struct Pool {
    params: Params,
    transfers: BTreeMap<Id, Arc<Transfer>>,
    /// Transfers under the ids of others, to simulate short ids that collide.
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
    fn mempool_page(&self, _: u64, _: usize) -> (Vec<Id>, u64) {
        unreachable!()
    }
    fn mempool_transfers(&self, is_wanted: &dyn Fn(&Id) -> bool) -> Vec<(Id, Transfer)> {
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
fn reconstructs_block_from_mempool_alone() {
    let block = block((0..20).map(transfer));
    let compact = CompactBlock::of(&block, 5, &[]);
    assert_eq!((compact.short_ids.len(), compact.prefilled.len()), (20, 1));
    assert_eq!(compact.hash(), block.hash());
    let reconstruction = Reconstruction::start(&compact, &Pool::of(0..50)).unwrap();
    assert!(reconstruction.missing().is_empty());
    assert_eq!(reconstruction.finish(), Ok(block));
}

#[test]
fn empty_mempool_lacks_all_but_prefilled_transactions() {
    let block = block((0..5).map(transfer));
    let compact = CompactBlock::of(&block, 5, &[2, 400]);
    let mut reconstruction = Reconstruction::start(&compact, &Pool::of([])).unwrap();
    assert_eq!(reconstruction.missing(), [1, 3, 4, 5]);
    assert_eq!(reconstruction.clone().finish(), Err(CompactError::Incomplete(4)));
    reconstruction.fill(some(&block, &[1, 3, 4, 5])).unwrap();
    assert!(reconstruction.missing().is_empty());
    assert_eq!(reconstruction.finish(), Ok(block));
}

#[test]
fn block_with_coinbase_only_is_fully_prefilled() {
    let block = block([]);
    let compact = CompactBlock::of(&block, 5, &[]);
    assert_eq!(Reconstruction::start(&compact, &Pool::of([])).unwrap().finish(), Ok(block));
}

#[test]
fn rejects_wrong_transactions_and_accepts_right_ones_afterwards() {
    let block = block((0..4).map(transfer));
    let compact = CompactBlock::of(&block, 5, &[]);
    let mut reconstruction = Reconstruction::start(&compact, &Pool::of([0, 2])).unwrap();
    assert_eq!(reconstruction.missing(), [2, 4]);
    for wrong in [&[][..], &[2], &[4, 2], &[2, 4, 4], &[2, 1], &[0, 4]] {
        let filled = reconstruction.fill(some(&block, wrong));
        assert_eq!(filled, Err(CompactError::WrongTransactions), "{wrong:?}");
        assert_eq!(reconstruction.missing(), [2, 4]);
    }
    reconstruction.fill(some(&block, &[2, 4])).unwrap();
    assert_eq!(reconstruction.finish(), Ok(block));
}

// N18: its forwarder may be honest.
#[test]
fn wrongly_matched_transfer_is_a_collision() {
    let genuine = block((0..4).map(transfer));
    let ids = ShortIds::new(&genuine.header, 5);
    let mut compact = CompactBlock::of(&genuine, 5, &[]);
    // Transfer 9 has the short id of transfer 2.
    compact.short_ids[2] = ids.of(&transfer(9).id());
    let reconstruction = Reconstruction::start(&compact, &Pool::of([0, 1, 3, 9])).unwrap();
    assert!(reconstruction.missing().is_empty());
    assert_eq!(reconstruction.finish(), Err(CompactError::Collision));
}

#[test]
fn equal_short_ids_are_a_collision() {
    let mut compact = CompactBlock::of(&block((0..4).map(transfer)), 5, &[]);
    compact.short_ids[3] = compact.short_ids[1];
    let started = Reconstruction::start(&compact, &Pool::of(0..4));
    assert_eq!(started.unwrap_err(), CompactError::Collision);
}

#[test]
fn ambiguous_mempool_transfers_are_missing() {
    let block = block((0..4).map(transfer));
    let mut pool = Pool::of(0..4);
    let twice = *pool.transfers.keys().nth(1).unwrap();
    pool.twins = vec![(twice, transfer(77)); 2];
    let compact = CompactBlock::of(&block, 5, &[]);
    let mut reconstruction = Reconstruction::start(&compact, &pool).unwrap();
    let [missing] = reconstruction.missing()[..] else { panic!("one is missing") };
    assert_eq!(block.transactions[missing as usize].id(), twice);
    reconstruction.fill(some(&block, &[missing])).unwrap();
    assert_eq!(reconstruction.finish(), Ok(block));
}

#[test]
fn wrong_root_is_bad_only_if_all_is_prefilled() {
    let mut wrong = block((0..4).map(transfer));
    wrong.header.merkle_root = merkle::Root::from_bytes([1; 32]);
    for (prefill, expected) in [
        (&[][..], CompactError::Collision),
        (&[1, 2, 3], CompactError::Collision),
        (&[1, 2, 3, 4], CompactError::Bad("wrong merkle root")),
    ] {
        let compact = CompactBlock::of(&wrong, 5, prefill);
        let reconstruction = Reconstruction::start(&compact, &Pool::of(0..4)).unwrap();
        assert_eq!(reconstruction.finish(), Err(expected), "{prefill:?}");
    }
}

// C01: the root is right, but the body is not the one of the header.
#[test]
fn rejects_body_with_repeated_tail() {
    let genuine = block((0..2).map(transfer));
    let mut longer = genuine.clone();
    longer.transactions.push(Transaction::Transfer(transfer(1)));
    assert_eq!(merkle::root(&longer.ids()), genuine.header.merkle_root);
    let compact = CompactBlock::of(&longer, 5, &[1, 2, 3]);
    let reconstruction = Reconstruction::start(&compact, &Pool::of([])).unwrap();
    assert_eq!(reconstruction.finish(), Err(CompactError::Bad("wrong merkle root")));
}

#[test]
fn rejects_compact_block_that_no_node_can_complete() {
    let honest = CompactBlock::of(&block((0..4).map(transfer)), 5, &[3]);
    let start = |change: &dyn Fn(&mut CompactBlock)| {
        let mut compact = honest.clone();
        change(&mut compact);
        Reconstruction::start(&compact, &Pool::of(0..4)).map(|_| ()).unwrap_err()
    };
    let beyond = CompactError::Bad("position out of range");
    assert_eq!(start(&|compact| compact.prefilled[1].0 = 5), beyond);
    assert_eq!(start(&|compact| compact.prefilled[1].0 = u32::MAX), beyond);
    let twice = CompactError::Bad("positions are not ascending");
    assert_eq!(start(&|compact| compact.prefilled[1].0 = 0), twice);
    let headless = CompactError::Bad("no coinbase");
    assert_eq!(start(&|compact| compact.prefilled.clear()), headless);
    assert_eq!(start(&|compact| compact.prefilled[0].0 = 1), headless);
    assert_eq!(start(&|compact| compact.prefilled.swap(0, 1)), headless);
    assert_eq!(
        start(&|compact| compact.prefilled[0].1 = Transaction::Transfer(transfer(4))),
        headless
    );
}

#[test]
fn rejects_more_short_ids_than_fit_into_a_block() {
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
    let reconstruction = Reconstruction::start(&compact, &pool).unwrap();
    assert!(reconstruction.missing().is_empty());
    let reconstruction = reconstruction.finish().unwrap();
    println!("reconstruction in {:?}", begun.elapsed());
    assert!(reconstruction == block);
}

#[test]
fn prefilled_transactions_stay_within_limit() {
    let block = block((0..200).map(transfer));
    let all: Vec<u32> = (0..201).rev().collect();
    let compact = CompactBlock::of(&block, 5, &all);
    let prefilled: usize = compact.prefilled.iter().map(|(_, it)| it.encode().len()).sum();
    assert!((MAX_PREFILLED - 145..=MAX_PREFILLED).contains(&prefilled), "{prefilled}");
    assert!((0..).zip(&compact.prefilled).all(|(position, (at, _))| position == *at));
    let reconstruction = Reconstruction::start(&compact, &Pool::of(0..200)).unwrap();
    assert_eq!(reconstruction.finish(), Ok(block));
}

#[test]
fn short_ids_depend_on_header_and_nonce() {
    let block = block([transfer(0)]);
    let other_header = Header { nonce: 2, ..block.header };
    let id = transfer(0).id();
    let short_id = ShortIds::new(&block.header, 5).of(&id);
    assert_ne!(short_id, ShortIds::new(&block.header, 6).of(&id));
    assert_ne!(short_id, ShortIds::new(&other_header, 5).of(&id));
    assert_eq!(short_id, CompactBlock::of(&block, 5, &[]).short_ids[0]);
}
