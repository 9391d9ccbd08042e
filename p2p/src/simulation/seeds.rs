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
/// How long transfers may take after that to be everywhere or mined.
const SPREAD: Duration = Duration::from_secs(600);

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
    world.run_until_agreed(CALM);
    let agreed = world.now;
    let end = world.now + SPREAD;
    while world.missing_and_lost().0 > 0 {
        assert!(world.now < end, "transfers do not spread: {}", world.summary());
        let node = world.pick(nodes);
        world.mine(node);
        world.run_for(Duration::from_secs(10));
    }
    if world.now > agreed + Duration::from_secs(120) || agreed > TROUBLE + Duration::from_secs(40) {
        println!("{agreed:?} {:?}", world.now)
    }
    world.assert_no_blame();
    world.trace()
}

#[test]
fn seeds() {
    let begun = std::time::Instant::now();
    for seed in 0..SEEDS {
        let at = begun.elapsed();
        let trace = run(seed);
        let t = begun.elapsed() - at;
        if t.as_millis() > 200 {
            println!("{seed}: {trace:016x} {t:?}")
        };
    }
    println!("{:?}", begun.elapsed());
}
