//! When what is sent, and to whom.

use super::*;
use proptest::prelude::*;

fn methods(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["method"].as_str().unwrap_or("reply")).collect()
}

#[test]
fn nothing_but_replies_comes_before_the_reply_to_authorize() {
    let mut miner = Miner::connect(&config());
    assert_eq!(miner.offer(work(1, 1, NETWORK)), [] as [Value; 0]);
    miner.say("{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}");
    assert_eq!(miner.offer(work(2, 1, NETWORK)), [] as [Value; 0]);
    let lines = miner.say("{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"A1\",\"\"]}");
    assert_eq!(methods(&lines), ["reply", "mining.set_difficulty", "mining.notify"]);
    assert_eq!(lines[2]["params"][8], json!(true));
    // Again for another name, but not the work.
    let lines = miner.say("{\"id\":3,\"method\":\"mining.authorize\",\"params\":[\"A1.b\",\"\"]}");
    assert_eq!(methods(&lines), ["reply"]);
}

#[test]
fn authorizing_first_is_as_good_and_work_may_come_last() {
    let mut miner = Miner::connect(&config());
    accepted(&miner.ask(1, "mining.authorize", &json!(["A1"])));
    let lines = miner.say("{\"id\":2,\"method\":\"mining.subscribe\"}");
    assert_eq!(methods(&lines), ["reply"]);
    let lines = miner.offer(work(1, 1, NETWORK));
    assert_eq!(methods(&lines), ["mining.set_difficulty", "mining.notify"]);
}

// Q07
#[test]
fn every_step_needs_the_one_before() {
    let config = config();
    let mut other = Miner::at_work(&config, "A2", NETWORK);
    other.offer(work(7, 1, NETWORK));
    let share = other.find(EASY, 1.0);
    let mut miner = Miner::connect(&config);
    miner.offer(work(1, 1, NETWORK));
    refused(&miner.submit("A1", &share), 25);
    miner.ask(1, "mining.subscribe", &json!([]));
    refused(&miner.submit("A1", &share), 24);
    for user in ["", "B1", "1", "<A1>"] {
        let reply = miner.ask(2, "mining.authorize", &json!([user, "x"]));
        assert!(refused(&reply, 24).contains("ADDRESS"));
    }
    refused(&miner.ask(2, "mining.authorize", &json!([])), 24);
    assert_eq!(miner.job, Value::Null);
    accepted(&miner.ask(2, "mining.authorize", &json!(["A1"])));
    refused(&miner.ask(2, "mining.authorize", &json!(["A2"])), 24);
    // A job that only the other was given; a name of nobody here; the other's share of a job
    // that both have.
    assert_eq!(refused(&miner.submit("A1", &share), 21), "Job not found");
    refused(&miner.submit("A2", &share), 24);
    miner.offer(work(7, 1, NETWORK));
    let reply = miner.submit("A1", &share);
    assert!(reply["error"][0] == json!(23) || reply["result"] == json!(true));
    assert_ne!(miner.header("00000001", TIME, 1, 0), other.header("00000001", TIME, 1, 0));
}

#[test]
fn a_job_says_what_the_block_will_be() {
    let miner = Miner::at_work(&config(), "A1", NETWORK);
    let job = miner.job.as_array().unwrap();
    assert_eq!(job.len(), 9);
    let expected = ["04030201080706050c0b0a09", "20000000", "1e123456", "6b49d200"];
    assert!(job[1].as_str().unwrap().starts_with(expected[0]));
    assert_eq!([&job[5], &job[6], &job[7]], [expected[1], expected[2], expected[3]]);
    assert_eq!(job[4], json!(["01".repeat(32), "02".repeat(32), "03".repeat(32)]));
    // Displays look for the script and the outputs where Bitcoin has them.
    let before = hex::decode(job[2].as_str().unwrap()).unwrap();
    assert_eq!((&before[37..41], before[before.len() - 1]), (&[0xff; 4][..], 8));
}

#[test]
fn the_difficulty_is_never_above_the_networks_and_falls_with_it() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    miner.later(10);
    miner.ask(3, "mining.suggest_difficulty", &json!(1e9));
    assert!(miner.difficulty <= NETWORK && miner.difficulty > NETWORK * 0.999_999);
    let lines = miner.offer(work(2, 2, NETWORK / 8.0));
    assert_eq!(methods(&lines), ["mining.set_difficulty", "mining.notify"]);
    assert!(miner.difficulty <= NETWORK / 8.0);
    miner.later(10);
    miner.ask(3, "mining.suggest_difficulty", &json!(1e-300));
    assert!(miner.difficulty >= 2.33e-10, "{}", miner.difficulty);
    for wrong in [json!([]), json!(["x"]), json!([-1]), json!(0), json!({}), json!(null)] {
        refused(&miner.ask(3, "mining.suggest_difficulty", &wrong), 20);
    }
}

#[test]
fn a_miner_that_finds_nothing_is_given_easier_shares() {
    let mut miner = Miner::connect(&config());
    miner.ask(1, "mining.subscribe", &json!([]));
    miner.ask(2, "mining.authorize", &json!(["A1"]));
    miner.offer(work(1, 1, 100.0));
    let (first, job) = (miner.difficulty, miner.job[0].clone());
    miner.later(59);
    assert_eq!(miner.tick(), [] as [Value; 0]);
    miner.later(1);
    assert_eq!(methods(&miner.tick()), ["mining.set_difficulty", "mining.notify"]);
    assert!((first / miner.difficulty - 4.0).abs() < 1e-9);
    assert_ne!(miner.job[0], job);
    assert_eq!(miner.job[8], json!(false));
}

// Q08
#[test]
fn a_connection_that_says_nothing_is_closed() {
    let mut miner = Miner::connect(&config());
    miner.later(59);
    miner.tick();
    assert_eq!(miner.closed, None);
    miner.later(1);
    miner.tick();
    assert_eq!(miner.closed, Some("it does not say who it is"));
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    miner.later(599);
    miner.tick();
    miner.say("{\"method\":\"pong\"}");
    miner.later(599);
    miner.tick();
    assert_eq!(miner.closed, None);
    miner.later(1);
    miner.tick();
    assert_eq!(miner.closed, Some("it is silent"));
}

// Q06
#[test]
fn garbage_and_replies_are_survived_up_to_a_point() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    for harmless in [
        "",
        " \r",
        "{\"id\":7,\"result\":null,\"error\":null}",
        "{\"id\":null,\"method\":\"mining.pong\",\"params\":[]}",
        "{\"id\":4,\"method\":\"pong\",\"params\":[]}",
        "{\"method\":\"client.show_message\",\"params\":[\"hello\"]}",
    ] {
        for _ in 0..20 {
            assert_eq!(miner.say(harmless), [] as [Value; 0], "{harmless}");
        }
    }
    assert_eq!(miner.ask(8, "mining.ping", &json!([]))["result"], "pong");
    refused(&miner.ask(8, "mining.get_transactions", &json!([])), 20);
    let long = "x".repeat(5_000);
    for number in 1..=16 {
        assert_eq!(miner.closed, None);
        let garbage = ["{", "\"x\"", "GET / HTTP/1.1", &long];
        assert_eq!(miner.say(garbage[number % 4]), [] as [Value; 0]);
    }
    assert_eq!(miner.closed, Some("it sends garbage"));
}

#[test]
fn an_id_comes_back_as_it_came() {
    let mut miner = Miner::connect(&config());
    for id in ["null", "1", "-1.5", "\"a\\n\"", "[1]", "{}", "true"] {
        let line = format!("{{\"id\":{id},\"method\":\"mining.ping\"}}");
        assert_eq!(miner.say(&line)[0]["id"].to_string(), id);
    }
}

#[test]
fn a_connection_has_a_bounded_number_of_workers() {
    let mut miner = Miner::at_work(&config(), "A1", NETWORK);
    for number in 1..16 {
        accepted(&miner.ask(3, "mining.authorize", &json!([format!("A1.{number}")])));
    }
    accepted(&miner.ask(3, "mining.authorize", &json!(["A1.3"])));
    refused(&miner.ask(3, "mining.authorize", &json!(["A1.16"])), 24);
}

#[test]
fn version_rolling_is_granted_as_far_as_blocks_allow_it() {
    let mut miner = Miner::connect(&config());
    let mut configure = |params: Value| miner.ask(1, "mining.configure", &params)["result"].clone();
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
        let refused = json!({ "version-rolling": false });
        assert_eq!(configure(json!([["version-rolling"], options])), refused);
    }
    let others = json!([["minimum-difficulty", "info", "subscribe-extranonce", 7], {}]);
    let answer =
        json!({ "minimum-difficulty": false, "info": false, "subscribe-extranonce": true });
    assert_eq!(configure(others), answer);
    refused(&miner.ask(1, "mining.configure", &json!([])), 20);
}

proptest! {
    // Q12
    #[test]
    fn no_two_miners_search_the_same_headers(count in 2_usize..12) {
        let config = config();
        let miners: Vec<_> =
            (0..count).map(|_| Miner::at_work(&config, "A1", NETWORK)).collect();
        let headers: std::collections::HashSet<_> =
            miners.iter().map(|miner| miner.header("00000000", TIME, 0, 0)).collect();
        prop_assert_eq!(headers.len(), count);
    }
}
