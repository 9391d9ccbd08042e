//! Faults of the journal of the mempool: no acknowledged transfer is lost, and none comes back that
//! was refused.

use super::*;
use chain::Transfer;

const JOURNAL: &str = "journal/mempool/00000.log";

fn transfer(nonce: u64) -> Transfer {
    pay(&dev_key(0), nonce, test_address(3), 5)
}

/// Submits a transfer: the status and the code of the problem. `None` if the node does not respond.
fn submit_transfer(node: &Node, nonce: u64) -> Option<(u16, Value)> {
    let address = node.url().strip_prefix("http://").unwrap().to_owned();
    let body = hex::encode(transfer(nonce).encode());
    let headers = ["Content-Type: text/plain"];
    let response = request(&address, "POST", "/v1/transactions", &headers, body.as_bytes()).ok()?;
    Some((response.status, response.json()["code"].clone()))
}

/// Arms a fault of the journal's next such call.
fn arm(run: &Run, kind: &str, error: i32) -> Fault {
    let (phase, call) = (Phase::Connect, format!("{kind} {JOURNAL}"));
    let fault = Fault { phase, call, skip: 0, error };
    run.control.arm(&fault);
    fault
}

/// Asserts that the node has ended with an error that people can read.
fn assert_ends(mut node: Node, fault: &Fault) {
    let status = eventually(&format!("the end after {fault:?}"), || node.ended());
    assert_eq!(status.code(), Some(1), "{fault:?}: {}", node.log());
    assert_named(&node.log(), fault);
    assert!(node.log().contains("journal/mempool"), "{fault:?}: {}", node.log());
}

/// The nonces up to 5 whose transfers are in the mempool after the next start. The first block that
/// the chains have in common with it confirms the one with nonce 0.
fn pending_after_restart(run: &Run) -> Vec<u64> {
    let node = Node::start(&run.data(), &[]);
    let is_there = |nonce: &u64| {
        let path = format!("/v1/transactions/{}", transfer(*nonce).id());
        node.get(&path).status == 200
    };
    (1..5).filter(is_there).collect()
}

// T09
#[test]
fn transfer_that_a_full_disk_refused_does_not_come_back() {
    if !is_available() {
        return;
    }
    let chains = Chains::new();
    for error in [ENOSPC, EDQUOT] {
        let run = Run::new(&chains);
        let node = run.start().unwrap();
        assert_eq!(submit_transfer(&node, 1).unwrap().0, 201);
        arm(&run, "write", error);
        assert_eq!(submit_transfer(&node, 2), Some((503, json!("disk-full"))));
        assert!(run.control.has_failed());
        node.kill();
        assert_eq!(pending_after_restart(&run), [1]);
    }
    // With room again the same node goes on.
    let run = Run::new(&chains);
    let node = run.start().unwrap();
    arm(&run, "write", ENOSPC);
    assert_eq!(submit_transfer(&node, 1), Some((503, json!("disk-full"))));
    for nonce in [1, 2, 3] {
        assert_eq!(submit_transfer(&node, nonce).unwrap().0, 201);
    }
    node.kill();
    assert_eq!(pending_after_restart(&run), [1, 2, 3]);
}

// T10
#[test]
fn failed_write_or_sync_of_the_mempool_journal_ends_the_node() {
    if !is_available() {
        return;
    }
    let chains = Chains::new();
    let run = Run::new(&chains);
    let node = run.start().unwrap();
    assert_eq!(submit_transfer(&node, 1).unwrap().0, 201);
    let fault = arm(&run, "write", EIO);
    let answer = submit_transfer(&node, 2);
    assert!(answer.as_ref().is_none_or(|(status, _)| *status >= 500), "{answer:?}");
    assert_ends(node, &fault);
    assert_eq!(pending_after_restart(&run), [1]);
    for error in [EIO, ENOSPC, EDQUOT] {
        let run = Run::new(&chains);
        let node = run.start().unwrap();
        let fault = arm(&run, "fdatasync", error);
        // Only a power failure can lose it now.
        assert_eq!(submit_transfer(&node, 1).unwrap().0, 201);
        assert_ends(node, &fault);
        assert_eq!(pending_after_restart(&run), [1], "{fault:?}");
    }
}
