//! Every response in a test is compared with the OpenAPI document: its status, its media type,
//! its headers, and its body with the schema.

use super::*;
use crate::api::routes;
use ::axum::http::Method;
use boon::{Compiler, Draft, SchemaIndex, Schemas};
use std::collections::HashMap;
use std::sync::Mutex;

/// The document, built without a node.
pub(super) fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| routes::all(&any_token()).build().1)
}

/// A token of a removed directory.
pub(super) fn any_token() -> Token {
    Token::open_or_create(tempfile::tempdir().unwrap().path()).unwrap()
}

/// The path template in the document that matches a path; an exact match comes first.
fn template(path: &str) -> Option<(&'static str, &'static Value)> {
    let fits = |template: &str| {
        let (mut of, mut is) = (template.split('/'), path.split('/'));
        let pairs = of.by_ref().zip(is.by_ref());
        let mut pairs = pairs.map(|(of, is)| of == is || (of.starts_with('{') && !is.is_empty()));
        pairs.all(|fits| fits) && template.split('/').count() == path.split('/').count()
    };
    let paths = document()["paths"].as_object().unwrap();
    let mut fitting = paths.iter().filter(|(template, _)| fits(template));
    let exact = paths.get_key_value(path);
    exact.or_else(|| fitting.next()).map(|(template, methods)| (template.as_str(), methods))
}

/// Checks that the document describes the response.
#[track_caller]
pub(super) fn check(method: &Method, path: &str, response: &TestResponse) {
    let status = response.status.as_u16();
    let Some((template, methods)) = template(path) else {
        // The pages of the explorer are not documented.
        assert!(
            !path.starts_with("/v1") || status == 404 || status == 403,
            "{path} is not in the document, but {status}"
        );
        return;
    };
    let method = method.as_str().to_lowercase();
    let operation = &methods[&method];
    if operation.is_null() {
        let is_head = method == "head" && !methods["get"].is_null();
        assert!(is_head || [403, 405].contains(&status), "{method} {template} is not in it");
        return;
    }
    let mut described = &operation["responses"][status.to_string()];
    if let Some(reference) = described["$ref"].as_str() {
        described = document().pointer(reference.trim_start_matches('#')).unwrap();
    }
    let place = format!("{method} {template} {status}");
    assert!(!described.is_null(), "{place} is not in the document: {}", response.text());
    for (name, header) in described["headers"].as_object().into_iter().flatten() {
        let is_there = response.headers.contains_key(name.as_str());
        assert!(is_there || header["required"] == false, "{place} lacks {name}");
    }
    let Some(content) = described["content"].as_object() else {
        assert!(response.body.is_empty(), "{place} has a body");
        return;
    };
    let media_type = response.header(header::CONTENT_TYPE);
    let content = content.get(media_type);
    let content = content.unwrap_or_else(|| panic!("{place} is not to be {media_type:?}"));
    if media_type.ends_with("json") {
        let body = serde_json::from_slice(&response.body).unwrap();
        if let Err(error) = validate(&place, &content["schema"], &body) {
            panic!("{place}: {error}\n{body}");
        }
    }
}

/// Checks that the document describes a message by the schema of this name.
#[track_caller]
pub(super) fn check_message(schema: &str, message: &Value) {
    let reference = json!({"$ref": format!("#/components/schemas/{schema}")});
    if let Err(error) = validate(schema, &reference, message) {
        panic!("{schema}: {error}\n{message}");
    }
}

/// Validates a value with a schema of the document, which is compiled once per place.
fn validate(place: &str, schema: &Value, value: &Value) -> Result<(), String> {
    static COMPILED: Mutex<Option<(Schemas, HashMap<String, SchemaIndex>)>> = Mutex::new(None);
    let mut compiled = COMPILED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (schemas, indices) = compiled.get_or_insert_with(|| (Schemas::new(), HashMap::new()));
    let index = *indices.entry(place.to_owned()).or_insert_with(|| {
        let whole = json!({"components": document()["components"], "allOf": [schema]});
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        let url = format!("https://node.invalid/{}", place.replace([' ', '{', '}'], "_"));
        compiler.add_resource(&url, whole).unwrap();
        compiler.compile(&url, schemas).unwrap()
    });
    schemas.validate(value, index).map_err(|error| format!("{error:#}"))
}

#[test]
fn undocumented_responses_are_detected() {
    let response = |status, media_type: &'static str, body: &str| {
        let headers = [(header::CONTENT_TYPE, media_type)];
        let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        TestResponse { status, headers: headers.into_iter().collect(), body: body.into() }
    };
    let is_noticed = |path: &'static str, response: TestResponse| {
        std::panic::catch_unwind(|| check(&Method::GET, path, &response)).is_err()
    };
    let json = "application/json";
    assert!(!is_noticed("/livez", response(200, "text/plain; charset=utf-8", "ok")));
    assert!(is_noticed("/livez", response(200, json, "\"ok\"")));
    assert!(is_noticed("/livez", response(418, json, "{}")));
    assert!(is_noticed("/v1/nothing", response(200, json, "{}")));
    assert!(is_noticed("/v1/chain", response(200, json, "{}")), "no headers");
    let problem = |code: &str| {
        let members = json!({
            "type": "/docs#x", "title": "x", "status": 400, "detail": "x", "code": code,
        });
        response(400, MEDIA_TYPE, &members.to_string())
    };
    assert!(!is_noticed("/livez", problem("bad-request")));
    assert!(is_noticed("/livez", problem("high-hash")), "a code of another status");
}
