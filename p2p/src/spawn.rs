//! Starts the network: key, sockets, tasks; and watches over the tasks.

use crate::clock::Clock;
use crate::driver::{self, Driver};
use crate::engine::Engine;
use crate::handle::{COMMANDS, TaskStatus};
use crate::net::bandwidth::BandwidthMeter;
use crate::net::behaviour::{Behaviour, Setting};
use crate::net::connection_gater::ConnectionGater;
use crate::net::key::{self, KeyError};
use crate::net::transport;
use crate::peers::{Peers, Policy};
use crate::runner::{self, EVENTS, Runner};
use crate::view::ChainView;
use crate::{ChainUpdate, Config, Event, Handle, TaskFailed, serve};
use futures::StreamExt;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, Swarm, identity::Keypair};
use rand::TryRng;
use rand::rngs::SysRng;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

/// The driver closes connections that it does not want; the swarm closes none that are only quiet.
const IDLE: Duration = Duration::from_secs(3_600);
/// How long the system may take to tell where this node listens.
const BINDING: Duration = Duration::from_secs(10);

/// Why the network could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// An address is of a kind that this node cannot use.
    #[error("{0} is not an address this node can use; give /ip4/HOST/tcp/PORT")]
    Unsupported(Multiaddr),
    /// Somebody else listens there.
    #[error("{0} is in use: another node may be running, or choose another port with --listen")]
    InUse(Multiaddr),
    /// The system does not let this node listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: Multiaddr,
        /// What the system says.
        source: io::Error,
    },
    /// The node's key cannot be read or made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The system refuses something else.
    #[error("cannot start the network: {0}")]
    System(String),
}

/// Starts the network and returns when it listens. Every event has to be answered; `news` has to tell
/// of every new tip and of all transfers that enter the mempool.
///
/// # Errors
/// If it cannot listen where it should, or the data folder is not usable.
pub async fn spawn<C>(
    config: Config,
    chain: C,
    news: broadcast::Receiver<ChainUpdate>,
) -> Result<(Handle, mpsc::Receiver<Event>), SpawnError>
where
    C: ChainView + Clone + Send + Sync + 'static,
{
    check(&config)?;
    let key = key::open(&config.data)?;
    let clock = Clock::start();
    let engine = Engine::new(seed()?);
    let counters = BandwidthMeter::default();
    let mut swarm = swarm(&config, &chain, &key, clock, counters.clone())?;
    let listening = listen(&mut swarm, &config.listen).await?;
    let (command_sender, commands) = mpsc::channel(COMMANDS);
    let (inputs_sender, inputs) = mpsc::unbounded_channel();
    let (outputs_sender, outputs) = mpsc::unbounded_channel();
    let (events, events_receiver) = mpsc::channel(EVENTS);
    let (status_sender, status) = watch::channel(engine.status(clock.now(), &chain));
    let (progress_sender, progress) = watch::channel(engine.progress(&chain));
    let (listening_sender, listening) = watch::channel(listening);
    let (peer_count_sender, peer_count) = watch::channel(0);
    let (task_status_sender, task_status) = watch::channel(TaskStatus::Running);
    let handle = Handle {
        id: key.public().to_peer_id(),
        listening,
        commands: command_sender,
        progress,
        peer_count,
        traffic: counters.whole(),
        status: task_status,
    };
    let channels = driver::Channels {
        commands,
        inputs: inputs_sender,
        outputs,
        status,
        listening: listening_sender,
        peer_count: peer_count_sender,
        counters,
        answer: {
            let chain = chain.clone();
            Arc::new(move |request| serve::answer(&chain, request))
        },
    };
    let driver = tokio::spawn(Driver::new(swarm, clock, channels).run());
    let channels = runner::Channels {
        inputs,
        outputs: outputs_sender,
        news,
        events,
        status: status_sender,
        progress: progress_sender,
    };
    let runner = Runner::new(engine, chain, clock, channels);
    let runtime = tokio::runtime::Handle::current();
    let runner = tokio::task::spawn_blocking(move || runtime.block_on(runner.run()));
    tokio::spawn(watch_over(driver, runner, task_status_sender));
    Ok((handle, events_receiver))
}

/// Waits for the two tasks. When one of them ends, the other one does, since they are connected.
async fn watch_over(
    driver: JoinHandle<()>,
    runner: JoinHandle<()>,
    status: watch::Sender<TaskStatus>,
) {
    let (driver, runner) = tokio::join!(driver, runner);
    let failed = |part, error: JoinError| {
        let failed = TaskFailed { part, why: error.to_string() };
        tracing::error!(%failed, "the network has stopped");
        TaskStatus::Failed(failed)
    };
    status.send_replace(match (driver, runner) {
        (Err(error), _) => failed("driver", error),
        (_, Err(error)) => failed("engine", error),
        (Ok(()), Ok(())) => TaskStatus::Stopped,
    });
}

/// Addresses that are wrong are told at the start, not when they are used.
fn check(config: &Config) -> Result<(), SpawnError> {
    let listens = config.listen.iter().find(|address| !transport::can_listen(address));
    let mut calls = config.peers.iter().chain(&config.boot_nodes);
    let wrong = listens.or_else(|| calls.find(|address| !transport::can_call(address)));
    wrong.map_or(Ok(()), |address| Err(SpawnError::Unsupported(address.clone())))
}

/// A number that nobody can guess.
fn seed() -> Result<u64, SpawnError> {
    SysRng.try_next_u64().map_err(|error| SpawnError::System(error.to_string()))
}

fn swarm(
    config: &Config,
    chain: &impl ChainView,
    key: &Keypair,
    clock: Clock,
    counters: BandwidthMeter,
) -> Result<Swarm<Behaviour>, SpawnError> {
    let id = key.public().to_peer_id();
    // Where blocks cost nothing, nodes are among friends.
    let is_private = chain.params().spec().fixed_difficulty;
    let policy = Policy { discover: config.discover, ..Policy::new(config.max_peers, is_private) };
    let mut peers = Peers::open(&config.data, id, policy, clock.now(), seed()?);
    config.peers.iter().for_each(|address| peers.keep(address));
    config.boot_nodes.iter().for_each(|address| peers.boot(address));
    let genesis = chain.params().genesis_hash();
    let setting = Setting { genesis, agent: &config.agent, mdns: config.mdns };
    let behaviour = Behaviour::new(key, ConnectionGater::new(peers, clock), &setting);
    let transport = transport::build(key, genesis, counters)
        .map_err(|error| SpawnError::System(error.to_string()))?;
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE)
        .with_substream_upgrade_protocol_override(Version::V1Lazy);
    Ok(Swarm::new(transport, behaviour, id, config))
}

/// Listens, and returns where, ports as they really are.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<Multiaddr>, SpawnError> {
    let mut waiting = HashSet::new();
    for address in addresses {
        waiting.insert(bind(swarm, address)?);
    }
    let bound = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    swarm.behaviour_mut().gater.peers.own(&address);
                    waiting.remove(&listener_id);
                }
                SwarmEvent::ListenerClosed { reason: Err(source), addresses, .. } => {
                    let address = addresses.into_iter().next().unwrap_or_else(Multiaddr::empty);
                    return Err(SpawnError::Listen { address, source });
                }
                _ => {}
            }
        }
        Ok(())
    };
    match tokio::time::timeout(BINDING, bound).await {
        Ok(bound) => bound?,
        Err(_) => {
            return Err(SpawnError::System("the system does not say where it listens".into()));
        }
    }
    let id = *swarm.local_peer_id();
    Ok(swarm.listeners().map(|address| driver::with_id(address, id)).collect())
}

fn bind(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ListenerId, SpawnError> {
    let refused = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => SpawnError::InUse(address.clone()),
        _ => SpawnError::Listen { address: address.clone(), source },
    };
    // The transport lets several processes share a port, so somebody else on it shows only here.
    if let Some(socket) = socket(address) {
        drop(TcpListener::bind(socket).map_err(refused)?);
    }
    swarm.listen_on(address.clone()).map_err(|error| match error {
        TransportError::Other(source) => refused(source),
        TransportError::MultiaddrNotSupported(address) => SpawnError::Unsupported(address),
    })
}

/// IP and port of a listening address, unless the port is any.
fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}
