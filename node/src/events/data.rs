//! The data of the events that are rendered from the log, as subscribers receive it. The data of the
//! other topics are JSON in the log: those of `api::routes`.

use super::record::Payment;
use crate::api::openapi::schema::{AddressText, BlockHash, TransactionId, Units};
use chain::address::Hrp;
use schemars::JsonSchema;
use serde::Serialize;

/// A block that joined the best chain.
#[derive(Serialize, JsonSchema)]
pub struct ConnectedBlock {
    /// The hash of the block.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// The height of the block.
    pub height: u32,
    /// The hash of the parent.
    #[schemars(with = "BlockHash")]
    pub previous: String,
    /// The time of the header, Unix seconds.
    pub block_time: u32,
    /// The address of the miner.
    #[schemars(with = "AddressText")]
    pub miner: String,
    /// The number of transactions.
    pub transaction_count: usize,
    /// The encoded size in bytes.
    pub size: usize,
    /// The reward: subsidy and fees, in base units.
    #[schemars(with = "Units")]
    pub reward: u64,
    /// The fees of the transfers, in base units.
    #[schemars(with = "Units")]
    pub fees: u64,
}

/// A block that left the best chain.
#[derive(Serialize, JsonSchema)]
pub struct DisconnectedBlock {
    /// The hash of the block.
    #[schemars(with = "BlockHash")]
    pub hash: String,
    /// The height of the block.
    pub height: u32,
    /// The address of the miner.
    #[schemars(with = "AddressText")]
    pub miner: String,
    /// The reward: subsidy and fees, in base units.
    #[schemars(with = "Units")]
    pub reward: u64,
}

/// A reorganisation, after the events of its blocks.
#[derive(Serialize, JsonSchema)]
pub struct Reorg {
    /// The height of the last common block.
    pub fork_height: u32,
    /// The number of disconnected blocks.
    pub depth: u32,
    /// The hash of the tip before.
    #[schemars(with = "BlockHash")]
    pub old_tip: String,
    /// The hash of the tip after.
    #[schemars(with = "BlockHash")]
    pub new_tip: String,
    /// The number of connected blocks.
    pub connected: u32,
}

/// A transfer. Amounts are in base units.
#[derive(Serialize, JsonSchema)]
pub struct Transfer {
    /// The transaction id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The address of the sender.
    #[schemars(with = "AddressText")]
    pub sender: String,
    /// The address of the recipient.
    #[schemars(with = "AddressText")]
    pub recipient: String,
    /// The amount.
    #[schemars(with = "Units")]
    pub amount: u64,
    /// The fee.
    #[schemars(with = "Units")]
    pub fee: u64,
    /// The nonce of the sender.
    pub nonce: u64,
}

impl Transfer {
    pub(super) fn of(payment: &Payment, hrp: Hrp) -> Transfer {
        let Payment { id, sender, recipient, amount, fee, nonce } = *payment;
        Transfer {
            id: id.to_string(),
            sender: sender.encode(hrp),
            recipient: recipient.encode(hrp),
            amount,
            fee,
            nonce,
        }
    }
}

/// A transfer that left the mempool unconfirmed.
#[derive(Serialize, JsonSchema)]
pub struct DroppedTransfer {
    /// The transfer.
    #[serde(flatten)]
    pub transfer: Transfer,
    /// The code of the reason.
    pub reason: String,
}

/// A transfer in a block of the best chain.
#[derive(Serialize, JsonSchema)]
pub struct ConfirmedTransfer {
    /// The transfer.
    #[serde(flatten)]
    pub transfer: Transfer,
    /// The hash of the block.
    #[schemars(with = "BlockHash")]
    pub block: String,
    /// The height of the block.
    pub height: u32,
    /// The position in the block; that of the coinbase is 0.
    pub position: u64,
}

/// Missed events are gone.
#[derive(Serialize, JsonSchema)]
pub struct Reset {
    /// The number of the oldest event that is retained.
    pub oldest: u64,
    /// The number of the newest event.
    pub newest: u64,
}
