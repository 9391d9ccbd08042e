//! A run of headers, each the parent of the next, checked against the rules but not stored: what a
//! peer answered, or what is left of it once a chain with too little work is only counted.

use super::header_tree::{HeaderTree, Place};
use crate::engine::machine::{Misbehavior, Now};
use crate::view::ChainView;
use chain::block::{self, Header, Timestamp};
use chain::rules::RuleError;
use chain::rules::header::{check_contextual, check_standalone};

/// Headers that may follow a place.
#[derive(Debug)]
pub(super) struct HeaderSegment {
    /// Where the good ones stand.
    pub(super) places: Vec<Place>,
    /// How many of them, from the first on, have their body here.
    pub(super) known: usize,
    /// Why the others are not good.
    pub(super) stop: Option<Reject>,
}

/// Why a header is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reject {
    /// It breaks a rule for ever, or does not follow.
    Bad(Misbehavior),
    /// It is too far in the future, which passes.
    TooNew(Timestamp),
    /// Its block is known to break a rule, or one before it.
    Condemned,
}

impl HeaderSegment {
    /// Checks headers after a place.
    pub(super) fn check(
        from: Place,
        headers: &[Header],
        tree: &HeaderTree,
        chain: &impl ChainView,
        now: Now,
    ) -> HeaderSegment {
        let mut run =
            HeaderSegment { places: Vec::with_capacity(headers.len()), known: 0, stop: None };
        let mut at = from;
        for header in headers {
            let is_known_so_far = run.known == run.places.len();
            match step(&at, header, is_known_so_far, tree, chain, now) {
                Ok((place, is_known)) => {
                    at = place;
                    run.places.push(place);
                    run.known += usize::from(is_known);
                }
                Err(stop) => {
                    run.stop = Some(stop);
                    break;
                }
            }
        }
        run
    }

    /// Where the last good header stands.
    pub(super) fn end(&self) -> Option<Place> {
        self.places.last().copied()
    }
}

/// Where one header stands, and whether its body is here. Only a child of a block that is here can
/// be here itself, which spares the question for all others.
fn step(
    parent: &Place,
    header: &Header,
    parent_is_known: bool,
    tree: &HeaderTree,
    chain: &impl ChainView,
    now: Now,
) -> Result<(Place, bool), Reject> {
    if header.previous != parent.tip.hash {
        return Err(Reject::Bad(Misbehavior::WrongReply));
    }
    let hash = header.hash();
    if let Some(place) = tree.place(&hash) {
        return Ok((*place, false));
    }
    if let Some(known) = chain.find(&hash).filter(|_| parent_is_known) {
        let place = Place { tip: known.tip, as_parent: known.as_parent };
        return if known.is_invalid { Err(Reject::Condemned) } else { Ok((place, true)) };
    }
    if chain.is_known_invalid(&hash) {
        return Err(Reject::Condemned);
    }
    check(header, parent, chain, now)?;
    let place = parent.child(hash, header).ok_or(Reject::Bad(Misbehavior::BadHeader))?;
    Ok((place, false))
}

/// Checks one header after its parent.
pub(super) fn check(
    header: &Header,
    parent: &Place,
    chain: &impl ChainView,
    now: Now,
) -> Result<(), Reject> {
    let params = chain.params();
    let checked = check_standalone(header, params)
        .and_then(|()| check_contextual(header, &parent.as_parent, params, now.clock));
    checked.map_err(|error| match error {
        RuleError::TimeTooNew { .. } => Reject::TooNew(header.time),
        _ => Reject::Bad(Misbehavior::BadHeader),
    })
}

/// The first pass over a chain that has too little work so far: its work is counted, and of every
/// full reply only the last hash is kept.
#[derive(Debug)]
pub(super) struct Count {
    /// Where it leaves what is stored.
    pub(super) from: Place,
    /// Where the last header stands.
    pub(super) at: Place,
    pub(super) headers: usize,
    pub(super) marks: Vec<block::Hash>,
}

impl Count {
    /// Takes in what follows.
    pub(super) fn add(&mut self, run: &HeaderSegment) {
        if let Some(end) = run.end() {
            self.at = end;
            self.headers = self.headers.saturating_add(run.places.len());
            self.marks.push(end.tip.hash);
        }
    }

    /// Turns to the second pass, because the last reply, of so many headers, brought enough work.
    pub(super) fn recall(self, last_reply: usize) -> LowWorkCheck {
        LowWorkCheck { from: self.from, at: self.from, marks: self.marks, next: 0, last_reply }
    }
}

/// The second pass: the same headers again, this time to be stored. A peer that shows others now is
/// found out with every reply.
#[derive(Debug)]
pub(super) struct LowWorkCheck {
    pub(super) from: Place,
    /// Where the last header stands.
    pub(super) at: Place,
    marks: Vec<block::Hash>,
    /// Which of `marks` comes next.
    next: usize,
    last_reply: usize,
}

impl LowWorkCheck {
    /// Whether these are the headers that were counted.
    pub(super) fn matches(&mut self, run: &HeaderSegment, full: usize) -> bool {
        let is_last = self.next.saturating_add(1) == self.marks.len();
        let length = if is_last { self.last_reply } else { full };
        let end = length.checked_sub(1).and_then(|last| run.places.get(last));
        let matches = end.map(|place| place.tip.hash) == self.marks.get(self.next).copied();
        let fits = is_last || run.places.len() == full;
        self.next = self.next.saturating_add(1);
        self.at = run.end().unwrap_or(self.at);
        matches && fits
    }

    /// Whether all that was counted is stored.
    pub(super) fn is_done(&self) -> bool {
        self.next >= self.marks.len()
    }
}
