//! Arbitrary input neither panics nor breaks the order of responses.

use super::*;
use proptest::prelude::*;

/// A valid, truncated or arbitrary line.
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
    let request = (scalar, methods, params).prop_map(|(id, method, params)| {
        json!({ "id": id, "method": method, "params": params }).to_string().into_bytes()
    });
    let truncated = (request.clone(), any::<prop::sample::Index>())
        .prop_map(|(line, at)| line[..at.index(line.len())].to_vec());
    prop_oneof![4 => request, 1 => truncated, 1 => prop::collection::vec(any::<u8>(), 0..300)]
}

proptest! {
    // Q05, Q06
    #[test]
    fn every_request_has_exactly_one_response(
        lines in prop::collection::vec((line(), 0_u32..40, 0_u8..3), 0..40),
    ) {
        let mut miner = Miner::connect(&config());
        for (number, (line, seconds, tip)) in (1..).zip(lines) {
            miner.advance(seconds);
            let actions = miner.session.handle_line(&line, miner.now);
            let parsed: Option<Value> = serde_json::from_slice(&line).ok();
            let id = parsed.filter(|it| it["method"].is_string()).map(|it| it["id"].clone());
            let sent = miner.perform(actions);
            let responses: Vec<_> = sent.iter().filter(|line| line.get("method").is_none()).collect();
            prop_assert!(responses.len() <= 1);
            if let Some(response) = responses.first() {
                prop_assert_eq!(Some(&response["id"]), id.as_ref());
                prop_assert_eq!(sent.first(), Some(*response), "the response is first");
            } else if let Some(id) = id {
                let method = serde_json::from_slice::<Value>(&line).unwrap()["method"].clone();
                prop_assert!(id.is_null() || method == "pong");
            }
            miner.set_template(template(number, tip, NETWORK));
            miner.tick();
        }
    }
}
