//! Requests to the REST API over HTTP.

use super::error::{
    ApiError, NoResponse, NotSent, RequestError, UntrustedCertificate, combine_errors,
    may_have_been_applied, problem,
};
use super::event_stream::EventStream;
use super::failover::{Failover, NetworkId};
use super::trust::{self, Trust};
use crate::auth::Token;
use anyhow::{Context, Result, anyhow, ensure};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of a response, besides the time for which the request itself asks to wait.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client of one node, or of several on one network that stand in for each other: requests go to
/// the node that responded last, and to the next one when it is unreachable, drops the connection
/// or responds with 503. Requests that must not be applied twice go to one node only. Cheap to
/// clone; clones switch nodes together.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    pub(super) nodes: Arc<Failover>,
    token: Option<Token>,
}

/// The JSON body of a response, as received.
#[derive(Debug)]
pub struct Response {
    /// The body of the response as text: JSON.
    pub text: String,
    url: Url,
}

impl Response {
    /// Parses the body of the response as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text)
            .with_context(|| format!("unexpected response from {}", self.url))
    }
}

/// What became of an object that was submitted, such as a transaction.
#[derive(Debug)]
pub enum Submission {
    /// A node has accepted it.
    Accepted(Response),
    /// A node has refused it, and no other node has received it.
    Rejected(ApiError),
    /// No node has received it.
    NotSent(anyhow::Error),
    /// A node may have received it, and gave no answer by which that is known.
    Unknown(anyhow::Error),
}

struct Request<'a> {
    method: Method,
    /// The segments of the path below `/v1`.
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    /// Media type and content.
    body: Option<(&'a str, String)>,
    /// Time for which the node may delay the response.
    wait: Duration,
}

impl<'a> Request<'a> {
    fn get(path: &'a [&'a str]) -> Request<'a> {
        let (query, body, wait) = (&[][..], None, Duration::ZERO);
        Request { method: Method::GET, path, query, body, wait }
    }

    /// Time limit of the response.
    fn limit(&self) -> Duration {
        RESPONSE_TIMEOUT.saturating_add(self.wait)
    }
}

impl Client {
    /// A client of the node at a URL, such as `http://127.0.0.1:8400` or `127.0.0.1:8400`.
    pub fn new(url: &str) -> Result<Client> {
        Client::open(&[url], Trust::default())
    }

    /// A client of the node at a port of this machine.
    pub fn at_port(port: u16) -> Result<Client> {
        Client::new(&format!("http://127.0.0.1:{port}"))
    }

    /// A client of the nodes at these URLs, in order of preference.
    pub fn open(urls: &[impl AsRef<str>], trust: Trust) -> Result<Client> {
        let bases: Result<Vec<_>> = urls.iter().map(|url| base(url.as_ref())).collect();
        let bases = bases?;
        let is_https = bases.iter().any(|base| base.scheme() == "https");
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tls_backend_preconfigured(trust.config(is_https)?)
            .build()?;
        Ok(Client { http, nodes: Arc::new(Failover::new(bases)), token: None })
    }

    /// The URL of the node in use.
    pub fn base(&self) -> &Url {
        self.nodes.base(self.nodes.current())
    }

    /// A copy of the client with the node at a URL only; `None` if that is not one of its nodes.
    pub fn pinned_to(&self, url: &str) -> Option<Client> {
        let index = self.nodes.position(&base(url).ok()?)?;
        Some(self.single(index))
    }

    /// A copy of the client with the node in use only.
    #[must_use]
    pub fn pinned(&self) -> Client {
        self.single(self.current())
    }

    /// Clients of each node alone.
    pub fn each(&self) -> Vec<Client> {
        (0..self.node_count()).map(|index| self.single(index)).collect()
    }

    fn single(&self, index: usize) -> Client {
        Client { nodes: Arc::new(self.nodes.single(index)), ..self.clone() }
    }

    /// Switches to the next node; returns `false` if there is no other.
    pub fn switch_to_next(&self) -> bool {
        self.nodes.in_order().nth(1).is_some_and(|next| {
            self.nodes.switch_to(next);
            true
        })
    }

    /// The index of the node in use.
    pub fn current(&self) -> usize {
        self.nodes.current()
    }

    /// Has the network of the node in use checked again, after it has dropped a connection.
    pub fn recheck_network(&self) {
        self.nodes.recheck(self.current());
    }

    /// The number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.count()
    }

    /// A copy of the client with the token of its node.
    pub fn with_token(self, token: Token) -> Client {
        Client { token: Some(token), ..self }
    }

    /// Requests a resource, named by the segments of its path below `/v1`.
    pub async fn get(&self, path: &[&str]) -> Result<Response> {
        self.get_with(path, &[], Duration::ZERO).await
    }

    /// The status code and body of the response to a path of the node in use, such as `/metrics`.
    pub async fn fetch(&self, path: &str) -> Result<(u16, String)> {
        let response = send_again_if_lost(self.http.get(self.base().join(path)?)).await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// Requests a resource with query parameters. The node may delay its response for `wait`.
    pub async fn get_with(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        wait: Duration,
    ) -> Result<Response> {
        self.send_with_failover(&Request { query, wait, ..Request::get(path) }).await
    }

    /// Requests encoded bytes, such as a block, from the node in use.
    pub async fn get_bytes(&self, path: &[&str]) -> Result<Vec<u8>> {
        let index = self.nodes.current();
        self.check_network(index).await.map_err(RequestError::into_error)?;
        let request = Request::get(path);
        let request = self.build(index, &request)?.timeout(request.limit());
        let request = request.header(reqwest::header::ACCEPT, "application/octet-stream");
        let sent = send_again_if_lost(request).await;
        let response = sent.map_err(|error| self.transport_error(index, &error).into_error())?;
        if response.status() == StatusCode::OK && !is_json(&response) {
            let bytes = response.bytes().await;
            let bytes = bytes.map_err(|error| self.transport_error(index, &error).into_error())?;
            return Ok(bytes.to_vec());
        }
        self.read(index, response).await.map_err(RequestError::into_error)?;
        Err(anyhow!("{} responded without bytes: is it a node?", self.nodes.base(index)))
    }

    /// Submits an object that nodes recognize, a transaction or a block: it is applied once even
    /// if it is sent to several nodes.
    pub async fn post(&self, path: &[&str], media_type: &str, body: String) -> Result<Response> {
        let body = Some((media_type, body));
        self.send_with_failover(&Request { method: Method::POST, body, ..Request::get(path) }).await
    }

    /// Submits an object as `post` does, with query parameters, and reports whether a node may have it
    /// when there is an error.
    pub async fn submit(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        media_type: &str,
        body: String,
    ) -> Submission {
        let body = Some((media_type, body));
        let request = Request { method: Method::POST, query, body, ..Request::get(path) };
        let (mut errors, mut is_doubtful, mut rejection) = (Vec::new(), false, None);
        for index in self.nodes.in_order() {
            let failed = match self.check_network(index).await {
                Err(error) => error,
                Ok(()) => match self.send(index, &request).await {
                    Ok(response) => {
                        self.nodes.switch_to(index);
                        let empty = || Submission::Unknown(anyhow!("empty response from node"));
                        return response.map_or_else(empty, Submission::Accepted);
                    }
                    Err(error) => {
                        is_doubtful |= may_have_been_applied(error.error());
                        error
                    }
                },
            };
            match failed {
                RequestError::Unavailable(error) => errors.push(error),
                RequestError::Fatal(error) => {
                    match error.downcast::<ApiError>() {
                        Ok(error) => {
                            self.nodes.switch_to(index);
                            rejection = Some(error);
                        }
                        Err(error) => errors.push(error),
                    }
                    break;
                }
            }
        }
        match rejection {
            Some(error) if !is_doubtful => Submission::Rejected(error),
            rejection => {
                errors.extend(rejection.map(Into::into));
                let error = combine_errors(errors);
                if is_doubtful { Submission::Unknown(error) } else { Submission::NotSent(error) }
            }
        }
    }

    /// Sends a request that changes the node. Never retried nor sent to another node, because it
    /// could then be applied twice. `None` for a response without content.
    pub async fn send_once(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&serde_json::Value>,
        wait: Duration,
    ) -> Result<Option<Response>> {
        let body = body.map(|body| ("application/json", body.to_string()));
        let request = Request { method, body, wait, ..Request::get(path) };
        let index = self.nodes.current();
        self.check_network(index).await.map_err(RequestError::into_error)?;
        self.send(index, &request).await.map_err(|error| {
            match error.into_error().downcast::<NoResponse>() {
                Ok(NoResponse(reason)) => {
                    anyhow!("{reason}: the request may have been applied; check before retrying")
                }
                Err(error) => error,
            }
        })
    }

    /// Sends a request that changes the node and has a response, as `send_once`.
    pub async fn create(
        &self,
        path: &[&str],
        body: &serde_json::Value,
        wait: Duration,
    ) -> Result<Response> {
        let response = self.send_once(Method::POST, path, Some(body), wait).await?;
        response.context("empty response from node")
    }

    /// Opens the event stream of the node in use: new events, or those after `last`. Event numbers
    /// differ between nodes, so no other node is tried.
    pub async fn events(
        &self,
        query: &[(&str, &str)],
        last: Option<u64>,
    ) -> Result<EventStream, RequestError> {
        let index = self.nodes.current();
        self.check_network(index).await?;
        let mut request = self.build(index, &Request { query, ..Request::get(&["events"]) })?;
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let sent = tokio::time::timeout(RESPONSE_TIMEOUT, send_again_if_lost(request)).await;
        let Ok(sent) = sent else {
            return Err(RequestError::Unavailable(self.timed_out(index)));
        };
        let response = sent.map_err(|error| self.transport_error(index, &error))?;
        if response.status() == StatusCode::OK && !is_json(&response) {
            return Ok(EventStream::new(response, last));
        }
        self.read(index, response).await?;
        Err(anyhow!("{} responded without events: is it a node?", self.nodes.base(index)).into())
    }

    /// Requires a network of all nodes and checks that of the first one to respond.
    pub(super) async fn require_network(&self, network: NetworkId) -> Result<()> {
        self.nodes.require_network(network);
        self.get(&["chain"]).await.map(|_| ())
    }

    /// Sends a request to one node after the other until one responds.
    async fn send_with_failover(&self, request: &Request<'_>) -> Result<Response> {
        let mut errors = Vec::new();
        for index in self.nodes.in_order() {
            let sent = async {
                self.check_network(index).await?;
                self.send_idempotent(index, request).await
            };
            match sent.await {
                Ok(response) => {
                    self.nodes.switch_to(index);
                    return response.context("empty response from node");
                }
                Err(RequestError::Unavailable(error)) => errors.push(error),
                Err(RequestError::Fatal(error)) => {
                    // An error response shows that the node runs.
                    if error.is::<ApiError>() {
                        self.nodes.switch_to(index);
                    }
                    return Err(error);
                }
            }
        }
        Err(combine_errors(errors))
    }

    /// Checks the network of a node unless that is known or does not matter.
    async fn check_network(&self, index: usize) -> Result<(), RequestError> {
        if self.nodes.needs_check(index) {
            let chain = self.send_idempotent(index, &Request::get(&["chain"])).await?;
            let chain = chain.context("empty response from node")?;
            self.nodes.check_network(index, &chain.json()?).map_err(anyhow::Error::from)?;
        }
        Ok(())
    }

    async fn send(
        &self,
        index: usize,
        request: &Request<'_>,
    ) -> Result<Option<Response>, RequestError> {
        let sent = self.build(index, request)?.timeout(request.limit()).send().await;
        self.content(index, sent).await
    }

    /// Sends a request that may be applied twice, and again if its connection is lost.
    async fn send_idempotent(
        &self,
        index: usize,
        request: &Request<'_>,
    ) -> Result<Option<Response>, RequestError> {
        let built = self.build(index, request)?.timeout(request.limit());
        let sent = send_again_if_lost(built).await;
        self.content(index, sent).await
    }

    /// The content of a response; `None` if it has none.
    async fn content(
        &self,
        index: usize,
        sent: reqwest::Result<reqwest::Response>,
    ) -> Result<Option<Response>, RequestError> {
        let response = sent.map_err(|error| self.transport_error(index, &error))?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            _ => self.read(index, response).await.map(Some),
        }
    }

    fn build(&self, index: usize, request: &Request<'_>) -> Result<reqwest::RequestBuilder> {
        let mut url = self.nodes.base(index).clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} has no paths", self.nodes.base(index)))?
            .pop_if_empty()
            .push("v1")
            .extend(request.path);
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(request.query);
        }
        let mut builder = self.http.request(request.method.clone(), url);
        // Reading needs no token.
        if let Some(token) = self.token.as_ref().filter(|_| request.method != Method::GET) {
            builder = builder.bearer_auth(token.text());
        }
        if let Some((media_type, body)) = &request.body {
            builder = builder.header(reqwest::header::CONTENT_TYPE, *media_type).body(body.clone());
        }
        Ok(builder)
    }

    async fn read(
        &self,
        index: usize,
        response: reqwest::Response,
    ) -> Result<Response, RequestError> {
        let (status, url) = (response.status(), response.url().clone());
        let json = is_json(&response);
        let text = response.text().await.map_err(|error| self.transport_error(index, &error))?;
        let error = match (status.is_success(), json) {
            (true, true) => return Ok(Response { text, url }),
            (false, true) => problem(status, &text),
            (_, false) => anyhow!("{url} responded with {status} and no JSON: is it a node?"),
        };
        Err(match status {
            // The latter two come from a proxy.
            StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT => RequestError::Unavailable(error),
            _ => RequestError::Fatal(error),
        })
    }

    fn transport_error(&self, index: usize, error: &reqwest::Error) -> RequestError {
        let base = self.nodes.base(index);
        if let Some(cause) = trust::tls_error(error) {
            return RequestError::Fatal(match cause {
                rustls::Error::InvalidMessage(_) => {
                    anyhow!("{base} does not speak TLS: use http in its URL")
                }
                rustls::Error::InvalidCertificate(_) => UntrustedCertificate(format!(
                    "the certificate of {base} is not trusted ({cause}): use --ca FILE with that \
                     certificate or the one of its issuer"
                ))
                .into(),
                _ => anyhow!("TLS with {base} fails: {cause}"),
            });
        }
        self.nodes.recheck(index);
        RequestError::Unavailable(if error.is_connect() {
            NotSent(format!("no node responds at {base}: start one with `chain node`")).into()
        } else if error.is_timeout() {
            self.timed_out(index)
        } else if trust::is_other_protocol(error) {
            anyhow!("{base} does not speak HTTP: if it speaks TLS, use https in its URL")
        } else {
            NoResponse(format!("the connection to {base} was lost")).into()
        })
    }

    fn timed_out(&self, index: usize) -> anyhow::Error {
        NoResponse(format!("the node at {} did not respond in time", self.nodes.base(index))).into()
    }
}

/// Sends an idempotent request, and once more if its connection is lost before the response: a node closes
/// idle connections, possibly at the moment at which one is used again (RFC 9110, section 9.2.2).
async fn send_again_if_lost(
    request: reqwest::RequestBuilder,
) -> reqwest::Result<reqwest::Response> {
    let Some(again) = request.try_clone() else { return request.send().await };
    let lost = match request.send().await {
        Err(error) if is_lost(&error) => error,
        sent => return sent,
    };
    // The first error says more than the absence of the node.
    again.send().await.map_err(|error| if error.is_connect() { lost } else { error })
}

/// Whether the connection of a request was lost after it had been established.
fn is_lost(error: &reqwest::Error) -> bool {
    !error.is_connect()
        && !error.is_timeout()
        && trust::tls_error(error).is_none()
        && !trust::is_other_protocol(error)
}

/// The URL below which a node's paths are.
fn base(url: &str) -> Result<Url> {
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let base = Url::parse(&full).with_context(|| format!("`{url}` is not a URL"))?;
    ensure!(
        ["http", "https"].contains(&base.scheme()) && base.has_host(),
        "`{url}` is not an http or https URL such as http://127.0.0.1:8400"
    );
    Ok(base)
}

fn is_json(response: &reqwest::Response) -> bool {
    let value = response.headers().get(reqwest::header::CONTENT_TYPE);
    let media_type = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.starts_with("application/json") || media_type.starts_with("application/problem+json")
}
