//! Workers that mine over REST and JSON-RPC.

use super::rpc::basic;
use super::solutions::solve;
use super::*;

const REWARD: u64 = 5_000_000_000;

fn user(name: &str) -> String {
    format!("{}.{name}", text(address(9)))
}

impl World {
    async fn rest_template(&self, name: &str) -> Value {
        let path = format!("/v1/mining/template?miner={}&worker={name}", text(address(9)));
        self.get(&path).await.json()
    }

    async fn worker(&self, id: &str) -> Value {
        self.get(&format!("/v1/mining/workers/{id}")).await.json()
    }
}

fn counts(worker: &Value) -> [u64; 6] {
    ["accepted", "blocks", "stale", "duplicate", "low", "invalid"]
        .map(|name| worker[name].as_u64().unwrap())
}

#[tokio::test]
async fn rest_rig_is_a_worker_with_its_solutions() {
    let world = World::new().await;
    let given = world.rest_template("rig-1").await;
    let rig = user("rig-1");
    let worker = world.worker(&rig).await;
    assert_eq!((&worker["id"], &worker["name"]), (&json!(rig), &json!("rig-1")));
    assert_eq!((&worker["interface"], &worker["connections"]), (&json!("rest"), &json!(0)));
    assert_eq!(counts(&worker), [0; 6]);
    for unknown in ["best_share", "luck", "expected_seconds", "connected_since"] {
        assert_eq!(worker[unknown], Value::Null, "{unknown}");
    }
    assert!(worker["difficulty"].as_f64().unwrap() > 0.0);
    // What the miner checks by `chain util coinbase`.
    let coinbase = hex::decode(worker["coinbase"].as_str().unwrap()).unwrap();
    let coinbase = ::chain::Coinbase::deserialize(&coinbase).unwrap();
    assert_eq!((coinbase.recipient, coinbase.reward), (address(9), REWARD));

    let (mut solution, header) = solve(&given, [0xab; 8]);
    solution["worker"] = json!("rig-1");
    let submit = async |solution: &Value| world.post_json("/v1/mining/solutions", solution).await;
    // The next nonce that meets no target; half of all do.
    let mut low = solution.clone();
    let mut wrong = header;
    while wrong.bits.target().unwrap().is_met_by(wrong.hash().as_bytes()) {
        wrong.nonce += 1;
    }
    low["nonce"] = json!(wrong.nonce);
    submit(&low).await.problem(422, "high-hash");
    assert_eq!(submit(&solution).await.status, 201);
    assert_eq!(submit(&solution).await.json()["status"], "known");
    let mut stale = solution.clone();
    let id = given["id"].as_str().unwrap();
    stale["template"] = json!(format!("ffff{}", &id[id.find('-').unwrap()..]));
    submit(&stale).await.problem(409, "stale-template");
    let worker = world.worker(&rig).await;
    assert_eq!(counts(&worker), [1, 1, 1, 1, 1, 0]);
    assert_eq!(worker["earnings"], REWARD);
    // A block that is its only share is just what was expected.
    assert!((worker["luck"].as_f64().unwrap() - 1.0).abs() < 1e-9, "{worker}");
    let difficulty = worker["accepted_difficulty"].as_f64().unwrap();
    assert!(worker["best_share"].as_f64().unwrap() >= difficulty, "{worker}");
    assert!(worker["hashrate_1d"].as_f64().unwrap() > 0.0);
    let history = worker["history"].as_array().unwrap();
    let sum = |name: &str| history.iter().map(|hour| hour[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!(["accepted", "blocks", "rejected"].map(sum), [1, 1, 3]);
    // The reward counts while its block is in the best chain.
    world.result("invalidateblock", json!([header.hash().to_string()])).await;
    let worker = world.worker(&rig).await;
    assert_eq!((&worker["earnings"], &worker["blocks"]), (&json!(0), &json!(1)));
    world.result("reconsiderblock", json!([header.hash().to_string()])).await;
    assert_eq!(world.worker(&rig).await["earnings"], REWARD);
    let metrics = world.get("/metrics").await;
    let line = "chain_mining_solutions_total{interface=\"rest\",outcome=\"low\"} 1\n";
    assert!(metrics.text().contains(line), "{}", metrics.text());
}

#[tokio::test]
async fn json_rpc_rig_is_named_by_its_user_name() {
    let world = World::new().await;
    let rig = user("gbt");
    let call = json!({"id": 1, "method": "getblocktemplate", "params": [{}]});
    let given = world.rpc(Some(&basic(&rig, "x")), call).await.json();
    assert_eq!(given["error"], Value::Null);
    assert_eq!(world.worker(&rig).await["interface"], "json-rpc");
    let submit = async |user: &str| {
        let given = world.rest_template("").await;
        let (solution, header) = solve(&given, [1; 8]);
        let mut coinbase = hex::decode(given["coinbase"].as_str().unwrap()).unwrap();
        let at = usize::try_from(given["extra_nonce_at"].as_u64().unwrap()).unwrap();
        coinbase[at..at + 8].copy_from_slice(&[1; 8]);
        let block = [&header.encode()[..], &[1], &coinbase].concat();
        let call =
            json!({"id": 1, "method": "submitblock", "params": [hex::encode(block)]}).to_string();
        let result = world.rpc(Some(&basic(user, "x")), &call).await.json();
        assert_eq!(result["result"], Value::Null, "{result} {solution}");
        let again = world.rpc(Some(&basic(user, "x")), &call).await.json();
        assert_eq!(again["result"], "duplicate");
    };
    submit(&rig).await;
    assert_eq!(counts(&world.worker(&rig).await), [1, 1, 0, 1, 0, 0]);
    // With the credentials of another the payee's own account counts.
    submit(&format!("{}.other", text(address(8)))).await;
    let payee = world.worker(&text(address(9))).await;
    assert_eq!((&payee["name"], counts(&payee)), (&json!(""), [1, 1, 0, 1, 0, 0]));
    assert_eq!(counts(&world.worker(&rig).await), [1, 1, 0, 1, 0, 0]);
    let workers = world.get("/v1/mining/workers").await.json();
    assert_eq!(workers.as_array().unwrap().len(), 2);
    let top = world.get("/v1/mining/workers?top=1").await.json();
    assert_eq!(top.as_array().unwrap().len(), 1);
    for wrong in ["top=0", "top=4097", "top=x", "count=1"] {
        let path = format!("/v1/mining/workers?{wrong}");
        world.get(&path).await.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn whole_block_counts_for_a_payee_that_requests_templates() {
    let world = World::new().await;
    let submit = async |from: &World, height: u32| {
        let raw = from.get(&format!("/v1/blocks/{height}/raw")).await;
        world.post("/v1/blocks", "text/plain", raw.body).await
    };
    let other = World::new().await;
    other.generate(2, 9).await;
    assert_eq!(submit(&other, 1).await.status, 201);
    assert_eq!(world.get("/v1/mining/workers").await.json(), json!([]), "it may be relayed");
    world.rest_template("").await;
    assert_eq!(submit(&other, 2).await.status, 201);
    let worker = world.worker(&text(address(9))).await;
    assert_eq!((counts(&worker), &worker["earnings"]), ([1, 1, 0, 0, 0, 0], &json!(REWARD)));
}

#[tokio::test]
async fn unknown_worker_is_not_found() {
    let world = World::new().await;
    world.get(&format!("/v1/mining/workers/{}", user("x"))).await.problem(404, "not-found");
    world.get("/v1/mining/workers/x").await.problem(400, "bad-request");
}
