//! Lines of a bounded length from a socket. Waiting for one may be given up at any time: nothing of
//! it is lost.

use miner::stratum::MAX_LINE_BYTES;
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Reads lines.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// What has come of the next one.
    begun: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Lines<R> {
        Lines { reader: BufReader::with_capacity(MAX_LINE_BYTES, reader), begun: Vec::new() }
    }

    /// The next line without its end; `None` when there will be no more. What is too long is an
    /// error.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let bytes = self.reader.fill_buf().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            if self.begun.len() + part.len() > MAX_LINE_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line is too long"));
            }
            self.begun.extend_from_slice(part);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.begun)));
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
    async fn lines_are_whole_however_they_arrive_and_never_too_long() {
        let (mut client, server) = duplex(100_000);
        let mut lines = Lines::new(server);
        client.write_all(b"one\n\ntw").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), b"one");
        assert_eq!(lines.next().await.unwrap().unwrap(), b"");
        // Given up half way.
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

    #[tokio::test]
    async fn what_has_no_end_is_no_line() {
        let (mut client, server) = duplex(100);
        client.write_all(b"half").await.unwrap();
        drop(client);
        assert_eq!(Lines::new(server).next().await.unwrap(), None);
    }
}
