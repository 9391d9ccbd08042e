//! Queries of the mempool.

use super::*;

#[test]
fn next_nonce_and_pending_balance_include_pending_transfers() {
    let mut world = World::new(Limits::default());
    let tip = account(100_000, 5);
    world.set(0, tip);
    assert_eq!(world.pool.next_nonce(&address(0), &tip), 5);
    world.insert_all([pay(0, 5), pay(0, 6), pay(0, 8)]);
    world.insert_all([Pay { to: 0, amount: 500, ..pay(1, 0) }]);
    world.insert_all([Pay { to: 0, amount: 70, ..pay(2, 1) }]);
    world.insert_all([Pay { from: 0, nonce: 7, to: 0, ..pay(0, 0) }]);
    assert_eq!(world.pool.next_nonce(&address(0), &tip), 9);
    let balance = world.pool.pending_balance(&address(0), &tip);
    assert_eq!(balance.units(), 100_000 - 3 * 1_145 + 500 - FEE);
}

#[test]
fn pages_are_ordered_newest_first() {
    let mut world = World::new(Limits::default());
    world.insert_all((0..5).map(|nonce| pay(0, nonce)));
    world.insert_all([Pay { to: 0, ..pay(1, 0) }, pay(2, 0), Pay { to: 0, ..pay(0, 5) }]);
    let page: Vec<Entry> = world.pool.newest_first(None).take(4).collect();
    assert_eq!(nonces(page.iter().copied()), [5, 0, 0, 4]);
    let rest = world.pool.newest_first(Some(page[3].arrival));
    assert_eq!(nonces(rest), [3, 2, 1, 0]);

    let by_address = |before| world.pool.by_address(&address(0), before);
    assert_eq!(nonces(by_address(None)), [5, 0, 4, 3, 2, 1, 0]);
    let fourth = by_address(None).nth(3).unwrap().arrival;
    assert_eq!(nonces(by_address(Some(fourth))), [2, 1, 0]);
    assert_eq!(world.pool.by_address(&address(77), None).count(), 0);
}

#[test]
fn entry_is_found_by_id() {
    let mut world = World::new(Limits::default());
    world.insert(pay(0, 1)).unwrap();
    let entry = world.pool.get(&pay(0, 1).id()).unwrap();
    assert_eq!(entry.status(), Status::Queued);
    assert_eq!(entry.transfer, &pay(0, 1).signed());
    assert!(world.pool.get(&pay(0, 0).id()).is_none());
    assert_eq!(world.status(pay(0, 0)), None);
}

#[test]
fn histogram_counts_by_fee_rate() {
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
fn fee_estimate_exceeds_rates_that_fill_the_blocks() {
    let mut world = World::new(Limits::default());
    assert_eq!(world.pool.fee_rate_for(1, 1_000), 1, "an empty mempool needs the minimum");
    assert_eq!(world.pool.fee_rate_for(0, 0), 1);
    for sender in 0..10 {
        world.insert(Pay { fee: (10 - u64::from(sender)) * FEE, ..pay(sender, 0) }).unwrap();
    }
    // With room for a new transfer of any size, one block of 1,000 bytes holds two, two hold six.
    assert_eq!(world.pool.fee_rate_for(1, 1_000), 9);
    assert_eq!(world.pool.fee_rate_for(2, 1_000), 5);
    assert_eq!(world.pool.fee_rate_for(3, 1_000), 1);
    assert_eq!(world.pool.fee_rate_for(u32::MAX, u32::MAX), 1);
}

#[test]
fn waiting_transfer_reports_its_missing_nonce_or_its_rank() {
    let mut world = World::new(Limits::default());
    // Sender 1 pays for its cheap first transfer with the second; sender 3 has a gap.
    world.insert_all([Pay { fee: 2 * FEE, ..pay(0, 0) }, Pay { fee: FEE, ..pay(0, 1) }]);
    world.insert_all([pay(1, 0), Pay { fee: 9 * FEE, memo: 30, ..pay(1, 1) }]);
    world.insert_all([Pay { fee: 3 * FEE, memo: 7, ..pay(2, 0) }, pay(2, 1), pay(3, 0)]);
    world.insert_all([pay(3, 2), Pay { fee: 90 * FEE, ..pay(3, 3) }]);

    let (mut before, mut bytes) = (0, 0);
    for transfer in world.pool.selection() {
        let waiting = world.pool.waiting(&transfer.id());
        assert_eq!(waiting, Some(Waiting::Fee { before, bytes }));
        (before, bytes) = (before + 1, bytes + transfer.transfer().size() as u64);
    }
    assert_eq!(before, 7);
    for queued in [pay(3, 2), Pay { fee: 90 * FEE, ..pay(3, 3) }] {
        assert_eq!(world.pool.waiting(&queued.id()), Some(Waiting::Nonce { missing: 1 }));
    }
    assert_eq!(world.pool.missing_nonce(&address(3)), Some(1));
    assert_eq!(world.pool.missing_nonce(&address(0)), None);
    assert_eq!(world.pool.waiting(&pay(50, 0).id()), None);
}

#[test]
fn pending_cost_counts_what_the_sender_spends() {
    let mut world = World::new(Limits::default());
    assert_eq!(world.pool.pending_cost(&address(0)), 0);
    world.insert_all([pay(0, 0), pay(0, 1), pay(0, 5), Pay { to: 0, ..pay(1, 0) }]);
    assert_eq!(world.pool.pending_cost(&address(0)), 2 * 1_145);
}
