//! The explorer, as a visitor meets it in a real browser.

use crate::browser::Browser;
use crate::forge::{Forge, RICH, key, pay, somebody, text};
use crate::harness::{Node, eventually};
use crate::reorganisation::hand_in_all;
use chain::signature::SecretKey;
use chain::tx::{Memo, Payment};
use chain::{Block, Params, Transfer};
use p2p::News;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
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
        let mut forge = Forge::new(somebody(1));
        let alice = key(RICH[0]);
        let mut blocks = forge.blocks(8);
        for nonce in 0..3 {
            blocks.push(forge.block([pay(&alice, nonce, somebody(2), 1_250_000_000)]));
        }
        blocks.push(forge.block([]));
        hand_in_all(&node, &blocks, "connected");
        let visit = Visit { browser, node, forge, _folder: folder };
        visit.send(&pay(&alice, 3, somebody(2), 700));
        Some(visit)
    }

    fn send(&self, transfer: &Transfer) -> String {
        let body = hex::encode(transfer.encode());
        let headers = ["Content-Type: text/plain"];
        let answer = self.node.ask("POST", "/v1/transactions", &headers, body.as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        transfer.id().to_string()
    }

    fn go(&self, path: &str) {
        self.browser.visit(&format!("{}{path}", self.node.url()));
    }

    /// Has the node take blocks of a forge in.
    fn mine(&mut self, blocks: usize) {
        let blocks = self.forge.blocks(blocks);
        hand_in_all(&self.node, &blocks, "connected");
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
        (format!("/account/{}", text(somebody(2))), "37.5"),
        (format!("/account/{}", text(somebody(99))), "Nobody has paid"),
        ("/mempool".to_owned(), "Waiting transfers"),
        ("/mining".to_owned(), "Blocks by miner"),
        ("/peers".to_owned(), "This node is alone"),
        ("/forks".to_owned(), "One branch only"),
        ("/charts".to_owned(), "Time between blocks"),
        ("/dev".to_owned(), "Make blocks"),
    ];
    let axe = fs::read_to_string(AXE).ok();
    let browser = &visit.browser;
    for (number, (path, what)) in pages.iter().enumerate() {
        // Each page in one of the themes, and on both screens.
        browser.prefer(if number % 2 == 0 { "light" } else { "dark" });
        visit.go(path);
        let shown = browser.text();
        assert!(shown.contains(what), "{path}: {shown}");
        assert!(!visit.overflows(), "{path} on a wide screen");
        if let Some(axe) = &axe {
            browser.run(axe);
            assert_eq!(visit.barriers(), Vec::<Value>::new(), "{path}");
        }
        browser.become_phone();
        assert!(!visit.overflows(), "{path} on a phone");
        browser.emulate("clearDeviceMetricsOverride", &json!({}));
        assert_eq!(browser.complaints(), Vec::<String>::new(), "{path}");
    }
    // A browser checks the proof by itself.
    visit.go(&format!("/tx/{transfer}"));
    browser.awaits_text(".verdict", "checked here");
}

#[test]
fn the_search_box_leads_where_a_text_means_or_says_why_it_does_not() {
    let Some(visit) = Visit::new() else { return };
    let tip = tip(&visit.node);
    let hash = tip["hash"].as_str().unwrap();
    let transaction = tip["transactions"][0]["id"].as_str().unwrap();
    let somebody = text(somebody(2));
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
    assert_eq!(search(&somebody), format!("/account/{somebody}"));
    assert_eq!(search("tip"), format!("/block/{hash}"));

    let wrong = format!("{}q", &somebody[..somebody.len() - 1]);
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
    browser.settled();
}

#[test]
fn what_happens_appears_without_reload_and_nothing_moves_aside_for_it() {
    let Some(visit) = Visit::new() else { return };
    visit.go("/");
    let begin = "window.same = true; window.shifts = 0;
        new PerformanceObserver((list) => {
            for (const shift of list.getEntries()) window.shifts += shift.value;
        }).observe({ type: 'layout-shift' });";
    visit.browser.run(begin);
    visit.browser.awaits_text(".live", "live");
    visit.browser.awaits_text(".strip li:first-child strong", "12");

    let sent = visit.send(&pay(&key(RICH[1]), 0, somebody(5), 4_200_000_000));
    let link = format!(".list a[href='/tx/{sent}']");
    let state =
        format!("return document.querySelector(\"{link}\")?.closest('li').textContent.includes");
    visit.browser.awaits("a transfer that waits", &format!("{state}('waiting')"));
    // The others wait too, so the block of another chain would not be the next one.
    let made = visit.node.generate(1, &text(somebody(7))).unwrap();
    visit.browser.awaits_text(".strip li:first-child strong", "13");
    visit.browser.awaits_text(".tiles .value", "13");
    visit.browser.awaits("a confirmed transfer", &format!("{state}('block 13')"));
    let first = "return document.querySelector('.strip li:first-child a').getAttribute('href')";
    assert_eq!(visit.browser.run(first), json!(format!("/block/{}", made[0])));
    assert_eq!(visit.browser.run("return window.same"), json!(true), "nothing was loaded again");
    let shifts = visit.browser.run("return window.shifts").as_f64().unwrap();
    assert!(shifts < 0.01, "{shifts}");

    // Confirmations count up on the page of a transaction.
    visit.browser.click(&link);
    visit.browser.settled();
    visit.browser.awaits_text(".heading .badge", "1 confirmation");
    visit.node.generate(4, &text(somebody(7))).unwrap();
    visit.browser.awaits_text(".heading .badge", "5 confirmations");
    assert_eq!(visit.browser.run("return window.same"), json!(true));
    assert_eq!(visit.browser.complaints(), Vec::<String>::new());
}

// genesis ─ … ─ 12 ─ a1 ─ a2 ─ a3
//                 └─ b1 ─ b2 ─ b3 ─ b4      heavier
#[test]
fn a_reorganisation_is_seen_as_it_happens() {
    let Some(mut visit) = Visit::new() else { return };
    let mut other = Forge::new(somebody(3));
    let common: Vec<Block> = (1..=12).map(|height| block(&visit.node, height)).collect();
    other.follow(&common);
    visit.mine(3);
    let losing = block(&visit.node, 14).hash().to_string();
    let winning = other.blocks(4);
    visit.go("/forks");
    visit.browser.run("window.same = true");
    let browser = &visit.browser;
    let shows = |best: usize, stale: usize| {
        let counts = format!(
            "const count = (kind) => document.querySelectorAll(`.nodes a.${{kind}}`).length;
             return count('best') === {best} && count('stale') === {stale}"
        );
        browser.awaits(&format!("{best} best and {stale} stale blocks"), &counts);
    };
    shows(16, 0);
    hand_in_all(&visit.node, &winning[..3], "side-branch");
    // A side branch that does not win is no event: it is there when somebody looks.
    visit.go("/forks");
    visit.browser.run("window.same = true");
    shows(16, 3);
    hand_in_all(&visit.node, &winning[3..], "connected");
    shows(17, 3);
    browser.awaits_text(".log", "3 blocks above 12");
    assert_eq!(browser.run("return window.same"), json!(true));
    let kind = |hash: &str| {
        let kind =
            format!("return document.querySelector('.nodes a[href$=\"{hash}\"]').classList[0]");
        browser.run(&kind)
    };
    assert_eq!(kind(&losing), "stale");
    assert_eq!(kind(&winning[1].hash().to_string()), "best");

    browser.visit(&format!("{}/block/{losing}", visit.node.url()));
    browser.awaits_text(".heading .badge", "Stale");
    browser.click(".notice a");
    browser.settled();
    assert_eq!(browser.place(), format!("/block/{}", winning[1].hash()));
    browser.awaits_text(".heading .badge", "3 confirmations");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

fn block(node: &Node, height: u32) -> Block {
    let raw = node.get(&format!("/v1/blocks/{height}/raw"));
    Block::decode(&hex::decode(raw.text()).unwrap()).unwrap()
}

// R22
#[test]
fn text_from_outside_is_never_markup() {
    let Some(visit) = Visit::new() else { return };
    let attack =
        "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";
    let agent = "<script>document.title='hit'</script>";
    let memo = Memo::new(attack.into()).unwrap();
    let payment = Payment { nonce: 0, recipient: somebody(5), amount: 5, fee: 1_000, memo };
    let id = visit.send(&signed(payment, &key(RICH[1])));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_news, receiver) = broadcast::channel::<News>(8);
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

#[test]
fn on_dev_a_visitor_makes_blocks_and_pays() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    visit.go("/dev");

    browser.click(".card:first-child form .primary");
    browser.type_into("#token", &format!("wrong{ENTER}"));
    browser.awaits_text("dialog .error", "does not take this token");
    browser.type_into("dialog #token", &format!("{}{ENTER}", visit.node.token()));
    browser.awaits_text(".result", "1 block made");
    assert_eq!(visit.node.tip().height, 13);
    let kept = "return [localStorage.length, sessionStorage.length, document.cookie]";
    assert_eq!(browser.run(kept), json!([0, 1, ""]), "the token is of this tab alone");

    // The faucet pays without asking for the token again.
    browser.type_into("[name=address]", &text(somebody(8)));
    browser.click(".card:nth-child(2) .primary");
    browser.awaits_text(".card:nth-child(2) .result", "Paid");
    visit.node.generate(1, &text(somebody(1))).unwrap();
    let paid = visit.node.get(&format!("/v1/accounts/{}", text(somebody(8)))).json();
    assert_eq!(paid["balance"], json!(10_000_000_000_u64));

    // A mining job is started, seen and done.
    browser.type_into(".inline-form [name=miner]", &text(somebody(8)));
    browser.click(".inline-form .primary");
    browser.awaits_text(".jobs .badge", "succeeded");
    browser.awaits_text(".jobs .job", "10 of 10 blocks");

    // A key of this tab is paid for blocks, and pays somebody.
    browser.click(".card:nth-child(3) .primary");
    browser.awaits_text(".card:nth-child(3)", "This tab’s address");
    let own = "return document.querySelector('.card:nth-child(3) .mid').title";
    let own = browser.run(own).as_str().unwrap().to_owned();
    let maturity = visit.node.get("/v1/chain/params").json()["maturity"].as_u64().unwrap();
    visit.node.generate(u32::try_from(maturity).unwrap() + 1, &own).unwrap();
    browser.type_into("[name=recipient]", &text(somebody(9)));
    browser.type_into("[name=memo]", "from a tab");
    browser.awaits(
        "money",
        "return /It may spend\\s*50/.test(document.querySelector('.card:nth-child(3)').innerText)",
    );
    browser.click(".card:nth-child(3) form .primary");
    browser.awaits_text(".card:nth-child(3) .result", "Sent for a fee");
    visit.node.generate(1, &text(somebody(1))).unwrap();
    let paid = visit.node.get(&format!("/v1/accounts/{}", text(somebody(9)))).json();
    assert_eq!(paid["balance"], json!(100_000_000));
}

#[test]
fn a_page_says_that_the_node_is_away_and_goes_on_when_it_is_back() {
    let Some(visit) = Visit::new() else { return };
    let Visit { browser, node, _folder: folder, .. } = visit;
    let (url, data) = (node.url(), folder.path().join("data"));
    browser.visit(&url);
    browser.run("window.same = true");
    browser.awaits_text(".live", "live");
    node.kill();
    browser.awaits_text(".live", "away");
    let node = back(&data, &url);
    node.generate(2, &text(somebody(1))).unwrap();
    browser.awaits_text(".strip li:first-child strong", "14");
    browser.awaits_text(".live", "live");
    assert_eq!(browser.run("return window.same"), json!(true));
}

/// A node where one was before.
fn back(data: &Path, url: &str) -> Node {
    Node::start(data, &["--api", url.strip_prefix("http://").unwrap()])
}
