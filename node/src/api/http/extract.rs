//! Request extractors: axum's own, with every rejection turned into a [`Problem`] and a limit on the
//! time a body may take to arrive.

use crate::api::http::content::{Json, OCTETS, media_type};
use crate::api::http::problem::{Kind, Problem};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use serde::de::DeserializeOwned;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Largest request body in bytes, unless the route sets another limit.
pub const MAX_BODY: usize = 1 << 20;
/// Largest body of a block submission in bytes: 2,100,000 raw, twice that in hexadecimal.
pub const MAX_BLOCK_BODY: usize = 4_200_000;

/// Time limit for a body to arrive, so that a client cannot occupy a connection by sending a byte
/// now and then. The largest body then needs 420 kB/s.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Problem> {
        let axum::Json(value) = in_time(axum::Json::from_request(request, state)).await?;
        Ok(Json(value))
    }
}

/// The whole body as bytes, of any media type.
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

/// The query string, deserialized.
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

/// Middleware of routes without query parameters: a misspelt one is an error there too.
pub async fn reject_query(request: Request, next: Next) -> Result<Response, Problem> {
    let Some(query) = request.uri().query().filter(|query| !query.is_empty()) else {
        return Ok(next.run(request).await);
    };
    let name = query.split(['=', '&']).next().unwrap_or_default();
    let detail = format!("unknown query parameter `{name}`: this route has none");
    Err(Problem::new(Kind::BAD_REQUEST, detail))
}

/// The path parameters, deserialized.
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

/// A binary body: raw bytes with `application/octet-stream`, otherwise hexadecimal text under any of
/// the content types `curl` sends.
#[derive(Debug)]
pub struct EncodedBody(pub Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for EncodedBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<EncodedBody, Problem> {
        let digits = |text: &[u8]| unhex(text.trim_ascii(), "the body");
        decode_body(request, state, digits).await.map(EncodedBody)
    }
}

/// A binary body of several items, as the API returns them: the raw bytes of one after the other with
/// `application/octet-stream`, otherwise a line of hexadecimal text for each.
#[derive(Debug)]
pub struct EncodedItems(pub Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for EncodedItems {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<EncodedItems, Problem> {
        let lines = |text: &[u8]| {
            let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            unhex(lines.collect::<Vec<_>>().concat(), "the body")
        };
        decode_body(request, state, lines).await.map(EncodedItems)
    }
}

/// Reads a body of raw bytes or hexadecimal text.
async fn decode_body<S: Send + Sync>(
    request: Request,
    state: &S,
    decode_text: impl FnOnce(&[u8]) -> Result<Vec<u8>, Problem>,
) -> Result<Vec<u8>, Problem> {
    let media_type = media_type(request.headers());
    let Bytes(body) = Bytes::from_request(request, state).await?;
    match media_type.as_str() {
        OCTETS => Ok(body.into()),
        "" | "text/plain" | "application/x-www-form-urlencoded" => decode_text(&body),
        other => {
            let detail = format!(
                "the body must be raw bytes ({OCTETS}) or hexadecimal text (text/plain), not \
                 {other}"
            );
            Err(Problem::new(Kind::UNSUPPORTED_MEDIA_TYPE, detail))
        }
    }
}

/// Returns `value` if it is in the range; `name` names it in the error.
pub fn in_range<T: PartialOrd + Display>(
    value: T,
    range: RangeInclusive<T>,
    name: &str,
) -> Result<T, Problem> {
    if range.contains(&value) {
        return Ok(value);
    }
    let detail = format!("{name} must be {} to {}, not {value}", range.start(), range.end());
    Err(Problem::new(Kind::BAD_REQUEST, detail))
}

/// Decodes lower-case hexadecimal; `what` names the value in the error.
pub fn unhex(text: impl AsRef<[u8]>, what: &str) -> Result<Vec<u8>, Problem> {
    let text = text.as_ref();
    let bytes = hex::decode(text).ok().filter(|_| !text.iter().any(u8::is_ascii_uppercase));
    bytes.ok_or_else(|| {
        let detail = format!("{what} must be an even number of lower-case hexadecimal digits");
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}
