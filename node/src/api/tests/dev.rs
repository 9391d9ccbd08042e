use super::*;
use ::chain::params::Spec;

#[tokio::test]
async fn generate_appends_blocks_in_order() {
    let world = World::new().await;
    let made = world.post_json("/v1/dev/generate", &json!({"blocks": 450})).await.json();
    let hashes = made["blocks"].as_array().unwrap();
    assert_eq!(hashes.len(), 450);
    let tip = world.get("/v1/blocks/tip").await.json();
    assert_eq!((&tip["height"], &tip["hash"]), (&json!(450), &hashes[449]));
    assert_eq!(world.get("/v1/blocks/7").await.json()["hash"], hashes[6]);
    let first = Params::dev().spec().allocations[0].0;
    assert_eq!(tip["miner"], text(first), "the default address");
    world.generate(1, 30).await;
    assert_eq!(world.get("/v1/blocks/tip").await.json()["miner"], text(address(30)));
}

#[tokio::test]
async fn generate_pays_default_address_unless_overridden() {
    let world = World::with(|config| config.miner = Some(address(31))).await;
    world.post_json("/v1/dev/generate", &json!({"blocks": 1})).await.json();
    assert_eq!(world.get("/v1/blocks/1").await.json()["miner"], text(address(31)));
}

// R14
#[tokio::test]
async fn generate_requires_token() {
    let world = World::new().await;
    let order = || Body::from(json!({"blocks": 1}).to_string());
    for authorization in ["", "Bearer 00", "Basic dXNlcjpwYXNz"] {
        let request = Request::post("/v1/dev/generate")
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json");
        world.send(request.body(order()).unwrap()).await.problem(401, "unauthorized");
    }
    assert_eq!(world.height().await, 0);
}

// R06, R07, R12
#[tokio::test]
async fn generate_rejects_invalid_requests() {
    let world = World::new().await;
    let other_network = address(0).encode(Params::main().hrp());
    for order in [
        "{}",
        "[]",
        "7",
        "{\"blocks\":0}",
        "{\"blocks\":10001}",
        "{\"blocks\":-1}",
        "{\"blocks\":1.0}",
        "{\"blocks\":1e1}",
        "{\"blocks\":\"1\"}",
        "{\"blocks\":null}",
        "{\"blocks\":9007199254740992}",
        "{\"blocks\":1,\"blocks\":1}",
        "{\"blocks\":1,\"x\":1}",
        "{\"blocks\":1,\"miner\":\"\"}",
        "{\"blocks\":1,\"miner\":7}",
        &format!("{{\"blocks\":1,\"miner\":\"{other_network}\"}}"),
    ] {
        let response = world.post("/v1/dev/generate", "application/json", order.to_owned()).await;
        response.problem(400, "bad-request");
    }
    let text = world.post("/v1/dev/generate", "text/plain", "{\"blocks\":1}").await;
    text.problem(415, "unsupported-media-type");
    assert_eq!(world.height().await, 0);
}

#[tokio::test]
async fn generate_is_not_available_where_blocks_take_work() {
    let world = World::with(|config| config.params = Params::testnet()).await;
    let order = json!({"blocks": 1});
    world.post_json("/v1/dev/generate", &order).await.problem(403, "not-available");
    assert_eq!(world.get("/v1/chain").await.json()["apis"]["dev"], "disabled");
}

#[tokio::test]
async fn generate_without_allocations_requires_miner() {
    let spec = Spec { allocations: Vec::new(), ..Params::dev().spec().clone() };
    let world = World::with(|config| config.params = Params::new(spec).unwrap()).await;
    world.post_json("/v1/dev/generate", &json!({"blocks": 1})).await.problem(422, "no-miner");
    world.generate(1, 0).await;
    assert_eq!(world.get("/v1/blocks/tip").await.json()["miner"], text(address(0)));
}

#[tokio::test]
async fn other_requests_are_served_during_generate() {
    let world = World::new().await;
    let order = json!({"blocks": 2_000});
    let (made, height_seen) = tokio::join!(world.post_json("/v1/dev/generate", &order), async {
        loop {
            let height = world.height().await;
            if height > 0 {
                break height;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(made.json()["blocks"].as_array().unwrap().len(), 2_000);
    assert!(height_seen < 2_000, "a batch is short");
}

#[tokio::test]
async fn time_offsets_the_validation_clock() {
    let world = World::new().await;
    let day = 86_400;
    let shifted = world.post_json("/v1/dev/time", &json!({"offset_seconds": day})).await.json();
    assert_eq!(shifted["offset_seconds"], day);
    let tomorrow = world.generate(1, 0).await.pop().unwrap();
    let time = world.get("/v1/blocks/tip").await.json()["time"].as_u64().unwrap();
    assert!(time >= shifted["time"].as_u64().unwrap());
    // A day back, that block is of the future, and so would be its child.
    world.post_json("/v1/dev/time", &json!({"offset_seconds": 0})).await.json();
    let order = json!({"blocks": 1});
    world.post_json("/v1/dev/generate", &order).await.problem(422, "time-too-new");
    assert_eq!(world.get("/v1/chain").await.json()["tip"], tomorrow);
    for offset in ["315360001", "-315360001", "1.0", "\"1\"", "null"] {
        let order = format!("{{\"offset_seconds\":{offset}}}");
        let response = world.post("/v1/dev/time", "application/json", order).await;
        response.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn templates_and_jobs_use_the_offset_clock() {
    let world = World::new().await;
    let miner = text(address(9));
    let shift = async |seconds: i64| {
        let order = json!({"offset_seconds": seconds});
        world.post_json("/v1/dev/time", &order).await.json()["time"].as_u64().unwrap()
    };
    let now = shift(0).await;
    let order = json!({"miner": miner, "until": {"time": now + 40_000}});
    let job = world.post_json("/v1/mining/jobs", &order).await.json();
    let path = format!("/v1/mining/jobs/{}", job["id"].as_str().unwrap());
    let running = world.get(&format!("{path}?wait=1")).await.json();
    assert_eq!(running["finished_at"], Value::Null, "it is not so late yet");
    let tomorrow = shift(86_400).await;
    let job = loop {
        let job = world.get(&format!("{path}?wait=30")).await.json();
        if !job["finished_at"].is_null() {
            break job;
        }
    };
    assert_eq!(job["state"], "succeeded");
    assert!(job["finished_at"].as_u64().unwrap() >= tomorrow);
    let order = json!({"miner": miner, "until": {"time": now + 40_000}});
    assert!(!world.post_json("/v1/mining/jobs", &order).await.status.is_success(), "it is past");
    let template = world.get(&format!("/v1/mining/template?miner={miner}")).await.json();
    assert!(template["time"].as_u64().unwrap() >= tomorrow);
}

#[tokio::test]
async fn invalidate_and_reconsider_move_the_tip() {
    let world = World::new().await;
    let blocks = world.generate(5, 0).await;
    let order = json!({"hash": blocks[3]});
    let moved = world.post_json("/v1/dev/invalidate", &order).await.json();
    assert_eq!(moved, json!({"tip": blocks[2], "height": 3}));
    assert_eq!(world.height().await, 3);
    let left = world.get(&format!("/v1/blocks/{}", blocks[4])).await.json();
    assert_eq!((&left["in_best_chain"], &left["confirmations"]), (&json!(false), &json!(0)));
    let tips = &world.get("/v1/chain/tips").await.json()["items"];
    assert_eq!((&tips[1]["hash"], &tips[1]["branch_length"]), (&json!(blocks[4]), &json!(2)));
    assert_eq!((&tips[1]["status"], &tips[1]["code"]), (&json!("invalid"), &json!("invalidated")));
    world.generate(1, 1).await;
    let moved = world.post_json("/v1/dev/reconsider", &order).await.json();
    assert_eq!(moved, json!({"tip": blocks[4], "height": 5}));
    assert_eq!(world.get("/v1/chain").await.json()["tip"], blocks[4]);

    let unknown = json!({"hash": "ab".repeat(32)});
    world.post_json("/v1/dev/invalidate", &unknown).await.problem(404, "not-found");
    world.post_json("/v1/dev/reconsider", &unknown).await.problem(404, "not-found");
    let genesis = json!({"hash": Params::dev().genesis_hash().to_string()});
    world.post_json("/v1/dev/invalidate", &genesis).await.problem(403, "not-available");
    let upper = json!({"hash": "AB".repeat(32)});
    world.post_json("/v1/dev/invalidate", &upper).await.problem(400, "bad-request");
}

#[tokio::test]
async fn faucet_pays_repeatedly_from_a_public_account() {
    let world = World::new().await;
    let order = json!({"address": text(address(40)), "amount": 700_000_000});
    let (one, two) = tokio::join!(
        world.post_json("/v1/dev/faucet", &order),
        world.post_json("/v1/dev/faucet", &order)
    );
    for response in [&one, &two] {
        assert_eq!(response.status, 201, "{}", response.text());
        let paid = response.json();
        assert_eq!(paid["sender_address"], text(address(9)));
        let location = format!("/v1/transactions/{}", paid["id"].as_str().unwrap());
        assert_eq!(response.header(header::LOCATION), location);
    }
    world.generate(1, 0).await;
    let account = world.get(&format!("/v1/accounts/{}", text(address(40)))).await.json();
    assert_eq!(account["balance"], 1_400_000_000);
    let all = json!({"address": text(address(40)), "amount": 1_000_000_000_000_u64});
    let poor = world.post_json("/v1/dev/faucet", &all).await;
    poor.problem(422, "insufficient-balance");
}

#[tokio::test]
async fn dev_routes_are_not_available_on_other_networks() {
    let world = World::with(|config| config.params = Params::testnet()).await;
    let elsewhere = address(0).encode(Params::testnet().hrp());
    for (path, order) in [
        ("/v1/dev/time", json!({"offset_seconds": 1})),
        ("/v1/dev/invalidate", json!({"hash": "ab".repeat(32)})),
        ("/v1/dev/reconsider", json!({"hash": "ab".repeat(32)})),
        ("/v1/dev/faucet", json!({"address": elsewhere, "amount": 1})),
    ] {
        world.post_json(path, &order).await.problem(403, "not-available");
    }
    // Without an allocated account the faucet is empty.
    let spec = Spec { allocations: Vec::new(), ..Params::dev().spec().clone() };
    let world = World::with(|config| config.params = Params::new(spec).unwrap()).await;
    let order = json!({"address": text(address(0)), "amount": 1});
    world.post_json("/v1/dev/faucet", &order).await.problem(403, "not-available");
}
