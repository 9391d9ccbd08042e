//! Connections that occupy the slots of a node.

use crate::Network;
use crate::session::Session;
use libp2p::Multiaddr;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub async fn silent(
    target: SocketAddr,
    sockets: usize,
    rate: u32,
    sources: &[IpAddr],
    duration: Duration,
) -> Value {
    let end = tokio::time::sleep(duration);
    tokio::pin!(end);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sources = sources.iter().cycle();
    let mut held = JoinSet::new();
    let (mut opened, mut closed) = (0_u64, 0_u64);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = pace.tick(), if held.len() < sockets => {
                opened += 1;
                held.spawn(hold(target, sources.next().copied()));
            }
            Some(_) = held.join_next() => closed += 1,
        }
    }
    json!({ "opened": opened, "closed_by_node": closed })
}

/// Connects, and waits until the node closes the connection.
async fn hold(target: SocketAddr, source: Option<IpAddr>) {
    let Ok(mut stream) = connect(target, source).await else {
        // The node, or the system, refuses it: the next attempt is soon.
        return tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let mut byte = [0];
    // A node that speaks first would be read.
    while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}

async fn connect(target: SocketAddr, source: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(target).await
}

pub async fn flood(
    network: &Network,
    target: Multiaddr,
    connections: usize,
    hello: bool,
    duration: Duration,
) -> Value {
    let until = Instant::now() + duration;
    let (mut held, mut attempts, mut refused) = (Vec::new(), 0_u64, 0_u64);
    while Instant::now() < until {
        attempts += 1;
        let connecting = async {
            match hello {
                true => Session::connect(network, &target).await,
                false => Session::dial(network, &target).await,
            }
        };
        match tokio::time::timeout(Duration::from_secs(2), connecting).await.ok().flatten() {
            Some(session) => held.push(session),
            None => refused += 1,
        }
        if held.len() >= connections {
            // The oldest one is replaced.
            held.remove(0);
        }
    }
    json!({ "attempts": attempts, "refused": refused })
}
