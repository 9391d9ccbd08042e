//! What the node asks of its network.

use super::{Driver, dial};
use crate::handle::Command;
use crate::{ConnectError, Multiaddr, Subject};
use libp2p::PeerId;

impl Driver {
    /// Whoever asked may not be waiting any more.
    pub(super) fn handle_order(&mut self, order: Command) {
        match order {
            Command::Peers(answer) => drop(answer.send(self.infos())),
            Command::Connect(address, told) => self.connect(&address, told),
            Command::Disconnect(peer, done) => drop(done.send(self.part_with(peer))),
            Command::Ban { subject, seconds, reason, done } => {
                self.ban(subject, seconds, reason);
                let _ = done.send(());
            }
            Command::Unban(subject, done) => drop(done.send(self.peers().unban(subject))),
            Command::Bans(answer) => {
                let now = self.now();
                let _ = answer.send(self.peers().bans(now));
            }
            // Ends the loop that hands out commands.
            Command::Stop => {}
        }
    }

    fn connect(&mut self, address: &Multiaddr, told: dial::ConnectReply) {
        let local = *self.swarm.local_peer_id();
        match self.may_connect(address, local) {
            Err(error) => drop(told.send(Err(error))),
            Ok((place, peer)) => {
                self.peers().keep(address);
                match peer.filter(|peer| self.is_greeted(peer)) {
                    Some(peer) => drop(told.send(Ok(peer))),
                    None => self.call_for(place, peer, told),
                }
            }
        }
    }

    fn may_connect(
        &mut self,
        address: &Multiaddr,
        local: PeerId,
    ) -> Result<(Multiaddr, Option<PeerId>), ConnectError> {
        let now = self.now();
        let (place, peer) = dial::check(address, local)?;
        let banned = peer.is_some_and(|peer| self.peers().is_banned(peer, now));
        if banned { Err(ConnectError::Banned) } else { Ok((place, peer)) }
    }

    fn is_greeted(&self, peer: &PeerId) -> bool {
        self.linked.get(peer).is_some_and(|peer| peer.status.is_some())
    }

    fn part_with(&mut self, peer: PeerId) -> bool {
        let now = self.now();
        self.peers().dismiss(peer, now);
        self.disconnect(peer, "the user wants it")
    }

    fn ban(&mut self, subject: Subject, seconds: u64, reason: String) {
        let now = self.now();
        for peer in self.peers().ban(subject, seconds, reason, now) {
            self.disconnect(peer, "it was banned by the user");
        }
    }
}
