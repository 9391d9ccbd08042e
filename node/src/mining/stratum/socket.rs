//! The socket of a miner: plain, or with TLS where the node has a certificate and the miner starts a
//! handshake.

use super::line_codec::TLS_HANDSHAKE;
use crate::tls::Tls;
use miner::stratum::AUTHORIZATION_TIMEOUT;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The maximum time of a TLS handshake from its first byte.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is read from a miner.
pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
/// What is written to a miner.
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// Opens the socket. With a certificate it waits for the miner's first byte, and performs the
/// handshake if that starts one. Without, a handshake is an error of the first line.
pub(super) async fn open(stream: TcpStream, tls: Option<&Tls>) -> io::Result<(Reader, Writer)> {
    open_within(stream, tls, AUTHORIZATION_TIMEOUT, HANDSHAKE_TIMEOUT).await
}

async fn open_within(
    stream: TcpStream,
    tls: Option<&Tls>,
    first_byte_timeout: Duration,
    handshake_timeout: Duration,
) -> io::Result<(Reader, Writer)> {
    if let Some(tls) = tls
        && within(first_byte_timeout, starts_handshake(&stream)).await?
    {
        let stream = within(handshake_timeout, tls.accept_any_protocol(stream)).await?;
        let (reader, writer) = tokio::io::split(stream);
        return Ok((Box::new(reader), Box::new(writer)));
    }
    let (reader, writer) = stream.into_split();
    Ok((Box::new(reader), Box::new(writer)))
}

/// Whether the first byte of a connection starts a TLS handshake.
async fn starts_handshake(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(stream.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE)
}

async fn within<T>(timeout: Duration, it: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(timeout, it).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::KeyPair;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    fn certificate() -> Tls {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let (certificate_path, key_path) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&certificate_path, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        Tls::open(&certificate_path, &key_path).unwrap()
    }

    // Q08
    #[tokio::test]
    async fn silent_miners_and_unfinished_handshakes_are_closed() {
        const SHORT: Duration = Duration::from_millis(50);
        const LONG: Duration = Duration::from_secs(600);
        let tls = certificate();
        let is_late = |opened: io::Result<(Reader, Writer)>| {
            opened.err().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        };
        let (_silent, stream) = pair().await;
        assert!(is_late(open_within(stream, Some(&tls), SHORT, LONG).await));
        let (mut stalled, stream) = pair().await;
        stalled.write_all(b"\x16\x03\x01").await.unwrap();
        assert!(is_late(open_within(stream, Some(&tls), LONG, SHORT).await));

        // Other bytes are left to the reader of lines, and so is all without a certificate.
        let (mut plain, stream) = pair().await;
        plain.write_all(b"{").await.unwrap();
        assert!(open_within(stream, Some(&tls), LONG, SHORT).await.is_ok());
        let (_silent, stream) = pair().await;
        assert!(open_within(stream, None, LONG, SHORT).await.is_ok());
    }
}
