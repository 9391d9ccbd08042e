//! A client of the REST API for the commands that query a node. Converts problem responses into
//! errors of one line and fails over to another node; knows no resource.

mod args;
mod error;
mod event_stream;
mod failover;
mod http;
mod trust;

pub use crate::escape::printable;
pub use args::NodeArgs;
pub use error::{
    ApiError, RequestError, UntrustedCertificate, WrongNetwork, combine_errors, is_unavailable,
};
pub use event_stream::{Event, EventStream};
pub use http::{Client, Response, Submission};
pub use trust::Trust;

#[cfg(test)]
mod tests;
