//! Problems for request heads that cannot be parsed. `hyper` responds to them itself, with a status and
//! nothing else, and has no hook for that. This socket replaces its response, which is the last one of
//! the connection.

use crate::api::http::problem::{Kind, MEDIA_TYPE, Problem};
use crate::api::http::resources::Connection;
use crate::metrics::http::HttpMetrics;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The end of a head.
const END: &[u8] = b"\r\n\r\n";

/// A socket that replaces the responses of `hyper` to malformed request heads.
#[derive(Debug)]
pub(super) struct ProblemSocket<S> {
    socket: S,
    /// A response of `hyper` itself is written while the connection is idle.
    connection: Connection,
    metrics: Arc<HttpMetrics>,
    /// What replaces the response, from the first byte that is not written yet.
    replacement: Vec<u8>,
}

impl<S: AsyncWrite + Unpin> ProblemSocket<S> {
    pub(super) fn new(
        socket: S,
        connection: Connection,
        metrics: Arc<HttpMetrics>,
    ) -> ProblemSocket<S> {
        ProblemSocket { socket, connection, metrics, replacement: Vec::new() }
    }

    /// Takes over bytes that end with a response of `hyper` itself.
    fn replace(&mut self, bytes: &[u8]) -> bool {
        if self.connection.is_active() {
            return false;
        }
        let Some((before, kind, detail)) = parse_error(bytes) else { return false };
        self.metrics.count_malformed(kind.status());
        self.replacement.extend_from_slice(&bytes[..before]);
        self.replacement.extend(response(kind, detail));
        true
    }

    /// Writes what is left of the replacement.
    fn poll_replacement(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.replacement.is_empty() {
            let socket = Pin::new(&mut self.socket);
            let written = ready!(socket.poll_write(context, &self.replacement))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.replacement.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

/// Finds the response of `hyper` to a malformed head at the end of written bytes: its position, and the
/// problem that replaces it. Routes never respond with these statuses and an empty body.
fn parse_error(bytes: &[u8]) -> Option<(usize, Kind, &'static str)> {
    let head = bytes.strip_suffix(END)?;
    let start = head.windows(END.len()).rposition(|window| window == END);
    let start = start.map_or(0, |at| at + END.len());
    let head = std::str::from_utf8(&head[start..]).ok()?;
    // The body of a response before it may end within this text.
    let at = head.rfind("HTTP/1.1 ")?;
    let mut lines = head[at..].split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let (kind, detail) = match status {
        "400" => (Kind::BAD_REQUEST, "the request line or a header is malformed"),
        "414" => (Kind::URI_TOO_LONG, "the URI is too long"),
        "431" => (Kind::HEAD_TOO_LARGE, "the request line and the headers are too large"),
        _ => return None,
    };
    let is_empty = lines.any(|line| line.eq_ignore_ascii_case("content-length: 0"));
    is_empty.then_some((start + at, kind, detail))
}

fn response(kind: Kind, detail: &str) -> Vec<u8> {
    let status = kind.status();
    let body = serde_json::to_string(&Problem::new(kind, detail));
    let body = body.expect("the keys of a problem are strings");
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
    )
    .into_bytes()
}

impl<S: AsyncRead + Unpin> AsyncRead for ProblemSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ProblemSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(context))?;
        if self.replace(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_replacement(context))?;
        // A head without a body is one slice.
        if let [bytes] = slices
            && self.replace(bytes)
        {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_replacement(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_response_to_a_malformed_head_is_found() {
        let bare = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let before = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        for (bytes, expected) in [
            (bare.to_owned(), Some((0, Kind::BAD_REQUEST))),
            (format!("{before}{bare}"), Some((before.len(), Kind::BAD_REQUEST))),
            (bare.replace("400", "431"), Some((0, Kind::HEAD_TOO_LARGE))),
            (bare.replace("400", "414"), Some((0, Kind::URI_TOO_LONG))),
            (bare.replace("400", "204"), None),
            (bare.replace("length: 0", "length: 10"), None),
            (format!("{bare}x"), None),
            (before.to_owned(), None),
            (String::new(), None),
        ] {
            let found = parse_error(bytes.as_bytes()).map(|(at, kind, _)| (at, kind));
            assert_eq!(found, expected, "{bytes}");
        }
    }
}
