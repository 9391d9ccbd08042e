//! The data directory. It is locked by one process at a time, belongs to one genesis block, and
//! records how the last run ended. Other modules own the rest of its contents.
//!
//! | file | contents |
//! |---|---|
//! | `lock` | the pid of the process that has the directory open, which locks the file |
//! | `genesis` | the genesis hash in hexadecimal |
//! | `last-run` | `stopped`, or the lines `running`, the pid and the boot id |

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::space::is_disk_full;
use crate::block;

/// The number of attempts to lock the directory. Another owner in the same process may need up to a
/// second to release the lock.
const LOCK_ATTEMPTS: u32 = 20;

/// The pause between two attempts to lock the directory.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// The file with the boot id, which changes with every boot of the machine (Linux).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The contents of `last-run` after a clean shutdown.
const STOPPED: &str = "stopped\n";

/// The way in which the last run on a data directory ended. Unsynced writes survive
/// [`UncleanSameBoot`](ShutdownKind::UncleanSameBoot), but not necessarily
/// [`UncleanOtherBoot`](ShutdownKind::UncleanOtherBoot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownKind {
    /// The data directory is new: no run has used it before.
    FirstRun,
    /// The last run closed the directory.
    Clean,
    /// The last run was killed, and the machine has not been rebooted since.
    UncleanSameBoot,
    /// The machine was rebooted since the last run was killed, or this is unknown.
    UncleanOtherBoot,
}

/// An error of opening a data directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The operating system reported an error.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// The operation that failed, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// No space is left on the disk. Nothing was written, and a later call may succeed.
    #[error("the disk of {} is full: make room on it", path.display())]
    Full {
        /// The file that could not be written.
        path: PathBuf,
    },
    /// Another process has the directory open.
    #[error(
        "the data directory {} is in use by {}: stop it, or choose another directory",
        path.display(),
        holder.map_or("another process".into(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The path of the data directory.
        path: PathBuf,
        /// The id of the other process, if it is known.
        holder: Option<u32>,
    },
    /// The directory belongs to another network.
    #[error(
        "the data directory {} belongs to genesis {found}, this network's is {expected}: \
         choose another directory",
        path.display()
    )]
    OtherGenesis {
        /// The path of the data directory.
        path: PathBuf,
        /// The genesis hash in the directory.
        found: block::Hash,
        /// The genesis hash of this network.
        expected: block::Hash,
    },
    /// The list of invalidated blocks does not parse.
    #[error(
        "{} is not a list of block hashes, one per line: correct it, or remove it to follow the \
         best chain again",
        path.display()
    )]
    BadInvalidatedList {
        /// The path of the file that lists invalidated blocks.
        path: PathBuf,
    },
    /// The directory was used before, but its genesis hash is missing or illegible.
    #[error(
        "{} does not hold a genesis hash: write {expected} into it if the directory belongs to \
         this network",
        path.display()
    )]
    GenesisLost {
        /// The path of the file that should hold the genesis hash.
        path: PathBuf,
        /// The genesis hash of this network.
        expected: block::Hash,
    },
}

/// A data directory locked by this process until it is dropped. After a drop without
/// [`close`](Self::close), the next open reports an unclean shutdown.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    last_shutdown: ShutdownKind,
    _lock: File,
}

impl Directory {
    /// Locks the directory for this process and marks it as running. Creates it with mode 0700 if
    /// it does not exist. Waits up to a second for another owner to release the lock.
    ///
    /// # Errors
    /// Returns any [`DirectoryError`]. A directory of another genesis is not changed.
    pub fn open(path: &Path, genesis: block::Hash) -> Result<Directory, DirectoryError> {
        check_genesis(path, genesis)?;
        create(path)?;
        let lock = lock(path)?;
        if !check_genesis(path, genesis)? {
            replace(&path.join("genesis"), format!("{genesis}\n").as_bytes())?;
        }
        restrict_to_owner(path)?;

        let boot = boot_id();
        let last_shutdown = last_shutdown(path, boot.as_deref())?;
        write_pid(&lock).map_err(io_error("write", &path.join("lock")))?;
        let pid = std::process::id();
        let running = format!("running\n{pid}\n{}\n", boot.as_deref().unwrap_or("unknown"));
        replace(&path.join("last-run"), running.as_bytes())?;
        Ok(Directory { path: path.to_owned(), last_shutdown, _lock: lock })
    }

    /// Returns the path that was passed to [`open`](Self::open).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how the run before this one ended.
    pub fn last_shutdown(&self) -> ShutdownKind {
        self.last_shutdown
    }

    /// Records a clean shutdown and releases the lock. Call this last, after everything else is
    /// closed and synced.
    ///
    /// # Errors
    /// Returns a disk error; the next open reports an unclean shutdown then.
    pub fn close(self) -> Result<(), DirectoryError> {
        replace(&self.path.join("last-run"), STOPPED.as_bytes())
    }
}

/// Whether the directory has a genesis hash; an error if it is that of another network.
fn check_genesis(path: &Path, expected: block::Hash) -> Result<bool, DirectoryError> {
    let file = path.join("genesis");
    let lost = || DirectoryError::GenesisLost { path: file.clone(), expected };
    let Some(text) = read_if_exists(&file)? else {
        // The genesis file is written before `last-run`.
        return if path.join("last-run").exists() { Err(lost()) } else { Ok(false) };
    };
    let found = text.trim().parse().map_err(|_| lost())?;
    if found != expected {
        return Err(DirectoryError::OtherGenesis { path: path.to_owned(), found, expected });
    }
    Ok(true)
}

/// Creates the directory and its parents, and syncs each entry.
fn create(path: &Path) -> Result<(), DirectoryError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create(parent)?;
    let mut folder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path).and_then(|()| sync_folder(parent)).map_err(io_error("create", path))
}

/// Removes the permissions of other users: the directory holds private data of the node's owner.
fn restrict_to_owner(path: &Path) -> Result<(), DirectoryError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(io_error("read", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            let restricted = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
            if restricted.is_err() && keeps_modes(path) {
                restricted.map_err(io_error("restrict", path))?;
            }
        }
    }
    Ok(())
}

/// Whether the file system of a directory keeps the permissions of files. exFAT, FAT and many network
/// shares keep none: every file appears with the same ones. True if that cannot be found out.
pub fn keeps_modes(directory: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let probe = directory.join(format!(".permissions-{}", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&probe);
        let Ok(file) = file else { return true };
        let mode = file.metadata().map_or(0o600, |metadata| metadata.permissions().mode());
        let _ = fs::remove_file(&probe);
        mode & 0o077 == 0
    }
    #[cfg(not(unix))]
    true
}

/// A data directory that no node uses, and no node can use, until this is dropped. Nothing is
/// written to it.
#[derive(Debug)]
pub struct ReadOnlyDirectory {
    last_shutdown: ShutdownKind,
    /// `None` if no node has used this copy of the directory.
    _lock: Option<File>,
}

impl ReadOnlyDirectory {
    /// Locks a directory that exists.
    ///
    /// # Errors
    /// Returns any [`DirectoryError`].
    pub fn open(path: &Path, genesis: block::Hash) -> Result<ReadOnlyDirectory, DirectoryError> {
        if !check_genesis(path, genesis)? {
            let path = path.join("genesis");
            return Err(DirectoryError::GenesisLost { path, expected: genesis });
        }
        let name = path.join("lock");
        let lock = match File::open(&name) {
            Ok(file) => Some(acquire(path, file, File::try_lock_shared)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("open", &name)(error)),
        };
        let last_shutdown = last_shutdown(path, boot_id().as_deref())?;
        Ok(ReadOnlyDirectory { last_shutdown, _lock: lock })
    }

    /// Returns how the last run ended.
    pub fn last_shutdown(&self) -> ShutdownKind {
        self.last_shutdown
    }
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let name = path.join("lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(io_error("open", &name))?;
    acquire(path, file, File::try_lock)
}

/// Locks the lock file of a directory.
fn acquire(
    path: &Path,
    mut file: File,
    try_lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> Result<File, DirectoryError> {
    let name = path.join("lock");
    for _ in 0..LOCK_ATTEMPTS {
        match try_lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &name)(error)),
        }
    }
    let mut pid = String::new();
    let holder = file.read_to_string(&mut pid).ok().and_then(|_| pid.trim().parse().ok());
    Err(DirectoryError::InUse { path: path.to_owned(), holder })
}

fn write_pid(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

fn last_shutdown(path: &Path, boot: Option<&str>) -> Result<ShutdownKind, DirectoryError> {
    let Some(text) = read_if_exists(&path.join("last-run"))? else {
        return Ok(ShutdownKind::FirstRun);
    };
    let recorded = text.strip_prefix("running\n").and_then(|rest| rest.lines().nth(1));
    Ok(match (recorded, boot) {
        _ if text == STOPPED => ShutdownKind::Clean,
        (Some(recorded), Some(current)) if recorded == current => ShutdownKind::UncleanSameBoot,
        _ => ShutdownKind::UncleanOtherBoot,
    })
}

fn boot_id() -> Option<String> {
    let id = fs::read_to_string(BOOT_ID).ok()?.trim().to_owned();
    (!id.is_empty()).then_some(id)
}

/// Reads the text of a file, replacing invalid UTF-8; `None` if the file does not exist.
pub(super) fn read_if_exists(file: &Path) -> Result<Option<String>, DirectoryError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", file)(error)),
    }
}

fn io_error<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> DirectoryError + 'a {
    move |error| DirectoryError::Io { action, path: path.to_owned(), error }
}

/// An error of replacing a file.
pub(super) struct ReplaceError {
    /// The operation that failed, as a verb.
    pub(super) action: &'static str,
    pub(super) source: io::Error,
}

impl ReplaceError {
    /// Whether no space was left on the disk, and the file is unchanged.
    pub(super) fn is_disk_full(&self) -> bool {
        self.action == "write" && is_disk_full(&self.source)
    }
}

/// Calls `replace_file` and adds the path to its error.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
    replace_file(file, bytes).map_err(|error| match error.is_disk_full() {
        true => DirectoryError::Full { path: file.to_owned() },
        false => io_error(error.action, file)(error.source),
    })
}

/// Replaces a small file atomically: after a crash it has either the old or the new contents.
pub(super) fn replace_file(file: &Path, bytes: &[u8]) -> Result<(), ReplaceError> {
    let failed = |action| move |source| ReplaceError { action, source };
    let temporary = file.with_added_extension("new");
    let written = File::create(&temporary).and_then(|mut new| new.write_all(bytes).map(|()| new));
    let new = written.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed("write")(error)
    })?;
    new.sync_all().map_err(failed("sync"))?;
    fs::rename(&temporary, file).map_err(failed("replace"))?;
    file.parent().map_or(Ok(()), sync_folder).map_err(failed("sync"))
}

/// Syncs the entries of a folder, which syncing a file does not do.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests;
