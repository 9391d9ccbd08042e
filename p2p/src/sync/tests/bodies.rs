//! Bodies: windows, prefixes, peers that fail in the middle.

use super::world::{Answer, World, chain_of, fork_of, millis, peer, seconds};
use crate::engine::{BlockVerdict, Conduct, Failure};
use crate::message::{Refusal, Reply, Request};
use crate::view::ChainView;

#[test]
fn syncs_from_two_peers_at_once() {
    let chain = chain_of(3_000, 1);
    let mut world = World::new();
    world.join(peer(1), &chain);
    world.join(peer(2), &chain);
    world.reach(&chain, seconds(20));
    assert_eq!(world.blamed(), []);
    for id in [peer(1), peer(2)] {
        let asked = world.remote(id).blocks_asked;
        assert!(asked > 500, "{asked} of 3000 blocks");
    }
    let asked: usize = world.remotes.values().map(|remote| remote.blocks_asked).sum();
    assert!(asked < 3_200, "few blocks are asked for twice: {asked}");
}
