//! A write timeout for client connections, and the activity tracking by which the server finds idle
//! connections.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A client connection, encrypted or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A stream whose writes fail with [`io::ErrorKind::TimedOut`] once the client has read nothing for `timeout`.
#[derive(Debug)]
pub(super) struct WriteTimeout<S> {
    socket: S,
    timeout: Duration,
    /// Runs while a write is pending.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(socket: S, timeout: Duration) -> WriteTimeout<S> {
        WriteTimeout { socket, timeout, stalled: None }
    }

    /// Turns a write that has been pending for too long into an error.
    fn check_timeout<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let deadline = Instant::now() + self.timeout;
        let sleep =
            self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
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
        self.check_timeout(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.check_timeout(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.check_timeout(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.socket).poll_shutdown(context);
        self.check_timeout(shut, context)
    }
}

/// Tracks whether a connection is active, or since when it is idle: since it was opened or finished its
/// last response, even if part of a request has arrived.
#[derive(Clone, Debug)]
pub(super) struct ActivityTracker {
    /// The origin of time values.
    origin: Instant,
    /// Microseconds since `origin`; [`ACTIVE`] during a request.
    idle_since: Arc<AtomicU64>,
}

const ACTIVE: u64 = u64::MAX;

impl ActivityTracker {
    /// A connection that is idle from now on.
    pub(super) fn new(origin: Instant) -> ActivityTracker {
        let activity = ActivityTracker { origin, idle_since: Arc::default() };
        activity.set_idle();
        activity
    }

    /// The start of the idle period relative to `origin`; `None` while active.
    pub(super) fn idle_since(&self) -> Option<Duration> {
        let since = self.idle_since.load(Ordering::Relaxed);
        (since != ACTIVE).then(|| Duration::from_micros(since))
    }

    /// Marks the connection as active until the guard is dropped.
    pub(super) fn begin(&self) -> ActiveGuard {
        self.idle_since.store(ACTIVE, Ordering::Relaxed);
        ActiveGuard(self.clone())
    }

    fn set_idle(&self) {
        let now = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(ACTIVE - 1);
        self.idle_since.store(now, Ordering::Relaxed);
    }
}

/// Guards a request in progress.
pub(super) struct ActiveGuard(ActivityTracker);

impl ActiveGuard {
    /// Holds the guard until the last byte of a response body is sent.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(TrackedBody { body, _guard: self })
    }
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.set_idle();
    }
}

struct TrackedBody {
    body: Body,
    _guard: ActiveGuard,
}

impl HttpBody for TrackedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    const TIMEOUT: Duration = Duration::from_millis(600);

    // R03
    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (server, _client) = duplex(64);
        let mut server = WriteTimeout::new(server, TIMEOUT);
        let begun = Instant::now();
        let error = server.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= TIMEOUT);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_served() {
        let (server, mut client) = duplex(64);
        let mut server = WriteTimeout::new(server, TIMEOUT);
        let sender = tokio::spawn(async move { server.write_all(&[7; 320]).await });
        let mut received = 0;
        while received < 320 {
            tokio::time::sleep(TIMEOUT / 3).await;
            received += client.read(&mut [0; 64]).await.unwrap();
        }
        sender.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_is_busy_until_its_answer_is_sent() {
        let activity = ActivityTracker::new(Instant::now());
        let opened = activity.idle_since().unwrap();
        let body = activity.begin().until_sent(Body::from("hello!"));
        assert_eq!(body.size_hint().exact(), Some(6), "the length is still known");
        assert_eq!(activity.idle_since(), None);
        assert_eq!(axum::body::to_bytes(body, 6).await.unwrap(), "hello!");
        assert!(activity.idle_since().unwrap() >= opened);
    }
}
