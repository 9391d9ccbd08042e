//! Accounts: balances and transaction history of addresses.

use crate::api::http::content::Json;
use crate::api::http::extract::{Path, Query};
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::Problem;
use crate::api::http::response::{ReadResponse, read_blocking};
use crate::api::openapi::route::{Routes, get};
use crate::api::openapi::schema::{AddressText, TransactionId, Units};
use crate::api::routes::transactions::Status;
use crate::api::routes::transfer;
use crate::state::NodeState;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use chain::accounts::AccountView;
use chain::ledger::View;
use chain::{Address, Block, Height, Transaction, Transfer, mempool};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes() -> Routes {
    Routes::new([
        get("/v1/accounts/{address}", "Get an account", get_account).returns::<AccountResponse>(),
        get("/v1/accounts/{address}/transactions", "List transactions of an account", transactions)
            .description("Unconfirmed transactions first; both groups newest first.")
            .returns_page::<AccountTransaction>(&[List::AccountMempool, List::AccountHistory]),
    ])
}

/// Bytes of blocks after which a page ends early: each of its transactions may be in another block of
/// up to 2 MB.
const MAX_READ: u64 = 16_000_000;

/// The state of an account. Amounts are in base units.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Account")]
pub struct AccountResponse {
    /// The address.
    #[schemars(with = "AddressText")]
    pub address: String,
    /// The spendable balance.
    #[schemars(with = "Units")]
    pub balance: u64,
    /// Mining rewards that cannot be spent yet.
    #[schemars(with = "Units")]
    pub immature: u64,
    /// The number of confirmed transfers sent.
    pub nonce: u64,
    /// The nonce of the next transfer, unconfirmed transfers included.
    pub next_nonce: u64,
    /// The balance after confirmation of all pending transfers.
    #[schemars(with = "Units")]
    pub pending_balance: u64,
    /// What another transfer can spend, its fee included: the balance without what the account's
    /// pending transfers spend.
    #[serde(default)]
    #[schemars(with = "Units")]
    pub spendable: u64,
    /// The number of confirmed transactions of the account.
    pub transaction_count: u32,
}

/// An address without transactions has an empty account.
pub async fn get_account(
    State(node): State<Arc<NodeState>>,
    Path(AddressText(text)): Path<AddressText>,
) -> Result<Response, Problem> {
    let hrp = node.reader.params().hrp();
    let address = transfer::address(&text, hrp, "path")?;
    Ok(read_blocking(node, move |view| {
        let account = view.account(&address)?;
        let mempool = view.mempool();
        let response = AccountResponse {
            address: address.encode(hrp),
            balance: account.balance.units(),
            immature: view.immature_balance(&address).units(),
            nonce: account.nonce,
            next_nonce: mempool.next_nonce(&address, &account),
            pending_balance: mempool.pending_balance(&address, &account).units(),
            spendable: account.balance.units().saturating_sub(mempool.pending_cost(&address)),
            transaction_count: view.transaction_count(&address)?,
        };
        Ok(ReadResponse::new(Json(response)).volatile())
    })
    .await)
}

/// A transaction from the view of one account. Amounts are in base units.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AccountTransaction {
    /// The transaction id.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// The status.
    pub status: Status,
    /// The height of the block.
    pub height: Option<u32>,
    /// The index in the block, from 0.
    pub position: Option<u32>,
    /// The time of the block, Unix seconds.
    pub time: Option<u32>,
    /// The direction of the payment.
    pub direction: Direction,
    /// The sender or recipient, if it is another account.
    #[schemars(with = "Option<AddressText>")]
    pub counterpart: Option<String>,
    /// The amount received by the recipient.
    #[schemars(with = "Units")]
    pub amount: u64,
    /// The fee paid by the sender.
    #[schemars(with = "Units")]
    pub fee: u64,
    /// The nonce, if the account is the sender.
    pub nonce: Option<u64>,
}

/// The direction of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AccountTransactionDirection")]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Received by the account.
    In,
    /// Sent by the account.
    Out,
    /// Sent by the account to itself.
    #[serde(rename = "self")]
    Itself,
    /// A block reward.
    Mined,
}

impl AccountTransaction {
    fn of_transfer(transfer: &Transfer, address: &Address, view: &View) -> AccountTransaction {
        let (sender, recipient) = (transfer.sender_address(), transfer.recipient);
        let (direction, counterpart) = match (sender == *address, recipient == *address) {
            (true, true) => (Direction::Itself, None),
            (true, false) => (Direction::Out, Some(recipient)),
            (false, _) => (Direction::In, Some(sender)),
        };
        AccountTransaction {
            id: transfer.id().to_string(),
            status: Status::Pending,
            height: None,
            position: None,
            time: None,
            direction,
            counterpart: counterpart.map(|address| address.encode(view.params().hrp())),
            amount: transfer.amount,
            fee: transfer.fee,
            nonce: (sender == *address).then_some(transfer.nonce),
        }
    }

    fn unconfirmed(entry: &mempool::Entry, address: &Address, view: &View) -> AccountTransaction {
        let status = if entry.is_pending { Status::Pending } else { Status::Queued };
        AccountTransaction {
            status,
            ..AccountTransaction::of_transfer(entry.transfer.transfer(), address, view)
        }
    }

    fn of(transaction: &Transaction, address: &Address, view: &View) -> AccountTransaction {
        match transaction {
            Transaction::Transfer(transfer) => {
                AccountTransaction::of_transfer(transfer, address, view)
            }
            Transaction::Coinbase(coinbase) => AccountTransaction {
                id: coinbase.id().to_string(),
                status: Status::Confirmed,
                height: None,
                position: None,
                time: None,
                direction: Direction::Mined,
                counterpart: None,
                amount: coinbase.reward,
                fee: 0,
                nonce: None,
            },
        }
    }
}

/// Unconfirmed transactions first, both groups newest first. No transaction is skipped; one that is
/// confirmed between two pages may be listed twice.
pub async fn transactions(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Path(AddressText(text)): Path<AddressText>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let address = transfer::address(&text, node.reader.params().hrp(), "path")?;
    let limit = query.limit()?;
    let cursor = query.cursor(&[List::AccountMempool, List::AccountHistory])?;
    Ok(read_blocking(node, move |view| {
        if let Some(cursor) = &cursor {
            cursor.check(view)?;
        }
        Ok(ReadResponse::page(page(view, &address, cursor, limit)?, &uri, limit).volatile())
    })
    .await)
}

fn page(
    view: &View,
    address: &Address,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page<AccountTransaction>, Problem> {
    let bound = cursor.map_or(view.tip().hash, |cursor| cursor.bound);
    let next = |list, position| Some(Cursor { list, bound, position }.encode());
    let (before, below) = match cursor {
        Some(Cursor { list: List::AccountHistory, position, .. }) => (Some(0), position),
        Some(Cursor { position, .. }) => (Some(position), u64::MAX),
        None => (None, u64::MAX),
    };
    let mut items = Vec::new();
    let mut arrival = 0;
    let mut waiting = view.mempool().by_address(address, before);
    for entry in waiting.by_ref().take(limit) {
        arrival = entry.arrival;
        items.push(AccountTransaction::unconfirmed(&entry, address, view));
    }
    if waiting.next().is_some() {
        return Ok(Page { items, next: next(List::AccountMempool, arrival) });
    }
    let below = u32::try_from(below).unwrap_or(u32::MAX).min(view.transaction_count(address)?);
    let room = limit.saturating_sub(items.len());
    let mut left = below;
    let mut blocks = Blocks { view, last: None, read: 0 };
    for (index, entry) in view.history(address, below, room)? {
        if blocks.read > MAX_READ {
            break;
        }
        let (node, block) = blocks.at(entry.height)?;
        let transaction = block.transactions.get(entry.position as usize);
        items.extend(transaction.map(|transaction| AccountTransaction {
            status: Status::Confirmed,
            height: Some(node.height.get()),
            position: Some(entry.position),
            time: Some(node.time.get()),
            ..AccountTransaction::of(transaction, address, view)
        }));
        left = index;
    }
    let next = if left > 0 { next(List::AccountHistory, left.into()) } else { None };
    Ok(Page { items, next })
}

/// Reads blocks of the best chain; consecutive reads of the same block are cached.
struct Blocks<'a, 'v> {
    view: &'a View<'v>,
    last: Option<(Height, Block)>,
    /// Bytes read so far.
    read: u64,
}

impl Blocks<'_, '_> {
    fn at(&mut self, height: Height) -> Result<(&chain::block_index::BlockNode, &Block), Problem> {
        let node = self.view.at_height(height).ok_or_else(Cursor::expired)?;
        let block = match self.last.take().filter(|(last, _)| *last == height) {
            Some((_, block)) => block,
            None => {
                self.read = self.read.saturating_add(node.location.length.into());
                self.view.block(node)?
            }
        };
        let (_, block) = self.last.insert((height, block));
        Ok((node, block))
    }
}
