//! Collects the candidates of a scan that hashes its nonces in groups.

use std::ops::RangeInclusive;

/// The candidates of a scan in groups of `LANES` nonces. The last group may extend beyond the last
/// nonce.
pub(super) struct Hits<'a, const LANES: u32> {
    nonces: RangeInclusive<u32>,
    candidates: &'a mut Vec<u32>,
}

impl<const LANES: u32> Hits<'_, LANES> {
    pub(super) fn new(nonces: RangeInclusive<u32>, candidates: &mut Vec<u32>) -> Hits<'_, LANES> {
        Hits { nonces, candidates }
    }

    /// The first nonce of group 0. The others follow in order, nonce 0 after the largest one.
    pub(super) fn first(&self) -> u32 {
        *self.nonces.start()
    }

    /// The number of groups.
    pub(super) fn groups(&self) -> i64 {
        let nonces = i64::from(*self.nonces.end()) + 1 - i64::from(self.first());
        (nonces + i64::from(LANES) - 1) / i64::from(LANES)
    }

    /// Appends the nonces of a group whose bit in `lanes` is set, except those outside the scan.
    #[cold]
    pub(super) fn push(&mut self, group: i64, lanes: u32) {
        for lane in (0..LANES).filter(|lane| lanes >> lane & 1 == 1) {
            let nonce = i64::from(self.first()) + group * i64::from(LANES) + i64::from(lane);
            if let Ok(nonce) = u32::try_from(nonce)
                && self.nonces.contains(&nonce)
            {
                self.candidates.push(nonce);
            }
        }
    }
}
