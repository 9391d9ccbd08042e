//! The dashboard: one page over all nodes of a testnet.

use super::Testnet;
use crate::browser::Browser;
use crate::explorer::axe;
use crate::harness::{Response, eventually, request};
use serde_json::{Value, json};

/// The dashboard of a testnet over HTTP.
struct Dashboard {
    address: String,
    token: String,
    link: String,
}

impl Dashboard {
    fn of(testnet: &Testnet) -> Dashboard {
        let link = testnet.status().0["dashboard"].as_str().unwrap().to_owned();
        let (address, token) =
            link.strip_prefix("http://").unwrap().split_once("/#token=").unwrap();
        let (address, token) = (address.to_owned(), token.to_owned());
        Dashboard { address, token, link }
    }

    fn get(&self, path: &str) -> Response {
        request(&self.address, "GET", path, &[], b"").unwrap()
    }

    fn state(&self) -> Value {
        self.get("/v1/state").json()
    }

    fn act_with(&self, headers: &[&str], action: &Value) -> Response {
        let headers = [&["Content-Type: application/json"], headers].concat();
        let body = action.to_string();
        request(&self.address, "POST", "/v1/actions", &headers, body.as_bytes()).unwrap()
    }

    /// Executes an action that must succeed, and returns its command.
    fn act(&self, action: &Value) -> String {
        let token = format!("Authorization: Bearer {}", self.token);
        let outcome = self.act_with(&[&token], action);
        assert_eq!(outcome.status, 200, "{outcome:?}");
        let outcome = outcome.json();
        assert_eq!(outcome["is_success"], true, "{outcome}");
        outcome["command"].as_str().unwrap().to_owned()
    }
}

#[test]
fn dashboard_shows_all_nodes_and_its_buttons_need_the_token() {
    let testnet = Testnet::new();
    let (_, notice) = testnet.run(&["up", "--nodes", "3", "--miners", "0", "--network", "dev"]);
    let dashboard = Dashboard::of(&testnet);
    assert!(notice.contains(&dashboard.link), "{notice}");
    assert!(testnet.run(&["status"]).0.contains(&dashboard.link));

    let page = dashboard.get("/");
    let header = |name: &str| page.header(name).unwrap_or_default().to_owned();
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert!(header("content-security-policy").contains("default-src 'self'"));
    let state = dashboard.get("/v1/state");
    assert!(!state.text().contains(&dashboard.token), "reading needs no token, and shows none");
    let state = state.json();
    let heights: Vec<&Value> =
        state["nodes"].as_array().unwrap().iter().map(|node| &node["height"]).collect();
    assert_eq!((heights, &state["tips"]), (vec![&json!(0); 3], &json!(1)));
    assert_eq!(dashboard.get("/v1/tree").json()["blocks"][0]["nodes"], json!([1, 2, 3]));
    assert_eq!(dashboard.get("/v1/chain").status, 404);

    // R31: other pages of the browser.
    let heal = json!({ "action": "heal" });
    let own = format!("Authorization: Bearer {}", dashboard.token);
    assert_eq!(dashboard.act_with(&[], &heal).status, 401);
    assert_eq!(dashboard.act_with(&["Authorization: Bearer 00"], &heal).status, 401);
    assert_eq!(dashboard.act_with(&[&own, "Origin: http://evil.example"], &heal).status, 403);
    let cross_site = ["Sec-Fetch-Site: cross-site"];
    let cross_site = request(&dashboard.address, "GET", "/v1/state", &cross_site, b"").unwrap();
    assert_eq!(cross_site.status, 403);
    for action in [json!({ "action": "down" }), json!({ "action": "kill", "node": "--help" })] {
        assert_eq!(dashboard.act_with(&[&own], &action).status, 400);
    }

    let partition = json!({ "action": "partition", "sides": [[3]] });
    assert_eq!(dashboard.act(&partition), "chain testnet partition 3");
    let partitioned = eventually("the sides", || {
        let state = dashboard.state();
        (state["sides"] == json!([[3], [1, 2]])).then_some(state)
    });
    let links = partitioned["links"].as_array().unwrap();
    assert_eq!(links.iter().filter(|link| link["is_partitioned"] == true).count(), 4);
    dashboard.act(&heal);
    dashboard.act(&json!({ "action": "kill", "node": 2 }));
    eventually("a killed node", || {
        (dashboard.state()["nodes"][1]["state"] == "killed").then_some(())
    });
    dashboard.act(&json!({ "action": "start", "node": 2 }));
    dashboard.act(&json!({ "action": "pause", "node": 2 }));
    // A paused node does not delay the others.
    eventually("a paused node", || {
        (dashboard.state()["nodes"][1]["state"] == "paused").then_some(())
    });
    dashboard.act(&json!({ "action": "resume", "node": 2 }));
    // The link outlives a restart.
    testnet.down();
    assert!(testnet.status().0["dashboard"].is_null());
    testnet.run(&["up"]);
    assert_eq!(Dashboard::of(&testnet).link, dashboard.link);
}

// genesis ─ 1 ─ 2 ─ 3
//           └─ 2 ─ 3 ─ 4 ─ … ─ 1,004
#[test]
fn fork_is_still_on_the_dashboard_a_thousand_blocks_later() {
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "2", "--miners", "0", "--network", "dev"]);
    let dashboard = Dashboard::of(&testnet);
    dashboard.state();
    testnet.generate(1, 3);
    testnet.run(&["wait", "--agree"]);
    assert_eq!(
        dashboard.act(&json!({ "action": "reorg", "depth": 2 })),
        "chain testnet reorg --depth 2"
    );
    testnet.generate(1, 1_000);
    testnet.run(&["wait", "--height", "1004"]);
    let state = eventually("the fork on both nodes", || {
        let state = dashboard.state();
        let is_complete = state["branches"][0]["nodes"] == json!([1, 2])
            && state["reorgs"][0]["nodes"] == json!([1, 2]);
        is_complete.then_some(state)
    });
    let branch = &state["branches"][0];
    assert_eq!((&branch["height"], &branch["length"]), (&json!(3), &json!(2)));
    let reorg = &state["reorgs"][0];
    assert_eq!(
        (&reorg["fork_height"], &reorg["depth"], &reorg["connected"]),
        (&json!(1), &json!(2), &json!(3))
    );
    let count = |query: &str, is_best: bool| {
        let tree = dashboard.get(&format!("/v1/tree{query}")).json();
        let blocks = tree["blocks"].as_array().unwrap().clone();
        blocks.iter().filter(|block| block["isBest"] == is_best).count()
    };
    assert_eq!((count("?height=1", true), count("?height=1", false)), (50, 2));
    assert_eq!((count("", true), count("", false)), (50, 0));
    // Propagation is measured at every node.
    eventually("the arrivals of the newest block", || {
        let newest = dashboard.state()["blocks"][0].clone();
        let is_complete = newest["height"] == 1_004
            && newest["arrivals"].as_object().is_some_and(|nodes| nodes.len() == 2);
        is_complete.then_some(())
    });
}

#[test]
fn buttons_of_the_dashboard_cause_faults_and_reorganisations() {
    let Some(browser) = Browser::open() else { return };
    let testnet = Testnet::new();
    testnet.run(&["up", "--nodes", "4", "--miners", "0", "--network", "dev"]);
    let dashboard = Dashboard::of(&testnet);
    testnet.generate(1, 5);
    browser.navigate(&dashboard.link);
    // The token is in no address, and stays in this tab.
    assert_eq!(
        browser.execute("return location.href"),
        json!(format!("http://{}/", dashboard.address))
    );
    assert_eq!(browser.execute("return [localStorage.length, document.cookie]"), json!([0, ""]));
    browser.wait_for_text(".live", "live");

    browser.click(".choices input[value='1']");
    browser.click(".fault .primary");
    browser.wait_for_text(".command code", "chain testnet partition 1");
    browser.wait_for_text(".tiles > :nth-child(2)", "partition 1 | 2,3,4");
    browser.wait_until(
        "two links",
        "return document.querySelectorAll('.link.partitioned').length === 2",
    );
    testnet.generate(1, 1);
    testnet.generate(2, 2);
    browser.wait_for_text(".tiles > :nth-child(2) .value", "2");
    browser.wait_until("both tips in the tree", "return [...document.querySelectorAll('.nodes .label')].some((label) => label.textContent === '2 3 4')");
    browser.click(".fault .actions button:not(.primary)");
    browser.wait_for_text(".tiles > :nth-child(2)", "all agree");
    browser.wait_for_text(".log", "1 block above 5 replaced by 2");

    // A link is chosen in the graph.
    browser.execute(
        "document.querySelector('.link').dispatchEvent(new MouseEvent('click', { bubbles: true }))",
    );
    browser.execute("document.querySelector('[name=latency]').value = '40'");
    browser.click(".fault:nth-child(2) .primary");
    browser.wait_for_text(".command code", "--latency 40ms");
    browser.wait_until("a bad link", "return document.querySelectorAll('.link.bad').length === 1");
    browser.execute("document.querySelector('[name=depth]').value = '2'");
    browser.click(".fault:nth-child(3) .primary");
    browser.wait_for_text(".command .output", "nodes reorganised");
    // The table may be rendered again between the search for the button and the click.
    browser.execute("document.querySelector('[data-key=\"kill-3\"]').click()");
    browser.wait_until(
        "a node to start",
        "return document.querySelector('[data-key=\"start-3\"]') !== null",
    );
    assert_eq!(browser.console_errors(), Vec::<String>::new());

    assert_accessible(&browser, &dashboard);
    // Another tab has no token, and its buttons are disabled.
    browser.open_window();
    browser.navigate(&format!("http://{}/", dashboard.address));
    browser.wait_for_text(".notice", "chain testnet status");
    assert_eq!(
        browser.execute("return document.querySelector('.fault .primary').disabled"),
        json!(true)
    );
}

/// Asserts that the page is accessible and fits wide and narrow screens in both themes.
fn assert_accessible(browser: &Browser, dashboard: &Dashboard) {
    let axe = axe();
    for (theme, is_phone) in [("light", false), ("dark", false), ("light", true), ("dark", true)] {
        browser.set_color_scheme(theme);
        if is_phone {
            browser.emulate_phone();
        }
        browser.navigate(&format!("http://{}/", dashboard.address));
        assert!(!browser.is_too_wide(), "{theme}, phone: {is_phone}");
        if let Some(axe) = &axe {
            browser.execute(axe);
            assert_eq!(browser.accessibility_violations(), Vec::<Value>::new(), "{theme}");
        }
    }
}
