//! A reorganisation needs the same memory whatever its depth, also when a start repeats it. The
//! memory is measured in another process of this binary.

#![cfg(target_os = "linux")]

use crate::harness::{TestNode, options};
use chain::ledger::{Accepted, Options, Writer};
use chain::mempool::{self, Changes, ENTRY_BYTES, Replacement, Source};
use chain::testing::{TestChain, dev_key};
use chain::tx::{Id, Memo, Payment, Transfer};
use chain::{Address, Block, Params};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The environment variable with the directory of the measured process.
const FOLDER: &str = "CHAIN_TEST_REORG_MEMORY";
/// The number of transfers in each block that leaves the best chain.
const TRANSFERS: u64 = 2_000;

/// The transfers of a block of the dev account 0, each to another address.
fn transfers(first: u64, count: u64) -> Vec<Transfer> {
    let (key, genesis) = (dev_key(0), Params::dev().genesis_hash());
    let pay = |nonce: u64| {
        let mut recipient = [7; 20];
        recipient[..8].copy_from_slice(&nonce.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
        let recipient = Address::from_bytes(recipient);
        let payment = Payment { nonce, recipient, amount: 1, fee: 1_000, memo: Memo::default() };
        Transfer::sign(payment, &key, genesis)
    };
    (first..first + count).map(pay).collect()
}

fn small_pool(transfers: usize) -> Options {
    let mempool = mempool::Limits { max_bytes: transfers * ENTRY_BYTES, ..options().mempool };
    Options { mempool, staging_bytes: 1 << 20, ..options() }
}

/// Returns a node with a chain of full blocks and all but the last of the empty blocks of a heavier
/// branch, and that last one.
fn forked(full_blocks: u64, transfers_each: u64, options: Options) -> (TestNode, Block) {
    let mut full = TestChain::new(Params::dev(), Address::from_bytes([1; 20]));
    let mut empty = TestChain::new(Params::dev(), Address::from_bytes([2; 20]));
    let mut node = TestNode::with_options(&Params::dev(), options);
    for number in 0..full_blocks {
        node.connect(&full.mine_block(transfers(number * transfers_each, transfers_each)));
    }
    let mut branch = empty.mine(usize::try_from(full_blocks).unwrap() + 1);
    let last = branch.pop().unwrap();
    node.submit_side_branch(&branch);
    (node, last)
}

/// Runs `in_measured_process`, and returns by how much its memory grew at most, in kB.
fn peak_growth(folder: &Path) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reorg_memory::in_measured_process", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    let growth = printed.lines().find_map(|line| line.split_once("growth "));
    growth.unwrap_or_else(|| panic!("{printed}")).1.trim().parse().unwrap()
}

/// A value of `/proc/self/status`, in kB.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "run by another test in a process of its own"]
fn in_measured_process() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let last = fs::read(folder.join("last-block"));
    let open =
        || chain::ledger::open(folder, Params::dev(), &small_pool(500), &mut |_| {}).unwrap();
    let is_replayed = last.is_err();
    let mut opened = (!is_replayed).then(open);
    // Resets the peak.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let (writer, reader) = opened.get_or_insert_with(open);
    if let Ok(last) = last {
        let last = Block::decode(&last).unwrap();
        let now = last.header.time;
        assert_eq!(writer.submit_block(last, now).unwrap(), Accepted::Connected);
        writer.commit().unwrap();
    }
    while writer.next_mempool_changes().unwrap().is_some() {}
    println!("height {}", reader.view().tip().height);
    println!("growth {}", status("VmHWM") - before);
}

// C22
#[test]
fn memory_of_reorg_does_not_depend_on_its_depth() {
    let growths = [1, 8].map(|full_blocks| {
        let (mut node, last) = forked(full_blocks, TRANSFERS, small_pool(500));
        node.close();
        let live = node.copy();
        fs::write(live.path().join("last-block"), last.encode()).unwrap();
        let of_reorg = peak_growth(live.path());
        // The log has the new branch, and the index does not: a kill during the reorganisation.
        for entry in fs::read_dir(live.path().join("blocks")).unwrap() {
            let from = entry.unwrap().path();
            let to = node.path().join("blocks").join(from.file_name().unwrap());
            fs::copy(from, to).unwrap();
        }
        let of_start = peak_growth(node.path());
        node.start();
        assert_eq!(node.tip(), last.hash());
        [of_reorg, of_start]
    });
    let [few, many] = growths;
    for (few, many) in few.into_iter().zip(many) {
        assert!(many < few + 24_000, "{few} kB for 1 block, {many} kB for 8 blocks");
    }
}

/// Submits the block, commits, and returns the changes of the mempool step by step.
fn reorganise(writer: &mut Writer, block: &Block) -> Vec<Changes> {
    let now = block.header.time;
    assert_eq!(writer.submit_block(block.clone(), now).unwrap(), Accepted::Connected);
    writer.commit().unwrap();
    std::iter::from_fn(|| writer.next_mempool_changes().unwrap()).collect()
}

#[test]
fn reorg_returns_transfers_in_steps_as_mempool_has_room() {
    let (mut node, last) = forked(4, 700, small_pool(600));
    let steps = reorganise(node.writer(), &last);
    assert!(steps.len() > 4);
    let (mut pending, mut dropped) = (BTreeSet::<Id>::new(), BTreeSet::new());
    for Changes { pending: new, dropped: gone } in steps {
        assert!(new.len() <= 500 && gone.len() <= 1_000);
        pending.extend(new);
        for id in gone.iter().map(|gone| gone.transfer.id()) {
            assert!(dropped.insert(id), "reported once");
            pending.remove(&id);
        }
    }
    assert_eq!((pending.len(), pending.len() + dropped.len()), (600, 2_800));
    let first: BTreeSet<Id> = transfers(0, 600).iter().map(Transfer::id).collect();
    assert_eq!(pending, first, "the transfers with the lowest nonces");
    let view = node.reader().view();
    assert_eq!(view.mempool().ids().copied().collect::<BTreeSet<_>>(), pending);
}

// A transfer in both branches is neither pending nor dropped, and one whose nonce is used is
// dropped.
#[test]
fn reorg_reports_no_confirmed_transfer_as_dropped() {
    let mut old = TestChain::new(Params::dev(), Address::from_bytes([1; 20]));
    let mut new = TestChain::new(Params::dev(), Address::from_bytes([2; 20]));
    let shared = transfers(0, 3);
    let old_block = old.mine_block(shared.clone().into_iter().chain(transfers(3, 3)));
    let rival = {
        let payment = Payment {
            nonce: 3,
            recipient: Address::from_bytes([9; 20]),
            amount: 1,
            fee: 7,
            memo: Memo::default(),
        };
        Transfer::sign(payment, &dev_key(0), Params::dev().genesis_hash())
    };
    let first = new.mine_block(shared.into_iter().chain([rival]));
    let second = new.mine_block([]);
    let mut node = TestNode::with_blocks(&Params::dev(), &[old_block]);
    node.submit_side_branch(&[first]);
    let steps = reorganise(node.writer(), &second);
    let ids = |transfers: Vec<Transfer>| transfers.iter().map(Transfer::id).collect::<Vec<_>>();
    let pending: Vec<Id> = steps.iter().flat_map(|changes| changes.pending.clone()).collect();
    let dropped = steps.iter().flat_map(|changes| &changes.dropped);
    let dropped: Vec<Id> = dropped.map(|dropped| dropped.transfer.id()).collect();
    assert_eq!((pending, dropped), (ids(transfers(4, 2)), ids(transfers(3, 1))));
}

// The transfers in the mempool follow those of the block, which return in two steps.
#[test]
fn reorg_keeps_pending_transfers_that_follow_returned_ones() {
    let (mut node, last) = forked(1, 700, small_pool(1_000));
    for transfer in transfers(700, 80) {
        let (replacement, source) = (Replacement::Forbidden, Source::Peer);
        node.writer().submit_transfer(transfer, replacement, source).unwrap();
    }
    let steps = reorganise(node.writer(), &last);
    assert!(steps.len() >= 2 && steps.iter().all(|changes| changes.dropped.is_empty()));
    let pending: Vec<Id> = steps.into_iter().flat_map(|changes| changes.pending).collect();
    assert_eq!(pending, transfers(0, 700).iter().map(Transfer::id).collect::<Vec<_>>());
    let view = node.reader().view();
    assert_eq!((view.mempool().count(), view.mempool().queued()), (780, 0));
}
