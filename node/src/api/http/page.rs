//! Lists by the page. A cursor says where the next page begins and of which chain: it is bound to
//! the tip its first page was read at, and gone once that block has left the best chain.

use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::schema::Digits;
use chain::block;
use chain::ledger::View;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Items of a page unless the client says otherwise.
const DEFAULT_LIMIT: u64 = 25;
/// Most items of a page.
const MAX_LIMIT: u64 = 100;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PageOf{T}")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// The cursor of the next page, if there is more.
    pub next: Option<String>,
}

/// What a client may say about pages.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    #[schemars(range(min = 1, max = 100))]
    limit: Option<Digits>,
    cursor: Option<String>,
}

impl PageQuery {
    /// Most items of the page.
    pub fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.map_or(DEFAULT_LIMIT, |limit| limit.0);
        match usize::try_from(limit) {
            Ok(number) if (1..=MAX_LIMIT).contains(&limit) => Ok(number),
            _ => {
                let detail = format!("limit must be 1 to {MAX_LIMIT}, not {limit}");
                Err(Problem::new(Kind::BAD_REQUEST, detail))
            }
        }
    }

    /// Where the page begins, if it is not the first.
    pub fn cursor(&self, lists: &[List]) -> Result<Option<Cursor>, Problem> {
        let Some(text) = &self.cursor else { return Ok(None) };
        match Cursor::decode(text) {
            Some(cursor) if lists.contains(&cursor.list) => Ok(Some(cursor)),
            _ => {
                let detail = "this cursor is not one that this list has given";
                Err(Problem::new(Kind::BAD_REQUEST, detail))
            }
        }
    }
}

/// The kinds of lists: a cursor of one means nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum List {
    /// The best chain. The position is the height of the next block.
    Blocks,
    /// Transactions of a block. The position is the next one's in the block.
    OfBlock,
    /// Transactions of an address that wait for a block. The position is the arrival of the last.
    OfAddressWaiting,
    /// Those of the best chain. The position is the number of those that come next.
    OfAddress,
    /// Transactions that wait for a block. The position is the arrival of the last one shown.
    Waiting,
    /// Mining jobs, bound to no block. The position is the number of the last one shown.
    Jobs,
}

impl List {
    /// What the cursors of these lists look like.
    pub fn pattern(lists: &[List]) -> String {
        let kinds: Vec<String> = lists.iter().map(|list| format!("{:02x}", *list as u8)).collect();
        format!("^({})[0-9a-f]{{{}}}$", kinds.join("|"), 2 * (Cursor::BYTES - 1))
    }

    const ALL: [List; 6] = [
        List::Blocks,
        List::OfBlock,
        List::OfAddressWaiting,
        List::OfAddress,
        List::Waiting,
        List::Jobs,
    ];
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// In which list.
    pub list: List,
    /// The block it is bound to.
    pub bound: block::Hash,
    /// Where in the list; its meaning is the list's.
    pub position: u64,
}

impl Cursor {
    const BYTES: usize = 1 + 32 + 8;

    /// Its text, which means nothing to clients.
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

    /// Refuses a cursor of a chain that is not the best any more.
    pub fn check(&self, view: &View) -> Result<(), Problem> {
        if view.find(&self.bound).is_some_and(|node| view.is_in_best_chain(node)) {
            Ok(())
        } else {
            Err(Cursor::gone())
        }
    }

    /// What is said of a cursor whose chain was left.
    pub fn gone() -> Problem {
        let detail = "the chain was reorganised since this list was begun: begin it again";
        Problem::new(Kind::CURSOR_GONE, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_nothing_else_is_one() {
        let bound = block::Hash::from_bytes([7; 32]);
        let cursor = Cursor { list: List::OfBlock, bound, position: u64::MAX };
        let text = cursor.encode();
        assert_eq!(Cursor::decode(&text), Some(cursor));
        for wrong in ["", "00", &text[2..], &format!("{text}00"), &format!("ff{}", &text[2..])] {
            assert_eq!(Cursor::decode(wrong), None, "{wrong}");
        }
    }

    // R09
    #[test]
    fn a_page_has_1_to_100_items() {
        let limit = |limit| PageQuery { limit: Some(Digits(limit)), cursor: None }.limit().ok();
        assert_eq!(PageQuery::default().limit().ok(), Some(25));
        assert_eq!((limit(1), limit(100)), (Some(1), Some(100)));
        for wrong in [0, 101, 1_000_000_000, u64::MAX] {
            assert_eq!(limit(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let cursor = Cursor { list: List::Blocks, bound: block::Hash::ZERO, position: 1 };
        let query = PageQuery { limit: None, cursor: Some(cursor.encode()) };
        assert_eq!(query.cursor(&[List::Blocks]).ok().flatten(), Some(cursor));
        let refused = query.cursor(&[List::OfBlock]).unwrap_err();
        assert_eq!(serde_json::to_value(refused).unwrap()["code"], Kind::BAD_REQUEST.code());
    }
}
