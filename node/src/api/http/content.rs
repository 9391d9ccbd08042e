//! Bodies of requests and responses: JSON, raw bytes and hexadecimal text.

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::convert::Infallible;

/// The media type of JSON.
pub const JSON: &str = "application/json";
/// The media type of raw bytes.
pub const OCTETS: &str = "application/octet-stream";
/// The media type of hexadecimal text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// A JSON body, in a request or a response.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// The body of a response.
pub enum Payload {
    /// In memory.
    Whole(Vec<u8>),
    /// Rendered while the client reads it.
    Streamed(Body),
}

impl From<Payload> for Body {
    fn from(payload: Payload) -> Body {
        match payload {
            Payload::Whole(bytes) => Body::from(bytes),
            Payload::Streamed(body) => body,
        }
    }
}

/// The content of a response.
pub trait Content {
    /// Returns the media type and the body.
    fn encode(self) -> (&'static str, Payload);
}

impl Content for (&'static str, Payload) {
    fn encode(self) -> (&'static str, Payload) {
        self
    }
}

impl<T: Serialize> Content for Json<T> {
    fn encode(self) -> (&'static str, Payload) {
        let bytes = serde_json::to_vec(&self.0).expect("keys of JSON types are strings");
        (JSON, Payload::Whole(bytes))
    }
}

/// The media type of a request's body without parameters, in lower case; empty if there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The encoding of binary content, chosen by the `Accept` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Raw bytes, if the client accepts them.
    Octets,
    /// Lower-case hexadecimal digits as text.
    Hex,
}

impl<S: Send + Sync> FromRequestParts<S> for Encoding {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Encoding, Infallible> {
        let accepted = parts.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut ranges = accepted.flat_map(|value| value.split(','));
        let octets = ranges.any(|range| {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let named = parts.next().is_some_and(|named| named == OCTETS);
            // A weight of zero means: anything but this.
            named && !parts.any(|part| part.strip_prefix("q=").is_some_and(is_zero))
        });
        Ok(if octets { Encoding::Octets } else { Encoding::Hex })
    }
}

fn is_zero(weight: &str) -> bool {
    weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0)
}

impl Encoding {
    /// Encodes bytes for a response body.
    pub fn encode(self, bytes: Vec<u8>) -> Encoded {
        match self {
            Encoding::Octets => Encoded { media_type: OCTETS, bytes },
            Encoding::Hex => Encoded { media_type: TEXT, bytes: hex::encode(bytes).into_bytes() },
        }
    }

    /// Encodes several values: concatenated, or one line of hexadecimal each.
    pub fn encode_all(self, items: impl Iterator<Item = Vec<u8>>) -> Encoded {
        match self {
            Encoding::Octets => Encoded { media_type: OCTETS, bytes: items.flatten().collect() },
            Encoding::Hex => {
                let lines: String = items.map(|item| hex::encode(item) + "\n").collect();
                Encoded { media_type: TEXT, bytes: lines.into_bytes() }
            }
        }
    }
}

/// A response body of encoded binary content, with its media type.
#[derive(Debug)]
pub struct Encoded {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl Content for Encoded {
    fn encode(self) -> (&'static str, Payload) {
        (self.media_type, Payload::Whole(self.bytes))
    }
}
