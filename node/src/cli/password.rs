//! Input of secrets. The password of a wallet comes from `--password-file`, otherwise from
//! `CHAIN_WALLET_PASSWORD`, otherwise from the terminal.

use super::secrets::{self, MAX_BYTES, VARIABLE};
use crate::wallet::Password;
use crate::wallet::password::MIN_CHARACTERS;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const PROMPT: &str = "Password for the new wallet, at least 8 characters";
const _: () = assert!(MIN_CHARACTERS == 8, "the prompt names the minimum");

/// The flag for the password of a wallet.
#[derive(Clone, Debug, clap::Args)]
pub struct PasswordSource {
    /// File whose first line is the wallet password
    ///
    /// Default: the variable CHAIN_WALLET_PASSWORD, otherwise prompt for it.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// The password of an existing wallet.
    pub fn existing(&self, wallet: &str) -> Result<Password> {
        self.configured()?.map_or_else(|| prompt(&format!("Password of wallet {wallet}: ")), Ok)
    }

    /// Whether the password is available without a prompt.
    pub fn is_available(&self) -> Result<bool> {
        self.configured().map(|password| password.is_some())
    }

    /// A strong password for a new wallet; a prompt asks for it twice.
    pub fn new_one(&self) -> Result<Password> {
        match self.configured()? {
            Some(password) => strong(password),
            None => repeated(strong(prompt(&format!("{PROMPT}: "))?)?),
        }
    }

    /// As `new_one`, but `None` for an empty input or without a terminal.
    pub fn new_one_or_none(&self) -> Result<Option<Password>> {
        if let Some(password) = self.configured()? {
            return strong(password).map(Some);
        }
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let first = prompt(&format!("{PROMPT}, or Enter for none: "))?;
        if first.as_bytes().is_empty() { Ok(None) } else { repeated(strong(first)?).map(Some) }
    }

    /// The password of the file or of the environment.
    fn configured(&self) -> Result<Option<Password>> {
        if let Some(path) = &self.password_file {
            let text = read_file(path)?;
            return Ok(Some(Password::new(text.lines().next().unwrap_or_default())));
        }
        if let Some(text) = secrets::password() {
            return Ok(Some(Password::new(&text)));
        }
        match env::var(VARIABLE).map(Zeroizing::new) {
            Ok(text) => Ok(Some(Password::new(&text))),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not UTF-8 text"),
        }
    }
}

fn strong(password: Password) -> Result<Password> {
    password.check()?;
    Ok(password)
}

fn repeated(first: Password) -> Result<Password> {
    if prompt("Repeat the password: ")?.as_bytes() != first.as_bytes() {
        bail!("the passwords differ: run the command again");
    }
    Ok(first)
}

/// Reads a secret text from a file.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    read(file).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a secret line from the terminal, otherwise all of stdin.
pub fn read_input(prompt: &str) -> Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).map(Zeroizing::new).context("cannot read the terminal")
    } else {
        read(io::stdin().lock()).context("cannot read standard input")
    }
}

fn prompt(prompt: &str) -> Result<Password> {
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        bail!(
            "the wallet needs a password and there is no terminal to prompt for it: use \
             --password-file FILE or set {VARIABLE}"
        );
    }
    let password = rpassword::prompt_password(prompt).map(Zeroizing::new);
    Ok(Password::new(&password.context("cannot read a password from the terminal")?))
}

fn read(input: impl Read) -> Result<Zeroizing<String>> {
    // Allocated at once: a buffer that grows leaves copies in memory.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES + 1));
    let limit = u64::try_from(MAX_BYTES)?.saturating_add(1);
    input.take(limit).read_to_string(&mut text)?;
    if text.len() > MAX_BYTES {
        bail!("it is longer than {MAX_BYTES} bytes");
    }
    Ok(text)
}
