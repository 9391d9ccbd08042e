//! Errors as clients see them: RFC 9457 problem details with a stable code.
//! One table holds every kind of problem but those that the consensus rules name.

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
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
}

/// Declares the kinds, and the list of them all.
macro_rules! kinds {
    ($($name:ident = $status:ident $code:literal $title:literal;)*) => {
        impl Kind {
            $(
                #[doc = $title]
                pub const $name: Kind =
                    Kind { code: $code, status: StatusCode::$status, title: $title };
            )*
            /// Every kind but the consensus rules.
            pub const ALL: &[Kind] = &[$(Kind::$name),*];
        }
    };
}

kinds! {
    BAD_REQUEST = BAD_REQUEST "bad-request" "The request is malformed";
    UNAUTHORIZED = UNAUTHORIZED "unauthorized" "This needs the node's token";
    NOT_AVAILABLE = FORBIDDEN "not-available" "This network does not allow it";
    FORBIDDEN_HOST = FORBIDDEN "forbidden-host" "The node does not answer to this host name";
    NOT_FOUND = NOT_FOUND "not-found" "There is no such thing";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED "method-not-allowed" "This path does not take this method";
    REQUEST_TIMEOUT = REQUEST_TIMEOUT "request-timeout" "The request took too long to arrive";
    BANNED = CONFLICT "banned" "The node is banned";
    NONCE_USED = CONFLICT "nonce-used" "The nonce is used already";
    REPLACEMENT_TOO_CHEAP = CONFLICT "replacement-too-cheap" "The replacement does not pay enough more";
    STALE_TEMPLATE = CONFLICT "stale-template" "The template is of an old tip";
    CURSOR_GONE = GONE "cursor-gone" "The cursor belongs to a branch that was left";
    TOO_LARGE = PAYLOAD_TOO_LARGE "too-large" "The request's body is too large";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "The body is of another type than expected";
    NO_MINER = UNPROCESSABLE_ENTITY "no-miner" "Nobody is named to be paid";
    NO_PEER = UNPROCESSABLE_ENTITY "no-peer" "This node cannot connect there";
    INVALID_JOB = UNPROCESSABLE_ENTITY "invalid-job" "The mining job makes no sense";
    IDEMPOTENCY_KEY_USED = UNPROCESSABLE_ENTITY "idempotency-key-used" "The key stands for another request";
    MIN_FEE = UNPROCESSABLE_ENTITY "min-fee" "The fee is below what this node relays";
    NONCE_TOO_FAR = UNPROCESSABLE_ENTITY "nonce-too-far" "The nonce is too far ahead of the account";
    RATE_LIMITED = TOO_MANY_REQUESTS "rate-limited" "Too many requests";
    SENDER_LIMIT = TOO_MANY_REQUESTS "sender-limit" "The sender has too many transactions waiting";
    TOO_MANY_JOBS = TOO_MANY_REQUESTS "too-many-jobs" "There are too many mining jobs";
    INTERNAL = INTERNAL_SERVER_ERROR "internal" "The node failed";
    MEMPOOL_FULL = SERVICE_UNAVAILABLE "mempool-full" "The mempool is full of better-paying transactions";
    DISK_FULL = SERVICE_UNAVAILABLE "disk-full" "The node's disk is full";
    INTERRUPTED = SERVICE_UNAVAILABLE "interrupted" "What had begun it has ended";
    TOO_MANY_READERS = SERVICE_UNAVAILABLE "too-many-readers" "Too many clients read events";
    NOT_READY = SERVICE_UNAVAILABLE "not-ready" "The node is not ready";
}

impl Kind {
    /// A consensus rule that something breaks, under the rule's own code.
    pub const fn rule(code: &'static str) -> Kind {
        Kind { code, status: StatusCode::UNPROCESSABLE_ENTITY, title: "A consensus rule is broken" }
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.code
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
        let problem = Problem::new(Kind::rule("bad-nonce"), "nonce 4 comes next").comparing(4, 7);
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
