//! The nodes of a testnet over their APIs.

use super::Testnet;
use crate::harness::{Response, eventually, request};
use crate::test_chain::{test_address, text};
use chain::Transfer;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The nodes of a testnet over their APIs.
pub(super) struct Nodes<'a> {
    testnet: &'a Testnet,
    pub(super) addresses: Vec<String>,
}

impl<'a> Nodes<'a> {
    pub(super) fn of(testnet: &'a Testnet) -> Nodes<'a> {
        let urls = testnet.status().each("api");
        let address =
            |url: &Value| url.as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
        Nodes { testnet, addresses: urls.iter().map(address).collect() }
    }

    pub(super) fn get(&self, node: usize, path: &str) -> Value {
        request(&self.addresses[node - 1], "GET", path, &[], b"").unwrap().json()
    }

    /// Sends a request with the token of a node.
    pub(super) fn post(&self, node: usize, path: &str, body: &Value) -> Response {
        let token = self.testnet.dir.join(format!("node-{node}/api-token"));
        let token = std::fs::read_to_string(token).unwrap();
        let headers =
            [&*format!("Authorization: Bearer {}", token.trim()), "Content-Type: application/json"];
        let (address, body) = (&self.addresses[node - 1], body.to_string());
        request(address, "POST", path, &headers, body.as_bytes()).unwrap()
    }

    /// Submits a transfer to the second node, and waits until the first one has it.
    pub(super) fn submit(&self, transfer: &Transfer) -> String {
        let id = self.submit_confirmed(transfer);
        eventually("the transfer on node 1", || (self.status(1, &id) == "pending").then_some(()));
        id
    }

    /// Submits a transfer to the second node of a testnet that may confirm it at once.
    pub(super) fn submit_confirmed(&self, transfer: &Transfer) -> String {
        let body = hex::encode(transfer.encode());
        let headers = ["Content-Type: text/plain"];
        let path = "/v1/transactions";
        let response = request(&self.addresses[1], "POST", path, &headers, body.as_bytes());
        assert_eq!(response.unwrap().status, 201);
        transfer.id().to_string()
    }

    fn status(&self, node: usize, id: &str) -> String {
        let transaction = self.get(node, &format!("/v1/transactions/{id}"));
        transaction["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Generates blocks on the first node.
    pub(super) fn generate(&self, blocks: u32) {
        let order = json!({ "blocks": blocks, "miner": text(test_address(9)) });
        assert_eq!(self.post(1, "/v1/dev/generate", &order).status, 200);
    }

    /// The events of a node up to the first one of a topic that has `field` with this value.
    pub(super) fn events(
        &self,
        node: usize,
        until: &str,
        field: &str,
        value: &Value,
    ) -> Vec<(String, Value)> {
        let address = &self.addresses[node - 1];
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("GET /v1/events?since=0 HTTP/1.0\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let (mut events, mut name) = (Vec::new(), String::new());
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            if let Some(found) = line.strip_prefix("event: ") {
                found.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let data: Value = serde_json::from_str(data).unwrap();
                let is_last = name == until && data[field] == *value;
                events.push((name.clone(), data));
                if is_last {
                    return events;
                }
            }
        }
        panic!("node {node} sent no {until} with {field} = {value}");
    }
}
