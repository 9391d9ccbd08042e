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
    // Nodes find each other where a test says so, and nowhere else.
    command.env("CHAIN_LISTEN", "/ip4/127.0.0.1/tcp/0").env("CHAIN_MDNS", "false");
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

/// The program at work on something that takes its time. Dropped, it is killed.
pub struct Process {
    child: Child,
    stderr: PathBuf,
}

impl Process {
    /// Starts it; what it says on standard error goes to a file beside `name`.
    pub fn start(command: &mut Command, name: &Path) -> Process {
        Process::start_into(command, name, Stdio::null())
    }

    /// The same, with a place for what it prints on standard output.
    pub fn start_into(command: &mut Command, name: &Path, stdout: impl Into<Stdio>) -> Process {
        let stderr = name.with_added_extension("log");
        let said = File::create(&stderr).unwrap();
        let child = command.stdout(stdout).stderr(said).spawn().unwrap();
        Process { child, stderr }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on standard error.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the end of a process", || self.ended())
    }

    /// Asks it to stop, as the system does, and waits until it has: how, and how long it took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let pid = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        (self.wait(), asked.elapsed())
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running node. Dropped, it is killed.
pub struct Node {
    process: Process,
    address: String,
    data: PathBuf,
}

impl Node {
    /// Starts `chain node` of the network `dev` on a data folder, and waits until it answers.
    pub fn start(data: &Path, flags: &[&str]) -> Node {
        let process = Process::start(&mut Node::command(data, flags), data);
        let mut node = Node { process, address: String::new(), data: data.to_owned() };
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

    /// Starts one that must give up: the one line it says.
    pub fn refused(data: &Path, flags: &[&str]) -> String {
        let mut process = Process::start(&mut Node::command(data, flags), data);
        let code = eventually("the end of a node that must give up", || {
            let said = process.stderr();
            assert!(!said.contains("node started"), "{said}");
            process.ended()
        })
        .code();
        let line = process.stderr();
        assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
        line
    }

    fn command(data: &Path, flags: &[&str]) -> Command {
        let mut command = chain(&["node", "--data"]);
        command.arg(data).args(flags).env("CHAIN_NETWORK", "dev");
        // A flag wins over the environment.
        command.env("CHAIN_API", "127.0.0.1:0");
        command
    }

    fn must_run(&mut self) {
        let ended = self.process.ended();
        assert!(ended.is_none(), "the node ended: {}", self.log());
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has left in its data folder for those who look for it.
    pub fn whereabouts(&self) -> Value {
        serde_json::from_slice(&fs::read(self.data.join("node.json")).unwrap()).unwrap()
    }

    /// Where other nodes can call it.
    pub fn multiaddr(&self) -> String {
        self.whereabouts()["peers"][0].as_str().unwrap().to_owned()
    }

    /// Everything it has logged.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Asks for a resource.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// The token that steers it.
    pub fn token(&self) -> String {
        fs::read_to_string(self.data.join("api-token")).unwrap().trim().to_owned()
    }

    /// Height and hash of its best block.
    pub fn tip(&self) -> Tip {
        let chain = self.get("/v1/chain").json();
        Tip::of(&chain["height"], &chain["tip"])
    }

    /// Has it make blocks for an address: their hashes. Nothing if the node is gone before it
    /// could answer.
    pub fn generate(&self, blocks: u32, miner: &str) -> Option<Vec<String>> {
        let body = serde_json::json!({ "blocks": blocks, "miner": miner });
        let answer = self.try_order("POST", "/v1/dev/generate", &[], &body).ok()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        let hashes = answer.json()["blocks"].as_array().unwrap().clone();
        Some(hashes.iter().map(|hash| hash.as_str().unwrap().to_owned()).collect())
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sends what only those with the token may ask for.
    pub fn order(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.order_with(method, path, &[], body)
    }

    /// The same with further headers.
    pub fn order_with(&self, method: &str, path: &str, headers: &[&str], body: &Value) -> Answer {
        self.try_order(method, path, headers, body).unwrap()
    }

    fn try_order(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &Value,
    ) -> std::io::Result<Answer> {
        let token = format!("Authorization: Bearer {}", self.token());
        let headers = [&[&*token, "Content-Type: application/json"], headers].concat();
        self.try_ask(method, path, &headers, body.to_string().as_bytes())
    }

    /// Sends any request and reads its answer.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        self.try_ask(method, path, headers, body).unwrap()
    }

    fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        ask(&self.address, method, path, headers, body)
    }

    /// Asks it to stop, as the system does, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        self.process.terminate().0
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// Sends any request to a server at `HOST:PORT` and reads its answer.
pub fn ask(
    address: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    let host = format!("Host: {address}");
    let length = format!("Content-Length: {}", body.len());
    let own = usize::from(headers.iter().any(|header| header.starts_with("Host:")));
    for header in [host.as_str(), &length][own..].iter().chain(headers) {
        request.push_str(header);
        request.push_str("\r\n");
    }
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(&[request.as_bytes(), b"\r\n", body].concat())?;
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let read = stream.read(&mut chunk)?;
        bytes.extend_from_slice(&chunk[..read]);
        // Some servers leave the connection open even if asked to close it.
        match Answer::read(&bytes) {
            Some(answer) if read == 0 || answer.header("content-length").is_some() => {
                return Ok(answer);
            }
            None if read == 0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// A best block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    pub height: u64,
    pub hash: String,
}

impl Tip {
    fn of(height: &Value, hash: &Value) -> Tip {
        Tip { height: height.as_u64().unwrap(), hash: hash.as_str().unwrap().to_owned() }
    }
}

/// The best block of a data folder after `chain verify` found all of it in order.
pub fn verified(data: &Path) -> Tip {
    let (code, stdout, stderr) = run(&["verify", "--json", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    let verified: Value = serde_json::from_str(&stdout).unwrap();
    Tip::of(&verified["height"], &verified["tip"])
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
    /// `None` if the head, or a body of the length it says, is not whole.
    fn read(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let answer = Answer { status, head, body: bytes[end + 4..].to_vec() };
        let length = answer.header("content-length").map(|length| length.parse::<usize>().unwrap());
        length.is_none_or(|length| length == answer.body.len()).then_some(answer)
    }

    /// The body as it came.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        let shown = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }
}
