//! The order of selection, and eviction when the mempool is full.

use super::*;

fn at_rate(from: u16, nonce: u64, rate: u64) -> Pay {
    Pay { fee: rate * FEE, ..pay(from, nonce) }
}

fn selected(world: &World) -> Vec<Id> {
    world.pool.selection().map(CheckedTransfer::id).collect()
}

#[test]
fn selects_highest_rate_first_and_earliest_of_equal_rates() {
    let mut world = World::new(Limits::default());
    let large = Pay { fee: 4 * FEE, memo: 256, ..pay(3, 0) }; // 401 bytes: a rate below 2
    let order = [at_rate(0, 0, 3), at_rate(1, 0, 2), at_rate(2, 0, 2), large, at_rate(4, 0, 1)];
    world.insert_all([order[1], order[3], order[4], order[2], order[0]]);
    assert_eq!(selected(&world), order.map(Pay::id));
}

// M16
#[test]
fn later_transfers_pay_for_earlier_ones() {
    let mut world = World::new(Limits::default());
    // Rates 1, 9, 2 and 4: the first two pay 5 together, the last two 3.
    world.insert_all([(0, 1), (1, 9), (2, 2), (3, 4)].map(|(nonce, rate)| at_rate(0, nonce, rate)));
    world.insert_all([at_rate(1, 0, 6), at_rate(2, 0, 4), at_rate(3, 0, 2)]);
    let order = [
        at_rate(1, 0, 6),
        at_rate(0, 0, 1),
        at_rate(0, 1, 9),
        at_rate(2, 0, 4),
        at_rate(0, 2, 2),
        at_rate(0, 3, 4),
        at_rate(3, 0, 2),
    ];
    assert_eq!(selected(&world), order.map(Pay::id));
}

#[test]
fn equal_rates_are_selected_in_nonce_order() {
    let mut world = World::new(Limits::default());
    world.insert_all([pay(0, 2), pay(0, 1), pay(1, 0), pay(0, 0), pay(2, 0)]);
    world.insert_all([pay(0, 3), pay(1, 1)]);
    let order = [(1, 0), (0, 0), (0, 1), (0, 2), (2, 0), (0, 3), (1, 1)];
    assert_eq!(selected(&world), order.map(|(sender, nonce)| pay(sender, nonce).id()));
}

#[test]
fn skipped_sender_is_not_selected_any_more() {
    let mut world = World::new(Limits::default());
    world.insert_all([at_rate(0, 0, 1), at_rate(0, 1, 5), at_rate(0, 2, 1), at_rate(1, 0, 1)]);
    let mut selection = world.pool.selection();
    assert_eq!(selection.next().map(CheckedTransfer::id), Some(at_rate(0, 0, 1).id()));
    selection.skip_sender(address(0));
    assert_eq!(selection.next().map(CheckedTransfer::id), Some(at_rate(1, 0, 1).id()));
    assert!(selection.next().is_none());
}

// M01
#[test]
fn flood_stays_within_limit_and_higher_fee_still_enters() {
    let mut world = World::new(limits(50));
    let mut rejected = 0;
    for nonce in 0..4 {
        for sender in 0..25 {
            match world.pool.insert(
                pay(sender, nonce).signed(),
                Replacement::Allowed,
                &world.accounts,
            ) {
                Ok(_) => assert!(world.pool.count() <= 50),
                Err(InsertError::Rejected(reason)) => {
                    assert_eq!(reason.code(), "mempool-full");
                    rejected += 1;
                }
                Err(InsertError::View(never)) => match never {},
            }
        }
    }
    assert_eq!((rejected, world.pool.count()), (50, 50));
    world.assert_sound();
    assert_eq!(world.pool.min_fee_rate(), 2);
    let reason = RejectReason::MempoolFull { needed: 2, actual: 1 };
    assert_eq!(world.insert(pay(40, 0)), Err(reason));
    let changes = world.insert(at_rate(40, 0, 2)).unwrap();
    assert_eq!(reasons(&changes.dropped), [(1, "mempool-full")]);
    assert_eq!(world.pool.count(), 50);
    // The minimum returns to its initial value when the mempool has room.
    world.set(0, account(90_000, 1));
    world.reconcile(&[], &[pay(0, 0)], &[0]);
    assert_eq!(world.pool.min_fee_rate(), 1);
}

// M09
#[test]
fn evicts_from_the_end_of_a_queue() {
    let mut world = World::new(limits(6));
    // The lowest rate is in the middle: the next transfer pays for it, at a rate of 2 together.
    world.insert_all([(0, 5), (1, 1), (2, 3)].map(|(nonce, rate)| at_rate(0, nonce, rate)));
    world.insert_all([at_rate(1, 0, 3), at_rate(2, 0, 3), at_rate(3, 0, 3)]);
    assert_eq!(world.pool.min_fee_rate(), 3);
    assert_eq!(
        world.insert(at_rate(4, 0, 2)),
        Err(RejectReason::MempoolFull { needed: 3, actual: 2 })
    );
    let changes = world.insert(at_rate(4, 0, 3)).unwrap();
    assert_eq!(reasons(&changes.dropped), [(2, "mempool-full")]);
    let changes = world.insert(at_rate(5, 0, 2)).unwrap();
    assert_eq!(reasons(&changes.dropped), [(1, "mempool-full")]);
    assert_eq!(world.nonces(0), [0]);
    assert_eq!(world.pool.queued(), 0);
}

#[test]
fn queued_transfers_are_evicted_first_and_evict_no_pending_ones() {
    let mut world = World::new(limits(3));
    world.insert_all([at_rate(0, 1, 50), at_rate(1, 0, 1), at_rate(2, 0, 1)]);
    assert_eq!(world.pool.min_fee_rate(), 1);
    let reason = world.insert(at_rate(3, 1, 50)).unwrap_err();
    assert_eq!((&reason, reason.code()), (&RejectReason::MempoolFullOfPending, "mempool-full"));
    let changes = world.insert(at_rate(3, 1, 51)).unwrap();
    assert_eq!(reasons(&changes.dropped), [(1, "mempool-full")]);
    world.insert(at_rate(4, 0, 1)).unwrap();
    assert_eq!(world.pool.queued(), 0);
    assert_eq!(world.insert(at_rate(5, 1, 50)), Err(RejectReason::MempoolFullOfPending));
    assert_eq!(world.insert(at_rate(5, 0, 1)).unwrap_err().code(), "mempool-full");
}

// M09: like go-ethereum's "stable underpricing", but for packages.
#[test]
fn new_transfer_is_rated_with_its_ancestors() {
    let mut world = World::new(limits(4));
    world.insert_all([at_rate(0, 0, 1), at_rate(1, 0, 4), at_rate(2, 0, 4), at_rate(3, 0, 4)]);
    // Its rate is 3.5 with the transfer before it, so it would be evicted next.
    assert_eq!(
        world.insert(at_rate(0, 1, 6)),
        Err(RejectReason::MempoolFull { needed: 5, actual: 3 })
    );
    let changes = world.insert(at_rate(0, 1, 9)).unwrap();
    assert_eq!(changes.dropped.len(), 1);
    assert_eq!(world.nonces(0), [0, 1]);
}

#[test]
fn returned_transfers_compete_by_fee_rate() {
    let mut world = World::new(limits(3));
    world.set(0, account(90_000, 2));
    world.insert_all([at_rate(1, 0, 2), at_rate(2, 0, 4), at_rate(0, 2, 9)]);
    world.set(0, account(100_000, 0));
    let returned = [at_rate(0, 0, 1), at_rate(0, 1, 1)];
    let changes = world.reconcile(&returned, &[], &[0]);
    // Rates 1, 1 and 9 average 11/3.
    assert_eq!(reasons(&changes.dropped), [(0, "mempool-full"), (2, "mempool-full")]);
    assert_eq!(changes.pending, returned.map(Pay::id));
    assert_eq!(world.nonces(0), [0, 1]);
}

#[test]
fn single_sender_cannot_exceed_capacity() {
    let mut world = World::new(limits(3));
    world.insert_all((0..3).map(|nonce| pay(0, nonce)));
    assert_eq!(world.insert(at_rate(0, 3, 9)), Err(RejectReason::SenderLimit { limit: 3 }));
    // A replacement needs no room.
    world.insert(at_rate(0, 2, 2)).unwrap();
}
