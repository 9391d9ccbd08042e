use super::*;
use ::chain::hash::sha256d;
use ::chain::tx::Id;
use ::chain::{Coinbase, Header, Target};

/// Solves a template as an external miner does: chooses an extra nonce and finds a nonce.
pub(super) fn solve(candidate: &Value, extra_nonce: [u8; 8]) -> (Value, Header) {
    let bytes = |name: &str| hex::decode(candidate[name].as_str().unwrap()).unwrap();
    let mut coinbase = bytes("coinbase");
    let at = usize::try_from(candidate["extra_nonce_at"].as_u64().unwrap()).unwrap();
    assert_eq!(coinbase[at..at + 8], Coinbase::deserialize(&coinbase).unwrap().extra_nonce);
    coinbase[at..at + 8].copy_from_slice(&extra_nonce);
    let mut root = sha256d(&coinbase);
    for sibling in candidate["branch"].as_array().unwrap() {
        let sibling = hex::decode(sibling.as_str().unwrap()).unwrap();
        root = sha256d(&[&root[..], &sibling].concat());
    }
    let mut header = Header::decode(&bytes("header")).unwrap();
    header.merkle_root = merkle::Root::from_bytes(root);
    header.version ^= 0x2000;
    let target = Target::from_be_bytes(bytes("target").try_into().unwrap()).unwrap();
    while !target.is_met_by(header.hash().as_bytes()) {
        header.nonce += 1;
    }
    let solution = json!({
        "template": candidate["id"], "nonce": header.nonce, "time": header.time.get(),
        "version": header.version, "extra_nonce": hex::encode(extra_nonce),
    });
    (solution, header)
}

async fn candidate(world: &World) -> Value {
    world.get(&format!("/v1/mining/template?miner={}", text(address(9)))).await.json()
}

async fn submit(world: &World, solution: &Value) -> TestResponse {
    world.post_json("/v1/mining/solutions", solution).await
}

#[tokio::test]
async fn solution_contains_only_fields_chosen_by_the_miner() {
    let world = World::new().await;
    world.submit(&PAY.signed()).await;
    let given = candidate(&world).await;
    let coinbase = hex::decode(given["coinbase"].as_str().unwrap()).unwrap();
    let id = Id::from_bytes(sha256d(&coinbase));
    assert_eq!(Coinbase::deserialize(&coinbase).unwrap().id(), id);
    let (solution, header) = solve(&given, [0xab; 8]);
    let response = submit(&world, &solution).await;
    assert_eq!(response.status, 201);
    assert_eq!(response.json()["hash"], header.hash().to_string());
    assert_eq!(submit(&world, &solution).await.json()["status"], "known");
    let tip = world.get("/v1/blocks/tip").await.json();
    assert_eq!((&tip["miner"], &tip["fees"]), (&json!(text(address(9))), &json!(1_000)));
    // Only the nonce: all other fields are as in the template.
    let given = candidate(&world).await;
    let own = hex::decode(given["header"].as_str().unwrap()).unwrap();
    let (mut header, mut response) = (Header::decode(&own).unwrap(), None);
    while response.is_none() {
        let solution = json!({ "template": given["id"], "nonce": header.nonce });
        let sent = submit(&world, &solution).await;
        if sent.status == 201 {
            response = Some(sent.json());
        } else {
            sent.problem(422, "high-hash");
            header.nonce += 1;
        }
    }
    assert_eq!(response.unwrap()["hash"], header.hash().to_string());
}

// G02
#[tokio::test]
async fn late_solution_is_stale_and_stored_as_side_branch() {
    let world = World::new().await;
    let given = candidate(&world).await;
    world.generate(1, 0).await;
    let (solution, header) = solve(&given, [1; 8]);
    let problem = submit(&world, &solution).await.problem(409, "stale-template");
    assert!(problem["detail"].as_str().unwrap().contains("side branch"), "{problem}");
    let side = world.get(&format!("/v1/blocks/{}", header.hash())).await.json();
    assert_eq!((&side["in_best_chain"], &side["height"]), (&json!(false), &json!(1)));
    let unknown = json!({ "template": "0-0", "nonce": 1 });
    submit(&world, &unknown).await.problem(409, "stale-template");
}

/// A block in the form of `submitblock`: header, count and coinbase.
fn bitcoin_block(candidate: &Value, header: &Header, extra_nonce: [u8; 8]) -> String {
    let mut coinbase = hex::decode(candidate["coinbase"].as_str().unwrap()).unwrap();
    let at = usize::try_from(candidate["extra_nonce_at"].as_u64().unwrap()).unwrap();
    coinbase[at..at + 8].copy_from_slice(&extra_nonce);
    format!("{}02{}", hex::encode(header.encode()), hex::encode(coinbase))
}

// R32: a template is honoured while its tip is best, whatever others request.
#[tokio::test]
async fn template_outlives_100_000_of_others_and_1_000_changes_of_the_mempool() {
    let other = address(8);
    for (over_json_rpc, nonces, templates) in [(false, 100, 100_000), (true, 5, 1_000)] {
        let world = World::new().await;
        world.submit(&PAY.signed()).await;
        let given = candidate(&world).await;
        assert_eq!(given["transaction_count"], 2);
        let pays = |from: u16| (0..nonces).map(move |nonce| (from, nonce));
        let mut changes = 0;
        for (from, nonce) in (1..=10).flat_map(pays) {
            let transfer = Pay { from: from % 10, nonce: nonce + u64::from(from == 10), ..PAY };
            changes += u64::from(world.submit(&transfer.signed()).await.status == 201);
            world.node().templates.issue(other).await.unwrap();
        }
        assert_eq!(changes, 10 * nonces);
        for _ in 0..templates {
            world.node().templates.issue(other).await.unwrap();
        }
        let (solution, header) = solve(&given, [3; 8]);
        if over_json_rpc {
            let block = bitcoin_block(&given, &header, [3; 8]);
            // Also without `workid`: the Merkle root identifies the template.
            let call = json!({ "id": 1, "method": "submitblock", "params": [block] });
            assert_eq!(world.post_json("/", &call).await.json()["result"], Value::Null);
        } else {
            assert_eq!(submit(&world, &solution).await.status, 201);
        }
        let tip = world.get("/v1/blocks/tip").await.json();
        assert_eq!(tip["hash"], header.hash().to_string());
        assert_eq!((&tip["miner"], &tip["fees"]), (&json!(text(address(9))), &json!(1_000)));
    }
}

#[tokio::test]
async fn id_of_another_run_is_stale() {
    let (world, other) = (World::new().await, World::new().await);
    other.submit(&PAY.signed()).await;
    let given = candidate(&other).await;
    candidate(&world).await;
    world.submit(&Pay { from: 1, ..PAY }.signed()).await;
    candidate(&world).await;
    let (solution, _) = solve(&given, [1; 8]);
    submit(&world, &solution).await.problem(409, "stale-template");
    assert_eq!(submit(&other, &solution).await.status, 201);
}

// A body with all transactions needs no memory of its template.
#[tokio::test]
async fn whole_block_is_accepted_over_json_rpc_after_a_restart() {
    let (world, other) = (World::new().await, World::new().await);
    world.submit(&PAY.signed()).await;
    let given = candidate(&world).await;
    let (_, header) = solve(&given, [4; 8]);
    let coinbase = bitcoin_block(&given, &header, [4; 8]);
    let submit = async |block: &str| {
        let call = json!({ "id": 1, "method": "submitblock", "params": [block] });
        other.post_json("/", &call).await.json()["result"].clone()
    };
    assert_eq!(submit(&coinbase).await, "stale-work");
    let whole = format!("{coinbase}{}", hex::encode(PAY.signed().encode()));
    assert_eq!(submit(&whole).await, Value::Null);
    assert_eq!(other.height().await, 1);
}

#[tokio::test]
async fn rejects_invalid_solutions() {
    let world = World::new().await;
    let (good, header) = solve(&candidate(&world).await, [1; 8]);
    let with = |name: &str, value: Value| {
        let mut solution = good.clone();
        solution[name] = value;
        solution
    };
    for wrong in [
        with("extra_nonce", json!("00")),
        with("extra_nonce", json!("x".repeat(16))),
        with("nonce", json!(-1)),
        with("nonce", json!(1_u64 << 32)),
        with("coinbase", json!("")),
        json!({ "nonce": 1 }),
    ] {
        submit(&world, &wrong).await.problem(400, "bad-request");
    }
    submit(&world, &with("version", json!(1))).await.problem(422, "bad-version");
    assert_eq!(submit(&world, &good).await.json()["hash"], header.hash().to_string());
}
