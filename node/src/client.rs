//! A client of the REST API, for the commands that ask a node. Finds the node, turns its problems
//! into errors of one line, and knows no resource: the commands do.

mod following;

pub use following::{Following, Happened};

use crate::api::token::Token;
use crate::config::{default_data, network};
use crate::daemon::Whereabouts;
use anyhow::{Context, Result, anyhow, bail, ensure};
use chain::Params;
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take, besides what the question itself asks to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Which node a command asks
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Which node")]
#[group(id = "which-node")]
pub struct Place {
    /// URL of the node's API
    ///
    /// Default: the node of the data folder; where none runs, port 8400 of this machine.
    #[arg(long, env = "CHAIN_NODE", value_name = "URL")]
    node: Option<String>,
    /// Data folder of a node on this machine
    ///
    /// Default: the folder `chain/NETWORK` in the platform's data folder.
    #[arg(long, env = "CHAIN_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// The network the node must be of: a built-in one (main, testnet, dev) or the path of a file
    #[arg(long, env = "CHAIN_NETWORK", value_name = "NAME|FILE")]
    network: Option<String>,
}

impl Place {
    /// A client of that node. When a network is named, the node is asked whether it is of it.
    pub async fn connect(&self) -> Result<Client> {
        match self.network.as_deref().map(network::load).transpose()? {
            Some(params) => self.connect_to(&params).await,
            None => Client::new(&self.url(None)?),
        }
    }

    /// A client that may change that node: with the token from its data folder on this machine.
    pub async fn connect_with_token(&self) -> Result<Client> {
        let client = self.connect().await?;
        let named = self.network.as_deref().map(network::load).transpose()?;
        self.with_token(client, named.as_ref())
    }

    /// The same client with the token of its node, if that is on this machine.
    pub fn with_token(&self, client: Client, named: Option<&Params>) -> Result<Client> {
        let data = match &self.data {
            Some(data) => data.clone(),
            None => {
                let network = named.map_or(network::DEFAULT, Params::name);
                let data = default_data(network)?;
                // A node at another place is not shown the token of this one.
                let there = Whereabouts::read(&data).map(|there| Client::new(&there.api));
                let is_there =
                    there.is_some_and(|there| there.is_ok_and(|it| it.base == client.base));
                ensure!(is_there, "this needs the node's token: give --data, its data folder");
                data
            }
        };
        client.with_token_of(&data)
    }

    /// A client of that node, which must be of this network.
    pub async fn connect_to(&self, params: &Params) -> Result<Client> {
        let client = Client::new(&self.url(Some(params))?)?;
        client.must_be_of(params).await?;
        Ok(client)
    }

    /// A client of the node that is named, which must be of this network; if none is named, of the
    /// one on this machine, if one of this network answers.
    pub async fn find(&self, params: &Params) -> Result<Option<Client>> {
        if self.node.is_some() {
            return self.connect_to(params).await.map(Some);
        }
        let Ok(url) = self.url(Some(params)) else { return Ok(None) };
        let client = Client::new(&url)?;
        Ok(client.must_be_of(params).await.is_ok().then_some(client))
    }

    /// Whether the node is named by a URL.
    pub fn has_url(&self) -> bool {
        self.node.is_some()
    }

    /// The data folder, if one is named.
    pub fn data(&self) -> Option<&PathBuf> {
        self.data.as_ref()
    }

    /// The network, if one is named.
    pub fn network(&self) -> Option<&str> {
        self.network.as_deref()
    }

    fn url(&self, named: Option<&Params>) -> Result<String> {
        if let Some(url) = &self.node {
            return Ok(url.clone());
        }
        if let Some(data) = &self.data {
            let found = Whereabouts::read(data).with_context(|| {
                let data = data.display();
                format!("no node runs on {data}: start one with `chain node --data {data}`")
            });
            return found.map(|found| found.api);
        }
        // Without a home folder there is no default data folder to look into.
        let network = named.map_or(network::DEFAULT, Params::name);
        let found = default_data(network).ok().and_then(|data| Whereabouts::read(&data));
        let port = named.map_or(8400, |params| params.spec().ports.api);
        Ok(found.map_or_else(|| format!("http://127.0.0.1:{port}"), |found| found.api))
    }
}

/// A node that can be asked. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Token>,
}

/// What a node answered: JSON, as it came.
#[derive(Debug)]
pub struct Answer {
    /// The JSON.
    pub text: String,
    from: Url,
}

impl Answer {
    /// Reads what a command needs of it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text)
            .with_context(|| format!("{} gave an answer this program does not know", self.from))
    }
}

impl Client {
    /// A client of the node at a URL, such as `http://127.0.0.1:8400` or `127.0.0.1:8400`.
    pub fn new(url: &str) -> Result<Client> {
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let base = Url::parse(&full).with_context(|| format!("`{url}` is not a URL"))?;
        ensure!(
            base.scheme() == "http" && base.has_host(),
            "`{url}` is not an http URL such as http://127.0.0.1:8400"
        );
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Client { http, base, token: None })
    }

    /// The URL it is asked at.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// Asks for a resource, given by the segments of its path below `/v1`.
    pub async fn get(&self, path: &[&str]) -> Result<Answer> {
        self.get_within(path, &[], Duration::ZERO).await
    }

    /// Asks with a query, for an answer that the node may hold back for a while.
    pub async fn get_within(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        wait: Duration,
    ) -> Result<Answer> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(Method::GET, url);
        self.send(request.timeout(ANSWER_TIMEOUT.saturating_add(wait))).await
    }

    /// Asks for events: those after the one that was the last, or those that come.
    pub async fn follow(&self, query: &[(&str, &str)], last: Option<u64>) -> Result<Following> {
        let mut url = self.url(&["events"])?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.http.request(Method::GET, url);
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await;
        let response = match sent {
            Ok(response) => response.map_err(|error| self.unreachable(&error))?,
            Err(_elapsed) => bail!("the node at {} takes too long to answer: try again", self.base),
        };
        if response.status() == StatusCode::OK && !is_json(&response) {
            Ok(Following::new(response, last))
        } else {
            Err(self
                .answer(response)
                .await
                .err()
                .unwrap_or_else(|| anyhow!("{} answered without events: is it a node?", self.base)))
        }
    }

    /// Hands something in.
    pub async fn post(&self, path: &[&str], media_type: &str, body: String) -> Result<Answer> {
        let request = self.http.request(Method::POST, self.url(path)?);
        let request = request.header(reqwest::header::CONTENT_TYPE, media_type).body(body);
        self.send(request.timeout(ANSWER_TIMEOUT)).await
    }

    /// The same with the token that a node has left in its data folder.
    pub fn with_token_of(self, data: &Path) -> Result<Client> {
        Ok(Client { token: Some(Token::of_node(data)?), ..self })
    }

    /// Changes the node. What it answers, if it has anything to say; it may take so long to do it.
    pub async fn order(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&serde_json::Value>,
        wait: Duration,
    ) -> Result<Option<Answer>> {
        let mut request = self.http.request(method, self.url(path)?);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.text());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let request = request.timeout(ANSWER_TIMEOUT.saturating_add(wait));
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            _ => self.answer(response).await.map(Some),
        }
    }

    async fn must_be_of(&self, params: &Params) -> Result<()> {
        #[derive(Deserialize)]
        struct Chain {
            network: String,
            genesis: String,
        }
        let chain: Chain = self.get(&["chain"]).await?.read()?;
        let (name, genesis) = (params.name(), params.genesis_hash().to_string());
        if chain.genesis != genesis {
            bail!(
                "the node at {} is of network {} (genesis {}), not {name} (genesis {genesis}): \
                 give --node or --data of another, or the right --network",
                self.base,
                printable(&chain.network),
                printable(&chain.genesis),
            );
        }
        Ok(())
    }

    fn url(&self, path: &[&str]) -> Result<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} has no paths", self.base))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        Ok(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        self.answer(response).await
    }

    async fn answer(&self, response: Response) -> Result<Answer> {
        let (status, from) = (response.status(), response.url().clone());
        let json = is_json(&response);
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        match (status.is_success(), json) {
            (true, true) => Ok(Answer { text, from }),
            (false, true) => Err(problem(status, &text)),
            (_, false) => bail!("{from} answered {status} without JSON: is it a node?"),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let base = &self.base;
        if error.is_connect() {
            anyhow!("no node answers at {base}: start one with `chain node`")
        } else if error.is_timeout() {
            anyhow!("the node at {base} takes too long to answer: try again")
        } else {
            anyhow!("the connection to {base} broke off: try again")
        }
    }
}

fn is_json(response: &Response) -> bool {
    let value = response.headers().get(reqwest::header::CONTENT_TYPE);
    let media_type = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.starts_with("application/json") || media_type.starts_with("application/problem+json")
}

/// A node's problem: it understood, and says no.
#[derive(Debug, Deserialize, thiserror::Error)]
#[error("{} ({})", printable(detail), printable(code))]
pub struct Refused {
    detail: String,
    /// The stable code.
    pub code: String,
}

fn problem(status: StatusCode, text: &str) -> anyhow::Error {
    match serde_json::from_str::<Refused>(text) {
        Ok(refused) => refused.into(),
        Err(_) => anyhow!("the node answered {status}"),
    }
}

/// Text from elsewhere, fit for a terminal: control characters are escaped.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::extract::{Json, Path};
    use crate::api::hosts::Hosts;
    use crate::api::problem::{Kind, Problem};
    use crate::api::server;
    use crate::metrics::requests::Count;
    use axum::Router;
    use axum::routing::{get, post};
    use serde_json::{Value, json};
    use std::fs;
    use std::sync::Arc;
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
        let routes = server::Guarded::new(routes, hosts, Count::new(Arc::default(), []));
        tokio::spawn(server::serve(listener, routes, Arc::default(), stopped));
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
    fn only_http_urls_are_taken() {
        for url in ["https://127.0.0.1", "ftp://x", "http://", "", "a b"] {
            assert!(Client::new(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_node_of_another_network_is_refused() {
        let (url, _stop) = server().await;
        let place = |network: Option<&str>| Place {
            node: Some(url.clone()),
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
        assert!(error(place.url(None)).contains("chain node --data"));
        let there = Whereabouts {
            pid: 1,
            api: "http://127.0.0.1:9".to_owned(),
            network: "dev".to_owned(),
            genesis: String::new(),
            node_id: String::new(),
            peers: Vec::new(),
            stratum: None,
        };
        fs::write(folder.path().join("node.json"), serde_json::to_vec(&there).unwrap()).unwrap();
        assert_eq!(place.url(None).unwrap(), there.api);
        let both = Place { node: Some("elsewhere".to_owned()), ..place };
        assert_eq!(both.url(None).unwrap(), "elsewhere");
    }
}
