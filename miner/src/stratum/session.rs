//! One miner's connection, from `mining.subscribe` to its last share. Lines and times go in, actions
//! come out, in the order in which they are to be done.
//!
//! Miners differ, and some take whatever line comes next for the answer they wait for. So nothing
//! but replies is sent before a miner is authorized; a difficulty is always followed by a job that it
//! counts for; and every job has an id of its own.

use super::difficulty::Difficulty;
use super::extra_nonce::{ExtraNonce1, ExtraNonceAllocator};
use super::message::{self, Message, Refusal, Request, notification, number, reply, word};
use super::rate_limit::RateLimiter;
use super::share::{Job, ShareOutcome, SolvedBlock, Submission};
use super::template::{BlockTemplate, CoinbaseSource, DuplicateStatus};
use super::vardiff::Vardiff;
use super::worker::Worker;
use chain::{Header, Timestamp};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of the second half of the extra nonce, which the miner chooses.
const EXTRA_NONCE_2: u32 = 4;
/// The version bits that a miner may roll.
const ROLLING: u32 = Header::ROLLING_BITS.cast_unsigned();
/// Works whose jobs are remembered: a miner may be at an old one for a while.
const WORKS: u32 = 8;
/// Jobs that are remembered: those works, some given out anew with another difficulty.
const JOBS: usize = 32;
/// Names that one connection may mine under.
const WORKERS: usize = 16;
/// Lines that are no messages before a connection is given up.
const GARBAGE: u32 = 16;
/// How long a connection may take to be authorized.
const GREETING: Duration = Duration::from_secs(60);
/// How long a miner may say nothing: sixty shares were due.
const SILENCE: Duration = Duration::from_secs(600);

/// Whom a text pays, if anybody.
pub type AddressParser<P> = dyn Fn(&str) -> Option<P> + Send + Sync;

/// What holds for all connections of a server.
pub struct SessionConfig<P> {
    /// Whom the first part of a user name pays, if anybody.
    pub parse_address: Box<AddressParser<P>>,
    /// Where connections get their half of the extra nonce.
    pub extra_nonces: ExtraNonceAllocator,
    /// How far ahead of the clock a share's time may be, seconds.
    pub max_future_seconds: u32,
}

impl<P> fmt::Debug for SessionConfig<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionConfig")
            .field("max_future_seconds", &self.max_future_seconds)
            .finish_non_exhaustive()
    }
}

/// A moment, by the clock that measures and the one that tells the time.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For spans of time.
    pub instant: Instant,
    /// For headers.
    pub time: Timestamp,
}

/// What is to be done.
pub enum Action<C: CoinbaseSource> {
    /// A block was found: keep it safe, before anything that follows.
    SubmitBlock(Box<SolvedBlock<C>>),
    /// A worker mines over this connection from now on.
    AddWorker(Arc<Worker<C::PayoutAddress>>),
    /// A worker's share was judged.
    RecordShare(Arc<Worker<C::PayoutAddress>>, ShareOutcome),
    /// A line for the miner, without its end.
    Send(String),
    /// The connection is of no use: why.
    Disconnect(&'static str),
}

/// One miner's connection.
pub struct Session<C: CoinbaseSource> {
    config: Arc<SessionConfig<C::PayoutAddress>>,
    /// There once it has subscribed.
    extra_nonce: Option<ExtraNonce1>,
    /// Names as the miner writes them; all with the same payout_address.
    workers: Vec<(String, Arc<Worker<C::PayoutAddress>>)>,
    /// The version bits that were agreed on.
    mask: u32,
    vardiff: Vardiff,
    /// The difficulty that the miner was last told.
    told: Option<Difficulty>,
    /// The newest work, whether the miner was told of it or not.
    work: Option<Arc<BlockTemplate<C>>>,
    /// What the miner was told to mine, newest last: jobs of this tip and the last one.
    jobs: VecDeque<Job<C>>,
    pace: RateLimiter,
    garbage: u32,
    /// The last line, or the beginning.
    heard: Instant,
}

impl<C: CoinbaseSource> Session<C> {
    /// A connection that has just come about.
    pub fn new(config: Arc<SessionConfig<C::PayoutAddress>>, now: Now) -> Session<C> {
        Session {
            config,
            extra_nonce: None,
            workers: Vec::new(),
            mask: 0,
            vardiff: Vardiff::new(now.instant),
            told: None,
            work: None,
            jobs: VecDeque::new(),
            pace: RateLimiter::new(now.instant),
            garbage: 0,
            heard: now.instant,
        }
    }

    /// The difficulty that the miner was last told.
    pub fn difficulty(&self) -> Option<Difficulty> {
        self.told
    }

    /// The newest work, if any was offered.
    pub fn template(&self) -> Option<&Arc<BlockTemplate<C>>> {
        self.work.as_ref()
    }

    /// Whether it may mine.
    pub fn is_authorized(&self) -> bool {
        !self.workers.is_empty()
    }

    /// How long to wait before the next line is read.
    pub fn read_delay(&self) -> Duration {
        self.pace.wait()
    }

    /// Takes a line, without its end.
    pub fn handle_line(&mut self, line: &[u8], now: Now) -> Vec<Action<C>> {
        self.heard = now.instant;
        self.pace.line(now.instant);
        let request = match message::read(line) {
            Message::Request(request) => request,
            Message::Reply => return Vec::new(),
            Message::Garbage if line.trim_ascii().is_empty() => return Vec::new(),
            Message::Garbage => {
                self.garbage += 1;
                let is_enough = self.garbage >= GARBAGE;
                return is_enough
                    .then_some(Action::Disconnect("it sends garbage"))
                    .into_iter()
                    .collect();
            }
        };
        let mut actions = Vec::new();
        let Request { id, method, params } = request;
        let answer = match method.as_str() {
            "mining.subscribe" => Ok(self.subscribe(&params)),
            "mining.authorize" => self.authorize(&params, &mut actions),
            "mining.configure" => self.configure(&params),
            "mining.suggest_difficulty" => self.suggest(&params, now),
            "mining.extranonce.subscribe" => Ok(json!(true)),
            "mining.ping" => Ok(json!("pong")),
            "mining.submit" => self.submit(&params, now, &mut actions).map(|()| json!(true)),
            // Nobody asked, and nobody waits for an answer.
            "mining.pong" | "pong" => return actions,
            _ if id.is_null() => return actions,
            _ => Err(Refusal::Other("Unknown method")),
        };
        actions.push(Action::Send(reply(&id, answer)));
        self.follow_up(now, &mut actions);
        actions
    }

    /// There is new work.
    pub fn set_template(&mut self, work: Arc<BlockTemplate<C>>, now: Now) -> Vec<Action<C>> {
        self.work = Some(work);
        let mut actions = Vec::new();
        self.follow_up(now, &mut actions);
        actions
    }

    /// Some time went by. To be called every few seconds.
    pub fn tick(&mut self, now: Now) -> Vec<Action<C>> {
        let silent = now.instant.saturating_duration_since(self.heard);
        if silent >= SILENCE {
            return vec![Action::Disconnect("it is silent")];
        }
        if !self.is_authorized() && silent >= GREETING {
            return vec![Action::Disconnect("it does not say who it is")];
        }
        let mut actions = Vec::new();
        self.follow_up(now, &mut actions);
        actions
    }

    /// Gives out a job if there is a new one, or the same one if its difficulty changes.
    fn follow_up(&mut self, now: Now, actions: &mut Vec<Action<C>>) {
        let (Some(_), Some((_, worker)), Some(work)) =
            (&self.extra_nonce, self.workers.first(), &self.work)
        else {
            return;
        };
        let (worker, work) = (Arc::clone(worker), Arc::clone(work));
        let last = self.jobs.back();
        if last.is_none() {
            self.vardiff.begin(now.instant);
        }
        self.vardiff.adjust(work.hardest, now.instant);
        let difficulty = self.vardiff.difficulty().min(work.hardest);
        let is_new = last.is_none_or(|job| job.work.id != work.id);
        if !is_new && self.told == Some(difficulty) {
            return;
        }
        let former_tip = last.map(|job| job.work.header.previous);
        let again = last.filter(|_| !is_new).map_or(0, |job| job.again.saturating_add(1));
        let is_clean = former_tip != Some(work.header.previous);
        if self.told != Some(difficulty) {
            let params = json!([difficulty.get()]);
            actions.push(Action::Send(notification("mining.set_difficulty", &params)));
            self.told = Some(difficulty);
        }
        self.jobs.retain(|job| {
            let tip = job.work.header.previous;
            let is_recent = job.work.id.saturating_add(WORKS) > work.id;
            is_recent && (tip == work.header.previous || Some(tip) == former_tip)
        });
        if self.jobs.len() >= JOBS {
            self.jobs.pop_front();
        }
        let job = Job {
            id: format!("{:x}{again:02x}", work.id),
            again,
            coinbase: work.source().coinbase(&worker.payout_address),
            work,
            difficulty,
        };
        actions.push(Action::Send(notify(&job, is_clean)));
        self.jobs.push_back(job);
    }

    fn subscribe(&mut self, params: &Value) -> Value {
        let extra_nonce = self.extra_nonce.get_or_insert_with(|| {
            // The second parameter is the id of a connection that was lost.
            self.config.extra_nonces.allocate(params.get(1).and_then(word))
        });
        let half = hex::encode(extra_nonce.bytes());
        let topics = json!([["mining.set_difficulty", half], ["mining.notify", half]]);
        json!([topics, half, EXTRA_NONCE_2])
    }

    fn authorize(
        &mut self,
        params: &Value,
        actions: &mut Vec<Action<C>>,
    ) -> Result<Value, Refusal> {
        let user = params.get(0).and_then(Value::as_str).unwrap_or_default();
        let Some(worker) = Worker::of_user(user, &self.config.parse_address) else {
            let text = "The user name must be an address of this network, or ADDRESS.worker";
            return Err(Refusal::Unauthorized(text));
        };
        if self
            .workers
            .first()
            .is_some_and(|(_, first)| first.payout_address != worker.payout_address)
        {
            return Err(Refusal::Unauthorized("Another address needs a connection of its own"));
        }
        if self.workers.iter().all(|(known, _)| known != user) {
            if self.workers.len() >= WORKERS {
                return Err(Refusal::Unauthorized("Too many workers on one connection"));
            }
            let worker = Arc::new(worker);
            actions.push(Action::AddWorker(Arc::clone(&worker)));
            self.workers.push((user.to_owned(), worker));
        }
        Ok(json!(true))
    }

    fn configure(&mut self, params: &Value) -> Result<Value, Refusal> {
        let Some(extensions) = params.get(0).and_then(Value::as_array) else {
            return Err(Refusal::Other("The first parameter is a list of extensions"));
        };
        let option = |name: &str| params.get(1).and_then(|options| options.get(name));
        let mut answer = serde_json::Map::new();
        for extension in extensions.iter().filter_map(Value::as_str) {
            if extension == "version-rolling" {
                let wanted = option("version-rolling.mask").map_or(Some(u32::MAX), word);
                let least = option("version-rolling.min-bit-count").and_then(Value::as_u64);
                let mask = wanted.unwrap_or(0) & ROLLING;
                let is_granted =
                    mask != 0 && u64::from(mask.count_ones()) >= least.unwrap_or_default();
                self.mask = if is_granted { mask } else { 0 };
                answer.insert(extension.to_owned(), json!(is_granted));
                if is_granted {
                    let mask = format!("{mask:08x}");
                    answer.insert("version-rolling.mask".to_owned(), json!(mask));
                }
            } else {
                answer.insert(extension.to_owned(), json!(extension == "subscribe-extranonce"));
            }
        }
        Ok(Value::Object(answer))
    }

    fn suggest(&mut self, params: &Value, now: Now) -> Result<Value, Refusal> {
        let wish = number(params).and_then(Difficulty::new);
        let wish = wish.ok_or(Refusal::Other("A difficulty is a positive number"))?;
        self.vardiff.suggest(wish, now.instant);
        Ok(json!(true))
    }

    fn submit(
        &mut self,
        params: &Value,
        now: Now,
        actions: &mut Vec<Action<C>>,
    ) -> Result<(), Refusal> {
        let extra_nonce = self.extra_nonce.as_ref().ok_or(Refusal::NotSubscribed)?.bytes();
        if self.workers.is_empty() {
            return Err(Refusal::Unauthorized("Not authorized"));
        }
        let share = Submission::read(params);
        let user = share.as_ref().ok().map(|share| share.user);
        // One that cannot be read is counted as the first worker's.
        let worker = match user {
            Some(user) => self.workers.iter().find(|(known, _)| known == user),
            None => self.workers.first(),
        };
        let worker = worker.ok_or(Refusal::Unauthorized("Not a worker of this connection"))?;
        let worker = Arc::clone(&worker.1);
        let judged = share.and_then(|share| self.judge(&share, extra_nonce, now));
        let (outcome, answer) = match judged {
            Ok((difficulty, solved)) => {
                self.vardiff.share();
                let outcome = match solved {
                    None => ShareOutcome::Accepted(difficulty),
                    Some((work, header, extra_nonce)) => {
                        let worker = Arc::clone(&worker);
                        let solved = SolvedBlock { template: work, header, extra_nonce, worker };
                        actions.push(Action::SubmitBlock(Box::new(solved)));
                        ShareOutcome::Block(difficulty)
                    }
                };
                (outcome, Ok(()))
            }
            Err(why) => {
                let outcome = match why {
                    Refusal::UnknownJob | Refusal::StaleJob => ShareOutcome::Stale,
                    Refusal::Duplicate => ShareOutcome::Duplicate,
                    Refusal::LowDifficulty => ShareOutcome::LowDifficulty,
                    _ => ShareOutcome::Invalid,
                };
                (outcome, Err(why))
            }
        };
        actions.push(Action::RecordShare(worker, outcome));
        answer
    }

    /// The difficulty that a share is worth, and the block that it is, if it is one.
    #[allow(clippy::type_complexity)] // taken apart at once
    fn judge(
        &self,
        share: &Submission,
        extra_nonce: [u8; 4],
        now: Now,
    ) -> Result<(Difficulty, Option<(Arc<BlockTemplate<C>>, Header, [u8; 8])>), Refusal> {
        let job = self.jobs.iter().find(|job| job.id == share.job).ok_or(Refusal::UnknownJob)?;
        if share.version_bits & !self.mask != 0 {
            return Err(Refusal::Other("Version bits outside the mask that was agreed on"));
        }
        let latest = now.time.saturating_add(self.config.max_future_seconds);
        if share.time < job.work.earliest || share.time > latest {
            return Err(Refusal::Other("The time is too early or too late"));
        }
        // Some miners turn to an easier difficulty at once, others with the next job.
        let difficulty = self.told.map_or(job.difficulty, |told| told.min(job.difficulty));
        let judged = job.judge(extra_nonce, share, difficulty);
        let tip = self.work.as_ref().map(|work| work.header.previous);
        let is_stale = tip != Some(job.work.header.previous);
        // A block of an old tip is still a block, and may yet be in the best chain.
        if is_stale && !judged.is_block {
            return Err(Refusal::StaleJob);
        }
        if !judged.is_enough && !judged.is_block {
            return Err(Refusal::LowDifficulty);
        }
        match job.arrives(&judged.header) {
            DuplicateStatus::Again => return Err(Refusal::Duplicate),
            DuplicateStatus::Unknown if !judged.is_block => {
                return Err(Refusal::Other("Too many shares of this job: wait for the next"));
            }
            DuplicateStatus::First | DuplicateStatus::Unknown => {}
        }
        let solved = (Arc::clone(&job.work), judged.header, judged.extra_nonce);
        Ok((difficulty, judged.is_block.then_some(solved)))
    }
}

/// The line that tells of a job.
fn notify<C>(job: &Job<C>, is_clean: bool) -> String {
    let header = &job.work.header;
    let mut previous = *header.previous.as_bytes();
    previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    let branch: Vec<String> = job.work.branch.siblings.iter().map(hex::encode).collect();
    let params = json!([
        job.id,
        hex::encode(previous),
        hex::encode(&job.coinbase.prefix),
        hex::encode(&job.coinbase.suffix),
        branch,
        format!("{:08x}", header.version),
        header.bits.to_string(),
        format!("{:08x}", header.time.get()),
        is_clean,
    ]);
    notification("mining.notify", &params)
}
