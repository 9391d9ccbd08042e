//! The hash rate of each kernel next to the `sha2` crate, and the delay until new work starts.
//! Run by `cargo bench -p miner`; an optional argument is the number of threads.

use chain::{Params, Target};
use miner::benchmark::{Benchmark, Method};
use miner::{Event, Kernel, Miner, Work};
use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    let named = std::env::args().find_map(|argument| argument.parse().ok());
    let cpus = thread::available_parallelism()?;
    let threads: NonZeroUsize = named.unwrap_or(cpus);
    rates(&Benchmark::run(threads, 100))?;
    // One core stays free for the thread that sets new work.
    let miners = NonZeroUsize::new(threads.get() - 1).unwrap_or(NonZeroUsize::MIN);
    switches(miners)
}

/// Prints a line for each method and number of threads.
fn rates(measured: &Benchmark) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:>14} threads    MH/s  cycles  × digest  × midstate", "method")?;
    for rate in &measured.rates {
        let ratio_to = |method| {
            let other = measured.rate(method, rate.threads).unwrap_or(f64::NAN);
            rate.hashes_per_second / other
        };
        let each = rate.hashes_per_second / rate.threads.get() as f64;
        let cycles = measured.clock_hz.map_or(f64::NAN, |clock| clock as f64 / each);
        let (method, threads) = (rate.method.to_string(), rate.threads);
        let (digest, midstate) =
            (ratio_to(Method::DigestTwice), ratio_to(Method::Kernel(Kernel::Compression)));
        let rate = rate.hashes_per_second / 1e6;
        writeln!(
            out,
            "{method:>14} {threads:>7} {rate:>7.2} {cycles:>7.1} {digest:>9.2} {midstate:>11.2}"
        )?;
    }
    Ok(())
}

/// Measures the time from setting new work to the end of its first batch, and the hashes wasted on
/// the old work meanwhile.
fn switches(threads: NonZeroUsize) -> Result<(), Box<dyn Error>> {
    const SWITCHES: u64 = 2_000;
    let (sender, events) = channel();
    let miner = Miner::start(threads, move |event| {
        let _ = sender.send((event, Instant::now()));
    })?;
    let (mut times, mut most_stale) = (Vec::new(), 0);
    for id in 0..SWITCHES {
        miner.set_work(work(2 * id, [0; 32]));
        // At a varying point of a batch.
        thread::sleep(Duration::from_micros(1_000 + 37 * (id % 29)));
        let set_at = Instant::now();
        miner.set_work(work(2 * id + 1, [0xff; 32]).within(0..=0, 0..=0));
        let before = miner.hashes();
        let started = loop {
            let (event, at) = events.recv()?;
            if event == (Event::Exhausted { work: 2 * id + 1 }) {
                break at;
            }
        };
        times.push(started.duration_since(set_at));
        // Waits until every thread has stopped the old work.
        while miner.busy_threads() > 0 {
            thread::yield_now();
        }
        most_stale = most_stale.max(miner.hashes() - before);
    }
    times.sort();
    let at = |hundredths: usize| times[times.len() * hundredths / 100];
    let (kernel, batch) = (miner.kernel(), miner.kernel().batch_size());
    let (median, slow, stale) = (at(50), at(99), most_stale / u64::from(batch));
    let mut out = io::stdout().lock();
    writeln!(out, "new work ({kernel}, {threads} threads): p50 {median:?}, p99 {slow:?}")?;
    writeln!(
        out,
        "at most {stale} batches of {batch} nonces end on the old work after the switch"
    )?;
    Ok(())
}

/// Work whose target starts with the given bytes; its last byte is 1, since a target is not zero.
fn work(id: u64, mut target: [u8; 32]) -> Work {
    target[31] = 1;
    let target = Target::from_be_bytes(target).expect("its last byte is 1");
    Work::new(id, Params::dev().genesis().header, target)
}
