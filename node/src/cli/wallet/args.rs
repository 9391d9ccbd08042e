//! Flags that select a wallet, an account and a network.

use super::super::password::PasswordSource;
use crate::config::network;
use crate::wallet::{FileError, Folder, Index, Name, Password, Public, Wallet};
use anyhow::{Context, Result};
use chain::Address;
use chain::address::Hrp;
use std::path::PathBuf;

/// Where wallets are kept.
#[derive(Clone, Debug, clap::Args)]
pub struct WalletDirArgs {
    /// Folder of the wallets
    ///
    /// Default: the folder `chain/wallets` in the platform's data folder.
    #[arg(long, value_name = "DIR", env = "CHAIN_WALLET_DIR")]
    wallet_dir: Option<PathBuf>,
}

impl WalletDirArgs {
    pub(super) fn folder(&self) -> Result<Folder> {
        let folder = self.wallet_dir.clone().map(Folder::new).or_else(Folder::of_user);
        folder.context("this user has no home folder to keep wallets in: give --wallet-dir DIR")
    }
}

/// Which wallet a command is about.
#[derive(Clone, Debug, clap::Args)]
pub struct WalletArgs {
    /// Name of the wallet
    #[arg(long, visible_alias = "wallet", value_name = "NAME", default_value = "default")]
    pub(super) name: Name,
    #[command(flatten)]
    dir: WalletDirArgs,
}

impl WalletArgs {
    /// The file of the wallet, there or not.
    pub fn path(&self) -> Result<PathBuf> {
        Ok(self.dir.folder()?.path_of(&self.name))
    }

    /// Opens the wallet, asking for its password only if it has one.
    pub fn open(&self, password: &PasswordSource) -> Result<Wallet> {
        let path = self.path()?;
        let given = match Public::read(&path)?.protected {
            true => password.existing(&self.name.to_string())?,
            false => Password::none(),
        };
        Ok(Wallet::open(&path, &given)?)
    }

    /// The address of an account, with the password only if the account is new.
    pub fn address(&self, account: Index, password: &PasswordSource) -> Result<Address> {
        match Public::read(&self.path()?)?.accounts.get(&account) {
            Some(address) => Ok(*address),
            None => Ok(self.open(password)?.add_account(account)?),
        }
    }

    /// The file for a new wallet; a name that is taken is refused before anything is asked.
    pub(super) fn free_path(&self) -> Result<PathBuf> {
        let path = self.path()?;
        match path.symlink_metadata() {
            Ok(_) => Err(FileError::Exists { path }.into()),
            Err(_) => Ok(path),
        }
    }
}

/// Which account of a wallet.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AccountArgs {
    /// Number of the account
    #[arg(long = "account", value_name = "N", default_value_t)]
    pub index: Index,
}

/// Whose addresses are shown; keys are the same on all networks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct NetworkArgs {
    /// Network whose addresses are shown: a built-in one (main, testnet, dev) or the path of a file
    #[arg(
        long, env = "CHAIN_NETWORK", value_name = "NAME|FILE", default_value = network::DEFAULT
    )]
    network: String,
}

impl NetworkArgs {
    pub(super) fn hrp(&self) -> Result<Hrp> {
        network::load(&self.network).map(|params| params.hrp())
    }
}
