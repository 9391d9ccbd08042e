//! The block explorer: pages that follow the chain live, built on the public REST API and its event
//! stream only. The binary contains every file a browser needs; nothing is loaded from elsewhere.
//!
//! One document serves every page, and its script routes by URL. The build script embeds all files
//! under `explorer/`. A page is a file under `explorer/pages/` whose name is its URL: `blocks.js`
//! is `/blocks`, `block/[id].js` is `/block/{id}`, `index.js` is `/`.
//! Asset URLs contain a hash of all files, so browsers cache them without limit and never mix
//! versions.

use crate::api::http::problem::{Kind, Problem};
use crate::events::Topic;
use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chain::hash::sha256;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The content security policy: same origin only, no inline script or style, no framing, and no
/// markup from text.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
/// The media type of every page.
pub const DOCUMENT: &str = "text/html; charset=utf-8";

/// The URL pattern of an asset.
const ASSET: &str = "/explorer/{version}/{*name}";
/// The template of the document.
const TEMPLATE: &str = "index.html";

/// Every file under `explorer/` in alphabetical order: its name there and its content.
static FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/explorer_files.rs"));

/// The file of each page under `explorer/pages/`, by URL pattern.
static PAGES: LazyLock<BTreeMap<String, &'static str>> = LazyLock::new(|| {
    let files = FILES.iter().filter_map(|(name, _)| name.strip_prefix("pages/"));
    files.map(|file| (page_pattern(file), file)).collect()
});

fn page_pattern(file: &str) -> String {
    let name = file.trim_end_matches(".js").trim_end_matches("index");
    format!("/{name}").replace('[', "{").replace(']', "}")
}

struct Document {
    /// A hash of the template and all assets.
    version: String,
    html: String,
    etag: String,
}

static INDEX: LazyLock<Document> = LazyLock::new(|| {
    let topics: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    let config = json!({ "pages": *PAGES, "topics": topics }).to_string();
    let hashed = FILES.iter().copied().flat_map(|(name, text)| [name, "\0", text, "\0"]);
    let hashed: String = hashed.chain([config.as_str()]).collect();
    let version = hex::encode(&sha256(hashed.as_bytes())[..8]);
    let folder = format!("/explorer/{version}");
    // Preloaded modules arrive together; otherwise the browser finds each in the one before.
    let modules = assets().map(|(name, _)| name).filter(|name| media_type(name) == SCRIPT);
    let preload: Vec<String> = modules
        .filter(|name| !["theme.js", "app.js"].contains(name))
        .map(|name| format!("<link rel=\"modulepreload\" href=\"{folder}/{name}\">"))
        .collect();
    let html = file(TEMPLATE).expect("the template is embedded");
    let html = html.replace("{{assets}}", &folder).replace("{{config}}", &config);
    let html = html.replace("{{preload}}", &preload.join("\n"));
    let etag = format!("\"{version}\"");
    Document { version, html, etag }
});

fn file(name: &str) -> Option<&'static str> {
    let found = FILES.iter().find(|(candidate, _)| *candidate == name);
    found.map(|(_, text)| *text)
}

/// The files that browsers load beside the document.
fn assets() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().copied().filter(|(name, _)| *name != TEMPLATE)
}

fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.') {
        Some((_, "js")) => SCRIPT,
        Some((_, "css")) => "text/css; charset=utf-8",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}

/// Serves the document at the root of the node's URL.
pub async fn home() -> Response {
    document(StatusCode::OK)
}

/// The routes of all other pages and of the assets.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let pages = page_patterns().fold(Router::new(), |router, url| router.route(url, get(home)));
    pages.route(ASSET, get(asset))
}

fn page_patterns() -> impl Iterator<Item = &'static str> {
    PAGES.keys().map(String::as_str).filter(|url| *url != "/")
}

/// Returns the document with status 404 for a request that no route matches, if a browser sent it
/// outside the REST API: the client then shows its "not found" page.
pub fn not_found(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let is_api = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    (reads && !is_api && accepts_html(headers)).then(|| document(StatusCode::NOT_FOUND))
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| range.split(';').next().is_some_and(|name| name.trim() == "text/html"))
}

fn document(status: StatusCode) -> Response {
    let headers = [
        (CONTENT_TYPE, DOCUMENT),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, &INDEX.etag),
    ];
    (status, headers, INDEX.html.as_str()).into_response()
}

async fn asset(
    Path((version, name)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let found = (version == INDEX.version && name != TEMPLATE).then(|| file(&name)).flatten();
    let Some(text) = found else {
        let detail = "this asset is of another version of the node: reload the page";
        return not_found(&method, &uri, &headers)
            .unwrap_or_else(|| Problem::new(Kind::NOT_FOUND, detail).into_response());
    };
    let headers = [
        (CONTENT_TYPE, media_type(&name)),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (ETAG, &INDEX.etag),
    ];
    (headers, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scripts() -> impl Iterator<Item = (&'static str, &'static str)> {
        assets().filter(|(name, _)| media_type(name) == SCRIPT)
    }

    #[test]
    fn file_name_of_a_page_is_its_url() {
        assert_eq!(page_pattern("index.js"), "/");
        assert_eq!(page_pattern("blocks.js"), "/blocks");
        assert_eq!(page_pattern("block/[id].js"), "/block/{id}");
        assert_eq!(PAGES["/tx/{id}"], "tx/[id].js");
    }

    #[test]
    fn first_visit_loads_less_than_300_kb() {
        let assets: usize = assets().map(|(_, text)| text.len()).sum();
        assert!(assets + INDEX.html.len() < 300_000, "{assets}");
    }

    #[test]
    fn imports_and_links_refer_to_embedded_files() {
        for (name, text) in scripts() {
            let folder: Vec<&str> = name.split('/').rev().skip(1).collect();
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let path = line.split('\'').nth(1).unwrap();
                let up = path.matches("../").count();
                let parents = folder[up..].iter().rev().copied();
                let file_name = path.trim_start_matches("./").trim_start_matches("../");
                let imported = parents.chain([file_name]).collect::<Vec<_>>().join("/");
                assert!(file(&imported).is_some(), "{name}: {line}");
            }
        }
        let folder = format!("/explorer/{}/", INDEX.version);
        let links = INDEX.html.split(&*folder).skip(1);
        let links: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links.len(), assets().count());
        assert!(links.iter().all(|name| file(name).is_some()), "{links:?}");
    }

    #[test]
    fn scripts_subscribe_to_existing_topics() {
        // Topics that `live.js` itself emits, and the event that precedes a gap.
        let local = ["status", "chain", "resync", "reset"];
        let mut subscriptions = 0;
        for (name, text) in scripts() {
            let lists = ["on([", "replay(["].into_iter().flat_map(|call| text.split(call).skip(1));
            for list in lists.filter_map(|rest| rest.split(']').next()) {
                for topic in list.split('\'').skip(1).step_by(2) {
                    let is_known = local.contains(&topic) || topic.parse::<Topic>().is_ok();
                    assert!(is_known, "{name}: {topic}");
                    subscriptions += 1;
                }
            }
        }
        assert!(subscriptions > 30, "{subscriptions}");
    }

    // R22
    #[test]
    fn scripts_never_parse_markup_and_nothing_links_to_other_origins() {
        let sinks = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("];
        for (name, text) in scripts() {
            for sink in sinks {
                assert!(!text.contains(sink), "{name}: {sink}");
            }
        }
        for (name, text) in assets() {
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("://"), "{name}");
        }
        assert!(!INDEX.html.contains("://") && !INDEX.html.contains("style="));
        for script in INDEX.html.split("<script").skip(1) {
            let tag = script.split('>').next().unwrap();
            assert!(tag.contains(" src=") || tag.contains("type=\"application/json\""), "{tag}");
        }
    }
}
