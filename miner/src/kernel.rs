//! Kernels: ways to hash a header with many nonces, one file each. All find the same nonces;
//! they differ in speed, and which is the fastest only a trial on the CPU at hand can tell.
//! A kernel looks at the last word of a hash only. Whether the whole hash meets the target is
//! for `search` to say, which hashes the header once more without a kernel.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod compression;
#[cfg(target_arch = "x86_64")]
mod known;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod scalar;
mod sha256;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(target_arch = "x86_64")]
mod unroll;

use crate::work::{Stem, Work};
use chain::{Bits, Header, Target, Timestamp, block, merkle};
use std::fmt;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// A way to hash many nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Written for nonces, in portable code.
    Scalar,
    /// Built on `chain`'s SHA-256, which uses the CPU's instructions for it.
    Compression,
    ShaNi,
    Avx2,
    Avx512,
    ShaNi512,
}

impl Kernel {
    /// Every kernel there is.
    pub const ALL: [Kernel; 6] = [
        Kernel::Scalar,
        Kernel::Compression,
        Kernel::ShaNi,
        Kernel::Avx2,
        Kernel::Avx512,
        Kernel::ShaNi512,
    ];

    /// The one that is fastest on this CPU, by a trial of some milliseconds each, of those that
    /// find what `Header::hash` finds.
    pub fn fastest() -> Kernel {
        let sound = Kernel::ALL.into_iter().filter(|kernel| kernel.is_sound());
        sound.min_by_key(|kernel| kernel.trial()).unwrap_or(Kernel::Scalar)
    }

    /// As operators read it.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Scalar => "scalar",
            Kernel::Compression => "compression",
            Kernel::ShaNi => "sha-ni",
            Kernel::Avx2 => "avx2",
            Kernel::Avx512 => "avx512",
            Kernel::ShaNi512 => "sha-ni-avx512",
        }
    }

    /// Adds to `candidates` each nonce with which the hash's leading 32 bits are at most the
    /// target's, in ascending order.
    pub fn scan(self, stem: &Stem, nonces: RangeInclusive<u32>, candidates: &mut Vec<u32>) {
        match self {
            Kernel::Scalar => scalar::scan(stem, nonces, candidates),
            Kernel::Compression => compression::scan(stem, nonces, candidates),
            Kernel::ShaNi512 => sha_ni::with_avx512::scan(stem, nonces, candidates),
            Kernel::ShaNi => sha_ni::with_avx2::scan(stem, nonces, candidates),
            Kernel::Avx2 => avx2::scan(stem, nonces, candidates),
            Kernel::Avx512 => avx512::scan(stem, nonces, candidates),
        }
    }

    /// Nonces to scan between two looks at whether the work is still wanted: about a
    /// millisecond's. Fewer cost speed, more delay new work.
    pub(crate) fn batch(self) -> u32 {
        match self {
            Kernel::Scalar | Kernel::Compression => 1 << 12,
            _ => 1 << 14,
        }
    }

    /// Whether it finds what it should among a few nonces.
    pub fn is_sound(self) -> bool {
        // A quarter of all hashes pass.
        let (work, nonces) = (trial_work([0x3f; 32]), 0..=255);
        let mut found = Vec::new();
        self.scan(&work.stem(0), nonces.clone(), &mut found);
        let passes = |&nonce: &u32| {
            let hash = work.header(0, nonce).hash();
            hash.as_bytes()[28..].iter().rev().le(&work.target().to_be_bytes()[..4])
        };
        found == nonces.filter(passes).collect::<Vec<_>>()
    }

    /// The least time a slice of nonces takes, so that what else the machine does counts little.
    pub fn trial(self) -> Duration {
        const TRIAL: Duration = Duration::from_millis(100);
        const LAST_OF_SLICE: u32 = 16383;
        let stem = trial_work([0; 32]).stem(0);
        let started = Instant::now();
        let mut least = Duration::MAX;
        while started.elapsed() < TRIAL {
            let slice = Instant::now();
            let mut found = Vec::new();
            self.scan(black_box(&stem), 0..=LAST_OF_SLICE, &mut found);
            black_box(found);
            least = least.min(slice.elapsed());
        }
        least
    }
}

/// The name.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Work of no chain. Its target begins with the bytes given and is never zero.
fn trial_work(mut target: [u8; 32]) -> Work {
    target[31] = 1;
    let header = Header {
        version: Header::VERSION,
        previous: block::Hash::ZERO,
        merkle_root: merkle::Root::ZERO,
        time: Timestamp::new(0),
        bits: Bits::new(0),
        nonce: 0,
    };
    Work::new(0, header, Target::from_be_bytes(target).expect("its last byte is 1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    /// The digest of the digest, by the `sha2` crate, most significant byte first.
    fn oracle(header: &Header) -> [u8; 32] {
        let mut digest: [u8; 32] = Sha256::digest(Sha256::digest(header.encode())).into();
        digest.reverse();
        digest
    }

    fn scan(kernel: Kernel, work: &Work, roll: u16, nonces: RangeInclusive<u32>) -> Vec<u32> {
        let mut found = Vec::new();
        kernel.scan(&work.stem(roll), nonces, &mut found);
        found
    }

    // Heights 0 and 1 of Bitcoin's main network and height 0 of its third test network.
    #[test]
    fn finds_the_nonces_of_bitcoins_first_headers() {
        for (previous, merkle_root, time, nonce) in [
            (
                "0000000000000000000000000000000000000000000000000000000000000000",
                "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
                1_231_006_505,
                2_083_236_893,
            ),
            (
                "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
                "0e3e2357e806b6cdb1f70b54c3a3a17b6714ee1f0e68bebb44a74b1efd512098",
                1_231_469_665,
                2_573_394_689,
            ),
            (
                "0000000000000000000000000000000000000000000000000000000000000000",
                "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
                1_296_688_602,
                414_098_458,
            ),
        ] {
            let bits = Bits::new(0x1d00_ffff);
            let header = Header {
                version: 1,
                previous: previous.parse().unwrap(),
                merkle_root: merkle_root.parse().unwrap(),
                time: Timestamp::new(time),
                bits,
                nonce: 0,
            };
            let work = Work::new(0, header, bits.target().unwrap());
            for kernel in Kernel::ALL {
                let found = scan(kernel, &work, 0, nonce - 3_000..=nonce + 5_000);
                assert_eq!(found, [nonce], "{kernel}");
            }
        }
    }

    #[test]
    fn scans_to_the_last_nonce_and_not_around_it() {
        let work = trial_work([0xff; 32]);
        for kernel in Kernel::ALL {
            let last = scan(kernel, &work, 7, u32::MAX - 2..=u32::MAX);
            assert_eq!(last, [u32::MAX - 2, u32::MAX - 1, u32::MAX], "{kernel}");
        }
    }

    #[test]
    fn the_fastest_kernel_is_sound() {
        assert!(Kernel::ALL.into_iter().all(Kernel::is_sound));
        assert!(Kernel::fastest().is_sound());
    }

    proptest! {
        // G07
        #[test]
        fn every_kernel_finds_what_sha2_finds(
            bytes: [u8; Header::BYTES],
            first in 0..=u32::MAX - 1_000,
            leading: u32,
            roll: u16,
        ) {
            let header = Header::decode(&bytes).unwrap();
            let mut target = [0xff; 32];
            target[..4].copy_from_slice(&leading.to_be_bytes());
            let target = Target::from_be_bytes(target).unwrap();
            let work = Work::new(0, header, target);
            let nonces = first..=first + 1_000;
            let expected: Vec<u32> = nonces
                .clone()
                .filter(|&nonce| oracle(&work.header(roll, nonce)) <= target.to_be_bytes())
                .collect();
            for kernel in Kernel::ALL {
                prop_assert_eq!(&scan(kernel, &work, roll, nonces.clone()), &expected);
            }
        }
    }
}
