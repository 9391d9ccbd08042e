//! Errors of the API: RFC 9457 problem details with a stable code. One table declares every kind of
//! problem except the consensus rules, which are declared in `chain::rules`.

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

/// Default value of `Retry-After` in seconds: about one block of a fast network.
const RETRY_SECONDS: u32 = 5;
/// The value of `Retry-After` in seconds while the node is starting, which mostly takes less.
const START_RETRY_SECONDS: u32 = 1;

/// A kind of problem. The code is stable; title and text are the same for every occurrence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    text: &'static str,
}

/// Declares the kinds of problems and the list of them all.
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
            /// Every kind except the consensus rules.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];
        }
    };
}

kinds! {
    BAD_REQUEST = BAD_REQUEST "bad-request" "Malformed request"
        "The path, the query, a header or the body is invalid; `detail` names the part. Retrying the same request fails again.";
    UNAUTHORIZED = UNAUTHORIZED "unauthorized" "Missing or invalid token"
        "Requests that change the node need `Authorization: Bearer TOKEN`. The token is in the file `api-token` in the node's data folder.";
    NOT_AVAILABLE = FORBIDDEN "not-available" "Not available on this network"
        "`/v1/dev` is available on development networks only, whose blocks take no work, and cannot invalidate the genesis block.";
    FORBIDDEN_HOST = FORBIDDEN "forbidden-host" "Host or origin not allowed"
        "The `Host` header is no IP address and none of the allowed names, or a page of another host sends the request: by its `Origin` or `Sec-Fetch-Site`. Use localhost or an address of the node, or start the node with `--api-host NAME`.";
    NOT_FOUND = NOT_FOUND "not-found" "Not found"
        "The path does not exist, or the node does not have the requested resource.";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method-not-allowed" "Method not allowed"
        "The `Allow` header lists the methods of this path.";
    REQUEST_TIMEOUT = REQUEST_TIMEOUT "request-timeout" "Request timeout"
        "The body did not arrive within ten seconds.";
    BANNED = CONFLICT "banned" "Peer is banned"
        "The peer is banned by this node: remove the ban first.";
    NONCE_USED = CONFLICT "nonce-used" "Nonce already used"
        "The chain has another transfer of this sender with this nonce. `expected` is the next nonce.";
    REPLACEMENT_TOO_CHEAP = CONFLICT "replacement-too-cheap" "Replacement fee too low"
        "The mempool has a transfer with this nonce. `expected` is the lowest fee that replaces it.";
    WOULD_REPLACE = CONFLICT "would-replace" "Transfer would replace another"
        "The mempool has a transfer with this nonce, and the request has `replace=false`.";
    SNAPSHOT_EXISTS = CONFLICT "snapshot-exists" "Snapshot exists"
        "The node has a snapshot of this name: remove it first, or use another name.";
    HAS_PEERS = CONFLICT "has-peers" "Node has peers"
        "The peers would send the later blocks again: disconnect them first, or revert the whole testnet with `chain testnet revert`.";
    STALE_TEMPLATE = CONFLICT "stale-template" "Stale block template"
        "The tip has changed since the template was issued: request a new one.";
    TOO_DEEP = UNPROCESSABLE_ENTITY "too-deep" "Branch too deep"
        "The block is on a branch that forks far below the tip and is not known to have more work than the best chain, so it is not stored. Submit the headers of the branch to `POST /v1/headers` first: if they have more work, its blocks are accepted at any depth.";
    CURSOR_GONE = GONE "cursor-gone" "Cursor expired"
        "The chain was reorganized since the first page: start again without a cursor.";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too-large" "Request body too large"
        "The body is larger than the limit of its path: 1 MiB, and 4,200,000 bytes for a block.";
    URI_TOO_LONG = URI_TOO_LONG "uri-too-long" "URI too long"
        "The path and the query are longer than any of this API.";
    HEAD_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE "head-too-large" "Request head too large"
        "The request line and the headers together are larger than 16 KiB, or there are more than 100 headers.";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "Unsupported media type"
        "The path does not accept this `Content-Type`. JSON needs `application/json`.";
    NO_MINER = UNPROCESSABLE_ENTITY "no-miner" "No payout address"
        "The request has no `miner`, and the node has no default payout address.";
    NO_PEER = UNPROCESSABLE_ENTITY "no-peer" "Cannot connect to this address"
        "The address belongs to this node itself, to a node of another network, or to a node with another id.";
    INVALID_JOB = UNPROCESSABLE_ENTITY "invalid-job" "Invalid mining job"
        "The fields contradict each other or are out of range; `detail` names the field.";
    IDEMPOTENCY_KEY_USED = UNPROCESSABLE_ENTITY "idempotency-key-used" "Idempotency key already used"
        "Another request was made with this `Idempotency-Key`: choose a new key.";
    MIN_FEE = UNPROCESSABLE_ENTITY "min-fee" "Fee below the relay minimum"
        "The fee rate is below the minimum that this node relays. `expected` is the lowest sufficient fee.";
    NONCE_TOO_FAR = UNPROCESSABLE_ENTITY "nonce-too-far" "Nonce too far ahead"
        "Too many transfers of this sender are missing in between. `expected` is the highest nonce the mempool accepts now.";
    RATE_LIMITED = TOO_MANY_REQUESTS "rate-limited" "Too many requests"
        "This client has exceeded its rate limit. `Retry-After` is the number of seconds to wait.";
    SENDER_LIMIT = TOO_MANY_REQUESTS "sender-limit" "Too many unconfirmed transfers of this sender"
        "The mempool holds the maximum number of transfers of this sender, or of replacements before the next block.";
    TOO_MANY_JOBS = TOO_MANY_REQUESTS "too-many-jobs" "Too many mining jobs"
        "Cancel jobs, or wait until some have finished.";
    INTERNAL = INTERNAL_SERVER_ERROR "internal" "Internal error"
        "A bug or a broken disk; see the node's log.";
    MEMPOOL_FULL = SERVICE_UNAVAILABLE "mempool-full" "Mempool full"
        "The mempool is full of transfers with higher fees. Retry later, or with a higher fee.";
    HEADERS_FULL = SERVICE_UNAVAILABLE "headers-full" "Memory for headers full"
        "The memory for headers is full of branches with more work. Retry with more headers of the branch.";
    DISK_FULL = SERVICE_UNAVAILABLE "disk-full" "Disk full"
        "The node cannot write. Reads still work; blocks and transfers are accepted again once there is space.";
    INTERRUPTED = SERVICE_UNAVAILABLE "interrupted" "Job interrupted"
        "The mining job belonged to a process that has ended.";
    TOO_MANY_READERS = SERVICE_UNAVAILABLE "too-many-readers" "Too many event subscribers"
        "The number of event subscribers is limited: retry later.";
    BUSY = SERVICE_UNAVAILABLE "busy" "Node busy"
        "All connections of the node are in use; some are reserved for clients on its machine and for probes. Retry later.";
    NOT_READY = SERVICE_UNAVAILABLE "not-ready" "Node not ready"
        "The node is syncing or shutting down, or no block can be mined at present; `detail` has the reason.";
    STARTING = SERVICE_UNAVAILABLE "starting" "Node starting"
        "The node opens its data directory, and may have to rebuild the index. While it replays blocks, `actual` is their number so far and `expected` that of all.";
}

impl Kind {
    /// The kind of problem for a violation of a consensus rule, under the rule's own code.
    pub fn rule(rule: Rule) -> Kind {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let (code, text) = (rule.code(), rule.description());
        Kind { code, status, title: "Consensus rule violated", text }
    }

    /// The kinds for all consensus rules.
    pub fn rules() -> impl Iterator<Item = Kind> {
        Rule::ALL.iter().copied().map(Kind::rule)
    }

    /// Every kind, the consensus rules included.
    pub fn every() -> impl Iterator<Item = Kind> {
        Kind::ALL.iter().copied().chain(Kind::rules())
    }

    /// The stable code of the problem in responses, such as `bad-encoding`.
    pub const fn code(self) -> &'static str {
        self.code
    }

    /// The HTTP status of a response with the problem.
    pub const fn status(self) -> StatusCode {
        self.status
    }

    /// The title, the same for every occurrence.
    pub const fn title(self) -> &'static str {
        self.title
    }

    /// The meaning and what to do about it.
    pub const fn text(self) -> &'static str {
        self.text
    }
}

/// One occurrence of a kind of problem.
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    /// The expected and the actual value.
    comparison: Option<Box<(Value, Value)>>,
}

impl Problem {
    /// Creates a problem; `detail` describes this occurrence.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), comparison: None }
    }

    /// Adds the expected and the actual value.
    #[must_use]
    pub fn with_comparison(self, expected: impl Into<Value>, actual: impl Into<Value>) -> Problem {
        Problem { comparison: Some(Box::new((expected.into(), actual.into()))), ..self }
    }

    /// The kind of problem.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The description of this occurrence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Prefixes the detail with the index of an item of a list, counted from 0.
    #[must_use]
    pub fn for_item(self, item: usize) -> Problem {
        Problem { detail: format!("item {item}: {}", self.detail), ..self }
    }

    /// The response header that belongs to the status, if any.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self.kind.status {
            StatusCode::UNAUTHORIZED => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            StatusCode::SERVICE_UNAVAILABLE if self.kind == Kind::STARTING => {
                Some((RETRY_AFTER, START_RETRY_SECONDS.into()))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                Some((RETRY_AFTER, RETRY_SECONDS.into()))
            }
            _ => None,
        }
    }
}

/// Serializes the members of RFC 9457 and ours. `type` links to the node's own documentation.
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
            expected: self.comparison.as_ref().map(|comparison| &comparison.0),
            actual: self.comparison.as_ref().map(|comparison| &comparison.1),
        };
        members.serialize(serializer)
    }
}

impl JsonSchema for Problem {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Problem".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "An error as RFC 9457 problem details.",
            "required": ["type", "title", "status", "detail", "code"],
            "properties": {
                "type": {
                    "type": "string", "format": "uri-reference",
                    "description": "A link to the documentation of this kind of problem.",
                },
                "title": {"type": "string", "description": "The kind of problem."},
                "status": {
                    "type": "integer", "minimum": 400, "maximum": 599,
                    "description": "The HTTP status.",
                },
                "detail": {"type": "string", "description": "A description of this occurrence."},
                "code": {
                    "type": "string", "pattern": "^[a-z]+(-[a-z]+)*$",
                    "description": "The stable code of the kind of problem.",
                },
                "expected": {
                    "type": ["integer", "string"], "description": "The expected value.",
                },
                "actual": {"type": ["integer", "string"], "description": "The actual value."},
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
                "the body must be JSON with Content-Type: application/json",
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
                Problem::new(Kind::TOO_LARGE, "the body is larger than the limit of this path")
            }
            _ => Problem::new(Kind::BAD_REQUEST, "the body ended early"),
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
            _ => Problem::new(Kind::INTERNAL, "the handler expects parameters its path lacks"),
        }
    }
}

/// The innermost source of an error, without the framework's wrapping messages.
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
    async fn problem_has_standard_members_and_code() {
        let problem =
            Problem::new(Kind::rule(Rule::BadNonce), "nonce 4 comes next").with_comparison(4, 7);
        let (status, headers, body) = shown(problem).await;
        assert_eq!(status, 422);
        assert_eq!(headers[CONTENT_TYPE], MEDIA_TYPE);
        let expected = serde_json::json!({
            "type": "/docs#bad-nonce", "title": "Consensus rule violated", "status": 422,
            "detail": "nonce 4 comes next", "code": "bad-nonce", "expected": 4, "actual": 7,
        });
        assert_eq!(body, expected);
    }

    #[tokio::test]
    async fn some_problems_have_retry_or_challenge_headers() {
        for kind in [Kind::NOT_READY, Kind::RATE_LIMITED, Kind::MEMPOOL_FULL] {
            let (_, headers, body) = shown(Problem::new(kind, "x")).await;
            assert_eq!(headers[RETRY_AFTER], "5");
            assert_eq!(body.get("expected"), None);
        }
        let (_, headers, _) = shown(Problem::new(Kind::UNAUTHORIZED, "x")).await;
        assert_eq!(headers[WWW_AUTHENTICATE], "Bearer");
    }

    #[test]
    fn codes_are_distinct_kebab_case_with_error_status() {
        let codes: HashSet<_> = Kind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            let kebab = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
            assert!(kind.code().bytes().all(kebab), "{}", kind.code());
            assert!(kind.status.is_client_error() || kind.status.is_server_error());
        }
    }
}
