//! The engine: a pure state machine that dispatches each input to `sync`, `relay` and `mempool_sync`.
//! Time, the chain and randomness are arguments, so a run can be repeated exactly.

pub mod compact;
mod context;
mod machine;
mod mempool_sync;
mod recent;
mod relay;
mod sync;
mod transfers;

pub use machine::{
    AnnouncementId, BlockValidation, Failure, Input, MessageAcceptance, Misbehavior, Now, Output,
    Progress, RequestId, SyncState, TransferValidation,
};

use crate::message::{Status, VERSION};
use crate::view::ChainView;
use chain::block;
use context::{Context, Peers};
use mempool_sync::MempoolSync;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use recent::Recent;
use relay::Relay;
use std::collections::BTreeSet;
use sync::{Limits, Sync};
use transfers::InFlightTransfers;

/// Services: this node serves all blocks of its chain.
const SERVES_ALL_BLOCKS: u64 = 1;

/// Blocks from others that are remembered: as many as sync fetches ahead.
const FOREIGN: usize = 1_024;

/// The whole machine.
pub struct Engine {
    sync: Sync,
    relay: Relay,
    mempool_sync: MempoolSync,
    transfers: InFlightTransfers,
    peers: Peers,
    /// Blocks that the chain is judging, whichever part handed them over.
    importing: BTreeSet<block::Hash>,
    /// Blocks that came from others lately.
    foreign: Recent<block::Hash>,
    rng: Xoshiro256PlusPlus,
    /// Names this run of the node to others.
    nonce: u64,
}

impl Engine {
    /// A machine that knows nobody. The same seed and inputs give the same outputs; a node takes
    /// another seed each time it starts, that nobody can guess.
    pub fn new(seed: u64) -> Engine {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Engine {
            sync: Sync::new(rng.random(), Limits::default()),
            relay: Relay::new(),
            mempool_sync: MempoolSync::new(),
            transfers: InFlightTransfers::new(),
            peers: Peers::new(),
            importing: BTreeSet::new(),
            foreign: Recent::new(FOREIGN),
            nonce: rng.random(),
            rng,
        }
    }

    /// Processes an input and returns the outputs it causes, in order.
    pub fn handle(&mut self, now: Now, input: Input, chain: &impl ChainView) -> Vec<Output> {
        self.track(&input);
        let out = self.dispatch(now, input, chain);
        for output in &out {
            if let Output::ImportBlock(block) = output {
                self.importing.insert(block.hash());
                self.foreign.insert(block.hash(), ());
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
    fn dispatch(&mut self, now: Now, input: Input, chain: &impl ChainView) -> Vec<Output> {
        let Engine { sync, relay, mempool_sync, transfers, peers, importing, foreign, rng, .. } =
            self;
        let cx = &mut Context::new(now, chain, peers, sync.is_synced(), rng);
        match input {
            Input::PeerConnected { peer, .. } => {
                mempool_sync.peer_connected(peer);
                sync.handle(cx, input);
            }
            Input::PeerDisconnected { peer } => {
                mempool_sync.peer_disconnected(&peer);
                sync.handle(cx, input);
            }
            Input::PeerStatus { .. } | Input::Response { id: RequestId::Sync(_), .. } => {
                sync.handle(cx, input);
            }
            Input::Response { id: RequestId::Relay(request), result } => {
                relay.replied(cx, request, result);
            }
            Input::Response { id: RequestId::Mempool(request), result } => {
                mempool_sync.replied(cx, request, result, transfers);
            }
            Input::Announcement { peer, id, announcement } => {
                relay.announced(cx, (peer, id), announcement, transfers, importing);
            }
            Input::BlockValidated { hash, validation } => {
                sync.handle(cx, input);
                relay.block_validated(cx, hash, validation, importing);
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
                let more_will_come = best_header > height && foreign.contains(&chain.tip().hash);
                relay.tip_changed(cx, more_will_come, transfers);
            }
            Input::TransfersAccepted(ids) => relay.transfers_accepted(cx, ids, transfers),
            Input::Tick => {
                sync.handle(cx, input);
                relay.tick(cx, transfers, importing);
                mempool_sync.tick(cx, transfers);
            }
        }
        for (peer, header) in std::mem::take(&mut cx.for_sync) {
            sync.header_announced(cx, peer, &header);
        }
        std::mem::take(&mut cx.out)
    }

    /// What this node says of itself.
    pub fn status(&self, now: Now, chain: &impl ChainView) -> Status {
        let tip = chain.tip();
        Status {
            version: VERSION,
            services: SERVES_ALL_BLOCKS,
            genesis: chain.params().genesis_hash(),
            tip: tip.hash,
            height: tip.height,
            chain_work: tip.chain_work,
            relay: self.sync.is_synced(),
            clock: u64::from(now.clock.get()),
            nonce: self.nonce,
        }
    }

    /// How far this node is.
    pub fn progress(&self, chain: &impl ChainView) -> Progress {
        self.sync.progress(chain)
    }
}

#[cfg(test)]
mod tests;
