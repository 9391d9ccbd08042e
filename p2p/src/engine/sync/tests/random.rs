//! Random runs by seed: peers with all behaviors connect and disconnect, the best delivered chain is
//! reached, and no honest peer is reported.

use super::world::{
    Answer, World, chain_of, fork_of, limits, millis, much_work, peer, seconds, status,
};
use crate::engine::Failure;
use crate::message::{Request, Response, ResponseError, Status};
use crate::testing::mock_chain::MockChain;
use crate::view::ChainView;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;

/// A behavior of a peer.
fn manner(
    number: u32,
    mut rng: Xoshiro256PlusPlus,
) -> impl FnMut(&Request, &MockChain) -> Answer + 'static {
    move |request, chain| match (number, request) {
        // Withholds bodies.
        (0, Request::Blocks { .. }) => Answer::Never,
        // Loses some messages.
        (1, _) if rng.random_bool(0.3) => Answer::Never,
        // Breaks streams.
        (2, _) if rng.random_bool(0.3) => Answer::This(Err(Failure::Io)),
        // Is busy.
        (3, _) if rng.random_bool(0.5) => {
            Answer::This(Ok(Response::Error(ResponseError::Busy { retry_after: 2 })))
        }
        // Sends some other block.
        (4, Request::Blocks { .. }) => {
            Answer::This(Ok(Response::Blocks(vec![chain.block(&chain.params().genesis_hash())])))
        }
        // Lacks all blocks.
        (5, Request::Blocks { hashes }) => {
            Answer::This(Ok(Response::Blocks(vec![None; hashes.len()])))
        }
        (6, Request::Headers { .. }) => Answer::This(Ok(Response::Headers(Vec::new()))),
        _ => Answer::Honest,
    }
}

fn run(seed: u64) -> World {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let trunk = chain_of(rng.random_range(1..300), 1);
    let common = rng.random_range(0..=trunk.tip().height.get()) as usize;
    let mut best = fork_of(&trunk, common, trunk.tip().height.get() as usize + 20, 2);
    let mut world =
        World::with(if rng.random() { trunk.clone() } else { MockChain::dev() }, limits());
    world.import_time = millis(rng.random_range(0..4));
    let mut honest = BTreeSet::from([peer(100)]);
    for number in 0..10 {
        let id = peer(number);
        let chain = if rng.random() { &best } else { &trunk };
        let rest = Xoshiro256PlusPlus::seed_from_u64(rng.random());
        let latency = millis(rng.random_range(1..800));
        let remote = match rng.random_range(0..20_u32) {
            bad @ 0..=6 => world.join_in_manner(id, chain, manner(bad, rest)),
            7 => {
                let claim = Status { chain_work: much_work(), ..status(&trunk) };
                world.join_claiming(id, &trunk, claim, |_, _| Answer::Honest)
            }
            _ => {
                honest.insert(id);
                world.join(id, chain)
            }
        };
        remote.latency = latency;
        world.pass(millis(rng.random_range(0..3_000)));
    }
    for round in 0..8 {
        best.grow(rng.random_range(1..4), round);
        let header = best.headers(best.tip().height, 1)[0];
        let ids: Vec<_> = world.remotes.keys().copied().collect();
        for id in ids {
            match rng.random_range(0..8) {
                0 => world.leave(id),
                1 | 2 => world.update(id, &best),
                3 => {
                    world.remote(id).chain = best.clone();
                    world.announce(id, header);
                }
                // It announces a block that it cannot deliver.
                4 if !honest.contains(&id) => world.announce(id, header),
                _ => {}
            }
        }
        world.pass(millis(rng.random_range(0..5_000)));
    }
    // One honest peer is connected at the end.
    world.join(peer(100), &best);
    world.reach(&best, seconds(240));
    assert!(world.until(seconds(60), |world| world.sync.is_synced()));
    let reported: Vec<_> =
        world.blamed().into_iter().filter(|(id, _)| honest.contains(id)).collect();
    assert_eq!(reported, [], "seed {seed}");
    let disconnected = world.disconnected.iter().find(|(id, _)| honest.contains(id));
    assert_eq!(disconnected, None, "seed {seed}");
    world
}

// N16, N18, N34
#[test]
fn every_seed_reaches_the_best_chain() {
    for seed in 0..60 {
        run(seed);
    }
}

#[test]
fn same_seed_yields_same_trace() {
    assert_eq!(run(77).trace, run(77).trace);
}
