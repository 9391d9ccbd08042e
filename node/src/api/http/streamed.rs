//! Bodies that are rendered piece by piece while the client reads them: a block in JSON is several
//! times as large as the block, so that responses in memory would take much more than what they are
//! rendered from.

use crate::api::http::content::Payload;
use crate::api::http::guarded_body::until_sent;
use crate::api::http::resources::Client;
use axum::body::{Body, Bytes};
use futures_util::stream;
use p2p::shares::Lease;
use serde::Serialize;
use std::convert::Infallible;

/// The size in bytes from which a piece is complete.
const PIECE: usize = 32 << 10;

/// Bytes between a head and a tail, which are made of items one after the other.
pub struct Items<I> {
    head: Option<Vec<u8>>,
    items: I,
    separator: &'static str,
    tail: Option<Vec<u8>>,
}

impl<I: Iterator<Item = Vec<u8>> + Send + 'static> Items<I> {
    /// Puts items, with separators between them, into the JSON of a value, which must have `before`
    /// and `after` next to each other: between these.
    pub fn in_json(
        value: &impl Serialize,
        (before, after): (&str, &str),
        items: I,
        separator: &'static str,
    ) -> Items<I> {
        let json = serde_json::to_string(value).expect("keys of JSON types are strings");
        let at = json.find(&[before, after].concat()).expect("the value has such a place");
        let (head, tail) = json.split_at(at + before.len());
        let (head, tail) = (Some(head.as_bytes().to_vec()), Some(tail.as_bytes().to_vec()));
        Items { head, items, separator, tail }
    }

    /// Returns the body for a client, who pays for what is sent; one that fits into a piece is rendered
    /// at once. `lease` is what was counted for the items, which is released after the last of them.
    pub fn into_payload(mut self, client: Client, lease: Option<Lease>) -> Payload {
        let first = self.next().unwrap_or_default();
        if self.tail.is_none() {
            return Payload::Whole(first);
        }
        let mut unpaid = 0;
        let pieces = std::iter::once(first).chain(self);
        let pieces =
            pieces.inspect(move |piece| unpaid = client.pay_for(unpaid + piece.len() as u64));
        let pieces = pieces.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)));
        Payload::Streamed(until_sent(Body::from_stream(stream::iter(pieces)), lease))
    }
}

impl<I: Iterator<Item = Vec<u8>>> Iterator for Items<I> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.tail.as_ref()?;
        let mut piece = Vec::with_capacity(2 * PIECE);
        let head = self.head.take();
        let mut separator = if head.is_some() { "" } else { self.separator };
        piece.extend(head.into_iter().flatten());
        while piece.len() < PIECE {
            let Some(item) = self.items.next() else {
                piece.extend(self.tail.take().into_iter().flatten());
                break;
            };
            piece.extend_from_slice(separator.as_bytes());
            piece.extend(item);
            separator = self.separator;
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    // R28
    #[test]
    fn items_are_rendered_in_small_pieces() {
        let value = json!({"a": [1], "list": [], "z": 2});
        for count in [0, 1, 2, 10, 20_000] {
            let list: Vec<_> = (0..count).map(|number| json!({"number": number})).collect();
            let items = list.clone().into_iter().map(|item| item.to_string().into_bytes());
            let pieces: Vec<_> = Items::in_json(&value, ("\"list\":[", "]"), items, ",").collect();
            assert!(pieces.iter().all(|piece| piece.len() < PIECE + 100));
            assert_eq!(pieces.len(), pieces.concat().len() / PIECE + 1, "{count}");
            let body: Value = serde_json::from_slice(&pieces.concat()).unwrap();
            assert_eq!(body, json!({"a": [1], "list": list, "z": 2}), "{count}");
        }
    }
}
