//! The view of forks: a tree that changes as branches come, lose and win.

use super::{Visit, tip};
use crate::browser::Browser;
use crate::forge::{Forge, test_address, text};
use crate::harness::Node;
use crate::peers::{agree, awaits_peers, connect};
use crate::reorganisation::submit_all;
use chain::Block;
use serde_json::json;

/// Waits until the tree has so many blocks of each kind.
fn shows(browser: &Browser, best: usize, stale: usize) {
    let counts = format!(
        "const count = (kind) => document.querySelectorAll(`.nodes a.${{kind}}`).length;
         return count('best') === {best} && count('stale') === {stale}"
    );
    browser.awaits(&format!("{best} best and {stale} stale blocks"), &counts);
}

/// What kind a block of the tree is.
fn kind(browser: &Browser, hash: &str) -> String {
    let kind = format!("return document.querySelector('.nodes a[href$=\"{hash}\"]').classList[0]");
    browser.run(&kind).as_str().unwrap().to_owned()
}

// genesis ─ … ─ 12 ─ a1 ─ a2 ─ a3
//                 └─ b1 ─ b2 ─ b3 ─ b4      heavier
#[test]
fn a_reorganisation_is_seen_as_it_happens() {
    let Some(mut visit) = Visit::new() else { return };
    let mut other = Forge::new(test_address(3));
    let common: Vec<Block> = (1..=12).map(|height| block(&visit.node, height)).collect();
    other.follow(&common);
    visit.mine(3);
    let losing = block(&visit.node, 14).hash().to_string();
    let winning = other.blocks(4);
    visit.stay("/forks");
    let browser = &visit.browser;
    shows(browser, 16, 0);
    // A side branch that does not win is no event, and appears all the same.
    submit_all(&visit.node, &winning[..3], "side-branch");
    shows(browser, 16, 3);
    assert_eq!(kind(browser, &winning[1].hash().to_string()), "stale");
    submit_all(&visit.node, &winning[3..], "connected");
    shows(browser, 17, 3);
    browser.awaits_text(".log", "3 blocks above 12 gave way to 4");
    visit.stayed();
    assert_eq!(kind(browser, &losing), "stale");
    assert_eq!(kind(browser, &winning[1].hash().to_string()), "best");

    // From the tip back to the fork and over to the branch that lost, by keys alone.
    let focused = "return document.activeElement.getAttribute('aria-label') ?? ''";
    browser.run("document.querySelector('.nodes a[tabindex=\"0\"]').focus()");
    for _ in 0..2 {
        browser.press("\u{e012}");
    }
    let best = browser.run(focused).as_str().unwrap().to_owned();
    assert!(best.starts_with("Block 14, best chain"), "{best}");
    browser.press("\u{e015}");
    let beside = browser.run(focused).as_str().unwrap().to_owned();
    assert!(beside.starts_with("Block 14, stale"), "{beside}");
    browser.awaits_text(".chosen", "stale");

    browser.visit(&format!("{}/block/{losing}", visit.node.url()));
    browser.awaits_text(".heading .badge", "Stale");
    browser.click(".notice a");
    browser.settled();
    assert_eq!(browser.place(), format!("/block/{}", winning[1].hash()));
    browser.awaits_text(".heading .badge", "3 confirmations");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_click_on_a_block_of_the_tree_loads_no_document() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    visit.stay("/forks");
    shows(browser, 13, 0);
    browser.click(".nodes a.end");
    browser.awaits_text(".heading .badge", "1 confirmation");
    assert_eq!(browser.place(), format!("/block/{}", block(&visit.node, 12).hash()));
    visit.stayed();
}

#[test]
fn a_coinbase_whose_block_lost_does_not_stay_confirmed() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    let tip = tip(&visit.node);
    visit.stay(&format!("/tx/{}", tip["transactions"][0]["id"].as_str().unwrap()));
    browser.awaits_text(".live", "live");
    browser.awaits_text(".heading .badge", "1 confirmation");
    visit.node.send("POST", "/v1/dev/invalidate", &json!({ "hash": tip["hash"] }));
    browser.awaits_text(".depth", "left the best chain");
    browser.awaits_text(".heading .badge", "gone");
    browser.awaits_text("main", "Nothing to prove yet");
}

fn block(node: &Node, height: u32) -> Block {
    let raw = node.get(&format!("/v1/blocks/{height}/raw"));
    Block::decode(&hex::decode(raw.text()).unwrap()).unwrap()
}

// a: genesis ─ … ─ 12 ─ a1 ─ a2
// b:               └─ b1 ─ b2 ─ b3      heavier
#[test]
fn two_nodes_that_were_apart_show_both_branches_and_the_winner() {
    let Some(visit) = Visit::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = Node::start(&folder.path().join("other"), &["--discover", "false"]);
    assert_eq!(connect(&visit.node, &other).status, 201);
    agree(&[&visit.node, &other]);
    let id = other.node_file()["node_id"].as_str().unwrap().to_owned();
    visit.node.send("DELETE", &format!("/v1/peers/{id}"), &json!({}));
    awaits_peers(&visit.node, 0);
    awaits_peers(&other, 0);

    let browser = &visit.browser;
    visit.stay("/forks");
    let own = visit.node.generate(2, &text(test_address(4))).unwrap();
    let winning = other.generate(3, &text(test_address(5))).unwrap();
    shows(browser, 15, 0);
    assert_eq!(kind(browser, &own[1]), "best", "nothing is known of the other side");

    connect(&visit.node, &other);
    shows(browser, 16, 2);
    browser.awaits_text(".log", "2 blocks above 12 gave way to 3");
    assert!(own.iter().all(|hash| kind(browser, hash) == "stale"));
    assert_eq!(kind(browser, &winning[2]), "best");
    visit.stayed();
}
