//! Recovery after every kind of stop: the ledger opens at the right tip, and `verify` confirms it.

use crate::harness::{
    Reference, TestNode, copy_folder, fixed_params, interrupt_after, log_bytes, options,
    varying_params, wallet,
};
use chain::ledger::{self, OpenError, OpenProgress, Options};
use chain::store::blocks::{
    BlockLog, FILE_BYTES, LogError, LogPosition, RecordKind, RecordLocation,
};
use chain::{Block, Params};
use std::fs::{self, OpenOptions};
use std::path::PathBuf;

/// Starts a node, and asserts that it reports nothing and is unchanged.
#[track_caller]
fn assert_clean_start(node: &mut TestNode, reference: &Reference, tip: &Block) {
    assert_eq!(node.start(), []);
    assert_consistent(node, reference, tip);
}

/// Asserts the state of an open node, that it verifies, and that a restart does not change it.
#[track_caller]
fn assert_consistent(node: &mut TestNode, reference: &Reference, tip: &Block) {
    node.assert_matches(reference, tip);
    node.close();
    let verified = node.verify().unwrap();
    assert_eq!((verified.tip, verified.blocks), (tip.hash(), node.accepted.len()));
    assert_eq!(node.start(), []);
    node.assert_matches(reference, tip);
}

/// A node with a few transfers, a mature reward and a side branch.
fn node_with_history(params: Params) -> (Reference, TestNode, Vec<Block>) {
    let mut reference = Reference::new(params);
    let mut blocks = Vec::new();
    let mut parent = reference.genesis();
    for amount in 1..=5 {
        let builder = reference.build_on(parent).miner(wallet(20).address);
        blocks.push(builder.pay(&wallet(0), wallet(1).address, amount, 1).mine());
        parent = blocks[blocks.len() - 1].hash();
    }
    let mut node = TestNode::with_blocks(&reference.params, &blocks);
    let side = reference.mine_chain(blocks[0].hash(), 2);
    node.submit_side_branch(&side);
    (reference, node, blocks)
}

#[test]
fn recovers_after_clean_stop_and_kill() {
    for params in [fixed_params(), varying_params()] {
        let (mut reference, mut node, mut blocks) = node_with_history(params);
        let stops: [fn(&mut TestNode); 4] = [
            |node| node.close(),
            TestNode::kill,
            |node| {
                node.writer().flush().unwrap();
                node.kill();
            },
            TestNode::kill,
        ];
        for stop in stops {
            stop(&mut node);
            assert_clean_start(&mut node, &reference, &blocks[blocks.len() - 1]);
            let next = reference.mine_chain(blocks[blocks.len() - 1].hash(), 1);
            node.connect_all(&next);
            blocks.extend(next);
        }
    }
}

#[test]
fn recovers_after_kill_before_first_block() {
    let reference = Reference::new(fixed_params());
    let mut node = TestNode::new(&reference.params);
    for _ in 0..3 {
        node.kill();
        assert_clean_start(&mut node, &reference, reference.params.genesis());
    }
}

#[test]
fn rebuilds_deleted_index_from_log() {
    let (reference, mut node, blocks) = node_with_history(varying_params());
    node.close();
    for _ in 0..2 {
        fs::remove_dir_all(node.path().join("index")).unwrap();
        assert_eq!(assert_index_rebuilt(&mut node, &reference, &blocks[4]), "there is none");
        node.kill();
    }
}

#[test]
fn long_rebuild_reports_progress() {
    let mut reference = Reference::new(fixed_params());
    let blocks = reference.mine_chain(reference.genesis(), 2_100);
    let mut node = TestNode::with_blocks(&reference.params, &blocks);
    node.close();
    fs::remove_dir_all(node.path().join("index")).unwrap();
    let lines: Vec<String> = node.start().iter().map(OpenProgress::to_string).collect();
    let line = |done| format!("replaying blocks from the log: {done} of 2101");
    let reason = "rebuilding the index from the block log: there is none".to_owned();
    assert_eq!(lines, [reason, line(1_000), line(2_000), line(2_101)]);
    node.assert_tip_matches(&reference, &blocks[2_099]);
}

// An index that was flushed in the middle of a rebuild claimed the whole log, and hid the blocks that
// were not replayed yet.
#[test]
fn interrupted_rebuild_continues_where_it_was() {
    let mut reference = Reference::new(fixed_params());
    let blocks = reference.mine_chain(reference.genesis(), 300);
    let mut node = TestNode::with_blocks(&reference.params, &blocks);
    node.close();
    fs::remove_dir_all(node.path().join("index")).unwrap();
    let (mut interrupted, mut replayed) = (0, None);
    for limit in (10..).step_by(97) {
        let interrupt = interrupt_after(limit);
        let mut progress = |notice| {
            if let OpenProgress::Replaying { done, .. } = notice {
                replayed = Some(done);
            }
        };
        let params = reference.params.clone();
        let options = Options { interrupt, ..options() };
        let opened = ledger::open(node.path(), params, &options, &mut progress);
        match opened {
            Ok((writer, _)) => {
                writer.close().unwrap();
                break;
            }
            Err(error) => assert!(matches!(error, OpenError::Interrupted), "{error}"),
        }
        interrupted += 1;
    }
    assert!(interrupted > 5 && replayed.is_some_and(|blocks| blocks < 301), "{replayed:?}");
    assert_eq!(fs::read_to_string(node.path().join("last-run")).unwrap(), "stopped\n");
    assert_clean_start(&mut node, &reference, &blocks[299]);
}

/// Starts a node, asserts that it only rebuilds its index, and returns the reason.
#[track_caller]
fn assert_index_rebuilt(node: &mut TestNode, reference: &Reference, tip: &Block) -> String {
    let [OpenProgress::IndexRebuilt { reason }] = &node.start()[..] else {
        panic!("the index was used")
    };
    assert_consistent(node, reference, tip);
    reason.clone()
}

#[test]
fn rebuilds_damaged_index_after_clean_stop() {
    let (reference, mut node, blocks) = node_with_history(varying_params());
    node.close();
    let files = files_of(&node.path().join("index"));
    assert!(files.len() >= 2);
    for file in files {
        let bytes = fs::read(node.path().join("index").join(&file)).unwrap();
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = node.copy();
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            fs::write(damaged.path().join("index").join(&file), bytes).unwrap();
            let reason = assert_index_rebuilt(&mut damaged, &reference, &blocks[4]);
            assert_eq!(reason, "its files do not match their checksums");
        }
    }
}

#[test]
fn damaged_index_after_kill_never_yields_wrong_data() {
    let (reference, mut node, blocks) = node_with_history(varying_params());
    node.writer().flush().unwrap();
    node.kill();
    let bytes = fs::read(node.path().join("index/db")).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 24) {
        let mut damaged = node.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        fs::write(damaged.path().join("index/db"), bytes).unwrap();
        // Sled detects the damage, or the byte is unused.
        damaged.start();
        damaged.assert_matches(&reference, &blocks[4]);
        damaged.close();
        assert_eq!(damaged.verify().unwrap().tip, blocks[4].hash());
    }
}

/// The files of a directory, by their paths in it.
fn files_of(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            found.push(path.strip_prefix(folder).unwrap().to_owned());
        }
    }
    found
}

#[test]
fn rebuilds_index_after_power_failure() {
    let (reference, mut node, blocks) = node_with_history(varying_params());
    node.writer().flush().unwrap();
    node.kill();
    fs::write(node.path().join("last-run"), "running\n1\nanother-boot\n").unwrap();
    let reason = assert_index_rebuilt(&mut node, &reference, &blocks[4]);
    assert_eq!(reason, "the machine went down while it was in use");
}

#[test]
fn replays_log_onto_older_index() {
    let (mut reference, mut node, blocks) = node_with_history(varying_params());
    node.close();
    let old = node.copy();
    node.start();
    let next = reference.mine_chain(blocks[4].hash(), 3);
    node.connect_all(&next);
    node.close();
    let index = node.path().join("index");
    fs::remove_dir_all(&index).unwrap();
    copy_folder(&old.path().join("index"), &index);
    fs::copy(old.path().join("index.sum"), node.path().join("index.sum")).unwrap();
    assert_clean_start(&mut node, &reference, &next[2]);
}

// The other log has records of the same lengths and the same accounts.
#[test]
fn rebuilds_index_of_other_log() {
    let mut reference = Reference::new(fixed_params());
    let genesis = reference.genesis();
    let (ours, other) = (reference.mine_chain(genesis, 4), reference.mine_chain(genesis, 4));
    let mut node = TestNode::with_blocks(&reference.params, &ours);
    let mut other_node = TestNode::with_blocks(&reference.params, &other);
    node.close();
    other_node.close();
    assert_eq!(log_bytes(node.path()).len(), log_bytes(other_node.path()).len());
    copy_folder(&other_node.path().join("blocks"), &node.path().join("blocks"));
    node.accepted = other_node.accepted.clone();
    let reason = assert_index_rebuilt(&mut node, &reference, &other[3]);
    assert!(reason.starts_with("it belongs to another block log"), "{reason}");
}

/// The kinds and the locations of the records in the only file of the block log.
fn records(node: &TestNode) -> Vec<(RecordKind, RecordLocation)> {
    let folder = node.copy();
    let mut records = Vec::new();
    let visit = |kind, location, _: &[u8]| {
        records.push((kind, location));
        Ok::<_, LogError>(())
    };
    let blocks = folder.path().join("blocks");
    BlockLog::open(&blocks, FILE_BYTES, LogPosition::START, visit).unwrap();
    records
}

fn truncate_log(node: &TestNode, bytes: u64) {
    let file = OpenOptions::new().write(true).open(node.path().join("blocks/00000.log")).unwrap();
    assert!(file.metadata().unwrap().len() > bytes);
    file.set_len(bytes).unwrap();
}

// A write that a kill or a power failure interrupts at any byte.
#[test]
fn truncated_log_ends_at_last_complete_block() {
    let (mut reference, mut node, blocks) = node_with_history(varying_params());
    node.writer().flush().unwrap();
    let flushed = log_bytes(node.path()).len();
    let builder = reference.build_on(blocks[4].hash()).pay(&wallet(0), wallet(40).address, 5, 5);
    let next = [builder.mine()];
    let next = [next[0].clone(), reference.build_on(next[0].hash()).mine()];
    node.connect_all(&next[..1]);
    node.connect_all(&next[1..]);
    node.kill();
    let all = log_bytes(node.path()).len();
    let records = records(&node);
    let ends: Vec<usize> =
        records.iter().map(|(_, location)| location.end().offset as usize).collect();
    let end_of = |block: &Block| {
        let at = |(kind, location): &&(RecordKind, RecordLocation)| {
            *kind == RecordKind::Block && location.length as usize == block.encode().len()
        };
        records.iter().rev().find(at).unwrap().1.end().offset as usize
    };
    let ends_of_next = next.each_ref().map(end_of);
    // Every byte of the record headers and around their ends, and some others.
    let near = |at: &usize| ends.iter().any(|end| (end - 2..=end + 13).contains(at));
    let cuts = (flushed..all).filter(|at| near(at) || at % 29 == 0);
    for cut in cuts {
        let mut torn = node.copy();
        truncate_log(&torn, cut as u64);
        let whole = ends_of_next.iter().filter(|end| **end <= cut).count();
        let notices = torn.start();
        // Between two records, or after the sync marker that follows a block.
        let after_marker = cut == flushed || ends_of_next.contains(&(cut - 13));
        let is_boundary = after_marker || ends.contains(&cut);
        match &notices[..] {
            [] => assert!(is_boundary, "{cut}"),
            [OpenProgress::LogTruncated(truncation)] => {
                let line = OpenProgress::LogTruncated(truncation.clone()).to_string();
                assert!(line.contains(": removed an incomplete record of "), "{line}");
                assert!(
                    u64::from(truncation.offset) + truncation.bytes == cut as u64 && !is_boundary
                );
            }
            other => panic!("{cut}: {other:?}"),
        }
        let tip = if whole == 0 { &blocks[4] } else { &next[whole - 1] };
        torn.accepted.truncate(node.accepted.len() - 2 + whole);
        torn.assert_matches(&reference, tip);
        torn.connect_all(&next[whole..]);
        torn.assert_matches(&reference, &next[1]);
    }
}

// genesis ─ a1 ─ a2
//        └─ b1 ─ b2 ─ b3     the records of the reorganisation to b3 are truncated between any two
// of them
#[test]
fn incomplete_reorg_records_are_discarded() {
    let mut reference = Reference::new(varying_params());
    let genesis = reference.genesis();
    let pay = |reference: &mut Reference, parent, amount| {
        reference.build_on(parent).pay(&wallet(0), wallet(20).address, amount, 1).mine()
    };
    let a1 = pay(&mut reference, genesis, 5);
    let a2 = pay(&mut reference, a1.hash(), 6);
    let b1 = pay(&mut reference, genesis, 7);
    let b2 = pay(&mut reference, b1.hash(), 8);
    let b3 = pay(&mut reference, b2.hash(), 9);
    let mut node = TestNode::with_blocks(&reference.params, &[a1, a2.clone()]);
    node.submit_side_branch(&[b1, b2]);
    let before = log_bytes(node.path()).len() as u64;
    node.connect(&b3);
    node.kill();
    let ends: Vec<_> = records(&node).iter().map(|(_, location)| location.end().offset).collect();
    let cuts: Vec<u64> = ends.into_iter().map(u64::from).filter(|end| *end >= before).collect();
    // The undo records of b1, b2 and b3, then b3, then the sync marker.
    assert_eq!(cuts.len(), 4);
    for (at, cut) in [before].iter().chain(&cuts[..3]).enumerate() {
        for is_rebuilt in [false, true] {
            let mut torn = node.copy();
            truncate_log(&torn, *cut);
            torn.accepted.pop();
            if is_rebuilt {
                fs::remove_dir_all(torn.path().join("index")).unwrap();
                assert_index_rebuilt(&mut torn, &reference, &a2);
            } else {
                assert_clean_start(&mut torn, &reference, &a2);
            }
            torn.connect(&b3);
            torn.assert_matches(&reference, &b3);
            torn.kill();
            assert_clean_start(&mut torn, &reference, &b3);
            // The undo records of the branch are right.
            let mut parent = a2.hash();
            let back: Vec<Block> = (0..2)
                .map(|amount| {
                    let block = pay(&mut reference, parent, 20 + amount + at as u64);
                    parent = block.hash();
                    block
                })
                .collect();
            torn.submit_side_branch(&back[..1]);
            torn.connect(&back[1]);
            torn.assert_matches(&reference, &back[1]);
        }
    }
    assert_clean_start(&mut node, &reference, &b3);
}
