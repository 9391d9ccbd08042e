//! Events to a Redis server, for programs that already listen there: each is published in the
//! channel `chain:NETWORK:TOPIC` and added to the stream `chain:NETWORK:events`, as the message that
//! a WebSocket carries. One node of a network publishes to a server.
//!
//! An entry of the stream has the event's number as its id, so the server itself knows how far it
//! was told: after an outage, or a restart of either side, that is where this goes on. Waits for
//! nobody but the server, and nobody waits for it.

use super::event::Event;
use super::feed::{Events, Feed};
use super::filter::{Filter, Since};
use crate::shutdown::shutdown_requested;
use redis::{Client, Connection, RedisResult};
use std::time::Duration;
use tokio::sync::watch;

/// Entries that the stream has, and perhaps some more.
const STREAM_LENGTH: usize = 100_000;
/// How long the server may take to answer anything.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before it is called again.
const PAUSE: Duration = Duration::from_secs(1);

/// Publishes until the node stops.
pub async fn publish(
    events: Events,
    server: Client,
    network: String,
    mut stopping: watch::Receiver<bool>,
) {
    // What happens before the server answers for the first time is not lost either.
    let begun = events.feed(Since::Now, Filter::default()).position();
    let at = server.get_connection_info().addr().to_string();
    let mut is_down = false;
    let publishing = async {
        loop {
            let session = Session::open(&events, &server, &network, begun).await;
            let ended = match session {
                Ok(session) => {
                    tracing::info!("events are published to Redis at {at}");
                    is_down = false;
                    session.run().await
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => return,
                Err(error) if !is_down => {
                    tracing::warn!("events do not reach Redis at {at}, trying again: {error}");
                    is_down = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = shutdown_requested(&mut stopping) => {}
        () = publishing => {}
    }
}

/// What publishing can fail of.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Server(#[from] redis::RedisError),
    #[error("the node is stopping")]
    Stopping(#[from] tokio::task::JoinError),
}

/// A connection to the server.
struct Session {
    connection: Connection,
    feed: Feed,
    network: String,
    /// The number of the last entry.
    last: u64,
}

impl Session {
    async fn open(
        events: &Events,
        server: &Client,
        network: &str,
        begun: u64,
    ) -> Result<Session, Failure> {
        let (server, stream) = (server.clone(), stream(network));
        let connecting = move || connect(&server, &stream);
        let (connection, last) = tokio::task::spawn_blocking(connecting).await??;
        let since = Since::Number(last.unwrap_or(begun));
        let feed = events.feed(since, Filter::default());
        let last = last.unwrap_or_default();
        Ok(Session { connection, feed, network: network.to_owned(), last })
    }

    /// Until there are no more events.
    async fn run(mut self) -> Result<(), Failure> {
        while let Some(events) = self.feed.next().await {
            let sending = move || {
                let sent = self.send(&events);
                (self, sent)
            };
            let (session, sent) = tokio::task::spawn_blocking(sending).await?;
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
            let message = event.message();
            if event.number < self.last {
                // Of a log that is not there any more: numbers begin anew.
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

/// A connection, and the number of the last event the server has had.
fn connect(server: &Client, stream: &str) -> RedisResult<(Connection, Option<u64>)> {
    let mut connection = server.get_connection_with_timeout(PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut ask = redis::cmd("XREVRANGE");
    ask.arg(stream).arg("+").arg("-").arg("COUNT").arg(1);
    let entries: Vec<(String, Vec<String>)> = ask.query(&mut connection)?;
    let last = entries.first().and_then(|(id, _)| id.split('-').next()?.parse().ok());
    Ok((connection, last))
}
