//! Bodies of requests and responses: JSON, raw bytes and hexadecimal text.

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::convert::Infallible;

/// The media type of bytes as they are.
pub const OCTETS: &str = "application/octet-stream";
/// That of their hexadecimal text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// A body of JSON, in a request or a response.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Anything an answer may consist of.
pub trait Content {
    /// Its media type and its bytes.
    fn encode(self) -> (&'static str, Vec<u8>);
}

impl<T: Serialize> Content for Json<T> {
    fn encode(self) -> (&'static str, Vec<u8>) {
        let bytes = serde_json::to_vec(&self.0).expect("the keys of shapes are strings");
        ("application/json", bytes)
    }
}

/// The type of a request's body without its parameters, in lower case; empty if there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// How bytes are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they are: the client asked for it.
    Octets,
    /// In hexadecimal.
    Hex,
}

impl<S: Send + Sync> FromRequestParts<S> for Form {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Form, Infallible> {
        let accepted = parts.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut ranges = accepted.flat_map(|value| value.split(','));
        let octets = ranges.any(|range| {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let named = parts.next().is_some_and(|named| named == OCTETS);
            // A weight of zero means: anything but this.
            named && !parts.any(|part| part.strip_prefix("q=").is_some_and(is_zero))
        });
        Ok(if octets { Form::Octets } else { Form::Hex })
    }
}

fn is_zero(weight: &str) -> bool {
    weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0)
}

impl Form {
    /// Bytes in this form.
    pub fn of(self, bytes: Vec<u8>) -> Formed {
        match self {
            Form::Octets => Formed { media_type: OCTETS, bytes },
            Form::Hex => Formed { media_type: TEXT, bytes: hex::encode(bytes).into_bytes() },
        }
    }

    /// Several in this form: one after the other, or a line of hexadecimal each.
    pub fn of_all(self, items: impl Iterator<Item = Vec<u8>>) -> Formed {
        match self {
            Form::Octets => Formed { media_type: OCTETS, bytes: items.flatten().collect() },
            Form::Hex => {
                let lines: String = items.map(|item| hex::encode(item) + "\n").collect();
                Formed { media_type: TEXT, bytes: lines.into_bytes() }
            }
        }
    }
}

/// Bytes in the form a client wants.
#[derive(Debug)]
pub struct Formed {
    media_type: &'static str,
    bytes: Vec<u8>,
}

impl Content for Formed {
    fn encode(self) -> (&'static str, Vec<u8>) {
        (self.media_type, self.bytes)
    }
}
