//! `chain wallet` without a node.

use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Public: the network `dev` funds its accounts.
const WORDS: &str = "test test test test test test test test test test test junk";
const FIRST: &str = "dch1qm3qtyy6z0gzcaekzhjyhhh2gq5mak060jua960";
const SECOND: &str = "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa";
const PASSWORD: &str = "correct horse";

/// A user with a directory of wallets and no terminal.
pub struct User {
    home: tempfile::TempDir,
    pub password: Option<&'static str>,
}

impl User {
    pub fn new() -> User {
        User { home: tempfile::tempdir().unwrap(), password: Some(PASSWORD) }
    }

    pub fn with_dev_wallet() -> User {
        let user = User::new();
        user.ok(&["import"], WORDS);
        user
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.home.path().join("wallets").join(name)
    }

    /// `chain wallet` with the environment of this user.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chain"));
        command.arg("wallet").args(arguments).env_clear();
        command.env("CHAIN_WALLET_DIR", self.home.path().join("wallets"));
        command.env("CHAIN_NETWORK", "dev");
        command.envs(self.password.map(|password| ("CHAIN_WALLET_PASSWORD", password)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        // A command that fails before it reads leaves a broken pipe.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    pub fn ok(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        let errors = String::from_utf8(output.stderr).unwrap();
        // `send` shows on stderr what it submits.
        let is_silent = errors.is_empty() || arguments[0] == "send";
        assert!(output.status.success() && is_silent, "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat(), "")).unwrap()
    }

    /// Runs a command that must fail: its line on stderr, after what `send` shows.
    pub fn fails(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let line = text.lines().last().unwrap();
        assert!(text.ends_with('\n') && line.starts_with("chain: "), "{text}");
        assert!(arguments[0] == "send" || text.lines().count() == 1, "{text}");
        format!("{line}\n")
    }
}

#[test]
fn mnemonic_of_a_new_wallet_restores_it() {
    let user = User::new();
    let output = user.ok(&["new"], "");
    let words = output.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
    assert_eq!(words.split(' ').count(), 12);
    let address = user.ok(&["address"], "");
    assert!(output.contains(&format!("Address {address}")), "{output}");
    assert_eq!(user.ok(&["export"], ""), format!("{words}\n"));

    user.ok(&["import", "--name", "again"], words);
    assert_eq!(user.ok(&["address", "--name", "again"], ""), address);
    let long = user.json(&["new", "--name", "long", "--words", "24"]);
    assert_eq!(long["mnemonic"].as_str().unwrap().split(' ').count(), 24);
}

#[test]
fn only_a_new_account_needs_the_password() {
    let mut user = User::with_dev_wallet();
    user.password = None;
    assert_eq!(user.ok(&["address"], "").trim(), FIRST);
    let second = ["address", "--account", "1"];
    assert!(user.fails(&second, "").contains("--password-file"));
    user.password = Some(PASSWORD);
    assert_eq!(user.ok(&second, "").trim(), SECOND);
    user.password = None;
    assert_eq!(user.json(&second)["address"], SECOND);

    let listed = user.json(&["list"]);
    assert_eq!(listed[0]["name"], "default");
    assert_eq!(listed[0]["protected"], true);
    assert_eq!(listed[0]["accounts"][1]["address"], SECOND);
    assert_eq!(listed[0]["authentic"], true);
    assert_eq!(user.ok(&["list"], ""), format!("default  0  {FIRST}\ndefault  1  {SECOND}\n"));
    let on_main = user.ok(&["address", "--network", "main"], "");
    assert!(on_main.starts_with("ch1q"), "{on_main}");
}

// C30
#[test]
fn message_signature_is_valid_for_its_signer_and_text_only() {
    let user = User::with_dev_wallet();
    let signed = user.json(&["sign", "I was here"]);
    let [key, signature] = ["public_key", "signature"].map(|name| signed[name].as_str().unwrap());
    assert_eq!(signed["address"], FIRST);

    user.ok(&["verify", FIRST, "I was here", signature], "");
    user.ok(&["verify", key, "I was here", signature], "");
    user.ok(&["verify", key, "I was here", &signature[64..]], "");
    for (signer, text) in [(FIRST, "I was there"), (SECOND, "I was here")] {
        assert!(user.fails(&["verify", signer, text, signature], "").contains("not signed by"));
    }
    let output = user.run(&["verify", FIRST, "other", signature, "--json"], "");
    assert_eq!(output.status.code(), Some(1));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["valid"], false);
    assert!(user.fails(&["verify", "dch1qq", "x", signature], "").contains("not an address"));
    assert!(user.fails(&["verify", FIRST, "x", "00"], "").contains("192 hexadecimal digits"));
}

#[test]
fn wrong_password_changes_nothing() {
    let mut user = User::with_dev_wallet();
    let before = fs::read(user.file("default.json")).unwrap();
    user.password = Some("correct horsf");
    for arguments in [&["export"][..], &["address", "--account", "3"]] {
        assert!(user.fails(arguments, "").contains("wrong password"));
    }
    assert_eq!(fs::read(user.file("default.json")).unwrap(), before);
}

#[test]
fn reads_the_password_from_a_file() {
    let mut user = User::with_dev_wallet();
    user.password = None;
    let file = user.home.path().join("password");
    fs::write(&file, format!("{PASSWORD}\r\nsecond line\n")).unwrap();
    let exported = user.ok(&["export", "--password-file", file.to_str().unwrap()], "");
    assert_eq!(exported.trim(), WORDS);
}

// W01
#[test]
fn rejects_missing_and_weak_passwords() {
    let mut user = User::new();
    user.password = None;
    let line = user.fails(&["new"], "");
    assert!(line.contains("--password-file") && line.contains("CHAIN_WALLET_PASSWORD"), "{line}");
    for weak in ["", "1234567"] {
        user.password = Some(weak);
        assert!(user.fails(&["new"], "").contains("at least 8 characters"));
    }
    assert!(user.json(&["list"]).as_array().unwrap().is_empty());
}

// W04
#[test]
fn rejects_invalid_mnemonics() {
    let user = User::new();
    let error = |words: &str| user.fails(&["import"], words);
    assert!(error("").contains("this text has 0"));
    assert!(error("test test junk").contains("this text has 3"));
    assert!(error(&WORDS.replace("junk", "junkk")).contains("word 12 "));
    assert!(error(&WORDS.replace("junk", "test")).contains("checksum"));
    assert!(error(&"x".repeat(5000)).contains("longer than 4096 bytes"));
    assert!(user.fails(&["import", "--mnemonic-file", "/nowhere"], "").contains("/nowhere"));
    assert!(!user.file("default.json").exists());
}

#[test]
fn rejects_used_names_and_paths() {
    let user = User::with_dev_wallet();
    let before = fs::read(user.file("default.json")).unwrap();
    assert!(user.fails(&["new"], "").contains("--name"));
    assert!(user.fails(&["import"], WORDS).contains("--name"));
    assert_eq!(fs::read(user.file("default.json")).unwrap(), before);
    assert_eq!(user.run(&["new", "--name", "../x"], "").status.code(), Some(2));
    assert!(user.fails(&["address", "--name", "none"], "").contains("chain wallet new"));
}

// W03
#[cfg(unix)]
#[test]
fn wallet_files_are_readable_by_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let user = User::with_dev_wallet();
    let file = user.file("default.json");
    let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&file), mode(&user.home.path().join("wallets"))), (0o600, 0o700));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(user.fails(&["address"], "").contains("chmod 600"));
    let listed = user.json(&["list"]);
    assert!(listed[0]["error"].as_str().unwrap().contains("mode 0644"), "{listed}");
}

// W02
#[test]
fn rejects_damaged_files() {
    let user = User::with_dev_wallet();
    let file = user.file("default.json");
    let intact = fs::read_to_string(&file).unwrap();
    let change = |from: &str, to: &str| {
        fs::write(&file, intact.replace(from, to)).unwrap();
        user.fails(&["export"], "")
    };
    assert!(change("65536", "4294967295").contains("damaged"));
    assert!(change("{", "").contains("not a wallet"));
    assert!(change("\"version\": 2", "\"version\": 9").contains("version 9"));
    assert!(change("\"iterations\": 3", "\"iterations\": 4").contains("wrong password (or the"));
}

// W14
#[test]
fn changed_address_is_refused_without_the_password() {
    let mut user = User::with_dev_wallet();
    user.password = None;
    let file = user.file("default.json");
    let intact = fs::read_to_string(&file).unwrap();
    let changed = intact.replace("\"0\": \"dc40", "\"0\": \"dc41");
    assert_ne!(changed, intact);
    fs::write(&file, changed).unwrap();
    for command in ["address", "export"] {
        assert!(user.fails(&[command], "").contains("addresses were changed"), "{command}");
    }
    let listed = user.json(&["list"]);
    assert!(listed[0]["error"].as_str().unwrap().contains("changed"), "{listed}");
    let mut mine = crate::harness::chain(&["mine", "--network", "dev", "--blocks", "1"]);
    mine.env("CHAIN_WALLET_DIR", file.parent().unwrap()).env("CHAIN_DATA", user.file("data"));
    let mined = mine.output().unwrap();
    assert_eq!(mined.status.code(), Some(1));
    assert!(String::from_utf8(mined.stderr).unwrap().contains("addresses were changed"));
}

// W14: an attacker who replaces the file does not know the password.
#[test]
fn other_wallet_by_the_same_name_needs_its_password() {
    let mut user = User::with_dev_wallet();
    let theirs = User::new();
    let foreign = theirs.json(&["new"])["address"].as_str().unwrap().to_owned();
    fs::copy(theirs.file("default.json"), user.file("default.json")).unwrap();
    user.password = None;
    assert!(user.fails(&["address"], "").contains("needs a password"));
    assert_eq!(user.json(&["list"])[0]["authentic"], false);
    user.password = Some("another one");
    assert!(user.fails(&["address"], "").contains("wrong password"));
    // The password of the wallet proves that its owner has replaced it.
    user.password = Some(PASSWORD);
    assert_eq!(user.ok(&["address"], "").trim(), foreign);
    user.password = None;
    assert_eq!(user.ok(&["address"], "").trim(), foreign);
}

#[test]
fn accounts_added_at_once_are_all_listed() {
    let user = User::with_dev_wallet();
    std::thread::scope(|scope| {
        for number in ["1", "2", "3", "4", "5"] {
            let user = &user;
            scope.spawn(move || user.ok(&["address", "--account", number], ""));
        }
    });
    assert_eq!(user.json(&["list"])[0]["accounts"].as_array().unwrap().len(), 6);
}

// W06
#[cfg(target_os = "linux")]
#[test]
fn password_is_not_in_the_environment_of_a_running_command() {
    let user = User::with_dev_wallet();
    // It waits for the words on stdin.
    let mut child = user.command(&["import", "--name", "other"]).spawn().unwrap();
    let environment = format!("/proc/{}/environ", child.id());
    crate::harness::eventually("an environment without the password", || {
        // Only root reads that of a process without core dumps.
        let read = fs::read(&environment);
        let is_hidden = match &read {
            Ok(variables) => {
                !variables.is_empty() && !String::from_utf8_lossy(variables).contains(PASSWORD)
            }
            Err(error) => error.kind() == std::io::ErrorKind::PermissionDenied,
        };
        is_hidden.then_some(())
    });
    child.stdin.take().unwrap().write_all(WORDS.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(user.ok(&["export", "--name", "other"], "").trim(), WORDS);
}

// The result was missing for `chain tx send`, the API and `chain testnet reorg --replace`.
#[test]
fn transfer_is_signed_without_a_node() {
    let user = User::with_dev_wallet();
    let state = || fs::read(user.file("default.state.json")).ok();
    let before = state();
    let flags = ["send", "--to", SECOND, "--amount", "1.5", "--nonce", "7", "--sign-only"];
    let signed = user.ok(&[&flags[..], &["--fee", "0.001"]].concat(), "");
    let transfer = chain::Transfer::decode(&hex::decode(signed.trim()).unwrap()).unwrap();
    assert_eq!((transfer.nonce, transfer.amount, transfer.fee), (7, 150_000_000, 100_000));
    let genesis = chain::Params::dev().genesis_hash();
    assert!(chain::rules::tx::check(transfer.clone(), genesis).is_ok());
    let as_json = user.json(&[&flags[..], &["--fee", "0.001"]].concat());
    assert_eq!(as_json["id"], transfer.id().to_string());
    assert_eq!(state(), before, "it is not recorded");
    let error = user.fails(&[&flags[..], &["--fee", "1"]].concat(), "");
    assert!(error.contains("use --max-fee 1 to pay it"), "{error}");
    let all = ["send", "--to", SECOND, "--amount", "all", "--nonce", "7", "--fee", "0.001"];
    let error = user.fails(&[&all[..], &["--sign-only"]].concat(), "");
    assert!(error.contains("needs an exact --amount"), "{error}");
    assert_eq!(user.run(&flags, "").status.code(), Some(2), "the fee is missing");
}
