//! Waiting for nodes: from their start until they respond, and from a signal until they end.

use super::process::{self, Process};
use super::topology::NodeNumber;
use crate::client::Client;
use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use std::fmt::Display;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// Time limit of the start of nodes, which includes opening their chains.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Time limit of a clean stop, and of the end after a kill.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Time limit of the response to a request that checks whether a node is ready.
const RESPONSE_LIMIT: Duration = Duration::from_secs(3);
/// Time limit until a process has locked its file, which it does before anything else.
const LOCK_LIMIT: Duration = Duration::from_secs(20);
const LOCK_POLL: Duration = Duration::from_millis(2);
/// Interval at which the start or end of nodes is polled.
const POLL: Duration = Duration::from_millis(20);

/// A node that is starting.
#[derive(Debug)]
pub struct StartingNode {
    number: NodeNumber,
    directory: PathBuf,
    api: String,
    child: Option<Child>,
}

impl StartingNode {
    /// A node with the given data directory and API URL; `child` is its process if this one started it.
    pub fn new(
        number: NodeNumber,
        directory: PathBuf,
        api: String,
        child: Option<Child>,
    ) -> StartingNode {
        StartingNode { number, directory, api, child }
    }

    pub fn number(&self) -> NodeNumber {
        self.number
    }

    fn log(&self) -> PathBuf {
        self.directory.join(process::LOG)
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?.is_some(),
            None => Process::find(&self.directory)?.is_none(),
        })
    }

    /// Whether the node responds; an error if it has ended.
    async fn responds(&mut self) -> Result<bool> {
        if self.has_ended()? {
            let (log, lines) = (self.log(), process::last_log_lines(&self.log()));
            bail!("{} ended at its start: {lines} (more in {})", self.number, log.display());
        }
        let client = Client::new(&self.api)?;
        let response = timeout(RESPONSE_LIMIT, client.get(&["chain"])).await;
        // Checked again: another program may listen at the port of a node that ended.
        Ok(response.is_ok_and(|response| response.is_ok())
            && Process::find(&self.directory)?.is_some())
    }
}

/// Waits until the processes of nodes that were just started hold their locks, or have ended.
pub fn until_locked(nodes: &mut [StartingNode]) -> Result<()> {
    let start = Instant::now();
    for node in nodes {
        while Process::find(&node.directory)?.is_none() && !node.has_ended()? {
            ensure!(start.elapsed() < LOCK_LIMIT, "the process of {} does not start", node.number);
            thread::sleep(LOCK_POLL);
        }
    }
    Ok(())
}

/// Waits until all nodes respond, and fails after `START_LIMIT`. Reports the number that do after
/// each poll.
pub async fn until_ready(mut left: Vec<StartingNode>, mut report: impl FnMut(usize)) -> Result<()> {
    let (start, count) = (Instant::now(), left.len());
    loop {
        let mut silent = Vec::new();
        for mut node in left {
            if !node.responds().await? {
                silent.push(node);
            }
        }
        report(count - silent.len());
        let Some(first) = silent.first() else { return Ok(()) };
        ensure!(
            start.elapsed() < START_LIMIT,
            "{} does not respond after {} s: see {}",
            first.number,
            START_LIMIT.as_secs(),
            first.log().display()
        );
        left = silent;
        sleep(POLL).await;
    }
}

/// The end of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The node stopped on request.
    Stopped,
    /// The node was killed with SIGKILL.
    Killed,
}

/// Stops nodes, all at once, and kills those that exceed the time limit; reports each exit.
pub async fn stop<N: Display + Copy>(
    left: Vec<(N, Process)>,
    mut report: impl FnMut(N, Exit) -> Result<()>,
) -> Result<()> {
    left.iter().try_for_each(|(_, process)| process.terminate())?;
    let late = ended(left, |number| report(number, Exit::Stopped)).await?;
    kill(late, report).await
}

/// Kills nodes, as a crash would; reports each exit.
pub async fn kill<N: Display + Copy>(
    left: Vec<(N, Process)>,
    mut report: impl FnMut(N, Exit) -> Result<()>,
) -> Result<()> {
    left.iter().try_for_each(|(_, process)| process.signal(Signal::KILL))?;
    let running = ended(left, |number| report(number, Exit::Killed)).await?;
    if let Some((number, process)) = running.first() {
        bail!("{number}, process {}, does not end after a kill", process.id());
    }
    Ok(())
}

/// Waits until processes have ended; returns those that have not within the time limit.
async fn ended<N: Display + Copy>(
    mut left: Vec<(N, Process)>,
    mut report: impl FnMut(N) -> Result<()>,
) -> Result<Vec<(N, Process)>> {
    let start = Instant::now();
    while !left.is_empty() && start.elapsed() < STOP_LIMIT {
        let mut running = Vec::new();
        for (number, process) in left {
            match process.has_ended()? {
                true => report(number)?,
                false => running.push((number, process)),
            }
        }
        left = running;
        sleep(if left.is_empty() { Duration::ZERO } else { POLL }).await;
    }
    Ok(left)
}
