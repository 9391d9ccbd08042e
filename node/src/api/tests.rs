//! Requests to every route of a real node on `dev`, in process.

mod accounts;
mod blocks;
mod chain;
mod contract;
mod dev;
mod events;
mod explorer;
mod jobs;
mod mempool;
mod metrics;
mod mining;
mod openapi;
mod peers;
mod rpc;
mod solutions;
mod transactions;
mod workers;
mod ws;

use super::http::resources::Resources;
use super::http::server::App;
use super::router;
use crate::api::http::problem::MEDIA_TYPE;
use crate::api::http::response::{CHAIN_HEIGHT, CHAIN_TIP};
use crate::auth::Token;
use crate::config::{Config, Settings};
use crate::daemon::Daemon;
use crate::state::NodeState;
use crate::wallet::{Index, Mnemonic, Wallet};
use ::chain::signature::SecretKey;
use ::chain::testing::{solve, solve_header, unsolve_header};
use ::chain::tx::{Memo, Payment};
use ::chain::{Address, Block, Params, Transaction, Transfer, merkle};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use tempfile::TempDir;

/// A node with its routes.
struct World {
    routes: App,
    token: String,
    daemon: Daemon,
    folder: TempDir,
}

fn called(daemon: &Daemon) -> SocketAddr {
    daemon.url().strip_prefix("http://").unwrap().parse().unwrap()
}

/// The response of a route.
#[derive(Debug)]
struct TestResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl TestResponse {
    fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The JSON of a success.
    #[track_caller]
    fn json(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, self.text());
        assert_eq!(self.header(header::CONTENT_TYPE), "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem in the body, after checks of its status and code.
    #[track_caller]
    fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header(header::CONTENT_TYPE), MEDIA_TYPE);
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(
            (problem["status"].as_u64(), &problem["code"]),
            (Some(status.into()), &json!(code))
        );
        assert_eq!(status == 503 || status == 429, self.headers.contains_key(header::RETRY_AFTER));
        problem
    }

    /// The items of a page and the cursor of the next.
    #[track_caller]
    fn page(&self) -> (Vec<Value>, Option<String>) {
        let page = self.json();
        let next = page["next"].as_str().map(ToOwned::to_owned);
        if let Some(cursor) = &next {
            let link = self.header(header::LINK);
            assert!(link.contains(&format!("cursor={cursor}>; rel=\"next\"")), "{link}");
        } else {
            assert_eq!(self.header(header::LINK), "");
        }
        (page["items"].as_array().unwrap().clone(), next)
    }
}

impl World {
    async fn new() -> World {
        World::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Config)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let api = "127.0.0.1:0".parse().unwrap();
        let settings = Settings {
            network: Some("dev".to_owned()),
            data: Some(folder.path().join("data")),
            api: Some(api),
            listen: Some(vec!["none".to_owned()]),
            ..Settings::default()
        };
        let mut config = settings.validate().unwrap();
        change(&mut config);
        let daemon = Daemon::start(config, &mut std::future::pending()).await;
        let daemon = daemon.unwrap().expect("nothing stops it");
        let data = folder.path().join("data");
        let token = std::fs::read_to_string(data.join("api-token")).unwrap().trim().to_owned();
        let protection = Token::open_or_create(&data).unwrap();
        let routes = router(daemon.node().clone(), &protection, &[], Resources::default()).unwrap();
        World { routes, token, daemon, folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn node(&self) -> &NodeState {
        self.daemon.node()
    }

    async fn send(&self, request: Request) -> TestResponse {
        ask(self.routes.clone(), request).await
    }

    async fn get(&self, path: &str) -> TestResponse {
        self.get_with(path, &[]).await
    }

    async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> TestResponse {
        let mut request = Request::get(path).header(header::HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post(&self, path: &str, media_type: &str, body: impl Into<Body>) -> TestResponse {
        let request = Request::post(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, media_type);
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn delete(&self, path: &str) -> TestResponse {
        let request = Request::delete(path)
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn post_json(&self, path: &str, body: &Value) -> TestResponse {
        self.post(path, "application/json", body.to_string()).await
    }

    /// Generates blocks that pay an account; returns their hashes.
    async fn generate(&self, blocks: u32, miner: u16) -> Vec<String> {
        let order = json!({"blocks": blocks, "miner": text(address(miner))});
        let made = self.post_json("/v1/dev/generate", &order).await.json();
        made["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| hash.as_str().unwrap().to_owned())
            .collect()
    }

    async fn height(&self) -> u32 {
        self.get("/v1/chain").await.header(CHAIN_HEIGHT).parse().unwrap()
    }

    /// Submits the blocks of this chain from a height up to another node.
    async fn send_blocks(&self, from: u32, to: &World) {
        for height in from..=self.height().await {
            let raw = self.get(&format!("/v1/blocks/{height}/raw")).await;
            let response = to.post("/v1/blocks", "text/plain", raw.body).await;
            assert!(response.status.is_success(), "{}", response.text());
        }
    }

    /// A valid block except for its nonce.
    async fn candidate(&self) -> Block {
        self.node().writer.template(address(5)).await.unwrap().unwrap().block
    }

    async fn submit_block(&self, block: &Block) -> TestResponse {
        self.post("/v1/blocks", "application/octet-stream", block.encode()).await
    }

    async fn submit(&self, transfer: &Transfer) -> TestResponse {
        self.post("/v1/transactions", "text/plain", hex::encode(transfer.encode())).await
    }
}

async fn ask(routes: App, request: Request) -> TestResponse {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (head, body) = routes.respond(request).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    let response = TestResponse { status: head.status, headers: head.headers, body };
    contract::check(&method, &path, &response);
    response
}

/// The key of an account of `dev`'s public mnemonic; accounts 0 to 9 have allocations.
fn key(account: u16) -> SecretKey {
    static WALLET: OnceLock<Wallet> = OnceLock::new();
    let wallet = WALLET.get_or_init(|| {
        let words = "test test test test test test test test test test test junk";
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev");
        Wallet::create_unprotected(&path, Mnemonic::parse(words).unwrap()).unwrap()
    });
    wallet.account(Index::new(account.into()).unwrap())
}

fn address(account: u16) -> Address {
    key(account).public_key().address()
}

fn text(address: Address) -> String {
    address.encode(Params::dev().hrp())
}

/// The fields of a transfer that matter to a test.
#[derive(Clone, Copy)]
struct Pay {
    from: u16,
    nonce: u64,
    to: u16,
    amount: u64,
    fee: u64,
    memo: &'static [u8],
}

const PAY: Pay = Pay { from: 0, nonce: 0, to: 20, amount: 1_000, fee: 1_000, memo: b"" };

impl Pay {
    fn signed(self) -> Transfer {
        let Pay { from, nonce, to, amount, fee, memo } = self;
        let memo = Memo::new(memo.to_vec()).unwrap();
        let payment = Payment { nonce, recipient: address(to), amount, fee, memo };
        Transfer::sign(payment, &key(from), Params::dev().genesis_hash())
    }
}

#[tokio::test]
async fn every_read_has_tip_headers() {
    let world = World::new().await;
    let tip = world.generate(3, 0).await.pop().unwrap();
    let id = PAY.signed().id();
    world.submit(&PAY.signed()).await;
    let miner = text(address(1));
    for path in [
        "/v1/chain",
        "/v1/chain/params",
        "/v1/chain/tips",
        "/v1/blocks",
        "/v1/blocks/1",
        "/v1/blocks/1/header",
        "/v1/blocks/1/raw",
        "/v1/blocks/1/transactions",
        "/v1/headers",
        &format!("/v1/transactions/{id}"),
        &format!("/v1/transactions/{id}/raw"),
        &format!("/v1/accounts/{miner}"),
        &format!("/v1/accounts/{miner}/transactions"),
        "/v1/mempool",
        "/v1/mempool/transactions",
        "/v1/fees",
        "/v1/peers",
        "/v1/bans",
        "/v1/mining",
        "/v1/mining/jobs",
        &format!("/v1/mining/template?miner={miner}"),
    ] {
        let response = world.get(path).await;
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        assert_eq!(
            (response.header(CHAIN_HEIGHT), response.header(CHAIN_TIP)),
            ("3", &*tip),
            "{path}"
        );
        assert_ne!(response.header(header::CACHE_CONTROL), "", "{path}");
    }
    // Of the errors, only a 404 has them.
    let missing = world.get("/v1/blocks/4").await;
    missing.problem(404, "not-found");
    assert_eq!((missing.header(CHAIN_HEIGHT), missing.header(CHAIN_TIP)), ("3", &*tip));
}

#[tokio::test]
async fn unchanged_response_is_304_without_body() {
    let world = World::new().await;
    world.generate(1, 0).await;
    for path in ["/v1/chain", "/v1/blocks/1", "/v1/mempool", "/v1/blocks/1/raw"] {
        let response = world.get(path).await;
        let tag = response.header(header::ETAG).to_owned();
        assert!(tag.starts_with("W/\""), "{path}");
        let again = world.get_with(path, &[("if-none-match", &tag)]).await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}");
        assert_eq!(again.header(header::ETAG), tag);
        assert_eq!(again.header(CHAIN_HEIGHT), "1");
        let other = world.get_with(path, &[("if-none-match", "W/\"other\"")]).await;
        assert_eq!(other.body, response.body);
    }
    let chain = world.get("/v1/chain").await.header(header::ETAG).to_owned();
    let block = world.get("/v1/blocks/1").await.header(header::ETAG).to_owned();
    // The mempool changes the response for the chain, a new tip that for every block.
    world.submit(&PAY.signed()).await;
    assert_eq!(world.get_with("/v1/chain", &[("if-none-match", &chain)]).await.status, 200);
    assert_eq!(world.get_with("/v1/blocks/1", &[("if-none-match", &block)]).await.status, 304);
    world.generate(1, 0).await;
    assert_eq!(world.get_with("/v1/blocks/1", &[("if-none-match", &block)]).await.status, 200);
}

// R18: no response mixes two tips, even during reorganisations.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_response_mixes_two_tips() {
    let world = World::new().await;
    let other = World::new().await;
    world.generate(5, 0).await;
    let reads = async {
        loop {
            let chain = world.get("/v1/chain").await;
            let shown = chain.json();
            assert_eq!(shown["tip"], chain.header(CHAIN_TIP));
            assert_eq!(shown["height"].to_string(), chain.header(CHAIN_HEIGHT));
            let list = world.get("/v1/blocks?limit=50").await;
            let (blocks, _) = list.page();
            assert_eq!(blocks[0]["hash"], list.header(CHAIN_TIP));
            for pair in blocks.windows(2) {
                assert_eq!(pair[0]["previous"], pair[1]["hash"]);
            }
            let confirmations: Vec<_> =
                blocks.iter().map(|b| b["confirmations"].as_u64()).collect();
            assert!(confirmations.into_iter().eq((1..=blocks.len() as u64).map(Some)));
        }
    };
    let reorganise = async {
        for round in 1..=10_u32 {
            let (from, to) = if round % 2 == 1 { (&other, &world) } else { (&world, &other) };
            from.generate(to.height().await + 1 - from.height().await, 1).await;
            from.send_blocks(1, to).await;
            assert_eq!(
                to.get("/v1/chain").await.json()["tip"],
                from.get("/v1/chain").await.json()["tip"]
            );
            // Fork again.
            world.generate(1, 2).await;
            other.generate(1, 3).await;
        }
    };
    tokio::select! {
        () = reads => {}
        () = reorganise => {}
    }
}

#[tokio::test]
async fn stopping_node_is_alive_but_not_ready() {
    let world = World::new().await;
    assert_eq!(world.get("/livez").await.text(), "ok\n");
    assert_eq!(world.get("/readyz").await.status, 200);
    let World { routes, daemon, folder: _folder, .. } = world;
    daemon.stop().await.unwrap();
    let get = |path: &str| {
        Request::get(path).header(header::HOST, "localhost").body(Body::empty()).unwrap()
    };
    assert_eq!(ask(routes.clone(), get("/livez")).await.status, 200);
    ask(routes.clone(), get("/readyz")).await.problem(503, "not-ready");
    // Reads still work; requests that need the writer fail.
    assert_eq!(ask(routes.clone(), get("/v1/chain")).await.json()["height"], 0);
    let transfer = hex::encode(PAY.signed().encode());
    let request = Request::post("/v1/transactions").header(header::HOST, "localhost");
    let request = request.body(Body::from(transfer)).unwrap();
    ask(routes, request).await.problem(503, "not-ready");
}
