//! What a restart changes, and what it does not.

use super::journal::{Journaled, assert_same};
use super::*;

fn log_and_restart(world: &mut World) -> (World, Vec<Dropped>) {
    let mut journaled = Journaled::new(&mut world.pool);
    journaled.restart(world.pool.limits, &world.accounts)
}

#[test]
fn restored_transfers_keep_their_order() {
    let mut world = World::new(Limits::default());
    for nonce in 0..20 {
        world.insert_all((0..10).rev().map(|sender| pay(sender, nonce)));
    }
    // Not in the order of nonces.
    world.insert_all([pay(50, 3), pay(50, 1), pay(50, 0), pay(50, 2), pay(50, 5)]);
    let (restored, dropped) = log_and_restart(&mut world);
    assert_eq!(dropped, []);
    restored.assert_sound();
    assert_same(&restored.pool, &world.pool);
    assert_eq!(restored.nonces(50), [0, 1, 2, 3, 5]);
}

// M14: each is validated again.
#[test]
fn stale_transfers_are_not_restored() {
    let mut world = World::new(Limits::default());
    world.insert_all([pay(1, 0), pay(1, 1), pay(2, 0), pay(2, 1), pay(3, 0), pay(3, 70 - 6)]);
    let mut journaled = Journaled::new(&mut world.pool);
    // The node did not see these changes.
    world.set(1, account(100_000, 1));
    world.set(2, account(1_200, 0));
    let (restored, dropped) = journaled.restart(Limits::default(), &world.accounts);
    restored.assert_sound();
    let mut reasons = reasons(&dropped);
    reasons.sort_unstable();
    assert_eq!(reasons, [(0, "nonce-used"), (1, "insufficient-balance")]);
    assert_eq!(restored.status(pay(1, 1)), Some(Status::Pending));
    let dropped = restored.status(pay(2, 1));
    assert!(matches!(dropped, Some(Status::Dropped(RejectReason::InsufficientBalance { .. }))));
    assert_eq!(restored.status(pay(3, 64)), Some(Status::Queued));
}

// The process may die between the records of a replacement and of what it replaced.
#[test]
fn later_transfer_with_the_same_nonce_is_restored() {
    let mut world = World::new(Limits::default());
    let mut journaled = Journaled::new(&mut world.pool);
    world.insert(pay(1, 0)).unwrap();
    journaled.log(&mut world.pool);
    let other = Pay { fee: 1_000, ..pay(1, 0) };
    world.insert(other).unwrap();
    let is_added = |change: &Change| matches!(change, Change::Added(_));
    world.pool.unlogged.retain(is_added);
    journaled.log(&mut world.pool);
    let (restored, dropped) = journaled.restart(Limits::default(), &world.accounts);
    restored.assert_sound();
    assert_eq!(
        dropped,
        [Dropped {
            transfer: pay(1, 0).signed(),
            reason: RejectReason::Replaced { by: other.id() },
        }]
    );
    assert_same(&restored.pool, &world.pool);
}

#[test]
fn mempool_that_became_smaller_restores_the_best() {
    let mut world = World::new(Limits::default());
    world.insert_all((0..20).map(|sender| Pay { fee: 145 + u64::from(sender), ..pay(sender, 0) }));
    let mut journaled = Journaled::new(&mut world.pool);
    let (restored, dropped) = journaled.restart(limits(5), &world.accounts);
    restored.assert_sound();
    assert_eq!((restored.pool.count(), dropped.len()), (5, 15));
    assert!((15..20).all(|sender| !restored.nonces(sender).is_empty()));
    assert!(dropped.iter().all(|dropped| dropped.reason.code() == "mempool-full"));
}

#[test]
fn wait_for_a_missing_nonce_goes_on_after_a_restart() {
    let limits = Limits { max_wait_seconds: 1_000, ..Limits::default() };
    let mut world = World::new(limits);
    let mut now = 50_000;
    world.pool.expire(Timestamp::new(now));
    world.insert(pay(1, 1)).unwrap();
    let mut journaled = Journaled::new(&mut world.pool);
    for _ in 0..20 {
        now += 40;
        assert_eq!(world.pool.expire(Timestamp::new(now)), []);
        journaled.log(&mut world.pool);
    }
    // 800 seconds have passed, of which the last minute may not be recorded.
    let (mut restored, _) = journaled.restart(limits, &world.accounts);
    now += 1_000_000;
    assert_eq!(restored.pool.expire(Timestamp::new(now)), [], "the downtime does not count");
    assert_eq!(restored.pool.expire(Timestamp::new(now + 130)), []);
    let expired = restored.pool.expire(Timestamp::new(now + 270));
    assert_eq!(reasons(&expired), [(1, "expired")]);
}

fn insert_local(world: &mut World, pay: Pay) {
    let prepared = world.pool.prepare(pay.signed(), Replacement::Allowed, &world.accounts);
    let insertion = prepared.unwrap().unwrap();
    world.pool.apply(insertion, Source::Local);
}

#[test]
fn local_transfers_are_announced_every_eleven_minutes_and_after_a_restart() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let mut world = World::new(Limits::default());
    insert_local(&mut world, pay(1, 0));
    insert_local(&mut world, pay(1, 1));
    world.insert_all([pay(2, 0), pay(3, 0)]);
    // A peer's transfer that is submitted here as well.
    world.pool.mark_local(&pay(3, 0).id());
    assert_eq!(world.pool.take_due_announcements(minutes(5)), [], "they were just announced");
    assert_eq!(world.pool.take_due_announcements(minutes(15)), []);
    let all = [pay(1, 0).id(), pay(1, 1).id(), pay(3, 0).id()];
    assert_eq!(world.pool.take_due_announcements(minutes(16)), all);
    assert_eq!(world.pool.take_due_announcements(minutes(26)), []);
    world.set(1, account(100_000, 1));
    world.reconcile(&[], &[pay(1, 0)], &[1]);
    assert_eq!(world.pool.take_due_announcements(minutes(27)), all[1..]);
    let mut journaled = Journaled::new(&mut world.pool);
    for _ in 0..2 {
        world = journaled.restart(Limits::default(), &world.accounts).0;
        assert_eq!(world.pool.take_due_announcements(minutes(0)), all[1..]);
        assert_eq!(world.pool.take_due_announcements(minutes(10)), []);
        assert_eq!(world.pool.take_due_announcements(minutes(11)), all[1..]);
    }
}

#[test]
fn mark_of_local_transfer_is_journaled() {
    let mut world = World::new(Limits::default());
    let mut journaled = Journaled::new(&mut world.pool);
    world.insert_all([pay(1, 0), pay(2, 0)]);
    journaled.log(&mut world.pool);
    world.pool.mark_local(&pay(2, 0).id());
    insert_local(&mut world, pay(3, 0));
    journaled.log(&mut world.pool);
    let (mut restored, _) = journaled.restart(Limits::default(), &world.accounts);
    let due = restored.pool.take_due_announcements(Duration::ZERO);
    assert_eq!(due, [pay(2, 0).id(), pay(3, 0).id()]);
}
