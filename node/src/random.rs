//! Random bytes from the operating system.

use anyhow::{Context, Result};

/// Random bytes, such as a secret, or the start value of a search that no other run should repeat.
pub fn random_bytes<const BYTES: usize>() -> Result<[u8; BYTES]> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).context("the system's random number generator failed")?;
    Ok(bytes)
}
