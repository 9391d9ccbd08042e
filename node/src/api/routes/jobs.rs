//! Mining jobs: creation, listing, long polling and cancellation.

use crate::api::http::content::Json;
use crate::api::http::extract::{Path, Query};
use crate::api::http::long_poll;
use crate::api::http::page::{Cursor, List, Page, PageQuery};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Client;
use crate::api::http::response::{ReadResponse, read};
use crate::api::openapi::route::{Routes, delete, get, post};
use crate::api::openapi::schema::{Digits, Integer};
use crate::api::routes::{transactions, transfer};
use crate::auth::Token;
use crate::jobs::{
    self, CreateError, EndedRuns, Failure, FailureKind, Filter, Goal, Id, IdempotencyKey,
    JobRejected, Priority, Start, State, Status,
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

pub fn routes(token: &Token) -> Routes {
    let protected = Routes::new([
        post("/v1/mining/jobs", "Create a mining job", create)
            .description("With an `Idempotency-Key`, repeating the request returns the same job.")
            .body::<JobRequest>()
            .response::<Job>(202, "The job was created.")
            .errors(&[Kind::NO_MINER, Kind::INVALID_JOB, Kind::IDEMPOTENCY_KEY_USED])
            .errors(&[Kind::TOO_MANY_JOBS, Kind::DISK_FULL]),
        delete("/v1/mining/jobs/{id}", "Cancel a mining job", cancel)
            .description(
                "A recurring job starts no more runs, and its present run is cancelled. Cancelling a \
                 run leaves the recurring job as it is.",
            )
            .response::<Job>(200, "The job has ended.")
            .errors(&[Kind::DISK_FULL]),
    ]);
    Routes::new([
        get("/v1/mining/jobs", "List mining jobs, running ones first", list)
            .description(
                "A recurring job is one item with its latest runs; `series` lists all its runs. The \
                 order is: running jobs, recurring ones before others; then queued, scheduled and \
                 ended jobs; the newest first among these. A job that changes its state meanwhile may \
                 be on two pages or on none.",
            )
            .returns_page::<Job>(&[List::Jobs])
            .errors(&[Kind::NOT_FOUND]),
        get("/v1/mining/jobs/{id}", "Get a mining job", get_job)
            .description(
                "With `wait`, the response waits for a change of state, at most that many seconds.",
            )
            .returns::<Job>(),
    ])
    .merge(protected.protected(token))
}

/// Largest duration in seconds: ten years.
const MAX_SECONDS: u64 = 315_360_000;
/// Largest number of characters in an `Idempotency-Key`.
const MAX_KEY: usize = 255;

/// A request to create a mining job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JobRequest")]
pub struct JobRequest {
    #[schemars(with = "Option<crate::api::openapi::schema::AddressText>")]
    miner: Option<String>,
    blocks: Option<Integer>,
    until: Option<UntilRequest>,
    threads: Option<Integer>,
    delay_seconds: Option<Integer>,
    not_before: Option<Integer>,
    every_seconds: Option<Integer>,
}

/// The stop condition of a requested job; exactly one field is set.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "JobUntilRequest")]
pub struct UntilRequest {
    height: Option<Integer>,
    time: Option<Integer>,
    transaction: Option<String>,
    confirmations: Option<Integer>,
    balance: Option<Integer>,
}

/// A mining job. Times are Unix seconds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Job {
    /// The id of the job.
    pub id: String,
    /// The state of the job.
    pub state: State,
    /// The payout address of its blocks.
    pub miner: String,
    /// The number of blocks to find.
    pub blocks: Option<u32>,
    /// The stop condition.
    pub until: Option<Until>,
    /// The largest number of threads it uses.
    pub threads: usize,
    /// The start time; for a recurring job, that of the next run.
    pub not_before: u64,
    /// The interval of a recurring job in seconds; each run is a job of its own.
    pub every_seconds: Option<u64>,
    /// The priority in the allocation of threads.
    pub priority: Priority,
    /// The id of the recurring job that started this one.
    pub series: Option<String>,
    /// The number of runs of a recurring job so far.
    pub runs: Option<u64>,
    /// The number of runs of a recurring job that have ended, by result.
    pub ended_runs: Option<EndedRuns>,
    /// The time of the next run, of a recurring job that has not ended.
    pub next_run: Option<u64>,
    /// The latest runs of a recurring job, newest first.
    pub recent_runs: Option<Vec<Run>>,
    /// The time of the request.
    pub created_at: u64,
    /// The time it first had threads.
    pub started_at: Option<u64>,
    /// The time it ended.
    pub finished_at: Option<u64>,
    /// The progress of the job.
    pub progress: Progress,
    /// The reason it is waiting, if it is.
    pub waiting: Option<String>,
    /// The result, once the job has ended; omitted in lists.
    pub result: Option<Outcome>,
    /// The error of a failed job.
    #[schemars(with = "Option<Problem>")]
    pub error: Option<Value>,
}

/// The stop condition of a job; exactly one field is set, besides `confirmations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobUntil")]
pub struct Until {
    /// Stop at this height.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Stop at this time, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// Stop when this transaction has `confirmations`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transaction: Option<String>,
    /// The number of confirmations of `transaction`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmations: Option<u32>,
    /// Stop when the spendable balance of the miner reaches this amount, in base units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<u64>,
}

/// A run of a recurring job, which is a job of its own. Times are Unix seconds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobRun")]
pub struct Run {
    /// The id of the run.
    pub id: String,
    /// The state of the run.
    pub state: State,
    /// The number of blocks found that were in the best chain when submitted.
    pub blocks_done: u64,
    /// The time it first had threads.
    pub started_at: Option<u64>,
    /// The time it ended.
    pub finished_at: Option<u64>,
}

/// The progress of a job; that of a recurring job includes all its runs.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobProgress")]
pub struct Progress {
    /// The number of blocks found that were in the best chain when submitted.
    pub blocks_done: u64,
    /// The number of blocks to find.
    pub blocks_target: Option<u32>,
    /// The number of hashes so far.
    pub hashes: u64,
    /// The number of blocks to be expected from these hashes at the difficulties of their blocks; null
    /// for a job of an earlier version.
    pub expected_blocks: Option<f64>,
    /// The number of blocks found in relation to the expected ones: above 1 is luck; null before the
    /// first hash, and on networks of fixed difficulty, where threads hash on after a hit.
    pub luck: Option<f64>,
    /// The hash rate in hashes per second.
    pub hashrate: f64,
    /// The expected remaining time in seconds, exact for a stop time; null if unknown.
    pub expected_seconds: Option<f64>,
    /// The number of threads it has.
    pub threads: usize,
}

/// The result of a job.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobResult")]
pub struct Outcome {
    /// The hashes of the blocks found, oldest first; without a block target the newest 10,000.
    pub blocks: Vec<String>,
}

/// The query of a list of jobs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JobsQuery {
    #[schemars(range(min = 1, max = 100))]
    limit: Option<Digits>,
    cursor: Option<String>,
    /// The state of the jobs to list.
    state: Option<State>,
    /// The id of the recurring job whose runs to list.
    #[schemars(with = "Option<crate::api::openapi::schema::JobId>")]
    series: Option<String>,
}

impl JobsQuery {
    /// The jobs to list.
    async fn filter(&self, node: &NodeState) -> Result<Filter, Problem> {
        let Some(id) = self.series.as_deref() else {
            return Ok(Filter { state: self.state, series: None });
        };
        if id.len() != 8 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let detail = format!("series: {}", jobs::ParseIdError);
            return Err(Problem::new(Kind::BAD_REQUEST, detail));
        }
        let job = find_job(node, id).await?.job;
        if !job.is_series() {
            let detail = format!("series: the mining job `{id}` is not recurring");
            return Err(Problem::new(Kind::NOT_FOUND, detail));
        }
        Ok(Filter { state: self.state, series: Some(job.id) })
    }
}

/// The query of a long poll for a job.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    #[schemars(range(max = 120))]
    wait: Option<Digits>,
}

pub async fn create(
    Of(node): Of<Arc<NodeState>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Response, Problem> {
    let key = key(&headers, &body)?;
    let request: JobRequest = serde_json::from_value(body)
        .map_err(|error| Problem::new(Kind::BAD_REQUEST, error.to_string()))?;
    let status = node.jobs.create(request.check(&node)?, key).await?;
    let job = job_response(&node, &status, true);
    let location = format!("/v1/mining/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(job)).into_response())
}

pub async fn list(
    Of(node): Of<Arc<NodeState>>,
    uri: Uri,
    Query(query): Query<JobsQuery>,
) -> Result<Response, Problem> {
    let filter = query.filter(&node).await?;
    let query = PageQuery::new(query.limit, query.cursor);
    let (limit, cursor) = (query.limit()?, query.cursor(&[List::Jobs])?);
    let after = cursor.map(|cursor| cursor.position);
    let mut jobs = node.jobs.list(filter, after, limit.saturating_add(1)).await?;
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let last = jobs.last().filter(|_| more).map(|last| last.job.list_position());
    let cursor = |position| Cursor { list: List::Jobs, bound: block::Hash::ZERO, position };
    let next = last.map(|last| cursor(last).encode());
    let items = jobs.iter().map(|status| job_response(&node, status, false)).collect();
    Ok(read(&node, |_| Ok(ReadResponse::page(Page { items, next }, &uri, limit).volatile())))
}

pub async fn get_job(
    Of(node): Of<Arc<NodeState>>,
    client: Client,
    Path(id): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let timeout = query.wait.map(|wait| long_poll::timeout(Some(wait), "wait")).transpose()?;
    let held = timeout.map(|_| client.hold()).transpose()?;
    // Subscribe before reading, so that no change is missed.
    let mut updates = node.jobs.updates();
    let mut status = find_job(&node, &id).await?;
    let mut stopping = node.stopping.clone();
    let deadline = tokio::time::Instant::now() + timeout.unwrap_or_default();
    let before = status.job.state;
    while let Some(held) = &held
        && status.job.state == before
        && !before.is_terminal()
    {
        let has_changed = tokio::select! {
            update = updates.recv() => match update {
                Ok(job) => job.id == status.job.id,
                Err(RecvError::Lagged(_)) => true,
                Err(RecvError::Closed) => break,
            },
            () = shutdown_requested(&mut stopping) => break,
            () = tokio::time::sleep_until(deadline) => break,
            () = held.ended() => break,
        };
        if has_changed {
            status = find_job(&node, &id).await?;
        }
    }
    let job = job_response(&node, &status, true);
    Ok(read(&node, |_| Ok(ReadResponse::new(Json(job)).volatile())))
}

pub async fn cancel(
    Of(node): Of<Arc<NodeState>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let parsed = id.parse().map_err(|_| unknown(&id))?;
    let status = node.jobs.cancel(parsed).await?.ok_or_else(|| unknown(&id))?;
    Ok(Json(job_response(&node, &status, true)).into_response())
}

async fn find_job(node: &NodeState, id: &str) -> Result<Status, Problem> {
    let parsed: Id = id.parse().map_err(|_| unknown(id))?;
    node.jobs.job(parsed).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Problem {
    let detail = format!("no mining job `{id}`; ended jobs are removed after a while");
    Problem::new(Kind::NOT_FOUND, detail)
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::INVALID_JOB, detail)
}

/// The idempotency key: the text of the header and a hash of the request body.
fn key(headers: &HeaderMap, body: &Value) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let (value, more) = (values.next(), values.next());
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
    match (text, more) {
        // Object keys are sorted, so that equal bodies have equal hashes.
        (Some(text), None) => {
            let request = sha256(body.to_string().as_bytes());
            Ok(Some(IdempotencyKey { text: text.to_owned(), request }))
        }
        _ => {
            let detail =
                format!("Idempotency-Key must be a single header of 1 to {MAX_KEY} ASCII letters");
            Err(Problem::new(Kind::BAD_REQUEST, detail))
        }
    }
}

impl JobRequest {
    fn check(self, node: &NodeState) -> Result<jobs::JobSpec, Problem> {
        let params = node.reader.params();
        let miner = self.miner.as_deref();
        let miner = transfer::payout_address(miner, node.default_miner, params.hrp())?;
        let goal =
            match (self.blocks, self.until) {
                (Some(_), Some(_)) => return Err(invalid("set `blocks` or `until`, not both")),
                (Some(Integer(blocks)), None) => {
                    let blocks = u32::try_from(blocks).ok().and_then(NonZeroU32::new);
                    Goal::Blocks(blocks.ok_or_else(|| {
                        invalid(format!("blocks must be 1 to {}", jobs::MAX_BLOCKS))
                    })?)
                }
                (None, Some(until)) => Goal::Until(until.check()?),
                (None, None) => Goal::Forever,
            };
        let threads = match self.threads {
            Some(Integer(threads)) => {
                usize::try_from(threads).ok().and_then(NonZeroUsize::new).ok_or_else(|| {
                    invalid(format!("threads must be 1 to {}, not 0", node.jobs.max_threads()))
                        .with_comparison(1, 0)
                })?
            }
            None => node.jobs.max_threads(),
        };
        let start = match (self.delay_seconds, self.not_before) {
            (Some(_), Some(_)) => {
                return Err(invalid("set `delay_seconds` or `not_before`, not both"));
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
        Err(invalid(format!("{name} must be {least} to {MAX_SECONDS}, not {seconds}")))
    }
}

impl UntilRequest {
    fn check(self) -> Result<jobs::Until, Problem> {
        let UntilRequest { height, time, transaction, confirmations, balance } = self;
        match (height, time, transaction, confirmations, balance) {
            (Some(Integer(height)), None, None, None, None) => match u32::try_from(height) {
                Ok(height) => Ok(jobs::Until::Height(height)),
                Err(_) => Err(invalid(format!("height {height} is out of range"))),
            },
            (None, Some(Integer(time)), None, None, None) => Ok(jobs::Until::Time(time)),
            (None, None, Some(id), confirmations, None) => {
                let id = transactions::parse(&id)?;
                let confirmations = confirmations.map_or(1, |confirmations| confirmations.0);
                let confirmations = u32::try_from(confirmations).ok().and_then(NonZeroU32::new);
                let confirmations =
                    confirmations.ok_or_else(|| invalid("confirmations must be at least 1"))?;
                Ok(jobs::Until::Transaction { id, confirmations })
            }
            (None, None, None, None, Some(Integer(units))) => Ok(jobs::Until::Balance(units)),
            (None, None, None, Some(_), None) => {
                Err(invalid("`confirmations` requires `transaction`"))
            }
            _ => Err(invalid(
                "`until` must have exactly one of `height`, `time`, `balance` and `transaction`, the \
                                 last with optional `confirmations`",
            )),
        }
    }
}

impl From<CreateError> for Problem {
    fn from(error: CreateError) -> Problem {
        let detail = error.to_string();
        match error {
            CreateError::Rejected(JobRejected::Threads { requested, limit }) => {
                invalid(detail).with_comparison(limit, requested)
            }
            CreateError::Rejected(JobRejected::TooMany) => {
                Problem::new(Kind::TOO_MANY_JOBS, detail)
            }
            CreateError::Rejected(JobRejected::KeyReused) => {
                Problem::new(Kind::IDEMPOTENCY_KEY_USED, detail)
            }
            CreateError::Rejected(_) => invalid(detail),
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

/// The JSON of a job; the result is included only in the response for a single job.
pub fn job_response(node: &NodeState, status: &Status, is_alone: bool) -> Job {
    let Status { job, found, runs, threads, progress } = status;
    let order = &job.spec;
    let outcome = || Outcome { blocks: found.iter().map(ToString::to_string).collect() };
    let waiting = match job.state {
        State::Queued => Some("all threads are used by other jobs".to_owned()),
        State::Running if *threads == 0 && !job.is_series() => {
            Some("all threads are used by other jobs".to_owned())
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
        ended_runs: job.is_series().then_some(job.ended_runs),
        next_run: job.next_run(),
        recent_runs: job.is_series().then(|| runs.iter().map(Run::new).collect()),
        created_at: job.created_at,
        started_at: job.started_at,
        finished_at: job.finished_at,
        progress: Progress {
            blocks_done: job.blocks,
            blocks_target: job.target().map(NonZeroU32::get).filter(|_| !job.is_series()),
            hashes: job.hashes,
            expected_blocks: job.expected_blocks(),
            luck: job.luck().filter(|_| !node.reader.params().spec().fixed_difficulty),
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

impl Run {
    fn new(run: &jobs::Job) -> Run {
        Run {
            id: run.id.to_string(),
            state: run.state,
            blocks_done: run.blocks,
            started_at: run.started_at,
            finished_at: run.finished_at,
        }
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

/// The expected remaining time. Mining is memoryless: each missing block costs the expected number of
/// hashes of its target, however many were computed already.
fn expected_seconds(Status { job, progress, .. }: &Status) -> Option<f64> {
    if job.state.is_terminal() || job.is_series() {
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
