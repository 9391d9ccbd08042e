//! The rate at which full blocks are connected, beside the rate at which their signatures can be
//! verified. Run by `cargo bench -p chain-ledger --bench connect`; optional arguments are the numbers
//! of accounts before the first block (10000 and 1000000 by default), and the number of blocks as
//! `blocks=20`. The disk space includes the rows of the accounts before the first block.

use chain::ledger::{self, Options, Reader, Writer};
use chain::mempool::{Limits, Replacement, Source};
use chain::params::Spec;
use chain::signature::{self, SecretKey, SignatureCheck};
use chain::testing::TestChain;
use chain::tx::{Memo, Payment, Transfer};
use chain::{Address, Amount, Block, Params};
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// The number of transfers of a block.
const TRANSFERS: usize = 10_000;
/// The memory of the index, in bytes.
const CACHE_BYTES: u64 = 64 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let (mut sizes, mut blocks) = (Vec::new(), 20);
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("blocks", count)) => blocks = count.parse()?,
            _ => sizes.extend(argument.parse::<usize>()),
        }
    }
    if sizes.is_empty() {
        sizes = vec![10_000, 1_000_000];
    }
    let threads = std::thread::available_parallelism()?.get();
    writeln!(
        io::stdout(),
        "{threads} threads, {blocks} blocks of {TRANSFERS} transfers, {} MB cache\n\
         senders  accounts  signatures/s  unseen/s  ratio    seen/s  disk/raw  peak MiB  close",
        CACHE_BYTES >> 20
    )?;
    for accounts in sizes {
        for senders in [20, TRANSFERS] {
            let workload = Workload::new(senders, accounts, blocks)?;
            // The signatures are verified before and after, for the speed of the machine varies.
            let before = workload.signature_rate(threads);
            reset_peak();
            let unseen = workload.connect(threads, false)?;
            let after = workload.signature_rate(threads);
            let seen = workload.connect(threads, true)?;
            let bound = (before + after) / 2.0;
            writeln!(
                io::stdout(),
                "{senders:>7} {accounts:>9} {bound:>13.0} {:>9.0} {:>6.2} {:>9.0} {:>9.2} {:>9} {:>4} ms",
                unseen.rate,
                unseen.rate / bound,
                seen.rate,
                unseen.disk,
                peak_mib(),
                unseen.close.as_millis(),
            )?;
        }
    }
    Ok(())
}

/// Blocks of transfers from a number of senders to new accounts.
struct Workload {
    params: Params,
    blocks: Vec<Block>,
}

/// The results of connecting all blocks.
struct Measured {
    /// Transfers per second.
    rate: f64,
    /// The size of log and index, after closing, relative to that of the blocks.
    disk: f64,
    close: Duration,
}

impl Workload {
    fn new(senders: usize, accounts: usize, blocks: usize) -> Result<Workload, Box<dyn Error>> {
        let key = |number: usize| {
            let mut seed = [1; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            SecretKey::from_seed(seed)
        };
        let keys: Vec<SecretKey> = (0..senders).map(key).collect();
        let amount = |units| Amount::new(units).ok_or("the amount is in range");
        let mut allocations = Vec::with_capacity(accounts);
        for key in &keys {
            allocations.push((key.public_key().address(), amount(100_000_000_000)?));
        }
        for number in senders..accounts {
            allocations.push((address(9, number), amount(1)?));
        }
        let spec = Spec { allocations, ..Params::dev().spec().clone() };
        let params = Params::new(spec)?;
        let mut chain = TestChain::new(params.clone(), Address::from_bytes([1; 20]));
        for number in 0..blocks {
            let pay = |at: usize| {
                let nonce = (number * TRANSFERS + at) / senders;
                let payment = Payment {
                    nonce: nonce as u64,
                    recipient: address(7, number * TRANSFERS + at),
                    amount: 1,
                    fee: 1_000,
                    memo: Memo::default(),
                };
                Transfer::sign(payment, &keys[at % senders], params.genesis_hash())
            };
            let transfers: Vec<Transfer> = (0..TRANSFERS).map(pay).collect();
            chain.mine_block(transfers);
        }
        Ok(Workload { blocks: chain.blocks().to_vec(), params })
    }

    /// The number of signatures that all cores verify in a second.
    fn signature_rate(&self, threads: usize) -> f64 {
        let genesis = self.params.genesis_hash();
        let checks: Vec<SignatureCheck> = self
            .blocks
            .iter()
            .take(3)
            .flat_map(Block::transfers)
            .map(|(_, transfer)| SignatureCheck {
                key: transfer.sender,
                message: transfer.signing_bytes(genesis),
                signature: transfer.signature,
            })
            .collect();
        let started = Instant::now();
        assert_eq!(signature::verify_all(&checks, threads), Ok(()));
        checks.len() as f64 / started.elapsed().as_secs_f64()
    }

    /// Connects all blocks, after their transfers were accepted into the mempool if they are seen.
    fn connect(&self, threads: usize, seen: bool) -> Result<Measured, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mempool = Limits { max_per_sender: TRANSFERS, ..Limits::default() };
        let options = Options { cache_bytes: CACHE_BYTES, threads, mempool, ..Options::default() };
        let (mut writer, reader) =
            ledger::open(folder.path(), self.params.clone(), &options, &mut |_| {})?;
        let mut elapsed = Duration::ZERO;
        for block in &self.blocks {
            if seen {
                submit_transfers(&mut writer, block)?;
            }
            let block = block.clone();
            let started = Instant::now();
            connect(&mut writer, block)?;
            elapsed += started.elapsed();
        }
        check_tip(&reader, &self.blocks);
        let started = Instant::now();
        writer.close()?;
        let close = started.elapsed();
        let raw: usize = self.blocks.iter().map(|block| block.encode().len()).sum();
        let transfers = (self.blocks.len() * TRANSFERS) as f64;
        let stored = ["blocks", "index", "runs"].map(|name| size(&folder.path().join(name)));
        Ok(Measured {
            rate: transfers / elapsed.as_secs_f64(),
            disk: stored.iter().sum::<u64>() as f64 / raw as f64,
            close,
        })
    }
}

fn address(kind: u8, number: usize) -> Address {
    let mut bytes = [kind; 20];
    let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&spread.to_be_bytes());
    Address::from_bytes(bytes)
}

fn submit_transfers(writer: &mut Writer, block: &Block) -> Result<(), Box<dyn Error>> {
    for (_, transfer) in block.transfers() {
        writer.submit_transfer(transfer.clone(), Replacement::Forbidden, Source::Peer)?;
    }
    Ok(())
}

fn connect(writer: &mut Writer, block: Block) -> Result<(), Box<dyn Error>> {
    let now = block.header.time;
    writer.submit_block(block, now)?;
    writer.commit()?;
    while writer.next_mempool_changes()?.is_some() {}
    Ok(())
}

fn check_tip(reader: &Reader, blocks: &[Block]) {
    assert_eq!(Some(reader.view().tip().hash), blocks.last().map(Block::hash));
}

fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Resets the peak memory of this process where the system allows it.
fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The peak memory of this process in MiB, 0 if it is unknown. It includes the blocks.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() / 1_024
}
