//! Testnets, and the commands that control them.

use crate::signature::{Payment, TEST_WORDS, decode_address};
use crate::{Error, Key, Node, SignedTransfer};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// The fee of transfers that `Account::sign` signs, in base units.
pub const FEE: u64 = 1_000;
/// The account that mined blocks pay: the last one that has coins.
const MINER: u32 = 9;

/// Starts a testnet of a number of nodes of `dev`, none of which mines.
pub fn testnet(nodes: usize) -> Result<Testnet, Error> {
    Builder::new(nodes).start()
}

/// The options of a testnet.
#[derive(Clone, Debug)]
pub struct Builder {
    program: Option<PathBuf>,
    options: Vec<String>,
}

impl Builder {
    /// A testnet of a number of nodes that do not mine.
    pub fn new(nodes: usize) -> Builder {
        Builder { program: None, options: vec!["--nodes".to_owned(), nodes.to_string()] }
    }

    /// Sets the program, instead of `CHAIN_BIN` or `chain` on the path.
    pub fn program(mut self, path: impl Into<PathBuf>) -> Builder {
        self.program = Some(path.into());
        self
    }

    /// Adds an option of `chain testnet up`, such as `["--automine"]` or `["--topology", "line"]`.
    pub fn option<const N: usize>(mut self, option: [&str; N]) -> Builder {
        self.options.extend(option.map(str::to_owned));
        self
    }

    /// Starts the testnet, and waits until its nodes respond and are connected.
    pub fn start(self) -> Result<Testnet, Error> {
        let program = self.program.map_or_else(program, PathBuf::into_os_string);
        let mut options = self.options;
        let has = |name: &str, options: &[String]| options.iter().any(|option| option == name);
        if !has("--network", &options) {
            options.extend(["--network", "dev"].map(str::to_owned));
        }
        if !["--miners", "--automine", "--block-time"].iter().any(|name| has(name, &options)) {
            options.extend(["--miners", "0"].map(str::to_owned));
        }
        let home = tempfile::Builder::new().prefix("chain-testnet-").tempdir()?;
        let mut testnet = Testnet {
            program,
            directory: home.path().join("testnet"),
            home,
            guard: None,
            nodes: Vec::new(),
            hrp: String::new(),
            genesis: [0; 32],
        };
        testnet.start_guard()?;
        let up: Vec<&str> = ["up"].into_iter().chain(options.iter().map(String::as_str)).collect();
        testnet.command(&up)?;
        testnet.connect()?;
        Ok(testnet)
    }
}

fn program() -> OsString {
    env::var_os("CHAIN_BIN").unwrap_or_else(|| "chain".into())
}

/// A running testnet, which is removed when it is dropped, and when the process ends in any other way.
#[derive(Debug)]
pub struct Testnet {
    program: OsString,
    directory: PathBuf,
    home: TempDir,
    /// Removes the testnet once its standard input ends.
    guard: Option<Child>,
    nodes: Vec<Node>,
    hrp: String,
    genesis: [u8; 32],
}

/// One of the accounts that own coins from the genesis block on.
#[derive(Clone, Debug)]
pub struct Account {
    /// The key.
    pub key: Key,
    /// The address.
    pub address: String,
    hrp: String,
    genesis: [u8; 32],
}

impl Account {
    /// Signs a transfer of base units to an address with `FEE`.
    pub fn sign(&self, recipient: &str, amount: u64, nonce: u64) -> Result<SignedTransfer, Error> {
        let recipient = decode_address(recipient, &self.hrp)?;
        let payment = Payment { recipient, amount, fee: FEE, nonce, memo: Vec::new() };
        Ok(self.key.sign_transfer(&self.genesis, &payment))
    }
}

/// A reorganisation of all nodes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Reorg {
    /// The height of the last common block.
    pub fork_height: u32,
    /// The number of disconnected blocks.
    pub depth: u32,
    /// The number of connected blocks.
    pub connected: u32,
    /// The hash of the last disconnected block.
    pub old_tip: String,
    /// The hash of the new tip.
    pub new_tip: String,
    /// The ids of transfers that were replaced, with those of their replacements.
    pub replaced: BTreeMap<String, String>,
}

impl Testnet {
    /// Reads the addresses, tokens and network of the nodes.
    fn connect(&mut self) -> Result<(), Error> {
        let status = self.status()?;
        for (number, node) in (1..).zip(status["nodes"].as_array().into_iter().flatten()) {
            let token = self.directory.join(format!("node-{number}/api-token"));
            let url = node["api"].as_str().unwrap_or_default();
            self.nodes.push(Node::new(number, url, &fs::read_to_string(token)?));
        }
        let (chain, params) =
            (self.node(1).get("/v1/chain")?, self.node(1).get("/v1/chain/params")?);
        params["hrp"].as_str().unwrap_or_default().clone_into(&mut self.hrp);
        let genesis = chain["genesis"].as_str().unwrap_or_default();
        let is_decoded = hex::decode_to_slice(genesis, &mut self.genesis).is_ok();
        self.genesis.reverse();
        let invalid = || Error::Command(format!("the genesis hash is `{genesis}`"));
        is_decoded.then_some(()).ok_or_else(invalid)
    }

    /// The directory of the testnet, with the logs of its nodes.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The node of a number, from 1.
    ///
    /// # Panics
    /// If the testnet has no such node.
    pub fn node(&self, number: usize) -> &Node {
        &self.nodes[number - 1]
    }

    /// One of the accounts 0 to 9, which own coins.
    pub fn account(&self, number: u32) -> Account {
        let key = Key::from_words(TEST_WORDS, number);
        Account {
            address: key.address(&self.hrp),
            key,
            hrp: self.hrp.clone(),
            genesis: self.genesis,
        }
    }

    fn prepare(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["testnet", "--dir"]).arg(&self.directory).args(arguments);
        command
    }

    fn start_guard(&mut self) -> Result<(), Error> {
        let mut command = self.prepare(&["down", "--delete", "--when-input-ends"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        self.guard = Some(command.spawn().map_err(|source| self.program_error(source))?);
        Ok(())
    }

    fn execute(&self, arguments: &[&str]) -> Result<Output, Error> {
        self.prepare(arguments).output().map_err(|source| self.program_error(source))
    }

    fn program_error(&self, source: io::Error) -> Error {
        Error::Program { program: self.program.to_string_lossy().into_owned(), source }
    }

    /// Runs a command of `chain testnet` on this testnet, such as `["partition", "1"]`; returns its
    /// output.
    pub fn command(&self, arguments: &[&str]) -> Result<String, Error> {
        let done = self.execute(arguments)?;
        if !done.status.success() {
            let text = String::from_utf8_lossy(&done.stderr).into_owned();
            let last = text.lines().last().unwrap_or("no output");
            return Err(Error::Command(last.to_owned()));
        }
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// The state of nodes and links, as `chain testnet status --json` prints it.
    pub fn status(&self) -> Result<Value, Error> {
        // It exits with 1 if tips differ.
        Ok(serde_json::from_slice(&self.execute(&["status", "--json"])?.stdout)?)
    }

    /// Mines blocks on node 1, and waits until all running nodes have them.
    pub fn mine(&self, blocks: u32) -> Result<(), Error> {
        let order = json!({ "blocks": blocks, "miner": self.account(MINER).address });
        self.node(1).post("/v1/dev/generate", &order)?;
        self.wait_until_agreed()
    }

    /// Waits until all running nodes have one tip.
    pub fn wait_until_agreed(&self) -> Result<(), Error> {
        self.command(&["wait", "--agree", "--timeout", "60"]).map(drop)
    }

    /// Replaces the last blocks on every node by a branch with more work, in which the given transfers
    /// take the places of those with their senders and nonces.
    pub fn reorg(&self, depth: u32, replace: &[SignedTransfer]) -> Result<Reorg, Error> {
        let depth = depth.to_string();
        let mut arguments = vec!["reorg", "--json", "--depth", &depth];
        arguments.extend(replace.iter().flat_map(|transfer| ["--replace", &transfer.hex]));
        Ok(serde_json::from_str(&self.command(&arguments)?)?)
    }
}

impl Drop for Testnet {
    fn drop(&mut self) {
        // Closes its standard input, too.
        if let Some(Err(_)) = self.guard.as_mut().map(Child::wait) {
            let _ = self.execute(&["down", "--delete"]);
        }
        let _ = fs::remove_dir_all(self.home.path());
    }
}
