//! The driver: the only task that touches the network. It moves messages between peers, the engine,
//! the threads that serve requests, and the node's commands. It neither reads the chain nor blocks.

mod announcements;
mod clock_skew;
mod connections;
mod dial;
mod handshake;
mod in_flight_responses;
mod key_copies;
mod network;
mod peer;
mod rejections;
mod requests;
mod save;
mod server;
mod upload;

use crate::clock::Clock;
use crate::engine::{Failure, Input, Misbehavior, Output};
use crate::handle::{Command, ConnectError};
use crate::message::{
    Capabilities, NodeAddresses, Protocol, Request, Response, ResponseError, Status,
};
use crate::net::bandwidth::BandwidthMeter;
use crate::net::behaviour::{Behaviour, BehaviourEvent, MalformedRequest, ProtocolEvent};
use crate::net::transport::{split_peer_id, with_peer_id};
use crate::peers::{Allowance, Source};
use crate::runner::{Queued, TICK};
use announcements::Announcements;
use clock_skew::ClockSkew;
use connections::{Connections, Context};
use dial::Dialer;
use futures::StreamExt;
use handshake::{Handshakes, Hello};
use key_copies::KeyCopies;
use libp2p::core::ConnectedPoint;
use libp2p::request_response::{
    Event, InboundFailure, InboundRequestId, Message, OutboundRequestId,
};
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, mdns};
use network::Network;
use peer::{InboundRequest, ReplyTo};
use rejections::{Consequence, Rejections};
use requests::{OutgoingRequests, Requester};
use save::{PeersSaver, Saved};
use server::RequestServer;
pub(crate) use server::Serve;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;

/// The maximum time for which the driver waits for connections to close when it stops.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of the less urgent checks: gossip scores, address requests, clock skew.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The driver's ends of the channels to the other tasks.
pub(crate) struct Channels {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) inputs: mpsc::UnboundedSender<Queued>,
    pub(crate) outputs: mpsc::UnboundedReceiver<Output>,
    /// This node's status, as sent in hello messages.
    pub(crate) status: watch::Receiver<Status>,
    pub(crate) listening: watch::Sender<Vec<Multiaddr>>,
    pub(crate) peer_count: watch::Sender<usize>,
    /// The seconds by which the clocks of peers are ahead of the system clock; `None` if they agree.
    pub(crate) clock_skew: watch::Sender<Option<i64>>,
    /// The ends of connections with a node that has this node's key.
    pub(crate) own_key: mpsc::Receiver<ConnectedPoint>,
}

/// The result of a peer's hello message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HelloOutcome {
    Accepted,
    /// The peer is being disconnected.
    Rejected,
    /// The peer must be disconnected: there is no version that both nodes support.
    Incompatible,
}

/// The settings of the driver.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// The time between two blocks of the network.
    pub(crate) spacing: Duration,
    /// The bytes of blocks served a second to peers outside the local network; 0 for no limit.
    pub(crate) max_upload: u64,
}

pub(crate) struct Driver {
    cx: Context,
    dialer: Dialer,
    handshakes: Handshakes,
    requests: OutgoingRequests,
    server: RequestServer,
    rejections: Rejections,
    announcements: Announcements,
    saver: PeersSaver,
    clock_skew: ClockSkew,
    key_copies: KeyCopies,
    next_sweep: Duration,
    commands: mpsc::Receiver<Command>,
    outputs: mpsc::UnboundedReceiver<Output>,
    listening: watch::Sender<Vec<Multiaddr>>,
}

impl Driver {
    pub(crate) fn new(
        swarm: Swarm<Behaviour>,
        clock: Clock,
        meter: BandwidthMeter,
        serve: Serve,
        settings: Settings,
        channels: Channels,
    ) -> Driver {
        let Channels { commands, inputs, outputs, status, .. } = channels;
        let Channels { listening, peer_count, clock_skew, own_key, .. } = channels;
        let genesis = status.borrow().genesis;
        let network = Network::new(swarm, clock, inputs);
        let connections = Connections::new(genesis, meter, peer_count);
        Driver {
            cx: Context { network, connections },
            dialer: Dialer::default(),
            handshakes: Handshakes::new(status, settings.spacing),
            requests: OutgoingRequests::default(),
            server: RequestServer::new(serve, settings.max_upload),
            rejections: Rejections::default(),
            announcements: Announcements::new(genesis),
            saver: PeersSaver::new(clock.now()),
            clock_skew: ClockSkew::new(clock_skew),
            key_copies: KeyCopies::new(own_key),
            next_sweep: Duration::ZERO,
            commands,
            outputs,
            listening,
        }
    }

    /// Runs until it is stopped, all handles are dropped, or the engine has ended.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.cx.network.swarm.select_next_some() => {
                    self.handle_swarm(event);
                    self.disconnect_evicted();
                }
                output = self.outputs.recv() => match output {
                    Some(output) => self.handle_output(output),
                    None => break,
                },
                Some(served) = self.server.next_served() => {
                    self.server.handle_served(&mut self.cx, served);
                }
                command = self.commands.recv() => match command {
                    Some(Command::Stop) | None => break,
                    Some(command) => self.handle_command(command),
                },
                true = self.handshakes.status_changed() => {
                    self.handshakes.send_status(&mut self.cx, &mut self.requests);
                }
                _ = tick.tick() => self.tick(),
            }
        }
        self.stop().await;
    }

    fn handle_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.handle_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.connection_established(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                let (cause, Context { network, connections }) = (cause.as_ref(), &mut self.cx);
                if let Some(closed) = connections.closed(network, peer_id, connection_id, cause) {
                    self.dialer.peer_disconnected(&mut self.cx, peer_id, &closed);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.dialer.failed(&mut self.cx, (connection_id, peer_id), &error);
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "inbound connection failed");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                self.cx.network.peers().add_own_address(&address);
                self.publish_listening();
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.publish_listening(),
            SwarmEvent::ListenerError { error, .. } => self.cx.network.log("listener", |dropped| {
                tracing::warn!(%error, dropped, "listener error");
            }),
            SwarmEvent::ListenerClosed { addresses, reason: Err(error), .. } => {
                tracing::error!(?addresses, %error, "listener closed");
            }
            _ => {}
        }
    }

    /// Disconnects the peers whose slots new connections have taken.
    fn disconnect_evicted(&mut self) {
        let network = &mut self.cx.network;
        for peer in network.swarm.behaviour_mut().gater.take_evicted() {
            network.disconnect(peer, "evicted in favour of another peer");
        }
    }

    fn handle_behaviour(&mut self, event: BehaviourEvent) {
        let Context { network, connections } = &mut self.cx;
        match event {
            BehaviourEvent::RequestResponse((protocol, event)) => {
                self.handle_request_response(protocol, event);
            }
            BehaviourEvent::Gossip(event) => self.announcements.handle_event(&mut self.cx, event),
            BehaviourEvent::Identify(event) => connections.handle_identify(network, event),
            BehaviourEvent::Ping(event) => connections.handle_ping(network, &event),
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => self.handle_discovered(found),
            BehaviourEvent::Mdns(mdns::Event::Expired(_)) => {}
            BehaviourEvent::Gater(never) => match never {},
        }
    }

    fn handle_output(&mut self, output: Output) {
        let Driver { cx, requests, announcements, .. } = self;
        match output {
            Output::Request { id, peer, request } => {
                requests.send_for_engine(cx, (peer, id), request);
            }
            Output::Announce(announcement) => announcements.publish(&mut cx.network, &announcement),
            Output::ReportValidation { id, acceptance } => {
                announcements.report_validation(&mut cx.network, id, acceptance);
            }
            Output::ReportPeer { peer, misbehavior } => cx.network.report(peer, misbehavior),
            Output::Disconnect { peer, reason } => drop(cx.network.disconnect(peer, reason)),
            // Handled by the runner.
            Output::ImportBlock(_) | Output::ImportTransfer(_) | Output::Progress(_) => {}
        }
    }

    /// Executes a command. The caller may have stopped waiting for the reply.
    fn handle_command(&mut self, command: Command) {
        let Context { network, connections } = &mut self.cx;
        let now = network.now();
        match command {
            Command::Peers(reply) => drop(reply.send(connections.infos(network))),
            Command::Connect { address, reply, saved } => {
                self.dialer.connect(&mut self.cx, &address, reply);
                let done = move |result| drop(saved.send(result));
                self.saver.save(&mut self.cx.network, now, done);
            }
            Command::Disconnect(peer, reply) => {
                let was_persistent = network.peers().remove_persistent_peer(peer, now);
                let was_connected = network.disconnect(peer, "requested by the user");
                let is_known = was_persistent || was_connected;
                let done = move |saved: Saved| drop(reply.send(saved.map(|()| is_known)));
                self.saver.save(network, now, done);
            }
            Command::PersistentPeers(reply) => {
                let _ = reply.send(network.peers().persistent_peers(now));
            }
            Command::RemovePersistent(address, reply) => {
                let removed = network.peers().remove_persistent_address(&address);
                if let Some(Some(peer)) = removed {
                    network.disconnect(peer, "requested by the user");
                }
                let is_known = removed.is_some();
                let done = move |saved: Saved| drop(reply.send(saved.map(|()| is_known)));
                self.saver.save(network, now, done);
            }
            Command::Ban { subject, seconds, reason, done } => {
                for peer in network.peers().ban(subject, seconds, reason, now) {
                    network.disconnect(peer, "banned by the user");
                }
                self.saver.save(network, now, move |saved| drop(done.send(saved)));
            }
            Command::Unban(subject, reply) => {
                let is_known = network.peers().unban(subject);
                let done = move |saved: Saved| drop(reply.send(saved.map(|()| is_known)));
                self.saver.save(network, now, done);
            }
            Command::Bans(reply) => drop(reply.send(network.peers().bans(now))),
            // Ends the loop that dispatches commands.
            Command::Stop => {}
        }
    }

    fn connection_established(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let now = self.cx.network.now();
        let peer = self.cx.connections.established(id, connection, endpoint, now);
        let (has_handshake, hello_sent) = (peer.status.is_some(), peer.status_sent.is_some());
        if endpoint.is_dialer() {
            self.dialer.established(connection, id);
        }
        if has_handshake {
            self.dialer.peer_connected(id);
        } else if endpoint.is_dialer() && !hello_sent {
            self.handshakes.send_hello(&mut self.cx, &mut self.requests, id);
        }
    }

    fn handle_request_response(&mut self, protocol: Protocol, event: ProtocolEvent) {
        match event {
            Event::Message { peer, message, .. } => match message {
                Message::Request { request: Ok(request), request_id: id, channel } => {
                    let reply_to = ReplyTo { protocol, id, channel };
                    self.handle_request(peer, InboundRequest { request, reply_to });
                }
                Message::Request { request: Err(malformed), request_id: id, channel } => {
                    let (error, misbehavior) = match malformed {
                        MalformedRequest::Undecodable => {
                            (ResponseError::BadRequest, Misbehavior::Malformed)
                        }
                        MalformedRequest::AboveLimit => {
                            (ResponseError::AboveLimit, Misbehavior::BadRequest)
                        }
                    };
                    let reply_to = ReplyTo { protocol, id, channel };
                    self.reject(peer, reply_to, error, Consequence::Report(misbehavior));
                }
                Message::Response { request_id, response } => {
                    self.request_completed(peer, (protocol, request_id), Ok(response));
                }
            },
            Event::OutboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, ?protocol, %error, "request failed");
                let failure = requests::failure(&error);
                self.request_completed(peer, (protocol, request_id), Err(failure));
            }
            Event::InboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, ?protocol, %error, "response failed");
                let is_large = self.response_completed(peer, protocol, request_id);
                if is_large && matches!(error, InboundFailure::Timeout) {
                    self.cx.network.report(peer, Misbehavior::UnreadResponse);
                }
            }
            Event::ResponseSent { peer, request_id, .. } => {
                self.response_completed(peer, protocol, request_id);
            }
        }
    }

    /// A response was sent or has failed. Returns whether it was a large one.
    fn response_completed(
        &mut self,
        peer: PeerId,
        protocol: Protocol,
        id: InboundRequestId,
    ) -> bool {
        self.rejections.sent(&peer, (protocol, id), self.cx.network.elapsed());
        self.server.response_completed(protocol, id)
    }

    /// Responds with an error, with a consequence for the peer once it has had time to read it.
    fn reject(
        &mut self,
        peer: PeerId,
        reply_to: ReplyTo,
        error: ResponseError,
        consequence: Consequence,
    ) {
        let Driver { cx, rejections, .. } = self;
        let id = (reply_to.protocol, reply_to.id);
        if rejections.add(peer, id, consequence, cx.network.elapsed()) {
            server::send(&mut cx.network, reply_to, Response::Error(error));
        }
    }

    fn request_completed(
        &mut self,
        peer: PeerId,
        id: (Protocol, OutboundRequestId),
        result: Result<Response, Failure>,
    ) {
        let Some(requester) = self.requests.complete(id) else { return };
        let network = &mut self.cx.network;
        match (requester, result) {
            (Requester::Engine(id), result) => network.input(Input::Response { id, result }),
            (Requester::Handshake, Ok(Response::Hello(status))) => {
                if self.handle_hello(peer, status) == HelloOutcome::Incompatible {
                    self.cx.network.disconnect(peer, "incompatible version");
                }
            }
            (
                Requester::Handshake,
                Ok(Response::Error(ResponseError::IncompatibleVersion { supported })),
            ) => {
                self.incompatible(peer, supported);
                self.cx.network.disconnect(peer, "incompatible version");
            }
            (Requester::AddressBook, Ok(Response::Addresses(nodes))) => {
                let now = network.now();
                network.peers().add_addresses(Source::Peer(peer), &nodes, now);
            }
            // Above its rate limit the peer does not respond later either.
            (Requester::Handshake, Ok(Response::Error(_))) => {
                Handshakes::failed(&mut self.cx, peer);
            }
            (_, Ok(Response::Error(_))) => {}
            (_, Ok(_)) => network.report(peer, Misbehavior::WrongResponse),
            (requester, Err(failure)) => {
                if let Some(misbehavior) = failure.misbehavior() {
                    network.report(peer, misbehavior);
                }
                if matches!(requester, Requester::Handshake) {
                    Handshakes::failed(&mut self.cx, peer);
                }
            }
        }
    }

    fn handle_request(&mut self, peer: PeerId, inbound: InboundRequest) {
        let Driver { cx, server, .. } = self;
        let now = cx.network.now();
        let allowance = cx.network.peers().allow_request(&peer, &inbound.request, now);
        match (allowance, &inbound.request) {
            (Allowance::Allow, Request::Hello(status)) => {
                self.respond_to_hello(peer, *status, inbound.reply_to);
            }
            (Allowance::Allow, _) => server.serve(cx, peer, inbound),
            (Allowance::Reject, _) => {
                server.reject(&mut cx.network, inbound, ResponseError::RateLimited);
            }
            (Allowance::Abuse, _) => {
                server.reject(&mut cx.network, inbound, ResponseError::RateLimited);
                cx.network.report(peer, Misbehavior::TooManyRequests);
            }
        }
    }

    fn respond_to_hello(&mut self, peer: PeerId, status: Status, reply_to: ReplyTo) {
        match self.handle_hello(peer, status) {
            HelloOutcome::Rejected => {}
            HelloOutcome::Incompatible => {
                let supported = self.handshakes.capabilities();
                let error = ResponseError::IncompatibleVersion { supported };
                let consequence = Consequence::Disconnect("incompatible version");
                self.reject(peer, reply_to, error, consequence);
            }
            HelloOutcome::Accepted => {
                let response = Response::Hello(self.handshakes.status_for(&mut self.cx, peer));
                server::send(&mut self.cx.network, reply_to, response);
            }
        }
    }

    fn handle_hello(&mut self, peer: PeerId, status: Status) -> HelloOutcome {
        self.check_key(peer, status);
        let Driver { cx, dialer, handshakes, server, announcements, .. } = self;
        match handshakes.receive_hello(cx, (peer, status), announcements.last_block) {
            Hello::Rejected => return HelloOutcome::Rejected,
            Hello::Incompatible => {
                self.incompatible(peer, status.capabilities);
                return HelloOutcome::Incompatible;
            }
            Hello::Updated => {}
            Hello::Completed(early_requests) => {
                dialer.peer_connected(peer);
                for request in early_requests {
                    server.serve(cx, peer, request);
                }
            }
        }
        HelloOutcome::Accepted
    }

    /// The versions or features of a peer do not match those of this node. Its address is not dialed
    /// for a while, and callers that wait for the connection learn the reason.
    fn incompatible(&mut self, peer: PeerId, supported: Capabilities) {
        let local = self.handshakes.incompatible(&mut self.cx, peer, supported);
        let error = ConnectError::IncompatibleVersion { supported, local };
        self.dialer.handshake_failed(&mut self.cx, peer, &error);
    }

    /// Warns if two processes use the key of a peer at the same time.
    fn check_key(&mut self, peer: PeerId, status: Status) {
        let Context { network, connections } = &mut self.cx;
        if !self.key_copies.hello(peer, status.nonce, network.now()) {
            return;
        }
        let connections = connections.get(&peer).into_iter().flat_map(|it| it.connections.values());
        let addresses: Vec<String> = connections.map(|it| it.address.to_string()).collect();
        let addresses = addresses.join(", ");
        network.log("key of two nodes", |dropped| {
            tracing::warn!(
                %peer, addresses, dropped,
                "two nodes use the key of this peer and take each other's place: the data \
                 directory of one is a copy; stop one, and remove node.key from its directory"
            );
        });
    }

    /// Adds nodes that mDNS has discovered on the local network to the address book.
    fn handle_discovered(&mut self, found: Vec<(PeerId, Multiaddr)>) {
        let mut nodes: BTreeMap<PeerId, Vec<Multiaddr>> = BTreeMap::new();
        for (peer, address) in found {
            nodes.entry(peer).or_default().push(split_peer_id(&address).0);
        }
        let nodes: Vec<NodeAddresses> = nodes
            .into_iter()
            .map(|(peer, addresses)| NodeAddresses { peer, addresses, last_seen: 0 })
            .collect();
        let network = &mut self.cx.network;
        let now = network.now();
        network.peers().add_addresses(Source::Mdns, &nodes, now);
    }

    fn publish_listening(&mut self) {
        let swarm = &self.cx.network.swarm;
        let id = *swarm.local_peer_id();
        let mut addresses: Vec<Multiaddr> =
            swarm.listeners().map(|address| with_peer_id(address, id)).collect();
        addresses.sort();
        self.listening.send_if_modified(|known| {
            let changed = *known != addresses;
            *known = addresses;
            changed
        });
    }

    fn tick(&mut self) {
        let Driver { cx, dialer, requests, .. } = self;
        let now = cx.network.now();
        for dial in cx.network.peers().next_dials(now) {
            dialer.dial(cx, dial.peer, dial.address);
        }
        for connection in cx.network.peers().redundant_connections(now) {
            cx.network.swarm.close_connection(connection);
        }
        dialer.expire(cx, now);
        Handshakes::expire(cx, now);
        for (peer, consequence) in self.rejections.due(now.elapsed) {
            match consequence {
                Consequence::Report(misbehavior) => cx.network.report(peer, misbehavior),
                Consequence::Disconnect(reason) => drop(cx.network.disconnect(peer, reason)),
            }
        }
        self.announcements.expire(now);
        self.server.tick(cx);
        if now.elapsed >= self.next_sweep {
            self.next_sweep = now.elapsed.saturating_add(SWEEP_INTERVAL);
            cx.connections.update_gossip_scores(&mut cx.network, now);
            requests.request_addresses(cx, now);
            self.clock_skew.check(&cx.connections, now);
            for found in self.key_copies.identify(now) {
                cx.network.log("own key", |dropped| found.log(dropped));
            }
        }
        let Driver { cx, requests, .. } = self;
        self.saver.save_if_due(&mut cx.network, now);
        self.handshakes.send_status(cx, requests);
    }

    /// Saves the address book and closes all connections.
    async fn stop(self) {
        let Driver { cx: Context { mut network, .. }, saver, .. } = self;
        saver.finish(&mut network).await;
        let swarm = &mut network.swarm;
        let connected: Vec<PeerId> = swarm.connected_peers().copied().collect();
        for peer in connected {
            let _ = swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while swarm.network_info().num_peers() > 0 {
                let _ = swarm.select_next_some().await;
            }
        };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, closed).await;
    }
}
