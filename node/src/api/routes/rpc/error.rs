//! Errors of JSON-RPC calls.

/// Why a call has no result.
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
    /// A parameter has a value that it cannot have.
    pub const INVALID_PARAMETER: i32 = -8;
    pub const NOT_CONNECTED: i32 = -9;
    pub const CATCHING_UP: i32 = -10;
    /// A block cannot be read.
    pub const UNREADABLE: i32 = -22;
    /// Nobody is named to be paid. Not among Bitcoin's; comes with status 401.
    pub const NOBODY: i32 = -1;

    pub fn new(code: i32, message: impl Into<String>) -> Error {
        Error { code, message: message.into() }
    }
}
