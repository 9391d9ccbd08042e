use super::*;

/// A valid peer id.
fn peer_id() -> String {
    ::p2p::PeerId::random().to_string()
}

#[tokio::test]
async fn node_without_peers_is_ready_on_dev() {
    let world = World::new().await;
    assert_eq!(world.get("/v1/peers").await.json(), json!({"items": [], "next": null}));
    let chain = world.get("/v1/chain").await.json();
    assert_eq!((&chain["peers"], &chain["apis"]["peers"]), (&json!(0), &json!("public")));
    assert_eq!(world.get("/readyz").await.status, 200);
}

// R16
#[tokio::test]
async fn add_peer_rejects_invalid_addresses() {
    let world = World::new().await;
    for address in [
        "",
        "127.0.0.1:8401",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "/ip4/169.254.169.254/tcp/80",
        "/ip4/127.0.0.1/udp/8401/quic-v1",
        "/unix/tmp/socket",
        "/p2p-circuit",
    ] {
        let response = world.post_json("/v1/peers", &json!({ "address": address })).await;
        let problem = response.problem(400, "bad-request");
        assert!(problem["detail"].as_str().unwrap().starts_with("address: "), "{problem}");
    }
    for body in [json!({}), json!({"address": 7}), json!({"address": "x", "x": 1}), json!([])] {
        world.post_json("/v1/peers", &body).await.problem(400, "bad-request");
    }
}

// A directory in the way of the temporary file stands for a broken disk.
#[tokio::test]
async fn change_of_peers_or_bans_that_is_not_saved_is_an_error() {
    let world = World::new().await;
    let blocker = world.data().join("peers.json.new");
    std::fs::create_dir(&blocker).unwrap();
    let address = "/ip4/127.0.0.1/tcp/1";
    let (peer, ban) = (json!({ "address": address }), json!({ "ip": "192.0.2.7" }));
    let persistent = format!("/v1/persistent-peers/{}", address.replace('/', "%2F"));
    for response in [
        world.post_json("/v1/peers", &peer).await,
        world.post_json("/v1/bans", &ban).await,
        world.delete("/v1/bans/192.0.2.7").await,
        world.delete(&persistent).await,
    ] {
        let detail = response.problem(500, "internal")["detail"].clone();
        assert!(detail.as_str().unwrap().contains("not saved"), "{detail}");
    }
    std::fs::remove_dir(&blocker).unwrap();
    // An acknowledged change is on the disk at once.
    assert_eq!(world.post_json("/v1/bans", &ban).await.status, 201);
    assert_eq!(world.post_json("/v1/peers", &peer).await.status, 202);
    let saved = std::fs::read_to_string(world.data().join("peers.json")).unwrap();
    assert!(saved.contains("192.0.2.7") && saved.contains(address), "{saved}");
}

#[tokio::test]
async fn unreachable_peer_is_accepted_for_retry() {
    let world = World::new().await;
    // A port that was free a moment ago: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("/ip4/127.0.0.1/tcp/{port}");
    let response = world.post_json("/v1/peers", &json!({ "address": address })).await;
    assert_eq!(response.status, 202, "{}", response.text());
    let added = response.json();
    assert_eq!((&added["address"], &added["id"]), (&json!(address), &Value::Null));
    assert_eq!(world.get("/v1/peers").await.json()["items"], json!([]));
    let listed = world.get("/v1/persistent-peers").await.json();
    let peer = &listed["items"][0];
    assert_eq!((&peer["address"], &peer["origin"]), (&json!(address), &json!("added")), "{listed}");
    assert_eq!((&peer["connected"], &peer["id"]), (&json!(false), &Value::Null));
    assert!(peer["detail"].as_str().unwrap().contains("refused"), "{listed}");
    let path = format!("/v1/persistent-peers/{}", address.replace('/', "%2F"));
    assert_eq!(world.delete(&path).await.status, 204);
    world.delete(&path).await.problem(404, "not-found");
    assert_eq!(world.get("/v1/persistent-peers").await.json()["items"], json!([]));
    world.delete("/v1/persistent-peers/7").await.problem(400, "bad-request");
}

#[tokio::test]
async fn disconnecting_an_unknown_peer_is_404() {
    let world = World::new().await;
    world.delete(&format!("/v1/peers/{}", peer_id())).await.problem(404, "not-found");
    world.delete("/v1/peers/7").await.problem(400, "bad-request");
}

#[tokio::test]
async fn bans_are_added_listed_and_removed() {
    let world = World::new().await;
    let peer = peer_id();
    let orders = [
        (json!({"peer": peer, "reason": "was rude"}), peer.as_str(), "was rude"),
        (json!({"ip": "192.0.2.7", "seconds": 60}), "192.0.2.7", "banned by hand"),
        // N22
        (json!({"ip": "::ffff:192.0.2.8"}), "192.0.2.8", "banned by hand"),
        (json!({"ip": "198.51.100.77/24"}), "198.51.100.0/24", "banned by hand"),
    ];
    for (order, id, reason) in &orders {
        let response = world.post_json("/v1/bans", order).await;
        assert_eq!(response.status, 201, "{}", response.text());
        assert_eq!(
            response.header(header::LOCATION),
            format!("/v1/bans/{}", id.replace('/', "%2F"))
        );
        let ban = response.json();
        assert_eq!((&ban["id"], &ban["reason"]), (&json!(id), &json!(reason)));
        assert!(ban["until"].as_u64().unwrap() > 0);
    }
    let listed = world.get("/v1/bans").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), orders.len());
    for id in [&*peer, "192.0.2.7", "::ffff:192.0.2.8", "198.51.100.0%2F24"] {
        let path = format!("/v1/bans/{id}");
        assert_eq!(world.delete(&path).await.status, 204);
        world.delete(&path).await.problem(404, "not-found");
    }
    assert_eq!(world.get("/v1/bans").await.json()["items"], json!([]));
}

#[tokio::test]
async fn ipv6_ban_covers_the_network() {
    let world = World::new().await;
    let order = json!({"ip": "2001:db8::1:2:3:4"});
    let response = world.post_json("/v1/bans", &order).await;
    assert_eq!(response.json()["id"], "2001:db8::");
    assert_eq!(response.header(header::LOCATION), "/v1/bans/2001:db8::");
    assert_eq!(world.delete("/v1/bans/2001:db8::9").await.status, 204);
}

// R06, N23
#[tokio::test]
async fn add_ban_rejects_invalid_requests() {
    let world = World::new().await;
    let peer = peer_id();
    for order in [
        json!({}),
        json!({"peer": peer, "ip": "192.0.2.7"}),
        json!({"peer": "7"}),
        json!({"ip": "localhost"}),
        json!({"ip": "192.0.2.7/33"}),
        json!({"ip": "192.0.2.7", "seconds": 0}),
        json!({"ip": "192.0.2.7", "seconds": 9_007_199_254_740_991_u64}),
        json!({"ip": "192.0.2.7", "seconds": -1}),
        json!({"ip": "192.0.2.7", "reason": "x".repeat(201)}),
        json!({"ip": "192.0.2.7", "until": 1}),
    ] {
        world.post_json("/v1/bans", &order).await.problem(400, "bad-request");
    }
    world.delete("/v1/bans/unknown").await.problem(400, "bad-request");
    assert_eq!(world.get("/v1/bans").await.json()["items"], json!([]));
}

// R14
#[tokio::test]
async fn changing_peers_and_bans_requires_token() {
    let world = World::new().await;
    let ban = format!("/v1/bans/{}", peer_id());
    let peer = format!("/v1/peers/{}", peer_id());
    for (method, path) in
        [("POST", "/v1/peers"), ("DELETE", &*peer), ("POST", "/v1/bans"), ("DELETE", &*ban)]
    {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let body = Body::from(json!({"address": "/ip4/127.0.0.1/tcp/1"}).to_string());
        world.send(request.body(body).unwrap()).await.problem(401, "unauthorized");
    }
}
