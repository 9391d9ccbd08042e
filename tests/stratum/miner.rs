//! A Stratum miner that shares no code with the node: a socket and a SHA-256.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Timeout of reads, generous for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// Whether a hash, little-endian, is at most a target, big-endian.
pub fn meets(hash: &[u8; 32], target: &[u8; 32]) -> bool {
    hash.iter().rev().le(target.iter())
}

/// The target of compact bits, big-endian.
pub fn target_of(bits: u32) -> [u8; 32] {
    let mut target = [0; 32];
    let at = 32 - usize::try_from(bits >> 24).unwrap();
    target[at..at + 3].copy_from_slice(&bits.to_be_bytes()[1..]);
    target
}

pub fn word(text: &Value) -> u32 {
    u32::from_str_radix(text.as_str().unwrap(), 16).unwrap()
}

/// A connection, and the last values received over it.
pub struct Miner {
    lines: BufReader<TcpStream>,
    pub extra_nonce_1: String,
    pub session: String,
    pub difficulty: f64,
    /// The parameters of the last `mining.notify`.
    pub job: Value,
    /// The number of jobs received that replace all earlier ones.
    pub clean: usize,
}

/// A share to submit.
#[derive(Clone, Debug)]
pub struct Share {
    pub job: String,
    pub extra_nonce_2: String,
    pub time: String,
    pub nonce: u32,
    /// The hash in display order.
    pub hash: String,
}

impl Miner {
    /// Connects to a Stratum URL.
    pub fn connect(url: &Value) -> Miner {
        let stream =
            TcpStream::connect(url.as_str().unwrap().strip_prefix("stratum+tcp://").unwrap());
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Miner {
            lines: BufReader::new(stream),
            extra_nonce_1: String::new(),
            session: String::new(),
            difficulty: 0.0,
            job: Value::Null,
            clean: 0,
        }
    }

    /// Connects, authorizes and waits for a job, at a chosen difficulty.
    pub fn start(url: &Value, user: &str, difficulty: f64) -> Miner {
        let mut miner = Miner::connect(url);
        miner.request("mining.suggest_difficulty", &json!([difficulty]));
        miner.request("mining.subscribe", &json!(["test/1"]));
        expect_accepted(&miner.request("mining.authorize", &json!([user, "x"])));
        miner.wait_for_job();
        miner
    }

    pub fn send(&mut self, text: &str) {
        self.lines.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// The socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.lines.get_mut()
    }

    /// Receives the next line; `None` once the node has closed the connection.
    pub fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        // A connection that is closed with unread data is reset.
        if self.lines.read_line(&mut line).ok()? == 0 {
            return None;
        }
        assert!(line.ends_with('\n') && line.len() <= 4_096);
        let line: Value = serde_json::from_str(&line).unwrap();
        match line["method"].as_str() {
            Some("mining.set_difficulty") => self.difficulty = line["params"][0].as_f64().unwrap(),
            Some("mining.notify") => {
                self.job = line["params"].clone();
                self.clean += usize::from(line["params"][8] == true);
            }
            Some("client.show_message") => {}
            Some(other) => panic!("{other}"),
            None if line["result"][2] == 4 => {
                line["result"][1].as_str().unwrap().clone_into(&mut self.extra_nonce_1);
                line["result"][0][1][1].as_str().unwrap().clone_into(&mut self.session);
            }
            None => {}
        }
        Some(line)
    }

    /// Waits for a reply; processes notifications meanwhile.
    pub fn reply(&mut self) -> Value {
        loop {
            let line = self.receive().expect("the node closed the connection");
            if line.get("method").is_none() {
                return line;
            }
        }
    }

    pub fn request(&mut self, method: &str, params: &Value) -> Value {
        self.send(&format!("{}\n", json!({ "id": 7, "method": method, "params": params })));
        self.reply()
    }

    /// Waits for the first job.
    pub fn wait_for_job(&mut self) {
        while self.job.is_null() {
            self.receive().unwrap();
        }
    }

    /// Waits for a job that replaces all earlier ones.
    pub fn next_tip(&mut self) {
        let clean = self.clean;
        while self.clean == clean {
            self.receive().unwrap();
        }
    }

    pub fn header(&self, extra_nonce_2: &str, time: u32, nonce: u32, bits: u32) -> Vec<u8> {
        let text = |at: usize| self.job[at].as_str().unwrap();
        let bytes = |text: &str| hex::decode(text).unwrap();
        let coinbase = [text(2), &self.extra_nonce_1, extra_nonce_2, text(3)].concat();
        let mut root = sha256d(&bytes(&coinbase));
        for sibling in self.job[4].as_array().unwrap() {
            root = sha256d(&[&root[..], &bytes(sibling.as_str().unwrap())].concat());
        }
        let mut previous = bytes(text(1));
        previous.chunks_mut(4).for_each(<[u8]>::reverse);
        let [version, target] = [5, 6].map(|at| word(&self.job[at]).to_le_bytes());
        let version = (u32::from_le_bytes(version) ^ bits).to_le_bytes();
        let [time, nonce] = [time, nonce].map(u32::to_le_bytes);
        [&version[..], &previous, &root, &time, &target, &nonce].concat()
    }

    /// The target of the present difficulty, computed in floating point as miners do.
    pub fn share_target(&self) -> [u8; 32] {
        let mut left = 65_535.0 / 65_536.0 / self.difficulty / 4_294_967_296.0;
        std::array::from_fn(|_| {
            left *= 256.0;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // digit by digit
            let digit = left as u8;
            left -= f64::from(digit);
            digit
        })
    }

    pub fn network_target(&self) -> [u8; 32] {
        target_of(word(&self.job[6]))
    }

    /// Searches the last job from a nonce on for a hash that satisfies a condition.
    pub fn find(&self, from: u32, bits: u32, wanted: impl Fn(&[u8; 32]) -> bool) -> Share {
        let (extra_nonce_2, time) = ("00000001".to_owned(), word(&self.job[7]));
        let mut header = self.header(&extra_nonce_2, time, from, bits);
        let mut nonce = from;
        loop {
            header[76..].copy_from_slice(&nonce.to_le_bytes());
            let mut hash = sha256d(&header);
            if wanted(&hash) {
                hash.reverse();
                let job = self.job[0].as_str().unwrap().to_owned();
                let (time, hash) = (format!("{time:08x}"), hex::encode(hash));
                return Share { job, extra_nonce_2, time, nonce, hash };
            }
            nonce += 1;
        }
    }

    /// Finds a share that does not solve a block.
    pub fn find_share(&self, from: u32) -> Share {
        let (share, network) = (self.share_target(), self.network_target());
        self.find(from, 0, |hash| meets(hash, &share) && !meets(hash, &network))
    }

    pub fn find_block(&self, from: u32) -> Share {
        let network = self.network_target();
        self.find(from, 0, |hash| meets(hash, &network))
    }

    pub fn submit(&mut self, user: &str, share: &Share) -> Value {
        self.request("mining.submit", &submission(user, share))
    }
}

/// The parameters of `mining.submit`.
pub fn submission(user: &str, share: &Share) -> Value {
    let Share { job, extra_nonce_2, time, nonce, .. } = share;
    json!([user, job, extra_nonce_2, time, format!("{nonce:08x}")])
}

#[track_caller]
pub fn expect_accepted(reply: &Value) {
    assert_eq!((&reply["result"], &reply["error"]), (&json!(true), &Value::Null), "{reply}");
}

#[track_caller]
pub fn expect_error(reply: &Value, code: u64) {
    assert_eq!((&reply["result"], &reply["error"][0]), (&Value::Null, &json!(code)), "{reply}");
}
