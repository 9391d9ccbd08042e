//! Transactions in JSON: as they are shown, and as they are handed in.

use crate::api::http::content::{Json, media_type};
use crate::api::http::extract::{Encoded, unhex};
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

/// A transaction as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "BlockTransaction")]
pub struct Shown {
    /// Its id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The rest.
    #[serde(flatten)]
    pub body: Body,
}

/// What an id stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionBody")]
pub struct Body {
    /// Bytes of the encoding.
    pub size: usize,
    /// What it consists of.
    #[serde(flatten)]
    pub fields: Fields,
}

/// What transactions of a type consist of. Amounts in base units, bytes in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TransactionFields")]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Fields {
    /// Pays a block's miner.
    Coinbase {
        /// Who is paid.
        recipient: String,
        /// How much.
        reward: u64,
        /// What the miner searched when the nonces were used up.
        extra_nonce: String,
        /// What the miner says, if it is text.
        tag: Option<String>,
        /// The same in bytes.
        tag_hex: String,
        /// The accounts after the block.
        commitment: String,
    },
    /// A payment.
    Transfer {
        /// The public key of who pays.
        sender: String,
        /// The address of that.
        sender_address: String,
        /// How many transfers of this sender come before it.
        nonce: u64,
        /// Who is paid.
        recipient: String,
        /// How much.
        amount: u64,
        /// For the miner.
        fee: u64,
        /// What the sender says, if it is text.
        memo: Option<String>,
        /// The same in bytes.
        memo_hex: String,
        /// The sender's.
        signature: String,
    },
}

impl Shown {
    /// A transaction of a network.
    pub fn of(transaction: &Transaction, hrp: Hrp) -> Shown {
        Shown { id: transaction.id().to_string(), body: Body::of(transaction, hrp) }
    }
}

impl Body {
    /// Of any transaction of a network.
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

    /// Of a transfer of a network.
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

/// The two ways to hand a transfer in, with two ways to say the memo.
#[derive(JsonSchema)]
#[schemars(rename = "Transfer", untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "says what a body looks like")]
enum Ways {
    /// The encoding of the whole transaction.
    Encoded { hex: Hex },
    /// All fields, and a memo as text if there is one.
    Fields {
        sender: PublicKeyText,
        nonce: Integer,
        recipient: AddressText,
        amount: Integer,
        fee: Integer,
        memo: Option<String>,
        signature: SignatureText,
    },
    /// All fields, and a memo in hexadecimal.
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

/// A transfer as it is handed in: `hex` alone, or all fields but one of the two memos.
#[derive(Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(with = "Ways")]
pub struct Submitted {
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

impl Submitted {
    /// The transfer this is on a network.
    pub fn read(self, hrp: Hrp) -> Result<Transfer, Problem> {
        if let Some(hex) = &self.hex {
            let alone = Submitted { hex: self.hex.clone(), ..Submitted::default() };
            if self != alone {
                return Err(bad("`hex` is the whole transaction: leave the other fields out"));
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

/// An address of this network.
pub fn address(text: &str, hrp: Hrp, what: &str) -> Result<Address, Problem> {
    Address::decode_for(text, hrp).map_err(|error| bad(format!("{what}: {error}")))
}

/// A transfer in the body of a request: JSON if its type says so, otherwise its encoding.
#[derive(Debug)]
pub struct Signed(pub Transfer);

impl FromRequest<Arc<NodeState>> for Signed {
    type Rejection = Problem;

    async fn from_request(request: Request, node: &Arc<NodeState>) -> Result<Signed, Problem> {
        let transfer = if media_type(request.headers()) == "application/json" {
            let Json(submitted) = Json::<Submitted>::from_request(request, node).await?;
            submitted.read(node.reader.params().hrp())?
        } else {
            let Encoded(bytes) = Encoded::from_request(request, node).await?;
            Transfer::decode(&bytes)?
        };
        Ok(Signed(transfer))
    }
}

impl Input for Signed {
    fn describe(operation: &mut Operation) {
        operation.takes_json::<Submitted>();
        Encoded::describe(operation);
    }
}

fn memo(text: Option<String>, hex: Option<String>) -> Result<Memo, Problem> {
    let bytes = match (text, hex) {
        (Some(_), Some(_)) => return Err(bad("give `memo` or `memo_hex`, not both")),
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
