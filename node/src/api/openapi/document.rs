//! The OpenAPI document, built from the route table: schemas of the types that handlers extract and
//! return, and the problems they may respond with, including those of the checks before all routes.
//! Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12.
//!
//! `aide` is not used: it would replace the description of inputs, but the lists of problems, page
//! cursors and chain headers, most of this module, would become transform functions of the same length.

use crate::api::http::problem::{self, Kind, Problem};
use crate::api::http::response::{CHAIN_HEIGHT, CHAIN_TIP};
use crate::api::openapi::simplify::simplify;
use chain::hash::sha256;
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The path of named schemas in the document.
const SCHEMAS: &str = "/components/schemas";
/// The name of the security scheme of protected operations.
const TOKEN: &str = "token";
/// The problems every operation may respond with, because of the checks before all routes.
const COMMON: [Kind; 7] = [
    Kind::BAD_REQUEST,
    Kind::FORBIDDEN_HOST,
    Kind::METHOD_NOT_ALLOWED,
    Kind::RATE_LIMITED,
    Kind::INTERNAL,
    Kind::BUSY,
    Kind::NOT_READY,
];

/// An operation of the OpenAPI document: one method of one path.
#[derive(Debug)]
pub struct Operation {
    /// The method in lower case.
    pub method: &'static str,
    /// The path, with parameters in braces as in axum.
    pub path: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Value>,
    request_body: BTreeMap<&'static str, Value>,
    body_required: bool,
    responses: BTreeMap<u16, Value>,
    /// The schemas of the messages that the node and the client send over a WebSocket.
    messages: Option<Value>,
    problems: Vec<Kind>,
    is_protected: bool,
    schemas: Map<String, Value>,
}

impl Operation {
    /// An operation without parameters and responses.
    pub fn new(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
        let mut problems = COMMON.to_vec();
        if path.contains('{') {
            problems.push(Kind::NOT_FOUND);
        }
        Operation {
            method,
            path,
            summary,
            description: None,
            parameters: Vec::new(),
            request_body: BTreeMap::new(),
            body_required: true,
            responses: BTreeMap::new(),
            messages: None,
            problems,
            is_protected: false,
            schemas: Map::new(),
        }
    }

    pub fn description(&mut self, description: &'static str) {
        self.description = Some(description);
    }

    /// Adds kinds of problems it may respond with.
    pub fn errors(&mut self, kinds: &[Kind]) {
        for kind in kinds {
            if !self.problems.contains(kind) {
                self.problems.push(*kind);
            }
        }
    }

    /// Declares that the operation requires the API token, and its error without one.
    pub fn protect(&mut self) {
        self.is_protected = true;
        self.errors(&[Kind::UNAUTHORIZED]);
    }

    /// Adds the path parameter.
    pub fn path_parameter<T: JsonSchema>(&mut self) {
        let schema = self.schema::<T>(Contract::Deserialize);
        let name = self.path.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let (name, _) = name.expect("a handler extracts only parameters of its path");
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": schema,
        }));
    }

    /// Adds the fields of a type as query parameters.
    pub fn query_parameters<T: JsonSchema>(&mut self) {
        let mut generator = settings(Contract::Deserialize).into_generator();
        let mut schema = T::json_schema(&mut generator).to_value();
        self.schemas.extend(generator.take_definitions(true));
        let required = schema["required"].take();
        let Value::Object(properties) = schema["properties"].take() else { return };
        for (name, property) in properties {
            let mut schema = non_null(property);
            let description = schema.as_object_mut().and_then(|it| it.remove("description"));
            let is_required = required.as_array().is_some_and(|all| all.contains(&json!(name)));
            let mut parameter =
                json!({"name": name, "in": "query", "required": is_required, "schema": schema});
            if let Some(description) = description {
                parameter["description"] = description;
            }
            self.parameters.push(parameter);
        }
    }

    /// Whether there are query parameters.
    pub fn has_query_parameters(&self) -> bool {
        self.parameters.iter().any(|parameter| parameter["in"] == "query")
    }

    /// Restricts the `cursor` parameter to cursors of these lists.
    pub fn cursor_parameter(&mut self, pattern: &str) {
        let cursor = self.parameters.iter_mut().find(|parameter| parameter["name"] == "cursor");
        let cursor = cursor.expect("a paginated route has a cursor");
        cursor["schema"] = json!({"type": "string", "pattern": pattern, "format": "cursor"});
    }

    /// Adds a JSON body.
    pub fn json_body<T: JsonSchema>(&mut self) {
        let schema = self.schema::<T>(Contract::Deserialize);
        self.body("application/json", &schema);
    }

    /// Adds a body of a media type.
    pub fn body(&mut self, media_type: &'static str, schema: &Value) {
        self.request_body.insert(media_type, json!({"schema": schema}));
        self.errors(&[Kind::TOO_LARGE, Kind::UNSUPPORTED_MEDIA_TYPE, Kind::REQUEST_TIMEOUT]);
    }

    /// Adds an optional body of any content, which the handler validates.
    pub fn any_body(&mut self, media_type: &'static str) {
        self.body(media_type, &json!({}));
        self.body_required = false;
    }

    /// Adds a success, with its content if it has one.
    pub fn response(&mut self, status: u16, description: &str, content: Value) {
        let mut response = json!({"description": description});
        if content != Value::Null {
            response["content"] = content;
        }
        self.responses.insert(status, response);
    }

    /// Adds a success with a JSON body.
    pub fn json_response<T: JsonSchema>(&mut self, status: u16, description: &str) {
        let schema = self.schema::<T>(Contract::Serialize);
        self.response(status, description, json!({"application/json": {"schema": schema}}));
    }

    /// Adds a success with a stream of items as text, each with this schema. OpenAPI 3.1 has no
    /// `itemSchema`.
    pub fn stream_response<T: JsonSchema>(&mut self, media_type: &str, description: &str) {
        let schema = self.schema::<T>(Contract::Serialize);
        let content = json!({"schema": {"type": "string"}, "x-itemSchema": schema});
        self.response(200, description, json!({media_type: content}));
    }

    /// Declares the messages of a WebSocket, which OpenAPI 3.1 cannot.
    pub fn messages<Sent: JsonSchema, Received: JsonSchema>(&mut self) {
        let server = self.schema::<Sent>(Contract::Serialize);
        let client = self.schema::<Received>(Contract::Deserialize);
        self.messages = Some(json!({"server": server, "client": client}));
    }

    /// Adds a header of a success.
    pub fn response_header(
        &mut self,
        status: u16,
        name: &str,
        required: bool,
        schema: &Value,
        description: &str,
    ) {
        let response =
            self.responses.get_mut(&status).expect("a response is added before its headers");
        response["headers"][name] =
            json!({"description": description, "required": required, "schema": schema});
    }

    /// Adds the headers of a read of the chain, and the 304 of a conditional request.
    pub fn chain_headers(&mut self) {
        let statuses: &[u16] = if self.method == "get" { &[200, 304] } else { &[200] };
        if self.method == "get" {
            self.not_modified();
        }
        for status in statuses.iter().copied() {
            let height = json!({"type": "integer", "minimum": 0});
            let hash = json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
            let any = json!({"type": "string"});
            let height_text = "The height of the tip this response was built from.";
            self.response_header(status, CHAIN_HEIGHT.as_str(), true, &height, height_text);
            self.response_header(status, CHAIN_TIP.as_str(), true, &hash, "The hash of the tip.");
            self.response_header(status, "etag", true, &any, "The entity tag for `If-None-Match`.");
            let cache_text = "`immutable` for content addressed by hash, ten blocks deep.";
            self.response_header(status, "cache-control", true, &any, cache_text);
        }
    }

    /// Adds the 304 of a conditional request.
    pub fn not_modified(&mut self) {
        self.response(304, "The entity tag in `If-None-Match` is current.", Value::Null);
    }

    fn schema<T: JsonSchema>(&mut self, contract: Contract) -> Value {
        let mut generator = settings(contract).into_generator();
        let schema: Schema = generator.subschema_for::<T>();
        self.schemas.extend(generator.take_definitions(true));
        schema.to_value()
    }

    fn to_json(&self) -> Value {
        let mut responses = Map::new();
        for (status, response) in &self.responses {
            responses.insert(status.to_string(), response.clone());
        }
        for (status, kinds) in by_status(&self.problems) {
            let reference = format!("#/components/responses/{}", response_name(&kinds));
            responses.insert(status.to_string(), json!({"$ref": reference}));
        }
        let mut operation = json!({
            "tags": [self.tag()],
            "summary": self.summary,
            "operationId": self.id(),
            "responses": responses,
        });
        if let Some(messages) = &self.messages {
            operation["x-websocket-messages"] = messages.clone();
        }
        if let Some(description) = self.description {
            operation["description"] = description.into();
        }
        if !self.parameters.is_empty() {
            operation["parameters"] = self.parameters.clone().into();
        }
        if !self.request_body.is_empty() {
            operation["requestBody"] =
                json!({"required": self.body_required, "content": self.request_body});
        }
        operation["security"] = if self.is_protected { json!([{TOKEN: []}]) } else { json!([]) };
        operation
    }

    /// The resource: the first segment after the version.
    fn tag(&self) -> &str {
        let mut segments = self.path.split('/').filter(|segment| !segment.is_empty());
        match segments.next() {
            Some("v1") => segments.next().unwrap_or("node"),
            _ => "node",
        }
    }

    fn id(&self) -> String {
        let words = self.path.split(|c: char| !c.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty() && *word != "v1");
        [self.method].into_iter().chain(words).collect::<Vec<_>>().join("-")
    }
}

fn settings(contract: Contract) -> SchemaSettings {
    SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = SCHEMAS.into();
        settings.meta_schema = None;
        settings.contract = contract;
    })
}

/// The schema of an optional query parameter without null, which a query cannot contain.
fn non_null(mut schema: Value) -> Value {
    if let Some(types) = schema["type"].as_array() {
        let only = types.iter().find(|of| **of != "null").cloned();
        schema["type"] = only.unwrap_or_default();
    } else if let Some(any) = schema["anyOf"].as_array() {
        let only = any.iter().find(|of| of["type"] != "null").cloned();
        schema = only.unwrap_or_default();
    }
    if let Some(members) = schema.as_object_mut() {
        members.retain(|name, value| !(value.is_null() || (name == "default" && value == false)));
    }
    schema
}

/// Kinds of problems by status.
fn by_status(kinds: &[Kind]) -> BTreeMap<u16, Vec<Kind>> {
    let mut found: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
    for kind in kinds {
        found.entry(kind.status().as_u16()).or_default().push(*kind);
    }
    for kinds in found.values_mut() {
        kinds.sort_by_key(|kind| kind.code());
    }
    found
}

/// The component name of a set of problems. Large sets have a digest of their codes in it, as others
/// may begin with the same ones.
fn response_name(kinds: &[Kind]) -> String {
    const MOST: usize = 4;
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code()).collect();
    match codes.get(MOST..) {
        None | Some([]) => codes.join("."),
        Some(more) => {
            let [a, b, c, ..] = sha256(codes.join(".").as_bytes());
            let (first, count) = (codes[..MOST].join("."), more.len());
            format!("{first}.and-{count}-more.{a:02x}{b:02x}{c:02x}")
        }
    }
}

fn problem_response(kinds: &[Kind]) -> Value {
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code()).collect();
    let titles: Vec<String> =
        kinds.iter().map(|kind| format!("`{}`: {}.", kind.code(), kind.title())).collect();
    let mut headers = Map::new();
    let mut header = |name: &str, description: &str| {
        let header =
            json!({"description": description, "required": true, "schema": {"type": "string"}});
        headers.insert(name.to_owned(), header);
    };
    match kinds[0].status().as_u16() {
        401 => header("www-authenticate", "`Bearer`"),
        405 => header("allow", "The methods of this path."),
        429 | 503 => header("retry-after", "Seconds to wait before a retry."),
        _ => {}
    }
    json!({
        "description": titles.join(" "),
        "headers": headers,
        "content": {problem::MEDIA_TYPE: {"schema": {
            "allOf": [{"$ref": format!("#{SCHEMAS}/Problem")}],
            "properties": {"code": {"type": "string", "enum": codes}},
        }}},
    })
}

/// The document of all operations.
pub fn document(operations: &[Operation]) -> Value {
    let (mut paths, mut schemas, mut responses) = (Map::new(), Map::new(), Map::new());
    let mut generator = settings(Contract::Serialize).into_generator();
    generator.subschema_for::<Problem>();
    schemas.extend(generator.take_definitions(true));
    for operation in operations {
        for (name, schema) in &operation.schemas {
            let before = schemas.insert(name.clone(), schema.clone());
            let is_one = before.is_none_or(|before| before == *schema);
            assert!(is_one, "two schemas have the name {name}");
        }
        for kinds in by_status(&operation.problems).values() {
            responses.insert(response_name(kinds), problem_response(kinds));
        }
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.to_json();
    }
    let problems = Kind::every().map(|kind| {
        json!({
            "code": kind.code(), "status": kind.status().as_u16(), "title": kind.title(),
            "text": kind.text(),
        })
    });
    let mut document = json!({
        "openapi": "3.1.1",
        "info": {
            "title": "chain",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "The REST API of a proof-of-work blockchain node.",
            "description": "Amounts are integers in base units, 100,000,000 to a coin. Hashes are \
                            in display order and lower case. Times are Unix seconds. Lists come \
                            in pages: `next` is the cursor of the next one. Errors are problems \
                            (RFC 9457) with a stable `code`.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {TOKEN: {
                "type": "http",
                "scheme": "bearer",
                "description": "The token in the file `api-token` in the node's data folder.",
            }},
        },
        "x-problems": problems.collect::<Vec<_>>(),
    });
    simplify(&mut document);
    document
}
