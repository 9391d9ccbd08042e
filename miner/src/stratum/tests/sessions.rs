//! Handshake, jobs, difficulty and time-outs of a session.

use super::*;
use proptest::prelude::*;

fn methods(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["method"].as_str().unwrap_or("response")).collect()
}

#[test]
fn sends_only_responses_until_authorized() {
    let mut miner = Miner::connect(&config());
    assert_eq!(miner.set_template(template(1, 1, NETWORK)), [] as [Value; 0]);
    miner.send("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}");
    assert_eq!(miner.set_template(template(2, 1, NETWORK)), [] as [Value; 0]);
    let lines = miner.send("{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"A1\",\"\"]}");
    assert_eq!(methods(&lines), ["response", "mining.set_difficulty", "mining.notify"]);
    assert_eq!(lines[2]["params"][8], json!(true));
    // Another name is authorized without another job.
    let lines = miner.send("{\"id\":3,\"method\":\"mining.authorize\",\"params\":[\"A1.b\",\"\"]}");
    assert_eq!(methods(&lines), ["response"]);
}

#[test]
fn accepts_authorize_before_subscribe_and_template_last() {
    let mut miner = Miner::connect(&config());
    assert_accepted(&miner.request(1, "mining.authorize", &json!(["A1"])));
    let lines = miner.send("{\"id\":2,\"method\":\"mining.subscribe\"}");
    assert_eq!(methods(&lines), ["response"]);
    let lines = miner.set_template(template(1, 1, NETWORK));
    assert_eq!(methods(&lines), ["mining.set_difficulty", "mining.notify"]);
}

// G03: while no block can be mined, miners are shown the reason, get no jobs, and only a block counts.
#[test]
fn suspended_session_shows_the_reason_and_submits_only_blocks() {
    let config = config();
    let mut miner = Miner::authorized(&config, "A1", NETWORK);
    let (share, block) = (miner.find(EASY, NETWORK), miner.find(NETWORK, f64::INFINITY));
    let lines = miner.suspend("the tip is ahead");
    assert_eq!(methods(&lines), ["client.show_message"]);
    assert_eq!(lines[0]["params"], json!(["the tip is ahead"]));
    assert_eq!(miner.tick(), [] as [Value; 0]);
    assert!(assert_rejected(&miner.submit("A1", &share), 20).contains("No block can be mined"));
    assert_accepted(&miner.submit("A1", &block));
    assert_eq!(miner.blocks.len(), 1);

    // A miner that connects meanwhile is shown it once it is authorized.
    let mut later = Miner::connect(&config);
    assert_eq!(later.suspend("the disk is full"), [] as [Value; 0]);
    let subscribe = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}";
    assert_eq!(methods(&later.send(subscribe)), ["response"]);
    let authorize = "{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"A1\",\"\"]}";
    assert_eq!(methods(&later.send(authorize)), ["response", "client.show_message"]);

    let lines = miner.set_template(template(2, 1, NETWORK));
    assert_eq!(methods(&lines), ["mining.notify"]);
    assert_accepted(&miner.submit("A1", &miner.find(EASY, NETWORK)));
}

// G03
#[test]
fn job_after_the_clock_was_set_back_replaces_those_before() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    let template = |id: u32, time: u32| {
        let coinbase = template(id, 1, NETWORK).source().0.clone();
        let header = Header { time: Timestamp::new(time), ..template(1, 1, NETWORK).header };
        let (branch, target) =
            (template(1, 1, NETWORK).branch.clone(), template(1, 1, NETWORK).target);
        Arc::new(BlockTemplate::new(
            id,
            header,
            branch,
            target,
            Timestamp::new(TIME - 5_000),
            TestSource(coinbase),
        ))
    };
    let is_clean = |lines: &[Value]| lines[0]["params"][8].clone();
    assert_eq!(is_clean(&miner.set_template(template(2, TIME + 1))), json!(false));
    assert_eq!(is_clean(&miner.set_template(template(3, TIME - 3_600))), json!(true));
}

// Q07
#[test]
fn enforces_the_order_of_the_handshake() {
    let config = config();
    let mut other = Miner::authorized(&config, "A2", NETWORK);
    other.set_template(template(7, 1, NETWORK));
    let share = other.find(EASY, 1.0);
    let mut miner = Miner::connect(&config);
    miner.set_template(template(1, 1, NETWORK));
    assert_rejected(&miner.submit("A1", &share), 25);
    miner.request(1, "mining.subscribe", &json!([]));
    assert_rejected(&miner.submit("A1", &share), 24);
    for user in ["", "B1", "1", "<A1>"] {
        let response = miner.request(2, "mining.authorize", &json!([user, "x"]));
        assert!(assert_rejected(&response, 24).contains("ADDRESS"));
    }
    assert_rejected(&miner.request(2, "mining.authorize", &json!([])), 24);
    assert_eq!(miner.job, Value::Null);
    assert_accepted(&miner.request(2, "mining.authorize", &json!(["A1"])));
    assert_rejected(&miner.request(2, "mining.authorize", &json!(["A2"])), 24);
    // A job sent to the other session only; a worker of the other session; the other session's
    // share of a job that both have.
    assert_eq!(assert_rejected(&miner.submit("A1", &share), 21), "Job not found");
    assert_rejected(&miner.submit("A2", &share), 24);
    miner.set_template(template(7, 1, NETWORK));
    let response = miner.submit("A1", &share);
    assert!(response["error"][0] == json!(23) || response["result"] == json!(true));
    assert_ne!(miner.header("00000001", TIME, 1, 0), other.header("00000001", TIME, 1, 0));
}

#[test]
fn job_contains_the_fields_of_the_block() {
    let miner = Miner::authorized(&config(), "A1", NETWORK);
    let job = miner.job.as_array().unwrap();
    assert_eq!(job.len(), 9);
    let expected = ["04030201080706050c0b0a09", "20000000", "1e123456", "6b49d200"];
    assert!(job[1].as_str().unwrap().starts_with(expected[0]));
    assert_eq!([&job[5], &job[6], &job[7]], [expected[1], expected[2], expected[3]]);
    assert_eq!(job[4], json!(["01".repeat(32), "02".repeat(32), "03".repeat(32)]));
    // Displays of miners expect the script and the outputs at the offsets of Bitcoin.
    let before = hex::decode(job[2].as_str().unwrap()).unwrap();
    assert_eq!((&before[37..41], before[before.len() - 1]), (&[0xff; 4][..], 8));
}

#[test]
fn difficulty_is_at_most_that_of_the_network() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    miner.advance(10);
    miner.request(3, "mining.suggest_difficulty", &json!(1e9));
    assert!(miner.difficulty <= NETWORK && miner.difficulty > NETWORK * 0.999_999);
    let lines = miner.set_template(template(2, 2, NETWORK / 8.0));
    assert_eq!(methods(&lines), ["mining.set_difficulty", "mining.notify"]);
    assert!(miner.difficulty <= NETWORK / 8.0);
    miner.advance(10);
    miner.request(3, "mining.suggest_difficulty", &json!(1e-300));
    assert!(miner.difficulty >= 2.33e-10, "{}", miner.difficulty);
    for wrong in [json!([]), json!(["x"]), json!([-1]), json!(0), json!({}), json!(null)] {
        assert_rejected(&miner.request(3, "mining.suggest_difficulty", &wrong), 20);
    }
}

#[test]
fn lowers_difficulty_without_shares() {
    let mut miner = Miner::connect(&config());
    miner.request(1, "mining.subscribe", &json!([]));
    miner.request(2, "mining.authorize", &json!(["A1"]));
    miner.set_template(template(1, 1, 100.0));
    let (first, job) = (miner.difficulty, miner.job[0].clone());
    miner.advance(59);
    assert_eq!(miner.tick(), [] as [Value; 0]);
    miner.advance(1);
    assert_eq!(methods(&miner.tick()), ["mining.set_difficulty", "mining.notify"]);
    assert!((first / miner.difficulty - 4.0).abs() < 1e-9);
    assert_ne!(miner.job[0], job);
    assert_eq!(miner.job[8], json!(false));
}

// Q08
#[test]
fn disconnects_silent_miners() {
    let mut miner = Miner::connect(&config());
    miner.advance(59);
    miner.tick();
    assert_eq!(miner.disconnected, None);
    miner.advance(1);
    miner.tick();
    assert_eq!(miner.disconnected, Some("authorization timeout"));
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    miner.advance(599);
    miner.tick();
    miner.send("{\"method\":\"pong\"}");
    miner.advance(599);
    miner.tick();
    assert_eq!(miner.disconnected, None);
    miner.advance(1);
    miner.tick();
    assert_eq!(miner.disconnected, Some("idle timeout"));
}

// Q06
#[test]
fn ignores_responses_and_disconnects_after_malformed_lines() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    for ignored in [
        "",
        " \r",
        "{\"id\":7,\"result\":null,\"error\":null}",
        "{\"id\":null,\"method\":\"mining.pong\",\"params\":[]}",
        "{\"id\":4,\"method\":\"pong\",\"params\":[]}",
        "{\"method\":\"client.show_message\",\"params\":[\"hello\"]}",
    ] {
        for _ in 0..20 {
            assert_eq!(miner.send(ignored), [] as [Value; 0], "{ignored}");
        }
    }
    assert_eq!(miner.request(8, "mining.ping", &json!([]))["result"], "pong");
    assert_rejected(&miner.request(8, "mining.get_transactions", &json!([])), 20);
    let long = "x".repeat(5_000);
    for number in 1..=16 {
        assert_eq!(miner.disconnected, None);
        let malformed = ["{", "\"x\"", "GET / HTTP/1.1", &long];
        assert_eq!(miner.send(malformed[number % 4]), [] as [Value; 0]);
    }
    assert_eq!(miner.disconnected, Some("too many malformed lines"));
}

#[test]
fn returns_the_request_id_unchanged() {
    let mut miner = Miner::connect(&config());
    for id in ["null", "1", "-1.5", "\"a\\n\"", "[1]", "{}", "true"] {
        let line = format!("{{\"id\":{id},\"method\":\"mining.ping\"}}");
        assert_eq!(miner.send(&line)[0]["id"].to_string(), id);
    }
}

#[test]
fn limits_workers_per_session() {
    let mut miner = Miner::authorized(&config(), "A1", NETWORK);
    for number in 1..16 {
        assert_accepted(&miner.request(3, "mining.authorize", &json!([format!("A1.{number}")])));
    }
    assert_accepted(&miner.request(3, "mining.authorize", &json!(["A1.3"])));
    assert_rejected(&miner.request(3, "mining.authorize", &json!(["A1.16"])), 24);
}

#[test]
fn grants_version_rolling_within_the_rolling_bits() {
    let mut miner = Miner::connect(&config());
    let mut configure =
        |params: Value| miner.request(1, "mining.configure", &params)["result"].clone();
    let all = json!({ "version-rolling": true, "version-rolling.mask": "1fffe000" });
    for options in [
        json!({ "version-rolling.mask": "ffffffff" }),
        json!({ "version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": 2 }),
        json!({ "version-rolling.min-bit-count": 16 }),
        json!({}),
    ] {
        assert_eq!(configure(json!([["version-rolling"], options])), all, "{options}");
    }
    assert_eq!(configure(json!([["version-rolling"]])), all);
    for options in [
        json!({ "version-rolling.mask": "00001fff" }),
        json!({ "version-rolling.min-bit-count": 17 }),
        json!({ "version-rolling.mask": "x" }),
    ] {
        let rejected = json!({ "version-rolling": false });
        assert_eq!(configure(json!([["version-rolling"], options])), rejected);
    }
    let others = json!([["minimum-difficulty", "info", "subscribe-extranonce", 7], {}]);
    let expected =
        json!({ "minimum-difficulty": false, "info": false, "subscribe-extranonce": true });
    assert_eq!(configure(others), expected);
    assert_rejected(&miner.request(1, "mining.configure", &json!([])), 20);
}

proptest! {
    // Q12
    #[test]
    fn miners_search_distinct_headers(count in 2_usize..12) {
        let config = config();
        let miners: Vec<_> =
            (0..count).map(|_| Miner::authorized(&config, "A1", NETWORK)).collect();
        let headers: std::collections::HashSet<_> =
            miners.iter().map(|miner| miner.header("00000000", TIME, 0, 0)).collect();
        prop_assert_eq!(headers.len(), count);
    }
}

#[test]
fn suggested_target_and_password_set_the_difficulty() {
    let config = config();
    let mut miner = Miner::connect(&config);
    miner.set_template(template(1, 1, 1e6));
    let target = Difficulty::new(2.0).unwrap().target();
    let suggested = miner.request(0, "mining.suggest_target", &json!([target.to_string()]));
    assert_eq!(suggested["result"], true);
    let refused = miner.request(1, "mining.suggest_target", &json!(["00ff"]));
    assert_eq!(refused["error"][0], 20);
    miner.request(2, "mining.subscribe", &json!(["test"]));
    miner.request(3, "mining.authorize", &json!(["A1", "x"]));
    assert_eq!(json!(miner.difficulty), 2.0);

    let mut miner = Miner::connect(&config);
    miner.set_template(template(1, 1, 1e6));
    miner.request(0, "mining.subscribe", &json!(["test"]));
    miner.request(1, "mining.authorize", &json!(["A1", "x,d=512"]));
    assert_eq!(json!(miner.difficulty), 512.0);
    // Bounded by the network.
    let mut miner = Miner::connect(&config);
    miner.set_template(template(1, 1, 100.0));
    miner.request(0, "mining.subscribe", &json!(["test"]));
    miner.request(1, "mining.authorize", &json!(["A1", "d=512"]));
    assert_eq!(json!(miner.difficulty), 100.0);
}

#[test]
fn difficulty_stays_above_the_minimum_of_the_miner() {
    let mut miner = Miner::connect(&config());
    miner.set_template(template(1, 1, 1e6));
    let extensions = json!([["minimum-difficulty"], {"minimum-difficulty.value": 64}]);
    let configured = miner.request(0, "mining.configure", &extensions);
    assert_eq!(configured["result"]["minimum-difficulty"], true);
    miner.request(1, "mining.subscribe", &json!(["test"]));
    miner.request(2, "mining.authorize", &json!(["A1", "x"]));
    assert_eq!(json!(miner.difficulty), 64.0);
    // Without shares, the difficulty falls to the minimum only.
    miner.advance(61);
    miner.tick();
    assert_eq!(json!(miner.difficulty), 64.0);
    let wrong = json!([["minimum-difficulty"], {"minimum-difficulty.value": 0}]);
    let configured = miner.request(3, "mining.configure", &wrong);
    assert_eq!(configured["result"]["minimum-difficulty"], false);
}

/// The worker A1.rig after twelve accepted shares.
fn miner_with_twelve_shares(config: &Arc<SessionConfig<TestSource>>) -> Miner {
    let mut miner = Miner::authorized(config, "A1.rig", 1e6);
    let mut share = miner.find(EASY, 1e6);
    for _ in 0..12 {
        assert_accepted(&miner.submit("A1.rig", &share));
        share = miner.find_from(Share { nonce: share.nonce + 1, ..share }, 0, EASY, 1e6);
    }
    miner
}

#[test]
fn worker_that_reconnects_starts_at_its_last_difficulty() {
    let config = config();
    // Twelve shares in two seconds are too many.
    let mut miner = miner_with_twelve_shares(&config);
    miner.advance(2);
    miner.tick();
    let measured = miner.difficulty;
    assert!(measured > EASY);
    drop(miner);
    let connect = |user: &str| {
        let mut miner = Miner::connect(&config);
        miner.set_template(template(2, 1, 1e6));
        miner.request(0, "mining.subscribe", &json!(["test"]));
        miner.request(1, "mining.authorize", &json!([user, "x"]));
        miner.difficulty
    };
    assert!((connect("A1.rig") / measured - 1.0).abs() < 1e-9);
    assert_eq!(json!(connect("A1.other")), 0.002);
}

// Anyone who knows an address could have its worker start at a difficulty that it never meets.
#[test]
fn suggested_difficulty_is_not_remembered_for_the_worker() {
    let config = config();
    let mut miner = miner_with_twelve_shares(&config);
    miner.advance(11);
    miner.tick();
    miner.request(3, "mining.suggest_difficulty", &json!(1e5));
    assert!(miner.difficulty > 9e4);
    drop(miner);
    let mut next = Miner::connect(&config);
    next.set_template(template(2, 1, 1e6));
    next.request(0, "mining.subscribe", &json!(["test"]));
    next.request(1, "mining.authorize", &json!(["A1.rig", "x"]));
    assert_eq!(json!(next.difficulty), 0.002);
}

// Miners show only that the authorization failed, and people do not find out why.
#[test]
fn first_user_name_without_an_address_is_reported_once() {
    let mut miner = Miner::connect(&config());
    for (id, user) in ["worker1", "bc1qsomething", &"x".repeat(1_000)].iter().enumerate() {
        let response = miner.request(id as u64, "mining.authorize", &json!([user, "x"]));
        assert_eq!(response["error"][0], 24, "{user}");
    }
    assert_eq!(miner.rejected_users, ["worker1"]);
    let mut miner = Miner::connect(&config());
    miner.request(0, "mining.authorize", &json!(["\u{1f600}".repeat(1_000), "x"]));
    assert_eq!(miner.rejected_users[0].chars().count(), 100);
}
