//! Nodes as the tests know them: a real ledger in a folder of its own, a thread that owns its
//! writer, and the network between them over loopback.

use chain::block::{self, Block, Header, Timestamp};
use chain::ledger::{self, Accepted, Commit, Reader, SubmitError, Writer};
use chain::mempool::{self, Admission};
use chain::signature::SecretKey;
use chain::template::{Template, TemplateRequest};
use chain::tx::{Memo, Payment, Tag, Transfer};
use chain::{Amount, Params, Target};
use p2p::multiaddr::Protocol;
use p2p::{ChainUpdate, Config, ConnectError, Event, Handle, Multiaddr, PeerId, SpawnError};
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::sync::{broadcast, oneshot};

/// What a condition may take to come true. Much more than it should: the machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Asks again and again until something is true.
///
/// # Panics
/// If it does not come true soon.
pub(crate) async fn eventually<F: Future<Output = bool>>(
    what: &str,
    mut is_true: impl FnMut() -> F,
) {
    let until = tokio::time::Instant::now() + SOON;
    while !is_true().await {
        assert!(tokio::time::Instant::now() < until, "not so in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

enum Task {
    Event(Event),
    Generate(u32, u8, oneshot::Sender<Vec<block::Hash>>),
    Transfer(Box<Transfer>),
    Stop,
}

/// A ledger and the thread that writes it.
pub(crate) struct Chain {
    pub(crate) reader: Reader,
    tasks: mpsc::Sender<Task>,
    news: broadcast::Sender<ChainUpdate>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Chain {
    /// Opens the ledger in a folder.
    pub(crate) fn open(folder: &Path, params: Params) -> Chain {
        let options = ledger::Options {
            cache_bytes: 4 << 20,
            threads: 1,
            mempool: mempool::Limits::default(),
        };
        let (writer, reader) = ledger::open(folder, params, options, &mut |_| {}).unwrap();
        let (tasks, queue) = mpsc::channel();
        let (news, _) = broadcast::channel(65_536);
        let desk = Desk { writer, news: news.clone(), made: 0 };
        let thread = std::thread::spawn(move || desk.run(&queue));
        Chain { reader, tasks, news, thread: Some(thread) }
    }

    /// Mines so many blocks for the account of a number.
    pub(crate) async fn generate(&self, blocks: u32, account: u8) -> Vec<block::Hash> {
        let (done, hashes) = oneshot::channel();
        self.tasks.send(Task::Generate(blocks, account, done)).unwrap();
        hashes.await.unwrap()
    }

    /// Takes in a transfer, as from the API.
    pub(crate) fn transfer(&self, transfer: Transfer) {
        self.tasks.send(Task::Transfer(Box::new(transfer))).unwrap();
    }

    /// What the chain tells the network.
    pub(crate) fn news(&self) -> broadcast::Receiver<ChainUpdate> {
        self.news.subscribe()
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
        let _ = self.tasks.send(Task::Stop);
        let joined = self.thread.take().map(std::thread::JoinHandle::join);
        assert!(!matches!(joined, Some(Err(_))) || std::thread::panicking(), "the writer panicked");
    }
}

/// What the thread works with.
struct Desk {
    writer: Writer,
    news: broadcast::Sender<ChainUpdate>,
    made: u64,
}

impl Desk {
    fn run(mut self, queue: &mpsc::Receiver<Task>) {
        while let Ok(task) = queue.recv() {
            match task {
                Task::Event(Event::Block { block, reply }) => {
                    let _ = reply.send(self.block(block));
                }
                Task::Event(Event::Transfer { transfer, reply }) => {
                    let _ = reply.send(self.transfer(*transfer));
                }
                Task::Transfer(transfer) => drop(self.transfer(*transfer).unwrap()),
                Task::Generate(blocks, account, done) => {
                    let _ = done.send(self.generate(blocks, account));
                }
                Task::Stop => break,
            }
        }
        self.writer.close().unwrap();
    }

    fn block(&mut self, block: Arc<Block>) -> Result<Accepted, SubmitError> {
        let accepted = self.writer.submit_block(block, now())?;
        if accepted != Accepted::AlreadyKnown {
            let commit = self.writer.commit()?;
            self.tell(&commit);
        }
        Ok(accepted)
    }

    fn transfer(&mut self, transfer: Transfer) -> Result<Admission, ledger::TransferError> {
        let admission = self.writer.submit_transfer(transfer)?;
        if let Admission::Added(changes) = &admission {
            let _ = self.news.send(ChainUpdate::TransfersAccepted(changes.pending.clone()));
        }
        Ok(admission)
    }

    fn generate(&mut self, blocks: u32, account: u8) -> Vec<block::Hash> {
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            let block = mine(&mut self.writer, account, self.made);
            self.made += 1;
            hashes.push(block.hash());
            self.writer.submit_block(block, now()).unwrap();
            let commit = self.writer.commit().unwrap();
            self.tell(&commit);
        }
        hashes
    }

    fn tell(&self, commit: &Commit) {
        if !commit.connected.is_empty() {
            let _ = self.news.send(ChainUpdate::TipChanged);
        }
        if !commit.mempool.pending.is_empty() {
            let _ = self.news.send(ChainUpdate::TransfersAccepted(commit.mempool.pending.clone()));
        }
    }
}

/// A block on the tip.
fn mine(writer: &mut Writer, account: u8, extra: u64) -> Block {
    let wish = TemplateRequest {
        miner: key(account).public_key().address(),
        now: now(),
        extra_nonce: extra.to_le_bytes(),
        tag: Tag::new(vec![account]).unwrap(),
    };
    let Template { mut block, target, .. } = writer.template(wish).unwrap();
    seal(&mut block.header, target);
    block
}

fn seal(header: &mut Header, target: Target) {
    while !target.is_met_by(header.hash().as_bytes()) {
        header.nonce += 1;
    }
}

/// The key of an account.
pub(crate) fn key(account: u8) -> SecretKey {
    SecretKey::from_seed([account; 32])
}

/// The network `dev` with coins for some accounts.
pub(crate) fn rich(accounts: &[u8]) -> Params {
    let mut spec = Params::dev().spec().clone();
    let coins = Amount::new(1_000_000_000_000).unwrap();
    let allocation = |account: &u8| (key(*account).public_key().address(), coins);
    spec.allocations = accounts.iter().map(allocation).collect();
    Params::new(spec).unwrap()
}

/// A payment of one account to another.
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

/// This machine's clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::new(u32::try_from(since.as_secs()).unwrap())
}

/// How a node differs from the others.
pub(crate) struct Setting {
    pub(crate) params: Params,
    /// Where to listen, ids ignored; on any port of loopback by default.
    pub(crate) listen: Vec<Multiaddr>,
    pub(crate) peers: Vec<Multiaddr>,
    pub(crate) max_peers: usize,
    pub(crate) mdns: bool,
}

impl Default for Setting {
    fn default() -> Setting {
        let params = Params::dev();
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        Setting { params, listen, peers: Vec::new(), max_peers: 32, mdns: false }
    }
}

/// A whole node.
pub(crate) struct Node {
    pub(crate) chain: Chain,
    pub(crate) network: Handle,
    pub(crate) folder: TempDir,
    importer: tokio::task::JoinHandle<()>,
}

impl Node {
    /// A node of the network `dev` that knows nobody.
    pub(crate) async fn start() -> Node {
        Node::start_with(Setting::default()).await
    }

    /// A node that calls another one.
    pub(crate) async fn calling(other: &Node) -> Node {
        Node::start_with(Setting { peers: vec![other.address()], ..Setting::default() }).await
    }

    pub(crate) async fn start_with(setting: Setting) -> Node {
        Node::start_in(TempDir::new().unwrap(), setting).await.unwrap()
    }

    /// A node that goes on in a folder.
    pub(crate) async fn start_in(folder: TempDir, setting: Setting) -> Result<Node, SpawnError> {
        let Setting { params, listen, peers, max_peers, mdns } = setting;
        let chain = Chain::open(&folder.path().join("chain"), params);
        let without_id = |address: Multiaddr| {
            address.iter().filter(|part| !matches!(part, Protocol::P2p(_))).collect()
        };
        let listen = listen.into_iter().map(without_id).collect();
        let data = folder.path().to_owned();
        let agent = "test/1".to_owned();
        let boot_nodes = vec![];
        let discover = true;
        let config = Config { listen, peers, boot_nodes, max_peers, discover, mdns, data, agent };
        let news = chain.news();
        let (network, events) = p2p::spawn(config, chain.reader.clone(), news).await?;
        let importer = tokio::spawn(hand_over(events, chain.tasks.clone()));
        Ok(Node { chain, network, folder, importer })
    }

    /// Where it is reached, its id included.
    pub(crate) fn address(&self) -> Multiaddr {
        self.network.listening().remove(0)
    }

    pub(crate) fn id(&self) -> PeerId {
        self.network.id()
    }

    /// Connects two nodes, and returns when both have said hello.
    pub(crate) async fn connect(&self, other: &Node) -> Result<PeerId, ConnectError> {
        let connected = self.network.connect(other.address()).await?;
        eventually("the other side knows the peer", async || other.knows(self).await).await;
        Ok(connected)
    }

    /// Whether another node has said hello to this one.
    pub(crate) async fn knows(&self, other: &Node) -> bool {
        self.network.peers().await.iter().any(|peer| peer.id == other.id())
    }

    /// Waits until this node has so many peers.
    pub(crate) async fn has_peers(&self, count: usize) {
        let mut counts = self.network.peer_counts();
        let reached = tokio::time::timeout(SOON, counts.wait_for(|now| *now == count)).await;
        let now = self.network.peer_count();
        assert!(reached.is_ok(), "{now} peers, not {count}");
    }

    /// Waits until this node's best block is the one of another chain.
    pub(crate) async fn follows(&self, other: &Node) {
        let same = async || self.chain.tip() == other.chain.tip();
        let heights = || (self.chain.height(), other.chain.height());
        eventually(&format!("one tip, at first {:?}", heights()), same).await;
    }

    /// Stops the network and closes the ledger; the folder stays.
    pub(crate) async fn stop(self) -> TempDir {
        let Node { chain, network, folder, importer } = self;
        network.stop().await;
        importer.await.unwrap();
        tokio::task::spawn_blocking(move || drop(chain)).await.unwrap();
        folder
    }
}

async fn hand_over(mut events: tokio::sync::mpsc::Receiver<Event>, tasks: mpsc::Sender<Task>) {
    while let Some(event) = events.recv().await {
        if tasks.send(Task::Event(event)).is_err() {
            return;
        }
    }
}
