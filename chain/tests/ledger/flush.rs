//! A flush in pieces that a kill interrupts: the next start completes it.

use crate::harness::{Reference, TestNode, copy_folder, fixed_params, wallet};
use chain::Block;
use chain::ledger::schema::{FLUSH_KEY, FlushRow, STATE_KEY, StateRow, VERSION};
use chain::ledger::{OpenProgress, Options};
use chain::store::directory::ShutdownKind;
use chain::store::index::{Changes, Index};
use chain::store::sorted_run::{Run, RunFolder};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;

fn index(node: &TestNode, reference: &Reference) -> Index {
    let identity = [&VERSION.to_le_bytes(), reference.genesis().as_bytes().as_slice()].concat();
    let folder = node.path().join("index");
    Index::open(&folder, ShutdownKind::Clean, &identity, 1 << 20).unwrap().0
}

/// Returns a closed node whose index is in the middle of a flush, and its tip. The first `written`
/// rows are in the index already.
fn interrupted(written: usize) -> (Reference, TestNode, Block) {
    let mut reference = Reference::new(fixed_params());
    let mut parent = reference.genesis();
    let mut blocks = Vec::new();
    for amount in 1..=8 {
        let builder = reference.build_on(parent);
        blocks.push(builder.pay(&wallet(0), wallet(20 + amount).address, 5, 1).mine());
        parent = blocks[blocks.len() - 1].hash();
    }
    let mut node = TestNode::with_blocks(&reference.params, &blocks[..3]);
    node.close();
    let before = node.copy();
    node.start();
    node.connect_all(&blocks[3..]);
    node.close();

    let after = index(&node, &reference);
    let rows: Changes =
        after.scan_prefix(b"").map(Result::unwrap).map(|(key, value)| (key, Some(value))).collect();
    after.close().unwrap();
    let state = StateRow::decode(rows[STATE_KEY].as_ref().unwrap()).unwrap();
    let rows: Vec<_> = rows.into_iter().filter(|(key, _)| key != STATE_KEY).collect();
    let folder = RunFolder::new(&before.path().join("runs"));
    let halves = rows.split_at(rows.len() / 2);
    let runs = [halves.0, halves.1]
        .map(|half| folder.write(half.len(), half.iter().cloned().map(Ok)).unwrap());
    let flush = FlushRow { state, runs: runs.iter().map(Run::description).collect() };
    let mut changes: Changes = rows.into_iter().take(written).collect();
    changes.insert(FLUSH_KEY.to_vec(), Some(flush.encode()));
    runs.into_iter().for_each(std::mem::forget);
    let index = index(&before, &reference);
    index.apply(&changes).unwrap();
    index.close().unwrap();
    copy_folder(&node.path().join("blocks"), &before.path().join("blocks"));
    let mut interrupted = before.copy();
    interrupted.accepted = node.accepted.clone();
    (reference, interrupted, blocks.remove(7))
}

#[test]
fn start_completes_interrupted_flush() {
    for written in [0, 5, 1_000] {
        let (reference, mut node, tip) = interrupted(written);
        assert_eq!(node.verify().unwrap().unused_index, None);
        assert_eq!(node.start(), []);
        node.assert_matches(&reference, &tip);
        assert!(!node.path().join("runs").exists());
        node.close();
        assert_eq!(node.verify().unwrap().tip, tip.hash());
        assert_eq!(node.start(), []);
        node.assert_matches(&reference, &tip);
    }
}

#[test]
fn rebuilds_index_if_rows_of_interrupted_flush_are_gone() {
    let (reference, node, tip) = interrupted(5);
    for is_damaged in [false, true] {
        let mut node = node.copy();
        let run = fs::read_dir(node.path().join("runs")).unwrap().next().unwrap().unwrap().path();
        if is_damaged {
            let mut bytes = fs::read(&run).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(&run, bytes).unwrap();
        } else {
            fs::remove_file(&run).unwrap();
        }
        let notices = node.start();
        let [OpenProgress::IndexRebuilt { reason }] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!(reason, "a write to it was interrupted");
        node.assert_matches(&reference, &tip);
    }
}

/// The names of the files with rows.
fn files(node: &TestNode) -> BTreeSet<OsString> {
    let files = fs::read_dir(node.path().join("runs"));
    files.map_or_else(
        |_| BTreeSet::new(),
        |files| files.map(|file| file.unwrap().file_name()).collect(),
    )
}

// Rows in temporary files do not survive a kill; the log does.
#[test]
fn kill_leaves_no_runs_behind() {
    let mut reference = Reference::new(fixed_params());
    let blocks = reference.mine_chain(reference.genesis(), 20);
    let options = Options { staging_bytes: 100, ..crate::harness::options() };
    let mut node = TestNode::with_options(&reference.params, options);
    for block in &blocks {
        node.submit(block).unwrap();
    }
    let copy = node.copy();
    node.kill();
    let kept: BTreeSet<_> = files(&copy).difference(&files(&node)).cloned().collect();
    assert_eq!(kept, files(&copy), "dropped runs are removed");
    copy_folder(&copy.path().join("runs"), &node.path().join("runs"));
    for mut node in [node, copy] {
        let before = files(&node);
        assert!(!before.is_empty());
        node.start();
        assert!(files(&node).is_disjoint(&before));
        node.close();
        assert_eq!(files(&node).len(), 0);
    }
}
