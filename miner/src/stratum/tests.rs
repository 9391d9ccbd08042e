//! The protocol from the miner's side: lines in, lines out. Shares are found by hashing what the
//! lines contain, as a miner does, without access to the state of the session.

mod sessions;
mod mining_software;
mod arbitrary_input;
mod shares;

use super::*;
use chain::hash::sha256d;
use chain::merkle::{Branch, Root};
use chain::{Address, Bits, Header, Height, Target, Timestamp, block, tx};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const TIME: u32 = 1_800_000_000;
/// The maximum time of a share relative to the clock, in seconds.
const MAX_FUTURE_SECONDS: u32 = 50;
/// A difficulty that almost every hash meets, and one of some thousand hashes.
const EASY: f64 = 3e-10;
const NETWORK: f64 = 1e-6;

/// Builds a copy of a coinbase for any address.
#[derive(Debug)]
struct TestSource(chain::Coinbase);

impl CoinbaseSource for TestSource {
    type PayoutAddress = Address;

    fn coinbase(&self, payout_address: &Address) -> CoinbaseParts {
        let coinbase = chain::Coinbase { recipient: *payout_address, ..self.0.clone() };
        let (bytes, at) = (coinbase.serialize(), coinbase.extra_nonce_offset());
        CoinbaseParts { prefix: bytes[..at].to_vec(), suffix: bytes[at + 8..].to_vec() }
    }
}

/// A template on a tip, whose blocks have the given difficulty.
fn template(id: u32, tip: u8, difficulty: f64) -> Arc<BlockTemplate<TestSource>> {
    let coinbase = chain::Coinbase {
        height: Height::new(700),
        extra_nonce: [0; 8],
        tag: tx::Tag::new(b"test".to_vec()).unwrap(),
        reward: 5_000_000_000,
        recipient: Address::ZERO,
        commitment: [0xcc; 32],
    };
    let header = Header {
        version: Header::VERSION,
        previous: block::Hash::from_bytes(std::array::from_fn(|at| {
            tip + u8::try_from(at).unwrap()
        })),
        merkle_root: Root::ZERO,
        time: Timestamp::new(TIME),
        bits: Bits::new(0x1e12_3456),
        nonce: 0,
    };
    let branch = Branch { siblings: vec![[1; 32], [2; 32], [3; 32]], position: 0 };
    let target = Difficulty::new(difficulty).unwrap().target();
    let earliest = Timestamp::new(TIME - 5);
    Arc::new(BlockTemplate::new(id, header, branch, target, earliest, TestSource(coinbase)))
}

fn config() -> Arc<SessionConfig<TestSource>> {
    let parse_address =
        |text: &str| text.strip_prefix('A').map(|rest| address(rest.parse().unwrap_or(0)));
    Arc::new(SessionConfig::new(parse_address, MAX_FUTURE_SECONDS))
}

fn address(number: u8) -> Address {
    Address::from_bytes([number; 20])
}

/// A miner, with the session on the server.
struct Miner {
    session: Session<TestSource>,
    now: Now,
    blocks: Vec<SolvedBlock<TestSource>>,
    outcomes: Vec<(String, ShareOutcome)>,
    rejected_users: Vec<String>,
    disconnected: Option<&'static str>,
    extra_nonce1: String,
    /// The difficulty that was last received.
    difficulty: f64,
    /// The parameters of the last `mining.notify` received.
    job: Value,
}

/// The parameters of `mining.submit`.
#[derive(Clone, Debug)]
struct Share {
    job: String,
    extra_nonce2: String,
    time: u32,
    nonce: u32,
}

impl Miner {
    fn connect(config: &Arc<SessionConfig<TestSource>>) -> Miner {
        let now = Now { instant: Instant::now(), time: Timestamp::new(TIME) };
        Miner {
            session: Session::new(Arc::clone(config), now),
            now,
            blocks: Vec::new(),
            outcomes: Vec::new(),
            rejected_users: Vec::new(),
            disconnected: None,
            extra_nonce1: String::new(),
            difficulty: 0.0,
            job: Value::Null,
        }
    }

    /// Creates a miner with a job, at a difficulty of about one hash.
    fn authorized(config: &Arc<SessionConfig<TestSource>>, user: &str, network: f64) -> Miner {
        let mut miner = Miner::connect(config);
        miner.set_template(template(1, 1, network));
        miner.request(0, "mining.suggest_difficulty", &json!([EASY]));
        miner.request(1, "mining.subscribe", &json!(["test"]));
        miner.request(2, "mining.authorize", &json!([user, "x"]));
        assert!(miner.job.is_array());
        miner
    }

    /// A miner that resumes a lost session, at a difficulty of about one hash.
    fn resumed(
        config: &Arc<SessionConfig<TestSource>>,
        session: &str,
        template: Arc<BlockTemplate<TestSource>>,
    ) -> Miner {
        let mut miner = Miner::connect(config);
        miner.set_template(template);
        miner.request(0, "mining.suggest_difficulty", &json!([EASY]));
        miner.request(1, "mining.subscribe", &json!(["cpuminer", session]));
        miner.request(2, "mining.authorize", &json!(["A1"]));
        assert_eq!(miner.job[8], json!(true), "the first job of a connection is clean");
        miner
    }

    fn advance(&mut self, seconds: u32) {
        self.now.instant += Duration::from_secs(seconds.into());
        self.now.time = self.now.time.saturating_add(seconds);
    }

    /// Sends a line. Returns the lines received.
    fn send(&mut self, line: &str) -> Vec<Value> {
        let actions = self.session.handle_line(line.as_bytes(), self.now);
        self.perform(actions)
    }

    /// Sends a request. Returns the response, which is the first line received.
    fn request(&mut self, id: u64, method: &str, params: &Value) -> Value {
        let line = json!({ "id": id, "method": method, "params": params }).to_string();
        let response = self.send(&line).remove(0);
        assert_eq!(response["id"], id);
        assert_eq!(response.as_object().unwrap().len(), 3, "{response}");
        response
    }

    fn set_template(&mut self, template: Arc<BlockTemplate<TestSource>>) -> Vec<Value> {
        let actions = self.session.set_template(template, self.now);
        self.perform(actions)
    }

    fn suspend(&mut self, reason: &str) -> Vec<Value> {
        let actions = self.session.suspend(reason.into());
        self.perform(actions)
    }

    fn tick(&mut self) -> Vec<Value> {
        let actions = self.session.tick(self.now);
        self.perform(actions)
    }

    fn perform(&mut self, actions: Vec<Action<TestSource>>) -> Vec<Value> {
        let mut lines = Vec::new();
        for action in actions {
            match action {
                Action::SubmitBlock(solved) => self.blocks.push(*solved),
                Action::AddWorker(_) => {}
                Action::RecordShare(worker, outcome) => {
                    self.outcomes.push((worker.name.clone(), outcome));
                }
                Action::RejectUser(user) => self.rejected_users.push(user),
                Action::Disconnect(reason) => self.disconnected = Some(reason),
                Action::Send(line) => {
                    assert!(line.len() <= MAX_LINE_BYTES && !line.contains('\n'));
                    lines.push(serde_json::from_str(&line).unwrap());
                }
            }
        }
        for line in &lines {
            self.receive(line);
        }
        lines
    }

    fn receive(&mut self, line: &Value) {
        match line["method"].as_str() {
            Some("mining.set_difficulty") => self.difficulty = line["params"][0].as_f64().unwrap(),
            Some("mining.notify") => self.job = line["params"].clone(),
            Some("client.show_message") => {}
            Some(other) => panic!("{other}"),
            None => {
                if let Some(extra_nonce1) = line["result"][1].as_str() {
                    assert_eq!(line["result"][2], 4);
                    extra_nonce1.clone_into(&mut self.extra_nonce1);
                }
            }
        }
    }

    /// Assembles the header of a share of the last job, as miners do.
    fn header(&self, extra_nonce2: &str, time: u32, nonce: u32, version_bits: u32) -> [u8; 80] {
        let text = |at: usize| self.job[at].as_str().unwrap();
        let bytes = |text: &str| hex::decode(text).unwrap();
        let parts = [text(2), &self.extra_nonce1, extra_nonce2, text(3)];
        let coinbase: Vec<u8> = parts.iter().flat_map(|part| bytes(part)).collect();
        assert!((100..=255).contains(&coinbase.len()));
        let mut root = sha256d(&coinbase);
        for sibling in self.job[4].as_array().unwrap() {
            root = sha256d(&[&root[..], &bytes(sibling.as_str().unwrap())].concat());
        }
        let word = |text: &str| u32::from_str_radix(text, 16).unwrap();
        let mut previous = bytes(text(1));
        previous.chunks_mut(4).for_each(<[u8]>::reverse);
        let mut header = Vec::new();
        header.extend((word(text(5)) ^ version_bits).to_le_bytes());
        header.extend(previous);
        header.extend(root);
        header.extend(time.to_le_bytes());
        header.extend(word(text(6)).to_le_bytes());
        header.extend(nonce.to_le_bytes());
        header.try_into().unwrap()
    }

    /// Searches the last job for a share with a difficulty from `min` up to but not `max`.
    fn find(&self, min: f64, max: f64) -> Share {
        let time = u32::from_str_radix(self.job[7].as_str().unwrap(), 16).unwrap();
        let job = self.job[0].as_str().unwrap().to_owned();
        self.find_from(
            Share { job, extra_nonce2: "00000001".to_owned(), time, nonce: 0 },
            0,
            min,
            max,
        )
    }

    fn find_from(&self, mut share: Share, version_bits: u32, min: f64, max: f64) -> Share {
        loop {
            let header = self.header(&share.extra_nonce2, share.time, share.nonce, version_bits);
            let mut hash = sha256d(&header);
            hash.reverse();
            let difficulty = difficulty::of(Target::from_be_bytes(hash).unwrap());
            if (min..max).contains(&difficulty) {
                return share;
            }
            share.nonce += 1;
        }
    }

    fn submit(&mut self, user: &str, share: &Share) -> Value {
        let Share { job, extra_nonce2, time, nonce } = share;
        let [time, nonce] = [time, nonce].map(|it| format!("{it:08x}"));
        self.request(4, "mining.submit", &json!([user, job, extra_nonce2, time, nonce]))
    }
}

#[track_caller]
fn assert_accepted(response: &Value) {
    assert_eq!((&response["result"], &response["error"]), (&json!(true), &Value::Null));
}

#[track_caller]
fn assert_rejected(response: &Value, code: u8) -> String {
    assert_eq!(
        (&response["result"], &response["error"][0]),
        (&Value::Null, &json!(code)),
        "{response}"
    );
    assert_eq!(
        (response["error"].as_array().unwrap().len(), &response["error"][2]),
        (3, &Value::Null)
    );
    response["error"][1].as_str().unwrap().to_owned()
}
