//! Transactions in JSON, in responses and requests.

use crate::api::http::content::{Json, media_type};
use crate::api::http::extract::{EncodedBody, unhex};
use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::document::Operation;
use crate::api::openapi::route::Input;
use crate::api::openapi::schema::{
    AddressText, Hex, Integer, PublicKeyText, SignatureText, TransactionId,
};
use crate::state::NodeState;
use axum::extract::{FromRequest, Request};
use chain::address::{Address, Hrp};
use chain::signature::{PublicKey, Signature};
use chain::tx::{MAX_MEMO_BYTES, Memo};
use chain::{DecodeError, Transaction, Transfer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockTransaction")]
pub struct TransactionJson {
    /// The transaction id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The contents.
    #[serde(flatten)]
    pub body: Body,
}

/// The contents of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionBody")]
pub struct Body {
    /// The encoded size in bytes.
    pub size: usize,
    /// The fields.
    #[serde(flatten)]
    pub fields: Fields,
}

/// The fields of a transaction by type. Amounts are in base units, bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionFields")]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fields {
    /// The coinbase, which pays the miner of a block.
    Coinbase {
        /// The address of the miner.
        recipient: String,
        /// The reward: subsidy and fees.
        reward: u64,
        /// The extra nonce.
        extra_nonce: String,
        /// The miner's tag, if it is valid UTF-8.
        tag: Option<String>,
        /// The miner's tag in hexadecimal.
        tag_hex: String,
        /// The commitment to the accounts after the block.
        commitment: String,
    },
    /// A transfer between accounts.
    Transfer {
        /// The public key of the sender.
        sender: String,
        /// The address of the sender.
        sender_address: String,
        /// The nonce: the number of earlier transfers of the sender.
        nonce: u64,
        /// The address of the recipient.
        recipient: String,
        /// The amount received.
        amount: u64,
        /// The fee paid to the miner.
        fee: u64,
        /// The memo, if it is valid UTF-8.
        memo: Option<String>,
        /// The memo in hexadecimal.
        memo_hex: String,
        /// The signature of the sender.
        signature: String,
    },
}

impl TransactionJson {
    pub fn of(transaction: &Transaction, hrp: Hrp) -> TransactionJson {
        TransactionJson { id: transaction.id().to_string(), body: Body::of(transaction, hrp) }
    }
}

impl Body {
    pub fn of(transaction: &Transaction, hrp: Hrp) -> Body {
        match transaction {
            Transaction::Transfer(transfer) => Body::of_transfer(transfer, hrp),
            Transaction::Coinbase(coinbase) => {
                let fields = Fields::Coinbase {
                    recipient: coinbase.recipient.encode(hrp),
                    reward: coinbase.reward,
                    extra_nonce: hex::encode(coinbase.extra_nonce),
                    tag: text(coinbase.tag.as_bytes()),
                    tag_hex: hex::encode(coinbase.tag.as_bytes()),
                    commitment: hex::encode(coinbase.commitment),
                };
                Body { size: transaction.encode().len(), fields }
            }
        }
    }

    pub fn of_transfer(transfer: &Transfer, hrp: Hrp) -> Body {
        let fields = Fields::Transfer {
            sender: hex::encode(transfer.sender.as_bytes()),
            sender_address: transfer.sender_address().encode(hrp),
            nonce: transfer.nonce,
            recipient: transfer.recipient.encode(hrp),
            amount: transfer.amount,
            fee: transfer.fee,
            memo: text(transfer.memo.as_bytes()),
            memo_hex: hex::encode(transfer.memo.as_bytes()),
            signature: hex::encode(transfer.signature.as_bytes()),
        };
        Body { size: transfer.size(), fields }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).map(str::to_owned).ok()
}

/// The schema of [`TransferRequest`]: a transfer as raw hex or as fields; the memo as text or hex.
#[derive(JsonSchema)]
#[schemars(rename = "Transfer", untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "only describes the schema")]
enum TransferInput {
    /// The encoded transaction.
    Encoded { hex: Hex },
    /// All fields, with an optional memo as text.
    Fields {
        sender: PublicKeyText,
        nonce: Integer,
        recipient: AddressText,
        amount: Integer,
        fee: Integer,
        memo: Option<String>,
        signature: SignatureText,
    },
    /// All fields, with an optional memo in hexadecimal.
    FieldsWithMemoInHex {
        sender: PublicKeyText,
        nonce: Integer,
        recipient: AddressText,
        amount: Integer,
        fee: Integer,
        memo_hex: Option<Hex>,
        signature: SignatureText,
    },
}

/// A submitted transfer: `hex` alone, or all other fields with at most one of the two memos.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(with = "TransferInput")]
pub struct TransferRequest {
    hex: Option<String>,
    sender: Option<String>,
    nonce: Option<Integer>,
    recipient: Option<String>,
    amount: Option<Integer>,
    fee: Option<Integer>,
    memo: Option<String>,
    memo_hex: Option<String>,
    signature: Option<String>,
}

impl TransferRequest {
    /// Builds the transfer for a network.
    pub fn read(self, hrp: Hrp) -> Result<Transfer, Problem> {
        if let Some(hex) = &self.hex {
            let alone = TransferRequest { hex: self.hex.clone(), ..TransferRequest::default() };
            if self != alone {
                return Err(bad("`hex` excludes all other fields"));
            }
            return Ok(Transfer::decode(&unhex(hex, "`hex`")?)?);
        }
        let recipient = required(self.recipient, "recipient")?;
        Ok(Transfer {
            sender: PublicKey::from_bytes(array(&required(self.sender, "sender")?, "sender")?),
            nonce: required(self.nonce, "nonce")?.0,
            recipient: address(&recipient, hrp, "recipient")?,
            amount: required(self.amount, "amount")?.0,
            fee: required(self.fee, "fee")?.0,
            memo: memo(self.memo, self.memo_hex)?,
            signature: Signature::from_bytes(array(
                &required(self.signature, "signature")?,
                "signature",
            )?),
        })
    }
}

/// Parses an address of a network; `what` names the value in the error.
pub fn address(text: &str, hrp: Hrp, what: &str) -> Result<Address, Problem> {
    Address::decode_for(text, hrp).map_err(|error| bad(format!("{what}: {error}")))
}

/// The payout address of a request: its `miner`, or else the default.
pub fn payout_address(
    miner: Option<&str>,
    default: Option<Address>,
    hrp: Hrp,
) -> Result<Address, Problem> {
    match miner {
        Some(text) => address(text, hrp, "miner"),
        None => default.ok_or_else(|| {
            let detail = "no payout address: set `miner`, or configure the node's own";
            Problem::new(Kind::NO_MINER, detail)
        }),
    }
}

/// Extractor of a transfer in the request body: JSON or, by content type, its encoding.
#[derive(Debug)]
pub struct SignedTransfer(pub Transfer);

impl FromRequest<Arc<NodeState>> for SignedTransfer {
    type Rejection = Problem;

    async fn from_request(
        request: Request,
        node: &Arc<NodeState>,
    ) -> Result<SignedTransfer, Problem> {
        let transfer = if media_type(request.headers()) == "application/json" {
            let Json(submitted) = Json::<TransferRequest>::from_request(request, node).await?;
            submitted.read(node.reader.params().hrp())?
        } else {
            let EncodedBody(bytes) = EncodedBody::from_request(request, node).await?;
            Transfer::decode(&bytes)?
        };
        Ok(SignedTransfer(transfer))
    }
}

impl Input for SignedTransfer {
    fn describe(operation: &mut Operation) {
        operation.json_body::<TransferRequest>();
        EncodedBody::describe(operation);
    }
}

fn memo(text: Option<String>, hex: Option<String>) -> Result<Memo, Problem> {
    let bytes = match (text, hex) {
        (Some(_), Some(_)) => return Err(bad("set `memo` or `memo_hex`, not both")),
        (Some(text), None) => text.into_bytes(),
        (None, Some(hex)) => unhex(hex, "`memo_hex`")?,
        (None, None) => Vec::new(),
    };
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let too_long = DecodeError::MemoTooLong { length, limit: MAX_MEMO_BYTES };
    Memo::new(bytes).ok_or_else(|| too_long.into())
}

fn required<T>(field: Option<T>, name: &str) -> Result<T, Problem> {
    field.ok_or_else(|| bad(format!("`{name}` is missing")))
}

fn array<const BYTES: usize>(text: &str, name: &str) -> Result<[u8; BYTES], Problem> {
    let bytes = unhex(text, &format!("`{name}`"))?;
    bytes.try_into().map_err(|_| bad(format!("`{name}` must be {} hexadecimal digits", 2 * BYTES)))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BAD_REQUEST, detail)
}
