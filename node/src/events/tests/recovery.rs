//! A replay of all events yields the transfers of the mempool, whatever happened before a restart.

use super::*;
use std::collections::BTreeSet;

impl Chain {
    /// Opens the ledger again as after a crash, after a change of its directory.
    fn restart(&mut self, change: impl FnOnce(&Path)) {
        // Another ledger takes the place of the one that is dropped.
        let other = tempfile::tempdir().unwrap();
        self.writer = Chain::open(other.path());
        change(self.folder.path());
        self.writer = Chain::open(self.folder.path());
    }

    fn pending(&self) -> BTreeSet<String> {
        let reader = self.writer.reader();
        let view = reader.view();
        view.mempool().selection().map(|transfer| transfer.id().to_string()).collect()
    }
}

impl World {
    async fn restart(&mut self, change: impl FnOnce(&Path)) {
        if self.log.is_some() {
            self.stop().await;
        }
        self.chain.restart(change);
        self.start();
    }

    /// Returns the transaction events from `since` on, and asserts that all events together yield
    /// the pending transfers.
    fn assert_agrees(&self, since: u64) -> Vec<(&'static str, String, Value)> {
        let mut pending = BTreeSet::new();
        let mut events = Vec::new();
        let before = log::read(&self.events().0.index).oldest() - 1;
        for event in self.logged(before, &Filter::default()) {
            let data = data(&event);
            let id = data["id"].as_str().unwrap_or_default().to_owned();
            match event.name() {
                "transaction.accepted" => drop(pending.insert(id.clone())),
                "transaction.dropped" | "transaction.confirmed" => drop(pending.remove(&id)),
                _ => continue,
            }
            if event.number > since {
                events.push((event.name(), id, data["reason"].clone()));
            }
        }
        assert_eq!(pending, self.chain.pending());
        events
    }

    fn last(&self) -> u64 {
        log::read(&self.events().0.index).next() - 1
    }

    fn publish(&self, accepted: &[Payment]) {
        self.events().publisher().publish_mempool(accepted, &[]);
    }
}

// Killed between the journal of the mempool and the event log.
#[tokio::test]
async fn start_logs_accepted_transfers_whose_events_were_lost() {
    let mut world = World::new().await;
    let first = world.chain.pay(0, 7);
    world.publish(&first);
    let ids: Vec<String> =
        (1..4).map(|nonce| world.chain.pay(nonce, 7)[0].id.to_string()).collect();
    world.restart(|_| ()).await;
    let expected: Vec<_> =
        ids.into_iter().map(|id| ("transaction.accepted", id, Value::Null)).collect();
    assert_eq!(world.assert_agrees(1), expected);
    let last = world.last();
    world.restart(|_| ()).await;
    assert_eq!(world.last(), last, "a restart logs nothing again");
    assert_eq!(world.assert_agrees(last), []);
}

#[tokio::test]
async fn start_logs_transfers_that_a_lost_journal_had() {
    let mut world = World::new().await;
    let paid: Vec<Payment> = (0..3).flat_map(|nonce| world.chain.pay(nonce, 7)).collect();
    world.publish(&paid);
    world.restart(|data| std::fs::remove_dir_all(data.join("journal/mempool")).unwrap()).await;
    let lost = |payment: &Payment| ("transaction.dropped", payment.id.to_string(), json!("lost"));
    assert_eq!(world.assert_agrees(3), paid.iter().map(lost).collect::<Vec<_>>());
    let last = world.last();
    world.restart(|_| ()).await;
    assert_eq!(world.last(), last);
}

#[tokio::test]
async fn start_logs_why_a_transfer_was_dropped() {
    let mut world = World::new().await;
    let replaced = world.chain.pay(0, 7);
    world.publish(&replaced);
    let other = world.chain.pay_with_fee(0, 7, 5_000);
    world.restart(|_| ()).await;
    let expected = [
        ("transaction.accepted", other[0].id.to_string(), Value::Null),
        ("transaction.dropped", replaced[0].id.to_string(), json!("replaced")),
    ];
    assert_eq!(world.assert_agrees(1), expected);
}

#[tokio::test]
async fn confirmed_transfers_are_not_logged_as_dropped() {
    let mut world = World::new().await;
    let paid: Vec<Payment> = (0..3).flat_map(|nonce| world.chain.pay(nonce, 7)).collect();
    world.publish(&paid);
    // The journal that a power failure leaves may be older than the chain.
    let journal = world.chain.folder.path().join("journal/mempool/00000.log");
    let old = std::fs::read(&journal).unwrap();
    world.mine();
    world.restart(|_| std::fs::write(journal, old).unwrap()).await;
    assert_eq!(world.chain.pending(), BTreeSet::new());
    let names: Vec<_> = world.assert_agrees(3).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["transaction.confirmed"; 3]);
}

// The block of the transfer left the best chain, and its return to the mempool was not logged.
#[tokio::test]
async fn start_logs_transfers_that_a_reorganisation_returned() {
    let mut world = World::new().await;
    let paid = world.chain.pay(0, 7);
    world.publish(&paid);
    world.mine();
    world.stop().await;
    let mut rival = Chain::new(2);
    for block in [rival.mine(), rival.mine()] {
        world.chain.submit(&block);
    }
    world.restart(|_| ()).await;
    let accepted = ("transaction.accepted", paid[0].id.to_string(), Value::Null);
    assert_eq!(world.assert_agrees(3), [accepted]);
    let last = world.last();
    world.restart(|_| ()).await;
    assert_eq!(world.last(), last);
}

#[tokio::test]
async fn new_event_log_begins_with_the_mempool() {
    let mut world = World::new().await;
    let paid: Vec<Payment> = (0..3).flat_map(|nonce| world.chain.pay(nonce, 7)).collect();
    world.publish(&paid);
    world
        .restart(|data| {
            std::fs::write(data.join("events/00000/00000.log"), [7; 100]).unwrap();
        })
        .await;
    let accepted =
        |payment: &Payment| ("transaction.accepted", payment.id.to_string(), Value::Null);
    assert_eq!(world.assert_agrees(0), paid.iter().map(accepted).collect::<Vec<_>>());
}
