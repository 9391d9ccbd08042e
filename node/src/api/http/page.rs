//! Pagination. A cursor holds the position of the next page and the tip of the first one; it expires
//! once that block has left the best chain.

use crate::api::http::extract::in_range;
use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::schema::Digits;
use chain::block;
use chain::ledger::View;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Default number of items of a page.
const DEFAULT_LIMIT: u64 = 25;
/// Largest number of items of a page.
const MAX_LIMIT: u64 = 100;

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page; null on the last one.
    pub next: Option<String>,
}

/// The query parameters of a paginated route.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    #[schemars(range(min = 1, max = 100))]
    limit: Option<Digits>,
    cursor: Option<String>,
}

impl PageQuery {
    /// The query with these parameters.
    pub fn new(limit: Option<Digits>, cursor: Option<String>) -> PageQuery {
        PageQuery { limit, cursor }
    }

    /// The query of the first page of the largest size.
    pub fn first() -> PageQuery {
        PageQuery { limit: Some(Digits(MAX_LIMIT)), cursor: None }
    }

    /// The number of items of the page.
    pub fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.map_or(DEFAULT_LIMIT, |limit| limit.0);
        let limit = in_range(limit, 1..=MAX_LIMIT, "limit")?;
        Ok(usize::try_from(limit).expect("`MAX_LIMIT` is small"))
    }

    /// The decoded cursor; none on the first page.
    pub fn cursor(&self, lists: &[List]) -> Result<Option<Cursor>, Problem> {
        let Some(text) = &self.cursor else { return Ok(None) };
        match Cursor::decode(text) {
            Some(cursor) if lists.contains(&cursor.list) => Ok(Some(cursor)),
            _ => {
                let detail = "invalid cursor for this list";
                Err(Problem::new(Kind::BAD_REQUEST, detail))
            }
        }
    }
}

/// The paginated lists. A cursor of one list is invalid for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum List {
    /// The best chain. The position is the height of the next block.
    Blocks,
    /// The transactions of a block. The position is the index of the next one.
    BlockTransactions,
    /// The unconfirmed transactions of an address. The position is the arrival number of the last one.
    AccountMempool,
    /// The confirmed transactions of an address. The position is the number of those left.
    AccountHistory,
    /// The unconfirmed transactions. The position is the arrival number of the last one.
    Mempool,
    /// The mining jobs, bound to no block. The position is that of the last one.
    Jobs,
    /// The tips of all branches, bound to the hash of the last one. The position is its height, or
    /// `u64::MAX` for the best chain.
    ChainTips,
}

impl List {
    /// The regular expression that cursors of these lists match.
    pub fn pattern(lists: &[List]) -> String {
        let kinds: Vec<String> = lists.iter().map(|list| format!("{:02x}", *list as u8)).collect();
        format!("^({})[0-9a-f]{{{}}}$", kinds.join("|"), 2 * (Cursor::BYTES - 1))
    }

    const ALL: [List; 7] = [
        List::Blocks,
        List::BlockTransactions,
        List::AccountMempool,
        List::AccountHistory,
        List::Mempool,
        List::Jobs,
        List::ChainTips,
    ];
}

/// The position of a page in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The list that is read.
    pub list: List,
    /// The tip the first page was read at.
    pub bound: block::Hash,
    /// The position in the list; its meaning depends on the list.
    pub position: u64,
}

impl Cursor {
    const BYTES: usize = 1 + 32 + 8;

    /// Encodes the cursor as opaque text.
    pub fn encode(&self) -> String {
        let position = self.position.to_be_bytes();
        hex::encode([&[self.list as u8], self.bound.as_bytes().as_slice(), &position].concat())
    }

    fn decode(text: &str) -> Option<Cursor> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut bytes = [0; Cursor::BYTES];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let (bound, position) = (bytes[1..33].try_into().ok()?, bytes[33..].try_into().ok()?);
        Some(Cursor {
            list: List::ALL.into_iter().find(|list| *list as u8 == bytes[0])?,
            bound: block::Hash::from_bytes(bound),
            position: u64::from_be_bytes(position),
        })
    }

    /// Returns an error if the cursor's block has left the best chain.
    pub fn check(&self, view: &View) -> Result<(), Problem> {
        if view.find(&self.bound).is_some_and(|node| view.is_in_best_chain(node)) {
            Ok(())
        } else {
            Err(Cursor::expired())
        }
    }

    /// The problem of a cursor whose block has left the best chain.
    pub fn expired() -> Problem {
        let detail = "the chain was reorganized since the first page: start again without a cursor";
        Problem::new(Kind::CURSOR_GONE, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursor_round_trips_and_rejects_other_text() {
        let bound = block::Hash::from_bytes([7; 32]);
        let cursor = Cursor { list: List::BlockTransactions, bound, position: u64::MAX };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text), Some(cursor));
        for wrong in ["", "00", &text[2..], &format!("{text}00"), &format!("ff{}", &text[2..])] {
            assert_eq!(Cursor::decode(wrong), None, "{wrong}");
        }
    }

    // R09
    #[test]
    fn limit_is_1_to_100() {
        let limit = |limit| PageQuery { limit: Some(Digits(limit)), cursor: None }.limit().ok();
        assert_eq!(PageQuery::default().limit().ok(), Some(25));
        assert_eq!((limit(1), limit(100)), (Some(1), Some(100)));
        for wrong in [0, 101, 1_000_000_000, u64::MAX] {
            assert_eq!(limit(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn rejects_cursor_of_another_list() {
        let cursor = Cursor { list: List::Blocks, bound: block::Hash::ZERO, position: 1 };
        let query = PageQuery { limit: None, cursor: Some(cursor.encode()) };
        assert_eq!(query.cursor(&[List::Blocks]).ok().flatten(), Some(cursor));
        let refused = query.cursor(&[List::BlockTransactions]).unwrap_err();
        assert_eq!(serde_json::to_value(refused).unwrap()["code"], Kind::BAD_REQUEST.code());
    }
}
