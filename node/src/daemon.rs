//! The node as a whole: opens, wires and stops its parts, in that order and back.

use crate::api::token::Token;
use crate::api::{self, server};
use crate::config::Config;
use crate::config::peers::Peering;
use crate::faucet::Faucet;
use crate::mining::{self, Goal, Local, Need, Outlook, Progress};
use crate::peers::{self, Peers};
use crate::writer;
use anyhow::{Context, Result, anyhow};
use chain::ledger::{self, Notice, Reader};
use chain::{Address, mempool};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Peers tell of a new tip at least this often.
const TELLING: Duration = Duration::from_secs(6);
/// How often it is looked whether they did.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What every part of the API may use.
#[derive(Clone)]
pub struct Node(Arc<Parts>);

/// The parts.
pub struct Parts {
    /// Reads the chain.
    pub reader: Reader,
    /// Changes it.
    pub writer: writer::Handle,
    /// Other nodes.
    pub peers: p2p::Handle,
    /// Whether mining makes sense.
    pub outlook: Outlook,
    /// How mining goes; `None` before it first began.
    pub mining: watch::Receiver<Option<Progress>>,
    /// Whom blocks pay unless a request says otherwise.
    pub default_miner: Option<Address>,
    /// Gives coins away on a network for development.
    pub faucet: Faucet,
    /// When the node started.
    pub started: Instant,
    /// True once the node is to stop: answers that wait should end.
    pub stopping: watch::Receiver<bool>,
}

impl std::ops::Deref for Node {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Where a running node is to be found: `DATA/node.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Whereabouts {
    /// Its process.
    pub pid: u32,
    /// The REST API: an http URL.
    pub api: String,
    /// The network's name.
    pub network: String,
    /// The network's genesis hash.
    pub genesis: String,
    /// What others know it by.
    #[serde(default)]
    pub node_id: String,
    /// Where others can call it: multiaddrs.
    #[serde(default)]
    pub peers: Vec<String>,
}

impl Whereabouts {
    const FILE: &str = "node.json";

    /// What a running node, or one that was killed, has left in its data folder.
    pub fn read(data: &Path) -> Option<Whereabouts> {
        serde_json::from_slice(&std::fs::read(data.join(Whereabouts::FILE)).ok()?).ok()
    }

    fn write(&self, data: &Path) -> Result<()> {
        let path = data.join(Whereabouts::FILE);
        let mut file = tempfile::NamedTempFile::new_in(data)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

/// A running node.
pub struct Daemon {
    node: Node,
    data: PathBuf,
    address: SocketAddr,
    writer: writer::Thread,
    peers: Peers,
    stop: watch::Sender<bool>,
    progress: watch::Sender<Option<Progress>>,
    server: JoinHandle<()>,
    mining: Option<JoinHandle<Result<Vec<chain::block::Hash>>>>,
}

impl Daemon {
    /// Starts everything. The port is taken first: a second node on it fails before it reads.
    pub async fn start(config: Config) -> Result<Daemon> {
        let Config {
            params,
            data,
            api,
            api_hosts,
            peering,
            mine,
            miner,
            threads,
            kernel,
            cache_bytes,
            ..
        } = config;
        if mine && miner.is_none() {
            return Err(anyhow!("--mine needs an address to pay: give --miner ADDRESS"));
        }
        let listener = server::bind(api).await?;
        let address = server::address(&listener)?;
        let threads = threads.unwrap_or_else(processors);
        let options = ledger::Options {
            cache_bytes,
            threads: threads.get(),
            mempool: mempool::Limits::default(),
        };
        let (name, genesis) = (params.name().to_owned(), params.genesis_hash());
        let opening = {
            let data = data.clone();
            tokio::task::spawn_blocking(move || {
                let mut told = Told::default();
                ledger::open(&data, params, options, &mut |notice| told.tell(&notice))
            })
        };
        let (ledger, reader) = opening.await??;
        let token = Token::open(&data)?;
        let writer = writer::Thread::spawn(ledger)?;
        let need = match &peering {
            Peering { max_peers: 0, .. } => Need::None,
            Peering { boot_nodes, .. } if !boot_nodes.is_empty() => Need::Always,
            Peering { peers, .. } if !peers.is_empty() => Need::Some,
            Peering { .. } => Need::None,
        };
        let peers = match Peers::start(peering, &data, reader.clone(), writer.handle()).await {
            Ok(peers) => peers,
            Err(error) => {
                writer.stop().await?;
                return Err(error);
            }
        };
        let handle = peers.handle().clone();
        let (stop, stopping) = watch::channel(false);
        let (progress, mining) = watch::channel(None);
        let node = Node(Arc::new(Parts {
            outlook: Outlook::new(reader.clone(), handle.clone(), need),
            reader,
            writer: writer.handle(),
            peers: handle,
            mining,
            default_miner: miner,
            faucet: Faucet::default(),
            started: Instant::now(),
            stopping: stopping.clone(),
        }));
        let routes = api::routes(node.clone(), token, address, &api_hosts)?;
        let server = tokio::spawn(server::serve(listener, routes, stopping));
        let whereabouts = Whereabouts {
            pid: std::process::id(),
            api: format!("http://{address}"),
            network: name.clone(),
            genesis: genesis.to_string(),
            node_id: node.peers.id().to_string(),
            peers: node.peers.listening().iter().map(ToString::to_string).collect(),
        };
        whereabouts.write(&data)?;
        let tip = *node.reader.view().tip();
        tracing::info!(
            network = name, data = %data.display(), height = tip.height.get(), tip = %tip.hash,
            "node started, REST API at http://{address}/v1/chain"
        );
        let mut daemon =
            Daemon { node, data, address, writer, peers, stop, progress, server, mining: None };
        if let Some(address) = daemon.to_join() {
            tracing::info!("others join with --peer {address}");
        }
        if let Some(miner) = miner.filter(|_| mine) {
            let pause = Goal::pause(daemon.node.reader.params(), None);
            daemon.mine(Goal { miner, blocks: None, threads, kernel, pause });
        }
        Ok(daemon)
    }

    /// Where the REST API is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A multiaddr by which others can call it.
    pub fn to_join(&self) -> Option<p2p::Multiaddr> {
        peers::to_join(&self.node.peers.listening()).cloned()
    }

    /// Its parts.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Begins to mine in this process.
    pub fn mine(&mut self, goal: Goal) {
        let source = Local::new(self.node.writer.clone(), self.node.outlook.clone());
        let mining = mining::mine(source, goal, self.progress.clone(), self.stop.subscribe());
        self.mining = Some(tokio::spawn(mining));
    }

    /// Waits until mining has reached its goal, and gives the blocks it found; or until the node
    /// cannot go on, and gives nothing: `stop` then tells why.
    pub async fn finished(&mut self) -> Option<Result<Vec<chain::block::Hash>>> {
        let Daemon { mining, writer, peers, .. } = self;
        let mined = async {
            match mining {
                Some(task) => task.await.map_err(anyhow::Error::from).flatten(),
                None => std::future::pending().await,
            }
        };
        let found = tokio::select! {
            found = mined => found,
            () = writer.watch() => return None,
            () = peers.watch() => return None,
        };
        self.mining = None;
        Some(found)
    }

    /// Waits until a peer tells of this node's tip, or none is there, or for as long as peers may
    /// take to tell: a block that stays with a node that stops is likely to lose to another's.
    pub async fn hand_on(&self) {
        let told = async {
            loop {
                let tip = *self.node.reader.view().tip();
                let peers = self.node.peers.peers().await;
                let has_it =
                    |peer: &p2p::PeerInfo| peer.tip == tip.hash || peer.height > tip.height;
                if peers.is_empty() || peers.iter().any(has_it) {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let _ = tokio::time::timeout(TELLING, told).await;
    }

    /// Stops mining, then the API, then peers, then the writer, which closes the data folder.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        if let Some(mining) = self.mining {
            mining.await??;
        }
        self.server.await?;
        let peers = self.peers.stop().await;
        self.writer.stop().await?;
        // Gone or not: a client that finds nobody at the address says so.
        let _ = std::fs::remove_file(self.data.join(Whereabouts::FILE));
        peers?;
        tracing::info!("node stopped");
        Ok(())
    }
}

/// As many threads as there are processors.
pub fn processors() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Tells what opening finds, progress at most once a second.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
}

impl Told {
    fn tell(&mut self, notice: &Notice) {
        if let Notice::Replaying { done, total } = notice {
            let due = self.last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1));
            if !due && done != total {
                return;
            }
            self.last = Some(Instant::now());
            tracing::info!("{notice}");
        } else {
            tracing::warn!("{notice}");
        }
    }
}
