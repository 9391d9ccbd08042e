use super::*;
use crate::engine::relay::blocks::{MAX_HELD, MAX_HELD_EACH, MAX_INCOMPLETE};
use crate::engine::transfers::{Admission, MAX_IN_FLIGHT};
use crate::testing::mock_chain::transfer;
use MessageAcceptance::Ignore;

/// A parent that is being judged, and so many children of it.
fn parent_and_children(bench: &Bench, count: u64) -> (Arc<Block>, Vec<Arc<Block>>) {
    let mut other = bench.chain.clone();
    let parent = other.mine(&[], CLOCK, 0);
    other.insert(&parent, CLOCK);
    let children = (0..count).map(|salt| other.mine_on(&parent.hash(), &[], CLOCK, salt));
    let children = children.collect();
    (parent, children)
}

// N12
#[test]
fn blocks_that_wait_for_their_parent_are_few_and_of_many_peers() {
    let mut bench = Bench::with_peers(40);
    let (parent, children) = parent_and_children(&bench, 400);
    bench.announce_block(0, &parent);
    let mut outputs = Vec::new();
    for child in &children[..100] {
        outputs.extend(bench.announce_block(0, child));
    }
    assert_eq!(judgements(&outputs), vec![Ignore; 100 - MAX_HELD_EACH]);
    for (number, child) in (0..).zip(&children[100..]) {
        outputs.extend(bench.announce_block(1 + number % 39, child));
    }
    assert_eq!(judgements(&outputs), vec![Ignore; 400 - MAX_HELD]);
    let released = bench.judge(&parent);
    assert_eq!(imported(&released).len(), MAX_HELD);
}

// N12
#[test]
fn which_waiting_block_has_to_go_is_drawn_by_lot_from_the_seed() {
    let survivors = |seed| {
        let mut bench = Bench::with_peers(40);
        bench.rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (parent, children) = parent_and_children(&bench, 200);
        bench.announce_block(0, &parent);
        for (number, child) in (0..).zip(&children) {
            bench.announce_block(number % 40, child);
        }
        imported(&bench.judge(&parent))
    };
    assert_eq!(survivors(1), survivors(1));
    assert_ne!(survivors(1), survivors(2));
}

// N12
#[test]
fn a_block_that_waits_too_long_for_its_parent_is_left_to_sync() {
    let mut bench = Bench::with_peers(1);
    let (parent, children) = parent_and_children(&bench, 1);
    bench.announce_block(0, &parent);
    bench.announce_block(0, &children[0]);
    assert!(bench.pass(11_900).is_empty());
    assert_eq!(judgements(&bench.pass(100)), [Ignore]);
    assert_eq!(bench.for_sync, [(peer(0), children[0].header)]);
}

#[test]
fn only_so_many_blocks_lack_transactions_at_a_time() {
    let mut bench = Bench::with_peers(1);
    let mut outputs = Vec::new();
    for salt in 0..100 {
        let block = bench.chain.mine(&[transfer(salt)], CLOCK, salt);
        outputs.extend(bench.announce_compact(0, &block));
    }
    assert_eq!(asked(&outputs).len(), MAX_INCOMPLETE);
    assert_eq!(bench.for_sync.len(), 100 - MAX_INCOMPLETE);
}

// N13
#[test]
fn a_peer_that_floods_with_transfers_takes_no_room_from_others() {
    let mut bench = Bench::with_peers(4);
    let mut flood = Vec::new();
    for number in 0..50_000 {
        flood.extend(bench.announce_transfer(0, &transfer(number)));
    }
    let share = MAX_IN_FLIGHT / 4;
    assert_eq!(taken(&flood), share);
    assert_eq!(judgements(&flood), vec![Ignore; 50_000 - share]);
    for other in 1..4_u16 {
        let mut outputs = Vec::new();
        for number in 0..1_200 {
            let number = 1_000_000 * u64::from(other) + number;
            outputs.extend(bench.announce_transfer(other, &transfer(number)));
        }
        assert_eq!(taken(&outputs), share, "peer {other}");
    }
    // What was judged makes room again.
    bench.judge_transfer(&transfer(0).id(), TransferValidation::Added);
    assert_eq!(taken(&bench.announce_transfer(0, &transfer(60_000))), 1);
}

// N14
#[test]
fn announced_and_fetched_transfers_are_counted_together() {
    let mut bench = Bench::with_peers(2);
    let share = u64::try_from(MAX_IN_FLIGHT / 2).unwrap();
    for number in 0..share / 2 {
        assert_eq!(taken(&bench.announce_transfer(0, &transfer(number))), 1);
    }
    let mut fetched = 0;
    for number in share..2 * share {
        bench.step(|_, cx, transfers, _| {
            fetched +=
                u64::from(transfers.fetched(cx, peer(0), &transfer(number)) == Admission::Yes);
        });
    }
    assert_eq!(fetched, share - share / 2);
    assert_eq!(judgements(&bench.announce_transfer(0, &transfer(9_999))), [Ignore]);
}

// N15
#[test]
fn the_queue_of_own_announcements_is_bounded_and_let_out_steadily() {
    let mut bench = Bench::with_peers(1);
    let many: Vec<_> = (0..30_000).map(transfer).collect();
    let mut sent = announcements(&bench.pool(&many)).len();
    assert_eq!(sent, 750);
    let next = announcements(&bench.pass(1));
    let first = Announcement::Transfer { round: 0, transfer: Arc::clone(&many[750]) };
    assert_eq!((next.len(), &next[0]), (3, &first), "in the order in which they came");
    sent += next.len();
    let mut ticks = 0;
    loop {
        let now = announcements(&bench.pass(250)).len();
        assert!(now <= 750, "{now} at once");
        if now == 0 {
            break;
        }
        (sent, ticks) = (sent + now, ticks + 1);
    }
    assert_eq!((sent, ticks), (20_000, 26));
}

// Later ones of a sender are of no use without those before them.
#[test]
fn when_too_many_own_transfers_wait_the_last_are_left_to_the_exchange() {
    let mut bench = Bench::with_peers(0);
    let many: Vec<_> = (0..20_001).map(transfer).collect();
    bench.pool(&many);
    bench.peers.insert(peer(0), Height::GENESIS);
    let mut sent = Vec::new();
    while sent.len() < 20_000 {
        sent.extend(announcements(&bench.pass(250)));
    }
    assert_eq!(announcements(&bench.pass(250)), []);
    let told = |announced: &Announcement, transfer: &Arc<Transfer>| {
        *announced == Announcement::Transfer { round: 0, transfer: Arc::clone(transfer) }
    };
    assert!(sent.iter().zip(&many).all(|(announced, transfer)| told(announced, transfer)));
}

#[test]
fn a_clock_that_is_looked_at_often_does_not_slow_announcements_down() {
    let mut bench = Bench::with_peers(1);
    let many: Vec<_> = (0..5_000).map(transfer).collect();
    let mut sent = announcements(&bench.pool(&many)).len();
    for _ in 0..5_000 {
        bench.elapsed += Duration::from_micros(200);
        sent += announcements(&bench.pass(0)).len();
    }
    assert!((3_740..=3_760).contains(&sent), "750 and 3,000 in a second: {sent}");
}
