//! How much one client may ask in a short time: a bucket of tokens by its address, refilled all the
//! time. What is handed in costs more than what is read, since everybody's copy of it costs too.
//! Clients on this machine are its owner's, and hardly limited.

use crate::api::http::problem::{Kind, Problem};
use axum::extract::{ConnectInfo, Request};
use axum::http::Method;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tokens that a bucket holds, and a second's refill: of clients elsewhere, and on this machine, for
/// whom it is several times what a node answers.
const ELSEWHERE: Rate = Rate { most: 1_000.0, a_second: 100.0 };
const HERE: Rate = Rate { most: 1_000_000.0, a_second: 500_000.0 };
/// What a read costs, and what handing something in does.
const READ: f64 = 1.0;
const SUBMISSION: f64 = 5.0;
/// Clients remembered: 64 bytes each. Beyond that those that have been quiet are forgotten.
const MAX_CLIENTS: usize = 20_000;

#[derive(Clone, Copy, Debug)]
struct Rate {
    most: f64,
    a_second: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn refilled(self, rate: Rate, now: Instant) -> Bucket {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        Bucket { tokens: (self.tokens + seconds * rate.a_second).min(rate.most), at: now }
    }
}

/// The buckets of all clients. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    buckets: Arc<Mutex<HashMap<IpAddr, Bucket>>>,
}

impl Limits {
    /// Whether a client may have an answer that costs so much.
    fn allow(&self, client: IpAddr, cost: f64, now: Instant) -> bool {
        let is_here = client.to_canonical().is_loopback();
        let (client, rate) = (one_of(client), rate_of(client));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_CLIENTS && !buckets.contains_key(&client) {
            // A bucket that is full again is as good as none.
            let quiet = Duration::from_secs_f64(ELSEWHERE.most / ELSEWHERE.a_second);
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < quiet);
            if buckets.len() >= MAX_CLIENTS {
                return is_here;
            }
        }
        let full = Bucket { tokens: rate.most, at: now };
        let bucket = buckets.entry(client).or_insert(full);
        *bucket = bucket.refilled(rate, now);
        let is_enough = bucket.tokens >= cost;
        if is_enough {
            bucket.tokens -= cost;
        }
        is_enough
    }

    /// Whether a client has not asked too much lately.
    ///
    /// # Errors
    /// What to answer when it has.
    pub fn check(&self, request: &Request) -> Result<(), Problem> {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let cost = if is_read { READ } else { SUBMISSION };
        let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let client = client.map(|client| client.ip());
        if client.is_none_or(|client| self.allow(client, cost, Instant::now())) {
            return Ok(());
        }
        let rate = client.map_or(ELSEWHERE, rate_of);
        let detail = format!(
            "this address may ask {} times a second, or hand in {} times: wait a little",
            rate.a_second / READ,
            rate.a_second / SUBMISSION
        );
        Err(Problem::new(Kind::RATE_LIMITED, detail))
    }
}

fn rate_of(client: IpAddr) -> Rate {
    if client.to_canonical().is_loopback() { HERE } else { ELSEWHERE }
}

/// Whoever has one IPv6 address has all of its /64.
fn one_of(client: IpAddr) -> IpAddr {
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

    /// How many requests in a row are answered.
    fn answered(limits: &Limits, client: IpAddr, cost: f64, now: Instant) -> usize {
        (0..100_000).take_while(|_| limits.allow(client, cost, now)).count()
    }

    // R10
    #[test]
    fn who_asks_too_much_waits_and_others_do_not() {
        let (limits, now) = (Limits::default(), Instant::now());
        let client = ip("192.0.2.1");
        assert_eq!(answered(&limits, client, READ, now), 1_000);
        assert_eq!(answered(&limits, ip("192.0.2.2"), READ, now), 1_000);
        let later = now + Duration::from_secs(2);
        assert_eq!(answered(&limits, client, READ, later), 200);
        assert_eq!(answered(&limits, client, READ, later + Duration::from_secs(3_600)), 1_000);
    }

    #[test]
    fn handing_in_is_limited_more_and_this_machine_no_less_than_it_can_serve() {
        let (limits, now) = (Limits::default(), Instant::now());
        assert_eq!(answered(&limits, ip("192.0.2.1"), SUBMISSION, now), 200);
        for client in ["127.0.0.1", "::1"] {
            assert_eq!(answered(&limits, ip(client), READ, now), 100_000);
            assert!(!limits.allow(ip(client), HERE.most, now), "there is a limit");
        }
    }

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        let (limits, now) = (Limits::default(), Instant::now());
        answered(&limits, ip("2001:db8:0:1::1"), READ, now);
        assert!(!limits.allow(ip("2001:db8:0:1:ffff::2"), READ, now));
        assert!(limits.allow(ip("2001:db8:0:2::1"), READ, now));
        answered(&limits, ip("192.0.2.1"), READ, now);
        assert!(!limits.allow(ip("::ffff:192.0.2.1"), READ, now));
    }

    #[test]
    fn memory_is_bounded_and_quiet_clients_make_room() {
        let (limits, now) = (Limits::default(), Instant::now());
        let nth =
            |number: usize| IpAddr::from(u32::try_from(number + (10 << 24)).unwrap().to_be_bytes());
        for number in 0..MAX_CLIENTS {
            assert!(limits.allow(nth(number), READ, now));
        }
        assert!(!limits.allow(nth(MAX_CLIENTS), READ, now));
        for owner in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(limits.allow(ip(owner), READ, now), "{owner}");
        }
        assert!(limits.allow(nth(0), READ, now), "those who are known are served");
        assert!(limits.allow(nth(MAX_CLIENTS), READ, now + Duration::from_secs(20)));
        assert_eq!(limits.buckets.lock().unwrap().len(), 1);
    }
}
