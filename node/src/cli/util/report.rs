//! The JSON object that a command of `chain util` prints.

use anyhow::Result;
use chain::DecodeError;
use chain::rules::RuleError;
use serde::Serialize;
use std::io::Write;

/// The result of a command: information about the input, if it decodes, and its error, if invalid.
#[derive(Debug, Serialize)]
pub(super) struct Report<T> {
    valid: bool,
    #[serde(flatten)]
    info: Option<T>,
    #[serde(flatten)]
    error: Option<InputError>,
}

impl<T> Report<T> {
    pub(super) fn valid(info: T) -> Report<T> {
        Report { valid: true, info: Some(info), error: None }
    }

    pub(super) fn checked(info: T, result: Result<(), RuleError>) -> Report<T> {
        let error = result.err().map(InputError::from);
        Report { valid: error.is_none(), info: Some(info), error }
    }

    /// Information about an input that decodes but is not as it has to be.
    pub(super) fn failed(info: T, code: &'static str, error: &str) -> Report<T> {
        Report { valid: false, info: Some(info), error: Some(InputError::new(code, error)) }
    }

    fn invalid(error: InputError) -> Report<T> {
        Report { valid: false, info: None, error: Some(error) }
    }
}

/// Why a command has no information.
pub(super) enum Abort {
    /// The input is invalid.
    Invalid(InputError),
    /// The input cannot be read.
    Failed(anyhow::Error),
}

impl<E: Into<InputError>> From<E> for Abort {
    fn from(error: E) -> Abort {
        Abort::Invalid(error.into())
    }
}

pub(super) type ReportResult<T> = Result<Report<T>, Abort>;

/// Why an input is invalid.
#[derive(Debug, Serialize)]
pub(super) struct InputError {
    error: String,
    code: &'static str,
    /// The line of the error, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl InputError {
    pub(super) fn new(code: &'static str, error: impl Into<String>) -> InputError {
        InputError { error: error.into(), code, line: None }
    }

    pub(super) fn encoding(error: impl Into<String>) -> InputError {
        InputError::new("bad-encoding", error)
    }

    pub(super) fn at(self, line: usize) -> InputError {
        InputError { line: Some(line), ..self }
    }
}

impl From<RuleError> for InputError {
    fn from(error: RuleError) -> InputError {
        InputError::new(error.code(), error.to_string())
    }
}

impl From<DecodeError> for InputError {
    fn from(error: DecodeError) -> InputError {
        RuleError::from(error).into()
    }
}

pub(super) fn print<T: Serialize>(out: &mut impl Write, outcome: ReportResult<T>) -> Result<bool> {
    let finding = match outcome {
        Ok(finding) => finding,
        Err(Abort::Invalid(error)) => Report::invalid(error),
        Err(Abort::Failed(error)) => return Err(error),
    };
    writeln!(out, "{}", serde_json::to_string(&finding)?)?;
    Ok(finding.valid)
}
