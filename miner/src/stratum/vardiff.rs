//! The difficulty of one miner's shares: such that it finds about one every ten seconds. Too many
//! would cost the node, too few would tell nobody anything.

use super::difficulty::Difficulty;
use std::time::{Duration, Instant};

/// Seconds between two shares.
const SPACING: f64 = 10.0;
/// Shares that tell enough about a miner's speed, give or take a third.
const ENOUGH: u32 = 12;
/// Time after which fewer tell enough: six were due.
const PATIENCE: Duration = Duration::from_secs(60);
/// Least time between two changes.
const PAUSE: Duration = Duration::from_secs(1);
/// Least time between two wishes of the miner that are heard.
const WISH_PAUSE: Duration = Duration::from_secs(10);
/// Most that one change multiplies or divides by.
const STEP: f64 = 4.0;
/// A rate off by less than this factor is chance.
const CLOSE: f64 = 2.0;
/// Where a miner begins that wishes for nothing: a fast processor finds a share in a tenth of a
/// second, a toy in two minutes, and both are soon told another.
const START: f64 = 0.002;

/// The present difficulty, and the shares since it was last looked at.
#[derive(Debug)]
pub(super) struct Vardiff {
    difficulty: Difficulty,
    since: Instant,
    shares: u32,
    /// What the miner last wished for, and when.
    wish: Option<(Difficulty, Instant)>,
}

impl Vardiff {
    pub(super) fn new(now: Instant) -> Vardiff {
        let difficulty = Difficulty::new(START).expect("it is a positive number");
        Vardiff { difficulty, since: now, shares: 0, wish: None }
    }

    pub(super) fn difficulty(&self) -> Difficulty {
        self.difficulty
    }

    /// Begins to count anew, as when work begins.
    pub(super) fn begin(&mut self, now: Instant) {
        (self.since, self.shares) = (now, 0);
    }

    /// A share came.
    pub(super) fn share(&mut self) {
        self.shares = self.shares.saturating_add(1);
    }

    /// The miner wishes for a difficulty. The same wish again means nothing, as some miners repeat
    /// theirs for ever.
    pub(super) fn suggest(&mut self, wish: Difficulty, now: Instant) {
        let is_heard = self.wish.is_none_or(|(last, at)| {
            last != wish && now.saturating_duration_since(at) >= WISH_PAUSE
        });
        if is_heard {
            self.wish = Some((wish, now));
            self.difficulty = wish;
            self.begin(now);
        }
    }

    /// Looks at the shares since it last looked. What is harder than `most` is never found to be
    /// too easy.
    pub(super) fn adjust(&mut self, most: Difficulty, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        let is_told = elapsed >= PATIENCE || (self.shares >= ENOUGH && elapsed >= PAUSE);
        if !is_told {
            return;
        }
        let ratio = f64::from(self.shares) * SPACING / elapsed.as_secs_f64();
        if !(1.0 / CLOSE..=CLOSE).contains(&ratio) {
            let factor = ratio.clamp(1.0 / STEP, STEP);
            self.difficulty = self.difficulty.min(most).scaled_by(factor).min(most);
        }
        self.begin(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NETWORK: f64 = 1e6;

    fn most() -> Difficulty {
        Difficulty::new(NETWORK).unwrap()
    }

    /// A miner of so many hashes a second for some time: shares in its last minute.
    fn mine(vardiff: &mut Vardiff, now: &mut Instant, speed: f64, seconds: u32) -> u32 {
        let (mut luck, mut shares) = (0.0, 0);
        for tick in 0..seconds * 10 {
            *now += Duration::from_millis(100);
            luck += speed / 10.0 / vardiff.difficulty().expected_hashes();
            // At most what the pace lets through.
            for _ in 0..10 {
                if luck < 1.0 {
                    break;
                }
                luck -= 1.0;
                vardiff.share();
                shares += u32::from(tick + 600 >= seconds * 10);
            }
            luck = luck.min(1.0);
            vardiff.adjust(most(), *now);
        }
        shares
    }

    #[test]
    fn every_miner_comes_to_a_share_every_ten_seconds() {
        for speed in [20.0, 50e3, 1e6, 170e6, 1e12, 100e12] {
            let mut now = Instant::now();
            let mut vardiff = Vardiff::new(now);
            let shares = mine(&mut vardiff, &mut now, speed, 1_200);
            assert!((3..=13).contains(&shares), "{speed}: {shares}");
            // A slower one next.
            let shares = mine(&mut vardiff, &mut now, speed / 50.0, 1_200);
            let at_floor = vardiff.difficulty() == Difficulty::MIN;
            assert!((3..=13).contains(&shares) || at_floor, "{speed}: {shares}");
        }
    }

    #[test]
    fn a_wish_is_heard_once_and_not_too_often() {
        let now = Instant::now();
        let mut vardiff = Vardiff::new(now);
        let wish = |value| Difficulty::new(value).unwrap();
        vardiff.suggest(wish(0.00015), now);
        assert_eq!(vardiff.difficulty(), wish(0.00015));
        vardiff.suggest(wish(7.0), now + Duration::from_secs(9));
        assert_eq!(vardiff.difficulty(), wish(0.00015));
        vardiff.suggest(wish(7.0), now + Duration::from_secs(10));
        assert_eq!(vardiff.difficulty(), wish(7.0));
        let later = now + Duration::from_secs(100);
        vardiff.adjust(most(), later);
        assert_eq!(vardiff.difficulty(), wish(1.75));
        vardiff.suggest(wish(7.0), later);
        assert_eq!(vardiff.difficulty(), wish(1.75), "the same wish again");
    }

    proptest! {
        // Q11
        #[test]
        fn no_conduct_moves_it_faster_or_beyond_its_bounds(
            conduct in prop::collection::vec((0_u32..500, 0_u64..70_000), 1..80),
        ) {
            let mut now = Instant::now();
            let mut vardiff = Vardiff::new(now);
            let (mut before, mut changed) = (vardiff.difficulty(), None::<Instant>);
            for (shares, pause) in conduct {
                (0..shares).for_each(|_| vardiff.share());
                now += Duration::from_millis(pause);
                vardiff.adjust(most(), now);
                let after = vardiff.difficulty();
                let factor = after.get() / before.get();
                prop_assert!((1.0 / STEP..=STEP).contains(&factor));
                prop_assert!(after >= Difficulty::MIN && after <= most());
                if after != before {
                    prop_assert!(changed.is_none_or(|at| now - at >= PAUSE));
                    changed = Some(now);
                }
                before = after;
            }
        }
    }
}
