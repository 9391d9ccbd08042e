//! `getpeerinfo`.

use super::context::Context;
use super::error::Error;
use super::params::Params;
use p2p::multiaddr::Protocol;
use p2p::{Multiaddr, PeerInfo, Purpose};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(super) async fn peer_info(context: &Context, _: Params<'_>) -> Result<Value, Error> {
    let now = u64::from(crate::clock::now().get());
    let peers = context.node.peers.peers().await;
    Ok(peers.iter().map(|peer| to_json(peer, now)).collect())
}

/// A peer with the field names of Bitcoin Core. `now` is the Unix time in seconds.
fn to_json(peer: &PeerInfo, now: u64) -> Value {
    // Zero means never.
    let time = |age: Option<Duration>| age.map_or(0, |age| now.saturating_sub(age.as_secs()));
    let mut json = json!({
        "id": peer.id.to_string(),
        "addr": socket(&peer.address),
        "services": format!("{:016x}", peer.features),
        "last_block": time(peer.last_block),
        "last_transaction": time(peer.last_transfer),
        "bytessent": peer.bytes_sent,
        "bytesrecv": peer.bytes_received,
        "conntime": time(Some(peer.connected)),
        "version": peer.version,
        "subver": peer.agent,
        "inbound": !peer.outbound,
        "synced_blocks": peer.height.get(),
        "connection_type": match peer.purpose {
            None => "inbound",
            Some(Purpose::Persistent) => "manual",
            Some(Purpose::Feeler) => "feeler",
            Some(Purpose::Anchor | Purpose::Outbound | Purpose::Boot) => "outbound-full-relay",
        },
    });
    if let Some(latency) = peer.latency {
        json["pingtime"] = latency.as_secs_f64().into();
    }
    json
}

/// The IP address and port of a multiaddr; the multiaddr itself if it has none.
fn socket(address: &Multiaddr) -> String {
    let mut parts = address.iter();
    let ip: Option<IpAddr> = match parts.next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    };
    match (ip, parts.next()) {
        (Some(ip), Some(Protocol::Tcp(port))) => SocketAddr::from((ip, port)).to_string(),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets() {
        for (address, expected) in [
            ("/ip4/192.0.2.7/tcp/8401", "192.0.2.7:8401"),
            ("/ip6/2001:db8::1/tcp/1", "[2001:db8::1]:1"),
            ("/dns/example.org/tcp/1", "/dns/example.org/tcp/1"),
            ("/ip4/192.0.2.7", "/ip4/192.0.2.7"),
        ] {
            assert_eq!(socket(&address.parse().unwrap()), expected);
        }
    }
}
