//! The one task that touches the network. It moves messages between peers, the engine, the workers
//! that answer requests, and the node; it reads no chain, judges nothing, and waits for nobody.

mod announcements;
mod dial;
mod clock_skew;
mod handshake;
mod log_limit;
mod connections;
mod commands;
mod outgoing;
mod peer;
mod requests;

use crate::clock::Clock;
use crate::engine::{Input, Now, Output};
use crate::handle::Command;
use crate::message::{NodeAddresses, Protocol, Request, Response, Status};
use crate::net::bandwidth::BandwidthMeter;
use crate::net::behaviour::{Behaviour, BehaviourEvent};
use crate::peers::{Peers, SAVE_EVERY, Source};
use crate::runner::{Queued, TICK};
use announcements::Announcements;
use dial::Calls;
use futures::StreamExt;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm, mdns};
use log_limit::Lines;
use peer::Peer;
use requests::Requests;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// How long peers are given to take note that this node leaves.
const FAREWELL: Duration = Duration::from_secs(1);
/// Between two looks at scores and addresses.
const SWEEP: Duration = Duration::from_secs(1);

/// Answers a request from the chain; may wait for the chain.
pub(crate) type Answer = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// What the driver is connected with.
pub(crate) struct Channels {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) inputs: mpsc::UnboundedSender<Queued>,
    pub(crate) outputs: mpsc::UnboundedReceiver<Output>,
    /// What this node says of itself.
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) listening: watch::Sender<Vec<Multiaddr>>,
    pub(crate) peer_count: watch::Sender<usize>,
    pub(crate) counters: BandwidthMeter,
    pub(crate) answer: Answer,
}

/// The driver.
pub(crate) struct Driver {
    swarm: Swarm<Behaviour>,
    clock: Clock,
    channels: Channels,
    identity_version: String,
    /// All that are connected.
    linked: BTreeMap<PeerId, Peer>,
    calls: Calls,
    requests: Requests,
    announcements: Announcements,
    lines: Lines,
    saving: Option<JoinHandle<io::Result<()>>>,
    next_save: Duration,
    next_sweep: Duration,
    next_clock_warning: Duration,
}

impl Driver {
    pub(crate) fn new(swarm: Swarm<Behaviour>, clock: Clock, channels: Channels) -> Driver {
        let genesis = channels.status.borrow().genesis;
        Driver {
            swarm,
            clock,
            identity_version: crate::net::behaviour::identity_version(genesis),
            linked: BTreeMap::new(),
            calls: Calls::default(),
            requests: Requests::default(),
            announcements: Announcements::new(genesis),
            lines: Lines::default(),
            saving: None,
            next_save: clock.now().elapsed.saturating_add(SAVE_EVERY),
            next_sweep: Duration::ZERO,
            next_clock_warning: Duration::ZERO,
            channels,
        }
    }

    /// Runs until it is asked to stop, nobody can ask any more, or the engine is gone.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.handle_swarm(event),
                output = self.channels.outputs.recv() => match output {
                    Some(output) => self.handle_output(output),
                    None => break,
                },
                Some(served) = self.requests.serving.join_next() => self.handle_served(served),
                order = self.channels.commands.recv() => match order {
                    Some(Command::Stop) | None => break,
                    Some(order) => self.handle_order(order),
                },
                Ok(()) = self.channels.status.changed() => self.tell_status(),
                _ = tick.tick() => self.tick(),
            }
        }
        self.leave().await;
    }

    fn now(&self) -> Now {
        self.clock.now()
    }

    /// What is known of other nodes.
    fn peers(&mut self) -> &mut Peers {
        &mut self.swarm.behaviour_mut().gater.peers
    }

    fn tell_engine(&self, input: Input) {
        // Without an engine the outputs end as well.
        let _ = self.channels.inputs.send(input.into());
    }

    fn handle_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                self.closed(peer_id, connection_id, cause.as_ref());
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.call_failed(connection_id, peer_id, &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "no connection");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.peers().own(&address);
                self.tell_listening();
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.tell_listening(),
            SwarmEvent::ListenerError { error, .. } => {
                self.say("listener", |more| tracing::warn!(%error, more, "while listening"));
            }
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::error!(?addresses, %error, "does not listen any more");
            }
            _ => {}
        }
    }

    fn handle_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Hello(event) => self.handle_exchange(Protocol::Hello, event),
            BehaviourEvent::Headers(event) => self.handle_exchange(Protocol::Headers, event),
            BehaviourEvent::Blocks(event) => self.handle_exchange(Protocol::Blocks, event),
            BehaviourEvent::BlockTransactions(event) => {
                self.handle_exchange(Protocol::BlockTransactions, event);
            }
            BehaviourEvent::Mempool(event) => self.handle_exchange(Protocol::Mempool, event),
            BehaviourEvent::Addresses(event) => self.handle_exchange(Protocol::Addresses, event),
            BehaviourEvent::Gossip(event) => self.handle_gossip(event),
            BehaviourEvent::Identify(event) => self.handle_identify(event),
            BehaviourEvent::Ping(event) => self.handle_ping(&event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.handle_found(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(_)) => {}
            BehaviourEvent::Gater(never) => match never {},
        }
    }

    fn handle_output(&mut self, output: Output) {
        match output {
            Output::Request { id, peer, request } => self.ask(id, peer, request),
            Output::Announce(announcement) => self.announce(&announcement),
            Output::ReportValidation { id, acceptance } => self.judge(id, acceptance),
            Output::ReportPeer { peer, misbehavior } => self.report(peer, misbehavior),
            Output::Disconnect { peer, reason } => drop(self.disconnect(peer, reason)),
            // The runner's own.
            Output::ImportBlock(_) | Output::ImportTransfer(_) | Output::Progress(_) => {}
        }
    }

    /// Nodes of the local network.
    fn handle_found(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let now = self.now();
        let mut nodes: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            let (place, _) = crate::net::transport::split_id(&address);
            nodes.entry(peer).or_default().push(place);
        }
        let nodes: Vec<NodeAddresses> = nodes
            .into_iter()
            .map(|(peer, addresses)| NodeAddresses { peer, addresses, last_seen: 0 })
            .collect();
        self.peers().heard(Source::Mdns, &nodes, now);
    }

    fn tell_listening(&mut self) {
        let id = *self.swarm.local_peer_id();
        let mut addresses: Vec<Multiaddr> =
            self.swarm.listeners().map(|address| with_id(address, id)).collect();
        addresses.sort();
        self.channels.listening.send_if_modified(|known| {
            let changed = *known != addresses;
            *known = addresses;
            changed
        });
    }

    fn tick(&mut self) {
        let now = self.now();
        for dial in self.peers().next_dials(now) {
            self.call(dial.peer, dial.address);
        }
        for connection in self.peers().surplus(now) {
            self.swarm.close_connection(connection);
        }
        self.expire_calls(now);
        self.expire_greetings(now);
        self.announcements.expire(now);
        self.tell_status();
        if now.elapsed >= self.next_sweep {
            self.next_sweep = now.elapsed.saturating_add(SWEEP);
            self.sweep(now);
        }
        if now.elapsed >= self.next_save {
            self.next_save = now.elapsed.saturating_add(SAVE_EVERY);
            self.save(now);
        }
    }

    /// What does not hurry.
    fn sweep(&mut self, now: Now) {
        let linked: Vec<PeerId> = self.linked.keys().copied().collect();
        for peer in linked {
            self.look_at_gossip(peer, now);
            self.ask_addresses(peer, now);
        }
        self.compare_clocks(now);
    }

    /// Saves what is known of other nodes, beside the driver.
    fn save(&mut self, now: Now) {
        if self.saving.as_ref().is_some_and(|saving| !saving.is_finished()) {
            return;
        }
        let snapshot = self.peers().snapshot(now);
        self.saving = Some(tokio::task::spawn_blocking(move || {
            let saved = snapshot.write();
            if let Err(error) = &saved {
                tracing::warn!(%error, "what is known of other nodes could not be saved");
            }
            saved
        }));
    }

    /// Saves, says farewell to everybody, and ends.
    async fn leave(mut self) {
        if let Some(saving) = self.saving.take() {
            let _ = saving.await;
        }
        let now = self.now();
        if let Err(error) = self.peers().save(now) {
            tracing::warn!(%error, "what is known of other nodes could not be saved");
        }
        let linked: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in linked {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let gone = async {
            while self.swarm.network_info().num_peers() > 0 {
                let _ = self.swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, gone).await;
    }
}

/// The address with a node's id at its end.
pub(crate) fn with_id(address: &Multiaddr, id: PeerId) -> Multiaddr {
    let (place, _) = crate::net::transport::split_id(address);
    place.with(libp2p::multiaddr::Protocol::P2p(id))
}
