//! Faults of the disk: a call that writes, syncs or renames fails once, by a library that intercepts
//! the calls of the node. Whatever fails, the node ends with an error that names it or goes on; no
//! block or transfer that was reported as accepted is lost.

use crate::harness::{Node, eventually, request, skip};
use crate::repair::copy;
use crate::test_chain::{dev_chain, dev_key, pay, test_address, text};
use chain::Block;
use chain::store::LogError;
use chain::store::blocks::{BlockLog, FILE_BYTES, LogPosition, RecordKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tempfile::TempDir;

mod transfers;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// What the node does when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    Connect,
    Reorganise,
    Flush,
    Rotate,
    Stop,
}

/// A call that fails.
#[derive(Clone, Debug)]
struct Fault {
    phase: Phase,
    /// The kind of the call and the path in the data directory.
    call: String,
    /// The number of such calls in the phase before it.
    skip: usize,
    error: i32,
}

impl Fault {
    fn kind(&self) -> &str {
        self.call.split(' ').next().unwrap()
    }

    /// Whether the log or the list of the last run could not be synced, after which no answer may be
    /// positive.
    fn ends_node(&self) -> bool {
        let syncs = ["fsync", "fdatasync"].contains(&self.kind());
        syncs && ![" index", " runs", " peers"].iter().any(|path| self.call.contains(path))
    }
}

/// The library, compiled once.
static SHIM: LazyLock<Option<(TempDir, PathBuf)>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/faults/shim.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl");
    let compiled = compiler.status().is_ok_and(|status| status.success());
    compiled.then_some((folder, library))
});

/// The part of the library's memory that this test writes.
struct Control(File);

impl Control {
    /// The offset of the call in the structure of the library, and the size of all.
    const CALL: u64 = 12;
    const BYTES: u64 = 8 << 10;

    fn create(path: &Path) -> Control {
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(Control::BYTES).unwrap();
        let control = Control(file);
        control.write(0, -1);
        control
    }

    fn write(&self, offset: u64, number: i32) {
        self.0.write_all_at(&number.to_ne_bytes(), offset).unwrap();
    }

    fn arm(&self, fault: &Fault) {
        self.0.write_all_at(&[fault.call.as_bytes(), b"\0"].concat(), Control::CALL).unwrap();
        self.write(4, fault.error);
        self.write(0, i32::try_from(fault.skip).unwrap());
    }

    fn has_failed(&self) -> bool {
        let mut bytes = [0; 4];
        self.0.read_exact_at(&mut bytes, 8).unwrap();
        u32::from_ne_bytes(bytes) > 0
    }
}

// genesis ─ … ─ a6 ─ a7 ─ a8 ─ a9 ─ a10
//                 └─ b7 ─ b8 ─ b9      heavier than a8
struct Chains {
    a: Vec<Block>,
    b: Vec<Block>,
    /// A data directory with the blocks up to a8, after a clean shutdown.
    folder: TempDir,
}

impl Chains {
    fn new() -> Chains {
        let mut chain = dev_chain(test_address(1));
        let mut a = chain.mine(7);
        a.push(chain.mine_block([pay(&dev_key(0), 0, test_address(3), 5)]));
        a.extend(chain.mine(2));
        let mut chain = dev_chain(test_address(2));
        chain.connect(&a[..6]);
        let b = chain.mine(3);
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&folder.path().join("data"), &[]);
        for block in &a[..8] {
            assert_eq!(submit(&node, block).unwrap().0, 201);
        }
        assert!(node.stop().success());
        Chains { a, b, folder }
    }

    /// Fills the log with undo data of no block, so that the next record begins another file.
    fn fill_log(&self) {
        let blocks = self.folder.path().join("data/blocks");
        let (mut log, _) =
            BlockLog::open(
                &blocks,
                FILE_BYTES,
                LogPosition::START,
                |_, _, _| Ok::<_, LogError>(()),
            )
            .unwrap();
        loop {
            let room = (FILE_BYTES - log.end().offset) as usize;
            if room < 200 {
                break;
            }
            let payload = vec![7; (room - 50).min(16 << 20)];
            log.append(RecordKind::Undo, &payload).unwrap();
        }
        log.sync().unwrap();
    }
}

/// Submits a block: the status and the code of the problem. `None` if the node does not respond.
pub fn submit(node: &Node, block: &Block) -> Option<(u16, Value)> {
    let address = node.url().strip_prefix("http://").unwrap().to_owned();
    let body = hex::encode(block.encode());
    let headers = ["Content-Type: text/plain"];
    let response = request(&address, "POST", "/v1/blocks", &headers, body.as_bytes()).ok()?;
    Some((response.status, response.json()["code"].clone()))
}

fn path_of(block: &Block) -> String {
    format!("/v1/blocks/{}", block.hash())
}

/// A node whose calls are counted.
struct Run<'a> {
    chains: &'a Chains,
    folder: TempDir,
    control: Control,
    /// The paths in the API of what was reported as accepted.
    accepted: Vec<String>,
}

impl Run<'_> {
    fn new(chains: &Chains) -> Run<'_> {
        let folder = tempfile::tempdir().unwrap();
        copy(&chains.folder.path().join("data"), &folder.path().join("data"));
        let control = Control::create(&folder.path().join("control"));
        let accepted = chains.a[..8].iter().map(path_of).collect();
        Run { chains, folder, control, accepted }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("data")
    }

    fn command(&self) -> Command {
        let mut command = Node::command(&self.data(), &[]);
        let (_, library) = SHIM.as_ref().unwrap();
        command.env("LD_PRELOAD", library).env("CHAIN_FAULTS_FOLDER", self.data());
        command.env("CHAIN_FAULTS_CONTROL", self.folder.path().join("control"));
        command.env("CHAIN_FAULTS_LOG", self.folder.path().join("calls"));
        command
    }

    /// Starts the node; its log if it ended.
    fn start(&self) -> Result<Node, String> {
        Node::try_start(&mut self.command(), &self.data())
    }

    /// The calls so far: kind and path.
    fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        calls.lines().map(str::to_owned).collect()
    }

    /// Submits a block and remembers it if it is reported as accepted.
    fn submit(&mut self, node: &Node, block: &Block) -> Option<(u16, Value)> {
        let answer = submit(node, block);
        if answer.as_ref().is_some_and(|(status, _)| [200, 201].contains(status)) {
            self.accepted.push(path_of(block));
        }
        answer
    }

    /// Submits a transfer, and waits for the sync of the journal that follows.
    fn submit_transfer(&mut self, node: &mut Node) {
        let transfer = pay(&dev_key(1), 0, test_address(3), 7);
        let address = node.url().strip_prefix("http://").unwrap().to_owned();
        let (body, before) = (hex::encode(transfer.encode()), self.calls().len());
        let headers = ["Content-Type: text/plain"];
        let answer = request(&address, "POST", "/v1/transactions", &headers, body.as_bytes());
        if answer.is_ok_and(|answer| [200, 201].contains(&answer.status)) {
            self.accepted.push(format!("/v1/transactions/{}", transfer.id()));
            eventually("a sync of the journal", || {
                let calls = self.calls();
                let is_sync = |call: &String| call == "fdatasync journal/mempool/00000.log";
                (calls[before..].iter().any(is_sync) || node.ended().is_some()).then_some(())
            });
        }
    }

    /// What comes before a phase.
    fn prepare(&mut self, node: &mut Node, phase: Phase) {
        let Chains { a, b, .. } = self.chains;
        let before = match phase {
            Phase::Start | Phase::Connect | Phase::Rotate => &[][..],
            Phase::Flush | Phase::Stop => &a[8..9],
            Phase::Reorganise => &b[..2],
        };
        for block in before {
            assert_eq!(self.submit(node, block).unwrap().0, 201);
        }
        if [Phase::Flush, Phase::Reorganise, Phase::Stop].contains(&phase) {
            self.submit_transfer(node);
        }
    }

    /// A phase, except the start and the stop.
    fn perform(&mut self, node: &mut Node, phase: Phase) {
        let chains = self.chains;
        match phase {
            Phase::Start | Phase::Stop => {}
            Phase::Connect | Phase::Rotate => {
                for block in [&chains.a[8], &chains.a[8], &chains.a[9]] {
                    self.submit(node, block);
                }
                self.submit_transfer(node);
            }
            Phase::Reorganise => {
                for _ in 0..2 {
                    self.submit(node, &chains.b[2]);
                }
            }
            Phase::Flush => {
                let before = self.calls().len();
                eventually("a flush", || {
                    // The rows of the blocks so far may have been flushed before. A full disk
                    // refuses a block, but not for long.
                    self.submit(node, &chains.a[9]);
                    let calls = self.calls();
                    let is_written = calls[before..].iter().any(|it| it == "pwrite index/db");
                    (is_written || node.ended().is_some()).then_some(())
                });
            }
        }
    }

    /// The calls of a phase without a fault.
    fn record(mut self, phase: Phase) -> Vec<String> {
        let mut node = self.start().unwrap();
        if phase == Phase::Start {
            return self.calls();
        }
        self.prepare(&mut node, phase);
        let before = self.calls().len();
        self.perform(&mut node, phase);
        if phase == Phase::Stop {
            assert!(node.stop().success());
        }
        let mut calls = self.calls().split_off(before);
        if [Phase::Connect, Phase::Reorganise, Phase::Rotate].contains(&phase) {
            // A flush of the index, which is a phase of its own, may happen meanwhile.
            calls.retain(|call| !call.contains(" index") && !call.contains(" runs"));
        }
        calls
    }

    /// Runs the phase with a fault, and checks the outcome. Returns whether the call was made again.
    fn check(mut self, fault: &Fault) -> bool {
        let chains = self.chains;
        if fault.phase == Phase::Start {
            self.control.arm(fault);
        }
        match self.start() {
            Err(log) => assert_named(&log, fault),
            Ok(mut node) => {
                self.prepare(&mut node, fault.phase);
                if fault.phase != Phase::Start {
                    self.control.arm(fault);
                }
                self.perform(&mut node, fault.phase);
                let must_end = self.control.has_failed() && fault.ends_node();
                if fault.phase == Phase::Stop {
                    let is_clean = node.terminate().success();
                    assert!(!(is_clean && must_end), "{fault:?}: {}", node.log());
                    if !is_clean {
                        assert_named(&node.log(), fault);
                    }
                } else if must_end || !self.goes_on(&node, fault) {
                    let status = eventually(&format!("the end after {fault:?}"), || node.ended());
                    assert_eq!(status.code(), Some(1), "{fault:?}: {}", node.log());
                    assert_named(&node.log(), fault);
                } else {
                    node.kill();
                }
            }
        }
        let node = Node::start(&self.data(), &[]);
        for path in &self.accepted {
            let found = node.get(path);
            assert_eq!(found.status, 200, "{fault:?} lost {path}");
            let is_dropped = path.contains("transactions") && found.json()["status"] != "pending";
            assert!(!is_dropped, "{fault:?}: {found:?}");
        }
        for block in &chains.a[8..] {
            let (status, code) = submit(&node, block).unwrap();
            assert!([200, 201].contains(&status), "{fault:?}: {status} {code}");
        }
        node.kill();
        self.control.has_failed()
    }

    /// Whether the node accepts the next blocks, perhaps after a while in which its disk is full.
    fn goes_on(&mut self, node: &Node, fault: &Fault) -> bool {
        let chains = self.chains;
        eventually(&format!("a node that ends or goes on after {fault:?}"), || {
            for block in &chains.a[8..] {
                match self.submit(node, block) {
                    Some((200 | 201, _)) => {}
                    Some((503, code)) if code == "disk-full" => {
                        assert!([ENOSPC, EDQUOT].contains(&fault.error), "{fault:?}: {code}");
                        assert_eq!(node.get("/v1/chain").status, 200);
                        return None;
                    }
                    Some((500.., _)) | None => return Some(false),
                    Some(other) => panic!("{fault:?}: {other:?}"),
                }
            }
            Some(true)
        })
    }
}

/// Asserts that the last line of a log names the error for people.
fn assert_named(log: &str, fault: &Fault) {
    let line = log.lines().last().unwrap_or_default();
    assert!(line.starts_with("chain: "), "{fault:?}: {log}");
    assert!(!line.contains("Os {") && !log.contains("panicked"), "{fault:?}: {log}");
}

/// Checks faults, several at a time, as they mostly wait; returns how many of them happened.
fn check_all(chains: &Chains, faults: &[Fault]) -> usize {
    let (next, happened) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let has_happened = Run::new(chains).check(fault);
                    happened.fetch_add(usize::from(has_happened), Ordering::Relaxed);
                }
            });
        }
    });
    happened.into_inner()
}

/// Faults of a phase: each of its calls that `is_wanted`, once with each error.
fn faults(
    chains: &Chains,
    phase: Phase,
    errors: &[i32],
    mut is_wanted: impl FnMut(&str) -> bool,
) -> Vec<Fault> {
    let mut before: BTreeMap<String, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for call in Run::new(chains).record(phase) {
        let count = before.entry(call.clone()).or_default();
        let skip = *count;
        *count += 1;
        if is_wanted(&call) {
            let of = |error: &i32| Fault { phase, call: call.clone(), skip, error: *error };
            faults.extend(errors.iter().map(of));
        }
    }
    faults
}

fn is_available() -> bool {
    let is_available = SHIM.is_some();
    if !is_available {
        skip("there is no C compiler for the library that fails calls");
    }
    is_available
}

// T09, T10
#[test]
fn no_acknowledged_block_is_lost_when_a_kind_of_call_fails() {
    if !is_available() {
        return;
    }
    let chains = Chains::new();
    for (phase, errors) in [
        (Phase::Connect, &[ENOSPC, EIO][..]),
        (Phase::Reorganise, &[EDQUOT]),
        (Phase::Stop, &[ENOSPC]),
    ] {
        let mut seen = BTreeSet::new();
        let is_first = |call: &str| seen.insert(call.split('/').next().unwrap().to_owned());
        let faults = faults(&chains, phase, errors, is_first);
        assert!(check_all(&chains, &faults) * 10 > faults.len() * 7, "{faults:?}");
    }
    let flush = |call: &str, error| {
        let (phase, call) = (Phase::Flush, call.to_owned());
        Fault { phase, call, skip: 0, error }
    };
    let faults = [
        flush("pwrite index/db", ENOSPC),
        flush("sync_file_range index/db", EDQUOT),
        flush("create runs/", EIO),
        flush("write runs/", ENOSPC),
    ];
    assert_eq!(check_all(&chains, &faults), 4);
}

// T09
#[test]
fn generated_blocks_before_the_one_that_does_not_fit_are_connected() {
    if !is_available() {
        return;
    }
    let chains = Chains::new();
    let run = Run::new(&chains);
    let node = run.start().unwrap();
    // Each block has a record of undo data and its own.
    let (phase, call) = (Phase::Connect, "write blocks/00000.log".to_owned());
    run.control.arm(&Fault { phase, call, skip: 4, error: ENOSPC });
    let order = json!({ "blocks": 5, "miner": text(test_address(1)) });
    let answer = node.send("POST", "/v1/dev/generate", &order);
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("disk-full")));
    let tip = node.tip();
    assert_eq!(tip.height, 8 + 2);
    let raw = node.get("/v1/blocks/tip/raw");
    let block = Block::decode(&hex::decode(raw.text().trim()).unwrap()).unwrap();
    assert_eq!(submit(&node, &block).unwrap().0, 200);
    node.kill();
    assert_eq!(Node::start(&run.data(), &[]).tip(), tip);
}

// T09, T10
#[test]
#[ignore = "takes some minutes"]
fn no_acknowledged_block_is_lost_when_any_call_fails() {
    assert!(is_available());
    let chains = Chains::new();
    for phase in [Phase::Start, Phase::Connect, Phase::Reorganise, Phase::Flush, Phase::Stop] {
        let faults = faults(&chains, phase, &[EIO, ENOSPC, EDQUOT], |_| true);
        let happened = check_all(&chains, &faults);
        println!("{phase:?}: {happened} of {} faults", faults.len());
        // The threads of a node do not always make the same calls.
        assert!(happened * 10 > faults.len() * 8);
    }
    chains.fill_log();
    let faults = faults(&chains, Phase::Rotate, &[EIO, ENOSPC, EDQUOT], |_| true);
    assert!(faults.iter().any(|fault| fault.call == "create blocks/00001.log"), "{faults:?}");
    let happened = check_all(&chains, &faults);
    println!("rotate: {happened} of {} faults", faults.len());
    assert!(happened * 10 > faults.len() * 8);
}

/// The calls that `strace` saw on the data directory, by kind.
fn count_traced(trace: &str, data: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in trace.lines() {
        // PID NAME(ARGUMENTS, and for a call that another thread interrupts: PID <... NAME resumed>
        let Some((name, arguments)) =
            line.split_once(' ').and_then(|(_, call)| call.trim_start().split_once('('))
        else {
            continue;
        };
        let kind = match name {
            "pwrite64" => "pwrite",
            "openat" if arguments.contains("O_CREAT") => "create",
            "openat" => continue,
            name => name,
        };
        let path = data.to_str().unwrap();
        let is_below = |rest: &str| rest.starts_with(['/', '>', '"']);
        if arguments.split(path).skip(1).any(is_below) {
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
    }
    counts
}

#[test]
#[ignore = "needs strace"]
fn library_intercepts_every_call_that_strace_sees() {
    assert!(is_available());
    let chains = Chains::new();
    let mut run = Run::new(&chains);
    let trace = run.folder.path().join("trace");
    let node = run.command();
    let mut command = Command::new("strace");
    let names =
        "write,pwrite64,fsync,fdatasync,sync_file_range,ftruncate,rename,mkdir,unlink,openat";
    // With -D the node has the id of the process that is started.
    command.args(["-D", "-f", "-qq", "-y", "-s", "4096", "-e", &format!("trace={names}"), "-o"]);
    command.arg(&trace).env_clear();
    for (name, value) in node.get_envs() {
        let value = value.unwrap_or_default().to_str().unwrap();
        command.args(["-E", &format!("{}={value}", name.to_str().unwrap())]);
    }
    command.arg(node.get_program()).args(node.get_args());
    let data = run.data();
    let mut node = Node::try_start(&mut command, &data).unwrap();
    run.perform(&mut node, Phase::Connect);
    run.perform(&mut node, Phase::Flush);
    assert!(node.terminate().success());
    let mut counted = BTreeMap::new();
    for call in run.calls() {
        *counted.entry(call.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    assert!(counted["fdatasync"] > 0 && counted["pwrite"] > 0, "{counted:?}");
    assert_eq!(counted, count_traced(&fs::read_to_string(&trace).unwrap(), &data));
}
