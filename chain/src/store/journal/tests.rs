use super::*;
use proptest::prelude::*;

const LIMIT: u32 = 2_000;

type Records = Vec<Vec<u8>>;

fn open(folder: &Path) -> Result<(Journal, Option<Truncation>, Records), JournalError> {
    let mut records = Vec::new();
    let (journal, truncation) = Journal::open::<JournalError>(folder, LIMIT, |record| {
        records.push(record.to_vec());
        Ok(())
    })?;
    Ok((journal, truncation, records))
}

fn record(number: u8) -> Vec<u8> {
    (0..10 + number % 7).map(|byte| byte ^ number).collect()
}

fn records(numbers: impl IntoIterator<Item = u8>) -> Records {
    numbers.into_iter().map(record).collect()
}

fn file(folder: &Path) -> PathBuf {
    file_path(folder, 0)
}

#[test]
fn reads_appended_and_compacted_records() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, truncation, found) = open(folder.path()).unwrap();
    assert_eq!((truncation, found.len()), (None, 0));
    journal.append(&records(0..3)).unwrap();
    journal.append(&records(3..4)).unwrap();
    drop(journal);
    let (mut journal, _, found) = open(folder.path()).unwrap();
    assert_eq!(found, records(0..4));
    journal.compact(&records([1, 3])).unwrap();
    journal.append(&records([9])).unwrap();
    assert_eq!(journal.size_bytes(), fs::metadata(file(folder.path())).unwrap().len());
    drop(journal);
    let (mut journal, _, found) = open(folder.path()).unwrap();
    assert_eq!(found, records([1, 3, 9]));
    journal.compact(&records([])).unwrap();
    drop(journal);
    assert_eq!(open(folder.path()).unwrap().2, records([]));
}

#[test]
fn never_exceeds_limit_and_reports_need_for_compaction() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(folder.path()).unwrap();
    let mut appended = 0;
    while journal.append(&records([0])).is_ok() {
        appended += 1;
    }
    assert!(matches!(journal.append(&records([0])), Err(JournalError::Full { .. })));
    assert!(journal.size_bytes() <= LIMIT.into() && appended > 10);
    // A batch that does not fit is rejected as a whole.
    journal.compact(&records([1])).unwrap();
    let large = [record(2), vec![0; LIMIT as usize]];
    assert!(matches!(journal.append(&large), Err(JournalError::Full { .. })));
    assert!(matches!(journal.compact(&large), Err(JournalError::Full { .. })));
    journal.append(&records([3])).unwrap();
    drop(journal);
    assert_eq!(open(folder.path()).unwrap().2, records([1, 3]));

    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) =
        Journal::open::<JournalError>(folder.path(), 64 << 20, |_| Ok(())).unwrap();
    let mebibyte = vec![7; 1 << 20];
    for expected in [true, false] {
        journal.append(&[&mebibyte]).unwrap();
        assert_eq!(journal.needs_compaction(), expected);
        journal.compact(&[&mebibyte, &mebibyte]).unwrap();
        assert!(!journal.needs_compaction());
    }
}

#[test]
fn background_sync_covers_appended_records() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(folder.path()).unwrap();
    let background = BackgroundSync::default();
    journal.sync_in_background(background.clone()).unwrap();
    let thread = std::thread::spawn({
        let background = background.clone();
        move || {
            let mut syncs = 0;
            while background.wait() {
                background.sync().unwrap();
                syncs += 1;
            }
            syncs
        }
    });
    journal.append_unsynced(&records(0..3)).unwrap();
    journal.compact(&records([1, 3])).unwrap();
    journal.append_unsynced(&records([9])).unwrap();
    drop(journal);
    background.close();
    assert!((1..=2).contains(&thread.join().unwrap()));
    assert_eq!(open(folder.path()).unwrap().2, records([1, 3, 9]));
}

#[cfg(target_os = "linux")]
#[test]
fn failed_background_sync_stops_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(folder.path()).unwrap();
    let background = BackgroundSync::default();
    journal.sync_in_background(background.clone()).unwrap();
    journal.append_unsynced(&records([1])).unwrap();
    // This file cannot be synced.
    background.set_file(fs::File::open("/dev/null").unwrap(), "/dev/null".into());
    background.mark_unsynced();
    assert!(background.sync().unwrap_err().to_string().contains("sync"));
    let is_stopped = |result| matches!(result, Err(JournalError::Stopped { .. }));
    assert!(is_stopped(journal.append_unsynced(&records([2]))));
    assert!(is_stopped(journal.append(&records([2]))));
    assert!(is_stopped(journal.compact(&records([2]))));
}

// T07: an unfinished write is removed, and all durable records remain.
#[test]
fn torn_tail_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(folder.path()).unwrap();
    journal.append(&records(0..3)).unwrap();
    drop(journal);
    let durable = fs::read(file(folder.path())).unwrap();
    let (mut journal, ..) = open(folder.path()).unwrap();
    journal.append(&records([3])).unwrap();
    drop(journal);
    let whole = fs::read(file(folder.path())).unwrap();
    let last = durable.len() + 13 + record(3).len();
    for bytes in durable.len()..whole.len() {
        fs::write(file(folder.path()), &whole[..bytes]).unwrap();
        let (_, truncation, found) = open(folder.path()).unwrap();
        let expected = if bytes < last { records(0..3) } else { records(0..4) };
        assert_eq!(found, expected, "{bytes}");
        assert_eq!(truncation.is_some(), bytes != durable.len() && bytes != last, "{bytes}");
    }
}

#[test]
fn unfinished_compaction_has_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(folder.path()).unwrap();
    journal.append(&records(0..3)).unwrap();
    drop(journal);
    let mut half = open(&new_folder(folder.path())).unwrap().0;
    half.append(&records([1])).unwrap();
    drop(half);
    let (_, _, found) = open(folder.path()).unwrap();
    assert_eq!(found, records(0..3));
    assert!(!new_folder(folder.path()).exists());
}

proptest! {
    // T11
    #[test]
    fn damage_to_durable_records_is_reported(at in 20_usize..95, bit in 0_u8..8) {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, ..) = open(folder.path()).unwrap();
        journal.append(&records(0..3)).unwrap();
        journal.append(&records([3])).unwrap();
        drop(journal);
        let mut bytes = fs::read(file(folder.path())).unwrap();
        bytes[at] ^= 1 << bit;
        fs::write(file(folder.path()), &bytes).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        prop_assert!(error.contains("00000.log is damaged at byte"), "{error}");
        prop_assert!(error.contains("the chain is not affected"), "{error}");
        prop_assert_eq!(fs::read(file(folder.path())).unwrap(), bytes);
    }
}
