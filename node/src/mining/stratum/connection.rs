//! One miner's socket: what it sends goes to its session, and what the session wants done is done, in
//! order. Nothing waits in a queue: a miner that does not read is not read either, and soon left.

use super::line_codec::Lines;
use super::{Desk, Issue};
use crate::shutdown::shutdown_requested;
use chain::Address;
use miner::stratum::{Action, Difficulty, Session, ShareOutcome, Worker};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

/// How long a miner may take nothing of what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a session looks at its clock.
const TICK: Duration = Duration::from_secs(2);
/// How long, once the node stops, there may be nothing on the way before a connection is closed, and
/// how long it is read at most: a share that was sent may be a block.
const LAST_LINE: Duration = Duration::from_millis(50);
const LAST_LINES: Duration = Duration::from_secs(1);

/// Serves a miner until it goes, is no use, is sent away, or the node stops.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    desk: Arc<Desk>,
    is_authorized: Arc<AtomicBool>,
    leave: oneshot::Receiver<()>,
) {
    // Each line is wanted at once.
    let _ = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    let session = Session::new(Arc::clone(&desk.terms), desk.now());
    let conversation = Conversation {
        desk,
        session,
        writer,
        is_authorized,
        workers: Vec::new(),
        difficulty: None,
    };
    let why = conversation.run(Lines::new(reader), leave).await;
    tracing::debug!(%peer, "a miner's connection ended: {why}");
}

struct Conversation {
    desk: Arc<Desk>,
    session: Session<Issue>,
    writer: OwnedWriteHalf,
    is_authorized: Arc<AtomicBool>,
    workers: Vec<Arc<Worker<Address>>>,
    /// The difficulty that they were last counted at.
    difficulty: Option<Difficulty>,
}

/// Why a conversation is over.
type Why = String;

impl Conversation {
    /// Nothing that is begun is given up half way: what is waited for here may be.
    async fn run(
        mut self,
        mut lines: Lines<OwnedReadHalf>,
        mut leave: oneshot::Receiver<()>,
    ) -> Why {
        let (mut work, mut stop) = (self.desk.work.clone(), self.desk.stop.clone());
        work.mark_changed();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read_at = Instant::now();
        let desk = Arc::clone(&self.desk);
        let now = || desk.now();
        loop {
            let actions = tokio::select! {
                biased;
                () = shutdown_requested(&mut stop) => return self.end(lines).await,
                _ = &mut leave => return "others wanted its place".to_owned(),
                changed = work.changed() => {
                    let newest = work.borrow_and_update().clone();
                    match (changed, newest) {
                        (Err(_), _) => return self.end(lines).await,
                        (Ok(()), Some(work)) => self.session.set_template(work, now()),
                        (Ok(()), None) => continue,
                    }
                }
                _ = tick.tick() => self.session.tick(now()),
                line = read(&mut lines, read_at) => match line {
                    Ok(Some(line)) => {
                        let actions = self.session.handle_line(&line, now());
                        let wait = self.session.read_delay();
                        if wait > Duration::ZERO {
                            read_at = Instant::now() + wait;
                        }
                        actions
                    }
                    Ok(None) => return "it went".to_owned(),
                    Err(error) => return error.to_string(),
                },
            };
            if let Err(why) = self.act(actions).await {
                return why;
            }
        }
    }

    /// Deals with what the miner had sent when the node stopped.
    async fn end(&mut self, mut lines: Lines<OwnedReadHalf>) -> Why {
        let begun = Instant::now();
        while begun.elapsed() < LAST_LINES
            && let Ok(Ok(Some(line))) = tokio::time::timeout(LAST_LINE, lines.next()).await
        {
            let actions = self.session.handle_line(&line, self.desk.now());
            if let Err(why) = self.act(actions).await {
                return why;
            }
        }
        "the node stops".to_owned()
    }

    async fn act(&mut self, actions: Vec<Action<Issue>>) -> Result<(), Why> {
        let (mut lines, mut end, mut is_block) = (Vec::new(), None, true);
        for action in actions {
            match action {
                Action::SubmitBlock(solved) => is_block = self.desk.hand_in(&solved).await,
                Action::AddWorker(worker) => {
                    self.desk.workers.join(&worker);
                    self.workers.push(worker);
                    self.is_authorized.store(true, Ordering::Relaxed);
                }
                Action::RecordShare(worker, outcome) => {
                    let outcome = match outcome {
                        ShareOutcome::Block(difficulty) if !is_block => {
                            ShareOutcome::Accepted(difficulty)
                        }
                        outcome => outcome,
                    };
                    self.desk.workers.count(&worker, outcome);
                }
                Action::Send(line) => {
                    lines.extend_from_slice(line.as_bytes());
                    lines.push(b'\n');
                }
                Action::Disconnect(why) => end = Some(why.to_owned()),
            }
        }
        let difficulty = self.session.difficulty();
        if difficulty != self.difficulty {
            self.difficulty = difficulty;
            if let Some(difficulty) = difficulty {
                self.desk.workers.adjust(&self.workers, difficulty);
            }
        }
        if !lines.is_empty() {
            send(&mut self.writer, &lines, WRITE_TIMEOUT).await?;
        }
        end.map_or(Ok(()), Err)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        for worker in &self.workers {
            self.desk.workers.leave(worker);
        }
    }
}

/// Sends lines to a miner that takes them in time.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    lines: &[u8],
    patience: Duration,
) -> Result<(), Why> {
    match tokio::time::timeout(patience, writer.write_all(lines)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("it does not read".to_owned()),
    }
}

/// The next line, not before its time.
async fn read(
    lines: &mut Lines<OwnedReadHalf>,
    not_before: Instant,
) -> std::io::Result<Option<Vec<u8>>> {
    if not_before > Instant::now() {
        tokio::time::sleep_until(not_before).await;
    }
    lines.next().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    // Q08
    #[tokio::test]
    async fn a_miner_that_never_reads_is_left() {
        let (mut server, _client) = duplex(1_000);
        let patience = Duration::from_millis(50);
        assert_eq!(send(&mut server, &[b'x'; 1_000], patience).await, Ok(()));
        let why = send(&mut server, b"x", patience).await.unwrap_err();
        assert_eq!(why, "it does not read");
        let (mut server, client) = duplex(1_000);
        drop(client);
        assert_ne!(send(&mut server, b"x", patience).await.unwrap_err(), why);
    }
}
