//! Starts the network: the key, the sockets and the tasks. Supervises the tasks.

use crate::clock::Clock;
use crate::config::Config;
use crate::driver::{self, Driver, Serve};
use crate::engine::{Engine, Output, Progress};
use crate::handle::{COMMANDS, Handle, TaskFailed, TaskStatus};
use crate::message::{Request, Status};
use crate::net::bandwidth::BandwidthMeter;
use crate::net::behaviour::{self, Behaviour};
use crate::net::connection_gater::ConnectionGater;
use crate::net::key::{self, KeyError};
use crate::net::transport::{self, Built};
use crate::peers::{Peers, Policy};
use crate::runner::{self, ChainUpdate, Queued, Runner};
use crate::serve;
use crate::submit::Submit;
use crate::view::ChainView;
use chain::Params;
use chain::pow::Work;
use futures::StreamExt;
use futures::future::BoxFuture;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::{ListenerId, TransportError};
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{self, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, identity::Keypair};
use rand::TryRng;
use rand::rngs::SysRng;
use socket2::{Domain, Socket, Type};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

/// Idle time after which the swarm closes a connection. Unused in effect: the driver closes those
/// it does not want, and others are pinged.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3_600);
/// The capacity of the queue of connections with a node that has this node's key.
const OWN_KEYS: usize = 16;
/// The maximum time for the operating system to report the listen addresses.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

/// An error that prevents the network from starting.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// An address uses a protocol that this node does not support.
    #[error("{0} is not supported: use /ip4/HOST/tcp/PORT")]
    Unsupported(Multiaddr),
    /// Another process listens on the address.
    #[error("{0} is in use: another node may be running, or choose another port with --listen")]
    InUse(Multiaddr),
    /// The operating system rejects a listen address.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The listen address that the operating system rejects.
        address: Multiaddr,
        /// The error of the operating system.
        reason: io::Error,
    },
    /// The address is an IPv6 address, and the machine has none.
    #[error("cannot listen on {0}: IPv6 is off on this machine")]
    NoIpv6(Multiaddr),
    /// The node's key cannot be read or created.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Another operation of the operating system failed.
    #[error("cannot start the network: {0}")]
    System(String),
}

/// Checks what can be checked before anything is opened: the addresses, that nothing else listens on
/// them, and the node's key, if there is one.
///
/// # Errors
/// Those with which [`spawn`] would fail.
pub fn check(config: &Config) -> Result<(), SpawnError> {
    check_addresses(config)?;
    config.listen.iter().try_for_each(probe)?;
    Ok(key::check(&config.data)?)
}

/// Starts the network and returns once it listens.
///
/// `writer` receives the blocks and transfers of peers. `updates` must report every change of the
/// tip and every transfer that enters the mempool.
///
/// # Errors
/// An address is not supported or cannot be listened on, or the data directory is not usable.
pub async fn spawn<C, W>(
    config: Config,
    chain: C,
    writer: W,
    updates: broadcast::Receiver<ChainUpdate>,
) -> Result<Handle, SpawnError>
where
    C: ChainView + Clone + Send + Sync + 'static,
    W: Submit,
{
    check_addresses(&config)?;
    let key = key::open(&config.data)?;
    let clock = Clock::start();
    let engine = Engine::new(seed()?);
    let (inputs_sender, inputs) = mpsc::unbounded_channel();
    let (outputs_sender, outputs) = mpsc::unbounded_channel();
    let (status_sender, status) = watch::channel(engine.status(clock.now(), &chain));
    let (progress_sender, progress) = watch::channel(engine.progress(&chain));
    let (shown_work_sender, shown_work) = watch::channel(BTreeMap::new());
    let serving = chain.clone();
    let serve = move |request: &Request, max_bytes| {
        let is_within = serve::is_within(&serving, request, max_bytes);
        is_within.then(|| serve::answer(&serving, request))
    };
    let start = Start {
        config,
        params: chain.params(),
        key,
        clock,
        serve: Arc::new(serve),
        engine: EngineEnds { inputs: inputs_sender, outputs, status, progress, shown_work },
    };
    let Started { handle, driver, task_status } = start_driver(start).await?;
    let channels = runner::Channels {
        inputs,
        outputs: outputs_sender,
        updates,
        status: status_sender,
        progress: progress_sender,
        shown_work: shown_work_sender,
    };
    let runner = Runner::new(engine, (chain, writer), clock, channels);
    let runtime = tokio::runtime::Handle::current();
    let runner = tokio::task::spawn_blocking(move || runtime.block_on(runner.run()));
    spawn_supervisor(driver, runner, task_status);
    Ok(handle)
}

/// What the driver is started with.
struct Start<'a> {
    config: Config,
    params: &'a Params,
    key: Keypair,
    clock: Clock,
    serve: Serve,
    engine: EngineEnds,
}

/// The ends of the engine's channels that the driver and the handle use.
struct EngineEnds {
    inputs: mpsc::UnboundedSender<Queued>,
    outputs: mpsc::UnboundedReceiver<Output>,
    status: watch::Receiver<Status>,
    progress: watch::Receiver<Progress>,
    shown_work: watch::Receiver<BTreeMap<PeerId, Work>>,
}

/// A driver that runs.
struct Started {
    handle: Handle,
    driver: JoinHandle<()>,
    task_status: watch::Sender<TaskStatus>,
}

/// Starts the driver, and returns once it listens. Neither generic nor `async`: so the swarm is
/// compiled once, in this crate, and not again in that of the caller.
fn start_driver(start: Start) -> BoxFuture<Result<Started, SpawnError>> {
    Box::pin(async move {
        let Start { config, params, key, clock, serve, engine } = start;
        let meter = BandwidthMeter::default();
        let (own_key_sender, own_key) = mpsc::channel(OWN_KEYS);
        let mut swarm = swarm(&config, params, (&key, own_key_sender), clock, meter.clone())?;
        let listening = listen(&mut swarm, &config.listen).await?;
        let (command_sender, commands) = mpsc::channel(COMMANDS);
        let (listening_sender, listening) = watch::channel(listening);
        let (peer_count_sender, peer_count) = watch::channel(0);
        let (clock_skew_sender, clock_skew) = watch::channel(None);
        let (task_status, status) = watch::channel(TaskStatus::Running);
        let handle = Handle {
            id: key.public().to_peer_id(),
            listening,
            commands: command_sender,
            progress: engine.progress,
            shown_work: engine.shown_work,
            peer_count,
            clock_skew,
            traffic: meter.total(),
            status,
        };
        let channels = driver::Channels {
            commands,
            inputs: engine.inputs,
            outputs: engine.outputs,
            status: engine.status,
            listening: listening_sender,
            peer_count: peer_count_sender,
            clock_skew: clock_skew_sender,
            own_key,
        };
        let settings = driver::Settings { spacing: spacing(params), max_upload: config.max_upload };
        let driver = Driver::new(swarm, clock, meter, serve, settings, channels);
        Ok(Started { handle, driver: tokio::spawn(driver.run()), task_status })
    })
}

/// Starts the task that waits for the two others.
fn spawn_supervisor(
    driver: JoinHandle<()>,
    runner: JoinHandle<()>,
    status: watch::Sender<TaskStatus>,
) {
    tokio::spawn(supervise(driver, runner, status));
}

/// Waits for both tasks. When one ends its channels close, which ends the other.
async fn supervise(
    driver: JoinHandle<()>,
    runner: JoinHandle<()>,
    status: watch::Sender<TaskStatus>,
) {
    let (driver, runner) = tokio::join!(driver, runner);
    let failed = |task, error: JoinError| {
        let failed = TaskFailed { task, reason: error.to_string() };
        tracing::error!(%failed, "network stopped");
        TaskStatus::Failed(failed)
    };
    status.send_replace(match (driver, runner) {
        (Err(error), _) => failed("driver", error),
        (_, Err(error)) => failed("engine", error),
        (Ok(()), Ok(())) => TaskStatus::Stopped,
    });
}

/// Rejects unsupported addresses at the start, before they are used.
fn check_addresses(config: &Config) -> Result<(), SpawnError> {
    let listens = config.listen.iter().find(|address| !transport::can_listen(address));
    let dials = config.peers.iter().chain(&config.boot_nodes);
    let mut dials = dials.chain(&config.external_addresses);
    let unsupported = listens.or_else(|| dials.find(|address| !transport::can_dial(address)));
    unsupported.map_or(Ok(()), |address| Err(SpawnError::Unsupported(address.clone())))
}

/// Returns the time between two blocks of the network.
fn spacing(params: &Params) -> Duration {
    Duration::from_secs(params.spec().spacing_seconds.into())
}

/// Returns an unpredictable seed of the random generator, from the operating system.
fn seed() -> Result<u64, SpawnError> {
    SysRng.try_next_u64().map_err(|error| SpawnError::System(error.to_string()))
}

fn swarm(
    config: &Config,
    params: &Params,
    (key, own_key): (&Keypair, mpsc::Sender<ConnectedPoint>),
    clock: Clock,
    meter: BandwidthMeter,
) -> Result<Swarm<Behaviour>, SpawnError> {
    let id = key.public().to_peer_id();
    // Networks whose blocks cost no work are private.
    let is_private = params.spec().fixed_difficulty;
    let allowed = config.allowed_peers.iter().copied().collect::<BTreeSet<PeerId>>();
    let policy = Policy {
        discover: config.discover,
        allowed: Some(allowed).filter(|allowed| !allowed.is_empty()),
        trusted: config.trusted.clone(),
        spacing: spacing(params),
        ..Policy::new(config.max_peers, is_private)
    };
    let mut peers = Peers::open(&config.data, id, policy, clock.now(), seed()?);
    config.peers.iter().for_each(|address| peers.add_persistent_peer(address));
    config.boot_nodes.iter().for_each(|address| peers.add_boot_node(address));
    config.external_addresses.iter().for_each(|address| peers.add_own_address(address));
    let genesis = params.genesis_hash();
    let network_key = config.network_key;
    let settings = transport::Config { key, genesis, network_key, meter, own_key };
    let Built { transport, resolved, handshakes } =
        transport::build(settings).map_err(|error| SpawnError::System(error.to_string()))?;
    let gater = ConnectionGater::new(peers, clock, handshakes, resolved);
    let settings = behaviour::Config { genesis, agent: &config.agent, mdns: config.mdns };
    let behaviour = Behaviour::new(key, gater, &settings);
    let external = config.external_addresses.clone();
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_substream_upgrade_protocol_override(Version::V1Lazy);
    let mut swarm = Swarm::new(transport, behaviour, id, config);
    external.into_iter().for_each(|address| swarm.add_external_address(address));
    Ok(swarm)
}

/// Listens on addresses and returns the actual ones, with the node's peer id.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<Multiaddr>, SpawnError> {
    let mut waiting = HashMap::new();
    for address in addresses {
        waiting.insert(bind(swarm, address)?, address);
    }
    let bound = async {
        while !waiting.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, address } => {
                    swarm.behaviour_mut().gater.peers.add_own_address(&address);
                    waiting.remove(&listener_id);
                }
                SwarmEvent::ListenerClosed { reason: Err(reason), addresses, listener_id } => {
                    let asked = waiting.get(&listener_id).map(|address| (*address).clone());
                    let address = asked.or_else(|| addresses.into_iter().next());
                    let address = address.unwrap_or_else(Multiaddr::empty);
                    return Err(SpawnError::Listen { address, reason });
                }
                _ => {}
            }
        }
        Ok(())
    };
    if let Ok(bound) = tokio::time::timeout(LISTEN_TIMEOUT, bound).await {
        bound?;
    } else {
        let waiting: Vec<_> = waiting.values().map(ToString::to_string).collect();
        let waiting = waiting.join(", ");
        return Err(SpawnError::System(format!("no interface has an address for {waiting}")));
    }
    let id = *swarm.local_peer_id();
    Ok(swarm.listeners().map(|address| transport::with_peer_id(address, id)).collect())
}

fn bind(swarm: &mut Swarm<Behaviour>, address: &Multiaddr) -> Result<ListenerId, SpawnError> {
    probe(address)?;
    swarm.listen_on(address.clone()).map_err(|error| match error {
        TransportError::Other(reason) => refused(address, reason),
        TransportError::MultiaddrNotSupported(address) => SpawnError::Unsupported(address),
    })
}

fn refused(address: &Multiaddr, reason: io::Error) -> SpawnError {
    match reason.kind() {
        io::ErrorKind::AddrInUse => SpawnError::InUse(address.clone()),
        _ => SpawnError::Listen { address: address.clone(), reason },
    }
}

/// Checks that nothing listens on an address. The transport sets SO_REUSEPORT, so only this probe
/// detects another process on the port.
fn probe(address: &Multiaddr) -> Result<(), SpawnError> {
    let Some(socket) = socket(address) else { return Ok(()) };
    if socket.is_ipv6() && TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return Err(SpawnError::NoIpv6(address.clone()));
    }
    // No port means any free one.
    if socket.port() == 0 {
        return Ok(());
    }
    listen_once(socket).map_err(|reason| refused(address, reason))
}

/// Listens on an address for a moment, with the options of the transport: an IPv6 socket does not
/// take the IPv4 port too.
fn listen_once(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As every listener on Unix, so that connections of a node before are not in the way.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)
}

/// The IP and port of a listen address, of which the port may be 0; `None` for other addresses.
fn socket(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    let ip = match parts.next()? {
        Protocol::Ip4(ip) => IpAddr::V4(ip),
        Protocol::Ip6(ip) => IpAddr::V6(ip),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(SocketAddr::new(ip, port)),
        _ => None,
    }
}
