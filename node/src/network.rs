//! Between the network and the writer: starts the network, and hands what peers send to the writer
//! in the order of arrival. Verdicts go back by themselves.

use crate::config::peers::{Listen, Peering};
use crate::writer;
use anyhow::{Context, Result};
use chain::ledger::Reader;
use p2p::multiaddr::Protocol;
use p2p::{Event, Handle, Multiaddr, SpawnError};
use std::path::Path;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What this node calls itself to others.
const AGENT: &str = concat!("chain/", env!("CARGO_PKG_VERSION"));

/// The running network.
pub struct Network {
    handle: Handle,
    forwarding: JoinHandle<()>,
}

impl Network {
    /// Listens, calls, and from then on hands what comes to the writer.
    pub async fn start(
        peering: Peering,
        data: &Path,
        reader: Reader,
        writer: writer::Handle,
    ) -> Result<Network> {
        let Peering { listen, peers, boot_nodes, max_peers, discover, mdns } = peering;
        let (listen, instead) = match listen {
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
            discover,
            mdns: mdns && max_peers > 0,
            data: data.to_owned(),
            agent: AGENT.to_owned(),
        };
        // Subscribed to before anything can be taken in: no news is missed.
        let spawn = |config| p2p::spawn(config, reader.clone(), writer.subscribe_peer_updates());
        let spawned = match (spawn(config.clone()).await, instead) {
            (Err(SpawnError::InUse(taken)), Some(any)) => {
                tracing::warn!("{taken} is taken: peers find this node at another port");
                spawn(p2p::Config { listen: vec![any], ..config }).await
            }
            (spawned, _) => spawned,
        };
        let (handle, events) = spawned.context("peers")?;
        Ok(Network { handle, forwarding: tokio::spawn(forward(events, writer)) })
    }

    /// Asks the network and orders it about.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns when the network has ended by itself, which it should not; `stop` tells why.
    pub async fn watch(&self) {
        let _ = self.handle.finished().await;
    }

    /// Disconnects from everybody. An error if the network had ended by itself.
    pub async fn stop(self) -> Result<()> {
        self.handle.stop().await;
        self.forwarding.await?;
        Ok(self.handle.finished().await?)
    }
}

/// The same address with whatever port is free.
fn at_any_port(address: &Multiaddr) -> Multiaddr {
    let any = |part| if let Protocol::Tcp(_) = part { Protocol::Tcp(0) } else { part };
    address.iter().map(any).collect()
}

/// Ends with the network, or with the writer. Waits where the writer's queue is full, so that the
/// network's own bounded queue fills and it asks for less.
async fn forward(mut events: mpsc::Receiver<Event>, writer: writer::Handle) {
    while let Some(event) = events.recv().await {
        let queued = match event {
            Event::Block { block, reply } => writer.enqueue_block(block, reply).await,
            Event::Transfer { transfer, reply } => writer.enqueue_transfer(transfer, reply).await,
        };
        if queued.is_err() {
            return;
        }
    }
}

/// The address by which others most likely reach a node that listens at these: not one that means
/// their own machine, if there is another.
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
    fn others_are_told_an_address_that_leads_here_from_elsewhere() {
        let both = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.7/tcp/1", "/ip6/::1/tcp/1"]);
        assert_eq!(to_join(&both), Some(&both[1]));
        assert_eq!(to_join(&both[..1]), Some(&both[0]));
        assert_eq!(to_join(&[]), None);
    }

    #[test]
    fn another_port_is_on_the_same_interface() {
        let [taken, other] = [8401, 0].map(|port| format!("/ip4/127.0.0.1/tcp/{port}"));
        assert_eq!(at_any_port(&taken.parse().unwrap()), other.parse().unwrap());
    }
}
