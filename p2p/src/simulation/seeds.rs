//! Many seeds: whatever goes wrong, once nothing does any more all agree and no transfer is lost.

use super::world::World;
use crate::toy_chain::params;
use std::time::Duration;

/// Seeds of one test run.
const SEEDS: u64 = 500;
/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(90);
/// How long the network may take to agree afterwards, with a block every ten seconds.
const CALM: Duration = Duration::from_secs(120);

/// One run; what stands for it.
fn run(seed: u64) -> u64 {
    let nodes = 5 + usize::try_from(seed % 8).unwrap();
    let mut world = World::new(seed, nodes, &params(seed.is_multiple_of(2)));
    world.link_at_random();
    while world.now < TROUBLE {
        world.disturb();
        let pause = world.pick(2_000) as u64;
        world.run_for(Duration::from_millis(pause));
    }
    world.calm();
    let end = world.now + CALM;
    while !world.agrees() || world.missing_and_lost().0 > 0 {
        assert!(world.now < end, "no agreement: {}", world.summary());
        let node = world.pick(nodes);
        world.mine(node);
        world.run_for(Duration::from_secs(10));
    }
    world.assert_no_blame();
    world.trace()
}

#[test]
fn seeds() {
    let begun = std::time::Instant::now();
    for seed in 0..20 {
        let at = begun.elapsed();
        let trace = run(seed);
        println!("{seed}: {trace:016x} {:?}", begun.elapsed() - at);
    }
}
