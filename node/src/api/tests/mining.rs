use super::*;
use ::chain::{Header, Target};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

fn template(rest: &str) -> String {
    format!("/v1/mining/template?miner={}{rest}", text(address(9)))
}

#[tokio::test]
async fn idle_miner_reports_not_running() {
    let world = World::new().await;
    let max_threads = world.node().jobs.max_threads();
    let nothing = json!({
        "running": false, "jobs": [], "miner": null, "hashrate": 0.0, "hashes": 0, "threads": 0,
        "max_threads": max_threads, "restarts": 0, "kernel": null, "template": null,
        "waiting": null, "blocks_found": 0, "stratum": null, "stratum_urls": [],
        "stratum_workers": [],
    });
    let response = world.get("/v1/mining").await;
    assert_eq!(response.json(), nothing);
    assert!(response.text().contains("\"hashrate\":0.0"), "{}", response.text());
}

#[tokio::test]
async fn running_miner_reports_progress() {
    let world = World::with(|config| {
        config.miner = Some(address(9));
        config.mine = true;
        config.threads = NonZeroUsize::new(2);
        config.kernel = Some(miner::Kernel::Scalar);
    })
    .await;
    let begun = Instant::now();
    let mining = loop {
        let mining = world.get("/v1/mining").await.json();
        if mining["blocks_found"] == 1 {
            break mining;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{mining}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((&mining["threads"], &mining["max_threads"]), (&json!(2), &json!(2)));
    assert_eq!((&mining["miner"], &mining["kernel"]), (&json!(text(address(9))), &json!("scalar")));
    assert!(mining["hashes"].as_u64().unwrap() >= 1);
    let jobs = world.get("/v1/mining/jobs").await.json();
    let job = &jobs["items"][0];
    assert_eq!((&mining["jobs"], &job["priority"]), (&json!([job["id"]]), &json!("lowest")));
}

#[tokio::test]
async fn template_becomes_a_valid_block_with_a_nonce() {
    let world = World::new().await;
    world.submit(&PAY.signed()).await;
    let without = world.get(&template("")).await.json();
    assert!(without.get("block").is_none(), "its bytes are sent on request only");
    let response = world.get(&template("&block=true")).await;
    assert_eq!(response.header(header::CACHE_CONTROL), "no-store");
    let candidate = response.json();
    let genesis = Params::dev().genesis_hash().to_string();
    assert_eq!((&candidate["height"], &candidate["previous"]), (&json!(1), &json!(genesis)));
    assert_eq!(
        (&candidate["fees"], &candidate["reward"]),
        (&json!(1_000), &json!(5_000_001_000_u64))
    );
    assert_eq!(
        (&candidate["bits"], &candidate["transaction_count"]),
        (&json!("207fffff"), &json!(2))
    );
    let mut bytes = hex::decode(candidate["block"].as_str().unwrap()).unwrap();
    let header = candidate["header"].as_str().unwrap();
    assert_eq!((hex::encode(&bytes[..80]), header.len()), (header.to_owned(), 160));
    assert_eq!(candidate["time"], Header::decode(&bytes[..80]).unwrap().time.get());
    // An external miner searches the nonce and submits the block.
    let target = hex::decode(candidate["target"].as_str().unwrap()).unwrap();
    let target = Target::from_be_bytes(target.try_into().unwrap()).unwrap();
    let mut nonce = 0_u32;
    while !target.is_met_by(Header::decode(&bytes[..80]).unwrap().hash().as_bytes()) {
        nonce += 1;
        bytes[76..80].copy_from_slice(&nonce.to_le_bytes());
    }
    let submitted = world.post("/v1/blocks", "application/octet-stream", bytes).await;
    assert_eq!(submitted.json()["status"], "connected");
    let tip = world.get("/v1/blocks/tip").await.json();
    assert_eq!((&tip["miner"], &tip["fees"]), (&json!(text(address(9))), &json!(1_000)));
}

#[tokio::test]
async fn every_template_has_a_distinct_search_space() {
    let world = World::new().await;
    let (one, other) =
        (world.get(&template("")).await.json(), world.get(&template("")).await.json());
    assert_ne!(one["id"], other["id"]);
    assert_ne!(one["header"], other["header"]);
}

#[tokio::test]
async fn template_long_poll_returns_on_a_better_template() {
    let world = World::new().await;
    let id = async || world.get(&template("")).await.json()["id"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let held = template(&format!("&after={}&timeout=100", id().await));
    let transfer = PAY.signed();
    let (better, _) = tokio::join!(world.get(&held), world.submit(&transfer));
    assert_eq!(better.json()["fees"], 1_000, "a transfer came");
    let held = template(&format!("&after={}&timeout=100", id().await));
    let (better, _) = tokio::join!(world.get(&held), world.generate(1, 0));
    assert_eq!(better.json()["height"], 2, "a block came");
    assert_eq!(world.get(&held).await.json()["height"], 2, "it is old already");
    assert!(begun.elapsed() < Duration::from_secs(60));
    let patience = template(&format!("&after={}&timeout=0", id().await));
    assert_eq!(world.get(&patience).await.json()["height"], 2, "nothing came");
}

#[tokio::test]
async fn template_requires_payout_address() {
    let world = World::new().await;
    world.get("/v1/mining/template").await.problem(422, "no-miner");
    let other_network = address(0).encode(Params::main().hrp());
    let path = format!("/v1/mining/template?miner={other_network}");
    world.get(&path).await.problem(400, "bad-request");
    for wrong in ["&after=x", "&after=", "&timeout=121", "&timeout=-1", "&workers=1"] {
        world.get(&template(wrong)).await.problem(400, "bad-request");
    }
    let own = World::with(|config| config.miner = Some(address(3))).await;
    assert_eq!(own.get("/v1/mining/template").await.status, 200);
}

// G03, O07: the node itself would refuse such blocks as too new, so nothing is mined, and every door says
// why.
#[tokio::test]
async fn tip_ahead_of_the_clock_is_a_reason_in_every_place() {
    let world = World::with(|config| config.miner = Some(address(9))).await;
    let shift = async |seconds: i64| {
        world.post_json("/v1/dev/time", &json!({"offset_seconds": seconds})).await.json();
    };
    let call = async || {
        let call = json!({"id": 1, "method": "getblocktemplate", "params": [{}]});
        world.post_json("/", &call).await
    };
    let ahead = 10 * 86_400 - 1_800;
    shift(ahead).await;
    world.generate(1, 0).await;
    let id = world.get(&template("")).await.json()["id"].as_str().unwrap().to_owned();
    // A miner waits for a better template when the clock is set back.
    let waiting = template(&format!("&after={id}&timeout=120"));
    let (waited, ()) = tokio::join!(world.get(&waiting), async {
        tokio::task::yield_now().await;
        shift(0).await;
    });
    let reason = waited.problem(503, "not-ready")["detail"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("the tip is 9 d 23 h ahead of this machine's clock"), "{reason}");

    let same = |found: &Value| {
        let found = found.as_str().unwrap_or_else(|| panic!("{found}"));
        assert!(found.starts_with("the tip is 9 d 23 h ahead of this machine's clock"), "{found}");
    };
    same(&world.get(&template("")).await.problem(503, "not-ready")["detail"]);
    same(&world.get("/readyz").await.problem(503, "not-ready")["detail"]);
    same(&world.get("/v1/mining").await.json()["waiting"]);
    same(&world.get("/v1/chain").await.json()["waiting"]);
    let answer: Value = serde_json::from_slice(&call().await.body).unwrap();
    assert_eq!(answer["error"]["code"], -10);
    same(&answer["error"]["message"]);
    let order = json!({"until": {"height": 5}});
    let job = world.post_json("/v1/mining/jobs", &order).await.json();
    let path = format!("/v1/mining/jobs/{}", job["id"].as_str().unwrap());
    let job = loop {
        let job = world.get(&path).await.json();
        if job["waiting"].is_string() {
            break job;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    same(&job["waiting"]);
    // The API says so as for a submitted block.
    world.post_json("/v1/dev/generate", &json!({"blocks": 1})).await.problem(422, "time-too-new");

    shift(ahead).await;
    assert_eq!(world.get("/readyz").await.status, 200);
    assert_eq!(world.get("/v1/chain").await.json()["waiting"], Value::Null);
    loop {
        let job = world.get(&format!("{path}?wait=30")).await.json();
        if job["state"] == "succeeded" {
            break;
        }
    }
    assert_eq!(world.height().await, 5);
    let rejected = world.get("/metrics").await;
    assert!(!rejected.text().contains("time-too-new"), "{}", rejected.text());
}
