//! The balance of a miner, and the progress line of mining.

use crate::api::routes::accounts::AccountResponse as Account;
use crate::api::routes::chain::Chain;
use crate::cli::output::human_rate;
use crate::client::Client;
use crate::state::NodeState;
use anyhow::{Context, Result};
use chain::accounts::AccountView;
use chain::{Address, Amount};
use std::fmt;

/// The balance of a miner at a height.
#[derive(Clone, Copy, Default)]
pub(super) struct MinerBalance {
    height: u32,
    balance: Amount,
    immature: Amount,
}

impl MinerBalance {
    /// Reads the balance from the node in this process.
    pub(super) fn read(node: &NodeState, miner: Address) -> Result<MinerBalance> {
        let view = node.reader.view();
        let balance = view.account(&miner)?.balance;
        let (height, immature) = (view.tip().height.get(), view.immature_balance(&miner));
        Ok(MinerBalance { height, balance, immature })
    }

    /// Requests the balance from a node.
    pub(super) async fn request(client: &Client, miner: &str) -> Result<MinerBalance> {
        let chain: Chain = client.get(&["chain"]).await?.json()?;
        let account: Account = client.get(&["accounts", miner]).await?.json()?;
        let amount = |units| Amount::new(units).context("balance out of range");
        let (balance, immature) = (amount(account.balance)?, amount(account.immature)?);
        Ok(MinerBalance { height: chain.height, balance, immature })
    }

    pub(super) fn with_progress(self, hash_rate: f64, found: u64) -> MiningStatus {
        MiningStatus { balance: self, hash_rate, found }
    }
}

/// The text of the progress line.
pub(super) struct MiningStatus {
    balance: MinerBalance,
    hash_rate: f64,
    found: u64,
}

impl fmt::Display for MiningStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MinerBalance { height, balance, immature } = self.balance;
        let (rate, found) = (human_rate(self.hash_rate), self.found);
        write!(f, "height {height} · {rate} · {found} found · balance {balance} coins")?;
        write!(f, ", {immature} more immature")
    }
}
