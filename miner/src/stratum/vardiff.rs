//! Variable difficulty: adjusts the difficulty of a session so that its miner finds a share about
//! every ten seconds. More would load the node, fewer would not measure its hash rate.

use super::difficulty::Difficulty;
use std::time::{Duration, Instant};

/// The intended time between two shares, in seconds.
const SHARE_INTERVAL: f64 = 10.0;
/// The number of shares that determine a miner's hash rate within a third.
const ENOUGH_SHARES: u32 = 12;
/// The time after which fewer shares suffice: six were due.
const MAX_WINDOW: Duration = Duration::from_secs(60);
/// The minimum time between two changes.
const MIN_WINDOW: Duration = Duration::from_secs(1);
/// The minimum time between two suggestions that are honored.
const SUGGEST_INTERVAL: Duration = Duration::from_secs(10);
/// The maximum factor of one change.
const MAX_STEP: f64 = 4.0;
/// A share rate within this factor of the intended one causes no change.
const TOLERANCE: f64 = 2.0;
/// The difficulty of a miner that suggests none: a fast CPU finds a share in a tenth of a second, a
/// microcontroller in two minutes, and both are soon adjusted.
const INITIAL: f64 = 0.002;

/// The difficulty of one session, and the shares of the current measuring window.
#[derive(Debug)]
pub(super) struct Vardiff {
    difficulty: Difficulty,
    window_start: Instant,
    shares: u32,
    /// The last suggestion that was honored, and its time.
    last_suggestion: Option<(Difficulty, Instant)>,
    /// The minimum that the miner asked for, as it cannot mine at a lower difficulty.
    minimum: Difficulty,
    /// Whether the difficulty follows from shares of the miner.
    is_measured: bool,
}

impl Vardiff {
    pub(super) fn new(now: Instant) -> Vardiff {
        let difficulty = Difficulty::new(INITIAL).expect("it is a positive number");
        Vardiff {
            difficulty,
            window_start: now,
            shares: 0,
            last_suggestion: None,
            minimum: Difficulty::MIN,
            is_measured: false,
        }
    }

    pub(super) fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    /// Starts a new window, as the first job does.
    pub(super) fn start_window(&mut self, now: Instant) {
        (self.window_start, self.shares) = (now, 0);
    }

    /// Records an accepted share.
    pub(super) fn record_share(&mut self) {
        self.shares = self.shares.saturating_add(1);
    }

    /// Sets the difficulty that a miner suggests. A repeated suggestion is ignored, since some
    /// miners repeat theirs all the time.
    pub(super) fn suggest(&mut self, suggested: Difficulty, now: Instant) {
        let is_honored = self.last_suggestion.is_none_or(|(last, at)| {
            last != suggested && now.saturating_duration_since(at) >= SUGGEST_INTERVAL
        });
        if is_honored {
            self.last_suggestion = Some((suggested, now));
            self.difficulty = suggested.max(self.minimum);
            self.is_measured = false;
            self.start_window(now);
        }
    }

    /// Sets the minimum that a miner asks for. The network's difficulty is lower at times, and then
    /// the shares have that.
    pub(super) fn set_minimum(&mut self, minimum: Difficulty, now: Instant) {
        self.minimum = minimum;
        if self.difficulty < minimum {
            self.difficulty = minimum;
            self.is_measured = false;
            self.start_window(now);
        }
    }

    /// Starts from the difficulty of an earlier session of the miner, unless the miner suggested
    /// one.
    pub(super) fn resume(&mut self, earlier: Difficulty, now: Instant) {
        if self.last_suggestion.is_none() {
            self.difficulty = earlier.max(self.minimum);
            self.start_window(now);
        }
    }

    /// Whether the difficulty follows from the hash rate of the miner.
    pub(super) fn is_measured(&self) -> bool {
        self.is_measured
    }

    /// Adjusts the difficulty to the shares of the window, once that is long enough. Never raises
    /// it above `max`.
    pub(super) fn adjust(&mut self, max: Difficulty, now: Instant) {
        let elapsed = now.saturating_duration_since(self.window_start);
        let is_complete =
            elapsed >= MAX_WINDOW || (self.shares >= ENOUGH_SHARES && elapsed >= MIN_WINDOW);
        if !is_complete {
            return;
        }
        let ratio = f64::from(self.shares) * SHARE_INTERVAL / elapsed.as_secs_f64();
        if !(1.0 / TOLERANCE..=TOLERANCE).contains(&ratio) {
            let factor = ratio.clamp(1.0 / MAX_STEP, MAX_STEP);
            let adjusted = self.difficulty.min(max).scaled_by(factor).max(self.minimum);
            self.difficulty = adjusted.min(max);
        }
        self.is_measured |= self.shares > 0;
        self.start_window(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NETWORK: f64 = 1e6;

    fn network_difficulty() -> Difficulty {
        Difficulty::new(NETWORK).unwrap()
    }

    /// Simulates a miner of `hash_rate` hashes per second. Returns its shares of the last minute.
    fn mine(vardiff: &mut Vardiff, now: &mut Instant, hash_rate: f64, seconds: u32) -> u32 {
        let (mut progress, mut shares) = (0.0, 0);
        for tick in 0..seconds * 10 {
            *now += Duration::from_millis(100);
            progress += hash_rate / 10.0 / vardiff.difficulty().expected_hashes();
            // At most as many as the rate limit permits.
            for _ in 0..10 {
                if progress < 1.0 {
                    break;
                }
                progress -= 1.0;
                vardiff.record_share();
                shares += u32::from(tick + 600 >= seconds * 10);
            }
            progress = progress.min(1.0);
            vardiff.adjust(network_difficulty(), *now);
        }
        shares
    }

    #[test]
    fn converges_to_a_share_every_ten_seconds() {
        for hash_rate in [20.0, 50e3, 1e6, 170e6, 1e12, 100e12] {
            let mut now = Instant::now();
            let mut vardiff = Vardiff::new(now);
            let shares = mine(&mut vardiff, &mut now, hash_rate, 1_200);
            assert!((3..=13).contains(&shares), "{hash_rate}: {shares}");
            // A slower miner on the same session.
            let shares = mine(&mut vardiff, &mut now, hash_rate / 50.0, 1_200);
            let at_floor = vardiff.difficulty() == Difficulty::MIN;
            assert!((3..=13).contains(&shares) || at_floor, "{hash_rate}: {shares}");
        }
    }

    #[test]
    fn honors_suggestions_once_and_at_intervals() {
        let now = Instant::now();
        let mut vardiff = Vardiff::new(now);
        let difficulty = |value| Difficulty::new(value).unwrap();
        vardiff.suggest(difficulty(0.00015), now);
        assert_eq!(vardiff.difficulty(), difficulty(0.00015));
        vardiff.suggest(difficulty(7.0), now + Duration::from_secs(9));
        assert_eq!(vardiff.difficulty(), difficulty(0.00015));
        vardiff.suggest(difficulty(7.0), now + Duration::from_secs(10));
        assert_eq!(vardiff.difficulty(), difficulty(7.0));
        let later = now + Duration::from_secs(100);
        vardiff.adjust(network_difficulty(), later);
        assert_eq!(vardiff.difficulty(), difficulty(1.75));
        vardiff.suggest(difficulty(7.0), later);
        assert_eq!(vardiff.difficulty(), difficulty(1.75), "repeated suggestion");
    }

    proptest! {
        // Q11
        #[test]
        fn changes_stay_within_step_interval_and_bounds(
            windows in prop::collection::vec((0_u32..500, 0_u64..70_000), 1..80),
        ) {
            let mut now = Instant::now();
            let mut vardiff = Vardiff::new(now);
            let (mut before, mut changed) = (vardiff.difficulty(), None::<Instant>);
            for (shares, milliseconds) in windows {
                (0..shares).for_each(|_| vardiff.record_share());
                now += Duration::from_millis(milliseconds);
                vardiff.adjust(network_difficulty(), now);
                let after = vardiff.difficulty();
                let factor = after.get() / before.get();
                prop_assert!((1.0 / MAX_STEP..=MAX_STEP).contains(&factor));
                prop_assert!(after >= Difficulty::MIN && after <= network_difficulty());
                if after != before {
                    prop_assert!(changed.is_none_or(|at| now - at >= MIN_WINDOW));
                    changed = Some(now);
                }
                before = after;
            }
        }
    }
}
