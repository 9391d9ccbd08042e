//! The Stratum server: sockets, clocks and blocks around the protocol state machine of
//! `miner::stratum`.
//!
//! One template of the writer becomes a job for all miners, whose coinbases pay their own addresses.
//! A share that solves a block is submitted to the writer, and acknowledged once it is on disk.

mod connection;
mod context;
mod job_template;
mod line_codec;
mod notify;
mod workers;

pub use workers::{Shares, WorkerInfo, Workers};

use super::templates::Templates;
use crate::random::random_bytes;
use crate::shutdown::shutdown_requested;
use crate::{listener, writer};
use anyhow::Result;
use chain::Address;
use chain::params::Params;
use chain::tx::Tag;
use context::{Context, Work};
use miner::stratum::{ExtraNonceAllocator, SessionConfig};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Most connections at a time.
const MAX_CONNECTIONS: usize = 2_048;
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
    save: JoinHandle<()>,
    workers: Arc<Workers>,
}

impl Server {
    /// Serves miners until `stop` becomes true; counts their shares in `workers`.
    pub fn start(
        listener: TcpListener,
        params: &Params,
        templates: Arc<Templates>,
        writer: writer::Handle,
        workers: Arc<Workers>,
        stop: watch::Receiver<bool>,
    ) -> Result<Server> {
        raise_file_limit();
        let run_id = format!(" {:016x}", u64::from_le_bytes(random_bytes()?));
        let tag = [writer::COINBASE_TAG, run_id.as_bytes()].concat();
        let tag = Tag::new(tag).expect("the tag has 22 bytes");
        let hrp = params.hrp();
        let config = SessionConfig {
            parse_address: Box::new(move |text| Address::decode_for(text, hrp).ok()),
            extra_nonces: ExtraNonceAllocator::starting_at(0),
            max_future_seconds: params
                .spec()
                .max_future_seconds
                .saturating_sub(CLOCK_MARGIN_SECONDS),
        };
        let (publish_work, work) = watch::channel(Work::None);
        let notify = notify::run(templates, writer.clone(), tag, publish_work, stop.clone());
        let save = workers::save_periodically(Arc::clone(&workers), stop.clone());
        let config = Arc::new(config);
        let context = Context { writer, config, work, workers: Arc::clone(&workers), stop };
        Ok(Server {
            accept: tokio::spawn(accept(listener, Arc::new(context))),
            notify: tokio::spawn(notify),
            save: tokio::spawn(save),
            workers,
        })
    }

    /// Waits for the end of the server: once `stop` is true and all received shares are processed.
    pub async fn ended(self) -> Result<()> {
        self.accept.await?;
        self.notify.await?;
        self.save.await?;
        workers::save(self.workers).await;
        Ok(())
    }
}

/// Binds the address to listen on.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    listener::bind(address, "--stratum").await
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

/// A connected miner, as the accept loop sees it.
struct Client {
    is_authorized: Arc<AtomicBool>,
    /// Closes the connection when dropped.
    _close: oneshot::Sender<()>,
    is_closed: Arc<AtomicBool>,
}

async fn accept(listener: TcpListener, context: Arc<Context>) {
    let mut stop = context.stop.clone();
    let mut stopped = pin!(shutdown_requested(&mut stop));
    let (mut tasks, mut clients) = (JoinSet::new(), VecDeque::new());
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    admit(stream, peer, &context, &mut tasks, &mut clients);
                }
                Err(error) if listener::is_client_error(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a miner's connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // Each ends soon, but not before a block that it received is on disk.
    while tasks.join_next().await.is_some() {}
}

/// Serves one more miner. Above the limit, it replaces the oldest that has not authorized; if all
/// have, it is rejected.
fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    context: &Arc<Context>,
    tasks: &mut JoinSet<()>,
    clients: &mut VecDeque<Client>,
) {
    if clients.len() >= MAX_CONNECTIONS {
        clients.retain(|client| !client.is_closed.load(Ordering::Relaxed));
    }
    if clients.len() >= MAX_CONNECTIONS {
        let idle = clients.iter().position(|client| !client.is_authorized.load(Ordering::Relaxed));
        if idle.and_then(|at| clients.remove(at)).is_none() {
            tracing::warn!(%peer, "connection rejected: {MAX_CONNECTIONS} miners are connected");
            return;
        }
    }
    let (close, closed) = oneshot::channel();
    let (is_authorized, is_closed) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let context = Arc::clone(context);
    let client = Client {
        is_authorized: Arc::clone(&is_authorized),
        _close: close,
        is_closed: Arc::clone(&is_closed),
    };
    clients.push_back(client);
    tasks.spawn(async move {
        connection::serve(stream, peer, context, is_authorized, closed).await;
        is_closed.store(true, Ordering::Relaxed);
    });
}
