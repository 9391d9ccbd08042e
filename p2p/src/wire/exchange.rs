//! The encoding of requests and responses by protocol.

use super::encoding::{WireError, check_ascending, check_limit, read_all, read_count, write_count};
use super::status::{read_capabilities, read_status, write_capabilities, write_status};
use crate::message::{
    MAX_ADDRESS_BYTES, MAX_ADDRESSES, MAX_ADDRESSES_EACH, MAX_BLOCK_TRANSACTIONS, MAX_BLOCKS,
    MAX_HEADERS, MAX_LOCATOR, MAX_MEMPOOL_ITEMS, NodeAddresses, Protocol, RawBlock, Request,
    Response, ResponseError,
};
use chain::block::{self, Header};
use chain::codec::{DecodeError, Decoder};
use chain::tx::{Id, MIN_TRANSFER_BYTES, Transaction, Transfer};
use libp2p::{Multiaddr, PeerId};

const HASH: usize = 32;
/// The least bytes of a node: the lengths of an empty id and list, and a time.
const MIN_NODE: usize = 4 + 4 + 8;

const MEMPOOL_IDS: u8 = 0;
const MEMPOOL_TRANSFERS: u8 = 1;

const OK: u8 = 0;
const BUSY: u8 = 1;
const NOT_FOUND: u8 = 2;
const BAD_REQUEST: u8 = 3;
const RATE_LIMITED: u8 = 4;
const INCOMPATIBLE_VERSION: u8 = 5;
const ABOVE_LIMIT: u8 = 6;

/// Encodes a request.
///
/// ```
/// use p2p::message::{Protocol, Request};
/// use p2p::wire::{decode_request, encode_request};
///
/// let request = Request::Addresses { max: 16 };
/// let bytes = encode_request(&request);
/// assert_eq!(decode_request(Protocol::Addresses, &bytes), Ok(request));
/// ```
pub fn encode_request(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    match request {
        Request::Hello(status) => write_status(&mut bytes, status),
        Request::Headers { locator, stop, max } => {
            write_hashes(&mut bytes, locator);
            bytes.extend_from_slice(stop.as_bytes());
            bytes.extend_from_slice(&max.to_le_bytes());
        }
        Request::Blocks { hashes } => write_hashes(&mut bytes, hashes),
        Request::BlockTransactions { block, positions } => {
            bytes.extend_from_slice(block.as_bytes());
            write_count(&mut bytes, positions.len());
            bytes.extend(positions.iter().flat_map(|position| position.to_le_bytes()));
        }
        Request::MempoolIds { from } => {
            bytes.push(MEMPOOL_IDS);
            bytes.extend_from_slice(&from.to_le_bytes());
        }
        Request::MempoolTransfers { ids } => {
            bytes.push(MEMPOOL_TRANSFERS);
            write_ids(&mut bytes, ids);
        }
        Request::Addresses { max } => bytes.push(*max),
    }
    bytes
}

/// Decodes a request of a protocol.
///
/// # Errors
/// If the bytes are malformed or exceed a limit of the protocol.
pub fn decode_request(protocol: Protocol, bytes: &[u8]) -> Result<Request, WireError> {
    let mut input = Decoder::new(bytes);
    let request = match protocol {
        Protocol::Hello => Request::Hello(read_status(&mut input)?),
        Protocol::Headers => {
            let locator = read_hashes(&mut input, "hashes of a locator", MAX_LOCATOR)?;
            let stop = block::Hash::from_bytes(input.array()?);
            let max = u16::from_le_bytes(input.array()?);
            check_limit(usize::from(max), "headers", MAX_HEADERS)?;
            Request::Headers { locator, stop, max }
        }
        Protocol::Blocks => {
            Request::Blocks { hashes: read_hashes(&mut input, "blocks", MAX_BLOCKS)? }
        }
        Protocol::BlockTransactions => {
            let block = block::Hash::from_bytes(input.array()?);
            Request::BlockTransactions { block, positions: read_positions(&mut input)? }
        }
        Protocol::Mempool => match input.u8()? {
            MEMPOOL_IDS => Request::MempoolIds { from: input.u64()? },
            MEMPOOL_TRANSFERS => Request::MempoolTransfers { ids: read_ids(&mut input)? },
            value => return Err(WireError::Unknown { what: "kind of request", value }),
        },
        Protocol::Addresses => {
            let max = input.u8()?;
            check_limit(usize::from(max), "nodes", MAX_ADDRESSES)?;
            Request::Addresses { max }
        }
    };
    input.finish()?;
    Ok(request)
}

/// Encodes a response: a status byte, then its contents.
pub fn encode_response(response: &Response) -> Vec<u8> {
    let mut bytes = vec![OK];
    match response {
        Response::Hello(status) => write_status(&mut bytes, status),
        Response::Headers(headers) => {
            write_count(&mut bytes, headers.len());
            bytes.extend(headers.iter().flat_map(Header::encode));
        }
        Response::Blocks(blocks) => write_blocks(&mut bytes, blocks),
        Response::BlockTransactions(transactions) => {
            write_count(&mut bytes, transactions.len());
            for transaction in transactions {
                transaction.write(&mut bytes);
            }
        }
        Response::MempoolIds { ids, next } => {
            bytes.push(MEMPOOL_IDS);
            bytes.extend_from_slice(&next.to_le_bytes());
            write_ids(&mut bytes, ids);
        }
        Response::MempoolTransfers(transfers) => {
            bytes.push(MEMPOOL_TRANSFERS);
            write_count(&mut bytes, transfers.len());
            for transfer in transfers {
                transfer.write(&mut bytes);
            }
        }
        Response::Addresses(nodes) => {
            write_count(&mut bytes, nodes.len());
            for node in nodes {
                write_node(&mut bytes, node);
            }
        }
        Response::Error(error) => return encode_error(*error),
    }
    bytes
}

fn encode_error(error: ResponseError) -> Vec<u8> {
    match error {
        ResponseError::Busy { retry_after } => vec![BUSY, retry_after],
        ResponseError::NotFound => vec![NOT_FOUND],
        ResponseError::BadRequest => vec![BAD_REQUEST],
        ResponseError::RateLimited => vec![RATE_LIMITED],
        ResponseError::IncompatibleVersion { supported } => {
            let mut bytes = vec![INCOMPATIBLE_VERSION];
            write_capabilities(&mut bytes, supported);
            bytes
        }
        ResponseError::AboveLimit => vec![ABOVE_LIMIT],
    }
}

/// Decodes a response of a protocol.
///
/// # Errors
/// If the bytes are malformed or exceed a limit of the protocol.
pub fn decode_response(protocol: Protocol, bytes: &[u8]) -> Result<Response, WireError> {
    let mut input = Decoder::new(bytes);
    let response = match input.u8()? {
        OK => read_success(protocol, &mut input)?,
        BUSY => Response::Error(ResponseError::Busy { retry_after: input.u8()? }),
        NOT_FOUND => Response::Error(ResponseError::NotFound),
        BAD_REQUEST => Response::Error(ResponseError::BadRequest),
        RATE_LIMITED => Response::Error(ResponseError::RateLimited),
        INCOMPATIBLE_VERSION if protocol == Protocol::Hello => {
            let supported = read_capabilities(&mut input)?;
            Response::Error(ResponseError::IncompatibleVersion { supported })
        }
        ABOVE_LIMIT => Response::Error(ResponseError::AboveLimit),
        value => return Err(WireError::Unknown { what: "status", value }),
    };
    input.finish()?;
    Ok(response)
}

/// Reads the part after the status byte of a successful response.
fn read_success(protocol: Protocol, input: &mut Decoder) -> Result<Response, WireError> {
    Ok(match protocol {
        Protocol::Hello => Response::Hello(read_status(input)?),
        Protocol::Headers => {
            let count = read_count(input, Header::BYTES, "headers", MAX_HEADERS)?;
            Response::Headers(read_all(input, count, |input| Ok(Header::read(input)?))?)
        }
        Protocol::Blocks => {
            let count = read_count(input, 1, "blocks", MAX_BLOCKS)?;
            Response::Blocks(read_all(input, count, read_block)?)
        }
        Protocol::BlockTransactions => {
            let (what, limit) = ("transactions", MAX_BLOCK_TRANSACTIONS);
            let count = read_count(input, MIN_TRANSFER_BYTES, what, limit)?;
            let read = |input: &mut Decoder| Ok(Transaction::read(input)?);
            Response::BlockTransactions(read_all(input, count, read)?)
        }
        Protocol::Mempool => match input.u8()? {
            MEMPOOL_IDS => {
                let next = input.u64()?;
                Response::MempoolIds { ids: read_ids(input)?, next }
            }
            MEMPOOL_TRANSFERS => {
                let count = read_count(input, MIN_TRANSFER_BYTES, "transfers", MAX_MEMPOOL_ITEMS)?;
                Response::MempoolTransfers(read_all(input, count, read_transfer)?)
            }
            value => return Err(WireError::Unknown { what: "kind of response", value }),
        },
        Protocol::Addresses => {
            let count = read_count(input, MIN_NODE, "nodes", MAX_ADDRESSES)?;
            Response::Addresses(read_all(input, count, read_node)?)
        }
    })
}

fn write_hashes(bytes: &mut Vec<u8>, hashes: &[block::Hash]) {
    write_count(bytes, hashes.len());
    bytes.extend(hashes.iter().flat_map(block::Hash::as_bytes));
}

fn read_hashes(
    input: &mut Decoder,
    what: &'static str,
    limit: usize,
) -> Result<Vec<block::Hash>, WireError> {
    let count = read_count(input, HASH, what, limit)?;
    read_all(input, count, |input| Ok(block::Hash::from_bytes(input.array()?)))
}

fn write_ids(bytes: &mut Vec<u8>, ids: &[Id]) {
    write_count(bytes, ids.len());
    bytes.extend(ids.iter().flat_map(Id::as_bytes));
}

fn read_ids(input: &mut Decoder) -> Result<Vec<Id>, WireError> {
    let count = read_count(input, HASH, "ids", MAX_MEMPOOL_ITEMS)?;
    read_all(input, count, |input| Ok(Id::from_bytes(input.array()?)))
}

fn read_positions(input: &mut Decoder) -> Result<Vec<u32>, WireError> {
    let count = read_count(input, 4, "positions", MAX_BLOCK_TRANSACTIONS)?;
    let positions = read_all(input, count, |input| Ok(input.u32()?))?;
    check_ascending(positions.iter(), "positions")?;
    Ok(positions)
}

fn write_blocks(bytes: &mut Vec<u8>, blocks: &[Option<RawBlock>]) {
    write_count(bytes, blocks.len());
    for block in blocks {
        bytes.push(u8::from(block.is_some()));
        if let Some(block) = block {
            write_count(bytes, block.len());
            bytes.extend_from_slice(block);
        }
    }
}

fn read_block(input: &mut Decoder) -> Result<Option<RawBlock>, WireError> {
    match input.u8()? {
        0 => Ok(None),
        1 => {
            let length = input.count(1)?;
            Ok(Some(input.bytes(length)?.into()))
        }
        value => Err(WireError::Unknown { what: "block flag", value }),
    }
}

fn read_transfer(input: &mut Decoder) -> Result<Transfer, WireError> {
    match Transaction::read(input)? {
        Transaction::Transfer(transfer) => Ok(transfer),
        Transaction::Coinbase(_) => Err(DecodeError::UnknownKind { kind: 0 }.into()),
    }
}

fn write_node(bytes: &mut Vec<u8>, node: &NodeAddresses) {
    write_bytes(bytes, &node.peer.to_bytes());
    write_count(bytes, node.addresses.len());
    for address in &node.addresses {
        write_bytes(bytes, address.as_ref());
    }
    bytes.extend_from_slice(&node.last_seen.to_le_bytes());
}

fn read_node(input: &mut Decoder) -> Result<NodeAddresses, WireError> {
    let peer = PeerId::from_bytes(read_bytes(input)?);
    let count = read_count(input, 4, "addresses of a node", MAX_ADDRESSES_EACH)?;
    Ok(NodeAddresses {
        peer: peer.map_err(|_| WireError::BadAddress { what: "node id" })?,
        addresses: read_all(input, count, read_address)?,
        last_seen: input.u64()?,
    })
}

fn read_address(input: &mut Decoder) -> Result<Multiaddr, WireError> {
    let address = Multiaddr::try_from(read_bytes(input)?.to_vec());
    address.map_err(|_| WireError::BadAddress { what: "node address" })
}

fn write_bytes(bytes: &mut Vec<u8>, text: &[u8]) {
    write_count(bytes, text.len());
    bytes.extend_from_slice(text);
}

fn read_bytes<'a>(input: &mut Decoder<'a>) -> Result<&'a [u8], WireError> {
    let length = read_count(input, 1, "bytes of an address", MAX_ADDRESS_BYTES)?;
    Ok(input.bytes(length)?)
}
