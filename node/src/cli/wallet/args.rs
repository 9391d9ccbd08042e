//! Flags that select a wallet, an account and a network.

use super::super::password::PasswordSource;
use crate::config::network;
use crate::wallet::{FileError, Index, Name, Password, Wallet, WalletDir, WalletInfo};
use anyhow::{Context, Result};
use chain::Address;
use chain::address::Hrp;
use std::path::PathBuf;

/// The flag for the directory of wallets.
#[derive(Clone, Debug, clap::Args)]
pub struct WalletDirArgs {
    /// Directory of wallets
    ///
    /// Default: `chain/wallets` in the platform's data directory.
    #[arg(long, value_name = "DIR", env = "CHAIN_WALLET_DIR")]
    wallet_dir: Option<PathBuf>,
}

impl WalletDirArgs {
    pub(super) fn wallet_dir(&self) -> Result<WalletDir> {
        let dir = self.wallet_dir.clone().map(WalletDir::new).or_else(WalletDir::of_user);
        dir.context("this user has no home directory: use --wallet-dir DIR")
    }
}

/// The flags that select a wallet.
#[derive(Clone, Debug, clap::Args)]
pub struct WalletArgs {
    /// Wallet name
    #[arg(long, visible_alias = "wallet", value_name = "NAME", default_value = "default")]
    pub(super) name: Name,
    #[command(flatten)]
    dir: WalletDirArgs,
    #[command(flatten)]
    pub password: PasswordSource,
}

impl WalletArgs {
    /// The file of the wallet, which need not exist.
    pub fn path(&self) -> Result<PathBuf> {
        Ok(self.dir.wallet_dir()?.path_of(&self.name))
    }

    /// Opens the wallet, with its password if it has one.
    pub fn open(&self) -> Result<Wallet> {
        let path = self.path()?;
        let password = match WalletInfo::read(&path)?.protected {
            true => self.password.existing(&self.name.to_string())?,
            false => Password::none(),
        };
        Ok(Wallet::open(&path, &password)?)
    }

    /// The address of an account. Needs the password only for a new account, and for a file that
    /// does not prove to be the wallet that was used before; if the password is available, it
    /// authenticates the address.
    pub fn address(&self, account: Index) -> Result<Address> {
        let info = WalletInfo::read(&self.path()?)?;
        let is_proven = info.is_authentic && !(info.protected && self.password.is_available()?);
        match info.accounts.get(&account).filter(|_| is_proven) {
            Some(address) => Ok(*address),
            None => Ok(self.open()?.add_account(account)?),
        }
    }

    /// The file of a new wallet. Rejects an existing one before any prompt.
    pub(super) fn free_path(&self) -> Result<PathBuf> {
        let path = self.path()?;
        match path.symlink_metadata() {
            Ok(_) => Err(FileError::Exists { path }.into()),
            Err(_) => Ok(path),
        }
    }
}

/// The flag for an account of a wallet.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct AccountArgs {
    /// Account number
    #[arg(long = "account", value_name = "N", default_value_t)]
    pub index: Index,
}

/// The flag for the network of addresses; keys are the same on all networks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct NetworkArgs {
    /// Network of the addresses: main, testnet, dev or the path of a network file
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
