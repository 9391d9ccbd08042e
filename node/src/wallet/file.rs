//! Wallet files: readable by their owner only, of bounded size, replaced atomically. Does not know the
//! content. Permissions are checked on Unix only.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Largest wallet file in bytes; each account adds some 70.
const MAX_BYTES: u64 = 1 << 20;

/// Why a wallet file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist.
    #[error(
        "no wallet {}: create one with `chain wallet new` or `chain wallet import`",
        path.display()
    )]
    Missing {
        /// The path of the missing wallet file.
        path: PathBuf,
    },
    /// The file exists already.
    #[error("wallet {} exists already: choose another name with --name", path.display())]
    Exists {
        /// The path of the existing file.
        path: PathBuf,
    },
    /// A symbolic link, whose target another user may control.
    #[error("{} is a symbolic link: replace it by the wallet file", path.display())]
    SymbolicLink {
        /// The path of the symbolic link.
        path: PathBuf,
    },
    /// A directory, a pipe or a device.
    #[error("{} is not a file", path.display())]
    NotAFile {
        /// The path of the directory, pipe or device.
        path: PathBuf,
    },
    /// The file is larger than allowed.
    #[error("{} is too long to be a file of a wallet", path.display())]
    TooLong {
        /// The path of the oversized file.
        path: PathBuf,
    },
    /// Another user owns the file or its directory, and can change the file.
    #[error("{} belongs to another user: copy it, or `chown` it to yourself", path.display())]
    OtherOwner {
        /// The path of the file or of its directory.
        path: PathBuf,
    },
    /// Other users can read the file, or write to the directory.
    #[error(
        "{} is accessible to other users (mode {mode:04o}): run `chmod {required:o} {}`",
        path.display(),
        path.display()
    )]
    Open {
        /// The path of the file or of its directory.
        path: PathBuf,
        /// The permission bits of the file or directory.
        mode: u32,
        /// The permission bits that are required.
        required: u32,
    },
    /// The operating system cannot read or write the file.
    #[error("cannot use {}", path.display())]
    Io {
        /// The path of the file or of its directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl FileError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> FileError {
        |source| FileError::Io { path: path.to_owned(), source }
    }
}

/// Reads a wallet file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    read_up_to(path, MAX_BYTES)
}

/// Reads a file of bounded size that only its owner can read, in a directory that only its owner can
/// change.
pub fn read_up_to(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(FileError::io(path))?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile { path: path.to_owned() });
    }
    check_owner(path, &metadata, 0o077, 0o600)?;
    check_directory(parent(path))?;
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(FileError::io(path))?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= max_bytes => Ok(bytes),
        _ => Err(FileError::TooLong { path: path.to_owned() }),
    }
}

/// Writes a new file, and creates its directory if needed. Never changes an existing file.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    create_directory(parent(path))?;
    let written = write_temporary(path, bytes)?;
    written.persist_noclobber(path).map_err(|failed| match failed.error {
        error if error.kind() == io::ErrorKind::AlreadyExists => {
            FileError::Exists { path: path.to_owned() }
        }
        source => FileError::Io { path: path.to_owned(), source },
    })?;
    sync_directory(parent(path))
}

/// Replaces a file atomically: after a crash it is the old or the new one.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let written = write_temporary(path, bytes)?;
    written.persist(path).map_err(|failed| FileError::io(path)(failed.error))?;
    sync_directory(parent(path))
}

/// The directory of a file.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes and syncs a temporary file in the directory of `path`: mode 0600, removed unless persisted.
fn write_temporary(path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile, FileError> {
    let write = || {
        let mut file =
            tempfile::Builder::new().prefix(".wallet-").suffix(".new").tempfile_in(parent(path))?;
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
    // Without NONBLOCK, opening a pipe would block.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    opened.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { path: path.to_owned() },
        _ if path.is_symlink() => FileError::SymbolicLink { path: path.to_owned() },
        _ => FileError::Io { path: path.to_owned(), source },
    })
}

/// Opens a file for a lock, and creates it if needed.
pub fn open_lock(path: &Path) -> Result<File, FileError> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        options.mode(0o600).custom_flags(flags.bits().cast_signed());
    }
    options.open(path).map_err(FileError::io(path))
}

#[cfg(not(unix))]
fn open(path: &Path) -> Result<File, FileError> {
    File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => FileError::Missing { path: path.to_owned() },
        _ => FileError::Io { path: path.to_owned(), source },
    })
}

fn create_directory(directory: &Path) -> Result<(), FileError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory).map_err(FileError::io(directory))?;
    check_directory(directory)
}

/// Checks that only the owner can change the directory; others may list it.
fn check_directory(directory: &Path) -> Result<(), FileError> {
    let metadata = fs::metadata(directory).map_err(FileError::io(directory))?;
    check_owner(directory, &metadata, 0o022, 0o700)
}

/// Checks that this user owns a path and that others have none of the `forbidden` permissions.
#[cfg(unix)]
fn check_owner(
    path: &Path,
    metadata: &fs::Metadata,
    forbidden: u32,
    required: u32,
) -> Result<(), FileError> {
    use std::os::unix::fs::MetadataExt;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(FileError::OtherOwner { path: path.to_owned() });
    }
    match metadata.mode() & 0o7777 {
        mode if mode & forbidden == 0 => Ok(()),
        mode => Err(FileError::Open { path: path.to_owned(), mode, required }),
    }
}

#[cfg(not(unix))]
fn check_owner(_: &Path, _: &fs::Metadata, _: u32, _: u32) -> Result<(), FileError> {
    Ok(())
}

/// Syncs a directory, so that a new file in it survives a power failure.
fn sync_directory(directory: &Path) -> Result<(), FileError> {
    if cfg!(unix) {
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(FileError::io(directory))?;
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
    fn creates_files_and_directories_for_their_owner_only() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/wallet.json");
        create(&path, b"one").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        replace(&path, b"two").unwrap();
        assert_eq!((mode(&path), read(&path).unwrap()), (0o600, b"two".to_vec()));
    }

    #[test]
    fn create_never_overwrites_a_wallet() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wallet.json");
        create(&path, b"old").unwrap();
        assert!(matches!(create(&path, b"new"), Err(FileError::Exists { .. })));
        assert_eq!(read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "no temporary file is left");
    }

    // W03
    #[test]
    fn rejects_files_accessible_to_others() {
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
    fn rejects_links_directories_pipes_and_large_files() {
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

    // W03: only root can change the owner of a file, so other users check one of root's.
    #[test]
    fn rejects_files_of_another_user() {
        let of_root = Path::new("/");
        let checked = check_owner(of_root, &fs::metadata(of_root).unwrap(), 0, 0);
        if rustix::process::geteuid().is_root() {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("wallet.json");
            create(&path, b"bytes").unwrap();
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(matches!(read(&path), Err(FileError::OtherOwner { .. })));
        } else {
            assert!(matches!(checked, Err(FileError::OtherOwner { .. })));
        }
    }

    // W05: a crash leaves a temporary file and the unchanged wallet.
    #[test]
    fn interrupted_save_leaves_the_old_file() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wallet.json");
        create(&path, b"old").unwrap();
        let unfinished = write_temporary(&path, b"new").unwrap();
        assert_eq!(mode(unfinished.path()), 0o600);
        let left_behind = unfinished.into_temp_path().keep().unwrap();
        assert_eq!(read(&path).unwrap(), b"old");
        replace(&path, b"newer").unwrap();
        assert_eq!(read(&path).unwrap(), b"newer");
        assert!(left_behind.exists());
    }
}
