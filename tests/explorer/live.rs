//! Pages that update without a reload: new blocks, payments, a restarted node.

use super::{ENTER, Fixture};
use crate::browser::Browser;
use crate::harness::{Node, eventually};
use crate::test_chain::{dev_key, pay, test_address, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Sums up layout shifts from now on.
fn observe_layout_shifts(browser: &Browser) {
    let script = "window.shifts = 0;
        window.add = (entries) => {
            for (const shift of entries) window.shifts += shift.value;
        };
        window.watcher = new PerformanceObserver((list) => add(list.getEntries()));
        watcher.observe({ type: 'layout-shift' });";
    browser.execute(script);
}

/// Asserts that there were no layout shifts.
fn assert_no_layout_shift(browser: &Browser) {
    // The observer reports the last shift after the next frame.
    let shifts = "const done = arguments[arguments.length - 1];
        requestAnimationFrame(() => requestAnimationFrame(() => {
            add(watcher.takeRecords());
            done(window.shifts);
        }));";
    assert_eq!(browser.execute_async(shifts).as_f64(), Some(0.0));
}

#[test]
fn hidden_tab_catches_up_when_it_becomes_visible() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    fixture.open_and_mark("/blocks");
    browser.wait_for_text(".live", "live");
    let set_hidden = |hidden: bool| {
        browser.execute(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});
             document.dispatchEvent(new Event('visibilitychange'))"
        ));
    };
    set_hidden(true);
    fixture.node.generate(1, &text(test_address(7))).unwrap();
    set_hidden(false);
    browser.wait_for_text("tbody tr:first-child a", "13");
    fixture.assert_not_reloaded();
}

// Browsers open at most six connections to a host, and a window that is visible keeps its stream.
#[test]
fn ten_windows_follow_the_chain_over_one_event_stream() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    for number in 0..10 {
        if number > 0 {
            browser.open_window();
        }
        // The page of forks replays the log too.
        fixture.open(["/", "/forks"][number % 2]);
        assert_eq!(browser.execute("return document.hidden"), json!(false));
        browser.wait_for_text(".live", "live");
    }
    let metrics = fixture.node.get("/metrics");
    let readers = metrics.text().lines().find(|line| line.starts_with("chain_event_readers "));
    assert_eq!(readers, Some("chain_event_readers 2"));
    fixture.node.generate(1, &text(test_address(7))).unwrap();
    fixture.open("/");
    browser.wait_for_text(".strip li:first-child strong", "13");
}

#[test]
fn event_during_the_first_read_of_a_page_is_not_lost() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    fixture.open_and_mark("/mempool");
    browser.wait_for_text(".live", "live");
    // The first response with blocks is delayed until the event has arrived.
    browser.execute(
        "const real = window.fetch;
         window.fetch = async (url, options) => {
             if (url === '/v1/chain' && window.release) window.isReceived = true;
             const response = await real(url, options);
             if (!url.startsWith('/v1/blocks?') || window.release) return response;
             await new Promise((done) => { window.release = done; });
             return response;
         };
         document.querySelector('nav a[href=\"/blocks\"]').click()",
    );
    browser.wait_until("a response", "return Boolean(window.release)");
    fixture.node.generate(1, &text(test_address(7))).unwrap();
    browser.wait_until("the event", "return window.isReceived === true");
    browser.execute("release()");
    browser.wait_for_text("tbody tr:first-child a", "13");
    fixture.assert_not_reloaded();
}

#[test]
fn focus_stays_while_the_list_around_it_changes() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    fixture.open_and_mark("/mining");
    browser.wait_for_text(".live", "live");
    browser.execute("document.querySelector('.breakdown a').focus()");
    fixture.node.generate(1, &text(test_address(1))).unwrap();
    browser.wait_for_text(".breakdown .text", "13 ·");
    let is_focused = "return document.activeElement.matches('.breakdown a')";
    assert_eq!(browser.execute(is_focused), json!(true));
    fixture.assert_not_reloaded();
}

#[test]
fn blocks_and_transfers_appear_without_reload_or_layout_shift() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.open_and_mark("/");
    observe_layout_shifts(&fixture.browser);
    fixture.browser.wait_for_text(".live", "live");
    fixture.browser.wait_for_text(".strip li:first-child strong", "12");

    let sent = fixture.submit(&pay(&dev_key(1), 0, test_address(5), 4_200_000_000));
    let link = format!(".list a[href='/tx/{sent}']");
    let state =
        format!("return document.querySelector(\"{link}\")?.closest('li').textContent.includes");
    fixture.browser.wait_until("a pending transfer", &format!("{state}('pending')"));
    let mined = fixture.node.generate(1, &text(test_address(7))).unwrap();
    fixture.browser.wait_for_text(".strip li:first-child strong", "13");
    fixture.browser.wait_for_text(".tiles .value", "13");
    fixture.browser.wait_until("a confirmed transfer", &format!("{state}('block 13')"));
    let first = "return document.querySelector('.strip li:first-child a').getAttribute('href')";
    assert_eq!(fixture.browser.execute(first), json!(format!("/block/{}", mined[0])));
    assert_no_layout_shift(&fixture.browser);

    // Confirmations count up on the page of a transaction.
    fixture.browser.click(&link);
    fixture.browser.wait_for_page();
    fixture.browser.wait_for_text(".heading .badge", "1 confirmation");
    fixture.node.generate(4, &text(test_address(7))).unwrap();
    fixture.browser.wait_for_text(".heading .badge", "5 confirmations");
    fixture.assert_not_reloaded();
}

/// Requests more rows and delays the request until the page calls `release`.
fn delay_next_page(fixture: &Fixture) {
    fixture.open_and_mark("/blocks");
    fixture.browser.wait_for_text(".live", "live");
    fixture.browser.execute(
        "const real = window.fetch;
         window.fetch = async (url, options) => {
             if (url === '/v1/chain' && window.release) window.isReceived = true;
             if (url.includes('cursor=')) await new Promise((done) => { window.release = done; });
             return real(url, options);
         };",
    );
    fixture.browser.click(".more");
    fixture.browser.wait_until("a request", "return Boolean(window.release)");
}

#[test]
fn block_during_the_read_of_more_rows_loses_no_row() {
    let Some(mut fixture) = Fixture::new() else { return };
    fixture.connect_blocks(30);
    delay_next_page(&fixture);
    fixture.node.generate(2, &text(test_address(7))).unwrap();
    fixture.browser.wait_until("the events", "return window.isReceived === true");
    fixture.browser.execute("release()");
    let rows = "return document.querySelectorAll('tbody tr').length > 25";
    fixture.browser.wait_until("more rows", rows);
    let gaps = "const heights = [...document.querySelectorAll('tbody tr a:first-child')]
            .filter((link) => link.closest('td').cellIndex === 0)
            .map((link) => Number(link.textContent));
        return heights.filter((height, index) => index && height !== heights[index - 1] - 1)";
    assert_eq!(fixture.browser.execute(gaps), json!([]));
    fixture.assert_not_reloaded();
}

#[test]
fn list_that_restarts_after_a_reorganisation_shows_a_message() {
    let Some(mut fixture) = Fixture::new() else { return };
    fixture.connect_blocks(30);
    delay_next_page(&fixture);
    let disconnected = fixture.node.get("/v1/blocks/15").json()["hash"].clone();
    fixture.node.send("POST", "/v1/dev/invalidate", &json!({ "hash": disconnected }));
    fixture.browser.execute("release()");
    fixture.browser.wait_for_text(".table .error", "restarts from the top");
    fixture.browser.wait_for_text("tbody tr:first-child a", "14");
    let is_visible = "return document.querySelector('.table .error').offsetHeight > 0";
    assert_eq!(fixture.browser.execute(is_visible), json!(true));
}

#[test]
fn malformed_token_is_rejected_without_a_request() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.open_and_mark("/dev");
    fixture.browser.click(".card:first-child form .primary");
    fixture.browser.type_into("#token", &format!("wr\u{f6}ng {ENTER}"));
    fixture.browser.wait_for_text("dialog .error", "rejected this token");
    fixture.assert_not_reloaded();
}

#[test]
fn fifty_blocks_arrive_without_reload_or_layout_shift() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    let pages = [
        ("/", ".strip li:first-child strong", "62"),
        ("/blocks", "tbody tr:first-child a", "112"),
        ("/forks", ".axis", "160"),
        ("/mining", ".breakdown .text", "200 · 100 %"),
    ];
    for (path, selector, newest) in pages {
        fixture.open_and_mark(path);
        let entering = "return document.querySelectorAll('.entering').length";
        assert_eq!(browser.execute(entering), json!(0), "{path}: existing items fade in");
        observe_layout_shifts(browser);
        for _ in 0..50 {
            fixture.node.generate(1, &text(test_address(7))).unwrap();
        }
        browser.wait_for_text(selector, newest);
        assert_no_layout_shift(browser);
        fixture.assert_not_reloaded();
    }
}

#[test]
fn developer_page_generates_blocks_and_sends_a_payment() {
    let Some(fixture) = Fixture::new() else { return };
    let browser = &fixture.browser;
    fixture.open_and_mark("/dev");

    // A request that fails for another reason does not ask for the token again.
    browser.type_into(".card:nth-child(2) [name=address]", "invalid");
    browser.click(".card:nth-child(2) .primary");
    browser.type_into("#token", &format!("wrong{ENTER}"));
    browser.wait_for_text("dialog .error", "rejected this token");
    browser.type_into("dialog #token", &format!("{}{ENTER}", fixture.node.token()));
    browser.wait_for_text(".card:nth-child(2) .result", "address");
    browser.execute("document.querySelector('[name=address]').value = ''");
    browser.click(".card:first-child form .primary");
    browser.wait_for_text(".result", "Generated 1 block");
    assert_eq!(browser.console_errors().len(), 2, "the console shows the 401 and the 422");
    assert_eq!(fixture.node.tip().height, 13);
    let stored = "return [localStorage.length, sessionStorage.length, document.cookie]";
    assert_eq!(browser.execute(stored), json!([0, 1, ""]), "the token is stored in this tab only");

    // The faucet pays without asking for the token again.
    browser.type_into("[name=address]", &text(test_address(8)));
    browser.click(".card:nth-child(2) .primary");
    browser.wait_for_text(".card:nth-child(2) .result", "Sent");
    fixture.node.generate(1, &text(test_address(1))).unwrap();
    let paid = fixture.node.get(&format!("/v1/accounts/{}", text(test_address(8)))).json();
    assert_eq!(paid["balance"], json!(10_000_000_000_u64));

    // A mining job runs without a payout address.
    browser.click(".inline-form .primary");
    browser.wait_for_text(".jobs .badge", "succeeded");
    browser.wait_for_text(".jobs .job", "10 of 10 blocks");
    assert_eq!(browser.console_errors().len(), 1, "the console shows the 422");

    // The temporary key receives block rewards and sends a payment.
    browser.click(".card:nth-child(3) .primary");
    browser.wait_for_text(".card:nth-child(3)", "Address of this tab");
    let own = "return document.querySelector('.card:nth-child(3) .mid').title";
    let own = browser.execute(own).as_str().unwrap().to_owned();
    let maturity = fixture.node.get("/v1/chain/params").json()["maturity"].as_u64().unwrap();
    fixture.node.generate(u32::try_from(maturity).unwrap() + 1, &own).unwrap();
    browser.type_into("[name=recipient]", &text(test_address(9)));
    browser.type_into("[name=memo]", "from a tab");
    browser.wait_until(
        "the balance",
        "return /Balance\\s*50/.test(document.querySelector('.card:nth-child(3)').innerText)",
    );
    browser.click(".card:nth-child(3) form .primary");
    browser.wait_for_text(".card:nth-child(3) .result", "Sent with a fee");
    // The pages show the transfer from submission to confirmation.
    browser.click(".card:nth-child(3) .result a");
    browser.wait_for_page();
    browser.wait_for_text(".heading .badge", "pending");
    browser.wait_for_text("main", "No proof yet");
    fixture.node.generate(1, &text(test_address(1))).unwrap();
    browser.wait_for_text(".heading .badge", "1 confirmation");
    browser.wait_for_text(".verification", "Verified in this browser");
    browser.wait_for_text(".foreign", "from a tab");
    browser.wait_for_text("a[download]", "Download");
    let paid = fixture.node.get(&format!("/v1/accounts/{}", text(test_address(9)))).json();
    assert_eq!(paid["balance"], json!(100_000_000));
    fixture.assert_not_reloaded();
}

#[test]
fn recurring_job_is_one_entry_with_its_next_run_until_it_is_cancelled() {
    let Some(fixture) = Fixture::new() else { return };
    let (node, browser) = (&fixture.node, &fixture.browser);
    let create = |mut job: Value| {
        job["miner"] = json!(text(test_address(7)));
        let created = node.send("POST", "/v1/mining/jobs", &job);
        assert_eq!(created.status, 202, "{created:?}");
        created.json()["id"].as_str().unwrap().to_owned()
    };
    let series = create(json!({ "blocks": 1, "every_seconds": 1 }));
    let path = format!("/v1/mining/jobs/{series}");
    eventually("two runs", || node.get(&path).json()["runs"].as_u64().filter(|runs| *runs >= 2));
    let later = create(json!({ "blocks": 1, "delay_seconds": 3_600 }));
    fixture.open_and_mark("/mining");
    browser.wait_for_text(".jobs > li:nth-child(2)", &later);
    let first = ".jobs > li:first-child";
    browser.wait_for_text(first, &series);
    browser.wait_for_text(first, "next run");
    // Runs that start and end later are shown in the same entry.
    let runs = node.get(&path).json()["runs"].as_u64().unwrap() + 2;
    let shown = format!(
        "return Number(document.querySelector('{first}').textContent.match(/(\\d+) runs/)?.[1]) >= {runs}"
    );
    browser.wait_until("later runs", &shown);
    let entries = "return document.querySelectorAll('.jobs > li').length";
    assert_eq!(browser.execute(entries), json!(2));
    // In one step, since each event renders the entries again.
    browser.execute(&format!("document.querySelector('{first} button').click()"));
    browser.type_into("#token", &format!("{}{ENTER}", node.token()));
    browser.wait_for_text(".jobs > li:nth-child(2) .badge", "cancelled");
    assert_eq!(node.get(&path).json()["state"], "cancelled");
    fixture.assert_not_reloaded();
}

#[test]
fn page_shows_that_the_node_is_unreachable_and_resumes_after_its_restart() {
    let Some(fixture) = Fixture::new() else { return };
    let Fixture { browser, node, _folder: folder, .. } = fixture;
    let (url, data) = (node.url(), folder.path().join("data"));
    browser.navigate(&url);
    browser.execute("window.isMarked = true");
    browser.wait_for_text(".live", "live");
    node.kill();
    browser.wait_for_text(".live", "unreachable");
    let node = restart(&data, &url);
    node.generate(2, &text(test_address(1))).unwrap();
    browser.wait_for_text(".strip li:first-child strong", "14");
    browser.wait_for_text(".live", "live");
    assert_eq!(browser.execute("return window.isMarked"), json!(true));
}

#[test]
fn reorganisations_disappear_with_the_event_log() {
    let Some(fixture) = Fixture::new() else { return };
    let Fixture { browser, node, _folder: folder, .. } = fixture;
    let (url, data) = (node.url(), folder.path().join("data"));
    browser.navigate(&format!("{url}/forks"));
    browser.wait_for_text(".log", "No reorganisations");
    node.send("POST", "/v1/dev/invalidate", &json!({ "hash": node.tip().hash }));
    browser.wait_for_text(".log", "invalidated");
    node.kill();
    browser.wait_for_text(".live", "unreachable");
    fs::remove_dir_all(data.join("events")).unwrap();
    let _node = restart(&data, &url);
    browser.wait_for_text(".log", "No reorganisations");
}

/// Starts a node again on its data directory and address.
fn restart(data: &Path, url: &str) -> Node {
    Node::start(data, &["--api", url.strip_prefix("http://").unwrap()])
}
