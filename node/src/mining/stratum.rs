//! The Stratum server: sockets, clocks and blocks around the protocol state machine of
//! `miner::stratum`.
//!
//! One template of the writer becomes a job for all miners, whose coinbases pay their own addresses.
//! A share that solves a block is submitted to the writer, and acknowledged once it is on disk.

mod connection;
mod context;
mod endpoint;
mod job_template;
mod line_codec;
mod notify;
mod socket;

pub use endpoint::Endpoint;

use super::templates::Templates;
use super::workers::Workers;
use crate::random::random_bytes;
use crate::shutdown::shutdown_requested;
use crate::tls::Tls;
use crate::{listener, logging, writer};
use anyhow::Result;
use chain::Address;
use chain::params::Params;
use context::{Context, TURNS, Work};
use miner::stratum::SessionConfig;
use p2p::shares::{Limits, Pool};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Most files that connections, peers, the API and the store may have open at a time.
const MAX_OPEN_FILES: u64 = 4_096;
/// The margin by which a share's time must stay below the limit for block times, because clocks of
/// nodes differ.
const CLOCK_MARGIN_SECONDS: u32 = 10;
/// Pause after accepting a connection failed, most likely because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The running Stratum server.
pub struct Server {
    accept: JoinHandle<()>,
    notify: JoinHandle<()>,
}

/// What a server needs.
pub struct Parts<'a> {
    pub listener: TcpListener,
    /// The limits of the number of connections.
    pub limits: Limits,
    /// The certificate for miners that connect with TLS; without one they are disconnected.
    pub tls: Option<Tls>,
    pub params: &'a Params,
    pub templates: Arc<Templates>,
    pub writer: writer::Handle,
    /// Where shares are counted.
    pub workers: Arc<Workers>,
    /// Becomes true when the server has to stop.
    pub stop: watch::Receiver<bool>,
}

impl Server {
    /// Serves miners until it is stopped.
    pub fn start(parts: Parts) -> Result<Server> {
        let Parts { listener, limits, tls, params, templates, writer, workers, stop } = parts;
        raise_file_limit();
        let run_id = random_bytes()?;
        let hrp = params.hrp();
        let max_future_seconds = params.spec().max_future_seconds;
        let config = SessionConfig::new(
            move |text| Address::decode_for(text, hrp).ok(),
            max_future_seconds.saturating_sub(CLOCK_MARGIN_SECONDS),
        );
        let (publish_work, work) = watch::channel(Work::None);
        let notify = notify::run(templates, writer.clone(), run_id, publish_work, stop.clone());
        let config = Arc::new(config);
        let turns = Semaphore::new(TURNS);
        let context = Context { writer, config, work, workers, stop, turns, tls };
        Ok(Server {
            accept: tokio::spawn(accept(listener, Pool::new(limits), Arc::new(context))),
            notify: tokio::spawn(notify),
        })
    }

    /// Waits for the end of the server: once `stop` is true and all received shares are processed.
    pub async fn ended(self) -> Result<()> {
        self.accept.await?;
        self.notify.await?;
        Ok(())
    }
}

/// Binds the address to listen on.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    listener::bind(address, "--stratum")
}

/// Raises this process' limit of open files to what many miners need, as far as the system permits.
#[cfg(unix)]
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(MAX_OPEN_FILES, |limit| limit.min(MAX_OPEN_FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "cannot raise the limit of open files: few miners can connect");
        }
    }
}

#[cfg(not(unix))]
fn raise_file_limit() {}

async fn accept(listener: TcpListener, connections: Pool, context: Arc<Context>) {
    let mut stop = context.stop.clone();
    let mut stopped = pin!(shutdown_requested(&mut stop));
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    admit(stream, peer, &connections, &context, &mut tasks);
                    // A burst of newcomers must not evict miners whose lines have arrived.
                    tokio::task::yield_now().await;
                }
                Err(error) if listener::is_client_error(&error) => {}
                Err(error) => {
                    logging::limited("accept a miner", |dropped| {
                        tracing::warn!(%error, dropped, "cannot accept a miner's connection");
                    });
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // Each ends soon, but not before a block that it received is on disk.
    while tasks.join_next().await.is_some() {}
}

/// Serves one more miner. While all connections are in use, one without an accepted share gives way
/// to it, unless its address has its share of them.
fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    connections: &Pool,
    context: &Arc<Context>,
    tasks: &mut JoinSet<()>,
) {
    let closed = CancellationToken::new();
    let lease = match connections.acquire(peer.ip(), 1, closed.clone()) {
        Ok(lease) => lease,
        Err(full) => {
            logging::limited("miner rejected", |dropped| {
                tracing::warn!(%peer, dropped, "miner's connection rejected: {full}");
            });
            return;
        }
    };
    // Only accepted shares protect it.
    lease.set_idle(true);
    tasks.spawn(connection::serve(stream, peer, Arc::clone(context), lease, closed));
}
