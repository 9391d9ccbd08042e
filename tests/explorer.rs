//! The explorer, as a visitor meets it in a real browser.

mod forks;
mod live;

use crate::browser::Browser;
use crate::forge::{Forge, RICH, key, pay, test_address, text};
use crate::harness::{Node, eventually, skip};
use crate::reorganisation::submit_all;
use chain::signature::SecretKey;
use chain::tx::{Memo, Payment};
use chain::{Params, Transfer};
use p2p::ChainUpdate;
use serde_json::{Value, json};
use std::fs;
use tempfile::TempDir;
use tokio::sync::broadcast;

/// Enter.
const ENTER: &str = "\u{e007}";
/// Where `.ci/run` puts what finds barriers in pages.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/axe-core/axe.min.js");

/// A node of `dev` with a short history, and a browser; nothing where there is no browser.
struct Visit {
    browser: Browser,
    node: Node,
    forge: Forge,
    _folder: TempDir,
}

impl Visit {
    /// Twelve blocks with three transfers, and one transfer that waits.
    fn new() -> Option<Visit> {
        let browser = Browser::open()?;
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&folder.path().join("data"), &[]);
        let mut forge = Forge::new(test_address(1));
        let alice = key(RICH[0]);
        let mut blocks = forge.blocks(8);
        for nonce in 0..3 {
            blocks.push(forge.block([pay(&alice, nonce, test_address(2), 1_250_000_000)]));
        }
        blocks.push(forge.block([]));
        submit_all(&node, &blocks, "connected");
        let visit = Visit { browser, node, forge, _folder: folder };
        visit.send(&pay(&alice, 3, test_address(2), 700));
        Some(visit)
    }

    fn send(&self, transfer: &Transfer) -> String {
        let body = hex::encode(transfer.encode());
        let headers = ["Content-Type: text/plain"];
        let answer = self.node.request("POST", "/v1/transactions", &headers, body.as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        transfer.id().to_string()
    }

    fn go(&self, path: &str) {
        self.browser.visit(&format!("{}{path}", self.node.url()));
    }

    /// Has the node take blocks of a forge in.
    fn mine(&mut self, blocks: usize) {
        let blocks = self.forge.blocks(blocks);
        submit_all(&self.node, &blocks, "connected");
    }

    /// Goes to a page and calls the window `same`, which only a reload changes.
    fn stay(&self, path: &str) {
        self.go(path);
        self.browser.run("window.same = true");
    }

    /// Checks that nothing was loaded again since, and that the browser did not complain.
    fn stayed(&self) {
        assert_eq!(self.browser.run("return window.same"), json!(true), "nothing is loaded again");
        assert_eq!(self.browser.complaints(), Vec::<String>::new());
    }

    /// Barriers for people who see, hear or move otherwise: serious ones.
    fn barriers(&self) -> Vec<Value> {
        let found = self.browser.run_async(
            "const done = arguments[arguments.length - 1];
             axe.run(document, { resultTypes: ['violations'] }).then((found) => done(
                 found.violations.filter((one) => ['serious', 'critical'].includes(one.impact))
                     .map((one) => [one.id, one.nodes.map((node) => node.html)])),
                 (error) => done([String(error)]));",
        );
        found.as_array().unwrap().clone()
    }

    /// Whether the page is wider than the window.
    fn overflows(&self) -> bool {
        let wider = "return document.documentElement.scrollWidth > window.innerWidth";
        self.browser.run(wider) == json!(true)
    }
}

/// The newest block of the node.
fn tip(node: &Node) -> Value {
    node.get("/v1/blocks/tip?full=true").json()
}

// R22
#[test]
fn every_page_shows_what_it_is_for_on_any_screen_without_barriers_or_complaints() {
    let Some(visit) = Visit::new() else { return };
    let block = visit.node.get("/v1/blocks/9?full=true").json();
    let [coinbase, transfer] = [0, 1].map(|at| block["transactions"][at]["id"].as_str().unwrap());
    let pages = [
        ("/".to_owned(), "Latest transfers"),
        ("/blocks".to_owned(), "Blocks"),
        (format!("/block/{}", block["hash"].as_str().unwrap()), "4 confirmations"),
        ("/block/0".to_owned(), "genesis needs no work"),
        (format!("/tx/{transfer}"), "for the test"),
        (format!("/tx/{coinbase}"), "forge"),
        (format!("/account/{}", text(test_address(2))), "37.5"),
        (format!("/account/{}", text(test_address(99))), "Nobody has paid"),
        ("/mempool".to_owned(), "Waiting transfers"),
        ("/mining".to_owned(), "Blocks by miner"),
        ("/peers".to_owned(), "This node is alone"),
        ("/forks".to_owned(), "One branch only"),
        ("/charts".to_owned(), "Time between blocks"),
        ("/dev".to_owned(), "Make blocks"),
    ];
    let axe = fs::read_to_string(AXE).ok();
    if axe.is_none() {
        skip("accessibility is checked only where .ci/run has downloaded axe-core");
    }
    let browser = &visit.browser;
    for (number, (path, what)) in pages.iter().enumerate() {
        // Each page in one of the themes on a wide screen, and in the other one on a phone.
        let themes = if number % 2 == 0 { ["light", "dark"] } else { ["dark", "light"] };
        browser.prefer(themes[0]);
        visit.go(path);
        let shown = browser.text();
        assert!(shown.contains(what), "{path}: {shown}");
        assert!(!visit.overflows(), "{path} on a wide screen");
        if let Some(axe) = &axe {
            browser.run(axe);
            assert_eq!(visit.barriers(), Vec::<Value>::new(), "{path}");
        }
        browser.become_phone();
        browser.prefer(themes[1]);
        assert!(!visit.overflows(), "{path} on a phone");
        if axe.is_some() {
            assert_eq!(visit.barriers(), Vec::<Value>::new(), "{path} on a phone");
        }
        browser.emulate("clearDeviceMetricsOverride", &json!({}));
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn a_browser_proves_a_coinbase_as_it_does_a_transfer() {
    let Some(visit) = Visit::new() else { return };
    let block = visit.node.get("/v1/blocks/9?full=true").json();
    for transaction in block["transactions"].as_array().unwrap() {
        visit.go(&format!("/tx/{}", transaction["id"].as_str().unwrap()));
        visit.browser.awaits_text(".verdict", "checked here");
    }
}

#[test]
fn on_a_phone_numbers_are_whole() {
    let Some(visit) = Visit::new() else { return };
    visit.send(&pay(&key(RICH[1]), 0, test_address(5), 987_612_345_678));
    visit.node.generate(1, &text(test_address(7))).unwrap();
    let order = json!({ "delay_seconds": 3_600, "miner": text(test_address(7)) });
    let job = visit.node.send("POST", "/v1/mining/jobs", &order);
    assert_eq!(job.status, 202, "{job:?}");
    let browser = &visit.browser;
    browser.become_phone();
    let cut = "return [...document.querySelectorAll('th, td.number, .tile .value, .job > div')]
        .filter((one) => one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0)
        .map((one) => one.textContent)";
    for path in [&*format!("/account/{}", text(test_address(5))), "/blocks", "/forks", "/mining"] {
        visit.go(path);
        assert_eq!(browser.run(cut), json!([]), "{path}");
    }
    visit.go("/");
    let led = "return document.querySelector('.list a[href^=\"/tx/\"]').offsetWidth > 0";
    assert_eq!(browser.run(led), json!(true), "a transfer of the overview leads to its page");
    visit.go("/charts");
    let outside = "return [...document.querySelectorAll('.chart text')]
        .filter((one) => one.getBBox().x < 0).map((one) => one.textContent)";
    assert_eq!(browser.run(outside), json!([]));
}

#[test]
fn a_first_visit_is_small() {
    let Some(visit) = Visit::new() else { return };
    visit.go("/");
    let loaded = "const all = ['navigation', 'resource'].flatMap((kind) =>
            performance.getEntriesByType(kind));
        return [all.length, all.reduce((sum, one) => sum + one.transferSize, 0),
            all.some((one) => new URL(one.name).origin !== location.origin)]";
    let loaded = visit.browser.run(loaded);
    let [count, bytes] = [0, 1].map(|at| loaded[at].as_f64().unwrap());
    assert!(count > 30.0 && bytes > 100_000.0, "{loaded}: not all was counted");
    assert!(bytes < 300_000.0, "{loaded}");
    assert_eq!(loaded[2], json!(false), "nobody else is asked");
}

#[test]
fn the_search_box_leads_where_a_text_means_or_says_why_it_does_not() {
    let Some(visit) = Visit::new() else { return };
    let tip = tip(&visit.node);
    let hash = tip["hash"].as_str().unwrap();
    let transaction = tip["transactions"][0]["id"].as_str().unwrap();
    let test_address = text(test_address(2));
    let browser = &visit.browser;
    let search = |words: &str| {
        visit.go("/");
        browser.type_into("body", "/");
        browser.type_into("#q", &format!("{words}{ENTER}"));
        browser.awaits("the end of a search", "return location.pathname !== '/'");
        browser.awaits("its answer", "return document.querySelector('main h1').offsetHeight > 5");
        browser.settled();
        browser.place()
    };
    assert_eq!(search("12"), format!("/block/{hash}"));
    assert_eq!(search(hash), format!("/block/{hash}"));
    assert_eq!(search(&transaction.to_uppercase()), format!("/tx/{transaction}"));
    assert_eq!(search(&test_address), format!("/account/{test_address}"));
    assert_eq!(search("tip"), format!("/block/{hash}"));

    let wrong = format!("{}q", &test_address[..test_address.len() - 1]);
    for (words, why) in [
        ("9999", "this chain has reached 12"),
        (&"ab".repeat(32), "has this hash"),
        (&wrong, "checksum is wrong"),
        ("abcdef", "this has 6"),
        ("<b>what</b>", "neither a height"),
    ] {
        search(words);
        let shown = browser.text();
        assert!(shown.contains("Nothing here") && shown.contains(why), "{words}: {shown}");
        assert!(shown.contains(&words[..4]), "{words}: {shown}");
    }
    visit.go("/no/such/page");
    assert!(browser.text().contains("No page of the explorer"));
    browser.run("history.back()");
    let back = "return location.search.includes('what') &&
        document.querySelector('main h1')?.textContent === 'Nothing here'";
    browser.awaits("the search before", back);
}

#[test]
fn back_leads_to_the_page_before_and_to_its_heading_and_a_jump_within_a_page_loads_nothing() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    visit.stay("/blocks");
    browser.click("nav a[href='/mempool']");
    browser.awaits_text("main h1", "Mempool");
    browser.run("history.back()");
    let back = "return location.pathname === '/blocks' &&
        document.activeElement.matches('h1') && document.activeElement.textContent === 'Blocks'";
    browser.awaits("the focus on the heading of the page before", back);
    browser.run("document.querySelector('.skip').click()");
    browser.awaits("the jump", "return location.hash === '#main'");
    let busy = "return document.querySelector('main').hasAttribute('aria-busy')";
    assert_eq!(browser.run(busy), json!(false), "the page is made again");
    visit.stayed();
}

// R22
#[test]
fn text_from_outside_is_never_markup() {
    let Some(visit) = Visit::new() else { return };
    let attack =
        "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";
    let agent = "<script>document.title='hit'</script>";
    let memo = Memo::new(attack.into()).unwrap();
    let payment = Payment { nonce: 0, recipient: test_address(5), amount: 5, fee: 1_000, memo };
    let id = visit.send(&signed(payment, &key(RICH[1])));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_news, receiver) = broadcast::channel::<ChainUpdate>(8);
    let config = p2p::Config {
        listen: Vec::new(),
        peers: vec![visit.node.multiaddr().parse().unwrap()],
        boot_nodes: Vec::new(),
        max_peers: 8,
        discover: false,
        mdns: false,
        data: folder.path().to_owned(),
        agent: agent.to_owned(),
    };
    let spawned = p2p::spawn(config, visit.forge.reader(), receiver);
    let (_peer, _events) = runtime.block_on(spawned).unwrap();
    let peers = || visit.node.get("/v1/peers").json()["items"].as_array().unwrap().len();
    eventually("a peer", || (peers() == 1).then_some(()));

    for (path, text) in [(format!("/tx/{id}"), attack), ("/peers".to_owned(), agent)] {
        visit.go(&path);
        assert!(visit.browser.text().contains(text), "{path}: {}", visit.browser.text());
        let made = "return document.querySelectorAll('main img, main script, main iframe').length";
        assert_eq!(visit.browser.run(made), json!(0), "{path}");
        assert_ne!(visit.browser.run("return document.title"), json!("hit"));
        assert_eq!(visit.browser.complaints(), Vec::<String>::new(), "{path}");
    }
}

fn signed(payment: Payment, by: &SecretKey) -> Transfer {
    Transfer::sign(payment, by, Params::dev().genesis_hash())
}

#[test]
fn the_theme_is_the_systems_until_a_visitor_chooses_one() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    let is_dark = || {
        let colour = "return getComputedStyle(document.body).backgroundColor";
        let colour = browser.run(colour).as_str().unwrap().to_owned();
        let first = colour.trim_start_matches("rgb(").split(',').next().unwrap().to_owned();
        first.parse::<u8>().unwrap() < 128
    };
    browser.prefer("light");
    visit.go("/");
    assert!(!is_dark());
    browser.prefer("dark");
    assert!(is_dark());
    browser.click("#theme");
    assert!(!is_dark());
    visit.go("/mempool");
    assert!(!is_dark(), "the choice is kept");
}
