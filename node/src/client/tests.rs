//! The client against a server with a few resources of its own.

use super::*;
use crate::daemon::Whereabouts;
use chain::Params;
use crate::api::extract::{Json, Path};
use crate::api::hosts::Hosts;
use crate::api::problem::{Kind, Problem};
use crate::api::server;
use axum::Router;
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::fs;
use tokio::sync::watch;

/// A server with a few resources, and what keeps it up.
async fn server() -> (String, watch::Sender<bool>) {
    let genesis = Params::dev().genesis_hash().to_string();
    let chain = json!({"network": "dev", "genesis": genesis});
    let routes = Router::new()
        .route("/v1/chain", get(async move || Json(chain)))
        .route("/v1/plain", get(async || "plain"))
        .route("/v1/echo", post(async |Json(value): Json<Value>| Json(value)))
        .route("/v1/item/{id}", get(async |Path(id): Path<String>| Json(id)))
        .route("/v1/bad", get(async || Problem::new(Kind::rule("bad-nonce"), "a\n\u{1b}[2J")));
    let listener = server::bind("127.0.0.1:0".parse().unwrap(), "--api").await.unwrap();
    let address = server::address(&listener).unwrap();
    let hosts = Hosts::new(address.ip(), &[]).unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(server::serve(listener, None, server::guard(routes, hosts), stopped));
    (format!("http://{address}"), stop)
}

fn error<T: std::fmt::Debug>(result: Result<T>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[tokio::test]
async fn answers_come_as_they_are_and_problems_as_one_line() {
    let (url, _stop) = server().await;
    let client = Client::new(&url).unwrap();
    let echoed =
        client.post(&["echo"], "application/json", "{\"a\":1}".to_owned()).await.unwrap();
    assert_eq!(echoed.text, "{\"a\":1}");
    assert!(error(echoed.read::<Vec<u8>>()).contains("does not know"));
    assert_eq!(error(client.get(&["bad"]).await), "a\\n\\u{1b}[2J (bad-nonce)");
    assert!(error(client.get(&["plain"]).await).contains("is it a node?"));
    assert!(error(client.get(&["nothing"]).await).ends_with("(not-found)"));
}

#[tokio::test]
async fn what_users_type_stays_one_segment_of_the_path() {
    let (url, _stop) = server().await;
    for base in [url.clone(), format!("{url}/"), url.replace("http://", "")] {
        let client = Client::new(&base).unwrap();
        for id in ["7", "a/b?c#d", "%2e%2e", "ü"] {
            let answer = client.get(&["item", id]).await.unwrap();
            assert_eq!(answer.read::<String>().unwrap(), id);
        }
    }
}

#[tokio::test]
async fn where_nobody_listens_the_way_out_is_told() {
    let (url, stop) = server().await;
    let client = Client::new(&url).unwrap();
    client.get(&["chain"]).await.unwrap();
    drop(stop);
    let message = loop {
        match client.get(&["chain"]).await {
            Err(error) if error.to_string().contains("broke off") => {}
            Err(error) => break error.to_string(),
            Ok(_) => {}
        }
    };
    assert_eq!(message, format!("no node answers at {url}/: start one with `chain node`"));
}

#[test]
fn only_urls_of_http_are_taken() {
    for url in ["wss://127.0.0.1", "ftp://x", "http://", "https://", "", "a b"] {
        assert!(Client::new(url).is_err(), "{url}");
    }
}

#[tokio::test]
async fn a_node_of_another_network_is_refused() {
    let (url, _stop) = server().await;
    let place = |network: Option<&str>| Place {
        node: vec![url.clone()],
        network: network.map(ToOwned::to_owned),
        ..Place::default()
    };
    place(None).connect().await.unwrap();
    place(Some("dev")).connect().await.unwrap();
    let message = error(place(Some("main")).connect().await);
    assert!(message.contains("is of network dev") && message.contains("not main"), "{message}");
}

#[test]
fn the_data_folder_tells_where_its_node_is() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { data: Some(folder.path().to_owned()), ..Place::default() };
    assert!(error(place.client(None)).contains("chain node --data"));
    let there = Whereabouts {
        pid: 1,
        api: "http://127.0.0.1:9".to_owned(),
        network: "dev".to_owned(),
        genesis: String::new(),
        node_id: String::new(),
        peers: Vec::new(),
        stratum: None,
        certificate: None,
    };
    fs::write(folder.path().join("node.json"), serde_json::to_vec(&there).unwrap()).unwrap();
    assert_eq!(place.client(None).unwrap().base().as_str(), "http://127.0.0.1:9/");
    let both = Place { node: vec!["elsewhere".to_owned()], ..place };
    assert_eq!(both.client(None).unwrap().base().as_str(), "http://elsewhere/");
}
