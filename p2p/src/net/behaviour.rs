//! The node's libp2p behaviour and its configuration. Names of protocols and topics contain the
//! network, so that nodes of different networks do not understand each other.

mod gossip;
mod request_response;

pub(crate) use gossip::{GRAYLIST, Gossip};
pub(crate) use request_response::{MalformedRequest, ProtocolEvent, RequestResponse};

use crate::net::connection_gater::ConnectionGater;
use crate::wire;
use chain::block;
use libp2p::identity::{Keypair, PublicKey};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{PeerId, identify, mdns, ping};

/// Maximum length of an agent string, in bytes.
const MAX_AGENT: usize = 64;

/// All behaviours. The gater is first: a denial by a later one would leave those before it with a
/// connection that was never established.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    pub(crate) gater: ConnectionGater,
    pub(crate) gossip: Gossip,
    pub(crate) request_response: RequestResponse,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

pub(crate) struct Config<'a> {
    pub(crate) genesis: block::Hash,
    pub(crate) agent: &'a str,
    pub(crate) mdns: bool,
}

impl Behaviour {
    pub(crate) fn new(key: &Keypair, gater: ConnectionGater, config: &Config) -> Behaviour {
        let Config { genesis, mdns, .. } = *config;
        Behaviour {
            gater,
            gossip: gossip::build(genesis),
            request_response: RequestResponse::new(genesis),
            identify: identify(key.public(), config),
            ping: ping::Behaviour::default(),
            mdns: mdns.then(|| local_discovery(key.public().to_peer_id())).flatten().into(),
        }
    }
}

/// The protocol version that identify sends: the network and its protocol.
pub(crate) fn identify_version(genesis: block::Hash) -> String {
    wire::network_name(genesis, "1")
}

/// Removes control characters from an agent string and truncates it to `MAX_AGENT` bytes.
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

fn identify(key: PublicKey, config: &Config) -> identify::Behaviour {
    let identify = identify::Config::new(identify_version(config.genesis), key)
        .with_agent_version(clean_agent(config.agent))
        .with_cache_size(0);
    identify::Behaviour::new(identify)
}

fn local_discovery(id: PeerId) -> Option<mdns::tokio::Behaviour> {
    mdns::tokio::Behaviour::new(mdns::Config::default(), id)
        .inspect_err(|error| tracing::warn!(%error, "mDNS discovery is not available"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_control_characters_from_agent_strings() {
        assert_eq!(clean_agent("chain/1\r\n\u{1b}[31mred\u{7}\u{9b}2J"), "chain/1[31mred2J");
        assert_eq!(clean_agent(&"ä".repeat(100)), "ä".repeat(32));
    }
}
