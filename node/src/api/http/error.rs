//! Conversions of errors into problems: consensus rules have their own codes, storage errors are
//! internal.

use crate::api::http::problem::{Kind, Problem};
use crate::mining::templates::TemplateUnavailable;
use crate::writer::{GenerateError, Stopped};
use chain::DecodeError;
use chain::ledger::{HeadersError, InvalidateError, SubmitError, TransferError};
use chain::mempool::{InsertError, RejectReason};
use chain::rules::{Rule, RuleError};
use chain::store::{IndexError, LogError, StoreError};
use chain::template::TemplateError;
use p2p::NotSaved;
use serde_json::Value;

/// The kinds of problems a block submission may return.
pub fn block_errors() -> Vec<Kind> {
    Kind::rules().chain([Kind::TOO_DEEP, Kind::DISK_FULL]).collect()
}

/// The kinds of problems a transfer submission may return.
pub fn transfer_errors() -> Vec<Kind> {
    let rules = [
        Rule::BadEncoding,
        Rule::BadCoinbaseEncoding,
        Rule::MemoTooLong,
        Rule::ZeroAmount,
        Rule::AmountOverflow,
        Rule::BadSignature,
        Rule::InsufficientBalance,
    ];
    let policy = [
        Kind::NONCE_USED,
        Kind::NONCE_TOO_FAR,
        Kind::REPLACEMENT_TOO_CHEAP,
        Kind::WOULD_REPLACE,
        Kind::MIN_FEE,
        Kind::SENDER_LIMIT,
        Kind::MEMPOOL_FULL,
        Kind::DISK_FULL,
    ];
    rules.map(Kind::rule).into_iter().chain(policy).collect()
}

impl From<RuleError> for Problem {
    fn from(error: RuleError) -> Problem {
        let problem = Problem::new(Kind::rule(error.rule()), error.to_string());
        let Some((expected, actual)) = error.expected_and_actual() else { return problem };
        match error {
            // Eight hexadecimal digits that may parse as a decimal number.
            RuleError::WrongBits { .. } => problem.with_comparison(expected, actual),
            _ => problem.with_comparison(number_or_text(expected), number_or_text(actual)),
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
            SubmitError::KnownInvalid { hash, rule } => {
                let detail = format!("block {hash} was found invalid before");
                Problem::new(Kind::rule(rule), detail)
            }
            SubmitError::UnknownParent { parent } => {
                let detail =
                    format!("this node does not have the parent {parent}: send that first");
                Problem::new(Kind::rule(Rule::UnknownParent), detail)
            }
            SubmitError::TooDeep { depth, horizon } => {
                let detail = format!(
                    "the branch forks {depth} blocks below the tip and is not known to have more \
                     work; such branches are stored down to {horizon} blocks"
                );
                Problem::new(Kind::TOO_DEEP, detail)
            }
            SubmitError::Store(error) => error.into(),
        }
    }
}

impl From<HeadersError> for Problem {
    fn from(error: HeadersError) -> Problem {
        match error {
            HeadersError::Invalid { index, error } => Problem::from(error).for_item(index),
            HeadersError::Empty | HeadersError::Discontinuous { .. } => {
                Problem::new(Kind::BAD_REQUEST, error.to_string())
            }
            HeadersError::Full => Problem::new(Kind::HEADERS_FULL, error.to_string()),
        }
    }
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Problem {
        match error {
            TransferError::Invalid(error) => error.into(),
            TransferError::Rejected(reason) => reason.into(),
            TransferError::Store(error) => error.into(),
        }
    }
}

impl From<RejectReason> for Problem {
    fn from(reason: RejectReason) -> Problem {
        let code = reason.code();
        let policy = Kind::ALL.iter().find(|kind| kind.code() == code);
        // A code that is not a policy is that of a consensus rule.
        let rule = || Rule::from_code(code).map(Kind::rule);
        let kind = policy.copied().or_else(rule).unwrap_or(Kind::INTERNAL);
        let problem = Problem::new(kind, reason.to_string());
        match reason.expected_and_actual() {
            Some((expected, actual)) => problem.with_comparison(expected, actual),
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
            TemplateError::HeightOverflow => Problem::new(Kind::INTERNAL, error.to_string()),
            TemplateError::ClockBehindParent(behind) => {
                let latest = behind.now.saturating_add(behind.max_future_seconds);
                RuleError::TimeTooNew { latest, actual: behind.parent }.into()
            }
            TemplateError::Transfer { index, error } => Problem::from(error).for_item(index),
            TemplateError::View(error) => error.into(),
        }
    }
}

impl From<InvalidateError> for Problem {
    fn from(error: InvalidateError) -> Problem {
        match error {
            InvalidateError::Unknown { .. } => Problem::new(Kind::NOT_FOUND, error.to_string()),
            InvalidateError::Genesis => Problem::new(Kind::NOT_AVAILABLE, error.to_string()),
            InvalidateError::Store(error) => error.into(),
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
            // The clock may be before the tip, and so may the requested time.
            GenerateError::Submit(SubmitError::Invalid(
                error @ (RuleError::TimeTooNew { .. } | RuleError::TimeTooOld { .. }),
            )) => error.into(),
            GenerateError::Submit(error) => Problem::new(Kind::INTERNAL, error.to_string()),
        }
    }
}

/// A full disk and a shutdown are temporary; any other storage error needs the operator.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Problem {
        let kind = match error {
            _ if error.is_disk_full() => Kind::DISK_FULL,
            StoreError::Log(LogError::Removed { .. }) => Kind::NOT_FOUND,
            StoreError::Index(IndexError::Closed) | StoreError::Interrupted => Kind::NOT_READY,
            _ => Kind::INTERNAL,
        };
        Problem::new(kind, error.to_string())
    }
}

impl From<TemplateUnavailable> for Problem {
    fn from(why: TemplateUnavailable) -> Problem {
        match why {
            TemplateUnavailable::NotReady(why) => Problem::new(Kind::NOT_READY, why.to_string()),
            TemplateUnavailable::Stopped(stopped) => stopped.into(),
            TemplateUnavailable::Template(error) => error.into(),
        }
    }
}

impl From<NotSaved> for Problem {
    fn from(error: NotSaved) -> Problem {
        let kind = if error.is_disk_full { Kind::DISK_FULL } else { Kind::INTERNAL };
        Problem::new(kind, error.to_string())
    }
}

impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Problem {
        Problem::new(Kind::NOT_READY, stopped.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chain::store::DirectoryError;
    use chain::{Bits, block};
    use std::path::PathBuf;

    fn shown(problem: impl Into<Problem>) -> Value {
        serde_json::to_value(problem.into()).unwrap()
    }

    #[test]
    fn full_disk_broken_disk_and_shutdown_have_distinct_codes() {
        let full = || StoreError::Log(LogError::Full { path: PathBuf::from("00000.log") });
        for problem in [
            shown(full()),
            shown(StoreError::Index(IndexError::Full { path: PathBuf::from("00000.log") })),
            shown(StoreError::Directory(DirectoryError::Full { path: PathBuf::from("00000.log") })),
            shown(SubmitError::Store(full())),
            shown(TransferError::Store(full())),
            shown(GenerateError::Submit(SubmitError::Store(full()))),
            shown(TemplateError::View(full())),
        ] {
            assert_eq!((&problem["status"], &problem["code"]), (&503.into(), &"disk-full".into()));
            assert!(problem["detail"].as_str().unwrap().contains("00000.log"));
        }
        let broken = IndexError::Engine("checksum".to_owned());
        assert_eq!(shown(StoreError::Index(broken))["code"], "internal");
        assert_eq!(shown(StoreError::Index(IndexError::Closed))["code"], "not-ready");
        assert_eq!(shown(Stopped)["code"], "not-ready");
    }

    #[test]
    fn comparisons_are_numbers_if_possible_and_text_otherwise() {
        let (expected, actual) = (Bits::new(0x2000_0001), Bits::new(0x2070_0000));
        let bits = shown(RuleError::WrongBits { expected, actual });
        assert_eq!((&bits["expected"], &bits["actual"]), (&"20000001".into(), &"20700000".into()));
        let size = shown(RuleError::BlockTooLarge { size: 7, limit: 5 });
        assert_eq!((&size["expected"], &size["actual"]), (&5.into(), &7.into()));
        let accounts = RuleError::WrongAccounts { expected: [0x11; 32], actual: [0x22; 32] };
        assert_eq!(shown(accounts)["expected"], "11".repeat(32));
        let known = SubmitError::KnownInvalid { hash: block::Hash::ZERO, rule: Rule::BadNonce };
        assert_eq!(shown(known)["code"], "bad-nonce");
    }

    #[test]
    fn every_reject_reason_of_the_mempool_has_its_code_and_status() {
        let rate = RejectReason::MinFee { rate: 1, needed: 145, actual: 9 };
        for (reason, status) in [
            (RejectReason::NonceUsed { expected: 4, actual: 2 }, 409),
            (RejectReason::ReplacementTooCheap { needed: 4, actual: 2 }, 409),
            (RejectReason::NonceTooFar { latest: 4, actual: 9 }, 422),
            (RejectReason::InsufficientBalance { needed: 4, available: 2 }, 422),
            (rate, 422),
            (RejectReason::SenderLimit { limit: 3 }, 429),
            (RejectReason::ReplacementLimit { limit: 3 }, 429),
            (RejectReason::MempoolFull { needed: 4, actual: 2 }, 503),
            (RejectReason::MempoolFullOfPending, 503),
        ] {
            let (code, pair) = (reason.code(), reason.expected_and_actual());
            let problem = shown(reason);
            assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
            assert_eq!(problem.get("expected").and_then(Value::as_u64), pair.map(|pair| pair.0));
        }
    }
}
