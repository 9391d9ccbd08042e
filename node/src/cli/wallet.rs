//! `chain wallet`: make, import and show wallets, sign and verify messages, pay. What stands on
//! standard output is the result alone. Keys stay here: only `balance` and `send` talk to a node,
//! which gets addresses and signed transfers.

mod args;
mod balance;
mod send;

pub use args::WalletArgs;

use super::password::{self, PasswordSource};
use crate::wallet::message::Proof;
use crate::wallet::mnemonic::Length;
use crate::wallet::{Folder, Index, Mnemonic, Public, Wallet};
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

/// Keys: they stay on this machine, in an encrypted file
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a wallet and show its words, the only copy of its keys besides the file
    New {
        #[command(flatten)]
        wallet_args: WalletArgs,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        network: NetworkArgs,
        /// How many words
        #[arg(long, value_enum, default_value = "12")]
        words: Length,
    },
    /// Make a wallet from the words of another, asked for or read from standard input
    Import {
        #[command(flatten)]
        wallet_args: WalletArgs,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        network: NetworkArgs,
        /// File that holds the words
        #[arg(long, value_name = "FILE")]
        mnemonic_file: Option<PathBuf>,
    },
    /// List the wallets of this user and the accounts in use
    List {
        #[command(flatten)]
        dir: WalletDirArgs,
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Show the address of an account; one that is new needs the password, once
    Address {
        #[command(flatten)]
        wallet_args: WalletArgs,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        network: NetworkArgs,
    },
    Balance(balance::Args),
    Send(send::Args),
    /// Show the words again: whoever sees them can spend everything
    Export {
        #[command(flatten)]
        wallet_args: WalletArgs,
        #[command(flatten)]
        password: PasswordSource,
    },
    /// Sign a text, to prove who wrote it; this never moves money
    Sign {
        /// The text
        message: String,
        #[command(flatten)]
        wallet_args: WalletArgs,
        #[command(flatten)]
        account: AccountArgs,
        #[command(flatten)]
        password: PasswordSource,
        #[command(flatten)]
        network: NetworkArgs,
    },
    /// Check a signed text; the exit code is 1 when the signature is not good
    Verify {
        /// Address of the signer, or public key (64 hexadecimal digits)
        #[arg(value_name = "ADDRESS|KEY")]
        signer: String,
        /// The text
        message: String,
        /// What `sign` printed; for a public key its last 128 digits will do
        signature: String,
    },
}

/// Runs the command.
pub fn run(args: Args, json: bool) -> Result<()> {
    forbid_core_dumps()?;
    match args.command {
        Command::New { wallet_args, password, network, words } => {
            new(&wallet_args, &password, network.hrp()?, words, json)
        }
        Command::Import { wallet_args, password, network, mnemonic_file } => {
            import(&wallet_args, &password, network.hrp()?, mnemonic_file, json)
        }
        Command::List { dir, network } => list(&dir.folder()?, network.hrp()?, json),
        Command::Address { wallet_args, account, password, network } => {
            address(&wallet_args, account.index, &password, network.hrp()?, json)
        }
        Command::Balance(args) => balance::run(&args, json),
        Command::Send(args) => send::run(&args, json),
        Command::Export { wallet_args, password } => export(&wallet_args, &password, json),
        Command::Sign { message, wallet_args, account, password, network } => {
            let hrp = network.hrp()?;
            let key = wallet_args.open(&password)?.account(account.index);
            sign(&Proof::sign(&key, message.as_bytes()), &message, hrp, json)
        }
        Command::Verify { signer, message, signature } => {
            verify(&signer, &message, &signature, json)
        }
    }
}

fn new(
    wallet_args: &WalletArgs,
    password: &PasswordSource,
    hrp: Hrp,
    words: Length,
    json: bool,
) -> Result<()> {
    let path = wallet_args.free_path()?;
    let mnemonic = Mnemonic::generate(words, getrandom::fill)
        .context("the system gives no random bytes, so no wallet was made")?;
    let wallet = Wallet::create(&path, mnemonic, &password.new_one()?)?;
    let address = wallet.address(Index::default()).encode(hrp);
    let (name, count) = (&wallet_args.name, wallet.mnemonic().word_count());
    let phrase = wallet.mnemonic().phrase();
    print(
        json,
        &json!({"name": name, "path": path, "address": address, "mnemonic": *phrase}),
        format_args!(
            "Wallet {name}, kept in {path}\n\n    {phrase}\n\n\
             Write these {count} words down on paper, in this order, and show them to nobody:\n\
             whoever has them can spend everything, and without them a lost file or a forgotten\n\
             password is the end of it.\n\n\
             Address {address}",
            path = path.display(),
            phrase = *phrase,
        ),
    )
}

fn import(
    wallet_args: &WalletArgs,
    password: &PasswordSource,
    hrp: Hrp,
    mnemonic_file: Option<PathBuf>,
    json: bool,
) -> Result<()> {
    let path = wallet_args.free_path()?;
    let words = match mnemonic_file {
        Some(file) => password::read_file(&file)?,
        None => password::read_input("Words of the wallet: ")?,
    };
    let mnemonic = Mnemonic::parse(&words)?;
    let wallet = Wallet::create(&path, mnemonic, &password.new_one()?)?;
    let address = wallet.address(Index::default()).encode(hrp);
    let name = &wallet_args.name;
    print(
        json,
        &json!({"name": name, "path": path, "address": address}),
        format_args!("Wallet {name}, kept in {}\nAddress {address}", path.display()),
    )
}

/// One wallet that cannot be read does not hide the others.
fn list(folder: &Folder, hrp: Hrp, json: bool) -> Result<()> {
    let (mut items, mut lines) = (Vec::new(), Vec::new());
    for name in folder.names()? {
        let path = folder.path_of(&name);
        let public = match Public::read(&path).map_err(anyhow::Error::from) {
            Ok(public) => public,
            Err(error) => {
                let error = format!("{error:#}");
                lines.push(format!("{name}  {error}"));
                items.push(json!({"name": name, "path": path, "error": error}));
                continue;
            }
        };
        let mut accounts = Vec::new();
        for (index, address) in &public.accounts {
            let address = address.encode(hrp);
            let note = if public.protected { "" } else { "  no password" };
            lines.push(format!("{name}  {index}  {address}{note}"));
            accounts.push(json!({"account": index, "address": address}));
        }
        let protected = public.protected;
        items.push(
            json!({"name": name, "path": path, "protected": protected, "accounts": accounts}),
        );
    }
    if lines.is_empty() {
        lines.push("No wallets yet: make one with `chain wallet new`.".to_owned());
    }
    print(json, &Value::Array(items), format_args!("{}", lines.join("\n")))
}

fn address(
    wallet_args: &WalletArgs,
    account: Index,
    password: &PasswordSource,
    hrp: Hrp,
    json: bool,
) -> Result<()> {
    let address = wallet_args.address(account, password)?.encode(hrp);
    print(
        json,
        &json!({"name": wallet_args.name, "account": account, "address": address}),
        format_args!("{address}"),
    )
}

fn export(wallet_args: &WalletArgs, password: &PasswordSource, json: bool) -> Result<()> {
    let phrase = wallet_args.open(password)?.mnemonic().phrase();
    print(
        json,
        &json!({"name": wallet_args.name, "mnemonic": *phrase}),
        format_args!("{}", *phrase),
    )
}

fn sign(proof: &Proof, message: &str, hrp: Hrp, json: bool) -> Result<()> {
    let signature = proof.encode();
    print(
        json,
        &json!({
            "address": proof.address().encode(hrp),
            "public_key": hex::encode(proof.key.as_bytes()),
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
        bail!("not signed by {signer}: the message or the signature is another");
    }
    Ok(())
}

/// Whether the holder of an address or a key signed a message.
fn is_signed(signer: &str, message: &str, signature: &str) -> Result<bool> {
    let mut key = [0; 32];
    if hex::decode_to_slice(signer, &mut key).is_err() {
        let (_, address) = Address::decode(signer).with_context(|| format!("signer `{signer}`"))?;
        let proof = Proof::decode(signature)?;
        return Ok(proof.address() == address && proof.holds(message.as_bytes()));
    }
    let key = PublicKey::from_bytes(key);
    let mut alone = [0; 64];
    let proof = match hex::decode_to_slice(signature, &mut alone) {
        Ok(()) => Proof { key, signature: Signature::from_bytes(alone) },
        Err(_) => Proof::decode(signature)?,
    };
    Ok(proof.key == key && proof.holds(message.as_bytes()))
}

fn print(json: bool, value: &Value, text: fmt::Arguments<'_>) -> Result<()> {
    let mut out = io::stdout().lock();
    match json {
        true => writeln!(out, "{value:#}")?,
        false => writeln!(out, "{text}")?,
    }
    Ok(())
}

/// Keeps secrets out of core files, and other processes of this user out of this one's memory.
#[cfg(target_os = "linux")]
fn forbid_core_dumps() -> Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .context("cannot keep this process out of core files")
}

#[cfg(not(target_os = "linux"))]
fn forbid_core_dumps() -> Result<()> {
    Ok(())
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    // W06
    #[test]
    fn no_core_file_holds_a_secret() {
        use rustix::process::{DumpableBehavior, dumpable_behavior};
        super::forbid_core_dumps().unwrap();
        assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));
    }
}
