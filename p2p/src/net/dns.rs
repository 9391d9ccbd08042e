//! Dials addresses with names: `/dns/HOST/tcp/PORT`, `/dns4` and `/dns6`. Names are resolved by the
//! operating system. The IP address of a connection is reported, since limits and bans need it.

use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{
    Boxed, DialOpts, ListenerId, Transport, TransportError, TransportEvent,
};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// The maximum time for the resolution of a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of IP addresses of a name that are dialed, one after another.
const MAX_SOCKETS: usize = 8;

type Output = (PeerId, StreamMuxerBox);

/// The socket at which a name was dialed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// The dialed address, without a peer id.
    pub(crate) address: Multiaddr,
    pub(crate) socket: SocketAddr,
}

/// A transport that resolves names before another one dials them.
pub(crate) struct Dns {
    inner: Arc<Mutex<Boxed<Output>>>,
    resolved: mpsc::Sender<Resolved>,
}

impl Dns {
    /// Reports the socket of each connection to a name, before the swarm learns of the connection.
    pub(crate) fn new(inner: Boxed<Output>, resolved: mpsc::Sender<Resolved>) -> Dns {
        Dns { inner: Arc::new(Mutex::new(inner)), resolved }
    }
}

impl Transport for Dns {
    type Output = Output;
    type Error = io::Error;
    type ListenerUpgrade = <Boxed<Output> as Transport>::ListenerUpgrade;
    type Dial = BoxFuture<'static, io::Result<Output>>;

    fn listen_on(
        &mut self,
        id: ListenerId,
        address: Multiaddr,
    ) -> Result<(), TransportError<io::Error>> {
        lock(&self.inner).listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        lock(&self.inner).remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        let Some(name) = Name::of(&address) else {
            return Ok(lock(&self.inner).dial(address, options)?.boxed());
        };
        let (inner, resolved) = (self.inner.clone(), self.resolved.clone());
        let dial = async move {
            let mut error = io::Error::other("the name has no address of this kind");
            for socket in name.resolve().await? {
                let ip = Multiaddr::from(socket.ip()).with(Protocol::Tcp(socket.port()));
                let dial = lock(&inner).dial(ip, options);
                let dial = dial.map_err(|error| match error {
                    TransportError::Other(error) => error,
                    TransportError::MultiaddrNotSupported(_) => io::ErrorKind::Unsupported.into(),
                });
                match async { dial?.await }.await {
                    Ok(output) => {
                        let address = name.address;
                        // Many at once are not of interest.
                        let _ = resolved.try_send(Resolved { address, socket });
                        return Ok(output);
                    }
                    Err(reason) => error = reason,
                }
            }
            Err(error)
        };
        Ok(dial.boxed())
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        Transport::poll(Pin::new(&mut *lock(&self.inner)), cx)
    }
}

fn lock<T>(inner: &Mutex<T>) -> impl std::ops::DerefMut<Target = T> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An address with a name.
struct Name {
    /// The address, without a peer id.
    address: Multiaddr,
    host: String,
    port: u16,
    is_wanted: fn(&SocketAddr) -> bool,
}

impl Name {
    /// The name in an address; `None` if it has none.
    fn of(address: &Multiaddr) -> Option<Name> {
        let mut parts = address.iter();
        let (host, is_wanted): (_, fn(&SocketAddr) -> bool) = match parts.next()? {
            Protocol::Dns(host) => (host, |_| true),
            Protocol::Dns4(host) => (host, SocketAddr::is_ipv4),
            Protocol::Dns6(host) => (host, SocketAddr::is_ipv6),
            _ => return None,
        };
        let Some(Protocol::Tcp(port)) = parts.next() else { return None };
        let host = host.into_owned();
        let address = address.iter().take(2).collect();
        Some(Name { address, host, port, is_wanted })
    }

    async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let timed_out = |_| io::Error::new(io::ErrorKind::TimedOut, "the name is not resolved");
        let found = tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await.map_err(timed_out)??;
        Ok(found.filter(self.is_wanted).take(MAX_SOCKETS).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn resolves_names_to_sockets_of_the_wanted_kind() {
        let name = |text: &str| Name::of(&text.parse().unwrap());
        let local = name("/dns4/localhost/tcp/7").unwrap().resolve().await.unwrap();
        assert!(local.contains(&"127.0.0.1:7".parse().unwrap()), "{local:?}");
        assert!(local.iter().all(SocketAddr::is_ipv4), "{local:?}");
        let id = PeerId::random();
        let with_id = name(&format!("/dns/localhost/tcp/7/p2p/{id}")).unwrap();
        assert_eq!(with_id.address.to_string(), "/dns/localhost/tcp/7");
        assert!(name("/ip4/127.0.0.1/tcp/7").is_none());
        // RFC 6761: the name never exists.
        assert!(name("/dns/nosuch.invalid/tcp/7").unwrap().resolve().await.is_err());
    }
}
