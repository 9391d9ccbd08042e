//! A TCP relay that imposes the conditions of bad links on connections: latency, jitter, loss, limited
//! bandwidth, and cuts of one or both directions. Needs no privileges and works on every platform.
//!
//! The relay knows ports, not nodes: a `Route` has the port at which it accepts connections, the port
//! to which it forwards them, and the conditions of each direction. It is controlled through a
//! loopback port with a token: see `control`.

pub mod conditions;
pub mod control;
mod forward;
mod route;
mod shaper;

pub use conditions::Conditions;
pub use route::{Counters, Route, RouteStatus};

use anyhow::{Context, Result};
use forward::{Direction, Shared};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Pending connections of a port. A route has one, and reconnects now and then.
const BACKLOG: u32 = 16;
/// Maximum number of connections of a route at a time; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;
/// Bytes that the system buffers before the relay reads them. Small, so that a sender notices limited
/// bandwidth.
const RECEIVE_BUFFER: u32 = 128 * 1024;

/// The open routes of a relay, by port.
#[derive(Debug)]
pub struct Relay {
    routes: BTreeMap<u16, OpenRoute>,
    /// The start value of the random numbers by which segments are lost and delayed.
    seed: u64,
}

#[derive(Debug)]
struct OpenRoute {
    route: watch::Sender<Route>,
    shared: Arc<Shared>,
    acceptor: JoinHandle<()>,
}

impl Relay {
    /// A relay without routes.
    pub fn new(seed: u64) -> Relay {
        Relay { routes: BTreeMap::new(), seed }
    }

    /// Replaces the routes: opens and closes ports, and changes the conditions of open connections. An
    /// error, such as a port in use, leaves the routes before it in place.
    pub fn set_routes(&mut self, routes: Vec<Route>) -> Result<()> {
        self.routes.retain(|port, open| {
            let is_kept = routes.iter().any(|route| route.port == *port);
            if !is_kept {
                open.acceptor.abort();
            }
            is_kept
        });
        for route in routes {
            match self.routes.get(&route.port) {
                Some(open) => drop(open.route.send_replace(route)),
                None => {
                    let port = route.port;
                    let open = OpenRoute::open(route, self.seed.wrapping_add(port.into()))?;
                    self.routes.insert(port, open);
                }
            }
        }
        Ok(())
    }

    /// The state of every route, by port.
    pub fn status(&self) -> Vec<RouteStatus> {
        let status = |(port, open): (&u16, &OpenRoute)| RouteStatus {
            port: *port,
            connections: open.shared.connections.load(Ordering::Relaxed),
            forward: open.shared.forward.counters(),
            backward: open.shared.backward.counters(),
        };
        self.routes.iter().map(status).collect()
    }
}

impl OpenRoute {
    fn open(route: Route, seed: u64) -> Result<OpenRoute> {
        let listener = listen(route.port)?;
        let shared = Arc::new(Shared {
            forward: Direction::new(seed),
            backward: Direction::new(!seed),
            connections: AtomicUsize::new(0),
        });
        let (route, receiver) = watch::channel(route);
        let acceptor = tokio::spawn(accept(listener, receiver, Arc::clone(&shared)));
        Ok(OpenRoute { route, shared, acceptor })
    }
}

fn listen(port: u16) -> Result<TcpListener> {
    let context = || format!("the relay cannot listen at port {port}");
    let socket = TcpSocket::new_v4().with_context(context)?;
    // A port is used again right after connections were reset. On Windows the option has another
    // meaning: others could bind the port, too.
    socket.set_reuseaddr(!cfg!(windows)).with_context(context)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER).with_context(context)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into()).with_context(context)?;
    socket.listen(BACKLOG).with_context(context)
}

/// Accepts connections until the task is aborted, which resets all.
async fn accept(listener: TcpListener, route: watch::Receiver<Route>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((dialer, _)) => {
                let (route, shared) = (route.clone(), Arc::clone(&shared));
                connections.spawn(forward::connection(dialer, route, shared));
            }
            // Out of open files, perhaps, until some are closed.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
