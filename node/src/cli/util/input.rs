//! Input of the commands of `chain util`: hexadecimal text, lines, files and stdin.

use super::report::{Abort, InputError};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};

/// Decodes hexadecimal digits.
pub(super) fn unhex(text: impl AsRef<[u8]>) -> Result<Vec<u8>, InputError> {
    hex::decode(text).map_err(|error| InputError::encoding(format!("not hexadecimal: {error}")))
}

/// The trimmed non-empty lines of an input, with their numbers from 1.
pub(super) fn lines(input: impl BufRead) -> impl Iterator<Item = Result<(usize, String), Abort>> {
    (1..).zip(input.lines()).filter_map(|(number, line)| match line {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some(Ok((number, line.trim().to_owned()))),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Some(Err(InputError::encoding("not text").at(number).into()))
        }
        Err(error) => {
            let error = anyhow::Error::new(error).context("cannot read the input");
            Some(Err(Abort::Failed(error)))
        }
    })
}

/// Opens a file, or stdin for `-`.
pub(super) fn open<'a>(file: &str, stdin: impl BufRead + 'a) -> Result<Box<dyn BufRead + 'a>> {
    if file == "-" {
        return Ok(Box::new(stdin));
    }
    let opened = File::open(file).with_context(|| format!("cannot open {file:?}"))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// Largest file in bytes: the largest block in hexadecimal, and room for line ends.
const MAX_FILE: u64 = 2 * 2_000_000 + 1_000;

/// The bytes of an argument: hexadecimal digits, or a file of digits or of bytes.
pub(super) fn bytes(source: &str, stdin: impl BufRead) -> Result<Vec<u8>, Abort> {
    let is_hex = |text: &[u8]| text.iter().all(u8::is_ascii_hexdigit);
    if is_hex(source.as_bytes()) {
        return Ok(unhex(source)?);
    }
    let content = read(source, stdin)
        .with_context(|| format!("{source:?} is neither hexadecimal nor a readable file"))
        .map_err(Abort::Failed)?;
    let text = content.trim_ascii();
    if is_hex(text) { Ok(unhex(text)?) } else { Ok(content) }
}

fn read(file: &str, stdin: impl BufRead) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let length = open(file, stdin)?.take(MAX_FILE).read_to_end(&mut content)?;
    ensure!((length as u64) < MAX_FILE, "it is larger than any block");
    Ok(content)
}
