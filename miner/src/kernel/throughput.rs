//! The bound of a kernel: how many nonces a second it would hash if the busiest execution units of
//! the CPU never waited. It is the number of operations of the kernel's loop, divided by the rate at
//! which this CPU executes such operations when none of them depends on another.

#![allow(unsafe_code, reason = "CPU-specific instructions")]

use super::Kernel;
#[cfg(target_arch = "x86_64")]
use std::arch::asm;
#[cfg(target_arch = "x86_64")]
use std::time::Instant;

/// A kind of operation that occupies execution units of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Any arithmetic on vectors of 256 bits.
    Vector256,
    /// A shift or rotation of 32-bit words in vectors of 256 bits.
    Shift256,
    /// Any arithmetic on vectors of 512 bits.
    Vector512,
    /// A shift or rotation of 32-bit words in vectors of 512 bits.
    Shift512,
    /// Two rounds by `sha256rnds2`.
    ShaRounds,
}

/// The operations of a kernel's loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Loop {
    /// The number of nonces of an iteration.
    pub(super) nonces: u32,
    /// The number of operations of an iteration. Shifts are vector operations, too.
    pub(super) operations: &'static [(Operation, u32)],
}

impl Kernel {
    /// The operations of the loop as compiled; `None` for kernels that are not bound by throughput.
    pub(super) fn operations(self) -> Option<Loop> {
        use Operation::{ShaRounds, Shift256, Shift512, Vector256, Vector512};
        let (nonces, operations): (_, &'static [_]) = match self {
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNi => (8, &[(Vector256, 1_887), (Shift256, 780), (ShaRounds, 480)]),
            #[cfg(target_arch = "x86_64")]
            Kernel::ShaNiAvx512 => (8, &[(Vector256, 1_106), (Shift256, 468), (ShaRounds, 480)]),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => (8, &[(Vector256, 5_805), (Shift256, 2_214)]),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512 => (16, &[(Vector512, 2_850), (Shift512, 1_176)]),
            _ => return None,
        };
        Some(Loop { nonces, operations })
    }

    /// The nonces a second of one thread that this kernel cannot exceed, if `rate` returns how many
    /// operations of a kind the thread executes a second. `None` if that is unknown.
    pub(crate) fn bound(self, rate: impl Fn(Operation) -> Option<f64>) -> Option<f64> {
        let Loop { nonces, operations } = self.operations()?;
        let mut seconds = 0_f64;
        for &(operation, count) in operations {
            seconds = seconds.max(f64::from(count) / rate(operation)?);
        }
        (seconds > 0.0).then_some(f64::from(nonces) / seconds)
    }
}

impl Operation {
    /// All kinds of operations.
    pub const ALL: [Operation; 5] = [
        Operation::Vector256,
        Operation::Shift256,
        Operation::Vector512,
        Operation::Shift512,
        Operation::ShaRounds,
    ];

    /// Measures how many of these operations one thread executes a second, within some tens of
    /// microseconds. `None` if this CPU has no such instruction.
    #[cfg(target_arch = "x86_64")]
    pub fn measure(self) -> Option<f64> {
        /// Long enough for the clock, too short for most interruptions.
        const ITERATIONS: u32 = 2_000;
        let is_available = match self {
            Operation::Vector256 | Operation::Shift256 => is_x86_feature_detected!("avx2"),
            Operation::Vector512 | Operation::Shift512 => is_x86_feature_detected!("avx512f"),
            Operation::ShaRounds => {
                is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx")
            }
        };
        if !is_available {
            return None;
        }
        let started = Instant::now();
        // SAFETY: the CPU has the features that the functions require, by the check above.
        unsafe {
            match self {
                Operation::Vector256 => vectors_256(ITERATIONS),
                Operation::Shift256 => shifts_256(ITERATIONS),
                Operation::Vector512 => vectors_512(ITERATIONS),
                Operation::Shift512 => shifts_512(ITERATIONS),
                Operation::ShaRounds => sha_rounds(ITERATIONS),
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        (seconds > 0.0).then(|| f64::from(ITERATIONS * OPERATIONS) / seconds)
    }

    /// Returns `None`: the kernels of other CPUs have no bound here.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn measure(self) -> Option<f64> {
        None
    }
}

/// The operations of an iteration in the functions below.
#[cfg(target_arch = "x86_64")]
const OPERATIONS: u32 = 16;

/// Defines a function that executes `OPERATIONS` instructions an iteration. They alternate between
/// two, and each depends at most on its counterpart eight instructions before.
#[cfg(target_arch = "x86_64")]
macro_rules! stream {
    ($name:ident, $features:literal, $even:literal, $odd:literal, $register:literal, $operands:expr) => {
        #[target_feature(enable = $features)]
        fn $name(iterations: u32) {
            // SAFETY: the code changes no memory, and only the registers that are named.
            unsafe {
                asm!(
                    "2:",
                    stream!(@ $even, $register, "1", $operands),
                    stream!(@ $odd, $register, "2", $operands),
                    stream!(@ $even, $register, "3", $operands),
                    stream!(@ $odd, $register, "4", $operands),
                    stream!(@ $even, $register, "5", $operands),
                    stream!(@ $odd, $register, "6", $operands),
                    stream!(@ $even, $register, "7", $operands),
                    stream!(@ $odd, $register, "8", $operands),
                    stream!(@ $even, $register, "1", $operands),
                    stream!(@ $odd, $register, "2", $operands),
                    stream!(@ $even, $register, "3", $operands),
                    stream!(@ $odd, $register, "4", $operands),
                    stream!(@ $even, $register, "5", $operands),
                    stream!(@ $odd, $register, "6", $operands),
                    stream!(@ $even, $register, "7", $operands),
                    stream!(@ $odd, $register, "8", $operands),
                    "dec {iterations:e}",
                    "jnz 2b",
                    "vzeroupper",
                    iterations = inout(reg) iterations => _,
                    out("ymm1") _, out("ymm2") _, out("ymm3") _, out("ymm4") _,
                    out("ymm5") _, out("ymm6") _, out("ymm7") _, out("ymm8") _,
                    options(nomem, nostack),
                );
            }
        }
    };
    (@ $instruction:literal, $register:literal, $number:literal, $operands:expr) => {
        concat!($instruction, " ", $register, $number, ", ", $operands)
    };
}

#[cfg(target_arch = "x86_64")]
stream!(vectors_256, "avx2", "vpaddd", "vpxor", "ymm", "ymm0, ymm15");
#[cfg(target_arch = "x86_64")]
stream!(shifts_256, "avx2", "vpslld", "vpsrld", "ymm", "ymm0, 7");
#[cfg(target_arch = "x86_64")]
stream!(vectors_512, "avx512f", "vpaddd", "vpxord", "zmm", "zmm0, zmm15");
#[cfg(target_arch = "x86_64")]
stream!(shifts_512, "avx512f", "vprold", "vpsrld", "zmm", "zmm0, 7");
#[cfg(target_arch = "x86_64")]
stream!(sha_rounds, "sha,avx", "sha256rnds2", "sha256rnds2", "xmm", "xmm15");

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates of a CPU whose vectors of 256 and 512 bits are equally fast.
    fn rates(vectors: f64, shifts: f64, rounds: f64) -> impl Fn(Operation) -> Option<f64> {
        move |operation| {
            Some(match operation {
                Operation::Vector256 | Operation::Vector512 => vectors,
                Operation::Shift256 | Operation::Shift512 => shifts,
                Operation::ShaRounds => rounds,
            })
        }
    }

    #[test]
    fn bound_is_that_of_the_busiest_execution_units() {
        for kernel in Kernel::available() {
            let Some(Loop { nonces, operations }) = kernel.operations() else {
                assert_eq!(kernel.bound(rates(1.0, 1.0, 1.0)), None, "{kernel}");
                continue;
            };
            for &(busiest, count) in operations {
                let only = |operation| Some(if operation == busiest { 1.0 } else { 1e9 });
                let expected = f64::from(nonces) / f64::from(count);
                assert_eq!(kernel.bound(only), Some(expected), "{kernel}");
                let unknown = |operation| (operation != busiest).then_some(1.0);
                assert_eq!(kernel.bound(unknown), None, "{kernel}");
            }
        }
    }

    // The figures of CPUs at 1 GHz, so that a nonce takes as many nanoseconds as cycles.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn bounds_are_those_of_known_cpus() {
        let cycles = |kernel: Kernel, vectors: f64, shifts: f64, rounds: f64| {
            format!("{:.0}", 1.0 / kernel.bound(rates(vectors, shifts, rounds)).unwrap())
        };
        // Emerald Rapids: two units for 512 bits, one of them for rotations; 2.92 cycles for rounds.
        assert_eq!(cycles(Kernel::Avx512, 2.0, 1.0, 1.0), "89");
        assert_eq!(cycles(Kernel::ShaNi, 3.0, 2.0, 1.0 / 2.92), "175");
        // Zen 3: four units, two of them for shifts; a cycle for rounds.
        assert_eq!(cycles(Kernel::Avx2, 4.0, 2.0, 1.0), "181");
        assert_eq!(cycles(Kernel::ShaNi, 4.0, 2.0, 1.0), "60");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_operation_of_an_available_kernel_is_measured() {
        for kernel in Kernel::available() {
            for (operation, _) in kernel.operations().map_or(&[][..], |it| it.operations) {
                let rate = operation.measure().unwrap();
                assert!(rate > 1e6, "{operation:?}: {rate}");
            }
        }
    }
}
