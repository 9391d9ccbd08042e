//! The accounts of many workers over a kill of the node.

use super::miner::{Miner, expect_accepted, expect_error};
use super::{STRATUM, network, test_folder, workers};
use crate::harness::{Node, eventually};
use crate::test_chain::{test_address, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// Most workers of a connection.
const NAMES: usize = 16;

/// What a worker's own miner counted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counted {
    accepted: u64,
    difficulty: f64,
    duplicate: u64,
    best: f64,
}

/// The accounts of the node by name.
fn accounts(node: &Node) -> BTreeMap<String, Counted> {
    let counted = |worker: Value| {
        let number = |name: &str| worker[name].as_u64().unwrap();
        let counted = Counted {
            accepted: number("accepted"),
            difficulty: worker["accepted_difficulty"].as_f64().unwrap(),
            duplicate: number("duplicate"),
            best: worker["best_share"].as_f64().unwrap_or_default(),
        };
        assert_eq!(number("stale") + number("low") + number("invalid"), 0, "{worker}");
        (worker["name"].as_str().unwrap().to_owned(), counted)
    };
    workers(node).into_iter().map(counted).collect()
}

/// The difficulty of a hash in display order.
fn difficulty_of(hash: &str) -> f64 {
    let value =
        hex::decode(hash).unwrap().iter().fold(0.0, |sum, byte| sum * 256.0 + f64::from(*byte));
    65_535.0 * 2.0_f64.powi(208) / value
}

#[track_caller]
fn assert_equal(node: &BTreeMap<String, Counted>, own: &BTreeMap<String, Counted>) {
    assert_eq!(node.len(), own.len());
    for (name, own) in own {
        let account = node[name];
        assert_eq!((account.accepted, account.duplicate), (own.accepted, own.duplicate), "{name}");
        assert!(
            (account.difficulty / own.difficulty - 1.0).abs() < 1e-9,
            "{name}: {account:?} {own:?}"
        );
        assert!((account.best / own.best - 1.0).abs() < 1e-9, "{name}: {account:?} {own:?}");
    }
}

/// The miners of a farm: connections with the names of their workers, the nonce that each searches
/// next, and what they counted.
struct Farm {
    address: String,
    miners: Vec<(Miner, Vec<String>, u32)>,
    counted: BTreeMap<String, Counted>,
}

impl Farm {
    fn connect(node: &Node, address: &str, connections: usize) -> Farm {
        let url = node.node_file()["stratum"].clone();
        let miners = (0..connections).map(|connection| {
            let names: Vec<_> = (0..NAMES).map(|name| format!("{connection}-{name}")).collect();
            let mut miner = Miner::start(&url, &format!("{address}.{}", names[0]), 1e-9);
            for name in &names[1..] {
                let user = json!([format!("{address}.{name}"), "x"]);
                expect_accepted(&miner.request("mining.authorize", &user));
            }
            (miner, names, 0)
        });
        Farm { address: address.to_owned(), miners: miners.collect(), counted: BTreeMap::new() }
    }

    /// Each worker submits 1 to 3 shares, and one of them twice.
    fn mine(&mut self) {
        for (miner, names, nonce) in &mut self.miners {
            for (number, name) in names.iter().enumerate() {
                let user = format!("{}.{name}", self.address);
                let own = self.counted.entry(name.clone()).or_default();
                for round in 0..=number % 3 {
                    let share = miner.find_share(*nonce);
                    *nonce = share.nonce + 1;
                    // That of the share's job: another one may arrive before the reply.
                    let difficulty = miner.difficulty;
                    expect_accepted(&miner.submit(&user, &share));
                    own.accepted += 1;
                    own.difficulty += difficulty;
                    own.best = own.best.max(difficulty_of(&share.hash));
                    if round == 0 {
                        expect_error(&miner.submit(&user, &share), 22);
                        own.duplicate += 1;
                    }
                }
            }
        }
    }
}

// Q13
#[test]
fn shares_of_two_thousand_workers_survive_a_kill() {
    let connections = 2_000 / NAMES;
    let (folder, data) = test_folder();
    let network = network(folder.path(), "1e00ffff");
    let start = || Node::start(&data, &[&STRATUM[..], &["--network", &network]].concat());
    let (node, address) = (start(), text(test_address(1)));
    let mut farm = Farm::connect(&node, &address, connections);
    farm.mine();
    let saved = farm.counted.clone();
    assert_equal(&accounts(&node), &saved);
    let totals = |page: &str, outcome: &str| -> u64 {
        let name = format!("chain_stratum_shares_total{{outcome=\"{outcome}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
    };
    let page = node.get("/metrics").text().to_owned();
    assert_eq!(totals(&page, "accepted"), saved.values().map(|it| it.accepted).sum::<u64>());
    assert_eq!(totals(&page, "duplicate"), saved.values().map(|it| it.duplicate).sum::<u64>());

    // The last lines of all workers are on disk; the shares that follow may not be.
    let stored = |file: &str| -> BTreeMap<String, u64> {
        let lines = file.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let name = |line: &Value| line["name"].as_str().unwrap().to_owned();
        lines.map(|line| (name(&line), line["accepted"].as_u64().unwrap())).collect()
    };
    let expected: BTreeMap<_, _> =
        saved.iter().map(|(name, own)| (name.clone(), own.accepted)).collect();
    let path = data.join("workers.jsonl");
    eventually("the shares on disk", || {
        let file = fs::read_to_string(&path).ok()?;
        (file.ends_with('\n') && stored(&file) == expected).then_some(())
    });
    farm.mine();
    node.kill();

    let node = start();
    let after = accounts(&node);
    assert_eq!(after.len(), saved.len());
    for (name, account) in &after {
        let (least, most) = (saved[name], farm.counted[name]);
        assert!(
            (least.accepted..=most.accepted).contains(&account.accepted),
            "{name}: {account:?}"
        );
        assert!((least.duplicate..=most.duplicate).contains(&account.duplicate), "{name}");
    }
    // Miners that count from here on agree again with the node.
    let mut later = Farm::connect(&node, &address, connections);
    later.counted = after;
    later.mine();
    assert_equal(&accounts(&node), &later.counted);
    let worker = node.get(&format!("/v1/mining/workers/{address}.0-1")).json();
    let hours = worker["history"].as_array().unwrap();
    let accepted: u64 = hours.iter().map(|hour| hour["accepted"].as_u64().unwrap()).sum();
    assert_eq!(worker["accepted"], accepted);
    // A clean stop loses nothing.
    assert!(node.stop().success());
    assert_equal(&accounts(&start()), &later.counted);
}
