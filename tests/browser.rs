//! A WebDriver client: controls a real browser with the few commands that the tests need.
//! Source: W3C "WebDriver"; `goog/cdp` and `se/log` are extensions of Chromium.

use crate::harness::{eventually, request, skip};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A browser with one window, closed on drop.
pub struct Browser {
    driver: Child,
    address: String,
    session: String,
}

impl Browser {
    /// Starts a browser. `None`, with a line on standard error, if no driver is on the `PATH`.
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
        // A full pipe would block the driver.
        std::thread::spawn(move || lines.for_each(drop));
        let address = format!("127.0.0.1:{}", port.expect("chromedriver prints its port"));
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
        let response = request(&self.address, method, &path, &headers, body.as_bytes()).unwrap();
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        response.json()["value"].clone()
    }

    /// Opens one more window, which the following commands control.
    pub fn open_window(&self) {
        let window = self.command("POST", "/window/new", &json!({ "type": "window" }));
        self.command("POST", "/window", &json!({ "handle": window["handle"] }));
    }

    /// Opens a URL and waits until its page is rendered.
    pub fn navigate(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url }));
        self.wait_for_page();
    }

    /// Waits until the explorer has rendered the page of the current URL.
    pub fn wait_for_page(&self) {
        let is_rendered = "const main = document.querySelector('main');
            return main.querySelector('h1') !== null && !main.hasAttribute('aria-busy')";
        self.wait_until("a page", is_rendered);
    }

    /// Runs a script, the body of a function, in the page and returns its result.
    pub fn execute(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Runs a script that passes its result to the callback in its last argument.
    pub fn execute_async(&self, script: &str) -> Value {
        self.command("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Waits until a script returns `true`; `what` names the condition in the error.
    pub fn wait_until(&self, what: &str, script: &str) {
        eventually(what, || (self.execute(script) == json!(true)).then_some(()));
    }

    /// Waits until the first element that matches a selector contains a text.
    pub fn wait_for_text(&self, selector: &str, text: &str) {
        let contains = format!(
            "return document.querySelector({})?.textContent.includes({}) ?? false",
            json!(selector),
            json!(text)
        );
        self.wait_until(&format!("{selector} with {text}"), &contains);
    }

    /// The visible text of the main element.
    pub fn main_text(&self) -> String {
        let text = self.execute("return document.querySelector('main').innerText");
        text.as_str().unwrap().to_owned()
    }

    /// The path and query of the current URL.
    pub fn current_path(&self) -> String {
        let path = self.execute("return location.pathname + location.search");
        path.as_str().unwrap().to_owned()
    }

    fn element(&self, selector: &str) -> String {
        let by = json!({ "using": "css selector", "value": selector });
        let found = self.command("POST", "/element", &by);
        let id = found.as_object().unwrap().values().next().unwrap().as_str().unwrap();
        format!("/element/{id}")
    }

    /// Clicks an element. Fails, as for a user, if it is covered or invisible.
    pub fn click(&self, selector: &str) {
        self.command("POST", &format!("{}/click", self.element(selector)), &json!({}));
    }

    /// Types a text into an element; `\u{e007}` is the Enter key.
    pub fn type_into(&self, selector: &str, text: &str) {
        let path = format!("{}/value", self.element(selector));
        self.command("POST", &path, &json!({ "text": text }));
    }

    /// Presses a key in the focused element.
    pub fn press(&self, key: &str) {
        let press = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key }));
        let keys = json!([{ "type": "key", "id": "keys", "actions": press }]);
        self.command("POST", "/actions", &json!({ "actions": keys }));
    }

    /// Sends a command of Chromium's device emulation.
    pub fn emulate(&self, command: &str, parameters: &Value) {
        let command = json!({ "cmd": format!("Emulation.{command}"), "params": parameters });
        self.command("POST", "/goog/cdp/execute", &command);
    }

    /// Emulates the screen of a phone.
    pub fn emulate_phone(&self) {
        let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        self.emulate("setDeviceMetricsOverride", &phone);
    }

    /// Emulates the colour scheme that the system prefers.
    pub fn set_color_scheme(&self, theme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": theme }]);
        self.emulate("setEmulatedMedia", &json!({ "features": features }));
    }

    /// The serious and critical violations of accessibility rules on the page, which has loaded axe.
    pub fn accessibility_violations(&self) -> Vec<Value> {
        let found = self.execute_async(
            "const done = arguments[arguments.length - 1];
             axe.run(document, { resultTypes: ['violations'] }).then((found) => done(
                 found.violations.filter((rule) => ['serious', 'critical'].includes(rule.impact))
                     .map((rule) => [rule.id, rule.nodes.map((node) => node.html)])),
                 (error) => done([String(error)]));",
        );
        found.as_array().unwrap().clone()
    }

    /// Whether the page is wider than the window, so that it scrolls sideways.
    pub fn is_too_wide(&self) -> bool {
        let is_wider = "return document.documentElement.scrollWidth > window.innerWidth";
        self.execute(is_wider) == json!(true)
    }

    /// The errors and warnings in the console since the last call.
    pub fn console_errors(&self) -> Vec<String> {
        let entries = self.command("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = entries.as_array().unwrap().iter();
        let severe =
            entries.filter(|entry| ["SEVERE", "WARNING"].iter().any(|l| entry["level"] == *l));
        severe.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = request(&self.address, "DELETE", &self.session, &[], b"");
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
