//! Sending the results of requests, and which of their errors end the writer.

use super::handle::GenerateError;
use chain::ledger::{InvalidateError, ProposalError, SubmitError, TransferError};
use chain::store::StoreError;
use chain::template::TemplateError;
use tokio::sync::oneshot;

/// Sends the result of a request; fails if the result is an error that the store cannot survive.
pub(super) fn respond<T, E>(
    reply: oneshot::Sender<Result<T, E>>,
    result: Result<T, E>,
    store_error: impl Fn(&E) -> Option<&StoreError>,
) -> anyhow::Result<()> {
    let outcome = fatal(result.as_ref().err().and_then(store_error));
    let _ = reply.send(result);
    outcome
}

pub(super) fn submit_store_error(error: &SubmitError) -> Option<&StoreError> {
    match error {
        SubmitError::Store(error) => Some(error),
        _ => None,
    }
}

pub(super) fn proposal_store_error(error: &ProposalError) -> Option<&StoreError> {
    match error {
        ProposalError::Rejected(error) => submit_store_error(error),
        ProposalError::AlreadyKnown | ProposalError::NotOnTip { .. } => None,
    }
}

pub(super) fn transfer_store_error(error: &TransferError) -> Option<&StoreError> {
    match error {
        TransferError::Store(error) => Some(error),
        TransferError::Invalid(_) | TransferError::Rejected(_) => None,
    }
}

pub(super) fn generate_store_error(error: &GenerateError) -> Option<&StoreError> {
    match error {
        GenerateError::Template(TemplateError::View(error)) | GenerateError::Store(error) => {
            Some(error)
        }
        GenerateError::Submit(error) => submit_store_error(error),
        GenerateError::Template(_) => None,
    }
}

pub(super) fn override_store_error(error: &InvalidateError) -> Option<&StoreError> {
    match error {
        InvalidateError::Store(error) => Some(error),
        InvalidateError::Unknown { .. } | InvalidateError::Genesis => None,
    }
}

/// Every error of the store is fatal but a full disk, with which reading continues, and writing works
/// again once there is space; and an interruption, after which the writer closes the store.
pub(super) fn fatal(error: Option<&StoreError>) -> anyhow::Result<()> {
    match error {
        Some(error) if !error.is_disk_full() && !error.is_interruption() => {
            Err(anyhow::anyhow!("{error}"))
        }
        _ => Ok(()),
    }
}
