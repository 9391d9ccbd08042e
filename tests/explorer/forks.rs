//! The forks page: a tree that follows new branches and reorganisations.

use super::{Fixture, tip};
use crate::browser::Browser;
use crate::harness::Node;
use crate::peers::{connect, wait_for_peers, wait_for_same_tip};
use crate::reorganisation::submit_all;
use crate::test_chain::{dev_chain, test_address, text};
use chain::Block;
use serde_json::json;

/// Waits until the tree shows a number of blocks of each status.
fn wait_for_blocks(browser: &Browser, best: usize, stale: usize) {
    let counts = format!(
        "const count = (status) => document.querySelectorAll(`.nodes a.${{status}}`).length;
         return count('best') === {best} && count('stale') === {stale}"
    );
    browser.wait_until(&format!("{best} best and {stale} stale blocks"), &counts);
}

/// The status that the tree shows for a block.
fn status(browser: &Browser, hash: &str) -> String {
    let script =
        format!("return document.querySelector('.nodes a[href$=\"{hash}\"]').classList[0]");
    browser.execute(&script).as_str().unwrap().to_owned()
}

// genesis ─ … ─ 12 ─ a1 ─ a2 ─ a3
//                 └─ b1 ─ b2 ─ b3 ─ b4      heavier
#[test]
fn tree_follows_a_reorganisation() {
    let Some(mut fixture) = Fixture::new() else { return };
    let mut other = dev_chain(test_address(3));
    let common: Vec<Block> = (1..=12).map(|height| block(&fixture.node, height)).collect();
    other.connect(&common);
    fixture.connect_blocks(3);
    let stale = block(&fixture.node, 14).hash().to_string();
    let winning = other.mine(4);
    fixture.open_and_mark("/forks");
    let browser = &fixture.browser;
    wait_for_blocks(browser, 16, 0);
    // A side branch appears although it has no event.
    submit_all(&fixture.node, &winning[..3], "side-branch");
    wait_for_blocks(browser, 16, 3);
    assert_eq!(status(browser, &winning[1].hash().to_string()), "stale");
    submit_all(&fixture.node, &winning[3..], "connected");
    wait_for_blocks(browser, 17, 3);
    browser.wait_for_text(".log", "3 blocks above 12 replaced by 4");
    fixture.assert_not_reloaded();
    assert_eq!(status(browser, &stale), "stale");
    assert_eq!(status(browser, &winning[1].hash().to_string()), "best");

    // The arrow keys move from the tip back to the fork and over to the stale branch.
    let focused = "return document.activeElement.getAttribute('aria-label') ?? ''";
    browser.execute("document.querySelector('.nodes a[tabindex=\"0\"]').focus()");
    for _ in 0..2 {
        browser.press("\u{e012}");
    }
    let best = browser.execute(focused).as_str().unwrap().to_owned();
    assert!(best.starts_with("Block 14, best chain"), "{best}");
    browser.press("\u{e015}");
    let neighbour = browser.execute(focused).as_str().unwrap().to_owned();
    assert!(neighbour.starts_with("Block 14, stale"), "{neighbour}");
    browser.wait_for_text(".selected", "stale");

    browser.navigate(&format!("{}/block/{stale}", fixture.node.url()));
    browser.wait_for_text(".heading .badge", "Stale");
    browser.click(".notice a");
    browser.wait_for_page();
    assert_eq!(browser.current_path(), format!("/block/{}", winning[1].hash()));
    browser.wait_for_text(".heading .badge", "3 confirmations");
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

// Forks used to leave the tree after 50 blocks, without a way back.
#[test]
fn fork_is_still_visible_a_thousand_blocks_later() {
    let Some(fixture) = Fixture::new() else { return };
    let mut other = dev_chain(test_address(3));
    let common: Vec<Block> = (1..=10).map(|height| block(&fixture.node, height)).collect();
    other.connect(&common);
    let stale = block(&fixture.node, 12).hash().to_string();
    let winning = other.mine(3);
    submit_all(&fixture.node, &winning[..2], "side-branch");
    submit_all(&fixture.node, &winning[2..], "connected");
    fixture.node.generate(1_000, &text(test_address(4))).unwrap();
    let browser = &fixture.browser;
    fixture.open_and_mark("/forks");
    wait_for_blocks(browser, 50, 0);
    browser.wait_for_text(".log", "2 blocks above 10 replaced by 3");
    browser.click(".log a[href='/forks?height=10']");
    wait_for_blocks(browser, 50, 2);
    assert_eq!(status(browser, &stale), "stale");
    assert_eq!(status(browser, &winning[0].hash().to_string()), "best");
    browser.wait_for_text("main", "Heights 0 to 49");
    assert!(!fixture.browser.is_too_wide());
    browser.click("main a[href='/forks']");
    wait_for_blocks(browser, 50, 0);
    // The table of branches leads there as well.
    browser.click("table a[href='/forks?height=10']");
    wait_for_blocks(browser, 50, 2);
    fixture.assert_not_reloaded();
}

#[test]
fn click_on_a_block_of_the_tree_loads_no_document() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    fixture.open_and_mark("/forks");
    wait_for_blocks(browser, 13, 0);
    browser.click(".nodes a.tip");
    browser.wait_for_text(".heading .badge", "1 confirmation");
    assert_eq!(browser.current_path(), format!("/block/{}", block(&fixture.node, 12).hash()));
    fixture.assert_not_reloaded();
}

#[test]
fn coinbase_of_a_disconnected_block_is_not_confirmed() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    let tip = tip(&fixture.node);
    fixture.open_and_mark(&format!("/tx/{}", tip["transactions"][0]["id"].as_str().unwrap()));
    browser.wait_for_text(".live", "live");
    browser.wait_for_text(".heading .badge", "1 confirmation");
    fixture.node.send("POST", "/v1/dev/invalidate", &json!({ "hash": tip["hash"] }));
    browser.wait_for_text(".confirmations", "left the best chain");
    browser.wait_for_text(".heading .badge", "disconnected");
    browser.wait_for_text("main", "No proof yet");
}

fn block(node: &Node, height: u32) -> Block {
    let raw = node.get(&format!("/v1/blocks/{height}/raw"));
    Block::decode(&hex::decode(raw.text()).unwrap()).unwrap()
}

// a: genesis ─ … ─ 12 ─ a1 ─ a2
// b:               └─ b1 ─ b2 ─ b3      heavier
#[test]
fn partitioned_nodes_show_both_branches_after_they_reconnect() {
    let Some(fixture) = Fixture::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let other = Node::start(&folder.path().join("other"), &["--discover", "false"]);
    assert_eq!(connect(&fixture.node, &other).status, 201);
    wait_for_same_tip(&[&fixture.node, &other]);
    let id = other.node_file()["node_id"].as_str().unwrap().to_owned();
    fixture.node.send("DELETE", &format!("/v1/peers/{id}"), &json!({}));
    wait_for_peers(&fixture.node, 0);
    wait_for_peers(&other, 0);

    let browser = &fixture.browser;
    fixture.open_and_mark("/forks");
    let own = fixture.node.generate(2, &text(test_address(4))).unwrap();
    let winning = other.generate(3, &text(test_address(5))).unwrap();
    wait_for_blocks(browser, 15, 0);
    assert_eq!(status(browser, &own[1]), "best", "the other branch is still unknown");

    connect(&fixture.node, &other);
    wait_for_blocks(browser, 16, 2);
    browser.wait_for_text(".log", "2 blocks above 12 replaced by 3");
    assert!(own.iter().all(|hash| status(browser, hash) == "stale"));
    assert_eq!(status(browser, &winning[2]), "best");
    fixture.assert_not_reloaded();
}
