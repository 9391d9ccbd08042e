//! The explorer: pages that show the chain as it changes, made of the public REST API and its
//! events alone. Everything a browser needs is in this binary, and it asks nobody else.
//!
//! One document serves every page; scripts in it look at the URL. Assets live under a path that
//! names their contents, so browsers keep them for ever and never mix two versions.

use crate::api::http::problem::{Kind, Problem};
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
use std::sync::LazyLock;

/// Nothing from elsewhere, no inline script or style, no frame around the pages, and text from
/// outside cannot become markup.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'";

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";
/// The media type of every page.
pub const DOCUMENT: &str = "text/html; charset=utf-8";

/// URLs of pages besides the first. Whether there is what they name, the page finds out.
const PAGES: [&str; 11] = [
    "/blocks",
    "/block/{id}",
    "/tx/{id}",
    "/account/{address}",
    "/mempool",
    "/mining",
    "/peers",
    "/forks",
    "/charts",
    "/dev",
    "/search",
];

/// URLs of what they are made of.
const ASSET: &str = "/explorer/{version}/{*name}";

/// A file of the pages.
struct Asset {
    name: &'static str,
    media_type: &'static str,
    text: &'static str,
}

/// Declares assets by their names in the folder `explorer`.
macro_rules! assets {
    ($($media_type:ident $name:literal;)*) => {
        [$(Asset {
            name: $name,
            media_type: $media_type,
            text: include_str!(concat!("explorer/", $name)),
        }),*]
    };
}

static ASSETS: [Asset; 30] = assets! {
    IMAGE "icon.svg";
    STYLE "base.css";
    STYLE "parts.css";
    SCRIPT "theme.js";
    SCRIPT "app.js";
    SCRIPT "api.js";
    SCRIPT "chart.js";
    SCRIPT "dom.js";
    SCRIPT "format.js";
    SCRIPT "jobs.js";
    SCRIPT "key.js";
    SCRIPT "live.js";
    SCRIPT "parts.js";
    SCRIPT "proof.js";
    SCRIPT "search.js";
    SCRIPT "stack.js";
    SCRIPT "table.js";
    SCRIPT "tree.js";
    SCRIPT "pages/account.js";
    SCRIPT "pages/block.js";
    SCRIPT "pages/blocks.js";
    SCRIPT "pages/charts.js";
    SCRIPT "pages/dev.js";
    SCRIPT "pages/forks.js";
    SCRIPT "pages/home.js";
    SCRIPT "pages/mempool.js";
    SCRIPT "pages/mining.js";
    SCRIPT "pages/missing.js";
    SCRIPT "pages/peers.js";
    SCRIPT "pages/tx.js";
};

/// The document, and the version of all assets together.
struct Shell {
    version: String,
    text: String,
    tag: String,
}

static SHELL: LazyLock<Shell> = LazyLock::new(|| {
    let template = include_str!("explorer/index.html");
    let contents = ASSETS.iter().flat_map(|asset| [asset.name, "\0", asset.text, "\0"]);
    let contents: String = contents.chain([template]).collect();
    let version = hex::encode(&sha256(contents.as_bytes())[..8]);
    let folder = format!("/explorer/{version}");
    // Named ahead, modules arrive together; otherwise each is found in the one before.
    let modules = ASSETS.iter().filter(|asset| asset.media_type == SCRIPT);
    let modules = modules.filter(|asset| !["theme.js", "app.js"].contains(&asset.name));
    let preload: Vec<String> = modules
        .map(|asset| format!("<link rel=\"modulepreload\" href=\"{folder}/{}\">", asset.name))
        .collect();
    let text = template.replace("{{assets}}", &folder).replace("{{preload}}", &preload.join("\n"));
    let tag = format!("\"{version}\"");
    Shell { version, text, tag }
});

/// The page at the root of the node's URL.
pub async fn home() -> Response {
    document(StatusCode::OK)
}

/// Every other page, and what they are made of.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let pages = PAGES.into_iter().fold(Router::new(), |router, url| router.route(url, get(home)));
    pages.route(ASSET, get(asset))
}

/// The paths of all of them, variable parts in braces.
pub fn patterns() -> impl Iterator<Item = &'static str> {
    PAGES.into_iter().chain([ASSET])
}

/// What a browser gets where nothing is, unless it asked an interface for data: a page that says
/// so and helps on.
pub fn not_found(method: &Method, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let is_interface = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    (reads && !is_interface && wants_document(headers)).then(|| document(StatusCode::NOT_FOUND))
}

fn wants_document(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    ranges.any(|range| range.split(';').next().is_some_and(|named| named.trim() == "text/html"))
}

fn document(status: StatusCode) -> Response {
    let headers = [
        (CONTENT_TYPE, DOCUMENT),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-cache"),
        (ETAG, &SHELL.tag),
    ];
    (status, headers, SHELL.text.as_str()).into_response()
}

async fn asset(
    Path((version, name)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let found = ASSETS.iter().find(|asset| asset.name == name && version == SHELL.version);
    let Some(found) = found else {
        let detail = "the node is of another version than the page: load the page again";
        return not_found(&method, &uri, &headers)
            .unwrap_or_else(|| Problem::new(Kind::NOT_FOUND, detail).into_response());
    };
    let headers = [
        (CONTENT_TYPE, found.media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (ETAG, &SHELL.tag),
    ];
    (headers, found.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> &'static str {
        ASSETS.iter().find(|asset| asset.name == name).map_or("", |asset| asset.text)
    }

    #[test]
    fn a_first_visit_loads_less_than_300_kb() {
        let assets: usize = ASSETS.iter().map(|asset| asset.text.len()).sum();
        assert!(assets + SHELL.text.len() < 300_000, "{assets}");
    }

    #[test]
    fn whatever_a_file_names_is_there() {
        for asset in ASSETS.iter().filter(|asset| asset.media_type == SCRIPT) {
            let folder = asset.name.rsplit_once('/').map_or("", |(folder, _)| folder);
            for line in asset.text.lines().filter(|line| line.starts_with("import ")) {
                let path = line.split('\'').nth(1).unwrap();
                let name = match (path.strip_prefix("../"), path.strip_prefix("./")) {
                    (Some(name), _) => name.to_owned(),
                    (_, Some(name)) if folder.is_empty() => name.to_owned(),
                    (_, Some(name)) => format!("{folder}/{name}"),
                    _ => panic!("{}: {line}", asset.name),
                };
                assert!(!text(&name).is_empty(), "{}: {line}", asset.name);
            }
        }
        let folder = format!("/explorer/{}/", SHELL.version);
        let named = SHELL.text.split(&*folder).skip(1);
        let named: Vec<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(named.len(), ASSETS.len());
        assert!(named.iter().all(|name| !text(name).is_empty()), "{named:?}");
    }

    // R22
    #[test]
    fn nothing_makes_markup_of_text_or_asks_anybody_else() {
        let sinks = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("];
        for asset in ASSETS.iter().filter(|asset| asset.media_type == SCRIPT) {
            for sink in sinks {
                assert!(!asset.text.contains(sink), "{}: {sink}", asset.name);
            }
        }
        for asset in &ASSETS {
            let outside = asset.text.replace("http://www.w3.org/2000/svg", "");
            assert!(!outside.contains("://"), "{}", asset.name);
        }
        assert!(!SHELL.text.contains("://") && !SHELL.text.contains("style="));
        assert!(SHELL.text.matches("<script").count() == SHELL.text.matches("<script ").count());
    }
}
