//! The fee of a transfer and the balance that covers it.

use crate::api::routes::mempool::Rates;
use crate::cli::output::coins;
use crate::client::Client;
use anyhow::{Context, Result, ensure};
use chain::amount::{Amount, COIN};
use chain::mempool::{Limits, min_replacement_fee};
use serde::Deserialize;

/// Highest fee without `--max-fee`, in base units.
const MAX_FEE: u64 = COIN / 10;
/// How many times the last known minimum a node's estimate may be without `--max-fee`.
const MAX_ESTIMATE_FACTOR: u64 = 10;

/// The fee rates of a node, in base units per byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NodeRates {
    /// The estimate for the next block.
    next_block: Option<u64>,
    /// The minimum.
    min: Option<u64>,
}

impl NodeRates {
    /// Requests the rates. A node that reports none makes `--fee` necessary.
    pub(super) async fn request(client: &Client) -> Result<NodeRates> {
        #[derive(Deserialize)]
        struct Mempool {
            min_fee_rate: u64,
        }
        let rates: Rates = client.get(&["fees"]).await?.json()?;
        let mempool = client.get(&["mempool"]).await.and_then(|it| it.json::<Mempool>());
        Ok(NodeRates {
            next_block: rates.get("1").copied(),
            min: mempool.ok().map(|it| it.min_fee_rate),
        })
    }

    /// The minimum to remember after a transfer: no more than what it has paid, so that a node cannot
    /// raise the limit of later estimates by a claim.
    pub(super) fn min_to_remember(self, fee: Amount, bytes: u64) -> Option<u64> {
        self.min.map(|min| min.min(fee.units() / bytes.max(1)).max(1))
    }
}

/// A transfer that is replaced: its fee in base units, and its size in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplacedFee {
    pub(super) fee: u64,
    pub(super) bytes: u64,
}

/// Decides on the fee of a transfer.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeeRequest {
    /// The fee that the user wants to pay.
    pub(super) fee: Option<Amount>,
    /// The highest fee that the user wants to pay.
    pub(super) max_fee: Option<Amount>,
    /// The size of the transfer.
    pub(super) bytes: u64,
    /// The minimum fee rate that nodes had at the last transfer.
    pub(super) known_min: Option<u64>,
    pub(super) replaced: Option<ReplacedFee>,
}

impl FeeRequest {
    /// The fee, unless it is too high.
    pub(super) fn decide(self, rates: NodeRates) -> Result<Amount> {
        let fee = match self.fee {
            Some(fee) => fee,
            None => self.estimate(rates)?,
        };
        let max = self.max_fee.map_or(MAX_FEE, Amount::units);
        ensure!(
            fee.units() <= max,
            "the fee of {} is above {}: use --max-fee {fee} to pay it",
            coins(fee.units()),
            coins(max)
        );
        Ok(fee)
    }

    fn estimate(self, rates: NodeRates) -> Result<Amount> {
        let rate = rates.next_block.context("the node estimates no fee: use --fee COINS")?;
        let estimate = rate.checked_mul(self.bytes).and_then(Amount::new);
        let estimate = estimate.context("the node's fee estimate is absurd: use --fee COINS")?;
        let min = self.known_min.unwrap_or(Limits::default().min_fee_rate).max(1);
        let limit = min.saturating_mul(MAX_ESTIMATE_FACTOR).saturating_mul(self.bytes);
        ensure!(
            self.max_fee.is_some() || estimate.units() <= limit,
            "the node asks a fee of {}, more than {MAX_ESTIMATE_FACTOR} times the minimum of {} that \
             was last known: use --max-fee {estimate} to pay it, or --fee COINS to pay less",
            coins(estimate.units()),
            coins(min.saturating_mul(self.bytes))
        );
        let replacement =
            self.replaced.map_or(0, |old| min_replacement_fee(old.fee, old.bytes, self.bytes));
        Amount::new(estimate.units().max(replacement)).context("the fee is out of range")
    }
}

/// An account as a node reports it. Amounts are in base units.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct AccountState {
    balance: u64,
    immature: u64,
    pub(super) nonce: u64,
    pub(super) next_nonce: u64,
    pending_balance: u64,
    /// `None` from a node that does not report it.
    spendable: Option<u64>,
}

impl AccountState {
    /// What a transfer can spend, its fee included. A replacement can spend `returned`, what the
    /// replaced transfer would have spent.
    fn available(self, returned: u64) -> u64 {
        let spendable = self.spendable.unwrap_or(self.balance.min(self.pending_balance));
        spendable.saturating_add(returned).min(self.balance)
    }

    /// The whole balance without the fee.
    pub(super) fn all_but(self, own: &str, fee: Amount, returned: u64) -> Result<Amount> {
        let rest = self.available(returned).checked_sub(fee.units()).filter(|rest| *rest > 0);
        rest.and_then(Amount::new).with_context(|| {
            let (available, immature) = (coins(self.available(returned)), self.immature_text());
            format!("{own} has {available} to spend{immature}: less than the fee of {fee} coins")
        })
    }

    /// Checks that the balance covers the transfer, for a clear error.
    pub(super) fn check_covers(
        self,
        own: &str,
        amount: Amount,
        fee: Amount,
        returned: u64,
    ) -> Result<()> {
        let needed = amount.checked_add(fee).context("amount and fee exceed the total supply")?;
        let (available, immature) = (self.available(returned), self.immature_text());
        ensure!(
            needed.units() <= available,
            "{own} has {} to spend{immature}: the transfer needs {needed} coins, {fee} of them the \
             fee",
            coins(available)
        );
        Ok(())
    }

    fn immature_text(self) -> String {
        match self.immature {
            0 => String::new(),
            immature => format!(" and {} immature", coins(immature)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 145;

    fn amount(units: u64) -> Amount {
        Amount::new(units).unwrap()
    }

    fn request() -> FeeRequest {
        FeeRequest { fee: None, max_fee: None, bytes: BYTES, known_min: None, replaced: None }
    }

    fn rates(next_block: u64, min: u64) -> NodeRates {
        NodeRates { next_block: Some(next_block), min: Some(min) }
    }

    fn error(request: FeeRequest, rates: NodeRates) -> String {
        request.decide(rates).unwrap_err().to_string()
    }

    // W16
    #[test]
    fn estimate_is_at_most_ten_times_the_last_known_minimum() {
        assert_eq!(request().decide(rates(10, 1)).unwrap().units(), 10 * BYTES);
        let refused = error(request(), rates(11, 11));
        assert!(
            refused.contains("more than 10 times") && refused.contains("--max-fee"),
            "{refused}"
        );
        let known = FeeRequest { known_min: Some(2), ..request() };
        assert_eq!(known.decide(rates(20, 1)).unwrap().units(), 20 * BYTES);
        assert!(known.decide(rates(21, 21)).is_err());
        let allowed = FeeRequest { max_fee: Some(amount(60_000 * BYTES)), ..request() };
        assert_eq!(allowed.decide(rates(60_000, 1)).unwrap().units(), 60_000 * BYTES);
        assert!(allowed.decide(rates(60_001, 1)).is_err());
        for absurd in [u64::MAX, u64::MAX / BYTES] {
            assert!(error(request(), rates(absurd, 1)).contains("--"), "{absurd}");
        }
        assert!(error(request(), NodeRates::default()).contains("use --fee"));
    }

    #[test]
    fn claimed_minimum_raises_no_limit_beyond_what_was_paid() {
        assert_eq!(rates(10, 60_000).min_to_remember(amount(10 * BYTES), BYTES), Some(10));
        assert_eq!(rates(10, 3).min_to_remember(amount(10 * BYTES), BYTES), Some(3));
        assert_eq!(rates(10, 0).min_to_remember(amount(0), BYTES), Some(1));
        assert_eq!(NodeRates::default().min_to_remember(amount(1_000), BYTES), None);
    }

    #[test]
    fn fee_above_the_maximum_is_refused_also_if_the_user_names_it() {
        let explicit = |fee, max_fee: Option<u64>| {
            let (fee, max_fee) = (Some(amount(fee)), max_fee.map(amount));
            FeeRequest { fee, max_fee, ..request() }.decide(NodeRates::default())
        };
        assert_eq!(explicit(MAX_FEE, None).unwrap().units(), MAX_FEE);
        let refused = explicit(MAX_FEE + 1, None).unwrap_err().to_string();
        assert!(refused.contains("is above 0.1 coins: use --max-fee 0.10000001"), "{refused}");
        assert!(explicit(MAX_FEE + 1, Some(MAX_FEE + 1)).is_ok());
        assert!(explicit(500, Some(499)).is_err());
    }

    #[test]
    fn replacement_pays_a_tenth_more_by_itself() {
        let replaced = Some(ReplacedFee { fee: 100_000, bytes: BYTES });
        let fee = FeeRequest { replaced, ..request() }.decide(rates(1, 1)).unwrap();
        assert_eq!(fee.units(), 110_000);
    }

    #[test]
    fn only_the_spendable_balance_covers_a_transfer() {
        let account = |pending_balance: u64, spendable| AccountState {
            balance: 10,
            immature: 5,
            nonce: 0,
            next_nonce: 0,
            pending_balance,
            spendable,
        };
        let covers = |account: AccountState, units: u64, fee: u64, returned: u64| {
            account.check_covers("a", amount(units), amount(fee), returned)
        };
        covers(account(10, None), 9, 1, 0).unwrap();
        covers(account(20, None), 9, 1, 0).unwrap();
        let short = covers(account(20, None), 10, 1, 0).unwrap_err().to_string();
        assert_eq!(
            short,
            "a has 0.0000001 coins to spend and 0.00000005 coins immature: the \
             transfer needs 0.00000011 coins, 0.00000001 of them the fee"
        );
        assert!(covers(account(4, None), 9, 1, 0).is_err());
        covers(account(4, None), 9, 1, 6).unwrap();
        // Income that is not confirmed cannot be spent.
        assert!(covers(account(20, Some(3)), 9, 1, 0).is_err());
        assert!(covers(account(10, None), Amount::MAX.units(), 1, 0).is_err());
        let all = |account: AccountState, fee| account.all_but("a", amount(fee), 0);
        assert_eq!(all(account(20, Some(7)), 2).unwrap().units(), 5);
        assert!(all(account(20, Some(7)), 7).is_err());
    }
}
