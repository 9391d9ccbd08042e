//! What handlers take from a request. axum's own extractors, except that whatever is wrong with a
//! request becomes a `Problem`, and that a body has a limited time to arrive.

use super::answer::Content;
use super::problem::{Kind, Problem};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::convert::Infallible;
use std::time::Duration;

/// A body that takes longer is given up, so nobody holds a connection by sending a byte now and
/// then. The largest body then needs 420 kB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A body of JSON, in a request or a response.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Problem> {
        let axum::Json(value) = in_time(axum::Json::from_request(request, state)).await?;
        Ok(Json(value))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A body of any bytes, whole.
#[derive(Debug)]
pub struct Bytes(pub axum::body::Bytes);

impl<S: Send + Sync> FromRequest<S> for Bytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Bytes, Problem> {
        in_time(axum::body::Bytes::from_request(request, state)).await.map(Bytes)
    }
}

async fn in_time<T, E: Into<Problem>>(
    body: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(BODY_TIMEOUT, body).await {
        Ok(arrived) => arrived.map_err(Into::into),
        Err(_elapsed) => {
            let detail = format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs());
            Err(Problem::new(Kind::REQUEST_TIMEOUT, detail))
        }
    }
}

/// What stands behind the question mark.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Problem> {
        let axum::extract::Query(value) =
            axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Query(value))
    }
}

/// The variable parts of the path.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Problem> {
        let axum::extract::Path(value) =
            axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Path(value))
    }
}

/// The media type of bytes as they are.
pub const OCTETS: &str = "application/octet-stream";
/// That of their hexadecimal text.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// A body that is the encoding of something: raw bytes if its type says so, otherwise hexadecimal
/// text, whatever `curl` calls that.
#[derive(Debug)]
pub struct Encoded(pub Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for Encoded {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Encoded, Problem> {
        let media_type = media_type(request.headers());
        let Bytes(body) = Bytes::from_request(request, state).await?;
        match media_type.as_str() {
            OCTETS => Ok(Encoded(body.into())),
            "" | "text/plain" | "application/x-www-form-urlencoded" => {
                unhex(body.trim_ascii(), "the body").map(Encoded)
            }
            other => {
                let detail = format!(
                    "the body must be raw bytes ({OCTETS}) or hexadecimal text (text/plain), not \
                     {other}"
                );
                Err(Problem::new(Kind::UNSUPPORTED_MEDIA_TYPE, detail))
            }
        }
    }
}

/// The type of a request's body without its parameters, in lower case; empty if there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Bytes in lower-case hexadecimal.
pub fn unhex(text: impl AsRef<[u8]>, what: &str) -> Result<Vec<u8>, Problem> {
    let text = text.as_ref();
    let bytes = hex::decode(text).ok().filter(|_| !text.iter().any(u8::is_ascii_uppercase));
    bytes.ok_or_else(|| {
        let detail = format!("{what} is not an even number of hexadecimal digits in lower case");
        Problem::new(Kind::BAD_REQUEST, detail)
    })
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
