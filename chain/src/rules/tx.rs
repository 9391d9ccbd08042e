//! What a transfer must satisfy alone. Nonce and balance need accounts: see `rules::body`.

#![deny(clippy::arithmetic_side_effects)]

use super::RuleError;
use crate::address::Address;
use crate::amount::Amount;
use crate::block;
use crate::signature::SignatureCheck;
use crate::tx::{Id, Transfer};

/// A transfer that is valid alone. Made only by `check`, of this module or of `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedTransfer {
    transfer: Transfer,
    details: TransferDetails,
}

/// What a transfer does, its amounts proven to be in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferDetails {
    /// The transfer's id.
    pub id: Id,
    /// The account that pays.
    pub sender: Address,
    /// The nonce it must have.
    pub nonce: u64,
    /// The account that is paid.
    pub recipient: Address,
    /// To the recipient.
    pub amount: Amount,
    /// To the miner.
    pub fee: Amount,
    /// Amount and fee together.
    pub cost: Amount,
}

impl CheckedTransfer {
    /// As it was signed.
    pub fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// What it does.
    pub fn details(&self) -> &TransferDetails {
        &self.details
    }

    /// From a block that is valid alone.
    pub(super) fn of_block(transfer: Transfer, details: TransferDetails) -> CheckedTransfer {
        CheckedTransfer { transfer, details }
    }

    /// Its id.
    pub fn id(&self) -> Id {
        self.details.id
    }
}

/// Everything that needs no account. The genesis hash names the network it must be signed for.
pub fn check(transfer: Transfer, genesis: block::Hash) -> Result<CheckedTransfer, RuleError> {
    let details = amounts_are_in_range(&transfer, transfer.id())?;
    is_signed_by_sender(&transfer, details.id, genesis)?;
    Ok(CheckedTransfer { transfer, details })
}

/// At least 1 to the recipient; amount, fee and their sum within range.
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

/// What `is_signed_by_sender` checks, for checking many together.
pub(super) fn claim(transfer: &Transfer, genesis: block::Hash) -> SignatureCheck {
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
