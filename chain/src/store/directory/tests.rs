use super::*;

const HERE: block::Hash = block::Hash::from_bytes([1; 32]);
const ELSEWHERE: block::Hash = block::Hash::from_bytes([2; 32]);

fn open(path: &Path) -> Directory {
    Directory::open(path, HERE).unwrap()
}

#[test]
fn reports_how_the_last_run_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let directory = open(&path);
    assert_eq!(
        (directory.last_shutdown(), directory.path()),
        (ShutdownKind::FirstRun, path.as_path())
    );
    directory.close().unwrap();
    let directory = open(&path);
    assert_eq!(directory.last_shutdown(), ShutdownKind::Clean);
    drop(directory);
    let killed = if boot_id().is_some() {
        ShutdownKind::UncleanSameBoot
    } else {
        ShutdownKind::UncleanOtherBoot
    };
    assert_eq!(open(&path).last_shutdown(), killed);

    for text in
        ["", "stopped", "running\n", "running\n1\nunknown\n", "running\n1\nother\n", "\u{0}"]
    {
        fs::write(path.join("last-run"), text).unwrap();
        assert_eq!(open(&path).last_shutdown(), ShutdownKind::UncleanOtherBoot, "{text:?}");
    }
    fs::write(path.join("last-run"), [0xff; 40]).unwrap();
    assert_eq!(open(&path).last_shutdown(), ShutdownKind::UncleanOtherBoot);
}

// T14
#[test]
fn second_open_is_rejected_with_pid_of_owner() {
    let folder = tempfile::tempdir().unwrap();
    let held = open(folder.path());
    let before = contents(folder.path());
    let error = Directory::open(folder.path(), HERE).unwrap_err();
    let pid = std::process::id();
    assert!(matches!(error, DirectoryError::InUse { holder: Some(holder), .. } if holder == pid));
    let text = error.to_string();
    assert!(text.contains(&format!("process {pid}")), "{text}");
    assert!(text.contains(folder.path().to_str().unwrap()), "{text}");
    assert_eq!(contents(folder.path()), before);
    drop(held);
}

// T15
#[test]
fn waits_for_owner_to_release_lock() {
    let folder = tempfile::tempdir().unwrap();
    let held = open(folder.path());
    let letting_go = std::thread::spawn(move || {
        std::thread::sleep(LOCK_PAUSE * 3);
        held.close().unwrap();
    });
    assert_eq!(open(folder.path()).last_shutdown(), ShutdownKind::Clean);
    letting_go.join().unwrap();
}

// T18
#[test]
fn directory_of_another_genesis_is_rejected_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().unwrap();
    let before = contents(folder.path());
    let text = Directory::open(folder.path(), ELSEWHERE).unwrap_err().to_string();
    for named in [HERE.to_string(), ELSEWHERE.to_string(), folder.path().display().to_string()] {
        assert!(text.contains(&named), "{text}");
    }
    assert_eq!(contents(folder.path()), before);
    assert_eq!(open(folder.path()).last_shutdown(), ShutdownKind::Clean);
}

// T12
#[test]
fn missing_genesis_is_reported_with_remedy() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close().unwrap();
    let file = folder.path().join("genesis");
    for spoil in [
        &(|| fs::remove_file(&file)) as &dyn Fn() -> io::Result<()>,
        &|| fs::write(&file, ""),
        &|| fs::write(&file, &HERE.to_string()[1..]),
        &|| fs::write(&file, [0xff; 64]),
    ] {
        spoil().unwrap();
        let error = Directory::open(folder.path(), HERE).unwrap_err();
        assert!(matches!(error, DirectoryError::GenesisLost { .. }));
        let text = error.to_string();
        assert!(text.contains(&format!("write {HERE} into it")), "{text}");
    }
    fs::write(&file, HERE.to_string()).unwrap();
    assert_eq!(open(folder.path()).last_shutdown(), ShutdownKind::Clean);
}

// T12
#[test]
fn obstructing_path_is_reported() {
    for name in ["genesis", "last-run", "lock", "last-run.new"] {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).close().unwrap();
        let path = folder.path().join(name);
        let _ = fs::remove_file(&path);
        fs::create_dir(&path).unwrap();
        let text = Directory::open(folder.path(), HERE).unwrap_err().to_string();
        let named = folder.path().join(name.trim_end_matches(".new"));
        assert!(text.contains(named.to_str().unwrap()), "{text}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fs::write(&path, "a file").unwrap();
    let text = Directory::open(&path, HERE).unwrap_err().to_string();
    assert!(text.contains(path.to_str().unwrap()), "{text}");
}

// T03: the machine crashed while the directory was created.
#[test]
fn resumes_unfinished_first_open_from_any_step() {
    for names in [&["lock"][..], &["lock", "genesis.new"], &["lock", "genesis", "last-run.new"]] {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let text = if *name == "genesis" { HERE.to_string() } else { String::new() };
            fs::write(folder.path().join(name), text).unwrap();
        }
        assert_eq!(open(folder.path()).last_shutdown(), ShutdownKind::FirstRun);
    }
}

// T19
#[cfg(unix)]
#[test]
fn works_behind_links_and_under_any_name_with_private_mode() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a b").join("Straße 鎖 🦀");
    open(&path).close().unwrap();
    assert_eq!(mode(&path), 0o700);

    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let held = open(&link);
    assert_eq!((held.last_shutdown(), mode(&path)), (ShutdownKind::Clean, 0o700));
    assert!(matches!(Directory::open(&path, HERE), Err(DirectoryError::InUse { .. })));
}

/// Returns every file with its contents and modification time.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            (path.clone(), fs::read(&path).unwrap(), modified)
        })
        .collect();
    files.sort();
    files
}
