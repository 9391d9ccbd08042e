//! The documentation of the API: the OpenAPI document at `/openapi.json`, and a static page without
//! scripts at `/docs`, built once at start. The `type` of each problem links to the page.

mod render;

use crate::api::openapi::route::{Routes, get};
use axum::Extension;
use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use render::{escape, members, prose, schema_details, schema_html, text};
use serde_json::{Value, json};
use std::fmt::Write as _;

pub fn routes() -> Routes {
    Routes::new([
        get("/openapi.json", "Get the OpenAPI document", document)
            .response_as(JSON, "The OpenAPI document."),
        get("/docs", "Get the API documentation", page).response_as(HTML, "The page."),
        get("/docs.css", "Get its style sheet", style).response_as(CSS, "The style sheet."),
    ])
}

/// The media type of JSON.
pub const JSON: &str = "application/json";
/// The media type of HTML.
pub const HTML: &str = "text/html; charset=utf-8";
/// The media type of CSS.
pub const CSS: &str = "text/css; charset=utf-8";

const STYLE: &str = include_str!("docs/docs.css");
/// The Content Security Policy of the page: only its style sheet is loaded, no scripts run.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The documentation as JSON and as HTML. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Documentation {
    json: Bytes,
    html: Bytes,
}

impl Documentation {
    /// Renders both forms of the document.
    pub fn new(document: &Value) -> Documentation {
        Documentation { json: document.to_string().into(), html: html(document).into() }
    }
}

pub async fn document(Extension(documentation): Extension<Documentation>) -> Response {
    static_response(JSON, documentation.json)
}

pub async fn page(Extension(documentation): Extension<Documentation>) -> Response {
    let mut response = static_response(HTML, documentation.html);
    let policy = axum::http::HeaderValue::from_static(POLICY);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

pub async fn style() -> Response {
    static_response(CSS, Bytes::from_static(STYLE.as_bytes()))
}

fn static_response(media_type: &'static str, bytes: Bytes) -> Response {
    // Small, and it changes with the program: caches must not serve an old version.
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-cache")], bytes).into_response()
}

/// The method, path and operation object of an operation.
type Entry<'d> = (&'d str, &'d str, &'d Value);

/// Groups operations by resource.
fn by_tag(document: &Value) -> Vec<(&str, Vec<Entry<'_>>)> {
    let mut tags: Vec<(&str, Vec<Entry>)> = Vec::new();
    for (path, methods) in members(&document["paths"]) {
        for (method, operation) in members(methods) {
            let tag = text(&operation["tags"][0]);
            let entry = (method.as_str(), path.as_str(), operation);
            match tags.iter_mut().find(|(of, _)| *of == tag) {
                Some((_, operations)) => operations.push(entry),
                None => tags.push((tag, vec![entry])),
            }
        }
    }
    tags
}

fn html(document: &Value) -> String {
    let tags = by_tag(document);
    let mut page = String::new();
    let mut put = |html: &str| page.push_str(html);
    put(concat!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">",
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
        "<meta name=\"color-scheme\" content=\"light dark\">",
        "<title>chain: REST API</title><link rel=\"stylesheet\" href=\"/docs.css\"></head><body>",
    ));
    put("<nav aria-label=\"Contents\"><p class=\"name\">chain</p><ul>");
    for (tag, _) in &tags {
        put(&format!("<li><a href=\"#of-{tag}\">{tag}</a></li>"));
    }
    put(
        "<li><a href=\"#problems\">problems</a></li><li><a href=\"#schemas\">schemas</a></li></ul></nav>",
    );
    put("<main><h1>REST API</h1>");
    put(&format!("<p class=\"lead\">{}</p>", prose(text(&document["info"]["description"]))));
    put(&format!(
        "<p>Version {}. For programs: <a href=\"/openapi.json\">openapi.json</a> (OpenAPI 3.1). \
         What is marked <span class=\"token\">token</span> needs <code>Authorization: Bearer \
         TOKEN</code>; the token is in the file <code>api-token</code> in the node's data \
         folder.</p>",
        escape(text(&document["info"]["version"]))
    ));
    for (tag, operations) in &tags {
        put(&format!("<section id=\"of-{tag}\"><h2>{tag}</h2>"));
        for (method, path, operation) in operations {
            put(&operation_html(document, method, path, operation));
        }
        put("</section>");
    }
    put(
        "<section id=\"problems\"><h2>problems</h2><p>Every error is <code>application/problem+json\
         </code>. Its <code>code</code> never changes.</p>",
    );
    for problem in document["x-problems"].as_array().into_iter().flatten() {
        let code = escape(text(&problem["code"]));
        put(&format!(
            "<article id=\"{code}\"><h3><code>{code}</code> <span class=\"status\">{}</span></h3>\
             <p><strong>{}.</strong> {}</p></article>",
            problem["status"],
            escape(text(&problem["title"])),
            prose(text(&problem["text"]))
        ));
    }
    put("</section><section id=\"schemas\"><h2>schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let name = escape(name);
        put(&format!(
            "<article id=\"schema-{name}\"><h3>{name}</h3>{}</article>",
            schema_details(schema)
        ));
    }
    put("</section></main></body></html>\n");
    page
}

fn operation_html(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let mut html = format!(
        "<details id=\"{}\"><summary><span class=\"method {method}\">{}</span> <code>{}</code> \
         <span class=\"what\">{}</span>{}</summary>",
        escape(text(&operation["operationId"])),
        method.to_uppercase(),
        escape(path),
        prose(text(&operation["summary"])),
        if operation["security"] == json!([]) { "" } else { " <span class=\"token\">token</span>" },
    );
    let mut put = |more: &str| html.push_str(more);
    if let Some(description) = operation["description"].as_str() {
        put(&format!("<p>{}</p>", prose(description)));
    }
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        put("<h4>Parameters</h4><table>");
        for parameter in parameters {
            put(&format!(
                "<tr><th><code>{}</code></th><td>{}{}</td><td>{}</td></tr>",
                escape(text(&parameter["name"])),
                schema_html(&parameter["schema"]),
                if parameter["in"] == "path" { ", in the path" } else { "" },
                prose(text(&parameter["description"])),
            ));
        }
        put("</table>");
    }
    if !operation["requestBody"].is_null() {
        put("<h4>Body</h4><table>");
        put(&body_html(&operation["requestBody"]));
        put("</table>");
    }
    put("<h4>Responses</h4><table>");
    for (status, response) in members(&operation["responses"]) {
        if let Some(reference) = response["$ref"].as_str() {
            let name = reference.rsplit('/').next().unwrap_or_default();
            let schema = &document["components"]["responses"][name]["content"]["application/problem+json"]
                ["schema"];
            let codes = schema["properties"]["code"]["enum"].as_array();
            let links = codes.into_iter().flatten().map(|code| {
                let code = escape(text(code));
                format!("<a href=\"#{code}\"><code>{code}</code></a>")
            });
            let links = links.collect::<Vec<_>>().join(" ");
            put(&format!(
                "<tr class=\"problem\"><th>{status}</th><td colspan=\"2\">{links}</td></tr>"
            ));
        } else {
            let text = prose(text(&response["description"]));
            put(&format!("<tr><th>{status}</th><td colspan=\"2\">{text}</td></tr>"));
            put(&body_html(response));
        }
    }
    put("</table></details>");
    html
}

/// Rows for the media types of a body, each with its schema.
fn body_html(body: &Value) -> String {
    let mut html = String::new();
    for (media_type, content) in members(&body["content"]) {
        let _ = write!(
            html,
            "<tr><th></th><td><code>{}</code></td><td>{}</td></tr>",
            escape(media_type),
            schema_html(&content["schema"])
        );
    }
    html
}
