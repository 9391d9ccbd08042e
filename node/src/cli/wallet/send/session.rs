//! The steps of `chain wallet send` under the lock of the wallet: which transfer to submit, its nonce and
//! fee, the record on disk, and what the answer of the node means.

use super::args::{AmountArg, Args};
use super::fee::{AccountState, FeeRequest, NodeRates, ReplacedFee};
use crate::api::routes::accounts::AccountTransaction;
use crate::api::routes::transactions::{Status, Transaction};
use crate::api::routes::transfer::Fields;
use crate::cli::output::{Rows, coins, label};
use crate::cli::tx::SignedTransfer;
use crate::client::{ApiError, Client, Response, Submission};
use crate::wallet::{
    self, Lock, NodeNonces, NonceChoice, SentStatus, SentTransfer, SentTransfers, StateFile,
};
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use chain::signature::SecretKey;
use chain::tx::{Id, MIN_TRANSFER_BYTES, Payment};
use chain::{Address, Params, Transfer};
use serde::Deserialize;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Transactions of the account among which an unconfirmed one of another wallet is looked for.
const SEARCHED_TRANSACTIONS: &str = "100";

/// A `chain wallet send` of one account on one network.
pub(super) struct Session<'a> {
    args: &'a Args,
    params: &'a Params,
    client: &'a Client,
    wallet: &'a Path,
    key: SecretKey,
    account: Address,
    /// The address of the account as text.
    own: String,
}

/// A transfer that another one replaces.
struct Replaced {
    id: String,
    recipient: String,
    amount: u64,
    fee: u64,
    bytes: u64,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        args: &'a Args,
        params: &'a Params,
        client: &'a Client,
        wallet: &'a Path,
        key: SecretKey,
    ) -> Session<'a> {
        let account = key.public_key().address();
        let own = account.encode(params.hrp());
        Session { args, params, client, wallet, key, account, own }
    }

    /// Submits a new transfer, or the uncertain one again, until a node has accepted it. Its record
    /// still says that the outcome is uncertain.
    pub(super) async fn send(
        &self,
        recipient: Option<Address>,
    ) -> Result<(SentTransfer, Response)> {
        let account = self.request_account().await?;
        let nonces = nonces(&account);
        let mut sent = self.load(nonces)?;
        let undecided = sent.undecided(nonces).cloned();
        if self.args.again {
            let undecided = undecided.context(
                "no transfer of this account has an uncertain outcome, so there is none to send again",
            )?;
            self.check_same(&undecided.transfer, recipient)?;
            let nonce = undecided.transfer.nonce;
            self.resubmit(&sent.holders(nonces.next..nonce)).await?;
            return self.submit(undecided, None).await;
        }
        let mut besides = None;
        match undecided {
            None => {}
            Some(undecided) if self.args.new => {
                besides = Some(undecided.transfer.id());
                sent.accept(&undecided.transfer.id(), SentStatus::Accepted);
            }
            Some(undecided) if self.args.replace => {
                let nonce = undecided.transfer.nonce;
                ensure!(
                    self.args.nonce.is_none_or(|wanted| wanted == nonce),
                    "the outcome of transfer {} is uncertain: decide on that first, its nonce is {nonce}",
                    undecided.transfer.id()
                );
            }
            Some(undecided) => return Err(self.uncertain(&undecided).await),
        }
        let recipient = recipient.context("--to is missing")?;
        self.send_new(recipient, account, &sent, besides).await
    }

    /// Signs and submits a new transfer; `besides` is the one that the user does not mean by it.
    async fn send_new(
        &self,
        recipient: Address,
        mut account: AccountState,
        sent: &SentTransfers,
        besides: Option<Id>,
    ) -> Result<(SentTransfer, Response)> {
        let nonces = nonces(&account);
        let (choice, replaced) = match self.args.replace {
            true => self.choose_replaced(sent, nonces).await?,
            false => (sent.next(nonces, self.args.nonce)?, None),
        };
        let earlier = sent.holders(nonces.next..choice.nonce);
        if !earlier.is_empty() {
            self.resubmit(&earlier).await?;
            account = self.request_account().await?;
        }
        let state = StateFile::of(self.wallet);
        let genesis = self.params.genesis_hash();
        let memo = self.args.memo.clone().unwrap_or_default();
        let bytes = MIN_TRANSFER_BYTES.saturating_add(memo.as_bytes().len());
        let request = FeeRequest {
            fee: self.args.fee,
            max_fee: self.args.max_fee,
            bytes: u64::try_from(bytes)?,
            known_min: state.read()?.min_fee_rate(genesis),
            replaced: replaced.as_ref().map(|old| ReplacedFee { fee: old.fee, bytes: old.bytes }),
        };
        let rates = match self.args.fee {
            Some(_) => NodeRates::default(),
            None => NodeRates::request(self.client).await?,
        };
        let fee = request.decide(rates)?;
        let returned = replaced.as_ref().map_or(0, |old| old.amount.saturating_add(old.fee));
        let amount = match self.args.amount.context("--amount is missing")? {
            AmountArg::All => account.all_but(&self.own, fee, returned)?,
            AmountArg::Exactly(amount) => amount,
        };
        account.check_covers(&self.own, amount, fee, returned)?;
        let nonce = choice.nonce;
        let payment = Payment { nonce, recipient, amount: amount.units(), fee: fee.units(), memo };
        let transfer = Transfer::sign(payment, &self.key, genesis);
        let replaces = self.args.replace;
        state.update(|state| {
            if let Some(min) = rates.min_to_remember(fee, request.bytes) {
                state.set_min_fee_rate(genesis, min);
            }
            let sent = state.sent_mut(genesis, &self.account);
            if let Some(id) = besides {
                sent.accept(&id, SentStatus::Accepted);
            }
            sent.record(transfer.clone(), choice, replaces);
        })?;
        let signed = SentTransfer { transfer, status: SentStatus::Open, replaces };
        self.submit(signed, replaced).await
    }

    /// Shows a transfer that is on disk, and submits it.
    async fn submit(
        &self,
        signed: SentTransfer,
        replaced: Option<Replaced>,
    ) -> Result<(SentTransfer, Response)> {
        let id = signed.transfer.id();
        self.show(&signed.transfer, replaced.as_ref());
        let submission = signed_transfer(&signed).submit(self.client).await;
        let reason = match submission {
            Submission::Accepted(response) => match check_accepted(&response, id) {
                Ok(()) => return Ok((signed, response)),
                Err(error) => error,
            },
            Submission::Rejected(error) => {
                self.change(|sent| sent.refuse(&id))?;
                return Err(match hint(&error.code) {
                    Some(hint) => anyhow!("{error}: {hint}"),
                    None => error.into(),
                });
            }
            Submission::NotSent(error) => {
                self.change(|sent| sent.refuse(&id))?;
                return Err(error);
            }
            Submission::Unknown(error) => error,
        };
        bail!(
            "{reason:#}; transfer {id} may have arrived: the next `chain wallet send` needs --again to \
             submit the same one, or --new for another payment"
        )
    }

    /// Records that the user has seen that a node has accepted the transfer.
    pub(super) fn finish(&self, signed: &SentTransfer) -> Result<()> {
        let id = signed.transfer.id();
        self.change(|sent| sent.accept(&id, SentStatus::Accepted))
            .with_context(|| format!("transfer {id} was accepted, but that cannot be recorded"))
    }

    /// Records that this process waits for the confirmation of a transfer. Whether it still does is
    /// known by the lock.
    pub(super) fn await_confirmation(&self, signed: &SentTransfer) -> Result<Lock> {
        let id = signed.transfer.id();
        let lock = Lock::acquire(&wallet::wait_lock_path(self.wallet, &id))?;
        self.change(|sent| sent.accept(&id, SentStatus::Awaited))?;
        Ok(lock)
    }

    /// Removes the file of the lock of `await_confirmation`.
    pub(super) fn remove_wait_lock(&self, signed: &SentTransfer) {
        let _ = fs::remove_file(wallet::wait_lock_path(self.wallet, &signed.transfer.id()));
    }

    /// Changes the record. Commands that wait for a confirmation change theirs meanwhile.
    fn change<T>(&self, change: impl FnOnce(&mut SentTransfers) -> T) -> Result<T> {
        let genesis = self.params.genesis_hash();
        let change = |state: &mut wallet::State| change(state.sent_mut(genesis, &self.account));
        Ok(StateFile::of(self.wallet).update(change)?)
    }

    /// The signed transfers. Those whose command waited for a confirmation and ended without it are
    /// uncertain again.
    fn load(&self, nonces: NodeNonces) -> Result<SentTransfers> {
        let state = StateFile::of(self.wallet).read()?;
        let mut ended = Vec::new();
        for id in state.sent(self.params.genesis_hash(), &self.account).awaited() {
            let path = wallet::wait_lock_path(self.wallet, &id);
            if Lock::try_acquire(&path)?.is_some() {
                ended.push(id);
                let _ = fs::remove_file(&path);
            }
        }
        self.change(|sent| {
            ended.iter().for_each(|id| sent.reopen(id));
            sent.forget_confirmed(nonces);
            sent.clone()
        })
    }

    async fn request_account(&self) -> Result<AccountState> {
        self.client.get(&["accounts", &self.own]).await?.json()
    }

    /// Submits transfers again that the node lacks although it has accepted them, or another node has.
    async fn resubmit(&self, earlier: &[&SentTransfer]) -> Result<()> {
        for signed in earlier {
            let (id, nonce) = (signed.transfer.id(), signed.transfer.nonce);
            let failed = match signed_transfer(signed).submit(self.client).await {
                Submission::Accepted(_) => continue,
                Submission::Rejected(error) => {
                    anyhow!("{error}: replace it by --nonce {nonce} --replace, or try again later")
                }
                Submission::NotSent(error) | Submission::Unknown(error) => error,
            };
            return Err(failed.context(format!(
                "the node lacks the earlier transfer {id} with nonce {nonce}, and does not take it again"
            )));
        }
        Ok(())
    }

    /// The nonce of the transfer to replace, and what is known of that.
    async fn choose_replaced(
        &self,
        sent: &SentTransfers,
        nonces: NodeNonces,
    ) -> Result<(NonceChoice, Option<Replaced>)> {
        let undecided = sent.undecided(nonces).map(|undecided| undecided.transfer.nonce);
        let nonce = self.args.nonce.or(undecided).context(
            "no transfer has an uncertain outcome: name the one to replace by its --nonce",
        )?;
        let replaced = match sent.holder(nonce) {
            Some(held) => Some(self.replaced(&held.transfer)),
            None => self.find_replaced(nonce).await?,
        };
        Ok((sent.replacing(nonces, nonce, replaced.is_some())?, replaced))
    }

    fn replaced(&self, transfer: &Transfer) -> Replaced {
        Replaced {
            id: transfer.id().to_string(),
            recipient: transfer.recipient.encode(self.params.hrp()),
            amount: transfer.amount,
            fee: transfer.fee,
            bytes: transfer.size() as u64,
        }
    }

    /// Looks for an unconfirmed transfer of the account that another wallet has signed.
    async fn find_replaced(&self, nonce: u64) -> Result<Option<Replaced>> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<AccountTransaction>,
        }
        let query = [("limit", SEARCHED_TRANSACTIONS)];
        let path = ["accounts", &self.own, "transactions"];
        let page: Page = self.client.get_with(&path, &query, Duration::ZERO).await?.json()?;
        let unconfirmed = |item: &&AccountTransaction| {
            matches!(item.status, Status::Pending | Status::Queued) && item.nonce == Some(nonce)
        };
        let Some(item) = page.items.iter().find(unconfirmed) else { return Ok(None) };
        let found: Transaction = self.client.get(&["transactions", &item.id]).await?.json()?;
        let body = found.body.context("the node does not show the transfer to replace")?;
        let Fields::Transfer { recipient, amount, fee, .. } = body.fields else { return Ok(None) };
        let bytes = body.size as u64;
        Ok(Some(Replaced { id: found.id, recipient, amount, fee, bytes }))
    }

    /// Checks that `--again` with a recipient, an amount or a memo means the transfer that is open.
    fn check_same(&self, transfer: &Transfer, recipient: Option<Address>) -> Result<()> {
        let same_amount = match self.args.amount {
            Some(AmountArg::Exactly(amount)) => amount.units() == transfer.amount,
            Some(AmountArg::All) | None => true,
        };
        let same_recipient = recipient.is_none_or(|recipient| recipient == transfer.recipient);
        let same_memo = self.args.memo.as_ref().is_none_or(|memo| *memo == transfer.memo);
        ensure!(
            same_amount && same_recipient && same_memo,
            "the transfer with an uncertain outcome is another one: {}; leave --to, --amount and --memo \
             out to submit it again",
            self.describe(transfer)
        );
        Ok(())
    }

    /// The error that shows a transfer whose outcome only the user can decide on.
    async fn uncertain(&self, undecided: &SentTransfer) -> Error {
        let transfer = &undecided.transfer;
        let now = match self.client.get(&["transactions", &transfer.id().to_string()]).await {
            Ok(response) => match response.json::<Transaction>() {
                Ok(transaction) => format!("reports it as {}", label(&transaction.status)),
                Err(_) => "sends no transaction".to_owned(),
            },
            Err(error) => match error.downcast_ref::<ApiError>() {
                Some(error) if error.code == "not-found" => "does not know it".to_owned(),
                _ => "gives no status".to_owned(),
            },
        };
        let before = match undecided.status {
            SentStatus::Refused => "was refused, but its nonce is used by now",
            _ => "has an uncertain outcome",
        };
        anyhow!(
            "{} {before}; the node {now}: use --again to submit the same transfer again, --new to pay \
             once more besides it, or --replace to send this one in its place",
            self.describe(transfer)
        )
    }

    fn describe(&self, transfer: &Transfer) -> String {
        format!(
            "transfer {} of {} to {} with nonce {}",
            transfer.id(),
            coins(transfer.amount),
            transfer.recipient.encode(self.params.hrp()),
            transfer.nonce
        )
    }

    fn show(&self, transfer: &Transfer, replaced: Option<&Replaced>) {
        let memo = String::from_utf8_lossy(transfer.memo.as_bytes());
        let replaced =
            replaced.map(|old| format!("{}, {} to {}", old.id, coins(old.amount), old.recipient));
        let rows = Rows::new()
            .row("id", transfer.id())
            .row("from", &self.own)
            .row("to", transfer.recipient.encode(self.params.hrp()))
            .row("amount", coins(transfer.amount))
            .row("fee", coins(transfer.fee))
            .row("nonce", transfer.nonce)
            .row_if("memo", (!memo.is_empty()).then_some(memo))
            .row_if("replaces", replaced);
        // The record on disk shows it as well, so a closed stderr does not matter.
        let _ = rows.print_to_stderr();
    }
}

fn nonces(account: &AccountState) -> NodeNonces {
    let confirmed = account.nonce;
    NodeNonces { confirmed, next: account.next_nonce.max(confirmed) }
}

fn signed_transfer(signed: &SentTransfer) -> SignedTransfer<'_> {
    SignedTransfer { transfer: &signed.transfer, replaces: signed.replaces }
}

/// Checks that a positive answer is about this transfer.
fn check_accepted(response: &Response, id: Id) -> Result<()> {
    let transaction: Transaction = response.json()?;
    ensure!(transaction.id == id.to_string(), "the node answered with another transaction");
    ensure!(transaction.status != Status::Dropped, "the node accepted the transfer and dropped it");
    Ok(())
}

/// A hint to resolve a rejection.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "nonce-used" | "would-replace" => {
            "another wallet with this key has used the nonce meanwhile"
        }
        "nonce-too-far" => "leave --nonce out to use the next one",
        "replacement-too-cheap" => "raise --fee to replace that one",
        "min-fee" => "raise --fee, or leave it out",
        "mempool-full" => "raise --fee, or try again later",
        "sender-limit" | "insufficient-balance" => "try again when pending transfers are confirmed",
        _ => return None,
    })
}
