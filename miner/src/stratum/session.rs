//! The session of one miner, from `mining.subscribe` to its last share. Lines and times in, actions
//! out, in the order in which they are to be performed.
//!
//! Miners differ, and some treat any line as the response they wait for. So only responses are sent
//! before a miner is authorized; a difficulty is always followed by a job that it applies to; and
//! every job has a distinct id.

use super::difficulty::{self, Difficulty, RememberedDifficulties};
use super::extra_nonce::{ExtraNonce1, ExtraNonceAllocator};
use super::jobs::{Job, Jobs, ParkedJobs};
use super::message::{
    self, Message, RejectReason, Request, notification, parse_hex_word, parse_number, response,
};
use super::rate_limit::RateLimiter;
use super::share::{AcceptedShare, ShareOutcome, SolvedBlock, Submission};
use super::template::{BlockTemplate, CoinbaseParts, CoinbaseSource};
use super::vardiff::Vardiff;
use super::worker::Worker;
use chain::{Header, Timestamp};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The length of the second half of the extra nonce, which the miner chooses, in bytes.
const EXTRA_NONCE2_BYTES: u32 = 4;
/// The version bits that a Stratum miner may change, as the mask of `mining.configure`.
const ROLLING_BITS: u32 = Header::ROLLING_BITS.cast_unsigned();
/// The maximum number of worker names of a session.
const MAX_WORKERS: usize = 16;
/// The maximum length of a rejected user name in the log, in characters.
const MAX_LOGGED_USER: usize = 100;
/// The number of malformed lines after which a session is closed.
const MAX_MALFORMED_LINES: u32 = 16;
/// The time within which a miner has to be authorized.
pub const AUTHORIZATION_TIMEOUT: Duration = Duration::from_secs(60);
/// The time after which a silent miner is disconnected: sixty shares were due.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// Parses a payout address; `None` if the text is not one.
type AddressParser<P> = dyn Fn(&str) -> Option<P> + Send + Sync;

/// The configuration shared by all sessions of a server, and what they keep for miners that
/// reconnect.
pub struct SessionConfig<C: CoinbaseSource> {
    parse_address: Box<AddressParser<C::PayoutAddress>>,
    max_future_seconds: u32,
    extra_nonces: ExtraNonceAllocator,
    parked: ParkedJobs<C>,
    difficulties: RememberedDifficulties<C::PayoutAddress>,
}

impl<C: CoinbaseSource> SessionConfig<C> {
    /// Creates a configuration. `parse_address` parses the payout address in the first part of a
    /// user name; the time of a share may be at most `max_future_seconds` later than the clock.
    pub fn new(
        parse_address: impl Fn(&str) -> Option<C::PayoutAddress> + Send + Sync + 'static,
        max_future_seconds: u32,
    ) -> SessionConfig<C> {
        SessionConfig {
            parse_address: Box::new(parse_address),
            max_future_seconds,
            extra_nonces: ExtraNonceAllocator::starting_at(0),
            parked: ParkedJobs::default(),
            difficulties: RememberedDifficulties::default(),
        }
    }

    /// Takes the extra nonce and the jobs of a lost session.
    fn resume(&self, session: u32) -> Option<(ExtraNonce1, Jobs<C>)> {
        let jobs = self.parked.take(session)?;
        Some((self.extra_nonces.reallocate(session)?, jobs))
    }
}

impl<C: CoinbaseSource> fmt::Debug for SessionConfig<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionConfig")
            .field("max_future_seconds", &self.max_future_seconds)
            .finish_non_exhaustive()
    }
}

/// The current time by the monotonic clock and by the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The monotonic time, for time-outs and rates.
    pub instant: Instant,
    /// The wall-clock time, for headers.
    pub time: Timestamp,
}

/// An action that the caller has to perform for a session.
pub enum Action<C: CoinbaseSource> {
    /// Submit a block and store it before performing the following actions.
    SubmitBlock(Box<SolvedBlock<C>>),
    /// Add a worker, which mines on this session from now on.
    AddWorker(Arc<Worker<C::PayoutAddress>>),
    /// Log that the session's first user name, which is given, is not a payout address.
    RejectUser(String),
    /// Record the outcome of a worker's share.
    RecordShare(Arc<Worker<C::PayoutAddress>>, ShareOutcome),
    /// Send a line, to which the caller appends a line feed.
    Send(String),
    /// Close the connection for the given reason.
    Disconnect(&'static str),
}

/// The state of the connection of one miner.
pub struct Session<C: CoinbaseSource> {
    config: Arc<SessionConfig<C>>,
    /// Present once the miner has subscribed.
    extra_nonce1: Option<ExtraNonce1>,
    /// The authorized user names with their workers, which all have the same payout address.
    workers: Vec<(String, Arc<Worker<C::PayoutAddress>>)>,
    /// The negotiated version bits.
    version_mask: u32,
    vardiff: Vardiff,
    /// The difficulty that was last sent to the miner.
    sent_difficulty: Option<Difficulty>,
    /// The newest template, whether a job of it was sent or not.
    template: Option<Arc<BlockTemplate<C>>>,
    /// Why no block can be mined at present, so that no job is sent.
    suspended: Option<Arc<str>>,
    /// Whether a user name was reported that is not a payout address.
    has_rejected_user: bool,
    jobs: Jobs<C>,
    rate_limiter: RateLimiter,
    malformed_lines: u32,
    /// The time of the last line or of the start.
    last_line: Instant,
}

impl<C: CoinbaseSource> Session<C> {
    /// Creates the session of a new connection.
    pub fn new(config: Arc<SessionConfig<C>>, now: Now) -> Session<C> {
        Session {
            config,
            extra_nonce1: None,
            workers: Vec::new(),
            version_mask: 0,
            vardiff: Vardiff::new(now.instant),
            sent_difficulty: None,
            template: None,
            suspended: None,
            has_rejected_user: false,
            jobs: Jobs::default(),
            rate_limiter: RateLimiter::new(now.instant),
            malformed_lines: 0,
            last_line: now.instant,
        }
    }

    /// The difficulty that was last sent to the miner.
    pub fn difficulty(&self) -> Option<Difficulty> {
        self.sent_difficulty
    }

    /// The newest template; `None` before the first one.
    pub fn template(&self) -> Option<&Arc<BlockTemplate<C>>> {
        self.template.as_ref()
    }

    /// Whether a worker is authorized.
    pub fn is_authorized(&self) -> bool {
        !self.workers.is_empty()
    }

    /// The time to wait before reading the next line.
    pub fn read_delay(&self) -> Duration {
        self.rate_limiter.delay()
    }

    /// Handles a line, without its line feed.
    pub fn handle_line(&mut self, line: &[u8], now: Now) -> Vec<Action<C>> {
        self.last_line = now.instant;
        self.rate_limiter.record_line(now.instant);
        let request = match message::parse(line) {
            Message::Request(request) => request,
            Message::Response => return Vec::new(),
            Message::Malformed if line.trim_ascii().is_empty() => return Vec::new(),
            Message::Malformed => {
                self.malformed_lines += 1;
                return if self.malformed_lines >= MAX_MALFORMED_LINES {
                    vec![Action::Disconnect("too many malformed lines")]
                } else {
                    Vec::new()
                };
            }
        };
        let (mut actions, mut message) = (Vec::new(), None);
        let Request { id, method, params } = request;
        let result = match method.as_str() {
            "mining.subscribe" => Ok(self.subscribe(&params)),
            "mining.authorize" => {
                let was_authorized = self.is_authorized();
                let authorized = self.authorize(&params, now, &mut actions);
                let reason = self.suspended.as_deref().filter(|_| !was_authorized);
                message = reason.filter(|_| authorized.is_ok()).map(show_message);
                authorized
            }
            "mining.configure" => self.configure(&params, now),
            "mining.suggest_difficulty" => self.suggest_difficulty(&params, now),
            "mining.suggest_target" => self.suggest_target(&params, now),
            "mining.extranonce.subscribe" => Ok(json!(true)),
            "mining.ping" => Ok(json!("pong")),
            "mining.submit" => self.submit(&params, now, &mut actions).map(|()| json!(true)),
            // Not a request, so no response is due.
            "mining.pong" | "pong" => return actions,
            _ if id.is_null() => return actions,
            _ => Err(RejectReason::Other("Unknown method")),
        };
        actions.push(Action::Send(response(&id, result)));
        actions.extend(message.map(Action::Send));
        actions.extend(self.update_job(now));
        actions
    }

    /// Sets a new template and sends a job of it if the miner is ready.
    pub fn set_template(&mut self, template: Arc<BlockTemplate<C>>, now: Now) -> Vec<Action<C>> {
        self.template = Some(template);
        self.suspended = None;
        self.update_job(now)
    }

    /// Sends no job and accepts no share until the next template, because no block can be mined, and
    /// shows the miner the reason. A share that is a block nevertheless is submitted.
    pub fn suspend(&mut self, reason: Arc<str>) -> Vec<Action<C>> {
        let shown = self.is_authorized().then(|| Action::Send(show_message(&reason)));
        self.suspended = Some(reason);
        shown.into_iter().collect()
    }

    /// Checks time-outs and adjusts the difficulty. To be called every few seconds.
    pub fn tick(&mut self, now: Now) -> Vec<Action<C>> {
        let idle = now.instant.saturating_duration_since(self.last_line);
        if idle >= IDLE_TIMEOUT {
            return vec![Action::Disconnect("idle timeout")];
        }
        if !self.is_authorized() && idle >= AUTHORIZATION_TIMEOUT {
            return vec![Action::Disconnect("authorization timeout")];
        }
        self.update_job(now)
    }

    /// Sends a job of a new template, or of the current one if its difficulty changes.
    fn update_job(&mut self, now: Now) -> Vec<Action<C>> {
        if self.suspended.is_some() {
            return Vec::new();
        }
        let (Some(_), Some((_, worker)), Some(template)) =
            (&self.extra_nonce1, self.workers.first(), &self.template)
        else {
            return Vec::new();
        };
        let (worker, template) = (Arc::clone(worker), Arc::clone(template));
        let is_first = self.sent_difficulty.is_none();
        if is_first {
            self.vardiff.start_window(now.instant);
        }
        self.vardiff.adjust(template.max_difficulty, now.instant);
        let difficulty = self.vardiff.difficulty().min(template.max_difficulty);
        let last = self.jobs.last();
        let is_new = last.is_none_or(|job| job.template.id != template.id);
        if !is_new && self.sent_difficulty == Some(difficulty) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        let previous_tip = last.map(|job| job.template.header.previous);
        let revision = last.filter(|_| !is_new).map_or(0, |job| job.revision.saturating_add(1));
        // Jobs of a time before the clock was set back are useless too.
        let is_earlier = last.is_some_and(|job| job.template.header.time > template.header.time);
        let clean_jobs = is_first || previous_tip != Some(template.header.previous) || is_earlier;
        if self.sent_difficulty != Some(difficulty) {
            let previous = self.sent_difficulty.or(last.map(|job| job.difficulty));
            if previous.is_some_and(|previous| previous < difficulty) {
                self.jobs.expire(now.instant);
            }
            let params = json!([difficulty.get()]);
            actions.push(Action::Send(notification("mining.set_difficulty", &params)));
            self.sent_difficulty = Some(difficulty);
        }
        let coinbase = template.source().coinbase(&worker.payout_address);
        let id = format!("{:x}{revision:02x}", template.id);
        let job = Job { id, revision, template, difficulty, expires: None };
        actions.push(Action::Send(job_notification(&job, &coinbase, clean_jobs)));
        self.jobs.push(job);
        actions
    }

    fn subscribe(&mut self, params: &Value) -> Value {
        let extra_nonce1 = self.extra_nonce1.get_or_insert_with(|| {
            // The second parameter is the id of a lost session that the miner resumes.
            let lost = params.get(1).and_then(parse_hex_word);
            match lost.and_then(|lost| self.config.resume(lost)) {
                Some((extra_nonce1, jobs)) => {
                    self.jobs = jobs;
                    extra_nonce1
                }
                None => self.config.extra_nonces.allocate(),
            }
        });
        let id = hex::encode(extra_nonce1.bytes());
        let subscriptions = json!([["mining.set_difficulty", id], ["mining.notify", id]]);
        json!([subscriptions, id, EXTRA_NONCE2_BYTES])
    }

    fn authorize(
        &mut self,
        params: &Value,
        now: Now,
        actions: &mut Vec<Action<C>>,
    ) -> Result<Value, RejectReason> {
        let user = params.get(0).and_then(Value::as_str).unwrap_or_default();
        let Some(worker) = Worker::parse(user, &self.config.parse_address) else {
            if !std::mem::replace(&mut self.has_rejected_user, true) {
                actions.push(Action::RejectUser(user.chars().take(MAX_LOGGED_USER).collect()));
            }
            let text = "The user name must be an address of this network, or ADDRESS.worker";
            return Err(RejectReason::Unauthorized(text));
        };
        if self
            .workers
            .first()
            .is_some_and(|(_, first)| first.payout_address != worker.payout_address)
        {
            return Err(RejectReason::Unauthorized(
                "A connection has one address: connect again to mine for another",
            ));
        }
        if self.workers.iter().all(|(name, _)| name != user) {
            if self.workers.len() >= MAX_WORKERS {
                return Err(RejectReason::Unauthorized("Too many workers on one connection"));
            }
            if self.workers.is_empty() {
                let password = params.get(1).and_then(Value::as_str).unwrap_or_default();
                if let Some(requested) = message::difficulty_of_password(password) {
                    self.vardiff.suggest(requested, now.instant);
                } else if let Some(earlier) = self.config.difficulties.get(&worker) {
                    self.vardiff.resume(earlier, now.instant);
                }
            }
            let worker = Arc::new(worker);
            actions.push(Action::AddWorker(Arc::clone(&worker)));
            self.workers.push((user.to_owned(), worker));
        }
        Ok(json!(true))
    }

    fn configure(&mut self, params: &Value, now: Now) -> Result<Value, RejectReason> {
        let Some(extensions) = params.get(0).and_then(Value::as_array) else {
            return Err(RejectReason::Other("The first parameter is a list of extensions"));
        };
        let option = |name: &str| params.get(1).and_then(|options| options.get(name));
        let mut result = serde_json::Map::new();
        for extension in extensions.iter().filter_map(Value::as_str) {
            if extension == "version-rolling" {
                let requested =
                    option("version-rolling.mask").map_or(Some(u32::MAX), parse_hex_word);
                let min_bits = option("version-rolling.min-bit-count").and_then(Value::as_u64);
                let mask = requested.unwrap_or(0) & ROLLING_BITS;
                let is_granted =
                    mask != 0 && u64::from(mask.count_ones()) >= min_bits.unwrap_or_default();
                self.version_mask = if is_granted { mask } else { 0 };
                result.insert(extension.to_owned(), json!(is_granted));
                if is_granted {
                    let mask = format!("{mask:08x}");
                    result.insert("version-rolling.mask".to_owned(), json!(mask));
                }
            } else if extension == "minimum-difficulty" {
                let minimum = option("minimum-difficulty.value").and_then(parse_number);
                let minimum = minimum.and_then(Difficulty::new);
                if let Some(minimum) = minimum {
                    self.vardiff.set_minimum(minimum, now.instant);
                }
                result.insert(extension.to_owned(), json!(minimum.is_some()));
            } else {
                result.insert(extension.to_owned(), json!(extension == "subscribe-extranonce"));
            }
        }
        Ok(Value::Object(result))
    }

    fn suggest_difficulty(&mut self, params: &Value, now: Now) -> Result<Value, RejectReason> {
        let suggested = parse_number(params)
            .and_then(Difficulty::new)
            .ok_or(RejectReason::Other("A difficulty is a positive number"))?;
        self.vardiff.suggest(suggested, now.instant);
        Ok(json!(true))
    }

    fn suggest_target(&mut self, params: &Value, now: Now) -> Result<Value, RejectReason> {
        let target = params.get(0).unwrap_or(params).as_str().and_then(message::parse_target);
        let target = target.ok_or(RejectReason::Other("A target is 64 hexadecimal digits"))?;
        self.vardiff.suggest(Difficulty::from_target(target), now.instant);
        Ok(json!(true))
    }

    fn submit(
        &mut self,
        params: &Value,
        now: Now,
        actions: &mut Vec<Action<C>>,
    ) -> Result<(), RejectReason> {
        let extra_nonce1 = self.extra_nonce1.as_ref().ok_or(RejectReason::NotSubscribed)?.bytes();
        let (_, first_worker) =
            self.workers.first().ok_or(RejectReason::Unauthorized("Not authorized"))?;
        let share = Submission::parse(params);
        // A malformed share counts for the first worker.
        let worker = share.as_ref().map_or(Some(first_worker), |share| {
            self.workers.iter().find(|(name, _)| name == share.user).map(|(_, worker)| worker)
        });
        let worker = worker.ok_or(RejectReason::Unauthorized("Not a worker of this connection"))?;
        let worker = Arc::clone(worker);
        let validated =
            share.and_then(|share| self.validate_share(&share, &worker, extra_nonce1, now));
        let (outcome, result) = match validated {
            Ok((share, block)) => {
                self.vardiff.record_share();
                let outcome = match block {
                    None => ShareOutcome::Accepted(share),
                    Some(block) => {
                        actions.push(Action::SubmitBlock(Box::new(block)));
                        ShareOutcome::Block(share)
                    }
                };
                (outcome, Ok(()))
            }
            Err(reason) => (reason.into(), Err(reason)),
        };
        actions.push(Action::RecordShare(worker, outcome));
        result
    }

    /// Validates a share. Returns its difficulties, and the block if it is one.
    fn validate_share(
        &mut self,
        share: &Submission,
        worker: &Arc<Worker<C::PayoutAddress>>,
        extra_nonce1: [u8; 4],
        now: Now,
    ) -> Result<(AcceptedShare, Option<SolvedBlock<C>>), RejectReason> {
        let job = self.jobs.find(share.job).ok_or(RejectReason::UnknownJob)?;
        let template = Arc::clone(&job.template);
        if share.version_bits & !self.version_mask != 0 {
            return Err(RejectReason::Other("Version bits outside the negotiated mask"));
        }
        let latest = now.time.saturating_add(self.config.max_future_seconds);
        if share.time < template.earliest || share.time > latest {
            return Err(RejectReason::Other("The time is too early or too late"));
        }
        let extra_nonce = share.extra_nonce(extra_nonce1);
        let header = job.header(&worker.payout_address, &extra_nonce, share);
        let hash = header.hash();
        let is_block = template.target.is_met_by(hash.as_bytes());
        // A block of an old tip is still a block, and may yet be in the best chain.
        let tip = self.template.as_ref().map(|template| template.header.previous);
        if tip != Some(template.header.previous) && !is_block {
            return Err(RejectReason::StaleJob);
        }
        if self.suspended.is_some() && !is_block {
            return Err(RejectReason::NoWork);
        }
        if job.expires.is_some_and(|expires| now.instant >= expires) && !is_block {
            return Err(RejectReason::ExpiredJob);
        }
        let difficulty = job.difficulty;
        if !difficulty.target().is_met_by(hash.as_bytes()) && !is_block {
            return Err(RejectReason::LowDifficulty);
        }
        self.jobs.record_share(&hash, template.id, is_block)?;
        let accepted = AcceptedShare {
            difficulty,
            achieved: difficulty::of_hash(hash.as_bytes()),
            network: difficulty::of(template.target),
        };
        let block = is_block.then(|| SolvedBlock {
            template,
            header,
            extra_nonce,
            worker: Arc::clone(worker),
        });
        Ok((accepted, block))
    }
}

/// Keeps the jobs and the difficulty for the miner if it reconnects.
impl<C: CoinbaseSource> Drop for Session<C> {
    fn drop(&mut self) {
        if let (Some((_, worker)), true) = (self.workers.first(), self.vardiff.is_measured()) {
            self.config.difficulties.set(worker, self.vardiff.difficulty());
        }
        if let Some(extra_nonce1) = &self.extra_nonce1 {
            self.config.parked.park(extra_nonce1.value(), std::mem::take(&mut self.jobs));
        }
    }
}

/// Formats `client.show_message`, with which miners show a text to their operator.
fn show_message(text: &str) -> String {
    notification("client.show_message", &json!([text]))
}

/// Formats `mining.notify`, which sends a job.
fn job_notification<C>(job: &Job<C>, coinbase: &CoinbaseParts, clean_jobs: bool) -> String {
    let header = &job.template.header;
    let mut previous = *header.previous.as_bytes();
    previous.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    let branch: Vec<String> = job.template.branch.siblings.iter().map(hex::encode).collect();
    let params = json!([
        job.id,
        hex::encode(previous),
        hex::encode(&coinbase.prefix),
        hex::encode(&coinbase.suffix),
        branch,
        format!("{:08x}", header.version),
        header.bits.to_string(),
        format!("{:08x}", header.time.get()),
        clean_jobs,
    ]);
    notification("mining.notify", &params)
}
