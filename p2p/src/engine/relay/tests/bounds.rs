use super::*;
use crate::engine::relay::blocks::{MAX_INCOMPLETE, MAX_ORPHANS, MAX_ORPHANS_PER_PEER};
use crate::engine::transfers::{Admission, MAX_IN_FLIGHT};
use crate::testing::mock_chain::transfer;
use MessageAcceptance::Ignore;

/// A parent that is not validated yet, and a number of its children.
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
fn limits_orphans_in_total_and_per_peer() {
    let mut bench = Bench::with_peers(40);
    let (parent, children) = parent_and_children(&bench, 400);
    bench.announce_block(0, &parent);
    let mut outputs = Vec::new();
    for child in &children[..100] {
        outputs.extend(bench.announce_block(0, child));
    }
    assert_eq!(validations(&outputs), vec![Ignore; 100 - MAX_ORPHANS_PER_PEER]);
    for (number, child) in (0..).zip(&children[100..]) {
        outputs.extend(bench.announce_block(1 + number % 39, child));
    }
    assert_eq!(validations(&outputs), vec![Ignore; 400 - MAX_ORPHANS]);
    let released = bench.validate(&parent);
    assert_eq!(imported(&released).len(), MAX_ORPHANS);
}

// N12
#[test]
fn evicts_random_orphan_by_seed() {
    let survivors = |seed| {
        let mut bench = Bench::with_peers(40);
        bench.rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let (parent, children) = parent_and_children(&bench, 200);
        bench.announce_block(0, &parent);
        for (number, child) in (0..).zip(&children) {
            bench.announce_block(number % 40, child);
        }
        imported(&bench.validate(&parent))
    };
    assert_eq!(survivors(1), survivors(1));
    assert_ne!(survivors(1), survivors(2));
}

// N12
#[test]
fn leaves_overdue_orphan_to_sync() {
    let mut bench = Bench::with_peers(1);
    let (parent, children) = parent_and_children(&bench, 1);
    bench.announce_block(0, &parent);
    bench.announce_block(0, &children[0]);
    assert!(bench.pass(11_900).is_empty());
    assert_eq!(validations(&bench.pass(100)), [Ignore]);
    assert_eq!(bench.for_sync, [(peer(0), children[0].header)]);
}

#[test]
fn limits_incomplete_blocks() {
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
fn transfer_flood_leaves_shares_of_others() {
    let mut bench = Bench::with_peers(4);
    let mut flood = Vec::new();
    for number in 0..50_000 {
        flood.extend(bench.announce_transfer(0, &transfer(number)));
    }
    let share = MAX_IN_FLIGHT / 4;
    assert_eq!(submitted(&flood), share);
    assert_eq!(validations(&flood), vec![Ignore; 50_000 - share]);
    for other in 1..4_u16 {
        let mut outputs = Vec::new();
        for number in 0..1_200 {
            let number = 1_000_000 * u64::from(other) + number;
            outputs.extend(bench.announce_transfer(other, &transfer(number)));
        }
        assert_eq!(submitted(&outputs), share, "peer {other}");
    }
    // A validated transfer makes room again.
    bench.validate_transfer(&transfer(0).id(), TransferValidation::Added);
    assert_eq!(submitted(&bench.announce_transfer(0, &transfer(60_000))), 1);
}

// N14
#[test]
fn announced_and_fetched_transfers_share_one_limit() {
    let mut bench = Bench::with_peers(2);
    let share = u64::try_from(MAX_IN_FLIGHT / 2).unwrap();
    for number in 0..share / 2 {
        assert_eq!(submitted(&bench.announce_transfer(0, &transfer(number))), 1);
    }
    let mut fetched = 0;
    for number in share..2 * share {
        bench.step(|_, cx, transfers| {
            fetched +=
                u64::from(transfers.fetched(cx, peer(0), &transfer(number)) == Admission::Admitted);
        });
    }
    assert_eq!(fetched, share - share / 2);
    assert_eq!(validations(&bench.announce_transfer(0, &transfer(9_999))), [Ignore]);
}

// N15
#[test]
fn own_transfer_announcements_are_bounded_and_rate_limited() {
    let mut bench = Bench::with_peers(1);
    let many: Vec<_> = (0..30_000).map(transfer).collect();
    let mut sent = announcements(&bench.pool(&many)).len();
    assert_eq!(sent, 750);
    let next = announcements(&bench.pass(1));
    let first = Announcement::Transfer { round: 0, transfer: Arc::clone(&many[750]) };
    assert_eq!((next.len(), &next[0]), (3, &first), "in the order of acceptance");
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

// Later transfers of a sender depend on the earlier ones.
#[test]
fn excess_own_transfers_are_left_to_mempool_sync() {
    let mut bench = Bench::with_peers(0);
    let many: Vec<_> = (0..20_001).map(transfer).collect();
    bench.pool(&many);
    bench.peers.insert(peer(0), Height::GENESIS);
    let mut sent = Vec::new();
    while sent.len() < 20_000 {
        sent.extend(announcements(&bench.pass(250)));
    }
    assert_eq!(announcements(&bench.pass(250)), []);
    let is_of = |announced: &Announcement, transfer: &Arc<Transfer>| {
        *announced == Announcement::Transfer { round: 0, transfer: Arc::clone(transfer) }
    };
    assert!(sent.iter().zip(&many).all(|(announced, transfer)| is_of(announced, transfer)));
}

#[test]
fn frequent_ticks_do_not_slow_announcements() {
    let mut bench = Bench::with_peers(1);
    let many: Vec<_> = (0..5_000).map(transfer).collect();
    let mut sent = announcements(&bench.pool(&many)).len();
    for _ in 0..5_000 {
        bench.elapsed += Duration::from_micros(200);
        sent += announcements(&bench.pass(0)).len();
    }
    assert!((3_740..=3_760).contains(&sent), "750 and 3,000 in a second: {sent}");
}
