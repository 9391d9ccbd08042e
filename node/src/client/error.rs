//! Errors of the client, and which of them another node may resolve.

use crate::escape::printable;
use anyhow::anyhow;
use reqwest::StatusCode;
use serde::Deserialize;

/// Why a request has no response.
#[derive(Debug)]
pub enum RequestError {
    /// The node is unreachable or not ready; another one may respond.
    Unavailable(anyhow::Error),
    /// Another node would not respond differently.
    Fatal(anyhow::Error),
}

impl RequestError {
    pub(super) fn error(&self) -> &anyhow::Error {
        let (RequestError::Unavailable(error) | RequestError::Fatal(error)) = self;
        error
    }

    pub(super) fn into_error(self) -> anyhow::Error {
        let (RequestError::Unavailable(error) | RequestError::Fatal(error)) = self;
        error
    }
}

impl From<anyhow::Error> for RequestError {
    fn from(error: anyhow::Error) -> RequestError {
        RequestError::Fatal(error)
    }
}

/// No connection could be made, so the request was not sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotSent(pub(super) String);

/// The request was sent, but no response came: it may or may not have been applied.
#[derive(Debug, thiserror::Error)]
#[error("{0}: try again")]
pub(super) struct NoResponse(pub(super) String);

/// An error response of the node: an RFC 9457 problem.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{} ({})", printable(detail), printable(code))]
pub struct ApiError {
    detail: String,
    /// The stable code of the problem.
    pub code: String,
    /// The HTTP status of the response.
    #[serde(skip)]
    status: StatusCode,
}

impl ApiError {
    /// Whether the node does not know what was requested.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

/// Whether a node did not respond, or is not ready: it may be starting.
pub fn is_unavailable(error: &anyhow::Error) -> bool {
    let unready = |error: &ApiError| error.status == StatusCode::SERVICE_UNAVAILABLE;
    error.is::<NotSent>()
        || error.is::<NoResponse>()
        || error.downcast_ref::<ApiError>().is_some_and(unready)
}

/// Whether a request that failed may have been applied nevertheless. Only a rejection, and a connection
/// that was never made, exclude it.
pub(super) fn may_have_been_applied(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<ApiError>() {
        Some(error) => !error.status.is_client_error(),
        None => !error.is::<NotSent>() && !error.is::<UntrustedCertificate>(),
    }
}

/// The node has a certificate that is not trusted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UntrustedCertificate(pub(super) String);

/// The node is on another network than required; a retry does not help.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongNetwork(pub(super) String);

/// Combines the errors of all nodes that were tried into one.
pub fn combine_errors(mut errors: Vec<anyhow::Error>) -> anyhow::Error {
    // The response of a node that runs is more specific than the absence of others.
    let response = errors.iter().position(anyhow::Error::is::<ApiError>);
    if let Some(index) = response.or((errors.len() == 1).then_some(0)) {
        return errors.swap_remove(index);
    }
    let each: Vec<_> = errors.iter().map(ToString::to_string).collect();
    anyhow!("none of {} nodes responds: {}", each.len(), each.join("; "))
}

/// The error of a response with an error status and a JSON body.
pub(super) fn problem(status: StatusCode, text: &str) -> anyhow::Error {
    match serde_json::from_str::<ApiError>(text) {
        Ok(error) => ApiError { status, ..error }.into(),
        Err(_) => anyhow!("the node responded with {status}"),
    }
}
