mod compact;
mod version;

use super::*;
use proptest::prelude::*;
use std::{fs, io};

/// A file size that makes the logs of these tests span several files.
const SMALL: u32 = 400;

type Records = Vec<(RecordKind, RecordLocation, Vec<u8>)>;

fn open_from(
    folder: &Path,
    file_bytes: u32,
    covered: LogPosition,
) -> Result<(BlockLog, Option<Truncation>, Records), LogError> {
    let mut records = Vec::new();
    let (log, truncation) =
        BlockLog::open::<LogError>(folder, file_bytes, covered, |kind, location, payload| {
            records.push((kind, location, payload.to_vec()));
            Ok(())
        })?;
    Ok((log, truncation, records))
}

fn open(folder: &Path) -> Result<(BlockLog, Option<Truncation>, Records), LogError> {
    open_from(folder, SMALL, LogPosition::START)
}

fn new_log(folder: &Path, file_bytes: u32) -> BlockLog {
    open_from(folder, file_bytes, LogPosition::START).unwrap().0
}

/// Payload `number`: all payloads differ, and none is empty.
fn payload(number: u8) -> Vec<u8> {
    (0..20 + number).map(|byte| byte ^ number.wrapping_mul(37)).collect()
}

fn append(log: &mut BlockLog, number: u8) -> (RecordKind, RecordLocation, Vec<u8>) {
    let kind = if number.is_multiple_of(2) { RecordKind::Block } else { RecordKind::Undo };
    let payload = payload(number);
    (kind, log.append(kind, &payload).unwrap(), payload)
}

/// Writes one file: two synced batches of two records, then two unsynced records.
fn write_batches(folder: &Path) -> (PathBuf, Records) {
    let mut log = new_log(folder, FILE_BYTES);
    let mut records = Vec::new();
    for batch in 0..3 {
        records.extend([append(&mut log, 2 * batch), append(&mut log, 2 * batch + 1)]);
        if batch < 2 {
            log.sync().unwrap();
        }
    }
    (file_path(folder, 0), records)
}

/// The number of synced records that `write_batches` writes.
const SYNCED: usize = 4;

fn is_whole(
    records: &[(RecordKind, RecordLocation, Vec<u8>)],
    of: &[(RecordKind, RecordLocation, Vec<u8>)],
) {
    assert_eq!(records, &of[..records.len()]);
}

#[test]
fn reads_appended_records_across_files_and_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let reader = log.reader();
    let mut records = Vec::new();
    let mut ends = vec![log.end()];
    for number in 0..120 {
        records.push(append(&mut log, number));
        // The record is readable at once, before any sync.
        let (kind, location, payload) = records.last().unwrap();
        assert_eq!(reader.read(*location).unwrap(), (*kind, payload.clone()));
        assert_eq!(reader.read_prefix(*location, 7).unwrap(), payload[..7]);
        assert_eq!(reader.read_prefix(*location, 1000).unwrap(), *payload);
        assert_eq!(location.end(), log.end());
        if number % 3 == 0 {
            log.sync().unwrap();
        }
        ends.push(log.end());
    }
    assert!(log.end().file > 20);
    // Forwards and backwards over all files, of which there are more than the reader holds open.
    let both_ways: Vec<_> = records.iter().chain(records.iter().rev()).collect();
    for (kind, location, payload) in both_ways {
        assert_eq!(reader.read_prefix(*location, 7).unwrap(), payload[..7]);
        assert_eq!(reader.read(*location).unwrap(), (*kind, payload.clone()));
    }
    let on_disk: u64 = (0..=log.end().file)
        .map(|number| fs::metadata(file_path(folder.path(), number)).unwrap().len())
        .inspect(|bytes| assert!(*bytes <= u64::from(SMALL)))
        .sum();
    assert_eq!(log.size_bytes(), on_disk);
    drop(log);

    for (skipped, covered) in ends.into_iter().enumerate() {
        let (log, truncation, found) = open_from(folder.path(), SMALL, covered).unwrap();
        assert_eq!((found, truncation), (records[skipped..].to_vec(), None));
        assert_eq!(log.size_bytes(), on_disk);
    }
    let (mut log, ..) = open(folder.path()).unwrap();
    records.push(append(&mut log, 40));
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, records);
}

#[test]
fn rejects_covered_position_that_is_no_record_boundary() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let places: Vec<RecordLocation> = (0..20).map(|number| append(&mut log, number).1).collect();
    log.sync().unwrap();
    let end = log.end();
    drop(log);
    for location in places {
        let covered = LogPosition { file: location.file, offset: location.offset + 1 };
        let error = open_from(folder.path(), SMALL, covered).unwrap_err();
        assert!(matches!(error, LogError::NotCovered(at) if at == covered), "{covered:?} {error}");
    }
    for beyond in [
        LogPosition { offset: end.offset + 1, ..end },
        LogPosition { offset: end.offset + 14, ..end },
        LogPosition { file: end.file + 1, ..LogPosition::START },
        LogPosition { offset: SMALL, file: 0 },
    ] {
        assert_lost(folder.path(), beyond);
    }
    let empty = tempfile::tempdir().unwrap();
    assert_lost(empty.path(), LogPosition { file: 0, offset: 30 });
}

/// Asserts that a log which was synced up to `covered` has lost records.
#[track_caller]
fn assert_lost(folder: &Path, covered: LogPosition) {
    let error = open_from(folder, SMALL, covered).unwrap_err();
    let LogError::Lost { end, covered: expected, .. } = &error else { panic!("{error}") };
    assert!(*end < covered && *expected == covered, "{error}");
}

// T12
#[test]
fn every_truncation_of_a_sealed_log_is_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    while log.end().file < 2 {
        append(&mut log, 60);
    }
    log.seal().unwrap();
    let covered = log.synced();
    assert_eq!(covered, log.end());
    drop(log);
    let path = file_path(folder.path(), covered.file);
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_lost(folder.path(), covered);
        assert_eq!(fs::metadata(&path).unwrap().len(), length as u64);
    }
    for file in (0..=covered.file).rev() {
        fs::remove_file(file_path(folder.path(), file)).unwrap();
        assert_lost(folder.path(), covered);
    }
}

// T01, T07: the file ends at any byte.
#[test]
fn truncated_file_retains_all_whole_records() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = write_batches(folder.path());
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let (mut log, truncation, mut found) = open(folder.path()).unwrap();
        let whole =
            records.iter().filter(|(_, location, _)| location.end().offset as usize <= length);
        assert_eq!(found.len(), whole.count());
        is_whole(&found, &records);
        let surviving = fs::metadata(&path).unwrap().len();
        assert_eq!(surviving, u64::from(log.end().offset));
        if length >= 20 {
            assert_eq!(
                length as u64,
                surviving + truncation.map_or(0, |truncation| truncation.bytes)
            );
        }
        // Appending continues from there.
        found.push(append(&mut log, 9));
        log.sync().unwrap();
        drop(log);
        let (_, truncation, again) = open(folder.path()).unwrap();
        assert_eq!((again, truncation), (found, None));
    }
}

// T07, T08: the file has its length but not its bytes.
#[test]
fn zeroed_unsynced_tail_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = write_batches(folder.path());
    let bytes = fs::read(&path).unwrap();
    let synced = records[SYNCED - 1].1.end().offset as usize;
    for from in synced..bytes.len() {
        for length in [bytes.len(), bytes.len() + 5000] {
            let mut torn = bytes.clone();
            torn[from..].fill(0);
            torn.resize(length, 0);
            fs::write(&path, torn).unwrap();
            let (_, truncation, found) = open(folder.path()).unwrap();
            assert!(found.len() >= SYNCED && truncation.is_some());
            is_whole(&found, &records);
        }
    }
}

// T07, T08: of two unsynced records only the second reached the disk.
#[test]
fn unsynced_record_after_torn_record_is_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = write_batches(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let torn = records[SYNCED].1.offset as usize;
    let next = records[SYNCED + 1].1.offset as usize;
    bytes[torn..next].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_, truncation, found) = open(folder.path()).unwrap();
    assert_eq!(found, records[..SYNCED]);
    let truncation = truncation.unwrap();
    assert_eq!((truncation.offset as usize > torn - 14, truncation.path), (true, path));
}

// T11: no flipped byte yields a wrong record or loses a synced record silently.
#[test]
fn flipped_byte_is_reported_as_damage_or_loses_only_unsynced_records() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = write_batches(folder.path());
    let bytes = fs::read(&path).unwrap();
    let synced_end = records[SYNCED - 1].1.end().offset as usize;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[at] ^= flip;
            fs::write(&path, &flipped).unwrap();
            match open(folder.path()) {
                Ok((_, truncation, found)) => {
                    is_whole(&found, &records);
                    assert!(at >= synced_end && found.len() >= SYNCED, "byte {at}");
                    assert!(truncation.is_some());
                }
                Err(LogError::Damaged { path: reported, offset }) => {
                    assert!(at < synced_end + 13 && offset <= at as u64, "byte {at}");
                    assert_eq!(reported, path);
                    assert_eq!(fs::read(&path).unwrap(), flipped, "unchanged");
                }
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
    }
}

// T11: the last batch is synced, and only the sync marker follows it.
#[test]
fn damage_to_last_synced_batch_is_not_an_unfinished_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let last = [append(&mut log, 1), append(&mut log, 2)];
    log.sync().unwrap();
    drop(log);
    let path = file_path(folder.path(), 0);
    let bytes = fs::read(&path).unwrap();
    for at in last[0].1.offset..last[1].1.end().offset {
        let mut flipped = bytes.clone();
        flipped[at as usize] ^= 4;
        fs::write(&path, &flipped).unwrap();
        assert!(matches!(open(folder.path()), Err(LogError::Damaged { .. })), "byte {at}");
    }
}

#[test]
fn damage_before_covered_position_is_reported_without_other_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    append(&mut log, 1);
    let (_, location, _) = append(&mut log, 2);
    let covered = log.end();
    drop(log);
    let path = file_path(folder.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let error = open_from(folder.path(), SMALL, covered).unwrap_err();
    let offset = u64::from(location.offset);
    assert!(matches!(error, LogError::Damaged { offset: at, .. } if at == offset));
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert!(error.to_string().contains(&format!("at byte {offset}")));
    // Only the covered position proves that the record was synced.
    assert_eq!(open(folder.path()).unwrap().1.unwrap().offset, location.offset);
}

// T11, T12
#[test]
fn damage_in_earlier_file_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    while log.end().file < 2 {
        append(&mut log, 3);
    }
    drop(log);
    let path = file_path(folder.path(), 0);
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(&error, LogError::Damaged { path: reported, .. } if *reported == path));
    }
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(&error, LogError::Damaged { path: reported, .. } if *reported == path));
    }
    fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Damaged { .. })));
    fs::remove_file(&path).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(&error, LogError::Missing { path: reported } if *reported == path), "{error}");
}

// A received block contains the bytes of a later record, correct except for the secret salt.
#[test]
fn forged_record_inside_torn_payload_is_no_evidence() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), FILE_BYTES);
    let (_, location, _) = append(&mut log, 1);
    let bad = log.end().offset;
    let forged = |salt| {
        let inner = Header::new(Tag::Data(RecordKind::Block), bad + 1, b"inner", salt);
        [&inner.encode()[..], b"inner"].concat()
    };
    let foreign = forged(Salt::random());
    let genuine = forged(log.salt);
    log.append(RecordKind::Block, &[&[7; 50], &foreign[..]].concat()).unwrap();
    drop(log);
    let path = file_path(folder.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[bad as usize + 15] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let inner = bytes.len() - genuine.len();
    let (_, truncation, found) = open(folder.path()).unwrap();
    assert_eq!((truncation.unwrap().offset, found.len()), (bad, 1));
    assert_eq!(found[0].1, location);

    // A record with the right salt at the same offset is found.
    bytes[inner..].copy_from_slice(&genuine);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Damaged { .. })));
}

#[test]
fn reading_a_wrong_location_reports_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let (_, location, _) = append(&mut log, 1);
    log.sync().unwrap();
    let reader = log.reader();
    for wrong in [
        RecordLocation { offset: location.offset + 1, ..location },
        RecordLocation { length: location.length + 1, ..location },
        RecordLocation { offset: 5000, ..location },
        // The sync marker after it.
        RecordLocation { offset: location.end().offset, length: 0, ..location },
    ] {
        let error = reader.read(wrong).unwrap_err();
        let offset = u64::from(wrong.offset);
        assert!(matches!(error, LogError::Damaged { offset: at, .. } if at == offset));
    }
    assert!(matches!(
        reader.read(RecordLocation { file: 1, ..location }),
        Err(LogError::Missing { .. })
    ));
    assert!(reader.read_prefix(RecordLocation { offset: 5000, ..location }, 1).is_err());

    let path = file_path(folder.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[location.offset as usize + 15] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(reader.read(location), Err(LogError::Damaged { .. })));
}

#[test]
fn oversized_record_is_rejected_without_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let longest = (SMALL - FILE_HEADER_BYTES - HEADER_BYTES) as usize;
    let end = log.end();
    let error = log.append(RecordKind::Block, &vec![1; longest + 1]).unwrap_err();
    assert!(matches!(error, LogError::TooLong { bytes } if bytes == longest + 1));
    assert_eq!(log.end(), end);
    append(&mut log, 1);
    let location = log.append(RecordKind::Block, &vec![1; longest]).unwrap();
    log.sync().unwrap();
    assert_eq!((location.file, log.end().offset), (1, SMALL));
    append(&mut log, 2);
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2.len(), 3);
}

#[test]
fn error_of_visitor_aborts_opening() {
    #[derive(Debug, PartialEq, thiserror::Error)]
    enum VisitError {
        #[error("no")]
        Here(RecordLocation),
        #[error("log")]
        Log,
    }
    impl From<LogError> for VisitError {
        fn from(_: LogError) -> VisitError {
            VisitError::Log
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = write_batches(folder.path());
    fs::write(&path, &fs::read(&path).unwrap()[..200]).unwrap();
    let opened = BlockLog::open(folder.path(), SMALL, LogPosition::START, |_, location, _| {
        Err(VisitError::Here(location))
    });
    assert_eq!(opened.unwrap_err(), VisitError::Here(records[0].1));
    assert_eq!(fs::metadata(&path).unwrap().len(), 200, "nothing was truncation");
}

// T12
#[test]
fn folder_in_place_of_log_file_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_path(folder.path(), 0);
    fs::create_dir(&path).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    fs::remove_dir(&path).unwrap();
    // Files with other names are ignored.
    fs::write(folder.path().join("00000.log.bak"), "x").unwrap();
    fs::write(folder.path().join("000000.log"), "x").unwrap();
    assert!(open(folder.path()).unwrap().2.is_empty());
}

// T09
#[cfg(target_os = "linux")]
#[test]
fn failed_write_that_cannot_be_undone_stops_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let first = append(&mut log, 1);
    log.sync().unwrap();
    let end = log.end();
    log.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    // That file is full and cannot be truncated, so it is unknown what it has.
    let error = log.append(RecordKind::Block, b"lost").unwrap_err();
    assert!(matches!(error, LogError::Io { action: "truncate", .. }), "{error}");
    assert_eq!(log.end(), end);
    assert!(matches!(log.append(RecordKind::Block, b"lost"), Err(LogError::Stopped)));
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, [first]);
}

// T10
#[test]
fn sync_that_fails_for_lack_of_space_is_not_a_full_disk() {
    let path = Path::new("00000.log");
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let error = LogError::write("write", path)(kind.into());
        assert!(error.is_disk_full() && error.to_string().contains("make room"), "{error}");
        let error = LogError::io("sync", path)(kind.into());
        assert!(!error.is_disk_full() && error.to_string().contains("cannot sync"), "{error}");
    }
}

// T09
#[test]
fn file_that_cannot_be_created_stops_the_log_without_a_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let mut written = vec![append(&mut log, 1)];
    // The next file cannot be created where a directory is.
    let obstacle = file_path(folder.path(), 1);
    fs::create_dir(&obstacle).unwrap();
    let failed = loop {
        match log.append(RecordKind::Block, &[7; 50]) {
            Ok(location) => written.push((RecordKind::Block, location, vec![7; 50])),
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, LogError::Io { action: "create", .. }), "{failed}");
    assert!(matches!(log.append(RecordKind::Block, b"more"), Err(LogError::Stopped)));
    fs::remove_dir(&obstacle).unwrap();
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, written);
}

// T10
#[cfg(target_os = "linux")]
#[test]
fn failed_sync_is_never_retried() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    // Accepts every write and fails to sync.
    log.file = OpenOptions::new().write(true).open("/dev/null").unwrap();
    append(&mut log, 1);
    assert!(matches!(log.sync(), Err(LogError::Io { action: "sync", .. })));
    assert!(matches!(log.sync(), Err(LogError::Stopped)));
    assert!(matches!(log.append(RecordKind::Block, b"more"), Err(LogError::Stopped)));
}

proptest! {
    // T05, T06, T07, T08: repeated power failures. Any unsynced sector may be lost, and the file
    // may be as short as it was when it was last synced.
    #[test]
    fn power_failure_loses_no_synced_record(
        runs in prop::collection::vec(
            (
                prop::collection::vec((any::<u8>(), 0_usize..300, prop::bool::weighted(0.3)), 0..12),
                prop::collection::vec(any::<bool>(), 64),
                any::<prop::sample::Index>(),
            ),
            1..5,
        ),
    ) {
        const SECTOR: usize = 64;
        const BYTES: u32 = 2000;
        let folder = tempfile::tempdir().unwrap();
        let mut written = Vec::new();
        let mut synced = 0;
        for (appends, surviving, length) in runs {
            let (mut log, _, found) = open_from(folder.path(), BYTES, LogPosition::START).unwrap();
            prop_assert!(found.len() >= synced && found.len() <= written.len());
            prop_assert_eq!(&found[..], &written[..found.len()]);
            written = found;
            synced = written.len();
            for (byte, bytes, sync) in appends {
                let payload = vec![byte; bytes];
                let location = log.append(RecordKind::Undo, &payload).unwrap();
                written.push((RecordKind::Undo, location, payload));
                if sync {
                    log.sync().unwrap();
                    synced = written.len();
                }
            }
            let (path, synced) = (log.path(), log.synced as usize);
            drop(log);
            let mut bytes = fs::read(&path).unwrap();
            for (sector, _) in surviving.iter().enumerate().filter(|(_, surviving)| !**surviving) {
                let end = ((sector + 1) * SECTOR).min(bytes.len());
                bytes[(sector * SECTOR).max(synced).min(end)..end].fill(0);
            }
            bytes.truncate(synced + length.index(bytes.len() - synced + 1));
            fs::write(&path, bytes).unwrap();
        }
        let (.., found) = open_from(folder.path(), BYTES, LogPosition::START).unwrap();
        prop_assert!(found.len() >= synced);
        prop_assert_eq!(&found[..], &written[..found.len()]);
    }
}
