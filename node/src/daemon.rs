//! The node as a whole: opens its stores, wires its parts, spawns its servers, and stops them in
//! reverse. Nothing but the command line imports this module.

use crate::api::http::server;
use crate::auth::Token;
use crate::config::Config;
use crate::config::peers::Peering;
use crate::events::publish::publish as publish_events;
use crate::events::{self, Events};
use crate::faucet::Faucet;
use crate::jobs::{self, Jobs};
use crate::metrics::Metrics;
use crate::mining::readiness::{PeerRequirement, Readiness};
use crate::mining::stratum::{self, Workers};
use crate::mining::templates::Templates;
use crate::network::{self, Network};
use crate::node_file::NodeFile;
use crate::state::NodeState;
use crate::tls::Tls;
use crate::{api, event_sources, listener, mining, writer};
use anyhow::{Context, Result, bail};
use chain::ledger::{self, OpenProgress, Reader};
use chain::mempool;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The maximum time for which shutdown waits for a peer to announce this node's tip. Peers announce
/// a new tip at least this often.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(6);
/// Poll interval of the tips that peers announce.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A running node with its tasks and threads.
pub struct Daemon {
    node: Arc<NodeState>,
    data: PathBuf,
    url: String,
    core: Core,
    servers: Servers,
}

impl Daemon {
    /// Starts a node. Ports are bound first, so that a second node with the same configuration fails
    /// before it opens the data directory.
    pub async fn start(config: Config) -> Result<Daemon> {
        if config.mine && config.miner.is_none() {
            bail!("--mine needs an address to pay: add --miner ADDRESS");
        }
        let listeners = Listeners::bind(&config).await?;
        let stores = Stores::open(&config).await?;
        let token = stores.token.clone();
        let (node, core) = Core::start(&config, &listeners, stores).await?;
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listeners.api_address);
        let file = node_file(&node, &url, config.tls.as_ref());
        let data = config.data.clone();
        // Before the API serves requests: once it does, commands find the node by this file.
        file.write(&data)?;
        let servers = Servers::spawn(config, listeners, &node, &token)?;
        let daemon = Daemon { node, data, url, core, servers };
        daemon.log_start(&file);
        Ok(daemon)
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

    /// Waits until a part of the node has failed; `stop` then returns the error.
    pub async fn failed(&mut self) {
        let Core { jobs, events, writer, network, .. } = &mut self.core;
        tokio::select! {
            () = jobs.watch() => {}
            () = events.watch() => {}
            () = writer.watch() => {}
            () = network.watch() => {}
        }
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

    /// Stops mining, then the API and the Stratum server, then the network, then the writer, which
    /// closes the data directory, and last the event log, so that it records all of this.
    pub async fn stop(self) -> Result<()> {
        let Daemon { core, servers, data, .. } = self;
        core.stop.send_replace(true);
        let jobs = core.jobs.stop().await;
        servers.api.await?;
        if let Some(stratum) = servers.stratum {
            stratum.ended().await?;
        }
        let network = core.network.stop().await;
        let writer = core.writer.stop().await;
        servers.event_sources.await?;
        if let Some(publisher) = servers.event_publisher {
            publisher.await?;
        }
        core.events.stop().await?;
        writer?;
        // Best effort: a client that finds a stale file reports that the node does not respond.
        let _ = NodeFile::remove(&data);
        network?;
        jobs?;
        tracing::info!("node stopped");
        Ok(())
    }

    fn log_start(&self, file: &NodeFile) {
        let tip = *self.node.reader.view().tip();
        tracing::info!(
            network = file.network, data = %self.data.display(), height = tip.height.get(),
            tip = %tip.hash,
            "node started, explorer at {url}/, REST API at {url}/v1/chain", url = self.url
        );
        if let Some(url) = &file.stratum {
            tracing::info!("miners connect to {url} as user ADDRESS or ADDRESS.worker");
        }
        if let Some(address) = self.join_address() {
            tracing::info!("other nodes join with --peer {address}");
        }
    }
}

/// The bound sockets of the servers.
struct Listeners {
    api: TcpListener,
    api_address: SocketAddr,
    stratum: Option<TcpListener>,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Listeners> {
        let api = listener::bind(config.api, "--api").await?;
        let api_address = listener::local_address(&api)?;
        if let Some(key) = config.tls.as_ref().and_then(Tls::world_readable_key) {
            let key = key.display();
            tracing::warn!("TLS key file is world-readable: chmod o-r {key}");
        }
        let stratum = match config.stratum {
            Some(address) => Some(stratum::bind(address).await?),
            None => None,
        };
        Ok(Listeners { api, api_address, stratum })
    }
}

/// Everything that is read from the data directory.
struct Stores {
    ledger: ledger::Writer,
    reader: Reader,
    token: Token,
    jobs: jobs::Loaded,
    event_thread: events::Thread,
    events: Events,
}

impl Stores {
    async fn open(config: &Config) -> Result<Stores> {
        let data = config.data.clone();
        let params = config.params.clone();
        let threads = mining_threads(config);
        let background_miner = config.miner.filter(|_| config.mine);
        let options = ledger::Options {
            cache_bytes: config.cache_bytes,
            threads: threads.get(),
            mempool: mempool::Limits::default(),
        };
        let open = move || {
            let mut log = OpenProgressLogger::default();
            let (mut ledger, reader) =
                ledger::open(&data, params, options, &mut |progress| log.log(&progress))?;
            let token = Token::open_or_create(&data)?;
            // Before peers can change the chain: recovered blocks are counted from it as it was.
            let jobs = jobs::Loaded::open(&data, &reader, threads, background_miner)
                .context("mining jobs")?;
            let mempool::Restored { count, dropped } = ledger.take_restored_mempool();
            if count > 0 || !dropped.is_empty() {
                tracing::info!(transfers = count, dropped = dropped.len(), "mempool restored");
            }
            let (event_thread, events) =
                events::Thread::start(&data, reader.clone(), dropped).context("events")?;
            Ok(Stores { ledger, reader, token, jobs, event_thread, events })
        };
        tokio::task::spawn_blocking(open).await?
    }
}

/// The parts that own the node's state, each with a thread or task.
struct Core {
    writer: writer::Thread,
    events: events::Thread,
    network: Network,
    jobs: Jobs,
    /// Becomes true at shutdown.
    stop: watch::Sender<bool>,
}

impl Core {
    /// Starts the parts and wires them into the state that the servers share.
    async fn start(
        config: &Config,
        listeners: &Listeners,
        stores: Stores,
    ) -> Result<(Arc<NodeState>, Core)> {
        let Stores { ledger, reader, jobs, event_thread, events, .. } = stores;
        let metrics = Arc::<Metrics>::default();
        let writer =
            writer::Thread::spawn(ledger, events.publisher().clone(), Arc::clone(&metrics))?;
        let peering = config.peering.clone();
        let requirement = peer_requirement(&peering);
        let network =
            match Network::start(peering, &config.data, reader.clone(), writer.handle()).await {
                Ok(network) => network,
                Err(error) => {
                    writer.stop().await?;
                    return Err(error);
                }
            };
        let peers = network.handle().clone();
        let readiness = Readiness::new(reader.clone(), peers.clone(), requirement);
        let jobs = jobs.start(reader.clone(), writer.handle(), readiness.clone(), config.kernel);
        let (stop, stopping) = watch::channel(false);
        let node = Arc::new(NodeState {
            templates: Arc::new(Templates::new(writer.handle(), readiness.clone())?),
            stratum: stratum_state(config, listeners, &reader)?,
            readiness,
            reader,
            writer: writer.handle(),
            events,
            peers,
            jobs: jobs.handle().clone(),
            default_miner: config.miner,
            faucet: Faucet::default(),
            metrics,
            started: Instant::now(),
            stopping,
        });
        Ok((node, Core { writer, events: event_thread, network, jobs, stop }))
    }
}

/// The tasks that serve clients and publish events.
struct Servers {
    api: JoinHandle<()>,
    stratum: Option<stratum::Server>,
    event_sources: JoinHandle<()>,
    event_publisher: Option<JoinHandle<()>>,
}

impl Servers {
    fn spawn(
        config: Config,
        listeners: Listeners,
        node: &Arc<NodeState>,
        token: &Token,
    ) -> Result<Servers> {
        let Config { params, tls, api_hosts, publish, .. } = config;
        let Listeners { api, api_address, stratum } = listeners;
        let event_sources = tokio::spawn(event_sources::run(Arc::clone(node)));
        let router = api::router(Arc::clone(node), token, api_address, &api_hosts)?;
        let api = tokio::spawn(server::serve(api, tls, router, node.stopping.clone()));
        let stratum = stratum.zip(node.stratum.clone()).map(|(listener, (_, workers))| {
            let (params, templates) = (node.reader.params(), Arc::clone(&node.templates));
            let (writer, stopping) = (node.writer.clone(), node.stopping.clone());
            stratum::Server::start(listener, params, templates, writer, workers, stopping)
        });
        let event_publisher = publish.map(|server| {
            let (network, stopping) = (params.name().to_owned(), node.stopping.clone());
            tokio::spawn(publish_events(node.events.clone(), server, network, stopping))
        });
        Ok(Servers { api, stratum: stratum.transpose()?, event_sources, event_publisher })
    }
}

fn mining_threads(config: &Config) -> NonZeroUsize {
    config.threads.unwrap_or_else(mining::available_threads)
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

fn stratum_state(
    config: &Config,
    listeners: &Listeners,
    reader: &Reader,
) -> Result<Option<(SocketAddr, Arc<Workers>)>> {
    let Some(listener) = &listeners.stratum else { return Ok(None) };
    let workers = Workers::open(&config.data, reader.params().hrp());
    Ok(Some((listener::local_address(listener)?, Arc::new(workers))))
}

fn node_file(node: &NodeState, url: &str, tls: Option<&Tls>) -> NodeFile {
    NodeFile {
        pid: std::process::id(),
        api: url.to_owned(),
        network: node.reader.params().name().to_owned(),
        genesis: node.reader.params().genesis_hash().to_string(),
        node_id: node.peers.id().to_string(),
        peers: node.peers.listening().iter().map(ToString::to_string).collect(),
        stratum: node.stratum.as_ref().map(|(address, _)| format!("stratum+tcp://{address}")),
        certificate: tls.map(|tls| hex::encode(tls.fingerprint())),
    }
}

/// Logs the progress of opening the ledger, at most once a second.
#[derive(Default)]
struct OpenProgressLogger {
    last: Option<Instant>,
}

impl OpenProgressLogger {
    fn log(&mut self, progress: &OpenProgress) {
        if let OpenProgress::Replaying { done, total } = progress {
            let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
            if !due && done != total {
                return;
            }
            self.last = Some(Instant::now());
            tracing::info!("{progress}");
        } else {
            tracing::warn!("{progress}");
        }
    }
}
