//! The pace at which a client must read, so that what is written for it does not stay in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A client connection, encrypted or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A pace at which a client reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The bytes read in a period.
    pub(super) bytes: usize,
    /// The time that the client lets writes wait, in all.
    pub(super) period: Duration,
}

/// A stream whose writes fail with [`io::ErrorKind::TimedOut`] once the client reads more slowly than
/// the slowest pace. Only time in which a write waits counts: a client that reads everything at once
/// is never too slow.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    socket: S,
    slowest: Pace,
    /// The time for which writes waited in the present period, before the one that waits now.
    waited: Duration,
    /// The bytes written in the present period, which starts when a write waits.
    written: usize,
    /// Runs while a write waits, from its start to the end of the period.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(socket: S, slowest: Pace) -> WriteTimeout<S> {
        WriteTimeout { socket, slowest, waited: Duration::ZERO, written: 0, waiting: None }
    }

    /// Counts the bytes of a write, and turns one that waits at too slow a pace into an error.
    fn check<T>(
        &mut self,
        result: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if let Poll::Ready(result) = result {
            if let Some((since, _)) = self.waiting.take() {
                self.waited += since.elapsed();
            }
            if self.waited > Duration::ZERO {
                self.written += result.as_ref().map_or(0, bytes);
            }
            return Poll::Ready(result);
        }
        let left = self.slowest.period.saturating_sub(self.waited);
        let start = || {
            let now = Instant::now();
            (now, Box::pin(tokio::time::sleep_until(now + left)))
        };
        let (_, sleep) = self.waiting.get_or_insert_with(start);
        ready!(sleep.as_mut().poll(context));
        if self.written < self.slowest.bytes {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client does not read fast enough",
            )));
        }
        // The next period starts; its timer has to be polled.
        (self.waited, self.written, self.waiting) = (Duration::ZERO, 0, None);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.check(written, |bytes| *bytes, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.check(written, |bytes| *bytes, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.check(flushed, |()| 0, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.socket).poll_shutdown(context);
        self.check(shut, |()| 0, context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const SLOWEST: Pace = Pace { bytes: 160, period: Duration::from_millis(400) };

    /// Writes to a client that reads `at_once` bytes ten times in a period, and returns the result and the time
    /// until then.
    async fn write(bytes: usize, at_once: usize) -> (io::Result<()>, Duration) {
        let (server, mut client) = duplex(64);
        let mut server = WriteTimeout::new(server, SLOWEST);
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; at_once];
            while at_once > 0 && client.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                tokio::time::sleep(SLOWEST.period / 10).await;
            }
            std::future::pending::<()>().await;
        });
        let begun = Instant::now();
        let written = server.write_all(&vec![7; bytes]).await;
        reading.abort();
        (written, begun.elapsed())
    }

    // R03
    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (written, after) = write(65, 0).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(after >= SLOWEST.period, "{after:?}");
    }

    // R03
    #[tokio::test]
    async fn a_client_that_reads_a_little_now_and_then_is_given_up() {
        let (written, after) = write(100_000, 4).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(after >= SLOWEST.period, "{after:?}");
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_served() {
        let (written, after) = write(2_000, 64).await;
        written.unwrap();
        assert!(after > SLOWEST.period * 2, "{after:?}");
    }
}
