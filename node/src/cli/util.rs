//! `chain util`: decodes and checks raw bytes without a node or a data folder. Every command but
//! `asert` prints one JSON object on one line, with `valid` and, if that is false, `error` and
//! `code`: the broken rule's, `bad-encoding`, or `bad-request` for what no rule is about.

mod accounts;
mod blocks;
mod headers;
mod input;
mod report;

use anyhow::Result;
use input::open;
use report::print;
use std::io::{BufRead, Write};

/// The commands; hexadecimal means bytes in the order they are encoded in, but hashes and ids in
/// the order Bitcoin shows them.
#[derive(Debug, clap::Subcommand)]
pub enum Util {
    /// Show a block header, Bitcoin's too, and check its proof of work
    Header {
        /// 160 hexadecimal digits
        hex: String,
    },
    /// Show the target that compact bits stand for
    Bits {
        /// 8 hexadecimal digits, such as 1d00ffff
        hex: String,
    },
    /// Compute the Merkle root of the transaction ids on stdin, one a line
    Merkle,
    /// Check the links and the proof of work of headers
    ///
    /// One header a line, in hexadecimal. Each must follow the one above it, except those marked
    /// `fork:`, which must follow any other. Whether a header has the bits its parent demands, and
    /// everything else that differs between networks, is not judged.
    VerifyHeaders {
        /// The file, or - for stdin
        file: String,
    },
    /// Compute ASERT difficulties: `height time` a line on stdin, the next block's bits a line out
    Asert(headers::Asert),
    /// Verify an Ed25519 signature as ZIP-215 says
    VerifySignature {
        /// The public key: 64 hexadecimal digits
        key: String,
        /// The message in hexadecimal; "" for none
        message: String,
        /// The signature: 128 hexadecimal digits
        signature: String,
    },
    /// Decode an address, or show the addresses of a public key
    Address {
        /// An address, or a public key in 64 hexadecimal digits
        #[arg(value_name = "TEXT|KEY")]
        text: String,
    },
    /// Show a block and check what needs neither its chain nor its network
    ///
    /// Signatures bind to a network, so they are not judged here: see `tx`.
    Block {
        /// Hexadecimal digits, or a file of such or of bytes, or - for stdin
        #[arg(value_name = "HEX|FILE")]
        source: String,
    },
    /// Show a transaction and check what needs no accounts
    Tx {
        /// Hexadecimal digits, or a file of such or of bytes, or - for stdin
        #[arg(value_name = "HEX|FILE")]
        source: String,
    },
    /// Compute the account commitment of the accounts on stdin: `address balance nonce` a line
    ///
    /// An address in its text form or in 40 hexadecimal digits; the balance in base units.
    Commitment,
}

/// Runs a command. Whether what it looked at is valid; if not, it has printed why.
pub fn run(util: Util, out: &mut impl Write, stdin: impl BufRead) -> Result<bool> {
    match util {
        Util::Header { hex } => print(out, headers::header(&hex)),
        Util::Bits { hex } => print(out, headers::bits(&hex)),
        Util::Merkle => print(out, blocks::merkle(stdin)),
        Util::VerifyHeaders { file } => print(out, headers::verify(open(&file, stdin)?)),
        Util::Asert(asert) => asert.run(out, stdin).map(|()| true),
        Util::VerifySignature { key, message, signature } => {
            print(out, accounts::verify_signature(&key, &message, &signature))
        }
        Util::Address { text } => print(out, accounts::address(&text)),
        Util::Block { source } => print(out, blocks::block(&source, stdin)),
        Util::Tx { source } => print(out, blocks::transaction(&source, stdin)),
        Util::Commitment => print(out, accounts::commitment(stdin)),
    }
}
