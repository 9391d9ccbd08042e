use super::*;
use proptest::prelude::*;
use std::fs;

/// Small enough that a test's log has several files.
const SMALL: u32 = 400;

type Records = Vec<(RecordKind, RecordLocation, Vec<u8>)>;

fn open_from(
    folder: &Path,
    file_bytes: u32,
    covered: LogPosition,
) -> Result<(BlockLog, Option<Truncation>, Records), LogError> {
    let mut records = Vec::new();
    let (log, cut) =
        BlockLog::open::<LogError>(folder, file_bytes, covered, |kind, location, payload| {
            records.push((kind, location, payload.to_vec()));
            Ok(())
        })?;
    Ok((log, cut, records))
}

fn open(folder: &Path) -> Result<(BlockLog, Option<Truncation>, Records), LogError> {
    open_from(folder, SMALL, LogPosition::START)
}

fn new_log(folder: &Path, file_bytes: u32) -> BlockLog {
    open_from(folder, file_bytes, LogPosition::START).unwrap().0
}

/// Payload `number`: each differs, none is empty.
fn payload(number: u8) -> Vec<u8> {
    (0..20 + number).map(|byte| byte ^ number.wrapping_mul(37)).collect()
}

fn append(log: &mut BlockLog, number: u8) -> (RecordKind, RecordLocation, Vec<u8>) {
    let kind = if number.is_multiple_of(2) { RecordKind::Block } else { RecordKind::Undo };
    let payload = payload(number);
    (kind, log.append(kind, &payload).unwrap(), payload)
}

/// One file: two synced batches of two records, then two records that nobody synced.
fn batches(folder: &Path) -> (PathBuf, Records) {
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

/// How many of the records `batches` makes were promised.
const PROMISED: usize = 4;

fn is_whole(
    records: &[(RecordKind, RecordLocation, Vec<u8>)],
    of: &[(RecordKind, RecordLocation, Vec<u8>)],
) {
    assert_eq!(records, &of[..records.len()]);
}

#[test]
fn gives_back_what_was_appended_across_files_and_opens() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let reader = log.reader();
    let mut records = Vec::new();
    let mut ends = vec![log.end()];
    for number in 0..120 {
        records.push(append(&mut log, number));
        // Read at once, before any sync.
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
    // There and back over all files, which are more than are kept open.
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
        let (log, cut, found) = open_from(folder.path(), SMALL, covered).unwrap();
        assert_eq!((found, cut), (records[skipped..].to_vec(), None));
        assert_eq!(log.size_bytes(), on_disk);
    }
    let (mut log, ..) = open(folder.path()).unwrap();
    records.push(append(&mut log, 40));
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, records);
}

#[test]
fn refuses_to_be_covered_where_no_record_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let places: Vec<RecordLocation> = (0..20).map(|number| append(&mut log, number).1).collect();
    log.sync().unwrap();
    let end = log.end();
    drop(log);
    let mut wrong = vec![
        LogPosition { offset: end.offset + 1, ..end },
        LogPosition { offset: end.offset + 14, ..end },
        LogPosition { file: end.file + 1, ..LogPosition::START },
        LogPosition { offset: SMALL, file: 0 },
    ];
    wrong.extend(
        places
            .iter()
            .map(|location| LogPosition { file: location.file, offset: location.offset + 1 }),
    );
    for covered in wrong {
        let error = open_from(folder.path(), SMALL, covered).unwrap_err();
        assert!(matches!(error, LogError::NotCovered(at) if at == covered), "{covered:?} {error}");
    }
    let empty = tempfile::tempdir().unwrap();
    let covered = LogPosition { file: 0, offset: 30 };
    assert!(matches!(open_from(empty.path(), SMALL, covered), Err(LogError::NotCovered(_))));
}

// T01, T07: the file ends anywhere.
#[test]
fn truncated_anywhere_keeps_the_whole_records_before() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = batches(folder.path());
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let (mut log, cut, mut found) = open(folder.path()).unwrap();
        let whole =
            records.iter().filter(|(_, location, _)| location.end().offset as usize <= length);
        assert_eq!(found.len(), whole.count());
        is_whole(&found, &records);
        let kept = fs::metadata(&path).unwrap().len();
        assert_eq!(kept, u64::from(log.end().offset));
        if length >= 20 {
            assert_eq!(length as u64, kept + cut.map_or(0, |cut| cut.bytes));
        }
        // It goes on from there.
        found.push(append(&mut log, 9));
        log.sync().unwrap();
        drop(log);
        let (_, cut, again) = open(folder.path()).unwrap();
        assert_eq!((again, cut), (found, None));
    }
}

// T07, T08: the file has its length but not its bytes.
#[test]
fn zeros_instead_of_the_unsynced_tail_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = batches(folder.path());
    let bytes = fs::read(&path).unwrap();
    let promised = records[PROMISED - 1].1.end().offset as usize;
    for from in promised..bytes.len() {
        for length in [bytes.len(), bytes.len() + 5000] {
            let mut torn = bytes.clone();
            torn[from..].fill(0);
            torn.resize(length, 0);
            fs::write(&path, torn).unwrap();
            let (_, cut, found) = open(folder.path()).unwrap();
            assert!(found.len() >= PROMISED && cut.is_some());
            is_whole(&found, &records);
        }
    }
}

// T07, T08: of two unsynced records only the second reached the disk.
#[test]
fn an_unsynced_record_after_a_torn_one_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = batches(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    let torn = records[PROMISED].1.offset as usize;
    let next = records[PROMISED + 1].1.offset as usize;
    bytes[torn..next].fill(0);
    fs::write(&path, &bytes).unwrap();
    let (_, cut, found) = open(folder.path()).unwrap();
    assert_eq!(found, records[..PROMISED]);
    let cut = cut.unwrap();
    assert_eq!((cut.offset as usize > torn - 14, cut.path), (true, path));
}

// T11: whatever is flipped, no wrong record is shown and no promised one is lost in silence.
#[test]
fn a_flipped_byte_is_named_as_damage_or_costs_only_unsynced_records() {
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = batches(folder.path());
    let bytes = fs::read(&path).unwrap();
    let promised_end = records[PROMISED - 1].1.end().offset as usize;
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[at] ^= flip;
            fs::write(&path, &flipped).unwrap();
            match open(folder.path()) {
                Ok((_, cut, found)) => {
                    is_whole(&found, &records);
                    assert!(at >= promised_end && found.len() >= PROMISED, "byte {at}");
                    assert!(cut.is_some());
                }
                Err(LogError::Damaged { path: named, offset }) => {
                    assert!(at < promised_end + 13 && offset <= at as u64, "byte {at}");
                    assert_eq!(named, path);
                    assert_eq!(fs::read(&path).unwrap(), flipped, "left as it was");
                }
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
    }
}

// T11: the last batch is synced and nothing follows it but the mark.
#[test]
fn damage_to_the_last_synced_batch_is_not_taken_for_an_unfinished_write() {
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
fn damage_before_what_is_covered_is_named_without_other_evidence() {
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
    // Nothing else says that it was ever synced.
    assert_eq!(open(folder.path()).unwrap().1.unwrap().offset, location.offset);
}

// T11, T12
#[test]
fn damage_anywhere_in_an_earlier_file_is_named() {
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
        assert!(matches!(&error, LogError::Damaged { path: named, .. } if *named == path));
    }
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(&error, LogError::Damaged { path: named, .. } if *named == path));
    }
    fs::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Damaged { .. })));
    fs::remove_file(&path).unwrap();
    let error = open(folder.path()).unwrap_err();
    assert!(matches!(&error, LogError::Missing { path: named } if *named == path), "{error}");
}

// T16
#[test]
fn a_file_of_a_newer_version_is_refused_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = batches(folder.path());
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] += 1;
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Version { found: 2, .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

// A stranger's block holds what looks like a later record: it knows everything but the salt.
#[test]
fn a_record_inside_a_torn_payload_proves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), FILE_BYTES);
    let (_, location, _) = append(&mut log, 1);
    let bad = log.end().offset;
    let forged = |salt| {
        let inner = Header::new(Tag::Data(RecordKind::Block), bad + 1, b"inner", salt);
        [&inner.encode()[..], b"inner"].concat()
    };
    let stranger = forged(Salt::fresh());
    let insider = forged(log.salt);
    log.append(RecordKind::Block, &[&[7; 50], &stranger[..]].concat()).unwrap();
    drop(log);
    let path = file_path(folder.path(), 0);
    let mut bytes = fs::read(&path).unwrap();
    bytes[bad as usize + 15] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let inner = bytes.len() - insider.len();
    let (_, cut, found) = open(folder.path()).unwrap();
    assert_eq!((cut.unwrap().offset, found.len()), (bad, 1));
    assert_eq!(found[0].1, location);

    // With the salt it would: the search reaches it.
    bytes[inner..].copy_from_slice(&insider);
    fs::write(&path, &bytes).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Damaged { .. })));
}

#[test]
fn a_place_where_no_such_record_lies_is_damage_to_a_reader() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let (_, location, _) = append(&mut log, 1);
    log.sync().unwrap();
    let reader = log.reader();
    for wrong in [
        RecordLocation { offset: location.offset + 1, ..location },
        RecordLocation { length: location.length + 1, ..location },
        RecordLocation { offset: 5000, ..location },
        // The mark behind it.
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
fn a_record_that_fits_no_file_is_refused_and_changes_nothing() {
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
fn what_the_visitor_refuses_ends_the_opening() {
    #[derive(Debug, PartialEq, thiserror::Error)]
    enum Refused {
        #[error("no")]
        Here(RecordLocation),
        #[error("log")]
        Log,
    }
    impl From<LogError> for Refused {
        fn from(_: LogError) -> Refused {
            Refused::Log
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, records) = batches(folder.path());
    fs::write(&path, &fs::read(&path).unwrap()[..200]).unwrap();
    let opened = BlockLog::open(folder.path(), SMALL, LogPosition::START, |_, location, _| {
        Err(Refused::Here(location))
    });
    assert_eq!(opened.unwrap_err(), Refused::Here(records[0].1));
    assert_eq!(fs::metadata(&path).unwrap().len(), 200, "nothing was cut");
}

// T12
#[test]
fn what_stands_in_the_way_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = file_path(folder.path(), 0);
    fs::create_dir(&path).unwrap();
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    fs::remove_dir(&path).unwrap();
    // Other names are nobody's business.
    fs::write(folder.path().join("00000.log.bak"), "x").unwrap();
    fs::write(folder.path().join("000000.log"), "x").unwrap();
    assert!(open(folder.path()).unwrap().2.is_empty());
}

// T09
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_nothing_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    let first = append(&mut log, 1);
    log.sync().unwrap();
    let end = log.end();
    log.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = log.append(RecordKind::Block, b"lost").unwrap_err();
    assert!(matches!(error, LogError::Full { .. }), "{error}");
    assert!(error.to_string().contains("make room"));
    assert_eq!(log.end(), end);
    // That file cannot be cut back either, so nothing may follow.
    assert!(matches!(log.append(RecordKind::Block, b"lost"), Err(LogError::Stopped)));
    drop(log);
    assert_eq!(open(folder.path()).unwrap().2, [first]);
}

// T10
#[cfg(target_os = "linux")]
#[test]
fn a_failed_sync_is_never_retried_into_success() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = new_log(folder.path(), SMALL);
    // Takes every write and refuses to sync.
    log.file = OpenOptions::new().write(true).open("/dev/null").unwrap();
    append(&mut log, 1);
    assert!(matches!(log.sync(), Err(LogError::Io { action: "sync", .. })));
    assert!(matches!(log.sync(), Err(LogError::Stopped)));
    assert!(matches!(log.append(RecordKind::Block, b"more"), Err(LogError::Stopped)));
}

proptest! {
    // T05, T06, T07, T08: the machine goes down again and again; of what was not synced every
    // sector may be there or not, and the file as short as it was when last synced.
    #[test]
    fn a_power_cut_takes_nothing_that_was_promised(
        lives in prop::collection::vec(
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
        let mut promised = 0;
        for (appends, kept, length) in lives {
            let (mut log, _, found) = open_from(folder.path(), BYTES, LogPosition::START).unwrap();
            prop_assert!(found.len() >= promised && found.len() <= written.len());
            prop_assert_eq!(&found[..], &written[..found.len()]);
            written = found;
            promised = written.len();
            for (byte, bytes, sync) in appends {
                let payload = vec![byte; bytes];
                let location = log.append(RecordKind::Undo, &payload).unwrap();
                written.push((RecordKind::Undo, location, payload));
                if sync {
                    log.sync().unwrap();
                    promised = written.len();
                }
            }
            let (path, synced) = (log.path(), log.synced as usize);
            drop(log);
            let mut bytes = fs::read(&path).unwrap();
            for (sector, _) in kept.iter().enumerate().filter(|(_, kept)| !**kept) {
                let end = ((sector + 1) * SECTOR).min(bytes.len());
                bytes[(sector * SECTOR).max(synced).min(end)..end].fill(0);
            }
            bytes.truncate(synced + length.index(bytes.len() - synced + 1));
            fs::write(&path, bytes).unwrap();
        }
        let (.., found) = open_from(folder.path(), BYTES, LogPosition::START).unwrap();
        prop_assert!(found.len() >= promised);
        prop_assert_eq!(&found[..], &written[..found.len()]);
    }
}
