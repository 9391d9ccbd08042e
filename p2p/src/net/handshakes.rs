//! Inbound connections whose encryption handshake is not finished. They can be aborted in favour of
//! others, and the first byte must come soon, so that silent connections do not occupy the slots.

use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::{
    Boxed, DialOpts, ListenerId, Transport, TransportError, TransportEvent,
};
use libp2p::tcp::tokio::TcpStream;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// The maximum time until the first byte of an inbound connection. Its dialer speaks first.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(3);

/// Waits for the first byte of an inbound connection.
pub(super) async fn await_first_byte(
    stream: TcpStream,
    end: ConnectedPoint,
) -> io::Result<TcpStream> {
    if end.is_listener() {
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "no byte was received");
        let mut byte = [0];
        let peek = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.0.peek(&mut byte));
        let read = peek.await.map_err(timed_out)??;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(stream)
}

/// The unfinished handshakes, by the remote address of the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct PendingHandshakes(Arc<Mutex<HashMap<Multiaddr, AbortHandle>>>);

impl PendingHandshakes {
    /// Closes the connection from an address if its handshake is not finished.
    pub(crate) fn abort(&self, from: &Multiaddr) {
        if let Some(handle) = self.remove(from) {
            handle.abort();
        }
    }

    fn insert(&self, from: Multiaddr, handle: AbortHandle) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(from, handle);
    }

    fn remove(&self, from: &Multiaddr) -> Option<AbortHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(from)
    }
}

/// Removes a handshake that has ended, or whose connection was denied.
struct Entry {
    from: Multiaddr,
    pending: PendingHandshakes,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.pending.remove(&self.from);
    }
}

/// A transport whose inbound handshakes can be aborted.
pub(super) struct AbortableHandshakes<O> {
    pub(super) inner: Boxed<O>,
    pub(super) pending: PendingHandshakes,
}

impl<O: Send + 'static> Transport for AbortableHandshakes<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<O>>;
    type Dial = <Boxed<O> as Transport>::Dial;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        self.inner.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.inner.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let event = std::task::ready!(Transport::poll(Pin::new(&mut self.inner), cx));
        let from = match &event {
            TransportEvent::Incoming { send_back_addr, .. } => send_back_addr.clone(),
            _ => Multiaddr::empty(),
        };
        Poll::Ready(event.map_upgrade(|upgrade| {
            let (handle, registration) = AbortHandle::new_pair();
            self.pending.insert(from.clone(), handle);
            let entry = Entry { from, pending: self.pending.clone() };
            let upgrade = Abortable::new(upgrade, registration);
            let upgrade = async move {
                let _entry = entry;
                upgrade.await.unwrap_or_else(|_| Err(io::Error::other("evicted")))
            };
            upgrade.boxed()
        }))
    }
}
