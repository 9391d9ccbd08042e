//! Whatever is sent, the machine goes on.

use super::*;
use proptest::prelude::*;

/// A line that a miner might have meant.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let methods = prop::sample::select(vec![
        "mining.subscribe",
        "mining.authorize",
        "mining.configure",
        "mining.submit",
        "mining.suggest_difficulty",
        "mining.extranonce.subscribe",
        "mining.ping",
        "pong",
        "x",
    ]);
    let scalar = prop::sample::select(vec![
        json!(null),
        json!(0),
        json!(-1),
        json!(1e308),
        json!("A1"),
        json!("A1.\u{0}<"),
        json!("100"),
        json!("00000000"),
        json!("ffffffff"),
        json!("FFFFFFFFF"),
        json!(["version-rolling", 7]),
        json!({ "version-rolling.mask": "1fffe000", "version-rolling.min-bit-count": -1 }),
        json!([[[[]]]]),
        json!(true),
    ]);
    let params = prop::collection::vec(scalar.clone(), 0..8).prop_map(Value::Array);
    let params = prop_oneof![params, scalar.clone()];
    let meant = (scalar, methods, params).prop_map(|(id, method, params)| {
        json!({ "id": id, "method": method, "params": params }).to_string().into_bytes()
    });
    let cut = (meant.clone(), any::<prop::sample::Index>())
        .prop_map(|(line, at)| line[..at.index(line.len())].to_vec());
    prop_oneof![4 => meant, 1 => cut, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

proptest! {
    // Q05, Q06
    #[test]
    fn arbitrary_lines_neither_panic_nor_leave_a_request_without_its_one_reply(
        lines in prop::collection::vec((line(), 0_u32..40, 0_u8..3), 0..40),
    ) {
        let mut miner = Miner::connect(&config());
        for (number, (line, seconds, tip)) in (1..).zip(lines) {
            miner.later(seconds);
            let sent = miner.session.handle_line(&line, miner.now);
            let request: Option<Value> = serde_json::from_slice(&line).ok();
            let id = request.filter(|it| it["method"].is_string()).map(|it| it["id"].clone());
            let sent = miner.take(sent);
            let replies: Vec<_> = sent.iter().filter(|line| line.get("method").is_none()).collect();
            prop_assert!(replies.len() <= 1);
            if let Some(reply) = replies.first() {
                prop_assert_eq!(Some(&reply["id"]), id.as_ref());
                prop_assert_eq!(sent.first(), Some(*reply), "the reply comes first");
            } else if let Some(id) = id {
                let method = serde_json::from_slice::<Value>(&line).unwrap()["method"].clone();
                prop_assert!(id.is_null() || method == "pong");
            }
            miner.offer(work(number, tip, NETWORK));
            miner.tick();
        }
    }
}
