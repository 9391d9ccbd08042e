use super::*;
use ::chain::merkle::{Branch, Root};
use ::chain::tx::Id;
use ::chain::{Coinbase, Header, Transaction};
use std::time::{Duration, Instant};

/// The JSON of a transfer as a client sends it.
fn written(transfer: &Transfer) -> Value {
    json!({
        "sender": hex::encode(transfer.sender.as_bytes()),
        "nonce": transfer.nonce,
        "recipient": text(transfer.recipient),
        "amount": transfer.amount,
        "fee": transfer.fee,
        "memo_hex": hex::encode(transfer.memo.as_bytes()),
        "signature": hex::encode(transfer.signature.as_bytes()),
    })
}

#[tokio::test]
async fn transfer_is_accepted_once_in_any_encoding() {
    let world = World::new().await;
    let transfer = Pay { memo: b"lunch", ..PAY }.signed();
    let (id, whole) = (transfer.id().to_string(), hex::encode(transfer.encode()));
    let submitted = world.post_json("/v1/transactions", &written(&transfer)).await;
    assert_eq!(submitted.status, 201);
    assert_eq!(submitted.header(header::LOCATION), format!("/v1/transactions/{id}"));
    let shown = submitted.json();
    assert_eq!((&shown["id"], &shown["status"]), (&json!(id), &json!("pending")));
    assert_eq!((&shown["memo"], &shown["amount"]), (&json!("lunch"), &json!(1_000)));
    assert_eq!((&shown["block"], &shown["confirmations"]), (&Value::Null, &json!(0)));
    let mut with_text = written(&transfer);
    with_text["memo_hex"].take();
    with_text["memo"] = json!("lunch");
    for (media_type, body) in [
        ("application/json", written(&transfer).to_string()),
        ("application/json; charset=utf-8", with_text.to_string()),
        ("application/json", json!({"hex": whole}).to_string()),
        ("text/plain", whole.clone()),
        ("application/x-www-form-urlencoded", whole.clone()),
    ] {
        let again = world.post("/v1/transactions", media_type, body).await;
        assert_eq!((again.status.as_u16(), again.header(header::LOCATION)), (200, ""));
        assert_eq!(again.json(), shown);
    }
    let raw = world.post("/v1/transactions", "application/octet-stream", transfer.encode()).await;
    assert_eq!((raw.status.as_u16(), raw.json()), (200, shown));
    // Also once it is confirmed.
    world.generate(1, 1).await;
    let confirmed = world.submit(&transfer).await;
    assert_eq!(
        (confirmed.status.as_u16(), &confirmed.json()["status"]),
        (200, &json!("confirmed"))
    );
}

#[tokio::test]
async fn submission_that_forbids_replacement_replaces_nothing() {
    let world = World::new().await;
    let first = PAY.signed();
    world.submit(&first).await;
    let other = Pay { amount: 7, fee: 9_000, ..PAY }.signed();
    let forms =
        [("", written(&other)), ("/check", written(&other)), ("/batch", json!([written(&other)]))];
    for (path, body) in forms {
        let refused =
            world.post_json(&format!("/v1/transactions{path}?replace=false"), &body).await;
        let problem = match path {
            "/batch" => refused.json()[0]["problem"].clone(),
            _ => refused.problem(409, "would-replace"),
        };
        assert_eq!((&problem["code"], &problem["status"]), (&json!("would-replace"), &json!(409)));
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&first.id().to_string()), "{detail}");
    }
    // The transfer itself is no replacement, and a replacement is allowed unless forbidden.
    let again = world.post_json("/v1/transactions?replace=false", &written(&first)).await;
    assert_eq!(again.status, 200);
    let bad = world.post_json("/v1/transactions?replace=maybe", &written(&first)).await;
    assert_eq!(bad.status, 400);
    let replaced = world.post_json("/v1/transactions?replace=true", &written(&other)).await;
    assert_eq!(replaced.status, 201);
}

#[tokio::test]
async fn rejected_transfer_reports_the_reason() {
    let world = World::new().await;
    world.submit(&PAY.signed()).await;
    world.generate(1, 1).await;
    world.submit(&Pay { nonce: 1, ..PAY }.signed()).await;
    let forged = Transfer { amount: 5, ..Pay { nonce: 2, ..PAY }.signed() };
    let far = (1 << 53) - 1;
    for (transfer, status, code, compared) in [
        (Pay { amount: 7, ..PAY }.signed(), 409, "nonce-used", Some((1, 0))),
        (Pay { nonce: 1, fee: 1_001, ..PAY }.signed(), 409, "replacement-too-cheap", None),
        (Pay { nonce: 2, fee: 1, ..PAY }.signed(), 422, "min-fee", Some((145, 1))),
        (Pay { nonce: 999, ..PAY }.signed(), 422, "nonce-too-far", None),
        (Pay { from: 3, amount: far, ..PAY }.signed(), 422, "amount-overflow", None),
        (Pay { from: 3, amount: 0, ..PAY }.signed(), 422, "zero-amount", None),
        (
            Pay { from: 40, amount: 9, fee: 1_000, ..PAY }.signed(),
            422,
            "insufficient-balance",
            Some((1_009, 0)),
        ),
        (forged, 422, "bad-signature", None),
    ] {
        for path in ["/v1/transactions", "/v1/transactions/check"] {
            let response = world.post_json(path, &written(&transfer)).await;
            let problem = response.problem(status, code);
            assert!(!problem["detail"].as_str().unwrap().is_empty());
            if let Some((expected, actual)) = compared {
                let compared = (&problem["expected"], &problem["actual"]);
                assert_eq!(compared, (&json!(expected), &json!(actual)), "{code}");
            }
        }
    }
    assert_eq!(world.get("/v1/mempool").await.json()["count"], 1);
}

// R06, R07, R08
#[tokio::test]
async fn rejects_malformed_transfers() {
    let world = World::new().await;
    let good = written(&PAY.signed());
    let other_network = address(1).encode(Params::main().hrp());
    let upper = good["signature"].as_str().unwrap().to_uppercase();
    let short = &good["sender"].as_str().unwrap()[2..];
    for (field, value) in [
        ("nonce", json!(-1)),
        ("nonce", json!("0")),
        ("amount", json!(1.0)),
        ("amount", json!(1.5)),
        ("amount", json!(9_007_199_254_740_992_u64)),
        ("fee", Value::Null),
        ("fee", json!(-0.0)),
        ("recipient", json!(other_network)),
        ("recipient", json!(hex::encode(address(1).as_bytes()))),
        ("sender", json!(short)),
        ("sender", json!("zz")),
        ("sender", json!(7)),
        ("signature", json!(upper)),
        ("signature", json!("0x00")),
        ("memo", json!("both memos")),
        ("memo_hex", json!("abc")),
        ("hex", json!("02")),
        ("colour", json!("red")),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        for path in ["/v1/transactions", "/v1/transactions/check"] {
            world.post_json(path, &wrong).await.problem(400, "bad-request");
        }
    }
    let exponent = good.to_string().replace("\"amount\":1000", "\"amount\":1e3");
    let twice = good.to_string().replace("\"amount\":1000", "\"amount\":1000,\"amount\":1000");
    let deep = "[".repeat(100_000);
    for body in [&exponent, &twice, &deep, "", "null", "{}", "{\"hex\":\"\"", "{\"hex\":\"0\"}"] {
        let response = world.post("/v1/transactions", "application/json", body.to_owned()).await;
        response.problem(400, "bad-request");
    }
    let mut memo = good.clone();
    memo["memo_hex"] = json!("00".repeat(257));
    let problem = world.post_json("/v1/transactions", &memo).await.problem(422, "memo-too-long");
    assert!(problem["detail"].as_str().unwrap().contains("257"));
    let encoded = hex::encode(PAY.signed().encode());
    for (body, status, code) in [
        (encoded.to_uppercase(), 400, "bad-request"),
        (encoded[1..].to_owned(), 400, "bad-request"),
        (encoded[..200].to_owned(), 422, "bad-encoding"),
        (format!("{encoded}00"), 422, "bad-encoding"),
        (String::new(), 422, "bad-encoding"),
        // A coinbase comes in blocks only.
        (hex::encode(Params::dev().genesis().transactions[0].encode()), 422, "bad-encoding"),
    ] {
        world.post("/v1/transactions", "text/plain", body).await.problem(status, code);
    }
    let xml = world.post("/v1/transactions", "text/xml", encoded).await;
    xml.problem(415, "unsupported-media-type");
}

#[tokio::test]
async fn check_validates_without_accepting() {
    let world = World::new().await;
    let check = async |pay: Pay| {
        world.post_json("/v1/transactions/check", &written(&pay.signed())).await.json()
    };
    let result = |pay: Pay, status| json!({"valid": true, "id": pay.signed().id().to_string(), "status": status});
    let later = Pay { nonce: 1, ..PAY };
    assert_eq!(check(PAY).await, result(PAY, "pending"));
    assert_eq!(check(later).await, result(later, "queued"));
    assert_eq!(world.get("/v1/mempool").await.json()["count"], 0);
    world.submit(&PAY.signed()).await;
    assert_eq!(check(PAY).await, result(PAY, "pending"));
    world.generate(1, 1).await;
    assert_eq!(check(PAY).await, result(PAY, "confirmed"));
    world.get("/v1/transactions/check").await.problem(405, "method-not-allowed");
}

#[tokio::test]
async fn batch_returns_one_result_per_item() {
    let world = World::new().await;
    let poor = Pay { from: 40, ..PAY }.signed();
    let batch = json!([
        written(&PAY.signed()),
        {"hex": hex::encode(Pay { nonce: 1, ..PAY }.signed().encode())},
        written(&poor),
        {"hex": "00"},
        written(&PAY.signed()),
    ]);
    let results = world.post_json("/v1/transactions/batch", &batch).await.json();
    assert_eq!(results.as_array().unwrap().len(), 5);
    assert_eq!(results[0]["status"], "pending");
    assert_eq!((&results[1]["status"], &results[1]["nonce"]), (&json!("pending"), &json!(1)));
    assert_eq!(results[2]["problem"]["code"], "insufficient-balance");
    assert_eq!(results[2]["problem"]["actual"], 0);
    assert_eq!(results[3]["problem"]["code"], "bad-encoding");
    assert_eq!(results[4], results[0]);
    assert_eq!(world.get("/v1/mempool").await.json()["count"], 2);
    // A malformed item rejects the batch.
    let malformed = json!([written(&Pay { nonce: 2, ..PAY }.signed()), {"hex": "zz"}]);
    let malformed = world.post_json("/v1/transactions/batch", &malformed).await;
    let detail = malformed.problem(400, "bad-request")["detail"].clone();
    assert!(detail.as_str().unwrap().starts_with("item 1: "), "{detail}");
    assert_eq!(world.get("/v1/mempool").await.json()["count"], 2);
    let empty = world.post_json("/v1/transactions/batch", &json!([])).await.json();
    assert_eq!(empty, json!([]));
    let many = json!(vec![json!({"hex": "00"}); 101]);
    let many = world.post_json("/v1/transactions/batch", &many).await;
    many.problem(400, "bad-request");
    let one = world.post_json("/v1/transactions/batch", &written(&PAY.signed())).await;
    one.problem(400, "bad-request");
}

#[tokio::test]
async fn transaction_status_follows_confirmation_and_reorg() {
    let (world, other) = (World::new().await, World::new().await);
    let (first, second) = (PAY.signed(), Pay { nonce: 1, ..PAY }.signed());
    let path = |transfer: &Transfer| format!("/v1/transactions/{}", transfer.id());
    let status = async |transfer| {
        let shown = world.get(&path(transfer)).await.json();
        (shown["status"].as_str().unwrap().to_owned(), shown["confirmations"].as_u64().unwrap())
    };
    world.get(&path(&first)).await.problem(404, "not-found");
    world.submit(&second).await;
    assert_eq!(status(&second).await, ("queued".into(), 0));
    world.submit(&first).await;
    assert_eq!(status(&second).await, ("pending".into(), 0));
    let block = world.generate(1, 1).await.pop().unwrap();
    world.generate(2, 1).await;
    let shown = world.get(&path(&second)).await.json();
    let header = world.get("/v1/blocks/1").await.json();
    assert_eq!((&shown["status"], &shown["confirmations"]), (&json!("confirmed"), &json!(3)));
    assert_eq!((&shown["block"], &shown["height"]), (&json!(block), &json!(1)));
    assert_eq!((&shown["position"], &shown["time"]), (&json!(2), &header["time"]));
    assert_eq!(shown["sender_address"], text(address(0)));
    // A longer chain without them returns them to the mempool; one with another of that nonce drops them.
    other.generate(4, 2).await;
    other.send_blocks(1, &world).await;
    assert_eq!(status(&first).await, ("pending".into(), 0));
    other.submit(&Pay { amount: 5, ..PAY }.signed()).await;
    other.generate(1, 2).await;
    other.send_blocks(5, &world).await;
    let dropped = world.get(&path(&first)).await.json();
    assert_eq!((&dropped["status"], &dropped["reason"]), (&json!("dropped"), &json!("nonce-used")));
    assert!(dropped["detail"].as_str().unwrap().contains("nonce 0"));
    assert!(dropped.get("amount").is_none(), "dropped transfers are not stored");
    world.submit(&first).await.problem(409, "nonce-used");
}

#[tokio::test]
async fn waiting_transfer_says_why_it_is_not_mined() {
    let world = World::new().await;
    let cheap = PAY.signed();
    let better = Pay { from: 1, fee: 5_000, ..PAY }.signed();
    let gap = Pay { from: 2, nonce: 3, ..PAY }.signed();
    for transfer in [&cheap, &better, &gap] {
        world.submit(transfer).await;
    }
    let shown = async |transfer: &Transfer| {
        world.get(&format!("/v1/transactions/{}", transfer.id())).await.json()
    };
    let first = shown(&better).await;
    assert_eq!((&first["fee_rank"], &first["bytes_before"]), (&json!(1), &json!(0)));
    let second = shown(&cheap).await;
    let bytes = better.size();
    assert_eq!((&second["fee_rank"], &second["bytes_before"]), (&json!(2), &json!(bytes)));
    let detail = second["detail"].as_str().unwrap();
    assert!(detail.contains("behind 1 transfer (145 bytes)"), "{detail}");
    let queued = shown(&gap).await;
    assert_eq!((&queued["status"], &queued["missing_nonce"]), (&json!("queued"), &json!(0)));
    assert!(queued["detail"].as_str().unwrap().contains("nonce 0"), "{queued}");
    assert_eq!(queued["fee_rank"], Value::Null);
    world.generate(1, 1).await;
    let confirmed = shown(&cheap).await;
    for absent in ["detail", "missing_nonce", "fee_rank", "bytes_before"] {
        assert_eq!(confirmed[absent], Value::Null, "{absent}");
    }
}

// A cache that keeps it would show the confirmations of long ago, and a stale block as confirmed.
#[tokio::test]
async fn confirmations_are_never_immutable() {
    let world = World::new().await;
    let transfer = PAY.signed();
    world.submit(&transfer).await;
    world.generate(12, 1).await;
    let path = format!("/v1/transactions/{}", transfer.id());
    for rest in ["", "?wait=confirmed&confirmations=20&timeout=0", "/proof"] {
        let response = world.get(&format!("{path}{rest}")).await;
        assert_eq!(
            (response.status.as_u16(), response.header(header::CACHE_CONTROL)),
            (200, "no-cache"),
            "{rest}"
        );
    }
    let raw = world.get(&format!("{path}/raw")).await;
    assert!(raw.header(header::CACHE_CONTROL).ends_with("immutable"));
}

#[tokio::test]
async fn coinbase_is_served_as_a_transaction() {
    let world = World::new().await;
    world.generate(1, 1).await;
    let id = world.get("/v1/blocks/1").await.json()["transactions"][0].as_str().unwrap().to_owned();
    let shown = world.get(&format!("/v1/transactions/{id}")).await.json();
    assert_eq!((&shown["type"], &shown["position"]), (&json!("coinbase"), &json!(0)));
    assert_eq!((&shown["reward"], &shown["height"]), (&json!(5_000_000_000_u64), &json!(1)));
    let raw = world.get(&format!("/v1/transactions/{id}/raw")).await;
    let Transaction::Coinbase(Coinbase { recipient, .. }) =
        Transaction::decode(&hex::decode(raw.text()).unwrap()).unwrap()
    else {
        unreachable!()
    };
    assert_eq!(recipient, address(1));
}

// R08
#[tokio::test]
async fn transaction_id_is_64_lower_case_digits() {
    let world = World::new().await;
    let id = PAY.signed().id().to_string();
    world.submit(&PAY.signed()).await;
    for wrong in ["1", "tip", &id[1..], &format!("{id}00"), &id.to_uppercase(), "%00"] {
        for rest in ["", "/raw", "/proof"] {
            let path = format!("/v1/transactions/{wrong}{rest}");
            world.get(&path).await.problem(400, "bad-request");
        }
    }
    let unknown = "00".repeat(32);
    for rest in ["", "/raw", "/proof", "?wait=confirmed&timeout=100"] {
        world.get(&format!("/v1/transactions/{unknown}{rest}")).await.problem(404, "not-found");
    }
}

#[tokio::test]
async fn raw_transaction_is_served_before_and_after_confirmation() {
    let world = World::new().await;
    let transfer = PAY.signed();
    world.submit(&transfer).await;
    let path = format!("/v1/transactions/{}/raw", transfer.id());
    let octets = [("accept", "application/octet-stream")];
    assert_eq!(world.get_with(&path, &octets).await.body, transfer.encode());
    world.generate(1, 1).await;
    assert_eq!(world.get_with(&path, &octets).await.body, transfer.encode());
    assert_eq!(world.get(&path).await.text(), hex::encode(transfer.encode()));
}

#[tokio::test]
async fn proof_connects_transaction_to_header() {
    let world = World::new().await;
    for nonce in 0..4 {
        world.submit(&Pay { nonce, ..PAY }.signed()).await;
    }
    let id = Pay { nonce: 2, ..PAY }.signed().id();
    let path = format!("/v1/transactions/{id}/proof");
    let early = world.get(&path).await.problem(404, "not-found");
    assert!(early["detail"].as_str().unwrap().contains("is unconfirmed"));
    let block = world.generate(1, 1).await.pop().unwrap();
    let proof = world.get(&path).await.json();
    assert_eq!((&proof["id"], &proof["block"]), (&json!(id.to_string()), &json!(block)));
    assert_eq!((&proof["height"], &proof["position"]), (&json!(1), &json!(3)));
    let header = hex::decode(proof["header"].as_str().unwrap()).unwrap();
    let header = Header::decode(&header).unwrap();
    assert_eq!(header.hash().to_string(), block);
    let siblings = proof["branch"].as_array().unwrap().iter();
    let siblings = siblings.map(|node| *node.as_str().unwrap().parse::<Root>().unwrap().as_bytes());
    let branch = Branch { siblings: siblings.collect(), position: 3 };
    assert_eq!(branch.root(id), Some(header.merkle_root));
    let coinbase: Id = header.merkle_root.to_string().parse().unwrap();
    world.get(&format!("/v1/transactions/{coinbase}/proof")).await.problem(404, "not-found");
}

#[tokio::test]
async fn long_poll_waits_for_confirmations() {
    let world = World::new().await;
    let transfer = PAY.signed();
    world.submit(&transfer).await;
    let path =
        format!("/v1/transactions/{}?wait=confirmed&confirmations=3&timeout=100", transfer.id());
    let begun = Instant::now();
    let (shown, ()) = tokio::join!(world.get(&path), async {
        world.submit(&Pay { from: 1, ..PAY }.signed()).await;
        for _ in 0..3 {
            world.generate(1, 1).await;
        }
    });
    assert_eq!(shown.json()["confirmations"], 3);
    assert_eq!(world.get(&path).await.json()["confirmations"], 3, "at once");
    assert!(begun.elapsed() < Duration::from_secs(60));
}

#[tokio::test]
async fn long_poll_ends_on_timeout_drop_or_reorg() {
    let (world, other) = (World::new().await, World::new().await);
    let transfer = PAY.signed();
    world.submit(&transfer).await;
    let path = |rest: &str| format!("/v1/transactions/{}?wait=confirmed{rest}", transfer.id());
    // The timeout.
    for timeout in ["0", "1"] {
        let shown = world.get(&path(&format!("&timeout={timeout}"))).await.json();
        assert_eq!(shown["status"], "pending");
    }
    // The transaction is dropped.
    other.submit(&Pay { amount: 5, ..PAY }.signed()).await;
    other.generate(1, 2).await;
    let held = path("&timeout=100");
    let (shown, ()) = tokio::join!(world.get(&held), other.send_blocks(1, &world));
    assert_eq!(shown.json()["status"], "dropped");
    for wrong in [
        "&timeout=121",
        "&timeout=-1",
        "&timeout=1.5",
        "&timeout=x",
        "&confirmations=-1",
        "&confirmations=9007199254740992",
        "&until=1",
    ] {
        world.get(&path(wrong)).await.problem(400, "bad-request");
    }
    let pending = format!("/v1/transactions/{}?wait=pending", transfer.id());
    world.get(&pending).await.problem(400, "bad-request");
}

#[tokio::test]
async fn long_poll_ends_at_shutdown() {
    let world = World::new().await;
    let transfer = PAY.signed();
    world.submit(&transfer).await;
    let path = format!("/v1/transactions/{}?wait=confirmed&timeout=100", transfer.id());
    let World { routes, daemon, folder: _folder, .. } = world;
    let request = Request::get(path).header(header::HOST, "localhost").body(Body::empty()).unwrap();
    let begun = Instant::now();
    let (shown, stopped) = tokio::join!(ask(routes, request), daemon.stop());
    stopped.unwrap();
    // The current state, unless the node is closed already.
    match shown.status.as_u16() {
        200 => assert_eq!(shown.json()["status"], "pending"),
        _ => drop(shown.problem(503, "not-ready")),
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
}
