//! A wallet's file on the disk: readable by its owner only, bounded, replaced as a whole or not at
//! all. Knows nothing of what is inside. On systems without Unix permissions those are not checked.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Far above any wallet (each account adds some 70 bytes); what is longer is no wallet.
const MAX_BYTES: u64 = 1 << 20;

/// Why a wallet file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Nothing there.
    #[error(
        "there is no wallet {}: make one with `chain wallet new` or `chain wallet import`",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Something is there already, and stays.
    #[error("there is a wallet {} already: choose another name with --name", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It leads elsewhere, maybe where someone else decides.
    #[error("{} is a symbolic link: put the wallet file itself there", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// A folder, a pipe, a device.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// What it is instead.
        path: PathBuf,
    },
    /// More than `MAX_BYTES`.
    #[error("{} is too long to be a wallet", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Another user can change it at any time.
    #[error("{} belongs to another user: copy it, or `chown` it to yourself", path.display())]
    OtherOwner {
        /// The file or its folder.
        path: PathBuf,
    },
    /// Other users can read the file, or change what the folder holds.
    #[error(
        "{} is open to other users (mode {mode:04o}): run `chmod {wanted:o} {}`",
        path.display(),
        path.display()
    )]
    Open {
        /// The file or its folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The permissions that it should have.
        wanted: u32,
    },
    /// The system refuses.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file or its folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl FileError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> FileError {
        |source| FileError::Io { path: path.to_owned(), source }
    }
}

/// Reads a file that only its owner can read, in a folder that only its owner can change.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(FileError::io(path))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    owners_only(path, &metadata, 0o077, 0o600)?;
    check_folder(folder(path))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::io(path))?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_BYTES => Ok(bytes),
        _ => Err(FileError::TooLong { path: path.to_owned() }),
    }
}

/// Writes a new file, in a folder that it makes if needed; never touches one that is there.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    make_folder(folder(path))?;
    let written = write_aside(path, bytes)?;
    written.persist_noclobber(path).map_err(|failed| match failed.error {
        error if error.kind() == io::ErrorKind::AlreadyExists => {
            FileError::Exists { path: path.to_owned() }
        }
        source => FileError::Io { path: path.to_owned(), source },
    })?;
    sync_folder(folder(path))
}

/// Replaces a file: after a crash at any moment it is the old one or the new one, whole.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let written = write_aside(path, bytes)?;
    written.persist(path).map_err(|failed| FileError::io(path)(failed.error))?;
    sync_folder(folder(path))
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A temporary file (mode 0600, removed if it gets no name) beside `path`, safely on the disk.
fn write_aside(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, FileError> {
    let write = || {
        let mut file =
            tempfile::Builder::new().prefix(".wallet-").suffix(".new").tempfile_in(folder(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(FileError::io(path))
}

#[cfg(unix)]
fn open(path: &Path) -> Result<File, FileError> {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt;
    // Without NONBLOCK a pipe in the place of a wallet would wait for someone to write.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { path: path.to_owned() },
        _ if path.is_symlink() => FileError::SymbolicLink { path: path.to_owned() },
        _ => FileError::Io { path: path.to_owned(), source },
    })
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { path: path.to_owned() },
        _ => FileError::Io { path: path.to_owned(), source },
    })
}

fn make_folder(folder: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(FileError::io(folder))?;
    check_folder(folder)
}

/// Others may look into the folder (its files are closed to them), but not change it.
fn check_folder(folder: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(folder).map_err(FileError::io(folder))?;
    owners_only(folder, &metadata, 0o022, 0o700)
}

/// Whether this user owns it and nobody else has any of the `forbidden` permissions.
#[cfg(unix)]
fn owners_only(
    path: &Path,
    metadata: &fs::Metadata,
    forbidden: u32,
    wanted: u32,
) -> Result<(), FileError> {
    use std::os::unix::fs::MetadataExt;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(FileError::OtherOwner { path: path.to_owned() });
    }
    match metadata.mode() & 0o7777 {
        mode if mode & forbidden == 0 => Ok(()),
        mode => Err(FileError::Open { path: path.to_owned(), mode, wanted }),
    }
}

#[cfg(not(unix))]
fn owners_only(_: &Path, _: &fs::Metadata, _: u32, _: u32) -> Result<(), FileError> {
    Ok(())
}

/// Makes a new name in the folder survive a power cut.
fn sync_folder(folder: &Path) -> Result<(), FileError> {
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::io(folder))?;
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    // W03
    #[test]
    fn file_and_folder_are_made_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/wallet.json");
        create(&path, b"one").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        replace(&path, b"two").unwrap();
        assert_eq!((mode(&path), read(&path).unwrap()), (0o600, b"two".to_vec()));
    }

    #[test]
    fn a_wallet_that_is_there_is_never_overwritten_by_a_new_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wallet.json");
        create(&path, b"old").unwrap();
        assert!(matches!(create(&path, b"new"), Err(FileError::Exists { .. })));
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file is left");
    }

    // W03
    #[test]
    fn what_others_can_read_or_change_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wallet.json");
        create(&path, b"bytes").unwrap();
        for open in [0o644, 0o604, 0o620, 0o640, 0o666] {
            chmod(&path, open);
            let error = read(&path).unwrap_err();
            assert!(matches!(error, FileError::Open { mode, .. } if mode == open), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
        }
        chmod(&path, 0o600);
        for open in [0o777, 0o775, 0o1777] {
            chmod(home.path(), open);
            for error in [read(&path).unwrap_err(), create(&path, b"").unwrap_err()] {
                assert!(matches!(error, FileError::Open { mode, .. } if mode == open), "{error}");
            }
        }
        chmod(home.path(), 0o755);
        assert_eq!(read(&path).unwrap(), b"bytes");
    }

    // W03
    #[test]
    fn links_folders_pipes_and_endless_files_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let [real, link, pipe] = ["real", "link", "pipe"].map(|name| home.path().join(name));
        create(&real, b"bytes").unwrap();
        symlink(&real, &link).unwrap();
        assert!(matches!(read(&link), Err(FileError::SymbolicLink { .. })));
        assert!(matches!(create(&link, b""), Err(FileError::Exists { .. })));
        assert!(matches!(read(home.path()), Err(FileError::NotAFile { .. })));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        assert!(matches!(read(&pipe), Err(FileError::NotAFile { .. })));
        File::options().write(true).open(&real).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(read(&real), Err(FileError::TooLong { .. })));
        assert!(matches!(read(&home.path().join("none")), Err(FileError::Missing { .. })));
    }

    // W03: only root can give a file away, so the check is asked about one of root's instead.
    #[test]
    fn the_file_of_another_user_is_refused() {
        let of_root = Path::new("/");
        let judged = owners_only(of_root, &fs::metadata(of_root).unwrap(), 0, 0);
        if rustix::process::geteuid().is_root() {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("wallet.json");
            create(&path, b"bytes").unwrap();
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(matches!(read(&path), Err(FileError::OtherOwner { .. })));
        } else {
            assert!(matches!(judged, Err(FileError::OtherOwner { .. })));
        }
    }

    // W05: what a crash leaves behind is a stray temporary file, and the wallet as it was.
    #[test]
    fn a_save_cut_off_before_its_end_leaves_the_old_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wallet.json");
        create(&path, b"old").unwrap();
        let unfinished = write_aside(&path, b"new").unwrap();
        assert_eq!(mode(unfinished.path()), 0o600);
        let left_behind = unfinished.into_temp_path().keep().unwrap();
        assert_eq!(read(&path).unwrap(), b"old");
        replace(&path, b"newer").unwrap();
        assert_eq!(read(&path).unwrap(), b"newer");
        assert!(left_behind.exists());
    }
}
