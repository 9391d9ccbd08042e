//! When data that arrives at a link leaves it. Pure: time is an argument, and random numbers follow
//! from a seed.

use super::conditions::Conditions;
use super::route::Counters;
use std::time::Duration;

/// Bytes of a segment, the unit of loss: the payload of a TCP segment on Ethernet.
pub const SEGMENT: usize = 1_460;
/// Time until a lost segment is transmitted again, besides the round trip; doubled for each repeated
/// loss, as by TCP (RFC 6298, with the minimum of Linux).
const RETRANSMISSION_TIMEOUT: Duration = Duration::from_millis(200);
/// Number of successive losses of one segment after which the connection is reset.
const MAX_LOSSES: u32 = 6;

/// The sending end of one direction of a link, which all connections over the link share.
#[derive(Debug)]
pub struct Shaper {
    random: Random,
    /// The time, since an arbitrary start, until which the data so far occupies the link.
    busy_until: Duration,
    pub counters: Counters,
}

/// Whether and when data leaves a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The data leaves at a time; data after it must not overtake it.
    At(Duration),
    /// The connection is reset.
    Reset,
}

impl Shaper {
    /// An idle link.
    pub fn new(seed: u64) -> Shaper {
        Shaper { random: Random(seed), busy_until: Duration::ZERO, counters: Counters::default() }
    }

    /// Sends a number of bytes that arrive at the link at a time.
    pub fn send(&mut self, conditions: &Conditions, now: Duration, bytes: usize) -> Departure {
        let size = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.counters.bytes = self.counters.bytes.saturating_add(size);
        if let Some(bandwidth) = conditions.bandwidth {
            let seconds = size as f64 * 8.0 / bandwidth.max(1) as f64;
            self.busy_until = self.busy_until.max(now) + Duration::from_secs_f64(seconds);
        } else {
            self.busy_until = now;
        }
        let Some(stall) = self.lose(conditions, bytes) else { return Departure::Reset };
        let jitter = Duration::from_millis(conditions.jitter_ms);
        // Uniform from latency - jitter to latency + jitter.
        let delay = (conditions.latency() + jitter.mul_f64(2.0 * self.random.fraction()))
            .saturating_sub(jitter);
        Departure::At(self.busy_until + delay + stall)
    }

    /// The time until the link accepts more data without a queue longer than `queue`.
    pub fn backlog(&self, now: Duration, queue: Duration) -> Duration {
        self.busy_until.saturating_sub(now).saturating_sub(queue)
    }

    /// The time for which lost segments stall the connection; `None` if it is reset. Segments that are
    /// lost together are transmitted again together.
    fn lose(&mut self, conditions: &Conditions, bytes: usize) -> Option<Duration> {
        let timeout = RETRANSMISSION_TIMEOUT + 2 * conditions.latency();
        let mut longest = Duration::ZERO;
        for _ in 0..bytes.div_ceil(SEGMENT) {
            self.counters.segments = self.counters.segments.saturating_add(1);
            let (mut losses, mut stall) = (0, Duration::ZERO);
            while conditions.loss > 0.0 && self.random.fraction() < conditions.loss {
                stall += timeout * 2_u32.pow(losses);
                losses += 1;
                if losses == MAX_LOSSES {
                    self.counters.resets = self.counters.resets.saturating_add(1);
                    return None;
                }
            }
            self.counters.stalls = self.counters.stalls.saturating_add(u64::from(losses > 0));
            longest = longest.max(stall);
        }
        Some(longest)
    }
}

/// SplitMix64, a generator of random numbers that need not be secret.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// Uniform from 0 to 1, exclusive.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Duration = Duration::from_secs(10);

    fn delay(shaper: &mut Shaper, conditions: &Conditions, bytes: usize) -> Option<Duration> {
        match shaper.send(conditions, START, bytes) {
            Departure::At(time) => Some(time - START),
            Departure::Reset => None,
        }
    }

    #[test]
    fn perfect_link_has_no_delay() {
        let mut shaper = Shaper::new(1);
        assert_eq!(delay(&mut shaper, &Conditions::default(), 100_000), Some(Duration::ZERO));
        assert_eq!(shaper.counters.segments, 69);
        assert_eq!(shaper.counters.stalls, 0);
    }

    #[test]
    fn latency_with_jitter_stays_in_its_range() {
        let conditions = Conditions { latency_ms: 300, jitter_ms: 50, ..Conditions::default() };
        let mut shaper = Shaper::new(1);
        let delays: Vec<u128> =
            (0..1_000).map(|_| delay(&mut shaper, &conditions, 100).unwrap().as_millis()).collect();
        let (min, max) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
        assert!((250..260).contains(min) && (340..=350).contains(max), "{min} {max}");
        let mean = delays.iter().sum::<u128>() / 1_000;
        assert!((295..=305).contains(&mean), "{mean}");
        // Less than no time is none.
        let early = Conditions { latency_ms: 10, jitter_ms: 500, ..Conditions::default() };
        assert!((0..100).any(|_| delay(&mut shaper, &early, 1) == Some(Duration::ZERO)));
    }

    #[test]
    fn bandwidth_is_shared_by_all_that_is_sent() {
        let conditions = Conditions { bandwidth: Some(1_000_000), ..Conditions::default() };
        let mut shaper = Shaper::new(1);
        for count in 1..=10 {
            let expected = Duration::from_millis(100 * count);
            assert_eq!(delay(&mut shaper, &conditions, 12_500), Some(expected));
        }
        assert_eq!(shaper.backlog(START, Duration::from_millis(50)), Duration::from_millis(950));
        let later = START + Duration::from_secs(5);
        assert_eq!(shaper.backlog(later, Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn share_of_stalled_segments_is_the_loss() {
        let conditions = Conditions { loss: 0.05, latency_ms: 10, ..Conditions::default() };
        let mut shaper = Shaper::new(7);
        let mut stalled = 0;
        for _ in 0..20_000 {
            let delay = delay(&mut shaper, &conditions, 100).unwrap();
            stalled += u32::from(delay > Duration::from_millis(10));
        }
        // 1,000 are expected, with a standard deviation of 31.
        assert!((880..1_120).contains(&stalled), "{stalled}");
        assert_eq!(shaper.counters.stalls, u64::from(stalled));
    }

    #[test]
    fn repeated_losses_double_the_stall_and_reset_in_the_end() {
        let certain = Conditions { loss: 1.0, ..Conditions::default() };
        let mut shaper = Shaper::new(1);
        assert_eq!(delay(&mut shaper, &certain, 1), None);
        assert_eq!(shaper.counters.resets, 1);
        let often = Conditions { loss: 0.5, ..Conditions::default() };
        let stalls: std::collections::BTreeSet<u128> = (0..1_000)
            .filter_map(|_| delay(&mut shaper, &often, 1))
            .map(|stall| stall.as_millis())
            .collect();
        assert_eq!(stalls.into_iter().collect::<Vec<_>>(), [0, 200, 600, 1_400, 3_000, 6_200]);
        assert!(shaper.counters.resets > 1);
    }

    #[test]
    fn same_seed_gives_the_same_delays() {
        let conditions =
            Conditions { latency_ms: 5, jitter_ms: 5, loss: 0.2, ..Conditions::default() };
        let run = |seed| {
            let mut shaper = Shaper::new(seed);
            (0..100).map(|_| delay(&mut shaper, &conditions, 3_000)).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}
