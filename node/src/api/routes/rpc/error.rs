//! Errors of JSON-RPC calls.

/// The error of a call.
#[derive(Debug)]
pub(super) struct Error {
    pub code: i32,
    pub message: String,
}

impl Error {
    pub const PARSE: i32 = -32_700;
    pub const INVALID_REQUEST: i32 = -32_600;
    pub const METHOD_NOT_FOUND: i32 = -32_601;
    pub const INTERNAL: i32 = -32_603;
    /// A parameter has an invalid value.
    pub const INVALID_PARAMETER: i32 = -8;
    pub const NOT_CONNECTED: i32 = -9;
    /// No block can be mined at present; in Bitcoin Core only during the initial download.
    pub const NOT_READY: i32 = -10;
    /// A block cannot be decoded.
    pub const DESERIALIZATION: i32 = -22;
    /// No payout address. Not one of Bitcoin Core's codes; sent with status 401.
    pub const UNAUTHORIZED: i32 = -1;

    pub fn new(code: i32, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }
}
