//! Starts after stops of every kind: each ends at the block it must, without help, and `verify` agrees.

use crate::world::{Node, World, copy_folder, easy, lively, log_bytes, person};
use chain::ledger::OpenProgress;
use chain::store::blocks::{
    BlockLog, FILE_BYTES, LogError, LogPosition, RecordKind, RecordLocation,
};
use chain::{Block, Params};
use std::fs::{self, OpenOptions};
use std::path::PathBuf;

/// Starts a node that must have nothing to say, and stand at a block with everything as it was.
#[track_caller]
fn starts_at(node: &mut Node, world: &World, tip: &Block) {
    assert_eq!(node.start(), []);
    stands_at(node, world, tip);
}

/// Everything is as it must be, now, to `verify`, and after another restart.
#[track_caller]
fn stands_at(node: &mut Node, world: &World, tip: &Block) {
    node.agrees_in_full(world, tip);
    node.close();
    let verified = node.verify().unwrap();
    assert_eq!((verified.tip, verified.blocks), (tip.hash(), node.taken.len()));
    assert_eq!(node.start(), []);
    node.agrees_in_full(world, tip);
}

/// A node that has seen a few transfers, a reward that matured, and a side branch.
fn lived_in(params: Params) -> (World, Node, Vec<Block>) {
    let mut world = World::new(params);
    let mut blocks = Vec::new();
    let mut parent = world.genesis();
    for amount in 1..=5 {
        let draft = world.draft(parent).miner(person(20).address);
        blocks.push(draft.pay(&person(0), person(1).address, amount, 1).seal());
        parent = blocks[blocks.len() - 1].hash();
    }
    let mut node = Node::with(&world.params, &blocks);
    let side = world.grow(blocks[0].hash(), 2);
    node.take_aside(&side);
    (world, node, blocks)
}

#[test]
fn after_a_clean_stop_and_after_a_kill() {
    for params in [easy(), lively()] {
        let (mut world, mut node, mut blocks) = lived_in(params);
        let stops: [fn(&mut Node); 4] = [
            |node| node.close(),
            Node::kill,
            |node| {
                node.writer().flush().unwrap();
                node.kill();
            },
            Node::kill,
        ];
        for stop in stops {
            stop(&mut node);
            starts_at(&mut node, &world, &blocks[blocks.len() - 1]);
            let next = world.grow(blocks[blocks.len() - 1].hash(), 1);
            node.connect_all(&next);
            blocks.extend(next);
        }
    }
}

#[test]
fn after_a_kill_before_the_first_block() {
    let world = World::new(easy());
    let mut node = Node::new(&world.params);
    for _ in 0..3 {
        node.kill();
        starts_at(&mut node, &world, world.params.genesis());
    }
}

#[test]
fn with_the_index_deleted_everything_comes_from_the_log() {
    let (world, mut node, blocks) = lived_in(lively());
    node.close();
    for _ in 0..2 {
        fs::remove_dir_all(node.path().join("index")).unwrap();
        assert_eq!(replaces_the_index(&mut node, &world, &blocks[4]), "there is none");
        node.kill();
    }
}

#[test]
fn a_long_rebuild_tells_how_far_it_is() {
    let mut world = World::new(easy());
    let blocks = world.grow(world.genesis(), 2_100);
    let mut node = Node::with(&world.params, &blocks);
    node.close();
    fs::remove_dir_all(node.path().join("index")).unwrap();
    let lines: Vec<String> = node.start().iter().map(OpenProgress::to_string).collect();
    let line = |done| format!("replaying blocks from the log: {done} of 2101");
    let reason = "rebuilding the index from the block log: there is none".to_owned();
    assert_eq!(lines, [reason, line(1_000), line(2_000), line(2_101)]);
    node.agrees(&world, &blocks[2_099]);
}

/// The only notice of a start, which then stands at a block.
#[track_caller]
fn replaces_the_index(node: &mut Node, world: &World, tip: &Block) -> String {
    let [OpenProgress::IndexRebuilt { reason }] = &node.start()[..] else {
        panic!("the index was used")
    };
    stands_at(node, world, tip);
    reason.clone()
}

#[test]
fn with_any_byte_of_a_closed_index_changed_it_is_made_anew() {
    let (world, mut node, blocks) = lived_in(lively());
    node.close();
    let files = files_below(&node.path().join("index"));
    assert!(files.len() >= 2);
    for file in files {
        let bytes = fs::read(node.path().join("index").join(&file)).unwrap();
        for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = node.copy();
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x10;
            fs::write(damaged.path().join("index").join(&file), bytes).unwrap();
            let reason = replaces_the_index(&mut damaged, &world, &blocks[4]);
            assert_eq!(reason, "its files do not match their checksums");
        }
    }
}

#[test]
fn with_bytes_of_a_killed_index_changed_nothing_wrong_is_ever_shown() {
    let (world, mut node, blocks) = lived_in(lively());
    node.writer().flush().unwrap();
    node.kill();
    let bytes = fs::read(node.path().join("index/db")).unwrap();
    for at in (0..bytes.len()).step_by(bytes.len() / 24) {
        let mut damaged = node.copy();
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        fs::write(damaged.path().join("index/db"), bytes).unwrap();
        // Whether sled notices or not: bytes that hold nothing may be anything.
        damaged.start();
        damaged.agrees_in_full(&world, &blocks[4]);
        damaged.close();
        assert_eq!(damaged.verify().unwrap().tip, blocks[4].hash());
    }
}

/// Files below a folder, by their path in it.
fn files_below(folder: &std::path::Path) -> Vec<PathBuf> {
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
fn after_a_power_cut_the_index_is_not_trusted() {
    let (world, mut node, blocks) = lived_in(lively());
    node.writer().flush().unwrap();
    node.kill();
    fs::write(node.path().join("last-run"), "running\n1\nanother-boot\n").unwrap();
    let reason = replaces_the_index(&mut node, &world, &blocks[4]);
    assert_eq!(reason, "the machine went down while it was in use");
}

#[test]
fn with_an_older_index_the_log_makes_up_for_the_rest() {
    let (mut world, mut node, blocks) = lived_in(lively());
    node.close();
    let old = node.copy();
    node.start();
    let next = world.grow(blocks[4].hash(), 3);
    node.connect_all(&next);
    node.close();
    let index = node.path().join("index");
    fs::remove_dir_all(&index).unwrap();
    copy_folder(&old.path().join("index"), &index);
    fs::copy(old.path().join("index.sum"), node.path().join("index.sum")).unwrap();
    starts_at(&mut node, &world, &next[2]);
}

#[test]
fn with_an_older_log_the_index_is_made_anew() {
    let (mut world, mut node, blocks) = lived_in(lively());
    node.close();
    let old = node.copy();
    node.start();
    let next = world.grow(blocks[4].hash(), 3);
    node.connect_all(&next);
    node.close();
    copy_folder(&old.path().join("blocks"), &node.path().join("blocks"));
    node.taken.truncate(node.taken.len() - 3);
    let reason = replaces_the_index(&mut node, &world, &blocks[4]);
    assert_eq!(reason, "it is ahead of the block log");
    node.connect_all(&next);
    node.agrees_in_full(&world, &next[2]);
}

// The other log has records of the same lengths, and accounts that the same coinbase commits to.
#[test]
fn an_index_of_another_log_is_not_used() {
    let mut world = World::new(easy());
    let genesis = world.genesis();
    let (ours, other) = (world.grow(genesis, 4), world.grow(genesis, 4));
    let mut node = Node::with(&world.params, &ours);
    let mut other_node = Node::with(&world.params, &other);
    node.close();
    other_node.close();
    assert_eq!(log_bytes(node.path()).len(), log_bytes(other_node.path()).len());
    copy_folder(&other_node.path().join("blocks"), &node.path().join("blocks"));
    node.taken = other_node.taken.clone();
    let reason = replaces_the_index(&mut node, &world, &other[3]);
    assert!(reason.starts_with("it belongs to another block log"), "{reason}");
}

/// The records of the block log's only file: where each begins and ends, and what it holds.
fn records(node: &Node) -> Vec<(RecordKind, RecordLocation)> {
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

fn cut_log(node: &Node, bytes: u64) {
    let file = OpenOptions::new().write(true).open(node.path().join("blocks/00000.log")).unwrap();
    assert!(file.metadata().unwrap().len() > bytes);
    file.set_len(bytes).unwrap();
}

// A write that a kill or a power cut left unfinished, at any byte.
#[test]
fn with_its_last_records_cut_off_anywhere_the_log_ends_at_the_last_whole_block() {
    let (mut world, mut node, blocks) = lived_in(lively());
    node.writer().flush().unwrap();
    let flushed = log_bytes(node.path()).len();
    let draft = world.draft(blocks[4].hash()).pay(&person(0), person(40).address, 5, 5);
    let next = [draft.seal()];
    let next = [next[0].clone(), world.draft(next[0].hash()).seal()];
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
    // Every byte of the records' heads and around their ends, and some in between.
    let near = |at: &usize| ends.iter().any(|end| (end - 2..=end + 13).contains(at));
    let cuts = (flushed..all).filter(|at| near(at) || at % 29 == 0);
    for cut in cuts {
        let mut torn = node.copy();
        cut_log(&torn, cut as u64);
        let whole = ends_of_next.iter().filter(|end| **end <= cut).count();
        let notices = torn.start();
        // Between two records, or after the mark of the sync that follows a block.
        let after_mark = cut == flushed || ends_of_next.contains(&(cut - 13));
        let is_boundary = after_mark || ends.contains(&cut);
        match &notices[..] {
            [] => assert!(is_boundary, "{cut}"),
            [OpenProgress::LogTruncated(told)] => {
                let line = OpenProgress::LogTruncated(told.clone()).to_string();
                assert!(line.contains(": removed an unfinished write of "), "{line}");
                assert!(u64::from(told.offset) + told.bytes == cut as u64 && !is_boundary);
            }
            other => panic!("{cut}: {other:?}"),
        }
        let tip = if whole == 0 { &blocks[4] } else { &next[whole - 1] };
        torn.taken.truncate(node.taken.len() - 2 + whole);
        torn.agrees_in_full(&world, tip);
        torn.connect_all(&next[whole..]);
        torn.agrees_in_full(&world, &next[1]);
    }
}

// genesis ─ a1 ─ a2
//        └─ b1 ─ b2 ─ b3     the records of the move to b3 are cut off between any two of them
#[test]
fn a_reorganisation_whose_records_are_incomplete_did_not_happen() {
    let mut world = World::new(lively());
    let genesis = world.genesis();
    let pay = |world: &mut World, parent, amount| {
        world.draft(parent).pay(&person(0), person(20).address, amount, 1).seal()
    };
    let a1 = pay(&mut world, genesis, 5);
    let a2 = pay(&mut world, a1.hash(), 6);
    let b1 = pay(&mut world, genesis, 7);
    let b2 = pay(&mut world, b1.hash(), 8);
    let b3 = pay(&mut world, b2.hash(), 9);
    let mut node = Node::with(&world.params, &[a1, a2.clone()]);
    node.take_aside(&[b1, b2]);
    let before = log_bytes(node.path()).len() as u64;
    node.connect(&b3);
    node.kill();
    let ends: Vec<_> = records(&node).iter().map(|(_, location)| location.end().offset).collect();
    let cuts: Vec<u64> = ends.into_iter().map(u64::from).filter(|end| *end >= before).collect();
    // What takes back b1, b2 and b3, then b3 itself, then the mark of the sync.
    assert_eq!(cuts.len(), 4);
    for (at, cut) in [before].iter().chain(&cuts[..3]).enumerate() {
        for is_rebuilt in [false, true] {
            let mut torn = node.copy();
            cut_log(&torn, *cut);
            torn.taken.pop();
            if is_rebuilt {
                fs::remove_dir_all(torn.path().join("index")).unwrap();
                replaces_the_index(&mut torn, &world, &a2);
            } else {
                starts_at(&mut torn, &world, &a2);
            }
            torn.connect(&b3);
            torn.agrees_in_full(&world, &b3);
            torn.kill();
            starts_at(&mut torn, &world, &b3);
            // What is recorded of the way back is right.
            let mut parent = a2.hash();
            let back: Vec<Block> = (0..2)
                .map(|amount| {
                    let block = pay(&mut world, parent, 20 + amount + at as u64);
                    parent = block.hash();
                    block
                })
                .collect();
            torn.take_aside(&back[..1]);
            torn.connect(&back[1]);
            torn.agrees_in_full(&world, &back[1]);
        }
    }
    starts_at(&mut node, &world, &b3);
}
