//! Wallets. A wallet is one encrypted file with one mnemonic, from which the keys of all accounts are
//! derived; keys are the same on all networks. Knows no network, node or terminal. The daemon never
//! opens a wallet.
//!
//! `mnemonic` · `derivation` of keys · `password` · `keystore` content of a file · `file` access ·
//! `message` signatures

pub mod derivation;
mod file;
mod keystore;
pub mod message;
pub mod mnemonic;
pub mod password;

pub use derivation::Index;
pub use file::FileError;
pub use keystore::{DecryptError, FormatError};
pub use mnemonic::Mnemonic;
pub use password::Password;

use chain::Address;
use chain::signature::SecretKey;
use keystore::{EncryptError, Key, Keystore};
use password::WeakPassword;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Why a wallet cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is missing, or its permissions are unsafe.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a wallet.
    #[error("cannot read {}", path.display())]
    Format {
        /// The path of the file.
        path: PathBuf,
        /// The reason why the file is not a wallet.
        source: FormatError,
    },
    /// The wallet cannot be decrypted.
    #[error("cannot open {}", path.display())]
    Locked {
        /// The path of the wallet file.
        path: PathBuf,
        /// The reason why the wallet cannot be decrypted.
        source: DecryptError,
    },
}

/// Why a wallet cannot be created or saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The password is too short.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// No random bytes, or not enough memory.
    #[error(transparent)]
    Lock(#[from] EncryptError),
    /// The file exists already, or cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The public part of a wallet file, readable without the password. Not authenticated until the wallet
/// is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletInfo {
    /// Whether a password is needed to open the wallet.
    pub protected: bool,
    /// The accounts in use, at least one.
    pub accounts: BTreeMap<Index, Address>,
}

impl WalletInfo {
    /// Reads the public part of a wallet file.
    pub fn read(path: &Path) -> Result<WalletInfo, OpenError> {
        let keystore = read(path)?;
        Ok(WalletInfo { protected: keystore.is_protected(), accounts: keystore.accounts() })
    }
}

/// An open wallet, which can sign. Wiped from memory when dropped; `Debug` shows no secret.
pub struct Wallet {
    path: PathBuf,
    keystore: Keystore,
    key: Key,
    mnemonic: Mnemonic,
    accounts: BTreeMap<Index, Address>,
}

impl Wallet {
    /// Creates a file with a mnemonic and account 0. Never replaces an existing file.
    pub fn create(
        path: &Path,
        mnemonic: Mnemonic,
        password: &Password,
    ) -> Result<Wallet, SaveError> {
        password.check()?;
        Wallet::create_with(path, mnemonic, Some(password))
    }

    /// Creates a wallet without a password: anyone who can read the file can spend.
    pub fn create_unprotected(path: &Path, mnemonic: Mnemonic) -> Result<Wallet, SaveError> {
        Wallet::create_with(path, mnemonic, None)
    }

    fn create_with(
        path: &Path,
        mnemonic: Mnemonic,
        password: Option<&Password>,
    ) -> Result<Wallet, SaveError> {
        let first = Index::default();
        let accounts = BTreeMap::from([(first, address(&mnemonic, first))]);
        let (keystore, key) = Keystore::encrypt(&mnemonic, &accounts, password, getrandom::fill)?;
        file::create(path, &keystore.to_json())?;
        Ok(Wallet { path: path.to_owned(), keystore, key, mnemonic, accounts })
    }

    /// Opens a wallet. The password is ignored if the wallet has none.
    pub fn open(path: &Path, password: &Password) -> Result<Wallet, OpenError> {
        let keystore = read(path)?;
        let locked = |source| OpenError::Locked { path: path.to_owned(), source };
        let none = Password::none();
        let password = if keystore.is_protected() { password } else { &none };
        let key = keystore.key(password).map_err(locked)?;
        let mnemonic = keystore.decrypt(&key).map_err(locked)?;
        let accounts = keystore.accounts();
        Ok(Wallet { path: path.to_owned(), keystore, key, mnemonic, accounts })
    }

    pub fn mnemonic(&self) -> &Mnemonic {
        &self.mnemonic
    }

    /// The secret key of an account.
    pub fn account(&self, account: Index) -> SecretKey {
        derivation::account_key(&self.mnemonic, account)
    }

    /// The address of an account.
    pub fn address(&self, account: Index) -> Address {
        self.accounts.get(&account).copied().unwrap_or_else(|| address(&self.mnemonic, account))
    }

    /// Adds an account, whose address is then readable without the password.
    pub fn add_account(&mut self, account: Index) -> Result<Address, SaveError> {
        let address = self.address(account);
        if self.accounts.insert(account, address).is_none() {
            self.keystore
                .reencrypt(&self.mnemonic, &self.accounts, &self.key, getrandom::fill)
                .map_err(EncryptError::from)?;
            file::replace(&self.path, &self.keystore.to_json())?;
        }
        Ok(address)
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wallet").field("path", &self.path).finish_non_exhaustive()
    }
}

fn address(mnemonic: &Mnemonic, account: Index) -> Address {
    derivation::account_key(mnemonic, account).public_key().address()
}

fn read(path: &Path) -> Result<Keystore, OpenError> {
    let bytes = file::read(path)?;
    Keystore::parse(&bytes).map_err(|source| OpenError::Format { path: path.to_owned(), source })
}

/// The name of a wallet: 1 to 64 ASCII letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Name(String);

/// The text is not a valid name of a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a wallet is 1 to 64 letters, digits, `-` and `_`")]
pub struct NameError;

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(is_valid);
        valid.then(|| Name(text.to_owned())).ok_or(NameError)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A directory of wallets, each a file `NAME.json`.
#[derive(Clone, Debug)]
pub struct WalletDir(PathBuf);

impl WalletDir {
    /// The directory at a path, which need not exist yet.
    pub fn new(path: PathBuf) -> WalletDir {
        WalletDir(path)
    }

    /// `chain/wallets` in the platform's data directory; `None` for a user without a home directory.
    pub fn of_user() -> Option<WalletDir> {
        let base = directories::BaseDirs::new()?;
        Some(WalletDir(base.data_dir().join("chain").join("wallets")))
    }

    /// The file of a wallet, which need not exist.
    pub fn path_of(&self, name: &Name) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// The names of the existing wallets, sorted.
    pub fn names(&self) -> Result<Vec<Name>, FileError> {
        let failed = |source| FileError::Io { path: self.0.clone(), source };
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(failed)?.file_name();
            let stem = file.to_str().and_then(|file| file.strip_suffix(".json"));
            names.extend(stem.and_then(|stem| stem.parse::<Name>().ok()));
        }
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str =
        "legal winner thank year wave sausage worth useful legal winner thank yellow";

    fn mnemonic() -> Mnemonic {
        Mnemonic::parse(WORDS).unwrap()
    }

    #[test]
    fn added_account_is_readable_without_the_password() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        let password = Password::new("correct horse");
        let mut wallet = Wallet::create(&path, mnemonic(), &password).unwrap();
        let seven = Index::new(7).unwrap();
        assert_eq!(WalletInfo::read(&path).unwrap().accounts.len(), 1);

        let added = wallet.add_account(seven).unwrap();
        assert_eq!(added, wallet.account(seven).public_key().address());
        let info = WalletInfo::read(&path).unwrap();
        assert_eq!(info.accounts.get(&seven), Some(&added));
        assert_ne!(info.accounts.get(&Index::default()), Some(&added));

        let reopened = Wallet::open(&path, &password).unwrap();
        assert_eq!(reopened.address(seven), added);
        assert_eq!(*reopened.mnemonic().phrase(), WORDS);
    }

    // W01
    #[test]
    fn rejects_weak_passwords() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        for weak in ["", "1234567"] {
            let error = Wallet::create(&path, mnemonic(), &Password::new(weak)).unwrap_err();
            assert!(matches!(error, SaveError::Weak(_)), "{error}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn unprotected_wallet_opens_with_any_password() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        Wallet::create_unprotected(&path, mnemonic()).unwrap();
        assert!(!WalletInfo::read(&path).unwrap().protected);
        let wallet = Wallet::open(&path, &Password::new("whatever")).unwrap();
        // W06
        assert_eq!(format!("{wallet:?}"), format!("Wallet {{ path: {path:?}, .. }}"));
    }

    #[test]
    fn rejects_names_that_leave_the_directory() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a.json", "ä", "a b", &"a".repeat(65)] {
            assert_eq!(bad.parse::<Name>(), Err(NameError), "{bad}");
        }
        assert_eq!("Miner_1-a".parse::<Name>().unwrap().to_string(), "Miner_1-a");
    }

    #[test]
    fn lists_wallets_by_name() {
        let home = tempfile::tempdir().unwrap();
        let dir = WalletDir::new(home.path().join("wallets"));
        assert_eq!(dir.names().unwrap(), []);
        let names = ["a", "b"].map(|name| name.parse::<Name>().unwrap());
        for name in names.iter().rev() {
            file::create(&dir.path_of(name), b"").unwrap();
        }
        fs::write(home.path().join("wallets/notes.txt"), "").unwrap();
        fs::write(home.path().join("wallets/.wallet-x.new"), "").unwrap();
        assert_eq!(dir.names().unwrap(), names);
    }
}
