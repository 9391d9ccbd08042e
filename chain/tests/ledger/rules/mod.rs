//! Every rule as a node applies it: for each a block that it accepts and one that it rejects, with
//! the exact code, and whether that invalidates the header. `table` checks that none is missing.

mod body;
mod body_on_parent;
mod commitment;
mod header;
mod table;

use crate::harness::{Reference, TestNode};
use chain::ledger::SubmitError;
use chain::rules::RuleError;
use chain::{Block, Params};

/// A new reference and a new node.
fn setup(params: &Params) -> (Reference, TestNode) {
    (Reference::new(params.clone()), TestNode::new(params))
}

/// Asserts that a block is rejected and its header invalidated: the block is not validated again,
/// and its descendants are rejected.
#[track_caller]
fn assert_invalidates(
    reference: &mut Reference,
    node: &mut TestNode,
    block: &Block,
    code: &str,
) -> RuleError {
    let error = assert_rejects(node, block, code);
    assert!(error.invalidates_header(), "{code}");
    let again = node.expect_rejection(block);
    assert!(matches!(again, SubmitError::KnownInvalid { rule: known, .. } if known.code() == code));
    let child = reference.build_on(block.hash()).mine();
    let ancestor = block.hash();
    let expected = RuleError::InvalidAncestor { ancestor };
    assert_eq!(assert_rejects(node, &child, "invalid-ancestor"), expected);
    let branches = node.reader().view().chain_tips(None, usize::MAX);
    assert!(branches.iter().any(|branch| branch.hash == ancestor));
    error
}

/// Asserts that a block is rejected and its header is not invalidated.
#[track_caller]
fn assert_rejects_without_invalidating(
    node: &mut TestNode,
    block: &Block,
    code: &str,
) -> RuleError {
    let error = assert_rejects(node, block, code);
    assert!(!error.invalidates_header(), "{code}");
    assert_eq!(assert_rejects(node, block, code), error);
    let branches = node.reader().view().chain_tips(None, usize::MAX);
    assert!(branches.iter().all(|branch| branch.hash != block.hash()));
    error
}

/// Asserts that a block is rejected with a code.
#[track_caller]
fn assert_rejects(node: &mut TestNode, block: &Block, code: &str) -> RuleError {
    let error = node.expect_rejection(block);
    assert_eq!(error.code(), Some(code), "{error}");
    match error {
        SubmitError::Invalid(error) => error,
        error => panic!("{error}"),
    }
}
