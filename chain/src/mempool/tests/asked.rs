//! What the pool answers.

use super::*;

#[test]
fn a_sender_sees_its_next_nonce_and_balance_with_what_is_pending() {
    let mut world = World::new(Limits::default());
    let now = account(100_000, 5);
    world.set(0, now);
    assert_eq!(world.pool.next_nonce(&address(0), &now), 5);
    world.insert_all([pay(0, 5), pay(0, 6), pay(0, 8)]);
    world.insert_all([Pay { to: 0, amount: 500, ..pay(1, 0) }]);
    world.insert_all([Pay { to: 0, amount: 70, ..pay(2, 1) }]);
    world.insert_all([Pay { from: 0, nonce: 7, to: 0, ..pay(0, 0) }]);
    assert_eq!(world.pool.next_nonce(&address(0), &now), 9);
    let balance = world.pool.pending_balance(&address(0), &now);
    assert_eq!(balance.units(), 100_000 - 3 * 1_145 + 500 - FEE);
}

#[test]
fn pages_go_from_the_newest_back() {
    let mut world = World::new(Limits::default());
    world.insert_all((0..5).map(|nonce| pay(0, nonce)));
    world.insert_all([Pay { to: 0, ..pay(1, 0) }, pay(2, 0), Pay { to: 0, ..pay(0, 5) }]);
    let page: Vec<Entry> = world.pool.newest_first(None).take(4).collect();
    assert_eq!(nonces(page.iter().copied()), [5, 0, 0, 4]);
    let rest = world.pool.newest_first(Some(page[3].arrival));
    assert_eq!(nonces(rest), [3, 2, 1, 0]);

    let touching = |before| world.pool.by_address(&address(0), before);
    assert_eq!(nonces(touching(None)), [5, 0, 4, 3, 2, 1, 0]);
    let fourth = touching(None).nth(3).unwrap().arrival;
    assert_eq!(nonces(touching(Some(fourth))), [2, 1, 0]);
    assert_eq!(world.pool.by_address(&address(77), None).count(), 0);
}

#[test]
fn an_entry_is_found_by_id() {
    let mut world = World::new(Limits::default());
    world.insert(pay(0, 1)).unwrap();
    let entry = world.pool.get(&pay(0, 1).id()).unwrap();
    assert_eq!((entry.status(), entry.fee_rate()), (Status::Queued, FeeRate::new(1, 1)));
    assert_eq!(entry.transfer, &pay(0, 1).signed());
    assert!(world.pool.get(&pay(0, 0).id()).is_none());
    assert_eq!(world.status(pay(0, 0)), None);
}

#[test]
fn the_histogram_counts_by_rate() {
    let mut world = World::new(Limits::default());
    for (sender, rate) in [(0, 1), (1, 4), (2, 5), (3, 6), (4, 40)] {
        world.insert(Pay { fee: rate * FEE, ..pay(sender, 0) }).unwrap();
    }
    let histogram: Vec<_> = world
        .pool
        .fee_histogram()
        .map(|bucket| (bucket.rate, bucket.count, bucket.bytes))
        .collect();
    assert_eq!(histogram, [(1, 1, 145), (4, 2, 290), (6, 1, 145), (32, 1, 145)]);
}

#[test]
fn an_estimate_beats_what_would_fill_the_blocks() {
    let mut world = World::new(Limits::default());
    assert_eq!(world.pool.fee_rate_for(1, 1_000), 1, "an idle chain takes the minimum");
    assert_eq!(world.pool.fee_rate_for(0, 0), 1);
    for sender in 0..10 {
        world.insert(Pay { fee: (10 - u64::from(sender)) * FEE, ..pay(sender, 0) }).unwrap();
    }
    // Beside a newcomer of any size, one block of 1,000 bytes holds two of them, two hold six.
    assert_eq!(world.pool.fee_rate_for(1, 1_000), 9);
    assert_eq!(world.pool.fee_rate_for(2, 1_000), 5);
    assert_eq!(world.pool.fee_rate_for(3, 1_000), 1);
    assert_eq!(world.pool.fee_rate_for(u32::MAX, u32::MAX), 1);
}
