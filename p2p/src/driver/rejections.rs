//! Rejected requests whose sender is disconnected or penalised: it first gets the response, and the
//! time to read it, because a closed connection does not say why.

use crate::engine::Misbehavior;
use crate::message::Protocol;
use libp2p::PeerId;
use libp2p::request_response::InboundRequestId;
use std::collections::BTreeMap;
use std::time::Duration;

/// The time between a response and its consequence: the peer may be half a second away.
const READ_TIME: Duration = Duration::from_secs(1);
/// The maximum time for which a response that is not read delays its consequence.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// What follows a rejected request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consequence {
    Report(Misbehavior),
    Disconnect(&'static str),
}

#[derive(Debug)]
struct Rejection {
    request: (Protocol, InboundRequestId),
    consequence: Consequence,
    due: Duration,
}

/// The rejected requests, at most one of each peer.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    pending: BTreeMap<PeerId, Rejection>,
}

impl Rejections {
    /// Adds a rejected request. Returns false if an earlier one of the peer is pending: this one is
    /// not responded to.
    pub(super) fn add(
        &mut self,
        peer: PeerId,
        request: (Protocol, InboundRequestId),
        consequence: Consequence,
        now: Duration,
    ) -> bool {
        if self.pending.contains_key(&peer) {
            return false;
        }
        let due = now.saturating_add(SEND_TIMEOUT);
        self.pending.insert(peer, Rejection { request, consequence, due });
        true
    }

    /// The response to a request was sent, or has failed.
    pub(super) fn sent(
        &mut self,
        peer: &PeerId,
        request: (Protocol, InboundRequestId),
        now: Duration,
    ) {
        if let Some(rejection) = self.pending.get_mut(peer).filter(|it| it.request == request) {
            rejection.due = rejection.due.min(now.saturating_add(READ_TIME));
        }
    }

    /// Removes the rejections whose consequence is due.
    pub(super) fn due(&mut self, now: Duration) -> Vec<(PeerId, Consequence)> {
        let due = self.pending.extract_if(.., |_, rejection| rejection.due <= now);
        due.map(|(peer, rejection)| (peer, rejection.consequence)).collect()
    }
}
