//! The encoding of `message`: little-endian like the chain's own. Counts are checked before anything
//! is allocated, and no byte may be left over. A stream carries one request and one response, each
//! with a u32 length before it; a response begins with a status byte.

mod announcement;
mod exchange;

pub use announcement::{Topic, decode_announcement, encode_announcement};
pub use exchange::{decode_request, decode_response, encode_request, encode_response};

use crate::message::{Protocol, Request, Response};
use chain::block;
use chain::codec::{DecodeError, Decoder};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use std::io;

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field or transaction is malformed.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// A list is longer than the protocol permits.
    #[error("{count} {what} are above the limit of {limit}")]
    AboveLimit {
        /// The name of the items.
        what: &'static str,
        /// The number of items that the message claims.
        count: usize,
        /// The most items permitted.
        limit: usize,
    },
    /// A byte has no meaning at its position.
    #[error("{value} is no {what}")]
    Unknown {
        /// The name of the field.
        what: &'static str,
        /// The value of the byte.
        value: u8,
    },
    /// A list is not in strictly ascending order.
    #[error("the {what} do not ascend")]
    NotAscending {
        /// The name of the items.
        what: &'static str,
    },
    /// A peer id or an address is malformed.
    #[error("malformed {what}")]
    BadAddress {
        /// The name of the field.
        what: &'static str,
    },
}

impl From<WireError> for io::Error {
    /// Returns an error of kind `InvalidData`: all bytes were received, but are malformed.
    fn from(error: WireError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Returns the name of a protocol on a network. Other networks use other names.
pub fn protocol_name(genesis: block::Hash, protocol: Protocol) -> StreamProtocol {
    let name = network_name(genesis, protocol.limits().name);
    StreamProtocol::try_from_owned(name).expect("it starts with a slash")
}

/// `/pow/`, 16 digits of the hash of the genesis hash, `/`, name.
pub(crate) fn network_name(genesis: block::Hash, name: &str) -> String {
    let mut start = [0; 8];
    start.copy_from_slice(&blake3::hash(genesis.as_bytes()).as_bytes()[..8]);
    format!("/pow/{:016x}/{name}", u64::from_be_bytes(start))
}

/// The codec of a request-response protocol. Errors of kind `InvalidData` mean that the peer sent a
/// malformed message, `InvalidInput` that this node tried to, and all others that a stream broke.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// The protocol.
    pub protocol: Protocol,
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read_frame(io, self.protocol.limits().request_bytes).await?;
        Ok(decode_request(self.protocol, &bytes)?)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = read_frame(io, self.protocol.limits().response_bytes).await?;
        Ok(decode_response(self.protocol, &bytes)?)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &encode_request(&request), self.protocol.limits().request_bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &encode_response(&response), self.protocol.limits().response_bytes).await
    }
}

/// Reads a frame. Memory grows with the bytes received, not with the length claimed.
async fn read_frame<T: AsyncRead + Unpin>(io: &mut T, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let claimed = u32::from_le_bytes(length);
    let length = usize::try_from(claimed).unwrap_or(usize::MAX);
    if length > limit {
        let what = "bytes of a message";
        return Err(WireError::AboveLimit { what, count: length, limit }.into());
    }
    let mut bytes = Vec::new();
    io.take(claimed.into()).read_to_end(&mut bytes).await?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Writes a frame. Fails if it exceeds the peer's limit.
async fn write_frame<T: AsyncWrite + Unpin>(
    io: &mut T,
    bytes: &[u8],
    limit: usize,
) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= limit);
    let length = length.ok_or(io::ErrorKind::InvalidInput)?;
    io.write_all(&length.to_le_bytes()).await?;
    io.write_all(bytes).await?;
    io.flush().await
}

fn write_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("a list in memory has fewer than 2^32 items");
    bytes.extend_from_slice(&count.to_le_bytes());
}

/// Reads a count of at most `limit` items with at least `min_bytes` each.
fn read_count(
    input: &mut Decoder,
    min_bytes: usize,
    what: &'static str,
    limit: usize,
) -> Result<usize, WireError> {
    let count = input.count(min_bytes)?;
    if count <= limit { Ok(count) } else { Err(WireError::AboveLimit { what, count, limit }) }
}

/// Reads a number of items.
fn read_all<'a, T>(
    input: &mut Decoder<'a>,
    count: usize,
    read: impl Fn(&mut Decoder<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(read(input)?);
    }
    Ok(items)
}

/// Checks that items are in strictly ascending order.
fn check_ascending<T: Ord>(
    items: impl Iterator<Item = T> + Clone,
    what: &'static str,
) -> Result<(), WireError> {
    let mut pairs = items.clone().zip(items.skip(1));
    if pairs.all(|(one, next)| one < next) { Ok(()) } else { Err(WireError::NotAscending { what }) }
}

#[cfg(test)]
mod tests;
