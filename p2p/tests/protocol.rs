//! Checks the tables and test vectors of PROTOCOL.md against the code. A table is found by its first
//! line, a vector by its name.

use chain::Header;
use chain::block::{self, Height};
use chain::pow::Work;
use chain::tx::Id;
use p2p::engine::Misbehavior;
use p2p::engine::compact::ShortIds;
use p2p::message::*;
use p2p::{serve, wire};

const DOCUMENT: &str = include_str!("../PROTOCOL.md");

/// The cells of the table that starts with a line, without their backticks.
fn table(first_line: &str) -> Vec<Vec<&'static str>> {
    let mut lines = DOCUMENT.lines().skip_while(|line| *line != first_line).skip(1);
    assert!(lines.next().is_some_and(|line| line.starts_with("|---")), "{first_line}");
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().trim_matches('`')).collect()
    })
    .collect()
}

/// The value of `name = value`, which continues in indented lines.
fn vector(name: &str) -> String {
    let mut lines = DOCUMENT.lines();
    let found = lines.by_ref().find_map(|line| {
        let (left, value) = line.split_once(" = ")?;
        (left.trim_end() == name).then_some(value)
    });
    let first = found.unwrap_or_else(|| panic!("there is no test vector {name}"));
    let more = lines.take_while(|line| line.starts_with(' '));
    more.fold(first.to_owned(), |value, line| value + line.trim_start())
}

/// The bytes of a vector in hexadecimal.
fn bytes<const N: usize>(name: &str) -> [u8; N] {
    let text = vector(name);
    assert_eq!(text.len(), 2 * N, "{name}");
    std::array::from_fn(|at| {
        u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap_or_else(|_| panic!("{name}"))
    })
}

#[test]
fn protocol_limits_match_document() {
    let first_line = "| name | request | reply | seconds | streams | requests | per seconds |";
    let documented = table(first_line);
    let actual: Vec<Vec<String>> = Protocol::ALL
        .into_iter()
        .map(|protocol| {
            let Limits { name, request_bytes, response_bytes, timeout, streams, requests, per } =
                protocol.limits();
            let (seconds, per) = (timeout.as_secs().to_string(), per.as_secs().to_string());
            let (request, response) = (request_bytes.to_string(), response_bytes.to_string());
            let (streams, requests) = (streams.to_string(), requests.to_string());
            vec![name.to_owned(), request, response, seconds, streams, requests, per]
        })
        .collect();
    assert_eq!(documented, actual);
}

#[test]
fn list_limits_match_document() {
    let documented: Vec<String> =
        table("| what | most |").iter().map(|row| row[1].to_owned()).collect();
    let actual = [
        MAX_LOCATOR,
        MAX_HEADERS,
        MAX_BLOCKS,
        SOFT_BLOCKS_BYTES,
        MAX_BLOCK_TRANSACTIONS,
        MAX_MEMPOOL_ITEMS,
        MAX_ADDRESSES,
        MAX_ADDRESSES_EACH,
        MAX_ADDRESS_BYTES,
        MAX_BLOCK_ANNOUNCEMENT,
        MAX_TRANSFER_ANNOUNCEMENT,
        MAX_EXTENSIONS,
        MAX_WHOLE_BLOCK,
        MAX_PREFILLED,
        usize::try_from(serve::MAX_STALE_DEPTH).expect("it is small"),
    ];
    assert_eq!(documented, actual.map(|limit| limit.to_string()));
}

#[test]
fn error_codes_match_document() {
    let codes = table("| code | meaning | followed by |");
    let errors = [
        ResponseError::Busy { retry_after: 9 },
        ResponseError::NotFound,
        ResponseError::BadRequest,
        ResponseError::RateLimited,
        ResponseError::IncompatibleVersion { supported: Capabilities::LOCAL },
        ResponseError::AboveLimit,
    ];
    assert_eq!(codes.len(), 1 + errors.len());
    for (row, error) in codes[1..].iter().zip(errors) {
        let encoded = wire::encode_response(&Response::Error(error));
        assert_eq!(row[0], encoded[0].to_string());
        let followed_by = match error {
            ResponseError::Busy { .. } => "u8, seconds after which to retry",
            ResponseError::IncompatibleVersion { .. } => {
                "min_version, max_version and features of the sender"
            }
            _ => "",
        };
        assert_eq!((row[2], row[2].is_empty()), (followed_by, encoded.len() == 1), "{error:?}");
    }
    assert_eq!(codes[0][0], wire::encode_response(&Response::Headers(Vec::new()))[0].to_string());
}

#[test]
fn penalties_match_document() {
    use Misbehavior::*;
    let kinds: [&[Misbehavior]; 7] = [
        &[Malformed, BadHeader, WrongBody],
        &[InvalidBlock, WrongResponse],
        &[WrongNetwork],
        &[BadAnnouncement, BadRequest, TooManyRequests],
        &[BrokenStream],
        &[Timeout],
        &[Delivered],
    ];
    let rows = table("| points | for |");
    assert_eq!(rows.len(), kinds.len());
    for (row, kinds) in rows.iter().zip(kinds) {
        for kind in kinds {
            assert_eq!(row[0].replace('−', "-"), kind.points().to_string(), "{kind:?}");
        }
    }
}

#[test]
fn status_fields_match_document() {
    let status = Status {
        capabilities: Capabilities {
            min_version: 0x0101,
            max_version: 0x0202,
            features: 0x0303_0303_0303_0303,
        },
        genesis: block::Hash::from_bytes([4; 32]),
        tip: block::Hash::from_bytes([5; 32]),
        height: Height::new(0x0606_0606),
        chain_work: Work::from_le_bytes([7; 32]),
        relay: true,
        clock: 0x0909_0909_0909_0909,
        nonce: 0x0a0a_0a0a_0a0a_0a0a,
    };
    let encoded = wire::encode_request(&Request::Hello(status));
    let mut end = 0;
    for (number, row) in (1..).zip(table("| offset | bytes | field | meaning |")) {
        let [offset, bytes] = [row[0], row[1]].map(|cell| cell.parse::<usize>().expect(cell));
        assert_eq!(offset, end, "{}", row[2]);
        end += bytes;
        let filled = match row[2] {
            "relay" => 1,
            "extensions" => 0,
            _ => number,
        };
        assert!(encoded[offset..end].iter().all(|byte| *byte == filled), "{}", row[2]);
    }
    assert_eq!(encoded.len(), end);
    assert!(DOCUMENT.contains(&format!(
        "The state that a node announces in the handshake, {end} bytes without extensions:"
    )));
}

#[test]
fn names_and_short_ids_match_test_vectors() {
    let genesis = block::Hash::from_bytes(bytes("genesis hash"));
    assert_eq!(wire::protocol_name(genesis, Protocol::Hello).as_ref(), vector("hello"));
    assert_eq!(wire::Topic::Blocks.name(genesis), vector("blocks"));

    let header = Header::decode(&bytes::<{ Header::BYTES }>("header")).expect("80 bytes");
    let ids = ShortIds::new(&header, u64::from_le_bytes(bytes("nonce")));
    assert_eq!(ids.of(&Id::from_bytes(bytes("id"))), ShortId(bytes("short id")));
}
