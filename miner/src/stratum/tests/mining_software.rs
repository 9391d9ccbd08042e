//! Sessions of deployed mining software, according to its source: the lines it sends and the
//! responses it accepts.

use super::*;

/// Returns the only line, for miners that treat any line as their response.
fn only_line(lines: Vec<Value>) -> Value {
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

/// Checks that the lines are an accepted response, a difficulty and a job, with the types and
/// lengths that miners check.
fn assert_first_job(lines: &[Value]) {
    assert_accepted(&lines[0]);
    let methods: Vec<_> = lines[1..].iter().map(|line| line["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["mining.set_difficulty", "mining.notify"]);
    assert!(lines[1..].iter().all(|line| line["id"].is_null()));
    assert!(lines[1]["params"][0].as_f64().unwrap() > 0.0);
    let job = lines[2]["params"].as_array().unwrap();
    let length = |at: usize| job[at].as_str().unwrap().len();
    assert_eq!([1, 5, 6, 7].map(length), [64, 8, 8, 8]);
    assert!(job[8].is_boolean() && job[4].as_array().unwrap().len() <= 32);
    let coinbase = length(2) + length(3) + 16;
    assert!(coinbase < 512, "some miners store 255 bytes");
}

#[test]
fn pooler_cpuminer() {
    let config = config();
    let mut miner = Miner::connect(&config);
    miner.set_template(template(1, 1, NETWORK));
    let subscribe =
        "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cpuminer/2.5.1\"]}";
    let response = only_line(miner.send(subscribe));
    assert_eq!((&response["id"], &response["error"]), (&json!(1), &Value::Null));
    let session = response["result"][0][1][1].as_str().unwrap().to_owned();
    assert_eq!(response["result"][0][1][0], "mining.notify");
    let authorize = "{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"A1\", \"x\"]}";
    assert_first_job(&miner.send(authorize));
    for nonce in 0..3 {
        let share = Share { nonce: nonce << 24, ..miner.find(0.0, 1.0) };
        let share = miner.find_from(share, 0, miner.difficulty, f64::MAX);
        let Share { job, extra_nonce2, time, nonce } = share;
        assert_accepted(
            &miner.send(&format!(
                "{{\"method\": \"mining.submit\", \"params\": [\"A1\", \"{job}\", \
             \"{extra_nonce2}\", \"{time:08x}\", \"{nonce:08x}\"], \"id\":4}}"
            ))[0],
        );
    }
    // It reconnects with the id of the lost session, then without one.
    drop(miner);
    let mut miner = Miner::connect(&config);
    let subscribe = format!(
        "{{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cpuminer/2.5.1\", \
         \"{session}\"]}}"
    );
    only_line(miner.send(&subscribe));
    assert_eq!(miner.extra_nonce1, session);
    only_line(miner.send("{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": []}"));
    assert_eq!(miner.extra_nonce1, session);
}

#[test]
fn cpuminer_opt() {
    let mut miner = Miner::connect(&config());
    miner.set_template(template(1, 1, NETWORK));
    only_line(miner.send(
        "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cpuminer-opt-26.1-x64L\"]}",
    ));
    assert_first_job(
        &miner
            .send("{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"A1.rig\", \"x\"]}"),
    );
    let extranonce = "{\"id\": 3, \"method\": \"mining.extranonce.subscribe\", \"params\": []}";
    assert_accepted(&only_line(miner.send(extranonce)));
    let keepalive =
        "{\"id\": 1, \"method\": \"mining.suggest_difficulty\", \"params\": [\"0.000000001\"]}";
    let lines = miner.send(keepalive);
    assert_accepted(&lines[0]);
    assert_eq!(only_line(miner.send(keepalive)), lines[0], "it repeats this every minute");
    let share = miner.find(miner.difficulty, 1.0);
    assert_accepted(&miner.submit("A1.rig", &share));
    // Its response to unknown messages.
    let unknown = "{\"id\":4,\"error\":[38,\"unknown method\",null],\"result\":null}";
    assert_eq!(miner.send(unknown), [] as [Value; 0]);
}

#[test]
fn esp_miner() {
    let mut miner = Miner::connect(&config());
    miner.set_template(template(1, 1, NETWORK));
    // It sends all three before the first response.
    let configure = "{\"id\": 1, \"method\": \"mining.configure\", \"params\": \
                     [[\"version-rolling\"], {\"version-rolling.mask\": \"ffffffff\"}]}";
    let granted = json!({ "version-rolling": true, "version-rolling.mask": "1fffe000" });
    assert_eq!(only_line(miner.send(configure))["result"], granted);
    only_line(miner.send(
        "{\"id\": 2, \"method\": \"mining.subscribe\", \"params\": [\"bitaxe/BM1370/v2.9.0\"]}",
    ));
    assert_first_job(
        &miner.send(
            "{\"id\": 3, \"method\": \"mining.authorize\", \"params\": [\"A1.bitaxe\", \"x\"]}",
        ),
    );
    let lines =
        miner.send("{\"id\": 4, \"method\": \"mining.suggest_difficulty\", \"params\": [1000]}");
    assert_accepted(&lines[0]);
    assert!(miner.difficulty <= NETWORK);
    let bits = 0x0a5a_2000;
    let share =
        miner.find_from(Share { nonce: 0, ..miner.find(0.0, 1.0) }, bits, miner.difficulty, 1.0);
    let Share { job, extra_nonce2, time, nonce } = share;
    assert_accepted(
        &miner.send(&format!(
            "{{\"id\": 5, \"method\": \"mining.submit\", \"params\": [\"A1.bitaxe\", \"{job}\", \
         \"{extra_nonce2}\", \"{time:08x}\", \"{nonce:08x}\", \"{bits:08x}\"]}}"
        ))[0],
    );
    assert_eq!(miner.blocks[0].header.version.cast_unsigned(), 0x2000_0000 | bits);
}

#[test]
fn nerd_miner() {
    let mut miner = Miner::connect(&config());
    miner.set_template(template(1, 1, NETWORK));
    only_line(miner.send(
        "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"NerdMinerV2/1.8.0\"]}",
    ));
    let user = "A1.nerd";
    assert_first_job(&miner.send(&format!(
        "{{\"params\": [\"{user}\", \"x\"], \"id\": 2, \"method\": \"mining.authorize\"}}"
    )));
    let suggest = "{\"id\": 3, \"method\": \"mining.suggest_difficulty\", \"params\": [1e-09]}";
    assert_accepted(&miner.send(suggest)[0]);
    assert!((miner.difficulty - 1e-9).abs() < 1e-20);
    // Its nonce has no leading zeros.
    let share = miner.find(1e-9, 1.0);
    let Share { job, time, nonce, .. } = &share;
    assert!(format!("{nonce:x}").len() < 8);
    let submit = format!(
        "{{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"{user}\",\"{job}\",\"00000001\",\
         \"{time:x}\",\"{nonce:x}\"]}}"
    );
    assert_accepted(&miner.send(&submit)[0]);
    // It treats `result: false, error: null` as accepted.
    let response = miner.send(&submit)[0].clone();
    assert!(response["error"].is_array());
    miner.advance(30);
    assert_eq!(miner.send(suggest).len(), 1, "every 30 seconds without a share");
}

#[test]
fn cgminer() {
    let mut miner = Miner::connect(&config());
    miner.set_template(template(1, 1, NETWORK));
    let configure = "{\"id\": 0, \"method\": \"mining.configure\", \"params\": \
                     [[\"version-rolling\"], {\"version-rolling.mask\": \"1fffe000\", \
                     \"version-rolling.min-bit-count\": 2}]}";
    let response = only_line(miner.send(configure));
    assert_eq!(response["result"]["version-rolling"], json!(true), "it disconnects otherwise");
    only_line(miner.send(
        "{\"id\": 1, \"method\": \"mining.subscribe\", \"params\": [\"cgminer/4.11.1\", \"77\"]}",
    ));
    assert_first_job(
        &miner
            .send("{\"id\": 2, \"method\": \"mining.authorize\", \"params\": [\"A1.s9\", \"x\"]}"),
    );
    assert_accepted(
        &miner.send("{\"id\": 3, \"method\": \"mining.suggest_difficulty\", \"params\": [1]}")[0],
    );
    // Some of its drivers roll the time.
    let time = TIME + 40;
    let rolled = miner.find_from(
        Share { time, nonce: 0, ..miner.find(0.0, 1.0) },
        0x2000,
        miner.difficulty,
        f64::MAX,
    );
    let Share { job, extra_nonce2, nonce, .. } = &rolled;
    let params = json!([
        "A1.s9",
        job,
        extra_nonce2,
        format!("{time:08x}"),
        format!("{nonce:08x}"),
        "00002000"
    ]);
    assert_accepted(&miner.request(4, "mining.submit", &params));
    assert_accepted(&miner.submit("A1.s9", &miner.find(miner.difficulty, f64::MAX)));
}
