//! `chain wallet`: creates, imports and shows wallets, signs and verifies messages, sends transfers.
//! Keys do not leave this process: only `balance` and `send` connect to a node, which receives
//! addresses and signed transfers.

mod args;
mod balance;
mod send;

pub use args::WalletArgs;

use super::{password, secrets};
use crate::wallet::message::MessageSignature;
use crate::wallet::mnemonic::Length;
use crate::wallet::{Index, Mnemonic, Wallet, WalletDir, WalletInfo};
use anyhow::{Context, Result, bail};
use args::{AccountArgs, NetworkArgs, WalletDirArgs};
use chain::Address;
use chain::address::Hrp;
use chain::signature::{PublicKey, Signature};
use clap::Subcommand;
use serde_json::{Value, json};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

/// Manage wallets: keys in encrypted files on this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a wallet and show its mnemonic, the only backup of its keys
    New {
        #[command(flatten)]
        wallet: WalletArgs,
        #[command(flatten)]
        network: NetworkArgs,
        /// Number of words of the mnemonic
        #[arg(long, value_enum, default_value = "12")]
        words: Length,
    },
    /// Restore a wallet from its mnemonic, from a prompt or stdin
    Import {
        #[command(flatten)]
        wallet: WalletArgs,
        #[command(flatten)]
        network: NetworkArgs,
        /// File with the mnemonic
        #[arg(long, value_name = "FILE")]
        mnemonic_file: Option<PathBuf>,
    },
    /// List wallets and their accounts
    List {
        #[command(flatten)]
        dir: WalletDirArgs,
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Show the address of an account; a new account needs the password
    Address {
        #[command(flatten)]
        wallet: WalletArgs,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        network: NetworkArgs,
    },
    Balance(balance::Args),
    Send(send::Args),
    /// Show the mnemonic, which is enough to spend all coins
    Export {
        #[command(flatten)]
        wallet: WalletArgs,
    },
    /// Sign a message; the signature is not valid for a transfer
    Sign {
        /// Message text
        message: String,
        #[command(flatten)]
        wallet: WalletArgs,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Verify the signature of a message; exit with 1 if it is invalid
    Verify {
        /// Address or public key (64 hexadecimal digits) of the signer
        #[arg(value_name = "ADDRESS|KEY")]
        signer: String,
        /// Message text
        message: String,
        /// Output of `sign`; with a public key, its last 128 digits suffice
        signature: String,
    },
}

pub fn run(args: Args, json: bool) -> Result<()> {
    secrets::forbid_core_dumps()?;
    match args.command {
        Command::New { wallet, network, words } => new(&wallet, network.hrp()?, words, json),
        Command::Import { wallet, network, mnemonic_file } => {
            import(&wallet, network.hrp()?, mnemonic_file, json)
        }
        Command::List { dir, network } => list(&dir.wallet_dir()?, network.hrp()?, json),
        Command::Address { wallet, account, network } => {
            address(&wallet, account.index, network.hrp()?, json)
        }
        Command::Balance(args) => balance::run(&args, json),
        Command::Send(args) => send::run(&args, json),
        Command::Export { wallet } => export(&wallet, json),
        Command::Sign { message, wallet, account, network } => {
            let hrp = network.hrp()?;
            let key = wallet.open()?.account(account.index);
            sign(&MessageSignature::sign(&key, message.as_bytes()), &message, hrp, json)
        }
        Command::Verify { signer, message, signature } => {
            verify(&signer, &message, &signature, json)
        }
    }
}

fn new(args: &WalletArgs, hrp: Hrp, words: Length, json: bool) -> Result<()> {
    let path = args.free_path()?;
    let mnemonic = Mnemonic::generate(words, getrandom::fill)
        .context("the system has no random bytes, no wallet was created")?;
    let wallet = Wallet::create(&path, mnemonic, &args.password.new_one()?)?;
    let address = wallet.address(Index::default()).encode(hrp);
    let (name, count) = (&args.name, wallet.mnemonic().word_count());
    let phrase = wallet.mnemonic().phrase();
    print(
        json,
        &json!({"name": name, "path": path, "address": address, "mnemonic": *phrase}),
        format_args!(
            "Wallet {name}, stored in {path}\n\n    {phrase}\n\n\
             Write these {count} words down on paper, in this order, and keep them secret:\n\
             anyone who has them can spend all coins. Without them, a lost file or a forgotten\n\
             password cannot be recovered.\n\n\
             Address {address}",
            path = path.display(),
            phrase = *phrase,
        ),
    )
}

fn import(args: &WalletArgs, hrp: Hrp, mnemonic_file: Option<PathBuf>, json: bool) -> Result<()> {
    let path = args.free_path()?;
    let words = match mnemonic_file {
        Some(file) => password::read_file(&file)?,
        None => password::read_input("Mnemonic: ")?,
    };
    let mnemonic = Mnemonic::parse(&words)?;
    let wallet = Wallet::create(&path, mnemonic, &args.password.new_one()?)?;
    let address = wallet.address(Index::default()).encode(hrp);
    let name = &args.name;
    print(
        json,
        &json!({"name": name, "path": path, "address": address}),
        format_args!("Wallet {name}, stored in {}\nAddress {address}", path.display()),
    )
}

/// Lists wallets; the error of an unreadable one is part of the list.
fn list(dir: &WalletDir, hrp: Hrp, json: bool) -> Result<()> {
    let (mut items, mut lines) = (Vec::new(), Vec::new());
    for name in dir.names()? {
        let path = dir.path_of(&name);
        let info = match WalletInfo::read(&path).map_err(anyhow::Error::from) {
            Ok(info) => info,
            Err(error) => {
                let error = format!("{error:#}");
                lines.push(format!("{name}  {error}"));
                items.push(json!({"name": name, "path": path, "error": error}));
                continue;
            }
        };
        let mut accounts = Vec::new();
        for (index, address) in &info.accounts {
            let address = address.encode(hrp);
            let note = match (info.is_authentic, info.protected) {
                (false, _) => "  not authenticated until the wallet is opened",
                (true, false) => "  no password",
                (true, true) => "",
            };
            lines.push(format!("{name}  {index}  {address}{note}"));
            accounts.push(json!({"account": index, "address": address}));
        }
        items.push(json!({
            "name": name, "path": path, "protected": info.protected,
            "authentic": info.is_authentic, "accounts": accounts,
        }));
    }
    if lines.is_empty() {
        lines.push("No wallets: create one with `chain wallet new`.".to_owned());
    }
    print(json, &Value::Array(items), format_args!("{}", lines.join("\n")))
}

fn address(args: &WalletArgs, account: Index, hrp: Hrp, json: bool) -> Result<()> {
    let address = args.address(account)?.encode(hrp);
    print(
        json,
        &json!({"name": args.name, "account": account, "address": address}),
        format_args!("{address}"),
    )
}

fn export(args: &WalletArgs, json: bool) -> Result<()> {
    let phrase = args.open()?.mnemonic().phrase();
    print(json, &json!({"name": args.name, "mnemonic": *phrase}), format_args!("{}", *phrase))
}

fn sign(signed: &MessageSignature, message: &str, hrp: Hrp, json: bool) -> Result<()> {
    let signature = signed.encode();
    print(
        json,
        &json!({
            "address": signed.address().encode(hrp),
            "public_key": hex::encode(signed.key.as_bytes()),
            "message": message,
            "signature": signature,
        }),
        format_args!("{signature}"),
    )
}

fn verify(signer: &str, message: &str, signature: &str, json: bool) -> Result<()> {
    let valid = is_signed(signer, message, signature)?;
    if valid || json {
        print(json, &json!({"valid": valid}), format_args!("Signed by {signer}"))?;
    }
    if !valid {
        bail!("invalid signature: the message was not signed by {signer}");
    }
    Ok(())
}

/// Whether a signature of a message is that of an address or a public key.
fn is_signed(signer: &str, message: &str, signature: &str) -> Result<bool> {
    let mut key = [0; 32];
    if hex::decode_to_slice(signer, &mut key).is_err() {
        let (_, address) = Address::decode(signer).with_context(|| format!("signer `{signer}`"))?;
        let signed = MessageSignature::decode(signature)?;
        return Ok(signed.address() == address && signed.verifies(message.as_bytes()));
    }
    let key = PublicKey::from_bytes(key);
    let mut signature_only = [0; 64];
    let signed = match hex::decode_to_slice(signature, &mut signature_only) {
        Ok(()) => MessageSignature { key, signature: Signature::from_bytes(signature_only) },
        Err(_) => MessageSignature::decode(signature)?,
    };
    Ok(signed.key == key && signed.verifies(message.as_bytes()))
}

fn print(json: bool, value: &Value, text: fmt::Arguments<'_>) -> Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{value:#}")?,
        false => writeln!(out, "{text}")?,
    }
    Ok(())
}
