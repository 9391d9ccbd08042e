use super::*;
use chain::{Params, block};
use miner::stratum::AcceptedShare;
use std::net::Ipv4Addr;

fn worker(number: u32) -> Worker<Address> {
    Worker { payout_address: Address::from_bytes([9; 20]), name: number.to_string() }
}

fn named(name: &str) -> Worker<Address> {
    Worker { payout_address: Address::from_bytes([7; 20]), name: name.to_owned() }
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits((10 << 24) + number).into()
}

fn open(data: &Path) -> Workers {
    Workers::open(data, Params::dev().hrp())
}

fn share(difficulty: f64) -> AcceptedShare {
    let difficulty = Difficulty::new(difficulty).unwrap();
    AcceptedShare { difficulty, achieved: 3.0 * difficulty.get(), network: 4.0 }
}

fn accepted() -> ShareOutcome {
    ShareOutcome::Accepted(share(0.5))
}

fn chain() -> ChainState<'static> {
    ChainState { block_hashes: 1e12, settled: Height::GENESIS, is_best: Box::new(|_| true) }
}

fn list(workers: &Workers) -> Vec<WorkerInfo> {
    workers.list(false, &chain())
}

fn submission(worker: &Worker<Address>, from: IpAddr, outcome: ShareOutcome) -> Submission<'_> {
    let hash = block::Hash::from_bytes([1; 32]);
    let block = matches!(outcome, ShareOutcome::Block(_)).then_some(FoundBlock {
        hash,
        height: 7,
        reward: 50,
    });
    Submission { worker, interface: Interface::Stratum, from, outcome, block }
}

fn count(workers: &Workers, worker: &Worker<Address>, from: IpAddr, outcome: ShareOutcome) {
    workers.count(submission(worker, from, outcome));
}

// Q13
#[test]
fn saved_shares_survive_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let workers = open(folder.path());
    workers.join(&worker(1), address(1));
    for outcome in [
        accepted(),
        ShareOutcome::Block(share(2.0)),
        ShareOutcome::Stale,
        ShareOutcome::Duplicate,
        ShareOutcome::LowDifficulty,
        ShareOutcome::Invalid,
    ] {
        count(&workers, &worker(1), address(1), outcome);
        workers.save().unwrap();
    }
    count(&workers, &worker(1), address(1), accepted());
    assert_eq!(workers.totals(Interface::Stratum).accepted, 3);
    let workers = open(folder.path());
    assert_eq!(workers.totals(Interface::Stratum), Shares::default(), "totals start from zero");
    let info = list(&workers).remove(0);
    let Shares { accepted, stale, duplicate, low, invalid, blocks, .. } = info.shares;
    assert_eq!((accepted, stale, duplicate, low, invalid, blocks), (2, 1, 1, 1, 1, 1));
    assert!((info.shares.accepted_difficulty - 2.5).abs() < 1e-9);
    assert!(info.shares.last_share.is_some());
    assert_eq!((info.connections, info.connected_since, info.difficulty), (0, None, None));
    assert_eq!((info.best_share, info.earnings), (Some(6.0), 50));
    assert_eq!((info.expected_blocks, info.luck), (0.625, Some(1.6)));
    assert!(info.hashrate_1d > 0.0 && info.expected_seconds.unwrap() > 0.0);
    assert!(workers.list(true, &chain()).is_empty());
    let (_, hours) = workers.get(&worker(1), &chain()).unwrap();
    assert_eq!(hours.iter().map(|hour| hour.accepted + hour.rejected).sum::<u64>(), 6);
}

#[test]
fn rejected_share_of_a_forgotten_worker_does_not_bring_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let workers = open(folder.path());
    workers.join(&worker(1), address(1));
    workers.leave(&worker(1));
    count(&workers, &worker(1), address(1), ShareOutcome::Invalid);
    assert!(list(&workers).is_empty());
    workers.save().unwrap();
    assert!(list(&open(folder.path())).is_empty());
}

/// The shares of the workers with the address of `named`, by name.
fn shares(workers: &Workers) -> Vec<(String, u64)> {
    let address = named("").payout_address.encode(Params::dev().hrp());
    let all = list(workers).into_iter().map(|worker| worker.shares);
    let own = all.filter(|shares| shares.address == address);
    own.map(|shares| (shares.name, shares.accepted)).collect()
}

// Q15
#[test]
fn invented_names_cost_no_worker_its_shares() {
    let folder = tempfile::tempdir().unwrap();
    let (workers, real) = (open(folder.path()), address(1));
    // One that left, one that stays, and one that has found nothing yet.
    for (name, accepted_shares) in [("left", 2), ("stays", 1), ("new", 0)] {
        workers.join(&named(name), real);
        (0..accepted_shares).for_each(|_| count(&workers, &named(name), real, accepted()));
    }
    workers.leave(&named("left"));
    for number in 0..3 * 4_096 {
        let from = address(100 + number / 64);
        workers.join(&worker(number), from);
        count(&workers, &worker(number), from, ShareOutcome::Invalid);
    }
    assert_eq!(list(&workers).len(), MAX_WORKERS);
    workers.join(&named("left"), real);
    for name in ["left", "stays", "new", "later"] {
        count(&workers, &named(name), real, accepted());
    }
    let expected = [("later", 1), ("left", 3), ("new", 1), ("stays", 2)];
    assert_eq!(shares(&workers), expected.map(|(name, shares)| (name.to_owned(), shares)));
    assert_eq!(workers.totals(Interface::Stratum).accepted, 7);
    workers.save().unwrap();
    let workers = open(folder.path());
    assert_eq!(list(&workers).len(), 4, "workers without a share are not saved");
}

// Q15
#[test]
fn address_with_its_share_of_workers_replaces_only_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let workers = open(folder.path());
    for number in 0..4_096 {
        let from = address(number / 32);
        workers.join(&worker(number), from);
        count(&workers, &worker(number), from, accepted());
    }
    workers.save().unwrap();
    let greedy = address(200);
    for number in 10_000..10_200 {
        workers.join(&worker(number), greedy);
        count(&workers, &worker(number), greedy, accepted());
    }
    let counted = list(&workers);
    assert_eq!(counted.len(), MAX_WORKERS);
    let is_greedy = |info: &WorkerInfo| info.shares.name.parse::<u32>().unwrap() >= 10_000;
    let owned = counted.iter().filter(|info| is_greedy(info)).count();
    // As many as the others, whose last shares are as new.
    assert_eq!(owned, 32);
    assert_eq!(workers.totals(Interface::Stratum).accepted, 4_096 + 200);
    // The file has no more than these.
    workers.save().unwrap();
    let ids = |infos: Vec<WorkerInfo>| infos.into_iter().map(|info| info.id).collect::<Vec<_>>();
    assert_eq!(ids(list(&open(folder.path()))), ids(counted));
}

// Q15
#[test]
fn invented_payees_of_templates_are_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let workers = open(folder.path());
    for number in 0..1_000 {
        workers.request(&worker(number), address(1), Interface::Rest, 4.0);
    }
    assert_eq!(list(&workers).len(), MAX_OWNED);
    workers.request(&named("rig"), address(2), Interface::JsonRpc, 4.0);
    let info = list(&workers).into_iter().find(|info| info.shares.name == "rig").unwrap();
    assert_eq!((info.interface, info.difficulty), (Interface::JsonRpc, Some(4.0)));
    assert_eq!((info.best_share, info.luck, info.expected_seconds), (None, None, None));
    for entry in workers.lock().entries.values_mut() {
        entry.account.last_seen -= RECENT_SECONDS;
    }
    count(&workers, &named("rig"), address(2), accepted());
    workers.maintain(&chain());
    assert_eq!(shares(&workers), [("rig".to_owned(), 1)]);
    assert_eq!(list(&workers).len(), 1);
}

#[test]
fn requests_of_strangers_do_not_touch_a_worker_of_stratum() {
    let folder = tempfile::tempdir().unwrap();
    let workers = open(folder.path());
    workers.join(&named("rig"), address(1));
    workers.request(&named("rig"), address(2), Interface::Rest, 4.0);
    count(&workers, &named("rig"), address(1), accepted());
    workers.leave(&named("rig"));
    let rig = named("rig");
    let stale = submission(&rig, address(2), ShareOutcome::Stale);
    workers.count(Submission { interface: Interface::Rest, ..stale });
    workers.lock().entries.get_mut(&named("rig")).unwrap().account.last_seen = 7;
    workers.request(&named("rig"), address(2), Interface::Rest, 4.0);
    let info = list(&workers).remove(0);
    assert_eq!((info.interface, info.last_seen, info.difficulty), (Interface::Stratum, 7, None));
    // Its own block moves it to another interface.
    let interface = Interface::JsonRpc;
    let block = submission(&rig, address(1), ShareOutcome::Block(share(4.0)));
    workers.count(Submission { interface, ..block });
    workers.request(&named("rig"), address(1), Interface::Rest, 4.0);
    let info = list(&workers).remove(0);
    assert_eq!((info.interface, info.difficulty), (Interface::Rest, Some(4.0)));
}

#[test]
fn top_workers_have_the_highest_hash_rates() {
    let folder = tempfile::tempdir().unwrap();
    let workers = open(folder.path());
    for (name, shares) in [("a", 1), ("b", 3), ("c", 2), ("d", 0)] {
        workers.join(&named(name), address(1));
        (0..shares).for_each(|_| count(&workers, &named(name), address(1), accepted()));
    }
    workers.leave(&named("c"));
    let top = |count, connected_only| -> Vec<String> {
        let top = workers.top(count, connected_only, &chain()).into_iter();
        top.map(|info| info.shares.name).collect()
    };
    assert_eq!(
        (top(2, false), top(9, true)),
        (vec!["b".into(), "c".into()], vec!["b".into(), "a".into(), "d".into()])
    );
    let (connected, connections, rate) = workers.connected();
    assert_eq!((connected, connections), (3, 3));
    assert!(rate > 0.0);
}

#[test]
fn silence_is_reported_once_and_ends_with_a_share() {
    let folder = tempfile::tempdir().unwrap();
    let mut workers = open(folder.path());
    for name in ["a", "b", "c"] {
        workers.join(&named(name), address(1));
        count(&workers, &named(name), address(1), accepted());
    }
    let pass = |workers: &mut Workers, names: &[&str], seconds: u32| {
        workers.start = workers.start.saturating_sub(seconds);
        for name in names {
            let mut state = workers.lock();
            let account = &mut state.entries.get_mut(&named(name)).unwrap().account;
            account.interval = Some(5.0);
            account.last_seen -= seconds;
        }
    };
    let events = |workers: &mut Workers, limit| -> Vec<(bool, String)> {
        let events = workers.update_silence(limit).into_iter();
        events.map(|(is_silent, event)| (is_silent, event.name)).collect()
    };
    pass(&mut workers, &["a", "b", "c"], 200);
    assert_eq!(events(&mut workers, 9), []);
    pass(&mut workers, &["a", "b"], 200);
    let silent = |name: &str| (true, name.to_owned());
    assert_eq!(events(&mut workers, 1), [silent("a")]);
    assert_eq!(events(&mut workers, 9), [silent("b")]);
    assert_eq!(events(&mut workers, 9), []);
    assert_eq!(workers.silent_count(), 2);
    count(&workers, &named("b"), address(1), ShareOutcome::Stale);
    assert_eq!(events(&mut workers, 9), [], "a rejected share is no sign of work");
    count(&workers, &named("b"), address(1), accepted());
    assert_eq!(events(&mut workers, 9), [(false, "b".to_owned())]);
    // After a restart it is neither reported again, nor active.
    workers.save().unwrap();
    let mut workers = open(folder.path());
    pass(&mut workers, &["a"], 1_000);
    assert_eq!(events(&mut workers, 9), []);
    assert_eq!(workers.silent_count(), 1);
    count(&workers, &named("a"), address(1), accepted());
    assert_eq!(events(&mut workers, 9), [(false, "a".to_owned())]);
}
