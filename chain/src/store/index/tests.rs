use super::*;

const IDENTITY: &[u8] = b"schema 1 of a network";
const CACHE: u64 = 8 << 20;

fn open(folder: &Path, last_shutdown: ShutdownKind) -> (Index, Opened) {
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    Index::open(folder, last_shutdown, IDENTITY, CACHE).unwrap()
}

/// Batch `number`: new keys, keys of earlier batches with new values, and removals.
fn batch(number: u8) -> Changes {
    let put = |key: u8, of: u8| {
        let value = vec![number ^ key; 1 + usize::from(key) * 12];
        (vec![b'k', of, key], Some(value))
    };
    let mut changes: Changes = (0..120).map(|key| put(key, number)).collect();
    if let Some(before) = number.checked_sub(1) {
        changes.extend((0..60).map(|key| put(key, before)));
        changes.extend((100..110).map(|key| (vec![b'k', before, key], None)));
    }
    changes
}

/// What an index holds after so many batches.
fn state(batches: u8) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut state = BTreeMap::new();
    for (key, value) in (0..batches).flat_map(batch) {
        match value {
            Some(value) => state.insert(key, value),
            None => state.remove(&key),
        };
    }
    state
}

fn all(index: &Index) -> BTreeMap<Vec<u8>, Vec<u8>> {
    index.scan_prefix(b"").collect::<Result<_, _>>().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for path in entries(from).unwrap() {
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &to) } else { fs::copy(&path, &to).map(drop).unwrap() }
    }
}

/// An index of five batches in two runs, so that there is a snapshot and something after it.
fn five_batches(folder: &Path) -> Index {
    let (index, opened) = open(folder, ShutdownKind::FirstRun);
    assert_eq!(opened, Opened::Created);
    (0..3).for_each(|number| index.apply(&batch(number)).unwrap());
    index.close().unwrap();
    let (index, opened) = open(folder, ShutdownKind::Clean);
    assert_eq!(opened, Opened::Reused);
    (3..5).for_each(|number| index.apply(&batch(number)).unwrap());
    index
}

/// Opens a copy of `kept` after something was done to its file `name`, and lets `judge` see it.
fn spoiled(
    kept: &Path,
    name: &str,
    spoil: impl FnOnce(&Path),
    last_shutdown: ShutdownKind,
) -> (Index, Opened) {
    let folder = kept.with_file_name("spoiled");
    let _ = fs::remove_dir_all(&folder);
    copy(kept, &folder);
    spoil(&folder.join(name));
    open(&folder.join("index"), last_shutdown)
}

/// Names of the files of a kept index, with their sizes.
fn names(kept: &Path) -> Vec<(String, usize)> {
    let mut names = vec![];
    for folder in [kept, &kept.join("index")] {
        for path in entries(folder).unwrap().into_iter().filter(|path| path.is_file()) {
            let name = path.strip_prefix(kept).unwrap().to_str().unwrap().to_owned();
            names.push((name, fs::read(&path).unwrap().len()));
        }
    }
    names
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    fs::write(path, bytes).unwrap();
}

#[test]
fn finds_after_a_clean_stop_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    five_batches(&path).close().unwrap();
    let (index, opened) = open(&path, ShutdownKind::Clean);
    assert_eq!((opened, all(&index)), (Opened::Reused, state(5)));
    for (key, value) in state(5) {
        assert_eq!(index.get(&key).unwrap(), Some(value));
    }
    assert_eq!(index.get(b"nothing").unwrap(), None);

    let of_three = index.scan_prefix(b"k\x03").map(Result::unwrap);
    assert!(of_three.eq(state(5).into_iter().filter(|(key, _)| key.starts_with(b"k\x03"))));
    assert_eq!(index.scan_prefix(b"l").count(), 0);
}

#[test]
fn many_threads_read_while_one_writes_and_sled_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = open(&folder.path().join("index"), ShutdownKind::FirstRun);
    index.apply(&batch(0)).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let reader = index.reader();
                while !done.load(Ordering::Relaxed) {
                    // Never rewritten.
                    assert_eq!(reader.get(&[b'k', 0, 70]).unwrap().unwrap().len(), 841);
                    assert!(reader.scan_prefix(b"k").all(|record| record.is_ok()));
                }
            });
        }
        let reopened: Vec<bool> = (1..8)
            .map(|number| {
                let due = REOPEN_AFTER_BYTES * u64::from(number % 2);
                index.written_bytes.store(due, Ordering::Relaxed);
                let applied = index.apply(&batch(number));
                applied.is_ok() && index.written_bytes.load(Ordering::Relaxed) == 0
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(reopened, [true, false, true, false, true, false, true]);
    });
    assert_eq!(all(&index), state(8));
    let reader = index.reader();
    index.close().unwrap();
    assert!(matches!(reader.get(b"k"), Err(IndexError::Closed)));
    assert!(matches!(reader.scan_prefix(b"k").next(), Some(Err(IndexError::Closed))));
}

// T11
#[test]
fn any_flipped_bit_after_a_clean_stop_replaces_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    five_batches(&kept.join("index")).close().unwrap();
    let names = names(&kept);
    assert_eq!(names.len(), 4, "sums, db, conf, snapshot: {names:?}");
    for (name, bytes) in names {
        for at in (0..bytes).step_by(bytes.div_ceil(25)) {
            let (index, opened) = spoiled(&kept, &name, |path| flip(path, at), ShutdownKind::Clean);
            assert!(matches!(opened, Opened::Replaced { .. }), "{name} {at}");
            assert_eq!(all(&index).len(), 0);
        }
    }
}

// T12
#[test]
fn any_file_cut_emptied_gone_or_made_a_folder_replaces_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    five_batches(&kept.join("index")).close().unwrap();
    for (name, bytes) in names(&kept) {
        let spoils: [&dyn Fn(&Path); 5] = [
            &|path| fs::write(path, &fs::read(path).unwrap()[..bytes / 2]).unwrap(),
            &|path| fs::write(path, "").unwrap(),
            &|path| fs::remove_file(path).unwrap(),
            &|path| fs::remove_file(path).and_then(|()| fs::create_dir(path)).unwrap(),
            &|path| fs::write(path.with_added_extension("more"), "x").unwrap(),
        ];
        for (which, spoil) in spoils.into_iter().enumerate() {
            let (index, opened) = spoiled(&kept, &name, spoil, ShutdownKind::Clean);
            // Something more beside the folder is nothing to it.
            if (name.as_str(), which) == ("index.sum", 4) {
                assert_eq!((opened, all(&index)), (Opened::Reused, state(5)));
            } else {
                assert!(matches!(opened, Opened::Replaced { .. }), "{name} {which}");
            }
        }
    }
    // The whole folder.
    let (index, opened) =
        spoiled(&kept, "index", |path| fs::remove_dir_all(path).unwrap(), ShutdownKind::Clean);
    assert_eq!((opened, all(&index).len()), (Opened::Created, 0));
    drop(index);
    let a_file = |path: &Path| {
        fs::remove_dir_all(path).unwrap();
        fs::write(path, "a file").unwrap();
    };
    for last_shutdown in [ShutdownKind::Clean, ShutdownKind::UncleanSameBoot] {
        let (_, opened) = spoiled(&kept, "index", a_file, last_shutdown);
        assert!(matches!(opened, Opened::Replaced { .. }));
    }
}

// T01, T11: after a kill some last batches may be gone, but nothing is wrong.
#[test]
fn whatever_is_flipped_after_a_kill_no_wrong_value_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    drop(five_batches(&kept.join("index")));
    let (index, opened) = spoiled(&kept, "", |_| (), ShutdownKind::UncleanSameBoot);
    assert_eq!((opened, all(&index)), (Opened::Reused, state(5)));
    drop(index);

    let states: Vec<_> = (3..=5).map(state).collect();
    for (name, bytes) in names(&kept) {
        for at in (0..bytes).step_by(bytes.div_ceil(50)) {
            match spoiled(&kept, &name, |path| flip(path, at), ShutdownKind::UncleanSameBoot) {
                (index, Opened::Reused) => assert!(states.contains(&all(&index)), "{name} {at}"),
                (index, Opened::Replaced { .. }) => assert_eq!(all(&index).len(), 0),
                (_, opened) => panic!("{name} {at}: {opened:?}"),
            }
        }
    }
}

// T06: sled says nothing when it lost something to a power cut, so it is not asked.
#[test]
fn what_is_not_known_to_be_sound_or_ours_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    five_batches(&kept.join("index")).close().unwrap();
    for last_shutdown in [ShutdownKind::UncleanOtherBoot, ShutdownKind::FirstRun] {
        let (index, opened) = spoiled(&kept, "", |_| (), last_shutdown);
        assert!(matches!(opened, Opened::Replaced { .. }), "{last_shutdown:?}");
        assert_eq!(all(&index).len(), 0);
        // What replaced it is as good as any.
        index.apply(&batch(0)).unwrap();
        index.close().unwrap();
        let (index, opened) = open(&folder.path().join("spoiled/index"), ShutdownKind::Clean);
        assert_eq!((opened, all(&index)), (Opened::Reused, state(1)));
    }
    for last_shutdown in [ShutdownKind::Clean, ShutdownKind::UncleanSameBoot] {
        let path = folder.path().join("other/index");
        let _ = fs::remove_dir_all(folder.path().join("other"));
        copy(&kept, &folder.path().join("other"));
        let (index, opened) = Index::open(&path, last_shutdown, b"schema 2", CACHE).unwrap();
        let reason = "it is of another network or version".to_owned();
        assert_eq!((opened, all(&index).len()), (Opened::Replaced { reason }, 0));
    }
}

// T03
#[test]
fn what_a_kill_left_half_done_is_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    drop(five_batches(&kept.join("index")));
    let (index, opened) = spoiled(
        &kept,
        "index/snap.00000000000000FF.generating",
        |path| fs::write(path, "half a snapshot").unwrap(),
        ShutdownKind::UncleanSameBoot,
    );
    assert_eq!((opened, all(&index)), (Opened::Reused, state(5)));
    drop(index);

    // Killed after the index was moved aside, and again.
    let aside = folder.path().join("spoiled/index.old-0");
    let (_, opened) = spoiled(
        &kept,
        "index",
        |path| {
            fs::rename(path, &aside).unwrap();
            copy(&aside, &aside.with_extension("old-7"));
        },
        ShutdownKind::UncleanSameBoot,
    );
    assert_eq!(opened, Opened::Created);
    let left: Vec<_> = entries(aside.parent().unwrap()).unwrap();
    assert_eq!(left, [aside.with_file_name("index")]);
}

// T15
#[test]
fn a_held_index_is_waited_for_and_then_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let held = five_batches(&path);
    let refused = Index::open(&path, ShutdownKind::UncleanSameBoot, IDENTITY, CACHE).unwrap_err();
    assert!(matches!(&refused, IndexError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(path.to_str().unwrap()));
    assert_eq!(all(&held), state(5));

    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(LOCK_PAUSE * 4);
            drop(held);
        });
        let (index, opened) = open(&path, ShutdownKind::UncleanSameBoot);
        assert_eq!((opened, all(&index)), (Opened::Reused, state(5)));
    });
}

#[test]
fn a_reader_that_stays_behind_holds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let index = five_batches(&path);
    let reader = index.reader();
    let mut scan = reader.scan_prefix(b"");
    scan.next().unwrap().unwrap();
    drop(index);
    assert_eq!(all(&open(&path, ShutdownKind::UncleanSameBoot).0), state(5));
    assert!(matches!(reader.get(b"k"), Err(IndexError::Closed)));
    assert!(matches!(scan.last(), Some(Err(IndexError::Closed))));
}

#[test]
fn a_value_that_is_too_long_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (index, _) = open(&folder.path().join("index"), ShutdownKind::FirstRun);
    let mut changes = batch(0);
    changes.insert(b"z".to_vec(), Some(vec![0; MAX_VALUE_BYTES + 1]));
    let error = index.apply(&changes).unwrap_err();
    assert!(matches!(error, IndexError::TooLong { bytes: 4097 }));
    assert_eq!(all(&index).len(), 0);
    changes.insert(b"z".to_vec(), Some(vec![7; MAX_VALUE_BYTES]));
    index.apply(&changes).unwrap();
    assert_eq!(index.get(b"z").unwrap(), Some(vec![7; MAX_VALUE_BYTES]));
    // sled kept it inside its file.
    assert_eq!(fs::read_dir(folder.path().join("index/blobs")).unwrap().count(), 0);
}

#[test]
fn replaced_on_demand_it_is_empty_for_readers_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let mut index = five_batches(&path);
    let reader = index.reader();
    index.replace().unwrap();
    assert_eq!(reader.scan_prefix(b"").count(), 0);
    index.apply(&batch(0)).unwrap();
    assert!(reader.get(&[b'k', 0, 70]).unwrap().is_some());
    index.close().unwrap();
    assert_eq!(all(&open(&path, ShutdownKind::Clean).0), state(1));
    assert_eq!(entries(folder.path()).unwrap(), [path]);
}

// T10
#[test]
fn an_engine_that_failed_is_not_asked_again_and_its_stop_is_not_clean() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index");
    let index = five_batches(&path);
    let failing = index.reader.engine.ask(|_| -> sled::Result<()> { panic!("of a bad disk") });
    assert!(failing.unwrap_err().to_string().contains("of a bad disk"));
    assert!(matches!(index.get(b"k"), Err(IndexError::Engine(_))));
    assert!(matches!(index.apply(&batch(5)), Err(IndexError::Engine(_))));
    assert!(matches!(index.close(), Err(IndexError::Engine(_))));
    assert!(!path.with_added_extension("sum").exists());
}

// T19
#[cfg(unix)]
#[test]
fn behind_a_link_it_is_replaced_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let (link, real) = (folder.path().join("index"), folder.path().join("a disk/größer"));
    fs::create_dir_all(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let (index, _) = open(&link, ShutdownKind::FirstRun);
    index.apply(&batch(0)).unwrap();
    index.close().unwrap();
    assert_eq!(open(&link, ShutdownKind::Clean).1, Opened::Reused);
    assert!(matches!(open(&link, ShutdownKind::UncleanOtherBoot).1, Opened::Replaced { .. }));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && real.join("db").exists());
}
