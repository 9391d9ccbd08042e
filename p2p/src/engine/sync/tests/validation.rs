//! The validation results of blocks, and their consequences.

use super::world::{Answer, World, chain_of, fork_of, peer, seconds};
use crate::engine::Input;
use crate::engine::{BlockValidation, Misbehavior};
use crate::message::Request;
use crate::view::ChainView;
use chain::Height;

// main ─ … 50 ─ 51 (invalid) ─ … 80
//           └── 51' ─ … 60'
#[test]
fn invalid_block_switches_to_other_branch() {
    let bad = chain_of(80, 1);
    let good = fork_of(&bad, 50, 10, 2);
    let spoiled = bad.at(Height::new(51)).unwrap();
    let mut world = World::new();
    world.chain.spoil(spoiled);
    world.join(peer(1), &bad);
    world.join(peer(2), &good);
    world.reach(&good, seconds(30));
    assert_eq!(world.blamed(), [(peer(1), Misbehavior::InvalidBlock)]);
    let asked = world.asked.len();
    world.pass(seconds(60));
    assert_eq!(world.sync.headers.tree.len(), 0, "its descendants are removed");
    assert_eq!(world.asked.len(), asked, "an invalid block is not fetched again");
    assert!(world.reports.iter().all(|(id, _)| *id == peer(1)));
}

// N18: an announcer has not validated the state, so only the server of the block is reported.
#[test]
fn does_not_report_announcer_of_invalid_block() {
    let chain = chain_of(20, 1);
    let mut longer = chain.clone();
    let bad = longer.grow(1, 2).remove(0);
    let mut world = World::with(chain.clone(), super::world::limits());
    world.chain.spoil(bad.hash());
    world.join_in_manner(peer(1), &chain, |_, _| Answer::Honest);
    world.join(peer(2), &chain);
    world.pass(seconds(1));
    world.remote(peer(2)).chain = longer;
    world.announce(peer(1), bad.header);
    world.announce(peer(2), bad.header);
    world.pass(seconds(20));
    assert_eq!(world.blamed(), [(peer(2), Misbehavior::InvalidBlock)]);
}

#[test]
fn retries_import_after_own_failure_without_report() {
    let chain = chain_of(100, 1);
    let mut world = World::new();
    world.validations.extend([BlockValidation::Failed; 3]);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(30));
    assert_eq!(world.blamed(), []);
    assert_eq!(world.remote(peer(1)).blocks_asked, 100, "stored bodies are not fetched again");
}

// C17
#[test]
fn resubmits_block_that_was_too_new() {
    let chain = chain_of(10, 1);
    let mut world = World::new();
    world.validations.push_back(BlockValidation::InvalidHeader);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(10));
    assert_eq!(world.blamed(), []);
}

// C20: the tip moved beyond the branch, but the branch is longer by now.
#[test]
fn resubmits_block_that_was_too_deep_without_report() {
    let chain = chain_of(10, 1);
    let mut world = World::new();
    world.validations.extend([BlockValidation::TooDeep; 3]);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(30));
    assert_eq!(world.blamed(), []);
    let work = chain.tip().chain_work;
    assert!(world.claims.iter().all(|claim| *claim == work), "the work of the whole branch");
}

#[test]
fn unknown_parent_restarts_download() {
    let chain = chain_of(10, 1);
    let mut world = World::new();
    world.validations.push_back(BlockValidation::UnknownParent);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(20));
    assert_eq!(world.blamed(), []);
}

#[test]
fn tolerates_validation_results_of_unknown_blocks() {
    let chain = chain_of(10, 1);
    let mut world = World::new();
    let hash = chain.tip().hash;
    for validation in [
        BlockValidation::UnknownParent,
        BlockValidation::Failed,
        BlockValidation::WrongBody,
        BlockValidation::Invalid,
        BlockValidation::InvalidAncestor,
        BlockValidation::InvalidHeader,
        BlockValidation::TooDeep,
    ] {
        world.handle(Input::BlockValidated { hash, validation });
    }
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(10));
    assert_eq!(world.blamed(), []);
}

#[test]
fn does_not_fetch_blocks_imported_otherwise() {
    let chain = chain_of(100, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    assert!(world.until(seconds(5), |world| !world.asked.is_empty()));
    world.chain = chain.clone();
    world.handle(Input::TipChanged);
    assert_eq!(world.sync.headers.tree.len(), 0);
    assert_eq!(world.sync.bodies.window.len(), 0);
    let asked = world.asked.len();
    world.pass(seconds(20));
    assert_eq!(world.asked.len(), asked);
}

#[test]
fn follows_fork_only_with_more_work() {
    let ours = chain_of(40, 1);
    let mut theirs = fork_of(&ours, 30, 10, 2);
    let mut world = World::with(ours.clone(), super::world::limits());
    world.join(peer(1), &theirs);
    world.pass(seconds(10));
    assert_eq!(world.asked, [], "as much work is not more");
    theirs.grow(1, 3);
    world.update(peer(1), &theirs);
    world.reach(&theirs, seconds(10));
    assert_eq!(world.remote(peer(1)).blocks_asked, 11);
}
