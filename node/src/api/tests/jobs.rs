use super::*;
use std::num::NonZeroUsize;
use std::time::Duration;

const PATH: &str = "/v1/mining/jobs";
/// A time in the year 2100.
const LATER: u64 = 4_102_444_800;

async fn world() -> World {
    World::with(|config| config.threads = NonZeroUsize::new(2)).await
}

impl World {
    /// Creates a job that pays account 9.
    async fn start(&self, mut order: Value) -> Value {
        order["miner"] = json!(text(address(9)));
        let response = self.post_json(PATH, &order).await;
        assert_eq!(response.status, 202, "{}", response.text());
        let job = response.json();
        assert_eq!(response.header(header::LOCATION), path_of(&job));
        job
    }

    /// Waits for the end of a job.
    async fn end_of(&self, job: &Value) -> Value {
        let path = format!("{}?wait=60", path_of(job));
        for _ in 0..3 {
            let job = self.get(&path).await.json();
            if !job["finished_at"].is_null() {
                return job;
            }
        }
        panic!("{job}: not at its end");
    }

    async fn with_key(&self, key: &str, order: &Value) -> TestResponse {
        let request = Request::post(PATH)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", key);
        self.send(request.body(Body::from(order.to_string())).unwrap()).await
    }
}

fn path_of(job: &Value) -> String {
    format!("{PATH}/{}", job["id"].as_str().unwrap())
}

#[tokio::test]
async fn job_is_accepted_immediately_and_retains_its_result() {
    let world = world().await;
    let job = world.start(json!({"blocks": 10})).await;
    assert_eq!((&job["progress"]["blocks_target"], &job["result"]), (&json!(10), &Value::Null));
    assert_eq!((&job["blocks"], &job["threads"]), (&json!(10), &json!(2)));
    let job = world.end_of(&job).await;
    assert_eq!((&job["state"], &job["error"]), (&json!("succeeded"), &Value::Null));
    assert_eq!(job["progress"]["blocks_done"], 10);
    assert!(job["progress"]["hashes"].as_u64().unwrap() >= 10);
    let hashes = job["result"]["blocks"].as_array().unwrap();
    assert_eq!((hashes.len(), world.height().await), (10, 10));
    for (height, hash) in (1..).zip(hashes) {
        let block = world.get(&format!("/v1/blocks/{}", hash.as_str().unwrap())).await.json();
        assert_eq!((&block["height"], &block["miner"]), (&json!(height), &job["miner"]));
        // The chain has the payout address.
        let whole = world.get(&format!("/v1/blocks/{height}?full=true")).await.json();
        let nonce = whole["transactions"][0]["extra_nonce"].as_str().unwrap();
        assert!(nonce.starts_with(job["id"].as_str().unwrap()), "{nonce}");
    }
    // Cancelling an ended job changes nothing.
    for _ in 0..2 {
        assert_eq!(world.delete(&path_of(&job)).await.json(), job);
    }
}

// G06
#[tokio::test]
async fn job_is_cancelled_permanently() {
    let world = world().await;
    let job = world.start(json!({"threads": 1})).await;
    let held = format!("{}?wait=100", path_of(&job));
    let waiting = world.start(json!({"not_before": LATER})).await;
    let held_too = format!("{}?wait=100", path_of(&waiting));
    let (path, path_too) = (path_of(&job), path_of(&waiting));
    let (first, second, response, _) = tokio::join!(
        world.get(&held),
        world.get(&held_too),
        world.delete(&path),
        world.delete(&path_too)
    );
    assert_eq!(response.json()["state"], "cancelled");
    assert_eq!(
        (&first.json()["state"], &second.json()["state"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    let again = world.delete(&path).await.json();
    assert_eq!(
        (&again["state"], &again["finished_at"]),
        (&json!("cancelled"), &response.json()["finished_at"])
    );
    assert_eq!(again["progress"]["threads"], 0);
    tokio::time::timeout(Duration::from_secs(60), async {
        while world.get("/v1/mining").await.json()["threads"] != 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("threads rest");
}

// G05
#[tokio::test]
async fn jobs_share_the_threads_of_the_node() {
    let world = world().await;
    let first = world.start(json!({"threads": 1})).await;
    let second = world.start(json!({})).await;
    let third = world.start(json!({"blocks": 1})).await;
    assert_eq!((&first["state"], &first["progress"]["threads"]), (&json!("running"), &json!(1)));
    assert_eq!((&second["state"], &second["progress"]["threads"]), (&json!("running"), &json!(1)));
    assert_eq!((&third["state"], &third["progress"]["threads"]), (&json!("queued"), &json!(0)));
    assert_eq!(third["waiting"], "all threads are used by other jobs");
    world.delete(&path_of(&first)).await.json();
    let more = world.get(&path_of(&second)).await.json();
    assert_eq!(more["progress"]["threads"], 2);
    world.delete(&path_of(&second)).await.json();
    assert_eq!(world.end_of(&third).await["state"], "succeeded");
}

#[tokio::test]
async fn create_job_rejects_invalid_requests() {
    let world = world().await;
    let miner = text(address(9));
    let unprocessable = [
        json!({"blocks": 0}),
        json!({"blocks": 10_001}),
        json!({"blocks": 1, "until": {"height": 5}}),
        json!({"until": {}}),
        json!({"until": {"height": 5, "time": LATER}}),
        json!({"until": {"height": 1_u64 << 32}}),
        json!({"until": {"time": 1}}),
        json!({"until": {"confirmations": 2}}),
        json!({"until": {"transaction": "00".repeat(32), "confirmations": 0}}),
        json!({"threads": 0}),
        json!({"delay_seconds": 1, "not_before": LATER}),
        json!({"delay_seconds": 1_000_000_000}),
        json!({"blocks": 1, "every_seconds": 0}),
        json!({"every_seconds": 60}),
        json!({"until": {"height": 5}, "every_seconds": 60}),
    ];
    for mut order in unprocessable {
        order["miner"] = json!(miner);
        let problem = world.post_json(PATH, &order).await.problem(422, "invalid-job");
        assert!(problem["detail"].as_str().unwrap().len() > 20, "{problem}");
    }
    let more = json!({"miner": miner, "threads": 3});
    let problem = world.post_json(PATH, &more).await.problem(422, "invalid-job");
    assert_eq!((&problem["expected"], &problem["actual"]), (&json!(2), &json!(3)));
    world.post_json(PATH, &json!({"blocks": 1})).await.problem(422, "no-miner");
    let malformed = [
        json!({"blocks": "1"}),
        json!({"blocks": -1}),
        json!({"blocks": 1.5}),
        json!({"block": 1}),
        json!({"until": 5}),
        json!({"until": {"depth": 5}}),
        json!({"until": {"transaction": "xyz"}}),
        json!({"miner": "me"}),
        json!({"miner": address(9).encode(Params::main().hrp())}),
        json!([]),
    ];
    for mut order in malformed {
        if order.get("miner").is_none() && order.is_object() {
            order["miner"] = json!(miner);
        }
        world.post_json(PATH, &order).await.problem(400, "bad-request");
    }
    world.post(PATH, "application/json", "{").await.problem(400, "bad-request");
    world.post(PATH, "text/plain", "{}").await.problem(415, "unsupported-media-type");
    assert_eq!(world.get(PATH).await.page().0.len(), 0);
}

#[tokio::test]
async fn idempotency_key_returns_the_same_job() {
    let world = world().await;
    let order = json!({"miner": text(address(9)), "blocks": 2, "not_before": LATER});
    let first = world.with_key("order-1", &order).await;
    let again = world.with_key("order-1", &order).await;
    assert_eq!(
        (again.status.as_u16(), again.json()["id"].clone()),
        (202, first.json()["id"].clone())
    );
    assert_eq!(again.header(header::LOCATION), first.header(header::LOCATION));
    let other = json!({"miner": text(address(9)), "blocks": 3, "not_before": LATER});
    world.with_key("order-1", &other).await.problem(422, "idempotency-key-used");
    let second = world.with_key("order-2", &order).await.json();
    assert_ne!(second["id"], first.json()["id"]);
    assert_eq!(world.get(PATH).await.page().0.len(), 2);
    for wrong in ["", &"x".repeat(256)] {
        world.with_key(wrong, &order).await.problem(400, "bad-request");
    }
}

#[tokio::test]
async fn list_has_running_jobs_first_and_folds_the_runs_of_a_recurring_job() {
    let world = world().await;
    let series = world.start(json!({"blocks": 1, "every_seconds": 1})).await;
    assert_eq!(
        (&series["runs"], &series["recent_runs"][0]["state"]),
        (&json!(1), &json!("running"))
    );
    let ended = world.end_of(&world.start(json!({"blocks": 2})).await).await;
    assert_eq!((&ended["ended_runs"], &ended["recent_runs"]), (&Value::Null, &Value::Null));
    let progress = &ended["progress"];
    // Whole batches of hashes count, so that luck says nothing where nearly each hash is a hit.
    let (expected, luck) = (progress["expected_blocks"].as_f64(), &progress["luck"]);
    assert!(expected > Some(1.0) && luck.is_null(), "{progress}");
    let scheduled = world.start(json!({"not_before": LATER})).await;
    let mut updates = world.node().jobs.updates();
    // Each run is reported as a change of the recurring job, too.
    let is_two_runs = |job: &crate::jobs::Job| job.ended_runs.succeeded >= 2;
    while !is_two_runs(
        &world
            .node()
            .jobs
            .job(series["id"].as_str().unwrap().parse().unwrap())
            .await
            .unwrap()
            .unwrap()
            .job,
    ) {
        updates.recv().await.unwrap();
    }
    let query = |query: &str| format!("{PATH}?{query}");
    let ids = async |query: &str| -> Vec<Value> {
        let (items, _) = world.get(query).await.page();
        items.iter().map(|job| job["id"].clone()).collect()
    };
    let (items, _) = world.get(PATH).await.page();
    let listed: Vec<&Value> = items.iter().map(|job| &job["id"]).collect();
    assert_eq!(listed, [&series["id"], &scheduled["id"], &ended["id"]]);
    let now = &items[0];
    let due = now["created_at"].as_u64().unwrap() + now["runs"].as_u64().unwrap();
    assert!(now["next_run"].as_u64() >= Some(due) && now["next_run"] == now["not_before"], "{now}");
    assert!(now["ended_runs"]["succeeded"].as_u64() >= Some(2), "{now}");
    let runs = now["recent_runs"].as_array().unwrap();
    assert!(runs.len() >= 2 && runs[1]["state"] == "succeeded" && runs[1]["blocks_done"] == 1);
    let id = series["id"].as_str().unwrap();
    let of_series = ids(&query(&format!("series={id}&state=succeeded"))).await;
    assert!(of_series.len() >= 2 && of_series.contains(&runs[1]["id"]), "{of_series:?}");
    assert_eq!(ids(&query("state=scheduled")).await, [scheduled["id"].clone()]);
    assert_eq!(ids(&query("state=failed")).await, Vec::<Value>::new());
    for wrong in ["state=done", "state=", "state=Running", "series=", "series=xyz", "serie=1"] {
        world.get(&query(wrong)).await.problem(400, "bad-request");
    }
    for missing in ["00000000", "00000001", ended["id"].as_str().unwrap()] {
        world.get(&query(&format!("series={missing}"))).await.problem(404, "not-found");
    }
    // Cancelling the recurring job ends all its runs.
    let cancelled = world.delete(&path_of(&series)).await.json();
    assert_eq!((&cancelled["state"], &cancelled["next_run"]), (&json!("cancelled"), &Value::Null));
    let (runs, _) = world.get(&query(&format!("series={id}"))).await.page();
    assert!(runs.iter().all(|run| !run["finished_at"].is_null()), "{runs:?}");
    assert_eq!(ids(PATH).await, [&scheduled, &ended, &series].map(|job| job["id"].clone()));
}

// R14
#[tokio::test]
async fn creating_and_cancelling_jobs_requires_token() {
    let world = world().await;
    let job = world.start(json!({"not_before": LATER})).await;
    let bare = |request: axum::http::request::Builder| {
        let request = request.header(header::HOST, "localhost");
        request.header(header::CONTENT_TYPE, "application/json").body(Body::from("{}")).unwrap()
    };
    world.send(bare(Request::post(PATH))).await.problem(401, "unauthorized");
    world.send(bare(Request::delete(path_of(&job)))).await.problem(401, "unauthorized");
    assert_eq!(world.get(&path_of(&job)).await.json()["state"], "scheduled");
    assert_eq!(world.get(PATH).await.page().0.len(), 1);
    let put = world.send(bare(Request::put(PATH))).await;
    put.problem(405, "method-not-allowed");
    assert_eq!(put.header(header::ALLOW), "GET,HEAD,POST");
}

#[tokio::test]
async fn jobs_of_a_state_are_paginated_newest_first() {
    let world = world().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.start(json!({"not_before": LATER})).await["id"].clone());
    }
    ids.reverse();
    let (mut listed, mut next) = (Vec::new(), String::new());
    loop {
        let (items, cursor) = world.get(&format!("{PATH}?limit=2{next}")).await.page();
        listed.extend(items.iter().map(|job| job["id"].clone()));
        match cursor {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => break,
        }
        // New jobs do not move the pages.
        world.start(json!({"not_before": LATER})).await;
    }
    assert_eq!(listed, ids);
    world.get(&format!("{PATH}?cursor=00")).await.problem(400, "bad-request");
    world.get(&format!("{PATH}?limit=0")).await.problem(400, "bad-request");
    for missing in ["00000001", "00000000", "xyz", "1"] {
        world.get(&format!("{PATH}/{missing}")).await.problem(404, "not-found");
        world.delete(&format!("{PATH}/{missing}")).await.problem(404, "not-found");
    }
    let job = world.get(PATH).await.page().0.remove(0);
    for wrong in ["wait=121", "wait=-1", "timeout=1"] {
        world.get(&format!("{}?{wrong}", path_of(&job))).await.problem(400, "bad-request");
    }
    assert_eq!(world.get(&format!("{}?wait=0", path_of(&job))).await.json()["state"], "scheduled");
}

#[tokio::test]
async fn job_updates_report_every_change_of_state() {
    let world = world().await;
    let mut updates = world.node().jobs.updates();
    let job = world.start(json!({"blocks": 2})).await;
    let mut states = Vec::new();
    while states.last().is_none_or(|(state, _): &(String, u64)| state != "succeeded") {
        let update = updates.recv().await.unwrap();
        assert_eq!(update.id.to_string(), job["id"].as_str().unwrap());
        let state = serde_json::to_value(update.state).unwrap();
        states.push((state.as_str().unwrap().to_owned(), update.blocks));
    }
    let expected = [("running", 0), ("running", 1), ("succeeded", 2)];
    assert_eq!(states, expected.map(|(state, blocks)| (state.to_owned(), blocks)));
}
