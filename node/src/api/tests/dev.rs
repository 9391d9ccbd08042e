use super::*;
use ::chain::params::Spec;

#[tokio::test]
async fn blocks_are_made_on_demand_in_order() {
    let world = World::new().await;
    let made = world.post_json("/v1/dev/generate", &json!({"blocks": 450})).await.json();
    let hashes = made["blocks"].as_array().unwrap();
    assert_eq!(hashes.len(), 450);
    let tip = world.get("/v1/blocks/tip").await.json();
    assert_eq!((&tip["height"], &tip["hash"]), (&json!(450), &hashes[449]));
    assert_eq!(world.get("/v1/blocks/7").await.json()["hash"], hashes[6]);
    let first = Params::dev().spec().allocations[0].0;
    assert_eq!(tip["miner"], text(first), "nobody else is named");
    world.generate(1, 30).await;
    assert_eq!(world.get("/v1/blocks/tip").await.json()["miner"], text(address(30)));
}

#[tokio::test]
async fn the_nodes_own_address_is_paid_unless_another_is_named() {
    let world = World::with(|config| config.miner = Some(address(31))).await;
    world.post_json("/v1/dev/generate", &json!({"blocks": 1})).await.json();
    assert_eq!(world.get("/v1/blocks/1").await.json()["miner"], text(address(31)));
}

// R14
#[tokio::test]
async fn only_those_with_the_token_make_blocks() {
    let world = World::new().await;
    let order = || Body::from(json!({"blocks": 1}).to_string());
    for authorization in ["", "Bearer 00", "Basic dXNlcjpwYXNz"] {
        let request = Request::post("/v1/dev/generate")
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json");
        world.send(request.body(order()).unwrap()).await.problem(401, "unauthorized");
    }
    assert_eq!(world.height().await, 0);
}

// R06, R07, R12
#[tokio::test]
async fn an_order_that_makes_no_sense_is_refused() {
    let world = World::new().await;
    let other_network = address(0).encode(Params::main().hrp());
    for order in [
        "{}",
        "[]",
        "7",
        "{\"blocks\":0}",
        "{\"blocks\":10001}",
        "{\"blocks\":-1}",
        "{\"blocks\":1.0}",
        "{\"blocks\":1e1}",
        "{\"blocks\":\"1\"}",
        "{\"blocks\":null}",
        "{\"blocks\":9007199254740992}",
        "{\"blocks\":1,\"blocks\":1}",
        "{\"blocks\":1,\"x\":1}",
        "{\"blocks\":1,\"miner\":\"\"}",
        "{\"blocks\":1,\"miner\":7}",
        &format!("{{\"blocks\":1,\"miner\":\"{other_network}\"}}"),
    ] {
        let answer = world.post("/v1/dev/generate", "application/json", order.to_owned()).await;
        answer.problem(400, "bad-request");
    }
    let text = world.post("/v1/dev/generate", "text/plain", "{\"blocks\":1}").await;
    text.problem(415, "unsupported-media-type");
    assert_eq!(world.height().await, 0);
}

#[tokio::test]
async fn where_blocks_take_work_none_is_made_on_demand() {
    let world = World::with(|config| config.params = Params::testnet()).await;
    let order = json!({"blocks": 1});
    world.post_json("/v1/dev/generate", &order).await.problem(403, "not-available");
    assert_eq!(world.get("/v1/chain").await.json()["apis"]["dev"], "disabled");
}

#[tokio::test]
async fn where_nobody_owns_anything_the_miner_must_be_named() {
    let spec = Spec { allocations: Vec::new(), ..Params::dev().spec().clone() };
    let world = World::with(|config| config.params = Params::new(spec).unwrap()).await;
    world.post_json("/v1/dev/generate", &json!({"blocks": 1})).await.problem(422, "no-miner");
    world.generate(1, 0).await;
    assert_eq!(world.get("/v1/blocks/tip").await.json()["miner"], text(address(0)));
}

#[tokio::test]
async fn others_are_served_while_blocks_are_made() {
    let world = World::new().await;
    let order = json!({"blocks": 2_000});
    let (made, height_seen) = tokio::join!(world.post_json("/v1/dev/generate", &order), async {
        loop {
            let height = world.height().await;
            if height > 0 {
                break height;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(made.json()["blocks"].as_array().unwrap().len(), 2_000);
    assert!(height_seen < 2_000, "a turn is short");
}
