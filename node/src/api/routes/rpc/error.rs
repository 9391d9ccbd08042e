//! Errors of JSON-RPC calls, with the codes of Bitcoin Core.

use crate::api::http::problem::{Kind, Problem};
use crate::writer::Stopped;

/// The error of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub code: i32,
    pub message: String,
}

impl Error {
    pub const PARSE: i32 = -32_700;
    pub const INVALID_REQUEST: i32 = -32_600;
    pub const METHOD_NOT_FOUND: i32 = -32_601;
    /// Parameters are missing or too many.
    pub const INVALID_PARAMS: i32 = -32_602;
    pub const INTERNAL: i32 = -32_603;
    /// No payout address, or no API token. Bitcoin Core has no code for this; sent with status 401.
    pub const UNAUTHORIZED: i32 = -32_001;
    /// An error that has no code of its own.
    pub const MISC: i32 = -1;
    /// A parameter has the wrong type.
    pub const TYPE: i32 = -3;
    /// An address is invalid, or a block is unknown.
    pub const INVALID_ADDRESS_OR_KEY: i32 = -5;
    /// A parameter has an invalid value.
    pub const INVALID_PARAMETER: i32 = -8;
    pub const NOT_CONNECTED: i32 = -9;
    /// No block can be mined at present; in Bitcoin Core only during the initial download.
    pub const NOT_READY: i32 = -10;
    /// A block cannot be decoded.
    pub const DESERIALIZATION: i32 = -22;

    pub fn new(code: i32, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Error {
        let code = match problem.kind() {
            Kind::BAD_REQUEST => Error::INVALID_PARAMETER,
            Kind::NOT_FOUND => Error::INVALID_ADDRESS_OR_KEY,
            Kind::NOT_READY => Error::NOT_READY,
            Kind::INTERNAL => Error::INTERNAL,
            _ => Error::MISC,
        };
        Error::new(code, problem.detail())
    }
}

impl From<Stopped> for Error {
    fn from(stopped: Stopped) -> Error {
        Problem::from(stopped).into()
    }
}
