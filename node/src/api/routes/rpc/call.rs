//! The encoding of calls and responses in JSON-RPC 1.0 and 2.0. The members of a call are not decoded
//! before its method is known, so that a request needs no more memory than its length.

use super::error::Error;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The maximum number of calls in a batch.
const MAX_BATCH: usize = 1_000;

/// The calls of a request.
pub(super) enum Body<'a> {
    Call(Call<'a>),
    Batch(Vec<Call<'a>>),
}

impl Body<'_> {
    /// Parses the body of a request.
    ///
    /// # Errors
    /// The body is not JSON, or a list that is empty or too long.
    pub(super) fn parse(body: &[u8]) -> Result<Body<'_>, Error> {
        let whole: &RawValue = serde_json::from_slice(body)
            .map_err(|error| Error::new(Error::PARSE, format!("the body is not JSON: {error}")))?;
        if !whole.get().starts_with('[') {
            return Ok(Body::Call(Call::parse(whole)));
        }
        let invalid = |message: String| Error::new(Error::INVALID_REQUEST, message);
        let BatchItems(items) =
            serde_json::from_str(whole.get()).map_err(|error| invalid(error.to_string()))?;
        match items.is_empty() {
            true => Err(invalid("a batch has at least one call".to_owned())),
            false => Ok(Body::Batch(items.into_iter().map(Call::parse).collect())),
        }
    }
}

/// A list of at most `MAX_BATCH` items.
struct BatchItems<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for BatchItems<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<BatchItems<'a>, D::Error> {
        struct Items;
        impl<'de> Visitor<'de> for Items {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of calls")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < MAX_BATCH
                    && let Some(item) = list.next_element()?
                {
                    items.push(item);
                }
                match list.next_element::<IgnoredAny>()? {
                    None => Ok(items),
                    Some(_) => {
                        let message = format!("a batch has at most {MAX_BATCH} calls");
                        Err(A::Error::custom(message))
                    }
                }
            }
        }
        deserializer.deserialize_seq(Items).map(BatchItems)
    }
}

/// A call: what to execute, or why it is invalid, and how to respond.
pub(super) struct Call<'a> {
    pub request: Result<Request<'a>, Error>,
    pub reply: Reply<'a>,
}

/// What to execute.
pub(super) struct Request<'a> {
    pub method: Cow<'a, str>,
    pub params: Option<&'a RawValue>,
}

/// How to respond to a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply<'a> {
    /// The id of the call, which is returned as it came.
    id: Option<&'a RawValue>,
    is_version_2: bool,
}

/// The members of a call. Unknown ones are ignored.
#[derive(Default, Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    /// `Some` also for null.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Call<'a> {
    fn parse(call: &'a RawValue) -> Call<'a> {
        let invalid = |message: String| Err(Error::new(Error::INVALID_REQUEST, message));
        let members: Members<'a> = match serde_json::from_str(call.get()) {
            Ok(members) => members,
            Err(error) => {
                let message = format!(
                    "a call is an object with `method`, `params` in an array or object, and `id`: {error}"
                );
                return Call { request: invalid(message), reply: Reply::UNKNOWN };
            }
        };
        let is_version_2 = members.jsonrpc.as_deref() == Some("2.0");
        let request = match (members.jsonrpc.as_deref(), members.method) {
            (None | Some("1.0" | "1.1" | "2.0"), Some(method)) => {
                Ok(Request { method, params: members.params })
            }
            (None | Some("1.0" | "1.1" | "2.0"), None) => {
                invalid("a call has a `method`".to_owned())
            }
            (Some(version), _) => invalid(format!("JSON-RPC {version} is not supported")),
        };
        Call { request, reply: Reply { id: members.id, is_version_2 } }
    }

    /// The name of the method; empty if the call is invalid.
    pub(super) fn method(&self) -> &str {
        self.request.as_ref().map_or("", |request| &request.method)
    }

    /// Whether the call has no response: a valid one of JSON-RPC 2.0 without an id.
    pub(super) fn is_notification(&self) -> bool {
        self.request.is_ok() && self.reply.is_version_2 && self.reply.id.is_none()
    }
}

impl Reply<'_> {
    /// The reply to a call whose members are unknown.
    pub(super) const UNKNOWN: Reply<'static> = Reply { id: None, is_version_2: false };

    /// Encodes the response. In version 2.0 it has a result or an error, before it has both, one of
    /// them null. With `null_error`, a result has a null error in version 2.0 too.
    pub(super) fn render(self, result: Result<Value, Error>, null_error: bool) -> String {
        let Reply { id, is_version_2 } = self;
        let (result, error) = match result {
            Ok(result) => (Some(result), None),
            Err(Error { code, message }) => (None, Some(CallError { code, message })),
        };
        let response = CallResponse {
            jsonrpc: is_version_2.then_some("2.0"),
            result: result.or((!is_version_2).then_some(Value::Null)),
            error: (!is_version_2 || null_error || error.is_some()).then_some(error),
            id,
        };
        serde_json::to_string(&response).expect("keys of JSON types are strings")
    }
}

/// The response to a JSON-RPC call.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JsonRpcResponse")]
pub(super) struct CallResponse<'a> {
    /// The version, 2.0, if the call names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    jsonrpc: Option<&'static str>,
    /// The result. If the call failed it is null, or absent in version 2.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "any_json")]
    result: Option<Value>,
    /// Why the call failed. If it succeeded it is null, or absent in version 2.0.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Option<CallError>>,
    /// The id of the call.
    #[schemars(schema_with = "any_json")]
    id: Option<&'a RawValue>,
}

/// The error of a JSON-RPC call.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JsonRpcError")]
struct CallError {
    /// The code, as of Bitcoin Core.
    code: i32,
    /// A description.
    message: String,
}

/// The schema of any JSON value. That of `Value` is `true`, which generators of clients refuse.
fn any_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({})
}

/// The schema of a response: that of a call, or a list of those of a batch.
pub(super) struct RpcResponse;

impl JsonSchema for RpcResponse {
    fn schema_name() -> Cow<'static, str> {
        "JsonRpcResponses".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<CallResponse<'_>>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}
