//! The data directory: one process at a time, one genesis for ever, and how the last run ended.
//! Does not know what the rest of the folder holds.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | the pid of the process that has the folder open; locked while it has |
//! | `genesis` | the genesis hash, hexadecimal |
//! | `last-run` | `stopped`, or `running`, the pid and the boot id, a line each |

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::block;

/// How often a held lock is tried again, and the pause between: a holder in the same process may
/// take up to a second to let go.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Changes with every start of the machine (Linux).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

const STOPPED: &str = "stopped\n";

/// How the last run on a directory ended: what was written but not synced since is safe after
/// [`UncleanSameBoot`](LastStop::SameBoot) and in doubt after [`UncleanOtherBoot`](LastStop::OtherBoot).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownKind {
    /// There was none.
    FirstRun,
    /// It closed the directory.
    Clean,
    /// It was killed; the machine has been running since.
    UncleanSameBoot,
    /// The machine went down with it, or nobody knows.
    UncleanOtherBoot,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "the data directory {} is in use by {}: stop it, or choose another directory",
        path.display(),
        holder.map_or("another process".into(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The other's process id, if it left one.
        holder: Option<u32>,
    },
    /// It belongs to another network.
    #[error(
        "the data directory {} belongs to genesis {found}, this network's is {expected}: \
         choose another directory",
        path.display()
    )]
    OtherGenesis {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: block::Hash,
        /// Whose it should be.
        expected: block::Hash,
    },
    /// Its operator's marks cannot be read.
    #[error(
        "{} is not a list of block hashes, one a line: correct it, or remove it to follow the \
         best chain again",
        path.display()
    )]
    BadInvalidatedList {
        /// The file.
        path: PathBuf,
    },
    /// It was used before, but what it belongs to is gone or illegible.
    #[error(
        "{} does not hold a genesis hash: write {expected} into it if the directory belongs to \
         this network",
        path.display()
    )]
    GenesisLost {
        /// The file.
        path: PathBuf,
        /// The hash of this network.
        expected: block::Hash,
    },
}

/// A data directory held by this process; let go on drop. Dropped without [`close`](Self::close),
/// the next open sees a run that was killed.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    last_shutdown: ShutdownKind,
    _lock: File,
}

impl Directory {
    /// Takes the directory for this process, making it (0700) if there is none, and marks it as
    /// running. Waits up to a second for an earlier holder to let go.
    ///
    /// # Errors
    /// Everything in [`DirectoryError`]; a directory of another genesis is left as it was.
    pub fn open(path: &Path, genesis: block::Hash) -> Result<Directory, DirectoryError> {
        check_genesis(path, genesis)?;
        create(path)?;
        let lock = lock(path)?;
        if !check_genesis(path, genesis)? {
            replace(&path.join("genesis"), format!("{genesis}\n").as_bytes())?;
        }
        keep_private(path)?;

        let boot = boot_id();
        let last_shutdown = last_shutdown(path, boot.as_deref())?;
        write_pid(&lock).map_err(io_error("write", &path.join("lock")))?;
        let pid = std::process::id();
        let mark = format!("running\n{pid}\n{}\n", boot.as_deref().unwrap_or("unknown"));
        replace(&path.join("last-run"), mark.as_bytes())?;
        Ok(Directory { path: path.to_owned(), last_shutdown, _lock: lock })
    }

    /// Where it is, as given to [`open`](Self::open).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the run before this one ended.
    pub fn last_shutdown(&self) -> ShutdownKind {
        self.last_shutdown
    }

    /// Marks a clean stop and lets go. To be called last: everything else is closed and synced.
    ///
    /// # Errors
    /// The mark could not be written; the next open sees a run that was killed.
    pub fn close(self) -> Result<(), DirectoryError> {
        replace(&self.path.join("last-run"), STOPPED.as_bytes())
    }
}

/// Whether the directory says whose it is; an error if it is another's.
fn check_genesis(path: &Path, expected: block::Hash) -> Result<bool, DirectoryError> {
    let file = path.join("genesis");
    let lost = || DirectoryError::GenesisLost { path: file.clone(), expected };
    let Some(text) = read_if_there(&file)? else {
        // It is written before the first run is marked.
        return if path.join("last-run").exists() { Err(lost()) } else { Ok(false) };
    };
    let found = text.trim().parse().map_err(|_| lost())?;
    if found != expected {
        return Err(DirectoryError::OtherGenesis { path: path.to_owned(), found, expected });
    }
    Ok(true)
}

/// Makes the directory and those above it, each entry durable.
fn create(path: &Path) -> Result<(), DirectoryError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = match path.parent() {
        Some(above) if above != Path::new("") => above,
        _ => Path::new("."),
    };
    create(above)?;
    let mut folder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(path).and_then(|()| sync_folder(above)).map_err(io_error("create", path))
}

/// Takes what others may do with the directory away: it holds what the node's owner asked for.
fn keep_private(path: &Path) -> Result<(), DirectoryError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(path).map_err(io_error("read", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700))
                .map_err(io_error("restrict", path))?;
        }
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let name = path.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
        .map_err(io_error("open", &name))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
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
    let Some(text) = read_if_there(&path.join("last-run"))? else {
        return Ok(ShutdownKind::FirstRun);
    };
    let then = text.strip_prefix("running\n").and_then(|rest| rest.lines().nth(1));
    Ok(match (then, boot) {
        _ if text == STOPPED => ShutdownKind::Clean,
        (Some(then), Some(now)) if then == now => ShutdownKind::UncleanSameBoot,
        _ => ShutdownKind::UncleanOtherBoot,
    })
}

fn boot_id() -> Option<String> {
    let id = fs::read_to_string(BOOT_ID).ok()?.trim().to_owned();
    (!id.is_empty()).then_some(id)
}

/// A file's text, illegible bytes replaced; `None` if there is no such file.
pub(super) fn read_if_there(file: &Path) -> Result<Option<String>, DirectoryError> {
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
    move |source| DirectoryError::Io { action, path: path.to_owned(), source }
}

/// `replace_file`, with an error that names the file.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
    replace_file(file, bytes).map_err(io_error("write", file))
}

/// Writes a small file so that after any crash the old or the new one is there, whole.
pub(super) fn replace_file(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = file.with_added_extension("new");
    let mut new = File::create(&draft)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&draft, file)?;
    file.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable: a file's own sync does not.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests;
