//! A route of the relay: its ports, conditions and counters.

use super::conditions::Conditions;
use serde::{Deserialize, Serialize};

/// What the relay forwards, from one port of the loopback interface to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The port at which the relay accepts connections.
    pub port: u16,
    /// The port to which it forwards them.
    pub target: u16,
    /// Conditions from the dialing side to the target.
    pub forward: Conditions,
    /// Conditions from the target to the dialing side.
    pub backward: Conditions,
    /// Whether connections are reset, as by a network that is partitioned.
    pub is_closed: bool,
}

/// The counters of a direction of a route since the start of the relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Number of forwarded bytes.
    pub bytes: u64,
    /// Number of segments, the units of loss.
    pub segments: u64,
    /// Number of segments that were lost and transmitted again, which stalls the connection.
    pub stalls: u64,
    /// Number of connections that were reset since a segment was lost too many times.
    pub resets: u64,
}

/// The state of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteStatus {
    /// The port at which the relay accepts connections.
    pub port: u16,
    /// The number of open connections.
    pub connections: usize,
    /// The counters from the dialing side to the target.
    pub forward: Counters,
    /// The counters from the target to the dialing side.
    pub backward: Counters,
}
