//! Response bodies that hold a guard, such as a share of the bytes in flight, until they are sent.

use axum::body::{Body, Bytes, HttpBody};
use http_body::{Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The largest frame of a body in bytes, so that a connection does not buffer more of it at once.
const MAX_FRAME: usize = 64 << 10;

/// Holds a guard until the last byte of a body is passed to the connection.
pub(super) fn until_sent(body: Body, guard: impl Send + Unpin + 'static) -> Body {
    Body::new(GuardedBody { body, rest: Bytes::new(), _guard: guard })
}

struct GuardedBody<G> {
    body: Body,
    /// What is left of the last frame of `body`.
    rest: Bytes,
    _guard: G,
}

impl<G: Unpin> HttpBody for GuardedBody<G> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let length = self.rest.len().min(MAX_FRAME);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower().saturating_add(rest));
        if let Some(upper) = body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn body_is_sent_in_small_frames_and_holds_its_guard_until_the_end() {
        let bytes: Vec<u8> = (0..3 * MAX_FRAME + 1).map(|at| at.to_le_bytes()[0]).collect();
        let guard = Arc::new(());
        let mut body = until_sent(Body::from(bytes.clone()), Arc::clone(&guard));
        let (mut received, mut left) = (Vec::new(), bytes.len() as u64);
        while !body.is_end_stream() {
            assert_eq!(body.size_hint().exact(), Some(left), "the length is still known");
            assert_eq!(Arc::strong_count(&guard), 2);
            let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            let data = frame.await.unwrap().unwrap().into_data().unwrap();
            assert!(data.len() <= MAX_FRAME);
            left -= data.len() as u64;
            received.extend_from_slice(&data);
        }
        assert!(received == bytes);
        drop(body);
        assert_eq!(Arc::strong_count(&guard), 1);
    }
}
