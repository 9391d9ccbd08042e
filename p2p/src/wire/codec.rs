//! Frames on a stream, and the libp2p codec.

use super::encoding::WireError;
use super::exchange::{decode_request, decode_response, encode_request, encode_response};
use crate::message::{Protocol, Request, Response};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::{StreamProtocol, request_response};
use std::io;

/// The codec of a request-response protocol. Errors of kind `InvalidData` mean that the peer sent a
/// malformed message, `InvalidInput` that this node tried to, and all others that a stream broke.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// The protocol whose messages the codec encodes and decodes.
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
