//! Results of handlers of the REST API, which a call returns in another form.

use super::error::Error;
use crate::api::http::problem::Problem;
use axum::body::to_bytes;
use axum::response::Response;
use serde::de::DeserializeOwned;

/// Maximum size of a response that is read, in bytes: those here have some kilobytes.
const MAX_BYTES: usize = 1 << 20;

/// Decodes the response of a handler that does not fail.
pub(super) async fn decode<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let internal = |error: String| Error::new(Error::INTERNAL, error);
    let body = to_bytes(response.into_body(), MAX_BYTES).await;
    let body = body.map_err(|error| internal(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|error| internal(error.to_string()))
}

/// Decodes the response of a handler.
pub(super) async fn decode_result<T: DeserializeOwned>(
    response: Result<Response, Problem>,
) -> Result<T, Error> {
    decode(response?).await
}
