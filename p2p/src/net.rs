//! The libp2p side of the node: transport, name resolution, node key, behaviour, connection gating
//! and bandwidth metering.

pub(crate) mod bandwidth;
pub(crate) mod behaviour;
pub(crate) mod connection_gater;
pub(crate) mod dns;
pub(crate) mod handshakes;
pub(crate) mod key;
pub(crate) mod transport;
