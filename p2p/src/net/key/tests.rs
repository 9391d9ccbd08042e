//! The key stays what it was, or somebody is told why not.

use super::*;

#[test]
fn the_key_is_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap().public();
    let second = open(folder.path()).unwrap().public();
    assert_eq!(first, second);
    let other = open(tempfile::tempdir().unwrap().path()).unwrap().public();
    assert_ne!(first, other);
    // Nothing else is left in the folder.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_key() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let key = open(folder.path()).unwrap().public();
    assert_eq!(mode(), 0o600);
    // A copy may have come with other rights.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(open(folder.path()).unwrap().public(), key);
    assert_eq!(mode(), 0o600);
}

#[test]
fn a_damaged_key_is_an_error_that_names_the_file_and_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    let whole = Keypair::generate_ed25519().to_protobuf_encoding().unwrap();
    let mut flipped = whole.clone();
    flipped[0] ^= 0x40;
    for bytes in [&[], &b"key"[..], &whole[..whole.len() - 1], &flipped] {
        fs::write(&path, bytes).unwrap();
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(NAME);
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(folder.path()), Err(KeyError::NotPlain { .. })));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![0; 2_000]).unwrap();
    assert!(matches!(open(folder.path()), Err(KeyError::NotPlain { .. })));
}

#[cfg(unix)]
#[test]
fn a_link_is_refused_even_one_to_a_good_key_or_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    open(elsewhere.path()).unwrap();
    let path = folder.path().join(NAME);
    for target in [elsewhere.path().join(NAME), elsewhere.path().join("missing")] {
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(open(folder.path()), Err(KeyError::NotPlain { .. })));
        fs::remove_file(&path).unwrap();
    }
    assert!(!elsewhere.path().join("missing").exists());
}

#[test]
fn without_a_folder_there_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap().path().join("missing");
    let error = open(&folder).unwrap_err();
    assert!(matches!(error, KeyError::Write { .. }));
    assert!(error.to_string().contains("node.key"));
}
