//! A real browser, steered through its driver: the few commands of WebDriver that the tests need.
//! Source: W3C "WebDriver"; `goog/cdp` and `se/log` are Chromium's.

use crate::harness::{eventually, request, skip};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A browser with one window of its own. Dropped, it is closed.
pub struct Browser {
    driver: Child,
    address: String,
    session: String,
}

impl Browser {
    /// Opens one; none where there is no driver on the `PATH`, which is then said.
    pub fn open() -> Option<Browser> {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let Ok(mut driver) = command.spawn() else {
            skip("the explorer is tested only where chromedriver and Chromium are installed");
            return None;
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            let (_, rest) = line.split_once("successfully on port ")?;
            rest.trim_end_matches('.').parse::<u16>().ok()
        });
        // What it says later is read by nobody, and must not stop it.
        std::thread::spawn(move || lines.for_each(drop));
        let address = format!("127.0.0.1:{}", port.expect("chromedriver tells its port"));
        let mut browser = Browser { driver, address, session: String::new() };
        let options = json!({ "args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--window-size=1400,900",
        ]});
        let capabilities = json!({ "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" },
        }});
        let opened = browser.command("POST", "/session", &json!({ "capabilities": capabilities }));
        browser.session = format!("/session/{}", opened["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        let path = format!("{}{path}", self.session);
        let headers = ["Content-Type: application/json"];
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let answer = request(&self.address, method, &path, &headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["value"].clone()
    }

    /// Goes to a URL and waits until its page is there.
    pub fn visit(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
        self.settled();
    }

    /// Waits until the page that is wanted is shown.
    pub fn settled(&self) {
        let ready = "const main = document.querySelector('main');
            return main.querySelector('h1') !== null && !main.hasAttribute('aria-busy')";
        self.awaits("a page", ready);
    }

    /// Runs the body of a function in the page: what it returns.
    pub fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The same for one that calls its last argument when it is done.
    pub fn run_async(&self, script: &str) -> Value {
        self.command("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns what is true.
    pub fn awaits(&self, what: &str, script: &str) {
        eventually(what, || (self.run(script) == json!(true)).then_some(()));
    }

    /// Waits until the first element of a selector holds a text.
    pub fn awaits_text(&self, selector: &str, text: &str) {
        let wanted = format!(
            "return document.querySelector({})?.textContent.includes({}) ?? false",
            json!(selector),
            json!(text)
        );
        self.awaits(&format!("{selector} with {text}"), &wanted);
    }

    /// The text of the page's main part.
    pub fn text(&self) -> String {
        let text = self.run("return document.querySelector('main').innerText");
        text.as_str().unwrap().to_owned()
    }

    /// Path and query of the page's URL.
    pub fn place(&self) -> String {
        let place = self.run("return location.pathname + location.search");
        place.as_str().unwrap().to_owned()
    }

    fn element(&self, selector: &str) -> String {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", &by);
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        format!("/element/{id}")
    }

    /// Clicks as a person does: what is covered or unseen cannot be.
    pub fn click(&self, selector: &str) {
        self.command("POST", &format!("{}/click", self.element(selector)), &json!({}));
    }

    /// Types; `\u{e007}` is the Enter key.
    pub fn type_into(&self, selector: &str, text: &str) {
        let path = format!("{}/value", self.element(selector));
        self.command("POST", &path, &json!({ "text": text }));
    }

    /// Presses a key wherever the focus is.
    pub fn press(&self, key: &str) {
        let press = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keys = json!([{ "type": "key", "id": "keys", "actions": press }]);
        self.command("POST", "/actions", &json!({ "actions": keys }));
    }

    /// Has Chromium behave as another device.
    pub fn emulate(&self, command: &str, parameters: &Value) {
        let command = json!({ "cmd": format!("Emulation.{command}"), "params": parameters });
        self.command("POST", "/goog/cdp/execute", &command);
    }

    /// As wide as a phone.
    pub fn become_phone(&self) {
        let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.emulate("setDeviceMetricsOverride", &phone);
    }

    /// The theme that its system asks for.
    pub fn prefer(&self, theme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.emulate("setEmulatedMedia", &json!({ "features": features }));
    }

    /// Errors and warnings of the console since it was last asked for them.
    pub fn complaints(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap().iter();
        let worse =
            entries.filter(|entry| ["SEVERE", "WARNING"].iter().any(|l| entry["level"] == *l));
        worse.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = request(&self.address, "DELETE", &self.session, &[], b"");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
