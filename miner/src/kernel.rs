//! Kernels: ways to hash a header with many nonces, one file each. All find the same nonces;
//! they differ in speed, and which is the fastest only a trial on the CPU at hand can tell.
//! A kernel looks at the last word of a hash only. Whether the whole hash meets the target is
//! for `search` to say, which hashes the header once more without a kernel.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod compression;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod hits;
#[cfg(target_arch = "x86_64")]
mod precompute;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
mod sha256;
#[cfg(target_arch = "x86_64")]
mod sha_ni;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod unroll;

use crate::work::{PreparedHeader, Work};
use chain::{Bits, Header, Target, Timestamp, block, merkle};
use std::fmt;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A way to hash many nonces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Written for nonces, in portable code.
    Scalar,
    /// Built on `chain`'s SHA-256, which uses the CPU's instructions for it.
    Compression,
    /// Four nonces side by side, with ARMv8's instructions for SHA-256.
    Neon,
    /// Eight nonces side by side, with x86's instructions for SHA-256 and AVX2.
    ShaNi,
    /// The same, with AVX-512's instructions for AVX2's vectors.
    ShaNiAvx512,
    /// Eight nonces in the lanes of AVX2.
    Avx2,
    /// Sixteen nonces in the lanes of AVX-512, twice side by side.
    Avx512,
}

/// A name that no kernel for this CPU has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel `{name}` for this CPU; there are {}", names(Kernel::available()))]
pub struct UnknownKernel {
    name: String,
}

impl Kernel {
    /// Every kernel there is.
    pub const ALL: [Kernel; 7] = [
        Kernel::Scalar,
        Kernel::Compression,
        Kernel::Neon,
        Kernel::ShaNi,
        Kernel::ShaNiAvx512,
        Kernel::Avx2,
        Kernel::Avx512,
    ];

    /// Those that this CPU has the instructions for.
    pub fn available() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
    }

    /// The one that is fastest on this CPU, by a trial of some milliseconds each, of those that
    /// find what `Header::hash` finds. Tried once in the life of the process.
    pub fn fastest() -> Kernel {
        static FASTEST: OnceLock<Kernel> = OnceLock::new();
        *FASTEST.get_or_init(|| {
            fastest_of(Kernel::available(), Kernel::passes_self_test, Kernel::trial)
        })
    }

    /// As operators read and write it.
    pub fn name(self) -> &'static str {
        match self {
            Kernel::Scalar => "scalar",
            Kernel::Compression => "compression",
            Kernel::Neon => "neon",
            Kernel::ShaNi => "sha-ni",
            Kernel::ShaNiAvx512 => "sha-ni-avx512",
            Kernel::Avx2 => "avx2",
            Kernel::Avx512 => "avx512",
        }
    }

    /// Whether this CPU has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Kernel::Scalar | Kernel::Compression => true,
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => neon::is_available(),
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNi => sha_ni::with_avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNiAvx512 => sha_ni::with_avx512::is_available(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => avx512::is_available(),
            _ => false,
        }
    }

    /// Adds to `candidates` each nonce with which the hash's leading 32 bits are at most the
    /// target's, in ascending order. Panics if the kernel is not available.
    pub fn scan(
        self,
        prepared: &PreparedHeader,
        nonces: RangeInclusive<u32>,
        candidates: &mut Vec<u32>,
    ) {
        match self {
            Kernel::Scalar => scalar::scan(prepared, nonces, candidates),
            Kernel::Compression => compression::scan(prepared, nonces, candidates),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => neon::scan(prepared, nonces, candidates),
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNi => sha_ni::with_avx2::scan(prepared, nonces, candidates),
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNiAvx512 => sha_ni::with_avx512::scan(prepared, nonces, candidates),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2::scan(prepared, nonces, candidates),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => avx512::scan(prepared, nonces, candidates),
            _ => panic!("the kernel {self} is for another kind of CPU"),
        }
    }

    /// Nonces to scan between two looks at whether the work is still wanted: at most a few
    /// milliseconds', and a fraction of one where it matters. Fewer cost speed, more delay new
    /// work.
    pub fn batch_size(self) -> u32 {
        match self {
            Kernel::Scalar | Kernel::Compression => 1 << 12,
            _ => 1 << 14,
        }
    }

    /// Whether it finds what it should among the last nonces, which fill no whole number of
    /// groups.
    pub fn passes_self_test(self) -> bool {
        // A quarter of all hashes pass.
        let (work, nonces) = (trial_work([0x3f; 32]), u32::MAX - 300..=u32::MAX);
        let mut found = Vec::new();
        self.scan(&work.prepare(0), nonces.clone(), &mut found);
        let passes = |&nonce: &u32| {
            let hash = work.header(0, nonce).hash();
            hash.as_bytes()[28..].iter().rev().le(&work.target().to_be_bytes()[..4])
        };
        found == nonces.filter(passes).collect::<Vec<_>>()
    }

    /// The least time a slice of nonces takes, so that what else the machine does counts little.
    fn trial(self) -> Duration {
        const TRIAL: Duration = Duration::from_millis(5);
        const LAST_OF_SLICE: u32 = (1 << 12) - 1;
        let prepared = trial_work([0; 32]).prepare(0);
        let started = Instant::now();
        let mut least = Duration::MAX;
        while started.elapsed() < TRIAL {
            let slice = Instant::now();
            let mut found = Vec::new();
            self.scan(black_box(&prepared), 0..=LAST_OF_SLICE, &mut found);
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

/// From the name of one that is available.
impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(name: &str) -> Result<Kernel, UnknownKernel> {
        let named = Kernel::available().find(|kernel| kernel.name() == name);
        named.ok_or_else(|| UnknownKernel { name: name.to_owned() })
    }
}

/// As a list to choose from.
fn names(kernels: impl Iterator<Item = Kernel>) -> String {
    kernels.map(Kernel::name).collect::<Vec<_>>().join(", ")
}

/// Of the sound kernels the one whose trial takes the least time.
fn fastest_of(
    kernels: impl Iterator<Item = Kernel>,
    passes_self_test: impl Fn(Kernel) -> bool,
    trial: impl Fn(Kernel) -> Duration,
) -> Kernel {
    let sound = kernels.filter(|kernel| passes_self_test(*kernel));
    sound.min_by_key(|kernel| trial(*kernel)).unwrap_or(Kernel::Scalar)
}

/// Work of no chain. Its target begins with the bytes given and is never zero.
pub(crate) fn trial_work(mut target: [u8; 32]) -> Work {
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
mod tests;
