//! Every rule from outside: for each a block that it accepts and one that it refuses, with the exact
//! code, and whether the header is remembered for it. `table` checks that none is left out.

mod belonging;
mod body;
mod header;
mod on_parent;
mod table;

use crate::world::{Node, World};
use chain::ledger::SubmitError;
use chain::rules::RuleError;
use chain::{Block, Params};

/// A new world, and a node in it.
fn both(params: &Params) -> (World, Node) {
    (World::new(params.clone()), Node::new(params))
}

/// The block is refused by a rule that says something about its header: it is not examined again,
/// and nothing that descends from it is taken in.
#[track_caller]
fn is_known_invalid(world: &mut World, node: &mut Node, block: &Block, code: &str) -> RuleError {
    let error = is_refused(node, block, code);
    assert!(error.invalidates_header(), "{code}");
    let again = node.refuse(block);
    assert!(matches!(again, SubmitError::KnownInvalid { rule: known, .. } if known.code() == code));
    let child = world.draft(block.hash()).seal();
    let ancestor = block.hash();
    let expected = RuleError::InvalidAncestor { ancestor };
    assert_eq!(is_refused(node, &child, "invalid-ancestor"), expected);
    let branches = node.reader().view().chain_tips();
    assert!(branches.iter().any(|branch| branch.hash == ancestor));
    error
}

/// The block is refused by a rule that says nothing about its header for ever.
#[track_caller]
fn is_not_remembered(node: &mut Node, block: &Block, code: &str) -> RuleError {
    let error = is_refused(node, block, code);
    assert!(!error.invalidates_header(), "{code}");
    assert_eq!(is_refused(node, block, code), error);
    let branches = node.reader().view().chain_tips();
    assert!(branches.iter().all(|branch| branch.hash != block.hash()));
    error
}

#[track_caller]
fn is_refused(node: &mut Node, block: &Block, code: &str) -> RuleError {
    let error = node.refuse(block);
    assert_eq!(error.code(), Some(code), "{error}");
    match error {
        SubmitError::Invalid(error) => error,
        error => panic!("{error}"),
    }
}
