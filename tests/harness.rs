//! Nodes as processes of their own, and a small HTTP client to ask them.
//! Waits are for conditions, with a deadline; ports are whatever is free.

use serde_json::Value;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// The program with nothing of this machine's user in its surroundings.
pub fn chain(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

/// Runs the program to its end: exit code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = chain(arguments).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    (output.status.code(), stdout, stderr)
}

/// Waits until there is something.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(POLL);
    }
}

/// A running node. Dropped, it is killed.
pub struct Node {
    process: Child,
    address: String,
    log: PathBuf,
}

impl Node {
    /// Starts `chain node` of the network `dev` on a data folder, and waits until it answers.
    pub fn start(data: &Path, flags: &[&str]) -> Node {
        let log = data.with_extension("log");
        let mut command = chain(&["node", "--network", "dev", "--api", "127.0.0.1:0", "--data"]);
        command.arg(data).args(flags).stderr(File::create(&log).unwrap());
        let process = command.spawn().unwrap();
        let mut node = Node { process, address: String::new(), log };
        node.address = eventually("the node's address", || {
            node.must_run();
            // What a killed node has left is of another process.
            let there: Value =
                serde_json::from_slice(&fs::read(data.join("node.json")).ok()?).ok()?;
            let of_this_one = there["pid"] == node.process.id();
            let url = of_this_one.then(|| there["api"].as_str().unwrap().to_owned())?;
            Some(url.strip_prefix("http://").unwrap().to_owned())
        });
        eventually("the node's answer", || {
            node.must_run();
            (node.get("/livez").status == 200).then_some(())
        });
        node
    }

    fn must_run(&mut self) {
        let ended = self.process.try_wait().unwrap();
        assert!(ended.is_none(), "the node ended: {}", self.log());
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Asks for a resource.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// Sends any request and reads its answer.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        let host = format!("Host: {}", self.address);
        let length = format!("Content-Length: {}", body.len());
        let own = usize::from(headers.iter().any(|header| header.starts_with("Host:")));
        for header in [host.as_str(), &length][own..].iter().chain(headers) {
            request.push_str(header);
            request.push_str("\r\n");
        }
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&[request.as_bytes(), b"\r\n", body].concat()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::read(&bytes)
    }

    /// Asks it to stop, as the system does, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.process.wait().unwrap()
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a node answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Answer {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[end + 4..].to_vec() }
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        let shown = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }
}
