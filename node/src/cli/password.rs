//! Where the password of a wallet comes from: `--password-file`, then `CHAIN_WALLET_PASSWORD`, then
//! the terminal. And the reading of other secrets.

use crate::wallet::Password;
use crate::wallet::password::MIN_CHARACTERS;
use anyhow::{Context, Result, bail};
use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const VARIABLE: &str = "CHAIN_WALLET_PASSWORD";

/// Longest secret text: far above any password or mnemonic.
const MAX_BYTES: usize = 4096;

const PROMPT: &str = "Password for the new wallet, at least 8 characters";
const _: () = assert!(MIN_CHARACTERS == 8, "the prompt says so");

/// How a command gets the password of a wallet.
#[derive(Clone, Debug, clap::Args)]
pub struct PasswordSource {
    /// File whose first line is the password of the wallet; otherwise the variable
    /// CHAIN_WALLET_PASSWORD, otherwise the terminal
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// The password of a wallet that is there.
    pub fn existing(&self, wallet: &str) -> Result<Password> {
        self.given()?.map_or_else(|| ask(&format!("Password of wallet {wallet}: ")), Ok)
    }

    /// A good password for a new wallet; typed twice when it is typed.
    pub fn new_one(&self) -> Result<Password> {
        match self.given()? {
            Some(given) => good(given),
            None => typed_twice(good(ask(&format!("{PROMPT}: "))?)?),
        }
    }

    /// As `new_one`, but who types nothing, or has no terminal to type at, gets no password.
    pub fn new_one_or_none(&self) -> Result<Option<Password>> {
        if let Some(given) = self.given()? {
            return good(given).map(Some);
        }
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let first = ask(&format!("{PROMPT}, or Enter for none: "))?;
        if first.as_bytes().is_empty() { Ok(None) } else { typed_twice(good(first)?).map(Some) }
    }

    /// The password, if one is given without asking anybody.
    fn given(&self) -> Result<Option<Password>> {
        if let Some(path) = &self.password_file {
            let text = read_file(path)?;
            return Ok(Some(Password::new(text.lines().next().unwrap_or_default())));
        }
        match env::var(VARIABLE).map(Zeroizing::new) {
            Ok(text) => Ok(Some(Password::new(&text))),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => bail!("{VARIABLE} is not UTF-8 text"),
        }
    }
}

fn good(password: Password) -> Result<Password> {
    password.check()?;
    Ok(password)
}

fn typed_twice(first: Password) -> Result<Password> {
    if ask("The same again: ")?.as_bytes() != first.as_bytes() {
        bail!("the two passwords differ: run the command again");
    }
    Ok(first)
}

/// A secret text from a file.
pub fn read_file(path: &Path) -> Result<Zeroizing<String>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    read(file).with_context(|| format!("cannot read {}", path.display()))
}

/// A secret line from the terminal, or all that is piped into the command.
pub fn read_input(prompt: &str) -> Result<Zeroizing<String>> {
    if io::stdin().is_terminal() {
        rpassword::prompt_password(prompt).map(Zeroizing::new).context("cannot read the terminal")
    } else {
        read(io::stdin().lock()).context("cannot read standard input")
    }
}

fn ask(prompt: &str) -> Result<Password> {
    if !io::stdin().is_terminal() && !io::stderr().is_terminal() {
        bail!(
            "the wallet needs a password and there is no terminal to ask for it: give \
             --password-file FILE or set {VARIABLE}"
        );
    }
    let typed = rpassword::prompt_password(prompt).map(Zeroizing::new);
    Ok(Password::new(&typed.context("cannot read a password from the terminal")?))
}

fn read(input: impl Read) -> Result<Zeroizing<String>> {
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES + 1));
    let limit = u64::try_from(MAX_BYTES)?.saturating_add(1);
    input.take(limit).read_to_string(&mut text)?;
    if text.len() > MAX_BYTES {
        bail!("it is longer than {MAX_BYTES} bytes");
    }
    Ok(text)
}
