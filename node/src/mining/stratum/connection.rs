//! The connection of one miner: its lines are inputs of its session, whose actions are performed in
//! order. Nothing is queued: a miner that does not read is not read from, and soon disconnected.

use super::context::{Context, Work};
use super::job_template::JobTemplate;
use super::line_codec::Lines;
use super::socket::{self, Reader, Writer};
use crate::clock::interval;
use crate::logging;
use crate::mining::workers::{Interface, Submission};
use crate::shutdown::shutdown_requested;
use chain::Address;
use miner::stratum::{Action, Difficulty, Session, ShareOutcome, Worker};
use p2p::shares::Lease;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The maximum time for which a miner may read nothing of what is sent to it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum time to end a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Interval at which a session learns the time.
const TICK: Duration = Duration::from_secs(2);
/// At shutdown, how long a connection must be silent before it is closed: a share in flight may be a
/// block.
const DRAIN_IDLE: Duration = Duration::from_millis(50);
/// At shutdown, how long a connection is read at most.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves a miner until it disconnects, violates the protocol, is replaced, or the node stops.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    context: Arc<Context>,
    lease: Lease,
    closed: CancellationToken,
) {
    // Lines are short and urgent.
    let _ = stream.set_nodelay(true);
    // The limit of time until the authorization includes a TLS handshake.
    let session = Session::new(Arc::clone(&context.config), context.now());
    let mut stop = context.stop.clone();
    let opened = tokio::select! {
        () = shutdown_requested(&mut stop) => return,
        () = closed.cancelled() => return,
        opened = socket::open(stream, context.tls.as_ref()) => opened,
    };
    let (reader, writer) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::debug!(%peer, "miner disconnected: {error}");
            return;
        }
    };
    let mut connection = Connection {
        context,
        peer: peer.ip(),
        session,
        writer,
        lease,
        workers: Vec::new(),
        difficulty: None,
    };
    let reason = connection.run(Lines::new(reader), closed).await;
    // The end of TLS, so that the miner knows that nothing was cut off.
    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.writer.shutdown()).await;
    tracing::debug!(%peer, "miner disconnected: {reason}");
}

struct Connection {
    context: Arc<Context>,
    peer: IpAddr,
    session: Session<JobTemplate>,
    writer: Writer,
    lease: Lease,
    workers: Vec<Arc<Worker<Address>>>,
    /// The difficulty last recorded for the workers.
    difficulty: Option<Difficulty>,
}

/// What a session has to process.
enum Event {
    /// There is other work.
    Work,
    Tick,
    /// A line of the miner.
    Line(Vec<u8>),
}

/// Why a connection was closed.
type CloseReason = String;

impl Connection {
    /// Waits only in cancel-safe operations, so that no action is interrupted.
    async fn run(&mut self, mut lines: Lines<Reader>, closed: CancellationToken) -> CloseReason {
        let (mut work, mut stop) = (self.context.work.clone(), self.context.stop.clone());
        work.mark_changed();
        let mut tick = interval(TICK);
        let mut read_at = Instant::now();
        let context = Arc::clone(&self.context);
        let now = || context.now();
        loop {
            let event = tokio::select! {
                biased;
                () = shutdown_requested(&mut stop) => return self.drain(lines).await,
                () = closed.cancelled() => return "replaced by another connection".to_owned(),
                changed = work.changed() => match changed {
                    Ok(()) => Event::Work,
                    Err(_) => return self.drain(lines).await,
                },
                _ = tick.tick() => Event::Tick,
                line = read(&mut lines, read_at) => match line {
                    Ok(Some(line)) => Event::Line(line),
                    Ok(None) => return "closed by the miner".to_owned(),
                    Err(error) => return error.to_string(),
                },
            };
            let turn = context.turns.acquire().await;
            let actions = match event {
                Event::Work => {
                    let newest = work.borrow_and_update().clone();
                    match newest {
                        Work::Job(job) => self.session.set_template(job, now()),
                        Work::Suspended(reason) => self.session.suspend(reason),
                        Work::None => continue,
                    }
                }
                Event::Tick => self.session.tick(now()),
                Event::Line(line) => {
                    let actions = self.session.handle_line(&line, now());
                    let wait = self.session.read_delay();
                    if wait > Duration::ZERO {
                        read_at = Instant::now() + wait;
                    }
                    actions
                }
            };
            // Not while the miner reads what is sent to it.
            drop(turn);
            if let Err(reason) = self.perform(actions).await {
                return reason;
            }
        }
    }

    /// Processes what the miner had sent when the node stopped.
    async fn drain(&mut self, mut lines: Lines<Reader>) -> CloseReason {
        let started = Instant::now();
        while started.elapsed() < DRAIN_TIMEOUT
            && let Ok(Ok(Some(line))) = tokio::time::timeout(DRAIN_IDLE, lines.next()).await
        {
            let actions = self.session.handle_line(&line, self.context.now());
            if let Err(reason) = self.perform(actions).await {
                return reason;
            }
        }
        "the node is stopping".to_owned()
    }

    async fn perform(&mut self, actions: Vec<Action<JobTemplate>>) -> Result<(), CloseReason> {
        let (mut lines, mut close_reason, mut block) = (Vec::new(), None, None);
        for action in actions {
            match action {
                Action::SubmitBlock(solved) => block = self.context.submit_block(&solved).await,
                Action::AddWorker(worker) => {
                    self.context.workers.join(&worker, self.peer);
                    self.workers.push(worker);
                }
                Action::RejectUser(user) => logging::limited("miner's user rejected", |dropped| {
                    tracing::warn!(
                        peer = %self.peer, ?user, dropped,
                        "a miner's user name must be an address of this network, or ADDRESS.worker"
                    );
                }),
                Action::RecordShare(worker, outcome) => {
                    let outcome = match outcome {
                        ShareOutcome::Block(share) if block.is_none() => {
                            ShareOutcome::Accepted(share)
                        }
                        outcome => outcome,
                    };
                    if matches!(outcome, ShareOutcome::Accepted(_) | ShareOutcome::Block(_)) {
                        self.lease.mark_useful();
                    }
                    self.context.workers.count(Submission {
                        worker: &worker,
                        interface: Interface::Stratum,
                        from: self.peer,
                        outcome,
                        block: block.take(),
                    });
                }
                Action::Send(line) => {
                    lines.extend_from_slice(line.as_bytes());
                    lines.push(b'\n');
                }
                Action::Disconnect(reason) => close_reason = Some(reason.to_owned()),
            }
        }
        let difficulty = self.session.difficulty();
        if difficulty != self.difficulty {
            self.difficulty = difficulty;
            if let Some(difficulty) = difficulty {
                self.context.workers.set_difficulty(&self.workers, difficulty);
            }
        }
        if !lines.is_empty() {
            send(&mut self.writer, &lines, WRITE_TIMEOUT).await?;
        }
        close_reason.map_or(Ok(()), Err)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for worker in &self.workers {
            self.context.workers.leave(worker);
        }
    }
}

/// Sends lines to a miner, which must read them in time.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    lines: &[u8],
    timeout: Duration,
) -> Result<(), CloseReason> {
    let written = async {
        writer.write_all(lines).await?;
        writer.flush().await
    };
    match tokio::time::timeout(timeout, written).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_elapsed) => Err("the miner does not read".to_owned()),
    }
}

/// Reads the next line, but not before a time.
async fn read(lines: &mut Lines<Reader>, not_before: Instant) -> std::io::Result<Option<Vec<u8>>> {
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
    async fn disconnects_miner_that_does_not_read() {
        let (mut server, _client) = duplex(1_000);
        let timeout = Duration::from_millis(50);
        assert_eq!(send(&mut server, &[b'x'; 1_000], timeout).await, Ok(()));
        let reason = send(&mut server, b"x", timeout).await.unwrap_err();
        assert_eq!(reason, "the miner does not read");
        let (mut server, client) = duplex(1_000);
        drop(client);
        assert_ne!(send(&mut server, b"x", timeout).await.unwrap_err(), reason);
    }
}
