//! A node's API under attack: `cargo bench -p chain --bench api`.
//!
//! 5,000 connections send a byte of a request's head each second and come again when they are closed;
//! 100 readers of events never read, while there are events all the time. Told is how long
//! `GET /v1/chain` takes honest clients before, meanwhile and after, over a connection that stays and
//! over a new one each time, and what memory and open files the node has.

#![allow(clippy::unwrap_used)] // a benchmark may stop at whatever goes wrong
#![allow(clippy::print_stdout)] // it is there to print
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
const DEAF: usize = 100;
const QUIET: Duration = Duration::from_secs(5);
const ATTACK: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(60);
/// Between two requests of an honest client.
const PAUSE: Duration = Duration::from_millis(5);

fn main() {
    allow_files();
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path());
    node.generate(100);
    node.measure("before", QUIET);

    let stop = Arc::new(AtomicBool::new(false));
    let (opened, deaf) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let attack = {
        let (address, stop) = (node.address, Arc::clone(&stop));
        let (opened, deaf) = (Arc::clone(&opened), Arc::clone(&deaf));
        thread::spawn(move || besiege(address, &stop, &opened, &deaf))
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
        "{} slow connections were opened, {} readers were told events",
        opened.load(Ordering::Relaxed),
        deaf.load(Ordering::Relaxed)
    );

    let begun = Instant::now();
    while node.files() > 100 {
        assert!(begun.elapsed() < DEADLINE, "{} files stay open", node.files());
        thread::sleep(Duration::from_millis(20));
    }
    println!("all of them forgotten after {:.2?}", begun.elapsed());
    node.measure("after", QUIET);
    let mut reader = TcpStream::connect(node.address).unwrap();
    reader.write_all(&request("/v1/events?since=0", "")).unwrap();
    let mut status = [0; 15];
    reader.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK", "events are told again");
}

fn request(path: &str, more: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").into_bytes()
}

/// The attack, until it is stopped.
fn besiege(
    address: SocketAddr,
    stop: &Arc<AtomicBool>,
    opened: &Arc<AtomicU32>,
    deaf: &Arc<AtomicU32>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let runs = |stop: &AtomicBool| !stop.load(Ordering::Relaxed);
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for _ in 0..DEAF {
            let (stop, deaf) = (Arc::clone(stop), Arc::clone(deaf));
            tasks.push(tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                stream.write_all(&request("/v1/events?since=0", "")).await.unwrap();
                let mut status = [0; 12];
                if stream.read_exact(&mut status).await.is_ok() && status.ends_with(b"200") {
                    deaf.fetch_add(1, Ordering::Relaxed);
                }
                while runs(&stop) {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }));
        }
        for number in 0..SLOW {
            let (stop, opened) = (Arc::clone(stop), Arc::clone(opened));
            tasks.push(tokio::spawn(async move {
                // Spread over a second, as those of many machines would be.
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

/// Sorted times of requests, one after the other: over one connection for as long as that holds, or
/// each over a new one. Second: how often the connection did not hold.
fn ask(address: SocketAddr, run: Duration, is_kept: bool) -> (Vec<Duration>, usize) {
    let more = if is_kept { "" } else { "Connection: close\r\n" };
    let asked = request("/v1/chain", more);
    let (mut times, mut broken) = (Vec::new(), 0);
    let mut kept: Option<TcpStream> = None;
    let begun = Instant::now();
    while begun.elapsed() < run {
        let sent = Instant::now();
        loop {
            let stream = kept.take().map_or_else(|| TcpStream::connect(address), Ok);
            let answered = stream.and_then(|mut stream| {
                stream.set_nodelay(true)?;
                stream.write_all(&asked)?;
                read_answer(&mut stream)?;
                Ok(stream)
            });
            match answered {
                Ok(stream) => {
                    kept = is_kept.then_some(stream);
                    break;
                }
                Err(_) => broken += 1,
            }
            assert!(sent.elapsed() < DEADLINE, "no answer");
        }
        times.push(sent.elapsed());
        thread::sleep(PAUSE);
    }
    times.sort_unstable();
    (times, broken)
}

/// Reads an answer to its last byte.
fn read_answer(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut answer = Vec::with_capacity(4_096);
    let mut chunk = [0; 4_096];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
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

/// Lets this process, and the node that it starts, open as many files as the system grants.
fn allow_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}

/// A node as a process of its own. Dropped, it is killed.
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
        let begun = Instant::now();
        loop {
            let file = fs::read(data.join("node.json")).unwrap_or_default();
            if let Ok(there) = serde_json::from_slice::<Value>(&file) {
                let api = there["api"].as_str().unwrap();
                node.address = api.strip_prefix("http://").unwrap().parse().unwrap();
                node.token = fs::read_to_string(data.join("api-token")).unwrap().trim().to_owned();
                return node;
            }
            assert!(begun.elapsed() < DEADLINE, "the node does not start");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Has it make blocks, over a connection of its own.
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
        read_answer(&mut stream).unwrap();
    }

    /// Tells how honest clients fare for a while.
    fn measure(&self, when: &str, run: Duration) {
        let address = self.address;
        let kept = thread::spawn(move || ask(address, run, true));
        let (new, _) = ask(address, run, false);
        let (kept, broken) = kept.join().unwrap();
        let at = |sorted: &[Duration], of: usize| {
            sorted[(sorted.len() - 1) * of / 1_000].as_secs_f64() * 1e3
        };
        let told = |sorted: &[Duration]| {
            let [p50, p99, most] = [500, 990, 1_000].map(|of| at(sorted, of));
            format!("p50 {p50:.2} p99 {p99:.2} max {most:.2} ms of {}", sorted.len())
        };
        println!("{when}: kept connection {}, broken {broken} times", told(&kept));
        println!("{when}: new connections {}", told(&new));
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
