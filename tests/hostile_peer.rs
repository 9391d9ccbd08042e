//! A hostile peer: each command is one attack on the peer port of a node, by programs that share no code with
//! it. `cargo run -p chain --example hostile-peer -- --help` lists them. Prints one line of JSON at the end.

#![allow(clippy::unwrap_used)] // a program for tests
#![allow(unreachable_pub)] // as in any binary

mod peer_client;

#[path = "hostile_peer/announcements.rs"]
mod announcements;
#[path = "hostile_peer/claims.rs"]
mod claims;
#[path = "hostile_peer/connections.rs"]
mod connections;
#[path = "hostile_peer/requests.rs"]
mod requests;
#[path = "hostile_peer/session.rs"]
mod session;
#[path = "hostile_peer/unread.rs"]
mod unread;

use clap::Parser;
use futures_util::future::join_all;
use libp2p::{Multiaddr, Swarm};
use peer_client::encoding::Hash;
use peer_client::swarm::{self, Behaviour};
use serde_json::{Value, json};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The network whose node is attacked: `dev`, if it is not set.
#[derive(Clone, Debug, clap::Args)]
pub struct Network {
    /// Genesis hash as displayed
    #[arg(
        long, global = true, value_parser = parse_hash,
        default_value = "a9c9aa0751bb33c1b5efd765c3f0ec142a1cd6191dd51cde3489d488a96e45d3"
    )]
    genesis: Hash,
    /// Bits of genesis, which forged headers have too
    #[arg(long, global = true, value_parser = parse_bits, default_value = "207fffff")]
    bits: u32,
    /// Time of genesis, Unix seconds
    #[arg(long, global = true, default_value_t = 1_767_225_600)]
    genesis_time: u32,
}

/// What all attacks have in common.
#[derive(Clone, Debug, clap::Args)]
pub struct Attacker {
    #[command(flatten)]
    network: Network,
    /// Source addresses, used in turn
    #[arg(long, global = true, value_delimiter = ',')]
    source: Vec<IpAddr>,
}

impl Attacker {
    /// The next source address; `None` if the system chooses it.
    fn source(&self) -> Option<IpAddr> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        self.source.get(next % self.source.len().max(1)).copied()
    }

    /// A peer with a new key.
    fn swarm(&self) -> Swarm<Behaviour> {
        swarm::build(self.network.genesis, "hostile/1", self.source())
    }
}

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    attacker: Attacker,
    /// Duration of the attack in seconds
    #[arg(long, global = true, default_value_t = 10)]
    seconds: u64,
    #[command(subcommand)]
    attack: Attack,
}

#[derive(Debug, clap::Subcommand)]
enum Attack {
    /// Hold TCP connections open without a byte, and replace those that the node closes
    Silent {
        target: SocketAddr,
        #[arg(long, default_value_t = 64)]
        sockets: usize,
        /// New connections a second
        #[arg(long, default_value_t = 100)]
        rate: u32,
        /// Send the first byte of the encryption handshake
        #[arg(long)]
        byte: bool,
    },
    /// Complete the encryption handshake with new keys again and again
    Flood {
        target: Multiaddr,
        #[arg(long, default_value_t = 100)]
        connections: usize,
        /// Also complete the application handshake
        #[arg(long)]
        hello: bool,
    },
    /// Request blocks and do not read the replies
    Unread {
        target: Multiaddr,
        #[arg(long, default_value_t = 16)]
        clients: usize,
    },
    /// Request blocks as fast as possible, and connect with a new key when disconnected
    Requests {
        target: Multiaddr,
        #[arg(long, default_value_t = 4)]
        clients: usize,
    },
    /// Send malformed requests of every protocol
    Malformed { target: Multiaddr },
    /// Announce what is invalid as fast as possible, and connect with a new key when disconnected
    Announce {
        target: Multiaddr,
        #[arg(long, default_value_t = 2)]
        clients: usize,
        /// What is announced
        #[arg(long)]
        what: announcements::What,
    },
    /// Claim much work, change the claim while headers are requested, and reply with none
    Liar {
        #[command(flatten)]
        ends: claims::Ends,
        /// Milliseconds before each reply
        #[arg(long, default_value_t = 2_500)]
        delay: u64,
    },
    /// Serve valid headers with much work, and none of their blocks
    Withhold {
        #[command(flatten)]
        ends: claims::Ends,
        #[arg(long, default_value_t = 400_000)]
        headers: u32,
    },
    /// Claim nothing, and reply to requests for addresses with these
    Introduce {
        #[command(flatten)]
        ends: claims::Ends,
        /// Address of a node with its id
        #[arg(long, value_delimiter = ',')]
        node: Vec<Multiaddr>,
    },
}

fn parse_hash(text: &str) -> Result<Hash, String> {
    let mut hash: Hash = hex::decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or("a hash has 64 hexadecimal digits")?;
    hash.reverse();
    Ok(hash)
}

fn parse_bits(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 16).map_err(|error| error.to_string())
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Arguments { attacker, seconds, attack } = Arguments::parse();
    let duration = Duration::from_secs(seconds);
    let report = run(&attacker, attack, duration).await;
    let mut output = std::io::stdout();
    output.write_all(format!("{report}\n").as_bytes()).unwrap();
}

async fn run(attacker: &Attacker, attack: Attack, duration: Duration) -> Value {
    match attack {
        Attack::Silent { target, sockets, rate, byte } => {
            connections::silent(attacker, target, (sockets, rate, byte), duration).await
        }
        Attack::Flood { target, connections, hello } => {
            connections::flood(attacker, target, connections, hello, duration).await
        }
        Attack::Unread { target, clients } => {
            unread::run(attacker, target, clients, duration).await
        }
        Attack::Requests { target, clients } => {
            requests::flood(attacker, &target, clients, duration).await
        }
        Attack::Malformed { target } => requests::malformed(attacker, &target, duration).await,
        Attack::Announce { target, clients, what } => {
            announcements::run(attacker, &target, clients, what, duration).await
        }
        Attack::Liar { ends, delay } => {
            let delay = Duration::from_millis(delay);
            let peers = (0..ends.peers()).map(|_| claims::Liar::new(delay));
            claims::run(attacker, &ends, peers, duration).await
        }
        Attack::Withhold { ends, headers } => {
            let peer = std::rc::Rc::new(claims::Withholder::new(&attacker.network, headers));
            let peers = (0..ends.peers()).map(|_| peer.clone());
            claims::run(attacker, &ends, peers, duration).await
        }
        Attack::Introduce { ends, node } => {
            let peers = (0..ends.peers()).map(|_| claims::Introducer::new(&node));
            claims::run(attacker, &ends, peers, duration).await
        }
    }
}

/// Runs clients at once, and adds up the numbers that they report.
pub async fn sum<F: Future<Output = Value>>(clients: impl Iterator<Item = F>) -> Value {
    let mut sum = serde_json::Map::new();
    for report in join_all(clients).await {
        for (name, value) in report.as_object().unwrap() {
            let before = sum.get(name).and_then(Value::as_u64).unwrap_or(0);
            sum.insert(name.clone(), json!(before + value.as_u64().unwrap_or(0)));
        }
    }
    sum.into()
}
