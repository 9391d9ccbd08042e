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
mod throughput;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod unroll;

pub use throughput::Operation;

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
        $kernel:ident, $name:literal, $($module:ident)::+, $width:literal, $batch_size:expr;
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

            /// The number of nonces that the kernel hashes at a time.
            fn width(self) -> u32 {
                match self {
                    $(Kernel::$kernel => $width,)+
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

// Each row: documentation, architecture unless portable; variant, name, module, width, batch size.
kernels! {
    /// Portable code specialized for nonces.
    Scalar, "scalar", scalar, 1, 1 << 12;

    /// SHA-256 of the `sha2` crate, which uses the CPU's instructions for it.
    Compression, "compression", compression, 1, 1 << 12;

    /// Four nonces interleaved, with ARMv8's SHA-256 instructions.
    #[cfg(target_arch = "aarch64")]
    Neon, "neon", neon, 4, 1 << 14;

    /// Eight nonces interleaved, with x86's SHA extensions and AVX2.
    #[cfg(target_arch = "x86_64")]
    ShaNi, "sha-ni", sha_ni::with_avx2, 8, 1 << 14;

    /// Eight nonces interleaved, with x86's SHA extensions and AVX-512VL.
    #[cfg(target_arch = "x86_64")]
    ShaNiAvx512, "sha-ni-avx512", sha_ni::with_avx512, 8, 1 << 14;

    /// Eight nonces in the lanes of AVX2.
    #[cfg(target_arch = "x86_64")]
    Avx2, "avx2", avx2, 8, 1 << 14;

    /// Sixteen nonces in the lanes of AVX-512, two groups interleaved.
    #[cfg(target_arch = "x86_64")]
    Avx512, "avx512", avx512, 16, 1 << 14;
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
        Trial::of_this_cpu().fastest
    }

    /// The kernels that were at least five times slower in the trial than their width suggests:
    /// something on this CPU or in this program stalls them.
    pub fn unexpectedly_slow() -> &'static [Kernel] {
        &Trial::of_this_cpu().slow
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

    /// Scans a slice of nonces. Returns the time it took.
    fn time_slice(self) -> Duration {
        let header = trial_work([0; 32]).prepare(0);
        let started = Instant::now();
        let mut found = Vec::new();
        self.scan(black_box(&header), 0..=Trial::SLICE - 1, &mut found);
        black_box(found);
        started.elapsed()
    }
}

/// The result of a trial of kernels.
#[derive(Debug, PartialEq, Eq)]
struct Trial {
    fastest: Kernel,
    slow: Vec<Kernel>,
}

impl Trial {
    /// The number of nonces of a slice: short, so that most slices are not interrupted.
    const SLICE: u32 = 1 << 10;
    /// The number of slices of each kernel.
    const SLICES: u32 = 64;
    /// The slices after which a kernel that takes twice as long as the fastest drops out.
    const FIRST_SLICES: u32 = 8;
    /// The time after which a kernel drops out.
    const MAX_TIME: Duration = Duration::from_millis(50);
    /// The factor by which a kernel is slower than its width suggests to count as slow.
    const SLOW: u32 = 5;

    fn of_this_cpu() -> &'static Trial {
        static TRIAL: OnceLock<Trial> = OnceLock::new();
        TRIAL.get_or_init(|| {
            let sound = Kernel::available().filter(|kernel| kernel.passes_self_test());
            Trial::run(&sound.collect::<Vec<_>>(), Kernel::time_slice)
        })
    }

    /// Measures slices of all kernels in turn, so that other load on the machine affects all alike.
    /// The shortest slice of each counts. The fastest of no kernels is `Scalar`.
    fn run(kernels: &[Kernel], mut time_slice: impl FnMut(Kernel) -> Duration) -> Trial {
        let mut times: Vec<_> =
            kernels.iter().map(|kernel| (*kernel, Duration::MAX, Duration::ZERO)).collect();
        for slice in 0..Trial::SLICES {
            let fastest = times.iter().map(|(_, shortest, _)| *shortest).min();
            let limit = fastest.unwrap_or(Duration::MAX).saturating_mul(2);
            for (kernel, shortest, total) in &mut times {
                let drops_out = slice >= Trial::FIRST_SLICES && *shortest > limit;
                if !drops_out && *total < Trial::MAX_TIME {
                    let time = time_slice(*kernel);
                    *shortest = time.min(*shortest);
                    *total = total.saturating_add(time);
                }
            }
        }
        let time_of =
            |of| times.iter().find(|(kernel, ..)| *kernel == of).map(|(_, time, _)| *time);
        let scalar = time_of(Kernel::Scalar).unwrap_or(Duration::MAX);
        let limit = scalar.saturating_mul(Trial::SLOW);
        let is_slow =
            |(kernel, time): &(Kernel, Duration)| time.saturating_mul(kernel.width()) > limit;
        let shortest = times.iter().map(|(kernel, time, _)| (*kernel, *time));
        Trial {
            fastest: shortest
                .clone()
                .min_by_key(|(_, time)| *time)
                .map_or(Kernel::Scalar, |it| it.0),
            slow: shortest.filter(is_slow).map(|(kernel, _)| kernel).collect(),
        }
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
