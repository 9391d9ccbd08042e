use super::*;
use crate::message::{Capabilities, Protocol, Status};
use crate::testing::mock_chain::{MockChain, transfer};
use crate::view::{Known, Tip};
use crate::wire;
use chain::Params;
use chain::block::{Hash, Header, Timestamp};
use chain::pow::Work;
use std::cell::Cell;
use std::sync::Arc;

const UNKNOWN: Hash = Hash::from_bytes([7; 32]);

fn ask_headers(chain: &impl ChainView, locator: &[Hash], stop: Hash, max: u16) -> Response {
    answer(chain, &Request::Headers { locator: locator.to_vec(), stop, max })
}

/// The hashes of the headers of a response.
fn hashes(response: Response) -> Vec<Hash> {
    let Response::Headers(headers) = response else { panic!("{response:?}") };
    headers.iter().map(Header::hash).collect()
}

fn ask_blocks(chain: &impl ChainView, hashes: &[Hash]) -> Vec<Option<RawBlock>> {
    match answer(chain, &Request::Blocks { hashes: hashes.to_vec() }) {
        Response::Blocks(blocks) => blocks,
        response => panic!("{response:?}"),
    }
}

fn all_hashes(blocks: &[Arc<Block>]) -> Vec<Hash> {
    blocks.iter().map(|block| block.hash()).collect()
}

const BAD: Response = Response::Error(ResponseError::BadRequest);

#[test]
fn headers_follow_first_locator_block_in_best_chain() {
    let mut chain = MockChain::dev();
    let genesis = chain.tip().hash;
    let best = all_hashes(&chain.grow(10, 1));
    let side = all_hashes(&chain.grow_on(best[3], 4, 2));
    let from = |locator: &[Hash]| hashes(ask_headers(&chain, locator, Hash::ZERO, 2_000));
    assert_eq!(from(&[side[3], side[0], best[3], best[1], genesis]), best[4..]);
    assert_eq!(from(&[best[9], best[8]]), []);
    assert_eq!(from(&[genesis]), best);
    // A locator in the wrong order causes no more work and no harm.
    assert_eq!(from(&[genesis, best[5]]), best);
}

// N29
#[test]
fn unknown_locator_starts_at_genesis_and_long_one_is_rejected() {
    let mut chain = MockChain::dev();
    let best = all_hashes(&chain.grow(5, 1));
    assert_eq!(hashes(ask_headers(&chain, &[UNKNOWN; 64], Hash::ZERO, 3)), best[..3]);
    assert_eq!(hashes(ask_headers(&chain, &[], Hash::ZERO, 3)), best[..3]);
    assert_eq!(ask_headers(&chain, &[UNKNOWN; 65], Hash::ZERO, 3), BAD);
    assert_eq!(ask_headers(&chain, &[], Hash::ZERO, 2_001), BAD);
}

// N11
#[test]
fn headers_end_at_stop_or_maximum() {
    let mut chain = MockChain::dev();
    let genesis = chain.tip().hash;
    let best = all_hashes(&chain.grow(2_050, 1));
    let ask = |from: Hash, stop, max| hashes(ask_headers(&chain, &[from], stop, max));
    assert_eq!(ask(genesis, Hash::ZERO, 2_000), best[..2_000]);
    assert_eq!(ask(best[1], best[4], 2_000), best[2..5]);
    assert_eq!(ask(best[1], best[4], 2), best[2..4]);
    assert_eq!(ask(best[4], best[4], 2), []);
    assert_eq!(ask(best[4], best[1], 2), []);
    assert_eq!(ask(best[4], UNKNOWN, 2), best[5..7]);
    assert_eq!(ask(best[4], Hash::ZERO, 0), []);
}

/// A chain with a reorganisation between the lookup of a block and the read of its successors.
struct Fickle(MockChain, MockChain, Cell<bool>);

impl ChainView for Fickle {
    fn params(&self) -> &Params {
        self.0.params()
    }
    fn tip(&self) -> Tip {
        self.0.tip()
    }
    fn find(&self, hash: &Hash) -> Option<Known> {
        self.2.set(true);
        self.0.find(hash)
    }
    fn is_known_invalid(&self, _: &Hash) -> bool {
        false
    }
    fn at(&self, height: Height) -> Option<Hash> {
        self.0.at(height)
    }
    fn headers(&self, from: Height, max: usize) -> Vec<Header> {
        if self.2.get() { self.1.headers(from, max) } else { self.0.headers(from, max) }
    }
    fn block(&self, hash: &Hash) -> Option<RawBlock> {
        self.0.block(hash)
    }
    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>> {
        self.0.transfer(id)
    }
    fn mempool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64) {
        self.0.mempool_page(from, max)
    }
}

// N18: the peer could report the response as wrong.
#[test]
fn reorganisation_during_request_is_busy() {
    let (mut before, mut after) = (MockChain::dev(), MockChain::dev());
    let known = all_hashes(&before.grow(5, 1));
    after.grow(7, 2);
    let chain = Fickle(before, after, Cell::new(false));
    let response = ask_headers(&chain, &[known[2]], Hash::ZERO, 10);
    assert_eq!(response, Response::Error(ResponseError::Busy { retry_after: 1 }));
}

#[test]
fn blocks_are_in_requested_order_with_gaps_for_missing() {
    let mut chain = MockChain::dev();
    let blocks = chain.grow(3, 1);
    let [first, _, last] = all_hashes(&blocks)[..] else { panic!("three blocks") };
    let found = ask_blocks(&chain, &[last, UNKNOWN, first]);
    let raw = |at: usize| Some(RawBlock::from(blocks[at].encode()));
    assert_eq!(found, [raw(2), None, raw(0)]);
    assert_eq!(ask_blocks(&chain, &[UNKNOWN]), [None]);
    assert_eq!(answer(&chain, &Request::Blocks { hashes: vec![] }), BAD);
    assert_eq!(answer(&chain, &Request::Blocks { hashes: vec![last; 65] }), BAD);
}

// The sync of small blocks waited behind peers that requested large ones.
#[test]
fn size_of_a_response_of_blocks_is_known_before_it_is_prepared() {
    let mut chain = MockChain::dev();
    let blocks = chain.grow(3, 1);
    let all = Request::Blocks { hashes: all_hashes(&blocks) };
    let bytes: usize = blocks.iter().map(|block| block.encode().len()).sum();
    assert!(is_within(&chain, &all, bytes) && !is_within(&chain, &all, bytes - 1));
    let unknown = Request::Blocks { hashes: vec![UNKNOWN; 65] };
    assert!(is_within(&chain, &unknown, 0));
    let headers = Request::Headers { locator: Vec::new(), stop: Hash::ZERO, max: 2_000 };
    assert!(is_within(&chain, &headers, 0));
}

#[test]
fn blocks_response_ends_after_a_mebibyte() {
    let mut chain = MockChain::dev();
    let clock = Timestamp::new(1_800_000_000);
    let transfers: Vec<_> = (0..13_791).map(transfer).collect();
    let mut blocks = Vec::new();
    for transfers in [&transfers[..], &transfers[..3_600], &transfers[..3_600], &transfers] {
        let block = chain.mine(transfers, clock, 1);
        chain.insert(&block, clock);
        blocks.push(block.hash());
    }
    let [full, half, other_half, last] = blocks[..] else { panic!("four blocks") };
    assert_eq!(ask_blocks(&chain, &[full, half]).len(), 1);
    // Just below the mebibyte: the next block is added, and the response still fits.
    let found = ask_blocks(&chain, &[half, other_half, last, full]);
    assert_eq!(found.len(), 3);
    let bytes = wire::encode_response(&Response::Blocks(found)).len();
    assert!(bytes <= Protocol::Blocks.limits().response_bytes, "{bytes}");
}

// N30
#[test]
fn serves_side_block_only_near_tip() {
    let mut chain = MockChain::dev();
    let best = all_hashes(&chain.grow(3, 1));
    let side = all_hashes(&chain.grow_on(best[0], 1, 2))[0];
    let ask = |chain: &MockChain, hash| {
        let transactions = Request::BlockTransactions { block: hash, positions: vec![0] };
        let is_there = answer(chain, &transactions) != Response::Error(ResponseError::NotFound);
        assert_eq!(ask_blocks(chain, &[hash])[0].is_some(), is_there);
        is_there
    };
    assert!(ask(&chain, side));
    chain.grow(287, 1);
    assert_eq!(chain.tip().height, Height::new(2 + 288));
    assert!(ask(&chain, side));
    chain.grow(1, 1);
    assert!(!ask(&chain, side));
    assert!(ask(&chain, best[1]), "the best chain is served whole");
}

#[test]
fn transactions_are_all_at_the_positions_or_none() {
    let mut chain = MockChain::dev();
    let clock = Timestamp::new(1_800_000_000);
    let block = chain.mine(&[transfer(1), transfer(2), transfer(3)], clock, 1);
    chain.insert(&block, clock);
    let ask = |hash: Hash, positions: &[u32]| {
        let positions = positions.to_vec();
        answer(&chain, &Request::BlockTransactions { block: hash, positions })
    };
    let of = |positions: &[usize]| {
        let selected = positions.iter().map(|at| block.transactions[*at].clone());
        Response::BlockTransactions(selected.collect())
    };
    assert_eq!(ask(block.hash(), &[1, 3]), of(&[1, 3]));
    assert_eq!(ask(block.hash(), &[0, 1, 2, 3]), of(&[0, 1, 2, 3]));
    for beyond in [&[4][..], &[1, 4], &[u32::MAX], &[], &[1, 1]] {
        assert_eq!(ask(block.hash(), beyond), BAD, "{beyond:?}");
    }
    assert_eq!(ask(block.hash(), &(0..13_801).collect::<Vec<_>>()), BAD);
    assert_eq!(ask(UNKNOWN, &[1]), Response::Error(ResponseError::NotFound));
}

#[test]
fn serves_mempool_pages_in_order_and_transfers_by_id() {
    let mut chain = MockChain::dev();
    for transfer in (0..4_100).map(transfer) {
        chain.pool.insert(&transfer);
    }
    let ask = |from| answer(&chain, &Request::MempoolIds { from });
    let ids: Vec<Id> = (0..4_100).map(|number| transfer(number).id()).collect();
    assert_eq!(ask(0), Response::MempoolIds { ids: ids[..4_000].to_vec(), next: 4_000 });
    assert_eq!(ask(4_000), Response::MempoolIds { ids: ids[4_000..].to_vec(), next: 4_100 });
    assert_eq!(ask(4_100), Response::MempoolIds { ids: vec![], next: 4_100 });
    assert_eq!(ask(u64::MAX), Response::MempoolIds { ids: vec![], next: u64::MAX });

    let ids = vec![transfer(3).id(), Id::ZERO, transfer(1).id()];
    let found = Response::MempoolTransfers(vec![(*transfer(3)).clone(), (*transfer(1)).clone()]);
    assert_eq!(answer(&chain, &Request::MempoolTransfers { ids }), found);
    assert_eq!(answer(&chain, &Request::MempoolTransfers { ids: vec![] }), BAD);
    assert_eq!(answer(&chain, &Request::MempoolTransfers { ids: vec![Id::ZERO; 4_001] }), BAD);
}

#[test]
fn rejects_requests_about_other_things() {
    let chain = MockChain::dev();
    let status = Status {
        capabilities: Capabilities::LOCAL,
        genesis: chain.tip().hash,
        tip: chain.tip().hash,
        height: Height::GENESIS,
        chain_work: Work::ZERO,
        relay: true,
        clock: 0,
        nonce: 0,
    };
    assert_eq!(answer(&chain, &Request::Hello(status)), BAD);
    assert_eq!(answer(&chain, &Request::Addresses { max: 3 }), BAD);
}
