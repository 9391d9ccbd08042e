//! Data directories that are damaged, forged or of another network: they are repaired, or opening
//! fails with an error that names the remedy and leaves all files unchanged.

use crate::harness::{
    Reference, TestNode, copy_folder, fixed_params, log_bytes, varying_params, wallet,
};
use chain::ledger::schema::{self, AccountRow};
use chain::ledger::{OpenError, OpenProgress, SubmitError, VerifyError};
use chain::store::blocks::{BlockLog, FILE_BYTES, LogError, LogPosition, RecordKind};
use chain::store::directory::ShutdownKind;
use chain::store::index::{Changes, Index};
use chain::store::sorted_run::RunFolder;
use chain::store::{DirectoryError, StoreError};
use chain::testing::unsolve_header;
use chain::{Amount, Block};
use std::fs;
use std::path::Path;

/// A closed node with a few blocks.
fn closed_node() -> (Reference, TestNode, Vec<Block>) {
    let mut reference = Reference::new(varying_params());
    let first =
        reference.build_on(reference.genesis()).pay(&wallet(0), wallet(20).address, 5, 1).mine();
    let mut blocks = vec![first];
    blocks.extend(reference.mine_chain(blocks[0].hash(), 5));
    let mut node = TestNode::new(&reference.params);
    for block in &blocks {
        node.connect(block);
    }
    node.close();
    (reference, node, blocks)
}

/// Asserts that a start fails without a change of the block log, and returns the error.
#[track_caller]
fn start_error(node: &mut TestNode) -> String {
    let before = log_bytes(node.path());
    let error = node.try_start().expect_err("something is wrong");
    assert!(log_bytes(node.path()) == before);
    assert!(!error.to_string().contains('\n'));
    error.to_string()
}

#[test]
fn damaged_record_is_reported_without_changes() {
    let (_, node, _) = closed_node();
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
            // Every start fails in the same way.
            for _ in 0..2 {
                let error = start_error(&mut damaged);
                assert!(error.contains(file.to_str().unwrap()), "{error}");
                assert!(error.contains(" is damaged at byte "), "{error}");
                assert!(error.contains("restore it from a backup"), "{error}");
            }
            assert!(damaged.verify().unwrap_err().to_string().contains("is damaged at byte"));
        }
    }
}

/// Appends a record to the log of a closed node.
fn append(node: &TestNode, kind: RecordKind, payload: &[u8]) {
    let folder = node.path().join("blocks");
    let visit = |_, _, _: &[u8]| Ok::<_, LogError>(());
    let (mut log, _) = BlockLog::open(&folder, FILE_BYTES, LogPosition::START, visit).unwrap();
    log.append(kind, payload).unwrap();
    log.sync().unwrap();
}

// T13
#[test]
fn invalid_block_in_log_prevents_start() {
    let (mut reference, node, blocks) = closed_node();
    let parent = blocks[5].hash();
    let mut unproven = reference.build_on(parent).mine();
    unsolve_header(&mut unproven.header);
    let orphan = reference.build_on(parent).mine();
    let orphan = reference.build_on(orphan.hash()).mine();
    let mut mutated = reference.build_on(parent).mine();
    mutated.transactions.clear();
    for (block, code) in
        [(unproven, "high-hash"), (orphan, "unknown-parent"), (mutated, "bad-merkle-root")]
    {
        let mut forged = node.copy();
        append(&forged, RecordKind::Block, &block.encode());
        for has_index in [true, false] {
            if !has_index {
                fs::remove_dir_all(forged.path().join("index")).unwrap();
            }
            let error = start_error(&mut forged);
            assert!(error.contains("invalid block at offset") && error.contains(code), "{error}");
            assert!(error.contains("restore the file from a backup"), "{error}");
        }
    }
}

// T13: undo data prove that a block was connected, so it must be valid.
#[test]
fn block_that_became_invalid_prevents_start() {
    let (mut reference, node, blocks) = closed_node();
    let parent = blocks[5].hash();
    let excessive =
        reference.build_on(parent).edit_coinbase(|coinbase| coinbase.reward += 1).mine();
    let wrong =
        reference.build_on(parent).edit_coinbase(|coinbase| coinbase.commitment[0] ^= 1).mine();
    for (block, code) in [(excessive, "wrong-reward"), (wrong, "wrong-accounts")] {
        let mut forged = node.copy();
        let undo = [block.hash().as_bytes().as_slice(), &[0; 4]].concat();
        append(&forged, RecordKind::Undo, &undo);
        append(&forged, RecordKind::Block, &block.encode());
        for has_index in [true, false] {
            if !has_index {
                fs::remove_dir_all(forged.path().join("index")).unwrap();
            }
            let error = start_error(&mut forged);
            assert!(error.contains("invalid block at offset") && error.contains(code), "{error}");
        }
        let error = forged.verify().unwrap_err();
        assert!(
            matches!(error, VerifyError::Block { hash, .. } if hash == block.hash()),
            "{error}"
        );
    }
}

/// Rewrites the log of a closed node with changed records and valid checksums, and deletes the
/// index.
fn rewrite_log(node: &TestNode, change: impl Fn(RecordKind, &mut Vec<u8>)) {
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

// T13: the undo data of the tip contain a wrong balance. The error is that of the store: neither
// the other branch nor its sender is at fault.
#[test]
fn wrong_undo_data_do_not_invalidate_branch() {
    let (mut reference, mut node, blocks) = closed_node();
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
    node.assert_matches(&reference, &blocks[5]);
    let other = reference.mine_chain(blocks[4].hash(), 2);
    node.submit_side_branch(&other[..1]);
    for _ in 0..2 {
        let error = node.expect_rejection(&other[1]);
        assert!(matches!(error, SubmitError::Store(StoreError::BadUndo { fork })
            if fork == blocks[4].hash()));
        assert_eq!(error.code(), None);
    }
    node.assert_matches(&reference, &blocks[5]);
}

// T13
#[test]
fn unexpected_record_in_log_prevents_start() {
    for (kind, payload) in
        [(RecordKind::Block, &b"no block"[..]), (RecordKind::Undo, b"no undo data")]
    {
        let (_, mut node, _) = closed_node();
        append(&node, kind, payload);
        let error = start_error(&mut node);
        assert!(error.contains("unexpected record at offset"), "{error}");
    }
    // A log that does not start with genesis.
    let (_, mut node, blocks) = closed_node();
    let folder = node.path().join("blocks");
    fs::remove_dir_all(&folder).unwrap();
    fs::remove_dir_all(node.path().join("index")).unwrap();
    append(&node, RecordKind::Block, &blocks[0].encode());
    let error = start_error(&mut node);
    assert!(error.contains("does not start with this network's genesis"), "{error}");
}

// C46, T18
#[test]
fn directory_of_other_network_is_left_unchanged() {
    let (_, mut node, _) = closed_node();
    let other = Reference::new(fixed_params());
    let before = log_bytes(node.path());
    let mut other_node = TestNode::new(&other.params);
    other_node.close();
    copy_folder(node.path(), other_node.path());
    let error = other_node.try_start().unwrap_err();
    assert!(matches!(
        error,
        OpenError::Store(StoreError::Directory(DirectoryError::OtherGenesis { .. }))
    ));
    let error = error.to_string();
    assert!(error.contains(&other.genesis().to_string()) && error.contains("choose another"));
    assert!(log_bytes(other_node.path()) == before);
    assert_eq!(node.start(), []);
}

// T14
#[test]
fn second_open_fails_with_pid_of_first() {
    let (reference, mut node, blocks) = closed_node();
    node.start();
    let (params, path) = (reference.params.clone(), node.path().to_owned());
    let options = crate::harness::options();
    let Err(error) = chain::ledger::open(&path, params, &options, &mut |_| {}) else { panic!() };
    let error = error.to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    node.assert_tip_matches(&reference, &blocks[5]);
}

/// Changes rows of the index of a closed node, with valid checksums.
fn forge(node: &TestNode, reference: &Reference, change: impl FnOnce(&Index) -> Changes) {
    let genesis = reference.genesis();
    let identity = [&schema::VERSION.to_le_bytes(), genesis.as_bytes().as_slice()].concat();
    let folder = node.path().join("index");
    let (index, _) = Index::open(&folder, ShutdownKind::Clean, &identity, 1 << 20).unwrap();
    index.apply(&change(&index)).unwrap();
    index.close().unwrap();
}

/// Adds a row of an account to the index of a closed node, in a run of its own, with valid
/// checksums.
fn forge_account(
    node: &TestNode,
    reference: &Reference,
    number: u8,
    change: impl FnOnce(AccountRow) -> Option<AccountRow>,
) {
    let address = wallet(number).address;
    let folder = RunFolder::new(&node.path().join("runs"), schema::filter_key);
    forge(node, reference, |index| {
        let named = index.get(schema::RUNS_KEY).unwrap().unwrap();
        let mut named = schema::decode_runs(&named).unwrap();
        let key = schema::account_key(&address);
        let found =
            named.iter().rev().find_map(|run| folder.open(*run).unwrap().get(&key).unwrap());
        let row = found.flatten().and_then(|value| AccountRow::decode(&value));
        let value = change(row.unwrap_or_default()).and_then(|row| row.encode());
        let forged = folder.write(1, |append| append(&key, value.as_deref())).unwrap();
        forged.set_kept(true);
        named.push(forged.description());
        let runs = schema::encode_runs(named.into_iter());
        Changes::from([(schema::RUNS_KEY.to_vec(), Some(runs))])
    });
}

fn increment_balance(mut row: AccountRow) -> Option<AccountRow> {
    row.account.balance = row.account.balance.checked_add(Amount::new(1).unwrap()).unwrap();
    Some(row)
}

#[test]
fn verify_reports_forged_balance_with_remedy() {
    for (number, expected) in [(0, 999_994), (1, 1_000_000), (77, 0)] {
        let (reference, node, _) = closed_node();
        forge_account(&node, &reference, number, increment_balance);
        let error = node.verify().unwrap_err();
        let VerifyError::Account { address, found, expected: account } = &error else {
            panic!("{error}")
        };
        assert_eq!(*address, wallet(number).address);
        assert_eq!((account.balance.units(), found.balance.units()), (expected, expected + 1));
        assert!(error.to_string().contains("delete the folder `index`"));
    }
    // A missing account.
    let (reference, node, _) = closed_node();
    forge_account(&node, &reference, 3, |_| None);
    assert!(matches!(node.verify().unwrap_err(), VerifyError::Account { .. }));
}

#[test]
fn start_after_kill_detects_forged_balance() {
    let (reference, mut node, blocks) = closed_node();
    forge_account(&node, &reference, 0, increment_balance);
    node.start();
    node.kill();
    let lines: Vec<String> = node.start().iter().map(OpenProgress::to_string).collect();
    assert_eq!(
        lines,
        ["rebuilding the index from the block log: its accounts do not match their hash"]
    );
    node.assert_matches(&reference, &blocks[5]);
    node.close();
    node.verify().unwrap();
}

#[test]
fn rebuilds_inconsistent_index() {
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
        (Box::new(with_state(|row| row.covered.offset -= 1)), "it belongs to another block log"),
        (
            Box::new(|_| Changes::from([(schema::STATE_KEY.to_vec(), Some(vec![1, 2, 3]))])),
            malformed,
        ),
        (Box::new(|_| Changes::from([(chunk.clone(), None)])), malformed),
        (Box::new(|_| Changes::from([(schema::RUNS_KEY.to_vec(), Some(vec![1]))])), malformed),
        (
            Box::new(|_| Changes::from([(schema::RUNS_KEY.to_vec(), Some(vec![0; 20]))])),
            "a file of its rows is missing or damaged",
        ),
        (Box::new(|_| Changes::from([(chunk.clone(), Some(vec![0xff; 113]))])), malformed),
    ];
    for (forgery, expected) in forgeries {
        let (reference, mut node, blocks) = closed_node();
        forge(&node, &reference, forgery);
        let notices = node.start();
        let [OpenProgress::IndexRebuilt { reason }] = &notices[..] else { panic!("{notices:?}") };
        assert_eq!(reason, expected);
        node.assert_matches(&reference, &blocks[5]);
    }
}

/// The files of a closed node.
fn files(node: &TestNode) -> Vec<String> {
    let runs = fs::read_dir(node.path().join("runs")).unwrap();
    let runs = runs.map(|run| format!("runs/{}", run.unwrap().file_name().display()));
    let others = ["lock", "genesis", "last-run", "index.sum", "blocks/00000.log", "index/db"];
    others.map(str::to_owned).into_iter().chain(runs).collect()
}

// T12
#[test]
fn damage_of_any_file_is_repaired_or_reported() {
    let (reference, node, blocks) = closed_node();
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
    let files = files(&node);
    assert!(files.len() > 6, "there is a file of rows");
    for file in files {
        for (at, damage) in damages.iter().enumerate() {
            let mut damaged = node.copy();
            damage(&damaged.path().join(&file));
            match damaged.try_start() {
                Ok(_) if file == "blocks/00000.log" => panic!("blocks are lost: {at}"),
                Ok(_) => damaged.assert_matches(&reference, &blocks[5]),
                Err(error) => {
                    let error = error.to_string();
                    let name = file.split('/').next_back().unwrap();
                    assert!(error.contains(name) && !error.contains('\n'), "{file} {at}: {error}");
                }
            }
        }
    }
}

// The index of an earlier version had all rows in sled, and an older program that opened this folder
// leaves the files of its runs.
#[test]
fn index_of_another_version_is_rebuilt() {
    let (reference, mut node, blocks) = closed_node();
    let genesis = reference.genesis();
    let identity = [&2_u32.to_le_bytes(), genesis.as_bytes().as_slice()].concat();
    let folder = node.path().join("index");
    let (index, _) = Index::open(&folder, ShutdownKind::Clean, &identity, 1 << 20).unwrap();
    index.close().unwrap();
    let before = files(&node);
    let notices = node.start();
    let [OpenProgress::IndexRebuilt { reason }] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(reason, "it is of another network or version");
    node.assert_matches(&reference, &blocks[5]);
    let after = files(&node);
    assert!(before.iter().filter(|file| file.starts_with("runs/")).all(|run| !after.contains(run)));
    node.close();
    assert_eq!(node.verify().unwrap().unused_index, None);
}
