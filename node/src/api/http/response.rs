//! Answers to reads: each made from one view of the chain and marked with its tip, so that no
//! answer mixes two. What may be kept is said by `ETag` and `Cache-Control`.

use crate::api::http::content::{Content, Json};
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

/// The height of the tip an answer was made from.
pub const CHAIN_HEIGHT: HeaderName = HeaderName::from_static("x-chain-height");
/// The hash of that tip.
pub const CHAIN_TIP: HeaderName = HeaderName::from_static("x-chain-tip");

/// Blocks on top of one after which it and what it holds are taken for final.
const FINAL_DEPTH: u32 = 10;
/// To be asked for again each time; an unchanged answer then costs no body.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// What an answer's tag tells apart, besides tips.
enum Tag {
    /// The answer follows from the tip.
    Tip,
    /// It follows from the tip and this.
    TipAnd(String),
    /// Only its body tells.
    TipAndBody,
}

/// An answer to a read.
pub struct Answer<C> {
    content: C,
    tag: Tag,
    is_final: bool,
    is_negotiated: bool,
    link: Option<HeaderValue>,
}

impl<C> Answer<C> {
    /// One that stays the same as long as the tip does.
    pub fn new(content: C) -> Answer<C> {
        Answer { content, tag: Tag::Tip, is_final: false, is_negotiated: false, link: None }
    }

    /// It stays the same as long as the tip and this do.
    #[must_use]
    pub fn tagged(self, with: String) -> Answer<C> {
        Answer { tag: Tag::TipAnd(with), ..self }
    }

    /// It may change at any time.
    #[must_use]
    pub fn changing(self) -> Answer<C> {
        Answer { tag: Tag::TipAndBody, ..self }
    }

    /// It may be kept for ever, if `is_final`.
    #[must_use]
    pub fn for_ever_if(self, is_final: bool) -> Answer<C> {
        Answer { is_final, ..self }
    }

    /// Its form depends on the `Accept` header.
    #[must_use]
    pub fn negotiated(self) -> Answer<C> {
        Answer { is_negotiated: true, ..self }
    }
}

impl<T> Answer<Json<Page<T>>> {
    /// A page, with a link to the next one.
    pub fn page(page: Page<T>, uri: &Uri, limit: usize) -> Answer<Json<Page<T>>> {
        let link = page.next.as_ref().and_then(|cursor| {
            let path = uri.path();
            let link = format!("<{path}?limit={limit}&cursor={cursor}>; rel=\"next\"");
            HeaderValue::try_from(link).ok()
        });
        Answer { link, ..Answer::new(Json(page)) }
    }
}

impl<C: Content> Answer<C> {
    fn into_response(self, tip: &block_index::BlockNode) -> Response {
        let (media_type, bytes) = self.content.encode();
        let tag = match self.tag {
            Tag::Tip => format!("W/\"{}\"", tip.hash),
            Tag::TipAnd(rest) => format!("W/\"{}-{rest}\"", tip.hash),
            Tag::TipAndBody => {
                format!("W/\"{}-{}\"", tip.hash, hex::encode(&sha256(&bytes)[..8]))
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
        headers.extend(self.is_final.then_some((CACHE_CONTROL, FOREVER)));
        headers.extend(self.is_negotiated.then_some((VARY, HeaderValue::from_static("accept"))));
        headers.extend(self.link.map(|link| (LINK, link)));
        (headers, bytes).into_response()
    }
}

/// Whether what is read by hash from a block will stay as it is.
pub fn is_final(view: &View, node: &block_index::BlockNode) -> bool {
    view.confirmations(node) > FINAL_DEPTH
}

/// Looks at one tip and answers. The writer waits meanwhile, and nobody can wait inside.
pub fn read<C: Content>(
    node: &NodeState,
    look: impl FnOnce(&View<'_>) -> Result<Answer<C>, Problem>,
) -> Response {
    let view = node.reader.view();
    let tip = *view.tip();
    let looked = look(&view);
    drop(view);
    let mut response = match looked {
        Ok(answer) => answer.into_response(&tip),
        Err(problem) => problem.into_response(),
    };
    mark(response.headers_mut(), tip.height, tip.hash);
    response.headers_mut().entry(CACHE_CONTROL).or_insert(REVALIDATE);
    response
}

/// Says of which tip an answer is.
pub fn mark(headers: &mut HeaderMap, height: Height, tip: block::Hash) {
    headers.insert(CHAIN_HEIGHT, height.get().into());
    headers.extend(HeaderValue::try_from(tip.to_string()).ok().map(|tip| (CHAIN_TIP, tip)));
}

/// The same for what may take milliseconds: other requests are served meanwhile.
pub async fn read_aside<C: Content>(
    node: Arc<NodeState>,
    look: impl FnOnce(&View<'_>) -> Result<Answer<C>, Problem> + Send + 'static,
) -> Response {
    match aside(move || read(&node, look)).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(),
    }
}

/// Runs what may take milliseconds where nobody else has to wait for it.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_cancelled) => Problem::new(Kind::NOT_READY, "the node is stopping"),
    })
}

/// The tags of answers that a client keeps.
pub struct Kept(Vec<HeaderValue>);

impl Kept {
    /// Those that a request names.
    pub fn of(request: &Request) -> Kept {
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let tags = is_read.then(|| request.headers().get_all(IF_NONE_MATCH));
        Kept(tags.into_iter().flatten().cloned().collect())
    }

    /// Sends no body to a client that already has what it asks for.
    pub fn revalidate(self, response: Response) -> Response {
        let tag = response.headers().get(ETAG).filter(|_| response.status() == StatusCode::OK);
        if !tag.is_some_and(|tag| self.0.iter().any(|kept| names(kept, tag))) {
            return response;
        }
        let (mut head, _) = response.into_parts();
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(CONTENT_TYPE);
        head.headers.remove(CONTENT_LENGTH);
        Response::from_parts(head, Body::empty())
    }
}

/// Whether a list of tags names one, by weak comparison.
fn names(list: &HeaderValue, tag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).to_owned();
    let (Ok(list), Ok(tag)) = (list.to_str(), tag.to_str()) else { return false };
    let mut listed = list.split(',').map(str::trim);
    listed.any(|listed| listed == "*" || opaque(listed) == opaque(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_weakly() {
        let names = |list: &str, tag: &str| {
            names(&HeaderValue::from_str(list).unwrap(), &HeaderValue::from_str(tag).unwrap())
        };
        assert!(names("W/\"a\"", "W/\"a\""));
        assert!(names("\"a\"", "W/\"a\""));
        assert!(names("\"b\", W/\"a\"", "W/\"a\""));
        assert!(names("*", "W/\"a\""));
        assert!(!names("W/\"ab\"", "W/\"a\""));
        assert!(!names("", "W/\"a\""));
    }
}
