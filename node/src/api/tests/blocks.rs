use super::*;
use ::chain::{Header, Timestamp, Transaction};

/// The path of the next page.
fn next(response: &TestResponse) -> String {
    let link = response.header(header::LINK);
    link.strip_prefix('<').unwrap().split_once('>').unwrap().0.to_owned()
}

#[tokio::test]
async fn block_is_addressed_by_height_hash_or_tip() {
    let world = World::new().await;
    let hashes = world.generate(3, 1).await;
    let block = world.get(&format!("/v1/blocks/{}", hashes[1])).await.json();
    assert_eq!(world.get("/v1/blocks/2").await.json(), block);
    assert_eq!(world.get("/v1/blocks/tip").await.json()["hash"], hashes[2]);
    assert_eq!((&block["hash"], &block["height"]), (&json!(hashes[1]), &json!(2)));
    assert_eq!((&block["confirmations"], &block["in_best_chain"]), (&json!(2), &json!(true)));
    assert_eq!((&block["previous"], &block["next"]), (&json!(hashes[0]), &json!(hashes[2])));
    assert_eq!((&block["version"], &block["bits"]), (&json!(0x2000_0000), &json!("207fffff")));
    assert_eq!((&block["miner"], &block["fees"]), (&json!(text(address(1))), &json!(0)));
    assert_eq!(block["reward"], 5_000_000_000_u64);
    assert_eq!(block["chain_work"], format!("{:064x}", 6));
    assert_eq!((&block["transaction_count"], &block["size"]), (&json!(1), &json!(84 + 5 + 145)));
    let id = block["transactions"][0].as_str().unwrap();
    assert_eq!(block["merkle_root"], id, "of one transaction");
    let tip = world.get("/v1/blocks/tip").await.json();
    assert_eq!((&tip["next"], &tip["confirmations"]), (&Value::Null, &json!(1)));
    let genesis = world.get("/v1/blocks/0").await.json();
    assert_eq!((&genesis["reward"], &genesis["fees"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn block_lists_transaction_ids_or_full_transactions() {
    let world = World::new().await;
    let pay = Pay { memo: b"r\xc3\xa9sum\xc3\xa9", ..PAY };
    world.submit(&pay.signed()).await;
    world.submit(&Pay { nonce: 1, memo: b"\xff", ..PAY }.signed()).await;
    world.generate(1, 1).await;
    let block = world.get("/v1/blocks/1?full=true").await.json();
    assert_eq!((&block["fees"], &block["reward"]), (&json!(2_000), &json!(5_000_002_000_u64)));
    let transactions = block["transactions"].as_array().unwrap();
    assert_eq!(transactions[0]["type"], "coinbase");
    assert_eq!(transactions[0]["tag"], "chain");
    assert_eq!(transactions[0]["recipient"], text(address(1)));
    let transfer = pay.signed();
    let shown = json!({
        "id": transfer.id().to_string(), "size": 145 + 8, "type": "transfer",
        "sender": hex::encode(transfer.sender.as_bytes()), "sender_address": text(address(0)),
        "nonce": 0, "recipient": text(address(20)), "amount": 1_000, "fee": 1_000,
        "memo": "résumé", "memo_hex": "72c3a973756dc3a9",
        "signature": hex::encode(transfer.signature.as_bytes()),
    });
    assert_eq!(transactions[1], shown);
    assert_eq!(
        (&transactions[2]["memo"], &transactions[2]["memo_hex"]),
        (&Value::Null, &json!("ff"))
    );
    let ids: Vec<_> = transactions.iter().map(|transaction| transaction["id"].clone()).collect();
    assert_eq!(world.get("/v1/blocks/1").await.json()["transactions"], json!(ids));
}

// R28
#[tokio::test]
async fn large_block_and_template_are_rendered_while_they_are_read() {
    let world = World::new().await;
    for nonce in 0..60 {
        world.submit(&Pay { nonce, memo: &[b'm'; 256], ..PAY }.signed()).await;
    }
    let path = format!("/v1/mining/template?miner={}", text(address(1)));
    let template = world.get(&format!("{path}&block=true")).await.json();
    let block = hex::decode(template["block"].as_str().unwrap()).unwrap();
    assert_eq!(::chain::Block::decode(&block).unwrap().transactions.len(), 61);
    world.generate(1, 1).await;
    let block = world.get("/v1/blocks/1?full=true").await.json();
    let mut whole = world.get("/v1/blocks/1").await.json();
    let listed = world.get("/v1/blocks/1/transactions?limit=100").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 61);
    whole["transactions"] = listed["items"].clone();
    assert_eq!(block, whole);
}

// R08, R09
#[tokio::test]
async fn malformed_block_id_is_400_and_unknown_block_is_404() {
    let world = World::new().await;
    let hash = world.generate(1, 0).await.pop().unwrap();
    for missing in ["2", "4294967295", "4294967296", &"00".repeat(32), &"9".repeat(64)] {
        world.get(&format!("/v1/blocks/{missing}")).await.problem(404, "not-found");
    }
    for wrong in [
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0x1",
        "18446744073709551615",
        "genesis",
        "Tip",
        "%20",
        "%00",
        &hash[1..],
        &format!("{hash}0"),
        &hash.to_uppercase(),
        &"g".repeat(64),
    ] {
        for rest in ["", "/header", "/raw", "/transactions"] {
            world.get(&format!("/v1/blocks/{wrong}{rest}")).await.problem(400, "bad-request");
        }
    }
    for query in ["full=1", "full", "ful=true", "full=true&full=false"] {
        world.get(&format!("/v1/blocks/1?{query}")).await.problem(400, "bad-request");
    }
}

// R19
#[tokio::test]
async fn stale_block_is_marked_as_not_in_best_chain() {
    let (world, other) = (World::new().await, World::new().await);
    world.generate(2, 0).await;
    let stale = other.generate(1, 1).await.pop().unwrap();
    other.send_blocks(1, &world).await;
    let block = world.get(&format!("/v1/blocks/{stale}")).await.json();
    assert_eq!((&block["in_best_chain"], &block["confirmations"]), (&json!(false), &json!(0)));
    assert_eq!((&block["next"], &block["height"]), (&Value::Null, &json!(1)));
    assert_eq!(block["transactions"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn deep_blocks_addressed_by_hash_are_immutable() {
    let world = World::new().await;
    let hashes = world.generate(12, 0).await;
    let forever = "public, max-age=31536000, immutable";
    for (hash, expected) in [(&hashes[1], forever), (&hashes[2], "no-cache")] {
        for rest in ["/header", "/raw", "/transactions"] {
            let response = world.get(&format!("/v1/blocks/{hash}{rest}")).await;
            assert_eq!(response.header(header::CACHE_CONTROL), expected, "{rest}");
        }
        // Confirmations change with every block.
        for rest in ["", "?full=true"] {
            let response = world.get(&format!("/v1/blocks/{hash}{rest}")).await;
            assert_eq!(response.header(header::CACHE_CONTROL), "no-cache", "{rest}");
        }
    }
    for passing in ["/v1/blocks/1", "/v1/blocks/tip", "/v1/blocks", "/v1/headers"] {
        assert_eq!(world.get(passing).await.header(header::CACHE_CONTROL), "no-cache");
    }
}

#[tokio::test]
async fn headers_and_blocks_are_served_raw_or_as_hex() {
    let world = World::new().await;
    let hash = world.generate(1, 0).await.pop().unwrap();
    let accept = |value| [("accept", value)];
    for path in ["/v1/blocks/1/raw", "/v1/blocks/1/header"] {
        let text = world.get(path).await;
        assert_eq!(text.header(header::CONTENT_TYPE), "text/plain; charset=utf-8");
        assert_eq!(text.header(header::VARY), "accept");
        for raw in ["application/octet-stream", "text/html, Application/Octet-Stream;q=0.5"] {
            let raw = world.get_with(path, &accept(raw)).await;
            assert_eq!(raw.header(header::CONTENT_TYPE), "application/octet-stream");
            assert_eq!(hex::encode(&raw.body), text.text());
            assert!(raw.header(header::ETAG).starts_with("W/"));
        }
        for other in ["*/*", "application/octet-stream;q=0", "application/json"] {
            assert_eq!(world.get_with(path, &accept(other)).await.body, text.body);
        }
    }
    let raw = world.get_with("/v1/blocks/1/raw", &accept("application/octet-stream")).await;
    let block = Block::decode(&raw.body).unwrap();
    assert_eq!(block.hash().to_string(), hash);
    let header = world.get("/v1/blocks/1/header").await;
    assert_eq!(header.text(), hex::encode(block.header.encode()));
}

#[tokio::test]
async fn headers_are_served_as_a_range() {
    let world = World::new().await;
    let hashes = world.generate(5, 0).await;
    let lines = world.get("/v1/headers?from=2&count=3").await;
    let read = |line: &str| Header::decode(&hex::decode(line).unwrap()).unwrap().hash().to_string();
    assert_eq!(lines.text().lines().map(read).collect::<Vec<_>>(), hashes[1..4]);
    let octets = [("accept", "application/octet-stream")];
    let raw = world.get_with("/v1/headers?from=2&count=3", &octets).await;
    assert_eq!(raw.body.len(), 240);
    assert_eq!(hex::encode(&raw.body), lines.text().replace('\n', ""));
    assert_eq!(world.get("/v1/headers").await.text().lines().count(), 6);
    assert_eq!(world.get("/v1/headers?from=5&count=2000").await.text().lines().count(), 1);
    for beyond in ["6", "4294967295", "4294967296", "9007199254740991"] {
        assert_eq!(world.get(&format!("/v1/headers?from={beyond}")).await.text(), "");
    }
    for wrong in [
        "count=0",
        "count=2001",
        "count=-1",
        "count=+1",
        "count=1.0",
        "from=-1",
        "from=tip",
        "from=9007199254740992",
        "from=",
        "form=1",
    ] {
        world.get(&format!("/v1/headers?{wrong}")).await.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn block_list_is_paginated() {
    let world = World::new().await;
    let mut hashes = world.generate(29, 0).await;
    let (first, cursor) = world.get("/v1/blocks").await.page();
    assert_eq!(first.len(), 25);
    assert_eq!(first[0]["hash"], *hashes.last().unwrap());
    assert_eq!(
        (&first[0]["confirmations"], &first[0]["transaction_count"]),
        (&json!(1), &json!(1))
    );
    assert!(first[0].get("transactions").is_none());
    // New blocks do not move the pages.
    world.generate(2, 0).await;
    let path = format!("/v1/blocks?cursor={}", cursor.unwrap());
    let (rest, end) = world.get(&path).await.page();
    assert_eq!(end, None);
    hashes.insert(0, Params::dev().genesis_hash().to_string());
    let listed: Vec<_> =
        first.iter().chain(&rest).rev().map(|block| block["hash"].clone()).collect();
    assert_eq!(json!(listed), json!(hashes));

    let mut path = "/v1/blocks?limit=7".to_owned();
    let mut met = 0;
    for _ in 0..4 {
        let response = world.get(&path).await;
        met += response.page().0.len();
        path = next(&response);
    }
    assert_eq!((met, world.get(&path).await.page().0.len()), (28, 4));
    assert_eq!(world.get("/v1/blocks?limit=100").await.page().0.len(), 32);
}

// R09
#[tokio::test]
async fn page_limits_and_foreign_cursors_are_rejected() {
    let world = World::new().await;
    world.generate(3, 0).await;
    let (_, cursor) = world.get("/v1/blocks?limit=1").await.page();
    let cursor = cursor.unwrap();
    for wrong in [
        "limit=0",
        "limit=101",
        "limit=1000000000",
        "limit=18446744073709551615",
        "limit=-1",
        "limit=1.0",
        "limit=",
        "limit=x",
        "limit=%2B1",
        "offset=1",
        "cursor=",
        "cursor=00",
        "cursor=x",
        "limit=1&limit=2",
    ] {
        for list in ["/v1/blocks", "/v1/blocks/1/transactions", "/v1/mempool/transactions"] {
            world.get(&format!("{list}?{wrong}")).await.problem(400, "bad-request");
        }
    }
    for list in ["/v1/blocks/1/transactions", "/v1/mempool/transactions"] {
        world.get(&format!("{list}?cursor={cursor}")).await.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn block_cursor_expires_after_reorg() {
    let (world, other) = (World::new().await, World::new().await);
    world.generate(5, 0).await;
    let page = next(&world.get("/v1/blocks?limit=2").await);
    let listed = world.get(&page).await;
    // A branch of equal length causes no reorganisation.
    other.generate(5, 1).await;
    other.send_blocks(1, &world).await;
    assert_eq!(world.get(&page).await.body, listed.body);
    other.generate(1, 1).await;
    other.send_blocks(6, &world).await;
    let gone = world.get(&page).await;
    gone.problem(410, "cursor-gone");
    assert_eq!(gone.header(CHAIN_HEIGHT), "6");
}

#[tokio::test]
async fn block_transactions_are_paginated() {
    let (world, other) = (World::new().await, World::new().await);
    for nonce in 0..4 {
        world.submit(&Pay { nonce, ..PAY }.signed()).await;
    }
    let hash = world.generate(1, 1).await.pop().unwrap();
    let whole = world.get("/v1/blocks/1?full=true").await.json()["transactions"].clone();
    for name in ["1", "tip", &hash] {
        let mut path = format!("/v1/blocks/{name}/transactions?limit=2");
        let mut met = Vec::new();
        for _ in 0..2 {
            let response = world.get(&path).await;
            met.extend(response.page().0);
            path = next(&response);
        }
        let (last, end) = world.get(&path).await.page();
        met.extend(last);
        assert_eq!((json!(met), end), (whole.clone(), None), "{name}");
    }
    let of_height = next(&world.get("/v1/blocks/1/transactions?limit=2").await);
    let of_tip = next(&world.get("/v1/blocks/tip/transactions?limit=2").await);
    let of_hash = next(&world.get(&format!("/v1/blocks/{hash}/transactions?limit=2")).await);
    let elsewhere = of_height.replace("/1/", "/0/");
    world.get(&elsewhere).await.problem(400, "bad-request");
    // With a new tip the list continues; after a reorganisation only under the hash.
    world.generate(1, 1).await;
    assert_eq!(world.get(&of_tip).await.page().0[0], whole[2]);
    other.generate(3, 2).await;
    other.send_blocks(1, &world).await;
    world.get(&of_height).await.problem(410, "cursor-gone");
    world.get(&of_tip).await.problem(410, "cursor-gone");
    assert_eq!(world.get(&of_hash).await.page().0[0], whole[2]);
}

#[tokio::test]
async fn mined_block_is_accepted_once() {
    let world = World::new().await;
    let block = solve(world.candidate().await);
    let hash = block.hash().to_string();
    let submitted = world.submit_block(&block).await;
    assert_eq!(submitted.status, 201);
    assert_eq!(submitted.header(header::LOCATION), format!("/v1/blocks/{hash}"));
    assert_eq!(submitted.json(), json!({"hash": hash, "height": 1, "status": "connected"}));
    let hex = hex::encode(block.encode());
    for media_type in
        ["text/plain", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"]
    {
        let again = world.post("/v1/blocks", media_type, format!("{hex}\n")).await;
        assert_eq!(again.status, 200);
        assert_eq!(again.json(), json!({"hash": hash, "height": 1, "status": "known"}));
    }
    let mut sibling = block.clone();
    let Transaction::Coinbase(coinbase) = &mut sibling.transactions[0] else { unreachable!() };
    coinbase.recipient = address(7);
    let sibling = solve(sibling);
    let side = world.submit_block(&sibling).await;
    assert_eq!(side.status, 201);
    assert_eq!(side.json()["status"], "side-branch");
}

#[tokio::test]
async fn invalid_block_is_rejected_with_the_code_of_its_rule() {
    let world = World::new().await;
    let good = world.candidate().await;
    let mut wrong_reward = good.clone();
    let Transaction::Coinbase(coinbase) = &mut wrong_reward.transactions[0] else { unreachable!() };
    coinbase.reward = 7;
    let wrong_reward = solve(wrong_reward);
    let problem = world.submit_block(&wrong_reward).await.problem(422, "wrong-reward");
    assert_eq!((&problem["expected"], &problem["actual"]), (&json!(5_000_000_000_u64), &json!(7)));
    // Rejected again, whatever body follows the header.
    world.submit_block(&wrong_reward).await.problem(422, "wrong-reward");

    let mut wrong_bits = good.clone();
    wrong_bits.header.bits = ::chain::Bits::new(0x2000_ffff);
    solve_header(&mut wrong_bits.header);
    let problem = world.submit_block(&wrong_bits).await.problem(422, "wrong-bits");
    assert_eq!(
        (&problem["expected"], &problem["actual"]),
        (&json!("207fffff"), &json!("2000ffff"))
    );

    let mut early = good.clone();
    early.header.time = Timestamp::new(1);
    let problem = world.submit_block(&solve(early)).await.problem(422, "time-too-old");
    assert_eq!((&problem["expected"], &problem["actual"]), (&json!(1_767_225_600), &json!(1)));

    let mut orphan = good.clone();
    orphan.header.previous = ::chain::block::Hash::from_bytes([7; 32]);
    world.submit_block(&solve(orphan)).await.problem(422, "unknown-parent");

    let mut unmet = solve(good.clone());
    unsolve_header(&mut unmet.header);
    world.submit_block(&unmet).await.problem(422, "high-hash");
    let encoded = solve(good).encode()[..99].to_vec();
    world
        .post("/v1/blocks", "application/octet-stream", encoded)
        .await
        .problem(422, "bad-encoding");
    assert_eq!(world.height().await, 0);
}

// R01, R08
#[tokio::test]
async fn rejects_body_that_is_not_a_block() {
    let world = World::new().await;
    for body in ["x", "0", "ABCD", "00 11", "0x00", "{}"] {
        world.post("/v1/blocks", "text/plain", body).await.problem(400, "bad-request");
    }
    world.post("/v1/blocks", "text/plain", "").await.problem(422, "bad-encoding");
    let json = world.post("/v1/blocks", "application/json", "{}").await;
    json.problem(415, "unsupported-media-type");
    // The largest block fits in hexadecimal; what is larger is not read.
    let largest = vec![b'0'; 4_200_000];
    world.post("/v1/blocks", "text/plain", largest.clone()).await.problem(422, "bad-encoding");
    let larger = [largest, vec![b'0'; 2]].concat();
    world.post("/v1/blocks", "text/plain", larger).await.problem(413, "too-large");
}

#[tokio::test]
async fn long_poll_waits_for_another_tip() {
    let world = World::new().await;
    let first = world.generate(1, 1).await.pop().unwrap();
    // A known tip that is not the present one needs no wait.
    let genesis = Params::dev().genesis_hash();
    let tip = world.get(&format!("/v1/blocks/tip?after={genesis}&wait=100")).await.json();
    assert_eq!(tip["hash"], first);
    let path = format!("/v1/blocks/tip?after={first}");
    assert_eq!(world.get(&format!("{path}&wait=0")).await.json()["hash"], first);
    let held = format!("{path}&wait=100");
    // A transfer does not end it, a block does.
    let (held, _, next) = tokio::join!(
        world.get(&held),
        async { world.submit(&PAY.signed()).await },
        world.generate(1, 1)
    );
    assert_eq!(held.json()["hash"], next[0]);
    for wrong in [
        "tip?after=7",
        "tip?wait=1",
        &format!("1?after={first}"),
        &format!("tip?after={first}&wait=121"),
    ] {
        world.get(&format!("/v1/blocks/{wrong}")).await.problem(400, "bad-request");
    }
}
