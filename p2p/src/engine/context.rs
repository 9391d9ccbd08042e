//! The context of one step of the engine: the shared state that its machines read, and their outputs.

use super::machine::{
    AnnouncementId, Failure, MessageAcceptance, Misbehavior, Now, Output, RequestId,
};
use crate::message::Request;
use crate::view::ChainView;
use chain::block::{self, Header, Height};
use libp2p::PeerId;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::{BTreeMap, BTreeSet};

/// The connected peers and the heights they claim.
pub(crate) type Peers = BTreeMap<PeerId, Height>;

/// The context of one step.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) chain: &'a dyn ChainView,
    pub(crate) peers: &'a Peers,
    /// The blocks at the writer.
    pub(crate) importing: &'a BTreeSet<block::Hash>,
    /// Whether the node has been level with its peers.
    pub(crate) is_synced: bool,
    pub(crate) rng: &'a mut Xoshiro256PlusPlus,
    pub(crate) out: Vec<Output>,
    /// Announced headers that sync has to follow, with their announcers.
    pub(crate) for_sync: Vec<(PeerId, Header)>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        now: Now,
        chain: &'a dyn ChainView,
        (peers, importing): (&'a Peers, &'a BTreeSet<block::Hash>),
        is_synced: bool,
        rng: &'a mut Xoshiro256PlusPlus,
    ) -> Context<'a> {
        let (out, for_sync) = (Vec::new(), Vec::new());
        Context { now, chain, peers, importing, is_synced, rng, out, for_sync }
    }

    pub(crate) fn report_validation(&mut self, id: AnnouncementId, acceptance: MessageAcceptance) {
        self.out.push(Output::ReportValidation { id, acceptance });
    }

    /// Rejects an announcement and reports its peer.
    pub(crate) fn reject(&mut self, peer: PeerId, id: AnnouncementId) {
        self.report_validation(id, MessageAcceptance::Reject);
        self.report(peer, Misbehavior::BadAnnouncement);
    }

    pub(crate) fn report(&mut self, peer: PeerId, misbehavior: Misbehavior) {
        self.out.push(Output::ReportPeer { peer, misbehavior });
    }

    /// Reports the peer of a failed request, unless it has only disconnected.
    pub(crate) fn report_failure(&mut self, peer: PeerId, failure: Failure) {
        if let Some(misbehavior) = failure.misbehavior() {
            self.report(peer, misbehavior);
        }
    }

    pub(crate) fn request(&mut self, id: RequestId, peer: PeerId, request: Request) {
        self.out.push(Output::Request { id, peer, request });
    }

    pub(crate) fn disconnect(&mut self, peer: PeerId, reason: &'static str) {
        self.out.push(Output::Disconnect { peer, reason });
    }
}
