use super::*;
use chain::signature::SecretKey;
use chain::tx::{Memo, Payment};
use chain::{Address, Params};

fn transfer(nonce: u64, amount: u64) -> Transfer {
    let recipient = Address::from_bytes([7; 20]);
    let payment = Payment { nonce, recipient, amount, fee: 200, memo: Memo::default() };
    Transfer::sign(payment, &SecretKey::from_seed([1; 32]), Params::dev().genesis_hash())
}

fn node(confirmed: u64, next: u64) -> NodeNonces {
    NodeNonces { confirmed, next }
}

/// Signs the next transfer of an amount: its id.
fn sign(sent: &mut SentTransfers, node: NodeNonces, amount: u64) -> Id {
    let choice = sent.next(node, None).unwrap();
    let transfer = transfer(choice.nonce, amount);
    let id = transfer.id();
    sent.record(transfer, choice, false);
    id
}

fn send(sent: &mut SentTransfers, node: NodeNonces, amount: u64) -> Id {
    let id = sign(sent, node, amount);
    sent.accept(&id, SentStatus::Accepted);
    id
}

fn nonce(sent: &SentTransfers, node: NodeNonces, wanted: Option<u64>) -> Result<u64, NonceError> {
    sent.next(node, wanted).map(|choice| choice.nonce)
}

#[test]
fn nonces_follow_those_in_flight_whatever_the_node_knows_of_them() {
    let mut sent = SentTransfers::default();
    for amount in 1..=3 {
        send(&mut sent, node(5, 5), amount);
    }
    assert_eq!(nonce(&sent, node(5, 5), None), Ok(8));
    assert_eq!(nonce(&sent, node(5, 9), None), Ok(9), "another wallet has the key, too");
    let held: Vec<u64> = sent.holders(5..8).iter().map(|sent| sent.transfer.nonce).collect();
    assert_eq!(held, [5, 6, 7], "what the node lacks is submitted again");
    sent.forget_confirmed(node(7, 8));
    assert_eq!(sent.holders(0..100).len(), 1);
}

#[test]
fn transfer_without_a_definite_answer_needs_a_decision() {
    let mut sent = SentTransfers::default();
    let id = sign(&mut sent, node(0, 0), 1);
    // Whatever the node reports by then.
    for now in [node(0, 0), node(0, 1), node(1, 1), node(5, 9)] {
        let undecided = sent.undecided(now).unwrap();
        assert_eq!(undecided.transfer.id(), id);
        sent.forget_confirmed(now);
    }
    sent.accept(&id, SentStatus::Awaited);
    assert_eq!(sent.undecided(node(0, 1)), None);
    assert_eq!(sent.awaited().collect::<Vec<_>>(), [id]);
    // The command that waited has ended early.
    sent.reopen(&id);
    assert!(sent.undecided(node(1, 1)).is_some());
    sent.accept(&id, SentStatus::Accepted);
    sent.forget_confirmed(node(1, 1));
    assert_eq!(sent.get(&id), None);
}

#[test]
fn nonce_of_a_refused_transfer_is_used_again() {
    let mut sent = SentTransfers::default();
    send(&mut sent, node(0, 0), 1);
    let refused = sign(&mut sent, node(0, 1), 2);
    sent.refuse(&refused);
    assert_eq!(sent.undecided(node(0, 1)), None);
    // A node that refuses a transfer and then reports its nonce as used may have taken it.
    assert_eq!(sent.undecided(node(0, 2)).unwrap().transfer.id(), refused);
    let next = sign(&mut sent, node(0, 1), 3);
    assert_eq!(sent.get(&next).unwrap().transfer.nonce, 1);
    assert_eq!(sent.get(&refused), None, "only one of the two can be in a block");
}

#[test]
fn nonces_below_or_far_above_the_last_one_are_refused() {
    let mut sent = SentTransfers::default();
    let first = nonce(&sent, node(0, 1_000), None);
    assert_eq!(first, Ok(1_000), "a wallet that was used elsewhere");
    for amount in 1..=3 {
        send(&mut sent, node(0, 0), amount);
    }
    for used in 0..3 {
        let error = NonceError::Used { nonce: used, next: 3 };
        assert_eq!(nonce(&sent, node(0, 3), Some(used)), Err(error));
        // Whatever the node reports.
        assert_eq!(nonce(&sent, node(0, 0), Some(used)), Err(error));
    }
    assert_eq!(nonce(&sent, node(0, 3), Some(2 + 63)), Ok(65));
    let far = NonceError::TooFar { nonce: 66, last: 2 };
    assert_eq!(nonce(&sent, node(0, 3), Some(66)), Err(far));
    assert_eq!(nonce(&sent, node(0, 66), None), Err(far));
    assert_eq!(nonce(&sent, node(0, 66), Some(66)), Ok(66), "user and node agree");
    assert!(nonce(&SentTransfers::default(), node(0, 0), Some(64)).is_err());
    assert_eq!(nonce(&sent, node(0, u64::MAX), Some(u64::MAX)), Ok(u64::MAX));
}

#[test]
fn nonce_ahead_leaves_those_before_it_free() {
    let mut sent = SentTransfers::default();
    let choice = sent.next(node(0, 0), Some(2)).unwrap();
    sent.record(transfer(2, 1), choice, false);
    sent.accept(&transfer(2, 1).id(), SentStatus::Accepted);
    for expected in [0, 1, 3] {
        let id = send(&mut sent, node(0, 0), 10);
        assert_eq!(sent.get(&id).unwrap().transfer.nonce, expected);
    }
}

#[test]
fn node_that_is_behind_gets_no_old_nonce() {
    let mut sent = SentTransfers::default();
    for amount in 0..3 {
        send(&mut sent, node(0, amount), amount + 1);
    }
    sent.forget_confirmed(node(3, 3));
    let missing = NonceError::Missing { missing: 1, last: 2 };
    assert_eq!(nonce(&sent, node(1, 1), None), Err(missing));
    // The user says that the chain was started again.
    let again = sent.replacing(node(0, 0), 0, false).unwrap();
    sent.record(transfer(0, 9), again, true);
    assert_eq!(nonce(&sent, node(0, 0), None), Ok(1));
}

#[test]
fn replacement_takes_the_place_once_it_is_accepted() {
    let mut sent = SentTransfers::default();
    let old = send(&mut sent, node(0, 0), 1);
    send(&mut sent, node(0, 1), 2);
    let replace = |sent: &mut SentTransfers, amount| {
        let choice = sent.replacing(node(0, 2), 0, true).unwrap();
        sent.record(transfer(0, amount), choice, true);
        transfer(0, amount).id()
    };
    let cheap = replace(&mut sent, 3);
    assert_eq!(sent.undecided(node(0, 2)).unwrap().transfer.id(), cheap);
    sent.refuse(&cheap);
    assert_eq!((sent.undecided(node(0, 2)), sent.holder(0).unwrap().transfer.id()), (None, old));
    let better = replace(&mut sent, 4);
    sent.accept(&better, SentStatus::Accepted);
    assert_eq!(sent.holder(0).unwrap().transfer.id(), better);
    assert_eq!((sent.get(&old), nonce(&sent, node(0, 2), None)), (None, Ok(2)));
    assert_eq!(
        sent.replacing(node(0, 2), 2, false),
        Err(NonceError::NothingToReplace { nonce: 2 })
    );
    assert_eq!(sent.replacing(node(1, 2), 0, true), Err(NonceError::Confirmed { nonce: 0 }));
}
