//! Counts the API's answers by route, method and status, and how long they took. Routes are the
//! patterns of the table, never what a client wrote, so there are only so many; what leads nowhere
//! is one route together.
//!
//! A request costs a look into a map, two looks at the clock and three additions.

use super::Metrics;
use super::instrument::{self, Counter, Histogram};
use axum::extract::{MatchedPath, Request};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tower::{Layer, Service};

/// Upper ends of times that an answer takes, from the cheapest to one that a client asked to be held.
const TIMES: &[u64] = &instrument::nanoseconds([
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000,
    10_000_000, 30_000_000,
]);

/// The route of requests that lead nowhere.
const UNMATCHED: &str = "unmatched";

/// Methods that are told apart; the last is for all others.
const METHODS: [&str; 5] = ["GET", "HEAD", "POST", "DELETE", "other"];
/// Status codes that are told apart, frequent ones first; the last is for all others.
const STATUSES: [&str; 24] = [
    "200", "304", "201", "404", "202", "204", "101", "400", "401", "403", "405", "406", "408",
    "409", "410", "411", "413", "415", "422", "429", "431", "500", "503", "other",
];

/// Every route's answers.
#[derive(Debug, Default)]
pub struct Requests {
    /// Set once the table of routes is known.
    routes: OnceLock<Routes>,
}

#[derive(Debug)]
struct Routes {
    by_pattern: HashMap<&'static str, Route>,
    unmatched: Route,
}

/// The answers of one.
#[derive(Debug)]
pub struct Route {
    counts: [[Counter; STATUSES.len()]; METHODS.len()],
    times: Histogram,
}

impl Default for Route {
    fn default() -> Route {
        Route { counts: Default::default(), times: Histogram::of_times(TIMES) }
    }
}

impl Route {
    /// How long its answers took.
    pub fn times(&self) -> &Histogram {
        &self.times
    }

    /// By method and status, how many there were; nothing for those that never came.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        METHODS.iter().zip(&self.counts).flat_map(|(method, counts)| {
            let counts = STATUSES.iter().zip(counts);
            let counts = counts.map(|(status, count)| (*method, *status, count.get()));
            counts.filter(|(.., count)| *count > 0)
        })
    }
}

impl Requests {
    /// Routes that were asked at all, by their patterns.
    pub fn routes(&self) -> Vec<(&'static str, &Route)> {
        let Some(Routes { by_pattern, unmatched }) = self.routes.get() else { return Vec::new() };
        let known = by_pattern.iter().map(|(pattern, route)| (*pattern, route));
        let all = known.chain([(UNMATCHED, unmatched)]);
        let mut asked: Vec<_> = all.filter(|(_, route)| route.counts().next().is_some()).collect();
        asked.sort_unstable_by_key(|(pattern, _)| *pattern);
        asked
    }

    /// The route of a pattern; of one that is not known, the one that leads nowhere.
    fn route(&self, pattern: Option<&str>) -> Option<&Route> {
        let Routes { by_pattern, unmatched } = self.routes.get()?;
        let known = pattern.and_then(|pattern| by_pattern.get(pattern));
        Some(known.unwrap_or(unmatched))
    }
}

/// Counts every answer of a router that it is laid around.
#[derive(Clone, Debug)]
pub struct Count(Arc<Metrics>);

impl Count {
    /// Of a router with these patterns.
    pub fn new(metrics: Arc<Metrics>, patterns: impl IntoIterator<Item = &'static str>) -> Count {
        metrics.requests.routes.get_or_init(|| Routes {
            by_pattern: patterns.into_iter().map(|it| (it, Route::default())).collect(),
            unmatched: Route::default(),
        });
        Count(metrics)
    }
}

impl<S> Layer<S> for Count {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, metrics: Arc::clone(&self.0) }
    }
}

/// A service whose answers are counted.
#[derive(Clone, Debug)]
pub struct Counted<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S> Service<Request> for Counted<S>
where
    S: Service<Request, Response = Response>,
    S::Future: Unpin,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Answering<S::Future> {
        let begun = Instant::now();
        let method = method(request.method());
        let pattern = request.extensions().get::<MatchedPath>().cloned();
        let (metrics, answer) = (Arc::clone(&self.metrics), self.inner.call(request));
        Answering { answer, metrics, pattern, method, begun }
    }
}

/// An answer that is being made. One that its client does not wait for is not counted.
#[derive(Debug)]
pub struct Answering<F> {
    answer: F,
    metrics: Arc<Metrics>,
    pattern: Option<MatchedPath>,
    /// Its place in `METHODS`.
    method: usize,
    begun: Instant,
}

impl<F: Future<Output = Result<Response, E>> + Unpin, E> Future for Answering<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        if let Ok(response) = &answer
            && let pattern = self.pattern.as_ref().map(MatchedPath::as_str)
            && let Some(route) = self.metrics.requests.route(pattern)
        {
            route.counts[self.method][status(response.status())].increment();
            route.times.time(self.begun.elapsed());
        }
        Poll::Ready(answer)
    }
}

/// A method's place in `METHODS`.
fn method(method: &Method) -> usize {
    place(&METHODS, method.as_str())
}

/// A status' place in `STATUSES`.
fn status(status: StatusCode) -> usize {
    place(&STATUSES, status.as_str())
}

fn place(names: &[&str], name: &str) -> usize {
    let found = names.iter().position(|known| *known == name);
    found.unwrap_or(names.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::Kind;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    const PATTERNS: [&str; 2] = ["/one/{id}", "/held"];

    /// Asks a router of these patterns, and one more that is not told.
    async fn asked(requests: &[(&str, &str)]) -> Arc<Metrics> {
        let metrics = Arc::<Metrics>::default();
        let router = Router::new()
            .route("/one/{id}", get(async || "one"))
            .route("/held", get(async || StatusCode::IM_A_TEAPOT))
            .route("/secret", get(async || "not told"))
            .layer(Count::new(Arc::clone(&metrics), PATTERNS));
        for (method, path) in requests {
            let request = Request::builder().method(*method).uri(*path);
            let request = request.body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap();
        }
        metrics
    }

    fn counts(metrics: &Metrics) -> Vec<(&str, Vec<(&str, &str, u64)>, u64)> {
        let routes = metrics.requests.routes().into_iter();
        routes.map(|(name, it)| (name, it.counts().collect(), it.times().get().count)).collect()
    }

    #[tokio::test]
    async fn answers_are_counted_by_the_pattern_that_led_to_them() {
        let metrics = asked(&[("GET", "/one/1"), ("GET", "/one/2?x"), ("HEAD", "/one/3")]).await;
        assert_eq!(
            counts(&metrics),
            [("/one/{id}", vec![("GET", "200", 2), ("HEAD", "200", 1)], 3)]
        );
        // A method that a route does not take is its answer all the same.
        let metrics = asked(&[("PUT", "/held"), ("BREW", "/held"), ("GET", "/held")]).await;
        let expected = vec![("GET", "other", 1), ("other", "405", 2)];
        assert_eq!(counts(&metrics), [("/held", expected, 3)]);
    }

    // R25: labels are bounded whatever is asked.
    #[tokio::test]
    async fn what_leads_nowhere_is_one_route() {
        let paths: Vec<String> = (0..100).map(|number| format!("/{number}/\"}}\\n")).collect();
        let mut requests: Vec<_> = paths.iter().map(|path| ("GET", &**path)).collect();
        requests.push(("GET", "/secret"));
        let requests: Vec<_> = requests
            .into_iter()
            .filter(|(_, path)| path.parse::<axum::http::Uri>().is_ok())
            .collect();
        let metrics = asked(&requests).await;
        let all = u64::try_from(requests.len()).unwrap();
        assert_eq!(
            counts(&metrics),
            [(UNMATCHED, vec![("GET", "200", 1), ("GET", "404", all - 1)], all)]
        );
    }

    #[test]
    fn whatever_the_api_says_has_a_status_of_its_own() {
        for kind in Kind::every() {
            let known = STATUSES[status(kind.status())];
            assert_eq!(known, kind.status().as_str(), "{}", kind.code());
        }
        assert_eq!(status(StatusCode::IM_A_TEAPOT), STATUSES.len() - 1);
    }
}
