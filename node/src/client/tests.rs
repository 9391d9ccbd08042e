//! The client against test servers.

use super::failover::NetworkId;
use super::*;
use crate::api::http::content::Json;
use crate::api::http::extract::Path;
use crate::api::http::host_check::AllowedHosts;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::resources::Resources;
use crate::api::http::server;
use crate::listener;
use crate::mining::source::remote::RemoteSource;
use crate::mining::source::{Source, SubmitOutcome};
use crate::node_file::NodeFile;
use anyhow::Result;
use axum::Router;
use axum::routing::{get, post};
use chain::Params;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A server with a few resources, which runs until the sender is dropped.
async fn server() -> (String, watch::Sender<bool>) {
    serve(routes(&Params::dev())).await
}

fn routes(params: &Params) -> Router {
    let genesis = params.genesis_hash().to_string();
    let chain = json!({"network": params.name(), "genesis": genesis});
    Router::new()
        .route("/v1/chain", get(async move || Json(chain)))
        .route("/v1/plain", get(async || "plain"))
        .route("/v1/echo", post(async |Json(value): Json<Value>| Json(value)))
        .route("/v1/item/{id}", get(async |Path(id): Path<String>| Json(id)))
        .route(
            "/v1/bad",
            get(async || Problem::new(Kind::rule(chain::rules::Rule::BadNonce), "a\n\u{1b}[2J")),
        )
}

async fn serve(routes: Router) -> (String, watch::Sender<bool>) {
    let listener = listener::bind("127.0.0.1:0".parse().unwrap(), "--api").unwrap();
    let address = listener::local_address(&listener).unwrap();
    let hosts = AllowedHosts::new(&[]).unwrap();
    let (stop, stopped) = watch::channel(false);
    let routes = server::App::new(routes, hosts, Arc::default(), Resources::default());
    tokio::spawn(server::serve(
        listener,
        None,
        watch::Sender::new(routes).subscribe(),
        stopped,
        CancellationToken::new(),
    ));
    (format!("http://{address}"), stop)
}

/// A server that reports its network and drops all other requests, which it counts.
async fn dropping() -> (String, Arc<AtomicUsize>) {
    dropping_first(usize::MAX).await
}

/// A server that reports its network and drops the given number of other requests. Counts those, and the
/// later ones, to which it responds.
async fn dropping_first(dropped: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        let body = json!({"network": "dev", "genesis": Params::dev().genesis_hash().to_string()})
            .to_string();
        let length = body.len();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4_096];
            let read = stream.read(&mut request).await.unwrap();
            let is_chain = request[..read].starts_with(b"GET /v1/chain ");
            if is_chain || counted.fetch_add(1, Ordering::SeqCst) >= dropped {
                let response = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\
                     Content-Length: {length}\r\n\r\n{body}"
                );
                stream.write_all(response.as_bytes()).await.unwrap();
            }
        }
    });
    (url, count)
}

fn of_nodes(urls: &[&str]) -> Client {
    Client::open(urls, Trust::default()).unwrap()
}

fn error<T: std::fmt::Debug>(result: Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[tokio::test]
async fn returns_bodies_as_received_and_problems_as_one_line() {
    let (url, _stop) = server().await;
    let client = Client::new(&url).unwrap();
    let echoed = client.post(&["echo"], "application/json", "{\"a\":1}".to_owned()).await.unwrap();
    assert_eq!(echoed.text, "{\"a\":1}");
    assert!(error(echoed.json::<Vec<u8>>()).contains("unexpected response"));
    assert_eq!(error(client.get(&["bad"]).await), "a\\n\\u{1b}[2J (bad-nonce)");
    assert!(error(client.get(&["plain"]).await).contains("is it a node?"));
    assert!(error(client.get(&["nothing"]).await).ends_with("(not-found)"));
}

#[tokio::test]
async fn path_segments_are_escaped() {
    let (url, _stop) = server().await;
    for base in [url.clone(), format!("{url}/"), url.replace("http://", "")] {
        let client = Client::new(&base).unwrap();
        for id in ["7", "a/b?c#d", "%2e%2e", "ü"] {
            let item = client.get(&["item", id]).await.unwrap();
            assert_eq!(item.json::<String>().unwrap(), id);
        }
    }
}

#[tokio::test]
async fn error_without_a_node_suggests_to_start_one() {
    let (url, stop) = server().await;
    let client = Client::new(&url).unwrap();
    client.get(&["chain"]).await.unwrap();
    drop(stop);
    let message = loop {
        match client.get(&["chain"]).await {
            Err(error) if error.to_string().contains("was lost") => {}
            Err(error) => break error.to_string(),
            Ok(_) => {}
        }
    };
    assert_eq!(message, format!("no node responds at {url}/: start one with `chain node`"));
}

#[test]
fn rejects_urls_other_than_http() {
    for url in ["wss://127.0.0.1", "ftp://x", "http://", "https://", "", "a b"] {
        assert!(Client::new(url).is_err(), "{url}");
    }
}

#[tokio::test]
async fn rejects_node_on_another_network() {
    let (url, _stop) = server().await;
    let args = |network: Option<&str>| NodeArgs {
        node: vec![url.clone()],
        network: network.map(ToOwned::to_owned),
        ..NodeArgs::default()
    };
    args(None).connect(None).await.unwrap();
    args(Some("dev")).connect(None).await.unwrap();
    let message = error(args(Some("main")).connect(None).await);
    assert!(message.contains("is on network dev") && message.contains("not main"), "{message}");
}

#[test]
fn data_directory_locates_its_node() {
    let directory = tempfile::tempdir().unwrap();
    let args = NodeArgs { data: Some(directory.path().to_owned()), ..NodeArgs::default() };
    assert!(error(args.client(None)).contains("chain node --data"));
    let there = NodeFile {
        pid: 1,
        api: "http://127.0.0.1:9".to_owned(),
        network: "dev".to_owned(),
        genesis: String::new(),
        node_id: String::new(),
        peers: Vec::new(),
        stratum: None,
        certificate: None,
    };
    fs::write(directory.path().join("node.json"), serde_json::to_vec(&there).unwrap()).unwrap();
    assert_eq!(args.client(None).unwrap().base().as_str(), "http://127.0.0.1:9/");
    let both = NodeArgs { node: vec!["elsewhere".to_owned()], ..args };
    assert_eq!(both.client(None).unwrap().base().as_str(), "http://elsewhere/");
}

#[tokio::test]
async fn fails_over_when_a_node_drops_the_connection_or_is_not_ready() {
    let busy = Problem::new(Kind::NOT_READY, "catching up");
    let busy = routes(&Params::dev()).route("/v1/mempool", get(async || busy));
    let (busy, _stop) = serve(busy).await;
    let good = routes(&Params::dev()).route("/v1/mempool", get(async || Json(7)));
    let (good, _stop_good) = serve(good).await;
    let (broken, count) = dropping().await;
    let client = of_nodes(&[&busy, &broken, &good]);
    assert_eq!(client.get(&["mempool"]).await.unwrap().json::<u8>().unwrap(), 7);
    assert_eq!((client.current(), count.load(Ordering::SeqCst)), (2, 2));
    // Clones use the node that responded last, too.
    assert_eq!(client.clone().get(&["mempool"]).await.unwrap().json::<u8>().unwrap(), 7);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    // An error response does not cause a failover.
    assert!(error(client.get(&["nothing"]).await).ends_with("(not-found)"));
    assert_eq!(client.current(), 2);
    // If no node succeeds, an error response is preferred.
    let client = of_nodes(&[&broken, &busy]);
    assert_eq!(error(client.get(&["mempool"]).await), "catching up (not-ready)");
}

// `chain testnet reorg` failed when a node that had been paused closed its idle connections.
#[tokio::test]
async fn idempotent_requests_are_sent_again_when_the_connection_is_lost() {
    for dropped in 0..3 {
        let (url, count) = dropping_first(dropped).await;
        let client = Client::new(&url).unwrap();
        let response = client.get(&["mempool"]).await;
        assert_eq!(response.is_ok(), dropped < 2, "{response:?}");
        assert_eq!(count.load(Ordering::SeqCst), [1, 2, 2][dropped]);
        let (url, count) = dropping_first(dropped).await;
        let client = Client::new(&url).unwrap();
        let response = client.post(&["blocks"], "text/plain", "00".to_owned()).await;
        assert_eq!(response.is_ok(), dropped < 2);
        assert_eq!(count.load(Ordering::SeqCst), [1, 2, 2][dropped]);
    }
}

#[tokio::test]
async fn non_idempotent_requests_are_sent_once() {
    let (broken, count) = dropping().await;
    let (good, _stop) = server().await;
    let client = of_nodes(&[&broken, &good]);
    let body = json!({ "blocks": 1 });
    let sent = client.send_once(Method::POST, &["echo"], Some(&body), Duration::ZERO).await;
    let message = error(sent);
    assert!(message.contains("was lost: the request may have been applied"), "{message}");
    assert_eq!((client.current(), count.load(Ordering::SeqCst)), (0, 1));
    // Idempotent requests are.
    let response = client.post(&["echo"], "application/json", body.to_string()).await.unwrap();
    assert_eq!(response.json::<Value>().unwrap(), body);
    assert_eq!(client.current(), 1);
}

// W15
#[tokio::test]
async fn submission_is_uncertain_unless_all_nodes_that_may_have_it_reject_it() {
    let answers = |kind: Kind| {
        let problem = move || Problem::new(kind, "no");
        routes(&Params::dev()).route("/v1/transactions", post(async move || problem()))
    };
    let (rejecting, _stop) = serve(answers(Kind::NONCE_USED)).await;
    let (failing, _stop_failing) = serve(answers(Kind::INTERNAL)).await;
    let (busy, _stop_busy) = serve(answers(Kind::NOT_READY)).await;
    let (broken, _) = dropping().await;
    let gone = "127.0.0.1:1";
    let query = [("replace", "false")];
    for (urls, name) in [
        (&[&*rejecting][..], "Rejected"),
        (&[gone, &rejecting], "Rejected"),
        (&[gone], "NotSent"),
        (&[&failing], "Unknown"),
        (&[&broken], "Unknown"),
        (&[&busy], "Unknown"),
        // The first one may have it.
        (&[&broken, &rejecting], "Unknown"),
        (&[&busy, gone], "Unknown"),
    ] {
        let client = of_nodes(urls);
        let submission =
            client.submit(&["transactions"], &query, "text/plain", "00".to_owned()).await;
        assert!(format!("{submission:?}").starts_with(name), "{urls:?}: {submission:?}");
    }
}

#[tokio::test]
async fn all_nodes_of_a_client_are_on_one_network() {
    let (dev, stop) = server().await;
    let (main, _stop) = serve(routes(&Params::main())).await;
    let client = of_nodes(&[&dev, &main]);
    client.get(&["item", "1"]).await.unwrap();
    drop(stop);
    let message = loop {
        match client.get(&["item", "1"]).await {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(message.contains("is on network main") && message.contains("not dev"), "{message}");
    // Nor is a request that changes the node sent to it.
    let client = of_nodes(&[&main, &dev]);
    client.nodes.require_network(NetworkId::of(&Params::dev()));
    for client in [client.pinned(), client.pinned_to(&main).unwrap(), client] {
        let sent = client.send_once(Method::POST, &["echo"], Some(&json!(1)), Duration::ZERO).await;
        let message = error(sent);
        assert!(message.contains("is on network main"), "{message}");
    }
    let gone = of_nodes(&[&dev, "127.0.0.1:1"]);
    let message = error(gone.get(&["item", "1"]).await);
    assert!(message.starts_with("none of 2 nodes responds: no node responds at"), "{message}");
    assert!(message.contains(&dev) && message.contains("127.0.0.1:1/"), "{message}");
}

/// The first node accepts the block, announces it to the second and stops before it responds.
#[tokio::test]
async fn known_block_counts_as_accepted_if_in_the_best_chain() {
    let block = Params::dev().genesis().clone();
    let hash = block.hash().to_string();
    for is_best in [true, false] {
        let known = json!({"hash": hash, "height": 0, "status": "known"});
        let shown = json!({
            "hash": hash, "height": 0, "confirmations": 1, "in_best_chain": is_best, "version": 1,
            "previous": "", "merkle_root": "", "time": 0, "bits": "", "nonce": 0, "difficulty": 0.0,
            "chain_work": "", "size": 0, "miner": "", "reward": 0, "fees": 0,
            "transaction_count": 1, "transactions": [], "next": null,
        });
        let (broken, count) = dropping().await;
        let routes = routes(&Params::dev())
            .route("/v1/blocks", post(async move || Json(known)))
            .route(&format!("/v1/blocks/{hash}"), get(async move || Json(shown)));
        let (good, _stop) = serve(routes).await;
        let mut remote = RemoteSource::new(of_nodes(&[&broken, &good]), Params::dev().hrp());
        let outcome = remote.submit(block.clone()).await.unwrap();
        assert_eq!(matches!(outcome, SubmitOutcome::Connected), is_best);
        // The connection was lost, so the block was sent again.
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }
}
