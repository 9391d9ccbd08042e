//! Parsing of TOML files.

use anyhow::{Result, anyhow};
use serde::de::DeserializeOwned;

/// Parses a TOML file; the error names the line and the key at fault.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    toml::from_str(text).map_err(|error| toml_error(text, &error))
}

fn toml_error(text: &str, error: &toml::de::Error) -> anyhow::Error {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let message = error.message().replace("unknown field", "unknown key");
    anyhow!("line {line}: {}", message.replace("missing field", "missing key"))
}
