//! The rules of a transfer alone: its amounts and its signature. [`rules::body`](super::body)
//! validates nonce and balance, which need accounts.
//! Source: PROTOCOL.md, "Rules".

#![deny(clippy::arithmetic_side_effects)]

use super::RuleError;
use crate::address::Address;
use crate::amount::Amount;
use crate::block;
use crate::signature::{self, SignatureCheck};
use crate::tx::{Id, Transfer};

/// The number of transfers whose signatures are verified together by [`check_all`].
const BATCH: usize = 256;

/// A transfer that is valid alone. Only [`check`], [`check_all`] and the validation of a whole block create it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransfer {
    transfer: Transfer,
    details: TransferDetails,
}

/// The effects of a transfer on accounts, with amounts that are in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferDetails {
    /// The id of the transfer.
    pub id: Id,
    /// The account that pays.
    pub sender: Address,
    /// The nonce of the transfer, which must be the sender's next one.
    pub nonce: u64,
    /// The account that receives the amount.
    pub recipient: Address,
    /// The amount for the recipient.
    pub amount: Amount,
    /// The fee for the miner.
    pub fee: Amount,
    /// The sum of amount and fee, which the sender pays.
    pub cost: Amount,
}

impl CheckedTransfer {
    /// The transfer whose signature is checked.
    pub fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// The effects of the transfer.
    pub fn details(&self) -> &TransferDetails {
        &self.details
    }

    /// Returns a transfer of a block that is valid alone.
    pub(super) fn of_block(transfer: Transfer, details: TransferDetails) -> CheckedTransfer {
        CheckedTransfer { transfer, details }
    }

    /// The id of the transfer.
    pub fn id(&self) -> Id {
        self.details.id
    }
}

/// Validates a transfer alone, signed for the network that the genesis hash identifies.
pub fn check(transfer: Transfer, genesis: block::Hash) -> Result<CheckedTransfer, RuleError> {
    let details = amounts_are_in_range(&transfer, transfer.id())?;
    is_signed_by_sender(&transfer, details.id, genesis)?;
    Ok(CheckedTransfer { transfer, details })
}

/// Validates transfers alone with the results of [`check`], on a number of threads. Their signatures
/// are verified in batches.
pub fn check_all(
    transfers: &[Transfer],
    genesis: block::Hash,
    threads: usize,
) -> Vec<Result<CheckedTransfer, RuleError>> {
    let share = transfers.len().div_ceil(threads.max(1)).max(BATCH);
    let check_share = |transfers: &[Transfer]| -> Vec<_> {
        transfers.chunks(BATCH).flat_map(|batch| check_batch(batch, genesis)).collect()
    };
    if transfers.len() <= share {
        return check_share(transfers);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            transfers.chunks(share).map(|part| scope.spawn(|| check_share(part))).collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, Vec<_>>| {
            worker.join().expect("validation does not panic")
        };
        workers.into_iter().flat_map(join).collect()
    })
}

fn check_batch(
    transfers: &[Transfer],
    genesis: block::Hash,
) -> Vec<Result<CheckedTransfer, RuleError>> {
    let checks: Vec<_> =
        transfers.iter().map(|transfer| signature_check(transfer, genesis)).collect();
    if signature::verify_all(&checks, 1).is_err() {
        return transfers.iter().map(|transfer| check(transfer.clone(), genesis)).collect();
    }
    let checked = |transfer: &Transfer| {
        let details = amounts_are_in_range(transfer, transfer.id())?;
        Ok(CheckedTransfer { transfer: transfer.clone(), details })
    };
    transfers.iter().map(checked).collect()
}

/// Checks that the amount is at least 1, and amount, fee and their sum are in range.
pub(super) fn amounts_are_in_range(
    transfer: &Transfer,
    id: Id,
) -> Result<TransferDetails, RuleError> {
    if transfer.amount == 0 {
        return Err(RuleError::ZeroAmount { id });
    }
    let overflow = RuleError::AmountOverflow { id };
    let (Some(amount), Some(fee)) = (Amount::new(transfer.amount), Amount::new(transfer.fee))
    else {
        return Err(overflow);
    };
    let cost = amount.checked_add(fee).ok_or(overflow)?;
    let (sender, nonce, recipient) =
        (transfer.sender_address(), transfer.nonce, transfer.recipient);
    Ok(TransferDetails { id, sender, nonce, recipient, amount, fee, cost })
}

/// Returns the signature of a transfer for verification in a batch.
pub(super) fn signature_check(transfer: &Transfer, genesis: block::Hash) -> SignatureCheck {
    SignatureCheck {
        key: transfer.sender,
        message: transfer.signing_bytes(genesis),
        signature: transfer.signature,
    }
}

fn is_signed_by_sender(transfer: &Transfer, id: Id, genesis: block::Hash) -> Result<(), RuleError> {
    let signed = transfer.sender.verify(&transfer.signing_bytes(genesis), &transfer.signature);
    if signed { Ok(()) } else { Err(RuleError::BadSignature { id }) }
}
