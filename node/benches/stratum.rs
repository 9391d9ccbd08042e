//! The Stratum server under load: `cargo bench -p chain --bench stratum`.
//!
//! 1,000 connections send 20 shares a second each, while one more sends as much as it can. Reports
//! the replies, the latency of replies and new tips as measured by one busy thread, the latency of a
//! ping over another connection with its own thread, and whether every found block was accepted.

#![allow(clippy::unwrap_used)] // a benchmark may stop at any error
#![allow(clippy::print_stdout)] // its purpose is to print
#![allow(missing_docs)]

use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const CONNECTIONS: u32 = 1_000;
/// The share rate of one connection.
const SHARES_PER_SECOND: u64 = 20;
const RUN: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(120);
/// Blocks take 65,537 hashes: one every few seconds.
const NETWORK: &str = "name = \"bench\"\nhrp = \"dch\"\nspacing_seconds = 5\nhalf_life_seconds = 125\n\
    fixed_difficulty = true\nlimit_bits = \"1f00ffff\"\ngenesis_bits = \"1f00ffff\"\n\
    genesis_time = 1767225600\ninitial_subsidy = 5000000000\nhalving_interval = 210000\n\
    maturity = 10\nmax_future_seconds = 60\nmax_block_bytes = 2000000\nmessage = \"bench\"\n";

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(bench());
}

/// The measurements of all connections.
#[derive(Default)]
struct Measurements {
    /// Replies by error code, 0 for none.
    replies: Mutex<BTreeMap<u64, u64>>,
    /// Microseconds from share to reply.
    delays: Mutex<Vec<u32>>,
    /// Hashes of shares that solve a block.
    blocks: Mutex<Vec<String>>,
    /// When each connection received each tip.
    tips: Mutex<HashMap<String, Vec<Instant>>>,
    flood: AtomicU64,
    stop: AtomicBool,
}

async fn bench() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path()).await;
    let address = chain::Address::from_bytes([7; 20]).encode(chain::Params::dev().hrp());
    let measurements = Arc::new(Measurements::default());
    let started = Instant::now();
    let mut tasks = Vec::new();
    for number in 0..CONNECTIONS {
        let stream = TcpStream::connect(&node.stratum).await.unwrap();
        let user = format!("{address}.{number}");
        tasks.push(tokio::spawn(mine(stream, user, Arc::clone(&measurements))));
    }
    println!("{CONNECTIONS} connections in {:.2?}", started.elapsed());
    let flood = TcpStream::connect(&node.stratum).await.unwrap();
    tasks.push(tokio::spawn(flood_of(flood, Arc::clone(&measurements))));
    // In the first second the connections authorize.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (measured, cpu) = (Instant::now(), node.cpu_seconds());
    let (address, ping_measurements) = (node.stratum.clone(), Arc::clone(&measurements));
    let pinger = std::thread::spawn(move || ping(&address, &ping_measurements));
    measurements.replies.lock().unwrap().clear();
    measurements.delays.lock().unwrap().clear();
    tokio::time::sleep(RUN).await;
    let took = measured.elapsed().as_secs_f64();
    let cpu = (node.cpu_seconds() - cpu) / took;
    let replies = std::mem::take(&mut *measurements.replies.lock().unwrap());
    let mut delays = std::mem::take(&mut *measurements.delays.lock().unwrap());
    measurements.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let mut pings = pinger.join().unwrap();
    delays.sort_unstable();
    pings.sort_unstable();
    let percent =
        |sorted: &[u32], of: usize| f64::from(sorted[(sorted.len() - 1) * of / 100]) / 1e3;
    let total: u64 = replies.values().sum();
    println!("{:.0} shares/s processed, {cpu:.2} processors used by the node", total as f64 / took);
    println!("by code (0: accepted): {replies:?}");
    for (name, sorted) in [("share to reply", &delays), ("ping on another connection", &pings)] {
        let [median, late] = [50, 99].map(|of| percent(sorted, of));
        println!("{name}: p50 {median:.2} ms, p99 {late:.2} ms, of {}", sorted.len());
    }
    println!(
        "flooding connection: {:.0} replies/s",
        measurements.flood.load(Ordering::Relaxed) as f64 / took
    );
    let mut spreads: Vec<f64> = Vec::new();
    for times in
        measurements.tips.lock().unwrap().values().filter(|it| it.len() >= CONNECTIONS as usize)
    {
        let first = times.iter().min().unwrap();
        spreads.extend(times.iter().map(|time| (*time - *first).as_secs_f64() * 1e3));
    }
    spreads.sort_by(f64::total_cmp);
    if let Some(last) = spreads.last() {
        let p99 = spreads[(spreads.len() - 1) * 99 / 100];
        println!("new tip, after its first receiver: p99 {p99:.1} ms, last {last:.1} ms");
    }
    let blocks = measurements.blocks.lock().unwrap().clone();
    let mut lost = 0;
    for hash in &blocks {
        let url = format!("{}/v1/blocks/{hash}", node.api);
        let is_stored = reqwest::get(url).await.unwrap().status().is_success();
        lost += u32::from(!is_stored);
    }
    println!("{} blocks found, {lost} lost", blocks.len());
    assert_eq!(lost, 0);
}

/// One miner: sends shares at its rate.
async fn mine(stream: TcpStream, user: String, measurements: Arc<Measurements>) {
    stream.set_nodelay(true).unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    let requests = format!(
        "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}}\n\
         {{\"id\":2,\"method\":\"mining.suggest_difficulty\",\"params\":[1e-9]}}\n\
         {{\"id\":3,\"method\":\"mining.authorize\",\"params\":[\"{user}\",\"x\"]}}\n"
    );
    writer.write_all(requests.as_bytes()).await.unwrap();
    let (mut half, mut job, mut nonce) = (String::new(), None::<Job>, 0_u32);
    let mut waiting: VecDeque<Instant> = VecDeque::new();
    let mut due = tokio::time::interval(Duration::from_millis(1_000 / SHARES_PER_SECOND));
    while !measurements.stop.load(Ordering::Relaxed) || !waiting.is_empty() {
        tokio::select! {
            line = lines.next_line() => {
                let line = line.unwrap().unwrap();
                if line.contains("\"id\":4,") {
                    let code = line.strip_prefix("{\"error\":[").map_or("0", |rest| &rest[..2]);
                    *measurements.replies.lock().unwrap().entry(code.parse().unwrap()).or_default() += 1;
                    let sent = waiting.pop_front().unwrap();
                    let delay = u32::try_from(sent.elapsed().as_micros()).unwrap();
                    measurements.delays.lock().unwrap().push(delay);
                    continue;
                }
                let line: Value = serde_json::from_str(&line).unwrap();
                if line["id"] == 1 {
                    half = line["result"][1].as_str().unwrap().to_owned();
                } else if line["method"] == "mining.notify" {
                    let next = Job::new(&line["params"], &half);
                    if line["params"][8] == true {
                        let mut tips = measurements.tips.lock().unwrap();
                        tips.entry(next.tip.clone()).or_default().push(Instant::now());
                    }
                    job = Some(next);
                }
            }
            _ = due.tick() => {
                let Some(job) = job.as_mut().filter(|_| !measurements.stop.load(Ordering::Relaxed)) else {
                    continue;
                };
                nonce += 1;
                let hash = job.hash(nonce);
                // Bits 1f00ffff: two zero bytes, and then less than ffff.
                if hash[..2] == [0, 0] && hash[2..4] < [0xff, 0xff][..] {
                    measurements.blocks.lock().unwrap().push(hex::encode(hash));
                }
                let share = format!(
                    "{{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"{user}\",\"{}\",\
                     \"00000000\",\"{}\",\"{nonce:08x}\"]}}\n",
                    job.id, job.time
                );
                waiting.push_back(Instant::now());
                writer.write_all(share.as_bytes()).await.unwrap();
            }
        }
    }
}

/// Sends pings at intervals; returns the microseconds from each to its reply.
fn ping(address: &str, measurements: &Measurements) -> Vec<u32> {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut answer, mut delays) = ([0; 200], Vec::new());
    while !measurements.stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20));
        let sent = Instant::now();
        stream.write_all(b"{\"id\":1,\"method\":\"mining.ping\"}\n").unwrap();
        assert!(stream.read(&mut answer).unwrap() > 0);
        delays.push(u32::try_from(sent.elapsed().as_micros()).unwrap());
    }
    delays
}

/// Sends as much as the socket accepts, and reads all replies.
async fn flood_of(stream: TcpStream, measurements: Arc<Measurements>) {
    let (reader, mut writer) = stream.into_split();
    let counting = Arc::clone(&measurements);
    let reading = tokio::spawn(async move {
        let mut lines = BufReader::new(reader).lines();
        while let Ok(Some(_)) = lines.next_line().await {
            counting.flood.fetch_add(1, Ordering::Relaxed);
        }
    });
    let lines = "{\"id\":1,\"method\":\"mining.ping\",\"params\":[]}\n".repeat(100);
    while !measurements.stop.load(Ordering::Relaxed) {
        let write = writer.write_all(lines.as_bytes());
        if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(100), write).await {
            break;
        }
    }
    drop(writer);
    reading.abort();
}

/// A job and the header that it makes with an extra nonce of zeros.
struct Job {
    id: String,
    tip: String,
    time: String,
    header: [u8; 80],
}

fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

impl Job {
    fn new(params: &Value, half: &str) -> Job {
        let text = |at: usize| params[at].as_str().unwrap();
        let bytes = |text: &str| hex::decode(text).unwrap();
        let mut root = sha256d(&bytes(&[text(2), half, "00000000", text(3)].concat()));
        for sibling in params[4].as_array().unwrap() {
            root = sha256d(&[&root[..], &bytes(sibling.as_str().unwrap())].concat());
        }
        let mut previous = bytes(text(1));
        previous.chunks_mut(4).for_each(<[u8]>::reverse);
        let word = |at: usize| u32::from_str_radix(text(at), 16).unwrap().to_le_bytes();
        let header = [&word(5)[..], &previous, &root, &word(7), &word(6), &[0; 4]].concat();
        Job {
            id: text(0).to_owned(),
            tip: text(1).to_owned(),
            time: text(7).to_owned(),
            header: header.try_into().unwrap(),
        }
    }

    /// The hash in display order.
    fn hash(&mut self, nonce: u32) -> [u8; 32] {
        self.header[76..].copy_from_slice(&nonce.to_le_bytes());
        let mut hash = sha256d(&self.header);
        hash.reverse();
        hash
    }
}

/// A node process, which is killed when dropped.
struct Node {
    child: Child,
    api: String,
    stratum: String,
}

impl Node {
    async fn start(folder: &Path) -> Node {
        let (network, data) = (folder.join("network.toml"), folder.join("data"));
        fs::write(&network, NETWORK).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
        command.args(["node", "--api", "127.0.0.1:0", "--stratum", "127.0.0.1:0", "--log", "warn"]);
        command.args(["--listen", "none", "--mdns", "false"]);
        command.arg("--network").arg(&network).arg("--data").arg(&data).stdout(Stdio::null());
        let mut node =
            Node { child: command.spawn().unwrap(), api: String::new(), stratum: String::new() };
        let started = Instant::now();
        loop {
            let file = fs::read(data.join("node.json")).unwrap_or_default();
            if let Ok(file) = serde_json::from_slice::<Value>(&file) {
                let text = |name: &str| file[name].as_str().unwrap().to_owned();
                node.stratum = text("stratum").strip_prefix("stratum+tcp://").unwrap().to_owned();
                node.api = text("api");
                return node;
            }
            assert!(started.elapsed() < TIMEOUT, "the node does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The processor time that the node has used, where the system reports it.
    fn cpu_seconds(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
        let ticks = fields.split(' ').skip(11).take(2).filter_map(|it| it.parse::<f64>().ok());
        ticks.sum::<f64>() / 100.0
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
