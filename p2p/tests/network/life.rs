//! How the network starts and ends.

use crate::world::{Chain, Node, Setting};
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

fn config(folder: &TempDir, listen: &str) -> Config {
    Config {
        listen: vec![listen.parse().unwrap()],
        peers: vec![],
        boot_nodes: vec![],
        max_peers: 8,
        discover: true,
        mdns: false,
        data: folder.path().to_owned(),
        agent: "test/1".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_told_with_its_address() {
    let one = Node::start().await;
    let setting = Setting { listen: vec![one.address()], ..Setting::default() };
    let result = Node::start_in(TempDir::new().unwrap(), setting).await;
    let Err(error @ SpawnError::InUse(_)) = result else { panic!("somebody listens there") };
    let mut place = one.address();
    place.pop();
    assert!(error.to_string().starts_with(&format!("{place} is in use")));
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_cannot_be_used_are_told_at_the_start() {
    let folder = TempDir::new().unwrap();
    let chain = Chain::open(&folder.path().join("chain"), Params::dev());
    for (listen, peer) in [
        ("/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/1"),
        ("/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1"),
    ] {
        let peer: Multiaddr = peer.parse().unwrap();
        let config = Config { peers: vec![peer], ..config(&folder, listen) };
        let (_, news) = tokio::sync::broadcast::channel(1);
        let result = p2p::spawn(config, chain.reader.clone(), news).await;
        assert!(matches!(result, Err(SpawnError::Unsupported(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_network_answers_nothing_and_says_farewell() {
    let (one, two) = (Node::start().await, Node::start().await);
    one.connect(&two).await.unwrap();
    let network = one.network.clone();
    one.stop().await;
    assert_eq!(network.finished().await, Ok(()));
    assert!(network.peers().await.is_empty());
    two.has_peers(0).await;
}

/// A chain that breaks on demand.
#[derive(Clone)]
struct Fragile {
    reader: Reader,
    broken: Arc<AtomicBool>,
}

impl Fragile {
    fn reader(&self) -> &Reader {
        assert!(!self.broken.load(Ordering::Relaxed), "broken for the test");
        &self.reader
    }
}

impl ChainView for Fragile {
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
async fn whoever_owns_the_network_learns_that_a_task_has_panicked() {
    let folder = TempDir::new().unwrap();
    let chain = Chain::open(&folder.path().join("chain"), Params::dev());
    let broken = Arc::new(AtomicBool::new(false));
    let fragile = Fragile { reader: chain.reader.clone(), broken: broken.clone() };
    let news = chain.news();
    let (network, _events) =
        p2p::spawn(config(&folder, "/ip4/127.0.0.1/tcp/0"), fragile, news).await.unwrap();
    broken.store(true, Ordering::Relaxed);
    chain.generate(1, 1).await;
    let ended = tokio::time::timeout(crate::world::SOON, network.finished()).await.unwrap();
    let error = ended.unwrap_err();
    assert_eq!(error.part, "engine");
    assert!(error.why.contains("panic"), "{error}");
    // The address book is saved nevertheless.
    assert!(folder.path().join("peers.json").exists());
}
