//! Removal of records.

use super::*;

/// The locations of every third record of those that are in the files before the last.
fn every_third(records: &Records, log: &BlockLog) -> Vec<RecordLocation> {
    let earlier = records.iter().map(|(_, location, _)| *location);
    earlier.filter(|location| location.file < log.end().file).step_by(3).collect()
}

fn remove(log: &mut BlockLog, records: &[RecordLocation]) -> u64 {
    let removal = log.prepare_removal(records).unwrap();
    log.remove(removal).unwrap()
}

fn bytes_on_disk(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// Writes a log of several files.
fn write_log(folder: &Path, count: u8) -> (BlockLog, Records) {
    let mut log = new_log(folder, 2_000);
    let records = (0..count).map(|number| append(&mut log, number)).collect();
    log.sync().unwrap();
    (log, records)
}

#[test]
fn removed_records_free_their_space_and_the_others_stay_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut records) = write_log(folder.path(), 120);
    let (reader, end) = (log.reader(), log.end());
    assert!(end.file >= 5 && !log.has_removed());
    let before = bytes_on_disk(folder.path());
    // Twice, so that files with gaps are rewritten too; then all but the last record of a file.
    let mut removed = Vec::new();
    for round in 0..3 {
        let some = match round {
            2 => records.iter().map(|record| record.1).filter(|at| at.file == 1).skip(1).collect(),
            _ => every_third(&records, &log),
        };
        let freed = remove(&mut log, &some);
        records.retain(|(_, location, _)| !some.contains(location));
        removed.extend(some);
        assert!(freed > 0);
        assert_eq!((log.end(), log.size_bytes()), (end, bytes_on_disk(folder.path())));
        for (kind, location, payload) in &records {
            assert_eq!(reader.read(*location).unwrap(), (*kind, payload.clone()));
            assert_eq!(reader.read_prefix(*location, 7).unwrap(), payload[..7]);
            assert!(!log.is_removed(*location));
        }
        for location in &removed {
            assert!(matches!(reader.read(*location), Err(LogError::Removed { .. })));
            assert!(log.is_removed(*location));
        }
        assert!(log.prepare_removal(&removed[..1]).is_err(), "it is gone");
    }
    let payloads: u64 = removed.iter().map(|location| u64::from(location.length)).sum();
    assert!(bytes_on_disk(folder.path()) < before - payloads);
    drop(log);

    let (mut log, truncation, found) = open(folder.path()).unwrap();
    assert_eq!((found, truncation), (records.clone(), None));
    assert!(log.is_removed(removed[0]) && !log.is_removed(records[0].1));
    assert_eq!((log.end(), log.size_bytes()), (end, bytes_on_disk(folder.path())));
    for (kind, location, payload) in &records {
        assert_eq!(log.reader().read(*location).unwrap(), (*kind, payload.clone()));
    }
    records.push(append(&mut log, 7));
    drop(log);
    for covered in records.iter().map(|(_, location, _)| location.end()).chain([removed[4].end()]) {
        let (_, truncation, found) = open_from(folder.path(), SMALL, covered).unwrap();
        let at = |location: RecordLocation| {
            let RecordLocation { file, offset, .. } = location;
            LogPosition { file, offset }
        };
        let rest: Vec<_> =
            records.iter().filter(|(_, location, _)| at(*location) >= covered).cloned().collect();
        assert_eq!((found, truncation), (rest, None));
    }
}

#[test]
fn records_of_the_last_file_are_removed_once_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, mut records) = write_log(folder.path(), 5);
    assert_eq!(log.end().file, 0);
    let locations: Vec<_> = records.iter().map(|record| record.1).collect();
    remove(&mut log, &locations[1..3]);
    assert_eq!(log.end().file, 1);
    records.drain(1..3);
    records.push(append(&mut log, 9));
    log.sync().unwrap();
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, records);
    // The last file is lost: nothing is appended to a compacted file.
    fs::remove_file(file_path(folder.path(), 1)).unwrap();
    records.pop();
    let (mut log, _, found) = open(folder.path()).unwrap();
    assert_eq!((found, log.end().file), (records.clone(), 1));
    records.push(append(&mut log, 8));
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, records);
}

// T10
#[test]
fn removal_that_was_interrupted_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, records) = write_log(folder.path(), 40);
    let before = bytes_on_disk(folder.path());
    let removal = log.prepare_removal(&every_third(&records, &log)).unwrap();
    assert!(bytes_on_disk(folder.path()) > before);
    drop((removal, log));
    let (log, _, found) = open(folder.path()).unwrap();
    assert_eq!((found, bytes_on_disk(folder.path())), (records, before));
    drop(log);
}

// T12
#[test]
fn damage_to_a_compacted_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, records) = write_log(folder.path(), 40);
    let some = every_third(&records, &log);
    remove(&mut log, &some);
    drop(log);
    let path = file_path(folder.path(), 0);
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, LogError::Damaged { .. } | LogError::Version { .. }), "{at}");
    }
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(matches!(open(folder.path()), Err(LogError::Damaged { .. })), "{length}");
    }
    fs::write(&path, &bytes).unwrap();
    open(folder.path()).unwrap();
}
