//! The names of protocols and topics, which differ between networks.

use crate::message::Protocol;
use chain::block;
use libp2p::StreamProtocol;

/// Returns the name of a protocol on a network. Other networks use other names.
pub fn protocol_name(genesis: block::Hash, protocol: Protocol) -> StreamProtocol {
    let name = network_name(genesis, protocol.limits().name);
    StreamProtocol::try_from_owned(name).expect("it starts with a slash")
}

/// `/pow/`, 16 digits of the hash of the genesis hash, `/`, name.
pub(crate) fn network_name(genesis: block::Hash, name: &str) -> String {
    let mut start = [0; 8];
    start.copy_from_slice(&blake3::hash(genesis.as_bytes()).as_bytes()[..8]);
    format!("/pow/{:016x}/{name}", u64::from_be_bytes(start))
}
