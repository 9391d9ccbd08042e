//! The bytes of `message`: little-endian like the chain's own encoding, every count checked before
//! anything is allocated, no byte left over. One stream carries one request and one reply, each a
//! u32 length and so many bytes; a reply begins with a status byte.

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

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// They are not the encoding of anything.
    #[error(transparent)]
    Encoding(#[from] DecodeError),
    /// More of something than the protocol allows.
    #[error("{count} {what} are above the limit of {limit}")]
    AboveLimit {
        /// Of what.
        what: &'static str,
        /// How many there are said to be.
        count: usize,
        /// Most there may be.
        limit: usize,
    },
    /// A byte that stands for nothing here.
    #[error("{value} is no {what}")]
    Unknown {
        /// What was expected.
        what: &'static str,
        /// The byte found.
        value: u8,
    },
    /// What must ascend does not.
    #[error("the {what} do not ascend")]
    NotAscending {
        /// What.
        what: &'static str,
    },
    /// A node's id or address is malformed.
    #[error("malformed {what}")]
    BadAddress {
        /// Which of the two.
        what: &'static str,
    },
}

impl From<WireError> for io::Error {
    /// Of kind `InvalidData`: the bytes came whole, but are wrong.
    fn from(error: WireError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// The name under which a network's nodes speak a protocol: other networks do not know it.
pub fn protocol_name(genesis: block::Hash, protocol: Protocol) -> StreamProtocol {
    let name = network_name(genesis, protocol.limits().name);
    StreamProtocol::try_from_owned(name).expect("it starts with a slash")
}

/// `/pow/`, 16 digits that stand for the network, `/`, name.
pub(crate) fn network_name(genesis: block::Hash, name: &str) -> String {
    let mut start = [0; 8];
    start.copy_from_slice(&blake3::hash(genesis.as_bytes()).as_bytes()[..8]);
    format!("/pow/{:016x}/{name}", u64::from_be_bytes(start))
}

/// Reads and writes one protocol's requests and replies. Errors of kind `InvalidData` say that the
/// other side sent nonsense, `InvalidInput` that this side tried to; all others that a stream broke.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// Which protocol.
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
        reply: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &encode_response(&reply), self.protocol.limits().response_bytes).await
    }
}

/// What a frame holds. Memory grows with what arrives, not with what is promised.
async fn read_frame<T: AsyncRead + Unpin>(io: &mut T, limit: usize) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    io.read_exact(&mut length).await?;
    let promised = u32::from_le_bytes(length);
    let length = usize::try_from(promised).unwrap_or(usize::MAX);
    if length > limit {
        let what = "bytes of a message";
        return Err(WireError::AboveLimit { what, count: length, limit }.into());
    }
    let mut bytes = Vec::new();
    io.take(promised.into()).read_to_end(&mut bytes).await?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Refuses to send what the other side would not read.
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
    let count = u32::try_from(count).expect("what is in memory counts in u32");
    bytes.extend_from_slice(&count.to_le_bytes());
}

/// A count of items of at least so many bytes each, at most `limit`.
fn read_count(
    input: &mut Decoder,
    least: usize,
    what: &'static str,
    limit: usize,
) -> Result<usize, WireError> {
    let count = input.count(least)?;
    if count <= limit { Ok(count) } else { Err(WireError::AboveLimit { what, count, limit }) }
}

/// So many items, each read by `read`.
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

/// Each item must be above the one before it.
fn check_ascending<T: Ord>(
    items: impl Iterator<Item = T> + Clone,
    what: &'static str,
) -> Result<(), WireError> {
    let mut pairs = items.clone().zip(items.skip(1));
    if pairs.all(|(one, next)| one < next) { Ok(()) } else { Err(WireError::NotAscending { what }) }
}

#[cfg(test)]
mod tests;
