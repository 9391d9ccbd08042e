use super::*;
use ::chain::hash::sha256d;
use ::chain::tx::Id;
use ::chain::{Coinbase, Header, Target};

/// Solves a template as an external miner does: chooses an extra nonce and finds a nonce.
fn solve(candidate: &Value, extra_nonce: [u8; 8]) -> (Value, Header) {
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
