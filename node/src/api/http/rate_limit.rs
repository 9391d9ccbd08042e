//! Rate limiting: a token bucket per client address, refilled continuously. Submissions cost more
//! than reads, since they are relayed to the network. Loopback clients are practically unlimited.

use crate::api::http::problem::{Kind, Problem};
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use p2p::rate_limit::TokenBucket;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The limits of remote and of loopback clients; the latter is several times what a node can serve.
const REMOTE: Limit = Limit { burst: 1_000, per_second: 100 };
const LOOPBACK: Limit = Limit { burst: 1_000_000, per_second: 500_000 };
/// Tokens a read and a submission cost.
const READ: u32 = 1;
const SUBMISSION: u32 = 5;
/// Clients tracked, about 80 bytes each. Above that, clients with a full bucket are dropped.
const MAX_CLIENTS: usize = 20_000;

/// Tokens of a full bucket, and tokens regained per second.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: u32,
    per_second: u32,
}

/// The buckets of all clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    started: Instant,
    buckets: Arc<Mutex<HashMap<IpAddr, TokenBucket>>>,
}

impl Default for RateLimiter {
    fn default() -> RateLimiter {
        RateLimiter { started: Instant::now(), buckets: Arc::default() }
    }
}

impl RateLimiter {
    /// Spends `cost` tokens of the client's bucket; returns false if it has fewer. `now` is the time
    /// since the start.
    fn allow(&self, client: IpAddr, cost: u32, now: Duration) -> bool {
        let (key, limit) = (client_key(client), limit_of(client));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= MAX_CLIENTS {
                return client.to_canonical().is_loopback();
            }
        }
        let interval = Duration::from_secs(1) / limit.per_second;
        let bucket = buckets.entry(key).or_insert(TokenBucket::new(limit.burst, interval));
        bucket.try_acquire(cost, now)
    }

    /// Charges the client for a request.
    ///
    /// # Errors
    /// Returns the problem to respond with if the client has exceeded its limit.
    pub fn check(&self, request: &Request) -> Result<(), Problem> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let cost = if is_read { READ } else { SUBMISSION };
        let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let client = client.map(|client| client.ip());
        if client.is_none_or(|client| self.allow(client, cost, self.started.elapsed())) {
            return Ok(());
        }
        let limit = client.map_or(REMOTE, limit_of);
        let detail = format!(
            "rate limit of {} reads or {} submissions per second exceeded: retry later",
            limit.per_second / READ,
            limit.per_second / SUBMISSION
        );
        Err(Problem::new(Kind::RATE_LIMITED, detail))
    }
}

fn limit_of(client: IpAddr) -> Limit {
    if client.to_canonical().is_loopback() { LOOPBACK } else { REMOTE }
}

/// The key of a client's bucket: an IPv4 address or an IPv6 /64, which one client usually owns.
fn client_key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Counts the requests in a row that are allowed.
    fn allowed(rate_limiter: &RateLimiter, client: IpAddr, cost: u32, now: Duration) -> usize {
        (0..100_000).take_while(|_| rate_limiter.allow(client, cost, now)).count()
    }

    // R10
    #[test]
    fn limits_client_without_affecting_others() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        let client = ip("192.0.2.1");
        assert_eq!(allowed(&rate_limiter, client, READ, now), 1_000);
        assert_eq!(allowed(&rate_limiter, ip("192.0.2.2"), READ, now), 1_000);
        let later = now + Duration::from_secs(2);
        assert_eq!(allowed(&rate_limiter, client, READ, later), 200);
        assert_eq!(allowed(&rate_limiter, client, READ, later + Duration::from_secs(3_600)), 1_000);
    }

    #[test]
    fn submissions_cost_more_and_loopback_is_barely_limited() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        assert_eq!(allowed(&rate_limiter, ip("192.0.2.1"), SUBMISSION, now), 200);
        for client in ["127.0.0.1", "::1"] {
            assert_eq!(allowed(&rate_limiter, ip(client), READ, now), 100_000);
            assert!(!rate_limiter.allow(ip(client), LOOPBACK.burst, now), "there is a limit");
        }
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        allowed(&rate_limiter, ip("2001:db8:0:1::1"), READ, now);
        assert!(!rate_limiter.allow(ip("2001:db8:0:1:ffff::2"), READ, now));
        assert!(rate_limiter.allow(ip("2001:db8:0:2::1"), READ, now));
        allowed(&rate_limiter, ip("192.0.2.1"), READ, now);
        assert!(!rate_limiter.allow(ip("::ffff:192.0.2.1"), READ, now));
    }

    #[test]
    fn tracked_clients_are_bounded_and_idle_ones_evicted() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        let nth =
            |number: usize| IpAddr::from(u32::try_from(number + (10 << 24)).unwrap().to_be_bytes());
        for number in 0..MAX_CLIENTS {
            assert!(rate_limiter.allow(nth(number), READ, now));
        }
        assert!(!rate_limiter.allow(nth(MAX_CLIENTS), READ, now));
        for owner in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(rate_limiter.allow(ip(owner), READ, now), "{owner}");
        }
        assert!(rate_limiter.allow(nth(0), READ, now), "tracked clients are served");
        assert!(rate_limiter.allow(nth(MAX_CLIENTS), READ, now + Duration::from_secs(20)));
        assert_eq!(rate_limiter.buckets.lock().unwrap().len(), 1);
    }
}
