//! Kernels: functions that hash a header with many nonces, a file per instruction set. All find the
//! same nonces and differ in speed; only a trial on the CPU shows which is the fastest.
//! A kernel compares the last word of a hash only. Its caller checks the whole hash against the
//! target, without a kernel.
//!
//! A new kernel is a file with the functions `is_available` and `scan`, and a row in the table
//! `kernels!` below. The tests and the benchmark cover every row.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod compression;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod hits;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod precompute;
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

/// Declares `Kernel` and its dispatch from a table of kernels.
macro_rules! kernels {
    ($(
        $(#[doc = $doc:literal])+
        $(#[cfg($architecture:meta)])?
        $kernel:ident, $name:literal, $($module:ident)::+, $batch_size:expr;
    )+) => {
        /// An implementation of the nonce search.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kernel {
            $($(#[doc = $doc])+ $kernel,)+
        }

        impl Kernel {
            /// All kernels, including those that this CPU does not support.
            pub const ALL: &[Kernel] = &[$(Kernel::$kernel,)+];

            /// The name in options and output, for example `sha-ni`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Kernel::$kernel => $name,)+
                }
            }

            /// Whether this CPU has the instructions that the kernel uses.
            pub fn is_available(self) -> bool {
                match self {
                    $($(#[cfg($architecture)])? Kernel::$kernel => $($module)::+::is_available(),)+
                    _ => false,
                }
            }

            /// Appends to `candidates`, in ascending order, each nonce with which the leading 32
            /// bits of the hash are at most those of the target.
            ///
            /// # Panics
            ///
            /// If the kernel is not available on this CPU.
            pub fn scan(
                self,
                header: &PreparedHeader,
                nonces: RangeInclusive<u32>,
                candidates: &mut Vec<u32>,
            ) {
                match self {
                    $($(#[cfg($architecture)])?
                    Kernel::$kernel => $($module)::+::scan(header, nonces, candidates),)+
                    _ => panic!("the kernel {self} is for another CPU architecture"),
                }
            }

            /// The number of nonces to scan between two checks for new work: at most a few
            /// milliseconds' worth, and a fraction of one on fast kernels. A smaller batch is
            /// slower, a larger one delays new work.
            pub fn batch_size(self) -> u32 {
                match self {
                    $(Kernel::$kernel => $batch_size,)+
                }
            }
        }
    };
}

// Each row: documentation, architecture unless portable; variant, name, module, batch size.
kernels! {
    /// Portable code specialized for nonces.
    Scalar, "scalar", scalar, 1 << 12;

    /// SHA-256 of the `sha2` crate, which uses the CPU's instructions for it.
    Compression, "compression", compression, 1 << 12;

    /// Four nonces interleaved, with ARMv8's SHA-256 instructions.
    #[cfg(target_arch = "aarch64")]
    Neon, "neon", neon, 1 << 14;

    /// Eight nonces interleaved, with x86's SHA extensions and AVX2.
    #[cfg(target_arch = "x86_64")]
    ShaNi, "sha-ni", sha_ni::with_avx2, 1 << 14;

    /// Eight nonces interleaved, with x86's SHA extensions and AVX-512VL.
    #[cfg(target_arch = "x86_64")]
    ShaNiAvx512, "sha-ni-avx512", sha_ni::with_avx512, 1 << 14;

    /// Eight nonces in the lanes of AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2, "avx2", avx2, 1 << 14;

    /// Sixteen nonces in the lanes of AVX-512, two groups interleaved.
    #[cfg(target_arch = "x86_64")]
    Avx512, "avx512", avx512, 1 << 14;
}

/// The name is not that of a kernel available on this CPU.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no kernel `{name}` on this CPU; available: {}", names(Kernel::available()))]
pub struct UnknownKernel {
    name: String,
}

impl Kernel {
    /// The kernels that this CPU supports.
    pub fn available() -> impl Iterator<Item = Kernel> {
        Kernel::ALL.iter().copied().filter(|kernel| kernel.is_available())
    }

    /// The fastest kernel on this CPU among those that pass their self-test, by a trial of some
    /// milliseconds each. The trial runs once per process.
    pub fn fastest() -> Kernel {
        static FASTEST: OnceLock<Kernel> = OnceLock::new();
        *FASTEST.get_or_init(|| {
            fastest_of(Kernel::available(), Kernel::passes_self_test, Kernel::trial)
        })
    }

    /// Whether the kernel finds exactly the nonces that `Header::hash` does, among the last nonces
    /// of the range, which fill no whole number of groups.
    pub fn passes_self_test(self) -> bool {
        // A quarter of all hashes meet this target.
        let (work, nonces) = (trial_work([0x3f; 32]), u32::MAX - 300..=u32::MAX);
        let mut found = Vec::new();
        self.scan(&work.prepare(0), nonces.clone(), &mut found);
        let is_candidate = |&nonce: &u32| {
            let hash = work.header(0, nonce).hash();
            hash.as_bytes()[28..].iter().rev().le(&work.target().to_be_bytes()[..4])
        };
        found == nonces.filter(is_candidate).collect::<Vec<_>>()
    }

    /// The minimum time for a slice of nonces over several slices, which other load on the machine
    /// affects the least.
    fn trial(self) -> Duration {
        const TRIAL: Duration = Duration::from_millis(5);
        const LAST_OF_SLICE: u32 = (1 << 12) - 1;
        let header = trial_work([0; 32]).prepare(0);
        let started = Instant::now();
        let mut minimum = Duration::MAX;
        while started.elapsed() < TRIAL {
            let slice = Instant::now();
            let mut found = Vec::new();
            self.scan(black_box(&header), 0..=LAST_OF_SLICE, &mut found);
            black_box(found);
            minimum = minimum.min(slice.elapsed());
        }
        minimum
    }
}

/// Writes the name of the kernel.
impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses the name of an available kernel.
impl FromStr for Kernel {
    type Err = UnknownKernel;

    fn from_str(name: &str) -> Result<Kernel, UnknownKernel> {
        let named = Kernel::available().find(|kernel| kernel.name() == name);
        named.ok_or_else(|| UnknownKernel { name: name.to_owned() })
    }
}

fn names(kernels: impl Iterator<Item = Kernel>) -> String {
    kernels.map(Kernel::name).collect::<Vec<_>>().join(", ")
}

/// The kernel with the shortest trial among those that pass the self-test; `Scalar` if none does.
fn fastest_of(
    kernels: impl Iterator<Item = Kernel>,
    passes_self_test: impl Fn(Kernel) -> bool,
    trial: impl Fn(Kernel) -> Duration,
) -> Kernel {
    let sound = kernels.filter(|kernel| passes_self_test(*kernel));
    sound.min_by_key(|kernel| trial(*kernel)).unwrap_or(Kernel::Scalar)
}

/// Work on a header of no chain. The target starts with the given bytes; its last byte is 1, since
/// a target is not zero.
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
