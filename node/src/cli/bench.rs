//! `chain bench`: measurements of this machine.

use super::output::Table;
use crate::mining::available_threads;
use anyhow::Result;
use miner::Kernel;
use miner::benchmark::{Benchmark, Method, Rate};
use serde::Serialize;
use std::io::{self, Write};
use std::num::NonZeroUsize;

#[derive(Debug, clap::Subcommand)]
pub enum Bench {
    Hash(HashArgs),
}

/// Measure the hash rate of each mining kernel that this processor supports
///
/// Each result is shown relative to the `sha2` library in the same run: to hashing the whole header
/// twice, and to doing so from the state after the header's first block (midstate). The best of many
/// short samples counts.
///
/// The bound of a kernel is what it would reach if the busiest execution units of the processor never
/// waited: the operations of its loop, divided by the rate of such operations alone in the same run.
#[derive(Debug, clap::Args)]
pub struct HashArgs {
    /// Number of threads, measured besides a single one [default: one per processor]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Number of 4 ms samples per result
    #[arg(
        long, value_name = "N", default_value_t = 50,
        value_parser = clap::value_parser!(u32).range(1..=10_000)
    )]
    rounds: u32,
}

pub fn run(bench: &Bench, json: bool) -> Result<()> {
    let Bench::Hash(args) = bench;
    let threads = args.threads.unwrap_or_else(available_threads);
    let results = Results::new(&Benchmark::run(threads, args.rounds));
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&results)?)?;
        return Ok(());
    }
    results.table().print("nothing to measure")?;
    let mut out = io::stdout().lock();
    if let Some(clock) = results.clock_hz {
        writeln!(out, "clock: {:.2} GHz", clock as f64 / 1e9)?;
    }
    writeln!(out, "mining uses {}, by a trial", results.fastest)?;
    Ok(())
}

#[derive(Serialize)]
struct Results {
    /// Clock rate, where it can be measured.
    clock_hz: Option<u64>,
    /// The default kernel for mining.
    fastest: &'static str,
    rates: Vec<KernelRate>,
}

#[derive(Serialize)]
struct KernelRate {
    /// Name of a kernel, or `digest-twice`.
    kernel: String,
    threads: usize,
    hashes_per_second: f64,
    /// Cycles of one thread.
    cycles_per_nonce: Option<f64>,
    /// Relative to `sha2` with as many threads.
    of_digest_twice: Option<f64>,
    of_midstate: Option<f64>,
    /// The rate if the busiest execution units of the processor never waited.
    bound: Option<f64>,
    of_bound: Option<f64>,
    /// Relative to one thread.
    of_one_thread: Option<f64>,
}

impl Results {
    fn new(measured: &Benchmark) -> Results {
        let rates = measured.rates.iter().map(|rate| KernelRate::new(rate, measured)).collect();
        Results { clock_hz: measured.clock_hz, fastest: Kernel::fastest().name(), rates }
    }

    fn table(&self) -> Table<9> {
        let headings = [
            "kernel",
            "threads",
            "MH/s",
            "bound",
            "of bound",
            "cycles",
            "× digest",
            "× midstate",
            "× one thread",
        ];
        self.rates.iter().fold(Table::new(headings), |table, rate| {
            let or_none = |value: Option<f64>, decimals: usize| {
                value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
            };
            table.row([
                rate.kernel.clone(),
                rate.threads.to_string(),
                format!("{:.2}", rate.hashes_per_second / 1e6),
                or_none(rate.bound.map(|bound| bound / 1e6), 2),
                or_none(rate.of_bound, 2),
                or_none(rate.cycles_per_nonce, 1),
                or_none(rate.of_digest_twice, 2),
                or_none(rate.of_midstate, 2),
                or_none(rate.of_one_thread, 2),
            ])
        })
    }
}

impl KernelRate {
    fn new(rate: &Rate, measured: &Benchmark) -> KernelRate {
        let Rate { method, threads, hashes_per_second } = *rate;
        let of = |method, threads| Some(hashes_per_second / measured.rate(method, threads)?);
        let of_one_thread = hashes_per_second / threads.get() as f64;
        let bound = measured.bound(method, threads);
        KernelRate {
            kernel: method.to_string(),
            threads: threads.get(),
            hashes_per_second,
            cycles_per_nonce: measured.clock_hz.map(|clock| clock as f64 / of_one_thread),
            of_digest_twice: of(Method::DigestTwice, threads),
            of_midstate: of(Method::Kernel(Kernel::Compression), threads),
            bound,
            of_bound: bound.map(|bound| hashes_per_second / bound),
            of_one_thread: of(method, NonZeroUsize::MIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use miner::kernel::Operation;

    #[test]
    fn rates_are_relative_to_others_of_the_same_run() {
        let two = NonZeroUsize::new(2).unwrap();
        let scalar = Method::Kernel(Kernel::Scalar);
        let rate = |method, threads, hashes_per_second| Rate { method, threads, hashes_per_second };
        let measured = Benchmark {
            clock_hz: Some(4_000_000_000),
            rates: vec![
                rate(Method::DigestTwice, NonZeroUsize::MIN, 5e6),
                rate(Method::DigestTwice, two, 8e6),
                rate(scalar, NonZeroUsize::MIN, 10e6),
                rate(scalar, two, 20e6),
            ],
            operations: Vec::new(),
        };
        let results = serde_json::to_value(Results::new(&measured)).unwrap();
        let expected = serde_json::json!({
            "kernel": "scalar", "threads": 2, "hashes_per_second": 20e6, "cycles_per_nonce": 400.0,
            "of_digest_twice": 2.5, "of_midstate": null, "of_one_thread": 2.0,
            "bound": null, "of_bound": null,
        });
        assert_eq!(results["rates"][3], expected);
        assert_eq!(results["clock_hz"], 4_000_000_000_u64);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn rates_are_shown_beside_the_bound_of_their_kernel() {
        let four = NonZeroUsize::new(4).unwrap();
        let method = Method::Kernel(Kernel::Avx2);
        let measured = Benchmark {
            clock_hz: None,
            rates: vec![Rate { method, threads: four, hashes_per_second: 40e6 }],
            operations: vec![(Operation::Vector256, 12e9), (Operation::Shift256, 6e9)],
        };
        let bound = measured.bound(method, four).unwrap();
        let results = Results::new(&measured);
        let shown = &results.rates[0];
        assert_eq!((shown.bound, shown.of_bound), (Some(bound), Some(40e6 / bound)));
        let text = format!("{:?}", results.table());
        assert!(text.contains(&format!("{:.2}", bound / 1e6)), "{text}");
    }
}
