//! Waiting for nodes: from their start until they answer, and from a signal until they are gone.

use super::process::{self, Process};
use super::topology::Number;
use crate::client::Client;
use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long nodes may take to answer, opening their chains included.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How long nodes may take to stop; then they are killed, and may take as long again.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks at what is waited for.
const POLL: Duration = Duration::from_millis(20);

/// A node that is to answer soon.
#[derive(Debug)]
pub struct Starting {
    number: Number,
    folder: PathBuf,
    api: String,
    child: Option<Child>,
}

impl Starting {
    /// One with this data folder and this URL of its API, whose process is this child unless
    /// somebody else has started it.
    pub fn new(number: Number, folder: PathBuf, api: String, child: Option<Child>) -> Starting {
        Starting { number, folder, api, child }
    }

    /// Which node.
    pub fn number(&self) -> Number {
        self.number
    }

    /// Whether it answers already; an error once it has ended.
    async fn answers(&mut self) -> Result<bool> {
        let ended = match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => Process::find(&self.folder)?.is_none(),
        };
        if ended {
            let (log, words) = (self.folder.join(process::LOG), process::last_words(&self.folder));
            bail!("{} ended at its start: {words} (more in {})", self.number, log.display());
        }
        let client = Client::new(&self.api)?;
        let answer = timeout(ANSWER_LIMIT, client.get(&["chain"])).await;
        // Looked for again: somebody else may answer at the port of a node that is gone.
        Ok(answer.is_ok_and(|answer| answer.is_ok()) && Process::find(&self.folder)?.is_some())
    }
}

/// Waits until all of these nodes answer; `tell` hears how many do.
pub async fn answering(mut left: Vec<Starting>, mut tell: impl FnMut(usize)) -> Result<()> {
    let (begun, count) = (Instant::now(), left.len());
    loop {
        let mut silent = Vec::new();
        for mut node in left {
            if !node.answers().await? {
                silent.push(node);
            }
        }
        tell(count - silent.len());
        let Some(first) = silent.first() else { return Ok(()) };
        ensure!(
            begun.elapsed() < START_LIMIT,
            "{} does not answer after {} s: see {}",
            first.number,
            START_LIMIT.as_secs(),
            first.folder.join(process::LOG).display()
        );
        left = silent;
        sleep(POLL).await;
    }
}

/// How a node came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, after it was asked to.
    Stopped,
    /// It did not stop in time, or was not asked.
    Killed,
}

/// Asks nodes to stop, all at once, and kills those that take too long; `tell` hears of each when it
/// has ended.
pub async fn stop(
    left: Vec<(Number, Process)>,
    mut tell: impl FnMut(Number, End) -> Result<()>,
) -> Result<()> {
    signal(&left, Signal::TERM)?;
    let late = ended(left, |number| tell(number, End::Stopped)).await?;
    kill(late, tell).await
}

/// Ends nodes as a crash would; `tell` hears of each when it has ended.
pub async fn kill(
    left: Vec<(Number, Process)>,
    mut tell: impl FnMut(Number, End) -> Result<()>,
) -> Result<()> {
    signal(&left, Signal::KILL)?;
    let immortal = ended(left, |number| tell(number, End::Killed)).await?;
    if let Some((number, process)) = immortal.first() {
        bail!("{number}, process {}, does not end, although it was killed", process.id());
    }
    Ok(())
}

fn signal(processes: &[(Number, Process)], signal: Signal) -> Result<()> {
    processes.iter().try_for_each(|(_, process)| process.signal(signal))
}

/// Waits until these processes have ended, for so long at most: those that have not.
async fn ended(
    mut left: Vec<(Number, Process)>,
    mut tell: impl FnMut(Number) -> Result<()>,
) -> Result<Vec<(Number, Process)>> {
    let begun = Instant::now();
    while !left.is_empty() && begun.elapsed() < STOP_LIMIT {
        let mut running = Vec::new();
        for (number, process) in left {
            match process.has_ended()? {
                true => tell(number)?,
                false => running.push((number, process)),
            }
        }
        left = running;
        sleep(if left.is_empty() { Duration::ZERO } else { POLL }).await;
    }
    Ok(left)
}
