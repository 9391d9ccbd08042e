//! The flags of `chain wallet send`.

use crate::cli::wallet::args::{AccountArgs, WalletArgs};
use crate::client::NodeArgs;
use anyhow::{Context, Result, ensure};
use chain::amount::Amount;
use chain::tx::{MAX_MEMO_BYTES, Memo};
use std::str::FromStr;

/// Sign a transfer with a key of the wallet and submit it
///
/// Shows the transfer on stderr before it is submitted. If a command is interrupted, or a node gives no
/// definite answer, the next one shows the transfer and needs --again, --new or --replace.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Recipient
    #[arg(long, value_name = "ADDRESS", required_unless_present = "again")]
    pub(super) to: Option<String>,
    /// Amount, such as 1.5, or `all`: the balance without the fee
    #[arg(long, value_name = "COINS|all", required_unless_present = "again")]
    pub(super) amount: Option<AmountArg>,
    /// Fee for the miner
    ///
    /// Default: the node's estimate for the next block.
    #[arg(long, value_name = "COINS", value_parser = Amount::from_coins)]
    pub(super) fee: Option<Amount>,
    /// Highest fee to pay
    ///
    /// Default: 0.1, and for the node's estimate ten times the lowest fee that nodes accepted at the
    /// last transfer.
    #[arg(long, value_name = "COINS", value_parser = Amount::from_coins)]
    pub(super) max_fee: Option<Amount>,
    /// Public text
    #[arg(long, value_name = "TEXT", value_parser = memo)]
    pub(super) memo: Option<Memo>,
    /// Nonce [default: the next nonce]
    #[arg(long, value_name = "N")]
    pub(super) nonce: Option<u64>,
    /// Submit the transfer whose outcome is uncertain again
    #[arg(long, conflicts_with_all = ["new", "replace", "fee", "max_fee", "nonce"])]
    pub(super) again: bool,
    /// Pay once more, besides the transfer whose outcome is uncertain
    #[arg(long, conflicts_with = "replace")]
    pub(super) new: bool,
    /// Replace the transfer with the nonce of --nonce, or the one whose outcome is uncertain
    #[arg(long)]
    pub(super) replace: bool,
    /// Print the signed transfer and do not submit it; needs no node, and is not recorded
    #[arg(long, requires_all = ["nonce", "fee"])]
    #[arg(conflicts_with_all = ["again", "new", "replace", "wait"])]
    pub(super) sign_only: bool,
    /// Wait until the transfer is confirmed
    #[arg(long)]
    pub(super) wait: bool,
    /// Timeout of --wait in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
    pub(super) timeout: u32,
    #[command(flatten)]
    pub(super) wallet: WalletArgs,
    #[command(flatten)]
    pub(super) account: AccountArgs,
    #[command(flatten)]
    pub(super) node: NodeArgs,
}

/// The amount of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AmountArg {
    /// The whole balance without the fee.
    All,
    Exactly(Amount),
}

impl FromStr for AmountArg {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<AmountArg> {
        if text == "all" {
            return Ok(AmountArg::All);
        }
        let amount = Amount::from_coins(text)?;
        ensure!(amount != Amount::ZERO, "the amount must be above zero");
        Ok(AmountArg::Exactly(amount))
    }
}

fn memo(text: &str) -> Result<Memo> {
    let bytes = text.len();
    Memo::new(text.into()).with_context(|| {
        format!("a memo is at most {MAX_MEMO_BYTES} bytes of UTF-8, this one is {bytes}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // W10
    #[test]
    fn rejects_invalid_amounts_and_memos() {
        for text in ["0", "0.00000000", "-1", "1e3", "1,5", "", "ALL", "all "] {
            assert!(text.parse::<AmountArg>().is_err(), "{text}");
        }
        let least = Amount::new(1).unwrap();
        assert_eq!("0.00000001".parse::<AmountArg>().unwrap(), AmountArg::Exactly(least));
        assert_eq!("all".parse::<AmountArg>().unwrap(), AmountArg::All);
        assert!(memo(&"ä".repeat(128)).is_ok());
        assert!(memo(&"ä".repeat(129)).is_err());
    }
}
