//! Pages that go on without reload: blocks, payments, a node that was away.

use super::{ENTER, Visit};
use crate::browser::Browser;
use crate::forge::{RICH, key, pay, test_address, text};
use crate::harness::Node;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Adds up from now on how far things move aside for others.
fn watch_shifts(browser: &Browser) {
    let watch = "window.shifts = 0;
        window.add = (entries) => {
            for (const shift of entries) window.shifts += shift.value;
        };
        window.watcher = new PerformanceObserver((list) => add(list.getEntries()));
        watcher.observe({ type: 'layout-shift' });";
    browser.run(watch);
}

/// Checks that nothing has.
fn nothing_shifted(browser: &Browser) {
    // What moved last is known once it was drawn.
    let shifts = "const done = arguments[arguments.length - 1];
        requestAnimationFrame(() => requestAnimationFrame(() => {
            add(watcher.takeRecords());
            done(window.shifts);
        }));";
    assert_eq!(browser.run_async(shifts).as_f64(), Some(0.0));
}

#[test]
fn a_tab_that_nobody_saw_shows_what_happened_meanwhile() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    visit.stay("/blocks");
    browser.awaits_text(".live", "live");
    let become_hidden = |hidden: bool| {
        browser.run(&format!(
            "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});
             document.dispatchEvent(new Event('visibilitychange'))"
        ));
    };
    become_hidden(true);
    visit.node.generate(1, &text(test_address(7))).unwrap();
    become_hidden(false);
    browser.awaits_text("tbody tr:first-child a", "13");
    visit.stayed();
}

#[test]
fn what_happens_while_a_page_is_read_is_shown() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    visit.stay("/mempool");
    browser.awaits_text(".live", "live");
    // The first answer about blocks is held back until the event has come.
    browser.run(
        "const real = window.fetch;
         window.fetch = async (url, options) => {
             if (url === '/v1/chain' && window.release) window.heard = true;
             const answer = await real(url, options);
             if (!url.startsWith('/v1/blocks?') || window.release) return answer;
             await new Promise((done) => { window.release = done; });
             return answer;
         };
         document.querySelector('nav a[href=\"/blocks\"]').click()",
    );
    browser.awaits("an answer", "return Boolean(window.release)");
    visit.node.generate(1, &text(test_address(7))).unwrap();
    browser.awaits("the event", "return window.heard === true");
    browser.run("release()");
    browser.awaits_text("tbody tr:first-child a", "13");
    visit.stayed();
}

#[test]
fn the_focus_stays_while_what_is_around_it_changes() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    visit.stay("/mining");
    browser.awaits_text(".live", "live");
    browser.run("document.querySelector('.shares a').focus()");
    visit.node.generate(1, &text(test_address(1))).unwrap();
    browser.awaits_text(".shares .text", "13 ·");
    let kept = "return document.activeElement.matches('.shares a')";
    assert_eq!(browser.run(kept), json!(true));
    visit.stayed();
}

#[test]
fn what_happens_appears_without_reload_and_nothing_moves_aside_for_it() {
    let Some(visit) = Visit::new() else { return };
    visit.stay("/");
    watch_shifts(&visit.browser);
    visit.browser.awaits_text(".live", "live");
    visit.browser.awaits_text(".strip li:first-child strong", "12");

    let sent = visit.send(&pay(&key(RICH[1]), 0, test_address(5), 4_200_000_000));
    let link = format!(".list a[href='/tx/{sent}']");
    let state =
        format!("return document.querySelector(\"{link}\")?.closest('li').textContent.includes");
    visit.browser.awaits("a transfer that waits", &format!("{state}('waiting')"));
    // The others wait too, so the block of another chain would not be the next one.
    let made = visit.node.generate(1, &text(test_address(7))).unwrap();
    visit.browser.awaits_text(".strip li:first-child strong", "13");
    visit.browser.awaits_text(".tiles .value", "13");
    visit.browser.awaits("a confirmed transfer", &format!("{state}('block 13')"));
    let first = "return document.querySelector('.strip li:first-child a').getAttribute('href')";
    assert_eq!(visit.browser.run(first), json!(format!("/block/{}", made[0])));
    nothing_shifted(&visit.browser);

    // Confirmations count up on the page of a transaction.
    visit.browser.click(&link);
    visit.browser.settled();
    visit.browser.awaits_text(".heading .badge", "1 confirmation");
    visit.node.generate(4, &text(test_address(7))).unwrap();
    visit.browser.awaits_text(".heading .badge", "5 confirmations");
    visit.stayed();
}

/// Has the page wait with the request for further rows until `release` is called.
fn hold_more(visit: &Visit) {
    visit.stay("/blocks");
    visit.browser.awaits_text(".live", "live");
    visit.browser.run(
        "const real = window.fetch;
         window.fetch = async (url, options) => {
             if (url === '/v1/chain' && window.release) window.heard = true;
             if (url.includes('cursor=')) await new Promise((done) => { window.release = done; });
             return real(url, options);
         };",
    );
    visit.browser.click(".more");
    visit.browser.awaits("a request", "return Boolean(window.release)");
}

#[test]
fn no_row_is_lost_when_a_block_comes_while_more_are_read() {
    let Some(mut visit) = Visit::new() else { return };
    visit.mine(30);
    hold_more(&visit);
    visit.node.generate(2, &text(test_address(7))).unwrap();
    visit.browser.awaits("the events", "return window.heard === true");
    visit.browser.run("release()");
    let rows = "return document.querySelectorAll('tbody tr').length > 25";
    visit.browser.awaits("more rows", rows);
    let gaps = "const heights = [...document.querySelectorAll('tbody tr a:first-child')]
            .filter((one) => one.closest('td').cellIndex === 0)
            .map((one) => Number(one.textContent));
        return heights.filter((height, place) => place && height !== heights[place - 1] - 1)";
    assert_eq!(visit.browser.run(gaps), json!([]));
    visit.stayed();
}

#[test]
fn a_list_that_begins_again_after_a_reorganisation_says_so() {
    let Some(mut visit) = Visit::new() else { return };
    visit.mine(30);
    hold_more(&visit);
    let lost = visit.node.get("/v1/blocks/15").json()["hash"].clone();
    visit.node.send("POST", "/v1/dev/invalidate", &json!({ "hash": lost }));
    visit.browser.run("release()");
    visit.browser.awaits_text(".table .error", "begins again");
    visit.browser.awaits_text("tbody tr:first-child a", "14");
    let said = "return document.querySelector('.table .error').offsetHeight > 0";
    assert_eq!(visit.browser.run(said), json!(true));
}

#[test]
fn a_token_that_no_node_has_is_not_taken_for_a_node_that_is_away() {
    let Some(visit) = Visit::new() else { return };
    visit.stay("/dev");
    visit.browser.click(".card:first-child form .primary");
    visit.browser.type_into("#token", &format!("wr\u{f6}ng {ENTER}"));
    visit.browser.awaits_text("dialog .error", "does not take this token");
    visit.stayed();
}

#[test]
fn fifty_blocks_arrive_and_nothing_is_moved_or_loaded_again() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    let pages = [
        ("/", ".strip li:first-child strong", "62"),
        ("/blocks", "tbody tr:first-child a", "112"),
        ("/forks", ".axis", "160"),
        ("/mining", ".shares .text", "200 · 100 %"),
    ];
    for (path, place, newest) in pages {
        visit.stay(path);
        let fading = "return document.querySelectorAll('.entering').length";
        assert_eq!(browser.run(fading), json!(0), "{path}: what was there before does not fade in");
        watch_shifts(browser);
        for _ in 0..50 {
            visit.node.generate(1, &text(test_address(7))).unwrap();
        }
        browser.awaits_text(place, newest);
        nothing_shifted(browser);
        visit.stayed();
    }
}

#[test]
fn on_dev_a_visitor_makes_blocks_and_pays() {
    let Some(visit) = Visit::new() else { return };
    let browser = &visit.browser;
    visit.stay("/dev");

    // An order that fails for another reason does not ask for the token again.
    browser.type_into(".card:nth-child(2) [name=address]", "nobody");
    browser.click(".card:nth-child(2) .primary");
    browser.type_into("#token", &format!("wrong{ENTER}"));
    browser.awaits_text("dialog .error", "does not take this token");
    browser.type_into("dialog #token", &format!("{}{ENTER}", visit.node.token()));
    browser.awaits_text(".card:nth-child(2) .result", "address");
    browser.run("document.querySelector('[name=address]').value = ''");
    browser.click(".card:first-child form .primary");
    browser.awaits_text(".result", "1 block made");
    assert_eq!(browser.complaints().len(), 2, "the browser tells of the 401 and the 422");
    assert_eq!(visit.node.tip().height, 13);
    let kept = "return [localStorage.length, sessionStorage.length, document.cookie]";
    assert_eq!(browser.run(kept), json!([0, 1, ""]), "the token is of this tab alone");

    // The faucet pays without asking for the token again.
    browser.type_into("[name=address]", &text(test_address(8)));
    browser.click(".card:nth-child(2) .primary");
    browser.awaits_text(".card:nth-child(2) .result", "Paid");
    visit.node.generate(1, &text(test_address(1))).unwrap();
    let paid = visit.node.get(&format!("/v1/accounts/{}", text(test_address(8)))).json();
    assert_eq!(paid["balance"], json!(10_000_000_000_u64));

    // A mining job is started, seen and done; who is paid need not be said.
    browser.click(".inline-form .primary");
    browser.awaits_text(".jobs .badge", "succeeded");
    browser.awaits_text(".jobs .job", "10 of 10 blocks");
    assert_eq!(browser.complaints().len(), 1, "the browser tells of the 422");

    // A key of this tab is paid for blocks, and pays test_address.
    browser.click(".card:nth-child(3) .primary");
    browser.awaits_text(".card:nth-child(3)", "This tab’s address");
    let own = "return document.querySelector('.card:nth-child(3) .mid').title";
    let own = browser.run(own).as_str().unwrap().to_owned();
    let maturity = visit.node.get("/v1/chain/params").json()["maturity"].as_u64().unwrap();
    visit.node.generate(u32::try_from(maturity).unwrap() + 1, &own).unwrap();
    browser.type_into("[name=recipient]", &text(test_address(9)));
    browser.type_into("[name=memo]", "from a tab");
    browser.awaits(
        "money",
        "return /It may spend\\s*50/.test(document.querySelector('.card:nth-child(3)').innerText)",
    );
    browser.click(".card:nth-child(3) form .primary");
    browser.awaits_text(".card:nth-child(3) .result", "Sent for a fee");
    // From sending to confirmation, on the pages alone.
    browser.click(".card:nth-child(3) .result a");
    browser.settled();
    browser.awaits_text(".heading .badge", "waiting");
    browser.awaits_text("main", "Nothing to prove yet");
    visit.node.generate(1, &text(test_address(1))).unwrap();
    browser.awaits_text(".heading .badge", "1 confirmation");
    browser.awaits_text(".verdict", "checked here");
    browser.awaits_text(".foreign", "from a tab");
    browser.awaits_text("a[download]", "Download");
    let paid = visit.node.get(&format!("/v1/accounts/{}", text(test_address(9)))).json();
    assert_eq!(paid["balance"], json!(100_000_000));
    visit.stayed();
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
    node.generate(2, &text(test_address(1))).unwrap();
    browser.awaits_text(".strip li:first-child strong", "14");
    browser.awaits_text(".live", "live");
    assert_eq!(browser.run("return window.same"), json!(true));
}

#[test]
fn reorganisations_that_the_node_no_longer_knows_are_not_shown_on() {
    let Some(visit) = Visit::new() else { return };
    let Visit { browser, node, _folder: folder, .. } = visit;
    let (url, data) = (node.url(), folder.path().join("data"));
    browser.visit(&format!("{url}/forks"));
    browser.awaits_text(".log", "None so far");
    node.send("POST", "/v1/dev/invalidate", &json!({ "hash": node.tip().hash }));
    browser.awaits_text(".log", "set aside");
    node.kill();
    browser.awaits_text(".live", "away");
    fs::remove_dir_all(data.join("events")).unwrap();
    let _node = back(&data, &url);
    browser.awaits_text(".log", "None so far");
}

/// A node where one was before.
fn back(data: &Path, url: &str) -> Node {
    Node::start(data, &["--api", url.strip_prefix("http://").unwrap()])
}
