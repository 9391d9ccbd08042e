use super::*;
use crate::store::LogError;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;

type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn folder(path: &Path) -> RunFolder {
    RunFolder::new(path, |key| key.get(..3).unwrap_or(key))
}

/// Rows with keys and values of several lengths; every fifth key is removed.
fn rows(keys: std::ops::Range<u32>, round: u8) -> Rows {
    let row = |number: u32| {
        let key = [&b"k"[..], &number.to_be_bytes()[..2 + (number % 3) as usize]].concat();
        let value = vec![round; (number % 200) as usize];
        (key, (!number.is_multiple_of(5)).then_some(value))
    };
    keys.map(|number| row(number.wrapping_mul(2_654_435_761))).collect()
}

fn write(folder: &RunFolder, rows: &Rows) -> Run {
    let write = |append: &mut AppendRow| {
        rows.iter().try_for_each(|(key, value)| append(key, value.as_deref()))
    };
    folder.write(rows.len(), write).unwrap()
}

fn collect(mut merge: Merge) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    while let Some((key, value)) = merge.next().unwrap() {
        found.push((key.to_vec(), value.map(<[u8]>::to_vec)));
    }
    found
}

fn files(path: &Path) -> usize {
    fs::read_dir(path).map_or(0, Iterator::count)
}

#[test]
fn run_returns_exactly_its_rows_and_removes_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(&directory.path().join("rows"));
    let expected = rows(0..3_000, 1);
    let run = write(&folder, &expected);
    assert_eq!(run.rows(), expected.len() as u64);
    for (key, value) in &expected {
        assert_eq!(run.get(key).unwrap().as_ref(), Some(value));
    }
    for absent in [&b""[..], b"a", b"k", b"kkkkkkk", b"z"] {
        assert_eq!(run.get(absent).unwrap(), expected.get(absent).cloned());
    }
    assert_eq!(Rows::from_iter(collect(Merge::new([&run]).unwrap())), expected);
    assert_eq!(files(&directory.path().join("rows")), 1);
    drop(run);
    assert_eq!(files(&directory.path().join("rows")), 0);
}

#[test]
fn seek_finds_the_first_row_from_a_key_on() {
    let directory = tempfile::tempdir().unwrap();
    let run = write(&folder(directory.path()), &rows(0..3_000, 1));
    let all = rows(0..3_000, 1);
    for start in [vec![], b"k".to_vec(), vec![b'k', 9, 200], vec![b'k', 128], vec![b'z']] {
        let mut cursor = run.seek(&start).unwrap();
        let found = cursor.advance().unwrap().then(|| cursor.key().to_vec());
        assert_eq!(found.as_ref(), all.range(start..).map(|(key, _)| key).next());
    }
    let from = Merge::from_key([&run], &[b'k', 250]).unwrap();
    let expected = all.range(vec![b'k', 250]..).map(|(key, value)| (key.clone(), value.clone()));
    assert_eq!(collect(from), expected.collect::<Vec<_>>());
}

#[test]
fn merge_has_newest_row_of_each_key() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(directory.path());
    let batches = [rows(0..900, 1), rows(300..1_200, 2), rows(600..700, 3)];
    let runs: Vec<Run> = batches.iter().map(|batch| write(&folder, batch)).collect();
    let mut expected = Rows::new();
    batches.into_iter().for_each(|batch| expected.extend(batch));
    let merged = collect(Merge::new(&runs).unwrap());
    assert!(merged.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(Rows::from_iter(merged), expected);
    let (go_on, cancel) = (AtomicBool::new(false), AtomicBool::new(true));
    let merged = folder.merge(&runs, true, &go_on).unwrap().unwrap();
    assert_eq!(Rows::from_iter(collect(Merge::new([&merged]).unwrap())), expected);
    // Nothing is below: removed rows are left out.
    let merged = folder.merge(&runs, false, &go_on).unwrap().unwrap();
    expected.retain(|_, value| value.is_some());
    assert_eq!(Rows::from_iter(collect(Merge::new([&merged]).unwrap())), expected);
    let many = write(&folder, &rows(0..20_000, 4));
    assert!(folder.merge([&many], true, &cancel).unwrap().is_none());
    assert_eq!(files(directory.path()), 6, "three runs, two merged ones and a long one");
}

// The memory of a run does not grow with it.
#[test]
fn samples_of_a_long_run_are_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let count = 3_000_000_u32;
    let run = folder(directory.path()).write(1, |append| {
        let value = [7; 120];
        (0..count).try_for_each(|number| append(&number.to_be_bytes(), Some(&value)))
    });
    let run = run.unwrap();
    assert!(run.bytes() / block::MAX_BYTES as u64 > 2 * samples::MAX_SAMPLES as u64);
    assert!(run.contents.samples.len() <= samples::MAX_SAMPLES);
    for number in (0..count).step_by(99_991).chain([count - 1]) {
        assert_eq!(run.get(&number.to_be_bytes()).unwrap(), Some(Some(vec![7; 120])));
    }
    assert_eq!(run.get(&count.to_be_bytes()).unwrap(), None);
}

#[test]
fn only_an_unchanged_run_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let rows = rows(0..500, 1);
    let run = write(&folder(directory.path()), &rows);
    run.set_kept(true);
    let description = run.description();
    drop(run);
    let folder = folder(directory.path());
    let path = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&path).unwrap();
    let other = RunDescription { crc: description.crc ^ 1, ..description };
    for (description, left) in [(other, &bytes[..]), (description, &bytes[1..])] {
        fs::write(&path, left).unwrap();
        assert!(folder.open(description).is_none());
    }
    fs::write(&path, &bytes).unwrap();
    let run = folder.open(description).unwrap();
    assert_eq!(run.description(), description);
    for (key, value) in &rows {
        assert_eq!(run.get(key).unwrap().as_ref(), Some(value));
    }
    assert_ne!(write(&folder, &rows).description().number, description.number);
    drop(run);
    assert_eq!(files(directory.path()), 1, "the file of an opened run stays");
    folder.remove_others(&[description]).unwrap();
    assert_eq!(files(directory.path()), 1);
    folder.remove_others(&[]).unwrap();
    assert_eq!(files(directory.path()), 0);
}

// A run that changes while it is open is neither read nor merged to a sound one.
#[test]
fn damage_of_an_open_run_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(directory.path());
    let expected = rows(0..3_000, 1);
    let run = write(&folder, &expected);
    let path = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&path).unwrap();
    let is_damaged = |error: LogError| error.to_string().contains("restart to rebuild the index");
    for at in (0..bytes.len()).step_by(997) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert!(is_damaged(folder.merge([&run], true, &AtomicBool::new(false)).unwrap_err()));
        let mut errors = 0;
        for (key, value) in &expected {
            match run.get(key) {
                Ok(found) => assert_eq!(found.as_ref(), Some(value), "{at}"),
                Err(error) => {
                    assert!(is_damaged(error));
                    errors += 1;
                }
            }
        }
        assert!(errors > 0, "{at}");
    }
}

#[test]
fn failed_write_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let folder = folder(directory.path());
    let long = vec![0; 300];
    for (key, value) in [(&long[..], None), (b"k", Some(&long[..])), (b"k", Some(&long[..255]))] {
        let error = folder.write(1, |append| append(key, value)).unwrap_err();
        let LogError::Io { error, .. } = error else { panic!("{error}") };
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(files(directory.path()), 0);
}
