//! How fast ways to hash are on this CPU, and what they are beside each other. Everything is
//! measured in turn in short slices, of which the fastest one counts, so that what else the machine
//! does is the same for all and tells little.

use crate::kernel::{Kernel, trial_work};
use chain::hash::sha256d;
use std::fmt;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// A way to hash headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The digest of the digest of all 80 bytes by the `sha2` crate: what everybody has.
    DigestTwice,
    /// A kernel. `Kernel::Compression` is the `sha2` crate with the midstate.
    Kernel(Kernel),
}

/// What a method does in a second.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// The way to hash.
    pub method: Method,
    /// How many threads did so at once.
    pub threads: NonZeroUsize,
    /// Of all threads together.
    pub hashes_per_second: f64,
}

/// What was measured in one run.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// Cycles a second of one thread, where they can be told.
    pub clock_hz: Option<u64>,
    /// Every method, with one thread and with as many as were asked for.
    pub rates: Vec<Rate>,
}

impl Method {
    /// The digest twice and all kernels that the CPU has the instructions for.
    pub fn available() -> impl Iterator<Item = Method> {
        std::iter::once(Method::DigestTwice).chain(Kernel::available().map(Method::Kernel))
    }

    /// Hashes until the time is over; how many in how long.
    fn slice(self, time: Duration) -> (u64, Duration) {
        const NONCES: u32 = 1 << 12;
        let work = trial_work([0; 32]);
        let mut header = work.header(0, 0).encode();
        let mut found = Vec::new();
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
                    kernel.scan(black_box(&work.prepare(0)), 0..=NONCES - 1, &mut found);
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
    /// Measures all methods in so many rounds of slices.
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
        for _ in 0..rounds {
            for rate in &mut rates {
                let found = slice_of_threads(rate.method, rate.threads, SLICE);
                rate.hashes_per_second = rate.hashes_per_second.max(found);
            }
            clock_hz = clock_hz.max(cycles_in_a_second());
        }
        Benchmark { clock_hz, rates }
    }

    /// Hashes a second of a method.
    pub fn rate(&self, method: Method, threads: NonZeroUsize) -> Option<f64> {
        let mut rates = self.rates.iter();
        let rate = rates.find(|rate| rate.method == method && rate.threads == threads)?;
        Some(rate.hashes_per_second)
    }
}

/// Hashes a second of threads that begin together.
fn slice_of_threads(method: Method, threads: NonZeroUsize, time: Duration) -> f64 {
    let start = Barrier::new(threads.get());
    let one = || {
        start.wait();
        let (hashes, elapsed) = method.slice(time);
        hashes as f64 / elapsed.as_secs_f64()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads.get()).map(|_| scope.spawn(one)).collect();
        let own = one();
        let others = others.into_iter().map(|other| other.join().expect("hashing does not panic"));
        own + others.sum::<f64>()
    })
}

/// Counts multiplications that wait for each other, each of which takes three cycles, and one more
/// for what it waits for, on every x86 of the last fifteen years.
#[cfg(target_arch = "x86_64")]
fn cycles_in_a_second() -> Option<u64> {
    const STEPS: u32 = 200_000;
    const CYCLES_OF_A_STEP: u32 = 4;
    let started = Instant::now();
    let mut x = black_box(3_u64);
    for _ in 0..STEPS {
        x = x.wrapping_mul(x | 1);
    }
    black_box(x);
    let nanoseconds = started.elapsed().as_nanos().max(1);
    let cycles = u128::from(STEPS) * u128::from(CYCLES_OF_A_STEP);
    u64::try_from(cycles * 1_000_000_000 / nanoseconds).ok()
}

/// Other CPUs differ in what takes how many cycles.
#[cfg(not(target_arch = "x86_64"))]
fn cycles_in_a_second() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_measured_with_one_thread_and_with_more() {
        let two = NonZeroUsize::new(2).unwrap();
        let measured = Benchmark::run(two, 1);
        for method in Method::available() {
            for threads in [NonZeroUsize::MIN, two] {
                assert!(measured.rate(method, threads).unwrap() > 1_000.0, "{method}");
            }
            assert_eq!(measured.rate(method, NonZeroUsize::new(3).unwrap()), None);
        }
        assert_eq!(measured.clock_hz.is_some(), cfg!(target_arch = "x86_64"));
        let one = Benchmark::run(NonZeroUsize::MIN, 1);
        assert_eq!(one.rates.len(), Method::available().count());
    }
}
