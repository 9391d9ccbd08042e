//! The JSON object that a command of `chain util` prints.

use anyhow::Result;
use chain::DecodeError;
use chain::rules::RuleError;
use serde::Serialize;
use std::io::Write;

/// What a command found out: facts, as far as there are any, and what is wrong, if anything is.
#[derive(Debug, Serialize)]
pub(super) struct Finding<T> {
    valid: bool,
    #[serde(flatten)]
    facts: Option<T>,
    #[serde(flatten)]
    fault: Option<Fault>,
}

impl<T> Finding<T> {
    pub(super) fn valid(facts: T) -> Finding<T> {
        Finding { valid: true, facts: Some(facts), fault: None }
    }

    pub(super) fn judged(facts: T, verdict: Result<(), RuleError>) -> Finding<T> {
        let fault = verdict.err().map(Fault::from);
        Finding { valid: fault.is_none(), facts: Some(facts), fault }
    }

    fn invalid(fault: Fault) -> Finding<T> {
        Finding { valid: false, facts: None, fault: Some(fault) }
    }
}

/// Why a command ends without facts.
pub(super) enum End {
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
pub(super) type Outcome<T> = Result<Finding<T>, End>;

/// Why something is not valid.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    error: String,
    code: &'static str,
    /// The line of the input that is to blame, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

impl Fault {
    pub(super) fn new(code: &'static str, error: impl Into<String>) -> Fault {
        Fault { error: error.into(), code, line: None }
    }

    /// Of bytes that are not what they should be.
    pub(super) fn encoding(error: impl Into<String>) -> Fault {
        Fault::new("bad-encoding", error)
    }

    pub(super) fn at(self, line: usize) -> Fault {
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
        RuleError::from(error).into()
    }
}

pub(super) fn print<T: Serialize>(out: &mut impl Write, outcome: Outcome<T>) -> Result<bool> {
    let finding = match outcome {
        Ok(finding) => finding,
        Err(End::Invalid(fault)) => Finding::invalid(fault),
        Err(End::Failed(error)) => return Err(error),
    };
    writeln!(out, "{}", serde_json::to_string(&finding)?)?;
    Ok(finding.valid)
}
