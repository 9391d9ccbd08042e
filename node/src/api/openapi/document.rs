//! The OpenAPI document, made from the table of routes: shapes from the types that handlers take
//! and send, problems from the table of problems. What the guards before all routes answer is added
//! to every operation. Source: OpenAPI Specification 3.1.1; JSON Schema 2020-12.

use crate::api::http::problem::{self, Kind, Problem};
use crate::api::http::response::{CHAIN_HEIGHT, CHAIN_TIP};
use schemars::generate::{Contract, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Where the document finds its named schemas.
const SCHEMAS: &str = "/components/schemas";
/// The name of the scheme by which protected operations are protected.
const TOKEN: &str = "token";
/// What every operation may answer, because the guards do.
const ALWAYS: [Kind; 6] = [
    Kind::BAD_REQUEST,
    Kind::FORBIDDEN_HOST,
    Kind::METHOD_NOT_ALLOWED,
    Kind::RATE_LIMITED,
    Kind::INTERNAL,
    Kind::NOT_READY,
];

/// One method of one path.
#[derive(Debug)]
pub struct Operation {
    /// Lower case, as in the document.
    pub method: &'static str,
    /// With variable parts in braces, which axum and the document write alike.
    pub path: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Value>,
    body: BTreeMap<&'static str, Value>,
    needs_body: bool,
    answers: BTreeMap<u16, Value>,
    problems: Vec<Kind>,
    is_protected: bool,
    schemas: Map<String, Value>,
}

impl Operation {
    /// One that takes nothing and answers nothing yet.
    pub fn new(method: &'static str, path: &'static str, summary: &'static str) -> Operation {
        let mut problems = ALWAYS.to_vec();
        if path.contains('{') {
            problems.push(Kind::NOT_FOUND);
        }
        Operation {
            method,
            path,
            summary,
            description: None,
            parameters: Vec::new(),
            body: BTreeMap::new(),
            needs_body: true,
            answers: BTreeMap::new(),
            problems,
            is_protected: false,
            schemas: Map::new(),
        }
    }

    /// Says more than the summary.
    pub fn describe(&mut self, description: &'static str) {
        self.description = Some(description);
    }

    /// It may end in these problems too.
    pub fn fails(&mut self, kinds: &[Kind]) {
        for kind in kinds {
            if !self.problems.contains(kind) {
                self.problems.push(*kind);
            }
        }
    }

    /// It needs the token.
    pub fn protect(&mut self) {
        self.is_protected = true;
        self.fails(&[Kind::UNAUTHORIZED]);
    }

    /// The variable parts of the path, one shape for each.
    pub fn takes_path<T: JsonSchema>(&mut self) {
        let schema = self.schema::<T>(Contract::Deserialize);
        let name = self.path.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let (name, _) = name.expect("a handler takes of the path what it has");
        self.parameters.push(json!({
            "name": name, "in": "path", "required": true, "schema": schema,
        }));
    }

    /// The fields of a shape, each a parameter of the query.
    pub fn takes_query<T: JsonSchema>(&mut self) {
        let mut generator = settings(Contract::Deserialize).into_generator();
        let mut schema = T::json_schema(&mut generator).to_value();
        self.schemas.extend(generator.take_definitions(true));
        let required = schema["required"].take();
        let Value::Object(properties) = schema["properties"].take() else { return };
        for (name, property) in properties {
            let mut schema = present(property);
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

    /// What a cursor of the query looks like: those of other lists are refused.
    pub fn takes_cursor(&mut self, pattern: &str) {
        let cursor = self.parameters.iter_mut().find(|parameter| parameter["name"] == "cursor");
        let cursor = cursor.expect("a page takes a cursor");
        cursor["schema"] = json!({"type": "string", "pattern": pattern, "format": "cursor"});
    }

    /// A body of JSON.
    pub fn takes_json<T: JsonSchema>(&mut self) {
        let schema = self.schema::<T>(Contract::Deserialize);
        self.takes_body("application/json", &schema);
    }

    /// A body of some type.
    pub fn takes_body(&mut self, media_type: &'static str, schema: &Value) {
        self.body.insert(media_type, json!({"schema": schema}));
        self.fails(&[Kind::TOO_LARGE, Kind::UNSUPPORTED_MEDIA_TYPE, Kind::REQUEST_TIMEOUT]);
    }

    /// Any body of some type, or none: its handler tells what is wrong with it.
    pub fn takes_anything(&mut self, media_type: &'static str) {
        self.takes_body(media_type, &json!({}));
        self.needs_body = false;
    }

    /// A success, and its body if it has one.
    pub fn answers(&mut self, status: u16, text: &str, content: Value) {
        let mut answer = json!({"description": text});
        if content != Value::Null {
            answer["content"] = content;
        }
        self.answers.insert(status, answer);
    }

    /// A success that carries JSON.
    pub fn answers_json<T: JsonSchema>(&mut self, status: u16, text: &str) {
        let schema = self.schema::<T>(Contract::Serialize);
        self.answers(status, text, json!({"application/json": {"schema": schema}}));
    }

    /// A header of a success.
    pub fn sends_header(
        &mut self,
        status: u16,
        name: &str,
        required: bool,
        schema: &Value,
        text: &str,
    ) {
        let answer = self.answers.get_mut(&status).expect("headers come with an answer");
        answer["headers"][name] =
            json!({"description": text, "required": required, "schema": schema});
    }

    /// It is a read of the chain: marked with the tip it is of, and not sent twice.
    pub fn reads(&mut self) {
        let statuses: &[u16] = if self.method == "get" { &[200, 304] } else { &[200] };
        if self.method == "get" {
            self.revalidates();
        }
        for status in statuses.iter().copied() {
            let height = json!({"type": "integer", "minimum": 0});
            let hash = json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
            let any = json!({"type": "string"});
            let height_text = "The height of the tip this answer is of.";
            self.sends_header(status, CHAIN_HEIGHT.as_str(), true, &height, height_text);
            self.sends_header(status, CHAIN_TIP.as_str(), true, &hash, "The hash of that tip.");
            self.sends_header(status, "etag", true, &any, "For `If-None-Match`.");
            let cache_text = "`immutable` for what is read by hash and ten blocks deep.";
            self.sends_header(status, "cache-control", true, &any, cache_text);
        }
    }

    /// A client that names what it keeps is told whether that is still right.
    pub fn revalidates(&mut self) {
        self.answers(304, "What `If-None-Match` names is still right.", Value::Null);
    }

    fn schema<T: JsonSchema>(&mut self, contract: Contract) -> Value {
        let mut generator = settings(contract).into_generator();
        let schema: Schema = generator.subschema_for::<T>();
        self.schemas.extend(generator.take_definitions(true));
        schema.to_value()
    }

    fn show(&self) -> Value {
        let mut responses = Map::new();
        for (status, answer) in &self.answers {
            responses.insert(status.to_string(), answer.clone());
        }
        for (status, kinds) in by_status(&self.problems) {
            let reference = format!("#/components/responses/{}", name_of(&kinds));
            responses.insert(status.to_string(), json!({"$ref": reference}));
        }
        let mut shown = json!({
            "tags": [self.tag()],
            "summary": self.summary,
            "operationId": self.id(),
            "responses": responses,
        });
        if let Some(description) = self.description {
            shown["description"] = description.into();
        }
        if !self.parameters.is_empty() {
            shown["parameters"] = self.parameters.clone().into();
        }
        if !self.body.is_empty() {
            shown["requestBody"] = json!({"required": self.needs_body, "content": self.body});
        }
        if self.is_protected {
            shown["security"] = json!([{TOKEN: []}]);
        }
        shown
    }

    /// The resource: the first segment that is not the version.
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

/// The schema of a parameter that is there: what stands in a query is never null.
fn present(mut schema: Value) -> Value {
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

/// Kinds of problems by their status.
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

/// The name under which problems of a status are described once for all operations.
fn name_of(kinds: &[Kind]) -> String {
    const MOST: usize = 4;
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code()).take(MOST).collect();
    match kinds.len().checked_sub(MOST) {
        None | Some(0) => codes.join("."),
        Some(more) => format!("{}.and-{more}-more", codes.join(".")),
    }
}

fn response_of(kinds: &[Kind]) -> Value {
    let codes: Vec<&str> = kinds.iter().map(|kind| kind.code()).collect();
    let titles: Vec<String> =
        kinds.iter().map(|kind| format!("`{}`: {}.", kind.code(), kind.title())).collect();
    let mut headers = Map::new();
    let mut header = |name: &str, text: &str| {
        let header = json!({"description": text, "required": true, "schema": {"type": "string"}});
        headers.insert(name.to_owned(), header);
    };
    match kinds[0].status().as_u16() {
        401 => header("www-authenticate", "`Bearer`"),
        405 => header("allow", "The methods that this path takes."),
        429 | 503 => header("retry-after", "Seconds after which it may go better."),
        _ => {}
    }
    json!({
        "description": titles.join(" "),
        "headers": headers,
        "content": {problem::MEDIA_TYPE: {"schema": {
            "allOf": [{"$ref": format!("#{SCHEMAS}/Problem")}],
            "properties": {"code": {"enum": codes}},
        }}},
    })
}

/// The document of a table of operations.
pub fn document(operations: &[Operation]) -> Value {
    let (mut paths, mut schemas, mut responses) = (Map::new(), Map::new(), Map::new());
    let mut generator = settings(Contract::Serialize).into_generator();
    generator.subschema_for::<Problem>();
    schemas.extend(generator.take_definitions(true));
    for operation in operations {
        for (name, schema) in &operation.schemas {
            let before = schemas.insert(name.clone(), schema.clone());
            let is_one = before.is_none_or(|before| before == *schema);
            assert!(is_one, "two shapes are called {name}");
        }
        for kinds in by_status(&operation.problems).values() {
            responses.insert(name_of(kinds), response_of(kinds));
        }
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.show();
    }
    let problems = Kind::every().map(|kind| {
        json!({
            "code": kind.code(), "status": kind.status().as_u16(), "title": kind.title(),
            "text": kind.text(),
        })
    });
    json!({
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
    })
}
