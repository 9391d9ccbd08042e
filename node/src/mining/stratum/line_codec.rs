//! Reading of lines of limited length. Cancel-safe, unlike tokio's own line reader: a partial line
//! stays in the buffer.

use miner::stratum::MAX_LINE_BYTES;
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// The first byte of a TLS handshake, with which some miners try an encrypted connection first.
pub(super) const TLS_HANDSHAKE: u8 = 0x16;

/// Reads lines from a socket.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// The part of the next line that was read already.
    partial: Vec<u8>,
    /// Whether a byte was read.
    has_begun: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Lines<R> {
        let reader = BufReader::with_capacity(MAX_LINE_BYTES, reader);
        Lines { reader, partial: Vec::new(), has_begun: false }
    }

    /// Reads the next line without its end; `None` at the end of the stream. A line that is too long
    /// is an error, and so is a TLS handshake, which has no end of line: the miner connects again
    /// without TLS at once. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            if !std::mem::replace(&mut self.has_begun, true) && bytes[0] == TLS_HANDSHAKE {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the node has no certificate for TLS",
                ));
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.partial.len() + part.len() > MAX_LINE_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "line too long"));
            }
            self.partial.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.partial)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncWriteExt, duplex};

    // Q06
    #[tokio::test]
    async fn reads_lines_in_parts_and_rejects_long_ones() {
        let (mut client, server) = duplex(100_000);
        let mut lines = Lines::new(server);
        client.write_all(b"one\n\ntw").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"");
        // Cancelled in the middle of a line.
        let waited = tokio::time::timeout(Duration::from_millis(20), lines.next()).await;
        assert!(waited.is_err());
        client.write_all(b"o\r\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), b"two\r");
        let longest = [vec![b'x'; MAX_LINE_BYTES], b"\n".to_vec()].concat();
        client.write_all(&longest).await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap().len(), MAX_LINE_BYTES);
        client.write_all(&vec![b'x'; MAX_LINE_BYTES + 1]).await.unwrap();
        assert_eq!(lines.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    // The connection stays open for a minute otherwise, and BFGMiner waits for 30 seconds.
    #[tokio::test]
    async fn tls_handshake_is_an_error_at_once() {
        let (mut client, server) = duplex(100);
        client.write_all(b"\x16\x03\x01\x02").await.unwrap();
        let error = Lines::new(server).next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        // Only the first byte of a connection starts a handshake.
        let (mut client, server) = duplex(100);
        client.write_all(b"one\n\x16\n").await.unwrap();
        let mut lines = Lines::new(server);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"\x16");
    }

    #[tokio::test]
    async fn ignores_last_line_without_end() {
        let (mut client, server) = duplex(100);
        client.write_all(b"half").await.unwrap();
        drop(client);
        assert_eq!(Lines::new(server).next().await.unwrap(), None);
    }
}
