//! Flushes of the index that a kill interrupts, and the files that they leave.

use crate::harness::{Reference, TestNode, fixed_params, wallet};
use chain::Block;
use chain::ledger::{OpenProgress, Options};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns a node with a few blocks whose index is written after every other block, and its tip.
fn flushed() -> (Reference, TestNode, Block) {
    let mut reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&reference.params);
    let mut tip = reference.mine_chain(reference.genesis(), 1).remove(0);
    node.connect(&tip);
    for amount in 1..=8 {
        let builder = reference.build_on(tip.hash());
        tip = builder.pay(&wallet(0), wallet(20 + amount).address, 5, 1).mine();
        node.connect(&tip);
        if amount % 2 == 0 {
            node.writer().flush().unwrap();
        }
    }
    (reference, node, tip)
}

/// Returns the paths of the files with rows.
fn run_files(node: &TestNode) -> Vec<PathBuf> {
    let files = fs::read_dir(node.path().join("runs")).unwrap();
    files.map(|file| file.unwrap().path()).collect()
}

// A kill before the index names a new run, and after it does: then the run that was merged is still
// there.
#[test]
fn start_after_kill_continues_at_the_tip_of_the_index() {
    let (reference, mut node, tip) = flushed();
    assert!(!run_files(&node).is_empty());
    let unfinished = node.path().join("runs").join("0000000001.rows");
    fs::write(&unfinished, b"unfinished").unwrap();
    node.kill();
    assert_eq!(node.start(), []);
    node.assert_matches(&reference, &tip);
    assert!(!unfinished.exists(), "a file that the index does not name is removed");
    node.close();
    assert_eq!(node.verify().unwrap().unused_index, None);
    assert_eq!(node.start(), []);
    node.assert_matches(&reference, &tip);
}

#[test]
fn views_are_complete_while_flushes_and_merges_are_under_way() {
    let (mut reference, mut node, mut tip) = flushed();
    let fork = tip.hash();
    for amount in 1..=9 {
        let builder = reference.build_on(tip.hash());
        tip = builder.pay(&wallet(1), wallet(40 + amount).address, 5, 1).mine();
        node.connect(&tip);
        node.writer().start_flush().unwrap();
        node.assert_matches(&reference, &tip);
    }
    let branch = reference.mine_chain(fork, 10);
    node.submit_side_branch(&branch[..9]);
    node.connect(&branch[9]);
    node.writer().start_flush().unwrap();
    node.assert_matches(&reference, &branch[9]);
    node.kill();
    assert_eq!(node.start(), []);
    node.assert_matches(&reference, &branch[9]);
}

#[test]
fn many_flushes_leave_few_runs() {
    let (mut reference, mut node, mut tip) = flushed();
    for _ in 0..40 {
        tip = reference.build_on(tip.hash()).mine();
        node.connect(&tip);
        node.writer().flush().unwrap();
    }
    node.close();
    let files = run_files(&node).len();
    assert!(files < 16, "{files} files");
    node.verify().unwrap();
    node.start();
    node.assert_matches(&reference, &tip);
}

#[test]
fn rebuilds_index_if_a_file_of_rows_is_damaged_or_gone() {
    let (reference, mut node, tip) = flushed();
    node.close();
    let damages: [fn(&Path); 3] = [
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(file, b"").unwrap(),
        |file| {
            let mut bytes = fs::read(file).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(file, bytes).unwrap();
        },
    ];
    for damage in damages {
        let mut node = node.copy();
        damage(&run_files(&node)[0]);
        assert!(node.verify().unwrap_err().to_string().contains("the index is damaged"));
        let notices = node.start();
        let [OpenProgress::IndexRebuilt { reason }] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!(reason, "a file of its rows is missing or damaged");
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
    let named = files(&node);
    for block in &blocks {
        node.submit(block).unwrap();
    }
    let before: BTreeSet<_> = files(&node).difference(&named).cloned().collect();
    assert!(!before.is_empty());
    let mut copy = node.copy();
    node.kill();
    assert!(files(&node).is_disjoint(&before), "dropped runs are removed");
    copy.start();
    assert!(files(&copy).is_disjoint(&before));
    copy.close();
}
