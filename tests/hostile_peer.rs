//! A hostile peer: each command is one attack on the peer port of a node, by programs that share no code with
//! it. `cargo run -p chain --example hostile-peer -- --help` lists them. Prints one line of JSON at the end.

#![allow(clippy::unwrap_used)] // a program for tests
#![allow(unreachable_pub)] // as in any binary

mod peer_client;

#[path = "hostile_peer/claims.rs"]
mod claims;
#[path = "hostile_peer/connections.rs"]
mod connections;
#[path = "hostile_peer/session.rs"]
mod session;
#[path = "hostile_peer/unread.rs"]
mod unread;

use clap::Parser;
use libp2p::Multiaddr;
use peer_client::encoding::Hash;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
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

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    network: Network,
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
        /// Source addresses, used in turn
        #[arg(long, value_delimiter = ',')]
        source: Vec<IpAddr>,
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
    /// Claim much work, change the claim while headers are requested, and reply with none
    Liar {
        /// Node to dial
        #[arg(long)]
        target: Option<Multiaddr>,
        /// Address to accept connections on
        #[arg(long)]
        listen: Option<Multiaddr>,
        /// Milliseconds before each reply
        #[arg(long, default_value_t = 2_500)]
        delay: u64,
    },
    /// Serve valid headers with much work, and none of their blocks
    Withhold {
        #[arg(long)]
        target: Option<Multiaddr>,
        #[arg(long)]
        listen: Option<Multiaddr>,
        #[arg(long, default_value_t = 400_000)]
        headers: u32,
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
    let Arguments { network, seconds, attack } = Arguments::parse();
    let duration = Duration::from_secs(seconds);
    let report = match attack {
        Attack::Silent { target, sockets, rate, source } => {
            connections::silent(target, sockets, rate, &source, duration).await
        }
        Attack::Flood { target, connections, hello } => {
            connections::flood(&network, target, connections, hello, duration).await
        }
        Attack::Unread { target, clients } => {
            unread::run(&network, target, clients, duration).await
        }
        Attack::Liar { target, listen, delay } => {
            let peer = claims::Liar::new(Duration::from_millis(delay));
            claims::run(&network, peer, (target, listen), duration).await
        }
        Attack::Withhold { target, listen, headers } => {
            let peer = claims::Withholder::new(&network, headers);
            claims::run(&network, peer, (target, listen), duration).await
        }
    };
    let mut output = std::io::stdout();
    output.write_all(format!("{report}\n").as_bytes()).unwrap();
}
