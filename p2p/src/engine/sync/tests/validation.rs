//! What the writer says of blocks, and what sync makes of it.

use super::world::{Answer, World, chain_of, fork_of, peer, seconds};
use crate::engine::Input;
use crate::engine::{BlockValidation, Misbehavior};
use crate::message::Request;
use crate::view::ChainView;
use chain::Height;
use chain::rules::Rule;

// main ─ … 50 ─ 51 (invalid) ─ … 80
//           └── 51' ─ … 60'
#[test]
fn an_invalid_block_in_the_middle_leads_to_the_other_branch() {
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
    assert_eq!(world.sync.tree.len(), 0, "all that follows it is forgotten");
    assert_eq!(world.asked.len(), asked, "a condemned block is not fetched again");
    assert!(world.reports.iter().all(|(id, _)| *id == peer(1)));
}

// N18: who announces has not checked the state, so only who served the block is blamed.
#[test]
fn announcing_an_invalid_block_is_no_offence() {
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
fn a_failure_of_this_node_is_nobodys_fault_and_tried_again() {
    let chain = chain_of(100, 1);
    let mut world = World::new();
    world.validations.extend([BlockValidation::Failed; 3]);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(30));
    assert_eq!(world.blamed(), []);
    assert_eq!(
        world.remote(peer(1)).blocks_asked,
        100,
        "bodies that are here are not fetched again"
    );
}

// C17
#[test]
fn a_block_that_the_writer_finds_too_new_is_handed_over_again() {
    let chain = chain_of(10, 1);
    let mut world = World::new();
    let validation = BlockValidation::Invalid { rule: Rule::TimeTooNew, for_ever: false };
    world.validations.push_back(validation);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(10));
    assert_eq!(world.blamed(), []);
}

#[test]
fn a_parent_that_is_missing_after_all_makes_sync_look_again() {
    let chain = chain_of(10, 1);
    let mut world = World::new();
    world.validations.push_back(BlockValidation::UnknownParent);
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(20));
    assert_eq!(world.blamed(), []);
}

#[test]
fn verdicts_on_blocks_of_others_are_tolerated() {
    let chain = chain_of(10, 1);
    let mut world = World::new();
    let hash = chain.tip().hash;
    for validation in [
        BlockValidation::UnknownParent,
        BlockValidation::Failed,
        BlockValidation::Invalid { rule: Rule::BadMerkleRoot, for_ever: false },
        BlockValidation::Invalid { rule: Rule::WrongReward, for_ever: true },
    ] {
        world.handle(Input::BlockValidated { hash, validation });
    }
    world.join(peer(1), &chain);
    world.reach(&chain, seconds(10));
    assert_eq!(world.blamed(), []);
}

#[test]
fn blocks_that_come_by_another_door_are_not_fetched() {
    let chain = chain_of(100, 1);
    let mut world = World::new();
    world.join_in_manner(peer(1), &chain, |request, _| match request {
        Request::Blocks { .. } => Answer::Never,
        _ => Answer::Honest,
    });
    assert!(world.until(seconds(5), |world| !world.asked.is_empty()));
    world.chain = chain.clone();
    world.handle(Input::TipChanged);
    assert_eq!(world.sync.tree.len(), 0);
    assert_eq!(world.sync.window.len(), 0);
    let asked = world.asked.len();
    world.pass(seconds(20));
    assert_eq!(world.asked.len(), asked);
}

#[test]
fn a_fork_is_followed_only_when_it_has_more_work() {
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
