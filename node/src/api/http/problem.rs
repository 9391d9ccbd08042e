//! Errors as clients see them: RFC 9457 problem details with a stable code.
//! One table holds every kind of problem but those that the consensus rules name.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use chain::rules::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::Value;

/// Media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// When to try again unless a problem knows better, in seconds: about a block of a fast network.
const RETRY_SECONDS: u32 = 5;

/// What went wrong, in kind: the code never changes, the title is the same for every occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    text: &'static str,
}

/// Declares the kinds, and the list of them all.
macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal $title:literal $text:literal;)*) => {
        impl Kind {
            $(
                #[doc = $title]
                pub const $name: Kind =
                    Kind {
                    code: $code, status: StatusCode::$status, title: $title, text: $text,
                };
            )*
            /// Every kind but the consensus rules.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];
        }
    };
}

kinds! {
    BAD_REQUEST = BAD_REQUEST "bad-request" "The request is malformed"
        "Something in the path, the query, a header or the body is not what this API understands; `detail` says what. The same request fails again.";
    UNAUTHORIZED = UNAUTHORIZED "unauthorized" "This needs the node's token"
        "What changes the node needs `Authorization: Bearer TOKEN`. The token is in the file `api-token` in the node's data folder.";
    NOT_AVAILABLE = FORBIDDEN "not-available" "This network does not allow it"
        "What `/v1/dev` offers exists on networks for development only, whose blocks take no work, and never moves their first block.";
    FORBIDDEN_HOST = FORBIDDEN "forbidden-host" "The node does not answer to this host name"
        "The `Host` header names none of the names this node answers to, which keeps other sites' pages out. Call it by localhost or its address, or start the node with `--api-host NAME`.";
    NOT_FOUND = NOT_FOUND "not-found" "There is no such thing"
        "Nothing is at this path, or this node does not have what it names.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method-not-allowed" "This path does not take this method"
        "The `Allow` header lists the methods that this path takes.";
    REQUEST_TIMEOUT = REQUEST_TIMEOUT "request-timeout" "The request took too long to arrive"
        "The body did not arrive in ten seconds.";
    BANNED = CONFLICT "banned" "The node is banned"
        "The node to connect with is kept out by this one: lift the ban first.";
    NONCE_USED = CONFLICT "nonce-used" "The nonce is used already"
        "A transfer of this sender with this nonce is in the chain, and it is another one. `expected` is the next nonce.";
    REPLACEMENT_TOO_CHEAP = CONFLICT "replacement-too-cheap" "The replacement does not pay enough more"
        "A transfer with this nonce waits for a block. To replace it takes the fee in `expected`.";
    STALE_TEMPLATE = CONFLICT "stale-template" "The template is of an old tip"
        "The chain has moved on since the template was made: fetch a new one.";
    CURSOR_GONE = GONE "cursor-gone" "The cursor belongs to a branch that was left"
        "The chain was reorganised since the list was begun: begin it again, without a cursor.";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too-large" "The request's body is too large"
        "The body is above the limit of its path: 1 MiB, and 4,200,000 bytes for a block.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body is of another type than expected"
        "The `Content-Type` header says something else than this path takes. JSON must say `application/json`.";
    NO_MINER = UNPROCESSABLE_ENTITY "no-miner" "Nobody is named to be paid"
        "The order names no `miner`, and the node has no address of its own to pay.";
    NO_PEER = UNPROCESSABLE_ENTITY "no-peer" "This node cannot connect there"
        "What answers there is this node itself, a node of another network, or another node than the address names.";
    INVALID_JOB = UNPROCESSABLE_ENTITY "invalid-job" "The mining job makes no sense"
        "What it says contradicts itself or is out of range; `detail` says which part.";
    IDEMPOTENCY_KEY_USED = UNPROCESSABLE_ENTITY "idempotency-key-used" "The key stands for another request"
        "A request with this `Idempotency-Key` was another one: choose a new key.";
    MIN_FEE = UNPROCESSABLE_ENTITY "min-fee" "The fee is below what this node relays"
        "The fee is below the least rate that this node relays. `expected` is what would do.";
    NONCE_TOO_FAR = UNPROCESSABLE_ENTITY "nonce-too-far" "The nonce is too far ahead of the account"
        "Too many transfers of this sender are missing in between. `expected` is the highest nonce that may wait now.";
    RATE_LIMITED = TOO_MANY_REQUESTS "rate-limited" "Too many requests"
        "This client has asked too much in a short time. `Retry-After` says when it may go on.";
    SENDER_LIMIT = TOO_MANY_REQUESTS "sender-limit" "The sender has too many transactions waiting"
        "The pool holds no more transfers of one sender, or lets it replace no more before the next block.";
    TOO_MANY_JOBS = TOO_MANY_REQUESTS "too-many-jobs" "There are too many mining jobs"
        "Cancel some, or wait until some are done.";
    INTERNAL = INTERNAL_SERVER_ERROR "internal" "The node failed"
        "A bug or a broken disk; the node's log says more.";
    MEMPOOL_FULL = SERVICE_UNAVAILABLE "mempool-full" "The mempool is full of better-paying transactions"
        "The pool is full of transfers that pay more. Try again later, or with a higher fee.";
    DISK_FULL = SERVICE_UNAVAILABLE "disk-full" "The node's disk is full"
        "The node has no room to write. Reading goes on; it takes blocks and transfers again once there is room.";
    INTERRUPTED = SERVICE_UNAVAILABLE "interrupted" "What had begun it has ended"
        "A mining job belonged to a process that is gone.";
    TOO_MANY_READERS = SERVICE_UNAVAILABLE "too-many-readers" "Too many clients read events"
        "The node tells events to a limited number of clients at a time: try again later.";
    NOT_READY = SERVICE_UNAVAILABLE "not-ready" "The node is not ready"
        "The node is behind its peers, or stopping.";
}

impl Kind {
    /// A consensus rule that something breaks, under the rule's own code.
    pub fn rule(rule: Rule) -> Kind {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let (code, text) = (rule.code(), rule.description());
        Kind { code, status, title: "A consensus rule is broken", text }
    }

    /// Every consensus rule.
    pub fn rules() -> impl Iterator<Item = Kind> {
        Rule::ALL.iter().copied().map(Kind::rule)
    }

    /// Every kind there is.
    pub fn every() -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().chain(Kind::rules())
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// The status it is sent with.
    pub const fn status(self) -> StatusCode {
        self.status
    }

    /// What it is called.
    pub const fn title(self) -> &'static str {
        self.title
    }

    /// What it means and what to do about it, in sentences.
    pub const fn text(self) -> &'static str {
        self.text
    }
}

/// One occurrence of a kind of problem.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    /// What was called for, and what came.
    compared: Option<Box<(Value, Value)>>,
}

impl Problem {
    /// What happened this time, in a sentence for people.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), compared: None }
    }

    /// With the value that was called for and the one that came.
    #[must_use]
    pub fn comparing(self, expected: impl Into<Value>, actual: impl Into<Value>) -> Problem {
        Problem { compared: Some(Box::new((expected.into(), actual.into()))), ..self }
    }

    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same of one item of a list, counted from 0.
    #[must_use]
    pub fn of_item(self, item: usize) -> Problem {
        Problem { detail: format!("item {item}: {}", self.detail), ..self }
    }

    /// The header that tells the client what to do next, where one does.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self.kind.status {
            StatusCode::UNAUTHORIZED => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some((RETRY_AFTER, RETRY_SECONDS.into()))
            }
            _ => None,
        }
    }
}

/// The members of RFC 9457 and ours. `type` points into the node's own documentation.
impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Members<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            expected: Option<&'a Value>,
            #[serde(skip_serializing_if = "Option::is_none")]
            actual: Option<&'a Value>,
        }
        let members = Members {
            r#type: format!("/docs#{}", self.kind.code),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: &self.detail,
            code: self.kind.code,
            expected: self.compared.as_ref().map(|compared| &compared.0),
            actual: self.compared.as_ref().map(|compared| &compared.1),
        };
        members.serialize(serializer)
    }
}

/// What the document says of a problem.
impl JsonSchema for Problem {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Problem".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "What went wrong, as RFC 9457 has it.",
            "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                "type": {
                    "type": "string", "format": "uri-reference",
                    "description": "Where this kind of problem is explained.",
                },
                "title": {"type": "string", "description": "What kind of problem it is."},
                "status": {
                    "type": "integer", "minimum": 400, "maximum": 599,
                    "description": "The status of the answer.",
                },
                "detail": {"type": "string", "description": "What happened this time."},
                "code": {
                    "type": "string", "pattern": "^[a-z]+(-[a-z]+)*$",
                    "description": "The kind in a word; it never changes.",
                },
                "expected": {
                    "type": ["integer", "string"], "description": "What was called for.",
                },
                "actual": {"type": ["integer", "string"], "description": "What came."},
            },
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.kind.status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(self.header());
        response
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        match rejection {
            JsonRejection::MissingJsonContentType(_) => Problem::new(
                Kind::UNSUPPORTED_MEDIA_TYPE,
                "the body must be JSON and say so: Content-Type: application/json",
            ),
            JsonRejection::BytesRejection(rejection) => rejection.into(),
            rejection => Problem::new(Kind::BAD_REQUEST, cause(&rejection)),
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Problem {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Problem::new(Kind::TOO_LARGE, "the body is above the limit of this path")
            }
            _ => Problem::new(Kind::BAD_REQUEST, "the body broke off"),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Problem {
        Problem::new(Kind::BAD_REQUEST, format!("query: {}", cause(&rejection)))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Problem {
        match rejection.status() {
            StatusCode::BAD_REQUEST => {
                Problem::new(Kind::BAD_REQUEST, format!("path: {}", cause(&rejection)))
            }
            _ => Problem::new(Kind::INTERNAL, "a handler asks for what its path does not have"),
        }
    }
}

/// The innermost reason, without the framework's words around it.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use std::collections::HashSet;

    async fn shown(problem: Problem) -> (StatusCode, axum::http::HeaderMap, Value) {
        let response = problem.into_response();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_has_the_members_of_the_standard_and_a_code() {
        let problem =
            Problem::new(Kind::rule(Rule::BadNonce), "nonce 4 comes next").comparing(4, 7);
        let (status, headers, body) = shown(problem).await;
        assert_eq!(status, 422);
        assert_eq!(headers[CONTENT_TYPE], MEDIA_TYPE);
        let expected = serde_json::json!({
            "type": "/docs#bad-nonce", "title": "A consensus rule is broken", "status": 422,
            "detail": "nonce 4 comes next", "code": "bad-nonce", "expected": 4, "actual": 7,
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn some_problems_tell_the_client_what_to_do_next() {
        for kind in [Kind::NOT_READY, Kind::RATE_LIMITED, Kind::MEMPOOL_FULL] {
            let (_, headers, body) = shown(Problem::new(kind, "x")).await;
            assert_eq!(headers[RETRY_AFTER], "5");
            assert_eq!(body.get("expected"), None);
        }
        let (_, headers, _) = shown(Problem::new(Kind::UNAUTHORIZED, "x")).await;
        assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn codes_are_distinct_kebab_case_and_of_errors() {
        let codes: HashSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let kebab = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(kind.code().bytes().all(kebab), "{}", kind.code());
            assert!(kind.status.is_client_error() || kind.status.is_server_error());
        }
    }
}
