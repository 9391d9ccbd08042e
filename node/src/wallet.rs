//! Wallets. A wallet is one encrypted file with one mnemonic, from which the keys of all accounts are
//! derived; keys are the same on all networks. Beside it are the transfers that it has signed. Knows no
//! node or terminal. The daemon never opens a wallet.
//!
//! `mnemonic` · `derivation` of keys · `password` · `keystore` content of a file · `file` access ·
//! `lock` between processes · `sent` transfers · `state` file with them · `message` signatures

pub mod derivation;
mod file;
mod keystore;
mod lock;
pub mod message;
pub mod mnemonic;
pub mod password;
mod sent;
mod state;

pub use derivation::Index;
pub use file::FileError;
pub use keystore::{DecryptError, FormatError};
pub use lock::Lock;
pub use mnemonic::Mnemonic;
pub use password::Password;
pub use sent::{NodeNonces, NonceChoice, SentStatus, SentTransfer, SentTransfers};
pub use state::{State, StateError, StateFile};

use chain::Address;
use chain::signature::{PublicKey, SecretKey};
use chain::tx::Id;
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
    /// The file is a wallet without a password, and not the one that was used by this name before.
    #[error(
        "{} is not the wallet that was used by this name before: restore that, or, if you replaced \
         it, remove {}",
        path.display(),
        path.with_extension("state.json").display()
    )]
    Replaced {
        /// The path of the wallet file.
        path: PathBuf,
    },
    /// The file beside the wallet cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
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
    /// The file beside the wallet cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The wallet file was replaced since it was opened.
    #[error("the wallet was replaced meanwhile: run the command again")]
    Replaced,
}

/// The public part of a wallet file, readable without the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalletInfo {
    /// Whether the wallet's own key has signed the accounts, and it is the wallet that was opened
    /// last by this name, as far as that is known. Who can replace all files of a wallet can fake it
    /// until the wallet is opened.
    pub is_authentic: bool,
    /// Whether a password is needed to open the wallet.
    pub protected: bool,
    /// The accounts in use, at least one.
    pub accounts: BTreeMap<Index, Address>,
}

impl WalletInfo {
    /// Reads the public part of a wallet file.
    pub fn read(path: &Path) -> Result<WalletInfo, OpenError> {
        let keystore = read(path)?;
        let state = StateFile::of(path).read()?;
        let is_authentic = keystore.identity().is_some_and(|identity| !state.is_other(&identity));
        let (protected, accounts) = (keystore.is_protected(), keystore.accounts());
        Ok(WalletInfo { is_authentic, protected, accounts })
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
        let wallet = Wallet { path: path.to_owned(), keystore, key, mnemonic, accounts };
        wallet.remember_identity().inspect_err(|_| drop(fs::remove_file(path)))?;
        Ok(wallet)
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
        let wallet = Wallet { path: path.to_owned(), keystore, key, mnemonic, accounts };
        wallet.confirm_identity()
    }

    /// Remembers the identity of a wallet that its password has proven, and brings an old file to the
    /// latest version. Opening a wallet without a password proves nothing, so that one must not
    /// differ from the wallet that was known before.
    fn confirm_identity(mut self) -> Result<Wallet, OpenError> {
        let identity = self.identity();
        let state = StateFile::of(&self.path).read()?;
        if state.is_other(&identity) && !self.keystore.is_protected() {
            return Err(OpenError::Replaced { path: self.path });
        }
        // In a directory that cannot be written to, the wallet is usable nevertheless.
        if !state.is_known(&identity) {
            let _ = self.remember_identity();
        }
        if self.keystore.identity().is_none() {
            let _ = self.change_accounts(|_| ());
        }
        Ok(self)
    }

    fn identity(&self) -> PublicKey {
        derivation::identity_key(&self.mnemonic).public_key()
    }

    fn remember_identity(&self) -> Result<(), StateError> {
        StateFile::of(&self.path).update(|state| state.set_identity(&self.identity()))
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
        if !self.accounts.contains_key(&account) {
            self.change_accounts(|accounts| {
                accounts.insert(account, address);
            })?;
        }
        Ok(address)
    }

    /// Changes the accounts that the file has by now: another process may have added some.
    fn change_accounts(
        &mut self,
        change: impl FnOnce(&mut BTreeMap<Index, Address>),
    ) -> Result<(), SaveError> {
        let _lock = Lock::acquire(&state::lock_path(&self.path))?;
        let mut keystore = read(&self.path).map_err(|_| SaveError::Replaced)?;
        if keystore.decrypt(&self.key).ok().as_ref() != Some(&self.mnemonic) {
            return Err(SaveError::Replaced);
        }
        let mut accounts = keystore.accounts();
        change(&mut accounts);
        keystore
            .reencrypt(&self.mnemonic, &accounts, &self.key, getrandom::fill)
            .map_err(EncryptError::from)?;
        file::replace(&self.path, &keystore.to_json())?;
        (self.keystore, self.accounts) = (keystore, accounts);
        Ok(())
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

/// The lock that a command holds from choosing a nonce to the answer of the node, so that parallel
/// payments of a wallet queue up.
pub fn send_lock_path(wallet: &Path) -> PathBuf {
    wallet.with_extension("send.lock")
}

/// The lock of a command that waits for the confirmation of a transfer, which shows that it runs.
pub fn wait_lock_path(wallet: &Path, id: &Id) -> PathBuf {
    wallet.with_extension(format!("{id}.lock"))
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

    #[test]
    fn accounts_added_in_parallel_are_all_kept() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        Wallet::create_unprotected(&path, mnemonic()).unwrap();
        // Each has read the file before any of them writes.
        let mut opened: Vec<Wallet> =
            (0..4).map(|_| Wallet::open(&path, &Password::none()).unwrap()).collect();
        std::thread::scope(|scope| {
            for (number, wallet) in (1..).zip(&mut opened) {
                scope.spawn(move || wallet.add_account(Index::new(number).unwrap()).unwrap());
            }
        });
        assert_eq!(WalletInfo::read(&path).unwrap().accounts.len(), 5);
        fs::remove_file(&path).unwrap();
        Wallet::create_unprotected(&path, mnemonic()).unwrap();
        let replaced = opened[0].add_account(Index::new(9).unwrap());
        assert!(matches!(replaced, Err(SaveError::Replaced)), "the key is of another salt");
    }

    // W14: an attacker who can write the file cannot make one that the password opens.
    #[test]
    fn other_wallet_in_the_place_of_a_known_one_is_not_authentic() {
        let home = tempfile::tempdir().unwrap();
        let [path, other] = ["w.json", "x.json"].map(|name| home.path().join(name));
        let password = Password::new("correct horse");
        Wallet::create(&path, mnemonic(), &password).unwrap();
        assert!(WalletInfo::read(&path).unwrap().is_authentic);
        let theirs = Mnemonic::parse(&format!("{}junk", "test ".repeat(11))).unwrap();
        Wallet::create_unprotected(&other, theirs.clone()).unwrap();
        fs::copy(&other, &path).unwrap();
        assert!(!WalletInfo::read(&path).unwrap().is_authentic);
        let error = Wallet::open(&path, &password).unwrap_err();
        assert!(matches!(error, OpenError::Replaced { .. }), "{error}");

        // The owner of a password who replaced the file himself.
        fs::remove_file(&other).unwrap();
        Wallet::create(&other, theirs, &password).unwrap();
        fs::copy(&other, &path).unwrap();
        assert!(!WalletInfo::read(&path).unwrap().is_authentic);
        Wallet::open(&path, &password).unwrap();
        assert!(WalletInfo::read(&path).unwrap().is_authentic);
    }

    // W14
    #[test]
    fn old_file_is_upgraded_when_it_is_opened() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("w.json");
        let old = include_str!("wallet/vectors/wallet-version-1.json");
        file::create(&path, old.as_bytes()).unwrap();
        let info = WalletInfo::read(&path).unwrap();
        assert!(!info.is_authentic && info.protected);
        let wallet = Wallet::open(&path, &Password::new("correct horse")).unwrap();
        assert_eq!(wallet.accounts.len(), 2);
        assert_eq!(*wallet.mnemonic.phrase(), WORDS);
        let upgraded = WalletInfo::read(&path).unwrap();
        assert_eq!((upgraded.is_authentic, upgraded.accounts), (true, info.accounts));
        Wallet::open(&path, &Password::new("correct horse")).unwrap();
        // The old form of a known wallet does not pass as it, either.
        file::replace(&path, old.replace("protected\": true", "protected\": false").as_bytes())
            .unwrap();
        assert!(!WalletInfo::read(&path).unwrap().is_authentic);
        assert!(Wallet::open(&path, &Password::none()).is_err());
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
