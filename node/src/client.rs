//! A client of the REST API for the commands that query a node. Converts problem responses into
//! errors of one line and fails over to another node; knows no resource.

mod args;
mod error;
mod escape;
mod event_stream;
mod failover;
mod http;
mod trust;

pub use args::NodeArgs;
pub use error::{ApiError, RequestError, UntrustedCertificate, WrongNetwork, combine_errors};
pub use escape::printable;
pub use event_stream::{Event, EventStream};
pub use http::{Client, Response};
pub use trust::Trust;

#[cfg(test)]
mod tests;
