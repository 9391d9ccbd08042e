//! The node as a whole: opens, wires and stops its parts, in that order and back.

use crate::api::http::server;
use crate::auth::Token;
use crate::config::Config;
use crate::config::peers::Peering;
use crate::events;
use crate::events::publish::publish as publish_events;
use crate::faucet::Faucet;
use crate::jobs::{self, Jobs};
use crate::metrics::Metrics;
use crate::mining::templates::Templates;
use crate::mining::{self, Need, Outlook, stratum};
use crate::network::{self, Network};
use crate::node_file::NodeFile;
use crate::state::NodeState;
use crate::tls::Tls;
use crate::{api, event_sources, listener, writer};
use anyhow::{Context, Result, anyhow};
use chain::ledger::{self, OpenProgress};
use chain::mempool;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Peers tell of a new tip at least this often.
const TELLING: Duration = Duration::from_secs(6);
/// How often it is looked whether they did.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A running node.
pub struct Daemon {
    node: Arc<NodeState>,
    data: PathBuf,
    url: String,
    events: events::Thread,
    sources: JoinHandle<()>,
    publishing: Option<JoinHandle<()>>,
    writer: writer::Thread,
    peers: Network,
    stop: watch::Sender<bool>,
    jobs: Jobs,
    server: JoinHandle<()>,
    stratum: Option<stratum::Server>,
}

impl Daemon {
    /// Starts everything. The port is taken first: a second node on it fails before it reads.
    pub async fn start(config: Config) -> Result<Daemon> {
        let Config {
            params,
            data,
            api,
            api_hosts,
            tls,
            peering,
            mine,
            miner,
            threads,
            kernel,
            stratum,
            publish,
            cache_bytes,
        } = config;
        if mine && miner.is_none() {
            return Err(anyhow!("--mine needs an address to pay: give --miner ADDRESS"));
        }
        let listener = listener::bind(api, "--api").await?;
        let address = listener::local_address(&listener)?;
        if let Some(key) = tls.as_ref().and_then(Tls::exposed_key) {
            let key = key.display();
            tracing::warn!("everybody on this machine can read the key of TLS: chmod o-r {key}");
        }
        let for_miners = match stratum {
            Some(address) => Some(stratum::bind(address).await?),
            None => None,
        };
        let threads = threads.unwrap_or_else(mining::available_threads);
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
        // Before peers can change the chain: what jobs found is counted as it was left.
        let standing = miner.filter(|_| mine);
        let opening = {
            let (data, reader) = (data.clone(), reader.clone());
            move || jobs::Opened::open(&data, &reader, threads, standing)
        };
        let jobs = tokio::task::spawn_blocking(opening).await?.context("mining jobs")?;
        let (telling, events) = {
            let (data, reader) = (data.clone(), reader.clone());
            let start = move || events::Thread::start(&data, reader);
            tokio::task::spawn_blocking(start).await?.context("events")?
        };
        let metrics = Arc::<Metrics>::default();
        let writer =
            writer::Thread::spawn(ledger, events.publisher().clone(), Arc::clone(&metrics))?;
        let need = match &peering {
            Peering { max_peers: 0, .. } => Need::None,
            Peering { boot_nodes, .. } if !boot_nodes.is_empty() => Need::Always,
            Peering { peers, .. } if !peers.is_empty() => Need::Some,
            Peering { .. } => Need::None,
        };
        let peers = match Network::start(peering, &data, reader.clone(), writer.handle()).await {
            Ok(peers) => peers,
            Err(error) => {
                writer.stop().await?;
                return Err(error);
            }
        };
        let handle = peers.handle().clone();
        let (stop, stopping) = watch::channel(false);
        let outlook = Outlook::new(reader.clone(), handle.clone(), need);
        let jobs = jobs.start(reader.clone(), writer.handle(), outlook.clone(), kernel);
        let stratum = for_miners.as_ref().map(|listener| {
            let workers = stratum::open(&data, reader.params());
            listener::local_address(listener).map(|address| (address, workers))
        });
        let node = Arc::new(NodeState {
            templates: Arc::new(Templates::new(writer.handle(), outlook.clone())?),
            stratum: stratum.transpose()?,
            outlook,
            reader,
            writer: writer.handle(),
            events,
            peers: handle,
            jobs: jobs.handle().clone(),
            default_miner: miner,
            faucet: Faucet::default(),
            metrics,
            started: Instant::now(),
            stopping: stopping.clone(),
        });
        let sources = tokio::spawn(event_sources::tell(Arc::clone(&node)));
        let routes = api::router(Arc::clone(&node), &token, address, &api_hosts)?;
        let server = tokio::spawn(server::serve(listener, tls.clone(), routes, stopping.clone()));
        let stratum = for_miners.zip(node.stratum.clone()).map(|(listener, (_, workers))| {
            let (params, templates) = (node.reader.params(), Arc::clone(&node.templates));
            let writer = node.writer.clone();
            stratum::Server::start(listener, params, templates, writer, workers, stopping)
        });
        let stratum = stratum.transpose()?;
        let whereabouts = NodeFile {
            pid: std::process::id(),
            api: format!("{}://{address}", if tls.is_some() { "https" } else { "http" }),
            network: name.clone(),
            genesis: genesis.to_string(),
            node_id: node.peers.id().to_string(),
            peers: node.peers.listening().iter().map(ToString::to_string).collect(),
            stratum: node.stratum.as_ref().map(|(address, _)| format!("stratum+tcp://{address}")),
            certificate: tls.map(|tls| hex::encode(tls.fingerprint())),
        };
        whereabouts.write(&data)?;
        let tip = *node.reader.view().tip();
        tracing::info!(
            network = name.as_str(), data = %data.display(), height = tip.height.get(), tip = %tip.hash,
            "node started, explorer at {url}/, REST API at {url}/v1/chain", url = whereabouts.api
        );
        if let Some(url) = &whereabouts.stratum {
            tracing::info!("miners connect with {url} and the user name ADDRESS or ADDRESS.worker");
        }
        let daemon = Daemon {
            publishing: publish.map(|server| {
                let stopping = node.stopping.clone();
                tokio::spawn(publish_events(node.events.clone(), server, name, stopping))
            }),
            node,
            data,
            url: whereabouts.api,
            events: telling,
            sources,
            writer,
            peers,
            stop,
            jobs,
            server,
            stratum,
        };
        if let Some(address) = daemon.to_join() {
            tracing::info!("others join with --peer {address}");
        }
        Ok(daemon)
    }

    /// Where the REST API is: the URL before its paths.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A multiaddr by which others can call it.
    pub fn to_join(&self) -> Option<p2p::Multiaddr> {
        network::to_join(&self.node.peers.listening()).cloned()
    }

    /// Its parts.
    pub fn node(&self) -> &Arc<NodeState> {
        &self.node
    }

    /// Waits until the node cannot go on; `stop` then tells why.
    pub async fn failed(&mut self) {
        let Daemon { jobs, events, writer, peers, .. } = self;
        tokio::select! {
            () = jobs.watch() => {}
            () = events.watch() => {}
            () = writer.watch() => {}
            () = peers.watch() => {}
        }
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

    /// Stops mining, then the API and miners elsewhere, then peers, then the writer, which closes
    /// the data folder, and last the events, so that none of all that is missing.
    pub async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        let jobs = self.jobs.stop().await;
        self.server.await?;
        if let Some(stratum) = self.stratum {
            stratum.ended().await?;
        }
        let peers = self.peers.stop().await;
        let closed = self.writer.stop().await;
        self.sources.await?;
        if let Some(publishing) = self.publishing {
            publishing.await?;
        }
        self.events.stop().await?;
        closed?;
        // Gone or not: a client that finds nobody at the address says so.
        let _ = std::fs::remove_file(self.data.join(NodeFile::FILE));
        peers?;
        jobs?;
        tracing::info!("node stopped");
        Ok(())
    }
}

/// Tells what opening finds, progress at most once a second.
#[derive(Default)]
struct Told {
    last: Option<Instant>,
}

impl Told {
    fn tell(&mut self, notice: &OpenProgress) {
        if let OpenProgress::Replaying { done, total } = notice {
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
