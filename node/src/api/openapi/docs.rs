//! The document of this interface, for programs at `/openapi.json` and for people at `/docs`: a page
//! without scripts that is made once, when the node starts. Each problem's `type` points into it.

mod shapes;

use crate::api::openapi::route::{Table, get};
use axum::Extension;
use axum::body::Bytes;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use shapes::{escape, fields, members, prose, shape, text};
use std::fmt::Write as _;

/// The routes of this resource.
pub fn routes() -> Table {
    Table::new([
        get("/openapi.json", "This interface, for programs", document)
            .answers_as(JSON, "An OpenAPI document."),
        get("/docs", "This interface, for people", page).answers_as(HTML, "A page."),
        get("/docs.css", "How that page looks", style).answers_as(CSS, "A style sheet."),
    ])
}

/// Media types.
pub const JSON: &str = "application/json";
/// Of the page.
pub const HTML: &str = "text/html; charset=utf-8";
/// Of how it looks.
pub const CSS: &str = "text/css; charset=utf-8";

const STYLE: &str = include_str!("docs/docs.css");
/// Nothing but the style sheet is loaded, and nothing runs.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The document in both forms. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Documentation {
    json: Bytes,
    html: Bytes,
}

impl Documentation {
    /// Makes both.
    pub fn new(document: &Value) -> Documentation {
        Documentation { json: document.to_string().into(), html: html(document).into() }
    }
}

/// For programs.
pub async fn document(Extension(documentation): Extension<Documentation>) -> Response {
    sent(JSON, documentation.json)
}

/// For people.
pub async fn page(Extension(documentation): Extension<Documentation>) -> Response {
    let mut response = sent(HTML, documentation.html);
    let policy = axum::http::HeaderValue::from_static(POLICY);
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    response
}

/// How it looks to them.
pub async fn style() -> Response {
    sent(CSS, Bytes::from_static(STYLE.as_bytes()))
}

fn sent(media_type: &'static str, bytes: Bytes) -> Response {
    // It is small and changes with the program only; nobody should keep an old one.
    ([(CONTENT_TYPE, media_type), (CACHE_CONTROL, "no-cache")], bytes).into_response()
}

/// A method, a path, and what the document says of them.
type Entry<'d> = (&'d str, &'d str, &'d Value);

/// Operations by the resource they belong to.
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
        "<li><a href=\"#problems\">problems</a></li><li><a href=\"#shapes\">shapes</a></li></ul></nav>",
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
            put(&shown(document, method, path, operation));
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
    put("</section><section id=\"shapes\"><h2>shapes</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let name = escape(name);
        put(&format!("<article id=\"shape-{name}\"><h3>{name}</h3>{}</article>", fields(schema)));
    }
    put("</section></main></body></html>\n");
    page
}

fn shown(document: &Value, method: &str, path: &str, operation: &Value) -> String {
    let mut html = format!(
        "<details id=\"{}\"><summary><span class=\"method {method}\">{}</span> <code>{}</code> \
         <span class=\"what\">{}</span>{}</summary>",
        escape(text(&operation["operationId"])),
        method.to_uppercase(),
        escape(path),
        prose(text(&operation["summary"])),
        if operation["security"].is_null() { "" } else { " <span class=\"token\">token</span>" },
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
                shape(&parameter["schema"]),
                if parameter["in"] == "path" { ", in the path" } else { "" },
                prose(text(&parameter["description"])),
            ));
        }
        put("</table>");
    }
    if !operation["requestBody"].is_null() {
        put("<h4>Body</h4><table>");
        put(&contents(&operation["requestBody"]));
        put("</table>");
    }
    put("<h4>Answers</h4><table>");
    for (status, answer) in members(&operation["responses"]) {
        if let Some(reference) = answer["$ref"].as_str() {
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
            let text = prose(text(&answer["description"]));
            put(&format!("<tr><th>{status}</th><td colspan=\"2\">{text}</td></tr>"));
            put(&contents(answer));
        }
    }
    put("</table></details>");
    html
}

/// The media types of a body, each with its shape.
fn contents(body: &Value) -> String {
    let mut html = String::new();
    for (media_type, content) in members(&body["content"]) {
        let _ = write!(
            html,
            "<tr><th></th><td><code>{}</code></td><td>{}</td></tr>",
            escape(media_type),
            shape(&content["schema"])
        );
    }
    html
}
