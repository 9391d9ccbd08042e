//! The node as a whole: opens its stores, wires its parts, spawns its servers, and stops them in
//! reverse. Nothing but the command line imports this module.

mod stores;

use self::stores::{OtherStores, Stores};
use crate::api::http::host_check::AllowedHosts;
use crate::api::http::resources::Resources;
use crate::api::http::server;
use crate::api::routes::dev;
use crate::api::starting;
use crate::auth::Token;
use crate::config::Config;
use crate::config::peers::Peering;
use crate::events;
use crate::events::publish::publish as publish_events;
use crate::faucet::Faucet;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::mining::generator::BlockGenerator;
use crate::mining::readiness::{PeerRequirement, Readiness};
use crate::mining::stratum::{self, Endpoint};
use crate::mining::templates::Templates;
use crate::mining::workers::{self, Workers};
use crate::network::{self, Network};
use crate::node_file::NodeFile;
use crate::snapshot::Store;
use crate::state::NodeState;
use crate::tls::Tls;
use crate::{api, event_sources, listener, mining, writer};
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The maximum time for which shutdown waits for a peer to announce this node's tip. Peers announce
/// a new tip at least this often.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(6);
/// The time from the start of a shutdown after which long work of the ledger is interrupted.
const INTERRUPT_DELAY: Duration = Duration::from_secs(1);
/// Poll interval of the tips that peers announce.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The responses of the API that are built at the same time on blocking threads. The largest takes
/// some 20 MB meanwhile.
const BLOCKING_READS: usize = 4;

/// A running node with its tasks and threads.
pub struct Daemon {
    node: Arc<NodeState>,
    url: String,
    running: Running,
    /// The sockets for the next start, so that connections wait for it.
    kept: Option<Listeners>,
}

impl Daemon {
    /// Starts a node; `None` if `stop` completes first. What can be checked is checked before
    /// anything is opened. Ports are bound next, so that a second node with the same configuration
    /// fails before it opens the data directory. On an error, and if it is stopped, all that runs is
    /// stopped in order.
    pub async fn start(
        config: Config,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Daemon>> {
        check(&config)?;
        let listeners = Listeners::bind(&config)?;
        Daemon::start_on(config, (listeners, None), Api::First, stop).await
    }

    /// Starts a node that can be asked to start again, in a state of before: with the sockets of
    /// [`restart`](Self::restart) if it is not the first start.
    pub async fn start_restartable(
        config: Config,
        kept: Option<Listeners>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Daemon>> {
        check(&config)?;
        let api = if kept.is_some() { Api::Last } else { Api::First };
        let listeners = kept.map_or_else(|| Listeners::bind(&config), Ok)?.duplicate()?;
        Daemon::start_on(config, listeners, api, stop).await
    }

    async fn start_on(
        config: Config,
        (listeners, kept): (Listeners, Option<Listeners>),
        api: Api,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Daemon>> {
        Store::of(&config.data).complete_return()?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listeners.api_address);
        let mut running = Running { is_restartable: kept.is_some(), ..Running::default() };
        match running.start(config, listeners, (&url, api), stop).await {
            Ok(Some(node)) => {
                let daemon = Daemon { node, url, running, kept };
                daemon.log_start();
                Ok(Some(daemon))
            }
            Ok(None) => {
                running.stop().await?;
                tracing::info!("node stopped before it had started");
                Ok(None)
            }
            Err(error) => {
                if let Err(later) = running.stop().await {
                    tracing::error!("while stopping after an error: {later:#}");
                }
                Err(error)
            }
        }
    }

    /// The URL of the REST API, before the path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A multiaddr by which other nodes can dial this one.
    pub fn join_address(&self) -> Option<p2p::Multiaddr> {
        network::to_join(&self.node.peers.listening()).cloned()
    }

    /// The state that the node's parts share.
    pub fn node(&self) -> &Arc<NodeState> {
        &self.node
    }

    /// Waits until a part of the node has failed, whose error `stop` then returns, or until a client
    /// has requested the shutdown.
    pub async fn ended(&mut self) {
        let Running { jobs, events, writer, network, .. } = &mut self.running;
        let (Some(jobs), Some(events), Some(writer), Some(network)) =
            (jobs, events, writer, network)
        else {
            return;
        };
        tokio::select! {
            () = jobs.watch() => {}
            () = events.watch() => {}
            () = writer.watch() => {}
            () = network.watch() => {}
            () = self.node.shutdown.cancelled() => {}
        }
    }

    /// Reads the TLS certificate and key again, and records the certificate for commands on this
    /// machine. On an error the previous ones stay in use.
    pub fn reload_certificate(&self) -> Result<()> {
        let Some(Announced { data, tls: Some(tls) }) = &self.running.announced else {
            return Ok(());
        };
        tls.reload()?;
        node_file(&self.node, &self.url, Some(tls)).write(data)?;
        tracing::info!("the TLS certificate was read again");
        Ok(())
    }

    /// Waits until a peer announces this node's tip or a higher block, until there are no peers, or
    /// for the time that such an announcement may take: a block that only a stopped node has is
    /// likely to become stale.
    pub async fn announce_tip_before_shutdown(&self) {
        let announced = async {
            loop {
                let tip = *self.node.reader.view().tip();
                let peers = self.node.peers.peers().await;
                let has_tip =
                    |peer: &p2p::PeerInfo| peer.tip == tip.hash || peer.height > tip.height;
                if peers.is_empty() || peers.iter().any(has_tip) {
                    return;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let _ = tokio::time::timeout(ANNOUNCE_TIMEOUT, announced).await;
    }

    /// The sockets for the next start, if the node was asked to start again once it has stopped.
    pub fn restart(&mut self) -> Option<Listeners> {
        let is_requested = |requested: &AtomicBool| requested.load(Ordering::Relaxed);
        self.kept.take().filter(|_| self.node.restart.as_ref().is_some_and(is_requested))
    }

    /// Stops the node.
    pub async fn stop(self) -> Result<()> {
        drop(self.kept);
        self.running.stop().await?;
        tracing::info!("node stopped");
        Ok(())
    }

    fn log_start(&self) {
        let (node, url) = (&self.node, &self.url);
        let tip = *node.reader.view().tip();
        let data = self.running.announced.as_ref().map(|announced| announced.data.display());
        tracing::info!(
            network = node.reader.params().name(), data = data.map(tracing::field::display),
            height = tip.height.get(), tip = %tip.hash,
            "node started, explorer at {url}/, REST API at {url}/v1/chain"
        );
        if let Some(stratum) = &node.stratum {
            let urls = stratum.urls().join(" or ");
            tracing::info!("miners connect to {urls} as user ADDRESS or ADDRESS.worker");
        }
        if let Some(address) = self.join_address() {
            tracing::info!("other nodes join with --peer {address}");
        }
    }
}

/// Checks what can be checked before anything is opened, so that a typing mistake costs neither the
/// time to open the chain nor a clean stop.
fn check(config: &Config) -> Result<()> {
    if config.mine && config.miner.is_none() {
        bail!("--mine needs an address to pay: add --miner ADDRESS");
    }
    dev::check_generation(config)?;
    AllowedHosts::new(&config.api_hosts)?;
    NodeFile::check(&config.data)?;
    Token::check(&config.data)?;
    network::check(&config.peering, &config.data)
}

/// When the server of the API starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Api {
    /// Before the data directory is opened: it responds that the node is starting.
    First,
    /// After all others, so that every response is that of a node that has started.
    Last,
}

/// The bound sockets of the servers.
pub struct Listeners {
    api: TcpListener,
    api_address: SocketAddr,
    stratum: Option<(TcpListener, SocketAddr)>,
}

impl Listeners {
    /// The sockets, and the same ones once more.
    fn duplicate(self) -> Result<(Listeners, Option<Listeners>)> {
        let twice = |listener: TcpListener| {
            let one = listener.into_std()?;
            let other = one.try_clone()?;
            Ok::<_, std::io::Error>((TcpListener::from_std(one)?, TcpListener::from_std(other)?))
        };
        let Listeners { api, api_address, stratum } = self;
        let (api, other_api) = twice(api)?;
        let (stratum, other_stratum) = match stratum {
            Some((listener, address)) => {
                let (one, other) = twice(listener)?;
                (Some((one, address)), Some((other, address)))
            }
            None => (None, None),
        };
        let other = Listeners { api: other_api, api_address, stratum: other_stratum };
        Ok((Listeners { api, api_address, stratum }, Some(other)))
    }

    fn bind(config: &Config) -> Result<Listeners> {
        let api = listener::bind(config.api, "--api")?;
        let api_address = listener::local_address(&api)?;
        if let Some(key) = config.tls.as_ref().and_then(Tls::world_readable_key) {
            let key = key.display();
            tracing::warn!("TLS key file is world-readable: chmod o-r {key}");
        }
        let stratum = match config.stratum {
            Some(address) => {
                let listener = stratum::bind(address)?;
                let address = listener::local_address(&listener)?;
                Some((listener, address))
            }
            None => None,
        };
        Ok(Listeners { api, api_address, stratum })
    }
}

/// How commands on this machine find the node.
struct Announced {
    data: PathBuf,
    tls: Option<Tls>,
}

/// The parts that run, each with a thread or tasks, in the order of their start.
#[derive(Default)]
struct Running {
    /// Whether the program can start the node again.
    is_restartable: bool,
    /// Becomes true at shutdown.
    stop: watch::Sender<bool>,
    /// Whether long work of the ledger ends early.
    interrupt: Arc<AtomicBool>,
    /// Cancelled at shutdown, once the API accepts no more connections.
    api_closed: CancellationToken,
    api: Option<JoinHandle<()>>,
    events: Option<events::Thread>,
    writer: Option<writer::Thread>,
    network: Option<Network>,
    jobs: Option<Jobs>,
    stratum: Option<stratum::Server>,
    workers: Option<Arc<Workers>>,
    /// Tasks that end when `stop` becomes true.
    tasks: Vec<JoinHandle<()>>,
    announced: Option<Announced>,
}

impl Running {
    /// Starts the parts and wires them into the state that the servers share; `None` if `stop`
    /// completes first. While the stores are opened the API serves liveness and progress only.
    async fn start(
        &mut self,
        config: Config,
        listeners: Listeners,
        (url, order): (&str, Api),
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<Arc<NodeState>>> {
        let Listeners { api, api_address, stratum } = listeners;
        let metrics = Arc::<Metrics>::default();
        let (report, progress) = watch::channel(None);
        let hosts = AllowedHosts::new(&config.api_hosts)?;
        log_reachability(&config, &hosts, api_address.port());
        let resources = Resources::new(&config.limits, config.trusted_proxies.clone());
        let starting = starting::app(hosts, Arc::clone(&metrics.http), resources.clone(), progress);
        let (publish_app, app) = watch::channel(starting);
        let serve = server::serve(
            api,
            config.tls.clone(),
            app,
            self.stop.subscribe(),
            self.api_closed.clone(),
        );
        let serve = match order {
            Api::First => {
                self.api = Some(tokio::spawn(serve));
                None
            }
            Api::Last => Some(serve),
        };
        let threads = mining_threads(&config);
        let opened = Stores::open(&config, threads, report, &self.interrupt, stop).await?;
        let Some(stores) = opened else { return Ok(None) };
        let Some((node, token)) = self
            .start_core(&config, stores, stratum.as_ref().map(|(_, at)| *at), metrics, stop)
            .await?
        else {
            return Ok(None);
        };
        self.start_servers(&config, stratum, &node)?;
        let app = api::router(Arc::clone(&node), &token, &config.api_hosts, resources)?;
        let is_stopped = tokio::select! {
            biased;
            () = &mut *stop => true,
            () = std::future::ready(()) => false,
        };
        if is_stopped {
            return Ok(None);
        }
        let Config { data, tls, .. } = config;
        let file = node_file(&node, url, tls.as_ref());
        // Requests wait meanwhile: who waits for `/readyz` finds the file, and who waits for the file
        // finds the API.
        let mut written = Ok(());
        publish_app.send_modify(|current| {
            written = file.write(&data);
            if written.is_ok() {
                *current = app;
            }
        });
        written?;
        self.api = self.api.take().or(serve.map(tokio::spawn));
        self.announced = Some(Announced { data, tls });
        Ok(Some(node))
    }

    /// Starts the parts that own the node's state.
    async fn start_core(
        &mut self,
        config: &Config,
        stores: Stores,
        stratum: Option<SocketAddr>,
        metrics: Arc<Metrics>,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Option<(Arc<NodeState>, Token)>> {
        let Stores { ledger, reader, rest } = stores;
        let OtherStores { token, clock, jobs, event_thread, events } = rest;
        self.events = Some(event_thread);
        let publisher = events.publisher().clone();
        let (seed, counted) = (config.seed, Arc::clone(&metrics));
        let writer = writer::Thread::spawn(ledger, clock, seed, publisher, counted)?;
        let writer = self.writer.insert(writer).handle();
        let requirement = peer_requirement(&config.peering);
        let network = tokio::select! {
            started = Network::start(
                config.peering.clone(), &config.data, reader.clone(), writer.clone()
            ) => started?,
            () = &mut *stop => return Ok(None),
        };
        let peers = self.network.insert(network).handle().clone();
        let readiness = Readiness::new(reader.clone(), writer.clone(), peers.clone(), requirement);
        let jobs = jobs.start(reader.clone(), writer.clone(), readiness.clone(), config.kernel);
        let jobs = self.jobs.insert(jobs).handle().clone();
        let hrp = reader.params().hrp();
        let workers = self.workers.insert(Arc::new(Workers::open(&config.data, hrp)));
        let endpoint = |local: SocketAddr| {
            let ip = config.stratum.map_or(local.ip(), |address| address.ip());
            Endpoint::new(ip, local, config.stratum_url.clone(), config.tls.is_some())
        };
        let node = Arc::new(NodeState {
            templates: Arc::new(Templates::new(writer.clone(), readiness.clone())?),
            stratum: stratum.map(endpoint),
            workers: Arc::clone(workers),
            readiness,
            reader,
            writer,
            events,
            peers,
            jobs,
            default_miner: config.miner,
            blocking_reads: Semaphore::new(BLOCKING_READS),
            faucet: Faucet::default(),
            metrics,
            started: Instant::now(),
            shutdown: CancellationToken::new(),
            snapshots: Mutex::new(Store::of(&config.data)),
            restart: self.is_restartable.then(AtomicBool::default),
            api_closed: self.api_closed.clone(),
            stopping: self.stop.subscribe(),
        });
        Ok(Some((node, token)))
    }

    /// Starts the tasks that serve miners and publish events.
    fn start_servers(
        &mut self,
        config: &Config,
        stratum: Option<(TcpListener, SocketAddr)>,
        node: &Arc<NodeState>,
    ) -> Result<()> {
        let stopping = || self.stop.subscribe();
        self.tasks.push(tokio::spawn(node.readiness.clone().run(stopping())));
        self.tasks.push(tokio::spawn(event_sources::run(Arc::clone(node))));
        let payout = dev::payout_address(node.reader.params(), config.miner);
        if let Some(miner) = payout.filter(|_| config.generation.is_enabled()) {
            let generator = BlockGenerator::new(node.reader.clone(), node.writer.clone(), miner);
            self.tasks.extend(generator.spawn(config.generation, &node.stopping));
        }
        let (workers, reader) = (Arc::clone(&node.workers), node.reader.clone());
        self.tasks.push(tokio::spawn(workers::run(Arc::clone(&workers), reader, stopping())));
        if let Some((listener, _)) = stratum {
            let (params, templates) = (node.reader.params(), Arc::clone(&node.templates));
            let writer = node.writer.clone();
            let server = stratum::Server::start(stratum::Parts {
                listener,
                limits: config.limits.stratum_connections,
                tls: config.tls.clone(),
                params,
                templates,
                writer,
                workers,
                stop: stopping(),
            })?;
            self.stratum = Some(server);
        }
        if let Some(server) = config.publish.clone() {
            let (events, network) = (node.events.clone(), config.params.name().to_owned());
            self.tasks.push(tokio::spawn(publish_events(events, server, network, stopping())));
        }
        Ok(())
    }

    /// Stops mining, then the API and the Stratum server, then the network, then the writer, which
    /// closes the data directory, and last the event log, so that it records all of this. Returns
    /// the error of the part on which most others depend. What the ledger has not finished soon, such as
    /// a deep reorganisation, is interrupted; the next start continues with it.
    async fn stop(self) -> Result<()> {
        let Running {
            stop,
            interrupt,
            api_closed: _,
            is_restartable: _,
            api,
            events,
            writer,
            network,
            jobs,
            stratum,
            workers,
            tasks,
            announced,
        } = self;
        stop.send_replace(true);
        let interruption = tokio::spawn(async move {
            tokio::time::sleep(INTERRUPT_DELAY).await;
            interrupt.store(true, Ordering::Relaxed);
        });
        let jobs = if let Some(jobs) = jobs { jobs.stop().await } else { Ok(()) };
        let mut served = if let Some(api) = api { api.await.context("the API") } else { Ok(()) };
        if let Some(stratum) = stratum {
            served = served.and(stratum.ended().await.context("the Stratum server"));
        }
        if let Some(workers) = workers {
            workers::save(workers).await;
        }
        let network = if let Some(network) = network { network.stop().await } else { Ok(()) };
        let writer = if let Some(writer) = writer { writer.stop().await } else { Ok(()) };
        interruption.abort();
        for task in tasks {
            served = served.and(task.await.context("a task of the node"));
        }
        let events = if let Some(events) = events { events.stop().await } else { Ok(()) };
        if let Some(Announced { data, .. }) = announced {
            // Best effort: a client that finds a stale file reports that the node does not respond.
            let _ = NodeFile::remove(&data);
        }
        writer.and(events).and(network).and(jobs).and(served)
    }
}

/// Logs how other machines reach an API that listens on all addresses, and which names it refuses.
fn log_reachability(config: &Config, hosts: &AllowedHosts, port: u16) {
    if !config.api.ip().is_unspecified() {
        return;
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let urls = listener::outgoing_addresses(config.api.ip());
    let urls: Vec<_> =
        urls.iter().map(|ip| format!("{scheme}://{}", SocketAddr::new(*ip, port))).collect();
    if !urls.is_empty() {
        tracing::info!("other machines reach the API at {}", urls.join(" and "));
    }
    let names = [&["localhost".to_owned()], &config.api_hosts[..]].concat().join(", ");
    let missing = listener::host_name().filter(|name| !hosts.allow(name));
    let missing = missing.as_deref().unwrap_or("NAME");
    tracing::info!(
        "the API responds to IP addresses and to {names}: for other host names add --api-host {missing}"
    );
}

fn mining_threads(config: &Config) -> NonZeroUsize {
    config.threads.unwrap_or_else(mining::default_threads)
}

/// Returns when mining requires a peer: always where the network has boot nodes, for a while where
/// the operator configured peers, and never for a lone node.
fn peer_requirement(peering: &Peering) -> PeerRequirement {
    match peering {
        Peering { max_peers: 0, .. } => PeerRequirement::None,
        Peering { boot_nodes, .. } if !boot_nodes.is_empty() => PeerRequirement::Always,
        Peering { peers, .. } if !peers.is_empty() => PeerRequirement::AtStart,
        Peering { .. } => PeerRequirement::None,
    }
}

fn node_file(node: &NodeState, url: &str, tls: Option<&Tls>) -> NodeFile {
    NodeFile {
        pid: std::process::id(),
        api: url.to_owned(),
        network: node.reader.params().name().to_owned(),
        genesis: node.reader.params().genesis_hash().to_string(),
        node_id: node.peers.id().to_string(),
        peers: node.peers.listening().iter().map(ToString::to_string).collect(),
        stratum: node.stratum.as_ref().map(Endpoint::local_url),
        certificate: tls.map(|tls| hex::encode(tls.fingerprint())),
    }
}
