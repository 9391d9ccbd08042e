//! Protection of the secrets in this process: no password in the environment, where it would be readable
//! for as long as the process runs, and no core dumps of commands that open wallets.

use anyhow::Result;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// The environment variable with the password of a wallet.
pub const VARIABLE: &str = "CHAIN_WALLET_PASSWORD";

/// Largest secret text in bytes, far above any password or mnemonic.
pub const MAX_BYTES: usize = 4096;

/// The password that was in the environment of the process before.
static PASSWORD: Mutex<Option<Zeroizing<String>>> = Mutex::new(None);

/// Removes the password of a wallet from the environment: the process starts the program again without
/// it. Call this first.
pub fn hide_password() -> Result<()> {
    #[cfg(target_os = "linux")]
    match std::env::var(linux::DESCRIPTOR) {
        Ok(descriptor) => set_password(Some(linux::inherit(&descriptor)?)),
        Err(_) if std::env::var_os(VARIABLE).is_some() => linux::restart_without_password(),
        Err(_) => {}
    }
    Ok(())
}

/// The password that was in the environment, until it is forgotten.
pub fn password() -> Option<Zeroizing<String>> {
    PASSWORD.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Wipes the password, which is not needed any more.
pub fn forget_password() {
    set_password(None);
}

fn set_password(password: Option<Zeroizing<String>>) {
    *PASSWORD.lock().unwrap_or_else(PoisonError::into_inner) = password;
}

/// Prevents core dumps, and reading of memory and environment by other processes of this user.
pub fn forbid_core_dumps() -> Result<()> {
    #[cfg(target_os = "linux")]
    {
        use anyhow::Context;
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        set_dumpable_behavior(DumpableBehavior::NotDumpable)
            .context("cannot disable core dumps")?;
    }
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{MAX_BYTES, VARIABLE};
    use anyhow::{Context, Result};
    use rustix::io::FdFlags;
    use std::env;
    use std::fs::File;
    use std::io::{self, Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::process::CommandExt;
    use std::process::Command;
    use zeroize::Zeroizing;

    /// The variable with the number of the pipe that has the password instead of the environment.
    pub(super) const DESCRIPTOR: &str = "CHAIN_WALLET_PASSWORD_FD";

    /// Starts the program again in this process, which is the only way to remove a variable from what
    /// `/proc/PID/environ` shows; the password goes through a pipe. Returns if that is not possible:
    /// the password is then read from the environment.
    pub(super) fn restart_without_password() {
        // Any error leaves everything as it was.
        let _ = try_restart();
    }

    fn try_restart() -> io::Result<()> {
        let password =
            Zeroizing::new(env::var_os(VARIABLE).unwrap_or_default().into_encoded_bytes());
        if password.len() > MAX_BYTES {
            return Ok(());
        }
        let (reader, mut writer) = io::pipe()?;
        // A pipe holds more than a password without a reader.
        writer.write_all(&password)?;
        drop(writer);
        rustix::io::fcntl_setfd(&reader, FdFlags::empty())?;
        let mut arguments = env::args_os();
        let mut command = Command::new(env::current_exe()?);
        if let Some(name) = arguments.next() {
            command.arg0(name);
        }
        command.args(arguments).env_remove(VARIABLE);
        Err(command.env(DESCRIPTOR, reader.as_raw_fd().to_string()).exec())
    }

    /// Reads the password that the process passed to itself.
    pub(super) fn inherit(descriptor: &str) -> Result<Zeroizing<String>> {
        let read = || {
            let number: u32 = descriptor.parse().map_err(io::Error::other)?;
            let file = File::open(format!("/proc/self/fd/{number}"))?;
            let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
            file.take(MAX_BYTES as u64).read_to_string(&mut text)?;
            Ok::<_, io::Error>(text)
        };
        read().with_context(|| format!("cannot read the password from {DESCRIPTOR}={descriptor}"))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    // W06
    #[test]
    fn disables_core_dumps() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        super::forbid_core_dumps().unwrap();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
