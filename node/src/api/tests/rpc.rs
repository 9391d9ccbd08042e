//! JSON-RPC: its two versions, batches, credentials, and each method against the REST API.

use super::*;
use ::axum::extract::ConnectInfo;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The header of HTTP Basic.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

impl World {
    /// Sends a body to `POST /`.
    pub(super) async fn rpc(
        &self,
        authorization: Option<&str>,
        body: impl ToString,
    ) -> TestResponse {
        let mut request = Request::post("/").header(header::HOST, "localhost");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// The result of a call of version 1.0 with the token.
    pub(super) async fn result(&self, method: &str, params: Value) -> Value {
        let response = self.call(method, params).await;
        assert_eq!(response["error"], Value::Null, "{method}: {response}");
        response["result"].clone()
    }

    /// The code of the error of a call with the token.
    async fn error(&self, method: &str, params: Value) -> i64 {
        let response = self.call(method, params).await;
        assert_eq!(response["result"], Value::Null, "{method}: {response}");
        response["error"]["code"].as_i64().unwrap()
    }

    async fn call(&self, method: &str, params: Value) -> Value {
        let call = json!({"method": method, "params": params, "id": "x"});
        let response = self.rpc(Some(&basic("token", &self.token)), call).await.json();
        assert_eq!(response["id"], "x");
        response
    }
}

#[tokio::test]
async fn responses_follow_the_version_of_the_call() {
    let world = World::new().await;
    let respond = async |call: Value| world.rpc(None, call).await.json();
    for (call, expected) in [
        (
            json!({"method": "getblockcount", "params": [], "id": 7}),
            json!({"result": 0, "error": null, "id": 7}),
        ),
        (json!({"method": "getblockcount"}), json!({"result": 0, "error": null, "id": null})),
        (
            json!({"jsonrpc": "1.0", "method": "getblockcount", "id": {"a": [1, null]}}),
            json!({"result": 0, "error": null, "id": {"a": [1, null]}}),
        ),
        (
            json!({"jsonrpc": "2.0", "method": "getblockcount", "params": {}, "id": "a"}),
            json!({"jsonrpc": "2.0", "result": 0, "id": "a"}),
        ),
        (
            json!({"jsonrpc": "2.0", "method": "getblockcount", "id": null}),
            json!({"jsonrpc": "2.0", "result": 0, "id": null}),
        ),
    ] {
        assert_eq!(respond(call.clone()).await, expected, "{call}");
    }
    let error =
        respond(json!({"jsonrpc": "2.0", "method": "getblockhash", "params": [9], "id": 1}));
    let message = "block height 9 out of range";
    let expected = json!({"jsonrpc": "2.0", "error": {"code": -8, "message": message}, "id": 1});
    assert_eq!(error.await, expected);
    for (body, code) in [
        ("{", -32_700),
        ("[]", -32_600),
        ("7", -32_600),
        ("{\"jsonrpc\": \"3.0\", \"method\": \"getblockcount\", \"id\": 1}", -32_600),
        ("{\"id\": 1}", -32_600),
        ("{\"method\": 5, \"id\": 1}", -32_600),
        ("{\"method\": \"getwork\", \"id\": 1}", -32_601),
        ("{\"method\": \"getblockcount\", \"params\": [1]}", -32_602),
        ("{\"method\": \"getblockhash\", \"params\": {\"Height\": 1}}", -32_602),
        ("{\"method\": \"getblockhash\", \"params\": [\"1\"]}", -3),
        ("{\"method\": \"getblockhash\", \"params\": {\"height\": -1}}", -8),
    ] {
        let response = world.rpc(None, body).await.json();
        assert_eq!((&response["error"]["code"], &response["result"]), (&json!(code), &Value::Null));
    }
}

#[tokio::test]
async fn notification_has_no_response() {
    let world = World::new().await;
    let token = basic("token", &world.token);
    let miner = text(address(1));
    let generate = json!({
        "jsonrpc": "2.0", "method": "generatetoaddress", "params": [1, miner],
    });
    let response = world.rpc(Some(&token), &generate).await;
    assert_eq!((response.status, response.body.len()), (StatusCode::NO_CONTENT, 0));
    assert_eq!(world.height().await, 1);
    let unknown = json!({"jsonrpc": "2.0", "method": "unknown"});
    assert_eq!(world.rpc(None, &unknown).await.status, StatusCode::NO_CONTENT);
    let response = world.rpc(Some(&token), json!([generate, generate])).await;
    assert_eq!((response.status, world.height().await), (StatusCode::NO_CONTENT, 3));
    // Only the other calls of a batch have responses.
    let count = json!({"jsonrpc": "2.0", "method": "getblockcount", "id": 5});
    let responses = world.rpc(None, json!([unknown, count])).await.json();
    assert_eq!(responses, json!([{"jsonrpc": "2.0", "result": 3, "id": 5}]));
}

#[tokio::test]
async fn batch_responds_in_order_and_is_bounded() {
    let world = World::new().await;
    world.generate(2, 0).await;
    let hash =
        |height: u32, id: u32| json!({"method": "getblockhash", "params": [height], "id": id});
    let batch =
        json!([hash(2, 1), hash(1, 2), hash(9, 3), 7, {"method": "getblockcount", "id": 4}]);
    let responses = world.rpc(None, batch).await.json();
    let ids: Vec<_> = responses.as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
    assert_eq!(ids, [json!(1), json!(2), json!(3), Value::Null, json!(4)]);
    let tip = world.get("/v1/blocks/tip").await.json();
    assert_eq!(responses[0]["result"], tip["hash"]);
    assert_eq!(responses[1]["result"], tip["previous"]);
    assert_eq!(responses[2]["error"]["code"], -8);
    assert_eq!(responses[3]["error"]["code"], -32_600);
    assert_eq!(responses[4]["result"], 2);

    let count = json!({"method": "getblockcount", "id": 0});
    let longest = world.rpc(None, Value::from(vec![count.clone(); 1_000])).await.json();
    assert_eq!(longest.as_array().unwrap().len(), 1_000);
    let too_long = world.rpc(None, Value::from(vec![count; 1_001])).await.json();
    assert_eq!(too_long["error"]["code"], -32_600);

    let long_poll = json!({
        "method": "getblocktemplate", "id": 1,
        "params": [{"longpollid": format!("{}0", tip["hash"].as_str().unwrap())}],
    });
    let responses = world.rpc(Some(&basic(&text(address(1)), "")), json!([long_poll])).await.json();
    assert_eq!(responses[0]["error"]["code"], -8);
}

// R28
#[tokio::test]
async fn batch_ends_at_8_mib_of_responses() {
    let world = World::new().await;
    for nonce in 0..20 {
        world.submit(&Pay { nonce, memo: &[b'm'; 256], ..PAY }.signed()).await;
    }
    let user = basic(&text(address(1)), "");
    let call = json!({"method": "getblocktemplate", "id": 1});
    let one = world.rpc(Some(&user), &call).await.body.len();
    let batch = world.rpc(Some(&user), Value::from(vec![call; 1_000])).await;
    let (bytes, responses) = (batch.body.len(), batch.json());
    let (executed, refused): (Vec<_>, Vec<_>) =
        responses.as_array().unwrap().iter().partition(|response| response["error"].is_null());
    assert_eq!(executed.len(), (8_usize << 20).div_ceil(one + 1), "{one}");
    assert_eq!((executed.len() + refused.len(), refused.len() > 100), (1_000, true));
    assert!(bytes < (8 << 20) + one + 250 * refused.len(), "{bytes}");
    for response in refused {
        let message = response["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("not executed"), "{message}");
    }
}

// The client sends batches of version 2.0, and reads the `error` of each response.
#[tokio::test]
async fn batch_of_python_bitcoinrpc_has_null_errors() {
    let world = World::new().await;
    let call = json!({"jsonrpc": "2.0", "method": "getblockcount", "params": [], "id": 1});
    for (agent, expected) in [
        ("AuthServiceProxy/0.1", json!({"jsonrpc": "2.0", "result": 0, "error": null, "id": 1})),
        ("curl/8", json!({"jsonrpc": "2.0", "result": 0, "id": 1})),
    ] {
        let request = Request::post("/").header(header::HOST, "localhost");
        let request = request.header(header::USER_AGENT, agent);
        let request = request.body(Body::from(json!([call]).to_string())).unwrap();
        assert_eq!(world.send(request).await.json(), json!([expected]), "{agent}");
    }
}

// R10: each call of a batch counts.
#[tokio::test]
async fn batch_pays_the_rate_limit_per_call() {
    let world = World::new().await;
    let remote: SocketAddr = "192.0.2.1:1000".parse().unwrap();
    let send = async |method: &str, calls: usize| {
        let call = json!({"method": method, "id": 0});
        let body = Value::from(vec![call; calls]).to_string();
        let request = Request::post("/").header(header::HOST, "localhost");
        let mut request = request.body(Body::from(body)).unwrap();
        request.extensions_mut().insert(ConnectInfo(remote));
        world.send(request).await
    };
    // A submission costs five reads, and a client has 1,000 at once.
    send("submitblock", 201).await.problem(429, "rate-limited");
    assert_eq!(send("submitblock", 100).await.status, 200);
    assert_eq!(send("getblockcount", 400).await.status, 200);
    send("getblockcount", 1_000).await.problem(429, "rate-limited");
}

// R14
#[tokio::test]
async fn protected_methods_need_the_token() {
    let world = World::new().await;
    let miner = text(address(1));
    let calls = [
        ("generatetoaddress", json!([1, miner])),
        ("invalidateblock", json!([Params::dev().genesis_hash().to_string()])),
        ("reconsiderblock", json!([Params::dev().genesis_hash().to_string()])),
        ("setmocktime", json!([2_000_000_000])),
        ("stop", json!([])),
    ];
    let wrong = [
        None,
        Some(basic(&miner, &world.token)),
        Some(basic("token", "x")),
        Some(basic("", &world.token)),
        Some("Bearer x".to_owned()),
    ];
    for (method, params) in calls {
        let call = json!({"method": method, "params": params, "id": 1});
        for authorization in &wrong {
            let response = world.rpc(authorization.as_deref(), &call).await;
            assert_eq!(response.status, 401, "{method} {authorization:?}");
            assert!(response.header(header::WWW_AUTHENTICATE).starts_with("Basic"));
            let error: Value = serde_json::from_slice(&response.body).unwrap();
            assert!(error["error"]["message"].as_str().unwrap().starts_with("unauthorized"));
            // In a batch the error is that of the call.
            let batch = world.rpc(authorization.as_deref(), json!([call])).await.json();
            assert_eq!(batch[0]["error"]["code"], -32_001);
        }
    }
    assert_eq!(world.height().await, 0);
    assert!(!world.node().shutdown.is_cancelled());
    let bearer = format!("Bearer {}", world.token);
    let generate = json!({"method": "generatetoaddress", "params": [1, miner], "id": 1});
    assert_eq!(world.rpc(Some(&bearer), generate).await.json()["error"], Value::Null);
    assert_eq!(world.height().await, 1);
    world.result("stop", json!([])).await;
    assert!(world.node().shutdown.is_cancelled());
}

#[tokio::test]
async fn methods_return_what_the_rest_api_serves() {
    let world = World::new().await;
    let genesis = world
        .result("getblockheader", json!({"blockhash": Params::dev().genesis_hash().to_string()}))
        .await;
    assert_eq!((&genesis["height"], &genesis["previousblockhash"]), (&json!(0), &Value::Null));
    world.generate(3, 0).await;
    world.submit(&PAY.signed()).await;
    let chain = world.get("/v1/chain").await.json();
    let info = world.result("getblockchaininfo", json!([])).await;
    for (field, of) in [
        ("chain", "network"),
        ("blocks", "height"),
        ("bestblockhash", "tip"),
        ("difficulty", "difficulty"),
        ("chainwork", "chain_work"),
        ("bits", "bits"),
    ] {
        assert_eq!(info[field], chain[of], "{field}");
    }
    assert_eq!(
        (&info["initialblockdownload"], &info["verificationprogress"]),
        (&json!(false), &json!(1.0))
    );
    assert_eq!(world.result("getblockcount", json!({})).await, 3);
    assert_eq!(world.result("getbestblockhash", json!(null)).await, chain["tip"]);
    let hash = world.result("getblockhash", json!({"height": 2})).await;
    let block = world.get("/v1/blocks/2").await.json();
    assert_eq!(hash, block["hash"]);
    let header = world.result("getblockheader", json!([hash])).await;
    for (field, of) in [
        ("hash", "hash"),
        ("confirmations", "confirmations"),
        ("height", "height"),
        ("version", "version"),
        ("merkleroot", "merkle_root"),
        ("time", "time"),
        ("nonce", "nonce"),
        ("bits", "bits"),
        ("chainwork", "chain_work"),
        ("nTx", "transaction_count"),
        ("previousblockhash", "previous"),
        ("nextblockhash", "next"),
    ] {
        assert_eq!(header[field], block[of], "{field}");
    }
    let raw = world.result("getblockheader", json!([hash, false])).await;
    assert_eq!(raw, world.get("/v1/blocks/2/header").await.text());
    assert_eq!(world.error("getblockheader", json!(["0".repeat(64)])).await, -5);
    assert_eq!(world.error("getblockheader", json!(["x"])).await, -8);
    let pool = world.result("getmempoolinfo", json!([])).await;
    let rest = world.get("/v1/mempool").await.json();
    assert_eq!((&pool["size"], &pool["bytes"]), (&rest["count"], &rest["bytes"]));
    let rate = rest["min_fee_rate"].as_f64().unwrap() / 100_000.0;
    assert!((pool["mempoolminfee"].as_f64().unwrap() - rate).abs() < 1e-12);
    assert_eq!(world.result("getpeerinfo", json!([])).await, json!([]));
    let mining = world.result("getmininginfo", json!([])).await;
    assert_eq!((&mining["blocks"], &mining["pooledtx"]), (&json!(3), &json!(1)));
    let rate = world.result("getnetworkhashps", json!([])).await;
    assert_eq!(rate, chain["hashrate_estimate"]);
    assert_eq!(world.result("getnetworkhashps", json!([0, -1])).await, rate);
    assert_eq!(world.result("getnetworkhashps", json!({"height": 0})).await, 0.0);
    assert_eq!(world.error("getnetworkhashps", json!([1, 4])).await, -8);
    let miner = text(address(1));
    let valid = world.result("validateaddress", json!([miner])).await;
    assert_eq!((&valid["isvalid"], &valid["address"]), (&json!(true), &json!(miner)));
    let invalid = world.result("validateaddress", json!(["bc1x"])).await;
    assert!(invalid["isvalid"] == false && invalid["error"].is_string());
}

#[tokio::test]
async fn test_scripts_generate_invalidate_and_set_the_time() {
    let world = World::new().await;
    let miner = text(address(1));
    let made = world.result("generatetoaddress", json!({"nblocks": 3, "address": miner})).await;
    assert_eq!(made.as_array().unwrap().len(), 3);
    assert_eq!(world.result("getbestblockhash", json!([])).await, made[2]);
    assert_eq!(world.result("invalidateblock", json!([made[1]])).await, Value::Null);
    assert_eq!(world.result("getbestblockhash", json!([])).await, made[0]);
    let tips = world.result("getchaintips", json!([])).await;
    assert_eq!(tips[0], json!({"height": 1, "hash": made[0], "branchlen": 0, "status": "active"}));
    assert_eq!(tips[1], json!({"height": 3, "hash": made[2], "branchlen": 2, "status": "invalid"}));
    let stale = world.result("getblockheader", json!([made[2]])).await;
    assert_eq!((&stale["confirmations"], &stale["nextblockhash"]), (&json!(-1), &Value::Null));
    assert_eq!(world.result("reconsiderblock", json!([made[1]])).await, Value::Null);
    assert_eq!(world.result("getbestblockhash", json!([])).await, made[2]);
    assert_eq!(world.error("invalidateblock", json!(["0".repeat(64)])).await, -5);
    assert_eq!(world.error("generatetoaddress", json!([0, miner])).await, -8);
    assert_eq!(world.error("generatetoaddress", json!([1, "x"])).await, -8);
    assert_eq!(world.error("generatetoaddress", json!([1])).await, -32_602);

    let later = crate::clock::now().get() + 86_400;
    assert_eq!(world.result("setmocktime", json!([later])).await, Value::Null);
    assert_eq!(world.node().writer.now().get(), later);
    assert_eq!(world.result("setmocktime", json!([0])).await, Value::Null);
    assert!(world.node().writer.now().get() < later - 80_000);
}

/// A block as `submitblock` and proposals contain it, in hexadecimal.
fn serialized(block: &Block, with_transfers: bool) -> String {
    let mut bytes = block.header.encode().to_vec();
    bytes.push(u8::try_from(block.transactions.len()).unwrap());
    bytes.extend(block.coinbase().unwrap().serialize());
    for transfer in block.transactions.iter().skip(1).filter(|_| with_transfers) {
        bytes.extend(transfer.encode());
    }
    hex::encode(bytes)
}

// BIP 23
#[tokio::test]
async fn proposal_is_validated_without_proof_of_work() {
    let world = World::new().await;
    let tip = world.generate(2, 0).await.pop().unwrap();
    world.submit(&PAY.signed()).await;
    let mut block = world.candidate().await;
    unsolve_header(&mut block.header);
    let propose = async |block: &Block| {
        let proposal = json!({"mode": "proposal", "data": serialized(block, true)});
        world.result("getblocktemplate", json!([proposal])).await
    };
    assert_eq!(propose(&block).await, Value::Null);
    let mut excessive = block.clone();
    let Transaction::Coinbase(coinbase) = &mut excessive.transactions[0] else { panic!() };
    coinbase.reward += 1;
    excessive.header.merkle_root = merkle::root(&excessive.ids());
    assert_eq!(propose(&excessive).await, "wrong-reward");
    let mut other = block.clone();
    other.header.previous = Params::dev().genesis_hash();
    assert_eq!(propose(&other).await, "inconclusive-not-best-prevblk");
    other.header.previous = block.hash();
    assert_eq!(propose(&other).await, "bad-prevblk");
    other.transactions.pop();
    assert_eq!(propose(&other).await, "stale-work");
    assert_eq!(world.result("getbestblockhash", json!([])).await, tip);

    // The transfers of a template, which only its id names.
    let user = basic(&text(address(1)), "x");
    let call = json!({"method": "getblocktemplate", "params": {"template_request": {}}, "id": 1});
    let template = world.rpc(Some(&user), &call).await.json()["result"].clone();
    let work = template["workid"].clone();
    assert_eq!(template["capabilities"], json!(["proposal"]));
    let issued = world.node().templates.find(work.as_str().unwrap()).unwrap().block();
    let data = serialized(&issued, false);
    let proposal = json!({"mode": "proposal", "data": data, "workid": work});
    assert_eq!(world.result("getblocktemplate", json!([proposal])).await, Value::Null);

    let solved = solve(block);
    assert_eq!(world.submit_block(&solved).await.status, 201);
    assert_eq!(propose(&solved).await, "duplicate");
    for (request, code) in [
        (json!({"mode": "proposal"}), -3),
        (json!({"mode": "proposal", "data": "xy"}), -22),
        (json!({"mode": "other"}), -8),
        (json!({"mode": 1}), -3),
    ] {
        assert_eq!(world.error("getblocktemplate", json!([request])).await, code, "{request}");
    }
    // The user `token` names no address, and this node has no default one.
    let response = world.rpc(Some(&basic("token", &world.token)), &call).await;
    assert_eq!(response.status, 401);
}
