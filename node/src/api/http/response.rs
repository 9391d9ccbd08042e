//! Responses to reads of the chain: each is built from one view of the chain and carries its tip in
//! headers, so that no response mixes two. `ETag` and `Cache-Control` declare how it may be cached.

use crate::api::http::content::{Content, Json, Payload};
use crate::api::http::page::Page;
use crate::api::http::problem::{Kind, Problem};
use crate::state::NodeState;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LINK, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use chain::hash::sha256;
use chain::ledger::View;
use chain::{Height, block, block_index};
use std::sync::Arc;

/// Header with the height of the tip the response was built from.
pub const CHAIN_HEIGHT: HeaderName = HeaderName::from_static("x-chain-height");
/// Header with the hash of the tip the response was built from.
pub const CHAIN_TIP: HeaderName = HeaderName::from_static("x-chain-tip");

/// Confirmations above which a block and its contents are cached as immutable.
const FINAL_DEPTH: u32 = 10;
/// Caches must revalidate each time; an unchanged response then has no body.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// The source of the `ETag` of a response.
enum Tag {
    /// The tip alone: the response depends on the chain only.
    Tip,
    /// The tip and a further value.
    TipAnd(String),
    /// The tip and a hash of the body; the tip alone if the body is streamed.
    TipAndBody,
}

/// A response to a read of the chain.
pub struct ReadResponse<C> {
    content: C,
    tag: Tag,
    is_final: bool,
    is_negotiated: bool,
    link: Option<HeaderValue>,
}

impl<C> ReadResponse<C> {
    /// A response that changes only with the tip.
    pub fn new(content: C) -> ReadResponse<C> {
        ReadResponse { content, tag: Tag::Tip, is_final: false, is_negotiated: false, link: None }
    }

    /// Declares that the response changes only with the tip and this value.
    #[must_use]
    pub fn tagged(self, with: String) -> ReadResponse<C> {
        ReadResponse { tag: Tag::TipAnd(with), ..self }
    }

    /// Declares that the response may change at any time.
    #[must_use]
    pub fn volatile(self) -> ReadResponse<C> {
        ReadResponse { tag: Tag::TipAndBody, ..self }
    }

    /// Lets caches store the response without limit if `is_final`.
    #[must_use]
    pub fn immutable_if(self, is_final: bool) -> ReadResponse<C> {
        ReadResponse { is_final, ..self }
    }

    /// Declares that the encoding depends on the `Accept` header.
    #[must_use]
    pub fn negotiated(self) -> ReadResponse<C> {
        ReadResponse { is_negotiated: true, ..self }
    }
}

impl<T> ReadResponse<Json<Page<T>>> {
    /// A page with a `Link` header to the next one.
    pub fn page(page: Page<T>, uri: &Uri, limit: usize) -> ReadResponse<Json<Page<T>>> {
        let link = page.next.as_ref().and_then(|cursor| {
            let path = uri.path();
            let link = format!("<{path}?limit={limit}&cursor={cursor}>; rel=\"next\"");
            HeaderValue::try_from(link).ok()
        });
        ReadResponse { link, ..ReadResponse::new(Json(page)) }
    }
}

impl<C: Content> ReadResponse<C> {
    fn into_response(self, tip: &block_index::BlockNode) -> Response {
        let (media_type, payload) = self.content.encode();
        let rest = match (self.tag, &payload) {
            (Tag::TipAnd(rest), _) => format!("-{rest}"),
            (Tag::TipAndBody, Payload::Whole(bytes)) => {
                format!("-{}", hex::encode(&sha256(bytes)[..8]))
            }
            (Tag::Tip, _) | (Tag::TipAndBody, Payload::Streamed(_)) => String::new(),
        };
        let tag = format!("W/\"{}{rest}\"", tip.hash);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
        headers.extend(self.is_final.then_some((CACHE_CONTROL, IMMUTABLE)));
        headers.extend(self.is_negotiated.then_some((VARY, HeaderValue::from_static("accept"))));
        headers.extend(self.link.map(|link| (LINK, link)));
        (headers, Body::from(payload)).into_response()
    }
}

/// Returns whether content addressed by the hash of this block is final.
pub fn is_final(view: &View, node: &block_index::BlockNode) -> bool {
    view.confirmations(node) > FINAL_DEPTH
}

/// Builds a response from the current view. The writer is blocked meanwhile; `build` cannot await.
pub fn read<C: Content>(
    node: &NodeState,
    build: impl FnOnce(&View<'_>) -> Result<ReadResponse<C>, Problem>,
) -> Response {
    let view = node.reader.view();
    let tip = *view.tip();
    let built = build(&view);
    drop(view);
    let mut response = match built {
        Ok(response) => response.into_response(&tip),
        Err(problem) => problem.into_response(),
    };
    set_chain_headers(response.headers_mut(), tip.height, tip.hash);
    response.headers_mut().entry(CACHE_CONTROL).or_insert(REVALIDATE);
    response
}

/// Sets the headers with the tip the response was built from.
pub fn set_chain_headers(headers: &mut HeaderMap, height: Height, tip: block::Hash) {
    headers.insert(CHAIN_HEIGHT, height.get().into());
    headers.extend(HeaderValue::try_from(tip.to_string()).ok().map(|tip| (CHAIN_TIP, tip)));
}

/// Builds a response from the current view on a blocking thread; for reads that may take milliseconds
/// or be large. A few are built at a time, so that their memory is bounded; the others wait.
pub async fn read_blocking<C: Content>(
    node: Arc<NodeState>,
    build: impl FnOnce(&View<'_>) -> Result<ReadResponse<C>, Problem> + Send + 'static,
) -> Response {
    let _permit = node.blocking_reads.acquire().await.expect("the semaphore is never closed");
    let reading = Arc::clone(&node);
    match blocking(move || read(&reading, build)).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// Runs work that may take milliseconds on a blocking thread.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_cancelled) => Problem::new(Kind::NOT_READY, "the node is stopping"),
    })
}

/// The entity tags in a request's `If-None-Match` headers.
pub struct IfNoneMatch(Vec<HeaderValue>);

impl IfNoneMatch {
    /// The tags of a `GET` or `HEAD` request.
    pub fn of(request: &Request) -> IfNoneMatch {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let tags = is_read.then(|| request.headers().get_all(IF_NONE_MATCH));
        IfNoneMatch(tags.into_iter().flatten().cloned().collect())
    }

    /// Replaces a response the client already has by 304 without a body.
    pub fn revalidate(self, response: Response) -> Response {
        let tag = response.headers().get(ETAG).filter(|_| response.status() == StatusCode::OK);
        if !tag.is_some_and(|tag| self.0.iter().any(|listed| matches(listed, tag))) {
            return response;
        }
        let (mut head, _) = response.into_parts();
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(CONTENT_TYPE);
        head.headers.remove(CONTENT_LENGTH);
        Response::from_parts(head, Body::empty())
    }
}

/// Returns whether a list of entity tags contains `tag`, by weak comparison.
fn matches(list: &HeaderValue, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let (Ok(list), Ok(tag)) = (list.to_str(), tag.to_str()) else { return false };
    let mut listed = list.split(',').map(str::trim);
    listed.any(|listed| listed == "*" || opaque(listed) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_entity_tags_weakly() {
        let matches = |list: &str, tag: &str| {
            matches(&HeaderValue::from_str(list).unwrap(), &HeaderValue::from_str(tag).unwrap())
        };
        assert!(matches("W/\"a\"", "W/\"a\""));
        assert!(matches("\"a\"", "W/\"a\""));
        assert!(matches("\"b\", W/\"a\"", "W/\"a\""));
        assert!(matches("*", "W/\"a\""));
        assert!(!matches("W/\"ab\"", "W/\"a\""));
        assert!(!matches("", "W/\"a\""));
    }
}
