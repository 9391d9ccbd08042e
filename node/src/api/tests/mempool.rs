use super::*;

#[tokio::test]
async fn mempool_reports_size_and_minimum_fee_rate() {
    let world = World::new().await;
    let empty = json!({
        "count": 0, "bytes": 0, "queued": 0, "min_fee_rate": 1, "fee_histogram": [],
    });
    assert_eq!(world.get("/v1/mempool").await.json(), empty);
    world.submit(&PAY.signed()).await;
    world.submit(&Pay { nonce: 2, ..PAY }.signed()).await;
    world.submit(&Pay { from: 1, fee: 145, ..PAY }.signed()).await;
    let pool = json!({
        "count": 3, "bytes": 435, "queued": 1, "min_fee_rate": 1,
        "fee_histogram": [
            {"rate": 1, "count": 1, "bytes": 145}, {"rate": 6, "count": 2, "bytes": 290},
        ],
    });
    assert_eq!(world.get("/v1/mempool").await.json(), pool);
}

#[tokio::test]
async fn mempool_transactions_are_paginated() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for nonce in (0..6).rev() {
        let transfer = Pay { nonce, ..PAY }.signed();
        world.submit(&transfer).await;
        ids.insert(0, transfer.id().to_string());
    }
    let (first, cursor) = world.get("/v1/mempool/transactions?limit=4").await.page();
    assert_eq!((&first[0]["status"], &first[0]["nonce"]), (&json!("pending"), &json!(0)));
    assert_eq!(first[0]["sender_address"], text(address(0)));
    // New transfers come first, and no page repeats an item.
    world.submit(&Pay { nonce: 6, ..PAY }.signed()).await;
    let path = format!("/v1/mempool/transactions?limit=4&cursor={}", cursor.unwrap());
    let (rest, end) = world.get(&path).await.page();
    assert_eq!(end, None);
    let shown: Vec<_> = first.iter().chain(&rest).map(|item| item["id"].clone()).collect();
    assert_eq!(json!(shown), json!(ids));
    assert_eq!(world.get("/v1/mempool/transactions").await.page().0.len(), 7);
}

#[tokio::test]
async fn idle_chain_estimates_minimum_fee() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/fees").await.json(), json!({"1": 1, "3": 1, "6": 1}));
}

#[tokio::test]
async fn full_block_raises_estimated_fee() {
    let spec = ::chain::params::Spec { max_block_bytes: 1_000, ..Params::dev().spec().clone() };
    let params = Params::new(spec).unwrap();
    let genesis = params.genesis_hash();
    let world = World::with(|config| config.params = params).await;
    // Seven bytes' worth each; a block has room for four.
    for from in 0..8 {
        let payment = Payment {
            nonce: 0,
            recipient: address(20),
            amount: 1,
            fee: 7 * 145,
            memo: Memo::default(),
        };
        let response = world.submit(&Transfer::sign(payment, &key(from), genesis)).await;
        assert_eq!(response.status, 201, "{}", response.text());
    }
    assert_eq!(world.get("/v1/fees").await.json(), json!({"1": 8, "3": 1, "6": 1}));
}

#[tokio::test]
async fn operator_removes_a_transfer() {
    let world = World::new().await;
    let [first, second] = [0, 1].map(|nonce| Pay { nonce, ..PAY }.signed());
    world.submit(&first).await;
    world.submit(&second).await;
    let path = format!("/v1/mempool/transactions/{}", first.id());
    let bare = Request::delete(&path).header(header::HOST, "localhost");
    let bare = world.send(bare.body(Body::empty()).unwrap()).await;
    bare.problem(401, "unauthorized");
    assert_eq!(world.delete(&path).await.status, 204);
    world.delete(&path).await.problem(404, "not-found");
    world.delete("/v1/mempool/transactions/7").await.problem(400, "bad-request");
    let dropped = world.get(&format!("/v1/transactions/{}", first.id())).await.json();
    assert_eq!((&dropped["status"], &dropped["reason"]), (&json!("dropped"), &json!("removed")));
    assert_eq!(world.get("/v1/mempool").await.json()["queued"], 1);
    // It is not remembered against it.
    assert_eq!(world.submit(&first).await.status, 201);
    assert_eq!(world.get("/v1/mempool").await.json()["queued"], 0);
}
