//! Errors of the client, and which of them another node may resolve.

use super::escape::printable;
use anyhow::anyhow;
use reqwest::StatusCode;
use serde::Deserialize;

/// Why there is no answer.
#[derive(Debug)]
pub enum RequestError {
    /// Another node may have one.
    Unavailable(anyhow::Error),
    /// This is it.
    Fatal(anyhow::Error),
}

impl RequestError {
    pub(super) fn into_error(self) -> anyhow::Error {
        let (RequestError::Unavailable(error) | RequestError::Fatal(error)) = self;
        error
    }
}

/// Somebody was asked and gave no answer: what was asked for may be done, or not.
#[derive(Debug, thiserror::Error)]
#[error("{0}: try again")]
pub(super) struct NoResponse(pub(super) String);

impl From<anyhow::Error> for RequestError {
    fn from(error: anyhow::Error) -> RequestError {
        RequestError::Fatal(error)
    }
}

/// Why none of the nodes that were asked has answered.
pub fn combine_errors(mut errors: Vec<anyhow::Error>) -> anyhow::Error {
    // One that is there and says why it cannot now says more than those that are not.
    let said = errors.iter().position(anyhow::Error::is::<ApiError>);
    if let Some(said) = said.or((errors.len() == 1).then_some(0)) {
        return errors.swap_remove(said);
    }
    let each: Vec<_> = errors.iter().map(ToString::to_string).collect();
    anyhow!("none of {} nodes can be asked: {}", each.len(), each.join("; "))
}

/// A node's problem: it understood, and says no.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{} ({})", printable(detail), printable(code))]
pub struct ApiError {
    detail: String,
    /// The stable code.
    pub code: String,
}

pub(super) fn problem(status: StatusCode, text: &str) -> anyhow::Error {
    match serde_json::from_str::<ApiError>(text) {
        Ok(refused) => refused.into(),
        Err(_) => anyhow!("the node answered {status}"),
    }
}

/// The node has a certificate that is not to be trusted.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UntrustedCertificate(pub(super) String);

/// A node is of another network than was wanted; no waiting changes that.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongNetwork(pub(super) String);
