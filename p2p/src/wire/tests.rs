use super::*;
use crate::message::*;
use crate::testing::fixtures::{block, coinbase, header, transfer};
use chain::Height;
use chain::block::{Block, Hash, Header};
use chain::codec::DecodeError;
use chain::pow::Work;
use chain::tx::{Id, Memo, Transaction, Transfer};
use futures::io::Cursor;
use futures::{AsyncRead, FutureExt};
use libp2p::request_response::Codec as _;
use libp2p::{Multiaddr, PeerId, identity};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash::from_bytes)
}

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 32]>().prop_map(Id::from_bytes)
}

fn some_transfer() -> impl Strategy<Value = Transfer> {
    (any::<u32>(), vec(any::<u8>(), 0..=256))
        .prop_map(|(number, memo)| Transfer { memo: Memo::new(memo).unwrap(), ..transfer(number) })
}

fn transaction() -> impl Strategy<Value = Transaction> {
    let transfer = some_transfer().prop_map(Transaction::Transfer);
    prop_oneof![any::<u32>().prop_map(coinbase), transfer]
}

prop_compose! {
    fn status()(
        (min_version, max_version, features) in any::<(u16, u16, u64)>(),
        (genesis, tip) in (hash(), hash()),
        (height, work, relay) in (any::<u32>(), any::<[u8; 32]>(), any::<bool>()),
        (clock, nonce) in any::<(u64, u64)>(),
    ) -> Status {
        let (height, chain_work) = (Height::new(height), Work::from_le_bytes(work));
        let capabilities = Capabilities { min_version, max_version, features };
        Status { capabilities, genesis, tip, height, chain_work, relay, clock, nonce }
    }
}

prop_compose! {
    fn node()(seed in any::<[u8; 32]>(), ports in vec(any::<u16>(), 0..=4), last_seen: u64)
        -> NodeAddresses {
        let key = identity::Keypair::ed25519_from_bytes(seed).unwrap();
        let address = |port| format!("/ip4/10.1.2.3/tcp/{port}").parse().unwrap();
        let addresses = ports.into_iter().map(address).collect();
        NodeAddresses { peer: key.public().to_peer_id(), addresses, last_seen }
    }
}

fn request() -> impl Strategy<Value = Request> {
    let positions = btree_set(any::<u32>(), 0..300).prop_map(|set| set.into_iter().collect());
    prop_oneof![
        status().prop_map(Request::Hello),
        (vec(hash(), 0..=64), hash(), 0..=2_000_u16)
            .prop_map(|(locator, stop, max)| Request::Headers { locator, stop, max }),
        vec(hash(), 0..=64).prop_map(|hashes| Request::Blocks { hashes }),
        (hash(), positions)
            .prop_map(|(block, positions)| Request::BlockTransactions { block, positions }),
        any::<u64>().prop_map(|from| Request::MempoolIds { from }),
        vec(id(), 0..300).prop_map(|ids| Request::MempoolTransfers { ids }),
        (0..=64_u8).prop_map(|max| Request::Addresses { max }),
    ]
}

/// A response and its protocol.
fn response() -> impl Strategy<Value = (Protocol, Response)> {
    let raw = vec(any::<u8>(), 0..200).prop_map(|bytes| RawBlock::from(bytes.as_slice()));
    let headers = vec(any::<u32>().prop_map(header), 0..40);
    let ids = (vec(id(), 0..100), any::<u64>());
    let ids = ids.prop_map(|(ids, next)| Response::MempoolIds { ids, next });
    prop_oneof![
        status().prop_map(|status| (Protocol::Hello, Response::Hello(status))),
        headers.prop_map(|headers| (Protocol::Headers, Response::Headers(headers))),
        vec(prop::option::of(raw), 0..=64)
            .prop_map(|blocks| (Protocol::Blocks, Response::Blocks(blocks))),
        vec(transaction(), 0..20)
            .prop_map(|all| (Protocol::BlockTransactions, Response::BlockTransactions(all))),
        ids.prop_map(|ids| (Protocol::Mempool, ids)),
        vec(some_transfer(), 0..20)
            .prop_map(|all| (Protocol::Mempool, Response::MempoolTransfers(all))),
        vec(node(), 0..8).prop_map(|nodes| (Protocol::Addresses, Response::Addresses(nodes))),
        (0..6_usize, any::<u8>()).prop_map(|(protocol, retry_after)| {
            (Protocol::ALL[protocol], Response::Error(ResponseError::Busy { retry_after }))
        }),
        (0..6_usize, 0..4_usize).prop_map(|(protocol, why)| {
            let why = [
                ResponseError::NotFound,
                ResponseError::BadRequest,
                ResponseError::RateLimited,
                ResponseError::AboveLimit,
            ][why];
            (Protocol::ALL[protocol], Response::Error(why))
        }),
        status().prop_map(|status| {
            let supported = status.capabilities;
            let why = ResponseError::IncompatibleVersion { supported };
            (Protocol::Hello, Response::Error(why))
        }),
    ]
}

fn announcement() -> impl Strategy<Value = Announcement> {
    let transfers = || vec(some_transfer(), 0..10);
    let compact = (
        any::<(u32, u64)>(),
        vec(any::<[u8; 6]>().prop_map(ShortId), 0..300),
        prop::collection::btree_map(any::<u32>(), transaction(), 0..10),
    );
    prop_oneof![
        transfers().prop_map(|transfers| Announcement::Block(Arc::new(block(transfers)))),
        compact.prop_map(|((number, nonce), short_ids, prefilled)| {
            let prefilled = prefilled.into_iter().collect();
            let header = header(number);
            Announcement::CompactBlock(Arc::new(CompactBlock {
                header,
                nonce,
                short_ids,
                prefilled,
            }))
        }),
        (any::<u32>(), some_transfer()).prop_map(|(round, transfer)| Announcement::Transfer {
            round,
            transfer: Arc::new(transfer)
        }),
    ]
}

/// Asserts that the bytes decode to the message, and that shorter or longer bytes do not decode.
fn check<T: PartialEq + Debug>(
    message: &T,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, WireError>,
) {
    assert_eq!(decode(bytes).as_ref(), Ok(message));
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "{end} of {} bytes of {message:?}", bytes.len());
    }
    let longer = [bytes, &[0]].concat();
    assert!(decode(&longer).is_err(), "a byte after {message:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn request_round_trips_and_has_one_encoding(request in request()) {
        let bytes = encode_request(&request);
        check(&request, &bytes, |bytes| decode_request(request.protocol(), bytes));
    }

    #[test]
    fn response_round_trips_and_has_one_encoding((protocol, response) in response()) {
        check(&response, &encode_response(&response), |bytes| decode_response(protocol, bytes));
    }

    #[test]
    fn announcement_round_trips_and_has_one_encoding(announcement in announcement()) {
        let bytes = encode_announcement(&announcement);
        check(&announcement, &bytes, |bytes| decode_announcement(Topic::of(&announcement), bytes));
    }

    #[test]
    fn request_and_response_cross_a_stream(request in request(), (protocol, response) in response()) {
        let sent = written(&request);
        prop_assert_eq!(read_request(request.protocol(), &sent).unwrap(), request);

        let name = protocol_name(Hash::ZERO, protocol);
        let mut stream = Cursor::new(Vec::new());
        let mut codec = Codec { protocol };
        let write = codec.write_response(&name, &mut stream, response.clone());
        write.now_or_never().unwrap().unwrap();
        stream.set_position(0);
        let read = codec.read_response(&name, &mut stream).now_or_never().unwrap();
        prop_assert_eq!(read.unwrap(), response);
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    // N01: every message that decodes is canonical, and nothing panics.
    #[test]
    fn random_bytes_decode_canonically(
        bytes in vec(any::<u8>(), 0..400),
        starts in vec(0..4_u8, 0..6),
    ) {
        // Most random bytes fail at once; small numbers at the beginning are decoded further.
        let bytes = [starts, bytes].concat();
        decode_all(&bytes);
    }

    // N01
    #[test]
    fn changed_messages_decode_canonically(
        request in request(),
        (_, response) in response(),
        announcement in announcement(),
        at: prop::sample::Index,
        value: u8,
    ) {
        let messages = [encode_request(&request), encode_response(&response), encode_announcement(&announcement)];
        for mut bytes in messages {
            let at = at.index(bytes.len());
            bytes[at] = value;
            decode_all(&bytes);
        }
    }
}

fn decode_all(bytes: &[u8]) {
    for protocol in Protocol::ALL {
        if let Ok(request) = decode_request(protocol, bytes) {
            assert_eq!(request.protocol(), protocol);
            let encoded = encode_request(&request);
            assert!(encoded == bytes || has_extensions(bytes, &encoded));
        }
        if let Ok(response) = decode_response(protocol, bytes) {
            let encoded = encode_response(&response);
            assert!(encoded == bytes || has_extensions(bytes, &encoded));
        }
    }
    for topic in Topic::ALL {
        if let Ok(announcement) = decode_announcement(topic, bytes) {
            assert_eq!(Topic::of(&announcement), topic);
            assert_eq!(encode_announcement(&announcement), bytes);
        }
    }
}

/// Whether bytes are a status with unknown extensions: what is encoded has none.
fn has_extensions(bytes: &[u8], encoded: &[u8]) -> bool {
    bytes.len() > encoded.len()
        && encoded.strip_suffix(&[0; 2]).is_some_and(|it| bytes.starts_with(it))
}

#[test]
fn unknown_extensions_of_a_status_are_skipped_and_malformed_ones_rejected() {
    let status = Request::Hello(Status {
        capabilities: Capabilities::LOCAL,
        genesis: Hash::ZERO,
        tip: Hash::ZERO,
        height: Height::new(7),
        chain_work: Work::default(),
        relay: true,
        clock: 1,
        nonce: 2,
    });
    let plain = encode_request(&status);
    let decode = |extensions: &[u8]| {
        let length = u16::try_from(extensions.len()).unwrap().to_le_bytes();
        let bytes = [&plain[..plain.len() - 2], &length, extensions].concat();
        decode_request(Protocol::Hello, &bytes)
    };
    let one = [3, 0, 2, 0, 0xaa, 0xbb];
    assert_eq!(decode(&[]).as_ref(), Ok(&status));
    assert_eq!(decode(&one).as_ref(), Ok(&status));
    assert_eq!(decode(&[&one[..], &[4, 0, 0, 0]].concat()).as_ref(), Ok(&status));
    assert_eq!(decode(&[&[0, 1, 252, 0][..], &[7; 252]].concat()).as_ref(), Ok(&status));
    // A longer list, an entry without its end, a type twice, and descending types.
    assert!(matches!(decode(&[0; 257]), Err(WireError::AboveLimit { count: 257, .. })));
    assert!(matches!(decode(&one[..5]), Err(WireError::Encoding(_))));
    assert!(matches!(decode(&one[..3]), Err(WireError::Encoding(_))));
    assert!(matches!(decode(&[one, one].concat()), Err(WireError::NotAscending { .. })));
    let descending = [&one[..], &[2, 0, 0, 0]].concat();
    assert!(matches!(decode(&descending), Err(WireError::NotAscending { .. })));
}

/// The bytes that a codec writes for a request.
fn written(request: &Request) -> Vec<u8> {
    let protocol = request.protocol();
    let mut stream = Cursor::new(Vec::new());
    let name = protocol_name(Hash::ZERO, protocol);
    let write =
        Codec { protocol }.write_request(&name, &mut stream, request.clone()).now_or_never();
    write.unwrap().unwrap();
    stream.into_inner()
}

fn read_request(protocol: Protocol, bytes: &[u8]) -> io::Result<Request> {
    let name = protocol_name(Hash::ZERO, protocol);
    Codec { protocol }.read_request(&name, &mut Cursor::new(bytes)).now_or_never().unwrap()
}

// N03: allocating that much would abort the test.
#[test]
fn a_count_of_two_to_the_32_is_refused_before_anything_is_allocated() {
    const MOST: [u8; 4] = [0xff; 4];
    let refused = |result: Result<(), WireError>| {
        let impossible = |error: DecodeError| matches!(error, DecodeError::ImpossibleLength { .. });
        let above = |result| matches!(result, Err(WireError::Encoding(error)) if impossible(error));
        assert!(above(result), "{result:?}");
    };
    let zeros = [0; 2_000];
    let request = |protocol, start: &[u8]| {
        let bytes = [start, &MOST, &zeros].concat();
        refused(decode_request(protocol, &bytes).map(|_| ()));
    };
    request(Protocol::Headers, &[]);
    request(Protocol::Blocks, &[]);
    request(Protocol::BlockTransactions, &[7; 32]);
    request(Protocol::Mempool, &[1]);
    let response = |protocol, start: &[u8]| {
        let bytes = [start, &MOST, &zeros].concat();
        refused(decode_response(protocol, &bytes).map(|_| ()));
    };
    response(Protocol::Headers, &[0]);
    response(Protocol::Blocks, &[0]);
    response(Protocol::Blocks, &[0, 1, 0, 0, 0, 1]);
    response(Protocol::BlockTransactions, &[0]);
    response(Protocol::Mempool, &[0; 10]);
    response(Protocol::Mempool, &[0, 1]);
    response(Protocol::Addresses, &[0]);
    response(Protocol::Addresses, &[0, 1, 0, 0, 0]);
    let announcement = |start: &[u8]| {
        let bytes = [start, &MOST, &zeros].concat();
        refused(decode_announcement(Topic::Blocks, &bytes).map(|_| ()));
    };
    announcement(&[&[0][..], &[7; 80]].concat());
    announcement(&[&[1][..], &[7; 88]].concat());
    announcement(&[&[1][..], &[7; 88], &[0; 4]].concat());
}

// N03: the memory that one byte of input causes is bounded.
#[test]
fn items_in_memory_are_at_most_a_few_times_their_encoding() {
    assert!(size_of::<Transaction>() <= 2 * 145);
    assert!(size_of::<Transfer>() <= 2 * 145);
    assert!(size_of::<(u32, Transaction)>() <= 2 * 149);
    assert!(size_of::<Header>() <= 2 * 80);
    assert!(MAX_ADDRESSES * size_of::<NodeAddresses>() <= 16 << 10);
}

/// The error for a list that is too long.
fn above<T>(result: Result<T, WireError>) -> Option<(&'static str, usize, usize)> {
    result.err().and_then(|error| match error {
        WireError::AboveLimit { what, count, limit } => Some((what, count, limit)),
        _ => None,
    })
}

// N29, N11
#[test]
fn rejects_lists_above_their_limit() {
    let request =
        |request: Request| above(decode_request(request.protocol(), &encode_request(&request)));
    let headers =
        |count, max| Request::Headers { locator: vec![Hash::ZERO; count], stop: Hash::ZERO, max };
    assert_eq!(request(headers(64, 2_000)), None);
    assert_eq!(request(headers(65, 2_000)), Some(("hashes of a locator", 65, 64)));
    assert_eq!(request(headers(64, 2_001)), Some(("headers", 2_001, 2_000)));
    let blocks = Request::Blocks { hashes: vec![Hash::ZERO; 65] };
    assert_eq!(request(blocks), Some(("blocks", 65, 64)));
    let positions = (0..13_801).collect();
    let transactions = Request::BlockTransactions { block: Hash::ZERO, positions };
    assert_eq!(request(transactions), Some(("positions", 13_801, 13_800)));
    let transfers = Request::MempoolTransfers { ids: vec![Id::ZERO; 4_001] };
    assert_eq!(request(transfers), Some(("ids", 4_001, 4_000)));
    assert_eq!(request(Request::Addresses { max: 65 }), Some(("nodes", 65, 64)));

    let response = |protocol, response: Response| {
        above(decode_response(protocol, &encode_response(&response)))
    };
    let headers = Response::Headers(vec![header(0); 2_001]);
    assert_eq!(response(Protocol::Headers, headers), Some(("headers", 2_001, 2_000)));
    let blocks = Response::Blocks(vec![None; 65]);
    assert_eq!(response(Protocol::Blocks, blocks), Some(("blocks", 65, 64)));
    let transfers = Response::MempoolTransfers(vec![transfer(0); 4_001]);
    assert_eq!(response(Protocol::Mempool, transfers), Some(("transfers", 4_001, 4_000)));
    let nodes = vec![named(Vec::new()); 65];
    let nodes = Response::Addresses(nodes);
    assert_eq!(response(Protocol::Addresses, nodes), Some(("nodes", 65, 64)));
    let node = named(vec!["/ip4/10.0.0.1/tcp/1".parse().unwrap(); 5]);
    let node = Response::Addresses(vec![node]);
    assert_eq!(response(Protocol::Addresses, node), Some(("addresses of a node", 5, 4)));
    let name = "a".repeat(99);
    let node = Response::Addresses(vec![named(vec![format!("/dns4/{name}").parse().unwrap()])]);
    assert_eq!(response(Protocol::Addresses, node), Some(("bytes of an address", 101, 100)));

    let block = Announcement::Block(Arc::new(block((0..1_900).map(transfer))));
    let (what, _, limit) =
        above(decode_announcement(Topic::Blocks, &encode_announcement(&block))).unwrap();
    assert_eq!((what, limit), ("bytes of an announcement", 256 << 10));
    let bytes = [0; 1_025];
    assert_eq!(
        above(decode_announcement(Topic::Transfers, &bytes)),
        Some(("bytes of an announcement", 1_025, 1_024))
    );
}

fn named(addresses: Vec<Multiaddr>) -> NodeAddresses {
    NodeAddresses { peer: PeerId::random(), addresses, last_seen: 0 }
}

#[test]
fn rejects_lists_that_are_not_ascending() {
    for positions in [vec![1, 0], vec![1, 1], vec![0, 2, 2]] {
        let request = Request::BlockTransactions { block: Hash::ZERO, positions };
        let decoded = decode_request(Protocol::BlockTransactions, &encode_request(&request));
        assert_eq!(decoded, Err(WireError::NotAscending { what: "positions" }));
    }
    let announcement = Announcement::CompactBlock(Arc::new(CompactBlock {
        header: header(0),
        nonce: 0,
        short_ids: Vec::new(),
        prefilled: vec![(1, coinbase(1)), (0, coinbase(1))],
    }));
    let decoded = decode_announcement(Topic::Blocks, &encode_announcement(&announcement));
    assert_eq!(decoded, Err(WireError::NotAscending { what: "positions" }));
}

#[test]
fn rejects_unknown_bytes() {
    let unknown = |what, value| Some(WireError::Unknown { what, value });
    let status = || decode_response(Protocol::Hello, &[7]).err();
    assert_eq!(status(), unknown("status", 7));
    assert_eq!(decode_request(Protocol::Mempool, &[2]).err(), unknown("kind of request", 2));
    assert_eq!(decode_response(Protocol::Mempool, &[0, 2]).err(), unknown("kind of response", 2));
    let announcement = decode_announcement(Topic::Blocks, &[2]);
    assert_eq!(announcement.err(), unknown("kind of announcement", 2));
    let mark = decode_response(Protocol::Blocks, &[0, 1, 0, 0, 0, 2]);
    assert_eq!(mark.err(), unknown("block flag", 2));
    let coinbase = [&[0, 1, 1, 0, 0, 0][..], &coinbase(1).encode()].concat();
    let transfers = decode_response(Protocol::Mempool, &coinbase);
    assert_eq!(transfers, Err(WireError::Encoding(DecodeError::UnknownKind { kind: 0 })));
}

/// A stream that delivers some bytes and then blocks. Records the size of the largest read.
struct Stalling<'a> {
    bytes: &'a [u8],
    most: usize,
}

impl AsyncRead for Stalling<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.most = self.most.max(into.len());
        let count = into.len().min(self.bytes.len());
        if count == 0 {
            return Poll::Pending;
        }
        into[..count].copy_from_slice(&self.bytes[..count]);
        self.bytes = &self.bytes[count..];
        Poll::Ready(Ok(count))
    }
}

// N03, N05
#[test]
fn frame_memory_grows_with_bytes_received() {
    let mut protocol = Codec { protocol: Protocol::Blocks };
    let name = protocol_name(Hash::ZERO, Protocol::Blocks);
    let bytes = [&(4_u32 << 20).to_le_bytes()[..], &[0; 1_000]].concat();
    let mut stream = Stalling { bytes: &bytes, most: 0 };
    assert!(protocol.read_response(&name, &mut stream).now_or_never().is_none());
    assert!(stream.bytes.is_empty());
    assert!(stream.most <= 4_000, "a buffer of {} bytes", stream.most);
}

// N03
#[test]
fn oversized_frame_is_malformed_and_short_frame_a_broken_stream() {
    for protocol in Protocol::ALL {
        let limit = u32::try_from(protocol.limits().request_bytes).unwrap();
        for length in [limit + 1, u32::MAX] {
            let error = read_request(protocol, &length.to_le_bytes()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{protocol:?}");
        }
        let error = read_request(protocol, &limit.to_le_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{protocol:?}");
    }
    let error = read_request(Protocol::Hello, &[1, 0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let error = read_request(Protocol::Mempool, &[1, 0, 0, 0, 9]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn does_not_send_oversized_frame() {
    let request = Request::Blocks { hashes: vec![Hash::ZERO; 200] };
    let mut stream = Cursor::new(Vec::new());
    let name = protocol_name(Hash::ZERO, Protocol::Blocks);
    let mut codec = Codec { protocol: Protocol::Blocks };
    let written = codec.write_request(&name, &mut stream, request).now_or_never().unwrap();
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert!(stream.into_inner().is_empty());
}

#[test]
fn largest_messages_fit_limits_of_their_protocols() {
    let longest = Transfer { memo: Memo::new(vec![0; 256]).unwrap(), ..transfer(0) };
    let locator = vec![Hash::ZERO; MAX_LOCATOR];
    let requests = [
        Request::Headers { locator, stop: Hash::ZERO, max: 2_000 },
        Request::Blocks { hashes: vec![Hash::ZERO; MAX_BLOCKS] },
        Request::BlockTransactions { block: Hash::ZERO, positions: (0..13_800).collect() },
        Request::MempoolTransfers { ids: vec![Id::ZERO; MAX_MEMPOOL_ITEMS] },
    ];
    for request in requests {
        let (bytes, protocol) = (encode_request(&request).len(), request.protocol());
        assert!(bytes <= protocol.limits().request_bytes, "{protocol:?} {bytes}");
    }
    let full: RawBlock = vec![0; 2_000_000].into();
    let almost: RawBlock = vec![0; SOFT_BLOCKS_BYTES - 1].into();
    let blocks = [vec![None; MAX_BLOCKS - 2], vec![Some(almost), Some(full)]].concat();
    let address: Multiaddr = format!("/dns4/{}", "a".repeat(98)).parse().unwrap();
    let node = named(vec![address; MAX_ADDRESSES_EACH]);
    let responses = [
        (Protocol::Headers, Response::Headers(vec![header(0); MAX_HEADERS])),
        (Protocol::Blocks, Response::Blocks(blocks)),
        (Protocol::BlockTransactions, {
            let transactions = block((0..13_791).map(transfer)).transactions;
            Response::BlockTransactions(transactions)
        }),
        (
            Protocol::Mempool,
            Response::MempoolIds { ids: vec![Id::ZERO; MAX_MEMPOOL_ITEMS], next: 0 },
        ),
        (Protocol::Mempool, Response::MempoolTransfers(vec![longest; MAX_MEMPOOL_ITEMS])),
        (Protocol::Addresses, Response::Addresses(vec![node; MAX_ADDRESSES])),
    ];
    for (protocol, response) in responses {
        let bytes = encode_response(&response).len();
        assert!(bytes <= protocol.limits().response_bytes, "{protocol:?} {bytes}");
    }
}

// N24
#[test]
fn protocol_names_differ_between_networks() {
    let main = Hash::from_bytes([1; 32]);
    let name = protocol_name(main, Protocol::Hello);
    let digits = &blake3::hash(&[1; 32]).to_hex()[..16];
    assert_eq!(name.as_ref(), format!("/pow/{digits}/hello/1"));
    assert_eq!(Topic::Blocks.name(main), format!("/pow/{digits}/blocks/1"));
    assert_eq!(Topic::Transfers.name(main), format!("/pow/{digits}/txs/1"));
    assert_ne!(name, protocol_name(Hash::ZERO, Protocol::Hello));
}

#[test]
fn full_block_is_announced_by_its_encoding() {
    let block = block([transfer(1)]);
    let bytes = [&[0][..], &block.encode()].concat();
    let announcement = decode_announcement(Topic::Blocks, &bytes).unwrap();
    assert_eq!(announcement, Announcement::Block(Arc::new(Block::decode(&bytes[1..]).unwrap())));
}
