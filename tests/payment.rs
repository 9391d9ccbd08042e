//! Transfers between wallets through a node, up to the proof of inclusion.

use crate::harness::{Node, chain, eventually, run};
use crate::wallet::User;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

/// The reward of a block of `dev` without fees, in base units.
const SUBSIDY: u64 = 5_000_000_000;
/// The allocation of each account of `dev`, in base units.
const ALLOCATION: u64 = 1_000_000_000_000;
/// The address of the second of them, which only receives here.
const ELSEWHERE: &str = "dch1qt4mq8569lyl8x0sxahatd6cj2mne3k6hhrleaa";

/// A node of the network `dev`.
struct World {
    folder: tempfile::TempDir,
    node: Node,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&folder.path().join("data"), &[]);
        World { folder, node }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn generate(&self, blocks: u64, miner: &str) {
        let token = fs::read_to_string(self.file("data").join("api-token")).unwrap();
        let authorization = format!("Authorization: Bearer {}", token.trim());
        let headers = [authorization.as_str(), "Content-Type: application/json"];
        let request = json!({"blocks": blocks, "miner": miner}).to_string();
        let response = self.node.request("POST", "/v1/dev/generate", &headers, request.as_bytes());
        assert_eq!(response.status, 200, "{response:?}");
    }

    fn account(&self, address: &str) -> Value {
        self.node.get(&format!("/v1/accounts/{address}")).json()
    }

    /// Runs `chain wallet` with this node: the JSON it prints.
    fn wallet(&self, user: &User, arguments: &[&str]) -> Value {
        user.json(&[arguments, &["--node", &self.node.url()]].concat())
    }

    /// Runs `chain wallet` with this node, which must fail: the line on stderr.
    fn fails(&self, user: &User, arguments: &[&str]) -> String {
        user.fails(&[arguments, &["--node", &self.node.url()]].concat(), "")
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

fn create(user: &User, name: &str) -> String {
    user.json(&["new", "--name", name])["address"].as_str().unwrap().to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn transfer_moves_the_exact_amounts() {
    let (world, user) = (World::new(), User::new());
    let [anna, bert, miner] = ["anna", "bert", "miner"].map(|name| create(&user, name));
    world.generate(1, &anna);
    world.generate(1, &miner);

    let payment = ["send", "--wallet", "anna", "--to", &bert, "--amount", "12.34567891"];
    let sent = world.wallet(&user, &[&payment[..], &["--memo", "for the book"]].concat());
    // One base unit per byte on an idle chain: 145 bytes and the memo.
    let (amount, fee) = (1_234_567_891, 145 + 12);
    assert_eq!(sent["amount"], amount);
    assert_eq!(sent["fee"], fee);
    assert_eq!(sent["status"], "pending");
    let balance = world.wallet(&user, &["balance", "--wallet", "anna"]);
    assert_eq!(balance["address"], anna);
    assert_eq!(balance["balance"], SUBSIDY);
    assert_eq!(balance["pending_balance"], SUBSIDY - amount - fee);
    assert_eq!(balance["next_nonce"], 1);
    assert_eq!(world.wallet(&user, &["balance", &bert])["pending_balance"], amount);

    let id = text(&sent["id"]);
    let (code, _, stderr) = world.run(&["tx", "wait", id, "--timeout", "0"]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("pending"), "{stderr}");
    let waiting = world.start(&["tx", "wait", id, "--json"]);
    world.generate(1, &miner);
    let waited = waiting.wait_with_output().unwrap();
    assert!(waited.status.success());
    let waited: Value = serde_json::from_slice(&waited.stdout).unwrap();
    assert_eq!((&waited["status"], &waited["height"]), (&json!("confirmed"), &json!(3)));

    let balance_of = |address: &str| {
        let account = world.account(address);
        (account["balance"].as_u64().unwrap(), account["immature"].as_u64().unwrap())
    };
    assert_eq!(balance_of(&anna), (SUBSIDY - amount - fee, 0));
    assert_eq!(balance_of(&bert), (amount, 0));
    assert_eq!(balance_of(&miner), (SUBSIDY, SUBSIDY + fee));
    world.generate(1, ELSEWHERE);
    assert_eq!(balance_of(&miner), (2 * SUBSIDY + fee, 0));

    let (_, shown, _) = world.run(&["tx", "show", id]);
    for part in
        [id, &bert, "12.34567891 coins", "0.00000157 coins", "for the book", "2 confirmations"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn verifies_a_proof_offline_and_rejects_changes() {
    let world = World::new();
    let sent =
        world.wallet(&User::with_dev_wallet(), &["send", "--to", ELSEWHERE, "--amount", "1"]);
    let id = text(&sent["id"]);
    let path = format!("/v1/transactions/{id}/proof");
    assert_eq!(world.node.get(&path).status, 404, "not in a block yet");
    world.generate(1, ELSEWHERE);
    let proof = world.node.get(&path).json();
    drop(world.node);

    let file = world.folder.path().join("proof.json");
    let verify = |proof: &Value| {
        fs::write(&file, proof.to_string()).unwrap();
        run(&["verify-proof", file.to_str().unwrap()])
    };
    let (code, stdout, stderr) = verify(&proof);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains(id), "{stdout}");

    let changed = |hex: &Value| {
        let hex = text(hex);
        let last = if hex.ends_with('0') { '1' } else { '0' };
        format!("{}{last}", &hex[..hex.len() - 1])
    };
    let changes = [
        ("/id", json!(changed(&proof["id"]))),
        ("/block", json!(changed(&proof["block"]))),
        ("/header", json!(changed(&proof["header"]))),
        ("/branch/0", json!(changed(&proof["branch"][0]))),
        ("/branch", json!([])),
        ("/position", json!(0)),
    ];
    for (field, value) in changes {
        let mut other = proof.clone();
        *other.pointer_mut(field).unwrap() = value;
        let (code, _, stderr) = verify(&other);
        assert_eq!(code, Some(1), "{field}");
        assert!(stderr.starts_with("chain: invalid proof"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn published_mnemonic_spends_the_allocations() {
    let (world, user) = (World::new(), User::with_dev_wallet());
    let url = world.node.url();
    assert_eq!(world.wallet(&user, &["balance"])["balance"], ALLOCATION);
    let text = user.ok(&["balance", "--node", &url], "");
    assert!(text.contains("10000 coins"), "{text}");

    // Sends the whole balance but the fee, and waits for the block.
    let all = ["send", "--to", ELSEWHERE, "--amount", "all", "--fee", "0.001", "--wait"];
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| user.ok(&[&all[..], &["--node", &url]].concat(), ""));
        eventually("the transfer in the pool", || {
            (world.node.get("/v1/mempool").json()["count"] == 1).then_some(())
        });
        world.generate(1, ELSEWHERE);
        sending.join().unwrap()
    });
    assert!(sent.contains("status  pending\n") && sent.ends_with(", height 1\n"), "{sent}");
    assert_eq!(world.account(ELSEWHERE)["immature"], SUBSIDY + 100_000);
    assert_eq!(world.wallet(&user, &["balance"])["balance"], 0);
    // The other accounts have the same balance, and keys of their own.
    let other = ["send", "--account", "2", "--to", ELSEWHERE, "--amount", "1"];
    assert_eq!(world.wallet(&user, &other)["nonce"], 0);
}

// W07
#[test]
fn wallets_with_the_same_key_do_not_reuse_a_nonce() {
    let world = World::new();
    let [one, two] = [User::with_dev_wallet(), User::with_dev_wallet()];
    let first = ["send", "--to", ELSEWHERE, "--amount", "1", "--nonce", "0"];
    let first = world.wallet(&one, &first);
    let same_nonce = ["send", "--to", ELSEWHERE, "--amount", "2", "--nonce", "0"];
    let line = world.fails(&two, &same_nonce);
    assert!(line.contains("nonce 0 is used") && line.contains("--replace"), "{line}");
    // The default nonce follows the pending transfer.
    let next = world.wallet(&two, &["send", "--to", ELSEWHERE, "--amount", "3"]);
    assert_eq!(next["nonce"], 1);

    // The first transfer is replaced explicitly, and named.
    let replace = [&same_nonce[..], &["--replace", "--fee"]].concat();
    let cheap = world.fails(&two, &[&replace[..], &["0.00000146"]].concat());
    assert!(cheap.contains("(replacement-too-cheap)"), "{cheap}");
    let url = world.node.url();
    let replacement = two.run(&[&replace[..], &["0.01", "--json", "--node", &url]].concat(), "");
    let shown = String::from_utf8(replacement.stderr).unwrap();
    assert!(shown.contains(&format!("replaces  {}", text(&first["id"]))), "{shown}");
    let replacement: Value = serde_json::from_slice(&replacement.stdout).unwrap();
    let (code, _, stderr) = world.run(&["tx", "wait", text(&first["id"])]);
    assert_eq!(code, Some(1));
    assert!(stderr.contains("replaced"), "{stderr}");
    world.generate(1, ELSEWHERE);
    let (code, _, stderr) = world.run(&["tx", "wait", text(&replacement["id"])]);
    assert_eq!(code, Some(0), "{stderr}");
    let spent = 500_000_000 + 1_000_000 + 145;
    assert_eq!(world.wallet(&one, &["balance"])["balance"], ALLOCATION - spent);

    let line = world.fails(&one, &same_nonce);
    assert!(line.contains("nonce 0 is used") && line.contains("leave --nonce out"), "{line}");
    let line = world.fails(&one, &[&same_nonce[..], &["--replace"]].concat());
    assert!(line.contains("nonce 0 is confirmed"), "{line}");
}

#[test]
fn send_errors_are_one_line_with_a_hint() {
    let (world, mut user) = (World::new(), User::with_dev_wallet());
    let send = |to: &str, amount: &str, user: &User| {
        world.fails(user, &["send", "--to", to, "--amount", amount])
    };
    let line = send(ELSEWHERE, "10000", &user);
    assert!(line.contains("has 10000 coins to spend"), "{line}");
    assert!(line.contains("needs 10000.00000145 coins, 0.00000145 of them the fee"), "{line}");
    let cheap = ["send", "--to", ELSEWHERE, "--amount", "1", "--fee", "0.00000001"];
    let line = world.fails(&user, &cheap);
    assert!(line.contains("(min-fee)") && line.contains("raise --fee"), "{line}");

    // W08
    let typo = ELSEWHERE.replace("t4mq8", "t4mq9");
    assert!(send(&typo, "1", &user).contains("typing mistake"));
    // W09: an address of another network than --network names, and than that of the node.
    let main = user.json(&["address", "--network", "main"]);
    let main = text(&main["address"]);
    let line = send(main, "1", &user);
    assert!(line.contains("starts with ch1, this network's with dch1"), "{line}");
    let line = world.fails(&user, &["send", "--network", "main", "--to", main, "--amount", "1"]);
    assert!(line.contains("is on network dev") && line.contains("not main"), "{line}");

    user.password = Some("wrong horse");
    assert!(send(ELSEWHERE, "1", &user).contains("password"));
    let new_user = User::new();
    assert!(send(ELSEWHERE, "1", &new_user).contains("chain wallet new"));
    for bad in ["0", "1e3", "1,000.5", "0.000000001", "123456789012345678901"] {
        // W10
        let output = user.run(&["send", "--to", ELSEWHERE, "--amount", bad], "");
        assert_eq!(output.status.code(), Some(2), "{bad}");
    }

    let url = world.node.url();
    assert_eq!(world.node.get("/v1/mempool").json()["count"], 0, "nothing was sent");
    assert!(world.node.stop().success());
    let send = ["send", "--to", ELSEWHERE, "--amount", "1", "--node", &url];
    let line = user.fails(&send, "");
    assert!(line.contains("no node responds at") && line.contains("`chain node`"), "{line}");
}
