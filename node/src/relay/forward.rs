//! Forwarding a connection, each direction under the conditions of its route.

use super::conditions::Conditions;
use super::route::{Counters, Route};
use super::shaper::{Departure, SEGMENT, Shaper};
use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Largest number of bytes that are forwarded as one.
const CHUNK: usize = 16 * 1024;
/// Bytes on their way in one direction of a connection. More wait at the sender: 6 MB per second pass
/// at a latency of 300 ms.
const IN_FLIGHT: usize = 2 * 1024 * 1024;
/// Time by which data may wait for a link of limited bandwidth; beyond it the sender waits.
const QUEUE: Duration = Duration::from_millis(50);

/// Time for which a connection waits for the end of a cut: as long as a node waits for a handshake.
const ESTABLISH_LIMIT: Duration = Duration::from_secs(10);

/// What the connections of a route share.
#[derive(Debug)]
pub struct Shared {
    pub forward: Direction,
    pub backward: Direction,
    /// The number of open connections.
    pub connections: AtomicUsize,
}

/// One direction of a route.
#[derive(Debug)]
pub struct Direction {
    start: Instant,
    shaper: Mutex<Shaper>,
}

impl Direction {
    pub fn new(seed: u64) -> Direction {
        Direction { start: Instant::now(), shaper: Mutex::new(Shaper::new(seed)) }
    }

    pub fn counters(&self) -> Counters {
        self.with_shaper(|shaper| shaper.counters)
    }

    fn with_shaper<T>(&self, action: impl FnOnce(&mut Shaper) -> T) -> T {
        action(&mut self.shaper.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time at which bytes that arrive now leave the link; `None` if the connection is reset.
    fn send(&self, conditions: &Conditions, bytes: usize) -> Option<Instant> {
        let now = self.start.elapsed();
        match self.with_shaper(|shaper| shaper.send(conditions, now, bytes)) {
            Departure::At(time) => Some(self.start + time),
            Departure::Reset => None,
        }
    }

    /// The time until the queue of the link has room.
    fn backlog(&self) -> Duration {
        let now = self.start.elapsed();
        self.with_shaper(|shaper| shaper.backlog(now, QUEUE))
    }
}

/// Which direction of a route.
#[derive(Clone, Copy)]
enum Way {
    Forward,
    Backward,
}

impl Way {
    fn conditions(self, route: &Route) -> Conditions {
        match self {
            Way::Forward => route.forward,
            Way::Backward => route.backward,
        }
    }

    fn direction(self, shared: &Shared) -> &Direction {
        match self {
            Way::Forward => &shared.forward,
            Way::Backward => &shared.backward,
        }
    }
}

/// Forwards a connection until one side closes or resets it, or the route is closed.
pub async fn connection(dialer: TcpStream, mut route: watch::Receiver<Route>, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    let _guard = Guard(Arc::clone(&shared));
    let closed = {
        let mut route = route.clone();
        async move { drop(route.wait_for(|route| route.is_closed).await) }
    };
    let forwarded = async {
        // A connection is established by a message of the dialing side, which does not pass a cut. The
        // dialing side gives up after a while, and dials again.
        let opened = route.wait_for(|route| !route.forward.is_cut);
        timeout(ESTABLISH_LIMIT, opened).await?.map_err(io::Error::other)?;
        let target = route.borrow_and_update().target;
        let target = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
        both_ways(dialer, target, &route, &shared).await
    };
    tokio::select! {
        biased;
        () = closed => {}
        ended = forwarded => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended");
            }
        }
    }
}

/// Counts a connection until it ends.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn both_ways(
    dialer: TcpStream,
    target: TcpStream,
    route: &watch::Receiver<Route>,
    shared: &Shared,
) -> io::Result<()> {
    for stream in [&dialer, &target] {
        // The nodes decide themselves when small messages are sent.
        stream.set_nodelay(true)?;
    }
    let (dialer_reads, dialer_writes) = dialer.into_split();
    let (target_reads, target_writes) = target.into_split();
    let forward = one_way(Way::Forward, dialer_reads, target_writes, route, shared);
    let backward = one_way(Way::Backward, target_reads, dialer_writes, route, shared);
    tokio::try_join!(forward, backward).map(drop)
}

/// Bytes on their way.
struct Chunk {
    bytes: Vec<u8>,
    due: Instant,
    _permit: OwnedSemaphorePermit,
}

/// Forwards one direction until its sender closes it.
async fn one_way(
    way: Way,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    route: &watch::Receiver<Route>,
    shared: &Shared,
) -> io::Result<()> {
    // Bounded by the permits: each chunk has at least one byte, and a full chunk's permits.
    let (sender, receiver) = mpsc::channel(IN_FLIGHT / CHUNK);
    let read = read(way, from, sender, route.clone(), shared);
    let write = write(way, to, receiver, route.clone());
    tokio::try_join!(read, write).map(drop)
}

/// Reads chunks and determines when each is due.
async fn read(
    way: Way,
    mut from: OwnedReadHalf,
    sender: mpsc::Sender<Chunk>,
    route: watch::Receiver<Route>,
    shared: &Shared,
) -> io::Result<()> {
    let direction = way.direction(shared);
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut buffer = vec![0; CHUNK];
    let mut last_due = Instant::now();
    loop {
        let permit = u32::try_from(CHUNK).expect("a chunk is small");
        let permit = Arc::clone(&permits).acquire_many_owned(permit).await;
        let permit = permit.map_err(io::Error::other)?;
        sleep(direction.backlog()).await;
        let size = chunk_size(&way.conditions(&route.borrow()));
        let count = from.read(&mut buffer[..size]).await?;
        if count == 0 {
            return Ok(());
        }
        let conditions = way.conditions(&route.borrow());
        let due = direction.send(&conditions, count);
        let due = due.ok_or_else(|| io::Error::other("a segment was lost too often"))?;
        // Data stays in order.
        last_due = last_due.max(due);
        let chunk = Chunk { bytes: buffer[..count].to_vec(), due: last_due, _permit: permit };
        sender.send(chunk).await.map_err(io::Error::other)?;
    }
}

/// Few enough bytes that a link of limited bandwidth is shared evenly by its connections.
fn chunk_size(conditions: &Conditions) -> usize {
    let in_queue = |bits: u64| usize::try_from(bits / 8 / 50).unwrap_or(usize::MAX);
    conditions.bandwidth.map_or(CHUNK, |bits| in_queue(bits).clamp(SEGMENT, CHUNK))
}

/// Writes chunks when they are due, unless the direction is cut.
async fn write(
    way: Way,
    mut to: OwnedWriteHalf,
    mut receiver: mpsc::Receiver<Chunk>,
    mut route: watch::Receiver<Route>,
) -> io::Result<()> {
    while let Some(chunk) = receiver.recv().await {
        sleep_until(chunk.due).await;
        let cut = route.wait_for(|route| !way.conditions(route).is_cut).await;
        cut.map_err(io::Error::other)?;
        to.write_all(&chunk.bytes).await?;
    }
    to.shutdown().await
}
