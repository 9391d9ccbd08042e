//! `chain wallet send` against slow, lying and dying nodes: a user who tries again pays once, unless he
//! says that it is another payment.

use crate::harness::{Node, eventually, request};
use crate::wallet::User;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

/// The address of the second account of the wallet of `dev`, which only receives here.
const SHOP: &str = "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa";

/// What the proxy does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Passes it on, and the response back.
    None,
    /// Responds with an error of this status; the node has it or not.
    Status { status: u16, delivered: bool },
    /// Closes the connection.
    Close { delivered: bool },
    /// Never responds.
    Hang { delivered: bool },
}

/// The behaviour of the proxy.
struct Behaviour {
    /// The start of the request line to which the fault applies.
    at: &'static str,
    fault: Fault,
    /// What the next nonces of accounts are reported too high by; grows by one for each.
    lie: Option<u64>,
    /// The request lines so far.
    requests: Vec<String>,
}

/// A node behind a proxy that misbehaves.
struct World {
    _folder: tempfile::TempDir,
    node: Node,
    url: String,
    behaviour: Arc<Mutex<Behaviour>>,
    user: User,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&folder.path().join("data"), &[]);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Behaviour { at: "", fault: Fault::None, lie: None, requests: Vec::new() };
        let behaviour = Arc::new(Mutex::new(behaviour));
        let (upstream, shared) = (node.url(), Arc::clone(&behaviour));
        thread::spawn(move || {
            let upstream = upstream.strip_prefix("http://").unwrap().to_owned();
            for stream in listener.incoming() {
                let (upstream, shared) = (upstream.clone(), Arc::clone(&shared));
                thread::spawn(move || serve(stream.unwrap(), &upstream, &shared));
            }
        });
        let user = User::with_dev_wallet();
        World { _folder: folder, node, url, behaviour, user }
    }

    fn set(&self, at: &'static str, fault: Fault) {
        let mut behaviour = self.behaviour.lock().unwrap();
        (behaviour.at, behaviour.fault) = (at, fault);
        behaviour.requests.clear();
    }

    fn set_for_submissions(&self, fault: Fault) {
        self.set("POST /v1/transactions", fault);
    }

    /// `chain wallet send` of an amount to the shop, through the proxy.
    fn arguments<'a>(&'a self, amount: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let command = ["send", "--to", SHOP, "--amount", amount, "--node", &self.url];
        [&command[..], more].concat()
    }

    fn sends(&self, amount: &str, more: &[&str]) -> Value {
        self.user.json(&self.arguments(amount, more))
    }

    fn fails(&self, amount: &str, more: &[&str]) -> String {
        self.user.fails(&self.arguments(amount, more), "")
    }

    /// What the shop has received, after a block.
    fn received(&self) -> u64 {
        self.node.generate(1, "dch1qn6a4zn0khd78lazyrhpel4esz92h9qpqva9f2j").unwrap();
        let shop = self.node.get(&format!("/v1/accounts/{SHOP}")).json();
        (shop["balance"].as_u64().unwrap() - 1_000_000_000_000) / 100_000_000
    }

    /// Starts a command, sends it a signal once a request has arrived at the proxy, and waits for its
    /// end.
    fn interrupt(&self, signal: &str, at: &'static str, fault: Fault, more: &[&str]) {
        self.set(at, fault);
        let child = self.user.command(&self.arguments("1", more)).spawn().unwrap();
        eventually("the request", || {
            let requests = &self.behaviour.lock().unwrap().requests;
            requests.iter().any(|request| request.starts_with(at)).then_some(())
        });
        if fault == (Fault::Hang { delivered: true }) {
            eventually("the transfer in the mempool", || {
                (self.node.get("/v1/mempool").json()["count"] == 1).then_some(())
            });
        }
        let kill = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        if at.starts_with("POST") {
            let shown = String::from_utf8(output.stderr).unwrap();
            for label in ["id", "to", "amount", "fee", "nonce"] {
                assert!(shown.contains(&format!("{label}  ")), "{label}: {shown}");
            }
        }
        self.set("", Fault::None);
    }
}

/// Serves one request of a connection.
fn serve(mut stream: TcpStream, upstream: &str, shared: &Mutex<Behaviour>) {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4_096];
    let (head, body) = loop {
        let read = stream.read(&mut chunk).unwrap_or(0);
        if read == 0 {
            return;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = header(head, "content-length").map_or(0, |it| it.parse::<usize>().unwrap());
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    let line = head.lines().next().unwrap().to_owned();
    let (method, path) = (line.split(' ').next().unwrap(), line.split(' ').nth(1).unwrap());
    let (fault, lie) = {
        let mut behaviour = shared.lock().unwrap();
        behaviour.requests.push(line.clone());
        let is_account = line.starts_with("GET /v1/accounts/");
        let lie = behaviour.lie.filter(|_| is_account);
        if is_account {
            behaviour.lie = behaviour.lie.map(|lie| lie + 1);
        }
        (if line.starts_with(behaviour.at) { behaviour.fault } else { Fault::None }, lie)
    };
    let pass = || {
        let media = header(&head, "content-type").map(|it| format!("Content-Type: {it}"));
        let headers: Vec<&str> = media.iter().map(String::as_str).collect();
        request(upstream, method, path, &headers, body.as_bytes()).unwrap()
    };
    let (status, media, body) = match fault {
        Fault::None => {
            let response = pass();
            let mut body = response.text().to_owned();
            if let Some(lie) = lie {
                let mut account = response.json();
                account["next_nonce"] = json!(account["nonce"].as_u64().unwrap() + lie);
                body = account.to_string();
            }
            (response.status, response.header("content-type").unwrap().to_owned(), body)
        }
        Fault::Status { status, delivered } => {
            delivered.then(pass);
            let problem = json!({"detail": "a temporary failure", "code": "internal"});
            (status, "application/problem+json".to_owned(), problem.to_string())
        }
        Fault::Close { delivered } => {
            delivered.then(pass);
            return drop(stream.shutdown(Shutdown::Both));
        }
        Fault::Hang { delivered } => {
            delivered.then(pass);
            // Until the client is gone.
            while stream.read(&mut chunk).is_ok_and(|read| read > 0) {}
            return;
        }
    };
    let response = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {media}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.write_all(response.as_bytes());
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

// W15
#[test]
fn parallel_payments_of_a_wallet_are_all_made_once() {
    let world = World::new();
    let count = 40;
    let sent: Vec<Value> = thread::scope(|scope| {
        let sending: Vec<_> = (0..count)
            .map(|_| {
                let world = &world;
                scope.spawn(move || world.sends("1", &["--fee", "0.0001"]))
            })
            .collect();
        sending.into_iter().map(|sending| sending.join().unwrap()).collect()
    });
    let mut nonces: Vec<u64> = sent.iter().map(|it| it["nonce"].as_u64().unwrap()).collect();
    nonces.sort_unstable();
    assert_eq!(nonces, (0..count).collect::<Vec<_>>());
    assert_eq!(world.received(), count);
}

// W15
#[test]
fn interrupted_payment_is_not_made_twice() {
    let world = World::new();
    let submit = "POST /v1/transactions";
    let mut paid = 0;
    let points = [
        ("GET /v1/accounts", Fault::Hang { delivered: false }, &[][..]),
        (submit, Fault::Hang { delivered: false }, &["--json"]),
        (submit, Fault::Hang { delivered: true }, &[]),
        // While it waits for the confirmation.
        ("GET /v1/transactions/", Fault::Hang { delivered: false }, &["--wait", "--json"]),
    ];
    let signals = ["-KILL", "-INT", "-TERM"];
    let cases = points.iter().flat_map(|point| signals.map(|signal| (signal, *point)));
    for (signal, (at, fault, more)) in cases {
        world.interrupt(signal, at, fault, more);
        if at.starts_with("GET /v1/accounts") {
            world.sends("1", &[]);
        } else {
            let line = world.fails("1", &[]);
            for part in ["--again", "--new", "1 coins", SHOP, "uncertain"] {
                assert!(line.contains(part), "{part}: {line}");
            }
            let other = world.fails("2", &["--again"]);
            assert!(other.contains("is another one"), "{other}");
            world.sends("1", &["--again"]);
        }
        paid += 1;
        assert_eq!(world.received(), paid, "{signal} {at} {fault:?}");
    }
    // Nothing is open any more.
    assert!(world.fails("1", &["--again"]).contains("none to send again"));
    world.sends("1", &[]);
    assert_eq!(world.received(), paid + 1);
}

// W15
#[test]
fn lying_node_gets_one_transfer_for_one_intent() {
    let world = World::new();
    // It takes the transfer, says that it failed, and that the next nonce is another one.
    world.behaviour.lock().unwrap().lie = Some(0);
    for fault in [
        Fault::Status { status: 500, delivered: true },
        Fault::Status { status: 502, delivered: true },
        Fault::Close { delivered: true },
    ] {
        world.set_for_submissions(fault);
        let line = world.fails("7", &[]);
        assert!(line.contains("--again") && line.contains("--new"), "{line}");
    }
    assert_eq!(world.received(), 7);
    // Neither does an error response that may be false.
    world.set_for_submissions(Fault::Status { status: 500, delivered: false });
    world.fails("7", &["--again"]);
    world.set_for_submissions(Fault::Status { status: 422, delivered: true });
    world.fails("7", &["--again"]);
    assert_eq!(world.received(), 7);
}

// W15
#[test]
fn refused_payment_leaves_its_nonce_to_the_next() {
    let world = World::new();
    world.set_for_submissions(Fault::Status { status: 422, delivered: true });
    world.fails("7", &[]);
    // The node has it nevertheless, and says so by the next nonce.
    world.set("", Fault::None);
    let line = world.fails("7", &[]);
    assert!(line.contains("was refused, but its nonce is used"), "{line}");
    assert_eq!(world.sends("3", &["--new"])["nonce"], 1);
    assert_eq!(world.received(), 10);

    world.set_for_submissions(Fault::Status { status: 422, delivered: false });
    world.fails("7", &[]);
    world.set("", Fault::None);
    assert_eq!(world.sends("5", &[])["nonce"], 2);
    assert_eq!(world.received(), 15);
}

#[test]
fn new_payment_follows_the_uncertain_one_or_replaces_it() {
    let world = World::new();
    world.set_for_submissions(Fault::Close { delivered: false });
    world.fails("1", &[]);
    world.set("", Fault::None);
    // The node lacks the first: it is submitted again, or the second could not be mined.
    assert_eq!(world.sends("2", &["--new"])["nonce"], 1);
    assert_eq!(world.received(), 3);

    world.set_for_submissions(Fault::Close { delivered: true });
    world.fails("10", &[]);
    world.set("", Fault::None);
    let line = world.fails("20", &["--replace", "--nonce", "1"]);
    assert!(line.contains("its nonce is 2"), "{line}");
    assert_eq!(world.sends("20", &["--replace"])["nonce"], 2);
    assert_eq!(world.received(), 23);
}

#[test]
fn nonces_that_no_honest_node_reports_are_refused() {
    let world = World::new();
    for nonce in 0..3 {
        assert_eq!(world.sends("1", &[])["nonce"], nonce);
    }
    world.behaviour.lock().unwrap().lie = Some(0);
    assert_eq!(world.sends("1", &[])["nonce"], 3, "the node says 0");
    world.behaviour.lock().unwrap().lie = Some(3 + 64);
    assert!(world.fails("1", &[]).contains("64 or more above 3"));
    world.behaviour.lock().unwrap().lie = None;
    for (nonce, error) in
        [("2", "nonce 2 is used, the next one is 4"), ("67", "64 or more above 3")]
    {
        let line = world.fails("1", &["--nonce", nonce]);
        assert!(line.contains(error), "{line}");
    }
    let line = world.fails("1", &["--replace", "--nonce", "4"]);
    assert!(line.contains("nothing to replace"), "{line}");
    assert_eq!(world.received(), 4);
}

// W16
#[test]
fn fee_above_the_maximum_is_refused_before_signing() {
    let world = World::new();
    let line = world.fails("1", &["--fee", "0.11"]);
    assert!(line.contains("--max-fee 0.11"), "{line}");
    let line = world.fails("1", &["--max-fee", "0.00000144"]);
    assert!(line.contains("--max-fee 0.00000145"), "{line}");
    world.sends("1", &["--fee", "0.11", "--max-fee", "0.11"]);
    assert_eq!(world.received(), 1);
}

#[test]
fn transfer_that_waits_says_why() {
    let world = World::new();
    let ahead = world.sends("1", &["--nonce", "2"]);
    assert_eq!((&ahead["status"], &ahead["missing_nonce"]), (&json!("queued"), &json!(0)));
    let run = |arguments: &[&str]| {
        crate::harness::run(&[arguments, &["--node", &world.node.url()]].concat())
    };
    let id = ahead["id"].as_str().unwrap();
    let (_, shown, _) = run(&["tx", "show", id]);
    assert!(shown.contains("waits for the sender's transfer with nonce 0"), "{shown}");
    let (code, _, stderr) = run(&["tx", "wait", id, "--timeout", "0"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("queued, waits for the sender's transfer with nonce 0"), "{stderr}");
    world.sends("1", &[]);
    let second = world.sends("1", &[]);
    let (_, shown, _) = run(&["tx", "show", second["id"].as_str().unwrap()]);
    assert!(shown.contains("behind 1 transfer (145 bytes)"), "{shown}");
}
