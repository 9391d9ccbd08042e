//! A segment of headers, each the parent of the next, validated but not stored.

use super::header_tree::{HeaderTree, ValidHeader};
use crate::engine::machine::{Misbehavior, Now};
use crate::view::ChainView;
use chain::block::{Header, Timestamp};
use chain::rules::RuleError;
use chain::rules::header::{check_contextual, check_standalone};

/// Validated headers that follow one another.
#[derive(Debug)]
pub(super) struct HeaderSegment {
    pub(super) headers: Vec<ValidHeader>,
    /// The number of the first headers whose body is in the chain.
    pub(super) stored: usize,
    /// Why the header after the last one was rejected, if one was.
    pub(super) reject: Option<Reject>,
}

/// The reason why a header is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reject {
    /// The header can never be valid, or does not continue the segment.
    Invalid(Misbehavior),
    /// The time of the header is too far in the future, so it may become valid.
    TooNew(Timestamp),
    /// The block or an ancestor is already known to break a rule.
    KnownInvalid,
    /// The body of the block was withheld recently.
    Withheld,
}

impl HeaderSegment {
    /// Validates headers after `from`, up to the first that is rejected.
    pub(super) fn validate(
        from: ValidHeader,
        headers: &[Header],
        tree: &HeaderTree,
        chain: &dyn ChainView,
        now: Now,
    ) -> HeaderSegment {
        let capacity = headers.len();
        let mut segment =
            HeaderSegment { headers: Vec::with_capacity(capacity), stored: 0, reject: None };
        let mut parent = from;
        for header in headers {
            let is_parent_stored = segment.stored == segment.headers.len();
            match validate_next(&parent, header, is_parent_stored, tree, chain, now) {
                Ok((header, is_stored)) => {
                    parent = header;
                    segment.headers.push(header);
                    segment.stored += usize::from(is_stored);
                }
                Err(reject) => {
                    segment.reject = Some(reject);
                    break;
                }
            }
        }
        segment
    }

    /// The last header of the segment.
    pub(super) fn end(&self) -> Option<ValidHeader> {
        self.headers.last().copied()
    }
}

/// Validates a header after its parent, and returns whether its body is stored. Only the child of a
/// stored block can be stored, so the chain is not searched for the others.
fn validate_next(
    parent: &ValidHeader,
    header: &Header,
    is_parent_stored: bool,
    tree: &HeaderTree,
    chain: &dyn ChainView,
    now: Now,
) -> Result<(ValidHeader, bool), Reject> {
    if header.previous != parent.tip.hash {
        return Err(Reject::Invalid(Misbehavior::WrongResponse));
    }
    let hash = header.hash();
    if let Some(known) = tree.get(&hash) {
        return Ok((*known, false));
    }
    if let Some(known) = chain.find(&hash).filter(|_| is_parent_stored) {
        let header = ValidHeader { tip: known.tip, as_parent: known.as_parent };
        return if known.is_invalid { Err(Reject::KnownInvalid) } else { Ok((header, true)) };
    }
    if chain.is_known_invalid(&hash) {
        return Err(Reject::KnownInvalid);
    }
    if tree.is_abandoned(&hash, now.elapsed) {
        return Err(Reject::Withheld);
    }
    validate_header(header, parent, chain, now)?;
    let child = parent.child(hash, header).ok_or(Reject::Invalid(Misbehavior::BadHeader))?;
    Ok((child, false))
}

/// Validates a header after its parent.
pub(super) fn validate_header(
    header: &Header,
    parent: &ValidHeader,
    chain: &dyn ChainView,
    now: Now,
) -> Result<(), Reject> {
    let params = chain.params();
    let result = check_standalone(header, params)
        .and_then(|()| check_contextual(header, &parent.as_parent, params, now.clock));
    result.map_err(|error| match error {
        RuleError::TimeTooNew { .. } => Reject::TooNew(header.time),
        _ => Reject::Invalid(Misbehavior::BadHeader),
    })
}
