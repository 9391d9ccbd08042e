//! Events as they come, and those that were missed: server-sent events, read at the pace of the
//! client. One that takes nothing for a while is given up by its socket; nobody waits for it.

use crate::api::http::extract::Query;
use crate::api::http::problem::{Kind, Problem};
use crate::api::openapi::route::{Table, get};
use crate::api::openapi::schema::Digits;
use crate::api::routes::transfer;
use crate::events::{Event, Feed, Filter, Since, Topic};
use crate::shutdown::shutdown_requested;
use crate::state::NodeState;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use chain::address::Hrp;
use futures_util::stream;
use schemars::JsonSchema;
use serde::Deserialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([get("/v1/events", "What happens, as server-sent events", events)
        .says(
            "From now on, or from the event after `since` or `Last-Event-ID`. `topics` and \
                   `address` let only some through.",
        )
        .answers_as("text/event-stream", "Events, and a comment now and then.")
        .fails(&[Kind::TOO_MANY_READERS])])
}

/// The number of the last event a client has had, as browsers send it.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells nginx not to hold events back.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// How often a line is sent at least, so that nobody on the way takes the connection for dead.
pub(super) const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// Which events are wanted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    topics: Option<String>,
    #[schemars(with = "Option<crate::api::openapi::schema::AddressText>")]
    address: Option<String>,
    since: Option<Digits>,
}

impl EventsQuery {
    /// Where to begin and what to let through.
    pub(super) fn check(self, headers: &HeaderMap, hrp: Hrp) -> Result<(Since, Filter), Problem> {
        let topics = self.topics.as_deref().map(|list| topics(list.split(','))).transpose()?;
        let address = self.address.as_deref();
        let address = address.map(|text| transfer::address(text, hrp, "address")).transpose()?;
        // A browser asks again with the same query: where it really is, the header tells.
        let last = match headers.get(LAST_EVENT_ID) {
            Some(value) => Some(number(value)?),
            None => self.since.map(|since| since.0),
        };
        Ok((last.map_or(Since::Now, Since::Number), Filter { topics, address }))
    }
}

/// The topics of a list.
pub(super) fn topics<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<Topic>, Problem> {
    let topic = |name: &str| {
        name.parse().map_err(|error| Problem::new(Kind::BAD_REQUEST, format!("topics: {error}")))
    };
    names.map(topic).collect()
}

fn number(value: &HeaderValue) -> Result<u64, Problem> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let detail = "Last-Event-ID must be the number of an event: digits alone";
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}

/// A place among the readers.
pub(super) fn seat(node: &NodeState) -> Result<OwnedSemaphorePermit, Problem> {
    node.events.try_subscribe().ok_or_else(|| {
        let detail = "as many readers as this node takes are being told events: try again later";
        Problem::new(Kind::TOO_MANY_READERS, detail)
    })
}

/// Events from the one after `since` on, or from now on.
pub async fn events(
    State(node): State<Arc<NodeState>>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (since, filter) = query.check(&headers, node.reader.params().hrp())?;
    let seat = seat(&node)?;
    let telling = Telling {
        feed: node.events.feed(since, filter),
        stopping: node.stopping.clone(),
        alive: None,
        _seat: seat,
    };
    let body = stream::unfold(telling, async |mut telling| {
        let bytes = telling.next().await?;
        Some((Ok::<_, Infallible>(bytes), telling))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// One reader.
struct Telling {
    feed: Feed,
    stopping: watch::Receiver<bool>,
    /// When the next line is due at the latest; at once in the beginning.
    alive: Option<Instant>,
    _seat: OwnedSemaphorePermit,
}

impl Telling {
    async fn next(&mut self) -> Option<Bytes> {
        let due = self.alive.unwrap_or_else(Instant::now);
        let bytes = tokio::select! {
            biased;
            () = shutdown_requested(&mut self.stopping) => return None,
            () = tokio::time::sleep_until(due) => position(&self.feed),
            events = self.feed.next() => Event::encode_sse(&events?),
        };
        self.alive = Some(Instant::now() + ALIVE_EVERY);
        Some(bytes)
    }
}

/// A comment, and a message without data: browsers make nothing of it but remember the number, so
/// that they miss nothing even if they have had no event yet.
fn position(feed: &Feed) -> Bytes {
    format!(": alive\nid: {}\n\n", feed.position()).into()
}
