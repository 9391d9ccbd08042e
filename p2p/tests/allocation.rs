//! The memory that decoders allocate for bytes from peers, as counted by the allocator. One test,
//! because the counts are of the whole process.

use chain::tx::{Id, Transaction};
use chain::{Params, block};
use futures::FutureExt;
use futures::io::Cursor;
use libp2p::request_response::Codec as _;
use p2p::message::{
    Announcement, CompactBlock, NodeAddresses, Protocol, Request, Response, ShortId,
};
use p2p::wire::{self, Codec, Topic};
use p2p::{Multiaddr, PeerId};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The bytes allocated during a function call.
fn allocated(doing: impl FnOnce()) -> usize {
    let region = Region::new(ALLOCATOR);
    doing();
    region.change().bytes_allocated
}

/// The most bytes that any decoder allocates for an input.
fn allocated_by_decoders(bytes: &[u8]) -> usize {
    let requests = Protocol::ALL.map(|it| allocated(|| drop(wire::decode_request(it, bytes))));
    let responses = Protocol::ALL.map(|it| allocated(|| drop(wire::decode_response(it, bytes))));
    let announcements =
        Topic::ALL.map(|it| allocated(|| drop(wire::decode_announcement(it, bytes))));
    let all = requests.into_iter().chain(responses).chain(announcements);
    all.max().unwrap_or_default()
}

/// Messages with every kind of list.
fn messages() -> Vec<Vec<u8>> {
    let genesis = Params::dev().genesis().clone();
    let coinbase: Transaction = genesis.transactions[0].clone();
    let address: Multiaddr = "/ip4/10.0.0.1/tcp/7000".parse().expect("it is an address");
    let node = || NodeAddresses {
        peer: PeerId::random(),
        addresses: vec![address.clone(); 4],
        last_seen: 5,
    };
    let (hashes, ids) = (vec![block::Hash::ZERO; 60], vec![Id::ZERO; 60]);
    let compact = CompactBlock {
        header: genesis.header,
        nonce: 5,
        short_ids: vec![ShortId([5; 6]); 60],
        prefilled: (0..9).map(|position| (position, coinbase.clone())).collect(),
    };
    vec![
        wire::encode_request(&Request::Blocks { hashes }),
        wire::encode_request(&Request::MempoolTransfers { ids }),
        wire::encode_request(&Request::BlockTransactions {
            block: block::Hash::ZERO,
            positions: (0..60).collect(),
        }),
        wire::encode_response(&Response::Headers(vec![genesis.header; 20])),
        wire::encode_response(&Response::Blocks(vec![Some(genesis.encode().into()); 9])),
        wire::encode_response(&Response::BlockTransactions(vec![coinbase; 9])),
        wire::encode_response(&Response::Addresses(std::iter::repeat_with(node).take(9).collect())),
        wire::encode_announcement(&Announcement::Block(Arc::new(genesis))),
        wire::encode_announcement(&Announcement::CompactBlock(Arc::new(compact))),
    ]
}

// N03
#[test]
fn allocation_of_decoders_is_bounded_by_input_length() {
    // A count of 2^32 − 1 at every position of every message.
    for message in messages() {
        for at in 0..message.len() - 4 {
            let mut bytes = message.clone();
            bytes[at..at + 4].fill(0xff);
            let found = allocated_by_decoders(&bytes);
            assert!(found <= 8 * bytes.len(), "{found} bytes for {} at {at}", bytes.len());
        }
    }

    // Other values at all positions, derived from the number of the round.
    let messages = messages();
    for round in 0_u32..20_000 {
        let drawn = *blake3::hash(&round.to_le_bytes()).as_bytes();
        let mut bytes = messages[usize::from(drawn[0]) % messages.len()].clone();
        for change in drawn[1..].chunks_exact(3).take(1 + usize::from(drawn[31]) % 8) {
            let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
            bytes[at] = change[2];
        }
        let found = allocated_by_decoders(&bytes);
        assert!(found <= 8 * bytes.len(), "{found} bytes for {} in {round}", bytes.len());
    }

    // A frame that claims four mebibytes and ends after a thousand bytes.
    let protocol = Protocol::Blocks;
    let name = wire::protocol_name(block::Hash::ZERO, protocol);
    let bytes = [&(4_u32 << 20).to_le_bytes()[..], &[0; 1_000]].concat();
    let found = allocated(|| {
        let mut stream = Cursor::new(&bytes);
        let read = Codec { protocol }.read_response(&name, &mut stream).now_or_never();
        assert!(read.is_some_and(|read| read.is_err()));
    });
    assert!(found <= 8_000, "{found} bytes");
    // A frame that claims more than its limit.
    let found = allocated(|| {
        let mut stream = Cursor::new([0xff; 4]);
        let read = Codec { protocol }.read_response(&name, &mut stream).now_or_never();
        assert!(read.is_some_and(|read| read.is_err()));
    });
    assert!(found <= 1_000, "{found} bytes");
}
