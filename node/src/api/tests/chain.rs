use super::*;
use ::chain::{Block, Transaction};

#[tokio::test]
async fn new_chain_consists_of_genesis() {
    let world = World::new().await;
    let chain = world.get("/v1/chain").await.json();
    let genesis = Params::dev().genesis_hash().to_string();
    assert_eq!(chain["network"], "dev");
    assert_eq!((&chain["genesis"], &chain["tip"]), (&json!(genesis), &json!(genesis)));
    assert_eq!((&chain["height"], &chain["tip_time"]), (&json!(0), &json!(1_767_225_600)));
    assert_eq!(chain["bits"], "207fffff");
    assert!(chain["target"].as_str().unwrap().starts_with("7fffff00"));
    assert_eq!(chain["chain_work"], format!("{:064x}", 2));
    assert_eq!(chain["issued"], 10_000_000_000_000_u64);
    assert_eq!(
        (&chain["median_block_seconds"], &chain["hashrate_estimate"]),
        (&Value::Null, &Value::Null)
    );
    let sync = json!({"state": "synced", "best_header_height": 0, "progress": 1.0});
    assert_eq!(chain["sync"], sync);
    assert_eq!(chain["mempool"], json!({"count": 0, "bytes": 0}));
    assert_eq!((&chain["peers"], &chain["version"]), (&json!(0), &json!("0.1.0")));
    assert!(chain["uptime_seconds"].as_u64().unwrap() < 60);
    assert_eq!(chain["apis"]["blocks"], "public");
    assert_eq!(chain["apis"]["dev"], "protected");
    let difficulty = chain["difficulty"].as_f64().unwrap();
    assert!((4.6e-10..4.7e-10).contains(&difficulty), "{difficulty}");
}

#[tokio::test]
async fn chain_reports_block_interval_and_mempool_size() {
    let world = World::new().await;
    world.generate(11, 0).await;
    let chain = world.get("/v1/chain").await.json();
    assert_eq!(chain["median_block_seconds"], Value::Null, "ten intervals");
    world.generate(1, 0).await;
    world.submit(&PAY.signed()).await;
    let chain = world.get("/v1/chain").await.json();
    assert_eq!(chain["height"], 12);
    assert!((0.0..2.0).contains(&chain["median_block_seconds"].as_f64().unwrap()));
    // Eleven blocks of two hashes each, in about a second.
    assert!((0.1..=22.0).contains(&chain["hashrate_estimate"].as_f64().unwrap()));
    assert_eq!(chain["issued"], 10_000_000_000_000_u64 + 12 * 5_000_000_000);
    assert_eq!(chain["chain_work"], format!("{:064x}", 26));
    assert_eq!(chain["mempool"], json!({"count": 1, "bytes": 145}));
    assert_eq!(chain["sync"]["best_header_height"], 12);
}

#[tokio::test]
async fn params_include_network_file_and_derived_values() {
    let world = World::new().await;
    let params = world.get("/v1/chain/params").await.json();
    for (field, value) in [
        ("name", json!("dev")),
        ("genesis", json!(Params::dev().genesis_hash().to_string())),
        ("hrp", json!("dch")),
        ("spacing_seconds", json!(1)),
        ("half_life_seconds", json!(60)),
        ("fixed_difficulty", json!(true)),
        ("limit_bits", json!("207fffff")),
        ("genesis_bits", json!("207fffff")),
        ("genesis_time", json!(1_767_225_600)),
        ("initial_subsidy", json!(5_000_000_000_u64)),
        ("halving_interval", json!(210_000)),
        ("maturity", json!(1)),
        ("max_future_seconds", json!(7_200)),
        ("max_block_bytes", json!(2_000_000)),
        ("message", json!("chain dev")),
        ("boot_nodes", json!([])),
        ("ports", json!({"api": 28400, "peers": 28401, "stratum": 23333})),
        ("max_issuance", json!(2_109_994_997_690_000_u64)),
    ] {
        assert_eq!(params[field], value, "{field}");
    }
    let allocations = params["allocations"].as_array().unwrap();
    assert_eq!(allocations.len(), 10);
    let mine = json!({"address": text(address(0)), "amount": 1_000_000_000_000_u64});
    assert!(allocations.contains(&mine));
    let first = json!({"from_height": 1, "subsidy": 5_000_000_000_u64});
    assert_eq!(params["subsidy_schedule"][0], first);
}

//  genesis ─ 1 ─ 2          active
//          └ 1'             valid fork
//            └ (2x)         wrong reward
#[tokio::test]
async fn tips_list_all_branches() {
    let (world, other) = (World::new().await, World::new().await);
    let genesis = Params::dev().genesis_hash().to_string();
    let active = |hash: &str, height: u32| json!({"hash": hash, "height": height, "branch_length": 0, "status": "active"});
    let page = |tips: Value| json!({"items": tips, "next": null});
    assert_eq!(world.get("/v1/chain/tips").await.json(), page(json!([active(&genesis, 0)])));
    let best = world.generate(2, 0).await.pop().unwrap();
    let fork = other.generate(1, 1).await.pop().unwrap();
    let tag = world.get("/v1/chain/tips").await.header(header::ETAG).to_owned();
    other.send_blocks(1, &world).await;
    let fork = json!({"hash": fork, "height": 1, "branch_length": 1, "status": "valid-fork"});
    let tips = world.get_with("/v1/chain/tips", &[("if-none-match", &tag)]).await;
    let expected = page(json!([active(&best, 2), fork]));
    assert_eq!(tips.json(), expected, "a fork leaves the tip as it is");

    let mut greedy: Block = world.candidate().await;
    let Transaction::Coinbase(coinbase) = &mut greedy.transactions[0] else { unreachable!() };
    coinbase.reward += 1;
    let greedy = solve(greedy);
    world.submit_block(&greedy).await.problem(422, "wrong-reward");
    let tips = world.get("/v1/chain/tips").await.json();
    let invalid = json!({
        "hash": greedy.hash().to_string(), "height": 3, "branch_length": 1,
        "status": "invalid", "code": "wrong-reward",
    });
    assert_eq!(tips, page(json!([active(&best, 2), invalid, fork])));

    let mut next = json!("/v1/chain/tips?limit=1");
    for tip in [active(&best, 2), invalid, fork] {
        let page = world.get(next.as_str().unwrap()).await.json();
        assert_eq!(page["items"], json!([tip]));
        next = page["next"].clone();
        if let Some(cursor) = page["next"].as_str() {
            next = json!(format!("/v1/chain/tips?limit=1&cursor={cursor}"));
        }
    }
    assert_eq!(next, Value::Null);
}

// C20, C22
#[tokio::test]
async fn block_far_below_the_tip_is_too_deep_unless_its_headers_have_more_work() {
    let (world, other) = (World::new().await, World::new().await);
    for blocks in [500, 501] {
        world.generate(blocks, 0).await;
        other.generate(blocks, 1).await;
    }
    other.generate(1, 1).await;
    let raw =
        async |height: u32| other.get(&format!("/v1/blocks/{height}/raw")).await.text().to_owned();
    let refused = world.post("/v1/blocks", "text/plain", raw(1).await).await;
    let refused = refused.problem(422, "too-deep");
    assert!(refused["detail"].as_str().unwrap().contains("1001 blocks below the tip"));

    // Lines of hexadecimal, as the other node returns them.
    let headers = other.get("/v1/headers?from=1").await.text().to_owned();
    let lighter = headers.lines().take(1_001).collect::<Vec<_>>().join("\n");
    let kept = world.post("/v1/headers", "text/plain", lighter).await.json();
    assert_eq!((&kept["new"], &kept["has_more_work"]), (&json!(1_001), &json!(false)));
    world.post("/v1/blocks", "text/plain", raw(1).await).await.problem(422, "too-deep");
    let kept = world.post("/v1/headers", "text/plain", headers.clone()).await.json();
    let tip = other.get("/v1/blocks/tip").await.json();
    let expected = json!({
        "hash": tip["hash"], "height": 1_002, "chain_work": tip["chain_work"], "new": 1,
        "has_more_work": true,
    });
    assert_eq!(kept, expected);
    let stored = world.post("/v1/blocks", "text/plain", raw(1).await).await.json();
    assert_eq!((&stored["status"], &stored["height"]), (&json!("side-branch"), &json!(1)));

    let binary = hex::decode(headers.lines().last().unwrap()).unwrap();
    let known = world.post("/v1/headers", "application/octet-stream", binary).await.json();
    assert_eq!((&known["new"], &known["has_more_work"]), (&json!(0), &json!(true)));
}

#[tokio::test]
async fn submitted_headers_are_validated() {
    let world = World::new().await;
    world.generate(2, 0).await;
    let headers = world.get("/v1/headers").await.text().to_owned();
    let [genesis, first, second] = headers.lines().collect::<Vec<_>>().try_into().unwrap();
    let post = async |text: String| world.post("/v1/headers", "text/plain", text).await;
    for wrong in [first.repeat(2_001), "xy".to_owned()] {
        post(wrong).await.problem(400, "bad-request");
    }
    for wrong in [String::new(), first[2..].to_owned()] {
        post(wrong).await.problem(422, "bad-encoding");
    }
    let gap = post(format!("{first}{genesis}")).await.problem(400, "bad-request");
    assert_eq!(gap["detail"], "header 1 is not a child of the header before it");
    let known = post(headers.clone()).await.json();
    assert_eq!((&known["new"], &known["height"]), (&json!(0), &json!(2)));
    let other = World::new().await;
    other.generate(2, 1).await;
    let orphan = other.get("/v1/blocks/2/header").await.text().to_owned();
    post(orphan).await.problem(422, "unknown-parent");
    let mut header = ::chain::Header::decode(&hex::decode(second).unwrap()).unwrap();
    header.version = 1;
    let bad = post(format!("{first}\r\n{}\n", hex::encode(header.encode()))).await;
    let bad = bad.problem(422, "bad-version");
    assert!(bad["detail"].as_str().unwrap().starts_with("item 1: "), "{bad}");
}
