//! What clients of the API share, and what one of them uses: connections, held responses, event
//! subscriptions, bytes in flight, and tokens of the rate limit.

use crate::api::http::extract::{MAX_BLOCK_BODY, MAX_BODY};
use crate::api::http::guarded_body::until_sent;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::rate_limit::{READ, RateLimiter, SUBMISSION};
use crate::config::limits::ResourceLimits;
use crate::config::trusted_proxies::{Origin, TrustedProxies, is_forwarded};
use axum::body::HttpBody as _;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use p2p::shares::{Lease, Limits, Pool};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Connections reserved for clients on this machine.
const LOOPBACK_CONNECTIONS: u64 = 16;
/// Connections reserved for probes.
const PROBE_CONNECTIONS: u64 = 8;
/// The paths that supervisors probe.
const PROBES: [&str; 2] = ["/livez", "/readyz"];
/// Bodies below this size are not counted: as many as there are connections have 8 MiB.
const MIN_COUNTED_BODY: u64 = 16 << 10;
/// The size of a body that costs one more token of the rate limit, so that large responses take at
/// most 25 MB per second of one address.
const BYTES_PER_TOKEN: u64 = 256 << 10;

/// The resources that clients of the API share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Resources(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    connections: Pool,
    loopback_connections: Pool,
    probe_connections: Pool,
    held_responses: Pool,
    event_readers: Pool,
    body_bytes: Pool,
    rate_limiter: RateLimiter,
    proxies: TrustedProxies,
    has_warned_of_proxy: AtomicBool,
}

impl Default for Resources {
    fn default() -> Resources {
        Resources::new(&ResourceLimits::default(), TrustedProxies::default())
    }
}

/// What the connections of a pool may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    General,
    /// Requests of this machine that no proxy forwards.
    Loopback,
    /// Probes, one on each connection.
    Probe,
}

/// An open connection.
#[derive(Clone, Debug)]
pub struct Connection {
    lease: Arc<Lease>,
    /// The number of requests in progress.
    requests: Arc<AtomicU32>,
    lane: Lane,
    /// Cancelled when the connection has to be closed in favour of others.
    pub close: CancellationToken,
}

impl Connection {
    /// Marks a request as in progress until the guard is dropped.
    pub fn begin(&self) -> ActiveGuard {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.lease.set_idle(false);
        ActiveGuard(self.clone())
    }

    /// Whether a request is in progress.
    pub fn is_active(&self) -> bool {
        self.requests.load(Ordering::Relaxed) > 0
    }
}

/// A request in progress, whose connection is not idle.
#[derive(Debug)]
pub struct ActiveGuard(Connection);

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.lease.set_idle(true);
    }
}

/// A subscription to events.
#[derive(Debug)]
pub struct Subscription {
    ended: CancellationToken,
    _lease: Lease,
}

impl Subscription {
    /// Completes when the subscription has to end in favour of others.
    pub fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }
}

impl Resources {
    pub fn new(limits: &ResourceLimits, proxies: TrustedProxies) -> Resources {
        let reserved = LOOPBACK_CONNECTIONS + PROBE_CONNECTIONS;
        let connections = limits.api_connections;
        let capacity = connections.capacity.saturating_sub(reserved);
        Resources(Arc::new(Shared {
            connections: Pool::new(Limits { capacity, ..connections }),
            loopback_connections: Pool::new(Limits::new(
                LOOPBACK_CONNECTIONS,
                LOOPBACK_CONNECTIONS,
            )),
            probe_connections: Pool::new(Limits::new(PROBE_CONNECTIONS, 1)),
            held_responses: Pool::new(limits.held_responses),
            event_readers: Pool::new(limits.event_readers),
            body_bytes: Pool::new(limits.body_bytes),
            rate_limiter: RateLimiter::default(),
            proxies,
            has_warned_of_proxy: AtomicBool::new(false),
        }))
    }

    /// Admits a connection, idle until its first request: in the general pool, or else among those
    /// reserved for this machine or for probes. `None` if it has to be refused.
    pub fn connect(&self, peer: SocketAddr) -> Option<Connection> {
        let (shared, ip) = (&self.0, peer.ip());
        let pools = [
            (Lane::General, &shared.connections, true),
            (Lane::Loopback, &shared.loopback_connections, ip.to_canonical().is_loopback()),
            (Lane::Probe, &shared.probe_connections, true),
        ];
        pools.into_iter().filter(|(.., is_open)| *is_open).find_map(|(lane, pool, _)| {
            let close = CancellationToken::new();
            let lease = Arc::new(pool.acquire(ip, 1, close.clone()).ok()?);
            lease.set_idle(true);
            Some(Connection { lease, requests: Arc::default(), lane, close })
        })
    }

    /// The number of event subscribers at present.
    pub fn event_reader_count(&self) -> u64 {
        self.0.event_readers.in_use()
    }

    /// Determines the client of a request, and checks that it may use the connection and is within its
    /// rate limit. A request that did not come over a connection is one of this machine.
    ///
    /// The second value is the problem to respond with if one of these fails.
    pub fn client_of(&self, request: &Request) -> (Client, Result<(), Problem>) {
        let extensions = request.extensions();
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.ip());
        let peer = peer.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let connection = extensions.get::<Connection>().cloned();
        let origin = self.0.proxies.origin(peer, request.headers());
        let ip = if let Origin::Forwarded(ip) = origin { ip } else { peer };
        let is_local = origin == Origin::Direct && peer.to_canonical().is_loopback();
        if is_local {
            self.warn_of_proxy(request.headers());
        }
        if let (Some(connection), Origin::Forwarded(_)) = (&connection, origin) {
            connection.lease.move_to(ip);
        }
        let client = Client { ip, is_local, connection, resources: self.clone() };
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let checked = client
            .check_lane(request.uri().path())
            .and_then(|()| client.charge(if is_read { READ } else { SUBMISSION }));
        (client, checked)
    }

    /// Warns once that a proxy forwards requests as if they were of this machine.
    fn warn_of_proxy(&self, headers: &HeaderMap) {
        let shared = &self.0;
        if shared.proxies.is_empty()
            && is_forwarded(headers)
            && !shared.has_warned_of_proxy.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                "a proxy on this machine forwards requests, and all its clients count as this machine, \
                 without limits: name it by --trusted-proxy, such as --trusted-proxy 127.0.0.1"
            );
        }
    }
}

/// The client of a request, which pays for what it uses.
#[derive(Clone, Debug)]
pub struct Client {
    ip: IpAddr,
    /// Whether it is on this machine, where limits are loose.
    is_local: bool,
    connection: Option<Connection>,
    resources: Resources,
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Client, Problem> {
        let client = parts.extensions.get::<Client>().cloned();
        client.ok_or_else(|| Problem::new(Kind::INTERNAL, "a request without a client"))
    }
}

impl Client {
    /// The IP address of the client.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The shared resources.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Whether the connection is to be closed after this response.
    pub fn is_last_request(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.lane != Lane::General)
    }

    fn check_lane(&self, path: &str) -> Result<(), Problem> {
        let lane = self.connection.as_ref().map_or(Lane::General, |connection| connection.lane);
        let is_open = match lane {
            Lane::General => true,
            Lane::Loopback => self.is_local,
            Lane::Probe => PROBES.contains(&path),
        };
        if is_open {
            return Ok(());
        }
        Err(Problem::new(Kind::BUSY, "all connections of the node are in use: retry later"))
    }

    /// Charges the client for a request or a message.
    ///
    /// # Errors
    /// Returns the problem to respond with if the client has exceeded its limit.
    pub fn charge(&self, cost: u32) -> Result<(), Problem> {
        self.resources.0.rate_limiter.charge(self.ip, self.is_local, cost)
    }

    /// Holds a response that waits for a change. Meanwhile its connection gives way to others.
    ///
    /// # Errors
    /// Returns the problem to respond with if too many responses are held, of this address too.
    pub fn hold(&self) -> Result<Held, Problem> {
        let ended = self.eviction();
        let held = &self.resources.0.held_responses;
        let lease = held.acquire(self.ip, 1, ended.clone()).map_err(|full| {
            Problem::new(Kind::RATE_LIMITED, format!("responses that wait for a change: {full}"))
        })?;
        let connection = self.connection.as_ref().map(|connection| Arc::clone(&connection.lease));
        if let Some(connection) = &connection {
            connection.set_idle(true);
        }
        Ok(Held { ended, connection, _lease: lease })
    }

    /// Adds the client to the event subscribers.
    ///
    /// # Errors
    /// Returns the problem to respond with if there are too many, of this address too.
    pub fn subscribe(&self) -> Result<Subscription, Problem> {
        let ended = self.eviction();
        let readers = &self.resources.0.event_readers;
        let lease = readers.acquire(self.ip, 1, ended.clone()).map_err(|full| {
            Problem::new(Kind::TOO_MANY_READERS, format!("event subscribers: {full}"))
        })?;
        Ok(Subscription { ended, _lease: lease })
    }

    /// Marks the connection as active until the guard is dropped, for what outlives a request.
    pub fn begin(&self) -> Option<ActiveGuard> {
        self.connection.as_ref().map(Connection::begin)
    }

    /// A token that is cancelled when the connection is to be closed, if not earlier.
    fn eviction(&self) -> CancellationToken {
        self.connection
            .as_ref()
            .map(|connection| connection.close.child_token())
            .unwrap_or_default()
    }

    /// Counts the bytes of a request that will be in memory, until the guard is dropped: those that it
    /// declares, or the usual limit if it declares none.
    ///
    /// # Errors
    /// Returns the problem to respond with if too many are in flight, of this address too.
    pub fn count_request(&self, headers: &HeaderMap) -> Result<Option<Lease>, Problem> {
        let declared =
            headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let size = match declared {
            Some(size) => std::cmp::min(size, MAX_BLOCK_BODY as u64),
            None if headers.contains_key(TRANSFER_ENCODING) => MAX_BODY as u64,
            None => 0,
        };
        self.count_bytes(size)
    }

    /// Counts the bytes of a response until the client has read them, and charges for large ones.
    ///
    /// # Errors
    /// Returns the problem to respond with if too many are in flight, of this address too.
    pub fn count_response(&self, response: Response) -> Result<Response, Problem> {
        let size = response.body().size_hint().exact().unwrap_or(0);
        let Some(lease) = self.count_bytes(size)? else { return Ok(response) };
        self.pay_for(size);
        Ok(response.map(|body| until_sent(body, lease)))
    }

    /// Charges for bytes of a response. Returns those that are not charged: too few for a token.
    pub fn pay_for(&self, bytes: u64) -> u64 {
        let tokens = u32::try_from(bytes / BYTES_PER_TOKEN).unwrap_or(u32::MAX);
        if tokens > 0 {
            self.resources.0.rate_limiter.spend(self.ip, self.is_local, tokens);
        }
        bytes % BYTES_PER_TOKEN
    }

    /// Counts bytes in flight, unless they are few: those of a request, of a response, or of what a
    /// response is made of, before they are in memory. The connection is closed if they have to give
    /// way.
    ///
    /// # Errors
    /// Returns the problem to respond with if too many are in flight, of this address too.
    pub fn count_bytes(&self, size: u64) -> Result<Option<Lease>, Problem> {
        if size < MIN_COUNTED_BODY {
            return Ok(None);
        }
        let close = self.connection.as_ref().map(|connection| connection.close.clone());
        let bytes = &self.resources.0.body_bytes;
        let lease = bytes.acquire(self.ip, size, close.unwrap_or_default()).map_err(|full| {
            Problem::new(
                Kind::RATE_LIMITED,
                format!("bytes of requests and unread responses: {full}"),
            )
        })?;
        Ok(Some(lease))
    }
}

/// A response that is held.
#[derive(Debug)]
pub struct Held {
    ended: CancellationToken,
    connection: Option<Arc<Lease>>,
    _lease: Lease,
}

impl Held {
    /// Completes when the response has to be sent, because others wait too.
    pub fn ended(&self) -> WaitForCancellationFuture<'_> {
        self.ended.cancelled()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(connection) = &self.connection {
            connection.set_idle(false);
        }
    }
}

#[cfg(test)]
mod tests;
