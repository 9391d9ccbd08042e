//! The Stratum server: sockets, clocks and blocks around the protocol that `miner::stratum` speaks.
//! A template of the writer becomes work for everybody at once; each miner's coinbase pays its own
//! address; a share that is a block goes to the writer, and is on disk before anybody hears of it.

mod connection;
mod line_codec;
mod notify;
mod workers;

pub use workers::{Known, Shares, Workers};

use super::templates::{Candidate, Templates};
use crate::shutdown::shutdown_requested;
use crate::{listener, writer};
use anyhow::Result;
use chain::ledger::{Accepted, SubmitError};
use chain::params::Params;
use chain::template::{Template, TemplateRequest};
use chain::tx::Tag;
use chain::{Address, block};
use miner::stratum::{
    BlockTemplate, CoinbaseParts, CoinbaseSource, ExtraNonceAllocator, Now, SessionConfig,
    SolvedBlock,
};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Connections served at a time.
const MAX_CONNECTIONS: usize = 2_048;
/// Files that those, the API, peers and the store may need open at a time.
const FILES: u64 = 4_096;
/// How long a share's time must stay acceptable to other nodes, whose clocks differ.
const CLOCK_MARGIN_SECONDS: u32 = 10;
/// The pause after the system refused a connection, most likely for want of open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The pause before a block is handed in again that the disk had no room for.
const HAND_IN_PAUSE: Duration = Duration::from_secs(1);

/// A template as work is made from it.
#[derive(Debug)]
pub(super) struct Issue {
    template: Arc<Template>,
    /// Different for every node and every run of it, so that no share of one counts in another.
    tag: Tag,
}

impl Issue {
    fn candidate(&self, miner: Address, extra_nonce: [u8; 8]) -> Candidate {
        // The header that a miner hands in brings its own time.
        let now = self.template.block.header.time;
        let wish = TemplateRequest { miner, now, extra_nonce, tag: self.tag.clone() };
        Candidate::new(Arc::clone(&self.template), wish)
    }
}

impl CoinbaseSource for Issue {
    type PayoutAddress = Address;

    fn coinbase(&self, payout_address: &Address) -> CoinbaseParts {
        let coinbase = self.candidate(*payout_address, [0; 8]).coinbase();
        let coinbase = coinbase.expect("a template has a coinbase");
        let (mut prefix, at) = (coinbase.serialise(), coinbase.extra_nonce_offset());
        let suffix = prefix.split_off(at + coinbase.extra_nonce.len());
        prefix.truncate(at);
        CoinbaseParts { prefix, suffix }
    }
}

/// What all connections share.
struct Desk {
    writer: writer::Handle,
    terms: Arc<SessionConfig<Address>>,
    work: watch::Receiver<Option<Arc<BlockTemplate<Issue>>>>,
    workers: Arc<Workers>,
    stop: watch::Receiver<bool>,
}

impl Desk {
    fn now(&self) -> Now {
        Now { instant: Instant::now(), time: self.writer.now() }
    }

    /// Hands a block in and waits until it is on disk; whether it is one. When the disk is full, it
    /// tries until there is room.
    async fn hand_in(&self, solved: &SolvedBlock<Issue>) -> bool {
        let SolvedBlock { template, header, extra_nonce, worker } = solved;
        let candidate = template.source().candidate(worker.payout_address, *extra_nonce);
        let (hash, worker): (block::Hash, &str) = (header.hash(), &worker.name);
        let height = template.source().template.height.get();
        loop {
            let block = candidate.sealed(|own| *own = *header);
            match self.writer.block(block).await {
                Ok(Ok(Accepted::Connected)) => {
                    tracing::info!(height, %hash, worker, "a miner found a block");
                    return true;
                }
                Ok(Ok(Accepted::SideBranch | Accepted::AlreadyKnown)) => {
                    let told = "a miner found a block, but another was first";
                    tracing::info!(height, %hash, worker, "{told}");
                    return true;
                }
                Ok(Err(SubmitError::Store(error))) if !*self.stop.borrow() => {
                    let told = "a found block is not on disk yet";
                    tracing::error!(height, %hash, worker, "{told}: {error}");
                    tokio::time::sleep(HAND_IN_PAUSE).await;
                }
                Ok(Err(error)) => {
                    tracing::error!(height, %hash, worker, "a found block was refused: {error}");
                    return false;
                }
                Err(stopped) => {
                    tracing::error!(height, %hash, worker, "a found block was lost: {stopped}");
                    return false;
                }
            }
        }
    }
}

/// The running server.
pub struct Server {
    accepting: JoinHandle<()>,
    renewing: JoinHandle<()>,
    keeping: JoinHandle<()>,
    workers: Arc<Workers>,
}

impl Server {
    /// Serves miners until `stop` becomes true. Its workers are those of `workers`.
    pub fn start(
        listener: TcpListener,
        params: &Params,
        templates: Arc<Templates>,
        writer: writer::Handle,
        workers: Arc<Workers>,
        stop: watch::Receiver<bool>,
    ) -> Result<Server> {
        make_room();
        let words =
            [writer::TAG, format!(" {:016x}", u64::from_le_bytes(writer::random()?)).as_bytes()]
                .concat();
        let tag = Tag::new(words).expect("at most 22 bytes");
        let hrp = params.hrp();
        let terms = SessionConfig {
            parse_address: Box::new(move |text| Address::decode_for(text, hrp).ok()),
            extra_nonces: ExtraNonceAllocator::starting_at(0),
            max_future_seconds: params
                .spec()
                .max_future_seconds
                .saturating_sub(CLOCK_MARGIN_SECONDS),
        };
        let (sender, work) = watch::channel(None);
        let renewing = notify::run(templates, writer.clone(), tag, sender, stop.clone());
        let keeping = tokio::spawn(workers::keep(Arc::clone(&workers), stop.clone()));
        let terms = Arc::new(terms);
        let desk = Desk { writer, terms, work, workers: Arc::clone(&workers), stop };
        Ok(Server {
            accepting: tokio::spawn(accept(listener, Arc::new(desk))),
            renewing: tokio::spawn(renewing),
            keeping,
            workers,
        })
    }

    /// Waits for the end, which comes once `stop` is true and what miners had sent is dealt with.
    pub async fn ended(self) -> Result<()> {
        self.accepting.await?;
        self.renewing.await?;
        self.keeping.await?;
        workers::save(self.workers).await;
        Ok(())
    }
}

/// Takes an address to listen on.
pub async fn bind(address: SocketAddr) -> Result<TcpListener> {
    listener::bind(address, "--stratum").await
}

/// Opens what is remembered of miners in a data folder.
pub fn open(data: &Path, params: &Params) -> Arc<Workers> {
    Arc::new(Workers::open(data, params.hrp()))
}

/// Allows this process as many open files as miners may need, if the system agrees.
#[cfg(unix)]
fn make_room() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES, |most| most.min(FILES));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the system allows this process few open files, so few miners");
        }
    }
}

#[cfg(not(unix))]
fn make_room() {}

/// A connection as the one who accepts it sees it.
struct Guest {
    is_authorized: Arc<AtomicBool>,
    /// Dropped, it sends the guest away.
    _seat: oneshot::Sender<()>,
    is_gone: Arc<AtomicBool>,
}

async fn accept(listener: TcpListener, desk: Arc<Desk>) {
    let mut stop = desk.stop.clone();
    let mut stopped = pin!(shutdown_requested(&mut stop));
    let (mut tasks, mut guests) = (JoinSet::new(), VecDeque::new());
    loop {
        tokio::select! {
            () = &mut stopped => break,
            Some(_) = tasks.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    seat(stream, peer, &desk, &mut tasks, &mut guests);
                }
                Err(error) if listener::is_client_error(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot take a miner's connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    // Each ends soon, but not before a block that it was sent is on disk.
    while tasks.join_next().await.is_some() {}
}

/// Serves one more miner. When there are too many, the oldest that has not said who it is makes
/// room; if all have, the new one is turned away.
fn seat(
    stream: TcpStream,
    peer: SocketAddr,
    desk: &Arc<Desk>,
    tasks: &mut JoinSet<()>,
    guests: &mut VecDeque<Guest>,
) {
    if guests.len() >= MAX_CONNECTIONS {
        guests.retain(|guest| !guest.is_gone.load(Ordering::Relaxed));
    }
    if guests.len() >= MAX_CONNECTIONS {
        let idle = guests.iter().position(|guest| !guest.is_authorized.load(Ordering::Relaxed));
        if idle.and_then(|at| guests.remove(at)).is_none() {
            tracing::warn!(%peer, "turned away: {MAX_CONNECTIONS} miners are connected");
            return;
        }
    }
    let (seat, leave) = oneshot::channel();
    let (is_authorized, is_gone) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let desk = Arc::clone(desk);
    let guest = Guest {
        is_authorized: Arc::clone(&is_authorized),
        _seat: seat,
        is_gone: Arc::clone(&is_gone),
    };
    guests.push_back(guest);
    tasks.spawn(async move {
        connection::serve(stream, peer, desk, is_authorized, leave).await;
        is_gone.store(true, Ordering::Relaxed);
    });
}
