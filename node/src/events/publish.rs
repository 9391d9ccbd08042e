//! Publishing of events to a Redis server. Each event is published to the channel
//! `chain:NETWORK:TOPIC` and appended to the stream `chain:NETWORK:events`, in the format of a
//! WebSocket message. One node of a network publishes to a server.
//!
//! The id of a stream entry is the number of its event, so the server itself records the position:
//! publishing resumes there after an outage, or a restart of either side.

use super::event::Event;
use super::feed::{Events, Feed};
use super::filter::{Filter, Since};
use crate::shutdown::shutdown_requested;
use redis::{Client, Connection, RedisResult};
use std::time::Duration;
use tokio::sync::watch;

/// Approximate length to which the stream is trimmed, in entries.
const STREAM_LENGTH: usize = 100_000;
/// Timeout of connecting, reading and writing.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before connecting to the Redis server again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Publishes all events to a server until shutdown, reconnecting when the connection fails.
pub async fn publish(
    events: Events,
    server: Client,
    network: String,
    mut stopping: watch::Receiver<bool>,
) {
    // The position to start from if the stream is empty once the server is reachable.
    let start = events.feed(Since::Now, Filter::default()).position();
    let at = server.get_connection_info().addr().to_string();
    let mut is_down = false;
    let publishing = async {
        loop {
            let session = Session::open(&events, &server, &network, start).await;
            let result = match session {
                Ok(session) => {
                    tracing::info!("publishing events to Redis at {at}");
                    is_down = false;
                    session.run().await
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(()) => return,
                Err(error) if !is_down => {
                    tracing::warn!("cannot publish events to Redis at {at}, retrying: {error}");
                    is_down = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    tokio::select! {
        () = shutdown_requested(&mut stopping) => {}
        () = publishing => {}
    }
}

/// An error of publishing.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error(transparent)]
    Server(#[from] redis::RedisError),
    #[error("the node is stopping")]
    Stopping(#[from] tokio::task::JoinError),
}

/// A connection to the server, and the feed that is sent over it.
struct Session {
    connection: Connection,
    feed: Feed,
    network: String,
    /// The number of the last entry of the stream.
    last: u64,
}

impl Session {
    async fn open(
        events: &Events,
        server: &Client,
        network: &str,
        start: u64,
    ) -> Result<Session, PublishError> {
        let (server, stream) = (server.clone(), stream(network));
        let connect = move || connect(&server, &stream);
        let (connection, last) = tokio::task::spawn_blocking(connect).await??;
        let since = Since::Number(last.unwrap_or(start));
        let feed = events.feed(since, Filter::default());
        let last = last.unwrap_or_default();
        Ok(Session { connection, feed, network: network.to_owned(), last })
    }

    /// Publishes events until there will be no more.
    async fn run(mut self) -> Result<(), PublishError> {
        while let Some(events) = self.feed.next().await {
            let send = move || {
                let sent = self.send(&events);
                (self, sent)
            };
            let (session, sent) = tokio::task::spawn_blocking(send).await?;
            sent?;
            self = session;
        }
        Ok(())
    }

    fn send(&mut self, events: &[Event]) -> RedisResult<()> {
        let stream = stream(&self.network);
        let mut transaction = redis::pipe();
        transaction.atomic();
        for event in events {
            let message = event.to_message();
            if event.number < self.last {
                // The log was replaced by one with lower numbers: start the stream again.
                transaction.cmd("DEL").arg(&stream).ignore();
            }
            if event.number > 0 && event.number != self.last {
                let id = format!("{}-0", event.number);
                let add = transaction.cmd("XADD").arg(&stream).arg("MAXLEN").arg("~");
                add.arg(STREAM_LENGTH).arg(id).arg("event").arg(&message).ignore();
            }
            let channel = format!("chain:{}:{}", self.network, event.name());
            transaction.cmd("PUBLISH").arg(channel).arg(message).ignore();
            self.last = event.number;
        }
        transaction.exec(&mut self.connection)
    }
}

fn stream(network: &str) -> String {
    format!("chain:{network}:events")
}

/// Connects to the server and reads the number of the last entry of the stream.
fn connect(server: &Client, stream: &str) -> RedisResult<(Connection, Option<u64>)> {
    let mut connection = server.get_connection_with_timeout(TIMEOUT)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    connection.set_write_timeout(Some(TIMEOUT))?;
    let mut query = redis::cmd("XREVRANGE");
    query.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
    let entries: Vec<(String, Vec<String>)> = query.query(&mut connection)?;
    let last = entries.first().and_then(|(id, _)| id.split('-').next()?.parse().ok());
    Ok((connection, last))
}
