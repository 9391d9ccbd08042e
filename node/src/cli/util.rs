//! `chain util`: decodes and validates raw bytes without a node or a data directory. Every command but
//! `asert` prints one JSON object on one line, with `valid` and, if that is false, `error` and `code`:
//! that of the broken rule, `bad-encoding`, `wrong-recipient`, or `bad-request` for other errors.

mod accounts;
mod blocks;
mod coinbase;
mod headers;
mod input;
mod network_key;
mod report;

use anyhow::Result;
use input::open;
use report::print;
use std::io::{BufRead, Write};
use std::path::PathBuf;

/// The commands. Hexadecimal bytes are in encoding order, hashes and ids in the reverse order of
/// Bitcoin.
#[derive(Debug, clap::Subcommand)]
pub enum Util {
    /// Decode a block header, also one of Bitcoin, and check its proof of work
    Header {
        /// 160 hexadecimal digits
        hex: String,
    },
    /// Decode compact bits into a target
    Bits {
        /// 8 hexadecimal digits, such as 1d00ffff
        hex: String,
    },
    /// Compute the Merkle root of the transaction ids on stdin, one per line
    Merkle,
    /// Verify the links and the proof of work of headers
    ///
    /// One hexadecimal header per line. Each must extend the one above it, except those marked `fork:`,
    /// which must extend any other. Does not verify the required bits, nor any other rule that depends
    /// on the network.
    VerifyHeaders {
        /// File, or - for stdin
        file: String,
    },
    /// Compute ASERT difficulties: for each line `height time` on stdin, the bits of the next block
    Asert(headers::Asert),
    /// Verify an Ed25519 signature by the rules of ZIP-215
    VerifySignature {
        /// Public key: 64 hexadecimal digits
        key: String,
        /// Message in hexadecimal; "" for an empty one
        message: String,
        /// Signature: 128 hexadecimal digits
        signature: String,
    },
    /// Decode an address, or show the addresses of a public key
    Address {
        /// Address, or public key of 64 hexadecimal digits
        #[arg(value_name = "TEXT|KEY")]
        text: String,
    },
    /// Decode a block and validate the rules that need neither its chain nor its network
    ///
    /// Does not verify signatures, which depend on the network: see `tx`.
    Block {
        /// Hexadecimal digits, a file of digits or of bytes, or - for stdin
        #[arg(value_name = "HEX|FILE")]
        source: String,
    },
    /// Decode a transaction and validate the rules that need no accounts
    Tx {
        /// Hexadecimal digits, a file of digits or of bytes, or - for stdin
        #[arg(value_name = "HEX|FILE")]
        source: String,
    },
    /// Show the address that the coinbase of a job pays, and how much
    ///
    /// So that a miner can check what it works for. The coinbase as it is hashed: `coinbase` of a block
    /// template, `coinbasetxn` of getblocktemplate, or coinbase 1, both halves of the extra nonce and
    /// coinbase 2 of Stratum in sequence. Also the JSON of such a template, of which the header is checked
    /// too, or of mining.notify.
    Coinbase {
        /// Hexadecimal digits, JSON, a file of either, or - for stdin
        #[arg(value_name = "HEX|JSON|FILE")]
        source: String,
        /// Address that it must pay; otherwise the exit code is 1
        #[arg(long, value_name = "ADDRESS")]
        address: Option<String>,
    },
    /// Compute the commitment to the accounts on stdin, one `address balance nonce` per line
    ///
    /// The address in text form or in 40 hexadecimal digits, the balance in base units.
    Commitment,
    /// Create the key of a private network: see --network-key of `chain node`
    ///
    /// Copy the file to every node. Its format is that of libp2p's pre-shared keys.
    NetworkKey {
        /// File to create, readable by its owner only
        file: PathBuf,
    },
}

/// Runs a command and prints its report; returns whether the input is valid.
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
        Util::Coinbase { source, address } => {
            print(out, coinbase::coinbase(&source, address.as_deref(), stdin))
        }
        Util::Commitment => print(out, accounts::commitment(stdin)),
        Util::NetworkKey { file } => print(out, network_key::create(&file)),
    }
}
