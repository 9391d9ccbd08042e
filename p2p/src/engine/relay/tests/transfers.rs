use super::*;
use crate::engine::transfers::Admission;
use crate::testing::mock_chain::{Pool, transfer};
use MessageAcceptance::{Accept, Ignore, Reject};

fn round(outputs: &[Output]) -> Vec<u32> {
    let rounds = announcements(outputs).into_iter().map(|announcement| match announcement {
        Announcement::Transfer { round, .. } => round,
        other => panic!("{other:?}"),
    });
    rounds.collect()
}

// N09
#[test]
fn forwards_transfer_only_if_mempool_accepted_it() {
    for (validation, acceptance, blamed) in [
        (TransferValidation::Added, Accept, false),
        (TransferValidation::Known, Ignore, false),
        (TransferValidation::NonceTooFar, Ignore, false),
        (TransferValidation::Rejected, Ignore, false),
        (TransferValidation::Failed, Ignore, false),
        (TransferValidation::Invalid, Reject, true),
    ] {
        let mut bench = Bench::with_peers(2);
        let one = transfer(1);
        let outputs = bench.announce_transfer(1, &one);
        assert_eq!((submitted(&outputs), validations(&outputs)), (1, vec![]));
        assert_eq!(validations(&bench.announce_transfer(0, &one)), [Ignore], "one at a time");
        let outputs = bench.validate_transfer(&one.id(), validation);
        assert_eq!(validations(&outputs), [acceptance], "{validation:?}");
        let blame = if blamed { vec![(peer(1), Misbehavior::BadAnnouncement)] } else { vec![] };
        assert_eq!(reports(&outputs), blame, "{validation:?}");
        assert_eq!(submitted(&bench.announce_transfer(0, &one)), 0, "validated already");
    }
}

#[test]
fn ignores_announcement_of_transfer_not_validated_in_time() {
    let mut bench = Bench::with_peers(1);
    let one = transfer(1);
    bench.announce_transfer(0, &one);
    assert!(bench.pass(11_900).is_empty());
    assert_eq!(validations(&bench.pass(100)), [Ignore]);
    assert_eq!(validations(&bench.validate_transfer(&one.id(), TransferValidation::Added)), []);
}

#[test]
fn announces_own_transfers_only() {
    let mut bench = Bench::with_peers(1);
    let (own, seen) = (transfer(1), transfer(2));
    assert_eq!(round(&bench.pool(&[Arc::clone(&own)])), [0]);
    bench.announce_transfer(0, &seen);
    assert!(round(&bench.pool(&[Arc::clone(&seen)])).is_empty());
    bench.validate_transfer(&seen.id(), TransferValidation::Added);
    bench.chain.pool = Pool::default();
    assert_eq!(
        submitted(&bench.announce_transfer(0, &own)),
        1,
        "it has left the mempool and may return"
    );
}

// N33: they waited in a part of the network that was separated.
#[test]
fn announces_fetched_transfers_in_first_round() {
    let mut bench = Bench::with_peers(2);
    let fetched = transfer(1);
    bench.step(|_, cx, transfers| {
        assert_eq!(transfers.fetched(cx, peer(0), &fetched), Admission::Admitted);
    });
    bench.validate_transfer(&fetched.id(), TransferValidation::Added);
    assert_eq!(round(&bench.pool(&[Arc::clone(&fetched)])), [0]);
    bench.chain.grow(7, 1);
    assert_eq!(round(&bench.pool(&[fetched])), [7]);
}

// A peer that is reached only through this node would miss it: the same bytes are forwarded once.
#[test]
fn forwards_transfer_announced_while_it_is_fetched() {
    let mut bench = Bench::with_peers(2);
    let one = transfer(1);
    bench.step(|_, cx, transfers| {
        assert_eq!(transfers.fetched(cx, peer(0), &one), Admission::Admitted);
    });
    let outputs = bench.announce_transfer(1, &one);
    assert!(outputs.is_empty(), "it waits for its acceptance: {outputs:?}");
    assert_eq!(validations(&bench.announce_transfer(0, &one)), [Ignore], "one at a time");
    assert_eq!(
        validations(&bench.validate_transfer(&one.id(), TransferValidation::Added)),
        [Accept]
    );
    assert!(round(&bench.pool(&[one])).is_empty(), "and not announced as well");
}

// Its first announcement was not forwarded, and the same bytes never will be.
#[test]
fn announces_refetched_transfer_in_another_round() {
    let mut bench = Bench::with_peers(1);
    bench.chain.grow(7, 1);
    let one = transfer(1);
    bench.announce_transfer(0, &one);
    bench.validate_transfer(&one.id(), TransferValidation::NonceTooFar);
    bench.step(|_, cx, transfers| {
        assert!(transfers.is_wanted(cx, &one.id()));
        assert_eq!(transfers.fetched(cx, peer(0), &one), Admission::Admitted);
    });
    bench.validate_transfer(&one.id(), TransferValidation::Added);
    assert_eq!(round(&bench.pool(&[one])), [7]);
}

#[test]
fn announces_returned_transfers_in_another_round() {
    let mut bench = Bench::with_peers(1);
    let (own, seen) = (transfer(1), transfer(2));
    bench.pool(&[Arc::clone(&own)]);
    bench.announce_transfer(0, &seen);
    bench.validate_transfer(&seen.id(), TransferValidation::Added);
    bench.pool(&[Arc::clone(&seen)]);
    bench.chain.grow(7, 1);
    assert_eq!(round(&bench.pool(&[Arc::clone(&own), seen])), [7, 7]);

    // To other nodes it is another announcement than the first.
    let mut other = Bench::with_peers(1);
    other.announce_transfer(0, &own);
    other.validate_transfer(&own.id(), TransferValidation::Added);
    assert_eq!(submitted(&other.announce_transfer(0, &own)), 0);
    assert_eq!(submitted(&other.announce_again(0, 7, &own)), 1);
}

#[test]
fn own_transfers_wait_for_first_peer() {
    let mut bench = Bench::with_peers(0);
    assert!(round(&bench.pool(&[transfer(1), transfer(2)])).is_empty());
    bench.chain.pool.remove(&transfer(1).id());
    bench.peers.insert(peer(0), Height::GENESIS);
    let outputs = bench.pass(250);
    assert_eq!(round(&outputs), [0], "one has left the mempool meanwhile");
}

#[test]
fn due_transfers_are_announced_again_in_another_round() {
    let mut bench = Bench::with_peers(1);
    let (one, gone) = (transfer(1), transfer(2));
    assert_eq!(round(&bench.pool(&[Arc::clone(&one), Arc::clone(&gone)])), [0, 0]);
    bench.chain.grow(7, 1);
    bench.chain.pool.remove(&gone.id());
    let due = vec![one.id(), gone.id()];
    let outputs = bench.step(|relay, cx, _| relay.transfers_due(cx, due));
    assert_eq!(round(&outputs), [7], "one has left the mempool meanwhile");
}

#[test]
fn due_transfers_do_not_fill_the_queue_without_peers() {
    let mut bench = Bench::with_peers(0);
    let many: Vec<_> = (0..3).map(transfer).collect();
    bench.pool(&many);
    bench.chain.grow(7, 1);
    for _ in 0..20_000 {
        let due = many.iter().map(|transfer| transfer.id()).collect();
        bench.step(|relay, cx, _| relay.transfers_due(cx, due));
    }
    bench.pool(&[transfer(3)]);
    bench.peers.insert(peer(0), Height::GENESIS);
    assert_eq!(round(&bench.pass(250)), [7, 7, 7, 0]);
}

#[test]
fn ignores_transfers_while_not_synced() {
    let mut bench = Bench::with_peers(1);
    bench.is_synced = false;
    let outputs = bench.announce_transfer(0, &transfer(1));
    assert_eq!((submitted(&outputs), validations(&outputs)), (0, vec![Ignore]));
}
