//! Testnets of real nodes for tests in Rust. They are processes of the program `chain`, which the
//! environment variable `CHAIN_BIN` names, or which is on the path.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), chain_testing::Error> {
//! let testnet = chain_testing::testnet(3)?;
//! let [shop, thief] = [1, 2].map(|number| testnet.account(number).address);
//! let payment = testnet.account(0).sign(&shop, 500, 0)?;
//! testnet.node(1).submit(&payment)?;
//! testnet.mine(2)?;
//! testnet.node(2).wait_for_transaction(&payment.id, 2, Duration::from_secs(30))?;
//!
//! let theft = testnet.account(0).sign(&thief, 500, 0)?;
//! testnet.reorg(2, &[theft])?;
//! assert_eq!(testnet.node(3).transaction(&payment.id)?.status, "dropped");
//! # Ok(())
//! # }
//! ```
//!
//! The testnet is removed when it is dropped.

mod http;
mod node;
mod signature;
mod testnet;

pub use node::{Block, Node, Transaction};
pub use signature::{
    AddressError, Key, Payment, SignedTransfer, TEST_WORDS, decode_address, encode_address,
};
pub use testnet::{Account, Builder, FEE, Reorg, Testnet, testnet};

/// Why a testnet or one of its nodes did not do what a test requested.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot be executed.
    #[error(
        "cannot execute `{program}`: set CHAIN_BIN to the path of `chain`, or add it to PATH: {source}"
    )]
    Program {
        /// The name or path of the program.
        program: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A command of `chain testnet` failed.
    #[error("{0}")]
    Command(String),
    /// A node responded with an error.
    #[error("{detail} ({code})")]
    Api {
        /// The HTTP status.
        status: u16,
        /// The stable code of the problem, such as `nonce-used`.
        code: String,
        /// A description of this occurrence.
        detail: String,
    },
    /// A transfer left the mempool unconfirmed while it was awaited.
    #[error("transfer {id} was dropped: {reason}")]
    Dropped {
        /// The id of the transfer.
        id: String,
        /// The stable code of the reason.
        reason: String,
    },
    /// What was awaited did not happen in time.
    #[error("{0}")]
    Timeout(String),
    /// A text is not an address of the network.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A node or a file cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// A response is not of the expected form.
    #[error("unexpected response: {0}")]
    Json(#[from] serde_json::Error),
}
