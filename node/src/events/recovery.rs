//! Agreement of the event log with the mempool after a restart. The process may have died between a
//! change of the mempool and its event, and the mempool may have lost transfers while the node was
//! down. So the log is compared with the mempool at the start, and the missing events are added: a
//! replay of all events yields the pending transfers.

use super::path::find_path;
use super::publisher::Message;
use super::record::{Batch, EventKind, Payment};
use chain::accounts::AccountView;
use chain::ledger::{Reader, View};
use chain::mempool::{Dropped, Status};
use chain::store::StoreError;
use chain::tx::Id;
use chain::{Address, block};
use std::collections::{HashMap, VecDeque};

/// The reason of the event for a transfer that the mempool lost with its journal.
const LOST: &str = "lost";
/// The number of events after which settled transfers are forgotten.
const SETTLE_INTERVAL: u64 = 50_000;
/// Most disconnected blocks whose transfers are considered.
const MAX_DISCONNECTED: usize = 1_000;

/// The transfers of the event log that are neither dropped nor known to be confirmed.
pub(super) struct OpenTransfers {
    chain: Reader,
    /// The transfers that did not come back with the mempool, in the order of their events.
    dropped: Vec<Dropped>,
    /// The ids of `dropped`, and whether the last event of each reports that it was dropped.
    reported: HashMap<Id, bool>,
    /// The accepted transfers and the positions of their events in the log.
    accepted: HashMap<Id, (u64, Payment)>,
    /// The blocks that left the best chain, with the positions of their events.
    disconnected: VecDeque<(u64, block::Hash)>,
    position: u64,
}

impl OpenTransfers {
    /// Creates a comparison with the mempool of `chain`, which came back without `dropped`.
    pub fn new(chain: Reader, dropped: Vec<Dropped>) -> OpenTransfers {
        let reported = dropped.iter().map(|dropped| (dropped.transfer.id(), false)).collect();
        OpenTransfers {
            chain,
            dropped,
            reported,
            accepted: HashMap::new(),
            disconnected: VecDeque::new(),
            position: 0,
        }
    }

    /// Forgets everything that was read: the log starts again.
    pub fn clear(&mut self) {
        self.reported.values_mut().for_each(|reported| *reported = false);
        self.accepted.clear();
        self.disconnected.clear();
    }

    /// Reads the next events of the log.
    pub fn read(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for record in &batch.records {
            self.position += 1;
            match &record.kind {
                EventKind::Accepted(payment) => {
                    self.set_reported(&payment.id, false);
                    self.accepted.insert(payment.id, (self.position, *payment));
                }
                EventKind::Dropped { payment, .. } => {
                    self.accepted.remove(&payment.id);
                    self.set_reported(&payment.id, true);
                }
                EventKind::Disconnected { hash, .. } => {
                    self.disconnected.push_back((self.position, *hash));
                    if self.disconnected.len() > MAX_DISCONNECTED {
                        self.disconnected.pop_front();
                    }
                }
                _ => {}
            }
            if self.position.is_multiple_of(SETTLE_INTERVAL) {
                self.settle()?;
            }
        }
        Ok(())
    }

    fn set_reported(&mut self, id: &Id, reported: bool) {
        if let Some(known) = self.reported.get_mut(id) {
            *known = reported;
        }
    }

    /// Forgets transfers whose nonces are used: they are confirmed, unless the mempool knows why
    /// it dropped them.
    fn settle(&mut self) -> Result<(), StoreError> {
        let view = self.chain.view();
        let mut nonces: HashMap<Address, u64> = HashMap::new();
        let mut open = HashMap::new();
        for (id, (position, payment)) in self.accepted.drain() {
            let nonce = match nonces.get(&payment.sender) {
                Some(nonce) => *nonce,
                None => {
                    *nonces.entry(payment.sender).or_insert(view.account(&payment.sender)?.nonce)
                }
            };
            if payment.nonce >= nonce || view.mempool().status(&id).is_some() {
                open.insert(id, (position, payment));
            }
        }
        self.accepted = open;
        Ok(())
    }

    /// Returns the events of transfers that are missing at the end of the log, if any. They follow
    /// those of the blocks from `logged_tip`, where the log ends, to the tip.
    pub fn missing_events(mut self, logged_tip: block::Hash) -> Result<Message, StoreError> {
        self.settle()?;
        let chain = self.chain.clone();
        let tip = chain.view().tip().hash;
        if let Some(path) = find_path(&chain, logged_tip, tip) {
            let position = self.position + 1;
            self.disconnected.extend(path.disconnect.iter().map(|node| (position, node.hash)));
        }
        let view = chain.view();
        self.forget_returned(&view)?;
        let mut missing = Vec::new();
        for (id, (position, payment)) in &self.accepted {
            let reason = match view.mempool().status(id) {
                Some(Status::Pending | Status::Queued) => continue,
                Some(Status::Dropped(reason)) => reason.code(),
                None => LOST,
            };
            let may_be_confirmed = payment.nonce < view.account(&payment.sender)?.nonce;
            if !(may_be_confirmed && view.transaction(id)?.is_some()) {
                missing.push((*position, *payment, reason));
            }
        }
        missing.sort_by_key(|(position, ..)| *position);
        let mut dropped: Vec<_> =
            missing.into_iter().map(|(_, payment, reason)| (payment, reason)).collect();
        for Dropped { transfer, reason } in &self.dropped {
            let id = transfer.id();
            if self.reported.get(&id) == Some(&false) && !self.accepted.contains_key(&id) {
                dropped.push((Payment::of_details(transfer.details()), reason.code()));
            }
        }
        let pending = view.mempool().ids_since(0).filter_map(|(_, id)| view.mempool().get(id));
        let accepted = pending
            .filter(|entry| entry.is_pending && !self.accepted.contains_key(&entry.transfer.id()))
            .map(|entry| Payment::of_details(entry.transfer.details()))
            .collect();
        Ok(Message::Mempool { accepted, dropped })
    }

    /// Forgets the transfers of the mempool that returned to it from a disconnected block and were
    /// not accepted again since.
    fn forget_returned(&mut self, view: &View) -> Result<(), StoreError> {
        let in_mempool = self.accepted.iter().filter(|(id, _)| view.mempool().contains(id));
        let Some(oldest) = in_mempool.map(|(_, (position, _))| *position).min() else {
            return Ok(());
        };
        for (disconnected, hash) in &self.disconnected {
            let Some(node) = view.find(hash).filter(|_| *disconnected > oldest) else { continue };
            for id in view.block(node)?.ids() {
                let is_before =
                    self.accepted.get(&id).is_some_and(|(position, _)| position < disconnected);
                if is_before && view.mempool().contains(&id) {
                    self.accepted.remove(&id);
                }
            }
        }
        Ok(())
    }
}
