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
fn a_transfer_is_forwarded_only_if_the_mempool_took_it() {
    for (validation, acceptance, blamed) in [
        (TransferValidation::Added, Accept, false),
        (TransferValidation::Known, Ignore, false),
        (TransferValidation::TooFar, Ignore, false),
        (TransferValidation::Refused, Ignore, false),
        (TransferValidation::Failed, Ignore, false),
        (TransferValidation::Invalid, Reject, true),
    ] {
        let mut bench = Bench::with_peers(2);
        let one = transfer(1);
        let outputs = bench.announce_transfer(1, &one);
        assert_eq!((taken(&outputs), judgements(&outputs)), (1, vec![]));
        assert_eq!(judgements(&bench.announce_transfer(0, &one)), [Ignore], "one at a time");
        let outputs = bench.judge_transfer(&one.id(), validation);
        assert_eq!(judgements(&outputs), [acceptance], "{validation:?}");
        let blame = if blamed { vec![(peer(1), Misbehavior::BadAnnouncement)] } else { vec![] };
        assert_eq!(reports(&outputs), blame, "{validation:?}");
        assert_eq!(taken(&bench.announce_transfer(0, &one)), 0, "judged already");
    }
}

#[test]
fn a_transfer_that_is_not_judged_in_time_is_given_up() {
    let mut bench = Bench::with_peers(1);
    let one = transfer(1);
    bench.announce_transfer(0, &one);
    assert!(bench.pass(11_900).is_empty());
    assert_eq!(judgements(&bench.pass(100)), [Ignore]);
    assert_eq!(judgements(&bench.judge_transfer(&one.id(), TransferValidation::Added)), []);
}

#[test]
fn transfers_of_this_nodes_users_are_announced_and_those_of_others_are_not() {
    let mut bench = Bench::with_peers(1);
    let (own, seen) = (transfer(1), transfer(2));
    assert_eq!(round(&bench.pool(&[Arc::clone(&own)])), [0]);
    bench.announce_transfer(0, &seen);
    assert!(round(&bench.pool(&[Arc::clone(&seen)])).is_empty());
    bench.judge_transfer(&seen.id(), TransferValidation::Added);
    bench.chain.pool = Pool::default();
    assert_eq!(taken(&bench.announce_transfer(0, &own)), 1, "it is gone and may come back");
}

// N33: they waited in a part of the network that was apart, and nobody else here has them.
#[test]
fn transfers_out_of_another_mempool_are_announced_in_the_first_round() {
    let mut bench = Bench::with_peers(2);
    let fetched = transfer(1);
    bench.step(|_, cx, transfers, _| {
        assert_eq!(transfers.fetched(cx, peer(0), &fetched), Admission::Yes);
    });
    bench.judge_transfer(&fetched.id(), TransferValidation::Added);
    assert_eq!(round(&bench.pool(&[Arc::clone(&fetched)])), [0]);
    bench.chain.grow(7, 1);
    assert_eq!(round(&bench.pool(&[fetched])), [7]);
}

// Whoever hears of it only through this node would not otherwise: the same bytes come but once.
#[test]
fn a_transfer_that_is_announced_while_it_is_fetched_is_forwarded() {
    let mut bench = Bench::with_peers(2);
    let one = transfer(1);
    bench.step(|_, cx, transfers, _| {
        assert_eq!(transfers.fetched(cx, peer(0), &one), Admission::Yes);
    });
    let outputs = bench.announce_transfer(1, &one);
    assert!(outputs.is_empty(), "it waits for its acceptance: {outputs:?}");
    assert_eq!(judgements(&bench.announce_transfer(0, &one)), [Ignore], "one at a time");
    assert_eq!(judgements(&bench.judge_transfer(&one.id(), TransferValidation::Added)), [Accept]);
    assert!(round(&bench.pool(&[one])).is_empty(), "and not announced as well");
}

// Its announcement in the first round was not forwarded, and the same bytes never are again.
#[test]
fn a_transfer_that_came_too_early_is_announced_in_another_round_once_it_was_fetched() {
    let mut bench = Bench::with_peers(1);
    bench.chain.grow(7, 1);
    let one = transfer(1);
    bench.announce_transfer(0, &one);
    bench.judge_transfer(&one.id(), TransferValidation::TooFar);
    bench.step(|_, cx, transfers, _| {
        assert!(transfers.wants(cx, &one.id()));
        assert_eq!(transfers.fetched(cx, peer(0), &one), Admission::Yes);
    });
    bench.judge_transfer(&one.id(), TransferValidation::Added);
    assert_eq!(round(&bench.pool(&[one])), [7]);
}

#[test]
fn transfers_that_a_reorganisation_returned_are_announced_again_in_a_new_round() {
    let mut bench = Bench::with_peers(1);
    let (own, seen) = (transfer(1), transfer(2));
    bench.pool(&[Arc::clone(&own)]);
    bench.announce_transfer(0, &seen);
    bench.judge_transfer(&seen.id(), TransferValidation::Added);
    bench.pool(&[Arc::clone(&seen)]);
    bench.chain.grow(7, 1);
    assert_eq!(round(&bench.pool(&[Arc::clone(&own), seen])), [7, 7]);

    // Elsewhere the same announcement is another one than the first.
    let mut other = Bench::with_peers(1);
    other.announce_transfer(0, &own);
    other.judge_transfer(&own.id(), TransferValidation::Added);
    assert_eq!(taken(&other.announce_transfer(0, &own)), 0);
    assert_eq!(taken(&other.announce_again(0, 7, &own)), 1);
}

#[test]
fn transfers_wait_until_somebody_hears_them() {
    let mut bench = Bench::with_peers(0);
    assert!(round(&bench.pool(&[transfer(1), transfer(2)])).is_empty());
    bench.chain.pool.remove(&transfer(1).id());
    bench.peers.insert(peer(0), Height::GENESIS);
    let outputs = bench.pass(250);
    assert_eq!(round(&outputs), [0], "one has left the mempool meanwhile");
}

#[test]
fn a_node_that_is_not_synced_takes_no_transfers() {
    let mut bench = Bench::with_peers(1);
    bench.is_synced = false;
    let outputs = bench.announce_transfer(0, &transfer(1));
    assert_eq!((taken(&outputs), judgements(&outputs)), (0, vec![Ignore]));
}
