//! The mempool and its journal over restarts, and journals that are damaged.

use super::*;
use crate::mempool::journal::{Bounds, MempoolJournal, Replay, SavedTransfer};
use crate::store::{LogError, StoreError};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A journal in a folder of its own.
pub(super) struct Journaled {
    folder: TempDir,
    journal: Option<MempoolJournal>,
}

/// Opens a journal and returns the warnings.
fn open(folder: &Path, genesis: block::Hash) -> (MempoolJournal, Replay, Vec<String>) {
    open_with(folder, genesis, Bounds { max_bytes: 16 << 20, max_transfers: 1_000 })
}

fn open_with(
    folder: &Path,
    genesis: block::Hash,
    bounds: Bounds,
) -> (MempoolJournal, Replay, Vec<String>) {
    let mut warnings = Vec::new();
    let warn = &mut |warning| warnings.push(warning);
    let (journal, replay) = MempoolJournal::open(folder, genesis, bounds, warn).unwrap();
    (journal, replay, warnings)
}

fn restore(replay: Replay, limits: Limits, accounts: &HashMap<Address, Account>) -> RestoredWorld {
    let mut replay = replay;
    let saved = replay.take_transfers();
    let transfers: Vec<_> = saved.iter().map(|saved| saved.transfer.clone()).collect();
    let checked = rules::tx::check_all(&transfers, GENESIS, 2);
    let restored = saved.into_iter().zip(checked).filter_map(|(saved, checked)| {
        let SavedTransfer { source, seconds, .. } = saved;
        Some(RestoredTransfer { transfer: checked.ok()?, source, seconds })
    });
    let mut world = World { pool: Mempool::new(limits), accounts: accounts.clone() };
    let Replay { drop_reasons, seconds, .. } = replay;
    let restored = restored.collect();
    let dropped = world.pool.restore(restored, &drop_reasons, seconds, accounts).unwrap();
    (world, dropped)
}

type RestoredWorld = (World, Vec<Dropped>);

impl Journaled {
    pub(super) fn new(pool: &mut Mempool) -> Journaled {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, _, warnings) = open(&folder.path().join("mempool"), GENESIS);
        assert_eq!(warnings, [""; 0]);
        pool.take_unlogged();
        journal.compact(pool).unwrap();
        Journaled { folder, journal: Some(journal) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mempool")
    }

    fn file(&self) -> PathBuf {
        self.path().join("00000.log")
    }

    pub(super) fn log(&mut self, pool: &mut Mempool) {
        let changes = pool.take_unlogged();
        self.journal.as_mut().unwrap().log_changes(pool, &changes, None).unwrap();
    }

    /// Drops the journal without closing it, and restores a mempool from it.
    pub(super) fn restart(
        &mut self,
        limits: Limits,
        accounts: &HashMap<Address, Account>,
    ) -> RestoredWorld {
        self.journal = None;
        let (mut journal, replay, warnings) = open(&self.path(), GENESIS);
        assert_eq!(warnings, [""; 0]);
        let (mut world, dropped) = restore(replay, limits, accounts);
        world.pool.take_unlogged();
        journal.compact(&world.pool).unwrap();
        self.journal = Some(journal);
        (world, dropped)
    }
}

fn ids(pool: &Mempool) -> Vec<Id> {
    pool.ids_since(0).map(|(_, id)| *id).collect()
}

/// Checks that two mempools have the same transfers in the same order, for the same reasons.
pub(super) fn assert_same(restored: &Mempool, original: &Mempool) {
    assert_eq!(ids(restored), ids(original));
    for id in ids(original) {
        assert_eq!(restored.status(&id), original.status(&id));
    }
    let reasons = |pool: &Mempool| -> HashMap<Id, RejectReason> {
        pool.drop_reasons.iter().map(|(id, reason)| (*id, reason.clone())).collect()
    };
    assert_eq!(reasons(restored), reasons(original));
    assert_eq!(restored.bytes(), original.bytes());
}

/// A world in which transfers were added, replaced, dropped and confirmed, and the contents of the
/// mempool after each record of its journal.
fn eventful() -> (World, Journaled, Vec<BTreeSet<Id>>) {
    let mut world = World::new(Limits::default());
    let mut journaled = Journaled::new(&mut world.pool);
    let mut states = vec![BTreeSet::new()];
    let mut log = |pool: &mut Mempool, journaled: &mut Journaled| {
        journaled.log(pool);
        states.push(pool.ids().copied().collect());
    };
    world.insert_all([pay(1, 0), pay(2, 0), pay(1, 1), pay(3, 2), pay(2, 1)]);
    log(&mut world.pool, &mut journaled);
    world.insert(Pay { fee: 500, ..pay(1, 1) }).unwrap();
    log(&mut world.pool, &mut journaled);
    world.set(2, account(100_000, 1));
    world.reconcile(&[], &[pay(2, 0)], &[2]);
    log(&mut world.pool, &mut journaled);
    world.set(1, account(1_200, 0));
    world.reconcile(&[], &[], &[1]);
    log(&mut world.pool, &mut journaled);
    world.insert(pay(4, 0)).unwrap();
    log(&mut world.pool, &mut journaled);
    (world, journaled, states)
}

// M14
#[test]
fn replaced_dropped_and_confirmed_transfers_stay_away() {
    let (world, mut journaled, _) = eventful();
    assert_eq!(world.pool.count(), 4);
    for _ in 0..2 {
        let (restored, dropped) = journaled.restart(Limits::default(), &world.accounts);
        assert_eq!(dropped, []);
        assert_same(&restored.pool, &world.pool);
        let replaced = RejectReason::Replaced { by: Pay { fee: 500, ..pay(1, 1) }.id() };
        assert_eq!(restored.status(pay(1, 1)), Some(Status::Dropped(replaced)));
        assert_eq!(restored.status(pay(2, 0)), None, "it is confirmed");
    }
}

#[test]
fn journal_is_compacted_when_it_has_doubled() {
    let mut world = World::new(Limits::default());
    let mut journaled = Journaled::new(&mut world.pool);
    let mut largest = 0;
    // Each transfer replaces another one, so that the mempool does not grow.
    let mut fee = 1_000;
    (0..100).for_each(|sender| world.set(sender, account(100_000_000, 0)));
    for _ in 0..60 {
        for sender in 0..100 {
            let transfer = Pay { fee, memo: 256, ..pay(sender, 0) }.signed();
            world.pool.insert(transfer, Replacement::Allowed, &world.accounts).unwrap();
            journaled.log(&mut world.pool);
        }
        fee += fee / 5;
        largest = largest.max(fs::metadata(journaled.file()).unwrap().len());
    }
    assert!(largest < 2 << 20, "{largest}");
    let (restored, _) = journaled.restart(Limits::default(), &world.accounts);
    assert_same(&restored.pool, &world.pool);
}

// M14, T22
#[test]
fn bad_record_ends_the_replay_and_never_refuses_the_start() {
    for is_closed in [false, true] {
        let (world, mut journaled, states) = eventful();
        let mut journal = journaled.journal.take().unwrap();
        if is_closed {
            journal.close(&world.pool).unwrap();
        }
        drop(journal);
        let file = fs::read(journaled.file()).unwrap();
        let mut found = BTreeSet::new();
        // Every byte of the headers, and some of each record.
        for at in (0..80).chain((80..file.len()).step_by(7)) {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << (at % 8);
            let _ = fs::remove_dir_all(journaled.path());
            fs::create_dir_all(journaled.path()).unwrap();
            fs::write(journaled.file(), &damaged).unwrap();
            let (mut journal, replay, warnings) = open(&journaled.path(), GENESIS);
            let (restored, dropped) = restore(replay, Limits::default(), &world.accounts);
            restored.assert_sound();
            let all: BTreeSet<Id> = ids(&restored.pool)
                .into_iter()
                .chain(dropped.iter().map(|it| it.transfer.id()))
                .collect();
            let state = states.iter().rposition(|state| *state == all);
            found.insert(state.unwrap_or_else(|| panic!("byte {at}: no state of the mempool")));
            // Only a mark that records are synced can be lost without a loss.
            assert!(!warnings.is_empty() || state == Some(states.len() - 1), "byte {at}");
            if at % 50 == 0 {
                // The next run continues.
                journal.compact(&restored.pool).unwrap();
                drop(journal);
                let (_, mut replay, warnings) = open(&journaled.path(), GENESIS);
                assert_eq!(warnings, [""; 0]);
                assert_eq!(replay.take_transfers().len(), restored.pool.count());
            }
        }
        assert!(found.len() > 3, "{found:?}");
    }
}

#[test]
fn journal_of_another_network_is_moved_away() {
    let (world, mut journaled, _) = eventful();
    journaled.journal = None;
    let other = block::Hash::from_bytes([6; 32]);
    let (journal, mut replay, warnings) = open(&journaled.path(), other);
    assert!(warnings[0].contains(&format!("belongs to genesis {GENESIS}")), "{warnings:?}");
    assert_eq!(replay.take_transfers(), []);
    drop(journal);
    let moved = journaled.path().with_extension("damaged");
    let (_, replay, warnings) = open(&moved, GENESIS);
    assert_eq!(warnings, [""; 0]);
    assert_same(&restore(replay, Limits::default(), &world.accounts).0.pool, &world.pool);
}

#[test]
fn journal_with_more_transfers_than_fit_ends_there() {
    let mut world = World::new(Limits::default());
    let mut journaled = Journaled::new(&mut world.pool);
    for number in 0..50 {
        world.insert_all((0..21).map(|nonce| pay(number, nonce)));
        journaled.log(&mut world.pool);
    }
    journaled.journal = None;
    let (_, mut replay, warnings) = open(&journaled.path(), GENESIS);
    assert_eq!(replay.take_transfers().len(), 1_000);
    assert!(warnings[0].contains("more transfers than the mempool can hold"), "{warnings:?}");
}

/// Logs and inserts a transfer as a submission does.
fn submit(world: &mut World, journal: &mut MempoolJournal, pay: Pay) -> Result<(), StoreError> {
    let prepared = world.pool.prepare(pay.signed(), Replacement::Allowed, &world.accounts);
    let insertion = prepared.unwrap().unwrap();
    journal.log_insertion(&insertion, Source::Local, &world.pool)?;
    world.pool.apply(insertion, Source::Local);
    let changes = world.pool.take_unlogged();
    journal.log_changes(&world.pool, &changes, Some(pay.id()))
}

// A full disk has the same effect as a journal without room.
#[test]
fn full_journal_refuses_transfers_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { max_bytes: 3_000, max_transfers: 100 };
    let (mut journal, ..) = open_with(folder.path(), GENESIS, bounds);
    let mut world = World::new(Limits::default());
    journal.compact(&world.pool).unwrap();
    let is_full = |result: Result<(), StoreError>| {
        matches!(result, Err(StoreError::Log(LogError::Full { .. })))
    };
    let mut nonce = 0;
    while submit(&mut world, &mut journal, pay(1, nonce)).is_ok() {
        nonce += 1;
    }
    assert!(nonce > 5);
    assert_eq!(world.pool.count() as u64, nonce, "nothing changes");
    assert!(is_full(submit(&mut world, &mut journal, pay(1, nonce))));
    // A change that is not written has to be made good for first.
    world.set(1, account(100_000, nonce));
    let confirmed: Vec<Pay> = (0..nonce).map(|nonce| pay(1, nonce)).collect();
    world.reconcile(&[], &confirmed, &[1]);
    let changes = world.pool.take_unlogged();
    journal.log_changes(&world.pool, &changes, None).unwrap();
    assert!(is_full(submit(&mut world, &mut journal, pay(2, 0))));
    journal.retry(&world.pool).unwrap();
    submit(&mut world, &mut journal, pay(2, 0)).unwrap();
    drop(journal);
    let (_, replay, warnings) = open_with(folder.path(), GENESIS, bounds);
    assert_eq!(warnings, [""; 0]);
    let (restored, dropped) = restore(replay, Limits::default(), &world.accounts);
    assert_eq!(dropped, []);
    assert_same(&restored.pool, &world.pool);
}

#[test]
fn missing_empty_and_foreign_files_are_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mempool");
    let contents: [&[u8]; 4] = [b"", b"short", &[0; 100_000], &[255; 100_000]];
    for bytes in contents {
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("00000.log"), bytes).unwrap();
        let (mut journal, mut replay, warnings) = open(&path, GENESIS);
        assert_eq!(replay.take_transfers(), []);
        assert_eq!(warnings.is_empty(), bytes.is_empty(), "{warnings:?}");
        let mut world = World::new(Limits::default());
        world.insert(pay(1, 0)).unwrap();
        journal.compact(&world.pool).unwrap();
        drop(journal);
        let (_, mut replay, _) = open(&path, GENESIS);
        assert_eq!(replay.take_transfers().len(), 1);
        fs::remove_dir_all(&path).unwrap();
    }
}
