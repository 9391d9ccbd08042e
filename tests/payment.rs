//! Payments from wallet to wallet through a node, followed until they are proven.

use crate::harness::{Node, chain, eventually, run};
use crate::wallet::User;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// The reward of a block of `dev` without fees, in base units.
const SUBSIDY: u64 = 5_000_000_000;
/// What `dev` gives each of its accounts, in base units.
const ALLOCATION: u64 = 1_000_000_000_000;
/// The address of the second of them, who is only paid here.
const ELSEWHERE: &str = "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa";

/// A node of the network `dev`, and who asks it.
struct Town {
    folder: tempfile::TempDir,
    node: Node,
}

impl Town {
    fn new() -> Town {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&folder.path().join("data"), &[]);
        Town { folder, node }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn generate(&self, blocks: u64, miner: &str) {
        let token = fs::read_to_string(self.file("data").join("api-token")).unwrap();
        let authorization = format!("Authorization: Bearer {}", token.trim());
        let headers = [authorization.as_str(), "Content-Type: application/json"];
        let order = json!({"blocks": blocks, "miner": miner}).to_string();
        let answer = self.node.ask("POST", "/v1/dev/generate", &headers, order.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    fn account(&self, address: &str) -> Value {
        self.node.get(&format!("/v1/accounts/{address}")).json()
    }

    /// Runs `chain wallet` on this node: the JSON it prints.
    fn wallet(&self, user: &User, arguments: &[&str]) -> Value {
        user.json(&[arguments, &["--node", &self.node.url()]].concat())
    }

    /// The one line why `chain wallet` fails on this node.
    fn refused(&self, user: &User, arguments: &[&str]) -> String {
        user.refused(&[arguments, &["--node", &self.node.url()]].concat(), "")
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        run(&[arguments, &["--node", &self.node.url()]].concat())
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = chain(arguments);
        command.args(["--node", &self.node.url()]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }
}

fn make(user: &User, name: &str) -> String {
    user.json(&["new", "--name", name])["address"].as_str().unwrap().to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn a_payment_is_exact_to_the_base_unit() {
    let (town, user) = (Town::new(), User::new());
    let [anna, bert, miner] = ["anna", "bert", "miner"].map(|name| make(&user, name));
    town.generate(1, &anna);
    town.generate(1, &miner);

    let payment = ["send", "--wallet", "anna", "--to", &bert, "--amount", "12.34567891"];
    let sent = town.wallet(&user, &[&payment[..], &["--memo", "for the book"]].concat());
    // One base unit a byte on an idle chain: 145 bytes and the memo.
    let (amount, fee) = (1_234_567_891, 145 + 12);
    assert_eq!(sent["amount"], amount);
    assert_eq!(sent["fee"], fee);
    assert_eq!(sent["status"], "pending");
    let balance = town.wallet(&user, &["balance", "--wallet", "anna"]);
    assert_eq!(balance["address"], anna);
    assert_eq!(balance["balance"], SUBSIDY);
    assert_eq!(balance["pending_balance"], SUBSIDY - amount - fee);
    assert_eq!(balance["next_nonce"], 1);
    assert_eq!(town.wallet(&user, &["balance", &bert])["pending_balance"], amount);

    let id = text(&sent["id"]);
    let (code, _, stderr) = town.run(&["tx", "wait", id, "--timeout", "0"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("pending"), "{stderr}");
    let waiting = town.start(&["tx", "wait", id, "--json"]);
    town.generate(1, &miner);
    let waited = waiting.wait_with_output().unwrap();
    assert!(waited.status.success());
    let waited: Value = serde_json::from_slice(&waited.stdout).unwrap();
    assert_eq!((&waited["status"], &waited["height"]), (&json!("confirmed"), &json!(3)));

    let holds = |address: &str| {
        let account = town.account(address);
        (account["balance"].as_u64().unwrap(), account["immature"].as_u64().unwrap())
    };
    assert_eq!(holds(&anna), (SUBSIDY - amount - fee, 0));
    assert_eq!(holds(&bert), (amount, 0));
    assert_eq!(holds(&miner), (SUBSIDY, SUBSIDY + fee));
    town.generate(1, ELSEWHERE);
    assert_eq!(holds(&miner), (2 * SUBSIDY + fee, 0));

    let (_, shown, _) = town.run(&["tx", "show", id]);
    for part in [id, &bert, "12.34567891 coins", "0.00000157 coins", "for the book", "2 blocks"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn a_proof_of_payment_holds_without_a_node_until_it_is_tampered_with() {
    let town = Town::new();
    let sent = town.wallet(&User::with_dev_wallet(), &["send", "--to", ELSEWHERE, "--amount", "1"]);
    let id = text(&sent["id"]);
    let path = format!("/v1/transactions/{id}/proof");
    assert_eq!(town.node.get(&path).status, 404, "in no block yet");
    town.generate(1, ELSEWHERE);
    let proof = town.node.get(&path).json();
    drop(town.node);

    let file = town.folder.path().join("proof.json");
    let verify = |proof: &Value| {
        fs::write(&file, proof.to_string()).unwrap();
        run(&["verify-proof", file.to_str().unwrap()])
    };
    let (code, stdout, stderr) = verify(&proof);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(id), "{stdout}");

    let flipped = |hex: &Value| {
        let hex = text(hex);
        let last = if hex.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &hex[..hex.len() - 1])
    };
    let tampered = [
        ("/id", json!(flipped(&proof["id"]))),
        ("/block", json!(flipped(&proof["block"]))),
        ("/header", json!(flipped(&proof["header"]))),
        ("/branch/0", json!(flipped(&proof["branch"][0]))),
        ("/branch", json!([])),
        ("/position", json!(0)),
    ];
    for (field, value) in tampered {
        let mut other = proof.clone();
        *other.pointer_mut(field).unwrap() = value;
        let (code, _, stderr) = verify(&other);
        assert_eq!(code, Some(1), "{field}");
        assert!(stderr.starts_with("chain: the proof is wrong"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn the_published_words_spend_what_the_network_gives_them() {
    let (town, user) = (Town::new(), User::with_dev_wallet());
    let url = town.node.url();
    assert_eq!(town.wallet(&user, &["balance"])["balance"], ALLOCATION);
    let text = user.ok(&["balance", "--node", &url], "");
    assert!(text.contains("10000 coins"), "{text}");

    // All but the fee that is given goes, and the command ends once it is in a block.
    let all = ["send", "--to", ELSEWHERE, "--amount", "9999.999", "--fee", "0.001", "--wait"];
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| user.ok(&[&all[..], &["--node", &url]].concat(), ""));
        eventually("the transfer in the pool", || {
            (town.node.get("/v1/mempool").json()["count"] == 1).then_some(())
        });
        town.generate(1, ELSEWHERE);
        sending.join().unwrap()
    });
    assert!(sent.contains("fee    0.001 coins\n") && sent.ends_with(", at height 1\n"), "{sent}");
    assert_eq!(town.account(ELSEWHERE)["immature"], SUBSIDY + 100_000);
    assert_eq!(town.wallet(&user, &["balance"])["balance"], 0);
    // Its other accounts have the same, and are paid from with their own keys.
    let other = ["send", "--account", "2", "--to", ELSEWHERE, "--amount", "1"];
    assert_eq!(town.wallet(&user, &other)["nonce"], 0);
}

// W07
#[test]
fn two_wallets_with_one_key_never_use_a_nonce_twice() {
    let town = Town::new();
    let [one, two] = [User::with_dev_wallet(), User::with_dev_wallet()];
    let first = ["send", "--to", ELSEWHERE, "--amount", "1", "--nonce", "0"];
    let first = town.wallet(&one, &first);
    let same_nonce = ["send", "--to", ELSEWHERE, "--amount", "2", "--nonce", "0"];
    let line = town.refused(&two, &same_nonce);
    assert!(line.contains("(replacement-too-cheap)") && line.contains("--nonce"), "{line}");
    // Who asks for the next one is after the other.
    let next = town.wallet(&two, &["send", "--to", ELSEWHERE, "--amount", "3"]);
    assert_eq!(next["nonce"], 1);

    // Replaced on purpose, the first is gone for good.
    let replacement = town.wallet(&two, &[&same_nonce[..], &["--fee", "0.01"]].concat());
    let (code, _, stderr) = town.run(&["tx", "wait", text(&first["id"])]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("replaced"), "{stderr}");
    town.generate(1, ELSEWHERE);
    let (code, _, stderr) = town.run(&["tx", "wait", text(&replacement["id"])]);
    assert_eq!(code, Some(0), "{stderr}");
    let spent = 500_000_000 + 1_000_000 + 145;
    assert_eq!(town.wallet(&one, &["balance"])["balance"], ALLOCATION - spent);

    let line = town.refused(&one, &same_nonce);
    assert!(line.contains("(nonce-used)") && line.contains("leave --nonce out"), "{line}");
}

#[test]
fn what_cannot_be_paid_is_one_line_with_the_way_out() {
    let (town, mut user) = (Town::new(), User::with_dev_wallet());
    let send = |to: &str, amount: &str, user: &User| {
        town.refused(user, &["send", "--to", to, "--amount", amount])
    };
    let line = send(ELSEWHERE, "10000", &user);
    assert!(line.contains("has 10000 coins to spend"), "{line}");
    assert!(line.contains("takes 10000.00000145 coins, 0.00000145 of them the fee"), "{line}");
    let cheap = ["send", "--to", ELSEWHERE, "--amount", "1", "--fee", "0.00000001"];
    let line = town.refused(&user, &cheap);
    assert!(line.contains("(min-fee)") && line.contains("raise --fee"), "{line}");

    // W08
    let typo = ELSEWHERE.replace("t4mq8", "t4mq9");
    assert!(send(&typo, "1", &user).contains("typing mistake"));
    // W09: an address of another network than the one that is named, and than the node's.
    let main = user.json(&["address", "--network", "main"]);
    let main = text(&main["address"]);
    let line = send(main, "1", &user);
    assert!(line.contains("starts with ch1, this network's with dch1"), "{line}");
    let line = town.refused(&user, &["send", "--network", "main", "--to", main, "--amount", "1"]);
    assert!(line.contains("is of network dev") && line.contains("not main"), "{line}");

    user.password = Some("wrong horse");
    assert!(send(ELSEWHERE, "1", &user).contains("password"));
    let nobody = User::new();
    assert!(send(ELSEWHERE, "1", &nobody).contains("chain wallet new"));
    for bad in ["0", "1e3", "1,000.5", "0.000000001", "123456789012345678901"] {
        // W10
        let output = user.run(&["send", "--to", ELSEWHERE, "--amount", bad], "");
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }

    let url = town.node.url();
    assert_eq!(town.node.get("/v1/mempool").json()["count"], 0, "nothing was sent");
    assert!(town.node.stop().success());
    let gone = ["send", "--to", ELSEWHERE, "--amount", "1", "--node", &url];
    let line = user.refused(&gone, "");
    assert!(line.contains("no node answers at") && line.contains("`chain node`"), "{line}");
}
