//! Nodes, and the relay between them, as processes that outlive the command that started them. Each
//! holds the lock on the file `process` in its directory. The kernel reports the holder and releases the lock however
//! the process ends, so the process id is never that of another program.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Flock, FlockType, Pid, Signal, fcntl_getlk, getppid, setsid};
use std::convert::Infallible;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// File that the process of a node locks.
const LOCK: &str = "process";
/// File that exists while the process is paused, and contains its id.
const PAUSED: &str = "paused";
/// File of a node's output.
pub const LOG: &str = "node.log";
/// Environment variables that nodes inherit; the testnet must not depend on any other setting.
const INHERITED: [&str; 2] = ["CHAIN_LOG", "CHAIN_LOG_FORMAT"];
/// Bytes at the end of a log in which its last lines are searched.
const TAIL: u64 = 4_096;

/// The running process of a node, or of the relay.
#[derive(Debug)]
pub struct Process {
    lock: File,
    pid: Pid,
    /// Path of the file `PAUSED`.
    paused: PathBuf,
}

impl Process {
    /// The process of a directory; `None` if it does not run.
    pub fn find(directory: &Path) -> Result<Option<Process>> {
        let path = directory.join(LOCK);
        let lock = match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            lock => lock.with_context(|| format!("cannot open {}", path.display()))?,
        };
        let pid = holder(&lock).with_context(|| format!("lock of {}", path.display()))?;
        let paused = directory.join(PAUSED);
        Ok(pid.map(|pid| Process { lock, pid, paused }))
    }

    pub fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> Result<bool> {
        Ok(holder(&self.lock)? != Some(self.pid))
    }

    /// Whether the process is paused.
    pub fn is_paused(&self) -> bool {
        fs::read_to_string(&self.paused).is_ok_and(|pid| pid == self.id().to_string())
    }

    /// Stops the execution of the process until `resume`: it keeps its connections and does not
    /// respond, as a computer that is suspended.
    pub fn pause(&self) -> Result<()> {
        let context = || format!("cannot write {}", self.paused.display());
        fs::write(&self.paused, self.id().to_string()).with_context(context)?;
        self.signal(Signal::STOP)
    }

    /// Whether no thread of a paused process runs any more: the signal lets system calls end first.
    #[cfg(target_os = "linux")]
    pub fn is_halted(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.id())) else { return true };
        threads.flatten().all(|thread| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The name of the thread is in parentheses, and may contain some.
            let state =
                stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
            state.is_none_or(|state| "TtZX".contains(state))
        })
    }

    /// Whether no thread of a paused process runs any more, which other systems do not report: a moment
    /// is enough for system calls to end.
    #[cfg(not(target_os = "linux"))]
    pub fn is_halted(&self) -> bool {
        std::thread::sleep(std::time::Duration::from_millis(50));
        true
    }

    /// Continues the execution of the process.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)?;
        match fs::remove_file(&self.paused) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.paused.display()))
            }
            _ => Ok(()),
        }
    }

    /// Requests the process to stop, which a paused one does only when it is resumed.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.resume()
    }

    /// Sends a signal; does nothing if the process has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        match self.try_signal(signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => sent.with_context(|| format!("cannot signal process {}", self.id())),
        }
    }

    #[cfg(target_os = "linux")]
    fn try_signal(&self, signal: Signal) -> rustix::io::Result<()> {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        // The handle refers to the current process of the id: if that holds the lock, the signal cannot
        // reach another process.
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

/// The process that holds the lock.
fn holder(lock: &File) -> Result<Option<Pid>> {
    Ok(getlk(lock)?)
}

fn getlk(lock: &File) -> rustix::io::Result<Option<Pid>> {
    let held = fcntl_getlk(lock, &Flock::from(FlockType::WriteLock))?;
    // A holder without an id is in another PID namespace, where it cannot be signalled.
    held.map(|held| held.pid.ok_or(rustix::io::Errno::PERM)).transpose()
}

/// Starts a program, with its arguments, in a directory and in a session of its own, so that closing
/// the terminal does not end it. The process is `testnet launch` of this program, which locks the file
/// and executes the program. Output is appended to a file of the directory.
pub fn start(directory: &Path, log: &str, program: &[OsString]) -> Result<Child> {
    let file = |name: &str, append: bool| {
        let path = directory.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).append(append).create(true).mode(0o600);
        options.open(&path).with_context(|| format!("cannot open {}", path.display()))
    };
    let log = file(log, true)?;
    let mut command = Command::new(this_program()?);
    for (name, _) in env::vars_os().filter(|(name, _)| is_dropped_setting(name)) {
        command.env_remove(name);
    }
    command
        .args(["testnet", "launch", &std::process::id().to_string(), "--"])
        .args(program)
        .current_dir(directory)
        .stdin(file(LOCK, false)?)
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().context("cannot start a process")
}

fn is_dropped_setting(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("CHAIN_") && !INHERITED.contains(&name))
}

/// The file of this program.
pub fn this_program() -> Result<PathBuf> {
    env::current_exe().context("cannot find the file of this program")
}

/// Executes a program with its arguments in the process that `start` created. Standard input is the
/// lock file and stays open, so that the lock lasts as long as the process.
pub fn exec(starter: u32, program: &[OsString]) -> Result<Infallible> {
    let (name, arguments) = program.split_first().context("no program to execute")?;
    fcntl_lock(io::stdin(), FlockOperation::NonBlockingLockExclusive)
        .context("this process runs already")?;
    // Once the starter has ended, the lock is either held or will never be.
    if getppid().map(|pid| pid.as_raw_pid().unsigned_abs()) != Some(starter) {
        bail!("the command that started this process has ended");
    }
    setsid().context("cannot leave the terminal")?;
    let error = Command::new(name).args(arguments).exec();
    Err(error).with_context(|| format!("cannot execute {}", name.display()))
}

/// The last two lines of a log, joined.
pub fn last_log_lines(log: &Path) -> String {
    let tail = || {
        let mut log = File::open(log)?;
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

    #[test]
    fn find_ignores_missing_and_unlocked_files() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Process::find(directory.path()).unwrap().is_none());
        // A file left by a node that has ended.
        fs::write(directory.path().join(LOCK), std::process::id().to_string()).unwrap();
        assert!(Process::find(directory.path()).unwrap().is_none());
    }

    #[test]
    fn nodes_inherit_log_settings_only() {
        for (name, dropped) in
            [("CHAIN_MINE", true), ("CHAIN_LOG", false), ("PATH", false), ("CHAIN_DATA", true)]
        {
            assert_eq!(is_dropped_setting(OsStr::new(name)), dropped, "{name}");
        }
    }

    #[test]
    fn returns_the_last_two_log_lines() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join(LOG);
        assert_eq!(last_log_lines(&log), "");
        fs::write(&log, "a\n".repeat(5_000) + "b\nc\n").unwrap();
        assert_eq!(last_log_lines(&log), "b | c");
    }
}
