use super::*;
use crate::config::trusted_proxies::TrustedProxies;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

type Socket = WebSocketStream<TcpStream>;

impl World {
    async fn socket(
        &self,
        query: &str,
        origin: Option<&str>,
    ) -> Result<Socket, tungstenite::Error> {
        let address = called(&self.daemon);
        let url = format!("ws://{address}/v1/ws{query}");
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        }
        // Counts where a proxy is trusted.
        request.headers_mut().insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        client_async(request, stream).await.map(|(socket, _)| socket)
    }
}

/// The next message that is not a ping.
async fn next(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap() {
            let message = serde_json::from_str(&text).unwrap();
            contract::check_message("WebSocketMessage", &message);
            return message;
        }
    }
}

async fn send(socket: &mut Socket, message: &Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

// R10
#[tokio::test]
async fn websocket_messages_pay_the_rate_limit_of_requests() {
    let world = World::with(|config| {
        config.trusted_proxies = TrustedProxies::parse(&["127.0.0.1".to_owned()]).unwrap();
    })
    .await;
    let mut socket = world.socket("", None).await.unwrap();
    let invalid = json!({ "submit_transaction": "00" });
    let mut validated = 0;
    loop {
        send(&mut socket, &invalid).await;
        let response = next(&mut socket).await;
        if response["error"]["code"] == "rate-limited" {
            break;
        }
        assert_eq!(response["error"]["code"], "bad-encoding");
        validated += 1;
        assert!(validated < 1_000, "none is refused");
    }
    assert!(validated >= 190, "{validated}");
}

#[tokio::test]
async fn websocket_streams_events_and_accepts_transfers() {
    let world = World::new().await;
    let mut socket = world.socket("?topics=block.connected", None).await.unwrap();
    let hash = world.generate(1, 5).await.remove(0);
    let event = next(&mut socket).await;
    assert_eq!((&event["event"], &event["id"]), (&json!("block.connected"), &json!(1)));
    assert_eq!((&event["data"]["hash"], &event["data"]["number"]), (&json!(hash), &json!(1)));
    send(&mut socket, &json!({ "subscribe": ["transaction.accepted"] })).await;
    let response = next(&mut socket).await;
    assert_eq!(response, json!({ "subscribed": ["transaction.accepted"], "since": 1 }));
    let transfer = PAY.signed();
    send(&mut socket, &json!({ "submit_transaction": hex::encode(transfer.encode()) })).await;
    let messages = [next(&mut socket).await, next(&mut socket).await];
    let submitted = messages.iter().find(|message| message["submitted"].is_object()).unwrap();
    assert_eq!(submitted["submitted"]["status"], "pending");
    let accepted = messages.iter().find(|message| message["event"].is_string()).unwrap();
    assert_eq!(accepted["event"], "transaction.accepted");
    for data in [&submitted["submitted"], &accepted["data"]] {
        assert_eq!(data["id"], transfer.id().to_string());
    }
    let other = Pay { amount: 7, fee: 9_000, ..PAY }.signed();
    let other = hex::encode(other.encode());
    send(&mut socket, &json!({ "submit_transaction": other, "replace": false })).await;
    assert_eq!(next(&mut socket).await["error"]["code"], "would-replace");
    // What was before, again.
    let miner = text(address(5));
    let again = json!({ "subscribe": ["block.connected"], "address": miner, "since": 0 });
    send(&mut socket, &again).await;
    assert_eq!(next(&mut socket).await["subscribed"], json!(["block.connected"]));
    assert_eq!(next(&mut socket).await["data"]["hash"], hash);
}

// R06
#[tokio::test]
async fn invalid_message_gets_an_error_and_the_session_continues() {
    let world = World::new().await;
    let mut socket = world.socket("", None).await.unwrap();
    let nested = "[".repeat(10_000);
    for message in [
        "",
        "x",
        "{}",
        "[]",
        "{\"subscribe\": \"reorg\"}",
        "{\"subscribe\": [\"block\"]}",
        "{\"subscribe\": [], \"address\": \"x\"}",
        "{\"subscribe\": [], \"since\": -1}",
        "{\"subscribe\": [], \"submit_transaction\": \"00\"}",
        "{\"subscribe\": [], \"replace\": false}",
        "{\"address\": \"x\"}",
        "{\"submit_transaction\": \"zz\"}",
        "{\"submit_transaction\": {}}",
        "{\"unsubscribe\": []}",
        &nested,
    ] {
        socket.send(Message::text(message)).await.unwrap();
        assert_eq!(next(&mut socket).await["error"]["code"], "bad-request", "{message}");
    }
    let spent = Pay { nonce: 99, ..PAY }.signed();
    send(&mut socket, &json!({ "submit_transaction": hex::encode(spent.encode()) })).await;
    assert_eq!(next(&mut socket).await["error"]["code"], "nonce-too-far");
    send(&mut socket, &json!({ "subscribe": [] })).await;
    assert_eq!(next(&mut socket).await["subscribed"], json!([]));
}

#[tokio::test]
async fn oversized_or_binary_message_closes_the_session() {
    let world = World::new().await;
    for message in [Message::text("x".repeat(20_000)), Message::binary(vec![0])] {
        let mut socket = world.socket("", None).await.unwrap();
        let _ = socket.send(message).await;
        let ended = async {
            while let Some(Ok(message)) = socket.next().await {
                if message.is_close() {
                    return;
                }
            }
        };
        ended.await;
    }
    world.get("/v1/chain").await.json();
}

// R11, R13
#[tokio::test]
async fn rejects_cross_origin_websockets() {
    let world = World::new().await;
    let port = called(&world.daemon).port();
    let other_port = format!("http://127.0.0.1:{}", port ^ 1);
    for origin in
        ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:3000", &other_port]
    {
        let Err(tungstenite::Error::Http(response)) = world.socket("", Some(origin)).await else {
            panic!("{origin} was let in")
        };
        assert_eq!(response.status(), 403);
    }
    world.socket("", Some(&format!("http://127.0.0.1:{port}"))).await.unwrap();
}

#[tokio::test]
async fn rejects_requests_without_upgrade() {
    let world = World::new().await;
    world.get("/v1/ws").await.problem(400, "bad-request");
}
