//! The rules of a header: alone, then after its parent.
//! Source: PROTOCOL.md, "Rules" and "Difficulty".

use super::RuleError;
use crate::block::{Header, Timestamp};
use crate::difficulty::Schedule;
use crate::params::Params;
use crate::pow::{Bits, Target};

/// The parent of a header, as far as the rules need it.
#[derive(Clone, Copy, Debug)]
pub struct Parent {
    /// The bits of the parent.
    pub bits: Bits,
    /// The time of the parent.
    pub time: Timestamp,
    /// The time of the grandparent; `None` if the parent is genesis.
    pub grandparent_time: Option<Timestamp>,
}

impl Parent {
    /// Returns the bits that a child must have.
    pub fn next_bits(&self, params: &Params) -> Bits {
        let schedule = Schedule::of(params);
        schedule.next_bits((self.bits, self.time), self.grandparent_time)
    }

    /// Returns a valid child of this parent, as the parent of the next header.
    pub fn advance(&self, child: &Header) -> Parent {
        Parent { bits: child.bits, time: child.time, grandparent_time: Some(self.time) }
    }
}

/// Validates a header alone: version, bits and proof of work.
pub fn check_standalone(header: &Header, params: &Params) -> Result<(), RuleError> {
    let target = check_proposal(header, params)?;
    hash_meets_target(header, target)
}

/// Validates the header of a proposed block alone: version and bits, but not proof of work, which it
/// does not have yet. Returns the target that its hash will have to meet.
pub fn check_proposal(header: &Header, params: &Params) -> Result<Target, RuleError> {
    version_is_known(header)?;
    bits_are_a_target(header, params)
}

/// Validates a header after its parent, at the time `now`: bits and time.
pub fn check_contextual(
    header: &Header,
    parent: &Parent,
    params: &Params,
    now: Timestamp,
) -> Result<(), RuleError> {
    bits_are_required(header, parent, params)?;
    time_is_not_before_parent(header, parent)?;
    time_is_not_too_new(header, params, now)
}

fn version_is_known(header: &Header) -> Result<(), RuleError> {
    let version = header.version;
    if version & !Header::ROLLING_BITS == Header::VERSION {
        Ok(())
    } else {
        Err(RuleError::BadVersion { version })
    }
}

fn bits_are_a_target(header: &Header, params: &Params) -> Result<Target, RuleError> {
    let bits = header.bits;
    let target = bits.target().map_err(|reason| RuleError::BadBits { bits, reason })?;
    if target <= params.limit() {
        Ok(target)
    } else {
        Err(RuleError::BitsAboveLimit { bits, limit: params.spec().limit_bits })
    }
}

fn hash_meets_target(header: &Header, target: Target) -> Result<(), RuleError> {
    let hash = header.hash();
    if target.is_met_by(hash.as_bytes()) {
        Ok(())
    } else {
        Err(RuleError::HighHash { hash, target })
    }
}

fn bits_are_required(header: &Header, parent: &Parent, params: &Params) -> Result<(), RuleError> {
    let (expected, actual) = (parent.next_bits(params), header.bits);
    if actual == expected { Ok(()) } else { Err(RuleError::WrongBits { expected, actual }) }
}

fn time_is_not_before_parent(header: &Header, parent: &Parent) -> Result<(), RuleError> {
    let (earliest, actual) = (parent.time, header.time);
    if actual >= earliest { Ok(()) } else { Err(RuleError::TimeTooOld { earliest, actual }) }
}

fn time_is_not_too_new(header: &Header, params: &Params, now: Timestamp) -> Result<(), RuleError> {
    let latest = now.saturating_add(params.spec().max_future_seconds);
    let actual = header.time;
    if actual <= latest { Ok(()) } else { Err(RuleError::TimeTooNew { latest, actual }) }
}
