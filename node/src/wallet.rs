//! Wallets: keys that stay with whoever spends. A wallet is one encrypted file with one mnemonic,
//! from which every account's key is derived; its keys are the same on all networks.
//! Knows no network, no node and no terminal; the daemon never opens one, it holds an address.
//!
//! `mnemonic` the words · `derivation` words to keys · `password` · `keystore` what a file says ·
//! `file` how it lies on the disk · `message` signed texts

pub mod derivation;
mod file;
mod keystore;
pub mod message;
pub mod mnemonic;
pub mod password;

pub use derivation::Index;
pub use file::FileError;
pub use keystore::{FormatError, UnlockError};
pub use mnemonic::Mnemonic;
pub use password::Password;

use chain::Address;
use chain::signature::SecretKey;
use keystore::{Key, Keystore, LockError};
use password::WeakPassword;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Why a wallet cannot be read or opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file is missing, or not fit to be trusted.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no wallet.
    #[error("cannot read {}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FormatError,
    },
    /// It stays locked.
    #[error("cannot open {}", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
        /// Why.
        source: UnlockError,
    },
}

/// Why a wallet cannot be made or saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// The password is too short.
    #[error(transparent)]
    Weak(#[from] WeakPassword),
    /// No randomness, or no memory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// It is there already, or the disk refuses.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a wallet file says without its password. Changes to it show only when it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// Whether opening it needs a password.
    pub protected: bool,
    /// The accounts in use, never none.
    pub accounts: BTreeMap<Index, Address>,
}

impl Public {
    /// Reads a wallet file.
    pub fn read(path: &Path) -> Result<Public, OpenError> {
        let keystore = read(path)?;
        Ok(Public { protected: keystore.is_protected(), accounts: keystore.accounts() })
    }
}

/// An open wallet: the right to spend. Wiped when dropped, never shown.
pub struct Wallet {
    path: PathBuf,
    keystore: Keystore,
    key: Key,
    mnemonic: Mnemonic,
    accounts: BTreeMap<Index, Address>,
}

impl Wallet {
    /// A new file with a mnemonic and its account 0; never replaces one that is there.
    pub fn create(
        path: &Path,
        mnemonic: Mnemonic,
        password: &Password,
    ) -> Result<Wallet, SaveError> {
        password.check()?;
        Wallet::create_with(path, mnemonic, Some(password))
    }

    /// The same without a password: whoever reads the file can spend.
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
        let (keystore, key) = Keystore::lock(&mnemonic, &accounts, password, getrandom::fill)?;
        file::create(path, &keystore.to_json())?;
        Ok(Wallet { path: path.to_owned(), keystore, key, mnemonic, accounts })
    }

    /// Opens a wallet; for one without a password, any password will do.
    pub fn open(path: &Path, password: &Password) -> Result<Wallet, OpenError> {
        let keystore = read(path)?;
        let locked = |source| OpenError::Locked { path: path.to_owned(), source };
        let none = Password::none();
        let password = if keystore.is_protected() { password } else { &none };
        let key = keystore.key(password).map_err(locked)?;
        let mnemonic = keystore.unlock(&key).map_err(locked)?;
        let accounts = keystore.accounts();
        Ok(Wallet { path: path.to_owned(), keystore, key, mnemonic, accounts })
    }

    /// The words to write down.
    pub fn mnemonic(&self) -> &Mnemonic {
        &self.mnemonic
    }

    /// The key of an account.
    pub fn account(&self, account: Index) -> SecretKey {
        derivation::account_key(&self.mnemonic, account)
    }

    /// The address of an account.
    pub fn address(&self, account: Index) -> Address {
        self.accounts.get(&account).copied().unwrap_or_else(|| address(&self.mnemonic, account))
    }

    /// Takes an account into use: its address will be known without the password.
    pub fn add_account(&mut self, account: Index) -> Result<Address, SaveError> {
        let address = self.address(account);
        if self.accounts.insert(account, address).is_none() {
            self.keystore
                .relock(&self.mnemonic, &self.accounts, &self.key, getrandom::fill)
                .map_err(LockError::from)?;
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

/// The name of a wallet in its folder: 1 to 64 ASCII letters, digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Name(String);

/// The text cannot be the name of a wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a wallet is 1 to 64 letters, digits, `-` and `_`")]
pub struct NameError;

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let good = (1..=64).contains(&text.len()) && text.bytes().all(known);
        good.then(|| Name(text.to_owned())).ok_or(NameError)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where wallets are kept: a file `NAME.json` each.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// Any folder; it need not be there yet.
    pub fn new(path: PathBuf) -> Folder {
        Folder(path)
    }

    /// The platform's data folder / `chain` / `wallets`; `None` for a user without a home.
    pub fn of_user() -> Option<Folder> {
        let places = directories::BaseDirs::new()?;
        Some(Folder(places.data_dir().join("chain").join("wallets")))
    }

    /// The file of a wallet, there or not.
    pub fn path_of(&self, name: &Name) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }

    /// The wallets that are there, by name.
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
    fn a_new_account_is_known_without_the_password_ever_after() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        let password = Password::new("correct horse");
        let mut wallet = Wallet::create(&path, mnemonic(), &password).unwrap();
        let seven = Index::new(7).unwrap();
        assert_eq!(Public::read(&path).unwrap().accounts.len(), 1);

        let added = wallet.add_account(seven).unwrap();
        assert_eq!(added, wallet.account(seven).public_key().address());
        let public = Public::read(&path).unwrap();
        assert_eq!(public.accounts.get(&seven), Some(&added));
        assert_ne!(public.accounts.get(&Index::default()), Some(&added));

        let reopened = Wallet::open(&path, &password).unwrap();
        assert_eq!(reopened.address(seven), added);
        assert_eq!(*reopened.mnemonic().phrase(), WORDS);
    }

    // W01
    #[test]
    fn a_weak_password_makes_no_wallet() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        for weak in ["", "1234567"] {
            let error = Wallet::create(&path, mnemonic(), &Password::new(weak)).unwrap_err();
            assert!(matches!(error, SaveError::Weak(_)), "{error}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn an_unprotected_wallet_says_so_and_opens_with_anything() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        Wallet::create_unprotected(&path, mnemonic()).unwrap();
        assert!(!Public::read(&path).unwrap().protected);
        let wallet = Wallet::open(&path, &Password::new("whatever")).unwrap();
        // W06
        assert_eq!(format!("{wallet:?}"), format!("Wallet {{ path: {path:?}, .. }}"));
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        for bad in ["", ".", "..", "a/b", "a\\b", "a.json", "ä", "a b", &"a".repeat(65)] {
            assert_eq!(bad.parse::<Name>(), Err(NameError), "{bad}");
        }
        assert_eq!("Miner_1-a".parse::<Name>().unwrap().to_string(), "Miner_1-a");
    }

    #[test]
    fn a_folder_lists_its_wallets_by_name() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path().join("wallets"));
        assert_eq!(folder.names().unwrap(), []);
        let names = ["a", "b"].map(|name| name.parse::<Name>().unwrap());
        for name in names.iter().rev() {
            file::create(&folder.path_of(name), b"").unwrap();
        }
        fs::write(home.path().join("wallets/notes.txt"), "").unwrap();
        fs::write(home.path().join("wallets/.wallet-x.new"), "").unwrap();
        assert_eq!(folder.names().unwrap(), names);
    }
}
