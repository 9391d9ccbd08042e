//! Accounts: what an address holds, and the transactions that name it.

use crate::api::http::content::Json;
use crate::api::http::extract::{Path, Query};
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::Problem;
use crate::api::http::response::{Answer, read_aside};
use crate::api::openapi::route::{Table, get};
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

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        get("/v1/accounts/{address}", "What an address holds", one).shows::<Holdings>(),
        get("/v1/accounts/{address}/transactions", "What names an address", transactions)
            .says("Those that wait for a block first, each newest first.")
            .lists::<Movement>(&[List::OfAddressWaiting, List::OfAddress]),
    ])
}

/// Bytes of blocks read for a page: beyond that the page ends early. Each transaction of a page
/// may stand in another block, and a block may have 2 MB.
const MAX_READ: u64 = 16_000_000;

/// What an address holds. Amounts in base units.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Account")]
pub struct Holdings {
    /// The address.
    #[schemars(with = "AddressText")]
    pub address: String,
    /// What it may spend.
    #[schemars(with = "Units")]
    pub balance: u64,
    /// Rewards it may not spend yet.
    #[schemars(with = "Units")]
    pub immature: u64,
    /// Transfers it has sent that are in the best chain.
    pub nonce: u64,
    /// The nonce of its next transfer, those that wait counted.
    pub next_nonce: u64,
    /// The balance once all that is pending is confirmed.
    #[schemars(with = "Units")]
    pub pending_balance: u64,
    /// Transactions of the best chain that name it.
    pub transaction_count: u32,
}

/// What an address holds; one that nobody ever named holds nothing.
pub async fn one(
    State(node): State<Arc<NodeState>>,
    Path(AddressText(text)): Path<AddressText>,
) -> Result<Response, Problem> {
    let hrp = node.reader.params().hrp();
    let address = transfer::address(&text, hrp, "path")?;
    Ok(read_aside(node, move |view| {
        let account = view.account(&address)?;
        let mempool = view.mempool();
        let holdings = Holdings {
            address: address.encode(hrp),
            balance: account.balance.units(),
            immature: view.immature_balance(&address).units(),
            nonce: account.nonce,
            next_nonce: mempool.next_nonce(&address, &account),
            pending_balance: mempool.pending_balance(&address, &account).units(),
            transaction_count: view.transaction_count(&address)?,
        };
        Ok(Answer::new(Json(holdings)).changing())
    })
    .await)
}

/// A transaction as one of those it names sees it. Amounts in base units.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Movement {
    /// The transaction.
    #[schemars(with = "TransactionId")]
    pub id: String,
    /// Where it stands.
    pub status: Status,
    /// The height of its block.
    pub height: Option<u32>,
    /// Where it stands in that, from 0.
    pub position: Option<u32>,
    /// The time of that.
    pub time: Option<u32>,
    /// Which way the money goes.
    pub direction: Direction,
    /// Whom it comes from or goes to, if that is somebody else.
    #[schemars(with = "Option<AddressText>")]
    pub counterpart: Option<String>,
    /// What the recipient gets.
    #[schemars(with = "Units")]
    pub amount: u64,
    /// What the sender pays for it.
    #[schemars(with = "Units")]
    pub fee: u64,
}

/// Which way money goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "MovementDirection")]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the address.
    In,
    /// From it.
    Out,
    /// Both.
    #[serde(rename = "self")]
    Itself,
    /// To it, for a block.
    Mined,
}

impl Movement {
    fn of_transfer(transfer: &Transfer, address: &Address, view: &View) -> Movement {
        let (sender, recipient) = (transfer.sender_address(), transfer.recipient);
        let (direction, counterpart) = match (sender == *address, recipient == *address) {
            (true, true) => (Direction::Itself, None),
            (true, false) => (Direction::Out, Some(recipient)),
            (false, _) => (Direction::In, Some(sender)),
        };
        Movement {
            id: transfer.id().to_string(),
            status: Status::Pending,
            height: None,
            position: None,
            time: None,
            direction,
            counterpart: counterpart.map(|address| address.encode(view.params().hrp())),
            amount: transfer.amount,
            fee: transfer.fee,
        }
    }

    fn waiting(entry: &mempool::Entry, address: &Address, view: &View) -> Movement {
        let status = if entry.is_pending { Status::Pending } else { Status::Queued };
        Movement { status, ..Movement::of_transfer(entry.transfer.transfer(), address, view) }
    }

    fn of(transaction: &Transaction, address: &Address, view: &View) -> Movement {
        match transaction {
            Transaction::Transfer(transfer) => Movement::of_transfer(transfer, address, view),
            Transaction::Coinbase(coinbase) => Movement {
                id: coinbase.id().to_string(),
                status: Status::Confirmed,
                height: None,
                position: None,
                time: None,
                direction: Direction::Mined,
                counterpart: None,
                amount: coinbase.reward,
                fee: 0,
            },
        }
    }
}

/// The transactions that name an address, those that wait for a block first, each newest first.
/// None is left out; one that is confirmed while pages are read may come twice.
pub async fn transactions(
    State(node): State<Arc<NodeState>>,
    uri: Uri,
    Path(AddressText(text)): Path<AddressText>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let address = transfer::address(&text, node.reader.params().hrp(), "path")?;
    let limit = query.limit()?;
    let cursor = query.cursor(&[List::OfAddressWaiting, List::OfAddress])?;
    Ok(read_aside(node, move |view| {
        if let Some(cursor) = &cursor {
            cursor.check(view)?;
        }
        Ok(Answer::page(page(view, &address, cursor, limit)?, &uri, limit).changing())
    })
    .await)
}

fn page(
    view: &View,
    address: &Address,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Page<Movement>, Problem> {
    let bound = cursor.map_or(view.tip().hash, |cursor| cursor.bound);
    let next = |list, position| Some(Cursor { list, bound, position }.encode());
    let (before, below) = match cursor {
        Some(Cursor { list: List::OfAddress, position, .. }) => (Some(0), position),
        Some(Cursor { position, .. }) => (Some(position), u64::MAX),
        None => (None, u64::MAX),
    };
    let mut items = Vec::new();
    let mut arrival = 0;
    let mut waiting = view.mempool().by_address(address, before);
    for entry in waiting.by_ref().take(limit) {
        arrival = entry.arrival;
        items.push(Movement::waiting(&entry, address, view));
    }
    if waiting.next().is_some() {
        return Ok(Page { items, next: next(List::OfAddressWaiting, arrival) });
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
        items.extend(transaction.map(|transaction| Movement {
            status: Status::Confirmed,
            height: Some(node.height.get()),
            position: Some(entry.position),
            time: Some(node.time.get()),
            ..Movement::of(transaction, address, view)
        }));
        left = index;
    }
    let next = if left > 0 { next(List::OfAddress, left.into()) } else { None };
    Ok(Page { items, next })
}

/// Reads blocks of the best chain, each once while it is asked for again and again.
struct Blocks<'a, 'v> {
    view: &'a View<'v>,
    last: Option<(Height, Block)>,
    /// Bytes so far.
    read: u64,
}

impl Blocks<'_, '_> {
    fn at(&mut self, height: Height) -> Result<(&chain::block_index::BlockNode, &Block), Problem> {
        let node = self.view.at_height(height).ok_or_else(Cursor::gone)?;
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
