//! Requests to the REST API over HTTP.

use super::error::{
    ApiError, NoResponse, RequestError, UntrustedCertificate, combine_errors, problem,
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

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take, besides what the question itself asks to wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A node that can be asked, or several of one network that stand in for each other: the one that
/// answered last is asked, and when it does not answer, breaks off or says 503, the next. What must
/// not be done twice is asked of one alone. Cheap to clone; clones turn to the next one together.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    pub(super) nodes: Arc<Failover>,
    token: Option<Token>,
}

/// What a node answered: JSON, as it came.
#[derive(Debug)]
pub struct Response {
    /// The JSON.
    pub text: String,
    from: Url,
}

impl Response {
    /// Reads what a command needs of it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.text)
            .with_context(|| format!("{} gave an answer this program does not know", self.from))
    }
}

/// What is asked of a node.
struct Request<'a> {
    method: Method,
    /// Segments below `/v1`.
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    /// Its media type, and itself.
    body: Option<(&'a str, String)>,
    /// How long the node may hold the answer back.
    wait: Duration,
}

impl<'a> Request<'a> {
    fn get(path: &'a [&'a str]) -> Request<'a> {
        let (query, body, wait) = (&[][..], None, Duration::ZERO);
        Request { method: Method::GET, path, query, body, wait }
    }
}

impl Client {
    /// A client of the node at a URL, such as `http://127.0.0.1:8400` or `127.0.0.1:8400`.
    pub fn new(url: &str) -> Result<Client> {
        Client::open(&[url], Trust::default())
    }

    /// A client of the nodes at these URLs, asked in this order.
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

    /// The URL of the node that is asked first.
    pub fn base(&self) -> &Url {
        self.nodes.base(self.nodes.at())
    }

    /// The same client of one of its nodes alone, if that is among them.
    pub fn only(&self, url: &str) -> Option<Client> {
        let at = self.nodes.find(&base(url).ok()?)?;
        Some(self.one(at))
    }

    /// The same client of the node that is asked first alone.
    #[must_use]
    pub fn alone(&self) -> Client {
        self.one(self.at())
    }

    fn one(&self, at: usize) -> Client {
        Client { nodes: Arc::new(self.nodes.one(at)), ..self.clone() }
    }

    /// Asks the node after this one from now on; `false` if there is no other.
    pub fn turn(&self) -> bool {
        self.nodes.in_turn().nth(1).is_some_and(|next| {
            self.nodes.stay_at(next);
            true
        })
    }

    /// Which of its nodes is asked first.
    pub fn at(&self) -> usize {
        self.nodes.at()
    }

    /// The node that is asked first broke off: it may be of another network when it is back.
    pub fn doubt(&self) {
        self.nodes.doubt(self.at());
    }

    /// How many nodes it may ask.
    pub fn nodes(&self) -> usize {
        self.nodes.count()
    }

    /// The same with a node's token.
    pub fn with_token(self, token: Token) -> Client {
        Client { token: Some(token), ..self }
    }

    /// Asks for a resource, given by the segments of its path below `/v1`.
    pub async fn get(&self, path: &[&str]) -> Result<Response> {
        self.get_within(path, &[], Duration::ZERO).await
    }

    /// Asks with a query, for an answer that the node may hold back for a while.
    pub async fn get_within(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        wait: Duration,
    ) -> Result<Response> {
        self.ask_in_turn(&Request { query, wait, ..Request::get(path) }).await
    }

    /// Hands something in that nodes know again, so that they take it once however often it comes:
    /// a transaction, a block.
    pub async fn post(&self, path: &[&str], media_type: &str, body: String) -> Result<Response> {
        let body = Some((media_type, body));
        self.ask_in_turn(&Request { method: Method::POST, body, ..Request::get(path) }).await
    }

    /// Changes the node. What it answers, if it has anything to say; it may take so long to do it.
    /// Never asked twice, nor of another node: it could then be done twice.
    pub async fn order(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&serde_json::Value>,
        wait: Duration,
    ) -> Result<Option<Response>> {
        let body = body.map(|body| ("application/json", body.to_string()));
        let question = Request { method, body, wait, ..Request::get(path) };
        let at = self.nodes.at();
        self.identify(at).await.map_err(RequestError::into_error)?;
        self.ask(at, &question).await.map_err(|failure| {
            let error = failure.into_error();
            match error.downcast::<NoResponse>() {
                Ok(NoResponse(why)) => {
                    anyhow!("{why}: it may have been done; look before you order it again")
                }
                Err(error) => error,
            }
        })
    }

    /// Asks the node that is asked first for events: those after the one that was the last, or
    /// those that come. Their numbers are that node's own, so no other is asked instead.
    pub async fn follow(
        &self,
        query: &[(&str, &str)],
        last: Option<u64>,
    ) -> Result<EventStream, RequestError> {
        let at = self.nodes.at();
        self.identify(at).await?;
        let mut request = self.request(at, &Request { query, ..Request::get(&["events"]) })?;
        if let Some(last) = last {
            request = request.header("Last-Event-ID", last);
        }
        let sent = tokio::time::timeout(ANSWER_TIMEOUT, request.send()).await;
        let Ok(sent) = sent else { return Err(RequestError::Unavailable(self.late(at))) };
        let response = sent.map_err(|error| self.failure(at, &error))?;
        if response.status() == StatusCode::OK && !is_json(&response) {
            return Ok(EventStream::new(response, last));
        }
        self.read(at, response).await?;
        Err(anyhow!("{} answered without events: is it a node?", self.nodes.base(at)).into())
    }

    /// Every node must be of this; one that answers is asked at once.
    pub(super) async fn must_be_of(&self, identity: NetworkId) -> Result<()> {
        self.nodes.must_be(identity);
        self.get(&["chain"]).await.map(|_| ())
    }

    /// Asks one node after the other until one answers.
    async fn ask_in_turn(&self, question: &Request<'_>) -> Result<Response> {
        let mut errors = Vec::new();
        for at in self.nodes.in_turn() {
            let asked = async {
                self.identify(at).await?;
                self.ask(at, question).await
            };
            match asked.await {
                Ok(answer) => {
                    self.nodes.stay_at(at);
                    return answer.context("the node answered nothing");
                }
                Err(RequestError::Unavailable(error)) => errors.push(error),
                Err(RequestError::Fatal(error)) => {
                    // It is there, whatever it says.
                    if error.is::<ApiError>() {
                        self.nodes.stay_at(at);
                    }
                    return Err(error);
                }
            }
        }
        Err(combine_errors(errors))
    }

    /// Asks a node what it is of, if that matters and is not known yet.
    async fn identify(&self, at: usize) -> Result<(), RequestError> {
        if self.nodes.is_to_show_identity(at) {
            let chain = self.ask(at, &Request::get(&["chain"])).await?;
            let chain = chain.context("the node answered nothing")?;
            self.nodes.judge(at, &chain.read()?).map_err(anyhow::Error::from)?;
        }
        Ok(())
    }

    async fn ask(
        &self,
        at: usize,
        question: &Request<'_>,
    ) -> Result<Option<Response>, RequestError> {
        let request = self.request(at, question)?;
        let request = request.timeout(ANSWER_TIMEOUT.saturating_add(question.wait));
        let response = request.send().await.map_err(|error| self.failure(at, &error))?;
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            _ => self.read(at, response).await.map(Some),
        }
    }

    fn request(&self, at: usize, question: &Request<'_>) -> Result<reqwest::RequestBuilder> {
        let mut url = self.nodes.base(at).clone();
        url.path_segments_mut()
            .map_err(|()| anyhow!("{} has no paths", self.nodes.base(at)))?
            .pop_if_empty()
            .push("v1")
            .extend(question.path);
        if !question.query.is_empty() {
            url.query_pairs_mut().extend_pairs(question.query);
        }
        let mut request = self.http.request(question.method.clone(), url);
        // SseDecoder needs none.
        if let Some(token) = self.token.as_ref().filter(|_| question.method != Method::GET) {
            request = request.bearer_auth(token.text());
        }
        if let Some((media_type, body)) = &question.body {
            request = request.header(reqwest::header::CONTENT_TYPE, *media_type).body(body.clone());
        }
        Ok(request)
    }

    async fn read(&self, at: usize, response: reqwest::Response) -> Result<Response, RequestError> {
        let (status, from) = (response.status(), response.url().clone());
        let json = is_json(&response);
        let text = response.text().await.map_err(|error| self.failure(at, &error))?;
        let error = match (status.is_success(), json) {
            (true, true) => return Ok(Response { text, from }),
            (false, true) => problem(status, &text),
            (_, false) => anyhow!("{from} answered {status} without JSON: is it a node?"),
        };
        Err(match status {
            // The latter two by somebody between us and a node.
            StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT => RequestError::Unavailable(error),
            _ => RequestError::Fatal(error),
        })
    }

    fn failure(&self, at: usize, error: &reqwest::Error) -> RequestError {
        let base = self.nodes.base(at);
        if let Some(objection) = trust::objection(error) {
            return RequestError::Fatal(match objection {
                rustls::Error::InvalidMessage(_) => {
                    anyhow!("{base} does not speak TLS: call it by http")
                }
                rustls::Error::InvalidCertificate(_) => UntrustedCertificate(format!(
                    "the node at {base} is not trusted ({objection}): give --ca FILE with the \
                     certificate of who issued its own"
                ))
                .into(),
                _ => anyhow!("TLS with {base} fails: {objection}"),
            });
        }
        self.nodes.doubt(at);
        RequestError::Unavailable(if error.is_connect() {
            anyhow!("no node answers at {base}: start one with `chain node`")
        } else if error.is_timeout() {
            self.late(at)
        } else if trust::is_other_protocol(error) {
            anyhow!("{base} answers in another protocol than HTTP: if it is TLS, call it by https")
        } else {
            NoResponse(format!("the connection to {base} broke off")).into()
        })
    }

    fn late(&self, at: usize) -> anyhow::Error {
        NoResponse(format!("the node at {} takes too long to answer", self.nodes.base(at))).into()
    }
}

/// The URL under which a node's paths begin.
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
