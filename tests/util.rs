//! `chain util`: every command with valid, invalid and empty input.

use chain::signature::SecretKey;
use chain::testing::{solve, unsolve_header};
use chain::tx::{Memo, Payment, Tag};
use chain::{Address, Block, Coinbase, Header, Height, Params, Transaction, Transfer};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Runs `chain util` with an input on stdin.
fn util(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_chain"))
        .arg("util")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is built before its tests");
    // A command that does not read its input may have ended.
    let _ = child.stdin.take().expect("it is piped").write_all(input);
    child.wait_with_output().expect("it ends by itself")
}

/// The JSON object that a command prints; `valid` must match its exit code.
fn object(arguments: &[&str], input: &[u8]) -> Value {
    let output = util(arguments, input);
    let object: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}, {output:?}"));
    let code = if object["valid"] == true { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    assert_eq!(object["valid"] == false, object["code"].is_string(), "{object}");
    assert_eq!(object["valid"] == false, object["error"].is_string(), "{object}");
    object
}

/// Runs a command that must fail: its line on stderr.
fn failure(arguments: &[&str], input: &[u8]) -> String {
    let output = util(arguments, input);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    let line = String::from_utf8(output.stderr).expect("text");
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

/// Header of Bitcoin's block 0.
const BITCOIN: &str = "01000000\
    0000000000000000000000000000000000000000000000000000000000000000\
    3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a\
    29ab5f49ffff001d1dac2b7c";

#[test]
fn header_decodes_bitcoins_genesis() {
    assert_eq!(
        object(&["header", BITCOIN], b""),
        json!({
            "valid": true,
            "hash": "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f",
            "version": 1,
            "previous": "00".repeat(32),
            "merkle_root": "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b",
            "time": 1_231_006_505,
            "bits": "1d00ffff",
            "nonce": 2_083_236_893,
            "target": format!("00000000ffff{}", "0".repeat(52)),
            "difficulty": 1.0,
            "proof_of_work": true,
        })
    );
}

#[test]
fn header_names_the_broken_rule() {
    let other_nonce = BITCOIN.replace("1dac2b7c", "1eac2b7c");
    let shown = object(&["header", &other_nonce], b"");
    assert_eq!((&shown["code"], &shown["proof_of_work"]), (&json!("high-hash"), &json!(false)));
    assert_eq!(shown["nonce"], 2_083_236_894);

    let no_target = BITCOIN.replace("ffff001d", "ffff801d");
    let shown = object(&["header", &no_target], b"");
    assert_eq!((&shown["code"], &shown["target"]), (&json!("bad-bits"), &Value::Null));

    for bad in ["", "00", &BITCOIN[2..], &format!("{BITCOIN}00"), "zz", &BITCOIN[1..]] {
        assert_eq!(object(&["header", bad], b"")["code"], "bad-encoding", "{bad}");
    }
}

// C12
#[test]
fn bits_decode_into_a_target() {
    let shown = object(&["bits", "1b0404cb"], b"");
    assert_eq!(shown["target"], format!("00000000000404cb{}", "0".repeat(48)));
    assert!((shown["difficulty"].as_f64().unwrap() - 16_307.420_938_5).abs() < 1e-6);
    let shown = object(&["bits", "0x1d00ffff"], b"");
    assert_eq!(shown["work"], format!("{:064x}", 4_295_032_833_u64));

    for (bits, error) in [
        ("01fedcba", "negative"),
        ("00000000", "zero"),
        ("ff123456", "overflow"),
        ("05001234", "not canonical"),
    ] {
        let shown = object(&["bits", bits], b"");
        assert_eq!((&shown["error"], &shown["code"]), (&json!(error), &json!("bad-bits")));
    }
    for bad in ["", "1d00ff", "1d00ffff00", "bits"] {
        assert_eq!(object(&["bits", bad], b"")["code"], "bad-encoding", "{bad}");
    }
}

// C01. Bitcoin's block 100,000.
#[test]
fn merkle_computes_the_root_and_detects_mutation() {
    let ids = "8c14f0db3df150123e6f3dbbf30f8b955a8249b62ac1d1ff16284aefa3d06d87\n\
               fff2525b8931402dd09222c50775608f75787bd2b87e56995a7bdd30f79702c4\r\n\
               6359f0868171b1d194cbee1af2f16ea598ae8fad666d9b012c8ed2b79a236ec4\n\n\
               e9a66845e05d5abc0ad04ec80f774a7e585c6e8db975962d069a522137b80c1d";
    let root = "f3e94742aca4b5ef85488dc37c06c3282295ffec960994b2c0d5ac2a25a95766";
    assert_eq!(
        object(&["merkle"], ids.as_bytes()),
        json!({ "valid": true, "count": 4, "root": root, "mutated": false })
    );
    let three: Vec<&str> = ids.lines().filter(|line| !line.is_empty()).take(3).collect();
    let repeated = [three.as_slice(), &three[2..]].concat();
    let of = |ids: &[&str]| object(&["merkle"], ids.join("\n").as_bytes());
    assert_eq!(of(&three)["root"], of(&repeated)["root"]);
    assert_eq!((&of(&three)["mutated"], &of(&repeated)["mutated"]), (&json!(false), &json!(true)));

    assert_eq!(object(&["merkle"], b"")["code"], "bad-request");
    let shown = object(&["merkle"], format!("{}\nabc\n", three[0]).as_bytes());
    assert_eq!((&shown["code"], &shown["line"]), (&json!("bad-encoding"), &json!(2)));
    assert_eq!(object(&["merkle"], b"\xff\xfe\n")["code"], "bad-encoding");
}

// Headers 1 to 32 of testnet3.
const HEADERS: &str = include_str!("../chain/tests/vectors/testnet3-headers.txt");

#[test]
fn verify_headers_follows_links_and_forks() {
    let work = |count: u64| format!("{:064x}", count * 4_295_032_833);
    let first = "00000000b873e79784647a6c82962c70d228557d24a747ea4d1b8bbe878e1206";
    let shown = object(&["verify-headers", "-"], HEADERS.as_bytes());
    assert_eq!((&shown["count"], &shown["forks"]), (&json!(32), &json!(0)));
    assert_eq!((&shown["first"], &shown["total_work"]), (&json!(first), &json!(work(32))));

    // The last two are a fork: one extends the chain, the other that one.
    let lines: Vec<&str> = HEADERS.lines().collect();
    let forks = [format!("fork:{}", lines[30]), format!("fork:{}", lines[31])];
    let forked = [&forks.join("\n"), "\n", &lines[..30].join("\n")].concat();
    let shown = object(&["verify-headers", "-"], forked.as_bytes());
    assert_eq!((&shown["count"], &shown["forks"]), (&json!(30), &json!(2)));
    assert_eq!(shown["total_work"], work(30));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("headers.hex");
    std::fs::write(&file, HEADERS).unwrap();
    assert_eq!(object(&["verify-headers", file.to_str().unwrap()], b"")["count"], 32);
}

#[test]
fn verify_headers_names_the_line_that_breaks_the_chain() {
    let lines: Vec<&str> = HEADERS.lines().collect();
    let broken = |lines: &[&str]| {
        let shown = object(&["verify-headers", "-"], lines.join("\n").as_bytes());
        (shown["code"].as_str().unwrap().to_owned(), shown["line"].as_u64())
    };
    assert_eq!(broken(&[lines[0], lines[2]]), ("unknown-parent".into(), Some(2)));
    let stranger = format!("fork:{}", lines[9]);
    assert_eq!(broken(&[lines[0], lines[1], &stranger]), ("unknown-parent".into(), Some(3)));
    let unproven = format!("{}00", &lines[1][..158]);
    assert_eq!(broken(&[lines[0], &unproven]), ("high-hash".into(), Some(2)));
    assert_eq!(broken(&[lines[0], "", &lines[1][2..]]), ("bad-encoding".into(), Some(3)));
    assert_eq!(broken(&[]), ("bad-encoding".into(), None));
    let missing = failure(&["verify-headers", "/no/such/file"], b"");
    assert!(missing.contains("/no/such/file"), "{missing}");
}

/// `chain util asert` with the parameters of the public vectors.
fn asert(height: &str, time: &str, bits: &str, input: &str) -> Output {
    let anchor = ["--anchor-height", height, "--anchor-parent-time", time, "--anchor-bits", bits];
    let rest = ["--spacing", "600", "--half-life", "172800", "--limit-bits", "1d00ffff"];
    util(&[&["asert"][..], &anchor, &rest].concat(), input.as_bytes())
}

// C14. Rows of aserti3-2d runs 4, 5, 10 and 12.
#[test]
fn asert_prints_the_next_bits_of_each_line() {
    for (height, time, bits, input, expected) in [
        ("1", "0", "01010000", "2 174000\n3 347400\n226 39015600\n", "01020000 01040000 1d00ffff"),
        ("1", "0", "0x1d00ffff", "2 0\n290 0\n64514 0", "1d00fec5 1c7f62c0 01010000"),
        (
            "9223372036854775802",
            "2147483047",
            "1802aee8",
            "9223372036854775803 2147484547\n\n9223372036854775812\t2147492647\n",
            "1802afbb 1802b73d",
        ),
        ("1", "10000", "1802aee8", "10001 1201\n", "13643f64"),
        ("-5", "-600", "1802aee8", "-5 0\n", "1802aee8"),
    ] {
        let output = asert(height, time, bits, input);
        assert!(output.status.success(), "{output:?}");
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(shown.lines().collect::<Vec<_>>().join(" "), expected);
    }
}

#[test]
fn asert_rejects_invalid_numbers_and_targets() {
    for (input, part) in [
        ("2 1200\n3\n", "line 2"),
        ("2 1200 1d00ffff\n", "line 1"),
        ("two 1200\n", "the height"),
        ("2 1e3\n", "the time"),
        ("2 36893488147419103232\n", "2^64"),
    ] {
        let output = asert("1", "0", "1d00ffff", input);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(line.contains(part) && line.lines().count() == 1, "{line}");
    }
    assert_eq!(asert("1", "0", "1d80ffff", "").status.code(), Some(2));
    assert_eq!(asert("one", "0", "1d00ffff", "").status.code(), Some(2));
    assert_eq!(util(&["asert"], b"").status.code(), Some(2));
}

// RFC 8032, 7.1, tests 1 and 2.
const SIGNED: [[&str; 3]; 2] = [
    [
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
];

// C31, C32
#[test]
fn verify_signature_follows_zip_215() {
    for [key, message, signature] in SIGNED {
        let verify = |key: &str, message: &str, signature: &str| {
            object(&["verify-signature", key, message, signature], b"")
        };
        assert_eq!(verify(key, message, signature), json!({ "valid": true }));
        for (key, message, signature) in [
            (key, "ff", signature),
            (SIGNED[0][2].split_at(64).0, message, signature),
            (key, message, &signature[2..]),
            (key, message, &format!("{signature}00")),
            (key, message, ""),
            (&key[2..], message, signature),
            ("", message, signature),
        ] {
            assert_eq!(verify(key, message, signature)["code"], "bad-signature");
        }
        assert_eq!(verify(key, "7", signature)["code"], "bad-encoding");
        assert_eq!(verify("key", message, signature)["code"], "bad-encoding");
    }
    // Key and R of small order, not canonical.
    let weak = format!("ee{}7f", "ff".repeat(30));
    let signature = format!("{weak}{}", "00".repeat(32));
    assert_eq!(object(&["verify-signature", &weak, "5a63617368", &signature], b"")["valid"], true);
    assert_eq!(util(&["verify-signature", &weak, ""], b"").status.code(), Some(2));
}

// W08
#[test]
fn address_converts_between_key_text_and_bytes() {
    let shown = object(&["address", SIGNED[1][0]], b"");
    for (params, prefix) in Params::built_in().iter().zip(["ch1", "tch1", "dch1"]) {
        let text = shown["addresses"][params.name()].as_str().unwrap();
        assert!(text.starts_with(prefix), "{text}");
        let read = object(&["address", text], b"");
        assert_eq!((&read["network"], &read["bytes"]), (&json!(params.name()), &shown["bytes"]));
        let typo =
            format!("{}{}", &text[..text.len() - 1], if text.ends_with('q') { 'p' } else { 'q' });
        assert_eq!(object(&["address", &typo], b"")["code"], "bad-request");
    }
    let elsewhere = Address::from_bytes([1; 20]).encode(chain::address::Hrp::new("mine").unwrap());
    let read = object(&["address", &elsewhere], b"");
    assert_eq!((&read["hrp"], &read["network"]), (&json!("mine"), &Value::Null));
    assert_eq!(object(&["address", ""], b"")["valid"], false);
}

fn transfer(params: &Params, amount: u64) -> Transfer {
    let recipient = Address::from_bytes([9; 20]);
    let memo = Memo::new(b"rent".to_vec()).expect("4 bytes");
    let payment = Payment { nonce: 3, recipient, amount, fee: 500, memo };
    Transfer::sign(payment, &SecretKey::from_seed([3; 32]), params.genesis_hash())
}

/// Block 1 of `dev` with these transfers and proof of work; no account covers them.
fn block(transfers: &[Transfer]) -> Block {
    let params = Params::dev();
    let genesis = params.genesis();
    let coinbase = Coinbase {
        height: Height::new(1),
        extra_nonce: [7; 8],
        tag: Tag::new(b"test".to_vec()).expect("4 bytes"),
        reward: 5_000_000_000,
        recipient: Address::from_bytes([1; 20]),
        commitment: [0xcc; 32],
    };
    let mut transactions = vec![Transaction::Coinbase(coinbase)];
    transactions.extend(transfers.iter().cloned().map(Transaction::Transfer));
    let header = Header { previous: genesis.hash(), ..genesis.header };
    solve(Block { header, transactions })
}

#[test]
fn tx_decodes_the_fields_and_the_network_of_the_signature() {
    let transfer = transfer(&Params::testnet(), 12);
    let hex = hex::encode(transfer.encode());
    assert_eq!(
        object(&["tx", &hex], b""),
        json!({
            "valid": true,
            "type": "transfer",
            "id": transfer.id().to_string(),
            "size": 149,
            "sender": hex::encode(transfer.sender.as_bytes()),
            "sender_address": hex::encode(transfer.sender_address().as_bytes()),
            "nonce": 3,
            "recipient": "09".repeat(20),
            "amount": 12,
            "fee": 500,
            "memo": hex::encode("rent"),
            "signature": hex::encode(transfer.signature.as_bytes()),
            "signed_for": ["testnet"],
        })
    );
    let shown = object(&["tx", &hex.replace(&hex::encode("rent"), &hex::encode("Rent"))], b"");
    assert_eq!(shown["signed_for"], json!([]));

    let coinbase = Params::testnet().genesis().transactions[0].encode();
    let shown = object(&["tx", "-"], &coinbase);
    assert_eq!((&shown["type"], &shown["height"]), (&json!("coinbase"), &json!(0)));
    assert_eq!(shown["tag"], hex::encode("chain testnet"));
}

#[test]
fn coinbase_of_a_job_names_address_and_reward() {
    let Transaction::Coinbase(coinbase) = &block(&[]).transactions[0] else { unreachable!() };
    let digits = hex::encode(coinbase.serialize());
    let address = coinbase.recipient.encode(Params::dev().hrp());
    let shown = object(&["coinbase", &digits], b"");
    assert_eq!(shown["addresses"]["dev"], address);
    assert_eq!(shown["recipient"], hex::encode(coinbase.recipient.as_bytes()));
    assert_eq!(
        (&shown["reward"], &shown["id"]),
        (&json!(coinbase.reward), &json!(coinbase.id().to_string()))
    );
    assert_eq!((&shown["pays_address"], &shown["in_header"]), (&Value::Null, &Value::Null));
    let shown = object(&["coinbase", &digits, "--address", &address], b"");
    assert_eq!(
        (&shown["pays_address"], &shown["addresses"]["expected"]),
        (&json!(true), &json!(address))
    );
    let other = Address::from_bytes([0xee; 20]).encode(Params::dev().hrp());
    let shown = object(&["coinbase", "-", "--address", &other], digits.as_bytes());
    assert_eq!(
        (&shown["code"], &shown["pays_address"]),
        (&json!("wrong-recipient"), &json!(false))
    );
    assert_eq!(shown["addresses"]["dev"], address);
    for wrong in
        [&digits[2..], "00", "{}", "{\"coinbase\": \"xy\"}", "{", "{\"params\": [1, 2, 3, 4]}"]
    {
        assert_eq!(object(&["coinbase", wrong], b"")["reward"], Value::Null, "{wrong}");
    }
    let wrong = object(&["coinbase", &digits, "--address", "dch1qqq"], b"");
    assert_eq!(wrong["code"], "bad-request");

    // As Stratum and getblocktemplate transmit it.
    let at = 2 * coinbase.extra_nonce_offset();
    let job = ["1", "00", &digits[..at], &digits[at + 16..]];
    let notify = json!({ "id": null, "method": "mining.notify", "params": job }).to_string();
    let shown = object(&["coinbase", &notify, "--address", &address], b"");
    assert_eq!(
        (&shown["extra_nonce"], &shown["reward"]),
        (&json!("0".repeat(16)), &json!(coinbase.reward))
    );
    let template = json!({ "result": { "coinbasetxn": { "data": digits } } }).to_string();
    assert_eq!(object(&["coinbase", "-"], template.as_bytes())["height"], coinbase.height.get());
    // A template of the REST API has a header, which may be that of another coinbase.
    let mut header = block(&[]).header;
    let template = |header: &Header| {
        let header = hex::encode(header.encode());
        json!({ "coinbase": digits, "header": header, "branch": [] }).to_string()
    };
    header.merkle_root = chain::merkle::root(&[coinbase.id()]);
    assert_eq!(object(&["coinbase", &template(&header)], b"")["in_header"], true);
    header.merkle_root = chain::merkle::Root::from_bytes([1; 32]);
    let shown = object(&["coinbase", &template(&header)], b"");
    assert_eq!((&shown["code"], &shown["in_header"]), (&json!("bad-merkle-root"), &json!(false)));
}

// C03, C04, C35, M15
#[test]
fn tx_names_the_broken_rule() {
    let hex = hex::encode(transfer(&Params::dev(), 12).encode());
    let code = |hex: &str| object(&["tx", hex], b"")["code"].clone();
    assert_eq!(code(&hex::encode(transfer(&Params::dev(), 0).encode())), "zero-amount");
    let most = transfer(&Params::dev(), u64::MAX);
    assert_eq!(code(&hex::encode(most.encode())), "amount-overflow");
    for bad in ["", "0", "01", &hex[..hex.len() - 2], &format!("{hex}00")] {
        assert_eq!(code(bad), "bad-encoding", "{bad}");
    }
    let memo_length = 2 * (1 + 32 + 8 + 20 + 8 + 8);
    let long = [&hex[..memo_length], "01010000", &hex[memo_length + 8..]].concat();
    assert_eq!(code(&long), "memo-too-long");
    let coinbase = hex::encode(block(&[]).transactions[0].encode());
    assert_eq!(code(&coinbase.replace("ffffffff", "fffffffe")), "bad-coinbase-encoding");
    let missing = failure(&["tx", "/no/such/file"], b"");
    assert!(missing.contains("neither hexadecimal nor a readable file"), "{missing}");
}

#[test]
fn block_is_read_from_an_argument_a_file_or_stdin() {
    let params = Params::dev();
    let block = block(&[transfer(&params, 12)]);
    let (bytes, hex) = (block.encode(), hex::encode(block.encode()));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("raw"), &bytes).unwrap();
    std::fs::write(path("hex"), format!("{hex}\n")).unwrap();

    let shown = object(&["block", &hex], b"");
    assert_eq!(shown["hash"], block.hash().to_string());
    assert_eq!(shown["previous"], params.genesis_hash().to_string());
    assert_eq!((&shown["size"], &shown["transaction_count"]), (&json!(bytes.len()), &json!(2)));
    assert_eq!((&shown["merkle_root_matches"], &shown["mutated"]), (&json!(true), &json!(false)));
    assert_eq!(shown["transactions"][0]["reward"], 5_000_000_000_u64);
    assert_eq!(shown["transactions"][1]["amount"], 12);
    assert_eq!(object(&["block", &path("raw")], b""), shown);
    assert_eq!(object(&["block", &path("hex")], b""), shown);
    assert_eq!(object(&["block", "-"], &bytes), shown);
    assert_eq!(object(&["block", "-"], hex.as_bytes()), shown);

    // Genesis blocks need no proof of work.
    for params in Params::built_in() {
        let shown = object(&["block", "-"], &params.genesis().encode());
        assert_eq!((&shown["valid"], &shown["proof_of_work"]), (&json!(true), &json!(false)));
    }
}

// C01, C04, C09, C37, C40
#[test]
fn block_names_the_broken_rule() {
    let params = Params::dev();
    let sound = block(&[transfer(&params, 1), transfer(&params, 2)]);
    let code = |block: &Block| object(&["block", "-"], &block.encode())["code"].clone();
    let with = |change: fn(&mut Block)| {
        let mut block = sound.clone();
        change(&mut block);
        block
    };
    assert_eq!(code(&sound), Value::Null);
    assert_eq!(code(&with(|block| block.header.version = 1)), "bad-version");
    assert_eq!(code(&with(|block| block.header.bits = chain::Bits::new(0))), "bad-bits");
    assert_eq!(code(&with(|block| block.transactions.swap(1, 2))), "bad-merkle-root");
    let repeat = |block: &mut Block| block.transactions.push(block.transactions[2].clone());
    let repeated = with(repeat);
    assert_eq!(code(&repeated), "mutated-body");
    let twice = |block: &mut Block| block.transactions.insert(2, block.transactions[1].clone());
    assert_eq!(code(&solve(with(twice))), "duplicate-transaction");
    assert_eq!(code(&solve(with(|block| drop(block.transactions.remove(0))))), "no-coinbase");
    let last = |block: &mut Block| block.transactions.swap(0, 1);
    assert_eq!(code(&solve(with(last))), "coinbase-misplaced");
    assert_eq!(code(&block(&[transfer(&params, 0)])), "zero-amount");
    assert_eq!(code(&block(&[transfer(&params, 1 << 53)])), "amount-overflow");

    let mut unsolved = sound.clone();
    unsolve_header(&mut unsolved.header);
    assert_eq!(code(&unsolved), "high-hash");

    let bytes = sound.encode();
    for cut in [0, 79, 80, 83, 84, 300, bytes.len() - 1] {
        assert_eq!(object(&["block", "-"], &bytes[..cut])["code"], "bad-encoding", "{cut}");
    }
    let large = block(&(1..=14_000).map(|amount| unsigned(&sound, amount)).collect::<Vec<_>>());
    assert_eq!(code(&large), "block-too-large");
}

/// A transfer with the signature of another one.
fn unsigned(sound: &Block, amount: u64) -> Transfer {
    let Transaction::Transfer(transfer) = &sound.transactions[1] else { panic!("a transfer") };
    Transfer { amount, ..transfer.clone() }
}

// C44
#[test]
fn commitment_does_not_depend_on_the_order_of_accounts() {
    let text = |byte| Address::from_bytes([byte; 20]).encode(Params::dev().hrp());
    let of = |lines: &str| object(&["commitment"], lines.as_bytes());
    let first = of(&format!("{} 100 2\n{} 5 0\n", text(1), text(2)));
    let second = of(&format!("{} 5 0\n\n{} 100 2\n{} 0 0", "02".repeat(20), text(1), text(3)));
    assert_eq!(first, second);
    assert_eq!(first["accounts"], 2);
    assert_ne!(first, of(&format!("{} 100 3\n{} 5 0\n", text(1), text(2))));

    // SHA-256 of 2,048 zero bytes; and the allocations of `dev`.
    let nothing = "e5a00aa9991ac8a5ee3109844d84a55583bd20572ad3ffcd42792f3c36b183ad";
    assert_eq!(of("")["commitment"], nothing);
    let params = Params::dev();
    let lines: Vec<String> = params
        .spec()
        .allocations
        .iter()
        .map(|(address, amount)| format!("{} {} 0", address.encode(params.hrp()), amount.units()))
        .collect();
    let committed = params.genesis().coinbase().expect("genesis has a coinbase").commitment;
    assert_eq!(of(&lines.join("\n"))["commitment"], hex::encode(committed));
}

#[test]
fn commitment_names_the_invalid_line() {
    let address = "01".repeat(20);
    for bad in [
        format!("{address} 1"),
        format!("{address} 1 2 3"),
        format!("{address} 9007199254740992 0"),
        format!("{address} -1 0"),
        format!("{address} 1 x"),
        format!("{} 1 1", &address[1..]),
        format!("{} 1 1", "02".repeat(20)),
    ] {
        let lines = format!("{} 1 1\n{bad}\n", "02".repeat(20));
        let shown = object(&["commitment"], lines.as_bytes());
        assert_eq!((&shown["code"], &shown["line"]), (&json!("bad-request"), &json!(2)), "{bad}");
    }
}
