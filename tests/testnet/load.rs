//! `chain testnet load`: transfers that are followed into blocks.

use super::Testnet;
use super::nodes::Nodes;
use crate::harness::{chain, eventually};
use serde_json::Value;
use std::io::Read;
use std::process::Stdio;

// genesis ─ 1 funding, at which the load starts
//        └─ 1 funding ─ 2 ─ 3 …
#[test]
fn load_follows_its_transfers_when_the_block_before_it_is_reorganised() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "1", "--miners", "0", "--network", "dev"]);
    let nodes = Nodes::of(&testnet);
    let options = ["load", "--rate", "20/s", "--accounts", "2", "--for", "2s", "--json"];
    let mut command = chain(&testnet.command(&options));
    let mut load = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let transfers = |minimum: u64| {
        eventually("transfers in the mempool", || {
            let mempool = nodes.get(1, "/v1/mempool");
            (mempool["count"].as_u64() >= Some(minimum)).then_some(())
        });
    };
    transfers(2);
    nodes.generate(1);
    transfers(1);
    testnet.run(&["reorg", "--depth", "1"]);
    let status = eventually("the end of the load", || {
        nodes.generate(1);
        load.try_wait().unwrap()
    });
    assert!(status.success());
    let mut report = String::new();
    load.stdout.take().unwrap().read_to_string(&mut report).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    assert!(report["accepted"].as_u64() > Some(0), "{report}");
    assert_eq!(report["mined"], report["accepted"]);
    assert!(report["mine_ms"]["max"].as_u64() > Some(0), "{report}");
}
