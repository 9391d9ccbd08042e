//! Rate limiting: a token bucket per client address, refilled continuously. Submissions cost more
//! than reads, since they are relayed to the network. Clients on this machine are practically
//! unlimited.

use crate::api::http::problem::{Kind, Problem};
use p2p::rate_limit::TokenBucket;
use p2p::shares::AddressGroup;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The limits of remote and of local clients; the latter is several times what a node can serve.
const REMOTE: Limit = Limit { burst: 1_000, per_second: 100 };
const LOCAL: Limit = Limit { burst: 1_000_000, per_second: 500_000 };
/// The limit of an IPv6 /48, which contains many clients but may belong to one.
const SITE: Limit = Limit { burst: 4_000, per_second: 400 };
/// Tokens a read costs.
pub const READ: u32 = 1;
/// Tokens a submission costs.
pub const SUBMISSION: u32 = 5;
/// Buckets tracked, about 80 bytes each. Above that, full ones are dropped.
const MAX_BUCKETS: usize = 20_000;

/// Tokens of a full bucket, and tokens regained per second.
#[derive(Clone, Copy, Debug)]
struct Limit {
    burst: u32,
    per_second: u32,
}

impl Limit {
    fn bucket(self) -> TokenBucket {
        TokenBucket::new(self.burst, Duration::from_secs(1) / self.per_second)
    }
}

/// The range of addresses that shares a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Range {
    Local(IpAddr),
    Host(IpAddr),
    Site(IpAddr),
}

/// The buckets that a client's request is charged to.
fn buckets_of(client: IpAddr, is_local: bool) -> impl Iterator<Item = (Range, Limit)> {
    let group = AddressGroup::of(client);
    let (host, site) = match is_local {
        true => ((Range::Local(group.host()), LOCAL), None),
        false => {
            let site = (group.site() != group.host()).then(|| (Range::Site(group.site()), SITE));
            ((Range::Host(group.host()), REMOTE), site)
        }
    };
    std::iter::once(host).chain(site)
}

/// The buckets of all clients. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    started: Instant,
    buckets: Arc<Mutex<HashMap<Range, TokenBucket>>>,
}

impl Default for RateLimiter {
    fn default() -> RateLimiter {
        RateLimiter { started: Instant::now(), buckets: Arc::default() }
    }
}

impl RateLimiter {
    fn lock(&self) -> MutexGuard<'_, HashMap<Range, TokenBucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Spends `cost` tokens of the client's buckets; returns false if one has fewer. `now` is the time
    /// since the start.
    fn allow(&self, client: IpAddr, is_local: bool, cost: u32, now: Duration) -> bool {
        let mut buckets = self.lock();
        for (range, limit) in buckets_of(client, is_local) {
            if buckets.len() >= MAX_BUCKETS && !buckets.contains_key(&range) {
                buckets.retain(|_, bucket| !bucket.is_full(now));
                if buckets.len() >= MAX_BUCKETS {
                    return is_local;
                }
            }
            if !buckets.entry(range).or_insert_with(|| limit.bucket()).try_acquire(cost, now) {
                return false;
            }
        }
        true
    }

    /// Charges a client for a request or a message.
    ///
    /// # Errors
    /// Returns the problem to respond with if the client has exceeded its limit.
    pub fn charge(&self, client: IpAddr, is_local: bool, cost: u32) -> Result<(), Problem> {
        if self.allow(client, is_local, cost, self.started.elapsed()) {
            return Ok(());
        }
        let limit = if is_local { LOCAL } else { REMOTE };
        let detail = format!(
            "rate limit of {} reads or {} submissions per second exceeded: retry later",
            limit.per_second / READ,
            limit.per_second / SUBMISSION
        );
        Err(Problem::new(Kind::RATE_LIMITED, detail))
    }

    /// Charges a client for what it was sent already; a debt delays its next requests.
    pub fn spend(&self, client: IpAddr, is_local: bool, cost: u32) {
        let (now, mut buckets) = (self.started.elapsed(), self.lock());
        for (range, _) in buckets_of(client, is_local) {
            if let Some(bucket) = buckets.get_mut(&range) {
                bucket.spend(cost, now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Counts the requests in a row that are allowed.
    fn allowed(rate_limiter: &RateLimiter, client: &str, cost: u32, now: Duration) -> usize {
        (0..100_000).take_while(|_| rate_limiter.allow(ip(client), false, cost, now)).count()
    }

    // R10
    #[test]
    fn limits_client_without_affecting_others() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        let client = "192.0.2.1";
        assert_eq!(allowed(&rate_limiter, client, READ, now), 1_000);
        assert_eq!(allowed(&rate_limiter, "192.0.2.2", READ, now), 1_000);
        let later = now + Duration::from_secs(2);
        assert_eq!(allowed(&rate_limiter, client, READ, later), 200);
        assert_eq!(allowed(&rate_limiter, client, READ, later + Duration::from_secs(3_600)), 1_000);
    }

    #[test]
    fn submissions_cost_more_and_local_clients_are_barely_limited() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        assert_eq!(allowed(&rate_limiter, "192.0.2.1", SUBMISSION, now), 200);
        for client in ["127.0.0.1", "::1"] {
            // A proxy on this machine that does not name its client is limited as a remote one is.
            assert_eq!(allowed(&rate_limiter, client, READ, now), 1_000);
            let mut all = (0..100_000).map(|_| rate_limiter.allow(ip(client), true, READ, now));
            assert!(all.all(|allowed| allowed));
            assert!(!rate_limiter.allow(ip(client), true, LOCAL.burst, now), "there is a limit");
        }
    }

    #[test]
    fn large_responses_delay_later_requests() {
        let rate_limiter = RateLimiter::default();
        assert!(rate_limiter.charge(ip("192.0.2.1"), false, READ).is_ok());
        rate_limiter.spend(ip("192.0.2.1"), false, 1_000_000);
        assert!(rate_limiter.charge(ip("192.0.2.1"), false, READ).is_err());
        assert!(rate_limiter.charge(ip("192.0.2.2"), false, READ).is_ok());
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        assert_eq!(allowed(&rate_limiter, "2001:db8:0:1::1", READ, now), 1_000);
        assert_eq!(allowed(&rate_limiter, "2001:db8:0:1:ffff::2", READ, now), 0);
        let rest: usize = (2..20)
            .map(|net| allowed(&rate_limiter, &format!("2001:db8:0:{net}::1"), READ, now))
            .sum();
        assert!(rest <= 3_000, "one /48 has the tokens of four clients, not {rest} more");
        assert_eq!(allowed(&rate_limiter, "2001:db8:1:1::1", READ, now), 1_000);
        allowed(&rate_limiter, "192.0.2.1", READ, now);
        assert_eq!(allowed(&rate_limiter, "::ffff:192.0.2.1", READ, now), 0);
    }

    #[test]
    fn tracked_clients_are_bounded_and_idle_ones_evicted() {
        let (rate_limiter, now) = (RateLimiter::default(), Duration::ZERO);
        let nth =
            |number: usize| IpAddr::from(u32::try_from(number + (10 << 24)).unwrap().to_be_bytes());
        for number in 0..MAX_BUCKETS {
            assert!(rate_limiter.allow(nth(number), false, READ, now));
        }
        assert!(!rate_limiter.allow(nth(MAX_BUCKETS), false, READ, now));
        for owner in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(rate_limiter.allow(ip(owner), true, READ, now), "{owner}");
        }
        assert!(rate_limiter.allow(nth(0), false, READ, now), "tracked clients are served");
        assert!(rate_limiter.allow(nth(MAX_BUCKETS), false, READ, now + Duration::from_secs(20)));
        assert_eq!(rate_limiter.buckets.lock().unwrap().len(), 1);
    }
}
