//! Counts the API's answers by route, method and status, and how long they took. Routes are the
//! patterns of the table, never what a client wrote, so there are only so many; what leads nowhere
//! is one route together.
//!
//! A request costs a walk along its path, two looks at the clock and three additions. The router
//! knows its way only inside, behind the guards, whose answers count too: hence the walk, by the
//! same matcher.

use super::Metrics;
use super::instrument::{self, Counter, Histogram, InProgress};
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

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
    /// Places in `routes` by pattern.
    patterns: matchit::Router<usize>,
    /// The last is what leads nowhere.
    routes: Vec<Route>,
}

/// The answers of one.
#[derive(Debug)]
pub struct Route {
    pattern: &'static str,
    counts: [[Counter; STATUSES.len()]; METHODS.len()],
    times: Histogram,
}

impl Route {
    fn new(pattern: &'static str) -> Route {
        Route { pattern, counts: Default::default(), times: Histogram::of_times(TIMES) }
    }

    /// The pattern that leads to it.
    pub fn pattern(&self) -> &'static str {
        self.pattern
    }

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

impl Routes {
    fn new(patterns: impl IntoIterator<Item = &'static str>) -> Routes {
        // One path may have rows for several methods.
        let patterns: BTreeSet<&str> = patterns.into_iter().collect();
        let mut places = matchit::Router::new();
        for (place, pattern) in patterns.iter().enumerate() {
            places.insert(*pattern, place).expect("the API's router takes the same patterns");
        }
        let routes = patterns.into_iter().chain([UNMATCHED]).map(Route::new).collect();
        Routes { patterns: places, routes }
    }

    fn of(&self, path: &str) -> &Route {
        let found = self.patterns.at(path).ok().map(|found| *found.value);
        &self.routes[found.unwrap_or(self.routes.len() - 1)]
    }
}

impl Requests {
    /// Routes that were asked at all, by their patterns.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        let all = self.routes.get().into_iter().flat_map(|routes| &routes.routes);
        all.filter(|route| route.counts().next().is_some())
    }
}

/// Counts every answer of a server.
#[derive(Clone, Debug)]
pub struct Count(Arc<Metrics>);

impl Count {
    /// Of one with these routes.
    pub fn new(metrics: Arc<Metrics>, patterns: impl IntoIterator<Item = &'static str>) -> Count {
        metrics.requests.routes.get_or_init(|| Routes::new(patterns));
        Count(metrics)
    }

    /// A connection that is open until what this returns is dropped.
    pub fn connection(&self) -> InProgress {
        self.0.connections.enter()
    }

    /// A connection was closed to make room for another.
    pub fn shed(&self) {
        self.0.connections_shed.increment();
    }

    /// A connection was not taken.
    pub fn refused(&self) {
        self.0.connections_refused.increment();
    }

    /// A request that is answered from now on. One whose client goes away meanwhile is not counted.
    pub fn begin(&self, request: &Request) -> Begun<'_> {
        let routes = self.0.requests.routes.get().expect("`new` has set them");
        let route = routes.of(request.uri().path());
        Begun { counts: &route.counts[method(request.method())], route, at: Instant::now() }
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Begun<'c> {
    counts: &'c [Counter; STATUSES.len()],
    route: &'c Route,
    at: Instant,
}

impl Begun<'_> {
    /// The answer is there.
    pub fn end(self, answer: StatusCode) {
        self.counts[status(answer)].increment();
        self.route.times.time(self.at.elapsed());
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
    use crate::api::http::problem::Kind;
    use axum::body::Body;

    const PATTERNS: [&str; 4] = ["/one/{id}", "/held", "/", "/held"];

    /// Counts answers of this status to requests.
    fn asked(requests: &[(&str, &str)], status: StatusCode) -> Arc<Metrics> {
        let metrics = Arc::<Metrics>::default();
        let count = Count::new(Arc::clone(&metrics), PATTERNS);
        for (method, path) in requests {
            let request = Request::builder().method(*method).uri(*path);
            count.begin(&request.body(Body::empty()).unwrap()).end(status);
        }
        metrics
    }

    /// By route: answers by method and status, and how many times.
    type Counts<'m> = Vec<(&'m str, Vec<(&'m str, &'m str, u64)>, u64)>;

    fn counts(metrics: &Metrics) -> Counts<'_> {
        let routes = metrics.requests.routes();
        routes.map(|it| (it.pattern(), it.counts().collect(), it.times().get().count)).collect()
    }

    #[test]
    fn answers_are_counted_by_the_pattern_that_leads_to_them() {
        let requests = [("GET", "/one/1"), ("GET", "/one/2?x"), ("HEAD", "/one/3"), ("GET", "/")];
        let metrics = asked(&requests, StatusCode::OK);
        let expected = [
            ("/", vec![("GET", "200", 1)], 1),
            ("/one/{id}", vec![("GET", "200", 2), ("HEAD", "200", 1)], 3),
        ];
        assert_eq!(counts(&metrics), expected);
        // A method that a route does not take is its answer all the same.
        let refused = [("PUT", "/held"), ("BREW", "/held")];
        let metrics = asked(&refused, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(counts(&metrics), [("/held", vec![("other", "405", 2)], 2)]);
        let metrics = asked(&[("GET", "/held")], StatusCode::IM_A_TEAPOT);
        assert_eq!(counts(&metrics), [("/held", vec![("GET", "other", 1)], 1)]);
    }

    // R25: labels are bounded whatever is asked.
    #[test]
    fn what_leads_nowhere_is_one_route() {
        let paths: Vec<String> = (0..100).map(|number| format!("/{number}/%22%7D%0A")).collect();
        let requests: Vec<_> = paths.iter().map(|path| ("GET", &**path)).collect();
        let metrics = asked(&requests, StatusCode::NOT_FOUND);
        assert_eq!(counts(&metrics), [(UNMATCHED, vec![("GET", "404", 100)], 100)]);
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
