//! Start and shutdown of the network.

use crate::world::{Chain, Node, Settings, TIMEOUT};
use chain::Params;
use chain::block::{self, Header, Height};
use chain::ledger::Reader;
use chain::tx::{Id, Transfer};
use p2p::message::RawBlock;
use p2p::view::{ChainView, Known, Tip};
use p2p::{Config, Multiaddr, SpawnError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn config(directory: &TempDir, listen: &str) -> Config {
    Config {
        listen: vec![listen.parse().unwrap()],
        peers: vec![],
        boot_nodes: vec![],
        max_peers: 8,
        max_upload: 0,
        discover: true,
        mdns: false,
        allowed_peers: Vec::new(),
        network_key: None,
        trusted: Vec::new(),
        external_addresses: Vec::new(),
        data: directory.path().to_owned(),
        agent: "test/1".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_the_address_of_a_port_in_use() {
    let one = Node::start().await;
    let settings = Settings { listen: vec![one.address()], ..Settings::default() };
    let result = Node::start_in(TempDir::new().unwrap(), settings).await;
    let Err(error @ SpawnError::InUse(_)) = result else { panic!("the port is in use") };
    let mut address = one.address();
    address.pop();
    assert!(error.to_string().starts_with(&format!("{address} is in use")));
}

#[tokio::test(flavor = "multi_thread")]
async fn rejects_unsupported_addresses_at_the_start() {
    let directory = TempDir::new().unwrap();
    let chain = Chain::open(&directory.path().join("chain"), Params::dev());
    for (listen, peer) in [
        ("/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/1"),
        ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1"),
    ] {
        let peer: Multiaddr = peer.parse().unwrap();
        let config = Config { peers: vec![peer], ..config(&directory, listen) };
        let (queue, updates) = (chain.queue(), chain.updates());
        let result = p2p::spawn(config, chain.reader.clone(), queue, updates).await;
        assert!(matches!(result, Err(SpawnError::Unsupported(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_network_disconnects_and_returns_no_peers() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.connect(&two).await.unwrap();
    let network = one.network.clone();
    one.stop().await;
    assert_eq!(network.finished().await, Ok(()));
    assert!(network.peers().await.is_empty());
    two.wait_for_peers(0).await;
}

/// A chain view that panics on demand.
#[derive(Clone)]
struct FaultyChain {
    reader: Reader,
    is_faulty: Arc<AtomicBool>,
}

impl FaultyChain {
    fn reader(&self) -> &Reader {
        assert!(!self.is_faulty.load(Ordering::Relaxed), "panic of the test");
        &self.reader
    }
}

impl ChainView for FaultyChain {
    fn params(&self) -> &Params {
        self.reader.params()
    }
    fn tip(&self) -> Tip {
        self.reader().tip()
    }
    fn find(&self, hash: &block::Hash) -> Option<Known> {
        self.reader().find(hash)
    }
    fn is_known_invalid(&self, hash: &block::Hash) -> bool {
        self.reader().is_known_invalid(hash)
    }
    fn at(&self, height: Height) -> Option<block::Hash> {
        ChainView::at(self.reader(), height)
    }
    fn headers(&self, from: Height, max: usize) -> Vec<Header> {
        ChainView::headers(self.reader(), from, max)
    }
    fn block(&self, hash: &block::Hash) -> Option<RawBlock> {
        self.reader().block(hash)
    }
    fn transfer(&self, id: &Id) -> Option<Arc<Transfer>> {
        self.reader().transfer(id)
    }
    fn mempool_page(&self, from: u64, max: usize) -> (Vec<Id>, u64) {
        self.reader().mempool_page(from, max)
    }
}

// N35
#[tokio::test(flavor = "multi_thread")]
async fn panic_of_a_task_is_reported() {
    let directory = TempDir::new().unwrap();
    let chain = Chain::open(&directory.path().join("chain"), Params::dev());
    let is_faulty = Arc::new(AtomicBool::new(false));
    let faulty = FaultyChain { reader: chain.reader.clone(), is_faulty: is_faulty.clone() };
    let config = config(&directory, "/ip4/127.0.0.1/tcp/0");
    let (queue, updates) = (chain.queue(), chain.updates());
    let network = p2p::spawn(config, faulty, queue, updates).await.unwrap();
    is_faulty.store(true, Ordering::Relaxed);
    chain.generate(1, 1).await;
    let ended = tokio::time::timeout(TIMEOUT, network.finished()).await.unwrap();
    let error = ended.unwrap_err();
    assert_eq!(error.task, "engine");
    assert!(error.reason.contains("panic"), "{error}");
    // The address book is saved nevertheless.
    assert!(directory.path().join("peers.json").exists());
}
