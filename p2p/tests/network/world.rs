//! The nodes of the tests: a ledger in a directory of its own, the thread that owns its writer, and
//! the network over loopback.

use chain::block::{self, Block, Timestamp};
use chain::ledger::{
    self, Accepted, Commit, Reader, Submission, SubmitError, TransferError, Writer,
};
use chain::mempool::{Admission, Replacement, Source};
use chain::signature::SecretKey;
use chain::store::StoreError;
use chain::template::TemplateRequest;
use chain::testing::solve_header;
use chain::tx::{Memo, Payment, Tag, Transfer};
use chain::{Amount, Params};
use p2p::multiaddr::Protocol;
use p2p::{
    BlockReply, ChainUpdate, Config, ConnectError, Handle, Multiaddr, NetworkKey, PeerId,
    SpawnError, Submit, TransferReply,
};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::sync::{broadcast, oneshot};

/// The time-out of every condition, generous for busy machines.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Polls a condition until it is true.
///
/// # Panics
/// The condition is not true within `TIMEOUT`.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut is_true: impl FnMut() -> F,
) {
    let until = tokio::time::Instant::now() + TIMEOUT;
    while !is_true().await {
        assert!(tokio::time::Instant::now() < until, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

enum Task {
    Block(Submission, BlockReply),
    Transfer(Arc<Transfer>, TransferReply),
    Generate(u32, u8, oneshot::Sender<Vec<block::Hash>>),
    Stop,
}

/// The queue of the writer's thread.
#[derive(Clone)]
pub(crate) struct Queue(mpsc::Sender<Task>);

impl Submit for Queue {
    async fn submit_block(&self, submission: Submission, reply: BlockReply) {
        let _ = self.0.send(Task::Block(submission, reply));
    }

    async fn submit_transfer(&self, transfer: Arc<Transfer>, reply: TransferReply) {
        let _ = self.0.send(Task::Transfer(transfer, reply));
    }
}

/// A ledger and the thread that writes it.
pub(crate) struct Chain {
    pub(crate) reader: Reader,
    queue: Queue,
    updates: broadcast::Sender<ChainUpdate>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Chain {
    /// Opens the ledger in a directory.
    pub(crate) fn open(directory: &Path, params: Params) -> Chain {
        let options =
            ledger::Options { cache_bytes: 4 << 20, threads: 1, ..ledger::Options::default() };
        let (writer, reader) = ledger::open(directory, params, &options, &mut |_| {}).unwrap();
        let (tasks, queue) = mpsc::channel();
        let (updates, _) = broadcast::channel(65_536);
        let task = WriterTask { writer, updates: updates.clone(), mined: 0 };
        let thread = std::thread::spawn(move || task.run(&queue));
        Chain { reader, queue: Queue(tasks), updates, thread: Some(thread) }
    }

    /// Mines a number of blocks for an account.
    pub(crate) async fn generate(&self, blocks: u32, account: u8) -> Vec<block::Hash> {
        let (done, hashes) = oneshot::channel();
        self.queue.0.send(Task::Generate(blocks, account, done)).unwrap();
        hashes.await.unwrap()
    }

    /// Submits a valid transfer, as the API does.
    pub(crate) fn transfer(&self, transfer: Transfer) {
        let (reply, _) = oneshot::channel();
        self.queue.0.send(Task::Transfer(Arc::new(transfer), reply)).unwrap();
    }

    /// The queue to which the network submits.
    pub(crate) fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// The updates for the network.
    pub(crate) fn updates(&self) -> broadcast::Receiver<ChainUpdate> {
        self.updates.subscribe()
    }

    /// The height of the best chain.
    pub(crate) fn height(&self) -> u32 {
        self.reader.view().tip().height.get()
    }

    /// The tip of the best chain.
    pub(crate) fn tip(&self) -> block::Hash {
        self.reader.view().tip().hash
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.queue.0.send(Task::Stop);
        let joined = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(!matches!(joined, Some(Err(_))) || std::thread::panicking(), "the writer panicked");
    }
}

/// The state of the writer's thread.
struct WriterTask {
    writer: Writer,
    updates: broadcast::Sender<ChainUpdate>,
    mined: u64,
}

impl WriterTask {
    fn run(mut self, queue: &mpsc::Receiver<Task>) {
        while let Ok(task) = queue.recv() {
            match task {
                Task::Block(block, reply) => drop(reply.send(self.block(block))),
                Task::Transfer(transfer, reply) => {
                    let result = self.transfer(Arc::unwrap_or_clone(transfer));
                    if let Err(Err(error)) = reply.send(result) {
                        panic!("a transfer of the test is invalid: {error}");
                    }
                }
                Task::Generate(blocks, account, done) => {
                    let _ = done.send(self.generate(blocks, account));
                }
                Task::Stop => break,
            }
        }
        self.writer.close().unwrap();
    }

    fn block(&mut self, block: Submission) -> Result<Accepted, SubmitError> {
        let accepted = self.writer.submit_block(block, now())?;
        if accepted != Accepted::AlreadyKnown {
            let commit = self.writer.commit()?;
            self.publish(&commit)?;
        }
        Ok(accepted)
    }

    fn transfer(&mut self, transfer: Transfer) -> Result<Admission, TransferError> {
        let admission =
            self.writer.submit_transfer(transfer, Replacement::Allowed, Source::Peer)?;
        if let Admission::Added(changes) = &admission {
            let _ = self.updates.send(ChainUpdate::TransfersAccepted(changes.pending.clone()));
        }
        Ok(admission)
    }

    fn generate(&mut self, blocks: u32, account: u8) -> Vec<block::Hash> {
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            let block = mine(&mut self.writer, account, self.mined);
            self.mined += 1;
            hashes.push(block.hash());
            self.writer.submit_block(block, now()).unwrap();
            let commit = self.writer.commit().unwrap();
            self.publish(&commit).unwrap();
        }
        hashes
    }

    fn publish(&mut self, commit: &Commit) -> Result<(), StoreError> {
        if !commit.connected.is_empty() {
            let _ = self.updates.send(ChainUpdate::TipChanged);
        }
        while let Some(changes) = self.writer.next_mempool_changes()? {
            let _ = self.updates.send(ChainUpdate::TransfersAccepted(changes.pending));
        }
        Ok(())
    }
}

/// Mines a block on the tip.
fn mine(writer: &mut Writer, account: u8, extra: u64) -> Block {
    let request = TemplateRequest {
        miner: key(account).public_key().address(),
        now: now(),
        extra_nonce: extra.to_le_bytes(),
        tag: Tag::new(vec![account]).unwrap(),
    };
    let mut block = writer.template(request).unwrap().block;
    solve_header(&mut block.header);
    block
}

/// The key of an account.
pub(crate) fn key(account: u8) -> SecretKey {
    SecretKey::from_seed([account; 32])
}

/// The `dev` network with funded accounts.
pub(crate) fn funded(accounts: &[u8]) -> Params {
    let mut spec = Params::dev().spec().clone();
    let coins = Amount::new(1_000_000_000_000).unwrap();
    let allocation = |account: &u8| (key(*account).public_key().address(), coins);
    spec.allocations = accounts.iter().map(allocation).collect();
    Params::new(spec).unwrap()
}

/// A transfer of one account to another.
pub(crate) fn pay(from: u8, to: u8, nonce: u64, params: &Params) -> Transfer {
    let payment = Payment {
        nonce,
        recipient: key(to).public_key().address(),
        amount: 1_000,
        fee: 100_000,
        memo: Memo::default(),
    };
    Transfer::sign(payment, &key(from), params.genesis_hash())
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::new(u32::try_from(since.as_secs()).unwrap())
}

/// The settings of a node.
pub(crate) struct Settings {
    pub(crate) params: Params,
    /// Listen addresses, peer ids ignored; any port of loopback by default.
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) peers: Vec<Multiaddr>,
    pub(crate) max_peers: usize,
    pub(crate) mdns: bool,
    pub(crate) allowed_peers: Vec<PeerId>,
    pub(crate) network_key: Option<NetworkKey>,
}

impl Default for Settings {
    fn default() -> Settings {
        let params = Params::dev();
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        Settings {
            params,
            listen,
            peers: Vec::new(),
            max_peers: 32,
            mdns: false,
            allowed_peers: Vec::new(),
            network_key: None,
        }
    }
}

/// A node.
pub(crate) struct Node {
    pub(crate) chain: Chain,
    pub(crate) network: Handle,
    pub(crate) directory: TempDir,
}

impl Node {
    /// Starts a node of the `dev` network without configured peers.
    pub(crate) async fn start() -> Node {
        Node::start_with(Settings::default()).await
    }

    /// Starts a node with another one as its persistent peer.
    pub(crate) async fn connected_to(other: &Node) -> Node {
        Node::start_with(Settings { peers: vec![other.address()], ..Settings::default() }).await
    }

    pub(crate) async fn start_with(settings: Settings) -> Node {
        Node::start_in(TempDir::new().unwrap(), settings).await.unwrap()
    }

    /// Starts a node in an existing data directory.
    pub(crate) async fn start_in(
        directory: TempDir,
        settings: Settings,
    ) -> Result<Node, SpawnError> {
        let Settings { params, listen, peers, max_peers, mdns, allowed_peers, network_key } =
            settings;
        let chain = Chain::open(&directory.path().join("chain"), params);
        let without_id = |address: Multiaddr| {
            address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
        };
        let listen = listen.into_iter().map(without_id).collect();
        let data = directory.path().to_owned();
        let agent = "test/1".to_owned();
        let boot_nodes = vec![];
        let discover = true;
        let config = Config {
            listen,
            peers,
            boot_nodes,
            max_peers,
            max_upload: 0,
            discover,
            mdns,
            allowed_peers,
            network_key,
            trusted: Vec::new(),
            external_addresses: Vec::new(),
            data,
            agent,
        };
        let (queue, updates) = (chain.queue(), chain.updates());
        let network = p2p::spawn(config, chain.reader.clone(), queue, updates).await?;
        Ok(Node { chain, network, directory })
    }

    /// The listen address, with the peer id.
    pub(crate) fn address(&self) -> Multiaddr {
        self.network.listening().remove(0)
    }

    pub(crate) fn id(&self) -> PeerId {
        self.network.id()
    }

    /// Connects two nodes and waits until both have completed the handshake.
    pub(crate) async fn connect(&self, other: &Node) -> Result<PeerId, ConnectError> {
        let connected = self.network.connect(other.address()).await?;
        eventually("handshake on the other side", async || other.has_peer(self).await).await;
        Ok(connected)
    }

    /// Whether another node is a peer that has completed the handshake.
    pub(crate) async fn has_peer(&self, other: &Node) -> bool {
        self.network.peers().await.iter().any(|peer| peer.id == other.id())
    }

    /// Waits until this node has a number of peers.
    pub(crate) async fn wait_for_peers(&self, count: usize) {
        let mut counts = self.network.peer_counts();
        let reached = tokio::time::timeout(TIMEOUT, counts.wait_for(|now| *now == count)).await;
        let now = self.network.peer_count();
        assert!(reached.is_ok(), "{now} peers, not {count}");
    }

    /// Waits until this node has the same tip as another one.
    pub(crate) async fn wait_for_tip_of(&self, other: &Node) {
        let same = async || self.chain.tip() == other.chain.tip();
        let heights = || (self.chain.height(), other.chain.height());
        eventually(&format!("same tip, heights at first {:?}", heights()), same).await;
    }

    /// Stops the network and closes the ledger. Returns the data directory.
    pub(crate) async fn stop(self) -> TempDir {
        let Node { chain, network, directory } = self;
        network.stop().await;
        tokio::task::spawn_blocking(move || drop(chain)).await.unwrap();
        directory
    }
}
