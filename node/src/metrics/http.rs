//! Metrics of the HTTP server: responses and their durations by route, and connections. Routes are the
//! patterns of the router, never the paths of clients, so that the number of label values is bounded.

use super::exposition::{Kind, Metric as _, Page, metrics};
use super::instrument::{self, Counter, CounterVec, Gauge, Histogram};
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

/// Bucket bounds of response times, from the cheapest to a long poll.
const TIMES: &[u64] = &instrument::nanoseconds([
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000,
    10_000_000, 30_000_000,
]);

/// The route label of requests without a route.
const UNMATCHED: &str = "unmatched";

/// Method labels; all other methods are "other".
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "DELETE"];

metrics! {
    /// The metrics of HTTP connections.
    pub struct ConnectionMetrics {
        open: Arc<Gauge> = Arc::default(),
            "chain_http_connections", "Open HTTP connections.";
        shed: Counter = Counter::default(),
            "chain_http_connections_shed_total", "Idle HTTP connections closed to make room for others.";
        refused: Counter = Counter::default(),
            "chain_http_connections_refused_total", "HTTP connections refused because all others were active.";
    }
}

/// The metrics of the HTTP server.
#[derive(Debug, Default)]
pub struct HttpMetrics {
    pub connections: ConnectionMetrics,
    /// The metrics of each route by its path pattern; inserted with the first request.
    routes: RwLock<BTreeMap<String, Arc<RouteMetrics>>>,
}

#[derive(Debug)]
struct RouteMetrics {
    /// The number of responses by method and status.
    responses: CounterVec<(&'static str, u16)>,
    durations: Histogram,
}

impl Default for RouteMetrics {
    fn default() -> RouteMetrics {
        RouteMetrics { responses: CounterVec::default(), durations: Histogram::of_times(TIMES) }
    }
}

impl HttpMetrics {
    /// Starts the measurement of a routed request. It is counted once it has a response.
    pub fn start(&self, request: &Request) -> InFlight {
        let pattern = request.extensions().get().map_or(UNMATCHED, MatchedPath::as_str);
        let method = request.method();
        let method = METHODS.into_iter().find(|known| *known == method).unwrap_or("other");
        InFlight { route: self.route(pattern), method, started: Instant::now() }
    }

    /// Counts the response to a request whose head cannot be parsed.
    pub fn count_malformed(&self, status: StatusCode) {
        self.route(UNMATCHED).responses.count(("other", status.as_u16()));
    }

    fn route(&self, pattern: &str) -> Arc<RouteMetrics> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = routes.get(pattern) {
            return Arc::clone(route);
        }
        drop(routes);
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(routes.entry(pattern.to_owned()).or_default())
    }

    /// Writes all metrics of the group.
    pub fn write(&self, page: &mut Page) {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut responses = page.family(
            Kind::Counter,
            "chain_http_requests_total",
            "Responses by route pattern, method and status.",
        );
        for (route, metrics) in &routes {
            for ((method, status), count) in metrics.responses.get() {
                let labels =
                    [("route", &**route), ("method", method), ("status", &status.to_string())];
                responses.value(&labels, count);
            }
        }
        let mut durations = page.family(
            Kind::Histogram,
            "chain_http_request_duration_seconds",
            "Time to the head of a response, long polls included.",
        );
        for (route, metrics) in &routes {
            durations.values(&[("route", route)], &metrics.durations);
        }
        self.connections.write(page);
    }
}

/// A request without a response yet.
#[derive(Debug)]
pub struct InFlight {
    route: Arc<RouteMetrics>,
    method: &'static str,
    started: Instant,
}

impl InFlight {
    /// Counts the response by its status, and records its duration.
    pub fn finish(self, status: StatusCode) {
        self.route.responses.count((self.method, status.as_u16()));
        self.route.durations.time(self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::{Next, from_fn};
    use axum::routing::get;
    use tower::ServiceExt;

    /// Sends requests to a router and returns the counts by route, method and status.
    async fn counts(requests: &[(&str, &str)]) -> Vec<(String, &'static str, u16, u64)> {
        let metrics = Arc::<HttpMetrics>::default();
        let counting = Arc::clone(&metrics);
        let router = Router::new()
            .route("/one/{id}", get(async || "one"))
            .route("/", get(async || "root"))
            .layer(from_fn(move |request: Request, next: Next| {
                let in_flight = counting.start(&request);
                async move {
                    let response = next.run(request).await;
                    in_flight.finish(response.status());
                    response
                }
            }));
        for (method, path) in requests {
            let request = Request::builder().method(*method).uri(*path).body(Body::empty());
            router.clone().oneshot(request.unwrap()).await.unwrap();
        }
        let routes = metrics.routes.read().unwrap().clone();
        let counts = routes.into_iter().flat_map(|(route, metrics)| {
            let responses = metrics.responses.get();
            assert_eq!(metrics.durations.get().count, responses.values().sum::<u64>());
            responses
                .into_iter()
                .map(move |((method, status), count)| (route.clone(), method, status, count))
        });
        counts.collect()
    }

    #[tokio::test]
    async fn counts_responses_by_route_pattern() {
        let requests = [("GET", "/one/1"), ("GET", "/one/2?x"), ("HEAD", "/one/3"), ("GET", "/")];
        let expected = [
            ("/".to_owned(), "GET", 200, 1),
            ("/one/{id}".to_owned(), "GET", 200, 2),
            ("/one/{id}".to_owned(), "HEAD", 200, 1),
        ];
        assert_eq!(counts(&requests).await, expected);
        // A response to an unsupported method counts for the route.
        let requests = [("PUT", "/one/1"), ("BREW", "/one/1")];
        assert_eq!(counts(&requests).await, [("/one/{id}".to_owned(), "other", 405, 2)]);
    }

    // R25: labels are bounded for any path.
    #[tokio::test]
    async fn unmatched_paths_share_a_label() {
        let paths: Vec<String> = (0..100).map(|number| format!("/{number}/%22%7D%0A")).collect();
        let requests: Vec<_> = paths.iter().map(|path| ("GET", &**path)).collect();
        assert_eq!(counts(&requests).await, [(UNMATCHED.to_owned(), "GET", 404, 100)]);
    }
}
