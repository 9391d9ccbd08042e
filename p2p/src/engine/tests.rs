use super::*;
use crate::message::Announcement;
use crate::testing::mock_chain::MockChain;
use chain::block::Timestamp;
use libp2p::PeerId;
use libp2p::multihash::Multihash;
use std::time::Duration;

const CLOCK: Timestamp = Timestamp::new(1_800_000_000);

fn at(seconds: u64) -> Now {
    Now { elapsed: Duration::from_secs(seconds), clock: CLOCK }
}

fn peer(number: u8) -> PeerId {
    PeerId::from_multihash(Multihash::wrap(0, &[number]).unwrap()).unwrap()
}

/// An engine that is synced with a peer.
fn synced_with_a_peer(chain: &MockChain) -> Engine {
    let mut engine = Engine::new(1);
    let status = Engine::new(2).status(at(0), chain);
    engine.handle(at(0), Input::PeerConnected { peer: peer(0), outbound: true, status }, chain);
    for seconds in 1..12 {
        for output in engine.handle(at(seconds), Input::Tick, chain) {
            if let Output::Request { id, request, .. } = output {
                let result = Ok(crate::serve::answer(chain, &request));
                engine.handle(at(seconds), Input::Response { id, result }, chain);
            }
        }
    }
    assert_eq!(engine.progress(chain).state, SyncState::Synced);
    engine
}

#[test]
fn status_has_a_nonce_per_run_and_the_tip() {
    let mut chain = MockChain::dev();
    chain.grow(3, 1);
    let (one, other) = (Engine::new(1).status(at(5), &chain), Engine::new(2).status(at(5), &chain));
    assert_ne!(one.nonce, other.nonce);
    assert_eq!((one.tip, one.height.get(), one.genesis), {
        (chain.tip().hash, 3, chain.params().genesis_hash())
    });
    assert!(!one.relay, "it is not synced yet");
}

#[test]
fn ignores_announcement_of_block_that_sync_imports() {
    let chain = MockChain::dev();
    let mut engine = synced_with_a_peer(&chain);
    let block = chain.mine(&[], CLOCK, 1);
    engine.importing.insert(block.hash());
    let (id, announcement) = (AnnouncementId(1), Announcement::Block(block));
    let input = Input::Announcement { peer: peer(0), id, announcement };
    let outputs = engine.handle(at(20), input, &chain);
    assert!(
        matches!(
            outputs.as_slice(),
            [Output::ReportValidation { acceptance: MessageAcceptance::Ignore, .. }]
        ),
        "{outputs:?}"
    );
}

// N16: headers without bodies must not suppress the announcement of own blocks.
#[test]
fn announces_own_block_while_better_headers_are_known() {
    let mut chain = MockChain::dev();
    let mut engine = synced_with_a_peer(&chain);
    let mut withheld = chain.clone();
    for header in withheld.grow(3, 7).iter().map(|block| block.header) {
        let Engine { sync, peers, importing, rng, .. } = &mut engine;
        sync.header_announced(
            &mut Context::new(at(20), &chain, (peers, importing), true, rng),
            peer(0),
            &header,
        );
    }
    assert_eq!(engine.progress(&chain).best_header.get(), 3);
    chain.grow(1, 1);
    let outputs = engine.handle(at(21), Input::TipChanged, &chain);
    assert!(outputs.iter().any(|output| matches!(output, Output::Announce(_))), "{outputs:?}");
}
