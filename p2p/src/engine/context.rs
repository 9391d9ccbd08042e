//! The context of one step of the engine: the shared state its machines read, and their outputs.

use super::machine::{
    AnnouncementId, Failure, MessageAcceptance, Misbehavior, Now, Output, RequestId,
};
use crate::message::Request;
use chain::block::{Header, Height};
use libp2p::PeerId;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::BTreeMap;

/// All peers that are connected, and the heights they last told of.
pub(crate) type Peers = BTreeMap<PeerId, Height>;

/// The inputs and outputs of a machine during one step.
pub(crate) struct Context<'a, C> {
    pub(crate) now: Now,
    pub(crate) chain: &'a C,
    pub(crate) peers: &'a Peers,
    /// Whether the node has caught up with the others once.
    pub(crate) is_synced: bool,
    pub(crate) rng: &'a mut Xoshiro256PlusPlus,
    pub(crate) out: Vec<Output>,
    /// Announced headers that sync has to follow, with their announcers.
    pub(crate) for_sync: Vec<(PeerId, Header)>,
}

impl<'a, C> Context<'a, C> {
    pub(crate) fn new(
        now: Now,
        chain: &'a C,
        peers: &'a Peers,
        is_synced: bool,
        rng: &'a mut Xoshiro256PlusPlus,
    ) -> Context<'a, C> {
        Context { now, chain, peers, is_synced, rng, out: Vec::new(), for_sync: Vec::new() }
    }

    pub(crate) fn report_validation(&mut self, id: AnnouncementId, acceptance: MessageAcceptance) {
        self.out.push(Output::ReportValidation { id, acceptance });
    }

    pub(crate) fn report(&mut self, peer: PeerId, misbehavior: Misbehavior) {
        self.out.push(Output::ReportPeer { peer, misbehavior });
    }

    pub(crate) fn request(&mut self, id: RequestId, peer: PeerId, request: Request) {
        self.out.push(Output::Request { id, peer, request });
    }

    pub(crate) fn disconnect(&mut self, peer: PeerId, reason: &'static str) {
        self.out.push(Output::Disconnect { peer, reason });
    }

    /// Reports the peer of a failed request, unless it has only disconnected.
    pub(crate) fn report_failure(&mut self, peer: PeerId, failure: Failure) {
        if let Some(misbehavior) = failure.misbehavior() {
            self.report(peer, misbehavior);
        }
    }

    /// An announcement that is wrong for everyone and for ever.
    pub(crate) fn reject(&mut self, peer: PeerId, id: AnnouncementId) {
        self.report_validation(id, MessageAcceptance::Reject);
        self.report(peer, Misbehavior::BadAnnouncement);
    }
}
