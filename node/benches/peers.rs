//! Benchmarks of node processes connected over loopback: `cargo bench --bench peers [-- NAME]`.
//!
//! `sync`: a new node downloads 10,000 blocks with 100,000 transfers from two others, one of which
//! is killed half way; compared with `chain verify` of the same chain. Three rounds; the chain is
//! cached. `line`: relay of blocks of 2,000,000 bytes, and of empty ones, through eight nodes in a
//! line.

#![allow(clippy::unwrap_used)] // a benchmark stops at any error
#![allow(clippy::print_stdout)] // its results are printed
#![allow(missing_docs)]

use chain::ledger::{self, Options, Reader, Writer};
use chain::mempool::{Replacement, Source};
use chain::signature::SecretKey;
use chain::testing::{dev_key, mine_on_tip};
use chain::tx::{Memo, Payment};
use chain::{Params, Transfer};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const BLOCKS: u32 = 10_000;
const TRANSFERS_PER_BLOCK: u32 = 10;
const ROUNDS: usize = 3;
const NODES: usize = 8;
const TIMEOUT: Duration = Duration::from_secs(300);
/// How long transfers may take to reach the next mempool.
const RELAY_TIMEOUT: Duration = Duration::from_secs(10);
/// The bytes sent per second by all nodes together below which the network counts as idle.
const IDLE_BYTES: u64 = 64 << 10;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_selected = |name: &str| names.is_empty() || names.iter().any(|other| other == name);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if is_selected("sync") {
        runtime.block_on(sync());
    }
    if is_selected("line") {
        runtime.block_on(line());
    }
}

async fn sync() {
    let cached = cached_chain();
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        ratios.push(sync_once(&cached).await);
    }
    ratios.sort_by(f64::total_cmp);
    println!("sync: {:.2} of the rate of verify, median of {ROUNDS}", ratios[ROUNDS / 2]);
}

/// The rate of a sync as a fraction of the rate of `chain verify`.
async fn sync_once(cached: &Path) -> f64 {
    let directory = tempfile::tempdir().unwrap();
    let [first, second, fresh] =
        ["first", "second", "fresh"].map(|name| directory.path().join(name));
    copy(cached, &first);
    copy(cached, &second);
    let mut first = Node::start(&first, &[]).await;
    let second = Node::start(&second, &[]).await;
    let peers = [first.peer(), second.peer()];
    let start = Instant::now();
    let fresh = Node::start(&fresh, &["--peer", &peers[0], "--peer", &peers[1]]).await;
    fresh.wait_for_height(BLOCKS / 2).await;
    first.kill();
    fresh.wait_for_height(BLOCKS).await;
    let synced = start.elapsed();
    let data = fresh.data.clone();
    fresh.stop();
    second.stop();
    let start = Instant::now();
    let verify = chain(&["verify", "--data"]).arg(&data).stdout(Stdio::null()).status().unwrap();
    assert!(verify.success());
    let verified = start.elapsed();
    for (name, elapsed) in [("sync", synced), ("verify", verified)] {
        let blocks = f64::from(BLOCKS) / elapsed.as_secs_f64();
        let transfers = blocks * f64::from(TRANSFERS_PER_BLOCK);
        println!("{name:8} {elapsed:8.2?}  {blocks:8.0} blocks/s  {transfers:8.0} transfers/s");
    }
    let ratio = verified.as_secs_f64() / synced.as_secs_f64();
    println!("ratio    {ratio:8.2}");
    ratio
}

async fn line() {
    let directory = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..NODES {
        let before = nodes.last().map(Node::peer);
        let flags = before.iter().flat_map(|peer| ["--peer", peer]).collect::<Vec<_>>();
        nodes.push(Node::start(&directory.path().join(number.to_string()), &flags).await);
    }
    let ends = [0, NODES - 1];
    for (number, node) in nodes.iter().enumerate() {
        let peers = if ends.contains(&number) { 1 } else { 2 };
        node.eventually("its peers", |chain| chain["peers"] == peers).await;
    }
    let empty = relay_block(&nodes).await;
    fill_mempools(&nodes).await;
    let before = sent(&nodes).await;
    let full = relay_block(&nodes).await;
    let after = sent(&nodes).await;
    let size = nodes[0].get("/v1/blocks/tip").await["size"].as_u64().unwrap();
    let hops = u64::try_from(NODES - 1).unwrap();
    let each = (after - before) / hops;
    println!(
        "empty block through {NODES} nodes in a line: {empty:.1?}, {:.1?} per hop",
        per_hop(empty)
    );
    println!("{size} bytes, transfers in the mempools: {full:.1?}, {:.1?} per hop", per_hop(full));
    let share =
        100.0 * f64::from(u32::try_from(each).unwrap()) / f64::from(u32::try_from(size).unwrap());
    println!("bytes sent per hop: {each}, {share:.2} % of the block");
}

fn per_hop(elapsed: Duration) -> Duration {
    elapsed / u32::try_from(NODES - 1).unwrap()
}

/// Mines a block at the first node and measures the time until it is the tip of the last one.
async fn relay_block(nodes: &[Node]) -> Duration {
    let hash = nodes[0].generate().await;
    let start = Instant::now();
    let last = nodes.last().unwrap();
    last.eventually("the block", |chain| chain["tip"] == hash.as_str()).await;
    start.elapsed()
}

/// Fills every mempool with the transfers of a full block, and waits until the network is idle.
async fn fill_mempools(nodes: &[Node]) {
    let key = dev_key(0);
    // As many transfers as fit, from several senders, since the mempool limits those of one sender.
    let params = Params::dev();
    let count = 13_792_u64;
    let senders: Vec<SecretKey> =
        (0..14_u8).map(|number| SecretKey::from_seed([number + 1; 32])).collect();
    let pay = |from: &SecretKey, nonce, to: &SecretKey, amount| {
        let recipient = to.public_key().address();
        let payment = Payment { nonce, recipient, amount, fee: 1_000, memo: Memo::default() };
        Transfer::sign(payment, from, params.genesis_hash())
    };
    let funding = senders.iter().zip(0..).map(|(to, nonce)| pay(&key, nonce, to, 10_000_000));
    nodes[0].submit(&funding.collect::<Vec<_>>()).await;
    relay_block(nodes).await;
    let each = count.div_ceil(u64::try_from(senders.len()).unwrap());
    let transfers: Vec<Transfer> = senders
        .iter()
        .flat_map(|sender| (0..each).map(|nonce| pay(sender, nonce, &key, 1)))
        .collect();
    for (number, node) in nodes.iter().enumerate() {
        let start = Instant::now();
        while number > 0 && start.elapsed() < RELAY_TIMEOUT && node.pending().await < count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let missing = count.saturating_sub(node.pending().await);
        if missing > 0 {
            if number > 0 {
                println!("node {number} misses {missing} transfers: submitting them");
            }
            node.submit(&transfers).await;
        }
    }
    let mut before = 0;
    loop {
        let now = sent(nodes).await;
        if now - before < IDLE_BYTES {
            return;
        }
        before = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn sent(nodes: &[Node]) -> u64 {
    let mut sum = 0;
    for node in nodes {
        let peers = node.get("/v1/peers").await;
        sum += peers["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["bytes_sent"].as_u64().unwrap())
            .sum::<u64>();
    }
    sum
}

/// A data directory with the chain to sync, cached in the target directory.
fn cached_chain() -> PathBuf {
    let cached = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers-bench-chain");
    let is_complete = cached.exists()
        && open(&cached).is_ok_and(|(writer, reader)| {
            let height = reader.view().tip().height.get();
            writer.close().is_ok() && height == BLOCKS
        });
    if !is_complete {
        let _ = fs::remove_dir_all(&cached);
        build_chain(&cached);
    }
    cached
}

fn open(data: &Path) -> Result<(Writer, Reader), ledger::OpenError> {
    let threads = std::thread::available_parallelism().unwrap().get();
    let options = Options { cache_bytes: 64 << 20, threads, ..Options::default() };
    ledger::open(data, Params::dev(), &options, &mut |_| {})
}

fn build_chain(data: &Path) {
    let (mut writer, _) = open(data).unwrap();
    let key = dev_key(0);
    let miner = SecretKey::from_seed([7; 32]).public_key().address();
    for nonce in 0..BLOCKS * TRANSFERS_PER_BLOCK {
        let recipient =
            SecretKey::from_seed([u8::try_from(nonce % 200).unwrap(); 32]).public_key().address();
        let payment = Payment {
            nonce: nonce.into(),
            recipient,
            amount: 1,
            fee: 1_000,
            memo: Memo::default(),
        };
        writer
            .submit_transfer(
                Transfer::sign(payment, &key, Params::dev().genesis_hash()),
                Replacement::Allowed,
                Source::Local,
            )
            .unwrap();
        if (nonce + 1) % TRANSFERS_PER_BLOCK == 0 {
            let block = mine_on_tip(&writer, miner);
            let time = block.header.time;
            writer.submit_block(block, time).unwrap();
            writer.commit().unwrap();
        }
    }
    writer.close().unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn chain(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

struct Node {
    child: Child,
    data: PathBuf,
    client: reqwest::Client,
    node_file: Value,
}

impl Node {
    async fn start(data: &Path, flags: &[&str]) -> Node {
        let mut command =
            chain(&["node", "--network", "dev", "--api", "127.0.0.1:0", "--log", "warn"]);
        command
            .args(["--listen", "/ip4/127.0.0.1/tcp/0", "--discover", "false"])
            .args(flags)
            .arg("--data")
            .arg(data);
        let child = command.spawn().unwrap();
        let mut node = Node {
            child,
            data: data.to_owned(),
            client: reqwest::Client::new(),
            node_file: Value::Null,
        };
        let start = Instant::now();
        while node.node_file["pid"] != node.child.id() {
            assert!(start.elapsed() < TIMEOUT, "the node did not start");
            let file = fs::read(data.join("node.json")).unwrap_or_default();
            node.node_file = serde_json::from_slice(&file).unwrap_or_default();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        node
    }

    fn peer(&self) -> String {
        self.node_file["peers"][0].as_str().unwrap().to_owned()
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.node_file["api"].as_str().unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        self.client.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: &Value) -> Value {
        let token = fs::read_to_string(self.data.join("api-token")).unwrap();
        let request = self.client.post(self.url(path)).bearer_auth(token.trim()).json(body);
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        response.json().await.unwrap()
    }

    async fn generate(&self) -> String {
        let miner = SecretKey::from_seed([7; 32]).public_key().address();
        let miner = miner.encode(Params::dev().hrp());
        let generated =
            self.post("/v1/dev/generate", &serde_json::json!({"blocks": 1, "miner": miner})).await;
        generated["blocks"][0].as_str().unwrap().to_owned()
    }

    async fn submit(&self, transfers: &[Transfer]) {
        for chunk in transfers.chunks(100) {
            let hex = chunk.iter().map(|transfer| hex::encode(transfer.encode()));
            let batch: Vec<Value> = hex.map(|hex| serde_json::json!({ "hex": hex })).collect();
            self.post("/v1/transactions/batch", &serde_json::json!(batch)).await;
        }
    }

    async fn eventually(&self, what: &str, mut is_met: impl FnMut(&Value) -> bool) {
        let start = Instant::now();
        while !is_met(&self.get("/v1/chain").await) {
            assert!(start.elapsed() < TIMEOUT, "{what}: not within {TIMEOUT:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The number of transfers in the mempool.
    async fn pending(&self) -> u64 {
        self.get("/v1/chain").await["mempool"]["count"].as_u64().unwrap()
    }

    async fn wait_for_height(&self, height: u32) {
        let reached = |chain: &Value| chain["height"].as_u64() >= Some(height.into());
        self.eventually("a height", reached).await;
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
