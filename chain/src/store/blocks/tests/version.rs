//! Files of other versions of the format.

use super::*;

/// Sets the version of a log file.
fn set_version(path: &Path, version: u8) {
    let mut bytes = fs::read(path).unwrap();
    bytes[7] = version;
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    fs::write(path, &bytes).unwrap();
}

// T16
#[test]
fn file_of_newer_version_is_rejected_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = write_batches(folder.path());
    set_version(&path, 3);
    let bytes = fs::read(&path).unwrap();
    assert!(matches!(open(folder.path()), Err(LogError::Version { found: 3, .. })));
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

// A program of the oldest version refuses undo data that it would misread.
#[test]
fn undo_data_starts_a_file_of_the_current_version() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut expected) = write_batches(folder.path());
    set_version(&path, 1);
    let (mut log, _, records) = open(folder.path()).unwrap();
    assert_eq!(records, expected);
    for (kind, file) in [(RecordKind::Block, 0), (RecordKind::Undo, 1), (RecordKind::Block, 1)] {
        let location = log.append(kind, b"payload").unwrap();
        assert_eq!(location.file, file);
        expected.push((kind, location, b"payload".to_vec()));
    }
    log.seal().unwrap();
    drop(log);
    assert_eq!(fs::read(&path).unwrap()[7], 1);
    assert_eq!(fs::read(file_path(folder.path(), 1)).unwrap()[7], 2);
    let (_, truncation, records) = open(folder.path()).unwrap();
    assert_eq!((truncation, records), (None, expected));
}
