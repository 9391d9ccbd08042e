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
/// The folder of what only the dashboard of a testnet has.
const TESTNET: &str = "testnet/";
/// The template of the dashboard of a testnet.
const TESTNET_TEMPLATE: &str = "testnet/index.html";
/// The scripts of the explorer that the dashboard loads, too.
const TESTNET_SHARED: [&str; 5] = ["components.js", "dom.js", "format.js", "table.js", "tree.js"];

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
    html: String,
    etag: String,
}

/// The settings of the explorer, which its document contains.
static CONFIG: LazyLock<String> = LazyLock::new(|| {
    let topics: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
    json!({ "pages": *PAGES, "topics": topics }).to_string()
});

/// A hash of the templates and all assets.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let hashed = FILES.iter().copied().flat_map(|(name, text)| [name, "\0", text, "\0"]);
    let hashed: String = hashed.chain([CONFIG.as_str()]).collect();
    hex::encode(&sha256(hashed.as_bytes())[..8])
});

static INDEX: LazyLock<Document> =
    LazyLock::new(|| Document::new(TEMPLATE, |name| !["theme.js", "app.js"].contains(&name)));

static TESTNET_INDEX: LazyLock<Document> = LazyLock::new(|| {
    Document::new(TESTNET_TEMPLATE, |name| {
        TESTNET_SHARED.contains(&name) || (name.starts_with(TESTNET) && name != "testnet/page.js")
    })
});

impl Document {
    /// The document of a template. Preloaded modules arrive together; otherwise the browser finds each in
    /// the one before.
    fn new(template: &str, is_preloaded: impl Fn(&str) -> bool) -> Document {
        let folder = format!("/explorer/{}", *VERSION);
        let all = if template == TEMPLATE { assets().collect() } else { FILES.to_vec() };
        let modules = all.into_iter().map(|(name, _)| name);
        let preload: Vec<String> = modules
            .filter(|name| media_type(name) == SCRIPT && is_preloaded(name))
            .map(|name| format!("<link rel=\"modulepreload\" href=\"{folder}/{name}\">"))
            .collect();
        let html = file(template).expect("the template is embedded");
        let html = html.replace("{{assets}}", &folder).replace("{{config}}", &CONFIG);
        let html = html.replace("{{preload}}", &preload.join("\n"));
        Document { html, etag: format!("\"{}\"", *VERSION) }
    }
}

fn file(name: &str) -> Option<&'static str> {
    let found = FILES.iter().find(|(candidate, _)| *candidate == name);
    found.map(|(_, text)| *text)
}

/// The files that browsers load beside the document of the explorer.
fn assets() -> impl Iterator<Item = (&'static str, &'static str)> {
    FILES.iter().copied().filter(|(name, _)| *name != TEMPLATE && !name.starts_with(TESTNET))
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
    document(StatusCode::OK, &INDEX)
}

async fn testnet_home() -> Response {
    document(StatusCode::OK, &TESTNET_INDEX)
}

/// The document of the dashboard of a testnet, and the assets; all other paths do not exist.
pub fn testnet_routes() -> Router {
    let missing = get(|| async { Problem::new(Kind::NOT_FOUND, "the dashboard is one page: /") });
    Router::new().route("/", get(testnet_home)).route(ASSET, get(asset)).route("/{*path}", missing)
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
    (reads && !is_api && accepts_html(headers)).then(|| document(StatusCode::NOT_FOUND, &INDEX))
}

fn accepts_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| range.split(';').next().is_some_and(|name| name.trim() == "text/html"))
}

fn document(status: StatusCode, document: &'static Document) -> Response {
    let headers = [
        (CONTENT_TYPE, DOCUMENT),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, &document.etag),
    ];
    (status, headers, document.html.as_str()).into_response()
}

async fn asset(
    Path((version, name)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let is_asset = version == *VERSION && !name.ends_with(".html");
    let found = is_asset.then(|| file(&name)).flatten();
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
        FILES.iter().copied().filter(|(name, _)| media_type(name) == SCRIPT)
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
        let folder = format!("/explorer/{}/", *VERSION);
        for (document, count) in [(&INDEX, assets().count()), (&TESTNET_INDEX, 0)] {
            let links = document.html.split(&*folder).skip(1);
            let links: Vec<&str> = links.filter_map(|rest| rest.split('"').next()).collect();
            assert!(links.len() == count || (count == 0 && links.len() > 8), "{links:?}");
            assert!(links.iter().all(|name| file(name).is_some()), "{links:?}");
        }
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
        for (name, text) in FILES {
            let outside = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("://"), "{name}");
        }
        for document in [&INDEX, &TESTNET_INDEX] {
            assert!(!document.html.contains("://") && !document.html.contains("style="));
            for script in document.html.split("<script").skip(1) {
                let tag = script.split('>').next().unwrap();
                let is_data = tag.contains("type=\"application/json\"");
                assert!(tag.contains(" src=") || is_data, "{tag}");
            }
        }
    }
}
