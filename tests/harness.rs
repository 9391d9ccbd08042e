//! Nodes as processes, and a minimal HTTP client. Waits are for conditions, with a deadline; ports are
//! chosen by the system.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// Deadline of every wait, generous for a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Reports that a test is left out because this machine lacks something. Fails where the environment
/// variable `CHAIN_TESTS_REQUIRE_ALL` is 1, as in `.ci/run`.
pub fn skip(reason: &str) {
    let required = std::env::var_os("CHAIN_TESTS_REQUIRE_ALL").is_some_and(|value| value == "1");
    assert!(!required, "a required test cannot run: {reason}");
    static REPORTED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    if REPORTED.lock().unwrap().insert(reason.to_owned()) {
        // Past the capture of tests that pass.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
    }
}

/// The program in an empty environment.
pub fn chain(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    // Nodes connect only where a test configures it.
    command.env("CHAIN_LISTEN", "/ip4/127.0.0.1/tcp/0").env("CHAIN_MDNS", "false");
    command
}

/// The command in a session of its own, which therefore has no controlling terminal, as a service.
#[cfg(unix)]
pub fn without_terminal(command: &Command) -> Command {
    let mut outer = program(command, "setsid");
    outer.arg(command.get_program()).args(command.get_args());
    outer
}

/// Another program in the environment of a command.
#[cfg(unix)]
pub fn program(command: &Command, name: &str) -> Command {
    let mut program = Command::new(name);
    program.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in command.get_envs() {
        program.envs(value.map(|value| (name, value)));
    }
    program.stdin(Stdio::null());
    program
}

/// Sends a signal to a process.
#[cfg(unix)]
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Runs the program: exit code, stdout, stderr.
pub fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = chain(arguments).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
    (output.status.code(), stdout, stderr)
}

/// Polls until there is a value.
pub fn eventually<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(POLL);
    }
}

/// A running process of the program, which is killed when dropped.
pub struct Process {
    child: Child,
    stderr: PathBuf,
}

impl Process {
    /// Starts the process; its stderr goes to a file beside `name`.
    pub fn start(command: &mut Command, name: &Path) -> Process {
        Process::start_into(command, name, Stdio::null())
    }

    /// Starts the process with a destination for its stdout.
    pub fn start_into(command: &mut Command, name: &Path, stdout: impl Into<Stdio>) -> Process {
        let stderr = name.with_added_extension("log");
        let output = File::create(&stderr).unwrap();
        let child = command.stdout(stdout).stderr(output).spawn().unwrap();
        Process { child, stderr }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// The exit status, if the process has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the end of a process", || self.ended())
    }

    /// Stops the process by SIGTERM: its exit status, and the duration.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let sent = Instant::now();
        let pid = self.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        (self.wait(), sent.elapsed())
    }

    /// Kills the process, as a crash would.
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

/// A running node, which is killed when dropped.
pub struct Node {
    process: Process,
    address: String,
    data: PathBuf,
}

impl Node {
    /// Starts `chain node` of the network `dev` on a data directory, and waits until it responds.
    pub fn start(data: &Path, flags: &[&str]) -> Node {
        let started = Node::try_start(&mut Node::command(data, flags), data);
        started.unwrap_or_else(|log| panic!("the node ended: {log}"))
    }

    /// Runs a command of [`Node::command`] and waits until the node responds; its log if it ends.
    pub fn try_start(command: &mut Command, data: &Path) -> Result<Node, String> {
        Node::attach(Process::start(command, data), data)
    }

    /// Waits until the node of a process responds; its log if it ends.
    pub fn attach(process: Process, data: &Path) -> Result<Node, String> {
        let mut node = Node { process, address: String::new(), data: data.to_owned() };
        node.address = eventually("the node's address", || {
            if node.ended().is_some() {
                return Some(Err(node.log()));
            }
            // A killed node leaves the file of another process.
            let there: Value =
                serde_json::from_slice(&fs::read(data.join("node.json")).ok()?).ok()?;
            let of_this_one = there["pid"] == node.process.id();
            let url = of_this_one.then(|| there["api"].as_str().unwrap().to_owned())?;
            Some(Ok(url.strip_prefix("http://").unwrap().to_owned()))
        })?;
        eventually("the node's response", || {
            if node.ended().is_some() {
                return Some(Err(node.log()));
            }
            let response = node.try_request("GET", "/livez", &[], b"").ok()?;
            (response.status == 200).then_some(Ok(()))
        })?;
        Ok(node)
    }

    /// Starts a node that must fail: its one line on stderr.
    pub fn start_failing(data: &Path, flags: &[&str]) -> String {
        let mut process = Process::start(&mut Node::command(data, flags), data);
        let code = eventually("the end of a node that must fail", || {
            let output = process.stderr();
            assert!(!output.contains("node started"), "{output}");
            process.ended()
        })
        .code();
        let line = process.stderr();
        assert_eq!((code, line.lines().count()), (Some(1), 1), "{line}");
        line
    }

    /// The command of a node of the network `dev` on a data directory.
    pub fn command(data: &Path, flags: &[&str]) -> Command {
        let mut command = chain(&["node", "--data"]);
        command.arg(data).args(flags).env("CHAIN_NETWORK", "dev");
        // A flag overrides the environment.
        command.env("CHAIN_API", "127.0.0.1:0");
        command
    }

    /// The exit status, if the node has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The content of `node.json`.
    pub fn node_file(&self) -> Value {
        serde_json::from_slice(&fs::read(self.data.join("node.json")).unwrap()).unwrap()
    }

    /// The address at which other nodes dial it.
    pub fn multiaddr(&self) -> String {
        self.node_file()["peers"][0].as_str().unwrap().to_owned()
    }

    /// The log so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// Requests a resource.
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path, &[], b"")
    }

    /// The token of the API.
    pub fn token(&self) -> String {
        fs::read_to_string(self.data.join("api-token")).unwrap().trim().to_owned()
    }

    /// Height and hash of the tip.
    pub fn tip(&self) -> Tip {
        let chain = self.get("/v1/chain").json();
        Tip::of(&chain["height"], &chain["tip"])
    }

    /// Generates blocks for an address: their hashes. `None` if the node stops before it responds.
    pub fn generate(&self, blocks: u32, miner: &str) -> Option<Vec<String>> {
        let body = serde_json::json!({ "blocks": blocks, "miner": miner });
        let response = self.try_send("POST", "/v1/dev/generate", &[], &body).ok()?;
        assert_eq!(response.status, 200, "{response:?}");
        let hashes = response.json()["blocks"].as_array().unwrap().clone();
        Some(hashes.iter().map(|hash| hash.as_str().unwrap().to_owned()).collect())
    }

    /// Orders blocks; returns the status code, or `None` if the node ends before it responds.
    pub fn generate_unless_stopped(&self, blocks: u32) -> Option<u16> {
        let body = serde_json::json!({ "blocks": blocks });
        Some(self.try_send("POST", "/v1/dev/generate", &[], &body).ok()?.status)
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Sends a request with the token.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        self.send_with(method, path, &[], body)
    }

    /// Sends a request with the token and further headers.
    pub fn send_with(&self, method: &str, path: &str, headers: &[&str], body: &Value) -> Response {
        self.try_send(method, path, headers, body).unwrap()
    }

    fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &Value,
    ) -> std::io::Result<Response> {
        let token = format!("Authorization: Bearer {}", self.token());
        let headers = [&[&*token, "Content-Type: application/json"], headers].concat();
        self.try_request(method, path, &headers, body.to_string().as_bytes())
    }

    /// Sends a request.
    pub fn request(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Response {
        self.try_request(method, path, headers, body).unwrap()
    }

    fn try_request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> std::io::Result<Response> {
        request(&self.address, method, path, headers, body)
    }

    /// Stops the node by SIGTERM.
    pub fn stop(mut self) -> ExitStatus {
        self.terminate()
    }

    /// Sends SIGTERM and waits until the node has ended.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate().0
    }

    /// Kills the process, as a crash would.
    pub fn kill(mut self) {
        self.process.kill();
    }
}

/// Sends a request to a server at `HOST:PORT`.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> std::io::Result<Response> {
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
        // Some servers leave the connection open nevertheless.
        match Response::read(&bytes) {
            Some(response) if read == 0 || response.header("content-length").is_some() => {
                return Ok(response);
            }
            None if read == 0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
    }
}

/// The tip of a chain.
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

/// The tip of a data directory that `chain verify` finds valid.
pub fn verified(data: &Path) -> Tip {
    let (code, stdout, stderr) = run(&["verify", "--json", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{stderr}");
    let verified: Value = serde_json::from_str(&stdout).unwrap();
    Tip::of(&verified["height"], &verified["tip"])
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    head: String,
    body: Vec<u8>,
}

impl Response {
    /// Parses a response; `None` if it is incomplete.
    fn read(bytes: &[u8]) -> Option<Response> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let response = Response { status, head, body: bytes[end + 4..].to_vec() };
        let length =
            response.header("content-length").map(|length| length.parse::<usize>().unwrap());
        length.is_none_or(|length| length == response.body.len()).then_some(response)
    }

    /// The body.
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
