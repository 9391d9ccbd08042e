//! Mining jobs: what this node is to mine, how far it is, and what came of it.

use crate::api::http::content::Json;
use crate::api::http::extract::{Path, Query};
use crate::api::http::long_poll;
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::response::{Answer, read};
use crate::api::openapi::route::{Table, delete, get, post};
use crate::api::openapi::schema::{Digits, Integer};
use crate::api::routes::{transactions, transfer};
use crate::auth::Token;
use crate::jobs::{
    self, CreateError, Failure, FailureKind, Goal, Id, IdempotencyKey, JobRejected, Priority,
    Start, State, Status,
};
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use axum::extract::State as Of;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chain::block;
use chain::hash::sha256;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::num::{NonZeroU32, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::broadcast::error::RecvError;

/// The routes of this resource.
pub fn routes(token: &Token) -> Table {
    let protected = Table::new([
        post("/v1/mining/jobs", "Have this node mine", create)
            .says("An `Idempotency-Key` makes the same order the same job.")
            .takes::<Order>()
            .answers::<Job>(202, "It begins when it may.")
            .fails(&[Kind::NO_MINER, Kind::INVALID_JOB, Kind::IDEMPOTENCY_KEY_USED])
            .fails(&[Kind::TOO_MANY_JOBS, Kind::DISK_FULL]),
        delete("/v1/mining/jobs/{id}", "Cancel a mining job", cancel)
            .answers::<Job>(200, "It is at its end.")
            .fails(&[Kind::DISK_FULL]),
    ]);
    Table::new([
        get("/v1/mining/jobs", "Mining jobs, newest first", list).lists::<Job>(&[List::Jobs]),
        get("/v1/mining/jobs/{id}", "A mining job", one)
            .says("With `wait` it is answered when its state changes, or after so many seconds.")
            .shows::<Job>(),
    ])
    .and(protected.protected(token))
}

/// Ten years: longer than anybody means.
const MAX_SECONDS: u64 = 315_360_000;
/// Most characters of an `Idempotency-Key`.
const MAX_KEY: usize = 255;

/// What is asked for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JobOrder")]
pub struct Order {
    #[schemars(with = "Option<crate::api::openapi::schema::AddressText>")]
    miner: Option<String>,
    blocks: Option<Integer>,
    until: Option<UntilOrder>,
    threads: Option<Integer>,
    delay_seconds: Option<Integer>,
    not_before: Option<Integer>,
    every_seconds: Option<Integer>,
}

/// One of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JobUntilOrder")]
pub struct UntilOrder {
    height: Option<Integer>,
    time: Option<Integer>,
    transaction: Option<String>,
    confirmations: Option<Integer>,
    balance: Option<Integer>,
}

/// A job. Times are Unix seconds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// Its name.
    pub id: String,
    /// How far it is.
    pub state: State,
    /// Whom its blocks pay.
    pub miner: String,
    /// How many blocks it is to find.
    pub blocks: Option<u32>,
    /// Until when it goes on.
    pub until: Option<Until>,
    /// Most threads it uses.
    pub threads: usize,
    /// When it is to begin; a recurring job: when it does next.
    pub not_before: u64,
    /// How often it begins anew, each time as a job of its own.
    pub every_seconds: Option<u64>,
    /// Who gets threads first.
    pub priority: Priority,
    /// The recurring job that it is a run of.
    pub series: Option<String>,
    /// A recurring job's runs so far.
    pub runs: Option<u64>,
    /// When it was asked for.
    pub created_at: u64,
    /// When it first had threads.
    pub started_at: Option<u64>,
    /// When it came to an end.
    pub finished_at: Option<u64>,
    /// How it goes.
    pub progress: Progress,
    /// What it waits for, if it does.
    pub waiting: Option<String>,
    /// What came of it, once it is at its end. Not in a list.
    pub result: Option<Outcome>,
    /// Why it failed: a problem.
    pub error: Option<Value>,
}

/// Until when a job goes on: one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobUntil")]
pub struct Until {
    /// The chain is so high.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// It is that late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// This transaction has
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// so many confirmations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<u32>,
    /// The miner can spend so much, base units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<u64>,
}

/// How a job goes. Proof of work is a lottery: no part of it is ever "done" but blocks.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobProgress")]
pub struct Progress {
    /// Blocks found that were in the best chain when they were handed in.
    pub blocks_done: u64,
    /// How many it is to find.
    pub blocks_target: Option<u32>,
    /// Hashes so far.
    pub hashes: u64,
    /// Hashes a second.
    pub hashrate: f64,
    /// How long it takes on average from now on, or exactly where a time is the goal; null where
    /// nobody can know.
    pub expected_seconds: Option<f64>,
    /// Threads it has.
    pub threads: usize,
}

/// What came of a job.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobResult")]
pub struct Outcome {
    /// The blocks it found, oldest first; of a job without `blocks` the newest 10,000.
    pub blocks: Vec<String>,
}

/// How long an answer may be held.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    #[schemars(range(max = 120))]
    wait: Option<Digits>,
}

/// Takes a job: 202, and where to look at it.
pub async fn create(
    Of(node): Of<Arc<NodeState>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Problem> {
    let key = key(&headers, &body)?;
    let order: Order = serde_json::from_value(body)
        .map_err(|error| Problem::new(Kind::BAD_REQUEST, error.to_string()))?;
    let status = node.jobs.create(order.check(&node)?, key).await?;
    let job = shown(&node, &status, true);
    let location = format!("/v1/mining/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(job)).into_response())
}

/// All jobs that are remembered, the newest first.
pub async fn list(
    Of(node): Of<Arc<NodeState>>,
    uri: Uri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::Jobs])?);
    let below = cursor.map_or(u64::MAX, |cursor| cursor.position);
    let mut jobs = node.jobs.list(below, limit.saturating_add(1)).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let last = jobs.last().filter(|_| more).map(|last| last.job.number);
    let cursor = |position| Cursor { list: List::Jobs, bound: block::Hash::ZERO, position };
    let next = last.map(|last| cursor(last).encode());
    let items = jobs.iter().map(|status| shown(&node, status, false)).collect();
    Ok(read(&node, |_| Ok(Answer::page(Page { items, next }, &uri, limit).changing())))
}

/// A job; at once, or when its state changes or it is at its end.
pub async fn one(
    Of(node): Of<Arc<NodeState>>,
    Path(id): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let patience = query.wait.map(|wait| long_poll::patience(Some(wait), "wait")).transpose()?;
    // From here on no change is missed.
    let mut updates = node.jobs.updates();
    let mut status = look(&node, &id).await?;
    let mut stopping = node.stopping.clone();
    let deadline = tokio::time::Instant::now() + patience.unwrap_or_default();
    let before = status.job.state;
    while patience.is_some() && status.job.state == before && !before.is_terminal() {
        let has_changed = tokio::select! {
            update = updates.recv() => match update {
                Ok(job) => job.id == status.job.id,
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => break,
            },
            () = shutdown_requested(&mut stopping) => break,
            () = tokio::time::sleep_until(deadline) => break,
        };
        if has_changed {
            status = look(&node, &id).await?;
        }
    }
    let job = shown(&node, &status, true);
    Ok(read(&node, |_| Ok(Answer::new(Json(job)).changing())))
}

/// Cancels a job, unless it is at its end already.
pub async fn cancel(
    Of(node): Of<Arc<NodeState>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let parsed = id.parse().map_err(|_| unknown(&id))?;
    let status = node.jobs.cancel(parsed).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(shown(&node, &status, true)).into_response())
}

async fn look(node: &NodeState, id: &str) -> Result<Status, Problem> {
    let parsed: Id = id.parse().map_err(|_| unknown(id))?;
    node.jobs.job(parsed).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    let detail = format!("there is no mining job `{id}`; jobs that ended are not kept for ever");
    Problem::new(Kind::NOT_FOUND, detail)
}

fn nonsense(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::INVALID_JOB, detail)
}

/// What makes this request the same as an earlier one, if the client says that it may be.
fn key(headers: &HeaderMap, body: &Value) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
    match (text, more) {
        // Objects are written in the order of their keys, so equal ones are equal here.
        (Some(text), None) => {
            let request = sha256(body.to_string().as_bytes());
            Ok(Some(IdempotencyKey { text: text.to_owned(), request }))
        }
        _ => {
            let detail =
                format!("Idempotency-Key must be given once, 1 to {MAX_KEY} ASCII letters");
            Err(Problem::new(Kind::BAD_REQUEST, detail))
        }
    }
}

impl Order {
    fn check(self, node: &NodeState) -> Result<jobs::JobSpec, Problem> {
        let params = node.reader.params();
        let miner = match &self.miner {
            Some(text) => transfer::address(text, params.hrp(), "miner")?,
            None => node.default_miner.ok_or_else(|| {
                let detail = "this node has no address of its own to pay: give `miner`";
                Problem::new(Kind::NO_MINER, detail)
            })?,
        };
        let goal =
            match (self.blocks, self.until) {
                (Some(_), Some(_)) => return Err(nonsense("give `blocks` or `until`, not both")),
                (Some(Integer(blocks)), None) => {
                    let blocks = u32::try_from(blocks).ok().and_then(NonZeroU32::new);
                    Goal::Blocks(blocks.ok_or_else(|| {
                        nonsense(format!("blocks must be 1 to {}", jobs::MAX_BLOCKS))
                    })?)
                }
                (None, Some(until)) => Goal::Until(until.check()?),
                (None, None) => Goal::Forever,
            };
        let threads = match self.threads {
            Some(Integer(threads)) => {
                usize::try_from(threads).ok().and_then(NonZeroUsize::new).ok_or_else(|| {
                    nonsense(format!("threads must be 1 to {}, not 0", node.jobs.max_threads()))
                        .comparing(1, 0)
                })?
            }
            None => node.jobs.max_threads(),
        };
        let start = match (self.delay_seconds, self.not_before) {
            (Some(_), Some(_)) => {
                return Err(nonsense("give `delay_seconds` or `not_before`, not both"));
            }
            (Some(delay), None) => Start::In(seconds(delay, 0, "delay_seconds")?),
            (None, Some(Integer(time))) => Start::At(time),
            (None, None) => Start::Now,
        };
        let every = self.every_seconds.map(|every| seconds(every, 1, "every_seconds"));
        Ok(jobs::JobSpec {
            miner,
            goal,
            threads,
            start,
            every_seconds: every.transpose()?.and_then(NonZeroU64::new),
            priority: Priority::Normal,
            ends_with_process: false,
        })
    }
}

fn seconds(Integer(seconds): Integer, least: u64, name: &str) -> Result<u64, Problem> {
    if (least..=MAX_SECONDS).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(nonsense(format!("{name} must be {least} to {MAX_SECONDS}, not {seconds}")))
    }
}

impl UntilOrder {
    fn check(self) -> Result<jobs::Until, Problem> {
        let UntilOrder { height, time, transaction, confirmations, balance } = self;
        match (height, time, transaction, confirmations, balance) {
            (Some(Integer(height)), None, None, None, None) => match u32::try_from(height) {
                Ok(height) => Ok(jobs::Until::Height(height)),
                Err(_) => Err(nonsense(format!("no chain reaches the height {height}"))),
            },
            (None, Some(Integer(time)), None, None, None) => Ok(jobs::Until::Time(time)),
            (None, None, Some(id), confirmations, None) => {
                let id = transactions::parse(&id)?;
                let confirmations = confirmations.map_or(1, |confirmations| confirmations.0);
                let confirmations = u32::try_from(confirmations).ok().and_then(NonZeroU32::new);
                let confirmations =
                    confirmations.ok_or_else(|| nonsense("confirmations must be at least 1"))?;
                Ok(jobs::Until::Transaction { id, confirmations })
            }
            (None, None, None, None, Some(Integer(units))) => Ok(jobs::Until::Balance(units)),
            (None, None, None, Some(_), None) => {
                Err(nonsense("`confirmations` are of a `transaction`: give its id as well"))
            }
            _ => Err(nonsense(
                "`until` has one of `height`, `time`, `balance`, or `transaction` with \
                 `confirmations`",
            )),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Problem {
        let detail = error.to_string();
        match error {
            CreateError::Rejected(JobRejected::Threads { requested, limit }) => {
                nonsense(detail).comparing(limit, requested)
            }
            CreateError::Rejected(JobRejected::TooMany) => {
                Problem::new(Kind::TOO_MANY_JOBS, detail)
            }
            CreateError::Rejected(JobRejected::KeyReused) => {
                Problem::new(Kind::IDEMPOTENCY_KEY_USED, detail)
            }
            CreateError::Rejected(_) => nonsense(detail),
            CreateError::DiskFull => Problem::new(Kind::DISK_FULL, detail),
            CreateError::Stopped(stopped) => stopped.into(),
        }
    }
}

impl From<&Failure> for Problem {
    fn from(failure: &Failure) -> Problem {
        let kind = match failure.kind {
            FailureKind::Interrupted => Kind::INTERRUPTED,
            FailureKind::Internal => Kind::INTERNAL,
        };
        Problem::new(kind, failure.detail.clone())
    }
}

/// A job as clients see it; with its blocks, if it is shown alone.
pub fn shown(node: &NodeState, status: &Status, is_alone: bool) -> Job {
    let Status { job, found, threads, progress } = status;
    let order = &job.spec;
    let outcome = || Outcome { blocks: found.iter().map(ToString::to_string).collect() };
    let waiting = match job.state {
        State::Queued => Some("other jobs have all threads".to_owned()),
        State::Running if *threads == 0 && !job.is_series() => {
            Some("other jobs have all threads".to_owned())
        }
        _ => progress.as_ref().and_then(|progress| progress.waiting_reason.clone()),
    };
    Job {
        id: job.id.to_string(),
        state: job.state,
        miner: order.miner.encode(node.reader.params().hrp()),
        blocks: job.target().map(NonZeroU32::get),
        until: match order.goal {
            Goal::Until(until) => Some(until.into()),
            Goal::Blocks(_) | Goal::Forever => None,
        },
        threads: order.threads.get(),
        not_before: job.due_at,
        every_seconds: order.every_seconds.map(NonZeroU64::get),
        priority: order.priority,
        series: job.series.map(|series| series.to_string()),
        runs: job.is_series().then_some(job.runs),
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: job.finished_at,
        progress: Progress {
            blocks_done: job.blocks,
            blocks_target: job.target().map(NonZeroU32::get).filter(|_| !job.is_series()),
            hashes: job.hashes,
            hashrate: progress.as_ref().map_or(0.0, |progress| progress.hash_rate),
            expected_seconds: expected_seconds(status),
            threads: *threads,
        },
        waiting,
        result: (is_alone && job.state.is_terminal()).then(outcome),
        error: job
            .failure
            .as_ref()
            .map(|failure| serde_json::to_value(Problem::from(failure)).unwrap_or_default()),
    }
}

impl From<jobs::Until> for Until {
    fn from(until: jobs::Until) -> Until {
        let nothing = Until::default();
        match until {
            jobs::Until::Height(height) => Until { height: Some(height), ..nothing },
            jobs::Until::Time(time) => Until { time: Some(time), ..nothing },
            jobs::Until::Transaction { id, confirmations } => Until {
                transaction: Some(id.to_string()),
                confirmations: Some(confirmations.get()),
                ..nothing
            },
            jobs::Until::Balance(units) => Until { balance: Some(units), ..nothing },
        }
    }
}

/// On average so many hashes as the target takes are needed for each block that is missing,
/// however many were done already.
fn expected_seconds(Status { job, progress, .. }: &Status) -> Option<f64> {
    if job.state.is_terminal() {
        return None;
    }
    match job.spec.goal {
        Goal::Blocks(blocks) => {
            let progress = progress.as_ref().filter(|progress| progress.hash_rate > 0.0)?;
            let (_, target, _) = progress.candidate?;
            let left = u64::from(blocks.get()).saturating_sub(job.blocks);
            Some(left as f64 * f64::from(target.work().value()) / progress.hash_rate)
        }
        Goal::Until(jobs::Until::Time(time)) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Some((time as f64 - now.as_secs_f64()).max(0.0))
        }
        Goal::Until(_) | Goal::Forever => None,
    }
}
