use super::*;
use crate::message::{Protocol, Status, VERSION};
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

/// The hashes of the headers of a reply.
fn hashes(reply: Response) -> Vec<Hash> {
    let Response::Headers(headers) = reply else { panic!("{reply:?}") };
    headers.iter().map(Header::hash).collect()
}

fn ask_blocks(chain: &impl ChainView, hashes: &[Hash]) -> Vec<Option<RawBlock>> {
    match answer(chain, &Request::Blocks { hashes: hashes.to_vec() }) {
        Response::Blocks(blocks) => blocks,
        reply => panic!("{reply:?}"),
    }
}

fn all_hashes(blocks: &[Arc<Block>]) -> Vec<Hash> {
    blocks.iter().map(|block| block.hash()).collect()
}

const BAD: Response = Response::Error(ResponseError::BadRequest);

#[test]
fn headers_follow_the_first_block_of_the_locator_that_is_in_the_best_chain() {
    let mut chain = MockChain::dev();
    let genesis = chain.tip().hash;
    let best = all_hashes(&chain.grow(10, 1));
    let side = all_hashes(&chain.grow_on(best[3], 4, 2));
    let from = |locator: &[Hash]| hashes(ask_headers(&chain, locator, Hash::ZERO, 2_000));
    assert_eq!(from(&[side[3], side[0], best[3], best[1], genesis]), best[4..]);
    assert_eq!(from(&[best[9], best[8]]), []);
    assert_eq!(from(&[genesis]), best);
    // Not in the order it should have: no more work, and no harm.
    assert_eq!(from(&[genesis, best[5]]), best);
}

// N29
#[test]
fn an_unknown_locator_gets_headers_from_genesis_and_a_longer_one_nothing() {
    let mut chain = MockChain::dev();
    let best = all_hashes(&chain.grow(5, 1));
    assert_eq!(hashes(ask_headers(&chain, &[UNKNOWN; 64], Hash::ZERO, 3)), best[..3]);
    assert_eq!(hashes(ask_headers(&chain, &[], Hash::ZERO, 3)), best[..3]);
    assert_eq!(ask_headers(&chain, &[UNKNOWN; 65], Hash::ZERO, 3), BAD);
    assert_eq!(ask_headers(&chain, &[], Hash::ZERO, 2_001), BAD);
}

// N11
#[test]
fn headers_end_at_the_stop_or_at_the_most_that_was_asked_for() {
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

/// A chain that has a reorganisation between finding a block and reading the headers after it.
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
    fn pool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64) {
        self.0.pool_page(from, max)
    }
}

// N18: whoever asked could take it for a lie.
#[test]
fn headers_after_a_reorganisation_meanwhile_are_not_given_out() {
    let (mut before, mut after) = (MockChain::dev(), MockChain::dev());
    let known = all_hashes(&before.grow(5, 1));
    after.grow(7, 2);
    let chain = Fickle(before, after, Cell::new(false));
    let reply = ask_headers(&chain, &[known[2]], Hash::ZERO, 10);
    assert_eq!(reply, Response::Error(ResponseError::Busy { retry_after: 1 }));
}

#[test]
fn blocks_come_in_the_order_asked_for_with_a_gap_for_each_that_is_not_there() {
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

#[test]
fn a_reply_of_blocks_ends_after_a_mebibyte_and_has_at_least_one() {
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
    // Just below the mebibyte: the next goes with them, and the reply still fits.
    let found = ask_blocks(&chain, &[half, other_half, last, full]);
    assert_eq!(found.len(), 3);
    let bytes = wire::encode_response(&Response::Blocks(found)).len();
    assert!(bytes <= Protocol::Blocks.limits().response_bytes, "{bytes}");
}

// N30
#[test]
fn a_side_block_is_served_while_it_is_fresh_and_not_for_ever() {
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
fn transactions_are_those_at_the_positions_or_none_at_all() {
    let mut chain = MockChain::dev();
    let clock = Timestamp::new(1_800_000_000);
    let block = chain.mine(&[transfer(1), transfer(2), transfer(3)], clock, 1);
    chain.insert(&block, clock);
    let ask = |hash: Hash, positions: &[u32]| {
        let positions = positions.to_vec();
        answer(&chain, &Request::BlockTransactions { block: hash, positions })
    };
    let of = |positions: &[usize]| {
        let taken = positions.iter().map(|at| block.transactions[*at].clone());
        Response::BlockTransactions(taken.collect())
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
fn the_mempool_is_told_by_pages_in_the_order_of_arrival_and_its_transfers_by_id() {
    let mut chain = MockChain::dev();
    for transfer in (0..4_100).map(transfer) {
        chain.pool.insert(&transfer);
    }
    let ask = |from| answer(&chain, &Request::PoolIds { from });
    let ids: Vec<Id> = (0..4_100).map(|number| transfer(number).id()).collect();
    assert_eq!(ask(0), Response::PoolIds { ids: ids[..4_000].to_vec(), next: 4_000 });
    assert_eq!(ask(4_000), Response::PoolIds { ids: ids[4_000..].to_vec(), next: 4_100 });
    assert_eq!(ask(4_100), Response::PoolIds { ids: vec![], next: 4_100 });
    assert_eq!(ask(u64::MAX), Response::PoolIds { ids: vec![], next: u64::MAX });

    let ids = vec![transfer(3).id(), Id::ZERO, transfer(1).id()];
    let found = Response::PoolTransfers(vec![(*transfer(3)).clone(), (*transfer(1)).clone()]);
    assert_eq!(answer(&chain, &Request::PoolTransfers { ids }), found);
    assert_eq!(answer(&chain, &Request::PoolTransfers { ids: vec![] }), BAD);
    assert_eq!(answer(&chain, &Request::PoolTransfers { ids: vec![Id::ZERO; 4_001] }), BAD);
}

#[test]
fn what_is_not_about_the_chain_is_answered_elsewhere() {
    let chain = MockChain::dev();
    let status = Status {
        version: VERSION,
        services: 0,
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
