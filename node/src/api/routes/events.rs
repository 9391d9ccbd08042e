//! Server-sent events, live and replayed, sent at the client's pace. The write timeout of the
//! connection disconnects a client that does not read; no one else waits for it.

use crate::api::http::extract::Query;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::{Client, Subscription};
use crate::api::openapi::route::{Routes, get};
use crate::api::openapi::schema::Digits;
use crate::api::routes::event_schema::AnyEvent;
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
use tokio::sync::watch;
use tokio::time::Instant;

pub fn routes() -> Routes {
    Routes::new([get("/v1/events", "Stream events (server-sent events)", events)
        .description(
            "Streams from now on, or from the event after `since` or `Last-Event-ID`. `topics` \
                               and `address` filter the events.",
        )
        .same_origin()
        .streams::<AnyEvent>(
            "text/event-stream",
            "Events, with keep-alive comments. `x-itemSchema` describes an event by its fields `event`, \
             `id` and `data`, whose value is JSON.",
        )
        .errors(&[Kind::TOO_MANY_READERS])])
}

/// The id of the last event a client has received, as browsers send it.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Disables response buffering in nginx.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// The interval of keep-alive lines, below the idle timeout of proxies.
pub(super) const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The query of an event stream.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    topics: Option<String>,
    #[schemars(with = "Option<crate::api::openapi::schema::AddressText>")]
    address: Option<String>,
    since: Option<Digits>,
}

impl EventsQuery {
    /// The start position and the filter of the stream.
    pub(super) fn check(self, headers: &HeaderMap, hrp: Hrp) -> Result<(Since, Filter), Problem> {
        let topics = self.topics.as_deref().map(|list| topics(list.split(','))).transpose()?;
        let address = self.address.as_deref();
        let address = address.map(|text| transfer::address(text, hrp, "address")).transpose()?;
        // A browser reconnects with the same query; the header has its real position.
        let last = match headers.get(LAST_EVENT_ID) {
            Some(value) => Some(number(value)?),
            None => self.since.map(|since| since.0),
        };
        Ok((last.map_or(Since::Now, Since::Number), Filter { topics, address }))
    }
}

/// Parses topic names.
pub(super) fn topics<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<Topic>, Problem> {
    let topic = |name: &str| {
        name.parse().map_err(|error| Problem::new(Kind::BAD_REQUEST, format!("topics: {error}")))
    };
    names.map(topic).collect()
}

fn number(value: &HeaderValue) -> Result<u64, Problem> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let detail = "Last-Event-ID must be an event id: digits only";
        Problem::new(Kind::BAD_REQUEST, detail)
    })
}

pub async fn events(
    State(node): State<Arc<NodeState>>,
    client: Client,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (since, filter) = query.check(&headers, node.reader.params().hrp())?;
    let subscription = client.subscribe()?;
    let subscriber = Subscriber {
        feed: node.events.feed(since, filter),
        stopping: node.stopping.clone(),
        keep_alive: None,
        subscription,
    };
    let body = stream::unfold(subscriber, async |mut subscriber| {
        let bytes = subscriber.next().await?;
        Some((Ok::<_, Infallible>(bytes), subscriber))
    });
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// A subscriber of the event stream.
struct Subscriber {
    feed: Feed,
    stopping: watch::Receiver<bool>,
    /// The time of the next keep-alive line; none before the first.
    keep_alive: Option<Instant>,
    subscription: Subscription,
}

impl Subscriber {
    async fn next(&mut self) -> Option<Bytes> {
        let due = self.keep_alive.unwrap_or_else(Instant::now);
        let bytes = tokio::select! {
            biased;
            () = shutdown_requested(&mut self.stopping) => return None,
            () = self.subscription.ended() => return None,
            () = tokio::time::sleep_until(due) => position(&self.feed),
            events = self.feed.next() => Event::encode_sse(&events?),
        };
        self.keep_alive = Some(Instant::now() + KEEP_ALIVE_INTERVAL);
        Some(bytes)
    }
}

/// A comment and a message without data: browsers ignore it except for the id, so that they resume
/// at the right position even if they have received no event yet.
fn position(feed: &Feed) -> Bytes {
    format!(": alive\nid: {}\n\n", feed.position()).into()
}
