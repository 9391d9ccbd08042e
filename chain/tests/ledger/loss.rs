//! Evidence of loss: the index proves that the block log was longer. Neither a start nor a
//! verification takes that for an unfinished write.

use crate::harness::{Reference, TestNode, log_bytes, varying_params, wallet};
use chain::Block;
use chain::ledger::{OpenError, OpenProgress, VerifyError};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A node with seven blocks, one of them on a side branch.
fn node() -> (Reference, TestNode, Vec<Block>) {
    let mut reference = Reference::new(varying_params());
    let mut blocks = Vec::new();
    let mut parent = reference.genesis();
    for amount in 1..=6 {
        let builder = reference.build_on(parent);
        blocks.push(builder.pay(&wallet(0), wallet(1).address, amount, 1).mine());
        parent = blocks[blocks.len() - 1].hash();
    }
    let side = reference.build_on(blocks[0].hash()).mine();
    let mut node = TestNode::new(&reference.params);
    node.connect_all(&blocks);
    node.submit_side_branch(&[side]);
    (reference, node, blocks)
}

fn log_file(node: &TestNode) -> PathBuf {
    node.path().join("blocks/00000.log")
}

/// All files below a folder with their contents and the times of their last change.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let changed = fs::metadata(&path).unwrap().modified().unwrap();
            found.push((path.clone(), fs::read(&path).unwrap(), changed));
        }
    }
    let changed = fs::metadata(folder).unwrap().modified().unwrap();
    found.push((folder.to_owned(), Vec::new(), changed));
    found.sort();
    found
}

/// Asserts that a loss is found by verification, which writes nothing, and at every start.
#[track_caller]
fn assert_loss_is_found(node: &mut TestNode) -> String {
    let before = files(node.path());
    let found = node.verify().unwrap_err();
    assert!(matches!(found, VerifyError::Open(OpenError::Lost { .. })), "{found}");
    assert!(files(node.path()) == before, "verification changed the directory");
    for _ in 0..2 {
        let log = node.path().join("blocks");
        let before = log.exists().then(|| log_bytes(node.path()));
        let error = node.try_start().unwrap_err();
        assert_eq!(error.to_string(), found.to_string());
        assert!(matches!(error, OpenError::Lost { .. }), "{error}");
        assert!(log.exists().then(|| log_bytes(node.path())) == before);
    }
    assert!(found.to_string().contains("--accept-loss"), "{found}");
    found.to_string()
}

fn truncate(node: &TestNode, bytes: u64) {
    File::options().write(true).open(log_file(node)).unwrap().set_len(bytes).unwrap();
}

// T12
#[test]
fn lost_end_of_log_after_clean_stop_prevents_start() {
    let (_, mut node, _) = node();
    node.close();
    let bytes = log_bytes(node.path()).len() as u64;
    let lengths = (0..bytes).step_by(97).chain([19, 20, 21, bytes - 14, bytes - 13, bytes - 1]);
    for length in lengths {
        let mut node = node.copy();
        truncate(&node, length);
        assert_loss_is_found(&mut node);
    }
    let mut removed = node.copy();
    fs::remove_file(log_file(&removed)).unwrap();
    let error = assert_loss_is_found(&mut removed);
    assert!(error.starts_with("blocks 0 to 6 are lost: "), "{error}");
    fs::remove_dir(removed.path().join("blocks")).unwrap();
    assert_loss_is_found(&mut removed);
}

#[test]
fn lost_end_of_log_after_kill_prevents_start() {
    let (_, mut node, blocks) = node();
    node.writer().flush().unwrap();
    node.kill();
    let bytes = log_bytes(node.path()).len() as u64;
    // The marker at the end was never synced.
    for length in [0, bytes / 2, bytes - 14] {
        let mut node = node.copy();
        truncate(&node, length);
        assert_loss_is_found(&mut node);
        // The refused start preserves the evidence, also across a reboot.
        assert_eq!(fs::read(node.path().join("last-run")).unwrap(), b"stopped\n");
    }
    truncate(&node, bytes - 13);
    node.start();
    assert_eq!(node.tip(), blocks[5].hash());
}

#[test]
fn accepted_loss_continues_with_what_is_left() {
    let (reference, mut node, blocks) = node();
    node.close();
    let bytes = log_bytes(node.path()).len() as u64;
    truncate(&node, bytes / 2);
    let error = assert_loss_is_found(&mut node);
    assert!(error.contains("blocks ") && error.contains(" to 6 are lost"), "{error}");
    node.options.accept_loss = true;
    let notices = node.start();
    let [OpenProgress::IndexRebuilt { reason }, OpenProgress::LogTruncated(_)] = &notices[..]
    else {
        panic!("{notices:?}")
    };
    assert!(reason.contains(" are lost: "), "{reason}");
    let left = node.reader().view().tip().height.get() as usize;
    assert!((1..6).contains(&left));
    node.accepted.truncate(1 + left);
    node.assert_matches(&reference, &blocks[left - 1]);
    node.connect_all(&blocks[left..]);
    node.close();
    // Accepted once, the loss is past.
    node.options.accept_loss = false;
    assert_eq!(node.verify().unwrap().tip, blocks[5].hash());
    assert_eq!(node.start(), []);
    node.assert_matches(&reference, &blocks[5]);
}

#[test]
fn verification_writes_nothing_after_any_stop() {
    let stops: [fn(&mut TestNode); 5] = [
        |node| node.close(),
        TestNode::kill,
        |node| {
            node.writer().flush().unwrap();
            node.kill();
        },
        |node| {
            node.kill();
            fs::remove_dir_all(node.path().join("index")).unwrap();
        },
        |node| {
            node.kill();
            fs::write(node.path().join("last-run"), "running\n1\nanother-boot\n").unwrap();
        },
    ];
    for (number, stop) in stops.into_iter().enumerate() {
        let (_, mut node, blocks) = node();
        stop(&mut node);
        let before = files(node.path());
        let report = node.verify().unwrap();
        assert_eq!((report.tip, report.blocks), (blocks[5].hash(), 8));
        assert_eq!(report.transfers, 6);
        assert_eq!(report.unused_index.is_some(), number >= 3, "{number}");
        assert!(files(node.path()) == before, "{number}");
    }
}

// The index is behind, at a tip that is not in the best chain any more.
#[test]
fn verification_compares_an_index_at_another_tip() {
    let (mut reference, mut node, blocks) = node();
    node.writer().flush().unwrap();
    let other = reference.mine_chain(blocks[2].hash(), 5);
    node.submit_side_branch(&other[..3]);
    node.connect_all(&other[3..]);
    node.kill();
    let report = node.verify().unwrap();
    assert_eq!((report.tip, report.unused_index), (other[4].hash(), None));
}

#[test]
fn verification_finds_index_damaged_after_clean_stop() {
    let (reference, mut node, blocks) = node();
    node.close();
    let file = node.path().join("index/db");
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(&file, bytes).unwrap();
    let before = files(node.path());
    let error = node.verify().unwrap_err();
    assert!(matches!(error, VerifyError::Index { .. }), "{error}");
    assert!(files(node.path()) == before);
    node.start();
    node.assert_matches(&reference, &blocks[5]);
}

#[test]
fn verification_of_directory_in_use_or_without_chain_fails() {
    let (_, node, _) = node();
    let error = node.verify().unwrap_err().to_string();
    assert!(error.contains("is in use by process "), "{error}");
    let mut empty = node.copy();
    fs::remove_file(empty.path().join("genesis")).unwrap();
    fs::remove_file(empty.path().join("last-run")).unwrap();
    let error = empty.verify().unwrap_err().to_string();
    assert!(error.contains("does not hold a genesis hash"), "{error}");
    empty = node.copy();
    for folder in ["blocks", "index"] {
        fs::remove_dir_all(empty.path().join(folder)).unwrap();
    }
    let error = empty.verify().unwrap_err().to_string();
    assert!(error.contains("00000.log is missing"), "{error}");
}
