//! The API under attack: `cargo bench -p chain --bench api`.
//!
//! 5,000 connections send a byte of a request head per second and reconnect when they are closed; 100
//! event subscribers never read, while events are emitted all the time. The benchmark prints the time
//! of `GET /v1/chain` for honest clients before, during and after the attack, over a persistent
//! connection and over new ones, and the memory and open files of the node.

#![allow(clippy::unwrap_used)] // a benchmark may panic on any failure
#![allow(clippy::print_stdout)] // a benchmark prints its results
#![allow(missing_docs)]

use serde_json::Value;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SLOW: u32 = 5_000;
const NON_READING: usize = 100;
const IDLE: Duration = Duration::from_secs(5);
const ATTACK: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(60);
/// The pause between two requests of an honest client.
const PAUSE: Duration = Duration::from_millis(5);

fn main() {
    allow_files();
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    node.generate(100);
    node.measure("before", IDLE);

    let stop = Arc::new(AtomicBool::new(false));
    let (opened, subscribed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let attack = {
        let (address, stop) = (node.address, Arc::clone(&stop));
        let (opened, subscribed) = (Arc::clone(&opened), Arc::clone(&subscribed));
        thread::spawn(move || attack_with(address, &stop, &opened, &subscribed))
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                node.generate(5);
                thread::sleep(Duration::from_millis(100));
            }
        });
        thread::sleep(Duration::from_secs(3));
        for third in ["first third", "second third", "last third"] {
            node.measure(third, ATTACK / 3);
        }
        stop.store(true, Ordering::Relaxed);
    });
    attack.join().unwrap();
    println!(
        "{} slow connections were opened, {} event streams were opened",
        opened.load(Ordering::Relaxed),
        subscribed.load(Ordering::Relaxed)
    );

    let started = Instant::now();
    while node.files() > 100 {
        assert!(started.elapsed() < DEADLINE, "{} files stay open", node.files());
        thread::sleep(Duration::from_millis(20));
    }
    println!("all connections closed after {:.2?}", started.elapsed());
    node.measure("after", IDLE);
    let mut reader = TcpStream::connect(node.address).unwrap();
    reader.write_all(&request("/v1/events?since=0", "")).unwrap();
    let mut status = [0; 15];
    reader.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK", "event streams are available again");
}

fn request(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").into_bytes()
}

/// Runs the attack until `stop` is set.
fn attack_with(
    address: SocketAddr,
    stop: &Arc<AtomicBool>,
    opened: &Arc<AtomicU32>,
    subscribed: &Arc<AtomicU32>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runs = |stop: &AtomicBool| !stop.load(Ordering::Relaxed);
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..NON_READING {
            let (stop, subscribed) = (Arc::clone(stop), Arc::clone(subscribed));
            tasks.push(tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.write_all(&request("/v1/events?since=0", "")).await.unwrap();
                let mut status = [0; 12];
                if stream.read_exact(&mut status).await.is_ok() && status.ends_with(b"200") {
                    subscribed.fetch_add(1, Ordering::Relaxed);
                }
                while runs(&stop) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }));
        }
        for number in 0..SLOW {
            let (stop, opened) = (Arc::clone(stop), Arc::clone(opened));
            tasks.push(tokio::spawn(async move {
                // Spread over a second, as connections of many machines would be.
                let part = Duration::from_secs(1) * number / SLOW;
                tokio::time::sleep(part).await;
                while runs(&stop) {
                    let Ok(mut stream) = tokio::net::TcpStream::connect(address).await else {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    };
                    opened.fetch_add(1, Ordering::Relaxed);
                    let mut head = request("/v1/chain", "X: ").into_iter();
                    while runs(&stop) {
                        let Some(byte) = head.next() else { break };
                        if stream.write_all(&[byte]).await.is_err() {
                            break;
                        }
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
    });
}

/// Sends sequential requests over one persistent connection or over new ones. Returns the sorted response
/// times and the number of broken connections.
fn request_repeatedly(
    address: SocketAddr,
    run: Duration,
    is_persistent: bool,
) -> (Vec<Duration>, usize) {
    let more = if is_persistent { "" } else { "Connection: close\r\n" };
    let request = request("/v1/chain", more);
    let (mut times, mut broken) = (Vec::new(), 0);
    let mut open: Option<TcpStream> = None;
    let started = Instant::now();
    while started.elapsed() < run {
        let sent = Instant::now();
        loop {
            let stream = open.take().map_or_else(|| TcpStream::connect(address), Ok);
            let result = stream.and_then(|mut stream| {
                stream.set_nodelay(true)?;
                stream.write_all(&request)?;
                read_response(&mut stream)?;
                Ok(stream)
            });
            match result {
                Ok(stream) => {
                    open = is_persistent.then_some(stream);
                    break;
                }
                Err(_) => broken += 1,
            }
            assert!(sent.elapsed() < DEADLINE, "no response");
        }
        times.push(sent.elapsed());
        thread::sleep(PAUSE);
    }
    times.sort_unstable();
    (times, broken)
}

/// Reads a response to its last byte.
fn read_response(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut response = Vec::with_capacity(4_096);
    let mut chunk = [0; 4_096];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        response.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&response);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            let length = head.split("content-length: ").nth(1).unwrap();
            let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
            if body.len() == length {
                return Ok(());
            }
        }
    }
}

/// Raises the limit of open files of this process and its children to the maximum.
fn allow_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

/// A node process, killed on drop.
struct Node {
    child: Child,
    address: SocketAddr,
    token: String,
}

impl Node {
    fn start(folder: &Path) -> Node {
        let data = folder.join("data");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
        command.args(["node", "--network", "dev", "--api", "127.0.0.1:0", "--log", "error"]);
        command.args(["--listen", "none"]).arg("--data").arg(&data).stdout(Stdio::null());
        let (address, token) = (([0; 4], 0).into(), String::new());
        let mut node = Node { child: command.spawn().unwrap(), address, token };
        let started = Instant::now();
        loop {
            let file = fs::read(data.join("node.json")).unwrap_or_default();
            if let Ok(node_file) = serde_json::from_slice::<Value>(&file) {
                let api = node_file["api"].as_str().unwrap();
                node.address = api.strip_prefix("http://").unwrap().parse().unwrap();
                node.token = fs::read_to_string(data.join("api-token")).unwrap().trim().to_owned();
                return node;
            }
            assert!(started.elapsed() < DEADLINE, "the node does not start");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Generates blocks over a new connection.
    fn generate(&self, blocks: u32) {
        let miner = chain::Address::from_bytes([7; 20]).encode(chain::Params::dev().hrp());
        let body = format!("{{\"blocks\":{blocks},\"miner\":\"{miner}\"}}");
        let head = format!(
            "POST /v1/dev/generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Authorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            self.token,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all((head + &body).as_bytes()).unwrap();
        read_response(&mut stream).unwrap();
    }

    /// Measures honest clients for a while and prints the results.
    fn measure(&self, when: &str, run: Duration) {
        let address = self.address;
        let persistent = thread::spawn(move || request_repeatedly(address, run, true));
        let (new, _) = request_repeatedly(address, run, false);
        let (persistent, broken) = persistent.join().unwrap();
        let at = |sorted: &[Duration], of: usize| {
            sorted[(sorted.len() - 1) * of / 1_000].as_secs_f64() * 1e3
        };
        let summary = |sorted: &[Duration]| {
            let [p50, p99, most] = [500, 990, 1_000].map(|of| at(sorted, of));
            format!("p50 {p50:.2} p99 {p99:.2} max {most:.2} ms of {}", sorted.len())
        };
        println!("{when}: persistent connection {}, broken {broken} times", summary(&persistent));
        println!("{when}: new connections {}", summary(&new));
        println!("{when}: {} open files, {:.1} MB of memory", self.files(), self.megabytes());
    }

    fn files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).map_or(0, Iterator::count)
    }

    fn megabytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
        kilobytes.unwrap_or(f64::NAN) / 1e3
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
