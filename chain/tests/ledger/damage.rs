//! Data directories that are damaged, forged or another's: a named error with the remedy and nothing
//! touched, or repaired; never a wrong balance.

use crate::world::{Node, World, copy_folder, easy, lively, log_bytes, person};
use chain::ledger::schema::{self, AccountRow};
use chain::ledger::{OpenError, OpenProgress, SubmitError, VerifyError};
use chain::store::blocks::{BlockLog, FILE_BYTES, LogError, LogPosition, RecordKind};
use chain::store::directory::ShutdownKind;
use chain::store::index::{Changes, Index};
use chain::store::{DirectoryError, StoreError};
use chain::{Amount, Block};
use std::fs;
use std::path::Path;

/// A closed node with a few blocks.
fn closed() -> (World, Node, Vec<Block>) {
    let mut world = World::new(lively());
    let first = world.draft(world.genesis()).pay(&person(0), person(20).address, 5, 1).seal();
    let mut blocks = vec![first];
    blocks.extend(world.grow(blocks[0].hash(), 5));
    let mut node = Node::new(&world.params);
    for block in &blocks {
        node.connect(block);
    }
    node.close();
    (world, node, blocks)
}

/// The error of a start that leaves the block log as it was.
#[track_caller]
fn refuses_to_start(node: &mut Node) -> String {
    let before = log_bytes(node.path());
    let error = node.try_start().expect_err("something is wrong");
    assert!(log_bytes(node.path()) == before);
    assert!(!error.to_string().contains('\n'));
    error.to_string()
}

#[test]
fn a_bad_record_before_good_ones_is_named_and_nothing_is_touched() {
    let (_, node, _) = closed();
    let bytes = log_bytes(node.path());
    for at in [40, bytes.len() / 3, bytes.len() / 2] {
        for has_index in [true, false] {
            let mut damaged = node.copy();
            let file = damaged.path().join("blocks/00000.log");
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x40;
            fs::write(&file, bytes).unwrap();
            if !has_index {
                fs::remove_dir_all(damaged.path().join("index")).unwrap();
            }
            // Every time again, until somebody does something about it.
            for _ in 0..2 {
                let error = refuses_to_start(&mut damaged);
                assert!(error.contains(file.to_str().unwrap()), "{error}");
                assert!(error.contains(" is damaged at byte "), "{error}");
                assert!(error.contains("restore it from a backup"), "{error}");
            }
            assert!(damaged.verify().unwrap_err().to_string().contains("is damaged at byte"));
        }
    }
}

/// Appends a record to a closed node's log as if it had been accepted.
fn append(node: &Node, kind: RecordKind, payload: &[u8]) {
    let folder = node.path().join("blocks");
    let visit = |_, _, _: &[u8]| Ok::<_, LogError>(());
    let (mut log, _) = BlockLog::open(&folder, FILE_BYTES, LogPosition::START, visit).unwrap();
    log.append(kind, payload).unwrap();
    log.sync().unwrap();
}

// T13
#[test]
fn an_invalid_block_with_a_good_checksum_in_the_log_stops_the_start() {
    let (mut world, node, blocks) = closed();
    let parent = blocks[5].hash();
    let greedy = world.draft(parent).coinbase(|coinbase| coinbase.reward += 1).seal();
    let wrong = world.draft(parent).coinbase(|coinbase| coinbase.commitment[0] ^= 1).seal();
    let mut unproven = world.draft(parent).seal();
    while crate::world::is_met(&unproven.header) {
        unproven.header.nonce += 1;
    }
    let orphan = world.draft(parent).seal();
    let orphan = world.draft(orphan.hash()).seal();
    let mut mutated = world.draft(parent).seal();
    mutated.transactions.clear();
    for (block, code) in [
        (greedy, "wrong-reward"),
        (wrong, "wrong-accounts"),
        (unproven, "high-hash"),
        (orphan, "unknown-parent"),
        (mutated, "bad-merkle-root"),
    ] {
        let mut forged = node.copy();
        append(&forged, RecordKind::Block, &block.encode());
        for has_index in [true, false] {
            if !has_index {
                fs::remove_dir_all(forged.path().join("index")).unwrap();
            }
            let error = refuses_to_start(&mut forged);
            assert!(error.contains("invalid block at offset") && error.contains(code), "{error}");
            assert!(error.contains("restore the file from a backup"), "{error}");
        }
    }
}

/// Writes a closed node's log again, with other records and good checksums, and drops the index.
fn rewrite_log(node: &Node, change: impl Fn(RecordKind, &mut Vec<u8>)) {
    let folder = node.path().join("blocks");
    let mut records = Vec::new();
    let visit = |kind, _, payload: &[u8]| {
        records.push((kind, payload.to_vec()));
        Ok::<_, LogError>(())
    };
    drop(BlockLog::open(&folder, FILE_BYTES, LogPosition::START, visit).unwrap());
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_dir_all(node.path().join("index")).unwrap();
    for (kind, mut payload) in records {
        change(kind, &mut payload);
        append(node, kind, &payload);
    }
}

// T13: the undo data of the tip say that somebody had more before it than he had. Nobody else is
// blamed for it: neither the branch that makes it show nor whoever sent that.
#[test]
fn undo_data_that_are_wrong_are_found_before_a_branch_is_blamed_for_them() {
    let (mut world, mut node, blocks) = closed();
    let tip = blocks[5].hash();
    rewrite_log(&node, |kind, payload| {
        if kind == RecordKind::Undo && payload.starts_with(tip.as_bytes()) {
            // Hash, count, address, then the first balance.
            payload[32 + 4 + 20] ^= 1;
        }
    });
    let error = node.verify().unwrap_err();
    assert!(matches!(error, VerifyError::Undo { hash, .. } if hash == tip), "{error}");
    assert!(error.to_string().contains("restore the file from a backup"), "{error}");

    node.start();
    node.agrees_in_full(&world, &blocks[5]);
    let other = world.grow(blocks[4].hash(), 2);
    node.take_aside(&other[..1]);
    for _ in 0..2 {
        let error = node.refuse(&other[1]);
        assert!(matches!(error, SubmitError::Store(StoreError::BadUndo { fork })
            if fork == blocks[4].hash()));
        assert_eq!(error.code(), None);
    }
    node.agrees_in_full(&world, &blocks[5]);
}

// T13
#[test]
fn a_record_that_is_not_what_it_should_be_stops_the_start() {
    for (kind, payload) in
        [(RecordKind::Block, &b"no block"[..]), (RecordKind::Undo, b"no undo data")]
    {
        let (_, mut node, _) = closed();
        append(&node, kind, payload);
        let error = refuses_to_start(&mut node);
        assert!(error.contains("unexpected record at offset"), "{error}");
    }
    // A log that begins with anything but genesis.
    let (_, mut node, blocks) = closed();
    let folder = node.path().join("blocks");
    fs::remove_dir_all(&folder).unwrap();
    append(&node, RecordKind::Block, &blocks[0].encode());
    let error = refuses_to_start(&mut node);
    assert!(error.contains("does not start with this network's genesis"), "{error}");
}

// C46, T18
#[test]
fn a_directory_of_another_network_is_left_alone() {
    let (_, mut node, _) = closed();
    let other = World::new(easy());
    let before = log_bytes(node.path());
    let mut stranger = Node::new(&other.params);
    stranger.close();
    copy_folder(node.path(), stranger.path());
    let error = stranger.try_start().unwrap_err();
    assert!(matches!(
        error,
        OpenError::Store(StoreError::Directory(DirectoryError::OtherGenesis { .. }))
    ));
    let error = error.to_string();
    assert!(error.contains(&other.genesis().to_string()) && error.contains("choose another"));
    assert!(log_bytes(stranger.path()) == before);
    assert_eq!(node.start(), []);
}

// T14
#[test]
fn a_second_opening_is_refused_with_the_pid_of_the_first() {
    let (world, mut node, blocks) = closed();
    node.start();
    let (params, path) = (world.params.clone(), node.path().to_owned());
    let options = crate::world::options();
    let Err(error) = chain::ledger::open(&path, params, options, &mut |_| {}) else { panic!() };
    let error = error.to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    node.agrees(&world, &blocks[5]);
}

/// Changes rows of a closed node's index in a way that its checksums do not show.
fn forge(node: &Node, world: &World, change: impl FnOnce(&Index) -> Changes) {
    let genesis = world.genesis();
    let identity = [&schema::VERSION.to_le_bytes(), genesis.as_bytes().as_slice()].concat();
    let folder = node.path().join("index");
    let (index, _) = Index::open(&folder, ShutdownKind::Clean, &identity, 1 << 20).unwrap();
    index.apply(&change(&index)).unwrap();
    index.close().unwrap();
}

fn more_for(number: u8) -> impl FnOnce(&Index) -> Changes {
    move |index| {
        let key = schema::account_key(&person(number).address);
        let row = index.get(&key).unwrap().and_then(|value| AccountRow::decode(&value));
        let mut row = row.unwrap_or_default();
        row.account.balance = row.account.balance.checked_add(Amount::new(1).unwrap()).unwrap();
        Changes::from([(key, row.encode())])
    }
}

#[test]
fn verify_finds_a_forged_balance_and_says_what_to_do() {
    for (number, expected) in [(0, 999_994), (1, 1_000_000), (77, 0)] {
        let (world, node, _) = closed();
        forge(&node, &world, more_for(number));
        let error = node.verify().unwrap_err();
        let VerifyError::Account { address, found, expected: account } = &error else {
            panic!("{error}")
        };
        assert_eq!(*address, person(number).address);
        assert_eq!((account.balance.units(), found.balance.units()), (expected, expected + 1));
        assert!(error.to_string().contains("delete the folder `index`"));
    }
    // An account that is gone altogether.
    let (world, node, _) = closed();
    let remove = |_: &Index| Changes::from([(schema::account_key(&person(3).address), None)]);
    forge(&node, &world, remove);
    assert!(matches!(node.verify().unwrap_err(), VerifyError::Account { .. }));
}

#[test]
fn after_a_kill_a_forged_balance_is_found_by_the_start() {
    let (world, mut node, blocks) = closed();
    forge(&node, &world, more_for(0));
    node.start();
    node.kill();
    let lines: Vec<String> = node.start().iter().map(OpenProgress::to_string).collect();
    assert_eq!(
        lines,
        ["rebuilding the index from the block log: its accounts do not match their hash"]
    );
    node.agrees_in_full(&world, &blocks[5]);
    node.close();
    node.verify().unwrap();
}

#[test]
fn an_index_that_makes_no_sense_is_made_anew() {
    let state =
        |index: &Index| schema::StateRow::decode(&index.get(schema::STATE_KEY).unwrap().unwrap());
    let with_state = |change: fn(&mut schema::StateRow)| {
        move |index: &Index| {
            let mut row = state(index).unwrap();
            change(&mut row);
            Changes::from([(schema::STATE_KEY.to_vec(), Some(row.encode()))])
        }
    };
    let chunk = schema::chunk_key(0);
    type Forgery<'a> = Box<dyn FnOnce(&Index) -> Changes + 'a>;
    let malformed = "a row in it is malformed";
    let forgeries: Vec<(Forgery, &str)> = vec![
        (Box::new(with_state(|row| row.nodes += 1)), malformed),
        (Box::new(with_state(|row| row.nodes = 64)), malformed),
        (Box::new(with_state(|row| row.tip = chain::block_index::NodeId::new(7))), malformed),
        (
            Box::new(with_state(|row| row.tip = chain::block_index::NodeId::new(3))),
            "its accounts are not those that the tip commits to",
        ),
        (
            Box::new(with_state(|row| row.accounts_hash = chain::accounts::LtHash::empty())),
            "its accounts are not those that the tip commits to",
        ),
        (Box::new(with_state(|row| row.covered.offset += 1)), "it is ahead of the block log"),
        (
            Box::new(|_| Changes::from([(schema::STATE_KEY.to_vec(), Some(vec![1, 2, 3]))])),
            malformed,
        ),
        (Box::new(|_| Changes::from([(chunk.clone(), None)])), malformed),
        (Box::new(|_| Changes::from([(chunk.clone(), Some(vec![0xff; 113]))])), malformed),
    ];
    for (forgery, expected) in forgeries {
        let (world, mut node, blocks) = closed();
        forge(&node, &world, forgery);
        let notices = node.start();
        let [OpenProgress::IndexRebuilt { reason }] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!(reason, expected);
        node.agrees_in_full(&world, &blocks[5]);
    }
}

/// Files that a closed node leaves behind.
const FILES: [&str; 6] =
    ["lock", "genesis", "last-run", "index.sum", "blocks/00000.log", "index/db"];

// T12
#[test]
fn every_file_emptied_deleted_or_replaced_is_repaired_or_named() {
    let (world, node, blocks) = closed();
    let damages: [fn(&Path); 4] = [
        |file| fs::write(file, "").unwrap(),
        |file| fs::remove_file(file).unwrap(),
        |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        },
        |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        },
    ];
    for file in FILES {
        for (at, damage) in damages.iter().enumerate() {
            let mut damaged = node.copy();
            damage(&damaged.path().join(file));
            match damaged.try_start() {
                // The log is what was: what is cut off it has to come again.
                Ok(notices) if file == "blocks/00000.log" => {
                    assert!(!notices.is_empty() && at != 2);
                    let left = damaged.reader().view().tip().height.get() as usize;
                    assert!(left < blocks.len() && (at == 3 || left == 0));
                    damaged.taken.truncate(1 + left);
                    let tip = left.checked_sub(1).map_or(world.params.genesis(), |at| &blocks[at]);
                    damaged.agrees_in_full(&world, tip);
                    damaged.connect_all(&blocks[left..]);
                    damaged.agrees_in_full(&world, &blocks[5]);
                }
                Ok(_) => damaged.agrees_in_full(&world, &blocks[5]),
                Err(error) => {
                    let error = error.to_string();
                    let name = file.split('/').next_back().unwrap();
                    assert!(error.contains(name) && !error.contains('\n'), "{file} {at}: {error}");
                }
            }
        }
    }
}
