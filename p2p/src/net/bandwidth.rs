//! Bandwidth metering: counts the payload of streams by peer, without encryption, framing and
//! retransmission.

use futures::{AsyncRead, AsyncWrite};
use libp2p::PeerId;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

/// Payload bytes exchanged with one peer over all its connections, or with all peers since the
/// start.
#[derive(Debug, Default)]
pub(crate) struct ByteCounters {
    sent: AtomicU64,
    received: AtomicU64,
    /// The counters of all peers together, to which one peer's bytes are added as well; `None` in
    /// those themselves.
    total: Option<Arc<ByteCounters>>,
}

impl ByteCounters {
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    fn add_sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
        self.total.iter().for_each(|total| total.add_sent(bytes));
    }

    fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        self.total.iter().for_each(|total| total.add_received(bytes));
    }
}

/// The byte counters of all peers. A peer's counters are dropped once nothing references them.
#[derive(Clone, Debug, Default)]
pub(crate) struct BandwidthMeter {
    peers: Arc<Mutex<BTreeMap<PeerId, Weak<ByteCounters>>>>,
    total: Arc<ByteCounters>,
}

impl BandwidthMeter {
    /// The byte counters of a peer.
    pub(crate) fn peer(&self, peer: PeerId) -> Arc<ByteCounters> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(traffic) = peers.get(&peer).and_then(Weak::upgrade) {
            return traffic;
        }
        peers.retain(|_, traffic| traffic.strong_count() > 0);
        let total = Some(self.total());
        let traffic = Arc::new(ByteCounters { total, ..ByteCounters::default() });
        peers.insert(peer, Arc::downgrade(&traffic));
        traffic
    }

    /// The bytes exchanged with all peers, including disconnected ones.
    pub(crate) fn total(&self) -> Arc<ByteCounters> {
        Arc::clone(&self.total)
    }
}

/// A connection or stream whose bytes are counted.
pub(crate) struct Metered<T> {
    inner: T,
    traffic: Arc<ByteCounters>,
}

impl<T> Metered<T> {
    pub(crate) fn new(inner: T, traffic: Arc<ByteCounters>) -> Metered<T> {
        Metered { inner, traffic }
    }
}

impl<T: Unpin> Metered<T> {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut T> {
        Pin::new(&mut self.get_mut().inner)
    }
}

/// The bytes transferred by a completed operation.
fn transferred(done: &Poll<io::Result<usize>>) -> u64 {
    if let Poll::Ready(Ok(bytes)) = done { *bytes as u64 } else { 0 }
}

impl<T: StreamMuxer + Unpin> StreamMuxer for Metered<T>
where
    T::Substream: Unpin,
{
    type Substream = Metered<T::Substream>;
    type Error = T::Error;

    fn poll_inbound(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let traffic = self.traffic.clone();
        self.inner().poll_inbound(context).map_ok(|stream| Metered::new(stream, traffic))
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let traffic = self.traffic.clone();
        self.inner().poll_outbound(context).map_ok(|stream| Metered::new(stream, traffic))
    }

    fn poll_close(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), Self::Error>> {
        self.inner().poll_close(context)
    }

    fn poll(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        self.inner().poll(context)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let done = self.as_mut().inner().poll_read(context, bytes);
        self.traffic.add_received(transferred(&done));
        done
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = self.as_mut().inner().poll_read_vectored(context, buffers);
        self.traffic.add_received(transferred(&done));
        done
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = self.as_mut().inner().poll_write(context, bytes);
        self.traffic.add_sent(transferred(&done));
        done
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = self.as_mut().inner().poll_write_vectored(context, buffers);
        self.traffic.add_sent(transferred(&done));
        done
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_flush(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner().poll_close(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::io::{AsyncReadExt, AsyncWriteExt, Cursor};

    #[test]
    fn counts_sent_and_received_bytes() {
        let traffic = Arc::<ByteCounters>::default();
        let mut stream = Metered::new(Cursor::new(vec![0; 64]), traffic.clone());
        block_on(stream.write_all(&[1; 24])).unwrap();
        block_on(stream.read_to_end(&mut Vec::new())).unwrap();
        assert_eq!((traffic.sent(), traffic.received()), (24, 40));
    }

    #[test]
    fn drops_counters_that_nothing_references() {
        let meter = BandwidthMeter::default();
        let (one, two) = (PeerId::random(), PeerId::random());
        let held = meter.peer(one);
        drop(meter.peer(two));
        assert!(Arc::ptr_eq(&held, &meter.peer(one)));
        drop(held);
        drop(meter.peer(PeerId::random()));
        assert_eq!(meter.peers.lock().unwrap().len(), 1);
    }

    #[test]
    fn total_includes_bytes_of_disconnected_peers() {
        let meter = BandwidthMeter::default();
        for peer in [PeerId::random(), PeerId::random()] {
            let mut stream = Metered::new(Cursor::new(vec![0; 64]), meter.peer(peer));
            block_on(stream.write_all(&[1; 24])).unwrap();
            block_on(stream.read_to_end(&mut Vec::new())).unwrap();
        }
        let total = meter.total();
        assert_eq!((total.sent(), total.received()), (48, 80));
    }
}
