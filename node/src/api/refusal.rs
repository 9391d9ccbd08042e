//! What the ledger refuses or cannot do, as problems: rules under their own codes, our own faults
//! as such.

use super::problem::{Kind, Problem};
use crate::writer::{GenerateError, Stopped};
use chain::DecodeError;
use chain::ledger::{SubmitError, TransferError};
use chain::mempool::{InsertError, Refusal};
use chain::rules::RuleError;
use chain::store::{LogError, StoreError};
use chain::template::TemplateError;
use serde_json::Value;

impl From<RuleError> for Problem {
    fn from(error: RuleError) -> Problem {
        let problem = Problem::new(Kind::rule(error.code()), error.to_string());
        let Some((expected, actual)) = error.expected_and_actual() else { return problem };
        match error {
            // Eight digits that may look like a number.
            RuleError::WrongBits { .. } => problem.comparing(expected, actual),
            _ => problem.comparing(number_or_text(expected), number_or_text(actual)),
        }
    }
}

fn number_or_text(text: String) -> Value {
    text.parse::<u64>().map_or(Value::String(text), Value::from)
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Problem {
        RuleError::from(error).into()
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        match error {
            SubmitError::Invalid(error) => error.into(),
            SubmitError::KnownInvalid { hash, code } => {
                let detail = format!("block {hash} was found invalid before");
                Problem::new(Kind::rule(code), detail)
            }
            SubmitError::UnknownParent { parent } => {
                let detail =
                    format!("this node does not have the parent {parent}: send that first");
                Problem::new(Kind::rule("unknown-parent"), detail)
            }
            SubmitError::Store(error) => error.into(),
        }
    }
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Problem {
        match error {
            TransferError::Invalid(error) => error.into(),
            TransferError::Refused(refusal) => refusal.into(),
            TransferError::Store(error) => error.into(),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let code = refusal.code();
        let policy = Kind::ALL.iter().find(|kind| kind.code() == code);
        // What is no policy of the pool's is a rule that it foresees to be broken.
        let kind = policy.copied().unwrap_or(Kind::rule(code));
        let problem = Problem::new(kind, refusal.to_string());
        match refusal.expected_and_actual() {
            Some((expected, actual)) => problem.comparing(expected, actual),
            None => problem,
        }
    }
}

impl From<InsertError<StoreError>> for Problem {
    fn from(error: InsertError<StoreError>) -> Problem {
        TransferError::from(error).into()
    }
}

impl From<TemplateError<StoreError>> for Problem {
    fn from(error: TemplateError<StoreError>) -> Problem {
        match error {
            TemplateError::EndOfHeights => Problem::new(Kind::INTERNAL, error.to_string()),
            TemplateError::View(error) => error.into(),
        }
    }
}

impl From<GenerateError> for Problem {
    fn from(error: GenerateError) -> Problem {
        match error {
            GenerateError::Template(error) => error.into(),
            GenerateError::Submit(SubmitError::Store(error)) | GenerateError::Store(error) => {
                error.into()
            }
            GenerateError::Submit(error) => Problem::new(Kind::INTERNAL, error.to_string()),
        }
    }
}

/// A full disk passes; everything else of the store's does not without an operator.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let kind = match error {
            StoreError::Log(LogError::Full { .. }) => Kind::DISK_FULL,
            _ => Kind::INTERNAL,
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Problem {
        Problem::new(Kind::NOT_READY, stopped.to_string())
    }
}
