//! Requests and replies: one protocol each, because the name of the only one goes out together with
//! the request and saves a round trip.

use crate::message::{Protocol, Reply, Request};
use crate::wire::{self, Codec};
use chain::block;
use futures::{AsyncRead, AsyncWrite};
use libp2p::StreamProtocol;
use libp2p::request_response::{self, ProtocolSupport};
use std::io;

/// One protocol.
pub(crate) type Exchange = request_response::Behaviour<Frank>;
/// What comes of it.
pub(crate) type ExchangeEvent = request_response::Event<Heard, Reply>;
/// A request as it was heard.
pub(crate) type Heard = Result<Request, Gibberish>;

/// It could not be decoded, or is above its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gibberish;

/// A codec that tells of requests it could not decode. Of its errors the behaviour only writes a line
/// in the log, and whoever sends nonsense would have it for free.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frank(Codec);

/// The behaviour for a protocol of a network.
pub(super) fn build(genesis: block::Hash, protocol: Protocol) -> Exchange {
    let limits = protocol.limits();
    let config = request_response::Config::default()
        .with_request_timeout(limits.timeout)
        .with_max_concurrent_streams(limits.streams);
    let name = wire::protocol_name(genesis, protocol);
    Exchange::with_codec(Frank(Codec { protocol }), [(name, ProtocolSupport::Full)], config)
}

impl request_response::Codec for Frank {
    type Protocol = StreamProtocol;
    type Request = Heard;
    type Response = Reply;

    async fn read_request<T>(&mut self, name: &StreamProtocol, io: &mut T) -> io::Result<Heard>
    where
        T: AsyncRead + Unpin + Send,
    {
        match self.0.read_request(name, io).await {
            Ok(request) => Ok(Ok(request)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(Err(Gibberish)),
            Err(error) => Err(error),
        }
    }

    async fn read_response<T>(&mut self, name: &StreamProtocol, io: &mut T) -> io::Result<Reply>
    where
        T: AsyncRead + Unpin + Send,
    {
        self.0.read_response(name, io).await
    }

    async fn write_request<T>(
        &mut self,
        name: &StreamProtocol,
        io: &mut T,
        request: Heard,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let request = request.map_err(|Gibberish| io::ErrorKind::InvalidInput)?;
        self.0.write_request(name, io, request).await
    }

    async fn write_response<T>(
        &mut self,
        name: &StreamProtocol,
        io: &mut T,
        reply: Reply,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        self.0.write_response(name, io, reply).await
    }
}
