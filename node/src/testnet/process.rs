//! Nodes as processes that outlive whoever started them. A node's process is the one that holds the
//! lock on the file `process` in its folder: the kernel tells which that is, and takes the lock away
//! however the process ends. So a number is never read from a file, and never of somebody else.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, Pid, Signal, fcntl_getlk, getppid, setsid};
use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// The file whose lock a node's process holds.
const LOCK: &str = "process";
/// The file with what a node says.
pub const LOG: &str = "node.log";
/// Settings in the environment that are a matter of taste; all others would make a testnet depend
/// on who starts it.
const TASTE: [&str; 2] = ["CHAIN_LOG", "CHAIN_LOG_FORMAT"];
/// How much of a log's end is looked at for its last lines, in bytes.
const TAIL: u64 = 4_096;

/// The running process of a node.
#[derive(Debug)]
pub struct Process {
    lock: File,
    pid: Pid,
}

impl Process {
    /// The process of the node with this folder, if it runs.
    pub fn find(folder: &Path) -> Result<Option<Process>> {
        let path = folder.join(LOCK);
        let lock = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            lock => lock.with_context(|| format!("cannot open {}", path.display()))?,
        };
        let pid = holder(&lock).with_context(|| format!("lock of {}", path.display()))?;
        Ok(pid.map(|pid| Process { lock, pid }))
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Whether it has ended since it was found.
    pub fn has_ended(&self) -> Result<bool> {
        Ok(holder(&self.lock)? != Some(self.pid))
    }

    /// Sends it a signal; nothing happens if it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match self.try_signal(signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => sent.with_context(|| format!("cannot signal process {}", self.id())),
        }
    }

    #[cfg(target_os = "linux")]
    fn try_signal(&self, signal: Signal) -> rustix::io::Result<()> {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        // Whoever has the number now keeps it in this handle: if that is still the node, nothing
        // that happens from here on can send the signal elsewhere.
        let handle = pidfd_open(self.pid, PidfdFlags::empty())?;
        match getlk(&self.lock)? == Some(self.pid) {
            true => pidfd_send_signal(handle, signal),
            false => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn try_signal(&self, signal: Signal) -> rustix::io::Result<()> {
        match getlk(&self.lock)? == Some(self.pid) {
            true => rustix::process::kill_process(self.pid, signal),
            false => Ok(()),
        }
    }
}

/// Who holds the lock.
fn holder(lock: &File) -> Result<Option<Pid>> {
    Ok(getlk(lock)?)
}

fn getlk(lock: &File) -> rustix::io::Result<Option<Pid>> {
    let held = fcntl_getlk(lock, &Flock::from(FlockType::WriteLock))?;
    // A holder without a number is in another world of processes, where it cannot be reached.
    held.map(|held| held.pid.ok_or(rustix::io::Errno::PERM)).transpose()
}

/// Starts a node on its folder, in a session of its own: closing the terminal does not end it. The
/// process is this program's `testnet launch`, which takes the lock and becomes `node` with these
/// flags.
pub fn start(folder: &Path, flags: &[OsString]) -> Result<Child> {
    let file = |name: &str, append: bool| {
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).append(append).create(true).mode(0o600);
        options.open(&path).with_context(|| format!("cannot open {}", path.display()))
    };
    let log = file(LOG, true)?;
    let mut command = Command::new(this_program()?);
    for (name, _) in env::vars_os().filter(|(name, _)| is_foreign_setting(name)) {
        command.env_remove(name);
    }
    command
        .args(["testnet", "launch", &std::process::id().to_string(), "--"])
        .args(flags)
        .current_dir(folder)
        .stdin(file(LOCK, false)?)
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().context("cannot start a process")
}

fn is_foreign_setting(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("CHAIN_") && !TASTE.contains(&name))
}

fn this_program() -> Result<PathBuf> {
    env::current_exe().context("cannot find the file of this program")
}

/// Becomes a node, in the process that `start` made. Standard input is the file with the lock, and
/// stays open: the lock lasts as long as the process does.
pub fn become_node(starter: u32, flags: &[OsString]) -> Result<Infallible> {
    fcntl_lock(io::stdin(), FlockOperation::NonBlockingLockExclusive)
        .context("this node runs already")?;
    // Whoever looks for nodes once the starter is gone finds the lock held, or nobody ever holds it.
    if getppid().map(|pid| pid.as_raw_pid().unsigned_abs()) != Some(starter) {
        bail!("whoever started this node is gone");
    }
    setsid().context("cannot leave the terminal")?;
    let error = Command::new(this_program()?).arg("node").args(flags).exec();
    Err(error).context("cannot become a node")
}

/// The last lines of a node's log, in one.
pub fn last_words(folder: &Path) -> String {
    let tail = || {
        let mut log = File::open(folder.join(LOG))?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        log.take(TAIL).read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    let text = String::from_utf8_lossy(&tail().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(2)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn nobody_holds_what_is_not_there_or_not_locked() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Process::find(folder.path()).unwrap().is_none());
        // A file left by a node that is gone, with whatever in it.
        fs::write(folder.path().join(LOCK), std::process::id().to_string()).unwrap();
        assert!(Process::find(folder.path()).unwrap().is_none());
    }

    #[test]
    fn a_node_keeps_no_settings_of_who_starts_it() {
        for (name, foreign) in
            [("CHAIN_MINE", true), ("CHAIN_LOG", false), ("PATH", false), ("CHAIN_DATA", true)]
        {
            assert_eq!(is_foreign_setting(OsStr::new(name)), foreign, "{name}");
        }
    }

    #[test]
    fn the_last_words_are_the_last_two_lines() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last_words(folder.path()), "");
        fs::write(folder.path().join(LOG), "a\n".repeat(5_000) + "b\nc\n").unwrap();
        assert_eq!(last_words(folder.path()), "b | c");
    }
}
