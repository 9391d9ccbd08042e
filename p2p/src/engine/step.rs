//! One step of the machine: what its parts may look at, and where they say what is to be done.

use super::{AnnouncementId, Conduct, Failure, Judgement, Now, Output, RequestId};
use crate::message::Request;
use chain::block::{Header, Height};
use libp2p::PeerId;
use rand::rngs::Xoshiro256PlusPlus;
use std::collections::BTreeMap;

/// All peers that are connected, and the heights they last told of.
pub(crate) type Peers = BTreeMap<PeerId, Height>;

/// What a part needs for one step.
pub(crate) struct Step<'a, C> {
    pub(crate) now: Now,
    pub(crate) chain: &'a C,
    pub(crate) peers: &'a Peers,
    /// Whether the node has caught up with the others once.
    pub(crate) is_synced: bool,
    pub(crate) rng: &'a mut Xoshiro256PlusPlus,
    pub(crate) out: &'a mut Vec<Output>,
    /// Headers that sync should follow, and who announced them.
    pub(crate) for_sync: &'a mut Vec<(PeerId, Header)>,
}

impl<C> Step<'_, C> {
    pub(crate) fn judge(&mut self, id: AnnouncementId, judgement: Judgement) {
        self.out.push(Output::Judge { id, judgement });
    }

    pub(crate) fn report(&mut self, peer: PeerId, conduct: Conduct) {
        self.out.push(Output::Report { peer, conduct });
    }

    pub(crate) fn ask(&mut self, request: RequestId, peer: PeerId, what: Request) {
        self.out.push(Output::Ask { request, peer, what });
    }

    /// A request failed on its way.
    pub(crate) fn blame(&mut self, peer: PeerId, failure: Failure) {
        if let Some(conduct) = failure.conduct() {
            self.report(peer, conduct);
        }
    }

    /// An announcement that is wrong for everyone and for ever.
    pub(crate) fn reject(&mut self, peer: PeerId, id: AnnouncementId) {
        self.judge(id, Judgement::Reject);
        self.report(peer, Conduct::BadAnnouncement);
    }
}
