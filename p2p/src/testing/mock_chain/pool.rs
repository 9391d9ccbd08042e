//! A mempool in memory that remembers the order of acceptance. On request it rejects transfers that
//! are too far ahead of their sender's nonce.

use crate::engine::TransferValidation;
use chain::signature::PublicKey;
use chain::tx::{Id, Transfer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How far a transfer's nonce may be beyond the first missing one.
const MAX_AHEAD: u64 = 64;

/// The mempool.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool {
    transfers: BTreeMap<Id, (u64, Arc<Transfer>)>,
    accepted: BTreeMap<u64, Id>,
    /// The nonces of transfers in the mempool or in the chain, by sender.
    nonces: BTreeMap<PublicKey, BTreeSet<u64>>,
    next: u64,
}

impl Pool {
    pub(crate) fn len(&self) -> usize {
        self.transfers.len()
    }

    pub(crate) fn contains(&self, id: &Id) -> bool {
        self.transfers.contains_key(id)
    }

    pub(crate) fn get(&self, id: &Id) -> Option<&Arc<Transfer>> {
        self.transfers.get(id).map(|(_, transfer)| transfer)
    }

    /// The ids in ascending order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.transfers.keys()
    }

    /// The transfers in ascending order of their ids.
    pub(crate) fn transfers(&self) -> impl Iterator<Item = &Arc<Transfer>> {
        self.transfers.values().map(|(_, transfer)| transfer)
    }

    /// The ids in the order of acceptance, from a position on.
    pub(crate) fn accepted(&self, from: u64) -> impl Iterator<Item = (u64, &Id)> {
        self.accepted.range(from..).map(|(at, id)| (*at, id))
    }

    /// Inserts a transfer, whatever its nonce.
    pub(crate) fn insert(&mut self, transfer: &Arc<Transfer>) {
        let id = transfer.id();
        self.remove(&id);
        self.transfers.insert(id, (self.next, Arc::clone(transfer)));
        self.accepted.insert(self.next, id);
        self.nonces.entry(transfer.sender).or_default().insert(transfer.nonce);
        self.next += 1;
    }

    /// Validates and inserts a transfer of a sender whose first nonce is 0.
    pub(crate) fn submit(&mut self, transfer: &Arc<Transfer>) -> TransferValidation {
        if self.contains(&transfer.id()) {
            return TransferValidation::Known;
        }
        let here = self.nonces.get(&transfer.sender);
        let missing = (0..).find(|nonce| !here.is_some_and(|here| here.contains(nonce)));
        if transfer.nonce > missing.unwrap_or(0) + MAX_AHEAD {
            return TransferValidation::NonceTooFar;
        }
        self.insert(transfer);
        TransferValidation::Added
    }

    pub(crate) fn remove(&mut self, id: &Id) {
        let Some((at, transfer)) = self.transfers.remove(id) else { return };
        self.accepted.remove(&at);
        if let Some(nonces) = self.nonces.get_mut(&transfer.sender) {
            nonces.remove(&transfer.nonce);
        }
    }

    /// Removes a transfer that is in the chain now.
    pub(crate) fn confirm(&mut self, transfer: &Transfer) {
        self.remove(&transfer.id());
        self.nonces.entry(transfer.sender).or_default().insert(transfer.nonce);
    }
}

impl<'a> FromIterator<&'a Arc<Transfer>> for Pool {
    fn from_iter<I: IntoIterator<Item = &'a Arc<Transfer>>>(transfers: I) -> Pool {
        let mut pool = Pool::default();
        transfers.into_iter().for_each(|transfer| pool.insert(transfer));
        pool
    }
}
