//! What of libp2p is used, and how it is set. Names of protocols and topics carry the network, so
//! that nodes of different ones do not understand each other.

mod exchange;
mod gossip;

pub(crate) use exchange::{DecodedRequest, Exchange, ExchangeEvent, MalformedRequest};
pub(crate) use gossip::{GRAYLIST, Gossip};

use crate::message::Protocol;
use crate::net::connection_gater::ConnectionGater;
use crate::wire;
use chain::block;
use libp2p::identity::{Keypair, PublicKey};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, identify, mdns, ping};

/// Most bytes of a node's name for itself.
const MAX_AGENT: usize = 64;

/// All of it, the gater first.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) gater: ConnectionGater,
    pub(crate) gossip: Gossip,
    hello: Exchange,
    headers: Exchange,
    blocks: Exchange,
    block_transactions: Exchange,
    mempool: Exchange,
    addresses: Exchange,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// How it is set.
pub(crate) struct Setting<'a> {
    pub(crate) genesis: block::Hash,
    pub(crate) agent: &'a str,
    pub(crate) mdns: bool,
}

impl Behaviour {
    pub(crate) fn new(key: &Keypair, gater: ConnectionGater, setting: &Setting) -> Behaviour {
        let Setting { genesis, mdns, .. } = *setting;
        let exchange = |protocol| exchange::build(genesis, protocol);
        Behaviour {
            gater,
            gossip: gossip::build(genesis),
            hello: exchange(Protocol::Hello),
            headers: exchange(Protocol::Headers),
            blocks: exchange(Protocol::Blocks),
            block_transactions: exchange(Protocol::BlockTransactions),
            mempool: exchange(Protocol::Mempool),
            addresses: exchange(Protocol::Addresses),
            identify: identify(key.public(), setting),
            ping: ping::Behaviour::default(),
            mdns: mdns.then(|| local_discovery(key.public().to_peer_id())).flatten().into(),
        }
    }

    /// The part that speaks a protocol.
    pub(crate) fn exchange(&mut self, protocol: Protocol) -> &mut Exchange {
        match protocol {
            Protocol::Hello => &mut self.hello,
            Protocol::Headers => &mut self.headers,
            Protocol::Blocks => &mut self.blocks,
            Protocol::BlockTransactions => &mut self.block_transactions,
            Protocol::Mempool => &mut self.mempool,
            Protocol::Addresses => &mut self.addresses,
        }
    }
}

/// The version that identify tells: the network and its protocol.
pub(crate) fn identity_version(genesis: block::Hash) -> String {
    wire::network_name(genesis, "1")
}

/// What a node may call itself: short and printable, on one line.
pub(crate) fn clean_agent(agent: &str) -> String {
    let mut clean = String::new();
    for character in agent.chars().filter(|character| !character.is_control()) {
        if clean.len().saturating_add(character.len_utf8()) > MAX_AGENT {
            break;
        }
        clean.push(character);
    }
    clean
}

fn identify(key: PublicKey, setting: &Setting) -> identify::Behaviour {
    let config = identify::Config::new(identity_version(setting.genesis), key)
        .with_agent_version(clean_agent(setting.agent))
        .with_cache_size(0);
    identify::Behaviour::new(config)
}

fn local_discovery(id: PeerId) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), id)
        .inspect_err(|error| tracing::warn!(%error, "nodes on the local network cannot be found"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_cannot_write_on_the_terminal() {
        assert_eq!(clean_agent("chain/1\r\n\u{1b}[31mred\u{7}\u{9b}2J"), "chain/1[31mred2J");
        assert_eq!(clean_agent(&"ä".repeat(100)), "ä".repeat(32));
    }
}
