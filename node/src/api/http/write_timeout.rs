//! A client's socket that gives up on a client who does not read, and the mark by which the server
//! tells connections that wait for a request from those that answer one.

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

/// What requests come from and answers go to, encrypted or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// A socket whose writes fail once the other side has taken nothing for a while.
#[derive(Debug)]
pub(super) struct Impatient<S> {
    socket: S,
    patience: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    pub(super) fn new(socket: S, patience: Duration) -> Impatient<S> {
        Impatient { socket, patience, waiting: None }
    }

    /// Passes on what came of a write; too much of nothing becomes an error.
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let deadline = Instant::now() + self.patience;
        let sleep =
            self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(context, slices);
        self.judge(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.socket).poll_shutdown(context);
        self.judge(shut, context)
    }
}

/// Whether a connection answers a request at this moment, or since when it waits for one: since it
/// was opened or last answered, whatever part of a request has come.
#[derive(Clone, Debug)]
pub(super) struct Busy {
    /// What times are counted from.
    origin: Instant,
    /// Microseconds; [`ANSWERING`] while there is a request.
    waits_since: Arc<AtomicU64>,
}

const ANSWERING: u64 = u64::MAX;

impl Busy {
    /// Waiting from now on.
    pub(super) fn new(origin: Instant) -> Busy {
        let busy = Busy { origin, waits_since: Arc::default() };
        busy.wait();
        busy
    }

    /// Since when it waits, counted from `origin`; `None` while it answers.
    pub(super) fn waits_since(&self) -> Option<Duration> {
        let since = self.waits_since.load(Ordering::Relaxed);
        (since != ANSWERING).then(|| Duration::from_micros(since))
    }

    /// Busy from now on, until what this returns is dropped.
    pub(super) fn begin(&self) -> Answering {
        self.waits_since.store(ANSWERING, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn wait(&self) {
        let now = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(ANSWERING - 1);
        self.waits_since.store(now, Ordering::Relaxed);
    }
}

/// A request being answered.
pub(super) struct Answering(Busy);

impl Answering {
    /// Keeps the connection busy until the last byte of a response's body is handed over.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(Sent { body, _answering: self })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.wait();
    }
}

struct Sent {
    body: Body,
    _answering: Answering,
}

impl HttpBody for Sent {
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

    const PATIENCE: Duration = Duration::from_millis(600);

    // R03
    #[tokio::test]
    async fn a_client_that_does_not_read_is_given_up() {
        let (server, _client) = duplex(64);
        let mut server = Impatient::new(server, PATIENCE);
        let begun = Instant::now();
        let error = server.write_all(&[0; 65]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= PATIENCE);
    }

    #[tokio::test]
    async fn a_client_that_reads_slowly_is_served() {
        let (server, mut client) = duplex(64);
        let mut server = Impatient::new(server, PATIENCE);
        let sender = tokio::spawn(async move { server.write_all(&[7; 320]).await });
        let mut received = 0;
        while received < 320 {
            tokio::time::sleep(PATIENCE / 3).await;
            received += client.read(&mut [0; 64]).await.unwrap();
        }
        sender.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_connection_is_busy_until_its_answer_is_sent() {
        let busy = Busy::new(Instant::now());
        let opened = busy.waits_since().unwrap();
        let body = busy.begin().until_sent(Body::from("answer"));
        assert_eq!(body.size_hint().exact(), Some(6), "the length is still known");
        assert_eq!(busy.waits_since(), None);
        assert_eq!(axum::body::to_bytes(body, 6).await.unwrap(), "answer");
        assert!(busy.waits_since().unwrap() >= opened);
    }
}
