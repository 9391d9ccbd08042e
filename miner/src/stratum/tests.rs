//! The machine as miners see it: lines in, lines out. Shares are found by hashing what the lines
//! say, as a miner does, and by nothing that the machine knows.

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
/// As far ahead of the clock as a share's time may be.
const AHEAD: u32 = 50;
/// One that is almost always met, and one that takes some thousand hashes.
const EASY: f64 = 3e-10;
const NETWORK: f64 = 1e-6;

/// What is mined: a coinbase, and whom it pays.
#[derive(Debug)]
struct Block(chain::Coinbase);

impl CoinbaseSource for Block {
    type PayoutAddress = Address;

    fn coinbase(&self, payout_address: &Address) -> CoinbaseParts {
        let coinbase = chain::Coinbase { recipient: *payout_address, ..self.0.clone() };
        let (bytes, at) = (coinbase.serialise(), coinbase.extra_nonce_offset());
        CoinbaseParts { prefix: bytes[..at].to_vec(), suffix: bytes[at + 8..].to_vec() }
    }
}

/// BlockTemplate on a tip, so hard that a block takes that difficulty.
fn work(id: u32, tip: u8, difficulty: f64) -> Arc<BlockTemplate<Block>> {
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
    Arc::new(BlockTemplate::new(id, header, branch, target, earliest, Block(coinbase)))
}

fn config() -> Arc<SessionConfig<Address>> {
    let payout_address =
        |text: &str| text.strip_prefix('A').map(|rest| address(rest.parse().unwrap_or(0)));
    let extra_nonces = ExtraNonceAllocator::starting_at(0x8123_4567);
    Arc::new(SessionConfig {
        parse_address: Box::new(payout_address),
        extra_nonces,
        max_future_seconds: AHEAD,
    })
}

fn address(number: u8) -> Address {
    Address::from_bytes([number; 20])
}

/// A miner at one end of a session.
struct Miner {
    session: Session<Block>,
    now: Now,
    blocks: Vec<SolvedBlock<Block>>,
    outcomes: Vec<(String, ShareOutcome)>,
    closed: Option<&'static str>,
    extra_nonce_1: String,
    /// As it was last told.
    difficulty: f64,
    /// The parameters of the last `mining.notify`.
    job: Value,
}

/// A share as it is handed in.
#[derive(Clone, Debug)]
struct Share {
    job: String,
    extra_nonce_2: String,
    time: u32,
    nonce: u32,
}

impl Miner {
    fn connect(config: &Arc<SessionConfig<Address>>) -> Miner {
        let now = Now { instant: Instant::now(), time: Timestamp::new(TIME) };
        Miner {
            session: Session::new(Arc::clone(config), now),
            now,
            blocks: Vec::new(),
            outcomes: Vec::new(),
            closed: None,
            extra_nonce_1: String::new(),
            difficulty: 0.0,
            job: Value::Null,
        }
    }

    /// One that mines already, at a difficulty that hardly takes a hash.
    fn at_work(config: &Arc<SessionConfig<Address>>, user: &str, network: f64) -> Miner {
        let mut miner = Miner::connect(config);
        miner.offer(work(1, 1, network));
        miner.ask(0, "mining.suggest_difficulty", &json!([EASY]));
        miner.ask(1, "mining.subscribe", &json!(["test"]));
        miner.ask(2, "mining.authorize", &json!([user, "x"]));
        assert!(miner.job.is_array());
        miner
    }

    fn later(&mut self, seconds: u32) {
        self.now.instant += Duration::from_secs(seconds.into());
        self.now.time = self.now.time.saturating_add(seconds);
    }

    /// Sends a line: the lines that come back.
    fn say(&mut self, line: &str) -> Vec<Value> {
        let actions = self.session.handle_line(line.as_bytes(), self.now);
        self.take(actions)
    }

    /// Sends a request: its reply, which comes first.
    fn ask(&mut self, id: u64, method: &str, params: &Value) -> Value {
        let line = json!({ "id": id, "method": method, "params": params }).to_string();
        let reply = self.say(&line).remove(0);
        assert_eq!(reply["id"], id);
        assert_eq!(reply.as_object().unwrap().len(), 3, "{reply}");
        reply
    }

    fn offer(&mut self, work: Arc<BlockTemplate<Block>>) -> Vec<Value> {
        let actions = self.session.set_template(work, self.now);
        self.take(actions)
    }

    fn tick(&mut self) -> Vec<Value> {
        let actions = self.session.tick(self.now);
        self.take(actions)
    }

    fn take(&mut self, actions: Vec<Action<Block>>) -> Vec<Value> {
        let mut lines = Vec::new();
        for action in actions {
            match action {
                Action::SubmitBlock(solved) => self.blocks.push(*solved),
                Action::AddWorker(_) => {}
                Action::RecordShare(worker, outcome) => {
                    self.outcomes.push((worker.name.clone(), outcome));
                }
                Action::Disconnect(why) => self.closed = Some(why),
                Action::Send(line) => {
                    assert!(line.len() <= MAX_LINE_BYTES && !line.contains('\n'));
                    lines.push(serde_json::from_str(&line).unwrap());
                }
            }
        }
        for line in &lines {
            self.listen(line);
        }
        lines
    }

    fn listen(&mut self, line: &Value) {
        match line["method"].as_str() {
            Some("mining.set_difficulty") => self.difficulty = line["params"][0].as_f64().unwrap(),
            Some("mining.notify") => self.job = line["params"].clone(),
            Some(other) => panic!("{other}"),
            None => {
                if let Some(half) = line["result"][1].as_str() {
                    assert_eq!(line["result"][2], 4);
                    half.clone_into(&mut self.extra_nonce_1);
                }
            }
        }
    }

    /// The header of a share of the last job, as miners put it together.
    fn header(&self, extra_nonce_2: &str, time: u32, nonce: u32, version_bits: u32) -> [u8; 80] {
        let text = |at: usize| self.job[at].as_str().unwrap();
        let bytes = |text: &str| hex::decode(text).unwrap();
        let parts = [text(2), &self.extra_nonce_1, extra_nonce_2, text(3)];
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

    /// Searches the last job for a share whose difficulty is in a range.
    fn find(&self, least: f64, most: f64) -> Share {
        let time = u32::from_str_radix(self.job[7].as_str().unwrap(), 16).unwrap();
        let job = self.job[0].as_str().unwrap().to_owned();
        self.find_of(
            Share { job, extra_nonce_2: "00000001".to_owned(), time, nonce: 0 },
            0,
            least,
            most,
        )
    }

    fn find_of(&self, mut share: Share, version_bits: u32, least: f64, most: f64) -> Share {
        loop {
            let header = self.header(&share.extra_nonce_2, share.time, share.nonce, version_bits);
            let mut hash = sha256d(&header);
            hash.reverse();
            let difficulty = difficulty::of(Target::from_be_bytes(hash).unwrap());
            if (least..most).contains(&difficulty) {
                return share;
            }
            share.nonce += 1;
        }
    }

    fn submit(&mut self, user: &str, share: &Share) -> Value {
        let Share { job, extra_nonce_2, time, nonce } = share;
        let [time, nonce] = [time, nonce].map(|it| format!("{it:08x}"));
        self.ask(4, "mining.submit", &json!([user, job, extra_nonce_2, time, nonce]))
    }
}

#[track_caller]
fn accepted(reply: &Value) {
    assert_eq!((&reply["result"], &reply["error"]), (&json!(true), &Value::Null));
}

#[track_caller]
fn refused(reply: &Value, code: u8) -> String {
    assert_eq!((&reply["result"], &reply["error"][0]), (&Value::Null, &json!(code)), "{reply}");
    assert_eq!((reply["error"].as_array().unwrap().len(), &reply["error"][2]), (3, &Value::Null));
    reply["error"][1].as_str().unwrap().to_owned()
}
