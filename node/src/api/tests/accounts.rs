use super::*;

async fn account(world: &World, account: u16) -> Value {
    world.get(&format!("/v1/accounts/{}", text(address(account)))).await.json()
}

fn history(account: u16, rest: &str) -> String {
    format!("/v1/accounts/{}/transactions{rest}", text(address(account)))
}

#[tokio::test]
async fn account_reports_confirmed_and_pending_state() {
    let world = World::new().await;
    let nothing = json!({
        "address": text(address(20)), "balance": 0, "immature": 0, "nonce": 0, "next_nonce": 0,
        "pending_balance": 0, "spendable": 0, "transaction_count": 0,
    });
    assert_eq!(account(&world, 20).await, nothing);
    world.submit(&PAY.signed()).await;
    world.submit(&Pay { nonce: 2, ..PAY }.signed()).await;
    let tag = world.get(&format!("/v1/accounts/{}", text(address(0)))).await;
    let tag = tag.header(header::ETAG).to_owned();
    let had = 1_000_000_000_000_u64;
    let before = account(&world, 0).await;
    assert_eq!(
        (&before["balance"], &before["pending_balance"]),
        (&json!(had), &json!(had - 2_000))
    );
    assert_eq!((&before["nonce"], &before["next_nonce"]), (&json!(0), &json!(1)), "1 is missing");
    world.submit(&Pay { nonce: 1, ..PAY }.signed()).await;
    // A change of the mempool changes the entity tag.
    let path = format!("/v1/accounts/{}", text(address(0)));
    let again = world.get_with(&path, &[("if-none-match", &tag)]).await;
    assert_eq!(again.json()["next_nonce"], 3);
    // Unconfirmed income cannot be spent yet; what pending transfers spend cannot be spent again.
    let receiver = account(&world, 20).await;
    assert_eq!((&receiver["pending_balance"], &receiver["spendable"]), (&json!(3_000), &json!(0)));
    assert_eq!(account(&world, 0).await["spendable"], had - 6_000);
    world.generate(1, 21).await;
    let after = account(&world, 0).await;
    assert_eq!(
        (&after["balance"], &after["pending_balance"]),
        (&json!(had - 6_000), &json!(had - 6_000))
    );
    assert_eq!((&after["nonce"], &after["transaction_count"]), (&json!(3), &json!(3)));
    assert_eq!(account(&world, 20).await["balance"], 3_000);
    let miner = account(&world, 21).await;
    assert_eq!((&miner["balance"], &miner["immature"]), (&json!(0), &json!(5_000_003_000_u64)));
    world.generate(1, 22).await;
    let miner = account(&world, 21).await;
    assert_eq!((&miner["balance"], &miner["immature"]), (&json!(5_000_003_000_u64), &json!(0)));
}

#[tokio::test]
async fn rejects_malformed_and_foreign_addresses() {
    let world = World::new().await;
    let good = text(address(0));
    let mistyped =
        format!("{}{}", &good[..good.len() - 1], if good.ends_with('q') { 'p' } else { 'q' });
    for wrong in [
        &address(0).encode(Params::main().hrp()),
        &hex::encode(address(0).as_bytes()),
        &mistyped,
        "0",
        "%00",
    ] {
        world.get(&format!("/v1/accounts/{wrong}")).await.problem(400, "bad-request");
        let path = format!("/v1/accounts/{wrong}/transactions");
        world.get(&path).await.problem(400, "bad-request");
    }
    // Bech32 may be in upper case; the response is in lower case.
    let capitals = world.get(&format!("/v1/accounts/{}", good.to_uppercase())).await;
    assert_eq!(capitals.json()["address"], good);
}

#[tokio::test]
async fn history_reports_direction_and_counterpart() {
    let world = World::new().await;
    world.submit(&PAY.signed()).await;
    world.submit(&Pay { from: 1, to: 0, amount: 7, ..PAY }.signed()).await;
    world.generate(1, 0).await;
    world.submit(&Pay { nonce: 1, to: 0, amount: 9, ..PAY }.signed()).await;
    world.submit(&Pay { nonce: 3, ..PAY }.signed()).await;
    let (items, next) = world.get(&history(0, "")).await.page();
    assert_eq!(next, None);
    let time = world.get("/v1/blocks/1").await.json()["time"].clone();
    let waiting = |pay: Pay, status, direction, counterpart| {
        json!({
            "id": pay.signed().id().to_string(), "status": status, "height": null, "position": null,
            "time": null, "direction": direction, "counterpart": counterpart,
            "amount": pay.amount, "fee": 1_000, "nonce": pay.nonce,
        })
    };
    let queued = waiting(Pay { nonce: 3, ..PAY }, "queued", "out", json!(text(address(20))));
    assert_eq!(items[0], queued);
    let own = waiting(Pay { nonce: 1, to: 0, amount: 9, ..PAY }, "pending", "self", Value::Null);
    assert_eq!(items[1], own);
    let confirmed = &items[2..];
    assert_eq!(confirmed.len(), 3);
    for (item, position) in confirmed.iter().zip([2, 1, 0]) {
        assert_eq!((&item["status"], &item["height"]), (&json!("confirmed"), &json!(1)));
        assert_eq!((&item["position"], &item["time"]), (&json!(position), &time));
    }
    let side = |direction: &str| {
        confirmed.iter().find(|item| item["direction"] == direction).unwrap().clone()
    };
    let out = side("out");
    assert_eq!((&out["counterpart"], &out["amount"]), (&json!(text(address(20))), &json!(1_000)));
    let received = side("in");
    assert_eq!(
        (&received["counterpart"], &received["amount"]),
        (&json!(text(address(1))), &json!(7))
    );
    let mined = side("mined");
    assert_eq!((&mined["amount"], &mined["fee"]), (&json!(5_000_002_000_u64), &json!(0)));
    assert_eq!(mined["counterpart"], Value::Null);
}

#[tokio::test]
async fn history_pages_list_unconfirmed_transactions_first() {
    let world = World::new().await;
    world.generate(5, 1).await;
    for nonce in 0..3 {
        world.submit(&Pay { from: 1, nonce, ..PAY }.signed()).await;
    }
    let mut path = history(1, "?limit=2");
    let mut met = Vec::new();
    loop {
        let response = world.get(&path).await;
        let (items, next) = response.page();
        assert!(items.len() <= 2);
        met.extend(items);
        let Some(cursor) = next else { break };
        path = history(1, &format!("?limit=2&cursor={cursor}"));
    }
    let whole = world.get(&history(1, "")).await.page().0;
    assert_eq!((&met, met.len()), (&whole, 8));
    let statuses: Vec<_> = met.iter().map(|item| item["status"].as_str().unwrap()).collect();
    assert_eq!(statuses[..3], ["pending"; 3]);
    let heights: Vec<_> = met[3..].iter().map(|item| item["height"].as_u64().unwrap()).collect();
    assert_eq!(heights, [5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn history_pages_skip_nothing_when_blocks_arrive_in_between() {
    let world = World::new().await;
    for nonce in 0..3 {
        world.submit(&Pay { nonce, ..PAY }.signed()).await;
    }
    let (first, cursor) = world.get(&history(0, "?limit=1")).await.page();
    world.generate(1, 1).await;
    let path = history(0, &format!("?cursor={}", cursor.unwrap()));
    let (rest, _) = world.get(&path).await.page();
    let met: std::collections::HashSet<_> =
        first.iter().chain(&rest).map(|item| item["id"].to_string()).collect();
    assert_eq!(met.len(), 3);
    // The list of confirmed ones continues despite new blocks.
    let (first, cursor) = world.get(&history(0, "?limit=1")).await.page();
    world.submit(&Pay { nonce: 3, ..PAY }.signed()).await;
    world.generate(1, 0).await;
    let path = history(0, &format!("?cursor={}", cursor.unwrap()));
    let (rest, _) = world.get(&path).await.page();
    assert_eq!((first[0]["position"].as_u64(), rest.len()), (Some(3), 2));
}

#[tokio::test]
async fn history_cursor_expires_after_reorg() {
    let (world, other) = (World::new().await, World::new().await);
    world.generate(4, 0).await;
    let (_, cursor) = world.get(&history(0, "?limit=2")).await.page();
    let path = history(0, &format!("?cursor={}", cursor.unwrap()));
    assert_eq!(world.get(&path).await.page().0.len(), 2);
    other.generate(5, 1).await;
    other.send_blocks(1, &world).await;
    world.get(&path).await.problem(410, "cursor-gone");
    assert_eq!(world.get(&history(0, "")).await.page().0.len(), 0);
    for wrong in ["?limit=0", "?limit=101", "?cursor=1", "?since=1"] {
        world.get(&history(0, wrong)).await.problem(400, "bad-request");
    }
}
