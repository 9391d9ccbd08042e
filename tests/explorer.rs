//! The explorer in a real browser.

mod forks;
mod live;

use crate::browser::Browser;
use crate::harness::{Node, eventually, skip};
use crate::reorganisation::submit_all;
use crate::test_chain::{dev_chain, dev_key, pay, test_address, text};
use chain::ledger::{self, Options, Submission};
use chain::signature::SecretKey;
use chain::testing::TestChain;
use chain::tx::{Memo, Payment};
use chain::{Params, Transfer};
use p2p::ChainUpdate;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::broadcast;

/// The Enter key in WebDriver.
const ENTER: &str = "\u{e007}";
/// The accessibility checker that `.ci/run` downloads.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools/axe-core/axe.min.js");

/// The accessibility checker; `None`, with a line on standard error, where it is missing.
pub fn axe() -> Option<String> {
    let axe = fs::read_to_string(AXE).ok();
    if axe.is_none() {
        skip("accessibility is checked only where .ci/run has downloaded axe-core");
    }
    axe
}

/// A `dev` node with a short chain, and a browser.
struct Fixture {
    browser: Browser,
    node: Node,
    test_chain: TestChain,
    _folder: TempDir,
}

impl Fixture {
    /// Starts them: twelve blocks with three transfers, and a pending transfer. `None` if no browser
    /// is installed.
    fn new() -> Option<Fixture> {
        let browser = Browser::open()?;
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&folder.path().join("data"), &["--stratum", "127.0.0.1:0"]);
        let mut test_chain = dev_chain(test_address(1));
        let alice = dev_key(0);
        let mut blocks = test_chain.mine(8);
        for nonce in 0..3 {
            blocks.push(test_chain.mine_block([pay(
                &alice,
                nonce,
                test_address(2),
                1_250_000_000,
            )]));
        }
        blocks.push(test_chain.mine_block([]));
        submit_all(&node, &blocks, "connected");
        let fixture = Fixture { browser, node, test_chain, _folder: folder };
        fixture.submit(&pay(&alice, 3, test_address(2), 700));
        Some(fixture)
    }

    fn submit(&self, transfer: &Transfer) -> String {
        let body = hex::encode(transfer.encode());
        let headers = ["Content-Type: text/plain"];
        let answer = self.node.request("POST", "/v1/transactions", &headers, body.as_bytes());
        assert_eq!(answer.status, 201, "{answer:?}");
        transfer.id().to_string()
    }

    fn open(&self, path: &str) {
        self.browser.navigate(&format!("{}{path}", self.node.url()));
    }

    /// Mines blocks outside the node and submits them.
    fn connect_blocks(&mut self, blocks: usize) {
        let blocks = self.test_chain.mine(blocks);
        submit_all(&self.node, &blocks, "connected");
    }

    /// Opens a page and marks its window; a reload removes the mark.
    fn open_and_mark(&self, path: &str) {
        self.open(path);
        self.browser.execute("window.isMarked = true");
    }

    /// Asserts that the document was not reloaded since, and that the console has no errors.
    fn assert_not_reloaded(&self) {
        assert_eq!(
            self.browser.execute("return window.isMarked"),
            json!(true),
            "the document was reloaded"
        );
        assert_eq!(self.browser.console_errors(), Vec::<String>::new());
    }
}

/// The newest block of the node.
fn tip(node: &Node) -> Value {
    node.get("/v1/blocks/tip?full=true").json()
}

// R22
#[test]
fn every_page_is_accessible_and_fits_wide_and_narrow_screens() {
    let Some(fixture) = Fixture::new() else { return };
    let block = fixture.node.get("/v1/blocks/9?full=true").json();
    let [coinbase, transfer] = [0, 1].map(|at| block["transactions"][at]["id"].as_str().unwrap());
    let rig = format!("{}.rig", text(test_address(2)));
    let template = format!("/v1/mining/template?miner={}&worker=rig", text(test_address(2)));
    assert_eq!(fixture.node.get(&template).status, 200);
    let pages = [
        ("/".to_owned(), "Latest transfers"),
        ("/blocks".to_owned(), "Blocks"),
        (format!("/block/{}", block["hash"].as_str().unwrap()), "4 confirmations"),
        ("/block/0".to_owned(), "genesis needs no proof of work"),
        (format!("/tx/{transfer}"), "for the test"),
        (format!("/tx/{coinbase}"), "test tag"),
        (format!("/account/{}", text(test_address(2))), "37.5"),
        (format!("/account/{}", text(test_address(99))), "has not sent or received"),
        ("/mempool".to_owned(), "Unconfirmed transfers"),
        ("/mining".to_owned(), "Blocks by miner"),
        (format!("/worker/{rig}"), "this worker"),
        ("/peers".to_owned(), "No peers"),
        ("/forks".to_owned(), "No side branches"),
        ("/charts".to_owned(), "Time between blocks"),
        ("/dev".to_owned(), "Generate blocks"),
    ];
    let axe = axe();
    let browser = &fixture.browser;
    for (number, (path, expected)) in pages.iter().enumerate() {
        // Each page has one theme on the wide screen and the other one on the phone.
        let themes = if number % 2 == 0 { ["light", "dark"] } else { ["dark", "light"] };
        browser.set_color_scheme(themes[0]);
        fixture.open(path);
        let shown = browser.main_text();
        assert!(shown.contains(expected), "{path}: {shown}");
        assert!(!fixture.browser.is_too_wide(), "{path} on a wide screen");
        if let Some(axe) = &axe {
            browser.execute(axe);
            assert_eq!(browser.accessibility_violations(), Vec::<Value>::new(), "{path}");
        }
        browser.emulate_phone();
        browser.set_color_scheme(themes[1]);
        assert!(!fixture.browser.is_too_wide(), "{path} on a phone");
        if axe.is_some() {
            assert_eq!(
                browser.accessibility_violations(),
                Vec::<Value>::new(),
                "{path} on a phone"
            );
        }
        browser.emulate("clearDeviceMetricsOverride", &json!({}));
        assert_eq!(browser.console_errors(), Vec::<String>::new(), "{path}");
    }
}

#[test]
fn browser_verifies_merkle_proofs_of_coinbase_and_transfer() {
    let Some(fixture) = Fixture::new() else { return };
    let block = fixture.node.get("/v1/blocks/9?full=true").json();
    for transaction in block["transactions"].as_array().unwrap() {
        fixture.open(&format!("/tx/{}", transaction["id"].as_str().unwrap()));
        fixture.browser.wait_for_text(".verification", "Verified in this browser");
    }
}

#[test]
fn mining_page_shows_how_to_connect_and_each_worker() {
    let Some(fixture) = Fixture::new() else { return };
    let (node, browser) = (&fixture.node, &fixture.browser);
    let url = node.node_file()["stratum"].clone();
    let user = format!("{}.bitaxe", text(test_address(3)));
    let mut miner = crate::stratum::miner::Miner::start(&url, &user, 1.0);
    let block = miner.find_block(0);
    crate::stratum::miner::expect_accepted(&miner.submit(&user, &block));
    fixture.open("/mining");
    browser.wait_for_text("main", url.as_str().unwrap());
    assert_eq!(browser.execute("return document.querySelectorAll('svg.qr path').length"), json!(1));
    browser.click(&format!("a[href='/worker/{user}']"));
    browser.wait_for_text("main", "1 found");
    let shown = browser.main_text();
    for expected in [&*user, "bitaxe", "connected", "this worker", "50.00001 coins"] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    assert_eq!(browser.console_errors(), Vec::<String>::new());
}

#[test]
fn phone_shows_numbers_uncut() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.submit(&pay(&dev_key(1), 0, test_address(5), 987_612_345_678));
    fixture.node.generate(1, &text(test_address(7))).unwrap();
    let job = json!({ "delay_seconds": 3_600, "miner": text(test_address(7)) });
    let created = fixture.node.send("POST", "/v1/mining/jobs", &job);
    assert_eq!(created.status, 202, "{created:?}");
    let browser = &fixture.browser;
    browser.emulate_phone();
    let cut = "return [...document.querySelectorAll('th, td.number, .tile .value, .job > div')]
        .filter((element) => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0)
        .map((element) => element.textContent)";
    for path in [&*format!("/account/{}", text(test_address(5))), "/blocks", "/forks", "/mining"] {
        fixture.open(path);
        assert_eq!(browser.execute(cut), json!([]), "{path}");
    }
    fixture.open("/");
    let is_linked = "return document.querySelector('.list a[href^=\"/tx/\"]')?.offsetWidth > 0";
    browser.wait_until("a transfer of the overview links to its page", is_linked);
    fixture.open("/charts");
    let outside = "return [...document.querySelectorAll('.chart text')]
        .filter((text) => text.getBBox().x < 0).map((text) => text.textContent)";
    assert_eq!(browser.execute(outside), json!([]));
}

#[test]
fn first_visit_transfers_less_than_300_kb_from_the_node_only() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.open("/");
    let loaded = "const all = ['navigation', 'resource'].flatMap((kind) =>
            performance.getEntriesByType(kind));
        return [all.length, all.reduce((sum, entry) => sum + entry.transferSize, 0),
            all.some((entry) => new URL(entry.name).origin !== location.origin)]";
    let loaded = fixture.browser.execute(loaded);
    let [count, bytes] = [0, 1].map(|at| loaded[at].as_f64().unwrap());
    assert!(count > 30.0 && bytes > 100_000.0, "{loaded}: some entries are missing");
    assert!(bytes < 300_000.0, "{loaded}");
    assert_eq!(loaded[2], json!(false), "another origin was requested");
}

#[test]
fn search_opens_the_page_or_explains_why_there_is_none() {
    let Some(fixture) = Fixture::new() else { return };
    let tip = tip(&fixture.node);
    let hash = tip["hash"].as_str().unwrap();
    let transaction = tip["transactions"][0]["id"].as_str().unwrap();
    let address = text(test_address(2));
    let browser = &fixture.browser;
    let search = |query: &str| {
        fixture.open("/");
        browser.type_into("body", "/");
        browser.type_into("#q", &format!("{query}{ENTER}"));
        browser.wait_until("the result of a search", "return location.pathname !== '/'");
        browser
            .wait_until("its heading", "return document.querySelector('main h1').offsetHeight > 5");
        browser.wait_for_page();
        browser.current_path()
    };
    assert_eq!(search("12"), format!("/block/{hash}"));
    assert_eq!(search(hash), format!("/block/{hash}"));
    assert_eq!(search(&transaction.to_uppercase()), format!("/tx/{transaction}"));
    assert_eq!(search(&address), format!("/account/{address}"));
    assert_eq!(search("tip"), format!("/block/{hash}"));

    let mistyped = format!("{}q", &address[..address.len() - 1]);
    for (query, reason) in [
        ("9999", "the best chain is at height 12"),
        (&"ab".repeat(32), "with this hash"),
        (&mistyped, "checksum is wrong"),
        ("abcdef", "this has 6"),
        ("<b>markup</b>", "not a height"),
    ] {
        search(query);
        let shown = browser.main_text();
        assert!(shown.contains("Not found") && shown.contains(reason), "{query}: {shown}");
        assert!(shown.contains(&query[..4]), "{query}: {shown}");
    }
    fixture.open("/no/such/page");
    assert!(browser.main_text().contains("no page at this address"));
    browser.execute("history.back()");
    let back = "return location.search.includes('markup') &&
        document.querySelector('main h1')?.textContent === 'Not found'";
    browser.wait_until("the previous search", back);
}

#[test]
fn back_focuses_the_heading_and_a_jump_within_the_page_loads_nothing() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    fixture.open_and_mark("/blocks");
    browser.click("nav a[href='/mempool']");
    browser.wait_for_text("main h1", "Mempool");
    browser.execute("history.back()");
    let back = "return location.pathname === '/blocks' &&
        document.activeElement.matches('h1') && document.activeElement.textContent === 'Blocks'";
    browser.wait_until("the focus on the heading of the previous page", back);
    browser.execute("document.querySelector('.skip').click()");
    browser.wait_until("the jump", "return location.hash === '#main'");
    let busy = "return document.querySelector('main').hasAttribute('aria-busy')";
    assert_eq!(browser.execute(busy), json!(false), "the page was rendered again");
    fixture.assert_not_reloaded();
}

/// Drops whatever peers send.
struct NoWriter;

impl p2p::Submit for NoWriter {
    async fn submit_block(&self, _: Submission, _: p2p::BlockReply) {}
    async fn submit_transfer(&self, _: Arc<Transfer>, _: p2p::TransferReply) {}
}

// R22
#[test]
fn foreign_text_is_never_parsed_as_markup() {
    let Some(fixture) = Fixture::new() else { return };
    let attack =
        "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>";
    let agent = "<script>document.title='hit'</script>";
    let memo = Memo::new(attack.into()).unwrap();
    let payment = Payment { nonce: 0, recipient: test_address(5), amount: 5, fee: 1_000, memo };
    let id = fixture.submit(&sign(payment, &dev_key(1)));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_sender, receiver) = broadcast::channel::<ChainUpdate>(8);
    let config = p2p::Config {
        listen: Vec::new(),
        peers: vec![fixture.node.multiaddr().parse().unwrap()],
        boot_nodes: Vec::new(),
        max_peers: 8,
        max_upload: 0,
        discover: false,
        mdns: false,
        allowed_peers: Vec::new(),
        network_key: None,
        trusted: Vec::new(),
        external_addresses: Vec::new(),
        data: folder.path().to_owned(),
        agent: agent.to_owned(),
    };
    let ledger_folder = folder.path().join("ledger");
    fs::create_dir(&ledger_folder).unwrap();
    let options = Options { cache_bytes: 1 << 20, threads: 1, ..Options::default() };
    let (mut writer, reader) =
        ledger::open(&ledger_folder, Params::dev(), &options, &mut |_| {}).unwrap();
    for block in fixture.test_chain.blocks() {
        writer.submit_block(block.clone(), block.header.time).unwrap();
    }
    writer.commit().unwrap();
    let spawned = p2p::spawn(config, reader, NoWriter, receiver);
    let _peer = runtime.block_on(spawned).unwrap();
    let peers = || fixture.node.get("/v1/peers").json()["items"].as_array().unwrap().len();
    eventually("a peer", || (peers() == 1).then_some(()));

    for (path, text) in [(format!("/tx/{id}"), attack), ("/peers".to_owned(), agent)] {
        fixture.open(&path);
        assert!(
            fixture.browser.main_text().contains(text),
            "{path}: {}",
            fixture.browser.main_text()
        );
        let injected =
            "return document.querySelectorAll('main img, main script, main iframe').length";
        assert_eq!(fixture.browser.execute(injected), json!(0), "{path}");
        assert_ne!(fixture.browser.execute("return document.title"), json!("hit"));
        assert_eq!(fixture.browser.console_errors(), Vec::<String>::new(), "{path}");
    }
}

fn sign(payment: Payment, key: &SecretKey) -> Transfer {
    Transfer::sign(payment, key, Params::dev().genesis_hash())
}

#[test]
fn theme_follows_the_system_until_one_is_chosen() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    let is_dark = || {
        let colour = "return getComputedStyle(document.body).backgroundColor";
        let colour = browser.execute(colour).as_str().unwrap().to_owned();
        let first = colour.trim_start_matches("rgb(").split(',').next().unwrap().to_owned();
        first.parse::<u8>().unwrap() < 128
    };
    browser.set_color_scheme("light");
    fixture.open("/");
    assert!(!is_dark());
    browser.set_color_scheme("dark");
    assert!(is_dark());
    browser.click("#theme");
    assert!(!is_dark());
    fixture.open("/mempool");
    assert!(!is_dark(), "the choice was lost");
}
