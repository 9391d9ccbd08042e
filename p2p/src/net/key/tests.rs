//! The key is stable across starts, private to its owner, and never replaced silently.

use super::*;

#[test]
fn generates_the_key_once() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).unwrap().public();
    let second = open(directory.path()).unwrap().public();
    assert_eq!(first, second);
    let other = open(tempfile::tempdir().unwrap().path()).unwrap().public();
    assert_ne!(first, other);
    assert_eq!(peer_id(directory.path()).unwrap(), first.to_peer_id());
    // No temporary file remains.
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn restricts_the_key_to_its_owner() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(NAME);
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    let key = open(directory.path()).unwrap().public();
    assert_eq!(mode(), 0o600);
    // A copy may have other permissions.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(open(directory.path()).unwrap().public(), key);
    assert_eq!(mode(), 0o600);
}

#[test]
fn damaged_key_is_reported_and_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(NAME);
    let whole = Keypair::generate_ed25519().to_protobuf_encoding().unwrap();
    let mut flipped = whole.clone();
    flipped[0] ^= 0x40;
    for bytes in [&[], &b"key"[..], &whole[..whole.len() - 1], &flipped] {
        fs::write(&path, bytes).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(matches!(error, KeyError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn rejects_directories_and_oversized_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(NAME);
    fs::create_dir(&path).unwrap();
    assert!(matches!(open(directory.path()), Err(KeyError::NotRegularFile { .. })));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, vec![0; 2_000]).unwrap();
    assert!(matches!(open(directory.path()), Err(KeyError::NotRegularFile { .. })));
}

#[cfg(unix)]
#[test]
fn rejects_links_to_valid_keys_and_dangling_links() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    open(elsewhere.path()).unwrap();
    let path = directory.path().join(NAME);
    for target in [elsewhere.path().join(NAME), elsewhere.path().join("missing")] {
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(matches!(open(directory.path()), Err(KeyError::NotRegularFile { .. })));
        fs::remove_file(&path).unwrap();
    }
    assert!(!elsewhere.path().join("missing").exists());
}

#[test]
fn missing_directory_is_reported_with_the_file() {
    let directory = tempfile::tempdir().unwrap().path().join("missing");
    let error = open(&directory).unwrap_err();
    assert!(matches!(error, KeyError::Write { .. }));
    assert!(error.to_string().contains("node.key"));
}

#[test]
fn key_of_a_secret_is_the_same_everywhere_and_replaces_none() {
    let [one, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for directory in [&one, &other] {
        create_key(directory.path(), [7; 32]).unwrap();
    }
    assert_eq!(peer_id(one.path()).unwrap(), peer_id(other.path()).unwrap());
    let before = peer_id(one.path()).unwrap();
    create_key(one.path(), [8; 32]).unwrap();
    assert_eq!(peer_id(one.path()).unwrap(), before);
}
