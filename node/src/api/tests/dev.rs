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
    for offset in ["315360001", "-315360001", "1.0", "\"1\""] {
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

/// The ids of the transfers of a block, without the coinbase.
async fn transfers_of(world: &World, block: &str) -> Vec<String> {
    let block = world.get(&format!("/v1/blocks/{block}")).await.json();
    let ids = block["transactions"].as_array().unwrap();
    ids[1..].iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn generated_block_contains_exactly_the_listed_transfers() {
    let world = World::new().await;
    let [pending, other] = [PAY, Pay { from: 1, fee: 9_000, ..PAY }].map(Pay::signed);
    world.submit(&pending).await;
    world.submit(&other).await;
    // Below the minimum fee, and unknown to the mempool.
    let unknown = Pay { from: 2, fee: 0, ..PAY }.signed();
    let list = json!([hex::encode(unknown.encode()), pending.id().to_string()]);
    let order = json!({"blocks": 2, "transactions": list});
    world.post_json("/v1/dev/generate", &order).await.json();
    let expected = [&unknown, &pending].map(|transfer| transfer.id().to_string());
    assert_eq!(transfers_of(&world, "1").await, expected);
    assert_eq!(transfers_of(&world, "2").await, [other.id().to_string()]);
    world.post_json("/v1/dev/generate", &json!({"blocks": 1, "transactions": []})).await.json();
    assert_eq!(transfers_of(&world, "3").await, Vec::<String>::new());

    let generate = async |transactions: Value| {
        let order = json!({"blocks": 1, "transactions": transactions});
        world.post_json("/v1/dev/generate", &order).await
    };
    let again = generate(json!([hex::encode(pending.encode())])).await.problem(422, "bad-nonce");
    assert_eq!((&again["expected"], &again["actual"]), (&json!(1), &json!(0)));
    assert!(again["detail"].as_str().unwrap().starts_with("item 0: "), "{again}");
    generate(json!([pending.id().to_string()])).await.problem(404, "not-found");
    generate(json!(["00ff"])).await.problem(422, "bad-encoding");
    generate(json!(["zz"])).await.problem(400, "bad-request");
    assert_eq!(world.height().await, 3);
}

#[tokio::test]
async fn generated_block_has_the_requested_time() {
    let world = World::new().await;
    let tip_time = async || world.get("/v1/blocks/tip").await.json()["time"].as_u64().unwrap();
    let at = |time: u64| json!({"blocks": 1, "time": time});
    let clock = json!({"time": 1_799_999_000, "frozen": true});
    world.post_json("/v1/dev/time", &clock).await.json();
    world.post_json("/v1/dev/generate", &at(1_800_000_000)).await.json();
    assert_eq!(tip_time().await, 1_800_000_000);
    let problem = world.post_json("/v1/dev/generate", &at(1_799_999_999)).await;
    let problem = problem.problem(422, "time-too-old");
    assert_eq!(problem["expected"], 1_800_000_000);
    world.post_json("/v1/dev/generate", &at(4_294_967_295)).await.problem(422, "time-too-new");
    world.post_json("/v1/dev/generate", &at(4_294_967_296)).await.problem(400, "bad-request");

    // The next block only, and also after a request that failed.
    let next = json!({"next_block_time": 1_800_000_100});
    world.post_json("/v1/dev/time", &next).await.json();
    world.post_json("/v1/dev/generate", &at(1)).await.problem(422, "time-too-old");
    world.generate(1, 0).await;
    assert_eq!(tip_time().await, 1_800_000_100);
    world.generate(1, 0).await;
    assert_eq!(tip_time().await, 1_800_000_100, "that of its parent");

    // One that no block can have does not prevent the blocks after it.
    for (time, code) in [(1_u64, "time-too-old"), (4_294_967_295, "time-too-new")] {
        world.post_json("/v1/dev/time", &json!({"next_block_time": time})).await.json();
        let one = json!({"blocks": 1});
        world.post_json("/v1/dev/generate", &one).await.problem(422, code);
        world.generate(1, 0).await;
    }
}

#[tokio::test]
async fn clock_is_set_to_a_time_and_frozen() {
    let world = World::new().await;
    let set = async |order: Value| world.post_json("/v1/dev/time", &order).await;
    let time = 1_900_000_000_u64;
    let clock = set(json!({"time": time})).await.json();
    assert_eq!(clock["frozen"], false);
    assert!((time..time + 60).contains(&clock["time"].as_u64().unwrap()), "{clock}");

    let clock = set(json!({"time": time, "frozen": true})).await.json();
    assert_eq!((&clock["time"], &clock["frozen"]), (&json!(time), &json!(true)));
    world.generate(3, 0).await;
    assert_eq!(world.get("/v1/blocks/tip").await.json()["time"], time);
    let clock = set(json!({"frozen": false})).await.json();
    assert!((time..time + 60).contains(&clock["time"].as_u64().unwrap()), "{clock}");
    assert_eq!(set(json!({"offset_seconds": 0, "frozen": true})).await.json()["frozen"], true);
    assert_eq!(set(json!({"offset_seconds": 0})).await.json()["frozen"], false);
    assert_eq!(set(json!({})).await.json()["frozen"], false);
    for order in [
        json!({"time": time, "offset_seconds": 1}),
        json!({"time": 4_294_967_296_u64}),
        json!({"next_block_time": -1}),
        json!({"frozen": 1}),
    ] {
        set(order).await.problem(400, "bad-request");
    }
}

/// Waits until the chain has a height.
async fn reaches(world: &World, height: u32) {
    let mut chain = world.node().writer.watch_chain();
    while world.height().await < height {
        chain.changed().await.unwrap();
    }
}

#[tokio::test]
async fn automine_confirms_every_transfer_that_arrives() {
    let world = World::with(|config| config.generation.on_transfer = true).await;
    for nonce in 0..3 {
        world.submit(&Pay { nonce, ..PAY }.signed()).await;
        reaches(&world, u32::try_from(nonce).unwrap() + 1).await;
    }
    // A transfer that waits for another one is no reason for a block.
    let (fourth, fifth) = (Pay { nonce: 3, ..PAY }.signed(), Pay { nonce: 4, ..PAY }.signed());
    world.submit(&fifth).await;
    assert_eq!(world.height().await, 3);
    world.submit(&fourth).await;
    reaches(&world, 4).await;
    assert_eq!(transfers_of(&world, "4").await, [fourth.id().to_string(), fifth.id().to_string()]);
    assert_eq!(world.height().await, 4);
}

#[tokio::test]
async fn block_time_generates_blocks_without_transfers() {
    let period = std::time::Duration::from_millis(20);
    let world = World::with(|config| config.generation.interval = Some(period)).await;
    reaches(&world, 3).await;
}

#[tokio::test]
async fn automine_needs_a_development_network_and_an_address() {
    let refused = async |change: fn(&mut Config)| {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            network: Some("dev".to_owned()),
            data: Some(folder.path().join("data")),
            api: Some("127.0.0.1:0".parse().unwrap()),
            listen: Some(vec!["none".to_owned()]),
            automine: Some(true),
            ..Settings::default()
        };
        let mut config = settings.validate().unwrap();
        change(&mut config);
        let started = Daemon::start(config, &mut std::future::pending()).await;
        started.err().expect("it must not start").to_string()
    };
    let error = refused(|config| config.params = Params::testnet()).await;
    assert!(error.contains("blocks of `testnet` take work"), "{error}");
    let error = refused(|config| (config.mine, config.miner) = (true, Some(address(1)))).await;
    assert!(error.contains("--mine searches blocks with threads"), "{error}");
    let error = refused(|config| {
        let spec = Spec { allocations: Vec::new(), ..Params::dev().spec().clone() };
        config.params = Params::new(spec).unwrap();
    });
    assert!(error.await.contains("add --miner ADDRESS"));
}
