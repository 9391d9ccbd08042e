//! Starts the peer-to-peer network and connects it with the writer.

use crate::config::peers::{Listen, Peering};
use crate::writer;
use anyhow::{Context, Result};
use chain::ledger::Reader;
use p2p::multiaddr::Protocol;
use p2p::{Handle, Multiaddr, SpawnError};
use std::path::Path;

/// The agent string sent to peers.
const AGENT: &str = concat!("chain/", env!("CARGO_PKG_VERSION"));

/// Checks the configuration and the node's key before anything is opened.
pub fn check(peering: &Peering, data: &Path) -> Result<()> {
    let (config, fallback) = config(peering.clone(), data);
    match (p2p::check(&config), fallback) {
        (Err(SpawnError::InUse(_)), Some(_)) => Ok(()),
        (checked, _) => checked.context("cannot start the peer-to-peer network"),
    }
}

/// The configuration of the network, with an address to listen on if that of the configuration is in
/// use.
fn config(peering: Peering, data: &Path) -> (p2p::Config, Option<Multiaddr>) {
    let Peering { listen, peers, boot_nodes, max_peers, max_upload, discover, mdns, .. } = peering;
    let Peering { allowed_peers, network_key, trusted, external_addresses, .. } = peering;
    let (listen, fallback) = match listen {
        _ if max_peers == 0 => (Vec::new(), None),
        Listen::Nowhere => (Vec::new(), None),
        Listen::Default(address) => (vec![address.clone()], Some(at_any_port(&address))),
        Listen::At(addresses) => (addresses, None),
    };
    let config = p2p::Config {
        listen,
        peers,
        boot_nodes,
        max_peers,
        max_upload,
        discover,
        mdns: mdns && max_peers > 0,
        allowed_peers,
        network_key,
        trusted,
        external_addresses,
        data: data.to_owned(),
        agent: AGENT.to_owned(),
    };
    (config, fallback)
}

/// The running peer-to-peer network.
pub struct Network {
    handle: Handle,
}

impl Network {
    /// Starts the network, which submits blocks and transfers from peers to the writer.
    pub async fn start(
        peering: Peering,
        data: &Path,
        reader: Reader,
        writer: writer::Handle,
    ) -> Result<Network> {
        let (config, fallback) = config(peering, data);
        let spawn = |config| {
            p2p::spawn(config, reader.clone(), writer.clone(), writer.subscribe_peer_updates())
        };
        let spawned = match (spawn(config.clone()).await, fallback) {
            (Err(SpawnError::InUse(address)), Some(any_port)) => {
                tracing::warn!("{address} is in use: listening for peers on another port");
                spawn(p2p::Config { listen: vec![any_port], ..config }).await
            }
            (spawned, _) => spawned,
        };
        Ok(Network { handle: spawned.context("cannot start the peer-to-peer network")? })
    }

    /// The handle to query and control the network.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until the network has failed; `stop` returns the error.
    pub async fn watch(&self) {
        let _ = self.handle.finished().await;
    }

    /// Stops the network. Returns an error if it had failed before.
    pub async fn stop(self) -> Result<()> {
        self.handle.stop().await;
        Ok(self.handle.finished().await?)
    }
}

/// The address with port 0, which selects a free port.
fn at_any_port(address: &Multiaddr) -> Multiaddr {
    let any = |part| if let Protocol::Tcp(_) = part { Protocol::Tcp(0) } else { part };
    address.iter().map(any).collect()
}

/// The listen address that other nodes can most likely dial: not a loopback one, if there is another.
pub fn to_join(listening: &[Multiaddr]) -> Option<&Multiaddr> {
    let is_loopback = |address: &&Multiaddr| match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback(),
        _ => false,
    };
    listening.iter().find(|address| !is_loopback(address)).or(listening.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn prefers_addresses_other_than_loopback() {
        let both = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.7/tcp/1", "/ip6/::1/tcp/1"]);
        assert_eq!(to_join(&both), Some(&both[1]));
        assert_eq!(to_join(&both[..1]), Some(&both[0]));
        assert_eq!(to_join(&[]), None);
    }

    #[test]
    fn fallback_listens_on_another_port_of_the_same_interface() {
        let [taken, other] = [8401, 0].map(|port| format!("/ip4/127.0.0.1/tcp/{port}"));
        assert_eq!(at_any_port(&taken.parse().unwrap()), other.parse().unwrap());
    }
}
