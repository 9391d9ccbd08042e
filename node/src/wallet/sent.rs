//! The transfers that an account has signed on one network, and which nonces they leave. Each is kept
//! until it is confirmed or given up, so that no interruption makes a user pay twice for one intent.

use chain::tx::{Id, Transfer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::ops::Range;

/// A nonce this far above the last signed one is refused: the node is wrong, or the user mistyped it.
const MAX_NONCES_AHEAD: u64 = 64;
/// Largest number of transfers of an account that wait for their confirmation, as many as a mempool
/// takes of one sender.
const MAX_TRANSFERS: usize = 1_000;

/// What is known of a signed transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SentStatus {
    /// No node has given a definite answer, or the command that submitted it did not end well.
    Open,
    /// A node has refused it, or none received it. Its nonce is used again.
    Refused,
    /// A node has accepted it, and a running command waits for its confirmation.
    Awaited,
    /// A node has accepted it.
    Accepted,
}

/// A signed transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentTransfer {
    /// The transfer.
    #[serde(serialize_with = "encode", deserialize_with = "decode")]
    pub transfer: Transfer,
    /// What is known of it.
    pub status: SentStatus,
    /// Whether it may replace another transfer of the same nonce.
    pub replaces: bool,
}

fn encode<S: Serializer>(transfer: &Transfer, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(transfer.encode()))
}

fn decode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Transfer, D::Error> {
    let bytes =
        hex::decode(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)?;
    Transfer::decode(&bytes).map_err(serde::de::Error::custom)
}

/// The nonces of an account as a node reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeNonces {
    /// The number of confirmed transfers.
    pub confirmed: u64,
    /// The next nonce, unconfirmed transfers included.
    pub next: u64,
}

/// The nonce for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonceChoice {
    /// The nonce.
    pub nonce: u64,
    /// The lowest nonce that is not signed once the transfer is.
    next: u64,
}

/// Why a nonce is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NonceError {
    /// A transfer with this nonce or a later one is signed already.
    #[error(
        "nonce {nonce} is used, the next one is {next}: leave --nonce out, or use --replace to \
         replace the transfer with this nonce"
    )]
    Used {
        /// The nonce that was asked for.
        nonce: u64,
        /// The next nonce.
        next: u64,
    },
    /// The nonce is too far above the last signed one.
    #[error(
        "nonce {nonce} is {MAX_NONCES_AHEAD} or more above {last}, the last one of this wallet: \
         if another wallet with this key has used those between, use the next nonce that a \
         trusted node reports with --nonce"
    )]
    TooFar {
        /// The nonce that was asked for, or that follows from what the node reports.
        nonce: u64,
        /// The last signed nonce.
        last: u64,
    },
    /// The node lacks transfers that the wallet does not keep any more.
    #[error(
        "the node's next nonce is {missing}, but this wallet has signed up to nonce {last}: the \
         node is behind, or its chain was started again; if that is so, use --nonce {missing} \
         --replace"
    )]
    Missing {
        /// The nonce without a transfer.
        missing: u64,
        /// The last signed nonce.
        last: u64,
    },
    /// Too many transfers wait.
    #[error(
        "{MAX_TRANSFERS} transfers of this account wait for their confirmation: try again later"
    )]
    TooMany,
    /// There is nothing to replace.
    #[error("no transfer has nonce {nonce}, so there is nothing to replace: leave --replace out")]
    NothingToReplace {
        /// The nonce that was asked for.
        nonce: u64,
    },
    /// The transfer to replace is in a block.
    #[error("the transfer with nonce {nonce} is confirmed, so it cannot be replaced")]
    Confirmed {
        /// The nonce that was asked for.
        nonce: u64,
    },
}

/// The signed transfers of an account on one network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentTransfers {
    /// The lowest nonce that is not signed; `None` before the first transfer. Later ones may be.
    next_nonce: Option<u64>,
    transfers: Vec<SentTransfer>,
}

impl SentTransfers {
    /// The kept transfer with this id.
    pub fn get(&self, id: &Id) -> Option<&SentTransfer> {
        self.transfers.iter().find(|sent| sent.transfer.id() == *id)
    }

    fn get_mut(&mut self, id: &Id) -> Option<&mut SentTransfer> {
        self.transfers.iter_mut().find(|sent| sent.transfer.id() == *id)
    }

    /// The kept transfers whose command waits for a confirmation.
    pub fn awaited(&self) -> impl Iterator<Item = Id> {
        let awaited = self.transfers.iter().filter(|sent| sent.status == SentStatus::Awaited);
        awaited.map(|sent| sent.transfer.id())
    }

    /// The transfer that holds a nonce: the last one signed, unless it was refused.
    pub fn holder(&self, nonce: u64) -> Option<&SentTransfer> {
        let holds = |sent: &&SentTransfer| {
            sent.transfer.nonce == nonce && sent.status != SentStatus::Refused
        };
        self.transfers.iter().rev().find(holds)
    }

    /// The transfers that hold nonces in a range, in order.
    pub fn holders(&self, nonces: Range<u64>) -> Vec<&SentTransfer> {
        let mut held: Vec<u64> = self.transfers.iter().map(|sent| sent.transfer.nonce).collect();
        held.sort_unstable();
        held.dedup();
        held.retain(|nonce| nonces.contains(nonce));
        held.into_iter().filter_map(|nonce| self.holder(nonce)).collect()
    }

    /// The transfer whose outcome is uncertain: one without a definite answer, or a refused one whose
    /// nonce the node reports as used, perhaps by it. Only the user can decide whether another one is
    /// the same payment.
    pub fn undecided(&self, node: NodeNonces) -> Option<&SentTransfer> {
        self.transfers.iter().rev().find(|sent| match sent.status {
            SentStatus::Open => true,
            SentStatus::Refused => sent.transfer.nonce < node.next,
            SentStatus::Awaited | SentStatus::Accepted => false,
        })
    }

    /// Forgets accepted transfers that the node reports as confirmed.
    pub fn forget_confirmed(&mut self, node: NodeNonces) {
        self.transfers.retain(|sent| {
            sent.status != SentStatus::Accepted || sent.transfer.nonce >= node.confirmed
        });
    }

    /// The highest signed nonce.
    fn last_signed(&self) -> Option<u64> {
        let kept = self.transfers.iter().filter(|sent| sent.status != SentStatus::Refused);
        let kept = kept.map(|sent| sent.transfer.nonce).max();
        self.next_nonce.and_then(|next| next.checked_sub(1)).max(kept)
    }

    /// The nonce for a further transfer: the lowest one that neither this wallet nor the node has
    /// used, or the one that the user asks for.
    pub fn next(&self, node: NodeNonces, wanted: Option<u64>) -> Result<NonceChoice, NonceError> {
        if self.transfers.len() >= MAX_TRANSFERS {
            return Err(NonceError::TooMany);
        }
        let free = self.next_nonce.unwrap_or(0).max(node.next);
        let mut expected = free;
        while self.holder(expected).is_some() {
            expected = expected.saturating_add(1);
        }
        let last = self.last_signed();
        let Some(nonce) = wanted else {
            if let Some(last) = last {
                check_distance(expected, last)?;
                self.check_gap(node.next..expected, last)?;
            }
            return Ok(NonceChoice { nonce: expected, next: expected.saturating_add(1) });
        };
        if nonce < free || self.holder(nonce).is_some() {
            return Err(NonceError::Used { nonce, next: expected });
        }
        // A nonce that user and node agree on is right, however many another wallet has used.
        if nonce != node.next {
            check_distance(nonce, last.unwrap_or(node.next.saturating_sub(1)))?;
        }
        let next = if nonce == expected { nonce.saturating_add(1) } else { free };
        Ok(NonceChoice { nonce, next })
    }

    /// The nonce for a transfer that replaces the one with this nonce. `is_known` is whether the
    /// node has such a transfer.
    pub fn replacing(
        &self,
        node: NodeNonces,
        nonce: u64,
        is_known: bool,
    ) -> Result<NonceChoice, NonceError> {
        let next = self.next_nonce.unwrap_or(0);
        if nonce < node.confirmed {
            return Err(NonceError::Confirmed { nonce });
        }
        match self.holder(nonce).is_some() || is_known {
            true => Ok(NonceChoice { nonce, next: next.max(node.next) }),
            // The node's chain was started again.
            false if nonce == node.next && nonce < next => {
                Ok(NonceChoice { nonce, next: nonce.saturating_add(1) })
            }
            false => Err(NonceError::NothingToReplace { nonce }),
        }
    }

    fn check_gap(&self, mut nonces: Range<u64>, last: u64) -> Result<(), NonceError> {
        match nonces.find(|nonce| self.holder(*nonce).is_none()) {
            Some(missing) => Err(NonceError::Missing { missing, last }),
            None => Ok(()),
        }
    }

    /// Keeps a transfer that is signed and not submitted yet.
    pub fn record(&mut self, transfer: Transfer, choice: NonceChoice, replaces: bool) {
        let nonce = choice.nonce;
        if self.next_nonce.is_some_and(|next| choice.next < next) {
            // Later ones belong to a chain that is gone.
            self.transfers.retain(|sent| sent.transfer.nonce < nonce);
        }
        let is_refused = |sent: &SentTransfer| sent.status == SentStatus::Refused;
        self.transfers.retain(|sent| sent.transfer.nonce != nonce || !is_refused(sent));
        self.next_nonce = Some(choice.next);
        self.transfers.push(SentTransfer { transfer, status: SentStatus::Open, replaces });
    }

    /// Records that a node has accepted a transfer, which has then replaced others of its nonce.
    pub fn accept(&mut self, id: &Id, status: SentStatus) {
        let Some(sent) = self.get_mut(id) else { return };
        sent.status = status;
        let nonce = sent.transfer.nonce;
        self.transfers.retain(|sent| sent.transfer.nonce != nonce || sent.transfer.id() == *id);
    }

    /// Records that a transfer was refused, or reached no node: the next one has its nonce. A refused
    /// replacement leaves what it would have replaced.
    pub fn refuse(&mut self, id: &Id) {
        let Some(sent) = self.get_mut(id) else { return };
        sent.status = SentStatus::Refused;
        let nonce = sent.transfer.nonce;
        if self.holder(nonce).is_some() {
            self.forget(id);
        } else if self.next_nonce == nonce.checked_add(1) {
            self.next_nonce = Some(nonce);
        }
    }

    /// Leaves the outcome of a transfer to the user, whose command waits no longer for it.
    pub fn reopen(&mut self, id: &Id) {
        if let Some(sent) = self.get_mut(id).filter(|sent| sent.status == SentStatus::Awaited) {
            sent.status = SentStatus::Open;
        }
    }

    /// Forgets a transfer.
    pub fn forget(&mut self, id: &Id) {
        self.transfers.retain(|sent| sent.transfer.id() != *id);
    }
}

fn check_distance(nonce: u64, last: u64) -> Result<(), NonceError> {
    match nonce.saturating_sub(last) {
        0..MAX_NONCES_AHEAD => Ok(()),
        _ => Err(NonceError::TooFar { nonce, last }),
    }
}

#[cfg(test)]
mod tests;
