//! `chain util`: decodes and checks raw bytes without a node or a data folder. Every command but
//! `asert` prints one JSON object on one line, with `valid` and, if that is false, `error` and
//! `code`: the broken rule's, `bad-encoding`, or `bad-request` for what no rule is about.

mod accounts;
mod blocks;
mod headers;

use anyhow::{Context, Result, ensure};
use chain::DecodeError;
use chain::rules::RuleError;
use serde::Serialize;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

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

/// What a command found out: facts, as far as there are any, and what is wrong, if anything is.
#[derive(Debug, Serialize)]
struct Finding<T> {
    valid: bool,
    #[serde(flatten)]
    facts: Option<T>,
    #[serde(flatten)]
    fault: Option<Fault>,
}

impl<T> Finding<T> {
    fn valid(facts: T) -> Finding<T> {
        Finding { valid: true, facts: Some(facts), fault: None }
    }

    fn judged(facts: T, verdict: Result<(), RuleError>) -> Finding<T> {
        let fault = verdict.err().map(Fault::from);
        Finding { valid: fault.is_none(), facts: Some(facts), fault }
    }

    fn invalid(fault: Fault) -> Finding<T> {
        Finding { valid: false, facts: None, fault: Some(fault) }
    }
}

/// Why a command ends without facts.
enum End {
    /// What it looked at is not valid.
    Invalid(Fault),
    /// It could not look.
    Failed(anyhow::Error),
}

impl<E: Into<Fault>> From<E> for End {
    fn from(error: E) -> End {
        End::Invalid(error.into())
    }
}

/// What a command returns to be printed.
type Outcome<T> = Result<Finding<T>, End>;

/// Why something is not valid.
#[derive(Debug, Serialize)]
struct Fault {
    error: String,
    code: &'static str,
    /// The line of the input that is to blame, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl Fault {
    fn new(code: &'static str, error: impl Into<String>) -> Fault {
        Fault { error: error.into(), code, line: None }
    }

    /// Of bytes that are not what they should be.
    fn encoding(error: impl Into<String>) -> Fault {
        Fault::new("bad-encoding", error)
    }

    fn at(self, line: usize) -> Fault {
        Fault { line: Some(line), ..self }
    }
}

impl From<RuleError> for Fault {
    fn from(error: RuleError) -> Fault {
        Fault::new(error.code(), error.to_string())
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Fault {
        Fault::new(error.code(), error.to_string())
    }
}

fn print<T: Serialize>(out: &mut impl Write, outcome: Outcome<T>) -> Result<bool> {
    let finding = match outcome {
        Ok(finding) => finding,
        Err(End::Invalid(fault)) => Finding::invalid(fault),
        Err(End::Failed(error)) => return Err(error),
    };
    writeln!(out, "{}", serde_json::to_string(&finding)?)?;
    Ok(finding.valid)
}

/// Bytes in hexadecimal.
fn unhex(text: impl AsRef<[u8]>) -> Result<Vec<u8>, Fault> {
    hex::decode(text).map_err(|error| Fault::encoding(format!("not hexadecimal: {error}")))
}

/// The lines of an input that say anything, trimmed, with their numbers from 1.
fn lines(input: impl BufRead) -> impl Iterator<Item = Result<(usize, String), End>> {
    (1..).zip(input.lines()).filter_map(|(number, line)| match line {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some(Ok((number, line.trim().to_owned()))),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Some(Err(Fault::encoding("not text").at(number).into()))
        }
        Err(error) => {
            let error = anyhow::Error::new(error).context("cannot read the input");
            Some(Err(End::Failed(error)))
        }
    })
}

/// A file, or stdin for `-`.
fn open<'a>(file: &str, stdin: impl BufRead + 'a) -> Result<Box<dyn BufRead + 'a>> {
    if file == "-" {
        return Ok(Box::new(stdin));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {file:?}"))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Most bytes of a file: the largest block there is, in hexadecimal, and room for line ends.
const MAX_FILE: u64 = 2 * 2_000_000 + 1_000;

/// The bytes of an argument that is hexadecimal itself, or names a file of such or of raw bytes.
fn bytes(source: &str, stdin: impl BufRead) -> Result<Vec<u8>, End> {
    let is_hex = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    if is_hex(source.as_bytes()) {
        return Ok(unhex(source)?);
    }
    let content = read(source, stdin)
        .with_context(|| format!("{source:?} is neither hexadecimal nor a readable file"))
        .map_err(End::Failed)?;
    let text = content.trim_ascii();
    if is_hex(text) { Ok(unhex(text)?) } else { Ok(content) }
}

fn read(file: &str, stdin: impl BufRead) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let length = open(file, stdin)?.take(MAX_FILE).read_to_end(&mut content)?;
    ensure!((length as u64) < MAX_FILE, "it is larger than any block");
    Ok(content)
}
