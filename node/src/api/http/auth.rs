//! Middleware that requires the API token.

use crate::api::http::problem::{Kind, Problem};
use crate::auth::Token;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

/// Rejects requests that do not carry the API token.
pub async fn require(
    State(token): State<Token>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if token.is_sent_in(request.headers()) {
        Ok(next.run(request).await)
    } else {
        let detail = "send `Authorization: Bearer TOKEN`; the token is in `api-token` in the \
                      node's data folder";
        Err(Problem::new(Kind::UNAUTHORIZED, detail))
    }
}
