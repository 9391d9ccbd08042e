//! The part of the driver that all others use: the swarm, the time, the log, and the queue to the
//! engine.

use crate::clock::Clock;
use crate::engine::{Misbehavior, Now};
use crate::log_limit::LogLimiter;
use crate::net::behaviour::{Behaviour, Gossip, RequestResponse};
use crate::peers::{Peers, Penalty};
use crate::runner::Queued;
use libp2p::{PeerId, Swarm};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;

pub(super) struct Network {
    pub(super) swarm: Swarm<Behaviour>,
    clock: Clock,
    inputs: mpsc::UnboundedSender<Queued>,
    log: LogLimiter,
    /// The reasons for which peers are being disconnected.
    reasons: BTreeMap<PeerId, &'static str>,
}

impl Network {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        clock: Clock,
        inputs: mpsc::UnboundedSender<Queued>,
    ) -> Network {
        Network { swarm, clock, inputs, log: LogLimiter::default(), reasons: BTreeMap::new() }
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// The monotonic time since the clock was started.
    pub(super) fn elapsed(&self) -> Duration {
        self.now().elapsed
    }

    pub(super) fn peers(&mut self) -> &mut Peers {
        &mut self.swarm.behaviour_mut().gater.peers
    }

    pub(super) fn gossip(&mut self) -> &mut Gossip {
        &mut self.swarm.behaviour_mut().gossip
    }

    pub(super) fn request_response(&mut self) -> &mut RequestResponse {
        &mut self.swarm.behaviour_mut().request_response
    }

    /// Queues an input for the engine. The driver stops when the engine has ended.
    pub(super) fn input(&self, input: impl Into<Queued>) {
        let _ = self.inputs.send(input.into());
    }

    /// Closes all connections with a peer. Returns false if there are none.
    pub(super) fn disconnect(&mut self, peer: PeerId, reason: &'static str) -> bool {
        tracing::debug!(%peer, reason, "disconnecting");
        let is_connected = self.swarm.disconnect_peer_id(peer).is_ok();
        if is_connected {
            // The first reason is the cause.
            self.reasons.entry(peer).or_insert(reason);
        }
        is_connected
    }

    /// Removes the reason for which this node has disconnected a peer; `None` if the peer, or the
    /// network, has closed the connection.
    pub(super) fn take_reason(&mut self, peer: &PeerId) -> Option<&'static str> {
        self.reasons.remove(peer)
    }

    /// Adjusts a peer's score and applies the penalty that it incurs.
    pub(super) fn report(&mut self, peer: PeerId, misbehavior: Misbehavior) {
        let now = self.now();
        let penalty = self.peers().report(peer, misbehavior, now);
        let score = self.peers().score(&peer, now);
        self.gossip().set_application_score(&peer, score);
        if misbehavior != Misbehavior::Delivered {
            tracing::debug!(%peer, ?misbehavior, score, "misbehavior");
        }
        let Some(penalty) = penalty else { return };
        if penalty == Penalty::Ban {
            self.log("banned", |dropped| {
                tracing::warn!(%peer, ?misbehavior, dropped, "peer banned");
            });
        }
        self.disconnect(peer, misbehavior.description());
    }

    /// Logs an event that peers can cause, within the rate limit of its kind. `write` receives the
    /// number of events of this kind that were dropped since the last one, if any.
    pub(super) fn log(&mut self, kind: &'static str, write: impl FnOnce(Option<u64>)) {
        let now = self.elapsed();
        if let Some(dropped) = self.log.acquire(kind, now) {
            write((dropped > 0).then_some(dropped));
        }
    }
}
