//! The removal of a transfer by the operator.

use super::reject::RejectReason;
use super::{Dropped, Mempool};
use crate::tx::Id;

impl Mempool {
    /// Removes a transfer. Later pending transfers of its sender wait for another one with its
    /// nonce. Returns `None` if the transfer is not in the mempool.
    pub fn remove_by_operator(&mut self, id: &Id) -> Option<Dropped> {
        let details = *self.get(id)?.transfer.details();
        let mut queue = self.queues.get(&details.sender)?.clone();
        let entry = queue.remove(details.nonce, self.seconds)?;
        self.replace_queue(details.sender, queue);
        Some(self.drop_transfer(&entry, RejectReason::Removed))
    }
}
