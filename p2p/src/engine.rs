//! The engine: a pure state machine that dispatches each input to `sync`, `relay` and `mempool_sync`.
//! Time, the chain and randomness are arguments, so a run can be repeated exactly.

pub mod compact;
mod context;
mod machine;
mod mempool_sync;
pub(crate) mod recent;
mod requests;
mod relay;
mod sync;
mod transfers;
mod work_threshold;

pub use machine::{
    AnnouncementId, BlockValidation, Failure, Input, MessageAcceptance, Misbehavior, Now, Output,
    Progress, RequestId, SyncState, TransferValidation,
};

use crate::message::{Capabilities, Status};
use crate::view::ChainView;
use chain::block;
use chain::ledger::Submission;
use chain::pow::Work;
use context::{Context, Peers};
use libp2p::PeerId;
use mempool_sync::MempoolSync;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use recent::Recent;
use relay::Relay;
use std::collections::{BTreeMap, BTreeSet};
use sync::{Limits, Sync};
use transfers::InFlightTransfers;

/// Imported blocks that are remembered: as many as sync requests ahead.
const MAX_IMPORTED: usize = 1_024;

/// The protocol engine of a node.
pub struct Engine {
    sync: Sync,
    relay: Relay,
    mempool_sync: MempoolSync,
    transfers: InFlightTransfers,
    peers: Peers,
    /// Blocks at the writer, whichever machine submitted them.
    importing: BTreeSet<block::Hash>,
    /// Blocks that peers have sent lately.
    imported: Recent<block::Hash>,
    rng: Xoshiro256PlusPlus,
    /// Identifies this run of the node, to detect connections to itself.
    nonce: u64,
}

impl Engine {
    /// Returns an engine without peers. The same seed and inputs yield the same outputs; a node uses
    /// another, unpredictable seed for each run.
    pub fn new(seed: u64) -> Engine {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Engine {
            sync: Sync::new(rng.random(), Limits::default()),
            relay: Relay::new(),
            mempool_sync: MempoolSync::new(),
            transfers: InFlightTransfers::new(),
            peers: Peers::new(),
            importing: BTreeSet::new(),
            imported: Recent::new(MAX_IMPORTED),
            nonce: rng.random(),
            rng,
        }
    }

    /// Processes an input and returns the outputs it causes, in order.
    pub fn handle(&mut self, now: Now, input: Input, chain: &dyn ChainView) -> Vec<Output> {
        self.track(&input);
        let out = self.dispatch(now, input, chain);
        for output in &out {
            if let Output::ImportBlock(Submission { block, .. }) = output {
                self.importing.insert(block.hash());
                self.imported.insert(block.hash(), ());
            }
        }
        out
    }

    /// Updates the connected peers and the blocks under validation.
    fn track(&mut self, input: &Input) {
        match input {
            Input::PeerConnected { peer, status, .. } => {
                self.peers.insert(*peer, status.height);
            }
            Input::PeerStatus { peer, status } => {
                if let Some(height) = self.peers.get_mut(peer) {
                    *height = status.height;
                }
            }
            Input::PeerDisconnected { peer } => drop(self.peers.remove(peer)),
            Input::BlockValidated { hash, .. } => drop(self.importing.remove(hash)),
            _ => {}
        }
    }

    /// Passes an input to the machines it concerns, sync first.
    fn dispatch(&mut self, now: Now, input: Input, chain: &dyn ChainView) -> Vec<Output> {
        let Engine {
            sync, relay, mempool_sync, transfers, peers, importing, imported, rng, ..
        } = self;
        let cx = &mut Context::new(now, chain, (peers, importing), sync.is_synced(), rng);
        match input {
            Input::PeerConnected { peer, .. } => {
                mempool_sync.peer_connected(peer);
                sync.handle(cx, input);
            }
            Input::PeerDisconnected { peer } => {
                mempool_sync.peer_disconnected(&peer);
                sync.handle(cx, input);
            }
            Input::PeerStatus { .. }
            | Input::Response { id: RequestId::Headers(_) | RequestId::Blocks(_), .. } => {
                sync.handle(cx, input);
            }
            Input::Response { id: RequestId::Relay(request), result } => {
                relay.handle_response(cx, request, result);
            }
            Input::Response { id: RequestId::Mempool(request), result } => {
                mempool_sync.handle_response(cx, request, result, transfers);
            }
            Input::Announcement { peer, id, announcement } => {
                relay.handle_announcement(cx, (peer, id), announcement, transfers);
            }
            Input::BlockValidated { hash, validation } => {
                sync.handle(cx, input);
                relay.block_validated(cx, hash, validation);
            }
            Input::TransferValidated { id, validation } => {
                if let Some(transfer) = transfers.validated(cx, &id, validation) {
                    relay.transfer_validated(cx, &transfer, validation);
                    mempool_sync.transfer_validated(cx, &transfer, validation, transfers);
                }
            }
            Input::TipChanged => {
                sync.handle(cx, input);
                let Progress { best_header, height, .. } = sync.progress(chain);
                let is_downloading = best_header > height && imported.contains(&chain.tip().hash);
                relay.tip_changed(cx, is_downloading, transfers);
            }
            Input::TransfersAccepted(ids) => relay.transfers_accepted(cx, ids, transfers),
            Input::TransfersDue(ids) => relay.transfers_due(cx, ids),
            Input::Tick => {
                sync.handle(cx, input);
                relay.tick(cx, transfers);
                mempool_sync.tick(cx, transfers);
            }
        }
        for (peer, header) in std::mem::take(&mut cx.for_sync) {
            sync.header_announced(cx, peer, &header);
        }
        std::mem::take(&mut cx.out)
    }

    /// Returns the status that this node sends to its peers.
    pub fn status(&self, now: Now, chain: &dyn ChainView) -> Status {
        let tip = chain.tip();
        Status {
            capabilities: Capabilities::LOCAL,
            genesis: chain.params().genesis_hash(),
            tip: tip.hash,
            height: tip.height,
            chain_work: tip.chain_work,
            relay: self.sync.is_synced(),
            clock: u64::from(now.clock.get()),
            nonce: self.nonce,
        }
    }

    /// Returns the work that each connected peer has shown, by headers that were validated. It is
    /// zero for a peer that has shown none.
    pub fn shown_work(&self, chain: &dyn ChainView) -> BTreeMap<PeerId, Work> {
        self.sync.shown_work(chain)
    }

    /// Returns the progress of sync.
    pub fn progress(&self, chain: &dyn ChainView) -> Progress {
        self.sync.progress(chain)
    }
}

#[cfg(test)]
mod tests;
