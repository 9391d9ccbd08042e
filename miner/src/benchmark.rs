//! Benchmarks the hash rate of every kernel on this CPU next to the `sha2` crate. All methods are
//! measured in turn in short slices, and the fastest slice of each counts, so that other load on
//! the machine affects all methods alike and affects them little.

use crate::kernel::{Kernel, Operation, trial_work};
use chain::hash::sha256d;
use std::fmt;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// A method to hash headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The double SHA-256 of all 80 bytes by the `sha2` crate: the baseline.
    DigestTwice,
    /// A kernel. `Kernel::Compression` is the `sha2` crate with a precomputed midstate.
    Kernel(Kernel),
}

/// The measured hash rate of a method.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The method that was measured.
    pub method: Method,
    /// The number of threads that hashed concurrently.
    pub threads: NonZeroUsize,
    /// Hashes per second of all threads together.
    pub hashes_per_second: f64,
}

/// The result of a benchmark run.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// The clock rate of one thread in Hz; `None` on architectures where it cannot be measured.
    pub clock_hz: Option<u64>,
    /// The rate of every method with one thread and with the requested number of threads.
    pub rates: Vec<Rate>,
    /// How many operations of a kind one thread executes a second if they do not wait for each other;
    /// without those that this CPU does not have.
    pub operations: Vec<(Operation, f64)>,
}

impl Method {
    /// The baseline and all kernels that this CPU supports.
    pub fn available() -> impl Iterator<Item = Method> {
        std::iter::once(Method::DigestTwice).chain(Kernel::available().map(Method::Kernel))
    }

    /// Hashes for at least `time`. Returns the number of hashes and the time elapsed.
    fn slice(self, time: Duration) -> (u64, Duration) {
        const NONCES: u32 = 1 << 12;
        let work = trial_work([0; 32]);
        let mut header = work.header(0, 0).encode();
        let mut candidates = Vec::new();
        let (mut hashes, started) = (0, Instant::now());
        loop {
            match self {
                Method::DigestTwice => {
                    for nonce in 0..NONCES {
                        header[76..].copy_from_slice(&nonce.to_le_bytes());
                        black_box(sha256d(black_box(&header)));
                    }
                }
                Method::Kernel(kernel) => {
                    kernel.scan(black_box(&work.prepare(0)), 0..=NONCES - 1, &mut candidates);
                }
            }
            hashes += u64::from(NONCES);
            let elapsed = started.elapsed();
            if elapsed >= time {
                return (hashes, elapsed);
            }
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Method::DigestTwice => f.write_str("digest-twice"),
            Method::Kernel(kernel) => kernel.fmt(f),
        }
    }
}

impl Benchmark {
    /// Measures all available methods, each with one slice per round and number of threads.
    pub fn run(threads: NonZeroUsize, rounds: u32) -> Benchmark {
        const SLICE: Duration = Duration::from_millis(4);
        let mut counts = vec![NonZeroUsize::MIN, threads];
        counts.dedup();
        let mut rates: Vec<Rate> = Method::available()
            .flat_map(|method| {
                let rate = move |threads| Rate { method, threads, hashes_per_second: 0.0 };
                counts.clone().into_iter().map(rate)
            })
            .collect();
        let mut clock_hz = None::<u64>;
        let measured = Operation::ALL.map(|it| it.measure().map(|rate| (it, rate)));
        let mut operations: Vec<_> = measured.into_iter().flatten().collect();
        for _ in 0..rounds {
            for rate in &mut rates {
                let measured = measure_slice(rate.method, rate.threads, SLICE);
                rate.hashes_per_second = rate.hashes_per_second.max(measured);
            }
            clock_hz = clock_hz.max(measure_clock_hz());
            for (operation, rate) in &mut operations {
                *rate = rate.max(operation.measure().unwrap_or(0.0));
            }
        }
        Benchmark { clock_hz, rates, operations }
    }

    /// The hashes per second that a method cannot exceed with a number of threads that do not share
    /// cores; `None` if that is not known.
    pub fn bound(&self, method: Method, threads: NonZeroUsize) -> Option<f64> {
        let Method::Kernel(kernel) = method else { return None };
        let rate = |operation| {
            let measured = self.operations.iter().find(|(measured, _)| *measured == operation);
            measured.map(|(_, rate)| *rate)
        };
        Some(kernel.bound(rate)? * threads.get() as f64)
    }

    /// The hashes per second of a method with a number of threads; `None` if not measured.
    pub fn rate(&self, method: Method, threads: NonZeroUsize) -> Option<f64> {
        let mut rates = self.rates.iter();
        let rate = rates.find(|rate| rate.method == method && rate.threads == threads)?;
        Some(rate.hashes_per_second)
    }
}

/// The hashes per second of one slice on threads that start at the same time.
fn measure_slice(method: Method, threads: NonZeroUsize, time: Duration) -> f64 {
    let start = Barrier::new(threads.get());
    let run = || {
        start.wait();
        let (hashes, elapsed) = method.slice(time);
        hashes as f64 / elapsed.as_secs_f64()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(run)).collect();
        let own = run();
        let others = others.into_iter().map(|other| other.join().expect("hashing does not panic"));
        own + others.sum::<f64>()
    })
}

/// Measures the clock rate with a chain of dependent multiplications. A step has a latency of four
/// cycles on every x86 CPU of the last fifteen years: three for the product, one for its operand.
#[cfg(target_arch = "x86_64")]
fn measure_clock_hz() -> Option<u64> {
    const STEPS: u32 = 200_000;
    const CYCLES_PER_STEP: u32 = 4;
    let started = Instant::now();
    let mut x = black_box(3_u64);
    for _ in 0..STEPS {
        x = x.wrapping_mul(x | 1);
    }
    black_box(x);
    let nanoseconds = started.elapsed().as_nanos().max(1);
    let cycles = u128::from(STEPS) * u128::from(CYCLES_PER_STEP);
    u64::try_from(cycles * 1_000_000_000 / nanoseconds).ok()
}

/// Returns `None`: the latency of a multiplication differs between other CPUs.
#[cfg(not(target_arch = "x86_64"))]
fn measure_clock_hz() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_every_method_with_one_and_with_several_threads() {
        let two = NonZeroUsize::new(2).unwrap();
        let measured = Benchmark::run(two, 1);
        for method in Method::available() {
            for threads in [NonZeroUsize::MIN, two] {
                assert!(measured.rate(method, threads).unwrap() > 1_000.0, "{method}");
            }
            assert_eq!(measured.rate(method, NonZeroUsize::new(3).unwrap()), None);
        }
        assert_eq!(measured.clock_hz.is_some(), cfg!(target_arch = "x86_64"));
        let vectors = if cfg!(target_arch = "x86_64") { Kernel::Avx2 } else { Kernel::Scalar };
        let bound = |threads| measured.bound(Method::Kernel(vectors), threads);
        assert_eq!(
            bound(NonZeroUsize::MIN).is_some(),
            vectors.is_available() && measured.clock_hz.is_some()
        );
        assert_eq!(bound(two), bound(NonZeroUsize::MIN).map(|one| 2.0 * one));
        assert_eq!(measured.bound(Method::DigestTwice, two), None);
        let one = Benchmark::run(NonZeroUsize::MIN, 1);
        assert_eq!(one.rates.len(), Method::available().count());
    }
}
