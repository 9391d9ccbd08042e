//! The fixture against real nodes of the program in `CHAIN_BIN`, or of the build of this test.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use chain_testing::{Builder, Error, Testnet};
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A builder with the program that was built beside this test, unless `CHAIN_BIN` names another.
fn builder(nodes: usize) -> Builder {
    if std::env::var_os("CHAIN_BIN").is_some() {
        return Builder::new(nodes);
    }
    let test = std::env::current_exe().unwrap();
    let program: PathBuf = test.parent().unwrap().parent().unwrap().join("chain");
    assert!(program.exists(), "build it with `cargo build --workspace`, or set CHAIN_BIN");
    Builder::new(nodes).program(program)
}

fn testnet(nodes: usize) -> Testnet {
    builder(nodes).start().unwrap()
}

#[test]
fn signed_transfer_is_accepted_and_double_spent_by_a_reorganisation() {
    let testnet = testnet(3);
    let alice = testnet.account(0);
    let [shop, thief] = [1, 2].map(|number| testnet.account(number).address);
    let before = testnet.node(3).balance(&shop).unwrap();
    let nonce = testnet.node(1).next_nonce(&alice.address).unwrap();
    let payment = alice.sign(&shop, 500, nonce).unwrap();
    testnet.node(1).submit(&payment).unwrap();
    assert_eq!(testnet.node(1).transaction(&payment.id).unwrap().status, "pending");
    testnet.mine(2).unwrap();
    let confirmed = testnet.node(3).wait_for_transaction(&payment.id, 2, LIMIT).unwrap();
    assert_eq!((&*confirmed.status, confirmed.confirmations), ("confirmed", 2));
    assert_eq!(testnet.node(3).balance(&shop).unwrap(), before + 500);

    let theft = alice.sign(&thief, 500, nonce).unwrap();
    let done = testnet.reorg(2, std::slice::from_ref(&theft)).unwrap();
    assert_eq!((done.fork_height, done.depth, done.connected), (0, 2, 3));
    assert_eq!(done.replaced[&payment.id], theft.id);
    for number in 1..=3 {
        let node = testnet.node(number);
        assert_eq!(node.wait_for_transaction(&theft.id, 3, LIMIT).unwrap().confirmations, 3);
        let error = node.wait_for_transaction(&payment.id, 1, LIMIT).unwrap_err();
        assert!(matches!(error, Error::Dropped { reason, .. } if reason == "nonce-used"));
        assert_eq!(node.balance(&shop).unwrap(), before);
        assert_eq!(node.block("tip").unwrap().hash, done.new_tip);
    }
    let directory = testnet.directory().to_owned();
    drop(testnet);
    assert!(!directory.exists());
}

#[test]
fn wait_ends_with_the_block_that_a_transfer_causes() {
    let testnet = builder(2).option(["--automine"]).start().unwrap();
    let (tip, node) = (testnet.node(2).block("tip").unwrap(), testnet.node(2).clone());
    let waiting = std::thread::spawn(move || node.wait_for_tip(&tip.hash, LIMIT));
    let payment = testnet.account(3).sign(&testnet.account(4).address, 7, 0).unwrap();
    // The other node does not know it yet.
    let (id, other) = (payment.id.clone(), testnet.node(2).clone());
    let confirmed = std::thread::spawn(move || other.wait_for_transaction(&id, 1, LIMIT));
    testnet.node(1).submit(&payment).unwrap();
    let found = waiting.join().unwrap().unwrap();
    assert_eq!(confirmed.join().unwrap().unwrap().confirmations, 1);
    assert_eq!(found.height, tip.height + 1);
    assert!(found.transactions.contains(&payment.id));
    let late = testnet.node(1).wait_for_height(1_000, Duration::ZERO).unwrap_err();
    assert_eq!(late.to_string(), "node 1 is at height 1");
}

#[test]
fn errors_have_codes_and_causes() {
    let testnet = testnet(1);
    let account = testnet.account(5);
    let payment = account.sign(&account.address, u64::MAX / 4, 0).unwrap();
    let error = testnet.node(1).submit(&payment).unwrap_err();
    assert!(matches!(&error, Error::Api { status: 422, code, .. } if !code.is_empty()), "{error}");
    let error = testnet.command(&["kill", "9"]).unwrap_err().to_string();
    assert!(error.contains("no node `9`"), "{error}");
    assert!(matches!(account.sign("tch1q", 1, 0), Err(Error::Address(_))));
    let missing = Builder::new(1).program("/nonexistent/chain").start().unwrap_err();
    assert!(missing.to_string().contains("set CHAIN_BIN"), "{missing}");
}
