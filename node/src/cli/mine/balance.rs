//! What a chain says of a miner, and the line that shows it.

use crate::cli::output::human_rate;
use crate::client::Client;
use crate::state::NodeState;
use anyhow::{Context, Result};
use chain::accounts::AccountView;
use chain::{Address, Amount};
use serde::Deserialize;
use std::fmt;

/// What the chain says of a miner.
#[derive(Clone, Copy, Default)]
pub(super) struct Holdings {
    height: u32,
    balance: Amount,
    immature: Amount,
}

impl Holdings {
    /// Looks at the node in this process.
    pub(super) fn read(node: &NodeState, miner: Address) -> Result<Holdings> {
        let view = node.reader.view();
        let balance = view.account(&miner)?.balance;
        let (height, immature) = (view.tip().height.get(), view.immature_balance(&miner));
        Ok(Holdings { height, balance, immature })
    }

    /// Asks a node.
    pub(super) async fn ask(client: &Client, miner: &str) -> Result<Holdings> {
        #[derive(Deserialize)]
        struct Chain {
            height: u32,
        }
        #[derive(Deserialize)]
        struct Account {
            balance: u64,
            immature: u64,
        }
        let Chain { height } = client.get(&["chain"]).await?.read()?;
        let account: Account = client.get(&["accounts", miner]).await?.read()?;
        let [balance, immature] = [account.balance, account.immature].map(Amount::new);
        let balance = balance.context("a balance that cannot be")?;
        Ok(Holdings { height, balance, immature: immature.context("an amount that cannot be")? })
    }

    /// With how mining goes.
    pub(super) fn with(self, hash_rate: f64, found: u64) -> Status {
        Status { holdings: self, hash_rate, found }
    }
}

/// The line.
pub(super) struct Status {
    holdings: Holdings,
    hash_rate: f64,
    found: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holdings { height, balance, immature } = self.holdings;
        let (rate, found) = (human_rate(self.hash_rate), self.found);
        write!(f, "height {height} · {rate} · {found} found · balance {balance} coins")?;
        write!(f, ", {immature} more immature")
    }
}
